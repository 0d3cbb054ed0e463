//! The formats that are read, and which of them a message is in.

use std::{
    fmt,
    sync::{Arc, LazyLock},
};

use hashbrown::HashMap;

use crate::schema::Field;

use super::{
    akvorado,
    avro::framed_id,
    field_map::{FieldMap, Rates},
    goflow2::{self, Goflow2},
    json::Cursor,
    maps,
    pmacct::{aggregate_key, json_keys},
};

/// A format of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// pmacct's JSON.
    Pmacct,
    /// goflow2's protobuf.
    Goflow2Protobuf,
    /// Datagrams of NetFlow, IPFIX and sFlow in the messages of akvorado's inlet.
    Akvorado,
    /// pmacct's Avro.
    PmacctAvro,
    /// JSON that a map describes.
    Mapped(Arc<FieldMap>),
}

/// How messages of Avro are told from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AvroFraming {
    /// They are records alone: every message that can't be JSON is one.
    Bare,
    /// They begin with the id of a registry's schema.
    Registry,
}

/// The name of pmacct's JSON.
const PMACCT: &str = "pmacct";
/// The name of goflow2's protobuf.
const GOFLOW2_PROTOBUF: &str = "goflow2-protobuf";
/// The name of akvorado's format.
const AKVORADO: &str = "akvorado";
/// The name of pmacct's Avro.
const PMACCT_AVRO: &str = "pmacct-avro";
/// The first bytes of all records that pmacct writes.
const PMACCT_BEGINS: &[u8] = b"{\"event_type\"";

/// Keys that only pmacct writes: a record with one of them is pmacct's.
const PMACCT_KEYS: [&str; 22] = [
    "event_type",
    "as_src",
    "as_dst",
    "ip_src",
    "ip_dst",
    "net_src",
    "net_dst",
    "mask_src",
    "mask_dst",
    "port_src",
    "port_dst",
    "ip_proto",
    "iface_in",
    "iface_out",
    "peer_ip_src",
    "peer_ip_dst",
    "peer_as_src",
    "peer_as_dst",
    "stamp_inserted",
    "stamp_updated",
    "sampling_direction",
    "writer_id",
];

/// What goflow2 says of where a record comes from.
const GOFLOW2_TYPES: [&[u8]; 4] = [b"SFLOW_5", b"NETFLOW_V5", b"NETFLOW_V9", b"IPFIX"];

impl Format {
    /// What it is called in the configuration.
    pub fn name(&self) -> &str {
        match self {
            Format::Pmacct => PMACCT,
            Format::Goflow2Protobuf => GOFLOW2_PROTOBUF,
            Format::Akvorado => AKVORADO,
            Format::PmacctAvro => PMACCT_AVRO,
            Format::Mapped(map) => &map.name,
        }
    }

    /// What sampling rates mean; `None` where that is asked of the operator.
    pub fn rates(&self) -> Option<Rates> {
        match self {
            Format::Pmacct | Format::PmacctAvro => None,
            Format::Goflow2Protobuf | Format::Akvorado => Some(Rates::Multiply),
            Format::Mapped(map) => Some(map.rates),
        }
    }

    /// What it calls a field, for people.
    pub fn names(&self, field: &Field) -> Vec<String> {
        match self {
            Format::Pmacct | Format::PmacctAvro => json_keys(field).map(str::to_owned).collect(),
            Format::Goflow2Protobuf => {
                goflow2::numbers(field).map(|number| number.to_string()).collect()
            }
            // What exporters send, as `datagram` reads it.
            Format::Akvorado => Vec::new(),
            Format::Mapped(map) => map.paths(field).map(str::to_owned).collect(),
        }
    }
}

/// As people read it.
impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Pmacct => f.write_str("pmacct's JSON"),
            Format::Goflow2Protobuf => f.write_str("goflow2's protobuf"),
            Format::Akvorado => f.write_str("datagrams from akvorado's inlet"),
            Format::PmacctAvro => f.write_str("pmacct's Avro"),
            Format::Mapped(map) => write!(f, "JSON of the format {}", map.name),
        }
    }
}

/// The formats that are read, each with a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formats {
    all: Arc<[Format]>,
    /// The format of all messages; `None` if each is recognised.
    pinned: Option<usize>,
    /// How Avro is told from others; `None` if no schema is known, so that none is read.
    avro: Option<AvroFraming>,
    /// Keys that tell formats, with the format's number.
    marks: Arc<HashMap<Box<str>, usize>>,
}

/// The number of pmacct's JSON.
const PMACCT_NUMBER: usize = 0;
/// The number of goflow2's protobuf.
const GOFLOW2_NUMBER: usize = 1;
/// The number of akvorado's datagrams.
const AKVORADO_NUMBER: usize = 2;
/// The number of pmacct's Avro.
const PMACCT_AVRO_NUMBER: usize = 3;

/// All formats that are always there, told apart by message.
static READY: LazyLock<Formats> = LazyLock::new(|| Formats::new([]));

/// The field with a meaning of its own that one of these formats calls by this name, or pmacct's
/// `aggregate`.
pub fn field_called(name: &str) -> Option<Field> {
    let is_called = |field: &&Field| {
        let in_formats = READY.all.iter().flat_map(|format| format.names(field));
        let mut names = in_formats.chain(aggregate_key(field).map(str::to_owned));
        names.any(|known| known == name)
    };
    Field::TYPED.iter().find(is_called).cloned()
}

impl Default for Formats {
    fn default() -> Self {
        READY.clone()
    }
}

impl Formats {
    /// The operator's formats, which come first, and those that are always there, told apart by
    /// message.
    pub fn new(own: impl IntoIterator<Item = FieldMap>) -> Self {
        let mut all =
            vec![Format::Pmacct, Format::Goflow2Protobuf, Format::Akvorado, Format::PmacctAvro];
        all.extend(own.into_iter().chain(maps::ready()).map(|map| Format::Mapped(Arc::new(map))));
        let mut marks: HashMap<Box<str>, usize> =
            PMACCT_KEYS.iter().map(|&key| (key.into(), PMACCT_NUMBER)).collect();
        for (number, format) in all.iter().enumerate() {
            let Format::Mapped(map) = format else { continue };
            for mark in &map.marks {
                marks.entry(mark.clone()).or_insert(number);
            }
        }
        Formats { all: all.into(), pinned: None, avro: None, marks: Arc::new(marks) }
    }

    /// The same with messages of Avro, whose schemas are known.
    #[must_use]
    pub fn with_avro(self, framing: AvroFraming) -> Self {
        Formats { avro: Some(framing), ..self }
    }

    /// Only the format with this name; `None` if there is none.
    pub fn pinned(&self, name: &str) -> Option<Self> {
        let pinned = self.all.iter().position(|format| format.name() == name)?;
        Some(Formats { pinned: Some(pinned), ..self.clone() })
    }

    /// Whether all messages are read as one format.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// The format that all messages are read as, if there is one.
    pub fn only(&self) -> Option<&Format> {
        self.pinned.map(|number| &self.all[number])
    }

    /// All of them, by number.
    pub fn all(&self) -> &[Format] {
        &self.all
    }

    /// Whether a message is to be read as pmacct's, as far as its first bytes show.
    #[inline]
    pub(crate) fn is_plainly_pmacct(&self, payload: &[u8]) -> bool {
        match self.pinned {
            None => payload.starts_with(PMACCT_BEGINS),
            Some(number) => number == PMACCT_NUMBER,
        }
    }

    /// The number of a message's format; `None` if it is not recognised. Text, and records of no
    /// format that is known, are taken for pmacct's, whose decoder says what is wrong with them.
    pub fn of(&self, payload: &[u8]) -> Option<usize> {
        if self.pinned.is_some() {
            return self.pinned;
        }
        if self.avro.is_some_and(|framing| is_avro(framing, payload)) {
            return Some(PMACCT_AVRO_NUMBER);
        }
        // Where JSON can't have this byte, protobuf begins with the number of its first field, if need
        // be behind the length.
        if payload.iter().take(3).any(|&byte| byte == 8)
            && let Some(number) = of_protobuf(payload)
        {
            return Some(number);
        }
        let valid = valid_beginning(payload);
        if let Some(record) = first_record(valid) {
            return Some(self.of_record(record));
        }
        if let Some(number) = of_protobuf(payload) {
            return Some(number);
        }
        let is_control = |each: char| each.is_control() && !each.is_whitespace();
        let is_text = valid.len() == payload.len() && !valid.contains(is_control);
        is_text.then_some(PMACCT_NUMBER)
    }

    /// The number of the format of a record, before whose first key the cursor is. It may be
    /// truncated.
    fn of_record(&self, mut cursor: Cursor<'_>) -> usize {
        let mut marked = None;
        while let Ok(key) = cursor.string() {
            match self.marks.get(&*key) {
                Some(&PMACCT_NUMBER) => return PMACCT_NUMBER,
                Some(&number) => marked = marked.or(Some(number)),
                None => {}
            }
            if !cursor.take(b':') {
                break;
            }
            if key.eq_ignore_ascii_case("type")
                && cursor.peek() == Some(b'"')
                && cursor.clone().string_as(|kind| GOFLOW2_TYPES.contains(&kind)) == Ok(true)
                && let Some(goflow2) = self.all.iter().position(|each| each.name() == maps::GOFLOW2)
            {
                return goflow2;
            }
            if cursor.skip_value().is_err() || !cursor.take(b',') {
                break;
            }
        }
        marked.unwrap_or(PMACCT_NUMBER)
    }
}

/// Whether a message is Avro. JSON's first byte would be a negative length or number; or white space, which
/// is also the length of a text that may begin with a brace. But then JSON's last byte would be the end of a
/// negative number.
fn is_avro(framing: AvroFraming, payload: &[u8]) -> bool {
    match framing {
        AvroFraming::Bare => {
            let text = payload.strip_prefix("\u{feff}".as_bytes()).unwrap_or(payload);
            match text {
                [] | [b'{' | b'[', ..] => false,
                [b' ' | b'\t' | b'\r' | b'\n', ..] => {
                    !matches!(text.trim_ascii(), [] | [b'{', .., b'}'] | [b'[', .., b']'])
                }
                _ => true,
            }
        }
        AvroFraming::Registry => framed_id(payload).is_some(),
    }
}

/// The beginning of a message that is UTF-8: faster than by chunks, since nearly all of them are.
fn valid_beginning(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).unwrap_or_else(|error| {
        let valid = &payload[..error.valid_up_to()];
        std::str::from_utf8(valid).unwrap_or_default()
    })
}

/// The number of the format of a protobuf message.
fn of_protobuf(payload: &[u8]) -> Option<usize> {
    if Goflow2::is_mine(payload) {
        Some(GOFLOW2_NUMBER)
    } else {
        akvorado::is_mine(payload).then_some(AKVORADO_NUMBER)
    }
}

/// The place before the first key of the first record in a text that begins with one.
fn first_record(text: &str) -> Option<Cursor<'_>> {
    let mut cursor = Cursor::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    if cursor.take(b'[') && !matches!(cursor.peek(), Some(b'{')) {
        // Not an array of records; its decoder says so.
        return Some(cursor);
    }
    (cursor.take(b'{') && matches!(cursor.peek(), Some(b'"' | b'}') | None)).then_some(cursor)
}
