//! Examples of flows and messages that were not counted, for `diagnosis`.

/// How many flows' AS numbers are kept.
const FLOWS: usize = 64;
/// How many messages' beginnings are kept.
const MESSAGES: usize = 4;
/// How much of a message is kept, in bytes: a record or two.
pub const EXCERPT_BYTES: usize = 1024;

/// A few of the first flows that no series counts, and of the first messages of which nothing was
/// counted. It is full after a moment, so keeping it costs one comparison.
#[derive(Debug, Default)]
pub struct Evidence {
    flows: Vec<[u32; 2]>,
    messages: Vec<Box<[u8]>>,
}

impl Evidence {
    /// Source and destination AS of flows that no series counts.
    pub fn flows(&self) -> &[[u32; 2]] {
        &self.flows
    }

    /// The beginnings of messages of which nothing was counted, up to [`EXCERPT_BYTES`] each.
    pub fn messages(&self) -> impl Iterator<Item = &[u8]> {
        self.messages.iter().map(|message| &**message)
    }

    /// Keeps the ASes of a flow that no series counts, while there is room.
    #[inline]
    pub fn keep_flow(&mut self, source_as: u32, destination_as: u32) {
        if self.flows.len() < FLOWS {
            self.push_flow([source_as, destination_as]);
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
    fn push_flow(&mut self, flow: [u32; 2]) {
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
