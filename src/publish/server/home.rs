//! The status page at `/`: what is counted, the state of each component, and links.

use super::state::ServerState;

const STYLE: &str = include_str!("home.css");

/// The page, in HTML that loads nothing else.
pub(super) fn render(state: &ServerState) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let about = escaped(&state.about.borrow());
    let snapshot = state.reader.newest();
    let (series, age) = match &snapshot {
        Some(snapshot) => (
            grouped(snapshot.len()),
            format!("as of {} s ago", grouped(snapshot.taken.elapsed().as_secs() as usize)),
        ),
        None => ("none yet".to_owned(), "nothing is published yet".to_owned()),
    };
    let mut components = String::new();
    for (name, state) in state.health.components() {
        let (name, word) = (escaped(&name), state.word());
        let reason = escaped(state.reason().unwrap_or_default());
        components.extend([
            "<tr><th scope=\"row\">",
            &name,
            "</th><td><span class=\"state ",
            word,
            "\">",
            word,
            "</span></td><td>",
            &reason,
            "</td></tr>\n",
        ]);
    }
    format!(
        r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>flow-exporter</title>
<style>
{STYLE}</style>
</head>
<body>
<header>
<h1>flow-exporter <small>{version}</small></h1>
<p>{about}</p>
</header>
<main>
<section class="figure">
<strong>{series}</strong> flow series <span>{age}</span>
</section>
<section>
<h2>Components</h2>
<table>
{components}</table>
</section>
<nav>
<a href="/metrics">Metrics <code>/metrics</code></a>
<a href="/-/ready">Ready? <code>/-/ready</code></a>
<a href="/-/healthy">Healthy? <code>/-/healthy</code></a>
</nav>
</main>
<footer>Autonomous systems, by number and by address: RouteViews, NRO, <a href="https://db-ip.com">IP Geolocation by DB-IP</a>; countries: NRO</footer>
</body>
</html>
"#
    )
}

/// Escapes a text for an HTML element or a quoted attribute.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A number with a comma between groups of three digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
