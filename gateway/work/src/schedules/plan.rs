//! When a schedule is due: cron in a time zone, in instants that are the same for all nodes.

use std::str::FromStr;

use croner::Cron;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use sha2::{Digest, Sha256};

use gateway_core::config::Schedule;

/// A schedule with what its texts mean.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) schedule: Schedule,
    /// What tells it from a schedule of the same name with other times.
    pub(super) key: String,
    cron: Cron,
    zone: TimeZone,
}

impl Plan {
    /// Reads a schedule.
    pub(super) fn read(schedule: &Schedule) -> Result<Self, String> {
        let Schedule { name, cron: text, timezone, .. } = schedule;
        let wrong = |key: &str, why: String| format!("schedule {name}: {key}: {why}");
        let cron = Cron::from_str(text).map_err(|error| {
            let form =
                "it has five fields (minute, hour, day, month, weekday), or six with seconds first, or is like @daily";
            wrong("cron", format!("{text:?} is none: {error}; {form}"))
        })?;
        let zone = TimeZone::get(timezone)
            .map_err(|_| wrong("timezone", format!("{timezone:?} is none that is known, like \"Europe/Berlin\"")))?;
        let hash = Sha256::digest(format!("{text}\n{timezone}"));
        let hash: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let plan = Self { schedule: schedule.clone(), key: format!("{name}@{hash}"), cron, zone };
        if plan.next(now_ms()).is_none() {
            return Err(wrong("cron", format!("{text:?} is never")));
        }
        Ok(plan)
    }

    /// The first tick after a time; times are milliseconds since 1970, and ticks whole seconds.
    pub(super) fn next(&self, after: u64) -> Option<u64> {
        let found = self.cron.find_next_occurrence(&self.zoned(after)?, false).ok()?;
        Some(milliseconds(&found))
    }

    /// The last tick at a time or before it.
    pub(super) fn previous(&self, until: u64) -> Option<u64> {
        let found = self.cron.find_previous_occurrence(&self.zoned(until)?, true).ok()?;
        Some(milliseconds(&found))
    }

    /// The ticks after a time, up to another: so many at the most, the last ones.
    pub(super) fn between(&self, after: u64, until: u64, most: usize) -> Vec<u64> {
        let mut ticks = Vec::new();
        let mut last = until;
        while let Some(tick) = self.previous(last).filter(|tick| *tick > after && ticks.len() < most) {
            ticks.push(tick);
            last = tick.saturating_sub(1_000);
        }
        ticks.reverse();
        ticks
    }

    fn zoned(&self, ms: u64) -> Option<Zoned> {
        let at = Timestamp::from_second(i64::try_from(ms / 1_000).ok()?).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

fn milliseconds(at: &Zoned) -> u64 {
    u64::try_from(at.timestamp().as_second()).unwrap_or_default() * 1_000
}

/// Milliseconds since 1970, by this node's clock.
pub(super) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(cron: &str, timezone: &str) -> Result<Plan, String> {
        let text = format!("name = \"s\"\ncron = \"{cron}\"\ntimezone = \"{timezone}\"\nkind = \"http\"\n");
        Plan::read(&toml::from_str(&text).unwrap())
    }

    fn ms(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn shown(ms: u64) -> String {
        Timestamp::from_millisecond(i64::try_from(ms).unwrap()).unwrap().to_string()
    }

    fn ticks(cron: &str, after: &str, until: &str) -> Vec<String> {
        let plan = plan(cron, "Europe/Berlin").unwrap();
        let (after, until) = (ms(after), ms(until));
        let back = plan.between(after, until, 1_000);
        // Both ways it is the same.
        let mut forth = Vec::new();
        let mut at = after;
        while let Some(tick) = plan.next(at).filter(|tick| *tick <= until) {
            forth.push(tick);
            at = tick;
        }
        assert_eq!(back, forth, "{cron}");
        back.into_iter().map(shown).collect()
    }

    #[test]
    fn all_forms_are_read() {
        for (cron, next) in [
            ("0 9 * * *", "2026-11-26T09:00:00Z"),
            ("30 0 9 * * *", "2026-11-26T09:00:30Z"),
            ("*/5 * * * *", "2026-11-26T08:35:00Z"),
            ("0 9 * DEC MON-FRI", "2026-12-01T09:00:00Z"),
            ("0 0 L * *", "2026-11-30T00:00:00Z"),
            ("@daily", "2026-11-27T00:00:00Z"),
            ("@hourly", "2026-11-26T09:00:00Z"),
            ("@weekly", "2026-11-29T00:00:00Z"),
        ] {
            let plan = plan(cron, "UTC").unwrap();
            assert_eq!(shown(plan.next(ms("2026-11-26T08:30:09.5Z")).unwrap()), next, "{cron}");
        }
        assert_eq!(
            plan("0 9 * * *", "Europe/Berlin").unwrap().next(ms("2026-11-26T06:00:00Z")),
            Some(ms("2026-11-26T08:00:00Z"))
        );
    }

    #[test]
    fn what_is_none_is_said() {
        for (cron, timezone, word) in [
            ("0 9 * *", "UTC", "cron: \"0 9 * *\" is none"),
            ("99 9 * * *", "UTC", "is none"),
            ("@dayly", "UTC", "is none"),
            ("", "UTC", "is none"),
            ("0 9 * * *", "Europe/Bonn", "timezone: \"Europe/Bonn\""),
            ("0 0 30 2 *", "UTC", "is never"),
        ] {
            let said = plan(cron, timezone).unwrap_err();
            assert!(said.starts_with("schedule s: ") && said.contains(word), "{said}");
        }
    }

    #[test]
    fn an_hour_that_does_not_exist_is_made_up_for_once() {
        // On 29 March 2026 clocks go from 2:00 to 3:00, at 1:00 UTC.
        let (before, after) = ("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z");
        assert_eq!(ticks("30 2 * * *", before, after), ["2026-03-29T01:00:00Z"], "as soon as the clock goes on");
        assert_eq!(ticks("0 3 * * *", before, after), ["2026-03-29T01:00:00Z"]);
        let hourly = ticks("0 * * * *", "2026-03-28T23:30:00Z", "2026-03-29T03:30:00Z");
        assert_eq!(hourly.len(), 4, "an hour of them is an hour of time: {hourly:?}");
    }

    #[test]
    fn an_hour_that_comes_twice_has_daily_ticks_once_and_hourly_ones_twice() {
        // On 25 October 2026 clocks go from 3:00 to 2:00, at 1:00 UTC.
        let (before, after) = ("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
        assert_eq!(ticks("30 2 * * *", before, after), ["2026-10-25T00:30:00Z"]);
        let hourly = ticks("30 * * * *", "2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z");
        assert_eq!(hourly.len(), 4, "an hour of them is an hour of time: {hourly:?}");
    }

    #[test]
    fn of_many_the_last_ones_are_taken() {
        let plan = plan("* * * * * *", "UTC").unwrap();
        let now = ms("2026-11-26T08:30:09.5Z");
        assert_eq!(plan.between(now - 5_000, now, 100).len(), 5);
        assert_eq!(
            plan.between(now - 3_600_000, now, 3).into_iter().map(shown).collect::<Vec<_>>(),
            ["2026-11-26T08:30:07Z", "2026-11-26T08:30:08Z", "2026-11-26T08:30:09Z"]
        );
        assert_eq!(plan.previous(now).map(shown).unwrap(), "2026-11-26T08:30:09Z");
    }
}
