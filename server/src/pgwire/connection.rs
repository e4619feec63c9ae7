//! One connection's loop: reads a message, has it answered, reports errors, keeps the protocol's state.
//!
//! The loop owns what outlives a message: the session, whether it skips
//! to Sync. A panic in a statement is that statement's error; it ends neither server nor connection.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::error::{PgError, Result, Severity, sqlstate};
use crate::pgwire::channel::Channel;
use crate::pgwire::frame::Frame;
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::Frontend;
use crate::session::cancel::{CancelReason, Canceller};
use crate::session::{Session, TransactionStatus};

#[cfg(test)]
mod tests;

/// A connection that is logged in.
pub struct Connection {
    pub(super) channel: Channel,
    pub(super) session: Session,
    pub(super) canceller: Canceller,
    /// Statements since the last Sync or Query may have left an implicit block open.
    pub(super) block_open: bool,
    /// After an error in the extended protocol, up to Sync.
    skipping: bool,
    /// ReadyForQuery was the last that the client was sent.
    waiting: bool,
    stopping: watch::Receiver<bool>,
}

/// What a message is answered by.
enum Answer<'a> {
    /// The answer is written.
    Given,
    /// Work that has to be waited for.
    Due(BoxFuture<'a, Result<()>>),
    /// The client leaves.
    Leave,
}

impl Connection {
    /// A connection that is ready for its first query. `stopping` tells it when the server goes down.
    pub fn new(
        channel: Channel,
        session: Session,
        canceller: Canceller,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            channel,
            session,
            canceller,
            block_open: false,
            skipping: false,
            waiting: false,
            stopping,
        }
    }

    /// Serves the client until it leaves, is gone, or the connection has to end.
    pub async fn run(mut self) {
        self.ready_for_query();
        if let Err(fatal) = self.serve().await {
            tracing::debug!(
                code = fatal.code,
                message = fatal.message,
                "connection ends"
            );
            backend::error_or_notice(self.channel.output(), &fatal);
        }
        let Self {
            channel, session, ..
        } = self;
        // An open transaction is given up before the client sees the end of the connection.
        drop(session);
        channel.close().await;
    }

    /// Answers messages; the error is the one that ends the connection.
    async fn serve(&mut self) -> Result<()> {
        loop {
            let Some(frame) = self.next_frame().await? else {
                return Ok(());
            };
            self.waiting = false;
            let tag = frame.tag;
            if self.skipping && !matches!(tag, b'S' | b'X') {
                continue;
            }
            // Most messages wait for nothing. A future for each of them, as large as that of the longest statement, would cost
            // more than their work.
            let begun = AssertUnwindSafe(|| self.answer(frame));
            let answered = match std::panic::catch_unwind(begun) {
                Ok(Ok(Answer::Given)) => Ok(Ok(())),
                Ok(Ok(Answer::Due(work))) => AssertUnwindSafe(work).catch_unwind().await,
                Ok(Ok(Answer::Leave)) => return Ok(()),
                Ok(Err(error)) => Ok(Err(error)),
                Err(panic) => Err(panic),
            };
            if let Err(error) = answered.unwrap_or_else(|panic| Err(panicked(&*panic))) {
                self.fail(error, tag)?;
            }
            // A client with a full pipeline never waits, so a shutdown is looked for between cycles.
            let ends = *self.stopping.borrow() || self.canceller.is_terminated();
            if matches!(tag, b'S' | b'Q') && ends {
                return Err(CancelReason::Shutdown.into());
            }
        }
    }

    /// The client's next message. While it is waited for, the client is told what comes from other sessions.
    async fn next_frame(&mut self) -> Result<Option<Frame>> {
        let limit = self.session.idle_limit().filter(|_| self.waiting);
        let (ends, error) = limit.unzip();
        let ends = ends.map(|limit| tokio::time::Instant::now() + limit);
        let idle = async {
            match ends {
                Some(ends) => tokio::time::sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        let mut idle = std::pin::pin!(idle);
        let listens = self.session.transaction_status() == TransactionStatus::Idle;
        loop {
            tokio::select! {
                biased;
                frame = self.channel.next_frame() => return frame,
                _ = self.stopping.wait_for(|stopping| *stopping) => {
                    return Err(CancelReason::Shutdown.into());
                }
                () = self.canceller.terminated() => return Err(CancelReason::Shutdown.into()),
                () = self.session.backend.notified(), if self.waiting && listens => {}
                () = &mut idle => {
                    let over = || PgError::internal("a limit without an error");
                    return Err(error.unwrap_or_else(over));
                }
            }
            // Flushed before the next message is waited for.
            self.send_notifications();
        }
    }

    /// Answers a message, or begins to.
    fn answer(&mut self, frame: Frame) -> Result<Answer<'_>> {
        match Frontend::decode(frame)? {
            Frontend::Query(sql) => {
                let work = async move { self.simple_query(&sql).await };
                return Ok(Answer::Due(Box::pin(work)));
            }
            Frontend::Parse { name, sql, types } => {
                let work = async move { self.parse(name, &sql, &types).await };
                return Ok(Answer::Due(Box::pin(work)));
            }
            Frontend::Bind(bind) => self.bind(bind)?,
            Frontend::Describe(target) => self.describe(&target)?,
            Frontend::Execute { portal, max_rows } => {
                if let Some(begun) = self.execute(portal, max_rows)? {
                    return Ok(Answer::Due(Box::pin(self.finish(begun))));
                }
            }
            Frontend::Close(target) => self.close(&target),
            Frontend::Flush => return Ok(Answer::Due(Box::pin(self.channel.flush()))),
            Frontend::Sync if self.block_open => return Ok(Answer::Due(Box::pin(self.sync()))),
            Frontend::Sync => self.ready_for_query(),
            Frontend::Terminate => return Ok(Answer::Leave),
            // The rest of a COPY that failed on this side.
            Frontend::CopyData(_) | Frontend::CopyDone | Frontend::CopyFail(_) => {}
            Frontend::FunctionCall => {
                return Err(
                    PgError::unsupported("function calls by OID are not supported")
                        .with_hint("Use SELECT."),
                );
            }
            Frontend::Password(_) => {
                return Err(PgError::fatal(
                    sqlstate::PROTOCOL_VIOLATION,
                    "unexpected password message",
                ));
            }
        }
        Ok(Answer::Given)
    }

    /// Reports an error in the answer to a message of type `tag`; hands back a fatal one.
    fn fail(&mut self, error: PgError, tag: u8) -> Result<()> {
        self.session.fail();
        self.block_open = false;
        if error.severity == Severity::Fatal {
            return Err(error);
        }
        self.send_notices();
        backend::error_or_notice(self.channel.output(), &error);
        if Frontend::is_extended(tag) {
            self.skipping = true;
        } else {
            self.ready_for_query();
        }
        Ok(())
    }

    /// Commits the implicit block, if statements have run in one.
    pub(super) async fn commit_block(&mut self) -> Result<()> {
        if std::mem::take(&mut self.block_open) {
            self.session.commit_implicit().await?;
        }
        Ok(())
    }

    /// Ends a statement: notices, then its tag, or the answer to an empty query.
    pub(super) fn complete(&mut self, tag: Option<&str>) {
        self.send_notices();
        match tag {
            Some(tag) => backend::command_complete(self.channel.output(), tag),
            None => backend::empty_query_response(self.channel.output()),
        }
    }

    /// Sends notices that have come up.
    pub(super) fn send_notices(&mut self) {
        for notice in self.session.take_notices() {
            backend::error_or_notice(self.channel.output(), &notice);
        }
    }

    /// Sends what others, or the session itself, have sent to its channels.
    fn send_notifications(&mut self) {
        for notification in self.session.backend.take_notifications() {
            backend::notification_response(self.channel.output(), &notification);
        }
    }

    /// Ends a cycle.
    pub(super) fn ready_for_query(&mut self) {
        self.skipping = false;
        self.send_notices();
        for (name, value) in self.session.take_parameter_changes() {
            backend::parameter_status(self.channel.output(), &name, &value);
        }
        self.session.settle();
        let status = self.session.transaction_status();
        if status == TransactionStatus::Idle {
            self.send_notifications();
        }
        self.waiting = true;
        backend::ready_for_query(self.channel.output(), status);
    }
}

/// The error for a panic. Its text goes to the log only: it may hold anything.
fn panicked(panic: &(dyn std::any::Any + Send)) -> PgError {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(panic = text, "a statement panicked");
    PgError::internal("the statement failed unexpectedly")
        .with_hint("This is a bug in the server; its log says more.")
}
