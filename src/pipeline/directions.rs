//! Which flows count, by the direction in which the device saw them.

use crate::{
    flow::{Plan, Slot},
    schema::{EGRESS, Field, INGRESS},
    traffic::{CountDirection, Directions},
};

use super::{exporter::Exporter, values::Values};

/// Finds flows that do not count because they were seen in the other direction.
#[derive(Debug)]
pub(super) struct DirectionFilter {
    directions: Directions,
    /// `None` where all exporters are alike.
    exporter: Option<Exporter>,
    direction: Slot,
}

impl DirectionFilter {
    /// `None` where all flows count. Wants the fields that it needs from `plan`.
    pub(super) fn new(directions: &Directions, plan: &mut Plan) -> Option<Self> {
        (!directions.are_all_both()).then(|| DirectionFilter {
            directions: directions.clone(),
            exporter: (!directions.exporters.is_empty()).then(|| Exporter::new(plan)),
            direction: plan.add(Field::FlowDirection),
        })
    }

    /// Whether a flow counts.
    pub(super) fn passes(&self, values: &impl Values) -> bool {
        let Some(direction) = values.number(self.direction) else { return true };
        let own = self.exporter.and_then(|exporter| {
            let (hostname, address) = (exporter.hostname(values), exporter.address(values));
            self.directions.exporters.get(hostname, address)
        });
        match own.unwrap_or(&self.directions.default) {
            CountDirection::Both => true,
            CountDirection::Ingress => direction != u64::from(EGRESS),
            CountDirection::Egress => direction != u64::from(INGRESS),
        }
    }
}
