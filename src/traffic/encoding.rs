//! A worker's table as bytes, for the journal.
//!
//! The number of views and [each of them](View::write); the number of texts and each of them; the
//! number of series, and for each its key and its counts, the lower half of a count first. Numbers
//! are `u32`, little-endian; a text follows its length. Keys are as wide as those of the view with
//! the most dimensions, and there are as many counts as in the view with the most measures.
//!
//! Versions without views wrote the same without the views: all series belonged to the original's.

use std::sync::Arc;

use crate::schema::{KeyHead, MAX_KEY_WIDTH, Measure, Schema, View, truncated};

use super::counts::{COLUMNS_PER_COUNT, Counts, read_count};

/// Who wrote an [`EncodedCounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// This version.
    Views,
    /// One without views.
    Original,
}

/// A table as it was written, with the views that it had.
#[derive(Debug)]
pub struct EncodedCounts<'b> {
    views: Vec<View>,
    texts: Vec<&'b str>,
    /// Four bytes for each column.
    rows: &'b [u8],
}

impl Counts {
    /// Appends the series and the texts that they name, for [`EncodedCounts::read`]. What else was
    /// counted stays behind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let views = self.schema().configured();
        put_number(out, views.len());
        for view in views {
            view.write(out);
        }
        put_number(out, self.texts().iter().count());
        for text in self.texts().iter() {
            put_number(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        put_number(out, self.len());
        out.extend(self.rows().iter().flat_map(|column| column.to_le_bytes()));
    }
}

impl<'b> EncodedCounts<'b> {
    /// Reads a table from the beginning of `bytes` and moves on behind it. `None` if they hold
    /// none.
    pub fn read(encoding: Encoding, bytes: &mut &'b [u8]) -> Option<Self> {
        let mut views = Vec::new();
        match encoding {
            Encoding::Original => views.push(View::original()),
            Encoding::Views => {
                for _ in 0..take_number(bytes)? {
                    views.push(View::read(bytes)?);
                }
            }
        }
        let mut texts = Vec::new();
        for _ in 0..take_number(bytes)? {
            let length = take_number(bytes)? as usize;
            let (text, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            texts.push(std::str::from_utf8(text).ok()?);
        }
        let series = take_number(bytes)? as usize;
        let mut table = EncodedCounts { views, texts, rows: &[] };
        let (rows, rest) = bytes.split_at_checked(series.checked_mul(4 * table.row_width())?)?;
        *bytes = rest;
        table.rows = rows;
        Some(table)
    }

    /// The views that the table had.
    pub fn views(&self) -> &[View] {
        &self.views
    }

    /// The series of the views for which `place_of` gives a place in a schema. `None` if they make
    /// no sense. Texts of versions that had no bound for them are truncated.
    pub fn counts(
        &self,
        schema: &Arc<Schema>,
        place_of: impl Fn(&View) -> Option<u8>,
    ) -> Option<Counts> {
        let places: Vec<_> = self.views.iter().map(place_of).collect();
        let mut counts = Counts::new(Arc::clone(schema));
        let key_width = key_width(&self.views);
        for row in self.rows.chunks_exact(4 * self.row_width()) {
            let mut columns = row
                .chunks_exact(4)
                .map(|column| u32::from_le_bytes(column.try_into().expect("chunks of four bytes")));
            let head = KeyHead::try_from(columns.next()?).ok()?;
            let view = self.views.get(usize::from(head.view))?;
            if head.is_other || !view.classes().contains(&head.class) {
                return None;
            }
            let Some(place) = places[usize::from(head.view)] else { continue };
            let mut key = [0; MAX_KEY_WIDTH];
            key[0] = KeyHead::new(place, head.class).column();
            for (place, column) in columns.by_ref().take(key_width - 1).enumerate() {
                let Some(dimension) = view.dimensions().get(place) else { continue };
                key[1 + place] = if dimension.is_text() {
                    counts.intern(truncated(self.texts.get(column as usize)?)).0
                } else {
                    column
                };
            }
            let mut row = [0; Measure::ALL.len()];
            for count in &mut row {
                let (Some(low), Some(high)) = (columns.next(), columns.next()) else { break };
                *count = read_count(&[low, high]);
            }
            if !counts.add(&key[..schema.key_width()], &row[..schema.counts()]) {
                return None;
            }
        }
        Some(counts)
    }

    fn row_width(&self) -> usize {
        let counts = self.views.iter().map(|view| view.measures().len()).max().unwrap_or(1);
        key_width(&self.views) + COLUMNS_PER_COUNT * counts
    }
}

fn key_width(views: &[View]) -> usize {
    views.iter().map(View::key_width).max().unwrap_or(1)
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("tables have fewer than 2^32 of anything");
    out.extend_from_slice(&number.to_le_bytes());
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}
