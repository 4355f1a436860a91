//! The arguments in brackets after a fetch, a converter or an action.

use super::facts::Fact;
use super::kind::Kind;
use super::section::Section;
use super::value;

/// One argument of a fetch, a converter or an action.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Argument {
    /// Its name in the notation.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether it may be absent or empty.
    pub optional: bool,
    /// Whether it may occur several times; only the last one of a list.
    pub repeated: bool,
}

/// Parses the notation of arguments: `token?,number?`, `acl*`.
pub fn parse(notation: &'static str) -> Vec<Argument> {
    let parts = notation.split(',').filter(|part| !part.is_empty());
    let argument = |part: &'static str| {
        let (optional, repeated) = (part.ends_with('?'), part.ends_with('*'));
        let name = part.trim_end_matches(['?', '*']);
        let kind = Kind::named(name).expect("the tests of the table look up every type");
        Argument { name, kind, optional: optional || repeated, repeated }
    };
    parts.map(argument).collect()
}

/// Checks arguments that are already split.
///
/// # Errors
/// Which argument is refused and why.
pub fn check(
    owner: &str,
    wanted: &[Argument],
    given: &[String],
    section: &Section<'_>,
    facts: &mut Vec<Fact>,
) -> Result<(), String> {
    let mut given_texts = given.iter();
    for (at, argument) in wanted.iter().enumerate() {
        let text = given_texts.next().map_or("", String::as_str);
        if text.is_empty() {
            if argument.optional || argument.kind == Kind::Text && at < given.len() {
                continue;
            }
            return Err(format!("{owner}(...) lacks its argument {}, {}", argument.name, argument.kind.description()));
        }
        let mut one = |text: &str| {
            value::check(argument.kind, text, section, facts)
                .map_err(|reason| format!("the argument {text:?} of {owner}(...) {reason}"))
        };
        one(text)?;
        if argument.repeated {
            given_texts.by_ref().try_for_each(|text| one(text))?;
        }
    }
    match given_texts.next() {
        Some(text) if !text.is_empty() || wanted.len() + 1 < given.len() => {
            Err(format!("{owner}(...) has the argument {text:?} too much"))
        }
        Some(_) if wanted.is_empty() && given.len() == 1 => Ok(()),
        Some(_) => Err(format!("{owner}(...) has an empty argument too much")),
        None => Ok(()),
    }
}

/// Splits arguments as HAProxy does (`make_arg_list`): at commas outside quotes, up to the closing bracket. Returns them
/// unquoted, with the text after the bracket.
///
/// # Errors
/// A bracket or a quote that is not closed.
pub fn split(owner: &str, text: &str) -> Result<(Vec<String>, usize), String> {
    let mut arguments = vec![String::new()];
    let mut quote = None;
    let mut characters = text.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        let last = arguments.last_mut().expect("the list begins with one argument");
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => {
                let Some((_, next)) = characters.peek().copied() else {
                    return Err(format!("the arguments of {owner}(...) end in a backslash"));
                };
                let unescaped = match next {
                    '\\' | ' ' | '"' | '\'' => next,
                    'r' => '\r',
                    'n' => '\n',
                    't' => '\t',
                    _ => {
                        last.push('\\');
                        continue;
                    }
                };
                last.push(unescaped);
                characters.next();
            }
            (',', None) => arguments.push(String::new()),
            (')', None) => return Ok((arguments, at + 1)),
            _ => last.push(c),
        }
    }
    let what = if quote.is_some() { "a quote" } else { "the bracket" };
    Err(format!("{what} of {owner}(...) is not closed"))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn arguments_are_unquoted_as_haproxy_does() {
        for (text, expected) in [
            (")", vec![""]),
            ("a,b)rest", vec!["a", "b"]),
            ("\"proc.x\",'a,b')", vec!["proc.x", "a,b"]),
            (r#"pr"o"c.x,\"a\",\,b)"#, vec!["proc.x", "\"a\"", "\\", "b"]),
            (r"'\n',\n)", vec![r"\n", "\n"]),
            ("a(b)", vec!["a(b"]),
            ("\"it's\")", vec!["it's"]),
        ] {
            assert_eq!(split("f", text).unwrap().0, expected, "{text}");
        }
        for text in ["a", "'a)", "a\\", "\"a)'"] {
            assert!(split("f", text).is_err(), "{text}");
        }
    }
}
