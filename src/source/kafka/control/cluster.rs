//! Which cluster the topic is read from. Positions are those of one cluster: another one's topic of
//! the same name has other messages at the same offsets.

use std::sync::Arc;

use crate::source::{Publication, kafka::error::KafkaSourceError};

use super::client::Client;

/// The cluster that positions are of.
pub(super) struct Cluster {
    client: Arc<Client>,
    publication: Arc<dyn Publication>,
    /// Its id; `None` while it is not known.
    counted: Option<String>,
    is_checked: bool,
}

impl Cluster {
    /// A cluster that is yet to be compared with that of the brokers.
    pub(super) fn new(
        client: Arc<Client>,
        publication: Arc<dyn Publication>,
        counted: Option<String>,
    ) -> Self {
        Cluster { client, publication, counted, is_checked: false }
    }

    /// Whether the brokers are the right ones, as far as they say. Nothing is read before.
    pub(super) fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// Compares the cluster of the brokers, which have answered, with the one that positions are of.
    /// If that is not known, it is this one from now on.
    pub(super) fn check(&mut self) -> Result<(), KafkaSourceError> {
        match (&self.counted, self.client.cluster()) {
            (Some(counted), Some(found)) if *counted != found => {
                return Err(self.client.other_cluster(found, counted.clone()));
            }
            (None, Some(found)) => {
                self.publication.note_cluster(&found);
                self.counted = Some(found);
            }
            (_, None) if !self.is_checked => tracing::info!(
                "the brokers don't name their cluster: positions of another cluster would not be \
                 noticed"
            ),
            _ => {}
        }
        self.is_checked = true;
        Ok(())
    }
}
