//! What the lines of a service use of things that are bounded per service, and the ACLs that they define and use.

use std::collections::{BTreeMap, BTreeSet};

use super::numbers::size;
use super::{table_data, work};
use crate::limits::{
    CAPTURES_BYTES_MAX, CHECK_VARIABLES_MAX, EXPRESSIONS_MAX, REGEXES_MAX, STICK_TABLE_BYTES_MAX,
    STICK_TABLE_ENTRY_BYTES, VARIABLES_MAX, WORK_MAX,
};
use crate::model::Word;

/// Bytes of one entry of a stick table without its key and data, roughly.
const TABLE_ENTRY_BYTES: u64 = 100;

/// Bytes of one data type of one entry of a stick table, at most.
const TABLE_DATA_BYTES: u64 = 16;

/// One use of something bounded, or of an ACL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// A fetch or a converter with this work.
    Expression(u64),
    /// A regular expression with this work.
    Regex(u64),
    /// Other work: of a pattern, of a predefined ACL, of an action.
    Work(u64),
    /// A definition of an ACL.
    AclDefined(String),
    /// The use of an ACL that is not predefined.
    AclUsed(String),
    /// The use of a variable by a request. HAProxy keeps its value as long as the request.
    Variable(String),
    /// A change of a variable of the session, which all requests of a client's connection share.
    SessionChanged(String),
    /// The use of a variable by a health check. HAProxy keeps its value for every host as long as the check.
    CheckVariable(String),
    /// A change of a tracked counter. Where the frontend tracks it, it is an entry of the frontend's stick table.
    CounterChanged(String),
    /// The use of an action that changes the client's connection, or the framing of its answers.
    ChangesConnection(String),
    /// A variable or a capture may hold line breaks.
    LineBreaksStored,
    /// A log holds a variable or a capture as it is.
    VariableLogged,
    /// The number of entries of a stick table.
    TableEntries(u64),
    /// The length of the keys of a stick table.
    TableKeyBytes(u64),
    /// The number of values in each entry of a stick table.
    TableData(u64),
    /// The length of a capture.
    CaptureBytes(u64),
}

/// Returns the bound that these uses of a whole service exceed.
pub fn excess(facts: &[Fact]) -> Option<String> {
    let count = |is_one: fn(&Fact) -> bool| facts.iter().filter(|fact| is_one(fact)).count();
    let sum = |of: fn(&Fact) -> Option<u64>| facts.iter().filter_map(of).sum::<u64>();
    let regexes = count(|fact| matches!(fact, Fact::Regex(_)));
    if regexes > REGEXES_MAX {
        return Some(format!("it has {regexes} regular expressions; at most {REGEXES_MAX} are allowed"));
    }
    let expressions = count(|fact| matches!(fact, Fact::Expression(_)));
    if expressions > EXPRESSIONS_MAX {
        return Some(format!("it has {expressions} expressions; at most {EXPRESSIONS_MAX} are allowed"));
    }
    let names = |of: fn(&Fact) -> Option<&str>| facts.iter().filter_map(of).collect::<BTreeSet<_>>().len();
    let variables = names(|fact| if let Fact::Variable(name) = fact { Some(name) } else { None });
    if variables > VARIABLES_MAX {
        return Some(format!(
            "it has {variables} variables, each of which may hold 16 KiB of every request; at most {VARIABLES_MAX} are \
             allowed"
        ));
    }
    let of_checks = names(|fact| if let Fact::CheckVariable(name) = fact { Some(name) } else { None });
    if of_checks > CHECK_VARIABLES_MAX {
        return Some(format!(
            "its checks have {of_checks} variables, each of which may hold 16 KiB for every host; at most \
             {CHECK_VARIABLES_MAX} are allowed"
        ));
    }
    let holds = |fact: &Fact| facts.contains(fact);
    if holds(&Fact::LineBreaksStored) && holds(&Fact::VariableLogged) {
        return Some(
            "its log format holds a variable or a capture, and one of them may add lines to the log; end the expression in the \
             log format with a converter that encodes control characters, such as json or url_enc"
                .to_owned(),
        );
    }
    let captures = sum(|fact| match fact {
        Fact::CaptureBytes(bytes) => Some(*bytes),
        _ => None,
    });
    if captures > CAPTURES_BYTES_MAX {
        return Some(format!("its captures are {captures} bytes long; at most {CAPTURES_BYTES_MAX} are allowed"));
    }
    let table_bytes = stick_table_bytes(facts);
    (table_bytes > STICK_TABLE_BYTES_MAX).then(|| {
        format!(
            "its stick table takes about {} MiB; at most {} are allowed: choose a smaller size, shorter keys or fewer \
             data types",
            table_bytes >> 20,
            STICK_TABLE_BYTES_MAX >> 20
        )
    })
}

/// Returns the memory of the stick tables, roughly. A section has one; several lines count together.
fn stick_table_bytes(facts: &[Fact]) -> u64 {
    let (mut entries, mut entry_bytes) = (0_u64, TABLE_ENTRY_BYTES);
    for fact in facts {
        match fact {
            Fact::TableEntries(count) => entries = entries.saturating_add(*count),
            Fact::TableKeyBytes(bytes) => entry_bytes += bytes,
            Fact::TableData(count) => entry_bytes += count * TABLE_DATA_BYTES,
            _ => {}
        }
    }
    entries.saturating_mul(entry_bytes)
}

/// Returns the work of lines with these facts, in units of 10 microseconds.
pub fn total_work(facts: &[Fact]) -> u64 {
    let of_fact = |fact: &Fact| match fact {
        Fact::Expression(work) | Fact::Regex(work) | Fact::Work(work) => *work,
        _ => 0,
    };
    facts.iter().map(of_fact).fold(0, u64::saturating_add)
}

/// Returns the entries of the stick tables of these lines, as they count against the quota of all services: an entry of more
/// than [`STICK_TABLE_ENTRY_BYTES`] counts several times. A line that the operator has allowed counts, too.
pub fn stick_table_entries(lines: &[Vec<Word>]) -> u64 {
    let tables = lines.iter().filter(|words| words.first().is_some_and(|word| word.as_str() == "stick-table"));
    tables.map(|words| entries_of_table(words)).fold(0, u64::saturating_add)
}

fn entries_of_table(words: &[Word]) -> u64 {
    let values =
        |name: &'static str| words.windows(2).filter(move |pair| pair[0].as_str() == name).map(|pair| pair[1].as_str());
    let entries = values("size").filter_map(size).max().unwrap_or_default();
    let key_bytes = values("len").filter_map(size).max().unwrap_or_default();
    let data = values("store").filter_map(|types| table_data::check(types).ok()).fold(0, u64::saturating_add);
    let entry_bytes = TABLE_ENTRY_BYTES.saturating_add(key_bytes).saturating_add(data.saturating_mul(TABLE_DATA_BYTES));
    entries.saturating_mul(entry_bytes.div_ceil(STICK_TABLE_ENTRY_BYTES))
}

/// Returns why a request may take too long by lines with these facts. A test of an ACL is evaluated again for every rule that
/// uses it.
pub fn excessive_work(lines: &[Vec<Fact>]) -> Option<String> {
    let mut of_acl: BTreeMap<&str, u64> = BTreeMap::new();
    let mut total = 0_u64;
    for facts in lines {
        match facts.iter().find_map(|fact| if let Fact::AclDefined(name) = fact { Some(name) } else { None }) {
            Some(name) => *of_acl.entry(name).or_default() += total_work(facts),
            None => total = total.saturating_add(total_work(facts)),
        }
        let used = facts
            .iter()
            .filter_map(|fact| if let Fact::AclUsed(name) = fact { of_acl.get(name.as_str()) } else { None });
        total = used.fold(total, |total, work| total.saturating_add(*work));
    }
    (total > WORK_MAX).then(|| {
        format!(
            "a request may take {} ms of HAProxy's time; at most {} are allowed: use fewer or simpler regular expressions, \
             substrings and tests of headers, cookies and parameters, and fewer rules with their ACLs",
            total / 100,
            WORK_MAX / 100
        )
    })
}

/// Who opens the connections of clients that requests for a service share with requests for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// A frontend that proxymgr writes, for services with domains.
    Generated,
    /// Frontends of the operator. The service is a `backend` without a listener of its own.
    OfOperator,
}

/// Returns why a service may not have lines with these facts if it shares the connections of clients with others.
pub fn effect_on_others(facts: &[Fact], sharing: Sharing) -> Option<String> {
    let who = match sharing {
        Sharing::Generated => "services with domains share",
        Sharing::OfOperator => "services without a listener share",
    };
    let of_session =
        |name: &str| format!("{name:?} is a variable of the session, which {who}; use txn. in place of sess.");
    facts.iter().find_map(|fact| match fact {
        // The operator's frontends may set some for all services to read.
        Fact::Variable(name) if sharing == Sharing::Generated && is_of_session(name) => Some(of_session(name)),
        Fact::SessionChanged(name) => Some(of_session(name)),
        Fact::ChangesConnection(action) => Some(format!(
            "{action:?} changes the client's connection, or what the client takes for the end of an answer, and {who} \
             connections"
        )),
        Fact::CounterChanged(what) if sharing == Sharing::OfOperator => Some(format!(
            "{what:?} changes a counter that the operator's frontend may track; count in the service's own stick table, \
             with src_inc_gpc0 or table_inc_gpc0 and their kin"
        )),
        _ => None,
    })
}

/// Actions that change the client's connection (some of them in HAProxy 2.2 only), or what the client takes for the end of
/// an answer: a 304 may announce the length of a body that it does not have, so with another status it takes the next
/// answer for its body.
const OF_CONNECTIONS: &[&str] =
    &["set-src", "set-src-port", "set-dst", "set-dst-port", "set-tos", "set-fc-tos", "set-method", "set-status"];

/// The beginnings of actions that change tracked counters.
const OF_COUNTERS: &[&str] = &["sc-inc-gpc", "sc-add-gpc", "sc-set-gpt"];

/// Returns the facts of the action of a line, besides those of its arguments.
pub fn of_action(words: &[Word]) -> Vec<Fact> {
    let actions = words.iter().map(Word::as_str).skip(1).take(2);
    let mut facts = Vec::from_iter(actions.clone().map(|action| Fact::Work(work::of_action(action))));
    for action in actions {
        if OF_CONNECTIONS.contains(&action) {
            facts.push(Fact::ChangesConnection(action.to_owned()));
        }
        if OF_COUNTERS.iter().any(|beginning| action.starts_with(beginning)) {
            facts.push(Fact::CounterChanged(action.to_owned()));
        }
    }
    facts
}

/// Returns the fact of a fetch that changes a tracked counter, such as `sc_inc_gpc0(1)` or `sc0_clr_gpc0`.
pub fn of_fetch(name: &str) -> Option<Fact> {
    let changes = ["_inc_gpc", "_clr_gpc"].iter().any(|part| name.contains(part));
    (changes && name.starts_with("sc")).then(|| Fact::CounterChanged(name.to_owned()))
}

/// Adds the changes of variables by an action or a converter to the facts of its arguments.
pub fn note_changes(name: &str, before: usize, facts: &mut Vec<Fact>) {
    if !matches!(name, "set-var" | "set-var-fmt" | "unset-var") {
        return;
    }
    let changed = facts.iter().skip(before).find_map(|fact| match fact {
        Fact::Variable(name) if is_of_session(name) => Some(Fact::SessionChanged(name.clone())),
        _ => None,
    });
    facts.extend(changed);
}

fn is_of_session(variable: &str) -> bool {
    variable.starts_with("sess.")
}

/// Returns the facts of a line of health checks: its variables are those of checks.
pub fn of_check(facts: Vec<Fact>) -> Vec<Fact> {
    let of_check = |fact| if let Fact::Variable(name) = fact { Fact::CheckVariable(name) } else { fact };
    facts.into_iter().map(of_check).collect()
}

/// Returns an ACL that is used although no earlier line defines it. HAProxy would refuse the section.
pub fn undefined_acl<'a>(defined: &[String], facts: &'a [Fact]) -> Option<&'a str> {
    facts.iter().find_map(|fact| match fact {
        Fact::AclUsed(name) if !defined.contains(name) => Some(name.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::option_policy::OptionPolicy;
    use crate::decide::quoting::split_line;
    use crate::decide::service_definition::parse;
    use crate::model::RawDefinition;

    /// Returns the mistakes of a service with these keys and lines.
    fn mistakes(keys: &str, lines: &[String]) -> String {
        let lines = serde_json::to_string(lines).unwrap();
        let text = format!(r#"{{"type": "file", "path": "a"{keys}, "listen_options": {lines}}}"#);
        match parse("web", &RawDefinition::new(text, "a test"), &OptionPolicy::default()) {
            Ok(_) => String::new(),
            Err(mistakes) => mistakes.join("; "),
        }
    }

    fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
        lines.map(str::to_owned).to_vec()
    }

    #[test]
    fn variables_are_bounded() {
        let of_requests = |count| {
            let line = |number| format!("http-request set-var(txn.v{number}) req.hdr(x)");
            (0..count).map(line).chain([format!("http-request set-var(txn.v{}) str(again)", 0)]).collect::<Vec<_>>()
        };
        assert_eq!(mistakes(r#", "port": 80"#, &of_requests(VARIABLES_MAX)), "");
        assert!(mistakes(r#", "port": 80"#, &of_requests(VARIABLES_MAX + 1)).contains("33 variables"));
        for set in ["set-var(check.vN) str(a)", "set-var-fmt(check.vN) a", "set-var(check.v0) str(a),set-var(check.vN)"]
        {
            let of_checks = |count: usize| {
                let line = |number: usize| format!("tcp-check {}", set.replace("vN", &format!("v{number}")));
                (0..count).map(line).collect::<Vec<_>>()
            };
            assert_eq!(mistakes(r#", "port": 80"#, &of_checks(CHECK_VARIABLES_MAX)), "");
            assert!(mistakes(r#", "port": 80"#, &of_checks(CHECK_VARIABLES_MAX + 1)).contains("5 variables"), "{set}");
        }
    }

    #[test]
    fn backend_does_not_change_shared_connections() {
        for line in [
            "http-request set-var(sess.a) src",
            "http-request unset-var(sess.a)",
            "http-request set-header X %[src,set-var('sess.a')]",
            "http-response set-var-fmt(sess.a) b",
            "tcp-request content set-var(sess.a) src",
            "acl a always_true,set-var(sess.a)",
            "http-request set-src hdr(x)",
            "http-request set-method GET",
            "http-request set-tos 4",
            "http-response set-status 200",
            "http-after-response set-status 503 if { status 304 }",
        ] {
            let of_domains = mistakes(r#", "port": 80, "domains": ["a.example"]"#, &lines([line]));
            assert!(of_domains.contains("services with domains share"), "{line}: {of_domains}");
            let of_operator = mistakes("", &lines([line]));
            assert!(of_operator.contains("services without a listener share"), "{line}: {of_operator}");
            assert_eq!(mistakes(r#", "port": 80"#, &lines([line])), "", "its own connections: {line}");
            if line.starts_with("tcp") {
                assert_eq!(mistakes("", &lines(["mode tcp", line])), "", "a connection of one service: {line}");
            }
        }
    }

    #[test]
    fn backend_reads_variables_of_the_frontend() {
        for line in ["http-request set-header X %[var(sess.a)]", "http-request set-var(txn.a) str(b),concat(,sess.a)"] {
            assert_eq!(mistakes("", &lines([line])), "", "{line}");
            assert_ne!(mistakes(r#", "port": 80, "domains": ["a.example"]"#, &lines([line])), "", "{line}");
        }
    }

    #[test]
    fn backend_does_not_change_counters_of_a_frontend() {
        for line in [
            "http-request sc-inc-gpc0(0)",
            "http-request sc-inc-gpc(0,1)",
            "http-request sc-add-gpc(0,0) 7",
            "http-response sc-set-gpt0(0) 7",
            "acl a sc_inc_gpc0(0) gt 0",
            "acl a sc0_clr_gpc0 gt 0",
            "http-request set-header X %[sc_clr_gpc(1,0)]",
        ] {
            assert!(mistakes("", &lines([line])).contains("the operator's frontend"), "{line}");
            assert_eq!(mistakes(r#", "port": 80, "domains": ["a.example"]"#, &lines([line])), "", "{line}");
        }
        for line in ["acl a sc_get_gpc0(0) gt 0", "acl a src_inc_gpc0(web) gt 0", "acl a src,table_inc_gpc0(web) gt 0"]
        {
            assert_eq!(mistakes("", &lines(["stick-table type ip size 1k store gpc0", line])), "", "{line}");
        }
    }

    #[test]
    fn large_entries_of_a_stick_table_count_several_times() {
        let lines = |lines: &[&str]| Vec::from_iter(lines.iter().map(|line| split_line(line).expect("a good line")));
        let counted = |line: &str| stick_table_entries(&lines(&[line]));
        assert_eq!(counted("stick-table type ip size 100"), 100);
        assert_eq!(counted("stick-table type ip size 1k expire 10s store gpc0,http_req_rate(10s)"), 1_024);
        assert_eq!(counted("stick-table type string len 100 size 100 store gpc0"), 200);
        assert_eq!(counted("stick-table type string len 1024 size 1m"), 6 * 1_048_576);
        assert_eq!(counted("stick-table type ip size 10 store gpc(16) store gpt(16)"), 40);
        assert_eq!(counted("stick-table type ip"), 0);
        assert_eq!(counted("stick on src table size"), 0);
        assert_eq!(stick_table_entries(&lines(&["mode http", "stick-table size 1", "stick-table size 2"])), 3);
    }
}
