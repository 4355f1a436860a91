//! config/prometheus/alerts.yml, checked and tested by promtool, and its entries in the runbook.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use proxymgr::status::concern::ConcernKind;

use crate::metrics::promtool;
use crate::stage::{err, out};

const RULES: &str = include_str!("../../config/prometheus/alerts.yml");
const RUNBOOK: &str = include_str!("../../docs/runbook.md");
const METRICS: &str = include_str!("../../docs/metrics.md");

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The headings of the entries.
fn entries() -> BTreeSet<&'static str> {
    RUNBOOK.lines().filter_map(|line| line.strip_prefix("### ")).collect()
}

/// The values of this key in the rules.
fn values(key: &str) -> Vec<String> {
    let lines = RULES.lines().filter_map(|line| line.trim_start().trim_start_matches("- ").strip_prefix(key));
    lines.filter_map(|rest| rest.strip_prefix(": ")).map(|value| value.trim_matches('"').to_owned()).collect()
}

#[test]
fn promtool_accepts_rules_and_their_tests() {
    for arguments in [["check", "config/prometheus/alerts.yml"], ["test", "tests/operator/alerts.yml"]] {
        let checked = promtool().args([arguments[0], "rules"]).arg(path(arguments[1])).output().expect("run promtool");
        assert!(checked.status.success(), "{arguments:?}: {}{}", out(&checked), err(&checked));
    }
}

#[test]
fn every_alert_is_tested() {
    let tests = std::fs::read_to_string(path("tests/operator/alerts.yml")).unwrap();
    let untested: Vec<_> = values("alert").into_iter().filter(|alert| !tests.contains(alert.as_str())).collect();
    assert!(untested.is_empty(), "{untested:?}");
}

#[test]
fn alerts_use_metrics_that_exist() {
    let words = values("expr").join(" ");
    let words = words.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let used: BTreeSet<&str> =
        words.filter(|word| word.starts_with("proxymgr_") || word.starts_with("process_")).collect();
    assert!(used.len() > 10, "{used:?}");
    let is_known = |name: &str| METRICS.contains(&format!("`{}`", name.strip_suffix("_bucket").unwrap_or(name)));
    let unknown: Vec<_> = used.into_iter().filter(|name| !is_known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn every_problem_and_alert_has_an_entry_in_the_runbook() {
    let entries = entries();
    let missing: Vec<_> = ConcernKind::all().map(ConcernKind::as_str).filter(|kind| !entries.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let (alerts, links) = (values("alert"), values("runbook"));
    assert_eq!(alerts.len(), links.len(), "each alert names its entry");
    let anchors: BTreeSet<String> = entries.iter().map(|entry| entry.to_lowercase()).collect();
    for (alert, link) in alerts.iter().zip(links) {
        let anchor = link.strip_prefix("docs/runbook.md#").unwrap_or_else(|| panic!("{alert}: {link}"));
        assert!(anchor == "{{ $labels.kind }}" || anchors.contains(anchor), "{alert}: {anchor}");
        assert!(RUNBOOK.contains(alert.as_str()), "{alert} does not occur in the runbook");
    }
    let of_alerts = entries.iter().filter(|entry| entry.starts_with("Proxymgr"));
    let unknown: Vec<_> = of_alerts.filter(|entry| !alerts.iter().any(|alert| alert == *entry)).collect();
    assert!(unknown.is_empty(), "entries without alerts: {unknown:?}");
}
