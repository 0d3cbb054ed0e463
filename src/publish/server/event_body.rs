//! The body of a stream of events: each is made once the connection has taken the one before.

use std::{
    convert::Infallible,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body, Frame};

use super::connections::Answering;

/// What comes next, and the stream of what comes then; `None` at the end.
type Next = Pin<Box<dyn Future<Output = Option<(Bytes, Box<dyn Events>)>> + Send>>;

/// Events in their order.
pub(super) trait Events: Send {
    /// Waits for the next events.
    fn next(self: Box<Self>) -> Next;
}

/// A body made of [`Events`]. Nothing is queued for a slow client: it gets what is new once it has read
/// what there was before.
pub(super) struct EventBody {
    next: Option<Next>,
    _answering: Answering,
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EventBody")
    }
}

impl EventBody {
    /// Without events, an empty body.
    pub(super) fn new(events: Option<Box<dyn Events>>, answering: Answering) -> Self {
        EventBody { next: events.map(Events::next), _answering: answering }
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(next) = &mut self.next else { return Poll::Ready(None) };
        let Poll::Ready(ready) = next.as_mut().poll(cx) else { return Poll::Pending };
        self.next = None;
        Poll::Ready(ready.map(|(bytes, events)| {
            self.next = Some(events.next());
            Ok(Frame::data(bytes))
        }))
    }
}
