//! What `compose` ships for Prometheus and Grafana names only metrics and labels that exist, and each
//! alert has a section in docs/runbook.md.
//!
//! A binary of its own, since it is built and run in a moment. Whether queries find something is asked of a real
//! Prometheus, in tests/e2e/dashboards.rs; that rules fire is what promtool's tests say (scripts/check-docs).

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod names;

use std::collections::{BTreeMap, BTreeSet};

use flow_exporter::{
    cli::Cli,
    config::Config,
    metrics::{Kind, Metrics},
};
use serde_json::Value;

use names::names;
use testkit::monitoring::{Dashboard, dashboards, list, repository, rules, shipped, with_values};

/// Labels that Prometheus or the push add to all.
const OF_ALL: [&str; 2] = ["job", "instance"];
/// Where the links of alerts lead. Whoever loads the rules puts an address in the place of the host.
const RUNBOOK: &str = "https://flow-exporter.example/docs/runbook.md#";

/// Each metric with its labels: those of the program, of the views in compose, of the process, of
/// Prometheus itself, and those that rules record.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let labels = |labels: &[&str]| {
        labels.iter().chain(&OF_ALL).map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    let mut known = BTreeMap::new();
    for metric in Metrics::DECLARED {
        if metric.kind == Kind::Histogram {
            let with_bound = [metric.labels, &["le"]].concat();
            known.insert(format!("{}_bucket", metric.name), labels(&with_bound));
        } else {
            known.insert(metric.name.to_owned(), labels(metric.labels));
        }
    }
    let views = repository().join("compose/flow-exporter/views.yml");
    let words =
        ["flow-exporter", "--input=-", &format!("--config={}", views.display())].map(Into::into);
    let config = Config::count(Cli::read(words).unwrap().count).unwrap();
    for view in &config.views.value {
        let names: Vec<_> = view.labels().iter().map(|label| &*label.name).collect();
        for &class in view.classes() {
            known.insert(view.metric_name(class, view.measures()[0]), labels(&names));
        }
    }
    for metric in
        Metrics::new().gather().iter().filter(|family| family.name.starts_with("process_"))
    {
        known.insert(metric.name.clone(), labels(&[]));
    }
    known.insert("up".to_owned(), labels(&[]));
    known.insert(
        "ALERTS".to_owned(),
        labels(&["alertname", "alertstate", "severity", "exporter", "endpoint", "reason"]),
    );
    for rule in rules().into_iter().filter(|rule| !rule.is_alert) {
        known.insert(rule.name, names(&rule.expression).labels);
    }
    known
}

/// All queries with where they are.
fn queries() -> Vec<(String, String)> {
    let of_dashboard = |dashboard: &Dashboard| {
        let queries = dashboard.queries().into_iter();
        let file = dashboard.file.clone();
        queries.map(move |query| {
            (format!("{file}: {:?}", query.place), with_values(&query.expression, "job"))
        })
    };
    let shown: Vec<_> = dashboards().iter().flat_map(of_dashboard).collect();
    let rules =
        rules().into_iter().map(|rule| (format!("rules.yml: {}", rule.name), rule.expression));
    shown.into_iter().chain(rules).collect()
}

#[test]
fn queries_name_metrics_and_labels_that_exist() {
    let known = known();
    for (place, query) in queries() {
        let found = names(&query);
        let mut of_query: BTreeSet<_> = OF_ALL.map(str::to_owned).into();
        for (metrics, labels) in &found.selectors {
            for metric in metrics {
                let has =
                    known.get(metric).unwrap_or_else(|| panic!("{place}: no metric {metric}"));
                let lacking: Vec<_> = labels.difference(has).collect();
                assert!(lacking.is_empty(), "{place}: {metric} has no label {lacking:?}");
                of_query.extend(has.iter().cloned());
            }
        }
        let lacking: Vec<_> = found.labels.difference(&of_query).collect();
        assert!(lacking.is_empty(), "{place}: no metric of it has {lacking:?}");
    }
}

#[test]
fn each_alert_has_a_section_of_the_runbook_and_each_section_an_alert() {
    let runbook = shipped("docs/runbook.md");
    let sections: BTreeSet<_> =
        runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let rules = rules();
    let alerts: BTreeSet<_> =
        rules.iter().filter(|rule| rule.is_alert).map(|rule| &*rule.name).collect();
    assert_eq!(alerts, sections);
    let parts = ["**What it means.** ", "**Look at** ", "**Do"];
    for section in runbook.split("\n### ").skip(1) {
        let begins: Vec<_> = section.lines().filter(|line| line.starts_with("**")).collect();
        let has = |(line, part): (&&str, &&str)| line.starts_with(*part);
        assert!(begins.len() == 3 && begins.iter().zip(&parts).all(has), "{section}");
    }
    for rule in rules.iter().filter(|rule| rule.is_alert) {
        let annotations: BTreeMap<_, _> = rule.annotations.iter().cloned().collect();
        let named: Vec<_> = annotations.keys().map(String::as_str).collect();
        assert_eq!(named, ["description", "runbook_url", "summary"], "{}", rule.name);
        assert_eq!(annotations["runbook_url"], format!("{RUNBOOK}{}", rule.name.to_lowercase()));
        let severity = rule.severity.as_deref();
        assert!(matches!(severity, Some("critical" | "warning")), "{}: {severity:?}", rule.name);
    }
    let tests = shipped("compose/prometheus/rules_test.yml");
    for alert in &alerts {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n");
        assert!(tests.contains(&fires), "a test in which {alert} fires");
        assert!(
            tests.contains(&format!("alertname: {alert}}}\n")),
            "a test in which {alert} does not"
        );
    }
}

#[test]
fn dashboards_are_well_formed() {
    let dashboards = dashboards();
    let uids: Vec<_> = dashboards.iter().map(|dashboard| text(&dashboard.model["uid"])).collect();
    // Links and bookmarks name them.
    let expected =
        ["operations", "push", "traffic", "sankey"].map(|name| format!("flow-exporter-{name}"));
    assert_eq!(uids, expected);
    for Dashboard { file, model } in &dashboards {
        assert_eq!(model["schemaVersion"], 41, "{file}: that of Grafana 12 in docker-compose.yml");
        assert!(model["id"].is_null(), "{file}: Grafana gives the id");
        assert!(
            list(model, "tags").contains(&"flow-exporter".into()),
            "{file}: links find it by its tag"
        );
        let link = &list(model, "links")[0];
        assert_eq!((&link["type"], &link["includeVars"]), (&"dashboards".into(), &true.into()));
        no_fixed_datasource(file, model);
    }
    for dashboard in &dashboards {
        let (file, model) = (&dashboard.file, &dashboard.model);
        let mut ids = BTreeSet::new();
        for panel in
            list(model, "panels").iter().flat_map(|row| list(row, "panels").iter().chain([row]))
        {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: id {} twice", panel["id"]);
        }
        let mut places: Vec<_> = list(model, "panels").iter().map(|panel| ("", panel)).collect();
        places.extend(
            list(model, "panels").iter().flat_map(|row| {
                list(row, "panels").iter().map(|panel| (text(&row["title"]), panel))
            }),
        );
        for (number, (row, panel)) in places.iter().enumerate() {
            let [x, y, w, h] = place(panel);
            assert!(w > 0 && h > 0 && x + w <= 24, "{file}: {}", panel["title"]);
            for (other_row, other) in &places[..number] {
                let [ox, oy, ow, oh] = place(other);
                let overlap = x < ox + ow && ox < x + w && y < oy + oh && oy < y + h;
                assert!(
                    row != other_row || !overlap,
                    "{file}: {} over {}",
                    panel["title"],
                    other["title"]
                );
            }
        }
        for (_, panel) in dashboard.panels() {
            let title = text(&panel["title"]);
            assert!(!title.is_empty(), "{file}: a panel without a title");
            assert!(
                text(&panel["description"]).ends_with('.'),
                "{file}: {title} has a description"
            );
            let defaults = &panel["fieldConfig"]["defaults"];
            // What its edges say is in other options.
            let has_unit = defaults["unit"].is_string() || panel["type"] == "nodeGraph";
            assert!(has_unit, "{file}: {title} has a unit");
            let refs: BTreeSet<_> =
                list(panel, "targets").iter().map(|target| text(&target["refId"])).collect();
            assert_eq!(refs.len(), list(panel, "targets").len(), "{file}: {title}");
            for target in list(panel, "targets") {
                let expression = text(&target["expr"]);
                let is_rate = expression.contains("_total{") && expression.contains("rate(");
                assert!(
                    !is_rate
                        || expression.contains("[$__rate_interval]")
                        || expression.contains("[$__range]"),
                    "{file}: {title}: the window of a rate fits the resolution: {expression}"
                );
                if panel["type"] == "timeseries" {
                    assert!(
                        !text(&target["legendFormat"]).is_empty(),
                        "{file}: {title} has a legend"
                    );
                }
                let is_bytes = expression.contains("_bytes_total") && expression.contains("rate(");
                if is_bytes && defaults["unit"] == "bps" {
                    assert!(expression.contains("* 8"), "{file}: {title}: bits are bytes times 8");
                }
            }
        }
    }
}

/// Data sources are chosen by the variable.
fn no_fixed_datasource(file: &str, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(source) = fields.get("datasource") {
                let of_grafana = source["uid"] == "-- Grafana --";
                assert!(of_grafana || source["uid"] == "${datasource}", "{file}: {source}");
            }
            fields.values().for_each(|value| no_fixed_datasource(file, value));
        }
        Value::Array(items) => items.iter().for_each(|value| no_fixed_datasource(file, value)),
        _ => {}
    }
}

fn place(panel: &Value) -> [u64; 4] {
    ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Grafana loads what is in the folder that the compose file mounts; the first dashboard it shows is
/// that of the traffic.
#[test]
fn the_compose_file_loads_the_dashboards() {
    let compose = shipped("docker-compose.yml");
    let folder = "/var/lib/grafana/dashboards";
    assert!(compose.contains(&format!("./compose/grafana/dashboards:{folder}:ro")));
    let provider = shipped("compose/grafana/provisioning/dashboards/flow-exporter.yml");
    assert!(provider.contains(&format!("path: {folder}")));
    assert!(compose.contains(&format!("HOME_DASHBOARD_PATH: {folder}/traffic.json")));
    assert!(repository().join("compose/grafana/dashboards/traffic.json").exists());
}

/// What flow-exporter counts there is what the dashboards show, and what its arguments name is mounted.
#[test]
fn the_compose_files_count_what_the_dashboards_show() {
    let mounts = shipped("docker-compose.yml");
    let mounts: Vec<_> = mounts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ./")?.strip_suffix(":ro")?.split_once(':'))
        .collect();
    for file in ["docker-compose.yml", "compose/collect.yml"] {
        let text = shipped(file);
        assert!(text.contains("- --config=/etc/flow-exporter/views.yml"), "{file}");
        let arguments = text.lines().filter_map(|line| line.trim().strip_prefix("- --"));
        let values =
            arguments.filter_map(|argument| argument.split_once('=')).map(|(_, value)| value);
        for path in values
            .flat_map(|value| value.split(','))
            .filter(|value| value.starts_with("/etc/flow-exporter"))
        {
            let below = |folder: &str| {
                path.strip_prefix(folder).filter(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let mounted = mounts.iter().find_map(|(from, to)| Some((from, below(to)?)));
            let (from, rest) = mounted.unwrap_or_else(|| panic!("{file}: {path} is not mounted"));
            let here = repository().join(format!("{from}{rest}"));
            assert!(here.exists(), "{file}: {path} is {}, which is not there", here.display());
        }
    }
}
