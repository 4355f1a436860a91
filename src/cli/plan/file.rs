//! The changes of haproxy.cfg, and what HAProxy refuses in it.

use std::fs;

use proxymgr_actors::model::ProxyVersion;
use slog::Logger;

use super::push_list;
use crate::cli::check::rendered::refusals;
use crate::cli::desired::Desired;
use crate::cli::output;
use crate::cli::render::rendered;
use crate::settings::Settings;
use crate::status::masking::masked;
use crate::text_difference::unified;

/// Returns what HAProxy refuses in the desired file, and how it differs from the current one, with credentials hidden;
/// empty if it is the current one.
pub async fn changes(settings: &Settings, desired: &Desired, version: Option<ProxyVersion>, log: &Logger) -> String {
    let path = &settings.haproxy.config_path;
    let current = fs::read_to_string(path).unwrap_or_default();
    let map_path = &settings.haproxy.policy.base_config.map_path;
    let next = rendered(settings, version, map_path, Some(&current), desired.services.values()).pieces.concat();
    if current == next {
        return String::new();
    }
    let mut text = String::new();
    match refusals(desired.services.values(), settings, log).await {
        Ok(refusals) => {
            let refused: Vec<String> = refusals
                .iter()
                .map(|refusal| {
                    let of_service = refusal.service.as_ref().map(|service| format!("{service}: "));
                    let place = refusal.place.as_ref().map(|place| format!("{place}: ")).or(of_service);
                    place.unwrap_or_default() + &refusal.text()
                })
                .collect();
            push_list(
                &mut text,
                "refused by HAProxy: a running service stays as it is, a new one is left out",
                &refused,
            );
        }
        Err(problem) => output::remark(&format!("# HAProxy cannot check the file: {problem}")),
    }
    text + &difference(&path.display().to_string(), &current, &next)
}

/// Returns how two different texts of a file differ, with credentials hidden.
fn difference(name: &str, current: &str, next: &str) -> String {
    let shown = unified((name, &masked(current)), (&format!("{name} (desired)"), &masked(next)));
    if shown.is_empty() { format!("{name} differs in hidden credentials only\n") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_credential_is_mentioned_and_hidden() {
        let file = |password: &str| format!("userlist u\n    user a insecure-password {password}\n");
        let shown = difference("haproxy.cfg", &file("old-secret"), &file("new-secret"));
        assert_eq!(shown, "haproxy.cfg differs in hidden credentials only\n");
        let longer = difference("haproxy.cfg", &file("old-secret"), &(file("new-secret") + "    group g\n"));
        assert!(longer.contains("\n+    group g\n") && !longer.contains("secret"), "{longer}");
    }
}
