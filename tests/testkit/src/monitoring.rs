//! What `compose` ships for Prometheus and Grafana: rules, dashboards, and their queries.

use std::{
    fs,
    path::{Path, PathBuf},
};

use saphyr::{LoadableYamlNode, Yaml};
use serde_json::Value;

/// Where these are: the first for everybody, the second for those with a plug-in.
const DASHBOARDS: [&str; 2] = ["compose/grafana/dashboards", "compose/grafana/optional"];

/// A file of the repository.
pub fn shipped(path: &str) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The repository's folder.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A rule of `compose/prometheus/rules.yml`.
#[derive(Debug)]
pub struct Rule {
    /// The name of the alert, or of the metric that is recorded.
    pub name: String,
    /// Whether it is an alert.
    pub is_alert: bool,
    /// Its query.
    pub expression: String,
    /// The label `severity` of an alert.
    pub severity: Option<String>,
    /// An alert's annotations by name.
    pub annotations: Vec<(String, String)>,
}

/// All rules.
pub fn rules() -> Vec<Rule> {
    let text = shipped("compose/prometheus/rules.yml");
    let documents = Yaml::load_from_str(&text).expect("rules.yml is YAML");
    let [document] = &documents[..] else { panic!("rules.yml is one document") };
    let groups = document["groups"].as_sequence().expect("a list of groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().expect("rules"));
    rules.map(rule).collect()
}

fn rule(node: &Yaml<'_>) -> Rule {
    let text = |node: &Yaml<'_>, key: &str| {
        node.as_mapping_get(key).and_then(Yaml::as_str).map(str::to_owned)
    };
    let alert = text(node, "alert");
    let pairs = node.as_mapping_get("annotations").and_then(Yaml::as_mapping).into_iter().flatten();
    let annotation = |(name, text): (&Yaml<'_>, &Yaml<'_>)| {
        let [name, text] = [name, text].map(|node| node.as_str().expect("an annotation is a text"));
        (name.to_owned(), text.to_owned())
    };
    Rule {
        is_alert: alert.is_some(),
        name: alert.or_else(|| text(node, "record")).expect("an alert or a record"),
        expression: text(node, "expr").expect("a rule has an expression"),
        severity: node.as_mapping_get("labels").and_then(|labels| text(labels, "severity")),
        annotations: pairs.map(annotation).collect(),
    }
}

/// A dashboard for Grafana.
#[derive(Debug)]
pub struct Dashboard {
    /// Its file, from the repository's folder on.
    pub file: String,
    /// Its JSON model.
    pub model: Value,
}

/// All dashboards, in the order of their files' names.
pub fn dashboards() -> Vec<Dashboard> {
    let mut dashboards = Vec::new();
    for folder in DASHBOARDS {
        for entry in fs::read_dir(repository().join(folder)).expect("a folder of dashboards") {
            let name = entry.expect("a file").file_name().into_string().expect("a name in UTF-8");
            let file = format!("{folder}/{name}");
            let model = serde_json::from_str(&shipped(&file));
            let model = model.unwrap_or_else(|error| panic!("{file}: {error}"));
            dashboards.push(Dashboard { file, model });
        }
    }
    dashboards.sort_by(|one, other| one.file.cmp(&other.file));
    dashboards
}

/// A query of a dashboard, with Grafana's variables in it.
#[derive(Debug, Clone)]
pub struct Query {
    /// Where it is: the row's title, and the panel's.
    pub place: (String, String),
    /// The query.
    pub expression: String,
    /// Whether the panel says what it means that there is nothing (`noValue`).
    pub may_be_empty: bool,
}

impl Dashboard {
    /// The panels, those of collapsed rows as well, each with the title of its row.
    pub fn panels(&self) -> Vec<(String, &Value)> {
        let mut panels = Vec::new();
        let mut row = String::new();
        for panel in list(&self.model, "panels") {
            if panel["type"] == "row" {
                text(panel, "title").clone_into(&mut row);
                panels.extend(list(panel, "panels").iter().map(|panel| (row.clone(), panel)));
            } else {
                panels.push((row.clone(), panel));
            }
        }
        panels
    }

    /// The queries of panels, annotations and variables. That of a variable counts series by the
    /// label whose values it lists.
    pub fn queries(&self) -> Vec<Query> {
        let mut queries = Vec::new();
        for (row, panel) in self.panels() {
            let may_be_empty = panel["fieldConfig"]["defaults"].get("noValue").is_some();
            queries.extend(list(panel, "targets").iter().map(|target| Query {
                place: (row.clone(), text(panel, "title").to_owned()),
                expression: text(target, "expr").to_owned(),
                may_be_empty,
            }));
        }
        for annotation in list(&self.model["annotations"], "list") {
            // Grafana's own has none.
            if let Some(expression) = annotation["expr"].as_str() {
                queries.push(Query {
                    place: ("annotations".to_owned(), text(annotation, "name").to_owned()),
                    expression: expression.to_owned(),
                    may_be_empty: false,
                });
            }
        }
        for variable in list(&self.model["templating"], "list") {
            let Some(definition) = variable["definition"].as_str() else { continue };
            let inner = definition.strip_prefix("label_values(").and_then(|s| s.strip_suffix(')'));
            let (selector, label) = inner
                .and_then(|inner| inner.rsplit_once(", "))
                .expect("a variable lists the values of a label: label_values(selector, label)");
            queries.push(Query {
                place: ("variables".to_owned(), text(variable, "name").to_owned()),
                expression: format!("count by ({label}) ({selector})"),
                may_be_empty: false,
            });
        }
        queries
    }
}

/// A query with values in the place of variables, as Grafana sends it: everything of a job, and
/// the last five minutes.
pub fn with_values(expression: &str, job: &str) -> String {
    let variables = [
        ("$job", job),
        ("$instance", ".*"),
        ("$hostname", ".*"),
        ("$exporter", ".*"),
        ("$endpoint", ".*"),
        ("$view", ".*"),
        ("$top", "10"),
        ("$__rate_interval", "1m"),
        ("$__interval", "1m"),
        ("$__range_s", "300"),
        ("$__range", "5m"),
    ];
    let mut query = expression.to_owned();
    for (variable, value) in variables {
        query = query.replace(variable, value);
    }
    assert!(!query.contains('$') || query.contains("\"$1\"") || query.contains(" $1\""), "{query}");
    query
}

/// The items of a list; none if it is not there.
pub fn list<'v>(value: &'v Value, key: &str) -> &'v [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} is a text: {value}"))
}
