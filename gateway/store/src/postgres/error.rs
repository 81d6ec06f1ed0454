//! What PostgreSQL's errors mean: whether they pass, and what can be done.

use std::time::Duration;

use gateway_core::port::ErrorKind;

use super::Failure;
use crate::StoreError;

/// An error with what an operator can do about it.
pub(super) fn failed(error: sqlx::Error, timeout: Duration) -> StoreError {
    let kind = if lasts(&error) { ErrorKind::Permanent } else { ErrorKind::Transient };
    let text = match &error {
        sqlx::Error::PoolTimedOut => format!(
            "PostgreSQL: no connection within {timeout:?}; it does not answer, or all of database.pool_size are in use"
        ),
        // Its own text has them in quotes, with what was asked.
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            format!("PostgreSQL: {} ({code}){}", error.message(), advice(&code))
        }
        other => format!("PostgreSQL: {other}"),
    };
    StoreError::new(text, kind, Some(Box::new(error)))
}

/// Whether a connection is of no use after that: it was lost, it did not answer, or it leads to a server that does not write.
pub(super) fn is_in_doubt(failure: &Failure) -> bool {
    match failure {
        Failure::Late => true,
        Failure::Newer | Failure::Encoding(_) => false,
        Failure::Sqlx(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default();
            code == READ_ONLY || code.starts_with("57") || code.starts_with("08")
        }
        Failure::Sqlx(_) => true,
    }
}

/// Of a replica, which may be the primary later: then another connection helps.
const READ_ONLY: &str = "25006";

/// Whether PostgreSQL will say the same again, until somebody changes something.
fn lasts(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            let class = code.get(..2).unwrap_or_default();
            // Values, keys, names of databases and users, rights, statements, damage. Not: connections, resources, what an
            // administrator does, transactions that meet, systems that fail.
            let lasts = ["0A", "22", "23", "28", "3D", "3F", "42"].contains(&class) || code.starts_with("XX00");
            lasts && code != "XX000"
        }
        sqlx::Error::Configuration(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_) => true,
        // A certificate that is not trusted stays so.
        sqlx::Error::Tls(_) => true,
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// What an operator can do.
fn advice(code: &str) -> &'static str {
    match code {
        READ_ONLY => "; it only reads: is it a replica, or is default_transaction_read_only set?",
        "53100" => "; make room on its disk",
        "53300" => "; raise its max_connections, or lower database.pool_size",
        "57014" => "; it took longer than database.timeout",
        "42501" => "; the user of database.url needs the right, or run `gateway migrate` as somebody who has it",
        _ if code.starts_with("28") => "; look at the user and the password in database.url",
        _ if code.starts_with("3D") => "; create the database that database.url names",
        _ => "",
    }
}
