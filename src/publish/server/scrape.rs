//! The body of an answer to `/metrics`, rendered while it is sent.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::body::{Body, Frame};

use crate::{metrics::Metrics, publish::text::Page};

use super::{connections::Answering, scrapes::Scrape};

/// A page, rendered step by step as the connection accepts it, so that neither a large page nor a
/// slow client takes much memory. It yields to other tasks after each step, since rendering itself
/// never waits.
#[derive(Debug)]
pub(super) struct ScrapeBody {
    page: Page,
    /// `None` if the page is not compressed.
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// The text of a step, before it is compressed.
    text: Vec<u8>,
    /// Whether there is more of the page to come.
    more: bool,
    /// Whether other tasks had their turn since the last step.
    gave_way: bool,
    arrived: Instant,
    metrics: Arc<Metrics>,
    /// `None` if there is no body (HEAD).
    scrape: Option<Scrape>,
    _answering: Answering,
}

impl ScrapeBody {
    /// The body of a scrape that arrived at `arrived`; its duration is recorded in `metrics`.
    pub(super) fn new(
        page: Page,
        gzip: bool,
        arrived: Instant,
        metrics: Arc<Metrics>,
        scrape: Option<Scrape>,
        answering: Answering,
    ) -> Self {
        if let (Some(scrape), Some(snapshot)) = (&scrape, page.snapshot()) {
            scrape.holds(snapshot);
        }
        ScrapeBody {
            page,
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            text: Vec::new(),
            more: true,
            gave_way: true,
            arrived,
            metrics,
            scrape,
            _answering: answering,
        }
    }

    /// The next part of the body; empty while the compressor buffers it.
    fn step(&mut self) -> io::Result<Vec<u8>> {
        self.text.clear();
        // The connection asks for the next step once it has written the one before.
        if let Some(scrape) = &self.scrape {
            scrape.taken(self.page.progress());
        }
        self.more = self.page.step(&mut self.text);
        match &mut self.gzip {
            None => Ok(std::mem::take(&mut self.text)),
            Some(gzip) => {
                gzip.write_all(&self.text)?;
                if !self.more {
                    gzip.try_finish()?;
                }
                Ok(std::mem::take(gzip.get_mut()))
            }
        }
    }
}

impl Body for ScrapeBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.gave_way {
            if !self.more {
                self.metrics.scrape_seconds.observe(self.arrived.elapsed().as_secs_f64());
                return Poll::Ready(None);
            }
            self.gave_way = false;
            let part = self.step()?;
            if !part.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(part.into()))));
            }
        }
        self.gave_way = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}
