//! What the server asks of clients, by Prometheus' web configuration file: TLS, client certificates,
//! users, headers.
//!
//! `config::web` makes a [`WebConfig`] of the file. [`Web`] has the one in force, and reads the file again
//! when it has changed.

mod config;
mod rate;
mod reread;
mod tls;
mod users;

pub use config::{WebConfig, WebFileError};
pub use rate::RateLimit;
pub use reread::{ReadWeb, Web};
pub(super) use tls::HandshakeFailure;
pub use tls::{CIPHERS, CURVES, ClientAuth, Tls, TlsError, TlsKey, TlsOptions, TlsVersionLimit};
pub(super) use users::Unauthorized;
pub use users::{UserError, Users};
