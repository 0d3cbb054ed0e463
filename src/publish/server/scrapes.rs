//! The scrapes in progress, and which of them are cut off when they take too much.
//!
//! A scrape holds its snapshot until the client has read the whole page, and with it the memory of
//! everything that has changed since. So there are limits on how long a scrape takes, on how many
//! there are, and on how many snapshots they hold. A client that reads at a normal speed is never
//! cut off in favour of clients that trickle:
//!
//! - Each scrape has a deadline: [`Bounds::grace`] after its beginning at first, moving on with the
//!   fraction of the page that the client has read, up to [`Bounds::limit`] for the whole page.
//! - If too many snapshots are held, the one whose readers reach their deadlines first is released.
//! - If there are too many scrapes, the one whose client has read nothing for longest is cut off.
//!   When many begin at once, this distinguishes readers from idle clients immediately.

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

/// The limits on scrapes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// The maximum number of concurrent scrapes.
    pub(super) scrapes: usize,
    /// The maximum number of snapshots that they hold.
    pub(super) snapshots: usize,
    /// How long a scrape may take however little its client reads.
    pub(super) grace: Duration,
    /// How long the whole page may take.
    pub(super) limit: Duration,
}

/// All scrapes in progress.
#[derive(Debug)]
pub(super) struct Scrapes {
    bounds: Bounds,
    running: Mutex<Running>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    /// By a number that rises with each scrape.
    scrapes: BTreeMap<u64, Scraping>,
}

#[derive(Debug)]
struct Scraping {
    started: Instant,
    /// The sequence number of the snapshot that it holds.
    snapshot: Option<u64>,
    taken: Arc<Taken>,
    closer: Closer,
}

/// How much of its page a client has read.
#[derive(Debug)]
struct Taken {
    /// The fraction, from 0 to 1, as the bits of an `f64`.
    part: AtomicU64,
    /// When it last read something.
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
    /// When it will be too slow, unless the client reads more before that.
    fn too_slow_at(&self, bounds: &Bounds) -> Instant {
        let taken = f64::from_bits(self.taken.part.load(Ordering::Relaxed));
        self.started + bounds.grace + bounds.limit.saturating_sub(bounds.grace).mul_f64(taken)
    }
}

impl Scrapes {
    pub(super) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Scrapes { bounds, running: Mutex::default(), begun: Notify::new() })
    }

    /// Begins a scrape on the connection that `closer` closes.
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

    /// Cuts off scrapes once they are too slow; never completes.
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

    /// Cuts off scrapes that are too slow, and returns the next deadline.
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

    /// Records that a scrape holds a snapshot. If too many are held, the scrapes of the snapshot
    /// whose fastest reader is the slowest are cut off.
    fn hold(&self, number: u64, snapshot: u64) {
        let mut running = self.running();
        match running.scrapes.get_mut(&number) {
            Some(scrape) => scrape.snapshot = Some(snapshot),
            // It is being cut off.
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
        // Each change is a single call, so a panic leaves the state consistent.
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

/// A scrape, in progress until this is dropped.
#[derive(Debug)]
pub(super) struct Scrape {
    scrapes: Arc<Scrapes>,
    number: u64,
    taken: Arc<Taken>,
}

impl Scrape {
    /// Records which snapshot is held for it, by sequence number.
    pub(super) fn holds(&self, snapshot: u64) {
        self.scrapes.hold(self.number, snapshot);
    }

    /// Records that the client has just read something, and the fraction of the page that it has,
    /// from 0 to 1.
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
