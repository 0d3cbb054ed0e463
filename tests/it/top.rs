//! What `top` draws of the API's answers, and what keys do.

use std::{fs, path::Path, time::Duration};

use flow_exporter::top::{Colours, Question, Screen, Views, Wish, draw};
use ratatui::{
    buffer::{Buffer, Cell},
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    layout::Rect,
};

/// The examples of docs/api.md that have these words, which the program answers like.
fn example(words: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md");
    let text = fs::read_to_string(path).expect("the page is there");
    let examples = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut examples = examples.filter(|example| example.contains(words));
    let example = examples.next().unwrap_or_else(|| panic!("an example with {words}"));
    example.to_owned()
}

fn traffic() -> String {
    example("\"over_seconds\"")
}

fn status() -> String {
    example("\"is_ready\"")
}

fn screen() -> Screen {
    let views: Views = serde_json::from_str(&example("\"kept_labels\"")).expect("views");
    let mut screen = Screen::new(&views, Duration::from_secs(5));
    screen.tell_json(Some(&traffic()), &status()).expect("answers");
    screen
}

fn drawn(screen: &Screen, width: u16, height: u16) -> Vec<String> {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    draw(screen, &Colours::NONE, area, &mut buffer);
    let rows = buffer.content().chunks(width.into());
    rows.map(|row| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned()).collect()
}

fn press(screen: &mut Screen, keys: &str) -> Wish {
    let mut wish = Wish::Nothing;
    for letter in keys.chars() {
        let code = match letter {
            '\t' => KeyCode::Tab,
            '\n' => KeyCode::Enter,
            '\u{8}' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        wish = screen.press(KeyEvent::new(code, KeyModifiers::NONE));
    }
    wish
}

fn asked(screen: &Screen, name: &str) -> Vec<String> {
    let Question(parameters) = screen.question().expect("a question");
    parameters.into_iter().filter(|(of, _)| *of == name).map(|(_, value)| value).collect()
}

#[test]
fn a_terminal_of_80_columns_shows_what_the_page_shows() {
    let shown = drawn(&screen(), 80, 24);
    let expected = [
        "flow-exporter 0.1.0  AS 64500 from topic flows                   bits, every 5 s",
        "● push to mimir degraded: samples wait: the endpoint does not accept them at the",
        "behind 1.5 s · lag 5 messages · lost 0 · missing 0 datagrams · dropped 0 · serie",
        "In 100 kbit/s  ▇█                       Out 10.0 kbit/s  ▇█",
        "",
        " Remote AS  Source AS → Destination AS  Routers  Parts  Endpoints  Senders",
        "Remote AS                     last hour                  In           Out  share",
        "Example AS64501               ▇█                80.0 kbit/s   2.50 kbit/s   75 %",
        "17 more                                         20.0 kbit/s   7.50 kbit/s   25 %",
    ];
    assert_eq!(shown[..expected.len()], expected, "{shown:#?}");
    assert!(shown[23].starts_with("q quit  ? keys"), "{shown:#?}");
}

#[test]
fn where_there_are_fewer_columns_names_and_rates_stay() {
    let shown = drawn(&screen(), 60, 20);
    assert_eq!(shown[7], "Example AS64501             80.0 kbit/s   2.50 kbit/s   75 %");
    for width in [1, 2, 3, 5, 10, 20, 40, 79, 200] {
        for height in [1, 2, 3, 6, 7, 8, 24] {
            let mut screen = screen();
            drawn(&screen, width, height);
            press(&mut screen, "?");
            drawn(&screen, width, height);
        }
    }
}

#[test]
fn lists_show_parts_endpoints_and_senders_with_all_their_words_on_request() {
    let mut screen = screen();
    press(&mut screen, "\t\t\t");
    screen.tell_json(None, &status()).expect("a status");
    assert!(
        drawn(&screen, 80, 24)[7].starts_with("ledger        ready"),
        "{:#?}",
        drawn(&screen, 80, 24)
    );
    press(&mut screen, "\t");
    screen.tell_json(None, &status()).expect("a status");
    let row = &drawn(&screen, 80, 24)[7];
    assert!(
        row.starts_with("mimir degraded          81      1000        0 2.0: samples wait"),
        "{row}"
    );
    press(&mut screen, "\n");
    let whole = drawn(&screen, 80, 24).join("\n");
    assert!(whole.contains("503 Service") && whole.contains("Unavailable"), "{whole}");
    press(&mut screen, "x\t");
    screen.tell_json(None, &status()).expect("a status");
    let row = &drawn(&screen, 80, 24)[7];
    assert!(
        row.starts_with("edge1.example.net 192.0.2.1")
            && row.contains("240       1000          0          1"),
        "{row}"
    );
}

#[test]
fn keys_choose_what_is_asked() {
    let mut screen = screen();
    assert_eq!(asked(&screen, "by"), ["remote_as"]);
    assert_eq!(press(&mut screen, "\n"), Wish::Ask);
    assert_eq!(asked(&screen, "filter"), ["remote_as:64501"]);
    assert_eq!(drawn(&screen, 80, 24)[4], "Remote AS: Example AS64501");
    assert_eq!(press(&mut screen, "\t\t"), Wish::Ask);
    assert_eq!(
        (asked(&screen, "by"), asked(&screen, "filter").len()),
        (vec!["hostname".into()], 1)
    );
    assert_eq!(press(&mut screen, "/edge\u{8}"), Wish::Nothing);
    assert_eq!(drawn(&screen, 80, 24)[4], "Remote AS: Example AS64501  search: edg_");
    assert!(asked(&screen, "search").is_empty(), "until Enter");
    assert_eq!(press(&mut screen, "\n"), Wish::Ask);
    assert_eq!(asked(&screen, "search"), ["edg"]);
    assert_eq!(press(&mut screen, "\u{8}"), Wish::Ask);
    assert!(asked(&screen, "search").is_empty() && asked(&screen, "filter").len() == 1);
    assert_eq!(press(&mut screen, "\u{8}"), Wish::Ask);
    assert!(asked(&screen, "filter").is_empty());
    assert_eq!(press(&mut screen, "\u{8}"), Wish::Nothing);
    assert_eq!(press(&mut screen, " "), Wish::Nothing);
    assert!(screen.is_paused());
    assert_eq!(press(&mut screen, " "), Wish::Ask);
    assert_eq!(press(&mut screen, "d"), Wish::Ask);
    assert_eq!(screen.delay(), Duration::from_secs(10));
    press(&mut screen, "?");
    assert!(drawn(&screen, 80, 24).join("\n").contains("take the last filter back"));
    assert_eq!(press(&mut screen, "x"), Wish::Nothing);
    assert_eq!(press(&mut screen, "q"), Wish::Quit);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(screen.press(interrupt), Wish::Quit);
}

#[test]
fn what_can_not_be_asked_is_said_and_the_last_answer_stays() {
    let mut screen = screen();
    screen.tell(Err("http://edge:9590/ can't be asked".to_owned()));
    let shown = drawn(&screen, 80, 24);
    assert_eq!(shown[23], "http://edge:9590/ can't be asked; asking again");
    assert!(shown[7].starts_with("Example AS64501"), "{shown:#?}");
}

#[test]
fn texts_of_others_can_not_steer_the_terminal() {
    let mut screen = screen();
    let hostile = r"\u001b]0;gone\u0007\u001b[2J\u202e\u009b31m\r\n";
    let traffic = traffic().replace("Example", &format!("Ex{hostile}ample"));
    let status = status()
        .replace("from topic flows", &format!("from{hostile}"))
        .replace("samples wait", hostile)
        .replace("192.0.2.1", hostile);
    for tab in 0..screen.tabs().len() {
        screen.choose(tab);
        screen.tell_json(Some(&traffic), &status).expect("answers");
        press(&mut screen, "\n");
        for line in drawn(&screen, 80, 24) {
            let is_harmless = |letter: char| !letter.is_control() && letter != '\u{202e}';
            assert!(line.chars().all(is_harmless), "{line:?}");
        }
    }
}
