//! The operator's certificates (`haproxy.certificates`). HAProxy never reads the operator's files: each is validated,
//! encoded anew, and kept in a private directory, so that a bad one never replaces the last good one.
//!
//! | file | content |
//! | --- | --- |
//! | `files` | which files belong to which name, and their contents |
//! | `pair` | a certificate with its key: validated, and encoded for HAProxy |
//! | `ocsp` | whether HAProxy can fetch OCSP responses for a certificate |
//! | `private_files` | the directory that HAProxy reads |
//! | `mistakes` | what `proxymgr check` reports |
//! | `store` | the last good certificate of each name |
//! | `watch` | scans again when files change |

mod files;
mod mistakes;
mod ocsp;
mod pair;
mod private_files;
mod store;
#[cfg(test)]
mod tests;
mod watch;

pub use mistakes::{mistakes, unstapled};
pub use store::{CertificateScan, CertificateStore};
pub use watch::{WatchGuard, watch};
