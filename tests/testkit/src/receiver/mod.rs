//! A remote-write receiver in this process: it records what it is sent, and misbehaves on command.

mod store;

use std::{
    collections::VecDeque,
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use flow_exporter::publish::remote_write::proto::{v1::WriteRequest, v2};
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use prost::Message;
use socket2::{Domain, Socket, Type};
use tokio::{
    net::TcpListener,
    sync::{Notify, mpsc},
    task::JoinSet,
    time::Sleep,
};

pub use store::{Kind, Labels, Store};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Which connection it came by, counted from 0.
    pub connection: usize,
}

impl Received {
    /// The body, decompressed.
    pub fn protobuf(&self) -> Vec<u8> {
        match self.header("content-encoding") {
            Some("snappy") => {
                snap::raw::Decoder::new().decompress_vec(&self.body).expect("a snappy block")
            }
            Some("zstd") => zstd::stream::decode_all(&*self.body).expect("a zstd frame"),
            other => panic!("{other:?}"),
        }
    }

    /// Whether it is the question whether this is remote write at all, which no receiver takes.
    pub fn is_undecodable(&self) -> bool {
        self.body.starts_with(b"flow-exporter-asks")
    }

    /// Whether it is a 2.0 request without series.
    fn is_empty_2_0(&self) -> bool {
        let decoded = snap::raw::Decoder::new().decompress_vec(&self.body);
        let request = decoded.ok().and_then(|body| v2::Request::decode(body.as_slice()).ok());
        self.form() == "2.0" && request.is_some_and(|request| request.timeseries.is_empty())
    }

    /// Whether it holds samples of flows.
    pub fn is_of_flows(&self) -> bool {
        !self.is_undecodable()
            && self.samples().iter().any(|(labels, ..)| labels.contains_key("source_as"))
    }

    /// Protocol and compression by the headers, and whether it is the question about zstd.
    pub fn form(&self) -> &'static str {
        let content_type = self.header("content-type").expect("a content type");
        let encoding = self.header("content-encoding").expect("an encoding");
        match (content_type, encoding) {
            _ if self.uri.query().is_some_and(|query| query.contains("get_vm_proto")) => "question",
            ("application/x-protobuf", "snappy") => "1.0",
            ("application/x-protobuf", "zstd") => "zstd",
            ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy") => "2.0",
            other => panic!("{other:?}"),
        }
    }

    pub fn write_request(&self) -> WriteRequest {
        WriteRequest::decode(self.protobuf().as_slice()).expect("a WriteRequest")
    }

    /// Every sample: labels, timestamp in milliseconds, value.
    pub fn samples(&self) -> Vec<(Labels, i64, f64)> {
        let mut samples = Vec::new();
        if self.form() == "2.0" {
            let request = v2::Request::decode(self.protobuf().as_slice()).expect("a Request");
            let symbol = |at: u32| request.symbols[at as usize].clone();
            for series in &request.timeseries {
                let pairs = series.labels_refs.chunks(2);
                let labels: Labels = pairs.map(|pair| (symbol(pair[0]), symbol(pair[1]))).collect();
                for sample in &series.samples {
                    samples.push((labels.clone(), sample.timestamp, sample.value));
                }
            }
        } else {
            for series in self.write_request().timeseries {
                let labels: Labels =
                    series.labels.into_iter().map(|label| (label.name, label.value)).collect();
                for sample in series.samples {
                    samples.push((labels.clone(), sample.timestamp, sample.value));
                }
            }
        }
        samples
    }

    /// The one timestamp that all samples have.
    pub fn time_ms(&self) -> i64 {
        let samples = self.samples();
        assert!(samples.iter().all(|sample| sample.1 == samples[0].1), "one time a request");
        samples[0].1
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("a readable header");
        assert!(values.next().is_none(), "{name} is there twice");
        Some(value)
    }
}

/// What a request is answered with.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Nothing, ever.
    Stall,
    /// The connection is closed instead.
    Reset,
    /// A status, and a body that breaks off.
    Break(u16),
    /// Once the gate has been opened.
    Gated(Arc<Notify>, u16),
    /// A status, and a body that never ends, a byte at a time.
    Trickle(u16),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Answer::Status(status, Vec::new(), String::new())
    }
}

/// What is asked of the receiver beside samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// What no receiver can decode.
    Undecodable,
    /// A 2.0 request without series.
    Empty,
    /// Whether it takes zstd.
    Zstd,
}

type Judge = dyn Fn(&Received) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Script {
    next: VecDeque<Answer>,
    judge: Option<Arc<Judge>>,
    always: Option<Answer>,
    /// Whether it takes what it can't decode like everything else.
    takes_anything: bool,
    asked: Vec<Asked>,
    /// The answers to the next questions that it can decode.
    answers_to_asked: VecDeque<Answer>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("next", &self.next).finish_non_exhaustive()
    }
}

/// A receiver at an address of its own. It ends with this handle.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    closed: Option<Socket>,
    script: Arc<Mutex<Script>>,
    requests: mpsc::UnboundedReceiver<Received>,
    record: mpsc::UnboundedSender<Received>,
    tasks: JoinSet<()>,
}

impl Receiver {
    /// One that answers 204 to everything.
    pub fn new() -> Self {
        let mut receiver = Receiver::refusing();
        receiver.listen();
        receiver
    }

    /// One that has an address, but refuses connections until [`Receiver::listen`].
    pub fn refusing() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = socket.local_addr().expect("bound").as_socket().expect("an IP address");
        let (record, requests) = mpsc::unbounded_channel();
        Receiver {
            address,
            closed: Some(socket),
            script: Arc::default(),
            requests,
            record,
            tasks: JoinSet::new(),
        }
    }

    /// Takes connections from now on.
    pub fn listen(&mut self) {
        let socket = self.closed.take().expect("called once");
        socket.listen(16).expect("listens");
        socket.set_nonblocking(true).expect("for tokio");
        let listener = TcpListener::from_std(socket.into()).expect("a listener");
        let (script, record) = (Arc::clone(&self.script), self.record.clone());
        self.tasks.spawn(async move {
            let mut connections = JoinSet::new();
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("accepts");
                let (script, record) = (Arc::clone(&script), record.clone());
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        answer(request, connection, Arc::clone(&script), record.clone())
                    });
                    // It ends with an error where the script says so.
                    drop(
                        hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
    }

    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.address)
    }

    /// The answers to the next requests, before it goes back to what it always answers.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().next.extend(answers);
    }

    /// The answers to the next questions that it can decode, which hold no samples.
    pub fn answer_questions(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().answers_to_asked.extend(answers);
    }

    /// Forgets answers that no request has had.
    pub fn forget_answers(&self) {
        self.script.lock().unwrap().next.clear();
    }

    /// The answer to all requests without another one.
    pub fn always(&self, answer: Answer) {
        self.script.lock().unwrap().always = Some(answer);
    }

    /// Answers requests by what they hold, where no answer was ordered before. Without an answer
    /// it is the one to all requests.
    pub fn judge(&self, judge: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static) {
        self.script.lock().unwrap().judge = Some(Arc::new(judge));
    }

    /// Stores what it gets as a real receiver does, from now on.
    pub fn store(&self, kind: Kind) -> Arc<Mutex<Store>> {
        let store = Arc::new(Mutex::new(Store::new(kind)));
        let stored = Arc::clone(&store);
        self.judge(move |received| Some(store.lock().unwrap().write(received)));
        stored
    }

    /// Takes what it can't decode like everything else, as what is no receiver does.
    pub fn takes_anything(&self, takes_anything: bool) {
        self.script.lock().unwrap().takes_anything = takes_anything;
    }

    /// What it was asked beside samples.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    /// The next request, as soon as it is there.
    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(std::time::Duration::from_secs(60), self.requests.recv())
            .await
            .expect("a request within a minute")
            .expect("the receiver lives")
    }

    /// A request that is there already.
    pub fn received(&mut self) -> Option<Received> {
        self.requests.try_recv().ok()
    }

    /// Whether there is no request that [`Receiver::next`] has not returned.
    pub fn is_idle(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }
}

async fn answer(
    request: Request<Incoming>,
    connection: usize,
    script: Arc<Mutex<Script>>,
    record: mpsc::UnboundedSender<Received>,
) -> Result<Response<ScriptedBody>, Hangup> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Hangup)?.to_bytes();
    let received =
        Received { method: head.method, uri: head.uri, headers: head.headers, body, connection };
    let asked = if received.is_undecodable() {
        Some(Asked::Undecodable)
    } else if received.header("content-encoding").is_none() {
        None
    } else if received.form() == "question" {
        Some(Asked::Zstd)
    } else {
        received.is_empty_2_0().then_some(Asked::Empty)
    };
    let (ordered, judge, always) = {
        let mut script = script.lock().unwrap();
        script.asked.extend(asked);
        // What a test orders is for its samples, and what can't be decoded is for no judge.
        let ordered = match asked {
            None => script.next.pop_front(),
            Some(Asked::Undecodable) => None,
            Some(_) => script.answers_to_asked.pop_front(),
        };
        let (judge, always) = (script.judge.clone(), script.always.clone());
        match asked {
            Some(Asked::Undecodable) if !script.takes_anything => {
                (Some(Answer::status(400)), None, None)
            }
            _ => (ordered, judge, always),
        }
    };
    let answer = ordered
        .or_else(|| judge.and_then(|judge| judge(&received)))
        .or(always)
        .unwrap_or(Answer::status(204));
    if asked.is_none() {
        drop(record.send(received));
    }
    let mut trickle = None;
    let (status, headers, body, breaks) = match answer {
        Answer::Status(status, headers, body) => (status, headers, body, false),
        Answer::Stall => std::future::pending().await,
        Answer::Reset => return Err(Hangup),
        Answer::Break(status) => (status, Vec::new(), "beginning".to_owned(), true),
        Answer::Gated(gate, status) => {
            gate.notified().await;
            (status, Vec::new(), String::new(), false)
        }
        Answer::Trickle(status) => {
            trickle = Some(Box::pin(tokio::time::sleep(Duration::ZERO)));
            (status, Vec::new(), String::new(), false)
        }
    };
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    let body = ScriptedBody { rest: Some(body.into()), breaks, flushed: false, trickle };
    Ok(response.body(body).expect("a valid response"))
}

/// Ends a connection.
#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct Hangup;

/// A body that may break off before its end.
#[derive(Debug)]
struct ScriptedBody {
    rest: Option<Bytes>,
    breaks: bool,
    flushed: bool,
    /// When the next byte is due, if there is no end to them.
    trickle: Option<Pin<Box<Sleep>>>,
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(due) = &mut self.trickle {
            if due.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            due.set(tokio::time::sleep(Duration::from_millis(10)));
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"a")))));
        }
        match self.rest.take() {
            Some(rest) if !rest.is_empty() => Poll::Ready(Some(Ok(Frame::data(rest)))),
            _ if self.breaks && self.flushed => {
                Poll::Ready(Some(Err(io::Error::other("broken off"))))
            }
            _ if self.breaks => {
                // What is written goes out while more is waited for.
                self.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        !self.breaks && self.trickle.is_none() && self.rest.as_ref().is_none_or(Bytes::is_empty)
    }
}
