//! The headers of datagrams, the sets in them, and the templates in these.

use crate::{
    clock::UnixMs,
    flow::datagram::{
        activity::Refused,
        stream_key::{StreamKey, Version},
        wire::Input,
    },
};

use super::{
    element::Element,
    template::{Field, MAX_FIELDS, Template},
};

/// What the header of a datagram says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) stream: StreamKey,
    /// Its number, which counts flows, datagrams or records.
    pub(super) sequence: u32,
    /// Milliseconds since the exporter started, where it says so.
    pub(super) uptime: Option<u32>,
    /// When it was sent, by the exporter's clock.
    pub(super) time: UnixMs,
    /// The sampling rate, where v5 says it; 0 if unknown.
    pub(super) sampling_rate: u16,
}

/// A datagram with a valid header.
#[derive(Debug, Clone, Copy)]
pub(in crate::flow::datagram) struct Message<'d> {
    pub(super) header: Header,
    /// What is behind the header: the sets, or the records of v5.
    pub(super) content: &'d [u8],
    /// All of it.
    pub(super) datagram: &'d [u8],
}

impl<'d> Message<'d> {
    /// Reads the header of a datagram of this version.
    pub(in crate::flow::datagram) fn new(
        version: Version,
        datagram: &'d [u8],
    ) -> Result<Self, Refused> {
        let (header, content) = match version {
            Version::NetFlow5 => Header::split_v5(datagram)?,
            Version::NetFlow9 => Header::split_v9(datagram).ok_or(Refused::Truncated)?,
            Version::Ipfix => Header::split_ipfix(datagram)?,
        };
        Ok(Message { header, content, datagram })
    }
}

/// The scopes of v9 have the numbers up to this one.
const LAST_SCOPE: u16 = 5;

/// Bytes of a record of v5.
const V5_RECORD_BYTES: usize = 48;

/// The most records in a datagram of v5. A count beyond it is that of something else.
const V5_MAX_RECORDS: u16 = 30;

const IPFIX_HEADER_BYTES: usize = 16;

impl Header {
    /// Splits a datagram of v5 into its header and its records. What is behind them is ignored.
    fn split_v5(payload: &[u8]) -> Result<(Self, &[u8]), Refused> {
        let mut input = Input(payload);
        let (header, count) = Self::read_v5(&mut input).ok_or(Refused::Truncated)?;
        if count == 0 || count > V5_MAX_RECORDS {
            return Err(Refused::Header);
        }
        let records = input.take(usize::from(count) * V5_RECORD_BYTES);
        Ok((header, records.ok_or(Refused::Truncated)?))
    }

    fn read_v5(input: &mut Input<'_>) -> Option<(Self, u16)> {
        let _version = input.u16()?;
        let count = input.u16()?;
        let uptime = input.u32()?;
        let (seconds, nanoseconds) = (input.u32()?, input.u32()?);
        let sequence = input.u32()?;
        let engine = input.u16()?;
        // The two highest bits are the mode.
        let sampling_rate = input.u16()? & 0x3fff;
        let header = Header {
            stream: StreamKey { version: Version::NetFlow5, domain: engine.into() },
            sequence,
            uptime: Some(uptime),
            time: time(seconds, nanoseconds / 1_000_000),
            sampling_rate,
        };
        Some((header, count))
    }

    /// Splits a datagram of v9 into its header and its sets.
    fn split_v9(payload: &[u8]) -> Option<(Self, &[u8])> {
        let mut input = Input(payload);
        let _version = input.u16()?;
        // Of what, exporters disagree.
        let _count = input.u16()?;
        let uptime = input.u32()?;
        let seconds = input.u32()?;
        let sequence = input.u32()?;
        let header = Header {
            stream: StreamKey { version: Version::NetFlow9, domain: input.u32()? },
            sequence,
            uptime: Some(uptime),
            time: time(seconds, 0),
            sampling_rate: 0,
        };
        Some((header, input.0))
    }

    /// Splits a datagram of IPFIX into its header and its sets. What is behind the message is
    /// ignored.
    fn split_ipfix(payload: &[u8]) -> Result<(Self, &[u8]), Refused> {
        let mut input = Input(payload);
        let (header, length) = Self::read_ipfix(&mut input).ok_or(Refused::Truncated)?;
        let length = usize::from(length).checked_sub(IPFIX_HEADER_BYTES).ok_or(Refused::Header)?;
        Ok((header, input.0.get(..length).unwrap_or(input.0)))
    }

    fn read_ipfix(input: &mut Input<'_>) -> Option<(Self, u16)> {
        let _version = input.u16()?;
        let length = input.u16()?;
        let seconds = input.u32()?;
        let sequence = input.u32()?;
        let header = Header {
            stream: StreamKey { version: Version::Ipfix, domain: input.u32()? },
            sequence,
            uptime: None,
            time: time(seconds, 0),
            sampling_rate: 0,
        };
        Some((header, length))
    }
}

fn time(seconds: u32, milliseconds: u32) -> UnixMs {
    UnixMs::new(i64::from(seconds) * 1000 + i64::from(milliseconds))
}

/// The part of a datagram that has records of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Set<'d> {
    /// Templates of flows.
    Templates(&'d [u8]),
    /// Templates of options.
    OptionsTemplates(&'d [u8]),
    /// Records, and the number of their template.
    Data(u16, &'d [u8]),
    /// Its number is not in use.
    Unknown,
}

/// The sets of a datagram. It ends with the first thing that is not a set: some exporters fill what
/// is left with zeros.
#[derive(Debug)]
pub(super) struct Sets<'d> {
    input: Input<'d>,
    version: Version,
    /// Whether the last set is cut off.
    pub(super) is_truncated: bool,
}

impl<'d> Sets<'d> {
    pub(super) fn new(sets: &'d [u8], version: Version) -> Self {
        Sets { input: Input(sets), version, is_truncated: false }
    }
}

impl<'d> Iterator for Sets<'d> {
    type Item = Set<'d>;

    fn next(&mut self) -> Option<Set<'d>> {
        let id = self.input.u16()?;
        let length = usize::from(self.input.u16()?);
        // With the header of 4 bytes.
        let content = length.checked_sub(4)?;
        let Some(content) = self.input.take(content) else {
            self.is_truncated = true;
            return None;
        };
        let (templates, options) = match self.version {
            Version::NetFlow5 => return None,
            Version::NetFlow9 => (0, 1),
            Version::Ipfix => (2, 3),
        };
        Some(match id {
            _ if id == templates => Set::Templates(content),
            _ if id == options => Set::OptionsTemplates(content),
            256.. => Set::Data(id, content),
            _ => Set::Unknown,
        })
    }
}

/// What a set of templates says of one of them.
#[derive(Debug)]
pub(super) enum Definition {
    /// Of which fields its records consist.
    Defined(u16, Template),
    /// It has too many fields.
    TooLong,
    /// It is not used any more.
    Withdrawn(u16),
    /// None of flows, or none of options, is used any more.
    AllWithdrawn(bool),
}

/// The templates of a set.
#[derive(Debug)]
pub(super) struct Definitions<'d> {
    input: Input<'d>,
    version: Version,
    options: bool,
}

impl<'d> Definitions<'d> {
    pub(super) fn new(content: &'d [u8], version: Version, options: bool) -> Self {
        Definitions { input: Input(content), version, options }
    }

    /// The template with this number and the fields that come next, of which `change` may change
    /// some. Each has at least four bytes, so not more are allocated than there are.
    fn defined(
        &mut self,
        id: u16,
        count: usize,
        change: impl FnOnce(&mut [Field]),
    ) -> Option<Definition> {
        if count > MAX_FIELDS {
            for _ in 0..count {
                self.field()?;
            }
            return Some(Definition::TooLong);
        }
        let mut fields = Vec::with_capacity(count.min(self.input.0.len() / 4));
        for _ in 0..count {
            fields.push(self.field()?);
        }
        change(&mut fields);
        let template = Template { is_options: self.options, fields: fields.into() };
        Some(Definition::Defined(id, template))
    }

    fn field(&mut self) -> Option<Field> {
        let (number, length) = (self.input.u16()?, self.input.u16()?);
        let element = match self.version {
            Version::Ipfix if number & 0x8000 != 0 => {
                Element { enterprise: self.input.u32()?, number: number & 0x7fff }
            }
            _ => Element::iana(number),
        };
        Some(Field { element, length })
    }

    fn template(&mut self) -> Option<Definition> {
        let id = self.input.u16()?;
        let count = usize::from(self.input.u16()?);
        if count == 0 && self.version == Version::Ipfix {
            // The number of the set stands for all.
            return Some(if id < 256 {
                Definition::AllWithdrawn(self.options)
            } else {
                Definition::Withdrawn(id)
            });
        }
        if id < 256 || count == 0 {
            return None;
        }
        if self.options {
            let _scopes = self.input.u16()?;
        }
        self.defined(id, count, |_| {})
    }

    /// A template of v9's options, which says how many bytes there are rather than how many fields.
    fn options_v9(&mut self) -> Option<Definition> {
        let id = self.input.u16()?;
        let scopes = usize::from(self.input.u16()?) / 4;
        let count = scopes + usize::from(self.input.u16()?) / 4;
        if id < 256 || count == 0 {
            return None;
        }
        self.defined(id, count, |fields| {
            for scope in fields.iter_mut().take(scopes) {
                // Some have elements here, as in IPFIX.
                if scope.element.number <= LAST_SCOPE {
                    scope.element = Element::scope(scope.element.number);
                }
            }
        })
    }
}

impl Iterator for Definitions<'_> {
    type Item = Definition;

    fn next(&mut self) -> Option<Definition> {
        if self.options && self.version == Version::NetFlow9 {
            self.options_v9()
        } else {
            self.template()
        }
    }
}
