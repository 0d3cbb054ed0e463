//! Datagrams of NetFlow v9 and IPFIX, as an exporter makes them.
//!
//! The demo's exporters and the test kit's are made of it. It shares nothing with the decoder, so what
//! one of them has wrong shows.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The length of a field in a template that says that each record has it with its own.
pub const VARIABLE: u16 = u16::MAX;

/// A field of a template.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Who has defined it: 0 is IANA.
    pub enterprise: u32,
    /// That of its information element.
    pub number: u16,
    /// In bytes, or [`VARIABLE`].
    pub length: u16,
}

/// IANA's.
impl From<(u16, u16)> for Field {
    fn from((number, length): (u16, u16)) -> Self {
        Field { enterprise: 0, number, length }
    }
}

/// An enterprise's.
impl From<(u32, u16, u16)> for Field {
    fn from((enterprise, number, length): (u32, u16, u16)) -> Self {
        Field { enterprise, number, length }
    }
}

/// A template of flows, or of options if it has scopes.
#[derive(Debug, Clone)]
pub struct Template {
    /// 256 or more.
    pub id: u16,
    /// What options are of; none for flows.
    pub scopes: Vec<Field>,
    /// The other fields, in the order of the records.
    pub fields: Vec<Field>,
}

/// What a field of a record holds.
#[derive(Debug, Clone)]
pub enum Value {
    /// A number, in as many bytes as the template says; 4 where the record says it.
    Number(u64),
    /// Bytes, with zeros behind them up to what the template says.
    Bytes(Vec<u8>),
    /// The same, with a length of three bytes where the record says it.
    LongBytes(Vec<u8>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Value::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Bytes(text.into())
    }
}

impl From<Ipv4Addr> for Value {
    fn from(address: Ipv4Addr) -> Self {
        Value::Bytes(address.octets().into())
    }
}

impl From<Ipv6Addr> for Value {
    fn from(address: Ipv6Addr) -> Self {
        Value::Bytes(address.octets().into())
    }
}

impl Template {
    /// Of flows.
    pub fn new<F: Into<Field>>(id: u16, fields: impl IntoIterator<Item = F>) -> Self {
        Self::options(id, [] as [Field; 0], fields)
    }

    /// Of options of these scopes.
    pub fn options<S: Into<Field>, F: Into<Field>>(
        id: u16,
        scopes: impl IntoIterator<Item = S>,
        fields: impl IntoIterator<Item = F>,
    ) -> Self {
        Template {
            id,
            scopes: scopes.into_iter().map(Into::into).collect(),
            fields: fields.into_iter().map(Into::into).collect(),
        }
    }

    /// A record, of which some values may be left out at the end: they are zero.
    pub fn record(&self, values: &[Value]) -> Vec<u8> {
        let mut out = Vec::new();
        for (place, field) in self.scopes.iter().chain(&self.fields).enumerate() {
            let value = values.get(place).cloned().unwrap_or(Value::Number(0));
            let is_long = matches!(value, Value::LongBytes(_));
            let mut bytes = match value {
                Value::Number(number) => {
                    let length = if field.length == VARIABLE { 4 } else { field.length.into() };
                    let zeros = vec![0; usize::saturating_sub(length, 8)];
                    [&zeros[..], &number.to_be_bytes()[8 - length.min(8)..]].concat()
                }
                Value::Bytes(bytes) | Value::LongBytes(bytes) => bytes,
            };
            if field.length == VARIABLE {
                if is_long || bytes.len() > 254 {
                    out.push(255);
                    out.extend((bytes.len() as u16).to_be_bytes());
                } else {
                    out.push(bytes.len() as u8);
                }
            } else {
                bytes.resize(field.length.into(), 0);
            }
            out.extend(bytes);
        }
        out
    }
}

/// A datagram of NetFlow v9 or of IPFIX.
#[derive(Debug, Clone)]
#[must_use]
pub struct Message {
    /// 9 or 10.
    pub version: u16,
    /// Milliseconds since the exporter started; v9 alone.
    pub uptime: u32,
    /// Seconds since 1970.
    pub time: u32,
    /// Of v9, how many datagrams came before; of IPFIX, how many records.
    pub sequence: u32,
    /// The source ID, or the observation domain.
    pub domain: u32,
    /// How many records and templates there are, which v9 says.
    records: u16,
    sets: Vec<u8>,
}

impl Message {
    /// Of NetFlow v9, without sets.
    pub fn v9() -> Self {
        Message {
            version: 9,
            uptime: 100_000,
            time: 1_700_000_000,
            sequence: 0,
            domain: 0,
            records: 0,
            sets: Vec::new(),
        }
    }

    /// Of IPFIX, without sets.
    pub fn ipfix() -> Self {
        Message { version: 10, ..Self::v9() }
    }

    /// From this source ID or observation domain.
    pub fn domain(self, domain: u32) -> Self {
        Message { domain, ..self }
    }

    /// With this sequence number.
    pub fn sequence(self, sequence: u32) -> Self {
        Message { sequence, ..self }
    }

    /// Sent at this time, by an exporter that has been up for so long.
    pub fn sent(self, time: u32, uptime: u32) -> Self {
        Message { uptime, time, ..self }
    }

    /// Adds a set with this content as it is, which counts as one record.
    pub fn set(mut self, id: u16, content: &[u8]) -> Self {
        self.records = self.records.wrapping_add(1);
        self.sets.extend(id.to_be_bytes());
        self.sets.extend((content.len() as u16 + 4).to_be_bytes());
        self.sets.extend(content);
        self
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.sets.extend(bytes);
        self
    }

    /// Adds a set with a template.
    pub fn template(self, template: &Template) -> Self {
        let Template { id, scopes, fields } = template;
        let is_options = !scopes.is_empty();
        let mut out = Vec::from(id.to_be_bytes());
        let numbers = match (self.version, is_options) {
            (9, true) => vec![scopes.len() * 4, fields.len() * 4],
            (_, true) => vec![scopes.len() + fields.len(), scopes.len()],
            (_, false) => vec![fields.len()],
        };
        for number in numbers {
            out.extend((number as u16).to_be_bytes());
        }
        for Field { enterprise, number, length } in scopes.iter().chain(fields) {
            let has_enterprise = self.version == 10 && *enterprise != 0;
            let bit = if has_enterprise { 0x8000 } else { 0 };
            out.extend((number | bit).to_be_bytes());
            out.extend(length.to_be_bytes());
            if has_enterprise {
                out.extend(enterprise.to_be_bytes());
            }
        }
        let set = match (self.version, is_options) {
            (9, _) => u16::from(is_options),
            (_, _) => 2 + u16::from(is_options),
        };
        self.set(set, &out)
    }

    /// Adds a set with records.
    pub fn data<R: AsRef<[Value]>>(
        self,
        template: &Template,
        records: impl IntoIterator<Item = R>,
    ) -> Self {
        let (mut count, mut content) = (0, Vec::new());
        for values in records {
            content.extend(template.record(values.as_ref()));
            count += 1;
        }
        let records = self.records.wrapping_add(count);
        Message { records, ..self.set(template.id, &content) }
    }

    /// The datagram.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::from(self.version.to_be_bytes());
        if self.version == 9 {
            out.extend(self.records.to_be_bytes());
            out.extend(self.uptime.to_be_bytes());
        } else {
            out.extend((self.sets.len() as u16 + 16).to_be_bytes());
        }
        for number in [self.time, self.sequence, self.domain] {
            out.extend(number.to_be_bytes());
        }
        out.extend(&self.sets);
        out
    }
}
