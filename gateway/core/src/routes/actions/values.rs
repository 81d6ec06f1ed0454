//! Offsets, numbers and ids that templates give.

use crate::domain::{Offset, Refusal};
use crate::notifications::NotificationId;
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

/// The id of a notification that a template gives, if it gives one.
pub(super) fn notification(template: &Template, scope: &Scope<'_>) -> Result<Option<NotificationId>, Refusal> {
    let text = template.optional(scope)?;
    let id = text.filter(|text| !text.is_empty()).map(|text| {
        NotificationId::parse(&text).ok_or_else(|| {
            Refusal::bad_request(format!("{template} is no id of a notification: 24 hexadecimal digits as a text"))
        })
    });
    id.transpose()
}

/// A whole number that a template gives, if it gives one.
pub(super) fn number(template: &Template, scope: &Scope<'_>) -> Result<Option<usize>, Refusal> {
    let text = template.optional(scope)?;
    let number = text
        .filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| Refusal::bad_request(format!("{template} is not a whole number"))));
    number.transpose()
}
