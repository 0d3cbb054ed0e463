//! Which fields of a record are wanted, and in which slot of a row each one goes.

use crate::schema::Field;

/// Where the value of a field stands in the [`Row`](super::Row)s of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(u16);

impl Slot {
    /// [`Field::Bytes`], which is in every plan: a record without it is not a flow.
    pub const BYTES: Slot = Slot(0);

    /// The slot with this place in a row.
    fn at(index: usize) -> Self {
        Slot(u16::try_from(index).expect("fewer than 65,536 fields"))
    }

    /// The slot's place in a row.
    pub(super) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The fields that are wanted, each with its slot. Decoders are made from it, and nothing else is
/// read from records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// By slot; each field once.
    fields: Vec<Field>,
}

impl Plan {
    /// A plan for these fields and [`Field::Bytes`].
    pub fn new(fields: impl IntoIterator<Item = Field>) -> Self {
        let mut plan = Plan { fields: vec![Field::Bytes] };
        for field in fields {
            plan.add(field);
        }
        plan
    }

    /// The slot of a field, which is wanted from now on.
    pub fn add(&mut self, field: Field) -> Slot {
        self.slot(&field).unwrap_or_else(|| {
            let slot = Slot::at(self.fields.len());
            self.fields.push(field);
            slot
        })
    }

    /// The slot of a field, if it is wanted.
    pub fn slot(&self, field: &Field) -> Option<Slot> {
        self.fields.iter().position(|wanted| wanted == field).map(Slot::at)
    }

    /// All fields with their slots, in the order of the slots.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (Slot, &Field)> {
        self.fields.iter().enumerate().map(|(index, field)| (Slot::at(index), field))
    }
}
