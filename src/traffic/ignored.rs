//! Why valid flows are not counted.

/// Why no series counts a valid flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Neither its source nor its destination is the monitored AS.
    OtherAs,
    /// It would take a count that is not handed over yet past 2^64.
    Overflow,
}

impl Ignored {
    /// All reasons, in the order of [`Ignored::index`].
    pub const ALL: [Ignored; 2] = [Ignored::OtherAs, Ignored::Overflow];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Ignored::OtherAs => "other_as",
            Ignored::Overflow => "overflow",
        }
    }

    /// The reason's place in [`Ignored::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
