//! A remote-write receiver in this process. It records requests, and misbehaves on command.

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

/// A request as received.
#[derive(Debug, Clone)]
pub struct Received {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The connection it arrived on, counted from 0.
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

    /// Whether it is the probe that is not remote write at all, which every receiver must refuse.
    pub fn is_undecodable(&self) -> bool {
        self.body.starts_with(b"flow-exporter-asks")
    }

    /// Whether it is a 2.0 request without series, which probes for 2.0.
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

    /// Protocol and compression according to the headers; `question` if it asks about zstd.
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

    /// The timestamp that all samples have in common.
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

/// How a request is answered.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Never.
    Stall,
    /// The connection is closed.
    Reset,
    /// A status, and a body that breaks off.
    Break(u16),
    /// With this status, once the test opens the gate.
    Gated(Arc<Notify>, u16),
    /// A status, and an endless body, byte by byte.
    Trickle(u16),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Answer::Status(status, Vec::new(), String::new())
    }
}

/// A probe: a request without samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A body that no receiver can decode.
    Undecodable,
    /// A 2.0 request without series.
    Empty,
    /// A request that asks whether zstd is supported.
    Zstd,
}

type Judge = dyn Fn(&Received) -> Option<Answer> + Send + Sync;

#[derive(Default)]
struct Script {
    next: VecDeque<Answer>,
    judge: Option<Arc<Judge>>,
    always: Option<Answer>,
    /// Whether it accepts what it can't decode.
    takes_anything: bool,
    asked: Vec<Asked>,
    /// Answers to the next probes that can be decoded.
    answers_to_asked: VecDeque<Answer>,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("next", &self.next).finish_non_exhaustive()
    }
}

/// A receiver on a port of its own, until dropped.
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
    /// A receiver that answers 204 to every request.
    pub fn new() -> Self {
        let mut receiver = Receiver::refusing();
        receiver.listen();
        receiver
    }

    /// A receiver that has an address, and refuses connections until [`Receiver::listen`].
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

    /// Accepts connections from now on.
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
                    // The script may have it end with an error.
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

    /// Answers the next requests like this, and later ones as usual.
    pub fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().next.extend(answers);
    }

    /// Answers the next probes that can be decoded like this.
    pub fn answer_questions(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().answers_to_asked.extend(answers);
    }

    /// Drops the answers that are still left for next requests.
    pub fn forget_answers(&self) {
        self.script.lock().unwrap().next.clear();
    }

    /// Answers all requests for which nothing else is set like this.
    pub fn always(&self, answer: Answer) {
        self.script.lock().unwrap().always = Some(answer);
    }

    /// Answers requests according to their content, unless answers are set for the next ones.
    /// `None` leaves it to [`Receiver::always`].
    pub fn judge(&self, judge: impl Fn(&Received) -> Option<Answer> + Send + Sync + 'static) {
        self.script.lock().unwrap().judge = Some(Arc::new(judge));
    }

    /// From now on stores samples as a real receiver does.
    pub fn store(&self, kind: Kind) -> Arc<Mutex<Store>> {
        let store = Arc::new(Mutex::new(Store::new(kind)));
        let stored = Arc::clone(&store);
        self.judge(move |received| Some(store.lock().unwrap().write(received)));
        stored
    }

    /// Accepts even what it can't decode, like a server that is no receiver.
    pub fn takes_anything(&self, takes_anything: bool) {
        self.script.lock().unwrap().takes_anything = takes_anything;
    }

    /// The probes received.
    pub fn asked(&self) -> Vec<Asked> {
        self.script.lock().unwrap().asked.clone()
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Received {
        tokio::time::timeout(std::time::Duration::from_secs(60), self.requests.recv())
            .await
            .expect("a request within a minute")
            .expect("the receiver lives")
    }

    /// A request that has arrived already.
    pub fn received(&mut self) -> Option<Received> {
        self.requests.try_recv().ok()
    }

    /// Whether [`Receiver::next`] has returned all requests.
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
        // Answers that a test sets are for requests with samples; no judge sees what can't be
        // decoded.
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

/// Closes a connection.
#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct Hangup;

/// A body that may break off.
#[derive(Debug)]
struct ScriptedBody {
    rest: Option<Bytes>,
    breaks: bool,
    flushed: bool,
    /// When the next byte is due, if the body is endless.
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
                // The beginning is sent while more is awaited.
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
