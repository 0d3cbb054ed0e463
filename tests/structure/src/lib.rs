//! Finds files of the program that import each other, directly or through others.
//!
//! File A imports file B if a path in A (in a `use` or inline) resolves to an item that B defines,
//! re-exports followed, or if A calls a method on `self` that B defines. `mod x;` alone is no
//! import, and `#[cfg(test)]` items are ignored.
//!
//! [`Package`] is parsed from the sources; [`Imports`] are derived from it.

mod circles;
mod source;

pub use circles::{Circle, Imports};
pub use source::Package;
