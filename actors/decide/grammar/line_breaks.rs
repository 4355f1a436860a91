//! Whether the result of an expression may hold line breaks and other control characters.
//!
//! HAProxy encodes the results of expressions in headers, but writes them into logs as they are.

use crate::decide::quoting::escaped_control;

/// Whether a text may hold line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineBreaks {
    /// Never.
    Never,
    /// Where a variable or a capture does.
    InVariables,
    /// Yes.
    Possible,
}

/// The beginnings of fetches, after `req.` and `res.`, whose results are bytes that HAProxy does not check.
#[rustfmt::skip]
const RAW: &[&str] = &[
    "bin", "body", "payload", "hdrs", "rdp_cookie", "req_rdp_cookie", "distcc_body", "http_auth", "fc_pp_", "fcgi.", "ssl_sni",
    "req_ssl_sni", "ssl_alpn", "fc_saved_syn", "sc_key", "sc0_key", "sc1_key", "sc2_key",
];

/// Parts of the names of fetches of TLS (`ssl_...`) whose results are bytes or texts of the other side.
#[rustfmt::skip]
const RAW_OF_TLS: &[&str] = &[
    "_bin", "_der", "_dn", "_san", "_serial", "_sha1", "_session_id", "_unique_id", "_alpn", "_npn", "_sni", "_cipherlist_str",
    "_err_str",
];

/// Fetches of what another line has stored.
const OF_VARIABLES: &[&str] = &["var", "capture.req.hdr", "capture.res.hdr"];

/// Converters whose results hold no control characters: numbers, addresses and encoded texts.
#[rustfmt::skip]
const CLEANING: &[&str] = &[
    "json", "url_enc", "hex", "base64", "ub64enc", "base2", "be2hex", "be2dec", "le2dec", "hex2i", "length", "add", "and", "div",
    "mod", "mul", "or", "sub", "xor", "bool", "cpl", "even", "odd", "neg", "not", "crc32", "crc32c", "djb2", "sdbm", "wt6", "xxh3",
    "xxh32", "xxh64", "strcmp", "secure_memcmp", "has_ctl", "ipmask", "ip.src", "ip.dst", "in_table", "ltime", "utime", "http_date",
];

/// The beginnings of converters that decode a text, or make bytes of it.
#[rustfmt::skip]
const DECODING: &[&str] = &[
    "b64dec", "ub64dec", "url_dec", "json_query", "jwt_", "aes_", "protobuf", "ungrpc", "sha1", "sha2", "digest", "hmac", "htonl",
    "fix_tag_value", "mqtt_field_value", "eth.", "ip.", "tcp.", "rfc7239_", "param",
];

/// Converters that add the value of a variable.
const ADDING: &[&str] = &["concat", "add_item"];

impl LineBreaks {
    /// Returns whether the result of a fetch holds line breaks. `arguments` are its text with the brackets.
    pub fn of_fetch(name: &str, arguments: &str) -> Self {
        let of_message = ["req.", "res."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
        let is_raw = RAW.iter().any(|beginning| of_message.starts_with(beginning))
            || name.starts_with("ssl_") && RAW_OF_TLS.iter().any(|part| name.contains(part));
        if is_raw || holds_breaks(arguments) {
            Self::Possible
        } else if OF_VARIABLES.contains(&name) {
            Self::InVariables
        } else {
            Self::Never
        }
    }

    /// Returns whether the result of a converter of this text holds line breaks.
    #[must_use]
    pub fn converted(self, name: &str, arguments: &str) -> Self {
        if CLEANING.contains(&name) || name.starts_with("table_") {
            Self::Never
        } else if DECODING.iter().any(|beginning| name.starts_with(beginning)) || holds_breaks(arguments) {
            Self::Possible
        } else if ADDING.contains(&name) {
            self.max(Self::InVariables)
        } else {
            self
        }
    }

    /// Returns whether a text in a line holds line breaks.
    pub fn of_text(text: &str) -> Self {
        if text.chars().any(is_break) { Self::Possible } else { Self::Never }
    }
}

/// Returns whether arguments hold line breaks, once HAProxy has unescaped them: `str(a\nb)`.
fn holds_breaks(arguments: &str) -> bool {
    arguments.chars().any(|c| c == '\\' || is_break(c))
}

fn is_break(c: char) -> bool {
    matches!(escaped_control(c), Some('\n' | '\r'))
}
