//! Logs and metrics.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::http::{BodyLimits, HttpSettings};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text, for people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

/// Starts logging to standard error. `filter` is a level, or a list such as `info,connectwise_billing=debug`. Errors if
/// it is neither.
pub fn start_logs(filter: &str, format: LogFormat) -> Result<(), String> {
    let filter = filter_of(filter)?;
    // A closed standard error must not stop the service. By default, a failed write is reported on the same closed
    // stream, which panics.
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .log_internal_errors(false);
    // A second call in the same process (in tests) changes nothing.
    let _ = match format {
        LogFormat::Text => logs.with_target(false).compact().try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    // Panics become one log line with their span, instead of text between the log lines.
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
    Ok(())
}

/// Parses the log filter. Rejects unknown words: `EnvFilter` would take them for module names, and nothing would be
/// logged.
fn filter_of(text: &str) -> Result<EnvFilter, String> {
    let wrong = |why: String| {
        format!("--log {text:?}: {why}: write a level such as info, or a list such as info,connectwise_billing=debug")
    };
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    let bare = text.split(',').map(str::trim).filter(|part| !part.contains(['=', '[', ':']));
    if let Some(word) = bare.into_iter().find(|word| !word.is_empty() && !is_level(word)) {
        return Err(wrong(format!("{word:?} is not a level")));
    }
    EnvFilter::try_new(text).map_err(|error| wrong(error.to_string()))
}

static METRICS: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Installs the metrics recorder, once per process. Returns default HTTP settings with the function that renders them.
pub fn metrics() -> HttpSettings {
    let handle = METRICS.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
    let render = handle.clone().map(|handle| Arc::new(move || handle.render()) as crate::http::RenderMetrics);
    let body_limits = BodyLimits::new(std::time::Duration::from_secs(60), crate::http::LARGEST_BODY);
    HttpSettings {
        operator_key: None,
        cors_origins: Vec::new(),
        require_versions: false,
        example_ids: crate::http::ExampleIds::default(),
        metrics: render,
        serves_api: true,
        serves_console: true,
        threads: 2,
        body_limits,
    }
}
