//! The formats of messages.

use crate::{
    flow::{Format, Formats},
    nearest::nearest,
};

use super::{error::ConfigError, setting::Setting};

/// Stands for all formats, told apart by message.
pub(super) const AUTO: &str = "auto";

/// The formats that are read.
pub(super) fn formats(chosen: Setting<String>) -> Result<Setting<Formats>, ConfigError> {
    let formats = Formats::default();
    chosen.try_map(|name| match formats.pinned(&name) {
        _ if name == AUTO => Ok(formats),
        Some(pinned) => Ok(pinned),
        None => {
            let names: Vec<_> = formats.all().iter().map(Format::name).collect();
            let meant = nearest(&name, names.iter().copied());
            let meant = meant.map(|meant| format!("did you mean {meant}? "));
            Err(format!(
                "there is no format {name}: {}give {AUTO}, {}",
                meant.unwrap_or_default(),
                names.join(", ")
            ))
        }
    })
}
