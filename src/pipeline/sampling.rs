//! By what a flow is multiplied.

use std::num::NonZero;

use crate::{
    flow::{Plan, Slot},
    schema::Field,
    traffic::{ByExporter, Counts, Sampling},
};

use super::{exporter::Exporter, values::Values};

/// Finds the factor of each flow.
#[derive(Debug)]
pub(super) struct Sampler {
    exporter: Exporter,
    overrides: ByExporter<NonZero<u32>>,
    /// The rate that the record has, if it is used.
    recorded: Option<Slot>,
}

impl Sampler {
    /// `None` where all flows count as they are. Wants the fields that it needs from `plan`.
    pub(super) fn new(sampling: &Sampling, plan: &mut Plan) -> Option<Self> {
        let Sampling { multiplies, overrides } = sampling;
        (*multiplies || !overrides.is_empty()).then(|| Sampler {
            exporter: Exporter::new(plan),
            overrides: overrides.clone(),
            recorded: multiplies.then(|| plan.add(Field::SamplingRate)),
        })
    }

    /// By what bytes and packets of a flow are multiplied.
    pub(super) fn factor(&self, values: &impl Values, counts: &mut Counts) -> u64 {
        let (hostname, address) = (self.exporter.hostname(values), self.exporter.address(values));
        let rate = match (self.overrides.get(hostname, address), self.recorded) {
            (Some(rate), _) => rate.get(),
            // 0 says that the rate is unknown.
            (None, Some(slot)) => values.number(slot).unwrap_or_default() as u32,
            (None, None) => return 1,
        };
        if rate == 0 {
            counts.unknown_rate += 1;
            return 1;
        }
        counts.sampling_rates.note(hostname, address, rate);
        rate.into()
    }
}
