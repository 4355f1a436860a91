//! The texts that the fuzzing begins with (`fuzz/seeds/`), for tests of the same properties.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

/// Returns the seeds of a fuzz target, in the order of their names.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds")).join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths = Vec::from_iter(files.map(|file| file.expect("a readable folder").path()));
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

/// A seed of a fuzz target with some bytes replaced, doubled or removed. Its first line stays: it may name the parser.
pub fn mutated(target: &str) -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 24] = [
        b"",
        b" ",
        b"\n",
        b"\r",
        b"\"",
        b"'",
        b"\\",
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
        b"/",
        b"-",
        b"0",
        b"9",
        b"a",
        b"null",
        b"> ",
        b"\xff",
        b"\0",
        b"\xc3\xa9",
        b"\xe2\x80\xa8",
    ];
    let piece = proptest::sample::select(Vec::from(PIECES));
    let changes = proptest::collection::vec((any::<prop::sample::Index>(), 0..3_usize, piece), 1..6);
    (proptest::sample::select(seeds(target)), changes).prop_map(|(mut text, changes)| {
        let start = text.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for (at, removed, piece) in changes {
            let at = start + at.index(text.len() - start + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, piece.iter().copied());
        }
        text
    })
}
