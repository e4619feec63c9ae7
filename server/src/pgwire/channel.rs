//! A connection's socket with its two bounded buffers.
//!
//! Output collects in one buffer that is written when full or before the server waits for the client,
//! so a pipeline is usually answered with one write. Input is read while a statement runs, up to a
//! limit, so a vanished client is noticed; it is never lost when a wait is given up half way: every
//! future here may be dropped at any point.

use std::future::{pending, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::frame::{self, Frame};
use crate::pgwire::transport::Transport;
use crate::session::cancel::CancelReason;

/// Output is written when it reaches this; one row or message may exceed it.
pub const OUTPUT_BUFFER_BYTES: usize = 64 * 1024;

/// Input taken in while a statement runs or the client does not read.
const PIPELINE_BYTES_MAX: usize = 1024 * 1024;

/// Space for one read.
const READ_BYTES: usize = 16 * 1024;

/// Space for one read in the middle of a large message.
const LARGE_READ_BYTES: usize = 256 * 1024;

/// A buffer that grew beyond this is given back when it is empty.
const KEPT_BUFFER_BYTES: usize = 512 * 1024;

/// How long a client may take to read the last messages of a connection that ends.
const LAST_WRITE: Duration = Duration::from_secs(5);

/// How long a connection that ends on a broken message stays open for the client to read why.
const LINGER: Duration = Duration::from_secs(1);

/// A connection's socket and buffers.
pub struct Channel {
    transport: Transport,
    input: BytesMut,
    input_grew: bool,
    output: BytesMut,
    /// The client has closed its side.
    ended: bool,
    /// The input cannot be cut into messages any more.
    broken: bool,
}

impl Channel {
    /// Wraps a fresh connection.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            input: BytesMut::new(),
            input_grew: false,
            output: BytesMut::new(),
            ended: false,
            broken: false,
        }
    }

    /// Where messages to the client are appended.
    pub fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Space left before the output has to be flushed.
    pub fn output_room(&self) -> usize {
        OUTPUT_BUFFER_BYTES.saturating_sub(self.output.len())
    }

    /// Appends what `encode` writes, or nothing when it fails or panics.
    pub fn encode<T>(&mut self, encode: impl FnOnce(&mut BytesMut) -> Result<T>) -> Result<T> {
        let start = self.output.len();
        let result = catch_unwind(AssertUnwindSafe(|| encode(&mut self.output)))
            .unwrap_or_else(|_| Err(PgError::internal("writing the result failed unexpectedly")));
        if result.is_err() {
            self.output.truncate(start);
        }
        result
    }

    /// Bytes from the client that are not taken yet.
    pub fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    /// Whether the buffered input goes on with a Sync, Close messages aside.
    pub fn only_sync_follows(&self) -> bool {
        frame::only_sync_follows(&self.input)
    }

    /// The next message; `None` when the client closed the connection. Flushes before it waits.
    pub async fn next_frame(&mut self) -> Result<Option<Frame>> {
        loop {
            if self.output.len() >= OUTPUT_BUFFER_BYTES {
                self.flush().await?;
            }
            match frame::take(&mut self.input) {
                Ok(Some(frame)) => return Ok(Some(frame)),
                Ok(None) => {}
                Err(error) => {
                    self.broken = true;
                    return Err(error);
                }
            }
            self.flush().await?;
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// The next message of the start-up phase, which has a length and no type; `None` when the client
    /// closed the connection.
    pub async fn next_startup_packet(&mut self, bytes_max: usize) -> Result<Option<Bytes>> {
        loop {
            if let Some(length) = self.input.first_chunk::<4>() {
                let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
                if !(8..=bytes_max).contains(&length) {
                    self.broken = true;
                    return Err(PgError::fatal(
                        sqlstate::PROTOCOL_VIOLATION,
                        "invalid length of startup packet",
                    ));
                }
                if self.input.len() >= length {
                    let mut packet = self.input.split_to(length).freeze();
                    packet.advance(4);
                    return Ok(Some(packet));
                }
            }
            self.flush().await?;
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Writes everything that is buffered.
    pub async fn flush(&mut self) -> Result<()> {
        if self.output.is_empty() {
            return Ok(());
        }
        poll_fn(|context| self.poll_flush(context))
            .await
            .map_err(client_gone)
    }

    /// Returns when the client is gone; until then buffers what it sends.
    pub async fn client_gone(&mut self) {
        while self.input.len() < PIPELINE_BYTES_MAX {
            match self.fill().await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
        // The buffer is full, and the socket is not read: nobody can tell any more.
        pending().await
    }

    /// Starts TLS on the server's side.
    pub async fn start_tls(self, acceptor: &TlsAcceptor) -> Result<Self> {
        match self.transport {
            Transport::Plain(stream) => {
                let stream = acceptor.accept(stream).await.map_err(client_gone)?;
                Ok(Self::new(Transport::Tls(Box::new(stream))))
            }
            _ => Err(PgError::fatal(
                sqlstate::PROTOCOL_VIOLATION,
                "TLS was started already",
            )),
        }
    }

    /// The certificate that the client showed in the handshake, verified.
    pub fn client_certificate(&self) -> Option<&[u8]> {
        match &self.transport {
            Transport::Tls(stream) => {
                let chain = stream.get_ref().1.peer_certificates()?;
                chain.first().map(AsRef::as_ref)
            }
            _ => None,
        }
    }

    /// Sends what is buffered and ends the connection.
    pub async fn close(mut self) {
        let last = async { self.flush().await.is_ok() && self.transport.shutdown().await.is_ok() };
        if !matches!(tokio::time::timeout(LAST_WRITE, last).await, Ok(true)) {
            return;
        }
        // To close a socket with unread input would reset it, and the client would never see the
        // error it was sent.
        let drain = async {
            while self.broken && matches!(self.fill().await, Ok(true)) {
                self.input.clear();
            }
        };
        tokio::time::timeout(LINGER, drain).await.ok();
    }

    /// Reads once; `false` when the client has closed its side.
    async fn fill(&mut self) -> Result<bool> {
        poll_fn(|context| self.poll_fill(context))
            .await
            .map_err(client_gone)
    }

    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.ended {
            return Poll::Ready(Ok(false));
        }
        if self.input.is_empty() && self.input_grew {
            self.input = BytesMut::new();
            self.input_grew = false;
        }
        let large = self.input.len() > READ_BYTES;
        self.input
            .reserve(if large { LARGE_READ_BYTES } else { READ_BYTES });
        self.input_grew |= self.input.capacity() > KEPT_BUFFER_BYTES;
        // The future of a single read keeps nothing between polls, so a new one each time is the same.
        let read = {
            let read = pin!(self.transport.read_buf(&mut self.input));
            read.poll(context)
        };
        self.ended = ready!(read)? == 0;
        Poll::Ready(Ok(!self.ended))
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.output.is_empty() {
            match Pin::new(&mut self.transport).poll_write(context, &self.output) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => self.output.advance(count),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // A client may send its whole pipeline before it reads; taking its input keeps
                    // both from waiting for each other.
                    while self.input.len() < PIPELINE_BYTES_MAX {
                        if !ready!(self.poll_fill(context))? {
                            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                        }
                    }
                    return Poll::Pending;
                }
            }
        }
        if self.output.capacity() > KEPT_BUFFER_BYTES {
            self.output = BytesMut::new();
        }
        Pin::new(&mut self.transport).poll_flush(context)
    }
}

/// An I/O error of the socket: whatever its kind, there is nobody left to tell.
fn client_gone(error: io::Error) -> PgError {
    tracing::debug!(%error, "connection lost");
    CancelReason::ClientGone.into()
}
