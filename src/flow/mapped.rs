//! JSON whose fields a [`FieldMap`] names.
//!
//! For a plan, the paths of the fields that are wanted become a tree of the keys that may lead to
//! them; all other values are skipped. The keys of records are predicted as pmacct's are
//! ([`Keys`]), those further down are looked up.

use std::{borrow::Cow, net::IpAddr, sync::Arc};

use crate::schema::{Field, FieldType};

use super::{
    field_map::{FieldMap, Pairs, Place, Unit},
    json::{Cursor, Number, SyntaxError},
    json_records::{self, RecordReader, malformed},
    json_values::{Kind, address, code, join_values, other_text},
    keys::{Keys, Progress, Step},
    networks::Networks,
    plan::{Plan, Slot},
    reason::Malformed,
    record::Record,
    row::{RowBuffer, Value},
};

/// Decodes a format that a [`FieldMap`] describes, for one plan.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Arc<FieldMap>,
    tree: Tree,
    keys: Keys<Action>,
    values: RowBuffer,
    /// By slot, which of a field's places has the value that is set: the first ones win.
    ranks: Vec<u8>,
    /// The same where records begin.
    start_ranks: Vec<u8>,
    /// What is the same in all records, by rank.
    constants: Vec<(Leaf, Box<str>)>,
    networks: Networks,
    reverse: Reverse,
    /// Of the arrays of records in the object that is read, the first one in the map's order.
    array: Option<(u8, usize)>,
}

/// The rank of a field that is not there.
const ABSENT: u8 = u8::MAX;

/// What is done with the value of a key.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// It is only checked to be JSON.
    Skip,
    /// It is used as the key with this number says.
    Use(u16),
}

/// The keys that lead to wanted values.
#[derive(Debug)]
struct Tree {
    folds_keys: bool,
    keys: Vec<Key>,
    /// Numbers of the keys that may stand in an object; the first object is the record.
    objects: Vec<Vec<u16>>,
    /// The paths behind each object, to find equal ones.
    paths: Vec<Vec<(Box<str>, Target)>>,
}

/// A key that leads to wanted values.
#[derive(Debug)]
struct Key {
    name: Box<str>,
    /// Fields that have its value.
    leaves: Vec<Leaf>,
    /// The number of the object that it may hold.
    below: Option<usize>,
    /// Its rank among the arrays of records, if it is one.
    records: Option<u8>,
}

/// A field that has the value of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leaf {
    slot: Slot,
    kind: Kind,
    /// The place's number among those of its field.
    rank: u8,
    unit: Unit,
    /// The largest number.
    max: u64,
    /// What numbers in lists are, and 0.
    meaning: Meaning,
}

/// What else has to be known of a field to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// Nothing.
    Plain,
    /// Numbers are communities of 16 and 16 bits.
    Communities,
    /// 0 says that it is not known.
    Length,
}

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Leaf(Leaf),
    /// An array of records with this rank.
    Records(u8),
}

impl Tree {
    fn new(folds_keys: bool, paths: &[(Box<str>, Target)]) -> Self {
        let mut tree =
            Tree { folds_keys, keys: Vec::new(), objects: Vec::new(), paths: Vec::new() };
        tree.object(paths);
        tree
    }

    /// The number of the object in which these paths begin.
    fn object(&mut self, paths: &[(Box<str>, Target)]) -> usize {
        if let Some(known) = self.paths.iter().position(|other| *other == paths) {
            return known;
        }
        let number = self.objects.len();
        self.objects.push(Vec::new());
        self.paths.push(paths.to_vec());
        let mut names: Vec<&str> = Vec::new();
        for (path, _) in paths {
            let dots = path.match_indices('.').map(|(place, _)| &path[..place]);
            names.extend(dots.chain([&**path]));
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            let mut key = Key { name: name.into(), leaves: Vec::new(), below: None, records: None };
            let mut below = Vec::new();
            for (path, target) in paths {
                match (path.strip_prefix(name), target) {
                    (Some(""), Target::Leaf(leaf)) => key.leaves.push(*leaf),
                    (Some(""), Target::Records(rank)) => key.records = Some(*rank),
                    (Some(rest), target) => {
                        below.extend(rest.strip_prefix('.').map(|rest| (rest.into(), *target)));
                    }
                    (None, _) => {}
                }
            }
            if !below.is_empty() {
                key.below = Some(self.object(&below));
            }
            // Maps are bounded, see `config/formats.rs`.
            self.objects[number].push(self.keys.len() as u16);
            self.keys.push(key);
        }
        number
    }

    /// What is done with the value of a key in an object.
    fn action(&self, object: usize, key: &str) -> Action {
        let is_key = |number: &&u16| {
            let name = &self.keys[usize::from(**number)].name;
            **name == *key || self.folds_keys && is_same_word(name, key)
        };
        self.objects[object].iter().find(is_key).map_or(Action::Skip, |&number| Action::Use(number))
    }
}

/// Whether two keys are the same but for case and underscores.
fn is_same_word(one: &str, other: &str) -> bool {
    fn folded(word: &str) -> impl Iterator<Item = u8> {
        word.bytes().filter(|&byte| byte != b'_').map(|byte| byte.to_ascii_lowercase())
    }
    folded(one).eq(folded(other))
}

impl Mapped {
    /// A decoder for the fields of a plan.
    pub(super) fn new(map: &Arc<FieldMap>, plan: &Plan) -> Self {
        let mut plan = plan.clone();
        let reverse = Reverse::new(map, &mut plan);
        let plan = &plan;
        let mut paths = Vec::new();
        let mut constants = Vec::new();
        for (field, slot) in reverse.counts() {
            let places = map.reverse.iter().filter(|(reversed, _)| *reversed == field);
            for (rank, place) in places.flat_map(|(_, places)| places).enumerate() {
                if let Place::Path { path, unit } = place {
                    let leaf = Leaf { unit: *unit, ..Leaf::new(&field, slot, rank as u8) };
                    paths.push((path.clone(), Target::Leaf(leaf)));
                }
            }
        }
        for (slot, field) in plan.fields().filter(|(slot, _)| !reverse.is_count(*slot)) {
            let named = [Place::path(field.name())];
            let places = match (map.places(field), field) {
                ([], Field::Named(_)) => &named,
                (places, _) => places,
            };
            for (rank, place) in places.iter().enumerate() {
                let mut leaf = Leaf::new(field, slot, rank as u8);
                match place {
                    Place::Constant(text) => constants.push((leaf, text.clone())),
                    Place::Path { path, unit } => {
                        leaf.unit = *unit;
                        paths.push((path.clone(), Target::Leaf(leaf)));
                    }
                }
            }
        }
        for (rank, path) in map.records.iter().enumerate() {
            paths.push((path.clone(), Target::Records(rank as u8)));
        }
        let ranks = vec![ABSENT; plan.fields().len()];
        let mut mapped = Mapped {
            tree: Tree::new(map.folds_keys, &paths),
            map: Arc::clone(map),
            keys: Keys::new(),
            values: RowBuffer::new(plan),
            start_ranks: ranks.clone(),
            ranks,
            constants,
            reverse,
            networks: Networks::of(plan, |network| map.own_places(network).is_empty()),
            array: None,
        };
        mapped.begin_message();
        mapped
    }

    /// Decodes all records in `payload` and hands each to `sink`, in order; see
    /// [`json_records::decode`].
    pub(super) fn decode(&mut self, payload: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        json_records::decode(self, payload, sink);
    }

    /// Has records begin with what is the same in all of them.
    fn begin_message(&mut self) {
        self.values.clear();
        self.ranks.fill(ABSENT);
        let mut read = Reading { values: &mut self.values, ranks: &mut self.ranks };
        for (leaf, text) in &self.constants {
            read.constant(leaf, text);
        }
        self.keep_as_start();
    }

    /// Has records begin with what is set.
    fn keep_as_start(&mut self) {
        self.values.keep_as_start();
        self.start_ranks.copy_from_slice(&self.ranks);
    }

    /// Begins a record.
    fn restart(&mut self) {
        self.values.restart();
        self.ranks.copy_from_slice(&self.start_ranks);
    }

    /// Hands over what is set as a record, which stands from `start` up to the cursor.
    fn emit(
        &mut self,
        text: &str,
        start: usize,
        cursor: &Cursor<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        let Mapped { networks, reverse, values, .. } = self;
        networks.cut(values);
        let mut emit = |values: &RowBuffer| {
            sink(match values.check() {
                Ok(None) => Record::Flow(values.row(text)),
                Ok(Some(reason)) => Record::Skipped(reason),
                Err(reason) => Record::Malformed(reason, text[start..cursor.position()].trim()),
            });
        };
        let goes_both_ways = reverse.bytes(values) > 0;
        if !goes_both_ways || !matches!(values.value(Slot::BYTES), Value::Number(0)) {
            emit(values);
        }
        if goes_both_ways {
            reverse.turn(values);
            emit(values);
        }
    }

    /// Consumes the object that is a record, or has records, and keeps its values.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let Mapped { tree, keys, values, ranks, array, .. } = self;
        let mut reading = Reading { values, ranks };
        let mut progress = Progress::START;
        *array = None;
        while let Step::Key(action) = keys.step(&mut progress, cursor, |key| tree.action(0, key))? {
            reading.value(tree, action, cursor, array)?;
        }
        Ok(())
    }

    /// Consumes an array of objects that each hold one value of a record.
    fn read_pairs(&mut self, pairs: &Pairs, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let Mapped { tree, values, ranks, array, .. } = self;
        let mut reading = Reading { values, ranks };
        cursor.take(b'[');
        let mut done = cursor.take(b']');
        while !done {
            let mut key = Cow::Borrowed("");
            let mut value = None;
            if cursor.peek() == Some(b'{') {
                each_pair(cursor, |name, cursor| {
                    if pairs.keys.iter().any(|known| **known == *name) {
                        key = word(cursor)?;
                        return Ok(());
                    }
                    if pairs.values.iter().any(|known| **known == *name) {
                        value = Some(*cursor);
                    }
                    cursor.skip_value()
                })?;
            } else {
                cursor.skip_value()?;
            }
            if let Some(mut at) = value {
                reading.value(tree, tree.action(0, &key), &mut at, array)?;
            }
            done = cursor.take(b']');
            if !done && !cursor.take(b',') {
                return Err(SyntaxError);
            }
        }
        Ok(())
    }

    /// Hands over the records of an array, which begins here. It was skipped before, so it is JSON.
    fn elements<'t>(
        &mut self,
        text: &'t str,
        cursor: &mut Cursor<'t>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), SyntaxError> {
        let map = Arc::clone(&self.map);
        cursor.take(b'[');
        let mut done = cursor.take(b']');
        while !done {
            let first = cursor.peek();
            let start = cursor.position();
            self.restart();
            match (first, &map.pairs) {
                (Some(b'{'), _) => self.read(cursor)?,
                (Some(b'['), Some(pairs)) => self.read_pairs(pairs, cursor)?,
                _ => {
                    cursor.skip_value()?;
                    sink(malformed(Malformed::NotARecord, text, start, cursor));
                    done = cursor.take(b']');
                    cursor.take(b',');
                    continue;
                }
            }
            self.emit(text, start, cursor, sink);
            done = cursor.take(b']');
            cursor.take(b',');
        }
        Ok(())
    }
}

impl RecordReader for Mapped {
    fn record<'t>(
        &mut self,
        text: &'t str,
        cursor: &mut Cursor<'t>,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), SyntaxError> {
        let start = cursor.position();
        if self.map.records.is_empty() {
            self.restart();
        } else {
            self.begin_message();
        }
        self.read(cursor)?;
        let Some((_, array)) = self.array else {
            self.emit(text, start, cursor, sink);
            return Ok(());
        };
        self.keep_as_start();
        let mut elements = Cursor::new(text);
        elements.move_to(array);
        self.elements(text, &mut elements, sink)
    }
}

/// Records of flows with what went the other way.
#[derive(Debug)]
struct Reverse {
    /// Slots of bytes and packets that did; `None` if the format doesn't have them.
    counts: Option<[Slot; 2]>,
    packets: Option<Slot>,
    direction: Option<Slot>,
    /// Slots of what belongs to the ends.
    ends: Vec<(Slot, Slot)>,
}

/// Fields of the source, with those of the destination.
const ENDS: [(Field, Field); 11] = [
    (Field::SourceAs, Field::DestinationAs),
    (Field::SourcePeerAs, Field::DestinationPeerAs),
    (Field::SourceAddress, Field::DestinationAddress),
    (Field::SourceNetwork, Field::DestinationNetwork),
    (Field::SourceMask, Field::DestinationMask),
    (Field::SourcePort, Field::DestinationPort),
    (Field::InputInterface, Field::OutputInterface),
    (Field::InputInterfaceName, Field::OutputInterfaceName),
    (Field::InputInterfaceDescription, Field::OutputInterfaceDescription),
    (Field::InputVrf, Field::OutputVrf),
    (Field::SourceCountry, Field::DestinationCountry),
];

impl Reverse {
    /// For a plan, to which fields are added that are needed besides.
    fn new(map: &FieldMap, plan: &mut Plan) -> Self {
        if map.reverse.is_empty() {
            return Reverse { counts: None, packets: None, direction: None, ends: Vec::new() };
        }
        let ends = ENDS.iter().filter_map(|(source, destination)| {
            let is_wanted = plan.slot(source).or(plan.slot(destination)).is_some();
            is_wanted.then(|| (plan.add(source.clone()), plan.add(destination.clone())))
        });
        let ends = ends.collect();
        // Names that no label can have.
        let counts =
            ["reverse bytes", "reverse packets"].map(|name| plan.add(Field::Named(name.into())));
        Reverse {
            counts: Some(counts),
            packets: plan.slot(&Field::Packets),
            direction: plan.slot(&Field::FlowDirection),
            ends,
        }
    }

    /// What is counted of the other way, with the slots.
    fn counts(&self) -> impl Iterator<Item = (Field, Slot)> {
        let counts =
            self.counts.map(|[bytes, packets]| [(Field::Bytes, bytes), (Field::Packets, packets)]);
        counts.into_iter().flatten()
    }

    fn is_count(&self, slot: Slot) -> bool {
        self.counts.is_some_and(|counts| counts.contains(&slot))
    }

    /// The bytes that went the other way.
    fn bytes(&self, values: &RowBuffer) -> u64 {
        match self.counts.map(|[bytes, _]| values.value(bytes)) {
            Some(Value::Number(bytes)) => bytes,
            _ => 0,
        }
    }

    /// Makes a record one of the other way.
    fn turn(&self, values: &mut RowBuffer) {
        let Some([bytes, packets]) = self.counts else { return };
        for &(source, destination) in &self.ends {
            let (of_source, of_destination) = (values.value(source), values.value(destination));
            values.set(source, of_destination);
            values.set(destination, of_source);
        }
        values.set(Slot::BYTES, values.value(bytes));
        if let Some(slot) = self.packets {
            values.set(slot, values.value(packets));
        }
        if let Some(slot) = self.direction {
            values.set(slot, Value::Absent);
        }
    }
}

impl Leaf {
    fn new(field: &Field, slot: Slot, rank: u8) -> Self {
        let max = match field.value_type() {
            FieldType::Number { max } => max,
            _ => 0,
        };
        let meaning = match field {
            Field::Communities => Meaning::Communities,
            Field::SourceMask | Field::DestinationMask => Meaning::Length,
            _ => Meaning::Plain,
        };
        Leaf { slot, kind: Kind::of(field), rank, unit: Unit::ONE, max, meaning }
    }
}

/// The record that is read.
struct Reading<'m> {
    values: &'m mut RowBuffer,
    ranks: &'m mut [u8],
}

impl Reading<'_> {
    /// Consumes the value of a key.
    #[inline]
    fn value(
        &mut self,
        tree: &Tree,
        action: Action,
        cursor: &mut Cursor<'_>,
        array: &mut Option<(u8, usize)>,
    ) -> Result<(), SyntaxError> {
        let Action::Use(number) = action else { return cursor.skip_value() };
        let key = &tree.keys[usize::from(number)];
        match (cursor.peek(), key.below, key.records) {
            (Some(b'{'), Some(below), _) => {
                return each_pair(cursor, |key, cursor| {
                    self.value(tree, tree.action(below, key), cursor, array)
                });
            }
            (Some(b'['), _, Some(rank)) => {
                if array.is_none_or(|(known, _)| rank <= known) {
                    *array = Some((rank, cursor.position()));
                }
                return cursor.skip_value();
            }
            _ => {}
        }
        let Some((last, others)) = key.leaves.split_last() else { return cursor.skip_value() };
        for leaf in others {
            self.leaf(leaf, &mut cursor.clone())?;
        }
        self.leaf(last, cursor)
    }

    /// Consumes the value of a field.
    fn leaf(&mut self, leaf: &Leaf, cursor: &mut Cursor<'_>) -> Result<(), SyntaxError> {
        let slot = leaf.slot;
        let rank = &mut self.ranks[slot.index()];
        // A null counts as absent.
        let first = cursor.peek();
        if first == Some(b'n') || *rank < leaf.rank {
            return cursor.skip_value();
        }
        let values = &mut *self.values;
        match leaf.kind {
            Kind::Number => match number(cursor, leaf)? {
                Ok(None) => return Ok(()),
                Ok(Some(number)) => values.set(slot, Value::Number(number)),
                Err(reason) => values.set_malformed(slot, reason),
            },
            Kind::Address => {
                let parsed = match first {
                    Some(b'"') => cursor.string_as(any_address)?,
                    _ => cursor.skip_value().map(|()| Err(Malformed::WrongType))?,
                };
                match parsed {
                    Ok(None) => return Ok(()),
                    Ok(Some(address)) => values.set(slot, Value::Address(address)),
                    Err(reason) => values.set_malformed(slot, reason),
                }
            }
            Kind::Label | Kind::Text | Kind::Strings => {
                if first == Some(b'"')
                    && let Some(range) = cursor.plain_string()
                {
                    if range.is_empty() {
                        return Ok(());
                    }
                    values.set(slot, Value::Text(range.start, range.end));
                } else if first == Some(b'[') {
                    let array = cursor.container()?;
                    let are_communities = leaf.meaning == Meaning::Communities;
                    values.set_made(slot, |made| join_values(array, are_communities, made))?;
                } else {
                    *cursor = other_text(*cursor, slot, Kind::Text, values)?;
                }
            }
            Kind::Protocol | Kind::TcpFlags | Kind::FlowDirection => {
                *cursor = code(*cursor, slot, leaf.kind, values)?;
            }
        }
        *rank = leaf.rank;
        Ok(())
    }

    /// Sets what is the same in all records: a text, or the text of a number or address.
    fn constant(&mut self, leaf: &Leaf, text: &str) {
        if matches!(leaf.kind, Kind::Label | Kind::Text | Kind::Strings) {
            if self.ranks[leaf.slot.index()] > leaf.rank {
                self.values.set_text(leaf.slot, text);
                self.ranks[leaf.slot.index()] = leaf.rank;
            }
            return;
        }
        let quoted = format!("\"{text}\"");
        // `config` has tried them all.
        self.leaf(leaf, &mut Cursor::new(&quoted)).unwrap_or_default();
    }
}

/// Hands each key of an object, which begins here, to `take`, which must consume the value.
fn each_pair<'t>(
    cursor: &mut Cursor<'t>,
    mut take: impl FnMut(&str, &mut Cursor<'t>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    cursor.take(b'{');
    if cursor.take(b'}') {
        return Ok(());
    }
    loop {
        let key = cursor.string()?;
        if !cursor.take(b':') {
            return Err(SyntaxError);
        }
        take(&key, cursor)?;
        match cursor.next() {
            Some(b',') => {}
            Some(b'}') => return Ok(()),
            _ => return Err(SyntaxError),
        }
    }
}

/// Consumes a string or a number, and returns its text; empty for anything else.
fn word<'t>(cursor: &mut Cursor<'t>) -> Result<Cow<'t, str>, SyntaxError> {
    match cursor.peek() {
        Some(b'"') => cursor.string(),
        Some(b'0'..=b'9') => cursor.scalar_text().map(Cow::Borrowed),
        _ => cursor.skip_value().map(|()| Cow::Borrowed("")),
    }
}

/// Consumes a number, or the text of one in decimal or behind `0x`; `None` if the text is empty.
fn number(
    cursor: &mut Cursor<'_>,
    leaf: &Leaf,
) -> Result<Result<Option<u64>, Malformed>, SyntaxError> {
    let parsed = match cursor.peek() {
        Some(b'0'..=b'9' | b'-') => {
            let mut exact = *cursor;
            match exact.number()? {
                Number::Unsigned(number) => {
                    *cursor = exact;
                    scaled(u128::from(number), leaf.unit)
                }
                Number::Other => fraction(cursor.scalar_text()?, leaf.unit),
            }
        }
        Some(b'"') => {
            let text = cursor.string()?;
            match (text.trim(), leaf.meaning) {
                ("", _) => return Ok(Ok(None)),
                // goflow2 writes the network as well, or words if it has no address.
                (text, Meaning::Length) => {
                    let length = text.rsplit_once('/').map_or(text, |(_, length)| length);
                    of_text(length, leaf.unit).or(Ok(0))
                }
                (text, _) => of_text(text, leaf.unit),
            }
        }
        _ => {
            cursor.skip_value()?;
            return Ok(Err(Malformed::WrongType));
        }
    };
    Ok(match parsed {
        Ok(0) if leaf.meaning == Meaning::Length => Ok(None),
        Ok(number) if number <= leaf.max => Ok(Some(number)),
        Ok(_) => Err(Malformed::NumberOutOfRange),
        Err(reason) => Err(reason),
    })
}

fn of_text(text: &str, unit: Unit) -> Result<u64, Malformed> {
    if let Some(digits) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let number = u64::from_str_radix(digits, 16).map_err(|_| Malformed::WrongType)?;
        return scaled(number.into(), unit);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u64 = text.parse().map_err(|_| Malformed::NumberOutOfRange)?;
        return scaled(number.into(), unit);
    }
    fraction(text, unit)
}

fn scaled(number: u128, unit: Unit) -> Result<u64, Malformed> {
    let scaled = number * u128::from(unit.factor) / u128::from(unit.divisor);
    scaled.try_into().map_err(|_| Malformed::NumberOutOfRange)
}

/// A number with a fraction or an exponent, rounded.
fn fraction(text: &str, unit: Unit) -> Result<u64, Malformed> {
    // Other forms that Rust takes: `inf`, `nan`.
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '.')) {
        return Err(Malformed::WrongType);
    }
    let number: f64 = text.parse().map_err(|_| Malformed::WrongType)?;
    let number = (number * unit.factor as f64 / unit.divisor as f64).round();
    // Up to the largest integers that are exact, of which none is written with an exponent.
    if !(0.0..=9_007_199_254_740_992.0).contains(&number) {
        return Err(Malformed::NumberOutOfRange);
    }
    number.to_string().parse().map_err(|_| Malformed::NumberOutOfRange)
}

/// An address, with a port or without; `None` if it is empty or the one that stands for none.
fn any_address(text: &[u8]) -> Result<Option<IpAddr>, Malformed> {
    let parsed = address(text).or_else(|reason| {
        let text = std::str::from_utf8(text).ok();
        let socket = text.and_then(|text| text.parse::<std::net::SocketAddr>().ok());
        socket.map(|socket| Some(socket.ip().to_canonical())).ok_or(reason)
    });
    parsed.map(|address| address.filter(|address| !address.is_unspecified()))
}
