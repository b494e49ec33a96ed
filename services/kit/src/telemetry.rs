//! What a process tells of itself: logs (JSON on standard error, text on a terminal), metrics ([`Metrics`]) and, when the
//! standard variable `OTEL_EXPORTER_OTLP_ENDPOINT` names a collector, traces.

mod json_log;
mod log_writer;
mod metrics;
mod traces;

use std::io::IsTerminal;

use tenantry_contract::Identity;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use log_writer::{LastLines, LogWriter};
pub use metrics::Metrics;
pub(crate) use traces::continue_trace;

/// Telemetry that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter is not one.
    #[error("the log filter `{filter}` is wrong: {source}; write for example `info` or `info,sqlx=warn`")]
    Filter {
        /// The filter given.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The exporter of traces cannot be made.
    #[error("cannot export traces to the endpoint in OTEL_EXPORTER_OTLP_ENDPOINT: {0}")]
    Traces(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Somebody has set up logging before.
    #[error("logging is set up already: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Keeps telemetry running; call [`Telemetry::stop`] at the end, so that the last spans are sent.
#[derive(Debug)]
#[must_use]
pub struct Telemetry {
    traces: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
    /// Dropped last.
    _log: LastLines,
}

impl Telemetry {
    /// Sets logs and traces up for the whole process, and logs panics. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// When the filter is wrong, or a trace endpoint is set and cannot be used.
    pub fn start(identity: &Identity, role: &'static str, log_filter: &str) -> Result<Self, TelemetryError> {
        let filter = EnvFilter::try_new(log_filter).map_err(|source| TelemetryError::Filter { filter: log_filter.to_owned(), source })?;
        let log = LogWriter::start();
        let format = if std::io::stderr().is_terminal() {
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).boxed()
        } else {
            tracing_subscriber::fmt::layer()
                .fmt_fields(json_log::JsonMembers)
                .event_format(json_log::JsonEvents)
                .with_writer(log.clone())
                .boxed()
        };
        let traces = traces::provider(identity, role)?;
        let trace_layer = traces.as_ref().map(traces::layer);
        tracing_subscriber::registry().with(filter).with(format).with(trace_layer).try_init()?;
        std::panic::set_hook(Box::new(|panic| {
            let message = panic.payload_as_str().unwrap_or("(no message)");
            tracing::error!(location = panic.location().map(tracing::field::display), message, "panic");
        }));
        let Identity { group, slot, service, release } = identity;
        tracing::info!(%group, %slot, %service, %release, role, "starting");
        Ok(Self { traces, _log: log.last_lines() })
    }

    /// Sends and writes what has not been.
    pub fn stop(self) {
        if let Some(Err(error)) = self.traces.map(|traces| traces.shutdown()) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}
