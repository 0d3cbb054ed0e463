//! What is done with each field of a record, for one plan.

use std::sync::Arc;

use crate::{
    flow::{
        json_values::Kind,
        plan::{Plan, Slot},
        pmacct::json_keys,
    },
    schema::{Field, FieldType},
};

use super::schema::{AvroSchema, Type, TypeId};

/// The map with what pmacct's `aggregate_primitives` define.
const CUSTOM_PRIMITIVES: &str = "custom_primitives";

/// A schema, compiled for a plan.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) schema: Arc<AvroSchema>,
    /// By field of the record, in their order.
    pub(super) steps: Vec<Step>,
}

/// What is done with the value of a field.
#[derive(Debug)]
pub(super) enum Step {
    /// It is read over.
    Skip(TypeId),
    /// It goes into a slot.
    Take(TypeId, Target),
    /// The values of its map's keys go into slots. The map has values of the type.
    TakeOfMap(TypeId, Vec<(Box<str>, Target)>),
}

/// A slot of a row, and how its values may be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    pub(super) slot: Slot,
    pub(super) kind: Kind,
    /// The largest number.
    pub(super) max: u64,
}

impl Target {
    fn new(slot: Slot, field: &Field) -> Self {
        let max = match field.value_type() {
            FieldType::Number { max } => max,
            _ => 0,
        };
        Target { slot, kind: Kind::of(field), max }
    }
}

impl Program {
    pub(super) fn new(schema: &Arc<AvroSchema>, plan: &Plan) -> Self {
        let step = |(name, id): &(Box<str>, TypeId)| {
            let is_called = |field: &Field| json_keys(field).any(|key| *key == **name);
            // As of JSON: of two fields with the same name, the first one gets the values.
            let wanted = plan.fields().find(|(_, field)| is_called(field));
            match (wanted, schema.of(*id)) {
                (Some((slot, field)), _) => Step::Take(*id, Target::new(slot, field)),
                (None, Type::Map(values)) if **name == *CUSTOM_PRIMITIVES => {
                    let named = plan.fields().filter_map(|(slot, field)| match field {
                        Field::Named(key) if !schema.has_field(key) => {
                            Some((Box::from(&**key), Target::new(slot, field)))
                        }
                        _ => None,
                    });
                    Step::TakeOfMap(*values, named.collect())
                }
                _ => Step::Skip(*id),
            }
        };
        Program { schema: Arc::clone(schema), steps: schema.fields().iter().map(step).collect() }
    }
}
