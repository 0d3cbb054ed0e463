//! Writes MaxMind databases: <https://maxmind.github.io/MaxMind-DB/>.

/// A value of a record.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Text(String),
    Short(u16),
    Number(u32),
    Long(u64),
    Map(Vec<(&'static str, Value)>),
    List,
    /// Arrays of one item within each other: so many, and an empty one.
    Nested(usize),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Text(text.to_owned())
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Number(number)
    }
}

/// A record, or a map within one.
pub(super) fn map<const N: usize>(fields: [(&'static str, Value); N]) -> Value {
    Value::Map(fields.into())
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Text(text) => {
                match text.len() {
                    short @ 0..29 => out.push(2 << 5 | short as u8),
                    long => out.extend([(2 << 5) + 29, u8::try_from(long - 29).unwrap()]),
                }
                out.extend(text.as_bytes());
            }
            Value::Short(number) => integer(&[5 << 5], &number.to_be_bytes(), out),
            Value::Number(number) => integer(&[6 << 5], &number.to_be_bytes(), out),
            // A type beyond 7 is in the next byte.
            Value::Long(number) => integer(&[0, 9 - 7], &number.to_be_bytes(), out),
            Value::Map(fields) => {
                assert!(fields.len() < 29);
                out.push(7 << 5 | fields.len() as u8);
                for (name, value) in fields {
                    Value::from(*name).write(out);
                    value.write(out);
                }
            }
            // An array without items.
            Value::List => out.extend([0, 11 - 7]),
            Value::Nested(levels) => {
                out.extend([1, 11 - 7].repeat(*levels));
                Value::List.write(out);
            }
        }
    }
}

/// Writes an integer, without its leading zeros. Their number is in the first byte.
fn integer(head: &[u8], bytes: &[u8], out: &mut Vec<u8>) {
    let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
    out.push(head[0] | (bytes.len() - zeros) as u8);
    out.extend(&head[1..]);
    out.extend(&bytes[zeros..]);
}

/// A prefix: its first address (of IPv4 in the low bits), and its length for IPv6, so that one of
/// IPv4 has 96 more.
pub(super) type Prefix = (u128, u8);

/// What a node refers to.
#[derive(Clone, Copy)]
enum Reference {
    Nothing,
    Node(usize),
    Record(usize),
}

/// A database with these records, for IPv6 or for IPv4 alone. Of equal prefixes, the later counts.
pub(super) struct Database {
    pub(super) is_v4: bool,
    /// The size of a reference: 24, 28 or 32.
    pub(super) bits: u8,
    pub(super) rows: Vec<(Prefix, Value)>,
    /// Further prefixes by which IPv4 addresses are reached: of length 96, 32 and 16.
    pub(super) aliases: Vec<Prefix>,
}

impl Database {
    pub(super) fn write(mut self) -> Vec<u8> {
        let top: u8 = if self.is_v4 { 96 } else { 0 };
        let mut nodes = vec![[Reference::Nothing; 2]];
        // Longer prefixes overwrite parts of shorter ones.
        self.rows.sort_by_key(|(prefix, _)| prefix.1);
        let (mut data, mut offsets) = (Vec::new(), Vec::new());
        for (number, (prefix, record)) in self.rows.iter().enumerate() {
            offsets.push(data.len());
            record.write(&mut data);
            insert(&mut nodes, *prefix, top, Reference::Record(number));
        }
        if !self.aliases.is_empty() {
            let ipv4 = insert(&mut nodes, (0, 97), top, Reference::Nothing);
            for &alias in &self.aliases {
                insert(&mut nodes, alias, top, Reference::Node(ipv4));
            }
        }
        let value = |reference| match reference {
            Reference::Nothing => nodes.len(),
            Reference::Node(node) => node,
            Reference::Record(record) => nodes.len() + 16 + offsets[record],
        };
        let mut file = Vec::new();
        for node in &nodes {
            let [left, right] = node.map(|reference| value(reference) as u64);
            let both = match self.bits {
                // The highest four bits of both are between the lower ones.
                28 => (left & 0xff_ffff) << 32 | (left >> 24) << 28 | right,
                bits => left << bits | right,
            };
            file.extend(&both.to_be_bytes()[8 - usize::from(self.bits) / 4..]);
        }
        file.extend([0; 16]);
        file.extend(data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        map([
            ("binary_format_major_version", Value::Short(2)),
            ("binary_format_minor_version", Value::Short(0)),
            ("build_epoch", Value::Long(1_700_000_000)),
            ("database_type", "Test".into()),
            ("description", map([("en", "a test".into())])),
            ("ip_version", Value::Short(if self.is_v4 { 4 } else { 6 })),
            ("languages", Value::List),
            ("node_count", (nodes.len() as u32).into()),
            ("record_size", Value::Short(self.bits.into())),
        ])
        .write(&mut file);
        file
    }
}

/// Has a prefix refer to something, unless that is nothing. Returns the last node on the way.
fn insert(
    nodes: &mut Vec<[Reference; 2]>,
    (first, length): Prefix,
    top: u8,
    reference: Reference,
) -> usize {
    let bit = |depth: u8| (first >> (127 - depth) & 1) as usize;
    let mut node = 0;
    for depth in top..length - 1 {
        let next = nodes[node][bit(depth)];
        node = match next {
            Reference::Node(next) => next,
            record => {
                nodes.push([record; 2]);
                nodes[node][bit(depth)] = Reference::Node(nodes.len() - 1);
                nodes.len() - 1
            }
        };
    }
    if !matches!(reference, Reference::Nothing) {
        nodes[node][bit(length - 1)] = reference;
    }
    node
}
