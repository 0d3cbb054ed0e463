//! The templates of a stream.

use std::collections::BTreeMap;

use crate::flow::plan::Plan;

use super::{layout::Layout, program::Program, size::Size, template::Template};

/// How many templates a stream may have. More than any exporter needs: at the bound, new ones are not
/// taken.
pub(super) const MAX_TEMPLATES: usize = 4096;

/// How many different definitions of a template are kept: of exporters that share an address, such as
/// behind NAT.
const MAX_VARIANTS: usize = 4;

/// How many ports are remembered that have sent a definition.
pub(super) const MAX_PORTS: usize = 8;

/// The templates of a stream, by number.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    by_number: BTreeMap<u16, Vec<Variant>>,
    size: Size,
}

/// What a new definition changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defined {
    /// Nothing.
    Known,
    /// What data is decoded with.
    New,
    /// Nothing: there is no room for it.
    Refused,
}

/// A definition of a template.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) template: Template,
    pub(super) layout: Layout,
    /// The ports that have sent it, the last one last.
    ports: Vec<u16>,
    /// What is done with its records, and for what it is compiled.
    program: Option<(Purpose, Program)>,
}

/// For what a program is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purpose {
    /// The plan's number.
    pub(super) plan: u64,
    /// Whether records name the original exporters of flows.
    pub(super) names_exporters: bool,
}

impl Definitions {
    /// Learns a definition, sent from a port; only a known one if `is_full`.
    pub(super) fn define(
        &mut self,
        id: u16,
        port: u16,
        template: Template,
        is_full: bool,
    ) -> Defined {
        let variants = self.by_number.get(&id).map_or(&[][..], |variants| variants);
        let same = variants.iter().position(|variant| variant.template == template);
        let has_room = !variants.is_empty() || self.by_number.len() < MAX_TEMPLATES;
        if same.is_none() && (is_full || !has_room) {
            return Defined::Refused;
        }
        let variants = self.by_number.entry(id).or_default();
        self.size -= size_of(variants);
        // A port that is new to it is a change, also because older definitions lose that port.
        let is_known = same
            .is_some_and(|same| same + 1 == variants.len() && variants[same].ports.contains(&port));
        let newest = match same {
            Some(same) => variants.remove(same),
            None => Variant::new(template),
        };
        // The newest definition of a port is the only one that it still uses.
        for variant in &mut *variants {
            variant.ports.retain(|each| *each != port);
        }
        variants.retain(|variant| !variant.ports.is_empty());
        if variants.len() == MAX_VARIANTS {
            variants.remove(0);
        }
        variants.push(newest.sent_from(port));
        self.size += size_of(variants);
        if is_known { Defined::Known } else { Defined::New }
    }

    /// Forgets the definition that [`Definitions::find`] finds.
    pub(super) fn withdraw(&mut self, id: u16, port: u16) {
        let Some(variants) = self.by_number.get_mut(&id) else { return };
        if let Some(place) = place(variants, port) {
            self.size -= size_of(&[variants.remove(place)]);
        }
        if variants.is_empty() {
            self.by_number.remove(&id);
        }
    }

    /// Forgets all templates, of flows or of options.
    pub(super) fn withdraw_all(&mut self, options: bool) {
        self.by_number.retain(|_, variants| {
            self.size -= size_of(variants);
            variants.retain(|variant| variant.template.is_options != options);
            self.size += size_of(variants);
            !variants.is_empty()
        });
    }

    /// The definition for data from a port: the last one that was sent from there, or else from any.
    pub(super) fn find(&mut self, id: u16, port: u16) -> Option<&mut Variant> {
        let variants = self.by_number.get_mut(&id)?;
        place(variants, port).and_then(|place| variants.get_mut(place))
    }

    /// Whether a template is one of options, by its newest definition; `None` if there is none.
    pub(super) fn is_options(&self, id: u16) -> Option<bool> {
        self.by_number.get(&id)?.last().map(|variant| variant.template.is_options)
    }

    /// What they take.
    pub(super) fn size(&self) -> Size {
        self.size
    }

    /// All definitions with their numbers and the ports that sent them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u16, &Template, &[u16])> {
        self.by_number.iter().flat_map(|(id, variants)| {
            variants.iter().map(|variant| (*id, &variant.template, &variant.ports[..]))
        })
    }
}

fn size_of(variants: &[Variant]) -> Size {
    let fields = variants.iter().map(|variant| variant.template.fields.len()).sum();
    Size { templates: variants.len(), fields, ..Size::default() }
}

fn place(variants: &[Variant], port: u16) -> Option<usize> {
    let own = variants.iter().rposition(|variant| variant.ports.contains(&port));
    own.or(variants.len().checked_sub(1))
}

impl Variant {
    fn new(template: Template) -> Self {
        let layout = Layout::new(&template);
        Variant { template, layout, ports: Vec::new(), program: None }
    }

    fn sent_from(mut self, port: u16) -> Self {
        self.ports.retain(|each| *each != port);
        if self.ports.len() == MAX_PORTS {
            self.ports.remove(0);
        }
        self.ports.push(port);
        self
    }

    /// Its layout, and what is done with its records for a plan.
    pub(super) fn program(&mut self, purpose: Purpose, plan: &Plan) -> (&Layout, &Program) {
        let compiled = self.program.take().filter(|(compiled, _)| *compiled == purpose);
        let compiled = compiled.unwrap_or_else(|| {
            (purpose, Program::new(&self.template, plan, purpose.names_exporters))
        });
        let (_, program) = self.program.insert(compiled);
        (&self.layout, program)
    }
}
