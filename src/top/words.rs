//! How values are written.

const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The most characters of a text that are shown.
const LONGEST: usize = 200;

/// A text of others without what a terminal would obey or what changes the order of the others:
/// control characters, marks of direction, and what has no width.
pub(super) fn clean(text: &str) -> String {
    let is_shown = |letter: &char| {
        !letter.is_control()
            && !matches!(letter, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    text.chars().filter(is_shown).take(LONGEST).collect()
}

/// A number with three digits that count and an SI prefix: "12.3 k".
fn short(mut value: f64) -> String {
    let mut power = 0;
    while value.abs() >= 999.5 && power < PREFIXES.len() - 1 {
        value /= 1000.0;
        power += 1;
    }
    let digits = match value.abs() {
        // Whole numbers below a thousand.
        _ if power == 0 && value.fract() == 0.0 => 0,
        99.95.. => 0,
        9.995.. => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", PREFIXES[power])
}

/// A rate in one of the API's units: "12.3 Mbit/s".
pub(super) fn rate(value: f64, unit: &str) -> String {
    let text = short(value);
    match unit {
        "bits_per_second" => format!("{text}bit/s"),
        "packets_per_second" => format!("{} pkt/s", text.trim()),
        _ => format!("{} flows/s", text.trim()),
    }
}

/// What a measure's rates are called.
pub(super) fn unit_name(measure: &str) -> &str {
    if measure == "bytes" { "bits" } else { measure }
}

pub(super) fn percent(share: Option<f64>) -> String {
    share.map_or_else(
        || "–".to_owned(),
        |share| {
            let digits = usize::from(share < 0.0995);
            format!("{:.digits$} %", share * 100.0)
        },
    )
}

pub(super) fn mebibytes(bytes: f64) -> String {
    format!("{:.0} MiB", bytes / f64::from(1 << 20))
}

/// A span of time: "1.5 s", "12 min", "3.2 h", "14 days".
pub(super) fn span(seconds: f64) -> String {
    match seconds {
        ..10.0 => format!("{:.1} s", seconds.max(0.0)),
        ..120.0 => format!("{seconds:.0} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// The newest values as a line of so many blocks, of which the highest is the largest value.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    let values = &values[values.len().saturating_sub(width)..];
    let largest = values.iter().copied().fold(0.0, f64::max);
    let block = |value: &f64| {
        let level = if largest > 0.0 { value / largest * 7.0 } else { 0.0 };
        // From 0 to 7.
        let level = (0..7).filter(|above| level >= f64::from(*above) + 0.5).count();
        LEVELS[level]
    };
    values.iter().map(block).collect()
}

/// What a class is called.
pub(super) fn class_name(class: &str) -> &str {
    match class {
        "receive" => "In",
        "transmit" => "Out",
        "internal" => "Internal",
        "transit" => "Transit",
        other => other,
    }
}

/// What a label is called in headings and filters.
pub(super) fn label_name(label: &str) -> String {
    let known = match label {
        "remote_as" => "Remote AS",
        "remote_country" => "Countries",
        "service_port" => "Services",
        "application" => "Applications",
        "protocol" => "Protocols",
        "hostname" => "Routers",
        "exporter" => "Exporters",
        "site" => "Sites",
        "remote_address" => "Remote addresses",
        "remote_prefix" => "Remote networks",
        "input_interface_name" => "Input interfaces",
        "output_interface_name" => "Output interfaces",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let words: Vec<_> = label
        .split('_')
        .map(|word| if word == "as" { "AS".to_owned() } else { clean(word) })
        .collect();
    let words = words.join(" ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A value of a label as people read it: its name, and what it is.
pub(super) fn value_name(label: &str, value: &str, name: Option<&str>, is_other: bool) -> String {
    let value = clean(value);
    if is_other && value == "other" {
        return "other (no series of its own)".to_owned();
    }
    if label.ends_with("_as") {
        return match name.map(clean) {
            _ if value == "0" => "no AS (AS 0)".to_owned(),
            Some(name) if !name.is_empty() => format!("{name} AS{value}"),
            _ => format!("AS{value}"),
        };
    }
    if value.is_empty() { "unknown".to_owned() } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_that_count() {
        let bits = |value| rate(value, "bits_per_second");
        assert_eq!(bits(0.0), "0 bit/s");
        assert_eq!(bits(999.0), "999 bit/s");
        assert_eq!(bits(1234.0), "1.23 kbit/s");
        assert_eq!(bits(99_960_000.0), "100 Mbit/s");
        assert_eq!(bits(1.5e12), "1.50 Tbit/s");
        assert_eq!(rate(1.5, "packets_per_second"), "1.50 pkt/s");
        assert_eq!(percent(Some(0.0941)), "9.4 %");
        assert_eq!(percent(Some(0.5)), "50 %");
        assert_eq!(sparkline(&[1.0, 0.0, 4.0, 8.0], 3), "▁▅█");
        assert_eq!(span(90_000.0), "25.0 h");
    }

    #[test]
    fn nothing_of_others_moves_the_cursor() {
        assert_eq!(clean("a\u{1b}[2J\u{202e}b\u{200b}\r\nc\u{9b}"), "a[2Jbc");
        assert_eq!(clean(&"x".repeat(1000)).len(), LONGEST);
    }
}
