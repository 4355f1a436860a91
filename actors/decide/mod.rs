//! Decisions: pure functions from values to values.

pub mod annotation;
pub mod capabilities;
pub mod duration;
mod expression;
pub mod frontend;
pub mod guard;
pub mod haproxy_config;
pub mod host_list;
pub mod host_record;
pub mod host_registration;
pub mod hosts_diff;
mod listen_keywords;
pub mod loaded_config;
pub mod nearest;
pub mod option_policy;
pub mod overlay;
pub mod proxy_plan;
pub mod proxym_service;
pub mod quoting;
pub mod rejection;
pub mod routing;
pub mod scope;
mod server_keywords;
pub mod service_definition;
pub mod slots;
pub mod state_file;
pub mod update_strategy;
