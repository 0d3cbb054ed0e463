//! The command `top`: the traffic of a running process in a terminal.
//!
//! `client.rs` asks the API (docs/api.md), `told.rs` is what it answers. `screen.rs` is what is looked at,
//! and what keys change of it; `draw.rs` draws that, and `words.rs` says how values are written. Only this
//! file has the terminal and the time.

mod client;
mod config;
mod draw;
mod keyboard;
mod screen;
mod told;
mod words;

use std::{
    env,
    future::{Future, pending},
    io::{self, IsTerminal as _, Write},
    pin::Pin,
};

use anyhow::Context as _;
use ratatui::{
    DefaultTerminal,
    buffer::{Buffer, Cell},
    layout::Rect,
};
use tokio::time::{Instant, sleep_until};

use client::Client;
use keyboard::Keyboard;

pub use config::TopConfig;
pub use draw::{Colours, draw, head, table};
pub use screen::{Screen, Tab, Wish};
pub use told::{Answers, Question, Status, Traffic, Views};

/// The width of plain text, in columns; that of lists, in which there are sentences, is larger.
const PLAIN_WIDTH: u16 = 100;
const LIST_WIDTH: u16 = 300;
/// The most rows of a table in plain text.
const PLAIN_ROWS: usize = 10;

/// Shows what a running process tells, until `stop` or the user ends it.
///
/// # Errors
/// If the process can't be asked even once, or the terminal not be used.
pub async fn run(config: TopConfig, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let client = Client::new(&config)?;
    tokio::select! {
        () = stop => Ok(()),
        shown = show(&config, &client) => shown,
    }
}

/// The same, until the user ends it.
async fn show(config: &TopConfig, client: &Client) -> anyhow::Result<()> {
    // The first answer decides whether there is anything to show.
    let views = client.views().await?;
    let mut screen = Screen::new(&views, config.delay);
    if config.is_once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let text = plain(client, &mut screen).await?;
        return io::stdout().write_all(text.as_bytes()).context("standard output");
    }
    let mut terminal = Terminal::open()?;
    let mut keyboard = Keyboard::start()?;
    let colours = if env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        Colours::NONE
    } else {
        Colours::SIXTEEN
    };
    let mut asking = Some(ask(client, &screen));
    let mut due = Instant::now() + screen.delay();
    loop {
        terminal.0.draw(|frame| draw(&screen, &colours, frame.area(), frame.buffer_mut()))?;
        let is_asking = asking.is_some();
        let answer = async {
            match &mut asking {
                Some(asking) => asking.await,
                None => pending().await,
            }
        };
        let wish = tokio::select! {
            event = keyboard.next() => match event? {
                Some(key) => screen.press(key),
                // It has another size.
                None => Wish::Nothing,
            },
            answer = answer => {
                asking = None;
                screen.tell(answer);
                Wish::Nothing
            }
            () = sleep_until(due), if !is_asking && !screen.is_paused() => Wish::Ask,
        };
        match wish {
            Wish::Quit => return Ok(()),
            Wish::Ask => {
                asking = Some(ask(client, &screen));
                due = Instant::now() + screen.delay();
            }
            Wish::Nothing => {}
        }
    }
}

type Asking<'c> = Pin<Box<dyn Future<Output = Result<Answers, String>> + 'c>>;

/// Asks what the screen shows.
fn ask<'c>(client: &'c Client, screen: &Screen) -> Asking<'c> {
    let question = screen.question();
    Box::pin(
        async move { client.ask(question.as_ref()).await.map_err(|error| format!("{error:#}")) },
    )
}

/// All tables as plain text.
async fn plain(client: &Client, screen: &mut Screen) -> anyhow::Result<String> {
    let mut out = String::new();
    for tab in 0..screen.tabs().len() {
        screen.choose(tab);
        let question = screen.question();
        if question.is_some() || tab == 0 {
            screen.tell(Ok(client.ask(question.as_ref()).await?));
        }
        if tab == 0 {
            out += &lines(PLAIN_WIDTH, draw::HEAD_ROWS, |area, buffer| {
                head(screen, &Colours::NONE, area, buffer);
            });
        }
        let rows = screen.rows().min(PLAIN_ROWS);
        if rows > 0 {
            out.push('\n');
            let width = if question.is_some() { PLAIN_WIDTH } else { LIST_WIDTH };
            // One more for the heading.
            out += &lines(width, rows as u16 + 1, |area, buffer| {
                table(screen, &Colours::NONE, area, buffer);
            });
        }
    }
    Ok(out)
}

/// What something draws, as lines of text.
fn lines(width: u16, rows: u16, paint: impl FnOnce(Rect, &mut Buffer)) -> String {
    let area = Rect::new(0, 0, width, rows);
    let mut buffer = Buffer::empty(area);
    paint(area, &mut buffer);
    let mut out = String::new();
    for row in buffer.content().chunks(usize::from(width)) {
        let line: String = row.iter().map(Cell::symbol).collect();
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// The terminal in the mode that drawing needs, until this is dropped.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn open() -> anyhow::Result<Self> {
        // It restores the terminal if a thread panics, too.
        ratatui::try_init()
            .map(Terminal)
            .context("the terminal can't be drawn on: use --once for plain text")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
