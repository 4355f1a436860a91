//! The policy for the options of a service's definition.
//!
//! The author of a definition may only choose options inside the service's own section. So lines and server options are
//! checked against a [grammar](super::grammar), and what it does not understand is refused. The operator can allow more,
//! except options that change the structure of the file.

use std::borrow::Cow;

use super::grammar::facts::{self, Fact, Sharing};
use super::grammar::section::Section;
use super::grammar::server_words::{self, OPERATOR_MAY_ALLOW};
use super::grammar::{reader, refusals, table};
use super::grants::{self, Grants, Request};
use super::nearest;
use super::own_places::OwnPlaces;
use super::quoting::split_line;
use super::routing::{self, FrontendKind};
use crate::limits::{
    LINE_WORDS_MAX, LISTEN_LINE_BYTES_MAX, LISTEN_LINES_MAX, LISTEN_TEXT_BYTES_MAX, SERVER_OPTION_BYTES_MAX,
    SERVER_OPTION_WORDS_MAX,
};
use crate::model::{ListenAddress, Removal, ServiceDefinition, Word};

/// The grammar with the operator's additions, the default limits of a service, and the grants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OptionPolicy {
    /// The first words of additionally allowed listen and server options: `http-request`, `option external-check`,
    /// `ca-file`. Options that begin with such words are not checked further. The name of a fetch or a converter allows
    /// it in all expressions.
    pub extra: Vec<String>,
    /// The guard's default limits of a service.
    pub removal: Removal,
    /// What services with certain names may use.
    pub grants: Grants,
    /// What belongs to proxymgr itself, which no health check may connect to.
    pub own: OwnPlaces,
}

/// A refused line of `listen_options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedLine {
    /// Its position, from 0; `None` for a bound of all lines.
    pub at: Option<usize>,
    /// Why it is refused and what to do.
    pub reason: String,
}

/// The lines of one service that were read so far.
#[derive(Default)]
struct LinesRead {
    /// What each line uses.
    lines: Vec<Vec<Fact>>,
    /// The ACLs that they define.
    acls: Vec<String>,
}

impl LinesRead {
    /// Returns the bound of a service that the lines exceed together.
    fn excess(&self) -> Option<String> {
        facts::excess(&self.lines.concat()).or_else(|| facts::excessive_work(&self.lines))
    }
}

impl OptionPolicy {
    /// Returns the policy of the service with this name: its grant may allow more options, and other networks.
    pub fn of_service(&self, name: &str) -> Cow<'_, Self> {
        match self.grants.of(name) {
            Some(grant) if !grant.options.is_empty() || grant.hosts.networks.is_some() => {
                let mut own = self.clone();
                own.extra.extend(grant.options.iter().cloned());
                grant.hosts.networks.iter().for_each(|networks| own.own.limit_checks(networks.clone()));
                Cow::Owned(own)
            }
            _ => Cow::Borrowed(self),
        }
    }

    /// Checks a definition that was parsed earlier, under another policy or by another daemon.
    ///
    /// # Errors
    /// Why its options are not allowed, or what its grant does not cover.
    pub fn judge_definition(&self, definition: &ServiceDefinition) -> Result<(), String> {
        let name = definition.name.as_str();
        let grant = self.grants.of(name);
        let binds: Vec<ListenAddress> = definition.addresses().collect();
        let refusals = grants::refusals(grant, Request::of(definition, &binds));
        if !refusals.is_empty() {
            return Err(refusals.join("; "));
        }
        self.of_service(name).judge_options(definition)
    }

    fn judge_options(&self, definition: &ServiceDefinition) -> Result<(), String> {
        let lines = &definition.listen_options;
        if let Some(reason) = too_many(lines.len(), lines.iter().flatten().map(|word| word.as_str().len() + 1).sum()) {
            return Err(reason);
        }
        let mut read = LinesRead::default();
        for words in lines {
            self.judge_next_line(definition.name.as_str(), words, &mut read)?;
        }
        if let Some(reason) = read.excess() {
            return Err(reason);
        }
        if let Some(reason) = self.effect_on_others(definition) {
            return Err(reason);
        }
        self.judge_server_words(&definition.server_options)
    }

    /// Returns why a service without a listener of its own may not have its lines: requests for other services arrive over
    /// the same connection, in the same session.
    pub fn effect_on_others(&self, definition: &ServiceDefinition) -> Option<String> {
        // A connection in TCP mode belongs to one service.
        if routing::has_listener(definition) || routing::kind_of(definition) != FrontendKind::Http {
            return None;
        }
        let sharing = if routing::routed_at(definition).is_some() { Sharing::Generated } else { Sharing::OfOperator };
        let facts =
            definition.listen_options.iter().filter_map(|words| self.judge_line(definition.name.as_str(), words).ok());
        let facts = facts.flatten().collect::<Vec<_>>();
        facts::effect_on_others(&facts, sharing)
    }

    /// Splits the lines of `listen_options` of the service with this name into words, and checks them together.
    ///
    /// # Errors
    /// Every refused line.
    pub fn listen_options(&self, service: &str, lines: &[String]) -> Result<Vec<Vec<Word>>, Vec<RefusedLine>> {
        if let Some(reason) = too_many(lines.len(), lines.iter().map(|line| line.len() + 1).sum()) {
            return Err(vec![RefusedLine { at: None, reason }]);
        }
        let mut read = LinesRead::default();
        let (mut options, mut refused) = (Vec::new(), Vec::new());
        for (at, line) in lines.iter().enumerate() {
            let words = split(line).and_then(|words| self.judge_next_line(service, &words, &mut read).map(|()| words));
            match words {
                Ok(words) => options.push(words),
                Err(reason) => refused.push(RefusedLine { at: Some(at), reason }),
            }
        }
        let excess = read.excess().filter(|_| refused.is_empty());
        refused.extend(excess.map(|reason| RefusedLine { at: None, reason }));
        if refused.is_empty() { Ok(options) } else { Err(refused) }
    }

    /// Splits one line of `listen_options` into words and checks it, apart from the ACLs that other lines define and what all
    /// lines use together.
    ///
    /// # Errors
    /// Why the line is refused and what to do, without the service and the key.
    pub fn listen_line(&self, service: &str, line: &str) -> Result<Vec<Word>, String> {
        let words = split(line)?;
        let lines = vec![self.judge_line(service, &words)?];
        LinesRead { lines, ..LinesRead::default() }.excess().map_or(Ok(words), Err)
    }

    /// Checks a line together with the lines before it.
    fn judge_next_line(&self, service: &str, words: &[Word], read: &mut LinesRead) -> Result<(), String> {
        let facts = self.judge_line(service, words)?;
        // A line that the operator allows is not read, and also defines an ACL.
        if let [keyword, name, ..] = words
            && keyword.as_str() == "acl"
        {
            read.acls.push(name.as_str().to_owned());
        }
        if let Some(name) = facts::undefined_acl(&read.acls, &facts) {
            let meant = nearest::nearest(name, read.acls.iter().map(String::as_str));
            let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
            return Err(format!("the ACL {name:?} is not defined by a line before{hint}"));
        }
        read.lines.push(facts);
        Ok(())
    }

    /// Checks a line that is already split. Returns what it uses.
    fn judge_line(&self, service: &str, words: &[Word]) -> Result<Vec<Fact>, String> {
        let Some(first) = words.first() else { return Err("it is empty".to_owned()) };
        if words.len() > LINE_WORDS_MAX {
            return Err(format!("it has {} words; HAProxy takes at most {LINE_WORDS_MAX} in a line", words.len()));
        }
        let positive = positive(words);
        let keyword = positive[0].as_str();
        if let Some(reason) = refusals::structural(keyword).or_else(|| refusals::removed(positive)) {
            return Err(reason);
        }
        if self.lifts(positive) {
            return Ok(Vec::new());
        }
        let section = Section { name: Some(service), granted: &self.extra, own: &self.own };
        let refusal = match table::shapes(first.as_str()) {
            Some(shapes) => match reader::read(words, shapes, &section) {
                Ok(facts) => {
                    let is_check = matches!(keyword, "http-check" | "tcp-check");
                    let facts = if is_check { facts::of_check(facts) } else { facts };
                    return refusals::line_break(words).map_or(Ok(facts), Err);
                }
                Err(reason) => reason,
            },
            None => {
                let meant = nearest::nearest(keyword, table::keywords());
                let hint = meant.map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
                format!("{keyword:?} is not an option that a service may use{hint}")
            }
        };
        let reason = refusals::granted(positive).unwrap_or(refusal);
        Err(if reason.ends_with(')') { reason } else { format!("{reason} ({OPERATOR_MAY_ALLOW})") })
    }

    /// Splits server options into words and checks them. Each element may contain several: `check inter 2000`.
    ///
    /// # Errors
    /// Which option is refused, why, and what to do, without the service and the key.
    pub fn server_options(&self, options: &[String]) -> Result<Vec<Word>, String> {
        let bytes: usize = options.iter().map(String::len).sum();
        if bytes > SERVER_OPTION_BYTES_MAX {
            return Err(format!("they are {bytes} bytes long; at most {SERVER_OPTION_BYTES_MAX} are allowed"));
        }
        let mut words = Vec::new();
        for option in options {
            words.extend(split_line(option).map_err(|reason| format!("{option:?}: {reason}"))?);
        }
        if words.len() > SERVER_OPTION_WORDS_MAX {
            return Err(format!("they have {} words; at most {SERVER_OPTION_WORDS_MAX} are allowed", words.len()));
        }
        self.judge_server_words(&words)?;
        Ok(words)
    }

    /// Checks server options that are already split.
    ///
    /// # Errors
    /// As [`OptionPolicy::server_options`].
    pub fn judge_server_words(&self, words: &[Word]) -> Result<(), String> {
        let mut facts = Vec::new();
        server_words::check(words, &Section { name: None, granted: &self.extra, own: &self.own }, &mut facts)?;
        LinesRead { lines: vec![facts], ..LinesRead::default() }.excess().map_or(Ok(()), Err)
    }

    /// Returns whether the operator has allowed options that begin with these words.
    fn lifts(&self, words: &[Word]) -> bool {
        self.extra.iter().any(|allowed| {
            let mut allowed = allowed.split_whitespace().peekable();
            let mut words = words.iter();
            allowed.peek().is_some() && allowed.all(|part| words.next().is_some_and(|word| word.as_str() == part))
        })
    }
}

fn split(line: &str) -> Result<Vec<Word>, String> {
    if line.len() > LISTEN_LINE_BYTES_MAX {
        return Err(format!("it is {} bytes long; at most {LISTEN_LINE_BYTES_MAX} are allowed", line.len()));
    }
    split_line(line)
}

/// Returns the bound that the number or the length of all lines exceeds.
fn too_many(lines: usize, bytes: usize) -> Option<String> {
    if lines > LISTEN_LINES_MAX {
        return Some(format!("{lines} lines are more than the {LISTEN_LINES_MAX} allowed"));
    }
    (bytes > LISTEN_TEXT_BYTES_MAX)
        .then(|| format!("the lines are {bytes} bytes long together; at most {LISTEN_TEXT_BYTES_MAX} are allowed"))
}

/// Returns the words without a leading `no` or `default`.
fn positive(words: &[Word]) -> &[Word] {
    match words {
        [no, rest @ ..] if matches!(no.as_str(), "no" | "default") && !rest.is_empty() => rest,
        words => words,
    }
}
