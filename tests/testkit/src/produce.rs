//! Generates flow records with known totals, and produces them to Kafka.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};
use rdkafka::{
    ClientConfig, ClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    message::DeliveryResult,
    producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext},
};

use crate::series::{Series, Totals};

/// The monitored AS.
pub const ASN: u32 = 64500;

/// How long Kafka may take to confirm what was sent to it, a restart included.
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);

/// Messages sent between two polls for confirmations.
const SENDS_PER_POLL: u64 = 1000;

/// Generates pmacct records and knows their totals.
///
/// Series are numbered; each is a direction, a device and a remote AS. A record is made from the
/// series that has to count it, not the other way round.
pub struct Flows {
    random: SmallRng,
    hosts: usize,
    peers: usize,
    /// Bytes by series.
    bytes: Vec<u64>,
    /// Records counted in a series.
    pub counted: u64,
    /// Records between two AS that are not monitored.
    pub foreign: u64,
    /// Bytes of those records.
    pub foreign_bytes: u64,
}

impl Flows {
    /// Flows between [`ASN`] and `peers` other AS, seen by `hosts` devices.
    pub fn new(seed: u32, hosts: usize, peers: usize) -> Self {
        let random = SmallRng::seed_from_u64(seed.into());
        let bytes = vec![0; 2 * hosts * peers];
        Flows { random, hosts, peers, bytes, counted: 0, foreign: 0, foreign_bytes: 0 }
    }

    /// Appends a record to `record`; one in 16 is between two other AS.
    pub fn write_next(&mut self, record: &mut String) {
        if self.random.random_range(0..16) == 0 {
            let bytes = self.random_bytes();
            self.foreign += 1;
            self.foreign_bytes += bytes;
            write_record(record, &host(1), peer(0), peer(1), bytes);
        } else {
            self.write_random(record);
        }
    }

    /// Appends a record of a random series to `record`.
    pub fn write_random(&mut self, record: &mut String) {
        let (number, bytes) = (self.random.random_range(0..self.bytes.len()), self.random_bytes());
        self.write(number, bytes, record);
    }

    /// Appends a record of the series with this number to `record`.
    pub fn write(&mut self, number: usize, bytes: u64, record: &mut String) {
        self.bytes[number] += bytes;
        self.counted += 1;
        let (receive, host, peer) = self.place(number);
        let (source, destination) = if receive { (peer, ASN) } else { (ASN, peer) };
        write_record(record, &host, source, destination, bytes);
    }

    fn random_bytes(&mut self) -> u64 {
        self.random.random_range(40..1_000_000)
    }

    /// The number of records.
    pub fn records(&self) -> u64 {
        self.counted + self.foreign
    }

    /// Totals of all series that have a record; `name` names an AS.
    pub fn totals(&self, name: impl Fn(u32) -> String) -> Totals {
        let with_bytes = self.bytes.iter().enumerate().filter(|&(_, &bytes)| bytes > 0);
        with_bytes.map(|(number, &bytes)| (self.series(number, &name), bytes)).collect()
    }

    /// The series with this number; `name` names an AS.
    pub fn series(&self, number: usize, name: impl Fn(u32) -> String) -> Series {
        let (receive, hostname, peer) = self.place(number);
        let own = (ASN.to_string(), name(ASN));
        let peer = (peer.to_string(), name(peer));
        let (metric, source, destination) = if receive {
            ("flow_receive_bytes_total", peer, own)
        } else {
            ("flow_transmit_bytes_total", own, peer)
        };
        let (source_as, source_as_name) = source;
        let (destination_as, destination_as_name) = destination;
        Series {
            metric: metric.to_owned(),
            source_as,
            source_as_name,
            destination_as,
            destination_as_name,
            hostname,
        }
    }

    /// The number of every AS in these flows.
    pub fn numbers(&self) -> impl Iterator<Item = u32> {
        (0..self.peers).map(peer).chain([ASN])
    }

    /// Whether a series is of received traffic, its device, and its remote AS.
    fn place(&self, number: usize) -> (bool, String, u32) {
        let host = number / self.peers % self.hosts;
        (number / self.peers >= self.hosts, self::host(host), peer(number % self.peers))
    }
}

/// Gives every AS an empty name.
pub fn unnamed(_: u32) -> String {
    String::new()
}

/// The device with this number; the first has no name.
fn host(number: usize) -> String {
    if number == 0 { String::new() } else { format!("edge{number}.example.net") }
}

/// A remote AS; every second one has a number that needs all 32 bits.
fn peer(number: usize) -> u32 {
    let number = u32::try_from(number).expect("fewer than 2^32 AS");
    if number.is_multiple_of(2) { 65_536 + number } else { 4_200_000_000 + number }
}

/// Writes a record as pmacctd's Kafka plugin does, about 250 bytes.
fn write_record(record: &mut String, label: &str, source: u32, destination: u32, bytes: u64) {
    write!(
        record,
        "{{\"event_type\": \"purge\", \"label\": \"{label}\", \"as_src\": {source}, \
         \"as_dst\": {destination}, \"ip_proto\": \"udp\", \"tos\": 0, \
         \"stamp_inserted\": \"2026-11-22 15:50:00\", \"stamp_updated\": \"2026-11-22 15:51:22\", \
         \"packets\": {packets}, \"bytes\": {bytes}, \"writer_id\": \"k/1204\"}}",
        packets = bytes / 1000 + 1
    )
    .expect("a string takes all that is written");
}

/// Sends messages to a topic, each exactly once (idempotent producer).
pub struct Producer {
    client: BaseProducer<Confirmations>,
    topic: String,
    sent: u64,
}

impl Producer {
    /// A producer for a topic; `config` has the bootstrap servers and further settings.
    pub fn new(config: &ClientConfig, topic: &str) -> Self {
        let mut config = config.clone();
        config
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.size", "1000000")
            .set("queue.buffering.max.messages", "200000");
        let client = config.create_with_context(Confirmations::default());
        Producer { client: client.expect("a Kafka client"), topic: topic.to_owned(), sent: 0 }
    }

    /// Enqueues a message with the current time; waits while the queue is full.
    pub fn send(&mut self, partition: i32, payload: &(impl AsRef<[u8]> + ?Sized)) {
        self.send_at(partition, payload, None);
    }

    /// As [`Producer::send`], with a timestamp in milliseconds.
    pub fn send_at(
        &mut self,
        partition: i32,
        payload: &(impl AsRef<[u8]> + ?Sized),
        time_ms: Option<i64>,
    ) {
        self.sent += 1;
        if self.sent.is_multiple_of(SENDS_PER_POLL) {
            self.client.poll(Duration::ZERO);
        }
        let end = Instant::now() + CONFIRM_LIMIT;
        let mut record =
            BaseRecord::<(), [u8]>::to(&self.topic).partition(partition).payload(payload.as_ref());
        record.timestamp = time_ms;
        while let Err((error, refused)) = self.client.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert!(error == full && Instant::now() < end, "sending to {}: {error}", self.topic);
            self.client.poll(Duration::from_millis(100));
            record = refused;
        }
    }

    /// Sends this many records, spread evenly over the first `partitions` partitions, and waits for
    /// Kafka to confirm them.
    pub fn send_flows(&mut self, flows: &mut Flows, records: u64, partitions: i32) {
        let mut record = String::new();
        for partition in (0..partitions).cycle().zip(0..records).map(|(partition, _)| partition) {
            record.clear();
            flows.write_next(&mut record);
            self.send(partition, &record);
        }
        self.flush();
    }

    /// Runs `work` in a transaction, for which the client needs a `transactional.id`.
    pub fn in_transaction(&mut self, work: impl FnOnce(&mut Self)) {
        self.client.init_transactions(CONFIRM_LIMIT).expect("a coordinator");
        self.client.begin_transaction().expect("a transaction");
        work(self);
        self.client.commit_transaction(CONFIRM_LIMIT).expect("a commit");
    }

    /// Runs `work` in a transaction and aborts it, so that it must not be counted.
    pub fn in_aborted_transaction(&mut self, work: impl FnOnce(&mut Self)) {
        self.client.init_transactions(CONFIRM_LIMIT).expect("a coordinator");
        self.client.begin_transaction().expect("a transaction");
        work(self);
        self.client.abort_transaction(CONFIRM_LIMIT).expect("an abort");
    }

    /// Waits until Kafka has confirmed everything.
    pub fn flush(&self) {
        self.client.flush(CONFIRM_LIMIT).expect("Kafka confirms what was sent");
        let Confirmations { confirmed, failed } = &**self.client.context();
        let failed = failed.load(Ordering::Relaxed);
        let confirmed = confirmed.load(Ordering::Relaxed);
        assert_eq!((confirmed, failed), (self.sent, 0), "(confirmed, failed) of all messages");
    }
}

/// Counts delivery reports.
#[derive(Default)]
struct Confirmations {
    confirmed: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Confirmations {}

impl ProducerContext for Confirmations {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let count = if result.is_ok() { &self.confirmed } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }
}
