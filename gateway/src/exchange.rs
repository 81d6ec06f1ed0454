//! `gateway export` and `gateway import`: what the archive has as lines of JSON, out of the database that is configured and into it.

use std::io::{BufWriter, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gateway_core::config::Config;
use gateway_core::domain::Offset;
use gateway_core::outbox::Pattern;
use gateway_store::{OpenError, Store};
use gateway_work::archiving::{ExchangeError, Exchanged, export, import};

use crate::process::{BAD_CONFIGURATION, INTERNAL, OK, UNAVAILABLE, fail};

/// What is done with the database.
#[derive(Clone, Debug)]
pub enum Exchange {
    /// Writes what rooms said to standard output.
    Export {
        /// Patterns of their names.
        rooms: Vec<String>,
        /// Only what they said after this.
        since: Offset,
    },
    /// Reads the same from standard input.
    Import,
}

/// From when on something is exported: a time, as in `2026-01-31` or RFC 3339, or how long ago that was, as in `30d`.
///
/// # Errors
/// What it may be.
pub fn since(text: &str) -> Result<Offset, String> {
    let ago = |time: Duration| SystemTime::now().checked_sub(time);
    let moment = humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text} 00:00:00")))
        .ok()
        .or_else(|| ago(humantime::parse_duration(text).ok()?));
    let moment = moment.ok_or("a time (2026-01-31, 2026-01-31T12:00:00Z), or how long ago (30d)")?;
    // No offset is below the microseconds of the clock when it was given.
    let microseconds = moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
    Ok(Offset(u64::try_from(microseconds).unwrap_or(u64::MAX)))
}

/// Does it. Returns the code to exit with.
#[must_use]
pub fn run(config: &Config, exchange: &Exchange) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(INTERNAL, &format!("cannot start the runtime: {error}")),
    };
    runtime.block_on(async {
        let store = match Store::open(config).await {
            Ok(Some(store)) if store.kind() != "memory" => store,
            Ok(_) => {
                return fail(BAD_CONFIGURATION, "there is no database: set database.url, or data_dir on a single node");
            }
            Err(error @ OpenError::File(_)) => return fail(UNAVAILABLE, &error.to_string()),
            Err(error) => return fail(BAD_CONFIGURATION, &error.to_string()),
        };
        let done = exchanged(config, &store, exchange).await;
        store.close().await;
        match done {
            Ok(Exchanged { lines, new }) => {
                let read = format!("{lines} lines read, {new} of their events are new");
                let told = if matches!(exchange, Exchange::Import) { read } else { format!("{lines} lines written") };
                writeln!(std::io::stderr(), "gateway: {told}").ok();
                OK
            }
            Err(error @ ExchangeError::Line { .. }) => fail(BAD_CONFIGURATION, &error.to_string()),
            Err(error) => fail(UNAVAILABLE, &error.to_string()),
        }
    })
}

async fn exchanged(config: &Config, store: &Store, exchange: &Exchange) -> Result<Exchanged, ExchangeError> {
    let archives = store.archives(config);
    match exchange {
        Exchange::Export { rooms, since } => {
            let rooms: Vec<_> = rooms.iter().map(|room| Pattern::new(room)).collect();
            export(&archives, &rooms, *since, BufWriter::new(std::io::stdout())).await
        }
        Exchange::Import => import(&archives, std::io::BufReader::new(std::io::stdin())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_day_a_moment_or_how_long_ago_it_was() {
        assert_eq!(since("2026-01-31").unwrap(), Offset(1_769_817_600_000_000));
        assert_eq!(since("2026-01-31T12:00:00Z").unwrap(), Offset(1_769_860_800_000_000));
        assert_eq!(since("1970-01-01").unwrap(), Offset::START);
        let day = since("1d").unwrap().0;
        assert!(day > since("2d").unwrap().0 && day < since("1s").unwrap().0);
        for wrong in ["", "yesterday", "2026-13-01", "-1d"] {
            assert!(since(wrong).unwrap_err().contains("30d"), "{wrong}");
        }
    }
}
