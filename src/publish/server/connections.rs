//! The open connections, and which of them is closed when there are too many.
//!
//! [`Connections::enter`] admits a connection and gives it a [`Slot`]; the slot records whether the
//! connection waits for a request or is being answered. When a new connection exceeds a limit, the
//! one that has waited longest is closed. A [`Closer`] closes a connection from elsewhere in the
//! server, for a [`CloseReason`].

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::watch;

/// Why the server closes a connection: the `reason` label of the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CloseReason {
    /// Another connection came in, and this one had waited longest for the head of a request.
    Crowded,
    /// The head of a request did not arrive in time.
    HeadTimeout,
    /// The client read nothing of what was written for too long.
    Stalled,
    /// The client reads its page so slowly that the whole page would take too long.
    Slow,
    /// There were too many scrapes, and the client of this one had read nothing for longest.
    Scrapes,
    /// Scrapes held too many snapshots, and the readers of this one were the slowest.
    Snapshots,
    /// Something else is asked of clients now, and the answer took on.
    WebConfig,
}

impl CloseReason {
    pub(super) const ALL: [CloseReason; 7] = [
        CloseReason::Crowded,
        CloseReason::HeadTimeout,
        CloseReason::Stalled,
        CloseReason::Slow,
        CloseReason::Scrapes,
        CloseReason::Snapshots,
        CloseReason::WebConfig,
    ];

    /// The label value.
    pub(super) const fn label(self) -> &'static str {
        match self {
            CloseReason::Crowded => "crowded",
            CloseReason::HeadTimeout => "head_timeout",
            CloseReason::Stalled => "stalled",
            CloseReason::Slow => "slow",
            CloseReason::Scrapes => "scrapes",
            CloseReason::Snapshots => "snapshots",
            CloseReason::WebConfig => "web_config",
        }
    }
}

/// Closes a connection from elsewhere in the server. Clones close the same connection.
#[derive(Debug, Clone)]
pub(super) struct Closer(watch::Sender<Option<CloseReason>>);

impl Closer {
    pub(super) fn new() -> Self {
        Closer(watch::Sender::new(None))
    }

    /// Closes the connection, unless it is being closed already.
    pub(super) fn end(&self, reason: CloseReason) {
        self.0.send_if_modified(|ended| {
            let is_first = ended.is_none();
            ended.get_or_insert(reason);
            is_first
        });
    }

    /// Why the connection is being closed; `None` if it isn't.
    pub(super) fn reason(&self) -> Option<CloseReason> {
        *self.0.borrow()
    }

    /// Completes when the connection is to be closed.
    pub(super) async fn ended(&self) -> CloseReason {
        let mut ended = self.0.subscribe();
        match ended.wait_for(Option::is_some).await.map(|reason| *reason) {
            Ok(Some(reason)) => reason,
            // Not reached: this holds the sender.
            _ => std::future::pending().await,
        }
    }
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections {
    /// The maximum number of connections.
    max: usize,
    /// The maximum number of connections of one peer.
    max_per_peer: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// By a number that rises with each connection.
    connections: BTreeMap<u64, Connection>,
}

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    /// `None` while a request is being answered.
    waits: Option<Waiting>,
    closer: Closer,
}

/// What the server waits for, and since when. The order is that in which connections are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waiting {
    /// The head of a request.
    Head(Instant),
    /// A snapshot to answer a request with.
    Answer(Instant),
}

impl Connections {
    pub(super) fn new(max: usize, max_per_peer: usize) -> Arc<Self> {
        Arc::new(Connections { max, max_per_peer, open: Mutex::default() })
    }

    /// Admits a connection. If its peer, or all peers together, have reached their maximum, the
    /// connection that has waited longest for the head of a request is closed: clients send the
    /// head at once, and an idle connection is easily replaced. `None` if all of them are being
    /// answered.
    pub(super) fn enter(self: &Arc<Self>, from: IpAddr) -> Option<Slot> {
        let peer = peer(from);
        let mut open = self.open();
        let of_peer = open.connections.values().filter(|other| other.peer == peer).count();
        if of_peer >= self.max_per_peer {
            open.give_way(|connection| connection.peer == peer)?;
        }
        if open.connections.len() >= self.max {
            open.give_way(|_| true)?;
        }
        let number = open.next;
        open.next += 1;
        let closer = Closer::new();
        let waits = Some(Waiting::Head(Instant::now()));
        open.connections.insert(number, Connection { peer, waits, closer: closer.clone() });
        drop(open);
        Some(Slot { connections: Arc::clone(self), number, closer })
    }

    fn note(&self, number: u64, waits: Option<Waiting>) {
        if let Some(connection) = self.open().connections.get_mut(&number) {
            connection.waits = waits;
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        // Each change is a single call, so a panic leaves the state consistent.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Closes the matching connection that has waited longest for a head, or else for an answer.
    /// `None` if none of them is waiting.
    fn give_way(&mut self, of_these: impl Fn(&Connection) -> bool) -> Option<()> {
        let these = self.connections.iter().filter(|(_, connection)| of_these(connection));
        let (_, number) =
            these.filter_map(|(number, connection)| Some((connection.waits?, *number))).min()?;
        let connection = self.connections.remove(&number)?;
        connection.closer.end(CloseReason::Crowded);
        Some(())
    }
}

/// What counts as one peer: an IPv4 address, or an IPv6 /64, which is a single network.
fn peer(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// An admitted connection. Dropping it makes room for another one.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
    closer: Closer,
}

impl Slot {
    /// Closes this connection.
    pub(super) fn closer(&self) -> &Closer {
        &self.closer
    }

    /// Records that a request has arrived and can't be answered yet. It holds no resources, so the
    /// connection may still be closed for another one.
    pub(super) fn has_asked(&self) {
        self.connections.note(self.number, Some(Waiting::Answer(Instant::now())));
    }

    /// Records that a request is being answered, until the result is dropped.
    pub(super) fn answering(&self) -> Answering {
        self.connections.note(self.number, None);
        Answering { connections: Arc::clone(&self.connections), number: self.number }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.open().connections.remove(&self.number);
    }
}

/// A request is being answered.
#[derive(Debug)]
pub(super) struct Answering {
    connections: Arc<Connections>,
    number: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connections.note(self.number, Some(Waiting::Head(Instant::now())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(slot: &Slot) -> bool {
        slot.closer.reason().is_some()
    }

    fn from(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_one_that_waits_longest_for_a_head_gives_way() {
        let connections = Connections::new(3, 3);
        let enter = || connections.enter(from("192.0.2.1"));
        let first = enter().expect("room");
        let answering = first.answering();
        let (second, third) = (enter().expect("room"), enter().expect("room"));
        let fourth = enter().expect("the second gives way");
        assert_eq!([&first, &second, &third, &fourth].map(ended), [false, true, false, false]);
        // Its wait begins with the end of its answer.
        drop(answering);
        let fifth = enter().expect("the third gives way");
        assert_eq!([&first, &third, &fourth, &fifth].map(ended), [false, true, false, false]);
        // One that has given way has no place to leave.
        drop((second, third));
        let answering = [first, fourth, fifth].map(|slot| (slot.answering(), slot));
        assert!(enter().is_none(), "all are being answered");
        drop(answering);
        assert!(enter().is_some());
    }

    #[test]
    fn a_client_with_a_request_gives_way_only_to_those_being_answered() {
        let connections = Connections::new(2, 2);
        let enter = || connections.enter(from("192.0.2.1"));
        let first = enter().expect("room");
        first.has_asked();
        let second = enter().expect("room");
        let third = enter().expect("the second gives way");
        assert_eq!([&first, &second, &third].map(ended), [false, true, false]);
        let _answering = third.answering();
        enter().expect("the first gives way");
        assert_eq!([&first, &third].map(ended), [true, false]);
    }

    #[test]
    fn a_peer_takes_no_more_than_its_share() {
        let connections = Connections::new(4, 2);
        let enter = |address: &str| connections.enter(from(address)).expect("room");
        let others = [enter("192.0.2.2"), enter("192.0.2.3")];
        let own = [enter("2001:db8::1"), enter("2001:db8::2"), enter("2001:db8::ffff:0:3")];
        assert_eq!(own.each_ref().map(ended), [true, false, false]);
        assert_eq!(others.each_ref().map(ended), [false, false]);
        let mapped = enter("::ffff:192.0.2.2");
        assert_eq!(mapped.connections.open().connections.len(), 4);
        assert_eq!(others.each_ref().map(ended), [true, false], "it waits longest of all");
    }
}
