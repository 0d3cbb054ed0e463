//! What a history answers of snapshots whose times are made up.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use flow_exporter::{
    asn::AsNames,
    clock::{Millis, UnixMs},
    flow::Flow,
    history::{Answer, Asked, History, QueryError, Row, Sums},
    ledger::{SeriesTable, Snapshot},
    schema::{Class, Dimension, Measure, Schema, View},
    traffic::Rule,
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};
use testkit::{
    counting,
    snapshots::{ASN, flow},
};

/// A full hour, in seconds.
const BEGIN: i64 = 1_764_252_000;
const MAX_BYTES: usize = 1 << 20;

/// A series table whose snapshots go to a history.
struct Kit {
    table: SeriesTable,
    history: History,
}

impl Kit {
    fn new() -> Self {
        Self::with(counting::schema(), MAX_BYTES)
    }

    /// With a first snapshot at [`BEGIN`].
    fn with(schema: Arc<Schema>, max_bytes: usize) -> Self {
        let names = AsNames::of([(64501, "First Net"), (64502, "Second Net")]);
        let begin = UnixMs::new(BEGIN * 1000);
        let table = SeriesTable::new(schema, Arc::new(names), Some(begin));
        let mut kit = Kit { table, history: History::new(max_bytes) };
        kit.publish(0);
        kit
    }

    fn count<'f>(&mut self, flows: impl IntoIterator<Item = Flow<'f>>) {
        let schema = Arc::clone(self.snapshot(0).schema());
        self.table.merge(&counting::counts_of(schema, &Rule::of_as(ASN), flows), &[]);
    }

    fn snapshot(&mut self, seconds: i64) -> Snapshot {
        let time = UnixMs::new((BEGIN + seconds) * 1000);
        self.table.take_snapshot(Some(time), Instant::now())
    }

    /// Publishes what is counted, so many seconds after [`BEGIN`].
    fn publish(&mut self, seconds: i64) {
        let snapshot = self.snapshot(seconds);
        self.table.settled();
        self.history.take(&Arc::new(snapshot));
    }

    fn answer(&self, asked: &Asked) -> Answer {
        self.history.answer(asked).expect("an answer")
    }
}

fn by(labels: &[&str]) -> Asked {
    Asked { by: labels.iter().map(|&label| label.to_owned()).collect(), ..Asked::default() }
}

fn bytes(sums: &Sums) -> u128 {
    sums.counted[0].1
}

/// The time over which rates are taken, which is of full seconds here.
fn over_seconds(answer: &Answer) -> i64 {
    answer.over_seconds as i64
}

/// The bytes of each row, received and sent.
fn rows(answer: &Answer) -> Vec<(Vec<&str>, u128, u128)> {
    let row = |row: &'_ Row| (bytes(&row.classes["receive"]), bytes(&row.classes["transmit"]));
    let rows = answer.rows.iter();
    rows.map(|of| (of.values.iter().map(String::as_str).collect(), row(of).0, row(of).1)).collect()
}

#[test]
fn sums_and_rates_are_what_was_counted_since_the_first_snapshot() {
    let mut kit = Kit::new();
    assert_eq!(over_seconds(&kit.answer(&Asked::default())), 0);
    assert!(kit.answer(&Asked::default()).over_seconds.is_sign_positive(), "JSON would have -0.0");
    // As at a restart: what is there at first was counted before.
    kit.count([flow(64501, ASN, 1_000_000_000, "edge1")]);
    kit.history = History::new(MAX_BYTES);
    kit.publish(0);
    kit.count([flow(64501, ASN, 600, "edge1"), flow(ASN, 64502, 60, "edge1")]);
    kit.publish(60);
    kit.count([flow(64501, ASN, 1200, "edge1")]);
    kit.publish(120);
    let answer = kit.answer(&Asked::default());
    assert_eq!((answer.view.as_str(), answer.measure), ("flow", "bytes"));
    assert_eq!(answer.classes, ["receive", "transmit"]);
    assert_eq!(answer.time, Some((BEGIN + 120) as f64));
    assert_eq!(answer.since, Some(BEGIN as f64));
    assert_eq!(over_seconds(&answer), 60);
    assert_eq!(bytes(&answer.total["receive"]), 1200);
    assert_eq!(bytes(&answer.total["transmit"]), 0);
    assert_eq!(answer.curve.time, [(BEGIN + 60) as f64, (BEGIN + 120) as f64]);
    assert_eq!(answer.curve.seconds, [60.0, 60.0]);
    assert_eq!(answer.curve.classes["receive"], [80.0, 160.0]);
    assert_eq!(answer.curve.classes["transmit"], [8.0, 0.0]);
    assert!(answer.rows.is_empty(), "no labels were asked for");
    let over = Millis::new(120_000);
    let answer = kit.answer(&Asked { over, ..Asked::default() });
    assert_eq!(bytes(&answer.total["receive"]), 1800);

    // What is newer than the last full minute counts as well.
    kit.count([flow(64501, ASN, 7, "edge1")]);
    kit.publish(130);
    let answer = kit.answer(&Asked::default());
    assert_eq!(over_seconds(&answer), 70);
    assert_eq!(bytes(&answer.total["receive"]), 1207);
    assert_eq!(answer.curve.seconds, [60.0, 60.0, 10.0]);
    assert_eq!(answer.curve.classes["receive"], [80.0, 160.0, 5.6]);
}

#[test]
fn rows_are_the_heaviest_and_the_rest_is_what_is_missing_to_the_total() {
    let mut kit = Kit::new();
    kit.count([
        flow(64501, ASN, 100, "edge1"),
        flow(64501, ASN, 50, "edge2"),
        flow(ASN, 64501, 7, "edge1"),
        flow(64502, ASN, 300, "edge1"),
        flow(64503, ASN, 20, "edge2"),
        flow(ASN, 64504, 10, "edge2"),
    ]);
    kit.publish(60);
    let asked = Asked { limit: 2, ..by(&["remote_as"]) };
    let answer = kit.answer(&asked);
    assert_eq!(rows(&answer), [(vec!["64502"], 300, 0), (vec!["64501"], 150, 7)]);
    let names: Vec<_> = answer.rows.iter().map(|row| row.names[0].as_deref()).collect();
    assert_eq!(names, [Some("Second Net"), Some("First Net")]);
    assert_eq!(answer.rest.rows, 2);
    assert_eq!(bytes(&answer.rest.classes["receive"]), 20);
    assert_eq!(bytes(&answer.rest.classes["transmit"]), 10);
    assert_eq!(bytes(&answer.total["receive"]), 470);
    assert_eq!(answer.rows[0].share, Some(300.0 / 487.0));
    assert_eq!(answer.rest.share, Some(30.0 / 487.0));
    assert_eq!(answer.rows[1].curve["receive"], [20.0]);
    assert_eq!(answer.rest.curve["transmit"], [1.333]);

    let search = |text: &str| {
        let answer = kit.answer(&Asked { search: text.to_owned(), ..by(&["remote_as"]) });
        let found: Vec<_> = answer.rows.iter().map(|row| row.values[0].clone()).collect();
        let listed = answer.rows.iter().map(|row| bytes(&row.classes["receive"])).sum::<u128>();
        assert_eq!(listed + bytes(&answer.rest.classes["receive"]), 470, "{text}");
        found.join(" ")
    };
    assert_eq!(search("second"), "64502");
    assert_eq!(search("NET"), "64502 64501");
    assert_eq!(search("64503"), "64503");
    assert_eq!(search("nobody"), "");

    let filtered = |filters: &[(&str, &str)]| {
        let own = |&(label, value): &(&str, &str)| (label.to_owned(), value.to_owned());
        let filters = filters.iter().map(own).collect();
        let answer = kit.answer(&Asked { filters, ..by(&["hostname"]) });
        (bytes(&answer.total["receive"]), bytes(&answer.total["transmit"]))
    };
    assert_eq!(filtered(&[("remote_as", "64501")]), (150, 7));
    assert_eq!(filtered(&[("remote_as", "64501"), ("hostname", "edge2")]), (50, 0));
    assert_eq!(filtered(&[("remote_as", "64501"), ("remote_as", "64504")]), (150, 17));
    assert_eq!(filtered(&[("hostname", "edge")]), (0, 0));

    let pairs =
        kit.answer(&Asked { classes: vec![Class::Transmit], ..by(&["source_as", "hostname"]) });
    let values: Vec<_> = pairs.rows.iter().map(|row| row.values.join("/")).collect();
    assert_eq!(values, [format!("{ASN}/edge2"), format!("{ASN}/edge1")]);
    assert!(!pairs.total.contains_key("receive"));
}

#[test]
fn what_gets_no_series_of_its_own_is_a_row_named_other() {
    let mut kit = Kit::with(counting::limited(1), MAX_BYTES);
    kit.count([flow(64501, ASN, 5, "edge1")]);
    kit.publish(30);
    kit.count([flow(64501, ASN, 5, "edge1"), flow(64502, ASN, 3, "edge2")]);
    kit.publish(60);
    let answer = kit.answer(&by(&["remote_as"]));
    assert_eq!(rows(&answer), [(vec!["64501"], 10, 0), (vec!["other"], 3, 0)]);
    let others: Vec<_> = answer.rows.iter().map(|row| row.is_other).collect();
    assert_eq!(others, [false, true]);
    // The host name is kept.
    let answer = kit.answer(&by(&["hostname"]));
    assert_eq!(rows(&answer), [(vec!["edge1"], 10, 0), (vec!["edge2"], 3, 0)]);
    assert!(answer.rows.iter().all(|row| !row.is_other));
}

#[test]
fn measures_of_a_view_are_told_beside_each_other() {
    let view = View::new(
        "device",
        &[Dimension::Hostname],
        &[Class::Receive],
        &[Measure::Bytes, Measure::Flows],
    );
    let mut kit = Kit::with(Arc::new(Schema::new(vec![View::original(), view])), MAX_BYTES);
    kit.count([flow(64501, ASN, 600, "edge1"), flow(64502, ASN, 1, "edge2")]);
    kit.count([flow(64502, ASN, 1, "edge2"), flow(64502, ASN, 1, "edge2")]);
    kit.publish(60);
    let view = Some("device".to_owned());
    let asked = Asked { view, measure: Some(Measure::Flows), ..by(&["hostname"]) };
    let answer = kit.answer(&asked);
    let counted: Vec<_> =
        answer.rows.iter().map(|row| row.classes["receive"].counted.clone()).collect();
    assert_eq!(
        counted,
        [[(Measure::Bytes, 3), (Measure::Flows, 3)], [(Measure::Bytes, 600), (Measure::Flows, 1)],]
    );
    assert_eq!(answer.curve.unit, "flows_per_second");
    assert_eq!(answer.curve.classes["receive"], [0.067]);
    let json = serde_json::to_value(&answer).expect("JSON");
    assert_eq!(
        json["rows"][1]["receive"],
        serde_json::json!({
            "bytes": 600, "bits_per_second": 80.0, "flows": 1, "flows_per_second": 0.017
        })
    );
}

#[test]
fn series_that_end_stay_in_the_sums_and_others_may_take_their_slots() {
    let mut kit = Kit::new();
    kit.count([flow(64501, ASN, 100, "edge1")]);
    kit.publish(60);
    kit.count([flow(64501, ASN, 11, "edge1")]);
    kit.publish(75);
    // All of it is published when it ends.
    assert_eq!(kit.table.expire(UnixMs::MAX), 1);
    kit.count([flow(64502, ASN, 5, "edge1")]);
    kit.publish(90);
    assert_eq!(kit.table.len(), 1);
    kit.publish(120);
    kit.table.expire(UnixMs::MAX);
    kit.count([flow(64502, ASN, 1, "edge1")]);
    kit.publish(180);
    let over = Millis::new(180_000);
    let answer = kit.answer(&Asked { over, ..by(&["remote_as"]) });
    assert_eq!(rows(&answer), [(vec!["64501"], 111, 0), (vec!["64502"], 6, 0)]);
    assert_eq!(answer.rows[0].curve["receive"], [13.333, 1.467, 0.0]);
    assert_eq!(answer.rows[1].curve["receive"], [0.0, 0.667, 0.133]);
}

#[test]
fn an_hour_is_kept() {
    let mut kit = Kit::new();
    for minute in 1..=90_u32 {
        kit.count([flow(64501, ASN, minute.into(), "edge1")]);
        kit.publish(i64::from(minute) * 60);
    }
    let answer = kit.answer(&Asked { over: Millis::new(3_600_000), ..Asked::default() });
    assert_eq!(answer.since, Some((BEGIN + 30 * 60) as f64));
    assert_eq!(answer.curve.time.len(), 60);
    assert_eq!(over_seconds(&answer), 3600);
    assert_eq!(bytes(&answer.total["receive"]), (31..=90).sum());
    let (span, step) = (Millis::new(600_000), Millis::new(300_000));
    let answer = kit.answer(&Asked { span, step, ..Asked::default() });
    assert_eq!(answer.curve.seconds, [300.0, 300.0]);
    let average = |minutes: std::ops::RangeInclusive<u32>| f64::from(minutes.sum::<u32>()) * 8.0;
    let rates = [81..=85, 86..=90].map(|minutes| average(minutes) / 300.0);
    let rounded = rates.map(|rate| (rate * 1000.0).round() / 1000.0);
    assert_eq!(answer.curve.classes["receive"], rounded);
}

#[test]
fn the_oldest_minutes_go_where_there_is_no_room() {
    let mut kit = Kit::with(counting::schema(), 300_000);
    let mut ended = 0;
    for minute in 1..=60_u32 {
        let seconds = i64::from(minute) * 60;
        // Half of the series are others each minute, so that ended ones are to be kept as well.
        let sources = (0..500).map(|of| if of % 2 == 0 { of } else { minute * 1000 + of });
        let sources: Vec<_> = sources.collect();
        kit.count(sources.iter().map(|&source| flow(source, ASN, 1000, "edge1")));
        kit.publish(seconds);
        ended += kit.table.expire(UnixMs::new((BEGIN + seconds) * 1000));
        assert!(kit.history.extent().bytes <= 300_000, "{:?}", kit.history.extent());
    }
    assert!(ended > 10_000, "{ended}");
    let answer = kit.answer(&Asked { over: Millis::new(3_600_000), ..Asked::default() });
    let minutes = answer.curve.time.len();
    assert!((5..60).contains(&minutes), "{minutes}");
    assert_eq!(answer.since, Some((BEGIN + (60 - minutes as i64) * 60) as f64));
    assert_eq!(bytes(&answer.total["receive"]), minutes as u128 * 500_000);
}

#[test]
fn many_series_that_end_at_once_leave_less_room_and_what_is_left_is_exact() {
    let mut kit = Kit::with(counting::schema(), 200_000);
    let flows = |count: u32| (0..count).map(|of| flow(100_000 + of, ASN, 1000, "edge1"));
    for minute in 1..=45 {
        kit.count(flows(1000));
        kit.publish(minute * 60);
    }
    let before = kit.answer(&Asked::default()).curve.time.len();
    // Between two minutes.
    assert_eq!(kit.table.expire(UnixMs::MAX), 1000);
    kit.publish(45 * 60 + 10);
    let extent = kit.history.extent();
    assert!(extent.bytes <= 200_000, "{extent:?}");
    let answer = kit.answer(&Asked { over: Millis::new(3_600_000), ..by(&["remote_as"]) });
    let minutes = answer.curve.time.len() - 1;
    assert!((3..before).contains(&minutes), "{minutes} of {before}");
    assert_eq!(bytes(&answer.total["receive"]), minutes as u128 * 1_000_000);
    assert_eq!(answer.since, Some((BEGIN + (45 - minutes as i64) * 60) as f64));

    // There is no room for as many at all: history begins again.
    kit.count(flows(5000));
    kit.publish(46 * 60);
    kit.count(flows(5000));
    kit.publish(46 * 60 + 5);
    assert_eq!(kit.table.expire(UnixMs::MAX), 5000);
    kit.publish(46 * 60 + 10);
    let extent = kit.history.extent();
    assert!(extent.bytes <= 200_000, "{extent:?}");
    let begin = BEGIN + 46 * 60 + 10;
    assert_eq!(extent.since, Some(UnixMs::new(begin * 1000)));
    kit.count(flows(3));
    kit.publish(47 * 60);
    let answer = kit.answer(&Asked::default());
    assert_eq!((bytes(&answer.total["receive"]), over_seconds(&answer)), (3000, 50));
}

#[test]
fn rates_leave_out_the_time_in_which_nothing_could_be_counted() {
    let mut kit = Kit::new();
    kit.history = History::new(MAX_BYTES).idle_until(UnixMs::new((BEGIN + 3000) * 1000));
    kit.publish(0);
    kit.count([flow(64501, ASN, 600, "edge1")]);
    kit.publish(3060);
    let answer = kit.answer(&Asked::default());
    assert_eq!((bytes(&answer.total["receive"]), over_seconds(&answer)), (600, 60));
    assert_eq!(answer.curve.classes["receive"], [80.0]);
    assert_eq!(answer.since, Some((BEGIN + 3000) as f64));
}

#[test]
fn while_somebody_watches_there_are_finer_points_which_become_minutes() {
    let mut kit = Kit::new();
    let asked = Asked { step: Millis::new(5000), ..Asked::default() };
    let publish = |kit: &mut Kit, from: i64, to: i64| {
        for seconds in (from..to).step_by(5) {
            kit.count([flow(64501, ASN, 5, "edge1")]);
            kit.publish(seconds + 5);
        }
    };
    publish(&mut kit, 0, 60);
    assert_eq!(kit.answer(&asked).curve.seconds, [60.0]);
    let watching = kit.history.watch();
    assert_eq!(kit.history.watchers(), 1);
    publish(&mut kit, 60, 120);
    let seconds = kit.answer(&asked).curve.seconds;
    assert_eq!(seconds, [&[60.0][..], &[5.0; 12]].concat());
    publish(&mut kit, 120, 420);
    let answer = kit.answer(&asked);
    assert_eq!(answer.curve.seconds, [&[60.0, 60.0][..], &[5.0; 60]].concat());
    assert_eq!(answer.curve.classes["receive"], [8.0; 62]);
    drop(watching);
    publish(&mut kit, 420, 780);
    assert_eq!(kit.answer(&asked).curve.seconds, [60.0; 13]);
}

#[test]
fn a_snapshot_of_no_time_in_particular_ends_no_minute() {
    let mut kit = Kit::new();
    kit.count([flow(64501, ASN, 10, "edge1")]);
    let mut snapshot = kit.snapshot(74);
    snapshot.is_complete = false;
    kit.table.settled();
    kit.history.take(&Arc::new(snapshot));
    kit.count([flow(64501, ASN, 50, "edge1")]);
    kit.publish(75);
    kit.publish(120);
    let answer = kit.answer(&Asked { step: Millis::new(5000), ..Asked::default() });
    assert_eq!(answer.curve.seconds, [75.0, 45.0]);
    assert_eq!(answer.curve.classes["receive"], [6.4, 0.0]);
}

#[test]
fn what_is_not_there_is_refused_with_what_is() {
    let kit = Kit::new();
    assert_eq!(
        History::new(MAX_BYTES).answer(&Asked::default()).expect_err("nothing"),
        QueryError::NothingYet
    );
    let refused = |asked: &Asked| kit.history.answer(asked).expect_err("an error").to_string();
    assert_eq!(
        refused(&Asked { view: Some("web".to_owned()), ..Asked::default() }),
        "there is no view web: choose one of flow"
    );
    let labels = "choose from destination_as, hostname, source_as, remote_as";
    assert_eq!(refused(&by(&["port"])), format!("the view flow has no label port: {labels}"));
    let filters = vec![("port".to_owned(), "80".to_owned())];
    assert_eq!(
        refused(&Asked { filters, ..Asked::default() }),
        format!("the view flow has no label port: {labels}")
    );
    assert_eq!(
        refused(&Asked { classes: vec![Class::Transit], ..Asked::default() }),
        "the view flow does not count transit: choose from receive, transmit"
    );
    assert_eq!(
        refused(&Asked { measure: Some(Measure::Flows), ..Asked::default() }),
        "the view flow does not count flows: choose from bytes"
    );
}

/// Compared with a model that keeps every flow.
#[test]
fn whatever_begins_and_ends_sums_are_those_of_the_flows() {
    const HOSTS: [&str; 3] = ["edge1", "edge2", "edge3"];
    for seed in 0..30 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut kit = Kit::new();
        let mut watching = None;
        // When it was published, source AS, host, bytes.
        let mut flows: Vec<(i64, u32, &str, u64)> = Vec::new();
        let mut now = 0;
        for _ in 0..200 {
            now += random.random_range(1..30);
            for _ in 0..random.random_range(0..5) {
                let (source, host) =
                    (random.random_range(1..20), *HOSTS.choose(&mut random).unwrap());
                let most = 1 << random.random_range(1..40);
                let bytes = random.random_range(0..most);
                kit.count([flow(source, ASN, bytes, host)]);
                flows.push((now, source, host, bytes));
            }
            kit.publish(now);
            match random.random_range(0..8) {
                0 => watching = Some(kit.history.watch()),
                1 => watching = None,
                2 => _ = kit.table.expire(UnixMs::new((BEGIN + now - 20) * 1000)),
                3 => _ = kit.table.expire(UnixMs::MAX),
                _ => {}
            }
        }
        drop(watching);
        let (over, step) = (Millis::new(3_600_000), Millis::new(5000));
        let host = HOSTS.choose(&mut random).unwrap();
        let filters = vec![("hostname".to_owned(), (*host).to_owned())];
        let answer = kit.answer(&Asked { over, step, limit: 100, filters, ..by(&["remote_as"]) });
        let since = answer.since.unwrap() as i64 - BEGIN;
        let of_host = || flows.iter().filter(|flow| flow.2 == *host && flow.0 > since);
        let mut sums = BTreeMap::<String, u128>::new();
        for (_, source, _, bytes) in of_host() {
            *sums.entry(source.to_string()).or_default() += u128::from(*bytes);
        }
        sums.retain(|_, sum| *sum > 0);
        let told: BTreeMap<_, _> = rows(&answer)
            .into_iter()
            .map(|(values, received, _)| (values[0].to_owned(), received))
            .collect();
        assert_eq!(told, sums, "seed {seed}");
        assert_eq!(answer.rest.rows, 0);
        // Each point is what was published within it.
        let curve = &answer.curve;
        let mut begin = since;
        let mut ends = BTreeSet::new();
        for (at, (end, seconds)) in curve.time.iter().zip(&curve.seconds).enumerate() {
            let end = *end as i64 - BEGIN;
            assert_eq!(end - begin, *seconds as i64, "points follow each other");
            assert!(ends.insert(end));
            let sum: u64 = of_host()
                .filter(|flow| (begin + 1..=end).contains(&flow.0))
                .map(|flow| flow.3)
                .sum();
            let told = curve.classes["receive"][at];
            let rate = sum as f64 * 8.0 / seconds;
            assert!((told - rate).abs() <= 0.5, "seed {seed}, point {at}: {told}, not {rate}");
            begin = end;
        }
        assert_eq!(begin, now);
    }
}
