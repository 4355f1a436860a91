//! Agents of servers: their reports, and the commands about them.

use proxymgr_actors::model::{AgentState, ServerId};
use serde::{Deserialize, Serialize};

use super::{FORCED_DRAIN, FORCED_MAINTENANCE, HaproxyModel, Said, WEIGHT_MAX};

/// Report of a server's agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentReport {
    /// `ready`: ends maintenance and drain, including those that were ordered.
    Ready,
    /// `drain`.
    Drain,
    /// `maint`.
    Maintenance,
    /// `N%` of the configured weight.
    Weight(u8),
}

impl HaproxyModel {
    /// Applies a report of the server's agent, if the agent is enabled. Returns whether it was applied.
    pub fn agent_reports(&mut self, id: &ServerId, report: AgentReport) -> bool {
        let is_enabled = self.server(id).is_ok_and(|server| server.agent == AgentState::Enabled);
        let done = match report {
            _ if !is_enabled => return false,
            AgentReport::Ready => self.set_admin(id, 0),
            AgentReport::Drain => self.set_admin(id, FORCED_DRAIN),
            AgentReport::Maintenance => self.set_admin(id, FORCED_MAINTENANCE),
            AgentReport::Weight(percent) => {
                let configured = self.server(id).map_or(0, |server| server.initial_weight);
                let weight = u32::from(configured) * u32::from(percent) / 100;
                self.set_weight(id, u16::try_from(weight).unwrap_or(WEIGHT_MAX))
            }
        };
        done.is_ok()
    }

    pub(super) fn enable_agent(&mut self, id: &ServerId) -> Said {
        let server = self.server(id)?;
        if server.agent == AgentState::None {
            return Err("Agent was not configured on this server, cannot enable.".to_owned());
        }
        server.agent = AgentState::Enabled;
        Ok(String::new())
    }

    pub(super) fn disable_agent(&mut self, id: &ServerId) -> Said {
        let server = self.server(id)?;
        if server.agent == AgentState::Enabled {
            server.agent = AgentState::Disabled;
        }
        Ok(String::new())
    }
}
