//! Which flows count, by the direction in which the device saw them.

use std::{net::IpAddr, str::FromStr};

use super::by_exporter::ByExporter;

/// Which flows of an exporter count. Those of which the direction is unknown do in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CountDirection {
    /// Those that it saw coming in.
    Ingress,
    /// Those that it saw going out.
    Egress,
    /// All of them.
    #[default]
    Both,
}

impl FromStr for CountDirection {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ingress" => Ok(CountDirection::Ingress),
            "egress" => Ok(CountDirection::Egress),
            "both" => Ok(CountDirection::Both),
            _ => Err("give ingress, egress or both"),
        }
    }
}

/// The same of all exporters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directions {
    /// Of those for which nothing else is given.
    pub default: CountDirection,
    /// Of these.
    pub exporters: ByExporter<CountDirection>,
}

impl Directions {
    /// Whether it is said of an exporter which of its flows count.
    pub fn are_given(&self, exporter: Option<IpAddr>) -> bool {
        self.default != CountDirection::Both || self.exporters.get(None, exporter).is_some()
    }

    /// Whether all flows count, whatever their direction is.
    pub fn are_all_both(&self) -> bool {
        let mut exporters = self.exporters.iter().map(|(_, direction)| *direction);
        self.default == CountDirection::Both && exporters.all(|each| each == CountDirection::Both)
    }
}
