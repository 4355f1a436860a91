//! What the lines of a service use of things that are bounded per service, and the ACLs that they define and use.

use std::collections::BTreeMap;

use super::numbers::size;
use super::{table_data, work};
use crate::limits::{
    CAPTURES_BYTES_MAX, EXPRESSIONS_MAX, REGEXES_MAX, STICK_TABLE_BYTES_MAX, STICK_TABLE_ENTRY_BYTES, WORK_MAX,
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
    /// The use of a variable of the session, which all requests of a client's connection share.
    SessionVariable(String),
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
    let of_line = |facts: &[Fact]| -> u64 {
        let of_fact = |fact: &Fact| match fact {
            Fact::Expression(work) | Fact::Regex(work) | Fact::Work(work) => *work,
            _ => 0,
        };
        facts.iter().map(of_fact).fold(0, u64::saturating_add)
    };
    let mut of_acl: BTreeMap<&str, u64> = BTreeMap::new();
    let mut total = 0_u64;
    for facts in lines {
        match facts.iter().find_map(|fact| if let Fact::AclDefined(name) = fact { Some(name) } else { None }) {
            Some(name) => *of_acl.entry(name).or_default() += of_line(facts),
            None => total = total.saturating_add(of_line(facts)),
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

/// Returns why a service may not have lines with these facts if it shares the connections of clients with others.
pub fn effect_on_others(facts: &[Fact]) -> Option<String> {
    facts.iter().find_map(|fact| match fact {
        Fact::SessionVariable(name) => Some(format!(
            "{name:?} is a variable of the session, which services with domains share; use txn. in place of sess."
        )),
        Fact::ChangesConnection(action) => {
            Some(format!("{action:?} changes the client's connection, which services with domains share"))
        }
        _ => None,
    })
}

/// Actions that change the client's connection (HAProxy 2.2), or what the client takes for the end of an answer.
const OF_CONNECTIONS: &[&str] = &["set-src", "set-src-port", "set-dst", "set-dst-port", "set-method"];

/// Returns the facts of the action of a line, besides those of its arguments.
pub fn of_action(words: &[Word]) -> Vec<Fact> {
    let actions = words.iter().map(Word::as_str).skip(1).take(2);
    let mut facts = Vec::from_iter(actions.clone().map(|action| Fact::Work(work::of_action(action))));
    let of_connection = actions.filter(|action| OF_CONNECTIONS.contains(action));
    facts.extend(of_connection.map(|action| Fact::ChangesConnection(action.to_owned())));
    facts
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
    use crate::decide::quoting::split_line;

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
