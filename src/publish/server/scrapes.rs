//! Scrapes that are under way, and which of them give way.
//!
//! A scrape holds its snapshot until the client has taken all of it, and so the memory of what has
//! changed since. So there are bounds on how long one may take, on how many there are, and on how
//! many snapshots they hold. A client that takes its page as it should is never cut off for the sake
//! of those that trickle:
//!
//! - A scrape is too slow from a moment on that is [`Bounds::grace`] after its beginning, and moves
//!   on with what the client takes, up to [`Bounds::limit`] for the whole page.
//! - Of too many snapshots, that one is let go of whose readers come to this moment first.
//! - Of too many scrapes, that one ends whose client has kept us waiting longest, as it is with
//!   heads of requests. Where many begin in a moment, this tells readers from others at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep_until};

use super::connections::{CloseReason, Closer};

/// What scrapes may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// How many may be under way.
    pub(super) scrapes: usize,
    /// How many snapshots they may hold.
    pub(super) snapshots: usize,
    /// How long one may go on whatever the client takes of it.
    pub(super) grace: Duration,
    /// How long all of it may take.
    pub(super) limit: Duration,
}

/// All scrapes that are under way.
#[derive(Debug)]
pub(super) struct Scrapes {
    bounds: Bounds,
    running: Mutex<Running>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// By a number that counts up.
    scrapes: BTreeMap<u64, Scraping>,
}

#[derive(Debug)]
struct Scraping {
    started: Instant,
    /// The sequence of the snapshot that it holds.
    snapshot: Option<u64>,
    taken: Arc<Taken>,
    closer: Closer,
}

/// What a client has taken of its page.
#[derive(Debug)]
struct Taken {
    /// How much, from 0 to 1, as the bits of an `f64`.
    part: AtomicU64,
    /// When it took the last of it.
    at: Mutex<Instant>,
}

impl Taken {
    fn nothing(now: Instant) -> Arc<Self> {
        Arc::new(Taken { part: AtomicU64::new(0), at: Mutex::new(now) })
    }

    fn at(&self) -> Instant {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Scraping {
    /// The moment from which on it is too slow, unless the client takes more until then.
    fn too_slow_at(&self, bounds: &Bounds) -> Instant {
        let taken = f64::from_bits(self.taken.part.load(Ordering::Relaxed));
        self.started + bounds.grace + bounds.limit.saturating_sub(bounds.grace).mul_f64(taken)
    }
}

impl Scrapes {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Scrapes { bounds, running: Mutex::default(), begun: Notify::new() })
    }

    /// A scrape begins on the connection that `closer` ends.
    pub(super) fn begin(self: &Arc<Self>, closer: &Closer) -> Scrape {
        let mut running = self.running();
        if running.scrapes.len() >= self.bounds.scrapes {
            let idlest = running
                .scrapes
                .iter()
                .min_by_key(|(_, scrape)| scrape.taken.at())
                .map(|(number, _)| *number);
            if let Some(idlest) = idlest {
                running.end(idlest, CloseReason::Scrapes);
            }
        }
        let number = running.next;
        running.next += 1;
        let now = Instant::now();
        let taken = Taken::nothing(now);
        let scraping = Scraping {
            started: now,
            snapshot: None,
            taken: Arc::clone(&taken),
            closer: closer.clone(),
        };
        running.scrapes.insert(number, scraping);
        drop(running);
        self.begun.notify_one();
        Scrape { scrapes: Arc::clone(self), number, taken }
    }

    /// Ends scrapes as they become too slow; never completes.
    pub(super) async fn end_the_slow(&self) {
        loop {
            match self.end_slow_by(Instant::now()) {
                None => self.begun.notified().await,
                Some(next) => tokio::select! {
                    () = sleep_until(next.into()) => {}
                    () = self.begun.notified() => {}
                },
            }
        }
    }

    /// Ends those that are too slow, and returns when the next may be.
    fn end_slow_by(&self, now: Instant) -> Option<Instant> {
        let mut running = self.running();
        let mut next: Option<Instant> = None;
        let mut slow = Vec::new();
        for (number, scrape) in &running.scrapes {
            let at = scrape.too_slow_at(&self.bounds);
            if at <= now {
                slow.push(*number);
            } else {
                next = Some(next.map_or(at, |next| next.min(at)));
            }
        }
        for number in slow {
            running.end(number, CloseReason::Slow);
        }
        next
    }

    /// Notes that a scrape holds a snapshot. If these are too many, those who hold the one whose
    /// fastest reader is the slowest have to let go.
    fn hold(&self, number: u64, snapshot: u64) {
        let mut running = self.running();
        match running.scrapes.get_mut(&number) {
            Some(scrape) => scrape.snapshot = Some(snapshot),
            // It is ending.
            None => return,
        }
        let mut fastest: HashMap<u64, Instant> = HashMap::new();
        for scrape in running.scrapes.values() {
            if let Some(held) = scrape.snapshot {
                let at = scrape.too_slow_at(&self.bounds);
                let fastest = fastest.entry(held).or_insert(at);
                *fastest = at.max(*fastest);
            }
        }
        if fastest.len() > self.bounds.snapshots {
            let others = fastest.iter().filter(|(held, _)| **held != snapshot);
            let slowest = others.min_by_key(|(_, fastest)| **fastest).map(|(held, _)| *held);
            let holders: Vec<u64> = running
                .scrapes
                .iter()
                .filter(|(_, scrape)| scrape.snapshot.is_some() && scrape.snapshot == slowest)
                .map(|(number, _)| *number)
                .collect();
            for number in holders {
                running.end(number, CloseReason::Snapshots);
            }
        }
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        // Each change is one call, so what a panicking holder leaves is whole.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn end(&mut self, number: u64, reason: CloseReason) {
        if let Some(scrape) = self.scrapes.remove(&number) {
            scrape.closer.end(reason);
        }
    }
}

/// A scrape that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Scrape {
    scrapes: Arc<Scrapes>,
    number: u64,
    taken: Arc<Taken>,
}

impl Scrape {
    /// Says which snapshot is held for it, by its sequence.
    pub(super) fn holds(&self, snapshot: u64) {
        self.scrapes.hold(self.number, snapshot);
    }

    /// Says that the client has taken something just now, and how much of the page it has, from 0
    /// to 1.
    pub(super) fn taken(&self, part: f64) {
        self.taken.part.store(part.to_bits(), Ordering::Relaxed);
        *self.taken.at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        self.scrapes.running().scrapes.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        scrapes: 3,
        snapshots: 2,
        grace: Duration::from_secs(10),
        limit: Duration::from_secs(60),
    };

    struct Reader {
        scrape: Scrape,
        closer: Closer,
    }

    impl Reader {
        fn new(scrapes: &Arc<Scrapes>) -> Self {
            let closer = Closer::new();
            Reader { scrape: scrapes.begin(&closer), closer }
        }

        fn ended(&self) -> Option<CloseReason> {
            self.closer.reason()
        }
    }

    #[test]
    fn a_scrape_has_time_in_proportion_to_what_was_taken_of_it() {
        let scrapes = Scrapes::new(BOUNDS);
        let began = Instant::now();
        let (none, half, all) =
            (Reader::new(&scrapes), Reader::new(&scrapes), Reader::new(&scrapes));
        half.scrape.taken(0.5);
        all.scrape.taken(1.0);
        let at = |seconds| scrapes.end_slow_by(began + Duration::from_secs(seconds));
        assert!(at(9) >= Some(began + Duration::from_secs(10)));
        assert_eq!([&none, &half, &all].map(Reader::ended), [None; 3]);
        assert!(at(11) >= Some(began + Duration::from_secs(35)));
        assert_eq!([&none, &half, &all].map(Reader::ended), [Some(CloseReason::Slow), None, None]);
        assert!(at(36) >= Some(began + Duration::from_secs(60)));
        assert_eq!([&half, &all].map(Reader::ended), [Some(CloseReason::Slow), None]);
        assert_eq!(at(61), None);
        assert_eq!(all.ended(), Some(CloseReason::Slow));
    }

    #[test]
    fn of_too_many_the_one_that_takes_nothing_for_longest_gives_way() {
        let scrapes = Scrapes::new(BOUNDS);
        let readers = [(); 3].map(|()| Reader::new(&scrapes));
        // How much it has does not matter.
        readers[1].scrape.taken(0.9);
        readers[2].scrape.taken(0.1);
        readers[0].scrape.taken(0.01);
        let newest = Reader::new(&scrapes);
        let [first, second, third] = readers.each_ref().map(Reader::ended);
        assert_eq!([first, second, third], [None, Some(CloseReason::Scrapes), None]);
        assert_eq!(newest.ended(), None);
    }

    #[test]
    fn the_snapshot_of_the_slowest_readers_gives_way() {
        let scrapes = Scrapes::new(Bounds { scrapes: 10, ..BOUNDS });
        let [slow, fast, same, middling] =
            [(1, 0.1), (1, 0.9), (1, 0.0), (2, 0.5)].map(|(snapshot, taken)| {
                let reader = Reader::new(&scrapes);
                reader.scrape.taken(taken);
                reader.scrape.holds(snapshot);
                reader
            });
        let newest = Reader::new(&scrapes);
        newest.scrape.holds(2);
        assert_eq!(middling.ended(), None, "two snapshots may be held");
        newest.scrape.holds(3);
        assert_eq!([&slow, &fast, &same, &newest].map(Reader::ended), [None; 4]);
        assert_eq!(middling.ended(), Some(CloseReason::Snapshots));
        // It has nothing to let go of any more.
        middling.scrape.holds(4);
        drop(fast);
        Reader::new(&scrapes).scrape.holds(5);
        assert_eq!([&slow, &same].map(Reader::ended), [None; 2]);
        assert_eq!(newest.ended(), Some(CloseReason::Snapshots));
    }
}
