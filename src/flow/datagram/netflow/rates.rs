//! Sampling rates, as exporters say them in options.

use std::{collections::BTreeMap, num::NonZero};

/// A sampling rate: one packet of so many is seen.
pub(super) type Rate = NonZero<u32>;

/// What numbers samplers: two kinds of exporters do, with different elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum SamplerKind {
    /// `samplerId`, of NetFlow v9.
    Sampler = 0,
    /// `selectorId`, of PSAMP.
    Selector = 1,
}

/// A sampler of an exporter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Sampler {
    pub(super) kind: SamplerKind,
    pub(super) id: u64,
}

/// To what a rate applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Scope {
    /// To flows that name a sampler.
    Sampler(Sampler),
    /// To flows of a template.
    Template(u16),
    /// To all flows of an observation domain.
    Domain,
}

/// The rates that an exporter has said, by scope and observation domain.
#[derive(Debug, Default)]
pub(super) struct Rates(BTreeMap<(Scope, u32), Rate>);

/// The domain for what concerns the whole exporter (RFC 7011, section 3.1).
pub(super) const WHOLE_EXPORTER: u32 = 0;

impl Rates {
    /// Learns a rate; `None` says that there is none that is known. Learns no further ones if
    /// `is_full`. Returns whether it changes anything.
    pub(super) fn learn(
        &mut self,
        domain: u32,
        scope: Scope,
        rate: Option<Rate>,
        is_full: bool,
    ) -> bool {
        let key = (scope, domain);
        match rate {
            Some(_) if is_full && !self.0.contains_key(&key) => false,
            Some(rate) => self.0.insert(key, rate) != Some(rate),
            None => self.0.remove(&key).is_some(),
        }
    }

    /// Whether one is known for this scope in this domain.
    pub(super) fn has(&self, domain: u32, scope: Scope) -> bool {
        self.0.contains_key(&(scope, domain))
    }

    /// The rate of a sampler: in its domain, or else in the only domain that has one with this
    /// number.
    pub(super) fn of_sampler(&self, domain: u32, sampler: Sampler) -> Option<Rate> {
        let scope = Scope::Sampler(sampler);
        self.0.get(&(scope, domain)).copied().or_else(|| {
            let mut domains = self.0.range((scope, 0)..=(scope, u32::MAX));
            let (_, rate) = domains.next()?;
            domains.next().is_none().then_some(*rate)
        })
    }

    /// The rate of all flows of a template.
    pub(super) fn of_template(&self, domain: u32, template: u16) -> Option<Rate> {
        let scopes = [
            (Scope::Template(template), domain),
            (Scope::Domain, domain),
            (Scope::Domain, WHOLE_EXPORTER),
        ];
        scopes.iter().find_map(|key| self.0.get(key)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// All rates.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Scope, u32, Rate)> {
        self.0.iter().map(|((scope, domain), rate)| (*scope, *domain, *rate))
    }
}

/// What a record of options says of a rate.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) sampler: Option<Sampler>,
    pub(super) template: Option<u16>,
    pub(super) is_of_interface: bool,
    /// One of so many packets, of which the exporter chooses any (34), or by chance (50).
    pub(super) interval: Option<u64>,
    pub(super) random_interval: Option<u64>,
    /// How a selector chooses (RFC 5477): the parameters that count depend on it.
    pub(super) algorithm: Option<u64>,
    /// So many packets are chosen, then so many are not.
    pub(super) chosen: Option<u64>,
    pub(super) skipped: Option<u64>,
    /// So many packets are chosen of so many.
    pub(super) size: Option<u64>,
    pub(super) population: Option<u64>,
    /// The probability that a packet is chosen.
    pub(super) probability: Option<f64>,
}

/// Values of `selectorAlgorithm`.
const COUNT_BASED: u64 = 1;
const N_OUT_OF_N: u64 = 3;
const UNIFORM_PROBABILISTIC: u64 = 4;

impl Said {
    /// To what the rate applies; `None` if the record says nothing of rates, or of interfaces alone.
    pub(super) fn scope(&self) -> Option<Scope> {
        let says_any = self.interval.is_some()
            || self.random_interval.is_some()
            || self.chosen.is_some()
            || self.population.is_some()
            || self.probability.is_some();
        match (self.sampler, self.template) {
            _ if !says_any => None,
            (Some(sampler), _) => Some(Scope::Sampler(sampler)),
            (None, Some(template)) => Some(Scope::Template(template)),
            (None, None) if self.is_of_interface => None,
            (None, None) => Some(Scope::Domain),
        }
    }

    /// The rate; `None` if it is 0, or can't be told.
    pub(super) fn rate(&self) -> Option<Rate> {
        let interval = self.interval.and_then(rate).or(self.random_interval.and_then(rate));
        interval.or_else(|| match self.algorithm {
            Some(COUNT_BASED) => self.by_count(),
            Some(N_OUT_OF_N) => self.by_size(),
            Some(UNIFORM_PROBABILISTIC) => self.by_probability(),
            _ => self.by_size().or_else(|| self.by_count()).or_else(|| self.by_probability()),
        })
    }

    fn by_count(&self) -> Option<Rate> {
        let chosen = self.chosen?;
        match self.skipped {
            Some(skipped) => ratio(chosen.saturating_add(skipped), chosen),
            // Without what is skipped, it is how often one is chosen.
            None => rate(chosen),
        }
    }

    fn by_size(&self) -> Option<Rate> {
        ratio(self.population?, self.size?)
    }

    fn by_probability(&self) -> Option<Rate> {
        let probability = self.probability.filter(|number| (0.0..=1.0).contains(number))?;
        let rate = probability.recip().round();
        #[expect(clippy::cast_sign_loss, reason = "it is 1 or more")]
        (rate <= u32::MAX.into()).then(|| NonZero::new(rate as u32)).flatten()
    }
}

/// The rate of `chosen` packets out of `all`.
fn ratio(all: u64, chosen: u64) -> Option<Rate> {
    if chosen == 0 || all < chosen {
        return None;
    }
    rate(all.saturating_add(chosen / 2) / chosen)
}

/// A rate as a number has it; `None` for 0, which says that it is unknown.
pub(super) fn rate(number: u64) -> Option<Rate> {
    u32::try_from(number).ok().and_then(NonZero::new)
}
