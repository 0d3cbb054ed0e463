//! IANA's registry of information elements: names and types, for fields that views ask for by name.
//!
//! `iana.csv` has the first columns of <https://www.iana.org/assignments/ipfix> as of 2026-07-22.

use super::{element::Element, written::Type};

const TABLE: &str = include_str!("iana.csv");

/// How names of what belongs to an end begin, with those of the other end.
const ENDS: [(&str, &str); 2] = [("source", "destination"), ("ingress", "egress")];

/// All elements that have a name: number, name and type.
fn all() -> impl Iterator<Item = (u16, &'static str, &'static str)> {
    TABLE.lines().skip(1).filter_map(|line| {
        let (number, rest) = line.split_once(',')?;
        let (name, ty) = rest.split_once(',')?;
        Some((number.parse().ok()?, name, ty))
    })
}

/// The names of all elements.
pub fn element_names() -> impl Iterator<Item = &'static str> {
    all().map(|(_, name, _)| name)
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
        _ => all().find(|(_, known, _)| *known == name)?.0,
    };
    let ty =
        all().find(|(known, ..)| *known == number).map_or(Type::Unknown, |(.., ty)| Type::of(ty));
    Some((Element::iana(number), ty))
}

/// The element that has the same at the other end of a flow, if there is one.
pub(super) fn opposite(element: Element) -> Option<Element> {
    let (_, name, _) = all().find(|(number, ..)| Element::iana(*number) == element)?;
    let ends = ENDS.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]);
    let mut others = ends.filter_map(|(one, other)| Some((other, name.strip_prefix(one)?)));
    let (other, rest) = others.next()?;
    let found = all().find(|(_, name, _)| name.strip_prefix(other) == Some(rest))?;
    Some(Element::iana(found.0))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
