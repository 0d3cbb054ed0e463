//! What receivers take the growth of series to be, if these end and begin again with the same labels.

use flow_exporter::publish::remote_write::proto::v2;
use proptest::prelude::*;
use prost::Message;
use testkit::series::growth;

use super::*;

/// What happens in a ledger.
#[derive(Debug, Clone)]
enum Event {
    Count(u32, u64),
    End(u32),
    /// A snapshot that is not a tick, this long after the one before.
    Snapshot(i64),
    /// A tick, behind this many that are omitted.
    Tick(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let source_as = || 1..=3_u32;
    let event = prop_oneof![
        4 => (source_as(), 0..100_u64).prop_map(|(source_as, bytes)| Event::Count(source_as, bytes)),
        2 => source_as().prop_map(Event::End),
        1 => prop_oneof![Just(0), Just(1), 1..INTERVAL, Just(INTERVAL)].prop_map(Event::Snapshot),
        3 => prop_oneof![5 => Just(0), 1 => 1..10_i64].prop_map(Event::Tick),
    ];
    prop::collection::vec(event, 1..60)
}

/// Has a ledger tell what happens, and all that is counted sampled. Returns what was counted of each
/// series.
fn tell(ledger: &mut FakeLedger, events: &[Event]) -> BTreeMap<String, u64> {
    let mut counted: BTreeMap<String, u64> = BTreeMap::new();
    let (mut tick, mut time_ms) = (0, at(-1));
    for event in events {
        match *event {
            Event::Count(source_as, bytes) => {
                ledger.count(source_as, bytes);
                *counted.entry(source_as.to_string()).or_default() += bytes;
            }
            Event::End(source_as) if ledger.slots.contains_key(&source_as) => {
                // A series ends only when all of it is published.
                if ledger.pending.contains_key(&source_as) {
                    ledger.snapshot(time_ms);
                }
                ledger.end(source_as);
            }
            Event::End(_) => {}
            Event::Snapshot(after_ms) => {
                time_ms = (time_ms + after_ms).min(at(tick) - 1);
                ledger.snapshot(time_ms);
            }
            Event::Tick(omitted) => {
                tick += omitted;
                time_ms = at(tick);
                ledger.sample(tick);
                tick += 1;
            }
        }
    }
    ledger.sample(tick);
    counted
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn series_grow_by_what_was_counted_however_often_their_labels_end_and_begin_again(
        events in events(),
        is_idle in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut receiver = Receiver::new();
            let idle_interval = is_idle.then_some(Duration::from_millis(4 * INTERVAL as u64));
            let config = PusherConfig { idle_interval, ..config(&receiver) };
            let mut ledger = FakeLedger::in_memory(1 << 20);
            ledger.claim(&[&config]);
            let counted = tell(&mut ledger, &events);
            let mut all: BTreeMap<String, Vec<u64>> = BTreeMap::new();
            // In the order of their times.
            for (source_as, _, bits) in all_sent(&mut ledger, &config, &mut receiver).await {
                if bits != STALE {
                    all.entry(source_as).or_default().push(f64::from_bits(bits) as u64);
                }
            }
            for (source_as, values) in &all {
                prop_assert_eq!(values[0], 0, "{}", source_as);
            }
            let grown: BTreeMap<String, u64> =
                all.into_iter().map(|(source_as, values)| (source_as, growth(values))).collect();
            prop_assert_eq!(grown, counted);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn samples_of_2_0_have_the_start_of_the_series_that_had_the_labels_then() {
    let mut receiver = Receiver::new();
    receiver.store(Kind::Prometheus3);
    let config = PusherConfig { protocol: ProtocolChoice::V2, ..config(&receiver) };
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    ledger.count(1, 10);
    ledger.sample(0);
    ledger.end(1);
    ledger.count(1, 11);
    ledger.sample(1);
    let push = ledger.push(&config);
    let request = v2::Request::decode(receiver.next().await.protobuf().as_slice()).unwrap();
    let samples: Vec<_> = request.timeseries[0]
        .samples
        .iter()
        .map(|sample| (sample.timestamp, sample.value, sample.start_timestamp))
        .collect();
    let expected = [
        (at(-1) + 1, 0.0, at(-1)),
        (at(0), 10.0, at(-1)),
        (at(0) + 1, 0.0, at(0)),
        (at(1), 11.0, at(0)),
    ];
    assert_eq!(samples, expected);
    push.kill().await;
}
