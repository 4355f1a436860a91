//! Selection of the strategy that applies a service's changes to the running HAProxy, with the reason.

use serde_json::Value;

use super::capabilities::{Capabilities, static_balance};
use super::json_value::{shown, whole_number};
use super::nearest::nearest;
use crate::limits::{SLOTS_DEFAULT, SLOTS_MAX};
use crate::model::{ServiceDefinition, SlotRules, UpdateChoice, UpdateStrategy};

/// The strategy of a service, and its reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChosenStrategy {
    /// The strategy.
    pub strategy: UpdateStrategy,
    /// The reason, as text.
    pub why: String,
}

/// Returns the strategy of a service, with this default from the settings. `capabilities` are `None` while HAProxy's
/// version is not known; then no capability is assumed. An external HAProxy (`of_others`) gets no file, so strategies
/// that need one are not used.
pub fn choose(
    definition: &ServiceDefinition,
    default: UpdateChoice,
    capabilities: Option<Capabilities>,
    of_others: bool,
) -> ChosenStrategy {
    let chosen = |strategy, why: String| ChosenStrategy { strategy, why };
    let choice = definition.update.choice.unwrap_or(default);
    let asked_by = if definition.update.choice.is_some() { "the service's definition" } else { "haproxy.update" };
    let has_slots = definition.update.slots.is_some() && !of_others;
    let cannot_add = match capabilities {
        Some(capabilities) if capabilities.dynamic_servers() => None,
        Some(capabilities) => Some(format!("HAProxy {} cannot add servers at run time", capabilities.version())),
        None => Some("HAProxy's version is not known yet".to_owned()),
    };
    match (choice, cannot_add) {
        (UpdateChoice::Slots | UpdateChoice::Reload, cannot_add) if of_others => {
            let strategy = if cannot_add.is_some() { UpdateStrategy::Toggle } else { UpdateStrategy::Dynamic };
            chosen(
                strategy,
                format!("{asked_by} selects a strategy that needs reloads, which an external HAProxy does not get"),
            )
        }
        (UpdateChoice::Slots, _) => chosen(UpdateStrategy::Slots, format!("{asked_by} asks for it")),
        (UpdateChoice::Toggle, _) => chosen(UpdateStrategy::Toggle, format!("{asked_by} asks for it")),
        (UpdateChoice::Reload, _) => chosen(UpdateStrategy::Reload, format!("{asked_by} asks for it")),
        (UpdateChoice::Dynamic, None) => chosen(UpdateStrategy::Dynamic, format!("{asked_by} asks for it")),
        (UpdateChoice::Dynamic, Some(reason)) => {
            chosen(UpdateStrategy::Toggle, format!("{asked_by} selects dynamic, but {reason}"))
        }
        (UpdateChoice::Auto, None) => match static_balance(definition) {
            Some(balance) if has_slots => {
                chosen(UpdateStrategy::Slots, format!("balance {balance} takes no servers that are added at run time"))
            }
            _ => chosen(UpdateStrategy::Dynamic, "this HAProxy adds servers at run time".to_owned()),
        },
        (UpdateChoice::Auto, Some(reason)) if has_slots => chosen(UpdateStrategy::Slots, reason),
        (UpdateChoice::Auto, Some(reason)) => {
            chosen(UpdateStrategy::Toggle, format!("{reason}, and there are no slots for it"))
        }
    }
}

/// Returns the slot rules of a service with the strategy `slots`.
pub fn slot_rules(definition: &ServiceDefinition) -> SlotRules {
    definition.update.slots.unwrap_or(SlotRules::of(SLOTS_DEFAULT))
}

/// Reads the value of `update`.
///
/// # Errors
/// What is wrong, with the choices.
pub fn choice_from(value: &Value) -> Result<UpdateChoice, String> {
    let choices = UpdateChoice::NAMES.join(", ");
    let Some(text) = value.as_str() else { return Err(format!("{} is none of {choices}", shown(value))) };
    UpdateChoice::parse(text).ok_or_else(|| {
        let meant = nearest(text, UpdateChoice::NAMES).map(|meant| format!("; did you mean {meant:?}?"));
        format!("{} is none of {choices}{}", shown(value), meant.unwrap_or_default())
    })
}

/// Reads the value of `slots`: a number, or an object with the number of slots, the step of growth, and the minimum of
/// free ones.
///
/// # Errors
/// What is wrong, with the key within it.
pub fn slots_from(value: &Value) -> Result<SlotRules, String> {
    let number = |key: &str, value: &Value, min: usize| {
        let number = whole_number(value).and_then(|number| usize::try_from(number).ok());
        let of = if key.is_empty() { String::new() } else { format!("{key}: ") };
        number
            .filter(|number| (min..=SLOTS_MAX).contains(number))
            .ok_or_else(|| format!("{of}{} is not a whole number from {min} to {SLOTS_MAX}", shown(value)))
    };
    let Value::Object(keys) = value else { return number("", value, 1).map(SlotRules::of) };
    let keys_known = ["base", "grow_by", "min_free"];
    if let Some(key) = keys.keys().find(|key| !keys_known.contains(&key.as_str())) {
        return Err(format!("{key:?} is none of {}", keys_known.join(", ")));
    }
    let base = keys.get("base").ok_or("\"base\" is missing; it is the minimum number of slots")?;
    let mut rules = SlotRules::of(number("base", base, 1)?);
    if let Some(value) = keys.get("grow_by") {
        rules.grow_by = number("grow_by", value, 1)?;
    }
    if let Some(value) = keys.get("min_free") {
        rules.min_free = number("min_free", value, 0)?;
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::service_definition::parse;
    use crate::model::{ProxyVersion, RawDefinition};

    fn chosen(keys: &str, default: UpdateChoice, version: Option<(u16, u16)>) -> (UpdateStrategy, String) {
        chosen_on(keys, default, version, false)
    }

    fn chosen_on(
        keys: &str,
        default: UpdateChoice,
        version: Option<(u16, u16)>,
        of_others: bool,
    ) -> (UpdateStrategy, String) {
        let raw = RawDefinition::new(format!(r#"{{"type": "static", "port": 80{keys}}}"#), "a test");
        let definition = parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
        let capabilities = version.map(|(major, minor)| Capabilities::of(ProxyVersion { major, minor }));
        let ChosenStrategy { strategy, why } = choose(&definition, default, capabilities, of_others);
        (strategy, why)
    }

    #[test]
    fn the_strategy_is_the_best_that_this_haproxy_has_for_what_is_asked() {
        use UpdateStrategy::{Dynamic, Reload, Slots, Toggle};
        let auto = UpdateChoice::Auto;
        let slots = r#", "slots": 5"#;
        let by_source = r#", "slots": 5, "listen_options": ["balance source"]"#;
        for (keys, default, version, strategy, why) in [
            ("", auto, Some((2, 6)), Dynamic, "this HAProxy adds servers at run time"),
            (
                "",
                auto,
                Some((2, 2)),
                Toggle,
                "HAProxy 2.2 cannot add servers at run time, and there are no slots for it",
            ),
            (slots, auto, Some((2, 2)), Slots, "HAProxy 2.2 cannot add servers at run time"),
            (slots, auto, Some((3, 0)), Dynamic, "this HAProxy adds servers at run time"),
            (slots, auto, None, Slots, "HAProxy's version is not known yet"),
            (by_source, auto, Some((3, 0)), Slots, "balance source takes no servers that are added at run time"),
            (
                r#", "listen_options": ["balance source"]"#,
                auto,
                Some((3, 0)),
                Dynamic,
                "this HAProxy adds servers at run time",
            ),
            (r#", "update": "slots""#, auto, Some((3, 0)), Slots, "the service's definition asks for it"),
            ("", UpdateChoice::Reload, Some((3, 0)), Reload, "haproxy.update asks for it"),
            (
                r#", "update": "auto""#,
                UpdateChoice::Reload,
                Some((3, 0)),
                Dynamic,
                "this HAProxy adds servers at run time",
            ),
            (
                r#", "update": "dynamic""#,
                auto,
                Some((2, 2)),
                Toggle,
                "the service's definition selects dynamic, but HAProxy 2.2 cannot add servers at run time",
            ),
        ] {
            assert_eq!(chosen(keys, default, version), (strategy, why.to_owned()), "{keys}");
        }
    }

    #[test]
    fn a_haproxy_that_somebody_else_runs_is_driven_without_reloads() {
        for keys in ["", r#", "slots": 5"#, r#", "update": "slots""#, r#", "update": "reload""#] {
            for (version, strategy) in [((2, 2), UpdateStrategy::Toggle), ((3, 0), UpdateStrategy::Dynamic)] {
                assert_eq!(chosen_on(keys, UpdateChoice::Auto, Some(version), true).0, strategy, "{keys}");
            }
        }
    }
}
