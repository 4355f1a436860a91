//! The types of the arguments of lines, expressions and server options.

use crate::limits::{CAPTURE_BYTES_MAX, CHECK_INTERVAL_MIN, STICK_TABLE_ENTRIES_MAX, STICK_TABLE_KEY_BYTES_MAX};

/// The type of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text that HAProxy writes into its page of statistics as it is.
    PageText,
    /// A name of letters, digits and `_-.:`.
    Name,
    /// The name of an HTTP header or a cookie (RFC 9110, 5.6.2, "token").
    Token,
    /// The name of a header that a rule may write: not one that decides where a message ends.
    Header,
    /// A whole number within these bounds.
    Number(i64, i64),
    /// A duration in HAProxy's notation: `2000`, `2s`, `500ms`.
    Duration,
    /// The interval of a health check: a duration of at least [`CHECK_INTERVAL_MIN`].
    Interval,
    /// A number of bytes: `500`, `10k`.
    Size,
    /// One status code of HTTP.
    Status,
    /// A list of status codes and ranges of them: `200,300-399`.
    Statuses,
    /// One IP address, in any network.
    Ip,
    /// One IP address that a health check may connect to.
    CheckedIp,
    /// A port that a health check may connect to.
    CheckedPort,
    /// An IP address or a network: `10.0.0.0/8`.
    Network,
    /// An even number of hexadecimal digits.
    Hex,
    /// A value of the TOS field, decimal or hexadecimal.
    Tos,
    /// A number or a variable.
    NumberOrVariable,
    /// A variable of a session, transaction, request, response or check: `txn.name`.
    Variable,
    /// A condition for setting a variable: `ifnotset`.
    SetCondition,
    /// The section's own name.
    Own,
    /// A server of the section's own: `name` or `section/name`.
    OwnServer,
    /// The name of an ACL that the line defines.
    NewAcl,
    /// The name of an ACL of the section, perhaps after `!`.
    Acl,
    /// A regular expression.
    Regex,
    /// The number of entries of a stick table.
    TableEntries,
    /// The length of the keys of a stick table.
    TableKeyBytes,
    /// A list of the data types of a stick table: `http_req_rate(10s),gpc0`.
    TableData,
    /// The length of a capture.
    CaptureBytes,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// A list, separated by commas, of these words.
    ListOf(&'static [&'static str]),
    /// `init-addr`'s list of `last`, `libc`, `none` and IP addresses.
    InitAddr,
    /// A format string: text with `%[expression]` and `%alias`.
    Format,
    /// A format string of logs.
    LogFormat,
    /// An expression: `fetch(arguments),converter(arguments)`.
    Expression,
    /// `if` or `unless` with ACLs, up to the end of the line.
    Condition,
    /// The test of an ACL, up to the end of the line.
    AclTest,
    /// Server options, up to the end of the line.
    ServerOptions,
}

/// The names of types in the notation of the table.
const NAMES: &[(&str, Kind)] = &[
    ("text", Kind::Text),
    ("page-text", Kind::PageText),
    ("name", Kind::Name),
    ("token", Kind::Token),
    ("header", Kind::Header),
    ("duration", Kind::Duration),
    ("interval", Kind::Interval),
    ("size", Kind::Size),
    ("status", Kind::Status),
    ("statuses", Kind::Statuses),
    ("ip", Kind::Ip),
    ("checked-ip", Kind::CheckedIp),
    ("network", Kind::Network),
    ("hex", Kind::Hex),
    ("tos", Kind::Tos),
    ("number", Kind::Number(-2_147_483_648, 2_147_483_647)),
    ("checked-port", Kind::CheckedPort),
    ("number-or-variable", Kind::NumberOrVariable),
    ("variable", Kind::Variable),
    ("set-condition", Kind::SetCondition),
    ("own-section", Kind::Own),
    ("own-server", Kind::OwnServer),
    ("new-acl", Kind::NewAcl),
    ("acl", Kind::Acl),
    ("regex", Kind::Regex),
    ("table-entries", Kind::TableEntries),
    ("table-key-bytes", Kind::TableKeyBytes),
    ("table-data", Kind::TableData),
    ("capture-bytes", Kind::CaptureBytes),
    ("format", Kind::Format),
    ("log-format", Kind::LogFormat),
    ("expression", Kind::Expression),
    ("condition", Kind::Condition),
    ("acl-test", Kind::AclTest),
    ("server-options", Kind::ServerOptions),
];

impl Kind {
    /// Returns the type with this name in the notation of the table, such as `duration` or `0..100`.
    pub fn named(name: &str) -> Option<Self> {
        if let Some((min, max)) = name.split_once("..") {
            return Some(Self::Number(min.parse().ok()?, max.parse().ok()?));
        }
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Returns whether the type restricts its values because of their effects outside the section.
    pub fn protects_others(self) -> bool {
        match self {
            Self::Interval
            | Self::CheckedIp
            | Self::CheckedPort
            | Self::InitAddr
            | Self::Header
            | Self::PageText
            | Self::Network
            | Self::NumberOrVariable
            | Self::Variable
            | Self::Own
            | Self::OwnServer
            | Self::Acl
            | Self::Regex
            | Self::TableEntries
            | Self::TableKeyBytes
            | Self::TableData
            | Self::CaptureBytes
            | Self::Format
            | Self::LogFormat
            | Self::Expression
            | Self::AclTest
            | Self::ServerOptions => true,
            Self::Text
            | Self::Name
            | Self::Token
            | Self::Number(..)
            | Self::Duration
            | Self::Size
            | Self::Status
            | Self::Statuses
            | Self::Ip
            | Self::Hex
            | Self::Tos
            | Self::SetCondition
            | Self::NewAcl
            | Self::OneOf(_)
            | Self::ListOf(_)
            | Self::Condition => false,
        }
    }

    /// Returns whether its value is all words up to the end of the line.
    pub fn takes_the_rest(self) -> bool {
        matches!(self, Self::Condition | Self::AclTest | Self::ServerOptions)
    }

    /// Returns valid values, for examples and tests.
    pub fn samples(self) -> &'static [&'static str] {
        match self {
            Self::Text => &["text", "two words", "it's 100 #1"],
            Self::PageText => &["text", "two words"],
            Self::Name | Self::NewAcl => &["a_name"],
            Self::Token | Self::Header => &["X-Name"],
            Self::Number(..) | Self::NumberOrVariable | Self::CheckedPort => &["7"],
            Self::Duration | Self::Interval => &["2s", "1500"],
            Self::Size | Self::TableEntries => &["10k"],
            Self::Status => &["503"],
            Self::Statuses => &["200-299,304"],
            Self::Ip | Self::CheckedIp | Self::InitAddr => &["10.1.2.3", "2001:db8::7"],
            Self::Network => &["10.0.0.0/8"],
            Self::Hex => &["50494e470d0a"],
            Self::Tos => &["0x10", "46"],
            Self::Variable => &["txn.seen"],
            Self::SetCondition => &["ifnotset"],
            Self::Own => &["web"],
            Self::OwnServer => &["web/a", "a"],
            Self::Acl => &["TRUE"],
            Self::Regex => &["^/(img|css)/[^/]+$"],
            Self::TableKeyBytes => &["32"],
            Self::TableData => &["gpc0,http_req_rate(10s)"],
            Self::CaptureBytes => &["64"],
            Self::OneOf(words) | Self::ListOf(words) => words,
            Self::Format | Self::LogFormat => &["%[req.hdr(host),lower]:%ci", "text"],
            Self::Expression => &["req.hdr(x-user),lower", "src"],
            Self::Condition => &["if { path_beg /a } || METH_GET", "unless TRUE"],
            Self::AclTest => &["path -m beg -i /api /v2", "src 10.0.0.0/8", "ssl_fc"],
            Self::ServerOptions => &["check inter 2s fall 3"],
        }
    }

    /// Returns what a value has to be, for messages and the documentation.
    pub fn description(self) -> String {
        match self {
            Self::Text => "any text".to_owned(),
            Self::PageText => "a text without < > & and quotes".to_owned(),
            Self::Name => "a name of letters, digits, _, -, . and :".to_owned(),
            Self::Token => "a header or cookie name".to_owned(),
            Self::Header => "a header name except Content-Length, Transfer-Encoding and Connection".to_owned(),
            Self::Number(min, max) => format!("a whole number from {min} to {max}"),
            Self::Duration => "a duration such as 2000, 2s or 500ms".to_owned(),
            Self::Interval => {
                format!(
                    "a duration above 0 such as 2000, 2s or 500ms, of {} ms at least",
                    CHECK_INTERVAL_MIN.as_millis()
                )
            }
            Self::Size => "a number of bytes such as 500 or 10k".to_owned(),
            Self::Status => "a status code from 100 to 599".to_owned(),
            Self::Statuses => "a list of status codes and ranges such as 200,300-399".to_owned(),
            Self::Ip => "an IP address".to_owned(),
            Self::CheckedIp => {
                "an IP address outside the loopback, link-local, multicast and unspecified ranges".to_owned()
            }
            Self::Network => "an IP address or a network such as 10.0.0.0/8".to_owned(),
            Self::CheckedPort => {
                "a port from 1 to 65535, except those of the status listener and of Runtime APIs".to_owned()
            }
            Self::Hex => "an even number of hexadecimal digits".to_owned(),
            Self::Tos => "a number from 0 to 255, decimal or after 0x".to_owned(),
            Self::NumberOrVariable => "a whole number, or a variable such as txn.name".to_owned(),
            Self::Variable => "a variable such as txn.name, of the scopes sess, txn, req, res and check".to_owned(),
            Self::SetCondition => format!("one of {}", SET_CONDITIONS.join(", ")),
            Self::Own => "the service's own section".to_owned(),
            Self::OwnServer => "a server of the service's own section".to_owned(),
            Self::NewAcl => "the name of an ACL: letters, digits, _, -, . and :".to_owned(),
            Self::Acl => "the name of an ACL of the section".to_owned(),
            Self::Regex => "a regular expression that cannot take exponential time".to_owned(),
            Self::TableEntries => format!("a number of entries such as 100k, at most {STICK_TABLE_ENTRIES_MAX}"),
            Self::TableKeyBytes => format!("a whole number from 1 to {STICK_TABLE_KEY_BYTES_MAX}"),
            Self::TableData => "a list of data types such as gpc0,http_req_rate(10s)".to_owned(),
            Self::CaptureBytes => format!("a whole number from 1 to {CAPTURE_BYTES_MAX}"),
            Self::OneOf(words) => format!("one of {}", words.join(", ")),
            Self::ListOf(words) => format!("a list of {}", words.join(", ")),
            Self::InitAddr => {
                "a list of last, libc, none or IP addresses outside the loopback and link-local ranges".to_owned()
            }
            Self::Format => "text with %[expression] and %alias".to_owned(),
            Self::LogFormat => {
                "a format whose expressions hold no control characters, or end in json, url_enc, hex or base64"
                    .to_owned()
            }
            Self::Expression => "fetch(arguments),converter(arguments),...".to_owned(),
            Self::Condition => "if or unless, then ACLs".to_owned(),
            Self::AclTest => "an expression, flags (-i, -m METHOD, -n, --) and patterns".to_owned(),
            Self::ServerOptions => "options of servers".to_owned(),
        }
    }

    /// Returns the named types with their names, for the documentation.
    pub fn all_named() -> impl Iterator<Item = (&'static str, Self)> {
        NAMES.iter().copied()
    }
}

/// The conditions of `set-var`. Source: `configuration.txt` 4.4, "set-var".
pub const SET_CONDITIONS: &[&str] =
    &["ifexists", "ifnotexists", "ifempty", "ifnotempty", "ifset", "ifnotset", "ifgt", "iflt"];
