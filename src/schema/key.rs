//! The key of a series: the row of numbers by which tables find it.

use super::class::{Class, UnknownClass};

/// Keys never have more columns than this, the first one included.
pub const MAX_KEY_WIDTH: usize = 32;

/// The first column of a key. The others hold the values of its view's dimensions: numbers as they
/// are, texts by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHead {
    /// The view's place in the schema.
    pub view: u8,
    /// Which of the view's metrics the series belongs to.
    pub class: Class,
    /// Whether the series counts what gets no series of its own, because there are too many. Then
    /// only the columns that its view keeps have a meaning; the labels of others are
    /// [`OTHER`](super::OTHER).
    pub is_other: bool,
}

/// A bit of the first column: [`KeyHead::is_other`].
const IS_OTHER: u32 = 1 << 31;
/// Where the view's number begins in the first column.
const VIEW_SHIFT: u32 = 8;

impl KeyHead {
    /// The head of a series that counts flows of its own.
    pub const fn new(view: u8, class: Class) -> Self {
        KeyHead { view, class, is_other: false }
    }

    /// The head of the series that count what else is in this one's view and class.
    #[must_use]
    pub const fn other(self) -> Self {
        KeyHead { is_other: true, ..self }
    }

    /// As a number.
    pub const fn column(self) -> u32 {
        let other = if self.is_other { IS_OTHER } else { 0 };
        self.class as u32 | (self.view as u32) << VIEW_SHIFT | other
    }

    /// Whether the first column of a key has [`KeyHead::is_other`].
    pub const fn column_is_other(column: u32) -> bool {
        column & IS_OTHER != 0
    }
}

impl TryFrom<u32> for KeyHead {
    type Error = UnknownClass;

    fn try_from(column: u32) -> Result<Self, UnknownClass> {
        Ok(KeyHead {
            view: (column >> VIEW_SHIFT) as u8,
            class: Class::try_from(column as u8)?,
            is_other: Self::column_is_other(column),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_columns_and_columns_heads() {
        for class in Class::ALL {
            for view in [0, 1, 255] {
                let head = KeyHead::new(view, class);
                for head in [head, head.other()] {
                    assert_eq!(KeyHead::try_from(head.column()), Ok(head));
                    assert_eq!(KeyHead::column_is_other(head.column()), head.is_other);
                }
            }
        }
        assert_eq!(KeyHead::try_from(4), Err(UnknownClass(4)));
    }
}
