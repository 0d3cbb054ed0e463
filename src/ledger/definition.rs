//! What a series is, in the form in which the journal holds it.

use crate::traffic::{Dimension, Direction, Layout};

use super::snapshot::Snapshot;

/// What a series is, with its label text: the direction, then for each dimension the number and
/// the name of an AS, or a text. Numbers are four bytes, lowest first; texts begin with their
/// length. In series that count what gets none of its own, the direction is larger by 2, and of
/// the AS there is nothing.
#[derive(Debug)]
pub struct Definition<'d> {
    /// Which metric it belongs to.
    pub direction: Direction,
    /// One for each of the layout's dimensions.
    pub columns: Vec<Column<'d>>,
}

/// The part of a definition that one dimension makes up.
#[derive(Debug, Clone, Copy)]
pub enum Column<'d> {
    /// An autonomous system.
    As {
        /// Its number.
        number: u32,
        /// The name that it had; empty where it had none.
        name: &'d str,
    },
    /// A text.
    Text(&'d str),
    /// All autonomous systems of which flows get no series of their own.
    Other,
}

/// What is added to the direction in a definition of a series for what gets none of its own.
const IS_OTHER: u32 = 2;

impl<'d> Definition<'d> {
    pub(super) fn write(snapshot: &Snapshot, slot: usize, out: &mut Vec<u8>) {
        let key = snapshot.keys.row(slot);
        let is_other = Layout::is_other(key);
        let direction = Direction::from_column(key[0]) as u32;
        let first = if is_other { direction + IS_OTHER } else { direction };
        out.extend_from_slice(&first.to_le_bytes());
        for (&column, dimension) in key[1..].iter().zip(snapshot.layout.dimensions()) {
            match dimension {
                Dimension::SourceAs | Dimension::DestinationAs if is_other => {}
                Dimension::SourceAs | Dimension::DestinationAs => {
                    out.extend_from_slice(&column.to_le_bytes());
                    write_text(snapshot.names.get(column), out);
                }
                Dimension::Hostname => write_text(&snapshot.texts.row(column as usize)[0], out),
            }
        }
    }

    /// Reads what the journal holds of a series of this layout; `None` if it makes no sense.
    pub fn read(layout: &Layout, mut bytes: &'d [u8]) -> Option<Self> {
        let first = read_number(&mut bytes)?;
        let is_other = first >= IS_OTHER;
        let direction = if is_other { first - IS_OTHER } else { first };
        let direction = Direction::ALL.into_iter().find(|&known| known as u32 == direction)?;
        let columns = layout.dimensions().iter().map(|dimension| {
            Some(match dimension {
                Dimension::SourceAs | Dimension::DestinationAs if is_other => Column::Other,
                Dimension::SourceAs | Dimension::DestinationAs => {
                    let number = read_number(&mut bytes)?;
                    Column::As { number, name: read_text(&mut bytes)? }
                }
                Dimension::Hostname => Column::Text(read_text(&mut bytes)?),
            })
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        bytes.is_empty().then_some(Definition { direction, columns })
    }

    /// The AS in it, with the names that they had.
    pub(super) fn names(&self) -> impl Iterator<Item = (u32, &'d str)> {
        self.columns.iter().filter_map(|column| match *column {
            Column::As { number, name } => Some((number, name)),
            Column::Text(_) | Column::Other => None,
        })
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    // Far below 4 GiB: label values and names have bounds, and those of versions that had none came
    // from a journal with such a length.
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn read_text<'d>(bytes: &mut &'d [u8]) -> Option<&'d str> {
    let length = read_number(bytes)? as usize;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}
