//! Examples of flows and messages that were not counted, for `diagnosis`.

/// How many flows' AS numbers are kept.
const FLOWS: usize = 64;
/// How many messages' beginnings are kept.
const MESSAGES: usize = 4;
/// How much of a message is kept, in bytes: a record or two.
pub const EXCERPT_BYTES: usize = 1024;

/// A flow of which no end is local, so that no series counts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ForeignFlow {
    /// The source's AS, as far as it is known.
    pub source_as: u32,
    /// The destination's AS, as far as it is known.
    pub destination_as: u32,
    /// Whether the record lacks the addresses by which an end could be local.
    pub lacks_addresses: bool,
    /// What external interfaces said of it; `None` where no exporter has any.
    pub interfaces: Option<InterfaceUse>,
}

/// Whether external interfaces say which way a flow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InterfaceUse {
    /// They do.
    Decides,
    /// The record does not say which device exported it.
    NoExporter,
    /// Its exporter has no external interfaces.
    OtherExporter,
    /// The record has no interfaces.
    NoInterfaces,
}

/// A few of the first flows that no series counts, and of the first messages of which nothing was
/// counted. It is full after a moment, so keeping it costs one comparison.
#[derive(Debug, Default)]
pub struct Evidence {
    flows: Vec<ForeignFlow>,
    messages: Vec<Box<[u8]>>,
}

impl Evidence {
    /// Flows of which no end is local.
    pub fn flows(&self) -> &[ForeignFlow] {
        &self.flows
    }

    /// The beginnings of messages of which nothing was counted, up to [`EXCERPT_BYTES`] each.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().map(|message| &**message)
    }

    /// Keeps a flow of which no end is local, while there is room.
    #[inline]
    pub fn keep_flow(&mut self, flow: impl FnOnce() -> ForeignFlow) {
        if self.flows.len() < FLOWS {
            self.push_flow(flow());
        }
    }

    /// Keeps the beginning of a message of which nothing was counted, while there is room.
    #[inline]
    pub fn keep_message(&mut self, payload: &[u8]) {
        if self.messages.len() < MESSAGES {
            self.push_message(payload);
        }
    }

    #[cold]
    fn push_flow(&mut self, flow: ForeignFlow) {
        self.flows.push(flow);
    }

    #[cold]
    fn push_message(&mut self, payload: &[u8]) {
        self.messages.push(payload[..payload.len().min(EXCERPT_BYTES)].into());
    }

    pub(super) fn clear(&mut self) {
        self.flows.clear();
        self.messages.clear();
    }
}
