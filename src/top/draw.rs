//! Draws what is looked at, at any size. Texts of others are cleaned here.

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{
        Block, Cell, Clear, Paragraph, Row as TableRow, StatefulWidget, Table, TableState,
        Widget as _, Wrap,
    },
};
use serde_json::Value;

use super::{
    screen::{Screen, Tab},
    told::{Row, Status, Traffic},
    words::{clean, label_name, mebibytes, percent, rate, span, sparkline, value_name},
};

/// Lines above the table: what is asked, how it is, and rates.
pub(super) const HEAD_ROWS: u16 = 5;

/// The columns of a rate, and of a curve.
const RATE_WIDTH: u16 = 13;
const CURVE_WIDTH: u16 = 15;
/// From this width on, a table has curves.
const WIDE: u16 = 78;
/// The least columns of what a row is called.
const NAME_WIDTH: u16 = 16;

const HELP: &str = "\
Tab, ← →       another table          Enter      filter by the selected row
↑ ↓, j k       another row            Backspace  take the last filter back
PgUp, PgDn     ten rows               /          search in the table
Home, End      the first, the last    u          bits, packets or flows
space          stop and go on         d          ask less often
r              ask now                q          quit";

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub struct Colours {
    receive: Option<Color>,
    transmit: Option<Color>,
    quiet: Option<Color>,
    good: Option<Color>,
    warning: Option<Color>,
    bad: Option<Color>,
}

impl Colours {
    /// For terminals, in their own shades.
    pub const SIXTEEN: Colours = Colours {
        receive: Some(Color::Cyan),
        transmit: Some(Color::Yellow),
        quiet: Some(Color::DarkGray),
        good: Some(Color::Green),
        warning: Some(Color::Yellow),
        bad: Some(Color::Red),
    };

    /// For those who want none (`NO_COLOR`).
    pub const NONE: Colours = Colours {
        receive: None,
        transmit: None,
        quiet: None,
        good: None,
        warning: None,
        bad: None,
    };

    fn of_class(&self, class: &str) -> Style {
        style(if class == "receive" { self.receive } else { self.transmit })
    }

    fn of_state(&self, state: &str) -> Style {
        style(match state {
            "ready" | "finished" => self.good,
            "starting" | "degraded" => self.warning,
            _ => self.bad,
        })
    }
}

fn style(colour: Option<Color>) -> Style {
    colour.map_or_else(Style::new, |colour| Style::new().fg(colour))
}

/// Draws all of it.
pub fn draw(screen: &Screen, colours: &Colours, area: Rect, buffer: &mut Buffer) {
    let [top, tabs, middle, bottom] = Layout::vertical([
        Constraint::Length(HEAD_ROWS),
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    head(screen, colours, top, buffer);
    tab_bar(screen, tabs, buffer);
    table(screen, colours, middle, buffer);
    foot(screen, colours).render(bottom, buffer);
    if screen.is_help() {
        over(" Keys ", HELP, area, buffer);
    } else if screen.is_whole() {
        over(&format!(" {} ", screen.title()), &whole(screen), area, buffer);
    }
}

/// Draws a text over the middle of the rest.
fn over(title: &str, text: &str, area: Rect, buffer: &mut Buffer) {
    let width = area.width.min(76);
    let inner = usize::from(width.saturating_sub(2)).max(1);
    let lines: usize =
        text.lines().map(|line| line.chars().count().div_ceil(inner - inner / 8)).sum();
    let height = area.height.min(lines as u16 + 2);
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    Clear.render(place, buffer);
    let block = Block::bordered().title(title.to_owned());
    Paragraph::new(text).wrap(Wrap { trim: false }).block(block).render(place, buffer);
}

/// All words of the selected row of a list.
fn whole(screen: &Screen) -> String {
    let Some(status) = screen.status() else { return String::new() };
    let lines: Vec<_> = match screen.table() {
        Tab::Parts => status.components.get(screen.selected()).map_or_else(Vec::new, |of| {
            vec![Some(of.name.as_str()), Some(of.state.as_str()), of.reason.as_deref()]
        }),
        Tab::Endpoints => status.endpoints.get(screen.selected()).map_or_else(Vec::new, |of| {
            vec![Some(of.name.as_str()), of.state.as_deref(), of.reason.as_deref()]
        }),
        Tab::Traffic(_) | Tab::Exporters => Vec::new(),
    };
    let lines: Vec<_> = lines.into_iter().flatten().map(clean).collect();
    lines.join("\n")
}

/// Draws what is asked, how the program is, and rates with their curves.
pub fn head(screen: &Screen, colours: &Colours, area: Rect, buffer: &mut Buffer) {
    let rows: [Rect; HEAD_ROWS as usize] =
        Layout::vertical([Constraint::Length(1); HEAD_ROWS as usize]).areas(area);
    let [name, state, facts, rates, filters] = rows;
    if let Some(status) = screen.status() {
        let title = vec![
            "flow-exporter ".bold(),
            Span::raw(clean(&status.version)),
            Span::raw("  "),
            Span::raw(clean(&status.about)),
        ];
        Line::from(title).render(name, buffer);
        state_line(status, colours).render(state, buffer);
        Line::styled(facts_of(status), style(colours.quiet)).render(facts, buffer);
    }
    // Over the end of a long name.
    let chosen = format!(" {}", screen.chosen());
    let width = (chosen.chars().count() as u16).min(name.width);
    let right = Rect { x: name.right() - width, width, ..name };
    Clear.render(right, buffer);
    Line::styled(chosen, style(colours.quiet)).alignment(Alignment::Right).render(right, buffer);
    if let Some(traffic) = screen.traffic() {
        rates_line(screen, traffic, colours, rates, buffer);
    }
    filters_line(screen, colours).render(filters, buffer);
}

/// The worst state, and whose it is.
fn state_line(status: &Status, colours: &Colours) -> Line<'static> {
    const BEST_FIRST: [&str; 6] = ["finished", "ready", "starting", "degraded", "failing", "died"];
    let rank = |state: &str| BEST_FIRST.iter().position(|known| *known == state).unwrap_or(0);
    let worst = status.components.iter().max_by_key(|component| rank(&component.state));
    let Some(worst) = worst else { return Line::default() };
    let state = clean(&worst.state);
    let colour = colours.of_state(&state);
    let said = if rank(&worst.state) <= 1 {
        "ready".to_owned()
    } else {
        let reason = worst.reason.as_deref().map(clean).unwrap_or_default();
        format!("{} {state}: {reason}", clean(&worst.name))
    };
    Line::styled(format!("● {said}"), colour)
}

/// How far behind it is, what is lost, and what it takes.
fn facts_of(status: &Status) -> String {
    let mut facts = Vec::new();
    if let Some(behind) = status.source.behind_seconds {
        facts.push(format!("behind {}", span(behind)));
    }
    if let Some(kafka) = &status.source.kafka {
        facts.push(format!("lag {} messages", kafka.lag_messages));
        facts.push(format!("lost {}", kafka.lost_messages));
    }
    if let Some(collector) = &status.source.collector {
        let missing: u64 =
            collector.exporters.iter().flat_map(|of| of.missing_datagrams.values()).sum();
        facts.push(format!("missing {missing} datagrams"));
        facts.push(format!("dropped {}", collector.socket_drops));
    }
    let series: u64 = status.views.iter().map(|view| view.series).sum();
    let most: u64 = status.views.iter().map(|view| view.max_series).sum();
    facts.push(format!("series {series} of {most}"));
    facts.extend(status.process.resident_bytes.map(mebibytes));
    facts.join(" · ")
}

/// The rates of all that is asked for, and the curve of the hour.
fn rates_line(
    screen: &Screen,
    traffic: &Traffic,
    colours: &Colours,
    area: Rect,
    buffer: &mut Buffer,
) {
    let classes = screen.class_names();
    let parts = Layout::horizontal(vec![Constraint::Fill(1); classes.len().max(1)]).split(area);
    for ((class, name), part) in classes.iter().zip(parts.iter()) {
        let unit = &traffic.curve.unit;
        let value = traffic.total.get(*class).and_then(|sums| sums.get(unit)).copied();
        let said = format!("{name} {}  ", value.map_or("–".to_owned(), |value| rate(value, unit)));
        let room = usize::from(part.width).saturating_sub(said.chars().count() + 1);
        let curve = sparkline(&numbers(traffic.curve.points.get(*class)), room.min(60));
        let line = vec![Span::from(said).bold(), Span::styled(curve, colours.of_class(class))];
        Line::from(line).render(*part, buffer);
    }
}

fn numbers(points: Option<&Value>) -> Vec<f64> {
    let points = points.and_then(Value::as_array);
    points.into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn filters_line(screen: &Screen, colours: &Colours) -> Line<'static> {
    let (search, is_typed) = screen.search();
    let mut spans = Vec::new();
    for filter in screen.filters() {
        spans.push(Span::styled(format!("{}: ", label_name(&filter.label)), style(colours.quiet)));
        spans.push(Span::raw(format!("{}  ", filter.name)));
    }
    if is_typed || !search.is_empty() {
        spans.push(Span::styled("search: ", style(colours.quiet)));
        spans.push(Span::raw(format!("{}{}", clean(search), if is_typed { "_" } else { "" })));
    }
    Line::from(spans)
}

/// The names of tables; the chosen one is always to be seen.
fn tab_bar(screen: &Screen, area: Rect, buffer: &mut Buffer) {
    let names: Vec<_> = screen.tabs().iter().map(Screen::tab_name).collect();
    let width = |name: &String| name.chars().count() + 2;
    let mut first = 0;
    while first < screen.tab()
        && names[first..=screen.tab()].iter().map(width).sum::<usize>() > usize::from(area.width)
    {
        first += 1;
    }
    let spans = names.into_iter().enumerate().skip(first).map(|(at, name)| {
        let name = Span::from(format!(" {name} "));
        if at == screen.tab() { name.reversed() } else { name }
    });
    Line::from(spans.collect::<Vec<_>>()).render(area, buffer);
}

/// Draws the table that is looked at, from the selected row's page on.
pub fn table(screen: &Screen, colours: &Colours, area: Rect, buffer: &mut Buffer) {
    let (heading, widths, rows) = match screen.table() {
        Tab::Traffic(by) => traffic_rows(screen, by, colours, area.width),
        Tab::Parts => parts(screen, colours, area.width),
        Tab::Endpoints => endpoints(screen, colours, area.width),
        Tab::Exporters => exporters(screen),
    };
    if rows.is_empty() {
        let said = match screen.table() {
            Tab::Traffic(_) if screen.traffic().is_none() && screen.question().is_none() => {
                "No view has these labels and those of all filters."
            }
            Tab::Traffic(_) if screen.traffic().is_none() => "…",
            Tab::Traffic(_) => "Nothing was counted within the last hour.",
            Tab::Endpoints => "Nothing is pushed.",
            Tab::Exporters => "Flows are not collected from routers.",
            Tab::Parts => "…",
        };
        return Paragraph::new(said).render(area, buffer);
    }
    let table = Table::new(rows, widths)
        .header(TableRow::new(heading).style(style(colours.quiet).add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .column_spacing(1);
    let is_listed = !matches!(screen.table(), Tab::Traffic(_));
    let mut state = TableState::new();
    if !is_listed || screen.selected() > 0 {
        state.select(Some(screen.selected()));
    }
    StatefulWidget::render(table, area, buffer, &mut state);
}

type Rows = (Vec<Cell<'static>>, Vec<Constraint>, Vec<TableRow<'static>>);

fn right(text: impl Into<String>) -> Cell<'static> {
    Cell::from(Line::from(text.into()).alignment(Alignment::Right))
}

fn traffic_rows(screen: &Screen, by: &[String], colours: &Colours, width: u16) -> Rows {
    let classes = screen.class_names();
    // What does not fit is left out, the last class first.
    let fixed = 7 + NAME_WIDTH;
    let room = usize::from(width.saturating_sub(fixed) / (RATE_WIDTH + 1)).max(1);
    let classes = &classes[..classes.len().min(room)];
    let is_wide = width >= WIDE + (classes.len().saturating_sub(2) as u16) * RATE_WIDTH;
    let mut heading = vec![Cell::from(screen.title())];
    let mut widths = vec![Constraint::Min(NAME_WIDTH)];
    if is_wide {
        heading.push(Cell::from("last hour"));
        widths.push(Constraint::Length(CURVE_WIDTH));
    }
    for (_, name) in classes {
        heading.push(right(*name));
        widths.push(Constraint::Length(RATE_WIDTH));
    }
    heading.push(right("share"));
    widths.push(Constraint::Length(6));

    let Some(traffic) = screen.traffic() else { return (heading, widths, Vec::new()) };
    let unit = &traffic.curve.unit;
    let cells = |name: String, curve: String, of: &dyn Fn(&str) -> Option<f64>, share| {
        let mut cells = vec![Cell::from(name)];
        if is_wide {
            cells.push(Cell::from(Span::styled(curve, style(colours.receive))));
        }
        for (class, _) in classes {
            cells.push(right(of(class).map_or("–".to_owned(), |value| rate(value, unit))));
        }
        cells.push(right(percent(share)));
        TableRow::new(cells)
    };
    let mut rows: Vec<_> = traffic
        .rows
        .iter()
        .map(|row| {
            let of = |class: &str| row.classes.get(class)?.get(unit)?.as_f64();
            let curve = sparkline(&curve_of(row), usize::from(CURVE_WIDTH));
            cells(row_name(by, row), curve, &of, row.share)
        })
        .collect();
    if traffic.rest.rows > 0 && !rows.is_empty() {
        let of = |class: &str| traffic.rest.classes.get(class)?.get(unit)?.as_f64();
        let name = format!("{} more", traffic.rest.rows);
        rows.push(cells(name, String::new(), &of, traffic.rest.share).style(style(colours.quiet)));
    }
    (heading, widths, rows)
}

/// What a row is called.
fn row_name(by: &[String], row: &Row) -> String {
    let values = by.iter().zip(&row.values).zip(&row.names);
    let names: Vec<_> = values
        .map(|((label, value), name)| value_name(label, value, name.as_deref(), row.is_other))
        .collect();
    names.join(" → ")
}

/// The sum of all classes, by point.
fn curve_of(row: &Row) -> Vec<f64> {
    let points = row.curve.values().map(Vec::len).max().unwrap_or(0);
    let sum = |at| row.curve.values().filter_map(|points| points.get(at)).sum();
    (0..points).map(sum).collect()
}

/// The column of names, which leaves room for others.
fn names_width<'n>(names: impl Iterator<Item = &'n String>, width: u16) -> Constraint {
    let longest = names.map(|name| name.chars().count()).max().unwrap_or(0);
    Constraint::Length((longest as u16).min(width / 3))
}

fn parts(screen: &Screen, colours: &Colours, width: u16) -> Rows {
    let heading = ["Part", "state", "what, and what to do"].map(Cell::from).to_vec();
    let components = screen.status().into_iter().flat_map(|status| &status.components);
    let names = names_width(components.clone().map(|component| &component.name), width);
    let widths = vec![names, Constraint::Length(9), Constraint::Fill(1)];
    let rows = components.map(|component| {
        let state = clean(&component.state);
        let colour = colours.of_state(&state);
        TableRow::new([
            Cell::from(clean(&component.name)),
            Cell::from(Span::styled(state, colour)),
            Cell::from(component.reason.as_deref().map(clean).unwrap_or_default()),
        ])
    });
    (heading, widths, rows.collect())
}

fn endpoints(screen: &Screen, colours: &Colours, width: u16) -> Rows {
    let mut heading = ["Endpoint", "state"].map(Cell::from).to_vec();
    heading.extend(["samples/s", "waiting", "dropped"].map(right));
    heading.push(Cell::from("protocol, last words"));
    let endpoints = screen.status().into_iter().flat_map(|status| &status.endpoints);
    let widths = vec![
        names_width(endpoints.clone().map(|endpoint| &endpoint.name), width),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(8),
        Constraint::Fill(1),
    ];
    let rows = endpoints.map(|endpoint| {
        let state = endpoint.state.as_deref().map(clean).unwrap_or_default();
        let colour = colours.of_state(&state);
        let words = [endpoint.protocol.as_deref(), endpoint.reason.as_deref()];
        let words: Vec<_> = words.into_iter().flatten().map(clean).collect();
        TableRow::new([
            Cell::from(clean(&endpoint.name)),
            Cell::from(Span::styled(state, colour)),
            right(
                endpoint.confirmed_per_second.map_or("–".to_owned(), |each| format!("{each:.0}")),
            ),
            right(endpoint.samples.pending.to_string()),
            right(endpoint.samples.dropped.to_string()),
            Cell::from(words.join(": ")),
        ])
    });
    (heading, widths, rows.collect())
}

fn exporters(screen: &Screen) -> Rows {
    let mut heading = vec![Cell::from("Sender")];
    heading.extend(["flows/s", "sampling", "missing", "undecoded"].map(right));
    let mut widths = vec![Constraint::Fill(1)];
    widths.extend([10; 4].map(Constraint::Length));
    let collector = screen.status().and_then(|status| status.source.collector.as_ref());
    let exporters = collector.into_iter().flat_map(|collector| &collector.exporters);
    let rows = exporters.map(|of| {
        let missing: u64 = of.missing_datagrams.values().chain(of.missing_flows.values()).sum();
        let names = [of.hostname.as_deref().map(clean), Some(clean(&of.name))];
        TableRow::new([
            Cell::from(names.into_iter().flatten().collect::<Vec<_>>().join(" ")),
            right(of.flows_per_second.map_or("–".to_owned(), |each| format!("{each:.0}"))),
            right(of.sampling_rate.map_or("unknown".to_owned(), |rate| rate.to_string())),
            right(missing.to_string()),
            right(of.undecoded.values().sum::<u64>().to_string()),
        ])
    });
    (heading, widths, rows.collect())
}

/// What went wrong, or which keys there are.
fn foot(screen: &Screen, colours: &Colours) -> Line<'static> {
    match screen.trouble() {
        Some(trouble) => {
            Line::styled(format!("{}; asking again", clean(trouble)), style(colours.bad))
        }
        None => Line::styled(
            "q quit  ? keys  Tab table  Enter filter  / search  u unit  space pause",
            style(colours.quiet),
        ),
    }
}
