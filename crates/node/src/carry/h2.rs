//! Carried connections in HTTP/2: a stream each, over one authenticated connection.

use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use certus_pki::explain::{Explain, Explanation};
use certus_tls::{Admission, explain_source};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::inbound::{Addresses, Entered, Inbound};
use super::pool::{Opened, Shared};
use super::wire::{Outer, Wire};
use super::{GOODBYE, Run};
use crate::e2e;
use crate::transports::h2::{self, Ask, H2Client, H2Stream, OpenError};

/// A connection that we dialed.
#[derive(Clone)]
pub(super) struct Dialed {
    client: H2Client,
    ask: Ask,
    pub(super) admission: Admission,
    pub(super) exporter: Option<[u8; 32]>,
    streams: Arc<AtomicUsize>,
    heard: Arc<OnceLock<Explanation>>,
}

impl Dialed {
    /// Speaks HTTP/2 over `outer`; its streams will ask for `ask`.
    pub(super) async fn new(
        outer: Outer,
        admission: Admission,
        exporter: Option<[u8; 32]>,
        ask: Ask,
    ) -> Result<Dialed, Explanation> {
        let heard = Arc::default();
        let outer = Hearing { outer: outer.ended_by_caller(), heard: Arc::clone(&heard) };
        let connected = h2::connect(outer, h2::Limits::default()).await;
        let (client, driver) = connected.map_err(|error| error.explain())?;
        let (cut, kept) = (admission.cancelled(), admission.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Dropped, the connection is cut.
                () = cut.cancelled() => {}
                _ = driver => {}
            }
            kept.end();
        });
        Ok(Dialed { client, ask, admission, exporter, streams: Arc::default(), heard })
    }

    fn gone(&self, error: &OpenError) -> Explanation {
        self.heard.get().cloned().unwrap_or_else(|| error.explain())
    }
}

impl Shared for Dialed {
    type Stream = H2Stream;

    fn is_usable(&self) -> bool {
        self.admission.is_usable()
    }

    fn streams(&self) -> &Arc<AtomicUsize> {
        &self.streams
    }

    fn streams_max(&self) -> usize {
        self.client.streams_max()
    }

    async fn open(&self, _wait: bool) -> Opened<H2Stream> {
        match self.client.open(&self.ask).await {
            Ok(stream) => Opened::Stream(stream),
            Err(error @ OpenError::Closed { .. }) => Opened::Gone(self.gone(&error)),
            // RFC 9113 8.7: it was not looked at.
            Err(error @ OpenError::Reset { is_unprocessed: true, .. }) => Opened::Gone(error.explain()),
            Err(error) => Opened::Refused(error.explain()),
        }
    }

    fn retire(&self) {
        self.admission.end();
    }
}

/// Remembers why the stream below failed: h2 keeps only that it did.
struct Hearing {
    outer: Outer,
    heard: Arc<OnceLock<Explanation>>,
}

impl Hearing {
    fn note<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &polled
            && let Some(why) = explain_source(error)
        {
            // The first counts.
            let _ = self.heard.set(why);
        }
        polled
    }
}

impl AsyncRead for Hearing {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.outer).poll_read(cx, buf);
        self.note(polled)
    }
}

impl AsyncWrite for Hearing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.outer).poll_write(cx, buf);
        self.note(polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.outer).poll_flush(cx);
        self.note(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.outer).poll_shutdown(cx);
        self.note(polled)
    }
}

impl Inbound {
    /// One HTTP/2 connection and its streams.
    pub(super) async fn multiplex(self: &Arc<Self>, entered: Entered, run: &Run) {
        let Entered { outer, admission, ends, .. } = entered;
        let exporter = outer.exporter(e2e::EXPORTER_LABEL);
        let mut limits = h2::Limits::default();
        limits.streams_max = self.spec.limits.streams;
        let accepted = tokio::select! {
            () = run.ending.cancelled() => return,
            accepted = h2::accept(outer.ended_by_caller(), limits) => accepted,
        };
        let mut server = match accepted {
            Ok(server) => server,
            Err(error) => return self.failed(ends.from, &admission.peer_name(), error.explain()),
        };
        let (cut, draining) = (admission.cancelled(), admission.draining());
        let mut finishing = false;
        loop {
            let incoming = tokio::select! {
                biased;
                () = cut.cancelled() => break end(&mut server, ::h2::Reason::CANCEL).await,
                () = run.ending.cancelled() => {
                    // Its streams say first that they end.
                    server.graceful_shutdown();
                    let _ = tokio::time::timeout(GOODBYE, drained(&mut server)).await;
                    break end(&mut server, ::h2::Reason::NO_ERROR).await;
                }
                () = draining.cancelled(), if !finishing => { finishing = true; server.graceful_shutdown(); continue }
                () = run.closing.cancelled(), if !finishing => { finishing = true; server.graceful_shutdown(); continue }
                incoming = server.next() => incoming,
            };
            match incoming {
                Some(Ok(incoming)) => self.stream(incoming, &admission, (exporter, ends), run),
                Some(Err(error)) => {
                    tracing::debug!(name = self.spec.name, from = %ends.from, %error, "an HTTP/2 connection broke");
                    break;
                }
                None => break,
            }
        }
        if let Some(cut) = admission.cut() {
            let why = cut.explain();
            tracing::info!(name = self.spec.name, from = %ends.from, peer = admission.peer_name(),
                code = %why.code, %why, "a connection broke");
        }
    }

    /// One stream of an HTTP/2 connection: authorised anew, as the connection may be old.
    fn stream(
        self: &Arc<Self>,
        incoming: h2::Incoming,
        admission: &Admission,
        (exporter, ends): (Option<[u8; 32]>, Addresses),
        run: &Run,
    ) {
        let asked = incoming.ask.e2e;
        if let Err(why) = self.judge_stream(asked, admission) {
            incoming.refuse(StatusCode::FORBIDDEN, Some(why.code), &why.message);
            return self.failed(ends.from, &admission.peer_name(), why);
        }
        let stream = match incoming.accept() {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "a stream was taken back"),
        };
        let (inbound, admission, run) = (self.clone(), admission.clone(), run.clone());
        run.tasks.clone().spawn(async move {
            inbound.serve(Wire::H2(stream, None), asked, exporter, &admission, ends, &run).await;
        });
    }
}

/// Ends a connection and tells the other end.
async fn end(server: &mut h2::H2Server<Outer>, reason: ::h2::Reason) {
    server.abrupt(reason);
    let _ = tokio::time::timeout(GOODBYE, drained(server)).await;
}

/// Moves an ending connection's last bytes.
async fn drained(server: &mut h2::H2Server<Outer>) {
    while let Some(Ok(incoming)) = server.next().await {
        drop(incoming);
    }
}
