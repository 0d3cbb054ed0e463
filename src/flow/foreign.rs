//! Recognises formats other than pmacct's JSON by the first bytes of a message, to tell the
//! operator what is on the topic.

use std::borrow::Cow;

use super::json::Cursor;

/// How many keys of a record are read.
const KEYS: usize = 64;

/// A message format that occurs on Kafka topics and is not decoded, or not with the `--format` that is
/// given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foreign {
    /// The JSON of goflow2 1 and 2.
    Goflow2Json,
    /// goflow2's protobuf, with or without a length prefix.
    Goflow2Protobuf,
    /// JSON that Kafka Connect has wrapped together with its schema.
    Connect,
    /// JSON in a JSON string.
    Quoted,
    /// Records of pmacct's BGP, BMP and telemetry daemons.
    RoutingJson,
    /// nProbe's and ntopng's JSON.
    NprobeJson,
    /// JSON with the fields of Elastic Common Schema or of Logstash.
    ElasticJson,
    /// Any other JSON.
    OtherJson,
    /// Confluent's wire format: a zero byte, a schema id, then Avro or another format.
    Registry,
    /// An Avro container file.
    AvroFile,
    /// Protobuf of another program.
    Protobuf,
    /// gzip, zstd, lz4 or snappy inside the message.
    Compressed,
    /// Flow packets, as routers send them.
    Packet,
    /// UTF-16.
    Utf16,
    /// Values separated by commas, semicolons or tabs.
    Csv,
    /// Other text.
    Text,
    /// Bytes of an unknown format.
    Binary,
}

impl Foreign {
    /// Recognises a message by its beginning; `None` if it is empty or pmacct's JSON.
    pub fn recognise(beginning: &[u8]) -> Option<Self> {
        if beginning.trim_ascii().is_empty() {
            return None;
        }
        let magic = [
            (&b"\x1f\x8b"[..], Foreign::Compressed),
            (b"\x28\xb5\x2f\xfd", Foreign::Compressed),
            (b"\x04\x22\x4d\x18", Foreign::Compressed),
            (b"\xff\x06\0\0sNaPpY", Foreign::Compressed),
            (b"\x82SNAPPY\0", Foreign::Compressed),
            (b"Obj\x01", Foreign::AvroFile),
            (b"\xff\xfe", Foreign::Utf16),
            (b"\xfe\xff", Foreign::Utf16),
            (b"{\0", Foreign::Utf16),
            (b"\0{", Foreign::Utf16),
            (b"\0\0\0\x05\0\0\0\x01", Foreign::Packet),
            (b"\0\0\0\x05\0\0\0\x02", Foreign::Packet),
        ];
        if let Some((_, foreign)) = magic.iter().find(|(magic, _)| beginning.starts_with(magic)) {
            return Some(*foreign);
        }
        let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
        let valid = text.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        // A character may be truncated at the end.
        let is_text = valid.len() + 3 >= text.len()
            && !valid.contains(|each: char| each.is_control() && !each.is_whitespace());
        // Labels in another encoding do no harm to JSON.
        let is_json = matches!(text.trim_ascii_start().first(), Some(b'{' | b'['));
        if is_text || is_json {
            of_text(&String::from_utf8_lossy(text))
        } else {
            Some(of_bytes(beginning))
        }
    }

    /// The format, as it reads after "the messages are".
    pub const fn name(self) -> &'static str {
        match self {
            Foreign::Goflow2Json => "goflow2's JSON",
            Foreign::Goflow2Protobuf => "goflow2's protobuf",
            Foreign::Connect => "wrapped by Kafka Connect in an object of schema and payload",
            Foreign::Quoted => "JSON in a JSON string",
            Foreign::RoutingJson => "of a BGP, BMP or telemetry daemon, not flows",
            Foreign::NprobeJson => "nProbe's or ntopng's JSON",
            Foreign::ElasticJson => "JSON as Elastic's tools write it",
            Foreign::OtherJson => "JSON of another program, without pmacct's fields",
            Foreign::Registry => "in the wire format of a schema registry, such as Avro",
            Foreign::AvroFile => "Avro's container files",
            Foreign::Protobuf => "protobuf, as akvorado writes it",
            Foreign::Compressed => "compressed by their writer, in addition to Kafka",
            Foreign::Packet => "NetFlow, IPFIX or sFlow packets, as routers send them",
            Foreign::Utf16 => "UTF-16",
            Foreign::Csv => "CSV",
            Foreign::Text => "text that is not JSON",
            Foreign::Binary => "binary, such as Avro (pmacct's kafka_output: avro)",
        }
    }

    /// What to do about it.
    pub const fn cure(self) -> &'static str {
        match self {
            Foreign::AvroFile | Foreign::Csv => "set kafka_output: json in pmacct",
            Foreign::Binary => {
                "give --avro-schema if they are pmacct's Avro, or set kafka_output: json"
            }
            Foreign::Registry => "give --schema-registry, where their schemas are",
            Foreign::Connect => "set value.converter.schemas.enable=false in the connector",
            Foreign::Quoted => {
                "have them written as they are: Kafka Connect does with value.converter=\
                 org.apache.kafka.connect.storage.StringConverter"
            }
            Foreign::RoutingJson => "set --topic to the one that pmacct writes flows to",
            Foreign::Compressed => "leave compression to Kafka's producer (compression.type)",
            Foreign::Utf16 => "have them written in UTF-8",
            Foreign::Goflow2Json | Foreign::Goflow2Protobuf | Foreign::NprobeJson => {
                "leave --format out"
            }
            Foreign::ElasticJson | Foreign::OtherJson => {
                "say in --config, under formats, what its fields are called (docs/formats.md)"
            }
            Foreign::Protobuf | Foreign::Packet | Foreign::Text => {
                "docs/formats.md lists the formats that are read"
            }
        }
    }
}

/// The format of a text; `None` if it is pmacct's JSON.
fn of_text(text: &str) -> Option<Foreign> {
    let mut cursor = Cursor::new(text);
    match cursor.peek() {
        Some(b'[') => {
            cursor.take(b'[');
            if cursor.peek() == Some(b'{') { of_record(cursor) } else { Some(Foreign::OtherJson) }
        }
        Some(b'{') => of_record(cursor),
        Some(b'"') => {
            let inner = cursor.string().ok();
            let is_json = inner.map_or_else(
                // Truncated: its beginning is escaped.
                || text.trim_start().starts_with("\"{"),
                |inner| inner.trim_start().starts_with('{'),
            );
            Some(if is_json { Foreign::Quoted } else { of_lines(text) })
        }
        _ => Some(of_lines(text)),
    }
}

fn of_lines(text: &str) -> Foreign {
    let line = text.trim_start().lines().next().unwrap_or_default();
    let is_csv = [',', ';', '\t'].iter().any(|&comma| line.matches(comma).count() >= 2);
    if is_csv { Foreign::Csv } else { Foreign::Text }
}

/// The format of an object, which may be truncated; `None` if it is pmacct's JSON.
fn of_record(mut cursor: Cursor<'_>) -> Option<Foreign> {
    let mut keys: Vec<Cow<'_, str>> = Vec::new();
    let mut event = None;
    cursor.take(b'{');
    while keys.len() < KEYS {
        let Ok(key) = cursor.string() else { break };
        if !cursor.take(b':') {
            break;
        }
        if cursor.peek() == Some(b'"') && key == "event_type" {
            event = cursor.clone().string().ok();
        }
        keys.push(key);
        if cursor.skip_value().is_err() || !cursor.take(b',') {
            break;
        }
    }
    let has = |names: &[&str]| names.iter().any(|&name| keys.iter().any(|key| *key == name));
    // A long schema leaves no room for the payload behind it.
    if has(&["schema"]) && (has(&["payload"]) || keys.len() == 1) {
        return Some(Foreign::Connect);
    }
    let routing = ["log", "dump", "update", "withdraw", "log_init", "log_close", "dump_init"];
    // Flows have AS paths as well.
    let is_route = event.is_none() && has(&["as_path"]) && !has(&["bytes"]);
    let is_event = event.is_some_and(|event| routing.contains(&&*event));
    if is_event || is_route || has(&["bmp_msg_type"]) {
        return Some(Foreign::RoutingJson);
    }
    let of_pmacct = ["as_src", "as_dst", "event_type", "stamp_inserted", "ip_src", "ip_dst"];
    if has(&of_pmacct) || has(&["net_src", "net_dst", "peer_ip_src", "peer_as_src", "iface_in"]) {
        return None;
    }
    Some(if has(&["sampler_address", "time_received_ns", "SamplerAddress", "TimeReceived"]) {
        Foreign::Goflow2Json
    } else if has(&["IN_BYTES", "SRC_AS", "IPV4_SRC_ADDR", "OUT_BYTES"]) {
        Foreign::NprobeJson
    } else if has(&["@timestamp", "flow.bytes", "netflow", "network.bytes"]) {
        Foreign::ElasticJson
    } else if has(&["bytes", "label"]) && keys.len() <= 3 {
        // pmacct's JSON without AS numbers, as our documents describe it.
        return None;
    } else {
        Foreign::OtherJson
    })
}

fn of_bytes(bytes: &[u8]) -> Foreign {
    let number = |at: usize| {
        let pair = bytes.get(at..).and_then(<[u8]>::first_chunk::<2>);
        pair.map_or(0, |pair| u16::from_be_bytes(*pair))
    };
    let is_packet = match number(0) {
        5 => (1..=30).contains(&number(2)),
        9 => (1..=400).contains(&number(2)) && bytes.len() >= 24,
        // A long one is truncated.
        10 => {
            let length = usize::from(number(2));
            length == bytes.len() || bytes.len() >= 1000 && length > bytes.len()
        }
        _ => false,
    };
    if is_packet {
        return Foreign::Packet;
    }
    // Schema ids are small, and no text follows.
    if bytes.len() > 5 && bytes[0] == 0 && bytes[1] == 0 {
        return Foreign::Registry;
    }
    let mut after_length = bytes;
    let length = varint(&mut after_length);
    let is_length = length.is_some_and(|length| {
        length == after_length.len() as u64 || length > after_length.len() as u64
    });
    let fields = is_length.then(|| fields(after_length)).flatten().or_else(|| fields(bytes));
    match fields {
        Some(fields) => {
            let is_address = |(number, length): &(u64, u64)| {
                [6, 7, 11].contains(number) && matches!(length, 4 | 16)
            };
            let is_goflow2 = fields.iter().filter(|field| is_address(field)).count() >= 2;
            if is_goflow2 { Foreign::Goflow2Protobuf } else { Foreign::Protobuf }
        }
        None => Foreign::Binary,
    }
}

/// Numbers and lengths of the fields of a protobuf message, which may be truncated; integers have
/// length 0. `None` if it is not protobuf, or too short to tell.
fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, u64)>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        let length = match tag & 7 {
            0 => varint(&mut bytes).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut bytes)?,
            5 => 4,
            _ => return None,
        };
        let number = tag >> 3;
        if !(1..=1 << 20).contains(&number) || length > 1 << 20 {
            return None;
        }
        let is_number = tag & 7 != 2;
        fields.push((number, if is_number { 0 } else { length }));
        // The end may be truncated.
        bytes = bytes.get(length as usize..).unwrap_or_default();
    }
    (fields.len() >= 3).then_some(fields)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
