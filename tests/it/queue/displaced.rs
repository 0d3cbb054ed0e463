//! What an endpoint is sent if files of the log are moved, removed or damaged.

use std::{
    fs,
    path::{Path, PathBuf},
};

use flow_exporter::journal::{Error, repair};

use super::{
    damage::{grow, grown},
    *,
};

fn only_file(directory: PathBuf) -> PathBuf {
    let mut entries = fs::read_dir(directory).unwrap();
    entries.next().unwrap().unwrap().path()
}

fn flip(path: &Path, byte: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[byte] ^= 8;
    fs::write(path, bytes).unwrap();
}

/// How often each sample was received.
fn times_received(receiver: &mut Receiver) -> BTreeMap<Sent, usize> {
    let mut times = BTreeMap::new();
    while let Some(request) = receiver.received() {
        for sample in sent(&request) {
            *times.entry(sample).or_default() += 1;
        }
    }
    times
}

/// All samples of two series that begin with the first of these ticks.
fn all(ticks: i64) -> BTreeSet<Sent> {
    let mut all = grown(1..=2, 0..ticks);
    all.extend([one(1, at(-1) + 1, 0.0), one(2, at(-1) + 1, 0.0)]);
    all
}

fn assert_each_once(receiver: &mut Receiver, ticks: i64) {
    let all_received = times_received(receiver);
    assert!(all_received.values().all(|&times| times == 1), "{all_received:?}");
    assert_eq!(all_received.into_keys().collect::<BTreeSet<_>>(), all(ticks));
}

#[tokio::test]
async fn what_the_log_does_not_have_is_not_sent_and_once_it_is_back_each_sample_goes_out_once() {
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 2, 0..3);
    let before = push.until(|samples| samples.confirmed == 2 + 2 * 3).await;
    let place = ledger.dir().to_owned();
    let aside = place.with_extension("aside");
    fs::rename(&place, &aside).unwrap();
    for number in 3..6 {
        let refused = ledger.refused(number);
        assert!(matches!(refused, Error::Displaced { .. }), "{refused}");
    }
    fs::rename(&aside, &place).unwrap();
    assert_eq!(Samples::of(&push.metrics), before);
    grow(&mut ledger, 2, 3..5);
    ledger.close();
    assert_eq!(push.end().await, settled(2 + 2 * 5, []));
    assert_each_once(&mut receiver, 5);
}

#[tokio::test]
async fn an_acknowledged_position_that_is_removed_while_in_use_is_there_again_for_the_next_process()
{
    let mut receiver = Receiver::new();
    let config = config(&receiver);
    let mut ledger = FakeLedger::on_disk();
    ledger.claim(&[&config]);
    let push = ledger.push(&config);
    grow(&mut ledger, 2, 0..3);
    push.until(|samples| samples.confirmed == 2 + 2 * 3).await;
    fs::remove_dir_all(ledger.dir().join("bookmarks")).unwrap();
    fs::remove_dir_all(ledger.dir().join("cursors")).unwrap();
    grow(&mut ledger, 2, 3..4);
    push.until(|samples| samples.confirmed == 2 + 2 * 4).await;
    push.kill().await;
    let mut ledger = ledger.after(|dir| {
        assert!(only_file(dir.join("bookmarks")).is_file());
        assert!(only_file(dir.join("cursors")).is_file());
    });
    let push = ledger.push(&config);
    grow(&mut ledger, 2, 4..5);
    ledger.close();
    push.end().await;
    assert_each_once(&mut receiver, 5);
}

#[tokio::test]
async fn after_damage_to_one_of_the_position_files_no_sample_is_lost_and_few_come_twice() {
    type Change = fn(&Path);
    // How many samples may come twice: those since the note before, or all.
    let changes: [(&str, Change, usize); 4] = [
        ("a cursor", |dir| flip(&only_file(dir.join("cursors")), 20), 0),
        ("the older note", |dir| flip(&only_file(dir.join("bookmarks")), older_note(dir)), 0),
        ("the newer note", |dir| flip(&only_file(dir.join("bookmarks")), newer_note(dir)), 2),
        (
            "both",
            |dir| {
                flip(&only_file(dir.join("cursors")), 20);
                fs::remove_dir_all(dir.join("bookmarks")).unwrap();
            },
            2 + 2 * 4,
        ),
    ];
    for (what, change, twice) in changes {
        let mut receiver = Receiver::new();
        let config = config(&receiver);
        let mut ledger = FakeLedger::on_disk();
        ledger.claim(&[&config]);
        let push = ledger.push(&config);
        for number in 0..4 {
            grow(&mut ledger, 2, number..number + 1);
            push.until(|samples| samples.confirmed == 2 + 2 * (number as u64 + 1)).await;
        }
        push.kill().await;
        let mut ledger = ledger.after(|dir| {
            change(dir);
            if what == "a cursor" || what == "both" {
                let refused = Journal::open(dir, JournalConfig::default());
                assert!(matches!(refused, Err(Error::Broken(_))), "{what}");
                assert_eq!(repair(dir).unwrap().rewound.len(), 1);
            }
        });
        let push = ledger.push(&config);
        grow(&mut ledger, 2, 4..5);
        ledger.close();
        let samples = push.end().await;
        assert!(samples.dropped.is_empty(), "{what}: {samples:?}");
        let all_received = times_received(&mut receiver);
        let again: usize = all_received.values().map(|times| times - 1).sum();
        assert!(again <= twice, "{what}: {again}");
        assert_eq!(all_received.into_keys().collect::<BTreeSet<_>>(), all(5), "{what}");
    }
}

/// A byte in the newer of an acknowledged position's two notes.
fn newer_note(dir: &Path) -> usize {
    let bytes = fs::read(only_file(dir.join("bookmarks"))).unwrap();
    let number = |place: usize| u64::from_le_bytes(bytes[place..place + 8].try_into().unwrap());
    let place = if number(0) > number(4096) { 0 } else { 4096 };
    place + 20
}

/// A byte in the older one.
fn older_note(dir: &Path) -> usize {
    4096 + 2 * 20 - newer_note(dir)
}
