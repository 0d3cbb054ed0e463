//! When cuts are taken.

use std::{
    pin::pin,
    sync::{Arc, mpsc},
    time::Duration,
};

use flow_exporter::{
    asn::AsNames,
    health::Health,
    ledger::{Ledger, LedgerConfig},
    metrics::Metrics,
    traffic::{Layout, Rule},
};

/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test]
async fn who_asks_during_a_cut_gets_the_next_one() {
    let config = LedgerConfig {
        layout: Layout::original(),
        rule: Rule { asn: 64500 },
        interval: Duration::from_secs(86_400),
        names_wait: Duration::ZERO,
    };
    let names = Arc::new(AsNames::default());
    let component = Health::new().register("ledger");
    let (ledger, mut seats, reader, _) =
        Ledger::new(&config, names, 1, Arc::new(Metrics::new()), None, component)
            .expect("there is no journal to refuse it");
    let mut seat = seats.pop().expect("one worker has one seat");
    let (wake, woken) = mpsc::channel();
    seat.wake_with(Arc::new(move || wake.send(()).expect("the test waits")));
    let ledger = std::thread::spawn(move || ledger.run());

    // The first cut waits for us. What is counted from now on need not be in it.
    woken.recv_timeout(PATIENCE).expect("a first cut");
    let mut fresh = pin!(reader.fresh(Duration::ZERO, PATIENCE));
    tokio::select! {
        biased;
        _ = &mut fresh => panic!("nothing is published yet"),
        () = async {} => {}
    }
    seat.hand_over(vec![]);
    woken.recv_timeout(PATIENCE).expect("a second cut, for the one who asked");
    seat.hand_over(vec![]);
    assert_eq!(fresh.await.map(|snapshot| snapshot.sequence), Some(2));
    drop(seat);
    ledger.join().expect("the ledger ends with its workers");
}
