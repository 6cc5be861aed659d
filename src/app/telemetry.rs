//! Logs and metrics.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::http::HttpSettings;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// Starts logging to standard error. `filter` is a level or a list such as `info,connectwise_billing=debug`.
pub fn start_logs(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    // A log that nobody reads any more must not take the service with it: by default a failed write is reported by a
    // panic on the same closed stream.
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    // A second start in one process (tests) keeps the first.
    let _ = match format {
        LogFormat::Text => logs.with_target(false).compact().try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
}

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Starts measuring, once for the process, and gives what renders the numbers.
pub fn metrics() -> HttpSettings {
    let handle = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
    let render = handle.clone().map(|handle| Arc::new(move || handle.render()) as crate::http::RenderMetrics);
    HttpSettings { operator_key: None, metrics: render, serves_api: true, threads: 2 }
}
