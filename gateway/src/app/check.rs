//! What can be seen of a configuration without starting anything.

use super::grounds::check_namespaces;
use super::post::check_post;
use crate::collector;
use gateway_core::auth::{ApiKeys, Hook, Tokens};
use gateway_core::config::Config;
use gateway_core::inbox::Inbox;
use gateway_core::redis::Primary;
use gateway_core::routes::RouteTable;
use gateway_store::Store;
use gateway_work::jobs::BackEnds;

/// Looks whether a node could start with a configuration; its routes, if it could.
///
/// # Errors
/// The first thing that is wrong, in words that name the setting.
pub fn check(config: &Config) -> Result<RouteTable, String> {
    fn words(error: impl std::fmt::Display) -> String {
        error.to_string()
    }
    let table = RouteTable::load(&config.profile, config.file.as_deref()).map_err(words)?;
    table.check_jobs(&config.jobs)?;
    check_namespaces(config, &table)?;
    BackEnds::new(&config.jobs)?;
    check_post(config)?;
    collector::check(config)?;
    Tokens::check(&config.auth).map_err(words)?;
    Hook::check(&config.auth.hook)?;
    Inbox::check(&config.notifications)?;
    Primary::check(config).map_err(words)?;
    ApiKeys::check(&config.api.key)?;
    Store::check(config).map_err(words)?;
    Ok(table)
}
