//! Percentiles of many measurements.

use std::time::Duration;

/// Returns the value that this share (0 to 1) of the measurements does not exceed.
pub fn percentile(measured: &[Duration], share: f64) -> Duration {
    let mut sorted = measured.to_vec();
    sorted.sort_unstable();
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    let rank = (share * (sorted.len() - 1) as f64).round() as usize;
    sorted[rank]
}

/// Formats `p50 / p99` in milliseconds.
pub fn p50_p99(measured: &[Duration]) -> String {
    format!("{:.2} / {:.2} ms", millis(percentile(measured, 0.5)), millis(percentile(measured, 0.99)))
}

/// Converts to milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
