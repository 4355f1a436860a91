//! What holds for every text that HAProxy writes, for the tests and for the fuzz targets.

use proxymgr_actors::decide::servers_state::ServerStateReader;
use proxymgr_actors::limits::{
    CHECK_RESULT_CHARS_MAX, CONFIG_MESSAGE_CHARS_MAX, RUNTIME_ANSWER_LINE_BYTES_MAX, RUNTIME_ANSWER_TEXT_BYTES_MAX,
};
use proxymgr_actors::model::{
    AgentState, BackendCommand, Endpoint, Observation, ObservedServer, ProcessInfo, RuntimeCommand, ServerId,
    ServerName, ServiceName,
};
use proxymgr_actors::port::{Answer, ConfigMessage};
use tokio::time::Instant;

use super::config_check_output::{self, CheckOutput, MESSAGES_MAX, is_of_health};
use super::health_line::{self, HealthChange, HealthLine, HealthReader};
use super::route_map::{self, MapReader};
use super::runtime_connection::{AnswerFramer, AnswerPart};
use super::runtime_text::{AnswerText, classify, classify_backend};
use super::socket_answers::{Info, Reading};
use super::statistics::{StatisticsTable, fields};

/// The candidate that `haproxy -c` checks.
const FILE: &str = "/d/c.candidate";

/// What is read from the output of HAProxy is bounded, has no control characters, and is the same after it was written and
/// read again. Returns the messages.
pub fn check_output(text: &str) -> Vec<ConfigMessage> {
    let CheckOutput { alerts, warnings } = config_check_output::read(text, FILE);
    let messages = [alerts, warnings].concat();
    assert!(messages.len() <= MESSAGES_MAX, "{} messages", messages.len());
    for ConfigMessage { line, text } in &messages {
        assert!(is_bounded(text, CONFIG_MESSAGE_CHARS_MAX), "{text:?}");
        let is_plain = text == text.trim_matches([' ', ':']) && !is_of_health(text) && !text.contains(FILE);
        if let (Some(number), true) = (line, is_plain) {
            let written = format!("[ALERT]    (7) : config : parsing [{FILE}:{number}] : {text}\n");
            let read = config_check_output::read(&written, FILE);
            assert_eq!(read.alerts, [ConfigMessage { line: *line, text: text.clone() }], "{written:?}");
        }
    }
    let mut health = HealthReader::default();
    for line in text.lines() {
        health_of(line);
        health.read(line, Instant::now());
    }
    messages
}

/// A change of health is the same after it was written and read again.
fn health_of(line: &str) {
    let (server, check) = match health_line::parse(line) {
        None => return,
        Some(HealthLine::Checked { check, .. }) => {
            assert!(is_bounded(&check, CHECK_RESULT_CHARS_MAX), "{check:?}");
            return;
        }
        Some(HealthLine::Changed(HealthChange { server, check, .. })) => (server, check),
    };
    assert!(is_bounded(&check, CHECK_RESULT_CHARS_MAX), "{check:?}");
    let written = format!("Server {server} is DOWN, reason: {check}. 1 active and 0 backup servers left.");
    let change = HealthChange { server, up: false, check };
    assert_eq!(health_line::parse(&written), Some(HealthLine::Changed(change)), "{written:?}");
}

fn is_bounded(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

/// Answers are the same in whatever pieces they arrive, and what is read from each is the same after it was written and
/// read again.
pub fn runtime_answers(bytes: &[u8]) {
    if bytes.len() > RUNTIME_ANSWER_LINE_BYTES_MAX {
        return;
    }
    let whole = answers([bytes]);
    for size in [1, 2, 3, 7] {
        assert_eq!(answers(bytes.chunks(size)), whole, "in pieces of {size} bytes");
    }
    for lines in &whole {
        classified(lines);
        observed(lines);
        process(lines);
        routes(lines);
        statistics(lines);
    }
}

/// Returns the lines of each answer, and those of the last one, which may not be complete.
fn answers<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Vec<String>> {
    let mut answers = vec![Vec::new()];
    let mut framer = AnswerFramer::default();
    for piece in pieces {
        framer.input.extend_from_slice(piece);
        let on = |part: AnswerPart<'_>| match part {
            AnswerPart::Line(line) => answers.last_mut().expect("it begins with one and only grows").push(line.into()),
            AnswerPart::End => answers.push(Vec::new()),
        };
        framer.parts(on).expect("the input is shorter than a line may be");
    }
    answers
}

/// The text of an answer is bounded and has no blank lines; a refusal has a reason.
fn classified(lines: &[String]) {
    let mut answer = AnswerText::default();
    lines.iter().for_each(|line| answer.line(line));
    let text = answer.take();
    assert!(text.len() <= RUNTIME_ANSWER_TEXT_BYTES_MAX, "{} bytes", text.len());
    assert!(text.lines().all(|line| !line.trim_end().is_empty()), "{text:?}");
    for command in runtime_commands() {
        has_reason(&classify(&command, text.clone()));
    }
    for command in backend_commands() {
        has_reason(&classify_backend(&command, &text));
    }
    has_reason(&route_map::classify(text));
}

fn has_reason(answer: &Answer) {
    assert!(answer.accepted || !answer.text.is_empty(), "a refusal without a reason");
}

fn runtime_commands() -> Vec<RuntimeCommand> {
    let server = || ServerId { service: service(), server: ServerName::new("a").expect("a good name") };
    let endpoint = || Endpoint::parse("10.0.0.1:80").expect("a good endpoint");
    vec![
        RuntimeCommand::AddServer { server: server(), endpoint: endpoint(), id: None, options: Vec::new() },
        RuntimeCommand::DeleteServer(server()),
        RuntimeCommand::SetAddress(server(), endpoint()),
        RuntimeCommand::SetReady(server()),
    ]
}

fn backend_commands() -> Vec<BackendCommand> {
    let add = BackendCommand::Add { service: service(), from: "http".into(), guid: None };
    vec![
        add,
        BackendCommand::Publish(service()),
        BackendCommand::Unpublish(service()),
        BackendCommand::Delete(service()),
    ]
}

fn service() -> ServiceName {
    ServiceName::new("web").expect("a good name")
}

fn observed(lines: &[String]) {
    let mut reading = Reading::default();
    lines.iter().for_each(|line| reading.server_line(line));
    let Ok(observation) = reading.finish() else { return };
    let mut again = ServerStateReader::default();
    for line in written_state(&observation) {
        again.line(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    }
    let with_servers = observation.services.into_iter().filter(|(_, servers)| !servers.is_empty()).collect();
    assert_eq!(again.finish(), Observation { services: with_servers });
}

/// Writes an observation as `show servers state` does, with only the columns that are read.
fn written_state(observation: &Observation) -> Vec<String> {
    const HEADER: &str = "# be_id be_name srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_fqdn srv_port \
                          srv_id srv_agent_state";
    let mut lines = vec![HEADER.to_owned()];
    for (service, servers) in &observation.services {
        for (name, server) in servers.iter() {
            let ObservedServer { address, port, fqdn, admin_state, operational_state, weight, id, agent } = server;
            let address = address.map_or("-".to_owned(), |address| address.to_string());
            let port = port.map_or(0, |port| port.get());
            let (fqdn, id) = (fqdn.as_deref().unwrap_or("-"), id.unwrap_or_default());
            let agent = match agent {
                AgentState::None => 0,
                AgentState::Disabled => 2,
                AgentState::Enabled => 6,
            };
            lines.push(format!(
                "2 {service} {name} {address} {operational_state} {admin_state} {weight} {fqdn} {port} {id} {agent}"
            ));
        }
    }
    lines
}

fn process(lines: &[String]) {
    let read = |lines: &[String]| {
        let mut info = Info::default();
        lines.iter().for_each(|line| info.line(line));
        info.finish()
    };
    let Ok(process) = read(lines) else { return };
    let ProcessInfo { pid, version_text, uptime_s, stopping, .. } = &process;
    let written = [
        format!("Pid: {pid}"),
        format!("Version: {version_text}"),
        format!("Uptime_sec: {uptime_s}"),
        format!("Stopping: {}", u8::from(*stopping)),
    ];
    assert_eq!(read(&written), Ok(process));
}

fn routes(lines: &[String]) {
    let read = |lines: &[String]| {
        let mut reader = MapReader::default();
        lines.iter().for_each(|line| reader.line(line));
        reader.finish()
    };
    let Ok(Some(routes)) = read(lines) else { return };
    for (key, value) in routes.iter().filter(|(_, value)| !value.contains(' ')) {
        let again = read(&[format!("0x1 {} {value}", key.as_str())]);
        assert_eq!(again, Ok(Some([(key.clone(), value.clone())].into())));
    }
}

fn statistics(lines: &[String]) {
    let mut table = StatisticsTable::default();
    lines.iter().for_each(|line| table.line(line));
    let _ = table.section();
    for row in table.rows() {
        let _ = (row.section(), row.server());
        let quoted = Vec::from_iter(row.fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))));
        assert_eq!(fields(&quoted.join(",")), row.fields);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seed_texts::{mutated, seeds};

    #[test]
    fn properties_hold_for_the_seeds() {
        for text in seeds("check_output") {
            check_output(&String::from_utf8_lossy(&text));
        }
        seeds("runtime_answers").iter().for_each(|text| runtime_answers(text));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn properties_hold_for_changed_output(text in mutated("check_output")) {
            check_output(&String::from_utf8_lossy(&text));
        }

        #[test]
        fn properties_hold_for_changed_answers(text in mutated("runtime_answers")) {
            runtime_answers(&text);
        }
    }
}
