//! From Kafka to the page: flow-exporter against a bare librdkafka consumer that only counts
//! bytes, on the same topic of a real Kafka; the same with a state directory and without; against
//! another build of itself, if `--against PROGRAM` names one; and the memory that a series takes.
//!
//! `scripts/bench` installs what this needs, and runs it. Both programs are measured from outside,
//! in the same way: time runs from the first data that a program gets over the loopback interface
//! to the last moment at which it is busy with records; processor time and memory are those of the
//! process, start-up included. Only then does a single scrape confirm that everything was counted,
//! since a page of this size is work as well.

use std::{
    env, fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use testkit::{
    exporter::{Exporter, count, program},
    produce::{Flows, Producer},
    servers::{Kafka, Process, unused_address},
    usage::{self, mib, read, status_bytes},
};

const TOPIC: &str = "pmacct.acct";
const PARTITIONS: i32 = 4;
/// Records in the topic, unless the command line says otherwise.
const RECORDS: u64 = 4_000_000;
/// Series that the records belong to: two directions, this many devices and other AS.
const HOSTS: usize = 20;
const PEERS: usize = 2_000;
const ROUNDS: usize = 3;

/// Rounds of a comparison: two ways to run the program differ less than two runs of the same do.
const PAIRED_ROUNDS: usize = 5;

/// The interval of ticks in these, so that a run of seconds has several durable deltas.
const STATE_INTERVAL: &str = "--remote-write-interval=1s";

/// A program has got its first data once this many bytes have passed the loopback interface: more
/// than connections and a page without flows take, less than the first answer with messages.
const FIRST_DATA_BYTES: u64 = 512 << 10;

/// A program is done when it was not busy for this long: longer than it ever waits for a broker.
const QUIET: Duration = Duration::from_millis(1200);

/// How often a program is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// A program is busy while it uses at least this much processor time between two looks. It takes
/// less to wait for more messages.
const BUSY: Duration = Duration::from_millis(3);

/// Linux counts processor time in clock ticks, this many a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long one run may take.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// The cost of a run.
#[derive(Clone, Copy)]
struct Run {
    /// From the first to the last record.
    seconds: f64,
    /// Processor time of the whole process.
    processor_seconds: f64,
    /// Its peak memory.
    peak_mib: f64,
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [command, brokers, records] = &arguments[..]
        && command == "consume"
    {
        bare::consume(brokers, TOPIC, PARTITIONS, records.parse().expect("a number"));
    }
    // Cargo adds a flag.
    let records = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(RECORDS);
    let against = arguments.iter().position(|argument| argument == "--against");
    let against = against.map(|flag| {
        let program = arguments.get(flag + 1).expect("--against takes the path of a program");
        fs::canonicalize(program).unwrap_or_else(|error| panic!("--against {program}: {error}"))
    });
    let kafka = Kafka::start();
    fill_topic(&kafka, records);
    if let Some(program) = against {
        other_build(&kafka, records, &program);
        return;
    }
    rates(&kafka, records);
    state(&kafka, records);
    memory();
}

/// Fills the topic that the programs consume.
fn fill_topic(kafka: &Kafka, records: u64) {
    kafka.create_topic(TOPIC, PARTITIONS);
    let began = Instant::now();
    let series = 2 * HOSTS * PEERS;
    produce(kafka, TOPIC, records, (HOSTS, PEERS), |flows, record, _| flows.write_random(record));
    println!(
        "{records} records of {series} series in {PARTITIONS} partitions, produced in {:.1} s",
        began.elapsed().as_secs_f64()
    );
    // The broker's JVM gets faster with use.
    run_bare(kafka, records);
}

/// Measures both programs in turn, and prints a table.
fn rates(kafka: &Kafka, records: u64) {
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(run_bare(kafka, records));
        ours.push(run_exporter(kafka, records, &[]));
    }
    let millions = records as f64 / 1e6;
    let row = |runs: &[Run]| {
        [
            records as f64 / median(runs, |run| run.seconds),
            median(runs, |run| run.processor_seconds) / millions,
            median(runs, |run| run.peak_mib),
        ]
    };
    let (bare, ours) = (row(&bare), row(&ours));
    println!("{:16} {:>10} {:>14} {:>10}", "median", "flows/s", "CPU s/million", "peak MiB");
    for (name, [rate, processor, peak]) in [("bare consumer", bare), ("flow-exporter", ours)] {
        println!("{name:16} {rate:>10.0} {processor:>14.3} {peak:>10.1}");
    }
    let ratio = |column: usize| ours[column] / bare[column];
    println!(
        "{:16} {:>10.2} {:>14.2} {:>10.2} (medians of {ROUNDS} rounds)",
        "ratio",
        ratio(0),
        ratio(1),
        ratio(2)
    );
}

/// Measures the cost of durable counts, on a filled topic, and prints it.
fn state(kafka: &Kafka, records: u64) {
    let with = || {
        // Beside what is built, since directories for temporary files may be in memory.
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let state = format!("--state-dir={}", directory.path().join("state").display());
        run_exporter(kafka, records, &[&state, STATE_INTERVAL])
    };
    let without = || run_exporter(kafka, records, &["--state-dir=none", STATE_INTERVAL]);
    compare(records, ["with a state directory", "without"], with, without);
}

/// Measures this build against another one, as operators run it and without state, and prints it.
fn other_build(kafka: &Kafka, records: u64, other: &Path) {
    let this = Path::new(program());
    for more in [&[][..], &["--state-dir=none"]] {
        println!("with {more:?}:");
        let run = |program| move || run_program(program, kafka, records, more);
        compare(records, ["this build", "the other"], run(this), run(other));
    }
}

/// Runs two ways in turn, and prints how they compare.
fn compare(
    records: u64,
    [one_name, other_name]: [&str; 2],
    one: impl Fn() -> Run,
    other: impl Fn() -> Run,
) {
    let (mut ones, mut others) = (Vec::new(), Vec::new());
    for round in 0..PAIRED_ROUNDS {
        // They take turns to go first, so that drift affects both.
        if round % 2 == 0 {
            ones.push(one());
            others.push(other());
        } else {
            others.push(other());
            ones.push(one());
        }
    }
    let rate = |runs: &[Run]| records as f64 / median(runs, |run| run.seconds);
    let processor = |runs: &[Run]| median(runs, |run| run.processor_seconds);
    let peak = |runs: &[Run]| median(runs, |run| run.peak_mib);
    println!(
        "{one_name} {:.0} flows/s, {other_name} {:.0}: ratio {:.3}; of CPU time {:.3}; of peak \
         memory {:.3} (medians of {PAIRED_ROUNDS} rounds)",
        rate(&ones),
        rate(&others),
        rate(&ones) / rate(&others),
        processor(&ones) / processor(&others),
        peak(&ones) / peak(&others),
    );
}

/// Measures the memory that a series takes, and prints it.
fn memory() {
    const SERIES: u64 = 1_000_000;
    let kafka = Kafka::start();
    let resident = |topic: &str, series: usize, sizes: (usize, usize)| {
        kafka.create_topic(topic, PARTITIONS);
        produce(&kafka, topic, SERIES, sizes, |flows, record, number| {
            flows.write(number % series, 1000, record);
        });
        let watch = Watch::new();
        let exporter = Exporter::start(&count(&kafka.brokers(), topic));
        watch.until_quiet(exporter.id());
        let page = exporter.page();
        assert_eq!(page.sum("flow_exporter_messages_total"), SERIES);
        (page.sum("flow_exporter_series"), status_bytes(exporter.id(), "VmRSS:"))
    };
    let (few, small) = resident("few", 1, (1, 1));
    let (many, large) = resident("many", SERIES as usize, (20, 25_000));
    let each = (large as f64 - small as f64) / (many - few) as f64;
    println!(
        "memory after a scrape: {:.1} MiB with {few} series, {:.1} MiB with {many}: \
         {each:.0} bytes a series",
        mib(small),
        mib(large)
    );
}

/// Fills a topic evenly with this many records, from a thread for each partition. `write` writes a
/// record, given its number within the topic, and the numbers of devices and other AS.
fn produce(
    kafka: &Kafka,
    topic: &str,
    records: u64,
    (hosts, peers): (usize, usize),
    write: impl Fn(&mut Flows, &mut String, usize) + Sync,
) {
    let fill = |partition: i32| {
        let mut flows = Flows::new(partition.unsigned_abs(), hosts, peers);
        let mut producer = Producer::new(&kafka.client(), topic);
        let mut record = String::new();
        let numbers = (partition.unsigned_abs() as usize..).step_by(PARTITIONS as usize);
        for number in numbers.take_while(|&number| (number as u64) < records) {
            record.clear();
            write(&mut flows, &mut record, number);
            producer.send(partition, &record);
        }
        producer.flush();
    };
    thread::scope(|scope| {
        for partition in 0..PARTITIONS {
            let fill = &fill;
            scope.spawn(move || fill(partition));
        }
    });
}

fn run_bare(kafka: &Kafka, records: u64) -> Run {
    let directory = TempDir::new().expect("a temporary directory");
    let mut command = Command::new(env::current_exe().expect("a path of our own"));
    command.args(["consume", &kafka.brokers(), &records.to_string()]);
    let watch = Watch::new();
    let consumer = Process::start("bare consumer", &mut command, directory.path().join("log"));
    let run = watch.until_quiet(consumer.id());
    let log = consumer.log();
    assert!(log.contains(&format!("{records} records")), "not all was consumed: {log}");
    print("bare consumer", &run, log.trim());
    run
}

fn run_exporter(kafka: &Kafka, records: u64, more: &[&str]) -> Run {
    run_program(Path::new(program()), kafka, records, more)
}

fn run_program(program: &Path, kafka: &Kafka, records: u64, more: &[&str]) -> Run {
    let address = unused_address();
    let mut arguments = count(&kafka.brokers(), TOPIC);
    arguments.push(format!("--addr={address}:9590"));
    arguments.extend(more.iter().map(|&argument| argument.to_owned()));
    let watch = Watch::new();
    let exporter = Exporter::start_program(program, address, &arguments);
    let run = watch.until_quiet(exporter.id());
    let counted = exporter.page().sum("flow_exporter_messages_total");
    assert_eq!(counted, records, "not all was counted");
    print("flow-exporter", &run, &format!("{counted} records by its page"));
    run
}

fn print(name: &str, run: &Run, said: &str) {
    let Run { seconds, processor_seconds, peak_mib } = run;
    println!("{name:16} {seconds:.2} s, CPU {processor_seconds:.2} s, {peak_mib:.1} MiB; {said}");
}

fn median(runs: &[Run], figure: impl Fn(&Run) -> f64) -> f64 {
    let mut figures: Vec<f64> = runs.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Watches a program from before its start.
struct Watch {
    first_data: thread::JoinHandle<Instant>,
}

impl Watch {
    /// To be made before the program is started.
    fn new() -> Self {
        let before = loopback_bytes();
        let first_data = thread::spawn(move || {
            let end = Instant::now() + RUN_LIMIT;
            while loopback_bytes() < before + FIRST_DATA_BYTES {
                assert!(Instant::now() < end, "no data within {RUN_LIMIT:?}");
                thread::sleep(Duration::from_millis(1));
            }
            Instant::now()
        });
        Watch { first_data }
    }

    /// Waits until the process `id` has nothing more to do.
    fn until_quiet(self, id: u32) -> Run {
        let first = self.first_data.join().expect("there is data");
        let mut last = first;
        let mut before = threads_time(id);
        while last.elapsed() < QUIET {
            assert!(first.elapsed() < RUN_LIMIT, "still busy after {RUN_LIMIT:?}");
            thread::sleep(LOOK_INTERVAL);
            let now = threads_time(id);
            if now.saturating_sub(before) >= BUSY {
                last = Instant::now();
            }
            before = now;
        }
        Run {
            seconds: (last - first).as_secs_f64(),
            processor_seconds: processor_ticks(id) as f64 / TICKS_PER_SECOND,
            peak_mib: mib(status_bytes(id, "VmHWM:")),
        }
    }
}

/// Bytes that the loopback interface has carried.
fn loopback_bytes() -> u64 {
    let interfaces = read("/proc/net/dev");
    let line = interfaces.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    let received = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    received.expect("a count of received bytes")
}

/// Processor time of a process' threads except the ledger's, which works at each snapshot, even long
/// after the last record.
fn threads_time(id: u32) -> Duration {
    usage::threads_time(id, |name| name != "ledger")
}

/// Processor time that a process has used, in user and in system mode.
fn processor_ticks(id: u32) -> u64 {
    let stat = read(&format!("/proc/{id}/stat"));
    // The second field, the name, is in parentheses; utime and stime are the 14th and 15th.
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let times = fields.split_whitespace().skip(11).take(2);
    times.map(|ticks| ticks.parse::<u64>().expect("ticks")).sum()
}

/// The minimum that a consumer can do.
mod bare {
    #![allow(unsafe_code, reason = "librdkafka's batches have no safe form in the rdkafka crate")]

    use std::{ptr, thread, time::Instant};

    use rdkafka::{
        ClientConfig, Offset, TopicPartitionList,
        bindings::{
            rd_kafka_consume_batch_queue, rd_kafka_message_destroy, rd_kafka_queue_get_consumer,
        },
        consumer::{BaseConsumer, Consumer},
        types::RDKafkaRespErr,
    };

    /// Messages in a batch.
    const BATCH: usize = 10_000;

    /// How long to wait for a batch, in milliseconds.
    const PATIENCE: i32 = 100;

    /// Counts the bytes of this many messages, prints the sum, and waits to be stopped.
    pub(crate) fn consume(brokers: &str, topic: &str, partitions: i32, records: u64) -> ! {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", "unused");
        let consumer: BaseConsumer = config.create().expect("a Kafka client");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..partitions {
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("the beginning is an offset");
        }
        consumer.assign(&assignment).expect("partitions are assigned");
        // SAFETY: the client lives as long as the consumer, which is never dropped; so does the
        // queue, which counts its users.
        let queue = unsafe { rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        let mut messages = vec![ptr::null_mut(); BATCH];
        let (mut records_left, mut bytes) = (records, 0);
        let mut first = None;
        while records_left > 0 {
            // SAFETY: there is room for BATCH pointers; as many as the result says are messages,
            // which are ours until each is destroyed, once.
            unsafe {
                let got =
                    rd_kafka_consume_batch_queue(queue, PATIENCE, messages.as_mut_ptr(), BATCH);
                for &message in messages.iter().take(usize::try_from(got).unwrap_or(0)) {
                    if (*message).err == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                        first.get_or_insert_with(Instant::now);
                        records_left -= 1;
                        bytes += (*message).len;
                    }
                    rd_kafka_message_destroy(message);
                }
            }
        }
        let seconds = first.expect("records").elapsed().as_secs_f64();
        println!("{records} records, {bytes} bytes, {seconds:.2} s by its own clock");
        loop {
            // It must exist to be measured.
            thread::park();
        }
    }
}
