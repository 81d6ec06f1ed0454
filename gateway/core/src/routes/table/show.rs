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

impl RouteTable {
    /// Each route, hook and message on a line of its own, without where it was written: what two tables differ in.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let route = |namespace: &str, route: &Route| {
            let shown = route.to_string();
            let does = shown.strip_suffix(&format!("; {}", route.place)).unwrap_or(&shown);
            format!("{namespace} {}: {does}", route.event)
        };
        let routes = self
            .namespaces()
            .flat_map(|namespace| namespace.routes().map(|it| route(&namespace.name, it)).collect::<Vec<_>>());
        let hooks = self.hooks.iter().map(|hook| {
            let shown = hook.to_string();
            shown.strip_suffix(&format!("; {}", hook.place)).unwrap_or(&shown).to_owned()
        });
        let mut messages: Vec<_> = self.messages.iter().map(|(code, text)| format!("message {code}: {text}")).collect();
        messages.sort();
        let offset = (!self.offset).then(|| "offset = false".to_owned());
        routes.chain(hooks).chain(messages).chain(offset).collect()
    }

    /// What comes and what goes if this table takes the place of another.
    #[must_use]
    pub fn differences(&self, before: &Self) -> (Vec<String>, Vec<String>) {
        let (new, old) = (self.lines(), before.lines());
        let missing_in = |lines: &[String], others: &[String]| {
            let mut others = others.to_vec();
            let mut missing = lines.to_vec();
            missing.retain(|line| match others.iter().position(|other| other == line) {
                Some(at) => {
                    others.swap_remove(at);
                    false
                }
                None => true,
            });
            missing
        };
        let (mut added, removed) = (missing_in(&new, &old), missing_in(&old, &new));
        if added.is_empty() && removed.is_empty() && new != old {
            added.push("the same routes in another order".to_owned());
        }
        (added, removed)
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
