//! Removes our secrets from texts that come from outside.
//!
//! A server can repeat a password that it was sent, for example in an error page that shows the
//! request. Its messages are shown to people without a login, so [`Mask`] replaces every secret
//! that was sent, in whatever form it comes back: verbatim, in Base64 (also within a longer text
//! that was encoded as a whole), in hexadecimal, and each of these percent-encoded or with the
//! escapes of JSON and HTML.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use openssl::base64;

use crate::hex;

/// What replaces a secret.
const MASKED: &[u8] = b"<secret>";

/// How many secrets are remembered; the least recently sent one is forgotten first. A request has a
/// handful, so those of many earlier requests are still known.
const REMEMBERED: usize = 64;

/// Shorter secrets are not masked: they would occur in many other words. The header in which they
/// were sent (in Base64 with the user, or after `Bearer`) is longer, and is masked.
const SHORTEST: usize = 4;

/// The beginning of a secret is masked if it is at least this long, even if the rest is missing; at
/// the end of a text, [`SHORTEST`] is enough.
const SHORTEST_PART: usize = 8;

/// The longest escape of a character: two `\uXXXX`.
const LONGEST_ESCAPE: usize = 12;

/// The secrets that were sent to one endpoint or to the brokers.
#[derive(Default)]
pub(crate) struct Mask {
    /// The most recently sent one comes first.
    secrets: Mutex<VecDeque<Arc<str>>>,
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// Remembers a secret that is about to be sent. Earlier ones stay known, since an answer may be
    /// to an earlier request.
    pub(crate) fn learn(&self, secret: &str) {
        if secret.len() < SHORTEST {
            return;
        }
        let mut secrets = self.secrets();
        if let Some(known) = secrets.iter().position(|known| **known == *secret) {
            if let Some(known) = secrets.remove(known) {
                secrets.push_front(known);
            }
            return;
        }
        secrets.truncate(REMEMBERED - 1);
        secrets.push_front(secret.into());
    }

    /// The beginning of `text` without secrets: at least `bytes` of it, if it is that long. The
    /// text may have been cut off anywhere, even within a secret.
    pub(crate) fn apply(&self, text: &[u8], bytes: usize) -> Vec<u8> {
        let secrets: Vec<Arc<str>> = self.secrets().iter().cloned().collect();
        let forms: Vec<Vec<char>> = secrets.iter().flat_map(|secret| forms(secret)).collect();
        let mut out = Vec::new();
        // The end of the secret that is being masked.
        let mut masked_to = 0;
        for (at, &byte) in text.iter().enumerate() {
            if at >= masked_to && out.len() >= bytes {
                break;
            }
            if let Some(end) = forms.iter().filter_map(|form| find(form, text, at)).max() {
                if at >= masked_to {
                    out.extend_from_slice(MASKED);
                }
                masked_to = masked_to.max(end);
            }
            if at >= masked_to {
                out.push(byte);
            }
        }
        out
    }

    /// A whole text without secrets.
    pub(crate) fn text(&self, text: &str) -> String {
        String::from_utf8_lossy(&self.apply(text.as_bytes(), usize::MAX)).into_owned()
    }

    fn secrets(&self) -> MutexGuard<'_, VecDeque<Arc<str>>> {
        // If a panic interrupts a change, the list only lacks a secret.
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The encodings of a secret, without escapes.
fn forms(secret: &str) -> Vec<Vec<char>> {
    let mut forms = vec![secret.to_owned()];
    let bytes = secret.as_bytes();
    let digits = hex::hex(bytes);
    forms.push(digits.to_uppercase());
    forms.push(digits);
    let unpadded = |bytes: &[u8]| base64::encode_block(bytes).trim_end_matches('=').to_owned();
    let mut base64_forms = vec![unpadded(bytes)];
    // Within a longer text, the secret may begin at any of the three bytes of a group. Characters
    // that also depend on neighbouring bytes are left out.
    for (before, of_neighbours) in [(0, 0), (1, 2), (2, 3)] {
        let mut shifted = vec![0; before];
        shifted.extend_from_slice(bytes);
        let mut encoded = unpadded(&shifted);
        if !shifted.len().is_multiple_of(3) {
            encoded.pop();
        }
        base64_forms.push(encoded.split_off(of_neighbours.min(encoded.len())));
    }
    // The alphabet for URLs (RFC 4648, 5).
    let for_urls: Vec<String> =
        base64_forms.iter().map(|form| form.replace('+', "-").replace('/', "_")).collect();
    forms.extend(base64_forms);
    forms.extend(for_urls);
    forms.retain(|form| form.len() >= SHORTEST);
    forms.sort_unstable();
    forms.dedup();
    forms.into_iter().map(|form| form.chars().collect()).collect()
}

/// The end of the secret in `text` that begins at `at`, or of a beginning of it that is long enough
/// to be masked.
fn find(secret: &[char], text: &[u8], at: usize) -> Option<usize> {
    // Where the next character may begin: `%25` can be read in several ways.
    let mut places = vec![at];
    let mut next = Vec::new();
    for (matched, &expected) in secret.iter().enumerate() {
        next.clear();
        for &place in &places {
            if matched >= SHORTEST && breaks_off(&text[place..]) {
                return Some(text.len());
            }
            ends(expected, text, place, &mut next);
        }
        if next.is_empty() {
            let enough = matched >= SHORTEST_PART && matched * 2 >= secret.len();
            return if enough { places.into_iter().max() } else { None };
        }
        next.sort_unstable();
        next.dedup();
        std::mem::swap(&mut places, &mut next);
    }
    places.into_iter().max()
}

/// Whether the text ends here or within an escape.
fn breaks_off(rest: &[u8]) -> bool {
    match rest {
        [] => true,
        [b'%', rest @ ..] => rest.len() < 2,
        [b'\\' | b'&', rest @ ..] => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"\\#".contains(byte);
            rest.len() + 1 < LONGEST_ESCAPE && rest.iter().all(is_part)
        }
        _ => false,
    }
}

/// Adds to `ends` the end of `expected` at `place`, for each way in which it can be written there.
fn ends(expected: char, text: &[u8], place: usize, ends: &mut Vec<usize>) {
    let rest = &text[place..];
    let mut utf8 = [0; 4];
    // As UTF-8, each byte verbatim or percent-encoded.
    let mut end = 0;
    let is_utf8 = expected.encode_utf8(&mut utf8).bytes().all(|byte| match &rest[end..] {
        [plain, ..] if *plain == byte => {
            end += 1;
            true
        }
        [b'%', high, low, ..] if hex(&[*high, *low]) == Some(u32::from(byte)) => {
            end += 3;
            true
        }
        _ => false,
    });
    if is_utf8 {
        ends.push(place + end);
    }
    match rest {
        // A literal `%` may also be the beginning of its own code.
        [b'%', b'2', b'5', ..] if expected == '%' => ends.push(place + 3),
        // Forms (application/x-www-form-urlencoded).
        [b'+', ..] if expected == ' ' => ends.push(place + 1),
        [b'\\', b'u', ..] => {
            let unit = |at: usize| rest.get(at + 2..at + 6).and_then(hex);
            let mut utf16 = [0; 2];
            let units = expected.encode_utf16(&mut utf16);
            let is_escape = units.iter().enumerate().all(|(number, expected)| {
                rest.get(number * 6..number * 6 + 2) == Some(b"\\u".as_slice())
                    && unit(number * 6) == Some(u32::from(*expected))
            });
            if is_escape {
                ends.push(place + 6 * units.len());
            }
        }
        [b'\\', b'x', high, low, ..] if hex(&[*high, *low]) == Some(u32::from(expected)) => {
            ends.push(place + 4);
        }
        [b'\\', escaped, ..] => {
            let meant = match escaped {
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                other => char::from(*other),
            };
            if meant == expected {
                ends.push(place + 2);
            }
        }
        [b'&', rest @ ..] => {
            let length = rest.iter().take(LONGEST_ESCAPE).position(|byte| *byte == b';');
            let name = length.and_then(|length| rest.get(..length));
            if let Some(name) = name
                && reference(name) == Some(u32::from(expected))
            {
                ends.push(place + name.len() + 2);
            }
        }
        _ => {}
    }
}

/// The character of an HTML character reference.
fn reference(name: &[u8]) -> Option<u32> {
    match name {
        b"amp" => Some(u32::from('&')),
        b"lt" => Some(u32::from('<')),
        b"gt" => Some(u32::from('>')),
        b"quot" => Some(u32::from('"')),
        b"apos" => Some(u32::from('\'')),
        [b'#', b'x' | b'X', digits @ ..] => hex(digits),
        [b'#', digits @ ..] => std::str::from_utf8(digits).ok()?.parse().ok(),
        _ => None,
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    const SECRET: &str = "hunter2 & \"fr\u{e4}nz/+\u{1f511}\"";

    fn masked(secrets: &[&str], text: impl AsRef<[u8]>) -> String {
        let mask = Mask::default();
        for secret in secrets {
            mask.learn(secret);
        }
        String::from_utf8(mask.apply(text.as_ref(), 1 << 20)).expect("UTF-8")
    }

    fn percent_encoded(text: &str) -> String {
        hex::hex(text.as_bytes()).as_bytes().chunks(2).fold(String::new(), |text, digits| {
            text + "%" + std::str::from_utf8(digits).expect("digits")
        })
    }

    #[test]
    fn a_secret_is_masked_in_every_form() {
        let form: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        let json = serde_json::to_string(SECRET).expect("JSON");
        let (mut ascii, mut references) = (String::new(), String::new());
        for unit in SECRET.encode_utf16() {
            write!(ascii, "\\u{unit:04x}").expect("written");
        }
        for each in SECRET.chars() {
            write!(references, "&#{};", u32::from(each)).expect("written");
        }
        let hex = hex::hex(SECRET.as_bytes());
        let base64 = base64::encode_block(SECRET.as_bytes());
        let html = SECRET.replace('&', "&amp;").replace('"', "&quot;");
        for form in [
            SECRET,
            &form,
            &form.to_lowercase(),
            &form.replace('+', "%20"),
            &percent_encoded(SECRET),
            &json[1..json.len() - 1],
            &SECRET.replace('/', "\\/"),
            &ascii,
            &html,
            &references,
            &hex,
            &hex.to_uppercase(),
            base64.trim_end_matches('='),
            &percent_encoded(base64.trim_end_matches('=')),
            base64.trim_end_matches('=').replace('+', "-").replace('/', "_").as_str(),
        ] {
            let shown = masked(&["other", SECRET], format!("before {form}, after"));
            assert!(shown == "before <secret>, after", "{form} is {shown}");
        }
    }

    #[test]
    fn a_secret_is_masked_within_a_text_that_was_encoded_as_a_whole() {
        for before in ["", "a", "ab", "abc", "user:"] {
            let encoded = base64::encode_block(format!("{before}correct horse: 1").as_bytes());
            let shown = masked(&["correct horse"], &encoded);
            let rest = shown.replace("<secret>", "");
            assert!(shown.contains("<secret>") && encoded.len() - rest.len() >= 15, "{shown}");
        }
    }

    #[test]
    fn a_secret_that_is_cut_off_is_masked() {
        let secret = "correct horse & battery staple";
        for form in [secret.to_owned(), percent_encoded(secret), secret.replace('&', "&amp;")] {
            for length in 0..form.len() {
                let shown = masked(&[secret], format!("sent: {}", &form[..length]));
                let shown = shown.strip_prefix("sent: ").expect("the beginning stays");
                let in_vain = shown.replace("<secret>", "");
                assert!(in_vain.len() < SHORTEST * 3, "{length} of {form}: {shown}");
            }
        }
        assert_eq!(
            masked(&[secret], "the token 'correct horse & bat...'"),
            "the token '<secret>...'"
        );
    }

    #[test]
    fn what_is_no_secret_is_left_as_it_is() {
        for (secrets, text) in [
            (&["hunter2"][..], "hunting hunters 20% of the time &c. \\ &amp; \\u12 100%"),
            (&["abc", ""], "abc"),
            (&[], "hunter2"),
        ] {
            assert_eq!(masked(secrets, text), text);
        }
        assert_eq!(Mask::default().apply(b"\xff\x00", 10), b"\xff\x00");
    }

    #[test]
    fn overlapping_secrets_are_masked_together() {
        assert_eq!(masked(&["abcdef", "defghi"], "-abcdefghi-"), "-<secret>-");
        assert_eq!(masked(&["abcdef"], "abcdefabcdef"), "<secret><secret>");
    }

    #[test]
    fn no_more_of_the_text_is_looked_at_than_is_shown() {
        let mask = Mask::default();
        mask.learn("hunter2");
        let shown = mask.apply(b"123456 hunter2 hunter2", 10);
        assert_eq!(shown, b"123456 <secret>");
    }

    #[test]
    fn secrets_that_were_sent_long_ago_are_forgotten_and_those_in_use_are_not() {
        let mask = Mask::default();
        mask.learn("old one");
        for number in 0..REMEMBERED {
            mask.learn("in use");
            mask.learn(&format!("{number:02} signature"));
        }
        let shown = mask.apply(b"old one, in use, 00 signature, 63 signature", 100);
        assert_eq!(shown, b"old one, <secret>, 00 signature, <secret>");
    }
}
