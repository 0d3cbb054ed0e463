//! Threads and tasks that end are noticed, and so are log lines that can't be written.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    sync::{Arc, mpsc},
    time::Duration,
};

use flow_exporter::{
    clock::UnixMs,
    health::{Health, State},
    log::Log,
    metrics::Metrics,
    source::{
        Bound, Message, Position, Publication, Sink,
        input::InputSource,
        kafka::{
            KafkaConfig, KafkaSource, PartitionChoice, RunningKafkaSource, StartOffset, Stored,
        },
    },
    threads,
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use testkit::cluster::{Cluster, TOPIC, client, cluster};
use tokio::time::timeout;

/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// The component that died, once one has.
async fn death(health: &Health) -> String {
    timeout(PATIENCE, health.death()).await.expect("a death")
}

/// Whether no component has died so far.
async fn all_live(health: &Health) -> bool {
    timeout(Duration::ZERO, health.death()).await.is_err()
}

fn state(health: &Health) -> State {
    health.components()[0].1.clone()
}

#[tokio::test]
async fn the_death_of_a_thread_is_known_at_once_and_stays_known() {
    let health = Health::new();
    let component = health.register("ledger");
    component.set(State::Ready);
    let thread = threads::thread(component.lifeline("second"), || panic!("of a test")).unwrap();
    assert_eq!(death(&health).await, "ledger (second)");
    assert!(thread.join().is_err());
    component.set(State::Ready);
    assert_eq!(state(&health), State::Died, "the first thread knows nothing of it");
    component.finish();
    assert_eq!(state(&health), State::Died);
}

#[tokio::test]
async fn the_death_of_a_task_is_known_whether_it_panics_or_is_aborted() {
    let health = Health::new();
    let push = health.register("push");
    let task = threads::task(push.lifeline("stream"), async { panic!("of a test") });
    assert_eq!(death(&health).await, "push (stream)");
    assert!(task.await.is_err());

    let health = Health::new();
    let push = health.register("push");
    threads::task(push.lifeline("stream"), std::future::pending::<()>()).abort();
    assert_eq!(death(&health).await, "push (stream)");
}

#[tokio::test]
async fn a_thread_or_task_that_returns_has_not_died() {
    let health = Health::new();
    let [first, second] = ["first", "second"].map(|name| health.register(name));
    assert_eq!(threads::thread(first.lifeline("a"), || 1).unwrap().join().unwrap(), 1);
    assert_eq!(threads::task(second.lifeline("b"), async { 2 }).await.unwrap(), 2);
    first.finish();
    second.fail("the disk is gone: mend it".to_owned());
    assert!(all_live(&health).await);
    let states: Vec<_> = health.components().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [State::Finished, State::Failing("the disk is gone: mend it".to_owned())]);
}

/// Keeps its input; panics on `panic`.
struct Keeping(mpsc::Sender<String>);

impl Sink for Keeping {
    fn message(&mut self, message: Message<'_>) {
        let text = String::from_utf8_lossy(message.payload).into_owned();
        assert_ne!(text, "panic", "of a test");
        self.0.send(text).unwrap();
    }

    fn bound(&self) -> Option<Bound> {
        None
    }

    fn advance_watermark(&mut self, _time: UnixMs) {}

    fn hand_over_is_due(&self) -> bool {
        false
    }

    fn hand_over(&mut self, _positions: Vec<Position>) {}

    fn wake_with(&mut self, _waker: Arc<dyn Fn() + Send + Sync>) {}
}

struct NothingPublished;

impl Publication for NothingPublished {
    fn target(&self) -> Option<UnixMs> {
        None
    }

    fn published(&self) -> Vec<Position> {
        Vec::new()
    }

    fn note_cluster(&self, _id: &str) {}

    fn settle(&self, _wait: Duration) -> Option<Vec<Position>> {
        None
    }

    fn last(&self, _wait: Duration) -> Option<Vec<Position>> {
        None
    }
}

/// A source that gives the sink these messages of one partition, with their timestamps, until the
/// cluster is dropped.
pub(super) fn read<'m>(
    messages: impl IntoIterator<Item = (&'m str, Option<i64>)>,
    sink: impl Sink,
    health: &Health,
) -> (Cluster, RunningKafkaSource) {
    let cluster = cluster(1);
    let producer: BaseProducer = client(&cluster).create().unwrap();
    for (payload, timestamp) in messages {
        let record = BaseRecord::<(), str> { timestamp, ..BaseRecord::to(TOPIC).payload(payload) };
        assert!(producer.send(record).is_ok());
    }
    producer.flush(PATIENCE).unwrap();
    let config = KafkaConfig {
        brokers: cluster.bootstrap_servers(),
        topic: TOPIC.to_owned(),
        partitions: PartitionChoice::All,
        group: None,
        start: StartOffset::Earliest,
        settings: Vec::new(),
    };
    let (published, component) = (Arc::new(NothingPublished), health.register("source"));
    let source = KafkaSource::new(config, Arc::default()).unwrap();
    let running = source.start(vec![sink], Stored::default(), published, component, || {});
    (cluster, running.unwrap())
}

/// Gives these results in turn, then the end.
struct Script(VecDeque<io::Result<&'static str>>);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(next) = self.0.pop_front() else { return Ok(0) };
        let text = next?;
        assert_ne!(text, "panic", "of a test");
        buffer[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }
}

#[tokio::test]
async fn an_input_that_panics_has_died_whichever_of_its_threads_did() {
    for (reader, who) in [
        (Script([Ok("panic\n")].into()), "source"),
        (Script([Ok("fine\n"), Ok("panic")].into()), "source (input-read)"),
    ] {
        let health = Health::new();
        let (lines, _kept) = mpsc::channel();
        let source = InputSource::new("a test", reader);
        let running = source.start(Keeping(lines), health.register("source"), |_| {}).unwrap();
        assert_eq!(death(&health).await, who);
        assert_eq!(state(&health), State::Died);
        running.stop();
        drop(running.join());
    }
}

#[tokio::test]
async fn a_worker_that_panics_is_the_death_of_the_kafka_source() {
    let health = Health::new();
    let (messages, _kept) = mpsc::channel();
    let (_cluster, running) = read([("panic", None)], Keeping(messages), &health);
    assert_eq!(death(&health).await, "source (kafka-0)");
    assert_eq!(state(&health), State::Died);
    running.stop();
    running.join().unwrap();
    assert_eq!(state(&health), State::Died, "the control thread ended as it should");
}

#[test]
fn a_read_that_was_interrupted_is_no_end() {
    let interrupted = || Err(ErrorKind::Interrupted.into());
    let reader =
        [interrupted(), Ok("a\nb"), interrupted(), interrupted(), Ok("c\nd"), interrupted()];
    let (lines, kept) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let running = InputSource::new("a test", Script(reader.into()))
        .start(Keeping(lines), Health::new().register("source"), move |result| {
            end.send(result.is_ok()).unwrap();
        })
        .unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(true));
    running.stop();
    running.join().unwrap();
    assert_eq!(kept.iter().collect::<Vec<_>>(), ["a", "bc", "d"]);
}

#[test]
fn an_input_that_can_not_be_read_on_has_failed_and_not_died() {
    let health = Health::new();
    let (lines, kept) = mpsc::channel();
    let (end, ended) = mpsc::channel();
    let reader = Script([Ok("a\n"), Err(io::Error::other("a broken disk"))].into());
    let running = InputSource::new("a test", reader)
        .start(Keeping(lines), health.register("source"), move |result| {
            end.send(result.is_ok()).unwrap();
        })
        .unwrap();
    assert_eq!(ended.recv_timeout(PATIENCE), Ok(false));
    running.stop();
    assert_eq!(running.join().unwrap_err().to_string(), "a broken disk");
    assert_eq!(kept.iter().collect::<Vec<_>>(), ["a"]);
    assert_eq!(state(&health), State::Failing("reading a test: a broken disk".to_owned()));
}

/// Accepts writes when it is allowed to, and reports what it got.
struct Slow {
    may_write: mpsc::Receiver<io::Result<usize>>,
    written: mpsc::Sender<String>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Forever at the end of a test.
        let Ok(allowed) = self.may_write.recv() else { return Err(ErrorKind::BrokenPipe.into()) };
        let bytes = &bytes[..bytes.len().min(allowed?)];
        self.written.send(String::from_utf8_lossy(bytes).into_owned()).unwrap();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn logging_never_waits_and_lines_beyond_the_bound_are_dropped_and_counted() {
    let (let_write, may_write) = mpsc::channel();
    let (written, out) = mpsc::channel();
    let dropped = Metrics::new().log_lines_dropped.clone();
    let log = Log::start(Slow { may_write, written }, dropped.clone()).unwrap();
    let line = "x".repeat(1023);
    for _ in 0..2000 {
        log.line(&line);
    }
    assert_eq!(dropped.get(), 2000 - 1024, "a mebibyte of lines is kept");
    assert!(!log.flush(Duration::ZERO));
    for _ in 0..1024 {
        let_write.send(Ok(usize::MAX)).unwrap();
    }
    assert!(log.flush(PATIENCE));
    assert_eq!(out.try_iter().count(), 1024);
    // There is room again.
    log.line("more");
    let_write.send(Ok(usize::MAX)).unwrap();
    assert!(log.flush(PATIENCE));
    assert_eq!(out.try_iter().collect::<String>(), "more\n");
    assert_eq!(dropped.get(), 2000 - 1024);
}

#[test]
fn a_line_that_can_not_be_written_is_counted_and_the_next_one_is_tried() {
    let (let_write, may_write) = mpsc::channel();
    let (written, out) = mpsc::channel();
    let dropped = Metrics::new().log_lines_dropped.clone();
    let log = Log::start(Slow { may_write, written }, dropped.clone()).unwrap();
    for result in [
        Err(ErrorKind::StorageFull.into()),
        // Of the second line: in three parts, with interruptions.
        Err(ErrorKind::Interrupted.into()),
        Ok(2),
        Err(ErrorKind::WouldBlock.into()),
        Ok(1),
        Ok(usize::MAX),
        // Of the third one.
        Err(ErrorKind::BrokenPipe.into()),
    ] {
        let_write.send(result).unwrap();
    }
    for line in ["first", "second", "third"] {
        log.line(line);
    }
    assert!(log.flush(PATIENCE));
    assert_eq!(out.try_iter().collect::<Vec<_>>(), ["se", "c", "ond\n"]);
    assert_eq!(dropped.get(), 2);
}
