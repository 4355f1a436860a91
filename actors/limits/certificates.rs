//! Limits of the operator's certificates.

use std::time::Duration;

/// The largest file with a certificate, its chain or its key, in bytes. A larger one is refused.
pub const CERTIFICATE_FILE_BYTES_MAX: u64 = 256 * 1024;

/// The most certificates in the operator's directory. If it contains more, the last good ones stay in use.
pub const CERTIFICATES_MAX: usize = 1_000;

/// The interval at which the files of certificates are looked at.
pub const CERTIFICATE_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How long the files of certificates must stay unchanged before they are read: a certificate and its key are two files.
pub const CERTIFICATE_SETTLE: Duration = Duration::from_millis(250);

/// The most looks while files keep changing. After them they are read anyway.
pub const CERTIFICATE_SETTLE_LOOKS_MAX: usize = 40;

/// How long before its expiry a certificate is reported.
pub const CERTIFICATE_EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3_600);
