//! `[log]`: what is logged, and in which form.

use super::reader::Section;

/// How the log is written to standard error.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// A tracing filter: a level, or targets with levels.
    pub filter: String,
    pub format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

impl LogConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let filter = section.parsed("filter", "info", "a tracing filter", |text| {
            tracing_subscriber::EnvFilter::try_new(text)
                .map(|_| text.to_owned())
                .map_err(|error| format!("must be a tracing filter such as \"info\" or \"info,chancery=debug\": {error}"))
        });
        let format = section.parsed("format", "text", "\"text\" or \"json\"", |text| match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("must be \"text\" or \"json\", and {text:?} is neither")),
        });
        Self { filter: filter.unwrap_or_else(|| "info".to_owned()), format: format.unwrap_or(LogFormat::Text) }
    }
}
