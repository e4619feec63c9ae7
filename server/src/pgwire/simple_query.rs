//! The simple query protocol: one message, any number of statements, results as text (but those of binary cursors).
//!
//! Several statements are one transaction unless they say otherwise. The first error ends the message;
//! the caller reports it.

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::connection::Connection;
use crate::pgwire::copy;
use crate::pgwire::messages::backend;
use crate::pgwire::statement::{Rows, Running};
use crate::session::{Outcome, ParsedStatement, Scope};

impl Connection {
    /// Answers a Query message, ReadyForQuery included.
    pub(super) async fn simple_query(&mut self, sql: &str) -> Result<()> {
        self.session.portals.close("");
        let statements = self.session.parse(sql)?;
        // Executes without a Sync before this Query have opened a block already.
        let scope = if statements.len() == 1 && !self.block_open {
            Scope::Alone
        } else {
            Scope::Block
        };
        let Some(last) = statements.len().checked_sub(1) else {
            self.commit_block().await?;
            self.complete(None);
            self.ready_for_query();
            return Ok(());
        };
        for (index, statement) in statements.into_iter().enumerate() {
            self.block_open |= scope == Scope::Block;
            let tag = self.simple_statement(statement, scope).await?;
            // A tag is a promise: the last one is given when the whole message is committed.
            if index == last {
                self.commit_block().await?;
            }
            self.complete(Some(&tag));
        }
        self.ready_for_query();
        Ok(())
    }

    /// Runs one statement and sends its rows; its command tag.
    async fn simple_statement(
        &mut self,
        statement: ParsedStatement,
        scope: Scope,
    ) -> Result<String> {
        let Self {
            session,
            channel,
            canceller,
            ..
        } = self;
        let token = canceller.start_statement(session.statement_timeout());
        let mut running = Running::start(channel, canceller, token.clone());
        let prepared = running
            .until_cancelled(Box::pin(session.prepare(statement, &[])))
            .await?;
        if !prepared.parameter_types.is_empty() {
            return Err(PgError::new(
                sqlstate::UNDEFINED_PARAMETER,
                "there is no parameter $1",
            ));
        }
        let (columns, formats) = (
            session.columns_now(&prepared),
            session.simple_formats(&prepared),
        );
        let outcome = running
            .until_done(session.execute(&prepared, Vec::new(), scope, &token))
            .await?;
        match outcome {
            Outcome::Done(tag) => Ok(tag),
            Outcome::Rows { stream, tag } => {
                let schema = columns.unwrap_or_else(|| stream.schema());
                let mut rows = Rows::new(stream, tag, &schema, formats, session.format_settings())?;
                backend::row_description(running.channel().output(), &schema, formats);
                let sent = running.send_rows(&mut rows, None).await?;
                Ok(rows.command_tag(sent))
            }
            Outcome::CopyIn(copy) => Box::pin(copy::copy_in(&mut running, session, copy)).await,
            Outcome::CopyOut { options, stream } => {
                let settings = session.format_settings();
                Box::pin(copy::copy_out(&mut running, &options, stream, settings)).await
            }
        }
    }
}
