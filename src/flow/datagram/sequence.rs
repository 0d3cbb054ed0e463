//! Finds out from the numbers of a stream's datagrams what is missing.
//!
//! What the numbers count differs by protocol: datagrams, or the records in them. Here a datagram has
//! the number of the first thing that it brings, and a span, which is how many things it brings.

mod pace;

use crate::clock::UnixMs;

use pace::Pace;

/// How many datagrams behind the newest one are awaited. What is missing counts as such only when it
/// is further behind: so what arrives late was never missing.
const WINDOW: u32 = 64;

/// A larger step forward is a loss only if the exporter can have sent that much meanwhile: otherwise its
/// numbers jumped.
const LARGEST_STEP: u32 = 1 << 16;

/// An exporter may send so many times as fast as it did of late.
const FASTER: i64 = 4;

/// Numbers per millisecond that no stream exceeds: what an exporter can have sent whose uptime shows that
/// it went on, if its rate has risen or is not known.
const FASTEST_PER_MS: i64 = 2_000;

/// So many steps in a row show that an exporter counts in another unit than its protocol says, or
/// that it has restarted somewhere behind.
const CONVINCING_STEPS: u8 = 16;

/// An uptime that falls by more than this, in milliseconds, is that of a new start, and not one of a
/// datagram that arrives late.
const LONGEST_DELAY: i64 = 5_000;

/// No more ranges of missing numbers than this are awaited.
const MOST_GAPS: usize = 64;

/// What a datagram says of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Numbered {
    /// Its number.
    pub number: u32,
    /// How many numbers it takes; `None` if not everything in it can be decoded.
    pub span: Option<u32>,
    /// How many it takes if the exporter counts in the unit that exporters count in by mistake.
    pub mistaken_span: Option<u32>,
    /// How long the exporter has been up, in milliseconds, where the protocol says it.
    pub uptime: Option<u32>,
    /// When the exporter sent it by its own clock, where the protocol says it.
    pub sent: Option<UnixMs>,
    /// When it arrived by our clock, if that is known.
    pub received: Option<UnixMs>,
}

/// What is found, since it was last taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Numbers that are missing.
    pub missing: u64,
    /// Numbers that are missing since before this process: those of what was sent meanwhile.
    pub missing_while_down: u64,
    /// Datagrams that arrived behind newer ones.
    pub late: u64,
    /// Datagrams with numbers of others: probably, several processes number theirs as one.
    pub conflicts: u64,
    /// How often the exporter restarted.
    pub restarts: u64,
    /// How often numbers jumped, so that nothing is known of what is between.
    pub jumps: u64,
    /// Whether the exporter turned out to count in another unit than its protocol says, or to count
    /// as it says after all.
    pub unit_changed: bool,
}

/// What is kept of a stream across a restart of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The number that comes next.
    pub next: u32,
    /// The uptime of the newest datagram.
    pub uptime: Option<u32>,
    /// Numbers that are awaited, and not counted as missing yet.
    pub awaited: u32,
    /// Whether the exporter counts in another unit than its protocol says.
    pub is_mistaken: bool,
    /// When the newest datagram arrived, if that is known.
    pub received: Option<UnixMs>,
    /// How fast numbers grew at most of late, per second; 0 if that is not known.
    pub fastest: u32,
}

/// The numbers of a stream.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// The number that comes next; `None` in the beginning.
    next: Option<u32>,
    /// Whether `next` is that of an earlier process.
    is_resumed: bool,
    /// Whether `next` may be any number from there on.
    is_open: bool,
    /// The datagram before, with its spans exchanged if the exporter is mistaken.
    last: Numbered,
    /// The widest span.
    widest: u32,
    /// What is missing within the window, the oldest first.
    gaps: Vec<Gap>,
    is_mistaken: bool,
    /// Steps in a row by the mistaken span.
    mistaken_steps: u8,
    /// Datagrams in a row that come from before the window.
    stale: u8,
    newest: Newest,
    pace: Pace,
    found: Found,
}

/// Numbers that are missing.
#[derive(Debug, Clone, Copy)]
struct Gap {
    from: u32,
    len: u32,
}

/// The last datagrams.
#[derive(Debug, Default)]
struct Newest {
    datagrams: Vec<Identity>,
    oldest: usize,
}

/// What tells datagrams of the same number apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    number: u32,
    checksum: u32,
    length: u16,
}

impl Sequence {
    /// Continues where an earlier process was.
    pub(super) fn resume(place: Place) -> Self {
        let Place { next, uptime, awaited, is_mistaken, received, fastest } = place;
        Sequence {
            next: Some(next),
            is_resumed: true,
            last: Numbered { uptime, received, ..Numbered::default() },
            is_mistaken,
            pace: Pace::resume(fastest),
            found: Found { missing: awaited.into(), ..Found::default() },
            ..Sequence::default()
        }
    }

    /// Where the stream is; `None` in the beginning.
    pub(super) fn place(&self) -> Option<Place> {
        // What an earlier process awaited is found as missing until the next datagram comes.
        let found = u32::try_from(self.found.missing).unwrap_or(u32::MAX);
        Some(Place {
            next: self.next?,
            uptime: self.last.uptime,
            awaited: self.gaps.iter().fold(found, |sum, gap| sum.saturating_add(gap.len)),
            is_mistaken: self.is_mistaken,
            received: self.last.received,
            fastest: self.pace.fastest(),
        })
    }

    /// What was found since the last time.
    pub(super) fn take(&mut self) -> Found {
        std::mem::take(&mut self.found)
    }

    /// Whether the same datagram is among the last ones. If so, it is not for [`Sequence::follow`].
    pub(super) fn is_duplicate(&mut self, number: u32, datagram: &[u8]) -> bool {
        let checksum = crc32fast::hash(datagram);
        let identity = Identity { number, checksum, length: datagram.len() as u16 };
        let is_known = self.newest.datagrams.contains(&identity);
        if !is_known {
            self.newest.add(identity);
        }
        is_known
    }

    /// Takes the next datagram.
    pub(super) fn follow(&mut self, mut datagram: Numbered) {
        if self.is_mistaken {
            std::mem::swap(&mut datagram.span, &mut datagram.mistaken_span);
        }
        let Some(next) = self.next else { return self.continue_behind(datagram) };
        self.learn_unit(datagram.number);
        if self.mistaken_steps == CONVINCING_STEPS {
            self.is_mistaken = !self.is_mistaken;
            std::mem::swap(&mut datagram.span, &mut datagram.mistaken_span);
            self.found.unit_changed = true;
            self.gaps.clear();
            self.widest = 0;
            return self.continue_behind(datagram);
        }
        let ahead = datagram.number.wrapping_sub(next);
        let behind = next.wrapping_sub(datagram.number);
        if ahead <= behind {
            self.step(next, ahead, datagram);
        } else if behind <= self.window() {
            self.look_back(datagram);
        } else {
            self.look_far_back(datagram);
        }
    }

    /// Goes on to a datagram that is `ahead` of the next one.
    fn step(&mut self, next: u32, ahead: u32, datagram: Numbered) {
        if ahead > 0 && self.has_restarted(datagram) {
            return self.restart(datagram);
        }
        if ahead > LARGEST_STEP && !self.can_have_sent(ahead, datagram) {
            return self.jump(datagram);
        }
        if self.is_resumed {
            self.found.missing_while_down += u64::from(ahead);
        } else if ahead > 0 && !self.is_open {
            self.gaps.push(Gap { from: next, len: ahead });
        }
        let span = datagram.span.unwrap_or(0);
        if let Some(received) = datagram.received {
            // What is missing may be none of its numbers.
            self.pace.add(span, received);
        }
        self.continue_behind(datagram);
    }

    /// Whether an exporter that has sent `missing` numbers between the last datagram and this one is
    /// plausible, by the time between them. An exporter that began anew passes by chance only: if its
    /// numbers happened to be so far that to begin at 0 looks like a wrap that it can have reached.
    fn can_have_sent(&self, missing: u32, datagram: Numbered) -> bool {
        let up = self.up_between(datagram);
        if self.was_down_between(datagram) {
            return false;
        }
        let between = self.time_between(datagram).into_iter().chain(up).max().unwrap_or(0);
        // Numbers can begin anew without the exporter, and what they fall to looks like a wrap.
        let is_wrap = datagram.number < missing;
        let faster = if is_wrap && up.is_none() { 1 } else { FASTER };
        let by_pace = between.saturating_mul(i64::from(self.pace.fastest())) / 1000 * faster;
        let by_uptime = up.filter(|_| !is_wrap).map_or(0, |up| up.saturating_mul(FASTEST_PER_MS));
        i64::from(missing) - i64::from(LARGEST_STEP) <= by_pace.max(by_uptime)
    }

    /// The milliseconds from the last datagram to this one, by our clock, if they are known.
    fn time_between(&self, datagram: Numbered) -> Option<i64> {
        let (now, before) = datagram.received.zip(self.last.received)?;
        Some((now - before).get().max(0))
    }

    /// The milliseconds from the last datagram to this one by the exporter's uptime, if it says one.
    fn up_between(&self, datagram: Numbered) -> Option<i64> {
        let (now, before) = datagram.uptime.zip(self.last.uptime)?;
        Some(i64::from(now.saturating_sub(before)))
    }

    /// Whether more time has passed since the last datagram than the exporter was up meanwhile, so that
    /// it was started again, although its uptime is larger than it was.
    fn was_down_between(&self, datagram: Numbered) -> bool {
        let (Some(passed), Some(up)) = (self.time_between(datagram), self.up_between(datagram))
        else {
            return false;
        };
        // Clocks differ by less than one part in 64.
        passed - up > LONGEST_DELAY + passed / 64
    }

    /// Goes on from numbers that don't continue those before.
    fn jump(&mut self, datagram: Numbered) {
        if self.was_down_between(datagram) {
            return self.restart(datagram);
        }
        self.found.jumps += 1;
        self.claim_all();
        self.continue_behind(datagram);
    }

    /// Takes a datagram from within the window.
    fn look_back(&mut self, datagram: Numbered) {
        if self.fill(datagram.number, datagram.span.unwrap_or(1)) {
            self.found.late += 1;
        } else if self.mistaken_steps > 0 {
            // Whether the exporter counts in another unit is about to be seen.
            self.last = datagram;
        } else if self.has_restarted(datagram) {
            self.restart(datagram);
        } else if datagram.span != Some(0) {
            self.found.conflicts += 1;
        }
    }

    /// Takes a datagram from before the window.
    fn look_far_back(&mut self, datagram: Numbered) {
        if self.has_restarted(datagram) {
            return self.restart(datagram);
        }
        self.stale += 1;
        // What was sent before an earlier process ended comes no more.
        if self.stale < CONVINCING_STEPS && !self.is_resumed {
            self.found.late += 1;
        } else {
            self.jump(datagram);
        }
    }

    /// Whether the exporter was started between the last datagram and this one, as far as it says so.
    fn has_restarted(&self, datagram: Numbered) -> bool {
        let Some((now, before)) = datagram.uptime.zip(self.last.uptime) else { return false };
        // One that was sent before the last one has a lower uptime as well.
        let earlier = match datagram.sent.zip(self.last.sent) {
            Some((now, before)) => (before - now).get().max(0),
            None => 0,
        };
        i64::from(before.saturating_sub(now)) - earlier > LONGEST_DELAY
    }

    fn restart(&mut self, datagram: Numbered) {
        self.found.restarts += 1;
        self.claim_all();
        self.continue_behind(datagram);
    }

    /// Expects what comes behind this datagram.
    fn continue_behind(&mut self, datagram: Numbered) {
        self.next = Some(datagram.number.wrapping_add(datagram.span.unwrap_or(0)));
        self.is_open = datagram.span.is_none();
        self.is_resumed = false;
        self.widest = self.widest.max(datagram.span.unwrap_or(0));
        self.last = datagram;
        self.stale = 0;
        if self.mistaken_steps == CONVINCING_STEPS {
            self.mistaken_steps = 0;
        }
        self.leave_window();
    }

    /// Counts steps by the mistaken span, where the two spans differ.
    fn learn_unit(&mut self, number: u32) {
        let step = number.wrapping_sub(self.last.number);
        let (Some(span), Some(mistaken)) = (self.last.span, self.last.mistaken_span) else {
            return;
        };
        if span == mistaken {
            return;
        }
        self.mistaken_steps = if step == mistaken { self.mistaken_steps + 1 } else { 0 };
    }

    fn window(&self) -> u32 {
        self.widest.max(1).saturating_mul(WINDOW)
    }

    /// Counts as missing what is no longer in the window.
    fn leave_window(&mut self) {
        if self.mistaken_steps > 0 || self.gaps.is_empty() {
            return;
        }
        let (Some(next), window) = (self.next, self.window()) else { return };
        let too_many = self.gaps.len().saturating_sub(MOST_GAPS);
        let mut place = 0;
        let missing = &mut self.found.missing;
        self.gaps.retain_mut(|gap| {
            let behind = next.wrapping_sub(gap.from);
            let leaving = if place < too_many { gap.len } else { behind.saturating_sub(window) };
            let leaving = leaving.min(gap.len);
            place += 1;
            *missing += u64::from(leaving);
            gap.from = gap.from.wrapping_add(leaving);
            gap.len -= leaving;
            gap.len > 0
        });
    }

    fn claim_all(&mut self) {
        let missing: u64 = self.gaps.drain(..).map(|gap| u64::from(gap.len)).sum();
        self.found.missing += missing;
    }

    /// Takes these numbers out of the gaps. Returns whether any was there.
    fn fill(&mut self, number: u32, span: u32) -> bool {
        let touched = |gap: &Gap| {
            // Distances from the gap's begin, as numbers wrap.
            let from = number.wrapping_sub(gap.from).cast_signed();
            let to = from.saturating_add_unsigned(span);
            (from < gap.len.cast_signed() && to > 0)
                .then(|| (from.max(0).cast_unsigned(), to.cast_unsigned()))
        };
        let Some(place) = self.gaps.iter().position(|gap| touched(gap).is_some()) else {
            return false;
        };
        let gap = self.gaps[place];
        let Some((from, to)) = touched(&gap) else { return false };
        let to = to.min(gap.len);
        let before = Gap { from: gap.from, len: from };
        let behind = Gap { from: gap.from.wrapping_add(to), len: gap.len - to };
        let rest = [before, behind].into_iter().filter(|gap| gap.len > 0);
        self.gaps.splice(place..=place, rest);
        true
    }
}

impl Newest {
    fn add(&mut self, identity: Identity) {
        if self.datagrams.len() < WINDOW as usize {
            self.datagrams.push(identity);
        } else {
            self.datagrams[self.oldest] = identity;
            self.oldest = (self.oldest + 1) % WINDOW as usize;
        }
    }
}

#[cfg(test)]
mod tests;
