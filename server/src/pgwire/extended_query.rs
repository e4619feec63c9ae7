//! The extended query protocol: Parse, Bind, Describe, Execute, Close, Sync.
//!
//! Everything up to Sync is one transaction unless the statements say otherwise. After an error the
//! caller skips to Sync. A statement alone in its pipeline commits by itself, which saves a step.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::ScalarValue;
use nyala_catalog::types::SqlType;

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::connection::Connection;
use crate::pgwire::copy;
use crate::pgwire::decode::{ColumnParser, InputSettings, ValueError};
use crate::pgwire::encode::{Format, RowEncoder};
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::{Bind, Target};
use crate::pgwire::portal::{Portal, PortalState};
use crate::pgwire::statement::{Rows, Running};
use crate::session::prepared::Statement;
use crate::session::{Outcome, Scope, TransactionStatus};

/// SQLSTATE `object_not_in_prerequisite_state`.
const NOT_IN_PREREQUISITE_STATE: &str = "55000";

/// SQLSTATE `character_not_in_repertoire`.
const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";

/// What an Execute ends with.
enum Completion {
    Empty,
    Tag(String),
    Suspended,
}

impl Connection {
    /// Answers Parse.
    pub(super) async fn parse(&mut self, name: String, sql: &str, types: &[u32]) -> Result<()> {
        if name.is_empty() {
            // As in PostgreSQL the old one is gone even if the new one fails.
            self.session.statements.close("");
        }
        self.session.statements.check_new(&name)?;
        let mut statements = self.session.parse(sql)?;
        if statements.len() > 1 {
            return Err(PgError::syntax(
                "cannot insert multiple commands into a prepared statement",
            ));
        }
        let prepared = match statements.pop() {
            None => None,
            Some(statement) => {
                let Self {
                    session,
                    channel,
                    canceller,
                    ..
                } = self;
                let token = canceller.start_statement(session.statement_timeout());
                let mut running = Running::start(channel, canceller, token);
                let prepared = running
                    .until_cancelled(session.prepare(statement, types))
                    .await?;
                session.compile(&prepared)?;
                Some(prepared)
            }
        };
        self.session.statements.insert(name, Statement { prepared });
        backend::parse_complete(self.channel.output());
        Ok(())
    }

    /// Answers Bind.
    pub(super) fn bind(&mut self, bind: Bind) -> Result<()> {
        let statement = self.session.statements.get(&bind.statement)?;
        self.portals.check_new(&bind.portal)?;
        let (types, columns) = match &statement.prepared {
            Some(prepared) => (
                prepared.parameter_types.as_slice(),
                prepared.columns.as_ref(),
            ),
            None => (&[][..], None),
        };
        let count = bind.parameters.len();
        let formats = &bind.parameter_formats;
        if formats.len() > 1 && formats.len() != count {
            return Err(violation(format!(
                "bind message has {} parameter formats but {count} parameters",
                formats.len()
            )));
        }
        if count != types.len() {
            return Err(violation(format!(
                "bind message supplies {count} parameters, but prepared statement \"{}\" requires {}",
                bind.statement,
                types.len()
            )));
        }
        if let Some(columns) = columns
            && bind.result_formats.len() > 1
            && bind.result_formats.len() != columns.fields().len()
        {
            return Err(violation(format!(
                "bind message has {} result formats but query has {} columns",
                bind.result_formats.len(),
                columns.fields().len()
            )));
        }
        let settings = self.session.input_settings();
        let mut values = Vec::with_capacity(count);
        for (index, (value, ty)) in bind.parameters.iter().zip(types).enumerate() {
            let format = match formats.as_slice() {
                [one] => *one,
                many => many.get(index).copied().unwrap_or(Format::Text),
            };
            let value =
                decode_parameter(value.as_ref(), ty, format, &settings).map_err(|error| {
                    let portal = match bind.portal.as_str() {
                        "" => "unnamed portal".to_owned(),
                        name => format!("portal \"{name}\""),
                    };
                    PgError::from(error).with_context(format!("{portal} parameter ${}", index + 1))
                })?;
            values.push(value);
        }
        let portal = Portal {
            statement,
            formats: bind.result_formats,
            state: PortalState::Bound(values),
        };
        self.portals.insert(bind.portal, portal);
        backend::bind_complete(self.channel.output());
        Ok(())
    }

    /// Answers Describe.
    pub(super) fn describe(&mut self, target: &Target) -> Result<()> {
        let (statement, formats) = match target {
            Target::Statement(name) => {
                let statement = self.session.statements.get(name)?;
                let types = statement
                    .prepared
                    .as_ref()
                    .map(|one| one.parameter_types.as_slice());
                backend::parameter_description(self.channel.output(), types.unwrap_or_default());
                (statement, &[][..])
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name)?;
                (Arc::clone(&portal.statement), portal.formats.as_slice())
            }
        };
        match statement
            .prepared
            .as_ref()
            .and_then(|prepared| prepared.columns.as_ref())
        {
            Some(columns) => backend::row_description(self.channel.output(), columns, formats),
            None => backend::no_data(self.channel.output()),
        }
        Ok(())
    }

    /// Answers Execute.
    pub(super) async fn execute(&mut self, name: String, max_rows: u32) -> Result<()> {
        let mut portal = self.portals.take(&name)?;
        let before = self.session.transaction_status();
        let alone = !self.block_open && self.channel.only_sync_follows();
        let scope = if alone { Scope::Alone } else { Scope::Block };
        self.block_open |= !alone;
        if max_rows == 0 && self.send_now(&mut portal, scope)? {
            self.portals.insert(name, portal);
            return Ok(());
        }
        match self.run_portal(&name, &mut portal, max_rows, scope).await? {
            Completion::Empty => self.complete(None),
            Completion::Tag(tag) => self.complete(Some(&tag)),
            Completion::Suspended => {
                self.send_notices();
                backend::portal_suspended(self.channel.output());
            }
        }
        self.portals.insert(name, portal);
        self.end_portals_since(before);
        Ok(())
    }

    /// Runs a portal that is a lookup of few rows, if they are at hand: nothing to wait for, to stream or to cancel.
    fn send_now(&mut self, portal: &mut Portal, scope: Scope) -> Result<bool> {
        let (Some(prepared), PortalState::Bound(values)) =
            (&portal.statement.prepared, &portal.state)
        else {
            return Ok(false);
        };
        let Some(rows) = self.session.execute_now(prepared, values, scope)? else {
            return Ok(false);
        };
        let schema = prepared.columns.clone().unwrap_or_else(|| rows.schema());
        let settings = self.session.format_settings();
        let encoder = RowEncoder::new(&schema, &portal.formats, settings)?;
        let count = rows.num_rows();
        self.channel
            .encode(|out| Ok(encoder.encode(&rows, 0..count, out)?))?;
        portal.state = PortalState::Exhausted("SELECT 0".to_string());
        match count {
            1 => self.complete(Some("SELECT 1")),
            count => self.complete(Some(&format!("SELECT {count}"))),
        }
        Ok(true)
    }

    async fn run_portal(
        &mut self,
        name: &str,
        portal: &mut Portal,
        max_rows: u32,
        scope: Scope,
    ) -> Result<Completion> {
        let Self {
            session,
            channel,
            canceller,
            ..
        } = self;
        let statement = Arc::clone(&portal.statement);
        let Some(prepared) = &statement.prepared else {
            return Ok(Completion::Empty);
        };
        let token = canceller.start_statement(session.statement_timeout());
        let mut running = Running::start(channel, canceller, token.clone());
        let rows = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Done => {
                return Err(PgError::new(
                    NOT_IN_PREREQUISITE_STATE,
                    format!("portal \"{name}\" cannot be run"),
                ));
            }
            PortalState::Exhausted(tag) => {
                portal.state = PortalState::Exhausted(tag.clone());
                return Ok(Completion::Tag(tag));
            }
            PortalState::Suspended(_)
                if session.transaction_status() == TransactionStatus::Failed =>
            {
                return Err(PgError::new(
                    sqlstate::IN_FAILED_SQL_TRANSACTION,
                    "current transaction is aborted, commands ignored until end of transaction block",
                ));
            }
            PortalState::Suspended(rows) => rows,
            PortalState::Bound(values) => {
                let work = session.execute(prepared, values, scope, &token);
                match running.until_done(work).await? {
                    Outcome::Done(tag) => return Ok(Completion::Tag(tag)),
                    Outcome::CopyIn(copy) => {
                        let copying = copy::copy_in(&mut running, session, copy, scope);
                        let tag = Box::pin(copying).await?;
                        return Ok(Completion::Tag(tag));
                    }
                    Outcome::CopyOut { options, stream } => {
                        let settings = session.format_settings();
                        let copying = copy::copy_out(&mut running, &options, stream, settings);
                        let tag = Box::pin(copying).await?;
                        return Ok(Completion::Tag(tag));
                    }
                    Outcome::Rows { stream, tag } => {
                        let schema = prepared.columns.clone().unwrap_or_else(|| stream.schema());
                        let settings = session.format_settings();
                        Box::new(Rows::new(stream, tag, &schema, &portal.formats, settings)?)
                    }
                }
            }
        };
        send_portal(&mut running, portal, rows, max_rows).await
    }

    /// Answers Close.
    pub(super) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => self.session.statements.close(name),
            Target::Portal(name) => self.portals.close(name),
        }
        backend::close_complete(self.channel.output());
    }

    /// Answers Sync: commits what the pipeline did.
    pub(super) async fn sync(&mut self) -> Result<()> {
        self.commit_block().await?;
        self.ready_for_query();
        Ok(())
    }
}

/// Sends a portal's next rows and leaves it suspended or exhausted.
async fn send_portal(
    running: &mut Running<'_>,
    portal: &mut Portal,
    mut rows: Box<Rows>,
    max_rows: u32,
) -> Result<Completion> {
    let rows_max = (max_rows > 0).then_some(u64::from(max_rows));
    let sent = running.send_rows(&mut rows, rows_max).await?;
    // As in PostgreSQL a portal that sent all that was asked for is suspended, even if it has no more.
    if Some(sent) == rows_max {
        portal.state = PortalState::Suspended(rows);
        return Ok(Completion::Suspended);
    }
    portal.state = PortalState::Exhausted(rows.command_tag(0));
    Ok(Completion::Tag(rows.command_tag(sent)))
}

/// Reads one parameter value.
fn decode_parameter(
    value: Option<&Bytes>,
    ty: &SqlType,
    format: Format,
    settings: &InputSettings,
) -> Result<ScalarValue, ValueError> {
    let mut parser = ColumnParser::new(ty, settings);
    match (value, format) {
        (None, _) => parser.append_null(),
        (Some(bytes), Format::Binary) => parser.append_binary(bytes)?,
        (Some(bytes), Format::Text) => match std::str::from_utf8(bytes) {
            Ok(text) => parser.append_text(text)?,
            Err(_) => {
                return Err(ValueError::new(
                    CHARACTER_NOT_IN_REPERTOIRE,
                    "invalid byte sequence for encoding \"UTF8\"",
                ));
            }
        },
    }
    ScalarValue::try_from_array(parser.finish().as_ref(), 0)
        .map_err(|error| ValueError::new(sqlstate::INTERNAL_ERROR, error.to_string()))
}

fn violation(message: String) -> PgError {
    PgError::new(sqlstate::PROTOCOL_VIOLATION, message)
}
