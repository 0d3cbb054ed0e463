//! Flows of the past, produced with their timestamps; their samples must be at the right times.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, SystemTime},
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use testkit::{
    produce::{ASN, Flows, Producer, unnamed},
    query::{self, Exported},
    series::{Series, Totals, sum},
    servers::{Kafka, VictoriaMetrics},
};

/// Whether push sends a zero before the first value of a series.
const PUSHES_ZEROS: bool = true;

/// The traffic of each interval is a function of the interval's and the series' numbers, so nothing
/// has to be remembered.
pub(crate) struct History {
    begin_ms: i64,
    interval_ms: i64,
    intervals: u32,
    hosts: usize,
    peers: usize,
    /// On average, a series has a flow in one of this many intervals.
    one_in: u32,
}

/// What was produced.
pub(crate) struct Produced {
    /// Flow records, one per message.
    pub(crate) records: u64,
    /// Bytes by series at the end.
    pub(crate) totals: Totals,
}

impl History {
    /// A history of length `span` that ends at the newest multiple of `interval`, for devices and
    /// remote AS of these numbers. Each series has a flow in one of `one_in` intervals.
    pub(crate) fn new(
        span: Duration,
        interval: Duration,
        (hosts, peers): (usize, usize),
        one_in: u32,
    ) -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now_ms = now.expect("a clock after 1970").as_millis() as i64;
        let interval_ms = interval.as_millis() as i64;
        let intervals = u32::try_from(span.as_millis() / interval.as_millis());
        let intervals = intervals.expect("fewer than 2^32 intervals");
        let begin_ms = (now_ms / interval_ms - i64::from(intervals)) * interval_ms;
        History { begin_ms, interval_ms, intervals, hosts, peers, one_in }
    }

    /// The most series that it can have.
    pub(crate) fn series(&self) -> usize {
        2 * self.hosts * self.peers
    }

    /// The number of samples to be pushed, zeros before first values included.
    pub(crate) fn samples(&self) -> u64 {
        let of_series = |number: usize| {
            let first = (0..self.intervals).find(|&interval| self.bytes(number, interval) > 0);
            first.map_or(0, |first| u64::from(self.intervals - first + u32::from(PUSHES_ZEROS)))
        };
        (0..self.series()).map(of_series).sum()
    }

    /// Bytes of a series in an interval; 0 if it has no flow there.
    fn bytes(&self, number: usize, interval: u32) -> u64 {
        let mut random = SmallRng::seed_from_u64(((number as u64) << 32) + u64::from(interval));
        if random.random_range(0..self.one_in) > 0 { 0 } else { random.random_range(40..1_000_000) }
    }

    /// The end of an interval, exclusive.
    fn end_ms(&self, interval: u32) -> i64 {
        self.begin_ms + (i64::from(interval) + 1) * self.interval_ms
    }

    /// Produces all of it, with a thread for each partition, and waits for confirmations. The flows
    /// of a series are spread over partitions; within a partition, timestamps never fall. Those of
    /// an interval lie between its first and last millisecond, inclusive.
    pub(crate) fn produce(&self, kafka: &Kafka, topic: &str, partitions: usize) -> Produced {
        let fill = |partition: usize| {
            let mut flows = Flows::new(0, self.hosts, self.peers);
            // Long histories take much disk space.
            let mut producer =
                Producer::new(kafka.client().set("compression.codec", "zstd"), topic);
            let to = i32::try_from(partition).expect("few partitions");
            let last = (self.series() - 1).max(1) as i64;
            let mut record = String::new();
            for interval in 0..self.intervals {
                let first = (partition + interval as usize) % partitions;
                for number in (first..self.series()).step_by(partitions) {
                    let bytes = self.bytes(number, interval);
                    if bytes == 0 {
                        continue;
                    }
                    record.clear();
                    flows.write(number, bytes, &mut record);
                    let within = (self.interval_ms - 1) * number as i64 / last;
                    let time = self.end_ms(interval) - self.interval_ms + within;
                    producer.send_at(to, &record, Some(time));
                }
            }
            producer.flush();
            flows
        };
        let filled: Vec<Flows> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..partitions).map(|partition| scope.spawn(move || fill(partition))).collect();
            threads.into_iter().map(|thread| thread.join().expect("all is produced")).collect()
        });
        Produced {
            records: filled.iter().map(Flows::records).sum(),
            totals: sum(filled.iter().map(|flows| flows.totals(unnamed))),
        }
    }

    /// Asserts that VictoriaMetrics has exactly one sample for each series at the end of each
    /// interval since its first flow, with the total up to then; later samples must repeat the last
    /// value. Returns the number of samples.
    pub(crate) fn check(&self, victoria: &VictoriaMetrics) -> u64 {
        let flows = Flows::new(0, self.hosts, self.peers);
        let numbers: BTreeMap<Series, usize> =
            (0..self.series()).map(|number| (flows.series(number, unnamed), number)).collect();
        let (mut samples, mut found) = (0, 0);
        // One remote AS at a time, since all of them may exceed the size of an answer.
        for asn in flows.numbers().filter(|&asn| asn != ASN) {
            let [from, to] = ["source_as", "destination_as"].map(|end| format!("{end}=\"{asn}\""));
            let all = query::export(&victoria.url(), &[&from, &to]);
            for exported in all.expect("VictoriaMetrics answers") {
                let number = numbers.get(&exported.series);
                let number = *number.unwrap_or_else(|| panic!("{:?} is made up", exported.series));
                self.check_series(number, &exported);
                samples += exported.samples.len() as u64;
                found += 1;
            }
        }
        let with_flows = |number: &usize| (0..self.intervals).any(|i| self.bytes(*number, i) > 0);
        assert_eq!(found, (0..self.series()).filter(with_flows).count(), "series with flows");
        samples
    }

    fn check_series(&self, number: usize, exported: &Exported) {
        let Exported { series, samples, .. } = exported;
        let mut samples = samples.iter().copied();
        let mut total = 0;
        for interval in 0..self.intervals {
            let before = total;
            total += self.bytes(number, interval);
            if total == 0 {
                continue;
            }
            let end = self.end_ms(interval);
            if before == 0 && PUSHES_ZEROS {
                let zero = Some((end - self.interval_ms, 0));
                assert_eq!(samples.next(), zero, "{series:?} begins an interval earlier");
            }
            let expected = Some((end, total));
            assert_eq!(samples.next(), expected, "{series:?} at the end of interval {interval}");
        }
        let changed = samples.find(|&(_, value)| value != total);
        assert_eq!(changed, None, "{series:?} changes after its last flow");
    }
}
