//! Why valid flows are not counted.

/// Why no series counts a valid flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ignored {
    /// Its exporter saw it in the direction that does not count.
    OtherDirection,
    /// Neither of its ends is local, and no view counts transit.
    OtherAs,
    /// One of its ends is local, and it is of a class that no view counts.
    OtherClass,
    /// It is of a class that a view counts, and does not pass the view's filters.
    Filtered,
    /// It would take a count that is not handed over yet past 2^64, or is past that by itself, multiplied
    /// by its sampling rate.
    Overflow,
}

impl Ignored {
    /// All reasons, in the order of [`Ignored::index`].
    pub const ALL: [Ignored; 5] = [
        Ignored::OtherDirection,
        Ignored::OtherAs,
        Ignored::OtherClass,
        Ignored::Filtered,
        Ignored::Overflow,
    ];

    /// The reason as a label value.
    pub const fn label(self) -> &'static str {
        match self {
            Ignored::OtherDirection => "other_direction",
            Ignored::OtherAs => "other_as",
            Ignored::OtherClass => "other_class",
            Ignored::Filtered => "filtered",
            Ignored::Overflow => "overflow",
        }
    }

    /// The reason's place in [`Ignored::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}
