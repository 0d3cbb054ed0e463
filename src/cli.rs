//! The command line: what operators type, before anything is made of it.
//!
//! `flags` declares commands and flags, `values` checks a single value, and `read` puts the command
//! line and the environment together. `pages` makes man pages and completions of the declarations.

mod flags;
mod pages;
mod read;
mod sources;
mod top;
mod values;

pub use flags::{
    CheckFlags, Cli, Command, CommonFlags, CountFlags, DemoFlags, DirectionFlags, EndpointFlags,
    HealthFlags, LogFlags, LogFormat, NameFlags, PushFlags, SamplingChoice, SchemaFlags, Shell,
    SourceFlags, StateAction, StateFlag, StateFlags, TimeFlags, TimestampChoice, ViewFlags,
    WriteOrder, WriteProtocol,
};
pub use pages::{completions, write_man_pages};
pub use read::{Refusal, unknown_variables};
pub use sources::{Given, Sources};
pub use values::LogLevel;
