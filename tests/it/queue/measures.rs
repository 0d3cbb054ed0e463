//! Series that count several things: each count is a series of the endpoint.

use std::iter;

use flow_exporter::{
    publish::{
        relabel::{RelabelRule, RelabelText},
        remote_write::proto::v2,
    },
    schema::{Class, Dimension, Measure, Schema, View},
};
use proptest::prelude::*;
use prost::Message;
use testkit::series::growth;

use super::*;

fn view(name: &str, measures: &[Measure]) -> View {
    View::new(name, &[Dimension::SOURCE_AS], &[Class::Receive], measures)
}

fn service() -> View {
    view("service", &Measure::ALL)
}

/// A ledger with these views.
fn with_views(mut ledger: FakeLedger, views: &[View]) -> FakeLedger {
    ledger.schema = Schema::new(views.to_vec());
    ledger.set_width(ledger.schema.counts());
    ledger
}

/// Its samples, each with metric and source AS.
fn sent_by_metric(request: &Received) -> Vec<Sent> {
    let samples = request.samples().into_iter();
    samples
        .map(|(labels, time_ms, value)| {
            let series = format!("{} {}", labels["__name__"], labels["source_as"]);
            (series, time_ms, value.to_bits())
        })
        .collect()
}

/// A sample of a series of the view `service`.
fn of(measure: &str, source_as: u32, time_ms: i64, value: f64) -> Sent {
    let series = format!("flow_service_receive_{measure}_total {source_as}");
    (series, time_ms, value.to_bits())
}

fn stale_of(measure: &str, source_as: u32, time_ms: i64) -> Sent {
    of(measure, source_as, time_ms, f64::from_bits(STALE))
}

/// Takes requests until so many samples have come, sorted.
async fn receive_by_metric(receiver: &mut Receiver, samples: usize) -> Vec<Sent> {
    let mut all = Vec::new();
    while all.len() < samples {
        all.extend(sent_by_metric(&receiver.next().await));
    }
    assert_eq!(all.len(), samples, "{all:?}");
    sorted(all)
}

fn rule(text: RelabelText) -> RelabelRule {
    RelabelRule::try_from(text).unwrap()
}

#[tokio::test]
async fn each_measure_begins_with_zero_has_its_own_values_and_is_marked_at_the_end() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = with_views(FakeLedger::on_disk(), &[service()]);
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.count_in(&service(), 1, &[1000, 3, 1]);
    ledger.sample(0);
    let begin = at(-1) + 1;
    let expected = [
        of("bytes", 1, begin, 0.0),
        of("bytes", 1, at(0), 1000.0),
        of("flows", 1, begin, 0.0),
        of("flows", 1, at(0), 1.0),
        of("packets", 1, begin, 0.0),
        of("packets", 1, at(0), 3.0),
    ];
    assert_eq!(receive_by_metric(&mut receiver, 6).await, expected);
    push.until_idle().await;

    // Flows do not change any more.
    ledger.count_in(&service(), 1, &[500, 1, 0]);
    ledger.snapshot(at(0) + 5);
    ledger.end(1);
    ledger.sample(1);
    let expected = [
        of("bytes", 1, at(0) + 5, 1500.0),
        stale_of("bytes", 1, at(1)),
        stale_of("flows", 1, at(1)),
        of("packets", 1, at(0) + 5, 4.0),
        stale_of("packets", 1, at(1)),
    ];
    assert_eq!(receive_by_metric(&mut receiver, 5).await, expected);
    ledger.close();
    assert_eq!(push.end().await, settled(11, []));
}

#[tokio::test]
async fn a_measure_is_idle_by_itself_and_not_all_series_are_sent_at_one_tick() {
    let mut receiver = Receiver::new();
    let idle_interval = Some(Duration::from_millis(4 * INTERVAL as u64));
    let config = PusherConfig { idle_interval, ..config(&receiver) };
    let mut ledger = with_views(FakeLedger::on_disk(), &[service()]);
    ledger.claim(&[&config]);
    let mut push = ledger.push(&config);
    let mut all = Vec::new();
    for number in 0..=11 {
        let bytes = if [0, 7].contains(&number) { 10 } else { 0 };
        ledger.count_in(&service(), 1, &[bytes, 1, u64::from(number == 0)]);
        if number == 0 {
            ledger.count_in(&service(), 2, &[10, 1, 1]);
        }
        ledger.sample(number);
        all.extend(sent_by_metric(&receiver.next().await));
        push.until_idle().await;
        if number % 3 == 2 {
            // Another start in between changes nothing.
            push.kill().await;
            push = ledger.push(&config);
        }
    }
    let series = |measure, source_as| {
        let (name, ..) = of(measure, source_as, 0, 0.0);
        all.iter().filter(|(series, ..)| *series == name).cloned().collect::<Vec<_>>()
    };
    let sample = |measure, source_as| {
        move |(number, value): (i64, f64)| of(measure, source_as, at(number), value)
    };
    let zero = |measure, source_as| of(measure, source_as, at(-1) + 1, 0.0);

    // Multiples of the idle interval are at 3, 7 and 11 for the first series.
    let values = [(0, 10.0), (3, 10.0), (6, 10.0), (7, 20.0), (11, 20.0)];
    let expected = values.map(sample("bytes", 1));
    assert_eq!(series("bytes", 1), [&[zero("bytes", 1)][..], &expected].concat());
    let expected = [0, 3, 7, 11].map(|number| (number, 1.0)).map(sample("flows", 1));
    assert_eq!(series("flows", 1), [&[zero("flows", 1)][..], &expected].concat());
    assert_eq!(series("packets", 1).len(), 1 + 12);
    // For the second one, a tick later.
    let expected = [0, 4, 8].map(|number| (number, 10.0)).map(sample("bytes", 2));
    assert_eq!(series("bytes", 2), [&[zero("bytes", 2)][..], &expected].concat());
    ledger.close();
    push.end().await;
}

#[tokio::test]
async fn a_rule_may_drop_one_measure_and_keep_the_others() {
    let mut receiver = Receiver::new();
    let relabel = vec![rule(RelabelText {
        source_labels: Some(vec!["__name__".to_owned()]),
        regex: Some(".*_packets_total".to_owned()),
        action: Some("drop".to_owned()),
        ..RelabelText::default()
    })];
    let config = PusherConfig { relabel, ..config(&receiver) };
    let mut ledger = with_views(FakeLedger::on_disk(), &[service()]);
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.count_in(&service(), 1, &[1000, 3, 1]);
    ledger.sample(0);
    assert_eq!(receive_by_metric(&mut receiver, 4).await.len(), 4);
    ledger.count_in(&service(), 1, &[0, 3, 1]);
    ledger.sample(1);
    let expected = [of("bytes", 1, at(1), 1000.0), of("flows", 1, at(1), 2.0)];
    assert_eq!(receive_by_metric(&mut receiver, 2).await, expected);
    ledger.end(1);
    ledger.sample(2);
    let expected = [stale_of("bytes", 1, at(2)), stale_of("flows", 1, at(2))];
    assert_eq!(receive_by_metric(&mut receiver, 2).await, expected);
    ledger.close();
    assert_eq!(push.end().await, settled(8, [("relabelled", 2)]));
}

#[tokio::test]
async fn of_two_measures_with_the_same_labels_the_first_is_sent() {
    let mut receiver = Receiver::new();
    let relabel = vec![rule(RelabelText {
        target_label: Some("__name__".to_owned()),
        replacement: Some("flow_service_receive_all_total".to_owned()),
        ..RelabelText::default()
    })];
    let config = PusherConfig { relabel, ..config(&receiver) };
    let mut ledger = with_views(FakeLedger::on_disk(), &[service()]);
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    for number in 0..2 {
        ledger.count_in(&service(), 1, &[1000, 3, 1]);
        ledger.sample(number);
    }
    ledger.end(1);
    ledger.sample(2);
    let expected = [
        of("all", 1, at(-1) + 1, 0.0),
        of("all", 1, at(0), 1000.0),
        of("all", 1, at(1), 2000.0),
        stale_of("all", 1, at(2)),
    ];
    assert_eq!(receive_by_metric(&mut receiver, 4).await, expected);
    ledger.close();
    assert_eq!(push.end().await, settled(4, [("duplicate_labels", 4)]));
}

/// Type and help of each series in a request of 2.0, by metric.
fn metadata(request: &Received) -> BTreeMap<String, (i32, String)> {
    let request = v2::Request::decode(request.protobuf().as_slice()).unwrap();
    let symbol = |place: u32| request.symbols[place as usize].clone();
    let of = |series: &v2::TimeSeries| {
        let metadata = series.metadata.as_ref().expect("metadata");
        let name = symbol(series.labels_refs[1]);
        (name, (metadata.r#type, symbol(metadata.help_ref)))
    };
    request.timeseries.iter().map(of).collect()
}

#[tokio::test]
async fn series_of_a_view_that_was_removed_get_their_last_value_and_the_marker() {
    let mut receiver = Receiver::new();
    receiver.store(Kind::Prometheus3);
    let config = PusherConfig { protocol: ProtocolChoice::V2, ..config(&receiver) };
    let mut ledger = with_views(FakeLedger::on_disk(), &[service()]);
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    ledger.count_in(&service(), 1, &[1000, 3, 1]);
    ledger.count_in(&service(), 2, &[1000, 3, 1]);
    ledger.sample(0);
    let metadata_before = metadata(&receiver.next().await);
    push.until_idle().await;
    // This is not sent any more.
    push.kill().await;
    ledger.count_in(&service(), 1, &[500, 1, 1]);
    ledger.snapshot(at(0) + 5);

    // The view loses all measures but one; series end, and one with the same labels begins, from zero.
    let bytes = view("service", &[Measure::Bytes]);
    ledger.schema = Schema::new(vec![bytes.clone()]);
    ledger.end(1);
    ledger.end(2);
    ledger.count_in(&bytes, 2, &[7]);
    ledger.sample(1);
    let push = ledger.push(&config);
    let request = receiver.next().await;
    let expected = [
        of("bytes", 1, at(0) + 5, 1500.0),
        stale_of("bytes", 1, at(1)),
        of("bytes", 2, at(0) + 1, 0.0),
        of("bytes", 2, at(1), 7.0),
        of("flows", 1, at(0) + 5, 2.0),
        stale_of("flows", 1, at(1)),
        stale_of("flows", 2, at(1)),
        of("packets", 1, at(0) + 5, 4.0),
        stale_of("packets", 1, at(1)),
        stale_of("packets", 2, at(1)),
    ];
    assert_eq!(sorted(sent_by_metric(&request)), expected);
    let counter = v2::metadata::MetricType::Counter as i32;
    for (name, found) in metadata(&request) {
        let before = &metadata_before[&name];
        assert_eq!(before.0, counter);
        let is_configured = name == "flow_service_receive_bytes_total";
        let help = if is_configured { before.1.clone() } else { String::new() };
        assert_eq!(found, (counter, help), "{name}");
    }
    ledger.close();
    assert_eq!(push.end().await, settled(10, []));
}

#[tokio::test]
async fn a_log_in_which_series_get_more_counts_and_fewer_again_is_followed() {
    for ledger in [FakeLedger::on_disk(), FakeLedger::in_memory(1 << 20)] {
        let (mut receiver, mut late_receiver) = (Receiver::new(), Receiver::new());
        let (config, late) = (config(&receiver), config(&late_receiver));
        let bytes = view("bytes", &[Measure::Bytes]);
        let mut ledger = with_views(ledger, std::slice::from_ref(&bytes));
        ledger.claim(&[&config, &late]);
        let push = ledger.push(&config);
        ledger.count_in(&bytes, 1, &[10]);
        ledger.sample(0);
        push.until_idle().await;
        ledger.set_width(3);
        ledger.count_in(&bytes, 1, &[10]);
        ledger.count_in(&service(), 2, &[1000, 3, 1]);
        ledger.sample(1);
        push.until_idle().await;
        ledger.count_in(&service(), 2, &[0, 0, 1]);
        ledger.sample(2);
        ledger.end(2);
        ledger.sample(3);
        push.until_idle().await;
        ledger.set_width(1);
        ledger.count_in(&bytes, 1, &[10]);
        ledger.sample(4);
        // 2 and 4 samples of the first series; of each count of the other a zero, two and a marker.
        let live = receive_by_metric(&mut receiver, 6 + 12).await;
        for expected in [
            ("flow_bytes_receive_bytes_total 1".to_owned(), at(4), 30_f64.to_bits()),
            of("flows", 2, at(2), 2.0),
            stale_of("packets", 2, at(3)),
        ] {
            assert!(live.contains(&expected), "{expected:?} is not in {live:?}");
        }
        // What reads all of it at once comes to the same.
        let late_push = ledger.push(&late);
        assert_eq!(receive_by_metric(&mut late_receiver, 6 + 12).await, live);
        ledger.close();
        for push in [push, late_push] {
            assert_eq!(push.end().await, settled(18, []));
        }
    }
}

#[tokio::test]
async fn how_many_samples_wait_is_known_before_they_are_read() {
    let mut receiver = Receiver::new();
    receiver.answer([Answer::Stall]);
    let config = config(&receiver);
    for mut ledger in [FakeLedger::on_disk(), FakeLedger::in_memory(1 << 20)] {
        ledger = with_views(ledger, &[service()]);
        ledger.claim(&[&config]);
        ledger.count_in(&service(), 1, &[1000, 3, 1]);
        ledger.sample(0);
        let push = ledger.push(&config);
        receiver.next().await;
        for number in 1..10 {
            ledger.count_in(&service(), 1, &[1000, 3, 1]);
            ledger.sample(number);
        }
        let waiting = push.until(|samples| samples.generated >= 3 + 3 * 10).await;
        assert_eq!((waiting.generated, waiting.pending), (33, 33));
        push.kill().await;
        receiver.answer([Answer::Stall]);
    }
}

#[tokio::test]
async fn what_the_caps_drop_is_counted_by_measure() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let caps = JournalConfig { segment_bytes: 300, max_bytes: 4_000, ..JournalConfig::default() };
    let mut ledger = with_views(FakeLedger::with_caps(caps), &[service()]);
    ledger.claim(&[&config]);
    for number in 0..200 {
        ledger.count_in(&service(), 1, &[1000, 3, 1]);
        ledger.sample(number);
    }
    let push = ledger.push(&config);
    let samples = push.until_idle().await;
    let dropped = samples.dropped["queue_full"];
    assert_eq!(samples.confirmed + dropped, 600);
    assert!(dropped > 100 && samples.confirmed > 0, "{samples:?}");
    receive_by_metric(&mut receiver, samples.confirmed as usize).await;
    ledger.close();
    push.end().await;
}

/// What is done with a series between two ticks.
#[derive(Debug, Clone, Copy)]
enum Change {
    Nothing,
    /// Counts; each measure only if its bit is set. It begins if need be.
    Count(u8),
    End,
    /// Counts, and ends after a snapshot.
    CountAndEnd(u8),
}

/// A run of the program, with these views.
#[derive(Debug, Clone)]
struct Run {
    /// How many of the views are configured; each has one more measure than the one before.
    views: usize,
    /// For each tick what is done with the series of each view.
    ticks: Vec<[Change; VIEWS]>,
    /// How many requests are answered before the kill.
    answered: usize,
}

const VIEWS: usize = 3;

fn runs() -> impl Strategy<Value = Vec<Run>> {
    let change = prop_oneof![
        2 => Just(Change::Nothing),
        4 => (1_u8..8).prop_map(Change::Count),
        1 => Just(Change::End),
        1 => (1_u8..8).prop_map(Change::CountAndEnd),
    ];
    let ticks = prop::collection::vec([change.clone(), change.clone(), change], 1..7);
    let run = (1..=VIEWS, ticks, 0_usize..4);
    prop::collection::vec(
        run.prop_map(|(views, ticks, answered)| Run { views, ticks, answered }),
        1..5,
    )
}

/// What a receiver should come to know of a series.
#[derive(Debug, Default)]
struct Expected {
    /// Its value at each tick; `None` where it does not live.
    at_ticks: BTreeMap<i64, Option<u64>>,
    /// The ticks before which it begins.
    begins_before: BTreeSet<i64>,
    /// All that it ever counted.
    total: u64,
    value: Option<u64>,
}

fn check(name: &str, expected: &Expected, samples: &[(i64, u64)], idle: Option<i64>) {
    let context = || format!("{name}: {expected:?}, received {samples:?}");
    let times = samples.iter().map(|&(time, _)| time);
    assert!(times.clone().is_sorted_by(|one, next| one < next), "{}", context());
    for (&time, &value) in &expected.at_ticks {
        let upto = samples.partition_point(|&(at, _)| at <= time);
        let last = samples[..upto].last();
        let found = last.filter(|&&(_, bits)| bits != STALE).map(|&(_, bits)| f64::from_bits(bits));
        // A series that begins has a zero at the tick before, unless one that ended is marked there.
        let begins = expected.begins_before.contains(&(time + INTERVAL)) && value.is_none();
        let is_so = found == value.map(|value| value as f64) || begins && found == Some(0.0);
        assert!(is_so, "{found:?} at {time}, {}", context());
        // Neither forgotten nor sent more often than it should be.
        if let (Some(&(at, _)), Some(_)) = (last, value) {
            assert!(time - at < idle.unwrap_or(1), "at {time}, {}", context());
        }
    }
    let values = samples.iter().filter(|&&(_, bits)| bits != STALE);
    let values = values.map(|&(_, bits)| f64::from_bits(bits) as u64);
    assert_eq!(growth(iter::once(0).chain(values)), expected.total, "{}", context());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_comes_to_know_what_was_counted_whatever_series_views_and_program_do(
        runs in runs(),
        is_idle in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(follow(&runs, is_idle.then_some(4 * INTERVAL)));
    }
}

/// A ledger and what a receiver should know of it.
struct Told {
    ledger: FakeLedger,
    views: [View; VIEWS],
    /// By metric and source AS, which is the view's place.
    expected: BTreeMap<String, Expected>,
}

impl Told {
    fn names(&self, source_as: u32) -> Vec<String> {
        let view = &self.views[source_as as usize % VIEWS];
        let names = view
            .measures()
            .iter()
            .map(|&measure| format!("{} {source_as}", view.metric_name(Class::Receive, measure)));
        names.collect()
    }

    fn count(&mut self, source_as: u32, bits: u8, number: i64) {
        let names = self.names(source_as);
        let row: Vec<u64> = (0..names.len())
            .map(|count| u64::from(bits >> count & 1) * (1 + number as u64))
            .collect();
        self.ledger.count_in(&self.views[source_as as usize % VIEWS], source_as, &row);
        for (name, count) in names.into_iter().zip(row) {
            let expected = self.expected.entry(name).or_default();
            expected.total += count;
            if expected.value.is_none() {
                expected.begins_before.insert(at(number));
            }
            expected.value = Some(expected.value.unwrap_or(0) + count);
        }
    }

    fn end(&mut self, source_as: u32) {
        self.ledger.end(source_as);
        for name in self.names(source_as) {
            self.expected.get_mut(&name).unwrap().value = None;
        }
    }

    fn lives(&self, source_as: u32) -> bool {
        self.ledger.slots.contains_key(&source_as)
    }

    /// From now on so many of the views are configured. Series of others end while there is still
    /// room for their counts.
    fn configure(&mut self, views: usize, number: i64) {
        self.ledger.schema = Schema::new(self.views[..views].to_vec());
        let before = self.ledger.delta.width();
        self.ledger.set_width(before.max(views));
        for source_as in
            (views as u32..VIEWS as u32).filter(|&of| self.lives(of)).collect::<Vec<_>>()
        {
            self.end(source_as);
        }
        self.ledger.snapshot(at(number - 1) + 2);
        self.ledger.set_width(views);
    }

    fn tick(&mut self, number: i64, changes: &[Change]) {
        // One that always changes, so that there is something to send.
        self.count(VIEWS as u32, 1, number);
        let mut ending = Vec::new();
        for (source_as, change) in (0..).zip(changes) {
            if let Change::Count(bits) | Change::CountAndEnd(bits) = *change {
                self.count(source_as, bits, number);
            }
            if matches!(change, Change::End | Change::CountAndEnd(_)) && self.lives(source_as) {
                ending.push(source_as);
            }
        }
        if !ending.is_empty() {
            self.ledger.snapshot(at(number) - 1_000);
        }
        for source_as in ending {
            self.end(source_as);
        }
        self.ledger.sample(number);
        for expected in self.expected.values_mut() {
            expected.at_ticks.insert(at(number), expected.value);
        }
    }
}

/// Keeps what was received. What was under way at a kill comes twice, and is the same then.
fn keep(kept: &mut BTreeMap<String, Vec<(i64, u64)>>, request: &Received) {
    for (series, time, bits) in sent_by_metric(request) {
        let samples = kept.entry(series).or_default();
        match samples.iter().find(|sample| sample.0 == time) {
            Some(&before) => assert_eq!(before, (time, bits)),
            None => samples.push((time, bits)),
        }
    }
}

/// Has a ledger do all this while the pusher is killed again and again, and checks what it sent.
async fn follow(runs: &[Run], idle: Option<i64>) {
    let mut receiver = Receiver::new();
    let idle_interval = idle.map(|idle| Duration::from_millis(idle as u64));
    let config = PusherConfig { idle_interval, ..in_batches_of(2, 5, config(&receiver)) };
    let views =
        std::array::from_fn(|place| view(["one", "two", "three"][place], &Measure::ALL[..=place]));
    // In memory, where there is such a directory: many logs are written.
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let ledger = FakeLedger::in_directory(directory, JournalConfig::default());
    let ledger = with_views(ledger, &views[..runs[0].views]);
    ledger.claim(&[&config]);
    let mut told = Told { ledger, views, expected: BTreeMap::new() };
    let mut kept = BTreeMap::new();
    let mut number = 0;
    for run in runs {
        if told.ledger.schema.views().len() != run.views {
            told.configure(run.views, number);
        }
        receiver.answer(vec![Answer::status(204); run.answered]);
        receiver.answer([Answer::Stall]);
        let push = told.ledger.push(&config);
        for changes in &run.ticks {
            told.tick(number, &changes[..run.views]);
            tokio::task::yield_now().await;
            number += 1;
        }
        let all_requests = async {
            for _ in 0..=run.answered {
                keep(&mut kept, &receiver.next().await);
            }
        };
        tokio::select! {
            () = all_requests => {}
            _ = push.until_idle() => {}
        }
        push.kill().await;
        receiver.forget_answers();
        while let Some(request) = receiver.received() {
            keep(&mut kept, &request);
        }
    }
    let push = told.ledger.push(&config);
    told.ledger.close();
    let samples = push.end().await;
    assert_eq!(samples, settled(samples.confirmed, []));
    while let Some(request) = receiver.received() {
        keep(&mut kept, &request);
    }
    for (name, expected) in &told.expected {
        check(name, expected, kept.get(name).map_or(&[], Vec::as_slice), idle);
    }
    assert!(kept.keys().all(|name| told.expected.contains_key(name)));
}
