//! A stream whose reader may not stall for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::connections::{CloseReason, Closer};

/// A stream on which writing fails with [`io::ErrorKind::TimedOut`] if what was given to it is not
/// taken in time.
#[derive(Debug)]
pub(super) struct StallLimit {
    stream: TcpStream,
    closer: Closer,
    limit: Duration,
    /// Runs while the client takes less than we would write.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallLimit {
    /// The writer must flush now and then: from the first write that has to wait to the next flush
    /// may be no longer than `limit`. So a client can't hold on by taking a byte at a time.
    /// `closer` is told if it does.
    pub(super) fn new(stream: TcpStream, limit: Duration, closer: Closer) -> Self {
        StallLimit { stream, closer, limit, stalled: None }
    }

    /// The result of a write, or a timeout if it has to wait and has waited for too long.
    fn within_limit<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_pending() {
            let limit = self.limit;
            let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
            if stalled.as_mut().poll(cx).is_ready() {
                self.closer.end(CloseReason::Stalled);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        result
    }
}

impl Drop for StallLimit {
    fn drop(&mut self) {
        // Who is cut off for being slow would leave the kernel with what it does not take.
        if self.closer.reason().is_some()
            && let Err(error) = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))
        {
            tracing::debug!(%error, "can't set SO_LINGER");
        }
    }
}

impl AsyncRead for StallLimit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for StallLimit {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.within_limit(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.within_limit(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        if matches!(result, Poll::Ready(Ok(()))) {
            self.stalled = None;
        }
        self.within_limit(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
