//! Text formats of metrics: [OpenMetrics](https://prometheus.io/docs/specs/om/open_metrics_spec/) on request, otherwise the
//! older [Prometheus text format](https://prometheus.io/docs/instrumenting/exposition_formats/).

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::{MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use proxymgr_actors::limits::APPLY_LATENCY_BOUNDS_US;
use proxymgr_actors::model::LatencyHistogram;

use super::Scrape;

/// Prefix of the names of our metrics.
const PREFIX: &str = "proxymgr";

/// Labels of a sample.
pub type Labels = Vec<(&'static str, String)>;

/// Text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The Prometheus text format.
    Prometheus,
}

impl Format {
    /// The format that an `Accept` header requests.
    pub fn accepted(accept: &str) -> Self {
        let weight = |media_type: &str| {
            let offers = accept.split(',').filter_map(|offer| {
                let mut parts = offer.split(';').map(str::trim);
                let is_it = parts.next()?.eq_ignore_ascii_case(media_type);
                let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
                quality.filter(|_| is_it)
            });
            offers.fold(0.0_f64, f64::max)
        };
        let open = weight("application/openmetrics-text");
        if open > 0.0 && open >= weight("text/plain") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// The whole text.
pub fn text(scrape: Scrape, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Arc::new(scrape)));
    let mut open_metrics = String::new();
    text::encode(&mut open_metrics, &registry)?;
    Ok(match format {
        Format::OpenMetrics => open_metrics,
        Format::Prometheus => prometheus_text(&open_metrics),
    })
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.write(&mut Families { encoder })
    }
}

/// Converts OpenMetrics to the Prometheus format, in which counter families have the names of their samples, without end and
/// units.
fn prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            continue;
        }
        let is_counter = |line: &str| line.starts_with("# TYPE ") && line.ends_with(" counter");
        let of_counter =
            is_counter(line) || (line.starts_with("# HELP ") && lines.peek().is_some_and(|l| is_counter(l)));
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            [hash, word, name, rest] if of_counter => text.push_str(&format!("{hash} {word} {name}_total {rest}")),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

/// Writes metric families.
pub struct Families<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Families<'_> {
    /// One gauge.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, [(Labels::new(), value)])
    }

    /// Gauges with labels.
    pub fn gauges(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (Labels, f64)>) -> fmt::Result {
        self.family(&ours(name), help, MetricType::Gauge, samples, |encoder, value| encoder.encode_gauge(&value))
    }

    /// One counter. `_total` is appended to its name.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Labels::new(), value)])
    }

    /// Counters with labels. `_total` is appended to their name.
    pub fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        self.family(&ours(name), help, MetricType::Counter, samples, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    /// Histograms of times, with the bounds [`APPLY_LATENCY_BOUNDS_US`], in seconds.
    pub fn histograms<'h>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels, &'h LatencyHistogram)>,
    ) -> fmt::Result {
        let in_seconds = |micros: u64| micros as f64 / 1_000_000.0;
        let bounds = APPLY_LATENCY_BOUNDS_US.map(in_seconds).into_iter().chain([f64::INFINITY]);
        self.family(&ours(name), help, MetricType::Histogram, samples, |encoder, histogram| {
            let buckets: Vec<(f64, u64)> = bounds.clone().zip(histogram.counts.iter().copied()).collect();
            let sum = in_seconds(histogram.sum_us);
            encoder.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
        })
    }

    /// A standard gauge of processes, without our prefix.
    pub fn process_gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let one = [(Labels::new(), value)];
        self.family(name, help, MetricType::Gauge, one, |encoder, value| encoder.encode_gauge(&value))
    }

    /// A standard counter of processes, without our prefix. `_total` is appended to its name.
    pub fn process_counter(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        let one = [(Labels::new(), value)];
        self.family(name, help, MetricType::Counter, one, |encoder, value| {
            encoder.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn family<T>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl IntoIterator<Item = (Labels, T)>,
        encode: impl Fn(&mut MetricEncoder<'_>, T) -> fmt::Result,
    ) -> fmt::Result {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        let mut family = self.encoder.encode_descriptor(name, help, None, kind)?;
        for (labels, value) in samples {
            // Without labels there are no braces either.
            if labels.is_empty() {
                encode(&mut family, value)?;
            } else {
                encode(&mut family.encode_family(&labels)?, value)?;
            }
        }
        Ok(())
    }
}

fn ours(name: &str) -> String {
    format!("{PREFIX}_{name}")
}
