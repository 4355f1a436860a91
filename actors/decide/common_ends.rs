//! Comparison of two versions of a list that differ in few entries: only the range where they differ is walked.

use std::ops::Range;

/// Returns the ranges of two lists without their common prefix and suffix.
pub fn between_common_ends<B, N>(
    before: &[B],
    now: &[N],
    is_same: impl Fn(&B, &N) -> bool,
) -> (Range<usize>, Range<usize>) {
    let same = |(before, now): &(&B, &N)| is_same(before, now);
    let start = before.iter().zip(now).take_while(same).count();
    let end = before[start..].iter().rev().zip(now[start..].iter().rev()).take_while(same).count();
    (start..before.len() - end, start..now.len() - end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_prefix_and_suffix_are_left_out() {
        let between = |before: &str, now: &str| {
            let (of_before, of_now) = between_common_ends(before.as_bytes(), now.as_bytes(), u8::eq);
            [before[of_before].to_owned(), now[of_now].to_owned()]
        };
        assert_eq!(between("abc", "abc"), ["", ""]);
        assert_eq!(between("abcde", "abXde"), ["c", "X"]);
        assert_eq!(between("abcd", "abd"), ["c", ""]);
        assert_eq!(between("aa", "aaa"), ["", "a"]);
        assert_eq!(between("", "ab"), ["", "ab"]);
        assert_eq!(between("axbxc", "aybyc"), ["xbx", "yby"]);
    }
}
