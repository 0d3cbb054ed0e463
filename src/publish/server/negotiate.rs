//! Content negotiation: `Accept` and `Accept-Encoding` (RFC 9110, section 12.5).

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HeaderMap, HeaderName};

use crate::publish::text::Format;

/// The format that the client prefers. If it accepts both equally without naming `OpenMetrics`, or
/// accepts neither, this is the text format, which every client can show.
pub(super) fn format(headers: &HeaderMap) -> Format {
    let text = quality(headers, "text", "plain", "0.0.4");
    let open = quality(headers, "application", "openmetrics-text", "1.0.0");
    let named = open.specificity >= NAMED;
    let preferred =
        open.weight > text.weight || named && open.weight > 0.0 && open.weight >= text.weight;
    if preferred { Format::OpenMetrics } else { Format::Prometheus }
}

/// Whether to compress with gzip: the client accepts it, and prefers it to or likes it as much as
/// no compression.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut identity, mut any) = (None, None, None);
    for item in items(headers, ACCEPT_ENCODING) {
        let (coding, parameters) = split(item);
        let weight = weight(parameters);
        if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(weight);
        } else if coding.eq_ignore_ascii_case("identity") {
            identity = Some(weight);
        } else if coding == "*" {
            any = Some(weight);
        }
    }
    let gzip = gzip.or(any).unwrap_or(0.0);
    gzip > 0.0 && gzip >= identity.unwrap_or(0.0)
}

/// The specificity of a range that names the media type.
const NAMED: u8 = 2;

/// How much the client wants a media type.
#[derive(Debug, Clone, Copy, Default)]
struct Quality {
    /// How specific the matching range is: 0 for `*/*`, 1 for `type/*`, [`NAMED`] for the type, one
    /// more with the version.
    specificity: u8,
    /// From 0 (not at all) to 1.
    weight: f32,
}

/// The weight of the most specific range that matches the media type in this version; the highest
/// if several are equally specific.
fn quality(headers: &HeaderMap, kind: &str, subtype: &str, version: &str) -> Quality {
    let mut best: Option<Quality> = None;
    for item in items(headers, ACCEPT) {
        let (range, parameters) = split(item);
        let Some((range_kind, range_subtype)) = range.split_once('/') else { continue };
        let specificity = if range == "*/*" {
            0
        } else if !range_kind.eq_ignore_ascii_case(kind) {
            continue;
        } else if range_subtype == "*" {
            1
        } else if !range_subtype.eq_ignore_ascii_case(subtype) {
            continue;
        } else {
            match parameter(parameters, "version") {
                None => NAMED,
                Some(asked) if asked == version => NAMED + 1,
                Some(_) => continue,
            }
        };
        let found = Quality { specificity, weight: weight(parameters) };
        let better = best
            .is_none_or(|best| (found.specificity, found.weight) > (best.specificity, best.weight));
        if better {
            best = Some(found);
        }
    }
    best.unwrap_or_default()
}

/// The items of a list header, from all its lines.
fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter();
    lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','))
}

/// An item's value and its parameters.
fn split(item: &str) -> (&str, &str) {
    let (value, parameters) = item.split_once(';').unwrap_or((item, ""));
    (value.trim(), parameters)
}

fn parameter<'p>(parameters: &'p str, name: &str) -> Option<&'p str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The weight `q`: 1 if it is missing, 0 if it is invalid.
fn weight(parameters: &str) -> f32 {
    match parameter(parameters, "q").map(str::parse::<f32>) {
        None => 1.0,
        Some(Ok(weight)) if (0.0..=1.0).contains(&weight) => weight,
        Some(_) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn the_format_is_the_one_the_client_wants_most() {
        use Format::{OpenMetrics, Prometheus};
        for (lines, expected) in [
            (&[][..], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"], Prometheus),
            // What Prometheus 2.42 and 3 send.
            (
                &[
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ],
                OpenMetrics,
            ),
            (
                &[
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                ],
                OpenMetrics,
            ),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["APPLICATION/OpenMetrics-Text; Version=\"1.0.0\""], OpenMetrics),
            (&["application/openmetrics-text, text/plain"], OpenMetrics),
            (&["text/plain;q=0.4", "application/openmetrics-text;q=0.5"], OpenMetrics),
            (&["application/openmetrics-text;q=0.4, text/plain;q=0.5"], Prometheus),
            (&["application/openmetrics-text;q=0"], Prometheus),
            (&["application/openmetrics-text;q=none"], Prometheus),
            (&["application/openmetrics-text;version=2.0.0, */*;q=0.1"], Prometheus),
            (&["application/*"], OpenMetrics),
            (&["text/*"], Prometheus),
            (&["application/openmetrics-text;q=0.1, */*;q=0.9"], Prometheus),
            (&["image/png"], Prometheus),
            (&["nonsense"], Prometheus),
        ] {
            assert_eq!(format(&headers(&ACCEPT, lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn gzip_is_used_where_it_is_accepted() {
        for (lines, expected) in [
            (&[][..], false),
            (&["gzip"], true),
            (&["deflate, GZIP;q=0.5"], true),
            (&["br", "x-gzip"], true),
            (&["*"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["gzip;q=0.2, identity;q=0.8"], false),
            (&["gzip; q=1.0, identity; q=0.5, *;q=0"], true),
            (&["identity"], false),
            (&["deflate"], false),
            (&[""], false),
        ] {
            assert_eq!(gzip(&headers(&ACCEPT_ENCODING, lines)), expected, "{lines:?}");
        }
    }
}
