//! Lines as HAProxy 2.2, 2.6, 3.0 and 3.2 wrote them, and hostile ones.

use proptest::prelude::*;

use super::*;

const COUNTS: &str = "1 active and 0 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.";

fn server(service: &str, name: &str) -> ServerId {
    ServerId { service: ServiceName::new(service).unwrap(), server: ServerName::new(name).unwrap() }
}

fn change(name: &str, up: bool, check: &str) -> HealthChange {
    HealthChange { server: server("web", name), up, check: check.to_owned() }
}

fn changed(line: &str) -> Option<HealthChange> {
    match parse(line) {
        Some(HealthLine::Changed(change)) => Some(change),
        _ => None,
    }
}

#[test]
fn failed_check_is_read_with_its_result() {
    let check = "Layer4 connection problem, info: \"Connection refused\", check duration: 0ms";
    let line = format!("Server web/10.0.0.1:80 is DOWN, reason: {check}. {COUNTS}");
    assert_eq!(changed(&line), Some(change("10.0.0.1:80", false, check)));
    assert_eq!(changed(&format!("Backup {line}")), Some(change("10.0.0.1:80", false, check)));
}

#[test]
fn passed_check_is_read_with_its_result() {
    let line = "Server web/a is UP, reason: Layer7 check passed, code: 200, check duration: 1ms. \
                1 active and 0 backup servers online. 0 sessions requeued, 0 total in queue.";
    assert_eq!(changed(line), Some(change("a", true, "Layer7 check passed, code: 200, check duration: 1ms")));
}

#[test]
fn tracked_and_forced_health_is_read() {
    assert_eq!(changed(&format!("Server web/a is DOWN via web/b. {COUNTS}")), Some(change("a", false, "via web/b")));
    let forced = format!("Server web/a is DOWN, changed from CLI. {COUNTS}");
    assert_eq!(changed(&forced), Some(change("a", false, "changed from CLI")));
}

#[test]
fn log_headers_and_prefixes_are_passed_over() {
    let line = format!("Server web/a is DOWN, reason: Layer4 timeout. {COUNTS}");
    let headers =
        ["", "<1>", "CLI : ", "<133>Nov 29 12:03:24 haproxy[17]: ", "2026-11-29T12:03:24+00:00 h haproxy[1]: "];
    for header in headers {
        assert_eq!(changed(&format!("{header}{line}")), Some(change("a", false, "Layer4 timeout")), "{header}");
    }
}

#[test]
fn orders_are_no_health_changes() {
    for line in [
        format!("Server web/a is going DOWN for maintenance. {COUNTS}"),
        "Server web/a is UP/READY (leaving forced maintenance).".to_owned(),
        format!("Server web/a enters drain state. {COUNTS}"),
        "Server web/a is UP (leaving forced drain).".to_owned(),
        "Server web/a is UP (leaving drain) via web/b.".to_owned(),
        "Server web/a is DOWN for maintenance.".to_owned(),
        "proxy 'web' has no server available!".to_owned(),
        "Server web is DOWN.".to_owned(),
        "Server we b/a is DOWN.".to_owned(),
        "127.0.0.1:1 [29/Nov/2026:12:03:24] web web/a 0/0 {Server web/a is DOWN.}".to_owned(),
    ] {
        assert_eq!(parse(&line), None, "{line}");
    }
}

#[test]
fn servers_answer_cannot_end_the_result_early() {
    let line = format!("Server web/a is DOWN, reason: Layer7 wrong status, info: \". 2 active and x\". {COUNTS}");
    assert_eq!(changed(&line), Some(change("a", false, "Layer7 wrong status, info: \". 2 active and x\"")));
}

#[test]
fn logged_check_belongs_to_the_next_change() {
    let now = Instant::now();
    let mut reader = HealthReader::default();
    let check = "Layer4 timeout, check duration: 2001ms";
    let logged = format!("Health check for backup server web/a failed, reason: {check}, status: 0/2 DOWN.");
    assert_eq!(reader.read(&logged, now), Read::Known);
    let down = format!("Backup Server web/a is DOWN. {COUNTS}");
    assert_eq!(reader.read(&down, now), Read::Changed(change("a", false, check)));
    assert_eq!(reader.read(&down, now), Read::Known, "written once more");
    let later = now + Duration::from_secs(1);
    assert_eq!(reader.read(&down, later), Read::Changed(change("a", false, "")), "the server was added again");
    let up = "Server web/a is UP. 1 active and 0 backup servers online.";
    assert_eq!(reader.read(up, later), Read::Changed(change("a", true, "")));
    assert_eq!(reader.read("anything else", later), Read::Other);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut reader = HealthReader::default();
    for number in 0..3 * CHECK_RESULTS_KEPT_MAX {
        reader.read(&format!("Server web/{number} is DOWN."), Instant::now());
        reader.read(
            &format!("Health check for server web/{number} failed, reason: x, status: 0/1 DOWN."),
            Instant::now(),
        );
    }
    assert!(reader.last.len() <= CHECK_RESULTS_KEPT_MAX && reader.results.len() <= CHECK_RESULTS_KEPT_MAX);
}

proptest! {
    #[test]
    fn hostile_text_gives_short_printable_results(text in "\\PC*|(.|\n){0,600}", up in any::<bool>()) {
        let state = if up { "UP" } else { "DOWN" };
        for line in [
            text.clone(),
            format!("Server {text}"),
            format!("Server web/a is {state}{text}"),
            format!("Server web/a is {state}, reason: {text}. {COUNTS}"),
            format!("Health check for server web/a failed, {text}"),
            format!("<{text}>Server web/{text} is {state}."),
        ] {
            let check = match parse(&line) {
                Some(HealthLine::Changed(change)) => change.check,
                Some(HealthLine::Checked { check, .. }) => check,
                None => continue,
            };
            prop_assert!(check.chars().count() <= CHECK_RESULT_CHARS_MAX);
            prop_assert!(!check.chars().any(char::is_control));
        }
    }

    #[test]
    fn result_of_a_check_is_read_whole(check in "[A-Za-z0-9 ,:\"]{1,80}") {
        let check = check.trim_matches([' ', ',']);
        prop_assume!(!check.is_empty() && !check.starts_with("reason: "));
        let line = format!("Server web/a is DOWN, reason: {check}. {COUNTS}");
        prop_assert_eq!(changed(&line), Some(change("a", false, check)));
    }
}
