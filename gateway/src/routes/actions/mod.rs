//! What routes can do: one file per kind of action.

mod ask;
mod history;
mod membership;
mod names;
mod speak;

pub(super) use ask::{call, log};
pub(super) use history::{history, presence};
pub(super) use membership::{join, leave};
pub(super) use names::{claim, identify};
pub(super) use speak::{broadcast, direct, publish, signal, typing};

use super::template::{Scope, Template};
use crate::domain::{Offset, Refusal};

/// An offset that a template gives, if it gives one.
fn offset(template: &Template, scope: &Scope<'_>) -> Result<Option<Offset>, Refusal> {
    let text = template.optional(scope)?;
    let offset = text.filter(|text| !text.is_empty()).map(|text| {
        Offset::parse(&text)
            .ok_or_else(|| Refusal::bad_request(format!("{template} is not an offset: decimal digits as a text")))
    });
    offset.transpose()
}

/// A whole number that a template gives, if it gives one.
fn number(template: &Template, scope: &Scope<'_>) -> Result<Option<usize>, Refusal> {
    let text = template.optional(scope)?;
    let number = text
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| Refusal::bad_request(format!("{template} is not a whole number"))));
    number.transpose()
}
