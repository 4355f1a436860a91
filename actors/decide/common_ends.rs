//! Of lists that are told again and again most stays as it was. Two of them are walked only where they differ.

use std::ops::Range;

/// What is left of two lists without what they have in common at their beginnings and at their ends.
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
    fn what_both_have_at_both_ends_is_left_out_once() {
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
