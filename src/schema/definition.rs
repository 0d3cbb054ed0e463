//! What a series is, in the form in which the journal holds it.
//!
//! A definition names the view that the series belongs to, its class and labels, and what it
//! counts. So a journal can be read whatever the configuration is now, and series of views that are
//! no longer configured can be ended properly.
//!
//! Its bytes: [`FORM`]; the class, with [`IS_OTHER`] added for an `other` series;
//! measures (from the lowest bit on) and classes (from bit 4 on) of the view, a
//! bit each; the view's name, empty for the original's; then for each dimension its
//! [number and parameters](Dimension::write) and the value: a number, followed by the AS's name if
//! a label shows it, or a text. In an `other` series, dimensions without a value have
//! [`IS_REST`] added to their number. Numbers are LEB128, texts begin with their length.
//!
//! In [`TEXTS_KEPT`], `other` series had values for texts and no others, without
//! [`IS_REST`].
//!
//! Versions without views wrote the class, with 2 added for an `other` series; number and name of
//! the destination AS; the host name; number and name of the source AS. All numbers and lengths
//! were `u32`, little-endian.

use super::{
    bytes::{read_number, read_text, take_text, write_number, write_text},
    class::Class,
    decimal::Decimal,
    dimension::{Dimension, OTHER, OTHER_NUMBER, Shown},
    key::KeyHead,
    measure::Measure,
    view::{View, classes_of, measures_of, metric_name},
};

/// The first byte. Definitions of versions without views begin with one below [`TEXTS_KEPT`].
const FORM: u8 = 5;
/// The first byte of an earlier form.
const TEXTS_KEPT: u8 = 4;
/// Added to the number of a dimension without a value.
const IS_REST: u8 = 1 << 7;
/// Added to the class.
const IS_OTHER: u8 = 1 << 7;
/// What versions without views added to the class.
const OLD_IS_OTHER: u32 = 2;

/// [`View::counted_bits`] of the original's view.
const OLD_COUNTED: u8 = 0b0011_0001;

/// A series' definition, as read from the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition<'d> {
    /// The name of its view.
    pub view: &'d str,
    /// Which of the view's metrics it belongs to.
    pub class: Class,
    /// The view's classes and measures ([`View::counted_bits`]).
    counted: u8,
    /// The values by which it is told apart, in the order of the view's dimensions.
    pub columns: Vec<Column<'d>>,
    /// Whether it counts what gets no series of its own.
    pub is_other: bool,
}

/// A dimension and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column<'d> {
    /// The dimension.
    pub dimension: Dimension,
    /// Its value.
    pub value: Value<'d>,
}

/// A value by which a series is told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'d> {
    /// A number.
    Number {
        /// The number.
        number: u32,
        /// Its digits.
        digits: Decimal,
        /// The name that the AS with this number had; empty if it had none, or if no label shows
        /// it.
        name: &'d str,
    },
    /// A text.
    Text(&'d str),
    /// Any number whose flows get no series of their own.
    Other,
}

impl<'d> Definition<'d> {
    /// Writes the definition of a series of `view`. `names` gives AS names, `texts` the texts by
    /// their numbers in the key.
    pub fn write<'t>(
        view: &View,
        head: KeyHead,
        columns: &[u32],
        names: impl Fn(u32) -> &'t str,
        texts: impl Fn(u32) -> &'t str,
        out: &mut Vec<u8>,
    ) {
        let class = head.class as u8 | if head.is_other { IS_OTHER } else { 0 };
        out.extend_from_slice(&[FORM, class, view.counted_bits()]);
        write_text(if view.name() == View::ORIGINAL { "" } else { view.name() }, out);
        for ((&column, dimension), keeps) in columns.iter().zip(view.dimensions()).zip(view.keeps())
        {
            let is_rest = head.is_other && !keeps;
            dimension.write(if is_rest { IS_REST } else { 0 }, out);
            if is_rest {
                continue;
            }
            if dimension.is_text() {
                write_text(texts(column), out);
            } else {
                write_number(column, out);
                if dimension.shows_name() {
                    write_text(names(column), out);
                }
            }
        }
    }

    /// Reads a definition; `None` if it is invalid.
    pub fn read(bytes: &'d [u8]) -> Option<Self> {
        match *bytes.first()? {
            form @ (FORM | TEXTS_KEPT) => Self::read_form(form, &bytes[1..]),
            0..TEXTS_KEPT => Self::read_old(bytes),
            _ => None,
        }
    }

    fn read_form(form: u8, mut bytes: &'d [u8]) -> Option<Self> {
        let [class, counted, rest @ ..] = bytes else { return None };
        let (is_other, counted) = (class & IS_OTHER != 0, *counted);
        let class = Class::try_from(class & !IS_OTHER).ok()?;
        if !classes_of(counted).any(|counted| counted == class) || measures_of(counted).is_none() {
            return None;
        }
        bytes = rest;
        let view = match read_text(&mut bytes)? {
            "" => View::ORIGINAL,
            name => name,
        };
        let mut columns = Vec::with_capacity(4);
        while let Some((&code, rest)) = bytes.split_first() {
            bytes = rest;
            let dimension = Dimension::read(code & !IS_REST, &mut bytes)?;
            let is_rest = if form == TEXTS_KEPT {
                is_other && !dimension.is_text()
            } else {
                code & IS_REST != 0
            };
            if is_rest && !is_other {
                return None;
            }
            let value = if is_rest {
                Value::Other
            } else if dimension.is_text() {
                Value::Text(read_text(&mut bytes)?)
            } else {
                let number = read_number(&mut bytes)?;
                let name = if dimension.shows_name() { read_text(&mut bytes)? } else { "" };
                Value::Number { number, digits: Decimal::new(number), name }
            };
            columns.push(Column { dimension, value });
        }
        Some(Definition { view, class, counted, columns, is_other })
    }

    fn read_old(mut bytes: &'d [u8]) -> Option<Self> {
        let first = read_u32(&mut bytes)?;
        let is_other = first >= OLD_IS_OTHER;
        let class = if is_other { first - OLD_IS_OTHER } else { first };
        let class = [Class::Receive, Class::Transmit].into_iter().nth(class as usize)?;
        let dimensions = [Dimension::DESTINATION_AS, Dimension::Hostname, Dimension::SOURCE_AS];
        let columns = dimensions.into_iter().map(|dimension| {
            let value = if dimension.is_text() {
                Value::Text(read_old_text(&mut bytes)?)
            } else if is_other {
                Value::Other
            } else {
                let number = read_u32(&mut bytes)?;
                let digits = Decimal::new(number);
                Value::Number { number, digits, name: read_old_text(&mut bytes)? }
            };
            Some(Column { dimension, value })
        });
        let columns = columns.collect::<Option<Vec<_>>>()?;
        let (view, counted) = (View::ORIGINAL, OLD_COUNTED);
        bytes.is_empty().then_some(Definition { view, class, counted, columns, is_other })
    }

    /// What it counts, in the order of its counts.
    pub fn measures(&self) -> impl Iterator<Item = Measure> {
        measures_of(self.counted).into_iter().flatten()
    }

    /// The names of the metrics that its counts belong to.
    pub fn metric_names(&self) -> impl Iterator<Item = String> {
        self.measures().map(|measure| metric_name(self.view, self.class, measure))
    }

    /// The labels (name, value), sorted by name, without the metric's name. Values may be empty.
    pub fn labels(&self) -> Vec<(&str, &str)> {
        let mut labels = Vec::with_capacity(2 * self.columns.len());
        for Column { dimension, value } in &self.columns {
            for label in dimension.labels() {
                labels.push((
                    label.name,
                    match (value, label.shown) {
                        (Value::Number { number: OTHER_NUMBER, .. }, _) if self.is_other => OTHER,
                        (Value::Number { name, .. }, Shown::AsName) => name,
                        (Value::Number { number, digits, .. }, shown) => {
                            shown.of_number(*number, digits)
                        }
                        (Value::Text(text), _) => text,
                        // The name too: an empty one would be that of all ASes without a name.
                        (Value::Other, _) => OTHER,
                    },
                ));
            }
        }
        if !labels.is_sorted_by_key(|(name, _)| name) {
            labels.sort_unstable_by_key(|&(name, _)| name);
        }
        labels
    }

    /// The ASes in it whose names are shown, with the names that they had.
    pub fn names(&self) -> impl Iterator<Item = (u32, &'d str)> {
        self.columns.iter().filter_map(|column| match column.value {
            Value::Number { number, name, .. } if column.dimension.shows_name() => {
                Some((number, name))
            }
            _ => None,
        })
    }

    /// Whether it is a series of this view, as it is with all its dimensions, classes and measures.
    pub fn is_of(&self, view: &View) -> bool {
        view.name() == self.view
            && view.counted_bits() == self.counted
            && view.dimensions().iter().eq(self.columns.iter().map(|column| &column.dimension))
            && (!self.is_other || view.keeps().iter().copied().eq(self.keeps()))
    }

    /// The view that it is a series of; `None` where no view can be such. Which values series for
    /// the rest keep is known from one of these alone, and which flows pass from none.
    pub fn to_view(&self) -> Option<View> {
        let dimensions: Vec<_> =
            self.columns.iter().map(|column| column.dimension.clone()).collect();
        let view = View::of_bits(self.view, &dimensions, self.counted)?;
        if !self.is_other {
            return Some(view);
        }
        let kept = |dimension: &Dimension| {
            let column = self.columns.iter().find(|column| column.dimension == *dimension);
            column.is_some_and(|column| column.value != Value::Other)
        };
        Some(view.keeping(kept))
    }

    fn keeps(&self) -> impl Iterator<Item = bool> {
        self.columns.iter().map(|column| column.value != Value::Other)
    }
}

fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

fn read_old_text<'d>(bytes: &mut &'d [u8]) -> Option<&'d str> {
    let length = read_u32(bytes)?;
    take_text(bytes, length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(view: &View, head: KeyHead, columns: &[u32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let names = |asn| if asn == 64_500 { "Ours" } else { "" };
        let texts = |text| ["edge1", "other"][text as usize];
        Definition::write(view, head, columns, names, texts, &mut bytes);
        bytes
    }

    #[test]
    fn a_definition_says_all_of_its_series() {
        let view = View::original();
        let bytes = written(&view, KeyHead::new(0, Class::Transmit), &[300, 0, 64_500]);
        let definition = Definition::read(&bytes).expect("a definition");
        assert!(definition.is_of(&view));
        assert_eq!(definition.metric_names().collect::<Vec<_>>(), ["flow_transmit_bytes_total"]);
        assert_eq!(
            definition.labels(),
            [
                ("destination_as", "300"),
                ("destination_as_name", ""),
                ("hostname", "edge1"),
                ("source_as", "64500"),
                ("source_as_name", "Ours"),
            ]
        );
        assert_eq!(definition.names().collect::<Vec<_>>(), [(300, ""), (64_500, "Ours")]);
        for length in 0..bytes.len() {
            let cut = Definition::read(&bytes[..length]);
            assert!(cut.is_none_or(|cut| !cut.is_of(&view)), "{length} bytes");
        }
    }

    #[test]
    fn a_series_for_the_rest_has_what_its_view_keeps() {
        let view = View::new(
            "service",
            &[Dimension::SOURCE_AS, Dimension::Hostname],
            &[Class::Internal],
            &[Measure::Flows, Measure::Bytes],
        );
        let bytes = written(&view, KeyHead::new(3, Class::Internal).other(), &[0, 0]);
        let definition = Definition::read(&bytes).expect("a definition");
        assert!(definition.is_other);
        assert_eq!(definition.to_view(), Some(view));
        assert_eq!(
            definition.metric_names().collect::<Vec<_>>(),
            ["flow_service_internal_bytes_total", "flow_service_internal_flows_total"]
        );
        assert_eq!(
            definition.labels(),
            [("hostname", "edge1"), ("source_as", "other"), ("source_as_name", "other")]
        );
    }

    #[test]
    fn definitions_of_versions_without_views_are_series_of_the_original_view() {
        let mut bytes = Vec::new();
        for part in [&[1, 0, 0, 0][..], &[44, 1, 0, 0], &[1, 0, 0, 0], b"N", &[1, 0, 0, 0], b"h"] {
            bytes.extend_from_slice(part);
        }
        bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0]);
        let definition = Definition::read(&bytes).expect("a definition");
        assert!(definition.is_of(&View::original()));
        assert_eq!(definition.class, Class::Transmit);
        let values: Vec<_> = definition.labels().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["300", "N", "h", "7", ""]);

        let other = [3, 0, 0, 0, 1, 0, 0, 0, b'h'];
        let definition = Definition::read(&other).expect("a definition");
        assert_eq!((definition.class, definition.is_other), (Class::Transmit, true));
        let values: Vec<_> = definition.labels().into_iter().map(|(_, value)| value).collect();
        assert_eq!(values, ["other", "other", "h", "other", "other"]);
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        let garbage: [&[u8]; 7] = [
            &[],
            &[4],
            &[6, 0, 0x31, 0],
            &[4, 9, 0x31, 0],
            &[4, 2, 0x31, 0],
            &[4, 0, 0x30, 0],
            &[4, 0, 0x31, 0, 99],
        ];
        for bytes in garbage {
            assert_eq!(Definition::read(bytes), None, "{bytes:?}");
        }
        // A number beyond 32 bits.
        let bytes = [4, 0, 0x31, 0, 1, 0xff, 0xff, 0xff, 0xff, 0x7f, 0];
        assert_eq!(Definition::read(&bytes), None);
    }
}
