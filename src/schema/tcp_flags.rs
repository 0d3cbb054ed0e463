//! TCP flags by name.

use std::sync::LazyLock;

/// The flags from the lowest bit on (RFC 9293, 3.1).
const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

/// The names of every set of flags, joined by `|`.
static SETS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let names = |set: usize| NAMES.iter().enumerate().filter(move |(bit, _)| set >> bit & 1 == 1);
    let joined = |set| names(set).map(|(_, name)| *name).collect::<Vec<_>>().join("|");
    (0..1 << NAMES.len()).map(joined).collect()
});

/// The names of a set of flags, joined by `|`. Bits beyond the header's last byte of flags don't
/// count.
pub(super) fn names(set: u32) -> &'static str {
    &SETS[set as usize % SETS.len()]
}

/// The bit of a flag, as a format may call it; `None` if there is no such flag.
pub fn flag(name: &str) -> Option<u32> {
    let place = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    Some(1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_flags_are_named_by_all_their_flags() {
        assert_eq!(names(0), "");
        assert_eq!(names(0x12), "SYN|ACK");
        assert_eq!(names(0xff), "FIN|SYN|RST|PSH|ACK|URG|ECE|CWR");
        assert_eq!((flag("psh"), flag("XMAS")), (Some(8), None));
    }
}
