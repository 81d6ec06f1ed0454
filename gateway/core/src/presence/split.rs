//! Directories of a deployment with several stores: each has the rooms of its own namespaces.

use std::sync::Arc;

use async_trait::async_trait;

use super::{BusyRooms, Directory};
use crate::domain::RoomName;
use crate::port::PortError;

/// Asks the one that has a namespace.
pub struct SplitDirectory {
    main: Arc<dyn Directory>,
    others: Vec<(Vec<String>, Arc<dyn Directory>)>,
}

impl std::fmt::Debug for SplitDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let namespaces: Vec<_> = self.others.iter().map(|(namespaces, _)| namespaces).collect();
        f.debug_struct("SplitDirectory").field("others", &namespaces).finish_non_exhaustive()
    }
}

impl SplitDirectory {
    /// `main` has all namespaces that none of the `others` has.
    #[must_use]
    pub fn new(main: Arc<dyn Directory>, others: Vec<(Vec<String>, Arc<dyn Directory>)>) -> Self {
        Self { main, others }
    }
}

#[async_trait]
impl Directory for SplitDirectory {
    async fn rooms(&self, namespace: &str, after: Option<&RoomName>, limit: usize) -> Result<BusyRooms, PortError> {
        let has = |(names, _): &&(Vec<String>, Arc<dyn Directory>)| names.iter().any(|name| name == namespace);
        let directory = self.others.iter().find(has).map_or(&self.main, |(_, directory)| directory);
        directory.rooms(namespace, after, limit).await
    }
}
