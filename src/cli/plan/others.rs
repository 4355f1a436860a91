//! The plan for a HAProxy that somebody else runs: what is done at run time, and what waits for them.

use std::collections::BTreeMap;

use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{Ground, LoadedService, WantedService, given, plan_service};
use proxymgr_actors::model::{Observation, ProcessInfo};
use proxymgr_actors::port::RuntimeApi;

use super::{conclude, push_steps};
use crate::cli::desired::{Desired, Placed};
use crate::cli::output;
use crate::settings::Settings;

/// What runs there; or why that is not known.
pub type Found = Result<(ProcessInfo, Observation), String>;

/// Looks what runs there.
pub async fn look(runtime: &dyn RuntimeApi) -> Found {
    let look = async { Ok((runtime.process().await?, runtime.observe(None).await?)) };
    look.await.map_err(|error: proxymgr_actors::port::RuntimeError| error.to_string())
}

/// The plan in words, as the daemon would make it: what stands there of servers that discovery knows is taken to be as
/// our definition says.
pub fn describe(settings: &Settings, desired: &Desired, found: &Found) -> String {
    let (process, observation) = match found {
        Ok(found) => found,
        Err(error) => {
            output::remark(&format!("# {error}"));
            return "HAProxy is away: it would be caught up when it answers.\n".to_owned();
        }
    };
    output::remark(&format!("# HAProxy {}, pid {}, run by others", process.version_text, process.pid));
    let style = SectionStyle::of(&settings.haproxy.policy.frame, Some(process.version));
    // What servers inherit from a file that is not ours is not known.
    let ground = Ground { capabilities: Capabilities::of(process.version), inherited: &[], style };
    let (mut commands, mut waiting) = (String::new(), Vec::new());
    for (name, service) in &desired.services {
        let Some(observed) = observation.services.get(name) else {
            waiting.push(format!("{name}: HAProxy has no section of this name"));
            continue;
        };
        let definition = &service.definition;
        let Placed { strategy, servers, .. } = service.placed(settings, Some(process.version), true);
        let known = servers.iter().filter(|(server, _)| observed.contains_key(*server));
        let loaded = LoadedService {
            head: haproxy_config::section_head(definition, style),
            servers: known.map(|(server, host)| (server.clone(), given(definition, host))).collect(),
        };
        let wanted = WantedService {
            definition,
            hosts: &servers,
            overlay: &Overlay::NONE,
            strategy: strategy.strategy,
            slots: None,
        };
        let plan = plan_service(wanted, Some(&loaded), Some(observed), &BTreeMap::new(), ground);
        waiting.extend(plan.reload.iter().map(|reason| format!("{name}: {reason}")));
        push_steps(&mut commands, name, &plan);
    }
    conclude(commands, "waits for whoever runs this HAProxy, and reloads it", &waiting)
}
