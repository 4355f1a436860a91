//! Suggestions for misspelt words.

/// The length above which words are not compared: no keyword is as long, and the comparison would be slow.
const KEYWORD_LENGTH_MAX: usize = 64;

/// Returns the candidate nearest to `word`, if it is near enough: at most one edit away, or two for words of seven
/// letters and more. A transposition is one edit. Upper case and `-` for `_` do not count.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
    if word.len() > KEYWORD_LENGTH_MAX {
        return None;
    }
    let wanted = plain(word);
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= if candidate.len() >= 7 { 2 } else { 1 })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typing_mistake_finds_the_word_that_was_meant() {
        let keys = ["port", "bind", "listen_options", "server_options"];
        for (typed, meant) in [
            ("listen_option", Some("listen_options")),
            ("listen-options", Some("listen_options")),
            ("server_optoins", Some("server_options")),
            ("Port", Some("port")),
            ("prot", Some("port")),
            ("path", None),
            ("hosts", None),
            ("server", None),
        ] {
            assert_eq!(nearest(typed, keys), meant, "{typed}");
        }
    }
}
