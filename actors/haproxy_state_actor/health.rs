//! The health of servers across a reload: the process before is asked for it, and the next one reads what is still true.

use std::collections::BTreeMap;

use slog::{Logger, info};
use tokio::time::timeout;

use super::launch::{Chosen, Ingredients};
use crate::decide::haproxy_config::SectionStyle;
use crate::decide::proxy_plan::LoadedService;
use crate::decide::state_file::{self, NOTHING_KNOWN};
use crate::limits::STATE_FILE_PATIENCE;
use crate::model::ServiceName;
use crate::port::RuntimeApi;

/// What the process that was given `asked` says of its servers that the next one, with `sections`, may believe. One that
/// does not say it at once is not waited for.
pub async fn carried_over(
    asked: Option<BTreeMap<ServiceName, LoadedService>>,
    sections: &BTreeMap<ServiceName, Chosen>,
    style: SectionStyle,
    runtime: &dyn RuntimeApi,
    log: &Logger,
) -> String {
    let Some(loaded) = asked else { return NOTHING_KNOWN.to_owned() };
    let said = match timeout(STATE_FILE_PATIENCE, runtime.server_states()).await {
        Ok(said) => said.map_err(|error| error.to_string()),
        Err(_) => Err("HAProxy did not tell it in time".to_owned()),
    };
    let said = said.unwrap_or_else(|error| {
        info!(log, "the health of servers is not known to the next process"; "error" => error);
        String::new()
    });
    let next = |name: &ServiceName| {
        let Ingredients { definition, hosts } = &sections.get(name)?.ingredients;
        Some((&**definition, &**hosts))
    };
    state_file::carried_over(&said, &loaded, next, style)
}
