//! Stores over private databases of each kind.

use gateway_core::config::Config;
use gateway_store::Store;

use super::config;

/// What opens a store at a URL, with this much patience.
pub fn settings(url: &str, timeout: &str) -> Config {
    config(&[("GATEWAY_DATABASE__URL", url), ("GATEWAY_DATABASE__TIMEOUT", timeout)])
}

/// A store at a URL. The machine may be busy: nothing fails for being slow.
pub async fn store(url: &str) -> Store {
    Store::open(&settings(url, "60s")).await.unwrap().unwrap()
}

/// A store in a folder.
pub async fn store_in(folder: &std::path::Path) -> Store {
    let config = config(&[("GATEWAY_DATA_DIR", folder.to_str().unwrap())]);
    Store::open(&config).await.unwrap().unwrap()
}
