//! A stream that fails if the peer stops reading.

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

/// A stream on which writing fails with [`io::ErrorKind::TimedOut`] if the client does not read in
/// time.
#[derive(Debug)]
pub(super) struct StallLimit {
    stream: TcpStream,
    closer: Closer,
    limit: Duration,
    /// Runs while the client reads less than there is to write.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl StallLimit {
    /// The time from the first write that has to wait until the next completed flush is limited to
    /// `limit`, so the writer must flush now and then, and a client can't hold the connection by
    /// reading a byte at a time. `closer` is told when the limit is exceeded.
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
        // Otherwise the kernel would keep what a client does not read that was closed for being
        // slow.
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
