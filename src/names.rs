//! Fresh AS names: where they come from, how they are fetched, where they are cached.
//!
//! [`load_initial`] gives names at once, without any network: those of a file, those of the last
//! fetch, or the embedded ones. The [`Refresher`] then renews them in the background; a
//! [`NamesHandle`] gives it another configuration while it runs. Whatever goes wrong, the names in
//! use are only ever replaced by a whole new table, never emptied.

mod cache;
mod error;
mod fetch;
mod file;
mod refresher;
mod source;

pub use cache::{ORIGIN, TABLE};
pub use error::{MIN_REFRESH, NamesError};
pub use refresher::{Announcement, FIRST_WAIT, NamesConfig, NamesHandle, Refresher, load_initial};
pub use reqwest::Url;
pub use source::{NamesSource, SourceError};
