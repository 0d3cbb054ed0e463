//! Known flows, and the way into Kafka for them.

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

/// The AS whose traffic is counted.
pub const ASN: u32 = 64500;

/// How long Kafka may take to confirm what was sent to it, a restart included.
const CONFIRM_LIMIT: Duration = Duration::from_secs(60);

/// Messages sent between two looks at what has been confirmed.
const SENDS_PER_POLL: u64 = 1000;

/// A generator of pmacct records that knows the sums that its records add up to.
///
/// Series are numbered: each is a direction, one of the devices, and one of the other AS. The
/// record is made from the series that has to count it, not the other way round.
pub struct Flows {
    random: SmallRng,
    hosts: usize,
    peers: usize,
    /// Bytes by series.
    bytes: Vec<u64>,
    /// Records that a series counts.
    pub counted: u64,
    /// Records between two AS that are none of our business.
    pub foreign: u64,
    /// The bytes of these.
    pub foreign_bytes: u64,
}

impl Flows {
    /// Flows of [`ASN`] with so many other AS, as seen by so many devices.
    pub fn new(seed: u32, hosts: usize, peers: usize) -> Self {
        let random = SmallRng::seed_from_u64(seed.into());
        let bytes = vec![0; 2 * hosts * peers];
        Flows { random, hosts, peers, bytes, counted: 0, foreign: 0, foreign_bytes: 0 }
    }

    /// Appends the record of some flow to `record`; one of 16 is foreign.
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

    /// Appends the record of a flow of some series to `record`.
    pub fn write_random(&mut self, record: &mut String) {
        let (number, bytes) = (self.random.random_range(0..self.bytes.len()), self.random_bytes());
        self.write(number, bytes, record);
    }

    /// Appends the record of a flow of the series with this number to `record`.
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

    /// All records.
    pub fn records(&self) -> u64 {
        self.counted + self.foreign
    }

    /// The totals of all series that have a record, with names as `name` gives them.
    pub fn totals(&self, name: impl Fn(u32) -> String) -> Totals {
        let with_bytes = self.bytes.iter().enumerate().filter(|&(_, &bytes)| bytes > 0);
        with_bytes.map(|(number, &bytes)| (self.series(number, &name), bytes)).collect()
    }

    /// The series with this number, with names as `name` gives them.
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

    /// Direction (whether it is receive), device, and other AS of a series.
    fn place(&self, number: usize) -> (bool, String, u32) {
        let host = number / self.peers % self.hosts;
        (number / self.peers >= self.hosts, self::host(host), peer(number % self.peers))
    }
}

/// A totals' name for every AS: none.
pub fn unnamed(_: u32) -> String {
    String::new()
}

/// The device with this number; the first has no name.
fn host(number: usize) -> String {
    if number == 0 { String::new() } else { format!("edge{number}.example.net") }
}

/// The AS with this number; every other has a number that needs all of its 32 bits.
fn peer(number: usize) -> u32 {
    let number = u32::try_from(number).expect("fewer than 2^32 AS");
    if number.is_multiple_of(2) { 65_536 + number } else { 4_200_000_000 + number }
}

/// A record such as pmacctd's Kafka plugin writes, about 250 bytes.
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

/// Sends messages to a topic, each exactly once.
pub struct Producer {
    client: BaseProducer<Confirmations>,
    topic: String,
    sent: u64,
}

impl Producer {
    /// A producer for a topic. `config` says how to reach Kafka, and whatever else matters.
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

    /// Hands over a message of this moment; waits where too many have not been confirmed yet.
    pub fn send(&mut self, partition: i32, payload: &str) {
        self.send_at(partition, payload, None);
    }

    /// As [`Producer::send`], a message with a timestamp, in milliseconds.
    pub fn send_at(&mut self, partition: i32, payload: &str, time_ms: Option<i64>) {
        self.sent += 1;
        if self.sent.is_multiple_of(SENDS_PER_POLL) {
            self.client.poll(Duration::ZERO);
        }
        let end = Instant::now() + CONFIRM_LIMIT;
        let mut record =
            BaseRecord::<(), str>::to(&self.topic).partition(partition).payload(payload);
        record.timestamp = time_ms;
        while let Err((error, refused)) = self.client.send(record) {
            let full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull);
            assert!(error == full && Instant::now() < end, "sending to {}: {error}", self.topic);
            self.client.poll(Duration::from_millis(100));
            record = refused;
        }
    }

    /// Sends so many records, evenly to the first `partitions` partitions, and waits until Kafka
    /// has them.
    pub fn send_flows(&mut self, flows: &mut Flows, records: u64, partitions: i32) {
        let mut record = String::new();
        for partition in (0..partitions).cycle().zip(0..records).map(|(partition, _)| partition) {
            record.clear();
            flows.write_next(&mut record);
            self.send(partition, &record);
        }
        self.flush();
    }

    /// Does this in a transaction of its own, for which the client needs a `transactional.id`.
    pub fn in_transaction(&mut self, work: impl FnOnce(&mut Self)) {
        self.client.init_transactions(CONFIRM_LIMIT).expect("a coordinator");
        self.client.begin_transaction().expect("a transaction");
        work(self);
        self.client.commit_transaction(CONFIRM_LIMIT).expect("a commit");
    }

    /// Does this in a transaction that is given up: nobody is to count it.
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

/// What became of messages.
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
