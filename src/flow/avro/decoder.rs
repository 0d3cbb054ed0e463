//! Decodes messages of Avro.

use hashbrown::HashMap;

use crate::flow::{
    plan::Plan,
    quote::quoted,
    reason::{Malformed, Skipped},
    record::Record,
    row::RowBuffer,
};

use super::{
    program::{Program, Step},
    reader::{Blocks, DataError, Reader},
    schemas::KnownSchema,
    source::{AvroSource, FRAME_BYTES, framed_id},
};

/// How many schemas of a registry stay compiled.
const MOST_PROGRAMS: usize = 256;

/// Decodes pmacct's Avro, for one plan.
#[derive(Debug)]
pub(in crate::flow) struct Avro {
    source: AvroSource,
    plan: Plan,
    values: RowBuffer,
    /// By the id of the schema; that of a file has 0.
    programs: HashMap<u32, Program>,
    /// What was last found out of an id without a program.
    refused: Option<(u32, Malformed)>,
}

impl Avro {
    /// A decoder for the fields of a plan.
    pub(in crate::flow) fn new(source: &AvroSource, plan: &Plan) -> Self {
        let mut programs = HashMap::new();
        if let AvroSource::File(schema) = source {
            programs.insert(0, Program::new(schema, plan));
        }
        Avro {
            source: source.clone(),
            plan: plan.clone(),
            values: RowBuffer::new(plan),
            programs,
            refused: None,
        }
    }

    /// Whether nothing is known of the schema of a message yet. It is wanted then.
    pub(in crate::flow) fn awaits(&mut self, message: &[u8]) -> bool {
        let (AvroSource::Registry(schemas), Some(id)) = (&self.source, framed_id(message)) else {
            return false;
        };
        if self.programs.contains_key(&id) {
            return false;
        }
        match schemas.find(id) {
            None => return true,
            Some(KnownSchema::Refused(reason)) => self.refused = Some((id, reason)),
            Some(KnownSchema::Schema(schema)) => {
                if self.programs.len() >= MOST_PROGRAMS {
                    self.programs.clear();
                }
                self.programs.insert(id, Program::new(&schema, &self.plan));
            }
        }
        false
    }

    /// Decodes all records in `message` and hands each to `sink`, in order: all of them or none.
    pub(in crate::flow) fn decode(&mut self, message: &[u8], sink: &mut impl FnMut(Record<'_>)) {
        if message.is_empty() {
            sink(Record::Skipped(Skipped::Empty));
            return;
        }
        if let Err(reason) = self.try_decode(message, sink) {
            sink(Record::Malformed(reason, &quoted(message)));
        }
    }

    fn try_decode(
        &mut self,
        message: &[u8],
        sink: &mut impl FnMut(Record<'_>),
    ) -> Result<(), Malformed> {
        let (id, data, is_framed) = match &self.source {
            AvroSource::None => return Err(Malformed::UnknownSchema),
            AvroSource::File(_) => (0, message, false),
            AvroSource::Registry(_) => {
                let id = framed_id(message).ok_or(Malformed::UnknownFormat)?;
                if self.awaits(message) {
                    return Err(Malformed::UnknownSchema);
                }
                (id, &message[FRAME_BYTES..], true)
            }
        };
        let Some(program) = self.programs.get(&id) else {
            let reason = self.refused.filter(|(of, _)| *of == id).map(|(_, reason)| reason);
            return Err(reason.unwrap_or(Malformed::UnknownSchema));
        };
        check(program, data, is_framed).map_err(|DataError| Malformed::Syntax)?;
        let mut reader = Reader::new(data);
        loop {
            self.values.clear();
            // It was read over without an error.
            read(program, &mut reader, &mut self.values).map_err(|DataError| Malformed::Syntax)?;
            let text;
            sink(match self.values.check() {
                _ if program.schema.is_marker() => Record::Skipped(Skipped::Marker),
                Ok(None) => Record::Flow(self.values.row("")),
                Ok(Some(reason)) => Record::Skipped(reason),
                Err(reason) => {
                    text = quoted(data);
                    Record::Malformed(reason, &text)
                }
            });
            if reader.rest.is_empty() {
                return Ok(());
            }
        }
    }
}

/// Whether a message is a record of the schema, or several ones.
fn check(program: &Program, data: &[u8], is_one: bool) -> Result<(), DataError> {
    let schema = &program.schema;
    let mut reader = Reader::new(data);
    loop {
        let before = reader.rest.len();
        for (_, id) in schema.fields() {
            reader.skip(schema, *id)?;
        }
        if reader.rest.is_empty() {
            return Ok(());
        }
        if is_one || reader.rest.len() == before {
            return Err(DataError);
        }
    }
}

/// Reads a record.
#[inline]
fn read(
    program: &Program,
    reader: &mut Reader<'_>,
    values: &mut RowBuffer,
) -> Result<(), DataError> {
    let schema = &program.schema;
    for step in &program.steps {
        match step {
            Step::Skip(id) => reader.skip(schema, *id)?,
            Step::Take(id, target) => reader.take_value(schema, *id, *target, values)?,
            Step::TakeOfMap(id, targets) => {
                let mut blocks = Blocks::default();
                while reader.has_next(&mut blocks)? {
                    let key = reader.bytes()?;
                    match targets.iter().find(|(name, _)| name.as_bytes() == key) {
                        Some((_, target)) => reader.take_value(schema, *id, *target, values)?,
                        None => reader.skip(schema, *id)?,
                    }
                }
            }
        }
    }
    Ok(())
}
