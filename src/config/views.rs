//! What is counted: the views of the flags and those of the file of `--config`.

use crate::{
    cli::{Sources, ViewFlags},
    schema::{Class, Dimension, Filter, FilterError, LabelRequest, Measure, View},
    traffic::Rule,
};

use super::{
    contradiction,
    error::ConfigError,
    labels::{self, dimensions},
    setting::{Origin, Setting},
    yaml::{Field, Section},
};

/// The most views that there may be: a schema has room for as many again that are retired.
const MAX_VIEWS: usize = 32;

/// The longest name of a view, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// The first word of the names of the program's own metrics, after `flow_`.
const OWN: &str = "exporter";

/// Series of a view in the file that does not say more.
const DEFAULT_MAX_SERIES: usize = 100_000;

/// The largest bound for series that a view can have.
const LARGEST_MAX_SERIES: usize = 100_000_000;

const LABELS: &str = "--labels";
const MEASURES: &str = "--measures";
const CLASSES: &str = "--classes";
const MAX_SERIES: &str = "--max-series";

/// A view as it is configured. What is not given is as in the original's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ViewSettings {
    name: String,
    labels: Option<Vec<Dimension>>,
    measures: Option<Vec<Measure>>,
    classes: Option<Vec<Class>>,
    filters: Vec<Filter>,
    keep: Option<Vec<String>>,
    max_series: Option<usize>,
    origin: Origin,
}

/// The views of the file, which stand there in one place.
pub(super) type FileViews = Setting<Vec<ViewSettings>>;

/// The views of the file and of the flags, which say more of the original's. By the rule, flows are
/// classified. Where flows are only collected from exporters, fields by name are information elements.
pub(super) fn views(
    of_file: Option<FileViews>,
    flags: ViewFlags,
    rule: &Rule,
    only_collects: bool,
    sources: &Sources,
) -> Result<Setting<Vec<View>>, ConfigError> {
    let ViewFlags { labels, measures, classes, max_series } = flags;
    let given = |flag| Origin::of_flag(flag, sources);
    let max_series_origin = given(MAX_SERIES);
    let (mut views, origin) = match of_file {
        Some(Setting { value, origin }) => (value, origin),
        None => (vec![ViewSettings::new(View::ORIGINAL, given(LABELS))], given(LABELS)),
    };
    let flags = [
        (labels.is_some(), LABELS),
        (measures.is_some(), MEASURES),
        (classes.is_some(), CLASSES),
        (max_series_origin.is_given(), MAX_SERIES),
    ];
    match views.iter_mut().find(|view| view.name == View::ORIGINAL) {
        Some(view) => {
            if let Some(labels) = labels {
                let labels = items(&labels);
                let dimensions = dimensions(labels.iter().map(String::as_str));
                view.labels = Some(dimensions.map_err(|error| given(LABELS).error(error))?);
                view.origin = given(LABELS);
            }
            if let Some(measures) = measures {
                let measures = once(&items(&measures), measure);
                view.measures = Some(measures.map_err(|error| given(MEASURES).error(error))?);
            }
            if let Some(classes) = classes {
                let classes = once(&items(&classes), class);
                view.classes = Some(classes.map_err(|error| given(CLASSES).error(error))?);
                view.origin = given(CLASSES);
            }
            if max_series_origin.is_given() || view.max_series.is_none() {
                view.max_series = Some(max_series as usize);
            }
        }
        None => {
            if let Some((_, flag)) = flags.iter().find(|(is_given, _)| *is_given) {
                return Err(given(flag).error(
                    "this flag is for the view flow, which views in --config leave out: add \
                     flow: {} there, or remove the flag",
                ));
            }
        }
    }
    let build = |settings: ViewSettings| {
        let origin = settings.origin.clone();
        let view = settings.build()?;
        contradiction::check(&view, rule).map_err(|error| origin.error(error))?;
        if only_collects {
            labels::check_elements(&view).map_err(|error| origin.error(error))?;
        }
        Ok(view)
    };
    let views = views.into_iter().map(build).collect::<Result<_, _>>()?;
    Ok(Setting { value: views, origin })
}

/// The `views` section of the file.
pub(super) fn of_file(field: &Field<'_>) -> Result<FileViews, ConfigError> {
    let mut views = Vec::new();
    for (name, field) in field.pairs()? {
        if views.len() == MAX_VIEWS {
            return Err(field.error(format!("there are more than {MAX_VIEWS} views: remove some")));
        }
        check_name(&name).map_err(|error| field.error(error))?;
        views.push(field.section(|section| view(&name, section))?);
    }
    if views.is_empty() {
        return Err(field.error("name at least one view, such as flow: {}, or remove views"));
    }
    Ok(Setting { value: views, origin: field.origin() })
}

/// The name of a view is part of the names of its metrics, `flow_<view>_<class>_<measure>_total`.
fn check_name(name: &str) -> Result<(), String> {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= MAX_NAME_BYTES
        && name.split('_').all(is_word);
    if !is_name {
        return Err(format!(
            "name it in lower-case letters, digits and single underscores between them, beginning \
             with a letter, in at most {MAX_NAME_BYTES} bytes: the name is part of those of the \
             view's metrics"
        ));
    }
    if name.split('_').next() == Some(OWN) {
        return Err(format!(
            "the names of the program's own metrics begin with flow_{OWN}: choose another name"
        ));
    }
    let ends = [name.split('_').next(), name.rsplit('_').next()];
    match Class::ALL.into_iter().map(Class::name).find(|class| ends.contains(&Some(class))) {
        Some(class) => Err(format!(
            "in names of metrics, {class} beside the view's name says which flows are counted: \
             choose a name that neither begins nor ends with {class}"
        )),
        None => Ok(()),
    }
}

fn view(name: &str, section: &Section<'_>) -> Result<ViewSettings, ConfigError> {
    let labels = section.get("labels", |field| {
        let labels = list(field)?;
        dimensions(joined(&labels).iter().map(String::as_str)).map_err(|error| field.error(error))
    })?;
    let measures = section.get("measures", |field| each(field, measure))?;
    let classes = section.get("classes", |field| each(field, class))?;
    let filters = section.get("where", |field| {
        let filter = |(label, field): (String, Field<'_>)| {
            let values = once(&list(&field)?, |value| Ok(value.to_owned()))
                .map_err(|error| field.error(error))?;
            labels::check(&label)
                .and_then(|()| {
                    let values = values.iter().map(String::as_str);
                    Filter::new(&label, values).map_err(|error| match error {
                        FilterError::Label(error) => labels::explained(&error),
                        error => error.to_string(),
                    })
                })
                .map_err(|error| field.error(error))
        };
        field.pairs()?.into_iter().map(filter).collect::<Result<Vec<_>, _>>()
    })?;
    let keep = section.get("keep", |field| {
        once(&list(field)?, |label| Ok(label.to_owned())).map_err(|error| field.error(error))
    })?;
    let max_series = section.get("max_series", |field| {
        field.parse(|text| match text.parse() {
            Ok(number @ 1..=LARGEST_MAX_SERIES) => Ok(number),
            _ => Err(format!("give a number from 1 to {LARGEST_MAX_SERIES}")),
        })
    })?;
    let settings = ViewSettings {
        labels,
        measures,
        classes,
        filters: filters.unwrap_or_default(),
        keep,
        max_series,
        ..ViewSettings::new(name, section.field().origin())
    };
    // Errors that only all of it together shows have the line too.
    settings.clone().build()?;
    Ok(settings)
}

/// One value, or a list of them. An empty text counts as a value.
fn list(field: &Field<'_>) -> Result<Vec<String>, ConfigError> {
    let items = match field.text() {
        Ok(_) => vec![field.clone()],
        Err(_) => field.list()?,
    };
    let text = |item: &Field<'_>| {
        if item.is_null() {
            Err(item.error("a value is missing"))
        } else {
            item.text().map(str::to_owned)
        }
    };
    items.iter().map(text).collect()
}

/// A list with the length for IPv6 of a prefix beside the one for IPv4: the comma between them ends
/// an item of a list in YAML.
fn joined(items: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    for item in items {
        let is_length = !item.is_empty() && item.bytes().all(|byte| byte.is_ascii_digit());
        match joined.last_mut() {
            Some(last) if is_length && last.contains('/') => {
                last.push(',');
                last.push_str(item);
            }
            _ => joined.push(item.clone()),
        }
    }
    joined
}

/// The items of a comma-separated list.
fn items(text: &str) -> Vec<String> {
    let items: Vec<_> = text.split(',').map(|item| item.trim().to_owned()).collect();
    joined(&items)
}

fn each<T: PartialEq>(
    field: &Field<'_>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ConfigError> {
    let items = list(field)?;
    if items.is_empty() {
        return Err(field.error("list at least one"));
    }
    once(&items, parse).map_err(|error| field.error(error))
}

/// Parses all items, of which each may be there once.
fn once<T: PartialEq>(
    items: &[String],
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let mut parsed = Vec::new();
    for item in items {
        let value = parse(item)?;
        if parsed.contains(&value) {
            return Err(format!("{item} is listed twice: list it once"));
        }
        parsed.push(value);
    }
    Ok(parsed)
}

/// The measure of this name.
fn measure(name: &str) -> Result<Measure, String> {
    let found = Measure::ALL.into_iter().find(|measure| measure.name() == name.trim());
    found.ok_or_else(|| format!("there is no measure {name}: give bytes, packets or flows"))
}

fn class(name: &str) -> Result<Class, String> {
    let found = Class::ALL.into_iter().find(|class| class.name() == name.trim());
    found.ok_or_else(|| {
        format!("there is no class {name}: give receive, transmit, internal or transit")
    })
}

impl ViewSettings {
    fn new(name: &str, origin: Origin) -> Self {
        ViewSettings {
            name: name.to_owned(),
            labels: None,
            measures: None,
            classes: None,
            filters: Vec::new(),
            keep: None,
            max_series: None,
            origin,
        }
    }

    fn build(self) -> Result<View, ConfigError> {
        let original = View::original();
        let dimensions = self.labels.unwrap_or_else(|| original.dimensions().to_vec());
        let classes = self.classes.unwrap_or_else(|| original.classes().to_vec());
        let measures = self.measures.unwrap_or_else(|| original.measures().to_vec());
        let mut view = View::new(&self.name, &dimensions, &classes, &measures)
            .filtered(self.filters)
            .limited(self.max_series.unwrap_or(DEFAULT_MAX_SERIES));
        let labels: Vec<_> = view.labels().iter().map(|label| label.name.clone()).collect();
        if let Some(keep) = self.keep {
            // As `labels` spells it, or as the label is called.
            let called = |label: &String| match Dimension::of_label(label) {
                Ok(LabelRequest::Dimension(dimension)) => dimension.label().to_owned(),
                _ => label.clone(),
            };
            let keep: Vec<_> = keep.iter().map(called).collect();
            for label in &keep {
                if !dimensions.iter().any(|dimension| dimension.label() == label) {
                    return Err(self.origin.error(format!(
                        "keep: {label} isn't a label of the view, whose labels are {}: list it in labels \
                         as well",
                        labels.join(", ")
                    )));
                }
            }
            if dimensions.iter().all(|dimension| keep.iter().any(|kept| kept == dimension.label()))
            {
                return Err(self.origin.error(
                    "keep: these are all labels of the view, so a series for further values would have the \
                     labels of another one: leave one out",
                ));
            }
            view = view.keeping(|dimension| keep.iter().any(|label| label == dimension.label()));
        }
        let twice = labels.iter().zip(labels.iter().skip(1)).find(|(one, next)| one == next);
        if let Some((label, _)) = twice {
            let what = format!("two labels would be called {label}: leave one out");
            return Err(self.origin.error(what));
        }
        Ok(view)
    }
}
