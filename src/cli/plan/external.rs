//! The plan for an external HAProxy: runtime changes, and what its operator must apply by a reload.

use std::collections::BTreeMap;

use proxymgr_actors::decide::base;
use proxymgr_actors::decide::capabilities::Capabilities;
use proxymgr_actors::decide::haproxy_config::{self, SectionStyle};
use proxymgr_actors::decide::overlay::Overlay;
use proxymgr_actors::decide::proxy_plan::{AppliedService, Ground, WantedService, applied_server, plan_service};
use proxymgr_actors::model::{Observation, ProcessInfo};
use proxymgr_actors::port::RuntimeApi;

use super::{conclude, push_steps};
use crate::cli::desired::{Desired, Placed};
use crate::cli::output;
use crate::settings::Settings;

/// Observed state of an external HAProxy, or why it is not known.
pub type Observed = Result<(ProcessInfo, Observation), String>;

/// Observes an external HAProxy.
pub async fn observe(runtime: &dyn RuntimeApi) -> Observed {
    let observed = async { Ok((runtime.process().await?, runtime.observe(None).await?)) };
    observed.await.map_err(|error: proxymgr_actors::port::RuntimeError| error.to_string())
}

/// The plan as text. Options of existing servers are assumed to match the definition, as the daemon assumes.
pub fn describe(settings: &Settings, desired: &Desired, observed: &Observed) -> String {
    let (process, observation) = match observed {
        Ok(observed) => observed,
        Err(error) => {
            output::remark(&format!("# {error}"));
            return "HAProxy does not answer: changes would be applied when it does.\n".to_owned();
        }
    };
    output::remark(&format!("# HAProxy {}, pid {}, external", process.version_text, process.pid));
    let style = SectionStyle::of(&base::layout(&settings.haproxy.policy.base_config), Some(process.version));
    // The defaults of a configuration that is not ours are not known.
    let capabilities = Capabilities::of(process.version);
    let ground = Ground { capabilities, inherited: &[], style, is_external: true };
    let (mut commands, mut waiting) = (String::new(), Vec::new());
    for (name, service) in &desired.services {
        let Some(observed) = observation.services.get(name) else {
            waiting.push(format!("{name}: HAProxy has no section of this name"));
            continue;
        };
        let definition = &service.definition;
        let Placed { strategy, servers, ids, .. } = service.placed(settings, Some(process.version), true);
        let known = servers.iter().filter(|(server, _)| observed.contains_key(*server));
        let loaded = AppliedService {
            in_base: None,
            header: haproxy_config::section_header(definition, style),
            servers: known.map(|(server, host)| (server.clone(), applied_server(definition, host))).collect(),
        };
        let wanted = WantedService {
            definition,
            hosts: &servers,
            ids: &ids,
            overlay: &Overlay::NONE,
            strategy: strategy.strategy,
            slots: None,
        };
        let plan = plan_service(wanted, Some(&loaded), Some(observed), &BTreeMap::new(), ground);
        waiting.extend(plan.reload.iter().map(|reason| format!("{name}: {reason}")));
        push_steps(&mut commands, name, &plan);
    }
    conclude(commands, "to be applied by the operator of this HAProxy, by a reload", &waiting)
}
