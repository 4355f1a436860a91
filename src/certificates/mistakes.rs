//! The certificates that cannot be used, without saving any.

use std::path::Path;

use super::files::Listing;
use super::pair::Pair;

/// Returns what is wrong with the certificates in the operator's directory at this time. Blocks.
pub fn mistakes(directory: &Path, now_unix_ms: u64) -> Vec<String> {
    let listing = match Listing::of(directory) {
        Ok(listing) => listing,
        Err(problem) => return vec![problem],
    };
    let of_names = listing.files.iter().filter_map(|(name, files)| {
        let pair = files.read(directory, name).and_then(|texts| Pair::parse(&texts));
        let problem = pair.map_or_else(Some, |pair| pair.out_of_period(now_unix_ms))?;
        Some(format!("certificate {name}: {problem}"))
    });
    listing.misnamed.iter().cloned().chain(of_names).collect()
}

/// Returns why HAProxy cannot fetch OCSP responses for the certificates in the operator's directory. Blocks.
pub fn unstapled(directory: &Path) -> Vec<String> {
    let Ok(listing) = Listing::of(directory) else { return Vec::new() };
    let of_names = listing.files.iter().filter_map(|(name, files)| {
        let pair = files.read(directory, name).and_then(|texts| Pair::parse(&texts)).ok()?;
        Some(format!("certificate {name} gets no OCSP responses: {}", pair.unstapled?))
    });
    of_names.collect()
}
