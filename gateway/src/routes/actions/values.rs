//! Offsets and numbers that templates give.

use crate::domain::{Offset, Refusal};
use crate::routes::template::{Scope, Template};

/// An offset that a template gives, if it gives one.
pub(super) fn offset(template: &Template, scope: &Scope<'_>) -> Result<Option<Offset>, Refusal> {
    let text = template.optional(scope)?;
    let offset = text.filter(|text| !text.is_empty()).map(|text| {
        Offset::parse(&text)
            .ok_or_else(|| Refusal::bad_request(format!("{template} is not an offset: decimal digits as a text")))
    });
    offset.transpose()
}

/// A whole number that a template gives, if it gives one.
pub(super) fn number(template: &Template, scope: &Scope<'_>) -> Result<Option<usize>, Refusal> {
    let text = template.optional(scope)?;
    let number = text
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| Refusal::bad_request(format!("{template} is not a whole number"))));
    number.transpose()
}
