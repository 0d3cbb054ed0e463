//! The two outputs: scrapes and remote write.
//!
//! [`text`] and [`remote_write`] turn snapshots into bytes and know no sockets; [`server`] and
//! [`pusher`] carry the bytes and know no formats.

pub mod pusher;
pub mod relabel;
pub mod remote_write;
pub mod server;
pub mod text;
