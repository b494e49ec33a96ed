//! Logs as JSON, one object a line, in the shape of `tracing-subscriber`'s own: the event's fields at the top, the span's in `span`. That one reads
//! the span's fields back from their text for each line; an access log costs several times as much by it as the answer that it tells of.

use std::fmt::{self, Debug, Write};

use tracing::field::{Field, Visit};
use tracing::span::Record;
use tracing::{Event, Subscriber};
use tracing_log::NormalizeEvent;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes events, with the innermost span.
#[derive(Debug)]
pub(super) struct JsonEvents;

/// Writes fields as members of an object, each with a comma before it.
#[derive(Debug)]
pub(super) struct JsonMembers;

impl<'writer> FormatFields<'writer> for JsonMembers {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut members = Members { writer, outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome
    }

    fn add_fields(&self, current: &'writer mut FormattedFields<Self>, fields: &Record<'_>) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

impl<S, N> FormatEvent<S, N> for JsonEvents
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // Of what comes from the crate `log`, its own.
        let normalized = event.normalized_metadata();
        let metadata = normalized.as_ref().unwrap_or_else(|| event.metadata());
        writer.write_str("{\"timestamp\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", metadata.level())?;
        context.format_fields(writer.by_ref(), event)?;
        writer.write_str(",\"target\":")?;
        write_string(&mut writer, metadata.target())?;
        if let Some(span) = event.parent().and_then(|id| context.span(id)).or_else(|| context.lookup_current()) {
            writer.write_str(",\"span\":{\"name\":")?;
            write_string(&mut writer, span.metadata().name())?;
            if let Some(fields) = span.extensions().get::<FormattedFields<N>>() {
                writer.write_str(fields)?;
            }
            writer.write_char('}')?;
        }
        writer.write_str("}\n")
    }
}

struct Members<'writer> {
    writer: Writer<'writer>,
    outcome: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.outcome.is_ok() {
            self.outcome = write_member(&mut self.writer, field.name(), write);
        }
    }
}

fn write_member(writer: &mut Writer<'_>, name: &str, write: impl FnOnce(&mut Writer<'_>) -> fmt::Result) -> fmt::Result {
    writer.write_char(',')?;
    write_string(writer, name)?;
    writer.write_char(':')?;
    write(writer)
}

impl Visit for Members<'_> {
    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity.
        self.member(field, |writer| if value.is_finite() { write!(writer, "{value:?}") } else { writer.write_str("null") });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, |writer| write!(writer, "{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.member(field, |writer| write_string(writer, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.member(field, |writer| {
            writer.write_char('"')?;
            write!(Escaped(writer), "{value:?}")?;
            writer.write_char('"')
        });
    }
}

fn write_string(writer: &mut Writer<'_>, text: &str) -> fmt::Result {
    writer.write_char('"')?;
    Escaped(writer).write_str(text)?;
    writer.write_char('"')
}

/// Writes text as it stands within a JSON string.
struct Escaped<'a, 'writer>(&'a mut Writer<'writer>);

impl Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.bytes().position(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
            let (plain, special) = rest.split_at(at);
            self.0.write_str(plain)?;
            match special.as_bytes()[0] {
                b'"' => self.0.write_str("\\\"")?,
                b'\\' => self.0.write_str("\\\\")?,
                b'\n' => self.0.write_str("\\n")?,
                b'\r' => self.0.write_str("\\r")?,
                b'\t' => self.0.write_str("\\t")?,
                control => write!(self.0, "\\u{control:04x}")?,
            }
            rest = &special[1..];
        }
        self.0.write_str(rest)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;
    use serde_json::Value;
    use tracing_subscriber::fmt::MakeWriter;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    /// What is logged meanwhile, by this formatter and by the library's.
    fn logged(what: impl Fn()) -> [Vec<Value>; 2] {
        let (own, library) = (Lines::default(), Lines::default());
        let layer = tracing_subscriber::fmt::layer;
        let own_layer = layer().fmt_fields(JsonMembers).event_format(JsonEvents).with_writer(own.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(own_layer), &what);
        let layer = layer().json().flatten_event(true).with_span_list(false).with_writer(library.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), &what);
        [own, library].map(|lines| {
            let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
            let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            for line in &mut lines {
                let time = line.as_object_mut().unwrap().remove("timestamp").unwrap();
                assert!(time.as_str().unwrap().ends_with('Z'), "{time}");
            }
            lines
        })
    }

    #[test]
    fn lines_say_what_the_librarys_say() {
        let [own, library] = logged(|| {
            tracing::info!("no span");
            let span = tracing::info_span!("request", request_id = %"a\"b", otel.name = "GET /x", number = 7, late = tracing::field::Empty);
            span.record("late", "now");
            let _entered = span.enter();
            tracing::warn!(took_ms = 1.5, status = 200_u16, less = -3, yes = true, problem = Some("a\nb\\c\u{1}"), "über \"alles\"");
            tracing::error!(
                nothing = None::<&str>,
                error = &io::Error::other("broken") as &dyn std::error::Error,
                infinite = f64::INFINITY
            );
        });
        assert_eq!(own, library);
        assert_eq!(own.len(), 3);
    }

    proptest! {
        #[test]
        fn any_text_is_kept(text in ".*", control in proptest::collection::vec(0_u8..128, 0..8)) {
            let text = format!("{text}{}", String::from_utf8(control).unwrap());
            let [own, library] = logged(|| tracing::info!(text, shown = %text, "text"));
            prop_assert_eq!(&own, &library);
            prop_assert_eq!(own[0]["text"].as_str(), Some(text.as_str()));
        }
    }
}
