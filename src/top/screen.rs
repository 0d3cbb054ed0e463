//! What is looked at, and what keys change of it.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    told::{Answers, Question, Status, Traffic, View, Views},
    words::{class_name, label_name, unit_name, value_name},
};

/// Labels that come first, in this order.
const FIRST: [&str; 10] = [
    "remote_as",
    "remote_country",
    "service_port",
    "application",
    "protocol",
    "input_interface_name",
    "output_interface_name",
    "hostname",
    "exporter",
    "site",
];

/// Times between two questions that `d` chooses from.
const DELAYS: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(60),
];
/// Rows that are asked for.
const ROWS: usize = 100;
/// Rows that a page key moves by.
const PAGE: usize = 10;
/// The most letters of a search, and filters: as many as the API takes.
const SEARCH_LETTERS: usize = 100;
const FILTERS: usize = 16;

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tab {
    /// The heaviest combinations of these labels' values.
    Traffic(Vec<String>),
    /// How the parts of the program are.
    Parts,
    /// Where samples are pushed to.
    Endpoints,
    /// Who sends flows.
    Exporters,
}

/// What a key asks for, besides another picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Nothing,
    /// To ask the process at once.
    Ask,
    Quit,
}

/// A value that all that is shown must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) label: String,
    /// As the API has it.
    value: String,
    /// As people read it.
    pub(super) name: String,
}

/// What is looked at.
#[derive(Debug)]
pub struct Screen {
    views: Vec<View>,
    tabs: Vec<Tab>,
    tab: usize,
    filters: Vec<Filter>,
    search: String,
    /// While it is typed.
    typed: Option<String>,
    measure: usize,
    selected: usize,
    delay: Duration,
    is_paused: bool,
    is_help: bool,
    /// Whether the selected row is shown with all its words.
    is_whole: bool,
    /// The newest answers, and why there are no newer ones.
    traffic: Option<Traffic>,
    status: Option<Status>,
    trouble: Option<String>,
}

impl Screen {
    /// What is looked at first.
    pub fn new(views: &Views, delay: Duration) -> Self {
        let views = views.views.clone();
        let tabs = tabs_of(&views);
        Screen {
            views,
            tabs,
            tab: 0,
            filters: Vec::new(),
            search: String::new(),
            typed: None,
            measure: 0,
            selected: 0,
            delay,
            is_paused: false,
            is_help: false,
            is_whole: false,
            traffic: None,
            status: None,
            trouble: None,
        }
    }

    /// The tables that there are.
    pub fn tabs(&self) -> &[Tab] {
        &self.tabs
    }

    /// Looks at another table.
    pub fn choose(&mut self, tab: usize) {
        self.tab = tab.min(self.tabs.len() - 1);
        self.selected = 0;
        self.traffic = None;
    }

    /// What is to be asked, if the table is one of traffic.
    pub fn question(&self) -> Option<Question> {
        let Tab::Traffic(by) = self.table() else { return None };
        let view = self.view(by)?;
        let measures = &view.measures;
        let measure = self.measure();
        let measure = measures.iter().find(|known| **known == measure).or(measures.first())?;
        let mut parameters = vec![
            ("view", view.name.clone()),
            ("by", by.join(",")),
            ("measure", measure.clone()),
            ("limit", ROWS.to_string()),
        ];
        if !self.search.is_empty() {
            parameters.push(("search", self.search.clone()));
        }
        let filters = self.filters.iter();
        parameters.extend(filters.map(|of| ("filter", format!("{}:{}", of.label, of.value))));
        Some(Question(parameters))
    }

    /// Takes what the process told, or why it told nothing.
    pub fn tell(&mut self, answers: Result<Answers, String>) {
        match answers {
            Ok(Answers { traffic, status }) => {
                self.traffic = traffic;
                self.status = Some(status);
                self.trouble = None;
                self.selected = self.selected.min(self.rows().saturating_sub(1));
            }
            Err(trouble) => self.trouble = Some(trouble),
        }
    }

    /// The same, of an answer each as text; for those who have no process to ask.
    ///
    /// # Errors
    /// If a text is no such answer.
    pub fn tell_json(&mut self, traffic: Option<&str>, status: &str) -> serde_json::Result<()> {
        let traffic = traffic.map(serde_json::from_str).transpose()?;
        self.tell(Ok(Answers { traffic, status: serde_json::from_str(status)? }));
        Ok(())
    }

    /// Does what a key asks for.
    pub fn press(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Wish::Quit } else { Wish::Nothing };
        }
        if self.typed.is_some() {
            return self.type_on(key.code);
        }
        if self.is_help || self.is_whole {
            (self.is_help, self.is_whole) = (false, false);
            return if key.code == KeyCode::Char('q') { Wish::Quit } else { Wish::Nothing };
        }
        let last = self.rows().saturating_sub(1);
        match key.code {
            KeyCode::Char('q') => return Wish::Quit,
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.is_help = true,
            KeyCode::Tab | KeyCode::Right => return self.move_tab(1),
            KeyCode::BackTab | KeyCode::Left => return self.move_tab(self.tabs.len() - 1),
            KeyCode::Down | KeyCode::Char('j') => self.selected = (self.selected + 1).min(last),
            KeyCode::Up | KeyCode::Char('k') => self.selected = self.selected.saturating_sub(1),
            KeyCode::PageDown => self.selected = (self.selected + PAGE).min(last),
            KeyCode::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => self.selected = 0,
            KeyCode::End | KeyCode::Char('G') => self.selected = last,
            KeyCode::Enter if matches!(self.table(), Tab::Traffic(_)) => {
                return self.filter_by_selected();
            }
            KeyCode::Enter => self.is_whole = self.rows() > 0,
            KeyCode::Backspace | KeyCode::Esc => {
                if !self.search.is_empty() {
                    self.search.clear();
                } else if self.filters.pop().is_none() {
                    return Wish::Nothing;
                }
                return Wish::Ask;
            }
            KeyCode::Char('/') => self.typed = Some(self.search.clone()),
            KeyCode::Char('u') => {
                self.measure = (self.measure + 1) % self.measures().len().max(1);
                return Wish::Ask;
            }
            KeyCode::Char('d') => {
                let longer = DELAYS.iter().find(|delay| **delay > self.delay);
                self.delay = longer.copied().unwrap_or(DELAYS[0]);
                return Wish::Ask;
            }
            KeyCode::Char(' ') => {
                self.is_paused = !self.is_paused;
                return if self.is_paused { Wish::Nothing } else { Wish::Ask };
            }
            KeyCode::Char('r') => return Wish::Ask,
            _ => {}
        }
        Wish::Nothing
    }

    /// A key while a search is typed.
    fn type_on(&mut self, key: KeyCode) -> Wish {
        let Some(typed) = &mut self.typed else { return Wish::Nothing };
        match key {
            KeyCode::Char(letter) if typed.chars().count() < SEARCH_LETTERS => typed.push(letter),
            KeyCode::Backspace => drop(typed.pop()),
            KeyCode::Esc => self.typed = None,
            KeyCode::Enter => {
                self.search = self.typed.take().unwrap_or_default();
                self.selected = 0;
                return Wish::Ask;
            }
            _ => {}
        }
        Wish::Nothing
    }

    fn move_tab(&mut self, by: usize) -> Wish {
        self.choose((self.tab + by) % self.tabs.len());
        Wish::Ask
    }

    fn filter_by_selected(&mut self) -> Wish {
        let row = self.traffic.as_ref().and_then(|traffic| traffic.rows.get(self.selected));
        let (Tab::Traffic(by), Some(row)) = (&self.tabs[self.tab], row) else {
            return Wish::Nothing;
        };
        let mut wish = Wish::Nothing;
        for ((label, value), name) in by.iter().zip(&row.values).zip(&row.names) {
            let name = value_name(label, value, name.as_deref(), row.is_other);
            let filter = Filter { label: label.clone(), value: value.clone(), name };
            if self.filters.len() < FILTERS && !self.filters.contains(&filter) {
                self.filters.push(filter);
                wish = Wish::Ask;
            }
        }
        self.selected = 0;
        wish
    }

    /// The view that has these labels and those that are filtered by; rather one that counts the measure.
    fn view(&self, by: &[String]) -> Option<&View> {
        let filters = self.filters.iter().map(|filter| &filter.label);
        let wanted: Vec<&String> = by.iter().chain(filters).collect();
        let fits = |view: &&View| wanted.iter().all(|label| view.has(label));
        let measure = self.measure();
        let counts = |view: &&View| view.measures.iter().any(|known| *known == measure);
        let mut fitting = self.views.iter().filter(fits);
        fitting.clone().find(counts).or_else(|| fitting.next())
    }

    /// The measures that any view counts.
    fn measures(&self) -> Vec<&str> {
        let mut measures = vec!["bytes", "packets", "flows"];
        measures.retain(|measure| {
            self.views.iter().any(|view| view.measures.iter().any(|m| m == measure))
        });
        measures
    }

    /// The chosen measure.
    pub(super) fn measure(&self) -> &str {
        self.measures().get(self.measure).copied().unwrap_or("bytes")
    }

    /// The table that is looked at.
    pub(super) fn table(&self) -> &Tab {
        &self.tabs[self.tab]
    }

    pub(super) fn tab(&self) -> usize {
        self.tab
    }

    /// What a table is called.
    pub(super) fn tab_name(tab: &Tab) -> String {
        match tab {
            Tab::Traffic(by) => {
                let names: Vec<_> = by.iter().map(|label| label_name(label)).collect();
                names.join(" → ")
            }
            Tab::Parts => "Parts".to_owned(),
            Tab::Endpoints => "Endpoints".to_owned(),
            Tab::Exporters => "Senders".to_owned(),
        }
    }

    /// What the table that is looked at is called.
    pub fn title(&self) -> String {
        Self::tab_name(self.table())
    }

    /// How many rows the table has.
    pub fn rows(&self) -> usize {
        let status = self.status.as_ref();
        let count = match self.table() {
            Tab::Traffic(_) => self.traffic.as_ref().map(|traffic| traffic.rows.len()),
            Tab::Parts => status.map(|status| status.components.len()),
            Tab::Endpoints => status.map(|status| status.endpoints.len()),
            Tab::Exporters => status
                .and_then(|status| status.source.collector.as_ref())
                .map(|collector| collector.exporters.len()),
        };
        count.unwrap_or(0)
    }

    pub(super) fn selected(&self) -> usize {
        self.selected
    }

    pub(super) fn traffic(&self) -> Option<&Traffic> {
        self.traffic.as_ref()
    }

    pub(super) fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    pub(super) fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// The search, and whether it is being typed.
    pub(super) fn search(&self) -> (&str, bool) {
        let typed = self.typed.as_deref();
        (typed.unwrap_or(&self.search), typed.is_some())
    }

    pub(super) fn is_help(&self) -> bool {
        self.is_help
    }

    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Whether nothing is asked until a key asks for it.
    pub fn is_paused(&self) -> bool {
        self.is_paused
    }

    /// The time between two questions.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// What is chosen, beside filters: the unit, and how often it is asked.
    pub(super) fn chosen(&self) -> String {
        let every = if self.is_paused {
            "paused".to_owned()
        } else {
            format!("every {} s", self.delay.as_secs())
        };
        format!("{}, {every}", unit_name(self.measure()))
    }

    /// The names of the classes of the traffic, by their place.
    pub(super) fn class_names(&self) -> Vec<(&str, &str)> {
        let classes = self.traffic.iter().flat_map(|traffic| &traffic.classes);
        classes.map(|class| (class.as_str(), class_name(class))).collect()
    }
}

/// A table for each label that some view has. Source and destination are shown as pairs of ASes alone
/// where there is a remote end.
fn tabs_of(views: &[View]) -> Vec<Tab> {
    let has = |label: &str| views.iter().any(|view| view.has(label));
    let mut labels: Vec<&String> = Vec::new();
    for label in views.iter().flat_map(|view| view.derived_labels.iter().chain(&view.labels)) {
        let end = ["source_", "destination_"].iter().find_map(|end| label.strip_prefix(end));
        let is_shown = end.is_none_or(|of| !has(&format!("remote_{of}")));
        if is_shown && !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels
        .sort_by_key(|label| FIRST.iter().position(|first| first == label).unwrap_or(FIRST.len()));
    let mut tabs: Vec<_> =
        labels.into_iter().map(|label| Tab::Traffic(vec![label.clone()])).collect();
    let pair = ["source_as", "destination_as"];
    if views.iter().any(|view| pair.iter().all(|label| view.has(label))) {
        let place = tabs.len().min(1);
        tabs.insert(place, Tab::Traffic(pair.map(str::to_owned).to_vec()));
    }
    tabs.extend([Tab::Parts, Tab::Endpoints, Tab::Exporters]);
    tabs
}
