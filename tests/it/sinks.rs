//! What a source gives to a sink that has no room for all of it.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use flow_exporter::{
    clock::{Millis, UnixMs},
    health::Health,
    source::{Bound, Message, Position, Sink},
};

use super::supervision::read;

/// Ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// For so many messages there is room.
const ROOM: usize = 10;
/// A tick long ago.
const TICK: UnixMs = UnixMs::new(1_600_000_005_000);

/// What happens to a sink.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    /// It got a message, and holds so many since it handed over.
    Message(usize),
    HandOver(Vec<Position>),
    Watermark,
}

/// Has room for [`ROOM`] messages until it hands over, or for as many of later ticks.
struct Bounded {
    held: usize,
    early: usize,
    bound: Option<Bound>,
    events: mpsc::Sender<Event>,
}

impl Bounded {
    fn new(bound: Option<Bound>) -> (Self, mpsc::Receiver<Event>) {
        let (events, happened) = mpsc::channel();
        (Bounded { held: 0, early: 0, bound, events }, happened)
    }

    fn tell(&self, event: Event) {
        // The test may be over.
        drop(self.events.send(event));
    }
}

impl Sink for Bounded {
    fn message(&mut self, message: Message<'_>) {
        self.held += 1;
        self.early += usize::from(message.time >= Some(TICK));
        self.tell(Event::Message(self.held));
    }

    fn bound(&self) -> Option<Bound> {
        self.bound.map(|bound| Bound { reads_ahead: self.early < ROOM, ..bound })
    }

    fn advance_watermark(&mut self, _: UnixMs) {
        self.tell(Event::Watermark);
    }

    fn hand_over_is_due(&self) -> bool {
        self.bound.is_none() && self.held >= ROOM
    }

    fn hand_over(&mut self, positions: Vec<Position>) {
        self.held = 0;
        self.tell(Event::HandOver(positions));
    }

    fn wake_with(&mut self, _: Arc<dyn Fn() + Send + Sync>) {}
}

#[test]
fn a_full_sink_gets_no_message_before_it_has_handed_over() {
    const MESSAGES: i64 = 2_500;
    let (sink, happened) = Bounded::new(None);
    let messages = (0..MESSAGES).map(|_| ("m", None));
    let (_cluster, running) = read(messages, sink, &Health::new());
    for next_offset in (ROOM as i64..=MESSAGES).step_by(ROOM) {
        for held in 1..=ROOM {
            assert_eq!(happened.recv_timeout(PATIENCE), Ok(Event::Message(held)));
        }
        let position = Position { partition: 0, next_offset };
        assert_eq!(happened.recv_timeout(PATIENCE), Ok(Event::HandOver(vec![position])));
    }
    running.stop();
    running.join().unwrap();
}

#[test]
fn a_sink_without_room_for_later_ticks_gets_no_more_of_them() {
    let bound = Bound { tick: Some(TICK), lateness: Millis::new(1_000), reads_ahead: true };
    let (sink, happened) = Bounded::new(Some(bound));
    // Out of order, so that it is read on for what may follow.
    let before = [-1, -2].map(|offset| ("m", Some(TICK.get() + offset)));
    let later = std::iter::repeat_n(("m", Some(TICK.get())), 100);
    let (_cluster, running) = read(before.into_iter().chain(later), sink, &Health::new());
    for held in 1..=before.len() + ROOM {
        assert_eq!(happened.recv_timeout(PATIENCE), Ok(Event::Message(held)));
    }
    assert_eq!(happened.recv_timeout(PATIENCE), Ok(Event::Watermark), "it is held back");
    running.stop();
    running.join().unwrap();
}
