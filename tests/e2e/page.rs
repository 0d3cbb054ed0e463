//! The page for people in a real browser: it shows what was counted.

use std::{fmt::Write as _, time::Duration};

use serde_json::Value;

use testkit::{
    exporter::{Exporter, KeptOnPanic},
    produce::ASN,
    servers::{Chromium, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

/// An AS that the embedded table names.
const GOOGLE: u32 = 15169;

/// An AS that it does not.
const NAMELESS: u32 = 4_200_000_001;

/// Flows of two routers, and how many bytes of them are with each AS: 60 %, 30 % and 10 %.
fn flows(directory: &KeptOnPanic) -> String {
    let mut text = String::new();
    for (label, source, destination, bytes) in [
        ("edge1", GOOGLE, ASN, 500_000),
        ("<b>edge2</b>", ASN, GOOGLE, 100_000),
        ("<b>edge2</b>", NAMELESS, ASN, 300_000),
        ("edge1", 0, ASN, 100_000),
    ] {
        writeln!(
            text,
            r#"{{"event_type":"purge","label":"{label}","as_src":{source},"as_dst":{destination},"bytes":{bytes},"packets":1}}"#
        )
        .expect("a string takes all");
    }
    directory.file("--input", "flows.json", &text)
}

fn counting(directory: &KeptOnPanic) -> Exporter {
    Exporter::start(&[flows(directory), format!("--asn={ASN}"), "--as-names=embedded".to_owned()])
}

/// The rows of a panel as it shows them: name and share.
fn rows(browser: &Chromium, labels: &str) -> Vec<(String, String)> {
    let rows = browser.run(&format!(
        "return [...document.querySelectorAll('[data-labels=\"{labels}\"] tbody tr')].map((row) =>
            [row.cells[0].innerText.trim(), row.cells[3].innerText.trim()])"
    ));
    let rows: Vec<(String, String)> = serde_json::from_value(rows).expect("pairs of texts");
    rows
}

fn wait_for_rows(browser: &Chromium, labels: &str, expected: &[(&str, &str)]) {
    wait_for(&format!("the rows of {labels}"), LIMIT, || {
        let rows = rows(browser, labels);
        let shown: Vec<_> = rows.iter().map(|(name, share)| (&**name, &**share)).collect();
        if shown == expected { Ok(()) } else { Err(format!("{shown:?}")) }
    });
}

/// The rate that the page shows in large letters, in bits per second.
fn rate(browser: &Chromium, class: &str) -> Option<f64> {
    let text = browser
        .run(&format!("return document.querySelector('.rate.{class} strong')?.innerText ?? ''"));
    let (number, unit) = text.as_str()?.split_once(' ')?;
    let factor = match unit {
        "bit/s" => 1.0,
        "kbit/s" => 1e3,
        "Mbit/s" => 1e6,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

#[test]
fn the_page_shows_what_was_counted_and_filters_by_a_click() {
    let directory = KeptOnPanic::new("page-");
    let exporter = counting(&directory);
    let url = exporter.page_url().replace("/metrics", "/");
    let browser = Chromium::open(1280, 1000);
    browser.go(&url);
    let google = ("Google LLC AS15169", "60 %");
    let nameless = ("AS4200000001", "30 %");
    let unknown = ("no AS AS 0", "10 %");
    wait_for_rows(&browser, "remote_as", &[google, nameless, unknown]);
    // What comes from records is text.
    wait_for_rows(&browser, "hostname", &[("edge1", "60 %"), ("<b>edge2</b>", "40 %")]);
    // Nine tenths come in; both rates are averages of the same seconds.
    wait_for("rates in and out", LIMIT, || {
        let (Some(received), Some(sent)) = (rate(&browser, "receive"), rate(&browser, "transmit"))
        else {
            return Err("no rates".to_owned());
        };
        let ratio = received / sent;
        if (8.9..9.1).contains(&ratio) { Ok(()) } else { Err(format!("{received} {sent}")) }
    });
    browser.run("document.querySelector('[data-labels=remote_as] tbody button').click()");
    wait_for_rows(&browser, "remote_as", &[("Google LLC AS15169", "100 %")]);
    wait_for_rows(&browser, "hostname", &[("edge1", "83 %"), ("<b>edge2</b>", "17 %")]);
    assert_eq!(browser.run("return location.search"), "?filter=remote_as%3A15169");
    browser.run("history.back()");
    wait_for_rows(&browser, "remote_as", &[google, nameless, unknown]);
    browser.go(&format!("{url}?search=google"));
    // Everything else is in the last row.
    wait_for_rows(&browser, "remote_as", &[google, ("2 more", "40 %")]);
    assert_eq!(browser.console(), Vec::<String>::new());
    let foreign = browser.run(
        "return performance.getEntriesByType('resource').map((each) => each.name)
            .filter((name) => new URL(name).host !== location.host)",
    );
    assert_eq!(foreign, Value::Array(Vec::new()));
}

#[test]
fn the_page_fits_a_phone_and_is_used_with_the_keyboard() {
    let directory = KeptOnPanic::new("page-");
    let exporter = counting(&directory);
    let browser = Chromium::open(360, 800);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    wait_for("rows", LIMIT, || match rows(&browser, "remote_as").len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    let widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]");
    assert_eq!(widths[0], widths[1]);
    let focus = "return document.activeElement.getAttribute('aria-label') ?? ''";
    for _ in 0..10 {
        browser.press("\u{E004}");
        if browser.run(focus) == "Filter by Google LLC AS15169" {
            break;
        }
    }
    assert_eq!(browser.run(focus), "Filter by Google LLC AS15169");
    browser.press("\u{E007}");
    wait_for_rows(&browser, "remote_as", &[("Google LLC AS15169", "100 %")]);
}

#[test]
fn the_page_says_why_nothing_is_counted() {
    let directory = KeptOnPanic::new("page-");
    let exporter = Exporter::start(&[
        flows(&directory),
        "--asn=65001".to_owned(),
        "--as-names=none".to_owned(),
    ]);
    let browser = Chromium::open(1280, 1000);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    wait_for("the reason", LIMIT, || {
        let text = browser.run("return document.body.innerText");
        let text = text.as_str().unwrap_or_default().to_owned();
        if text.contains("65001") && text.contains("4 other as") { Ok(()) } else { Err(text) }
    });
}
