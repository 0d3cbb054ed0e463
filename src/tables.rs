//! Where tables of addresses come from: the embedded one, and files, which are read again when they
//! change.
//!
//! Nothing is fetched, and nothing is cached: unlike names, a table that is some months old is still
//! right for most addresses, and who needs a newer one has a provider's tool that keeps a file up
//! to date. The names of the AS that a table finds are those of [`names`](crate::names).
//!
//! [`load`] reads a table at once; its [`Refresher`] then watches the files. Whatever goes wrong
//! with them, the table in use is only ever replaced by a whole new one.

mod addresses;
mod error;
mod refresher;
mod source;

pub use addresses::{AddressSources, Watch, WatchHandle};
pub use error::TablesError;
pub use refresher::{LOOK_EVERY, Refresher, load};
pub use source::{NetworksFile, Source, TableSource, TableSources};
