//! IANA's registry of information elements: names and types, for fields that views ask for by name.
//!
//! `iana.csv` has the first columns of <https://www.iana.org/assignments/ipfix> as of 2026-07-22.

use std::{collections::HashMap, sync::LazyLock};

use super::{element::Element, written::Type};

const TABLE: &str = include_str!("iana.csv");

/// How names of what belongs to an end begin, with those of the other end.
const ENDS: [(&str, &str); 2] = [("source", "destination"), ("ingress", "egress")];

/// The elements that have a name.
struct Registry {
    /// Their numbers, names and types. Numbers grow.
    elements: Vec<(u16, &'static str, &'static str)>,
    /// By name.
    numbers: HashMap<&'static str, u16>,
}

/// Read once: each template that comes asks for the elements that views name.
static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let lines = TABLE.lines().skip(1).filter_map(|line| {
        let (number, rest) = line.split_once(',')?;
        let (name, ty) = rest.split_once(',')?;
        Some((number.parse().ok()?, name, ty))
    });
    let mut elements: Vec<_> = lines.collect();
    elements.sort_unstable_by_key(|&(number, ..)| number);
    let numbers = elements.iter().map(|&(number, name, _)| (name, number)).collect();
    Registry { elements, numbers }
});

impl Registry {
    fn number(&self, name: &str) -> Option<u16> {
        self.numbers.get(name).copied()
    }

    /// The name and the type of an element.
    fn of(&self, number: u16) -> Option<(&'static str, &'static str)> {
        let place = self.elements.binary_search_by_key(&number, |(number, ..)| *number).ok()?;
        let (_, name, ty) = self.elements[place];
        Some((name, ty))
    }
}

/// The names of all elements.
pub fn element_names() -> impl Iterator<Item = &'static str> {
    REGISTRY.elements.iter().map(|&(_, name, _)| name)
}

/// Whether there is an element that a name stands for; see [`element`].
pub fn is_element(name: &str) -> bool {
    element(name).is_some()
}

/// The element that a name stands for, and what its values are: IANA's name, its number, or the number
/// of an enterprise and that of its element (`9_12235`).
pub(super) fn element(name: &str) -> Option<(Element, Type)> {
    let number = match name.split_once('_') {
        Some((enterprise, number)) if is_digits(enterprise) && is_digits(number) => {
            let (enterprise, number) = (enterprise.parse().ok()?, number.parse().ok()?);
            let element = Element { enterprise, number };
            // Numbers of all bits stand for v9's scopes.
            return (enterprise != u32::MAX).then_some((element, Type::Unknown));
        }
        _ if is_digits(name) => name.parse().ok()?,
        _ => REGISTRY.number(name)?,
    };
    let ty = REGISTRY.of(number).map_or(Type::Unknown, |(_, ty)| Type::of(ty));
    Some((Element::iana(number), ty))
}

/// The element that has the same at the other end of a flow, if there is one.
pub(super) fn opposite(element: Element) -> Option<Element> {
    if element != Element::iana(element.number) {
        return None;
    }
    let (name, _) = REGISTRY.of(element.number)?;
    let ends = ENDS.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    let mut others = ends.filter_map(|(one, other)| Some((other, name.strip_prefix(one)?)));
    let (other, rest) = others.next()?;
    REGISTRY.number(&format!("{other}{rest}")).map(Element::iana)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
