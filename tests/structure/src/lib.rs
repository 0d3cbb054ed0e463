//! Which files of the program use which others, and where that goes round in a circle.
//!
//! A file uses another one where a path in it (`use` or inline) leads to something that the other
//! file defines, re-exports followed, or where it calls a method on `self` that the other file has.
//! What is only for tests within files does not count, and neither does `mod x;`.
//!
//! [`Package`] holds what is read from the sources; [`Ties`] is what follows from it.

mod circles;
mod source;

pub use circles::{Circle, Ties};
pub use source::Package;
