//! What the operator says of interfaces of exporters.

use std::collections::BTreeMap;

use super::by_exporter::ByExporter;

/// What the operator says of interfaces, by exporter and SNMP index.
pub type Interfaces = ByExporter<BTreeMap<u32, Interface>>;

/// What the operator says of one interface: an empty text says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name, such as `xe-0/0/0`.
    pub name: Box<str>,
    /// What it is for, such as `Transit: Example`.
    pub description: Box<str>,
}
