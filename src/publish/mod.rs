//! The doors by which counts leave: a page to be scraped, and remote write.
//!
//! Both read published snapshots and nothing else, so they can't disagree.

pub mod server;
pub mod text;
