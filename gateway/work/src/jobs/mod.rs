//! Jobs: the kinds that the gateway does itself, and the workers of a node that do them.

mod http;
mod kinds;
mod notify;
mod publish;
mod upkeep;
mod workers;

pub use self::http::{BackEnds, Http};
pub use kinds::{Kind, Kinds};
pub use notify::Notify;
pub use publish::Publish;
pub use upkeep::Upkeep;
pub use workers::Workers;

use serde::Deserialize;
use serde_json::value::RawValue;

use gateway_core::domain::Refusal;
use gateway_core::jobs::Failure;

/// What a job is about, as its kind reads it.
fn read<'a, T: Deserialize<'a>>(data: &'a RawValue) -> Result<T, String> {
    // Structs would be read from lists, too, which nobody means.
    if !data.get().starts_with('{') {
        return Err("data must be an object".into());
    }
    serde_json::from_str(data.get()).map_err(|error| {
        let text = error.to_string();
        text.split(" at line ").next().unwrap_or_default().to_owned()
    })
}

/// What was refused, as a failure: what may be welcome later is tried again.
fn failure(refusal: &Refusal) -> Failure {
    let why = refusal.message();
    match refusal.retry_after() {
        Some(wait) => Failure::after(wait, why),
        None => Failure::never(why),
    }
}
