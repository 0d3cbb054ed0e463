//! Endpoints on threads of their own: each is started, stopped and started again while others push.

use flow_exporter::publish::pusher::Running;
use tokio::time::Instant;

use super::*;

fn named(name: &str, config: PusherConfig) -> PusherConfig {
    PusherConfig { name: name.to_owned(), ..config }
}

fn start(ledger: &FakeLedger, config: &PusherConfig, metrics: &Arc<Metrics>) -> Running {
    let component = Health::new().register("remote write");
    let lifeline = component.lifeline("stream");
    let pusher = Pusher::new(config, &Schema::original(), Arc::clone(metrics), component, None);
    pusher.unwrap().start(lifeline, ledger.log(), ledger.news.subscribe()).unwrap()
}

#[tokio::test]
async fn an_endpoint_is_stopped_and_continued_by_another_pusher_while_others_push() {
    for mut ledger in [FakeLedger::on_disk(), FakeLedger::in_memory(1 << 20)] {
        let (mut one, mut two) = (Receiver::new(), Receiver::new());
        two.answer([Answer::Stall]);
        let configs = [named("one", config(&one)), named("two", config(&two))];
        ledger.claim(&[&configs[0], &configs[1]]);
        let [metrics_of_one, metrics_of_two] = [(); 2].map(|()| Arc::new(Metrics::new()));
        let to_one = start(&ledger, &configs[0], &metrics_of_one);
        let to_two = start(&ledger, &configs[1], &metrics_of_two);
        ledger.count(1, 10);
        ledger.sample(0);
        receive(&mut one, 2).await;
        let unanswered = receive(&mut two, 2).await;
        to_two.stop(Instant::now()).await.unwrap();
        let left = Samples::of(&metrics_of_two);
        assert_eq!((left.generated, left.pending), (2, 2), "{left:?}");

        ledger.count(1, 5);
        ledger.sample(1);
        let next = receive(&mut one, 1).await;
        // The receiver may or may not have the samples that it did not answer.
        let to_two = start(&ledger, &configs[1], &metrics_of_two);
        let mut all = unanswered;
        all.extend(next);
        assert_eq!(sorted(receive(&mut two, 3).await), sorted(all));
        ledger.close();
        to_one.ended().await.unwrap();
        to_two.ended().await.unwrap();
        for metrics in [metrics_of_one, metrics_of_two] {
            assert_eq!(Samples::of(&metrics), settled(3, []));
        }
    }
}

#[tokio::test]
async fn what_waits_for_an_endpoint_that_is_removed_is_dropped_and_not_kept() {
    let receiver = Receiver::new();
    receiver.always(Answer::Stall);
    let mut ledger = FakeLedger::on_disk();
    let config = config(&receiver);
    ledger.claim(&[&config]);
    let metrics = Arc::new(Metrics::new());
    let running = start(&ledger, &config, &metrics);
    ledger.count(1, 10);
    ledger.sample(0);
    running.remove(Instant::now()).await.unwrap();
    let samples = Samples::of(&metrics);
    assert_eq!(samples.pending, 0, "{samples:?}");
    assert_eq!(samples.generated, samples.dropped.values().sum::<u64>(), "{samples:?}");
    assert!(ledger.log().retention_cursors().is_empty());
}
