//! Traffic to try the program with.

pub mod model;
