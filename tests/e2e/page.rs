//! The page for people in a real browser: it shows what was counted.

use std::{
    fmt::Write as _,
    net::UdpSocket,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use testkit::{
    exporter::{Exporter, KeptOnPanic},
    netflow::{Message, Template, V5, V5Flow, Value as Number},
    produce::ASN,
    servers::{Chromium, unused_address, wait_for},
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
    // A table says what its rates are, also to who can't see it.
    let table = "document.querySelector('[data-labels=remote_as] table')";
    let said = browser.run(&format!(
        "return [document.getElementById({table}.getAttribute('aria-describedby')).innerText, {table}.rows[0].cells[2].textContent]"
    ));
    assert_eq!(said, json!(["Rates: In + Out, view flow", "Rate, In + Out"]));
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

/// A name that somebody has made to break the page.
struct Hostile {
    name: String,
    /// What the page shows of it.
    shown: String,
}

fn hostile_names() -> Vec<Hostile> {
    let as_it_is = |name: &str| Hostile { name: name.to_owned(), shown: name.to_owned() };
    let changed =
        |name: &str, shown: &str| Hostile { name: name.to_owned(), shown: shown.to_owned() };
    let accents = "\u{301}".repeat(200);
    vec![
        as_it_is("<script>window.broken = 1</script>"),
        as_it_is("\"><img src=x onerror=window.broken=1>"),
        as_it_is("'-window.broken=1-'</title></textarea><svg onload=window.broken=1>"),
        as_it_is("__proto__"),
        as_it_is("constructor"),
        as_it_is("👩‍👩‍👧‍👦 🏴‍☠️ شركة"),
        changed("\u{202e}txt.evil\u{2066}\u{7}", "\u{fffd}txt.evil\u{fffd}\u{fffd}"),
        changed("one\r\nrouter\tof two", "one router of two"),
        // The program itself keeps 1,024 bytes.
        changed(&"W".repeat(10_000), &format!("{}…", "W".repeat(100))),
        changed(&format!("a{accents}"), &format!("a{}", &accents[..6])),
    ]
}

/// A program that counts flows whose AS, interfaces and routers have these names, and pushes to endpoints that
/// have them, where nobody listens.
fn with_hostile_names(directory: &KeptOnPanic, names: &[Hostile]) -> Exporter {
    let (mut flows, mut as_names) = (String::new(), String::new());
    let (mut interfaces, mut endpoints) = (Vec::new(), Vec::new());
    for (number, Hostile { name, .. }) in names.iter().enumerate() {
        let asn = 64601 + number;
        for (label, interface) in [(name.as_str(), 0), ("edge1", number + 1)] {
            let flow = json!({
                "event_type": "purge", "label": label, "as_src": asn, "as_dst": ASN, "iface_in": interface,
                "bytes": 1_000_000, "packets": 1,
            });
            writeln!(flows, "{flow}").expect("a string takes all");
        }
        // A name of an AS has one line.
        let line = name.replace(char::is_control, " ");
        writeln!(as_names, "{asn} {line}").expect("a string takes all");
        // The configuration takes no others.
        if !name.contains(char::is_control) && name.len() <= 1024 {
            interfaces.push(format!("{}: {}", number + 1, json!(name)));
            let url = format!("http://127.0.0.1:9/{number}");
            endpoints.push(json!({"name": name, "url": url}).to_string());
        }
    }
    let config = format!(
        "views: {{flow: {{labels: [source_as, destination_as, hostname, input_interface_name]}}}}\n\
         exporters: {{edge1: {{interfaces: {{{}}}}}}}\nremote_write: [{}]\n",
        interfaces.join(", "),
        endpoints.join(", "),
    );
    Exporter::start(&[
        directory.file("--input", "flows.json", &flows),
        directory.file("--as-names", "names.txt", &as_names),
        directory.file("--config", "flow-exporter.yml", &config),
        format!("--asn={ASN}"),
    ])
}

/// Asserts that nothing ran that came as a name, that no name has become an element, that nothing is wider than the
/// window, and that the browser has nothing to complain about.
fn assert_unbroken(browser: &Chromium) {
    assert_eq!(browser.run("return window.broken ?? null"), Value::Null);
    let made = "return document.querySelectorAll('body script, body img, body svg:not(.spark), body b').length";
    assert_eq!(browser.run(made), 0);
    let widths = browser.run("return [document.documentElement.scrollWidth, innerWidth]");
    assert_eq!(widths[0], widths[1]);
    let beyond = browser.run(
        "return [...document.querySelectorAll('body *')]
             .filter((each) => !each.closest('.scroll, .unseen') && each.getBoundingClientRect().right > innerWidth + 1)
             .map((each) => each.outerHTML.slice(0, 200))",
    );
    assert_eq!(beyond, json!([]));
    assert_eq!(browser.console(), Vec::<String>::new());
}

/// The texts of others that an element shows, and their tooltips.
fn shown_in(browser: &Chromium, selector: &str) -> Vec<(String, String)> {
    let shown = browser.run(&format!(
        "return [...document.querySelectorAll('{selector} bdi')].map((each) => [each.textContent, each.title])"
    ));
    serde_json::from_value(shown).expect("pairs of texts")
}

#[test]
fn hostile_names_are_shown_as_text() {
    let directory = KeptOnPanic::new("page-");
    let names = hostile_names();
    let exporter = with_hostile_names(&directory, &names);
    let browser = Chromium::open(360, 800);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    let (hosts, interfaces) =
        (r#"[data-labels="hostname"]"#, r#"[data-labels="input_interface_name"]"#);
    wait_for("all rows", LIMIT, || {
        browser.run("document.querySelectorAll('.more').forEach((each) => each.innerText === 'Show more' && each.click())");
        // All names, and one besides.
        match rows(&browser, "hostname").len() {
            rows if rows == names.len() + 1 => Ok(()),
            rows => Err(rows.to_string()),
        }
    });
    let on_interfaces = |hostile: &Hostile| {
        shown_in(&browser, interfaces).iter().any(|(text, _)| *text == hostile.shown)
    };
    assert!(
        on_interfaces(&names[0]) && on_interfaces(&names[1]),
        "{:?}",
        shown_in(&browser, interfaces)
    );
    let shown = shown_in(&browser, &format!("{hosts} tbody th"));
    for Hostile { name, shown: expected } in &names {
        let whole = if name == expected { "" } else { &name[..name.len().min(1024)] };
        let expected = (expected.clone(), whole.to_owned());
        assert!(shown.contains(&expected), "{expected:?} in {shown:?}");
    }
    for selector in ["#components th", "#push tbody th"] {
        let shown = shown_in(&browser, selector);
        assert!(
            shown.iter().any(|(text, _)| text.contains(&names[0].name)),
            "{selector}: {shown:?}"
        );
    }
    assert_unbroken(&browser);
    // Each row filters by its whole value, whatever it shows.
    for Hostile { shown, .. } in names.iter().step_by(3) {
        browser.run(&format!(
            "[...document.querySelectorAll('[data-labels=hostname] tbody button')]
                 .find((each) => each.innerText === {}).click()",
            json!(shown)
        ));
        wait_for("what one router counts", LIMIT, || {
            let rows = rows(&browser, "hostname");
            if rows == [(shown.clone(), "100 %".to_owned())] {
                Ok(())
            } else {
                Err(format!("{rows:?}"))
            }
        });
        let filters = shown_in(&browser, ".filters");
        assert_eq!(filters[1].0, *shown);
        assert_unbroken(&browser);
        browser.run("document.querySelector('.filters button').click()");
        wait_for("all rows again", LIMIT, || {
            let rows = rows(&browser, "hostname").len();
            if rows == names.len() + 1 { Ok(()) } else { Err(rows.to_string()) }
        });
    }
    // Trusted types forbid scripts to make elements of texts, so a mistake would run nothing.
    let forbidden = browser.run(
        "try { document.body.innerHTML = '<b>x</b>'; return null } catch (error) { return error.name }",
    );
    assert_eq!(forbidden, "TypeError");
}

#[test]
fn a_hostile_address_of_the_page_and_a_hostile_search_are_text() {
    let directory = KeptOnPanic::new("page-");
    let exporter = counting(&directory);
    let url = exporter.page_url().replace("/metrics", "/");
    let browser = Chromium::open(360, 800);
    let names = hostile_names();
    let encoded = |name: &str| -> String {
        form_urlencoded::byte_serialize(&name.as_bytes()[..name.len().min(1024)]).collect()
    };
    // No view has such labels.
    let mut query =
        "filter=__proto__:__proto__&filter=constructor:toString&filter=remote_port:constructor\
        &filter=remote_country:ZZ&measure=__proto__"
            .to_owned();
    for Hostile { name, .. } in &names {
        let hostile = encoded(name);
        write!(query, "&filter={hostile}:{hostile}").expect("a string takes all");
    }
    let hostile = encoded(&names[1].name);
    browser.go(&format!("{url}?{query}&search={hostile}#{hostile}"));
    wait_for("filters", LIMIT, || {
        let note =
            browser.run("return document.querySelector('#traffic section .quiet')?.innerText");
        if note == "No view has all of these labels: remove a filter." {
            Ok(())
        } else {
            Err(note.to_string())
        }
    });
    let filters = shown_in(&browser, ".filters");
    let expected = names.iter().map(|hostile| &*hostile.shown);
    for text in
        expected.chain(["Constructor", "toString", "constructor", "__proto__", "Unknown Region"])
    {
        assert!(filters.iter().any(|(shown, _)| shown == text), "{text:?} in {filters:?}");
    }
    assert_eq!(browser.run("return document.getElementById('search').value"), names[1].name);
    assert_unbroken(&browser);
    // There is nothing of this name.
    browser.go(&format!("{url}?filter=hostname:{hostile}"));
    wait_for("no rows", LIMIT, || {
        let note = browser
            .run("return document.querySelector('[data-labels=hostname] .quiet')?.innerText");
        if note == "Nothing within the last minute." { Ok(()) } else { Err(note.to_string()) }
    });
    assert_unbroken(&browser);
    browser.go(&url);
    for Hostile { name, .. } in &names {
        browser.run(&format!(
            "const search = document.getElementById('search'); search.focus(); search.value = {};
             search.dispatchEvent(new Event('input'))",
            json!(name)
        ));
        wait_for("nothing found", LIMIT, || {
            let said = browser.run(
                "return [document.querySelector('[data-labels=hostname] .quiet')?.innerText,
                     new URLSearchParams(location.search).get('search') === document.getElementById('search').value.trim()]",
            );
            if said == json!(["Nothing has this in its name.", true]) {
                Ok(())
            } else {
                Err(said.to_string())
            }
        });
        assert_unbroken(&browser);
    }
}

/// The colours of an element and of what is behind it differ by this much (WCAG 2.2, contrast ratio).
fn contrast(browser: &Chromium, selector: &str) -> f64 {
    let script = "const light = (colour) => {
            const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
                .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05;
        };
        const element = document.querySelector('SELECTOR');
        const pair = [light(getComputedStyle(element).color), light(getComputedStyle(element.closest('section')).backgroundColor)];
        return Math.max(...pair) / Math.min(...pair)";
    browser.run(&script.replace("SELECTOR", selector)).as_f64().expect("a number")
}

/// What is in the place of the curve, and whether the curve is there.
fn awaited(browser: &Chromium) -> (String, bool) {
    let shown = browser.run(
        "return [document.querySelector('.awaited:not([hidden])')?.innerText ?? '', !document.querySelector('.curve')?.hidden]",
    );
    serde_json::from_value(shown).expect("a text and a truth")
}

#[test]
fn the_place_of_the_curve_says_when_it_begins() {
    let directory = KeptOnPanic::new("page-");
    // The first value is there at the end of a minute.
    wait_for("the first half of a minute", LIMIT, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
        let second = now.as_secs() % 60;
        if second < 30 { Ok(()) } else { Err(second.to_string()) }
    });
    let exporter = counting(&directory);
    let browser = Chromium::open(1280, 1000);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    wait_for("the announcement", LIMIT, || match awaited(&browser) {
        (text, false)
            if text.starts_with(
                "The curve has a value for each minute: the first ones come in about ",
            ) =>
        {
            Ok(())
        }
        other => Err(format!("{other:?}")),
    });
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        let ratio = contrast(&browser, ".awaited");
        assert!(ratio >= 4.5, "{scheme}: {ratio}");
    }
    wait_for("the curve", 2 * LIMIT, || match awaited(&browser) {
        (text, true) if text.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    });
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn the_place_of_the_curve_says_that_nothing_is_counted_and_leads_to_the_status() {
    let collector = format!("{}:2055", unused_address());
    let exporter = Exporter::start(&[
        format!("--collect={collector}"),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
    ]);
    let browser = Chromium::open(360, 800);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    wait_for("word that nothing is counted", LIMIT, || match awaited(&browser) {
        (text, false) if text.starts_with("No flows ") && text.contains("How the parts") => Ok(()),
        other => Err(format!("{other:?}")),
    });
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        for selector in [".awaited", ".awaited a"] {
            let ratio = contrast(&browser, selector);
            assert!(ratio >= 4.5, "{scheme}, {selector}: {ratio}");
        }
    }
    browser.run("document.querySelector('.awaited a').click()");
    wait_for("the status", LIMIT, || {
        let top = browser.run(
            "return document.getElementById('health').getBoundingClientRect().top / innerHeight",
        );
        if top.as_f64().is_some_and(|top| top < 1.0) { Ok(()) } else { Err(top.to_string()) }
    });
    assert_unbroken(&browser);
}

#[test]
fn the_status_shows_exporters_in_trouble_and_those_that_send_most() {
    let directory = KeptOnPanic::new("page-");
    let collector = format!("{}:2055", unused_address());
    let routers: Vec<_> =
        (0..30).map(|_| UdpSocket::bind((unused_address(), 0)).expect("an address")).collect();
    let [named, waiting] =
        [0, 29].map(|number: usize| routers[number].local_addr().expect("an address").ip());
    let name = &hostile_names()[1].name;
    let config = format!(
        "exporters: {{{named}: {{hostname: {}, default_sampling_rate: 1000}}}}\n",
        json!(name)
    );
    let exporter = Exporter::start(&[
        format!("--collect={collector}"),
        directory.file("--config", "flow-exporter.yml", &config),
        format!("--asn={ASN}"),
        "--as-names=none".to_owned(),
    ]);
    for (number, router) in routers.iter().enumerate() {
        // The first ones have most flows; the last one sends data without its template.
        let datagram = if number == 29 {
            let template = Template::new(256, [(1, 4)]);
            Message::ipfix().data(&template, [[Number::from(5_u64)]]).bytes()
        } else {
            V5::new(vec![V5Flow::default(); 30 - number]).bytes()
        };
        router.send_to(&datagram, &collector).expect("it is sent");
    }
    let browser = Chromium::open(360, 800);
    browser.go(&exporter.page_url().replace("/metrics", "/"));
    let list = || {
        let rows = browser.run(
            "document.querySelector('#exporters:not([open]) summary')?.click();
             return [...document.querySelectorAll('#exporters tbody tr')].map((row) => [...row.cells].map((cell) => cell.innerText))",
        );
        let rows: Vec<Vec<String>> = serde_json::from_value(rows).expect("rows");
        rows
    };
    let rows = wait_for("the exporters", LIMIT, || {
        let rows = list();
        if rows.len() == 20 && rows[0][4].contains("flows wait") {
            Ok(rows)
        } else {
            Err(format!("{rows:?}"))
        }
    });
    assert_eq!((rows[0][0].trim(), &*rows[0][4]), (&*waiting.to_string(), "1: flows wait"));
    assert_eq!(rows[1][0].trim(), format!("{name} {named}"));
    assert_eq!((&*rows[1][3], &*rows[1][4]), ("1 of 1,000", "none"));
    assert!(rows[1][6].ends_with(" s ago"), "{rows:?}");
    let rest = browser.run("return document.querySelector('#exporters > p').innerText");
    assert_eq!(rest, "10 more. Silent or waiting for templates: 1 of 30. All in JSON");
    assert_unbroken(&browser);
}
