//! The table as people read it, for `gateway check`.

use std::fmt::{self, Display, Formatter};

use super::{Action, Emission, Route, RouteTable, Target};
use crate::config::shown_url;
use crate::routes::template::Template;

/// By namespace, by event, in the order in which routes run. What came from the environment stays hidden.
impl Display for RouteTable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for namespace in self.namespaces() {
            writeln!(f, "namespace {}", namespace.name)?;
            let mut last = None;
            for route in namespace.routes() {
                if last != Some(&route.event) {
                    writeln!(f, "  {}", route.event)?;
                }
                last = Some(&route.event);
                writeln!(f, "    {route}")?;
            }
            if last.is_none() {
                writeln!(f, "  (no routes)")?;
            }
        }
        if !self.offset {
            writeln!(f, "offset = false")?;
        }
        let mut messages: Vec<_> = self.messages.iter().collect();
        messages.sort();
        for (code, text) in messages {
            writeln!(f, "message {code}: {text}")?;
        }
        Ok(())
    }
}

/// One line: what it does, under which conditions, and where it was written.
impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if !self.after.is_zero() {
            write!(f, "after {} ", humantime::format_duration(self.after))?;
        }
        write!(f, "{}", self.action)?;
        if let Some(when) = &self.when {
            write!(f, " when {when}")?;
        }
        if let Some(unless) = &self.unless {
            write!(f, " unless {unless}")?;
        }
        let allow: Vec<_> = self.allow.iter().map(ToString::to_string).collect();
        write!(f, "; allow {}", allow.join(" or "))?;
        if let Some(rate) = &self.rate {
            write!(f, "; {}/s, burst {}", rate.per_second, rate.burst)?;
        }
        if let Some(bytes) = self.max_bytes {
            write!(f, "; at most {bytes} bytes")?;
        }
        if self.schema.is_some() {
            f.write_str("; with schema")?;
        }
        if let Some(refused) = &self.refused {
            write!(f, "; refused ({}): {}", refused.codes.join(", "), refused.emission)?;
        }
        write!(f, "; {}", self.place)
    }
}

impl Display for Emission {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "emit {} {}", self.emit, self.args)
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::All => "all",
            Self::Others => "others",
        })
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(room) = self.room() {
            write!(f, " room {room}")?;
        }
        match self {
            Self::Join(join) => {
                if let Some(since) = &join.since {
                    write!(f, " since {since}{}", if join.partial { " (partial)" } else { "" })?;
                }
                if let Some(capacity) = join.capacity {
                    write!(f, " capacity {capacity}{}", if join.auto { " (auto)" } else { "" })?;
                }
                f.write_str(if join.presence { " with presence" } else { "" })
            }
            Self::Leave(_) => Ok(()),
            Self::Publish(publish) => {
                write!(f, " to {}, {}", publish.to, publish.emission)?;
                identified(f, publish.id.as_ref())
            }
            Self::Signal(signal) => match signal.room {
                Some(_) => write!(f, " to {}, {}", signal.to, signal.emission),
                None => write!(f, " to self, {}", signal.emission),
            },
            Self::Direct(direct) => {
                write!(f, " user {}{}, {}", direct.user, kept(direct.keep), direct.emission)?;
                identified(f, direct.id.as_ref())
            }
            Self::Broadcast(broadcast) => {
                write!(f, " to {}{}, {}", broadcast.to, kept(broadcast.keep), broadcast.emission)?;
                identified(f, broadcast.id.as_ref())
            }
            Self::History(history) => {
                write!(f, " since {} before {} limit {}", history.since, history.before, history.limit)
            }
            Self::Presence(presence) => write!(f, " after {} limit {}", presence.after, presence.limit),
            Self::Claim(claim) => match &claim.success {
                Some(success) => write!(f, " name {}, {success}", claim.name),
                None => write!(f, " name {}", claim.name),
            },
            Self::Typing(typing) => {
                let ttl = humantime::format_duration(typing.ttl);
                write!(f, " active {} for {ttl}, {}", typing.active, typing.emission)
            }
            Self::Call(call) => {
                let (timeout, backoff) = (
                    humantime::format_duration(call.endpoint.timeout),
                    humantime::format_duration(call.endpoint.backoff),
                );
                let (breaker, pause) = (call.endpoint.breaker, humantime::format_duration(call.endpoint.breaker.pause));
                write!(f, " {} body {}", shown_url(&call.url.to_string()), call.body)?;
                write!(f, " timeout {timeout}, {} attempts, backoff {backoff}", call.endpoint.attempts)?;
                write!(f, ", pause {pause} after {} failures", breaker.failures)?;
                // Their values are often secrets that were written down.
                let headers: Vec<_> = call.headers.iter().map(|(name, _)| name.as_str()).collect();
                if headers.is_empty() { Ok(()) } else { write!(f, ", headers {}", headers.join(", ")) }
            }
            Self::Log(log) => write!(f, " {} at {}", log.message, log.level.name()),
            Self::Identify(identify) => write!(f, " user {}", identify.user),
        }
    }
}

fn kept(keep: bool) -> &'static str {
    if keep { "" } else { " (not kept)" }
}

fn identified(f: &mut Formatter<'_>, id: Option<&Template>) -> fmt::Result {
    id.map_or(Ok(()), |id| write!(f, ", id {id}"))
}
