//! Forgetting which cluster a topic was on, for one that was moved.

use std::{path::Path, time::Duration};

use crate::{
    clock::UnixMs,
    journal::{Delta, Journal, JournalConfig},
};

use super::{error::StoreError, identity::Recorded};

/// Has a journal forget which cluster its positions are of, and nothing else. It then belongs to the
/// next cluster on which its topic is counted. Returns the id of the cluster; `None` if the journal
/// does not have any.
///
/// # Errors
/// Those of opening and writing a journal.
pub fn forget_cluster(directory: &Path, now: UnixMs) -> Result<Option<String>, StoreError> {
    // What the queue may take is not known here, so nothing is deleted for it.
    let config =
        JournalConfig { max_bytes: u64::MAX, max_age: Duration::MAX, ..JournalConfig::default() };
    let (mut journal, recovered) = Journal::open(directory, config)?;
    let Some(mut state) = recovered.state else { return Ok(None) };
    let Some(recorded @ Recorded { cluster: Some(cluster), .. }) = Recorded::read(&state.identity)
    else {
        return Ok(None);
    };
    let cluster = cluster.to_owned();
    state.identity = Recorded { cluster: None, ..recorded }.text().into_bytes();
    let mut delta = Delta::new(state.width());
    (delta.sequence, delta.time) = (state.sequence + 1, state.time);
    journal.begin_segment();
    journal.append(&mut delta, &state, now)?;
    Ok(Some(cluster))
}
