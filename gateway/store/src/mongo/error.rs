//! What MongoDB's errors mean: whether they pass, and what can be done.

use gateway_core::port::ErrorKind as Kind;
use mongodb::error::{Error, ErrorKind, WriteFailure};

use crate::StoreError;

/// The code of a key that is there already.
pub(crate) const DUPLICATE: i32 = 11_000;

/// An error with what an operator can do about it.
pub(super) fn failed(error: Error) -> StoreError {
    let kind = if lasts(&error) { Kind::Permanent } else { Kind::Transient };
    let text = match code(&error) {
        // What the driver says of a write names values.
        Some((code, message)) => format!("MongoDB: {message} ({code}){}", advice(code)),
        None => match &*error.kind {
            ErrorKind::Authentication { .. } => format!("MongoDB: {error}{}", advice(18)),
            ErrorKind::ServerSelection { message, .. } => format!("MongoDB: no primary answers: {message}"),
            _ => format!("MongoDB: {error}"),
        },
    };
    StoreError::new(text, kind, Some(Box::new(error)))
}

/// Whether a document was not written only because one of its key is there.
pub(crate) fn is_duplicate(error: &Error) -> bool {
    code(error).is_some_and(|(code, _)| code == DUPLICATE)
}

/// What the server said, if it was the server.
fn code(error: &Error) -> Option<(i32, &str)> {
    match &*error.kind {
        ErrorKind::Command(error) => Some((error.code, &error.message)),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some((error.code, &error.message)),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some((error.code, &error.message)),
        ErrorKind::InsertMany(error) => {
            // One that is there already is none, and nothing is known of the others then.
            let errors = error.write_errors.iter().flatten();
            let first = errors.clone().find(|error| error.code != DUPLICATE);
            let concern = error.write_concern_error.as_ref().map(|error| (error.code, &*error.message));
            let duplicate = || error.write_errors.iter().flatten().next();
            first
                .map(|error| (error.code, &*error.message))
                .or(concern)
                .or_else(|| duplicate().map(|error| (error.code, &*error.message)))
        }
        _ => None,
    }
}

/// Whether MongoDB will say the same again, until somebody changes something.
fn lasts(error: &Error) -> bool {
    if let Some((code, _)) = code(error) {
        // Values, rights, users, options, indexes of another kind, commands that it does not have, rules of a collection,
        // documents that are too large.
        return matches!(
            code,
            2 | 9
                | 13
                | 14
                | 18
                | 20
                | 40
                | 52
                | 57
                | 59
                | 66
                | 67
                | 72
                | 85
                | 86
                | 115
                | 121
                | 238
                | 10_334
                | DUPLICATE
        );
    }
    matches!(
        &*error.kind,
        ErrorKind::InvalidArgument { .. }
            | ErrorKind::Authentication { .. }
            | ErrorKind::Bson(_)
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::IncompatibleServer { .. }
    )
}

/// What an operator can do.
fn advice(code: i32) -> &'static str {
    match code {
        13 => "; the user of database.url needs the role readWrite, or run `gateway migrate` as somebody who has it",
        18 => "; look at the user, the password and authSource= in database.url",
        14_031 => "; make room on its disk",
        // Those that drivers know as a primary that is none any more, or not yet.
        91 | 189 | 10_058 | 10_107 | 11_600 | 11_602 | 13_435 | 13_436 => "; it is no primary at this moment",
        _ => "",
    }
}
