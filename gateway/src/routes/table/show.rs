//! The table as people read it, for `gateway check`.

use std::fmt::{self, Display, Formatter};

use super::{Route, RouteTable};

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
        for hook in &self.hooks {
            writeln!(f, "{hook}")?;
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
