//! Logging: one line an event, for people or for collectors, each with the node's name. Never tokens, never payloads.

use std::fmt::{self, Debug, Write};
use std::io::IsTerminal;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::{Directive, FilterExt, filter_fn};
use tracing_subscriber::fmt::format::{self, Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use gateway_core::config::{self, LogFormat};
use gateway_core::traces;

use crate::audit::AUDIT;

/// Whose lines below `info` there are. Those of libraries are not ours to answer for.
const OWN: [&str; 4] = ["gateway", "gateway_core", "gateway_work", "engine"];
/// Who warns of what workers of jobs hear from it and tell themselves, once and not every half second.
const RETOLD: &str = "bullmq";

/// Begins to log, panics too. A second call changes nothing. `node` is the name of the node.
///
/// # Errors
/// The filter names something that cannot be read.
pub fn start(settings: &config::Telemetry, node: &str) -> Result<(), String> {
    // Colours are for terminals; files and collectors would get escape codes.
    let colours = std::io::stderr().is_terminal();
    let started = lines(settings, node, std::io::stderr, colours)?.try_init();
    // It fails only where a test began to log before.
    drop(started);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let at = panic.location().map(ToString::to_string);
        let thread = std::thread::current().name().map(str::to_owned);
        tracing::error!(at, thread, why = panic.payload_as_str(), "a task panicked");
        // Who wants to see where it came from gets that as well.
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            before(panic);
        }
    }));
    Ok(())
}

/// What writes the lines that are wanted, `to` somewhere.
fn lines<W>(
    settings: &config::Telemetry,
    node: &str,
    to: W,
    colours: bool,
) -> Result<impl SubscriberInitExt + use<W>, String>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&settings.log).map_err(|error| format!("telemetry.log: {error}"))?;
    let audited = format!("{AUDIT}=info").parse::<Directive>().map_err(|error| error.to_string())?;
    // Who used the controls is no matter of taste, unless it is named.
    let filter = if settings.log.contains(AUDIT) { filter } else { filter.add_directive(audited) };
    // Libraries tell more than they should if they are asked to: packets, addresses with passwords, commands with their data.
    let own = filter_fn(|line| {
        let most = if is_of(line.target(), RETOLD) { Level::ERROR } else { Level::INFO };
        *line.level() <= most || OWN.iter().any(|own| is_of(line.target(), own))
    });
    // Whoever does not take the lines must not end the node: complaints about it would go the same way, and panic.
    let lines = tracing_subscriber::fmt::layer().with_writer(to).with_ansi(colours).log_internal_errors(false);
    let lines = match settings.format {
        LogFormat::Text => {
            let fields = format::debug_fn(|to: &mut Writer<'_>, field: &tracing::field::Field, value: &dyn Debug| {
                if field.name() != "message" {
                    write!(to, "{}=", field.name())?;
                }
                write!(Escaped(to), "{value:?}")
            });
            let lines = lines.with_timer(Stamp(one_line(node))).fmt_fields(fields.delimited(" "));
            lines.map_event_format(Traced).boxed()
        }
        LogFormat::Json => {
            let named = Named { inner: Format::default().json(), node: serde_json::json!(node).to_string() };
            lines.fmt_fields(JsonFields::new()).event_format(named).boxed()
        }
    };
    Ok(tracing_subscriber::registry().with(lines.with_filter(filter.and(own))))
}

/// The time, and the node's name behind it.
struct Stamp(String);

impl FormatTime for Stamp {
    fn format_time(&self, to: &mut Writer<'_>) -> fmt::Result {
        SystemTime.format_time(to)?;
        write!(to, " {}", self.0)
    }
}

/// JSON with the node's name in front.
struct Named {
    inner: Format<Json>,
    node: String,
}

impl<S, N> FormatEvent<S, N> for Named
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let Some(rest) = line.strip_prefix('{') else { return to.write_str(&line) };
        write!(to, "{{\"node\":{},", self.node)?;
        if let Some(id) = traces::recorded_id() {
            write!(to, "\"trace_id\":\"{id:032x}\",")?;
        }
        to.write_str(rest)
    }
}

/// Lines for people, with the trace behind them that they were written in.
struct Traced<F>(F);

impl<S, N, F> FormatEvent<S, N> for Traced<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(id) = traces::recorded_id() else { return self.0.format_event(context, to, event) };
        let mut line = String::with_capacity(256);
        let mut inner = Writer::new(&mut line);
        self.0.format_event(context, inner.by_ref(), event)?;
        writeln!(to, "{} trace_id={id:032x}", line.trim_end_matches('\n'))
    }
}

/// Writes text that may come from outside so that it stays on its line and in its order.
struct Escaped<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Escaped<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(disturbs) {
            let (before, from) = rest.split_at(at);
            self.0.write_str(before)?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                write!(self.0, "{}", character.escape_default())?;
            }
            rest = characters.as_str();
        }
        self.0.write_str(rest)
    }
}

/// Control characters, and what ends lines or turns the direction of writing.
fn disturbs(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A name as part of a line.
fn one_line(name: &str) -> String {
    let mut line = String::new();
    let mut writer = Writer::new(&mut line);
    // A text takes whatever is written.
    write!(Escaped(&mut writer), "{name}").ok();
    line
}

fn is_of(target: &str, module: &str) -> bool {
    target.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const FORGED: &str = "x\n2026-01-01T00:00:00Z  INFO all is well\r\u{1b}[2J\u{2028}\u{202e}";

    fn log() {
        let span = tracing::error_span!("session", peer = "192.0.2.1", room = FORGED);
        let _entered = span.enter();
        tracing::warn!(error = FORGED, display = %FORGED, "{FORGED}");
    }

    fn settings(format: LogFormat) -> config::Telemetry {
        config::Telemetry { format, ..config::load(None, std::iter::empty()).unwrap().telemetry }
    }

    #[test]
    fn text_from_outside_stays_on_its_line() {
        let page = Page::default();
        let written = page.clone();
        let lines = lines(&settings(LogFormat::Text), "node-7", move || written.clone(), false).unwrap();
        let _logging = lines.set_default();
        log();
        let written = String::from_utf8(page.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        assert!(!written.trim_end().contains(disturbs), "{written:?}");
        assert!(written.contains(" node-7 ") && written.contains("WARN") && written.contains("peer=\"192.0.2.1\""));
    }

    #[tokio::test]
    async fn lines_in_a_recorded_trace_have_its_id() {
        let brought = |flags: &str| traces::Trace::parse(&format!("00-{:032x}-{:016x}-{flags}", 7, 9), "");
        for format in [LogFormat::Text, LogFormat::Json] {
            let page = Page::default();
            let written = page.clone();
            let lines = lines(&settings(format), "n", move || written.clone(), false).unwrap();
            let _logging = lines.set_default();
            for flags in ["01", "00"] {
                let span = traces::Traces::default().begin(brought(flags), traces::Kind::Server, "x");
                span.within(async { tracing::warn!(number = 1, "told") }).await;
            }
            let written = String::from_utf8(page.0.lock().clone()).unwrap();
            let [in_trace, other] = written.lines().collect::<Vec<_>>()[..] else { panic!("{written}") };
            let id = "00000000000000000000000000000007";
            match format {
                LogFormat::Text => assert!(in_trace.ends_with(&format!("number=1 trace_id={id}")), "{written}"),
                LogFormat::Json => {
                    let line: serde_json::Value = serde_json::from_str(in_trace).unwrap();
                    assert_eq!((&line["trace_id"], &line["fields"]["number"]), (&id.into(), &1.into()));
                }
            }
            assert!(!other.contains("trace_id"), "{written}");
        }
    }

    #[test]
    fn json_has_the_node_and_the_spans() {
        let page = Page::default();
        let written = page.clone();
        let lines = lines(&settings(LogFormat::Json), "node \"7\"", move || written.clone(), false).unwrap();
        let _logging = lines.set_default();
        log();
        let written = String::from_utf8(page.0.lock().clone()).unwrap();
        assert_eq!(written.lines().count(), 1, "{written}");
        let line: serde_json::Value = serde_json::from_str(&written).unwrap();
        assert_eq!((&line["node"], &line["level"]), (&"node \"7\"".into(), &"WARN".into()));
        assert_eq!((&line["fields"]["message"], &line["span"]["room"]), (&FORGED.into(), &FORGED.into()));
    }
}
