//! A stand-in for a schema registry, as far as flow-exporter asks one. It ends with the process.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// The schema of flows with a hostname, as pmacct writes it.
pub const FLOWS: &str = r#"{"type": "record", "name": "acct_data", "fields": [
    {"name": "label", "type": "string"},
    {"name": "as_src", "type": "long"},
    {"name": "as_dst", "type": "long"},
    {"name": "packets", "type": ["null", "long"]},
    {"name": "bytes", "type": ["null", "long"]}]}"#;

/// A running registry.
pub struct SchemaRegistry {
    port: u16,
    state: Arc<Mutex<State>>,
}

/// What it does with requests.
enum Mode {
    /// Answers them.
    Up,
    /// Answers this to all of them: a status and a body.
    Failing(u16, String),
    /// Closes all connections.
    Away,
}

struct State {
    schemas: BTreeMap<u32, String>,
    /// What the next request is answered with.
    once: Option<(u16, String)>,
    mode: Mode,
    /// Closes the connections on which this is asked for.
    silent: Option<u32>,
    /// Ids that were asked for, each with the `Authorization` of the request.
    requests: Vec<(u32, Option<String>)>,
}

impl SchemaRegistry {
    /// Starts one that closes all connections.
    pub fn away() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (schemas, requests) = (BTreeMap::new(), Vec::new());
        let state = State { schemas, once: None, mode: Mode::Away, silent: None, requests };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&shared);
                thread::spawn(move || answer(stream.unwrap(), &state));
            }
        });
        SchemaRegistry { port, state }
    }

    /// Starts one with these schemas.
    pub fn start(schemas: &[(u32, &str)]) -> Self {
        let registry = Self::away();
        for (id, schema) in schemas {
            registry.register(*id, schema);
        }
        registry.recover();
        registry
    }

    /// The flag that names it.
    pub fn flag(&self) -> String {
        format!("--schema-registry=http://127.0.0.1:{}/ccompat/", self.port)
    }

    /// Adds a schema.
    pub fn register(&self, id: u32, schema: &str) {
        let schema = serde_json::json!({ "schema": schema }).to_string();
        self.register_as(id, schema);
    }

    /// Adds an answer for an id.
    pub fn register_as(&self, id: u32, answer: String) {
        self.state.lock().unwrap().schemas.insert(id, answer);
    }

    /// Has it never answer to this id.
    pub fn keep_silent_about(&self, id: u32) {
        self.state.lock().unwrap().silent = Some(id);
    }

    /// Has it answer this to everything.
    pub fn fail(&self, status: u16, body: &str) {
        self.state.lock().unwrap().mode = Mode::Failing(status, body.to_owned());
    }

    /// Has it answer this to the next request alone.
    pub fn say_once(&self, status: u16, body: &str) {
        self.state.lock().unwrap().once = Some((status, body.to_owned()));
    }

    /// Has it close all connections.
    pub fn go_away(&self) {
        self.state.lock().unwrap().mode = Mode::Away;
    }

    /// Has it answer.
    pub fn recover(&self) {
        self.state.lock().unwrap().mode = Mode::Up;
    }

    /// Ids that were asked for, each with the `Authorization` of the request.
    pub fn requests(&self) -> Vec<(u32, Option<String>)> {
        self.state.lock().unwrap().requests.clone()
    }
}

/// A message as Confluent's clients write it: a datum of [`FLOWS`] behind an id.
pub fn framed(id: u32, label: &str, source_as: u32, destination_as: u32, bytes: u64) -> Vec<u8> {
    let mut message = vec![0];
    message.extend(id.to_be_bytes());
    message.extend(datum(label, source_as, destination_as, bytes));
    message
}

/// A datum of [`FLOWS`].
pub fn datum(label: &str, source_as: u32, destination_as: u32, bytes: u64) -> Vec<u8> {
    let mut datum = Vec::new();
    let long = |number: u64, datum: &mut Vec<u8>| {
        let mut rest = number << 1;
        while rest >= 0x80 {
            datum.push((rest & 0x7f | 0x80) as u8);
            rest >>= 7;
        }
        datum.push(rest as u8);
    };
    long(label.len() as u64, &mut datum);
    datum.extend(label.as_bytes());
    long(source_as.into(), &mut datum);
    long(destination_as.into(), &mut datum);
    // No packets, and bytes.
    datum.extend([0, 2]);
    long(bytes, &mut datum);
    datum
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).unwrap_or(0) == 0 {
            return;
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let id = path.strip_prefix("/ccompat/schemas/ids/").and_then(|id| id.parse().ok());
    let authorization = request.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let mut state = state.lock().unwrap();
    state.requests.extend(id.map(|id| (id, authorization)));
    let once = state.once.take();
    let as_usual = match (&state.mode, id.and_then(|id| state.schemas.get(&id))) {
        (Mode::Away, _) => None,
        _ if id.is_some() && id == state.silent => None,
        (Mode::Failing(status, body), _) => Some((*status, body.clone())),
        (Mode::Up, Some(answer)) => Some((200, answer.clone())),
        (Mode::Up, None) => {
            Some((404, r#"{"error_code": 40403, "message": "Schema not found"}"#.to_owned()))
        }
    };
    let Some((status, body)) = once.or(as_usual) else { return };
    drop(state);
    let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length:");
    // The client may have disconnected.
    drop(write!(stream, "{head} {}\r\n\r\n{body}", body.len()));
}
