//! The production actors in the simulated world; each test decides what discovery reports and what fails.

mod annotations;
mod blocked_changes;
mod counts;
mod domains;
mod external_haproxy;
mod follow_discovery;
mod health_hand_over;
mod moved_ports;
mod old_processes;
mod operator_overrides;
mod outputs;
mod overlapping_changes;
mod plan_and_journal;
mod quotas;
mod removed_definitions;
mod server_life_cycle;
mod silent_sources;
mod slots;
mod stage;
mod unresolved_names;
