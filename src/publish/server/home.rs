//! The page at `/`: traffic, which its scripts show, and the state of each component, which is also there
//! without scripts.

use super::state::ServerState;

/// The page, in HTML that loads nothing but `assets`.
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
<link rel="icon" href="data:,">
<link rel="stylesheet" href="assets/uplot.css">
<link rel="stylesheet" href="assets/page.css">
<script src="assets/uplot.js" defer></script>
<script src="assets/page.js" type="module"></script>
</head>
<body>
<header>
<h1>flow-exporter <small>{version}</small></h1>
<p>{about}</p>
<p id="overall" role="status"></p>
<p id="connection" role="alert"></p>
</header>
<main>
<div id="traffic" hidden></div>
<noscript><p>Traffic is shown with JavaScript.</p></noscript>
<section id="health" tabindex="-1" aria-labelledby="health-title">
<h2 id="health-title">How it is</h2>
<div id="details"><strong>{series}</strong> flow series <span>{age}</span></div>
<table>
<tbody id="components">
{components}</tbody>
</table>
</section>
</main>
<nav>
<a href="metrics">Metrics</a>
<a href="-/ready">Ready?</a>
<a href="-/healthy">Healthy?</a>
<a href="api/v1/traffic?by=remote_as">JSON</a>
</nav>
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
