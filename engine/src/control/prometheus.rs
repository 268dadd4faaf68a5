//! Counters as Prometheus reads them.
//!
//! Invariant: names and units are those of its conventions: `anabranch_` first, base units, `_total` behind what only
//! grows; what a counter is of is the label `name`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::api::About;
use crate::looking::Process;
use crate::metrics::{Durations, Kind};

/// The version of the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family of samples: by its name, its kind and what is said of it.
#[derive(Default)]
struct Families(BTreeMap<String, (&'static str, String, Vec<String>)>);

impl Families {
    fn add(&mut self, name: &str, kind: Kind, help: &str, labels: &[(&str, &str)], value: &str) {
        let (name, kind) = match kind {
            Kind::Count => (format!("anabranch_{name}_total"), "counter"),
            Kind::Gauge => (format!("anabranch_{name}"), "gauge"),
        };
        let mut sample = name.clone();
        for (index, (label, value)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(sample, "{open}{label}=\"{}\"", escaped(value));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = write!(sample, "{close} {value}");
        let family = || (kind, help.to_string(), Vec::new());
        self.0.entry(name).or_insert_with(family).2.push(sample);
    }

    /// Percentiles since the start.
    fn summary(&mut self, name: &str, help: &str, labels: &[(&str, &str)], durations: &Durations) {
        let Some(all) = durations.all() else { return };
        let name = format!("anabranch_{name}");
        let labels: String = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\",", escaped(value)))
            .collect();
        let family = || ("summary", help.to_string(), Vec::new());
        let samples = &mut self.0.entry(name.clone()).or_insert_with(family).2;
        let quantiles =
            [("0.5", all.p50), ("0.9", all.p90), ("0.99", all.p99), ("0.999", all.p999)];
        for (quantile, seconds) in quantiles {
            samples.push(format!("{name}{{{labels}quantile=\"{quantile}\"}} {seconds}"));
        }
        let labels = labels.trim_end_matches(',');
        samples.push(format!("{name}_sum{{{labels}}} {}", durations.sum()));
        samples.push(format!("{name}_count{{{labels}}} {}", all.count));
    }

    fn text(self) -> String {
        let mut text = String::new();
        for (name, (kind, help, samples)) in self.0 {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            samples.iter().for_each(|sample| text.extend([sample, "\n"]));
        }
        text
    }
}

/// A label's value, as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A counter's name as Prometheus has it, and its number in base units.
fn in_base_units(name: &str, number: u64) -> (String, String) {
    let seconds = |name: &str, per: u64| {
        let (whole, part) = (number / per, number % per);
        let digits = per.ilog10() as usize;
        (format!("{name}_seconds"), format!("{whole}.{part:0digits$}"))
    };
    match name.rsplit_once('_') {
        Some((name, "us")) => seconds(name, 1_000_000),
        Some((name, "ms")) => seconds(name, 1_000),
        Some((name, "ns")) => seconds(name, 1_000_000_000),
        _ => (name.to_string(), number.to_string()),
    }
}

/// What is said of a counter.
fn help(name: &str) -> String {
    let said = match name {
        "bytes" => "Bytes of frames that a source or sink has passed on.",
        "dead_letters" => "What was refused: frames by a source, records by a computation.",
        "frames" => "Frames that a source or sink has passed on.",
        "ignored" => "Records that a computation has ignored.",
        "longest_pause_us" => {
            "The longest time for which a checkpoint has kept a worker from its records."
        }
        "last_us" => "How long the last checkpoint took, from its boundary to its completion.",
        "made" => "Checkpoints that were completed.",
        "oversized" => "Frames above their limit.",
        "port" => "The port on which it listens.",
        "records" => "Records that a source or sink has passed on.",
        "retries" => "What was tried again.",
        "watermark_ms" => "How far event time has come, since the Unix epoch.",
        _ => return format!("Counted as `{}` by what `name` names.", escaped(name)),
    };
    said.to_string()
}

/// What is said of how long records take.
const LATENCY: &str = "From when a live record was read to when the sink had what came of it.";

/// What is said of what a worker counts for itself.
fn help_of_worker(name: &str) -> String {
    let said = match name {
        "busy_ns" => "For how long an operator has worked.",
        "records" => "Records that a computation was given.",
        _ => return help(name),
    };
    said.to_string()
}

/// Every counter of every process, and how far their workers are.
#[utoipa::path(get, path = "/metrics", tag = "program", responses(
    (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(about): State<Arc<About>>) -> Response {
    // Those of others are not worth the loss of those of this one.
    let processes = about.processes().await.unwrap_or_else(|_| [(0, about.local.process())].into());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&about, &processes)).into_response()
}

fn text(about: &About, processes: &BTreeMap<usize, Process>) -> String {
    let mut families = Families::default();
    for (number, process) in processes {
        let at = number.to_string();
        for (path, kind, number) in &process.counters {
            let (of, name) = path.rsplit_once('.').unwrap_or(("", path));
            let (metric, value) = in_base_units(name, *number);
            let metric: String =
                metric.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            families.add(&metric, *kind, &help(name), &[("name", of), ("process", &at)], &value);
        }
        for worker in &process.workers {
            let (label, steps) = (worker.worker.to_string(), worker.steps.to_string());
            let labels = [("process", at.as_str()), ("worker", label.as_str())];
            let help = "Steps that a worker has taken.";
            families.add("worker_steps", Kind::Count, help, &labels, &steps);
            for (path, number) in &worker.counters {
                let Some((of, name)) = path.rsplit_once('.') else { continue };
                let (metric, value) = in_base_units(&format!("operator_{name}"), *number);
                let labels = [("name", of), labels[0], labels[1]];
                families.add(&metric, Kind::Count, &help_of_worker(name), &labels, &value);
            }
        }
        for (sink, durations) in &process.latencies {
            families.summary(
                "latency_seconds",
                LATENCY,
                &[("name", sink), ("process", &at)],
                durations,
            );
        }
    }
    let labels = [("program", about.program.as_str()), ("version", env!("CARGO_PKG_VERSION"))];
    families.add("build_info", Kind::Gauge, "What is running.", &labels, "1");
    families.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_base_units() {
        assert_eq!(
            in_base_units("longest_pause_us", 1_500),
            ("longest_pause_seconds".into(), "0.001500".into())
        );
        assert_eq!(
            in_base_units("watermark_ms", 1_500),
            ("watermark_seconds".into(), "1.500".into())
        );
        assert_eq!(in_base_units("records", 7), ("records".into(), "7".into()));
    }

    #[test]
    fn a_family_is_described_once_and_labels_are_escaped() {
        let mut families = Families::default();
        families.add("records", Kind::Count, "Records.", &[("name", "a\"b\\c\nd")], "1");
        families.add("records", Kind::Count, "Records.", &[("name", "b")], "2");
        families.add("up", Kind::Gauge, "Up.", &[], "1");
        let expected = "# HELP anabranch_records_total Records.\n\
                        # TYPE anabranch_records_total counter\n\
                        anabranch_records_total{name=\"a\\\"b\\\\c\\nd\"} 1\n\
                        anabranch_records_total{name=\"b\"} 2\n\
                        # HELP anabranch_up Up.\n# TYPE anabranch_up gauge\nanabranch_up 1\n";
        assert_eq!(families.text(), expected);
    }
}
