//! Other views, or another rule, while the ledger runs: what was counted before is in the series of before, what is
//! counted after in those of after, and nothing is lost or counted twice, whenever the process ends.

use std::fs;

use flow_exporter::{
    clock::UnixMs,
    ledger::ChangeError,
    schema::{Class, Dimension, Filter, Measure, Schema, View},
};

use super::{
    changes::{begin, lines, replayed, start, tick},
    totals::told_with,
    *,
};

fn device(measures: &[Measure]) -> View {
    View::new("device", &[Dimension::Hostname], &[Class::Receive], measures)
}

fn only(view: View, hostname: &str) -> View {
    view.filtered(vec![Filter::new("hostname", [hostname]).unwrap()])
}

fn of(views: &[View]) -> Arc<Schema> {
    Arc::new(Schema::new(views.to_vec()))
}

/// A change that somebody has asked for.
struct Asked(mpsc::Receiver<Result<(), ChangeError>>);

impl Asked {
    fn new(bench: &Bench, schema: &Arc<Schema>) -> Self {
        Asked::by(bench, schema, None)
    }

    /// One by which flows are classified by another rule.
    fn by(bench: &Bench, schema: &Arc<Schema>, rule: Option<Rule>) -> Self {
        let (reader, schema) = (bench.reader.clone(), Arc::clone(schema));
        while bench.woken.try_recv().is_ok() {}
        let (answer, answered) = mpsc::channel();
        std::thread::spawn(move || answer.send(block_on(reader.change(schema, rule))));
        Asked(answered)
    }

    /// One of which the snapshot before it is taken, so that workers are to change over.
    fn begun(bench: &mut Bench, schema: &Arc<Schema>) -> Self {
        let asked = Asked::new(bench, schema);
        bench.woken.recv_timeout(PATIENCE).expect("the snapshot before it");
        bench.hand_over();
        while !Arc::ptr_eq(&bench.reader.schema(), schema) {
            bench.woken.recv_timeout(PATIENCE).expect("the change");
        }
        asked
    }

    /// Answers the ledger until it has.
    fn outcome(&self, bench: &mut Bench) -> Result<(), ChangeError> {
        bench.answer_until(|_| self.0.try_recv().ok())
    }
}

/// Counts bytes at `a`, and hands over with the next position if that is asked for.
fn count_at(shard: &mut Shard, time_ms: i64, bytes: u64, next_offset: Option<i64>) {
    count(shard, time_ms, 1, bytes);
    if let Some(next_offset) = next_offset {
        let partition = shard.number() as i32;
        shard.hand_over(vec![Position { partition, next_offset }]);
    }
}

/// What the lines begin and end with: metrics and values.
fn values(lines: &[String]) -> Vec<(&str, u64)> {
    lines
        .iter()
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.split_once('{').unwrap().0, value.parse().unwrap())
        })
        .collect()
}

const FLOW: &str = "flow_receive_bytes_total";
const DEVICE: &str = "flow_device_receive_bytes_total";
const DEVICE_FLOWS: &str = "flow_device_receive_flows_total";

#[test]
fn views_are_added_changed_and_removed_while_others_count_on() {
    let directory = tempfile::tempdir().unwrap();
    let original = View::original();
    let (bytes, both) = (device(&[Measure::Bytes]), device(&[Measure::Bytes, Measure::Flows]));
    let steps = [
        ([original.clone(), bytes.clone()], vec![(FLOW, 20), (DEVICE, 10)]),
        ([bytes.clone(), original.clone()], vec![(DEVICE, 20), (FLOW, 30)]),
        ([original.clone(), both.clone()], vec![(FLOW, 40), (DEVICE, 10), (DEVICE_FLOWS, 1)]),
        ([original.clone(), only(bytes.clone(), "a")], vec![(FLOW, 50), (DEVICE, 10)]),
        ([original.clone(), only(bytes.clone(), "b")], vec![(FLOW, 60)]),
        ([original.clone(), both], vec![(FLOW, 70), (DEVICE, 10), (DEVICE_FLOWS, 1)]),
        ([original.clone(), bytes], vec![(FLOW, 80), (DEVICE, 10)]),
    ];
    let mut bench = begin(&of(&[original]), OURS, directory.path());
    count_at(&mut bench.shards[0], T, 10, Some(1));
    let mut time_ms = T + INTERVAL_MS;
    assert_eq!(values(&tick(&mut bench, time_ms)), [(FLOW, 10)]);
    let mut offset = 1;
    for (views, expected) in steps {
        let asked = Asked::new(&bench, &of(&views));
        assert_eq!(asked.outcome(&mut bench), Ok(()));
        offset += 1;
        count_at(&mut bench.shards[0], time_ms, 10, Some(offset));
        time_ms += INTERVAL_MS;
        let lines = tick(&mut bench, time_ms);
        assert_eq!(values(&lines), expected);
    }
    let asked = Asked::new(&bench, &of(&[View::original()]));
    assert_eq!(asked.outcome(&mut bench), Ok(()));
    assert_eq!(values(&lines(&bench)), [(FLOW, 80)]);
    assert_eq!(sum(&bench.metrics, "flow_exporter_flows_total"), 8.0);
    bench.end();
    let bench = start(&of(&[View::original()]), OURS, directory.path());
    assert_eq!(values(&lines(&bench)), [(FLOW, 80)]);
    bench.end();
}

#[test]
fn what_workers_count_by_either_views_is_in_the_series_of_these() {
    let directory = tempfile::tempdir().unwrap();
    let [before, after] = ["a", "b"].map(|name| {
        // Either filter lets the flows pass.
        let filter = Filter::new("hostname", ["a", name]).unwrap();
        of(&[device(&[Measure::Bytes]).filtered(vec![filter]), View::original()])
    });
    let config = LedgerConfig { schema: Arc::clone(&before), ..config() };
    let mut bench = Bench::start(&config, 2, Some(directory.path()));
    bench.until(|_| true);
    for shard in &mut bench.shards {
        shard.advance_watermark(UnixMs::new(T));
    }
    bench.until_taken_from(T);
    for shard in &mut bench.shards {
        count_at(shard, T, 1, Some(1));
        // For the next tick but one.
        count_at(shard, T + INTERVAL_MS, 10, Some(2));
    }
    let asked = Asked::begun(&mut bench, &after);
    let [first, second] = &mut bench.shards[..] else { panic!("two shards") };
    count_at(first, T, 100, Some(3));
    assert!(Arc::ptr_eq(first.schema(), &after) && Arc::ptr_eq(second.schema(), &before));
    // By the views of after, before all have changed over.
    count_at(first, T, 1_000, Some(4));
    count_at(second, T, 10_000, Some(3));
    assert!(Arc::ptr_eq(second.schema(), &after));
    assert_eq!(asked.outcome(&mut bench), Ok(()));
    count_at(&mut bench.shards[1], T, 100_000, Some(4));
    count_at(&mut bench.shards[1], T + INTERVAL_MS, 1_000_000, Some(5));

    bench.shards[1].advance_watermark(UnixMs::new(T + INTERVAL_MS + LATENESS_MS));
    let first_tick = tick(&mut bench, T + INTERVAL_MS);
    assert_eq!(values(&first_tick), [(DEVICE, 101_000), (FLOW, 111_102)]);
    // What is told of early counts waits for their series.
    let told = |bench: &Bench| {
        told_with(&bench.reader.newest().unwrap(), "flow_exporter_flow_bytes_total")
    };
    assert_eq!(told(&bench), 111_102.0);
    bench.shards[1].advance_watermark(UnixMs::new(T + 2 * INTERVAL_MS + LATENESS_MS));
    let second_tick = tick(&mut bench, T + 2 * INTERVAL_MS);
    assert_eq!(values(&second_tick), [(DEVICE, 1_101_000), (FLOW, 1_111_122)]);
    assert_eq!(told(&bench), 1_111_122.0);
    let newest = bench.reader.newest().unwrap();
    let positions: Vec<_> =
        newest.positions().map(|position| (position.partition, position.next_offset)).collect();
    assert_eq!(positions, [(0, 4), (1, 5)]);
    bench.end();
    // Both devices together have what the flows have, and the first one has ended.
    assert_eq!(replayed(directory.path()), (vec![2 * 1_111_122], 1));
}

#[test]
fn by_another_rule_all_series_end_and_others_with_the_same_labels_begin() {
    const NEXT: u32 = 64501;
    let directory = tempfile::tempdir().unwrap();
    let views = [View::original()];
    let mut bench = begin(&of(&views), OURS, directory.path());
    count_at(&mut bench.shards[0], T, 1, Some(1));
    // For the next tick but one.
    count_at(&mut bench.shards[0], T + INTERVAL_MS, 10, Some(2));
    let asked = Asked::by(&bench, &of(&views), Some(Rule::of_as(NEXT)));
    assert_eq!(asked.outcome(&mut bench), Ok(()));
    assert_eq!(lines(&bench), [""; 0]);
    count_at(&mut bench.shards[0], T, 100, Some(3));
    assert_eq!(values(&tick(&mut bench, T + INTERVAL_MS)), [(FLOW, 100)]);
    count_at(&mut bench.shards[0], T + INTERVAL_MS, 1_000, Some(4));
    assert_eq!(values(&tick(&mut bench, T + 2 * INTERVAL_MS)), [(FLOW, 1_100)]);
    bench.end();
    assert_eq!(replayed(directory.path()), (vec![1_111], 1));
    // The journal has the new rule.
    let bench = start(&of(&views), NEXT, directory.path());
    assert_eq!(values(&lines(&bench)), [(FLOW, 1_100)]);
    bench.end();
}

#[test]
fn while_the_disk_refuses_views_stay_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let [journal, aside] = ["journal", "aside"].map(|name| directory.path().join(name));
    let before = of(&[View::original(), device(&[Measure::Bytes])]);
    let mut bench = begin(&before, OURS, &journal);
    count_at(&mut bench.shards[0], T, 1, Some(1));
    tick(&mut bench, T + INTERVAL_MS);
    fs::rename(&journal, &aside).unwrap();
    let asked = Asked::new(&bench, &of(&[View::original()]));
    assert_eq!(asked.outcome(&mut bench), Err(ChangeError::Disk));
    fs::rename(&aside, &journal).unwrap();
    count_at(&mut bench.shards[0], T + INTERVAL_MS, 10, Some(2));
    let lines = tick(&mut bench, T + 2 * INTERVAL_MS);
    assert_eq!(values(&lines), [(FLOW, 11), (DEVICE, 11)]);
    bench.end();
}

/// A ledger that changes from one device view to another when its journal is moved aside, so that it
/// can't say that the series of before end. Two more flows are counted by the views of after. The
/// journal is still aside.
fn stuck(journal: &Path, aside: &Path, views: &[Arc<Schema>; 2]) -> (Bench, Asked) {
    let [before, after] = views;
    let mut bench = begin(before, OURS, journal);
    count_at(&mut bench.shards[0], T, 1, Some(1));
    tick(&mut bench, T + INTERVAL_MS);
    let asked = Asked::begun(&mut bench, after);
    fs::rename(journal, aside).unwrap();
    count_at(&mut bench.shards[0], T + INTERVAL_MS, 10, Some(2));
    count_at(&mut bench.shards[0], T + INTERVAL_MS, 100, Some(3));
    (bench, asked)
}

fn two_devices() -> [Arc<Schema>; 2] {
    let all = device(&[Measure::Bytes]);
    [all.clone(), only(all, "a")].map(|device| of(&[device, View::original()]))
}

#[test]
fn once_workers_have_changed_over_the_disk_is_awaited() {
    let directory = tempfile::tempdir().unwrap();
    let [journal, aside] = ["journal", "aside"].map(|name| directory.path().join(name));
    let (mut bench, asked) = stuck(&journal, &aside, &two_devices());
    let metrics = Arc::clone(&bench.metrics);
    bench.answer_until(|_| {
        let errors = sum(&metrics, "flow_exporter_journal_errors_total");
        (errors > 0.0).then_some(())
    });
    fs::rename(&aside, &journal).unwrap();
    assert_eq!(asked.outcome(&mut bench), Ok(()));
    let lines = tick(&mut bench, T + 2 * INTERVAL_MS);
    assert_eq!(values(&lines), [(DEVICE, 100), (FLOW, 111)]);
    bench.end();
    assert_eq!(replayed(&journal), (vec![222], 1));
}

#[test]
fn a_change_that_the_disk_never_took_is_made_by_the_next_start_or_not_at_all() {
    let views = two_devices();
    for (next, expected, ended) in [(&views[0], [1_011, 1_011], 0), (&views[1], [1_010, 1_011], 1)]
    {
        let directory = tempfile::tempdir().unwrap();
        let [journal, aside] = ["journal", "aside"].map(|name| directory.path().join(name));
        let (bench, asked) = stuck(&journal, &aside, &views);
        bench.end();
        assert_eq!(asked.0.recv_timeout(PATIENCE).unwrap(), Err(ChangeError::Stopping));
        fs::rename(&aside, &journal).unwrap();

        let store = open(&journal);
        assert_eq!(store.positions().collect::<Vec<_>>(), [(0, 1)]);
        drop(store);
        let mut bench = start(next, OURS, &journal);
        // What is behind the position is read again.
        count_at(&mut bench.shards[0], T + INTERVAL_MS, 10, Some(2));
        count_at(&mut bench.shards[0], T + INTERVAL_MS, 1_000, Some(3));
        let lines = tick(&mut bench, T + 2 * INTERVAL_MS);
        assert_eq!(values(&lines), [(DEVICE, expected[0]), (FLOW, expected[1])]);
        bench.end();
        assert_eq!(replayed(&journal), (vec![2 * 1_011], ended));
    }
}

#[test]
fn rows_are_only_as_wide_as_the_views_that_are_left_need() {
    let [original, both] = [View::original(), device(&[Measure::Bytes, Measure::Flows])];
    let (before, after) = (of(&[original.clone(), both]), of(&[original]));
    for is_restarted in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = begin(&before, OURS, directory.path());
        count_at(&mut bench.shards[0], T, 10, Some(1));
        assert_eq!(tick(&mut bench, T + INTERVAL_MS).len(), 3);
        if is_restarted {
            bench.end();
            bench = start(&after, OURS, directory.path());
        } else {
            assert_eq!(Asked::new(&bench, &after).outcome(&mut bench), Ok(()));
        }
        for ticks in 1..3 {
            count_at(&mut bench.shards[0], T + ticks * INTERVAL_MS, 1, Some(1 + ticks));
            let lines = tick(&mut bench, T + (1 + ticks) * INTERVAL_MS);
            assert_eq!(values(&lines), [(FLOW, 10 + ticks as u64)]);
        }
        bench.end();
        assert_eq!(replayed(directory.path()), (vec![10 + 12, 1], 1));
        let (_journal, recovered) =
            Journal::open(directory.path(), JournalConfig::default()).unwrap();
        let state = recovered.state.unwrap();
        assert_eq!((state.width(), state.len()), (1, 1));
    }
}

#[test]
fn what_is_watched_at_the_bound_of_a_view_is_watched_on_while_others_change() {
    const CHANGED_AT: i64 = 20;
    let limited = View::original().limited(2);
    // How many ticks it takes until the heavier key has the place of the lightest series.
    let ticks = |changed: Option<Arc<Schema>>| {
        let directory = tempfile::tempdir().unwrap();
        let mut bench = begin(&of(std::slice::from_ref(&limited)), OURS, directory.path());
        let ticks = (0..100).find(|ticks| {
            if let Some(changed) = changed.as_ref().filter(|_| *ticks == CHANGED_AT) {
                assert_eq!(Asked::new(&bench, changed).outcome(&mut bench), Ok(()));
            }
            for (source_as, bytes) in [(1, 1_000), (2, 100), (3, 126)] {
                count(&mut bench.shards[0], T + ticks * INTERVAL_MS, source_as, bytes);
            }
            tick(&mut bench, T + (ticks + 1) * INTERVAL_MS);
            sum(&bench.metrics, "flow_exporter_series_admitted_total") > 0.0
        });
        bench.end();
        ticks.expect("it is admitted")
    };
    let undisturbed = ticks(None);
    assert!(undisturbed > CHANGED_AT);
    let both = device(&[Measure::Bytes, Measure::Flows]);
    assert_eq!(ticks(Some(of(&[both, limited.clone()]))), undisturbed);
}
