//! What is said of the interfaces that a flow passed.

use std::sync::Arc;

use crate::{
    flow::{Plan, Slot},
    schema::{Field, Side},
    traffic::{Interface, Interfaces},
};

use super::{exporter::Exporter, values::Values};

/// A text about an interface: the operator's, or else that of the record or its exporter.
#[derive(Debug)]
pub(super) struct InterfaceText {
    /// The SNMP index.
    index: Slot,
    /// What the exporter says.
    said: Slot,
    /// What the operator says, if it says something of any interface.
    given: Option<(Exporter, Arc<Interfaces>)>,
    /// Which of what the operator says.
    of: fn(&Interface) -> &str,
}

impl InterfaceText {
    /// The name of the interface on this side. Wants the fields from `plan`.
    pub(super) fn name(side: Side, given: &Arc<Interfaces>, plan: &mut Plan) -> Self {
        let said = match side {
            Side::Source => Field::InputInterfaceName,
            Side::Destination => Field::OutputInterfaceName,
        };
        Self::new(side, said, |interface| &interface.name, given, plan)
    }

    /// The description of the interface on this side. Wants the fields from `plan`.
    pub(super) fn description(side: Side, given: &Arc<Interfaces>, plan: &mut Plan) -> Self {
        let said = match side {
            Side::Source => Field::InputInterfaceDescription,
            Side::Destination => Field::OutputInterfaceDescription,
        };
        Self::new(side, said, |interface| &interface.description, given, plan)
    }

    fn new(
        side: Side,
        said: Field,
        of: fn(&Interface) -> &str,
        given: &Arc<Interfaces>,
        plan: &mut Plan,
    ) -> Self {
        let index = match side {
            Side::Source => Field::InputInterface,
            Side::Destination => Field::OutputInterface,
        };
        InterfaceText {
            index: plan.add(index),
            said: plan.add(said),
            given: (!given.is_empty()).then(|| (Exporter::new(plan), Arc::clone(given))),
            of,
        }
    }

    /// The text, which is not empty; `None` if nobody says one.
    #[inline]
    pub(super) fn get<'v>(&'v self, values: &'v impl Values) -> Option<&'v str> {
        let given = self.given.as_ref().and_then(|(exporter, interfaces)| {
            let (hostname, address) = (exporter.hostname(values), exporter.address(values));
            let index = u32::try_from(values.number(self.index)?).ok()?;
            interfaces.get(hostname, address)?.get(&index).map(self.of)
        });
        given
            .filter(|text| !text.is_empty())
            .or_else(|| values.text(self.said).filter(|text| !text.is_empty()))
    }

    /// Whether the record has an interface, of which nobody says anything.
    pub(super) fn has_index(&self, values: &impl Values) -> bool {
        values.number(self.index).is_some()
    }
}
