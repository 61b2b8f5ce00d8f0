//! The log: text or JSON on standard error, one event a line (security.md R-84).
//!
//! Whatever an event holds, it cannot forge a second line or speak to the terminal: control characters leave as escapes. What must
//! not be logged at all is not handed to `tracing` in the first place; a test greps for it.

mod access;
mod gathered;

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{LogConfig, LogFormat};
use gathered::Gathered;

pub use access::Access;
pub use gathered::flush;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("the log filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// No thread can be had for it.
    #[error("the log cannot be written: {0}")]
    Thread(#[from] io::Error),
    /// Somebody has set up a log in this process before.
    #[error("the log is set up already: {0}")]
    Twice(String),
}

/// Sets the log up for this process, and sends panics there: their place, never their words, which may hold anything.
///
/// # Errors
/// See [`LogError`].
pub fn init(config: &LogConfig) -> Result<(), LogError> {
    let gathered = Gathered::start()?;
    init_to(config, gathered)?;
    access::begin(config.format, gathered);
    Ok(())
}

/// As [`init`], to another place; for tests.
///
/// # Errors
/// See [`LogError`].
pub fn init_to<W>(config: &LogConfig, writer: W) -> Result<(), LogError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.filter)?;
    // Who reads the log may go away. The subscriber would say so on standard error, where nobody reads either, and panic.
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).log_internal_errors(false).with_writer(Tame(writer));
    let outcome = match config.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).with_current_span(false).with_span_list(false).try_init(),
    };
    outcome.map_err(|error| LogError::Twice(error.to_string()))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a thread panicked");
    }));
    Ok(())
}

/// Escapes control characters on their way to the inner writer.
struct Tame<W>(W);

struct TameWriter<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Tame<W> {
    type Writer = TameWriter<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        TameWriter(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        TameWriter(self.0.make_writer_for(meta))
    }
}

impl<W: Write> Write for TameWriter<W> {
    /// One call is one event with its newline.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        match event.strip_suffix(b"\n").unwrap_or(event) {
            line if line.iter().all(|byte| matches!(byte, b' '..=b'~')) => self.0.write_all(event)?,
            _ => self.0.write_all(tame(&String::from_utf8_lossy(event)).as_bytes())?,
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Control characters (C0, DEL, C1) and the invisible ones that turn text around become `\u{…}`; the newline at the end stays.
fn tame(event: &str) -> String {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    let mut out = String::with_capacity(event.len());
    for letter in line.chars() {
        if letter.is_control() || is_bidi(letter) {
            // Writing to a String cannot fail.
            let _written = write!(out, "\\u{{{:x}}}", u32::from(letter));
        } else {
            out.push(letter);
        }
    }
    out.push_str(end);
    out
}

fn is_bidi(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub(super) fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let shared = Shared::default();
        let writer = shared.clone();
        let builder = tracing_subscriber::fmt().with_ansi(false).with_writer(Tame(move || writer.clone()));
        match format {
            LogFormat::Text => tracing::subscriber::with_default(builder.finish(), log),
            LogFormat::Json => tracing::subscriber::with_default(builder.json().flatten_event(true).finish(), log),
        }
        String::from_utf8(shared.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let evil = "a\r\n2026-01-01 ERROR forged\x1b[2J\u{85}\u{202e}";
            let text = logged(format, || tracing::info!(path = %evil, "from {evil}"));
            assert_eq!(text.matches('\n').count(), 1, "{text:?}");
            assert!(!text.trim_end().chars().any(|letter| letter.is_control() || is_bidi(letter)), "{text:?}");
        }
    }

    #[test]
    fn json_events_are_json() {
        let text = logged(LogFormat::Json, || tracing::info!(answer = 42, "hello"));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["answer"], 42);
        assert_eq!(value["message"], "hello");
    }
}
