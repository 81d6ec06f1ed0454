//! Databases of the gateway: what rooms said beyond the log, and what users are to be told. Drivers of databases that people
//! bring live here alone.

pub mod archive;
mod error;
mod migrated;
#[cfg(feature = "mongodb")]
mod mongo;
pub mod notifications;
mod open;
mod postgres;
mod sqlite;
mod text;

pub use error::StoreError;
pub use migrated::Migrated;
#[cfg(feature = "mongodb")]
pub use mongo::MongoServer;
pub use open::{OpenError, Store};
pub use postgres::PostgresServer;
pub use sqlite::DatabaseFile;
