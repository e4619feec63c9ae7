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
use crate::pgwire::decode::{ColumnParser, InputSettings, ValueError, scalar_at};
use crate::pgwire::encode::{Format, FormatSettings, RowEncoder};
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::{Bind, Target};
use crate::pgwire::statement::{Rows, Running};
use crate::session::cursors::reader::{Keeping, Reader, SharedReader};
use crate::session::cursors::{cannot_run, next_rows, shared};
use crate::session::portals::{Portal, PortalState, TakenPortal};
use crate::session::prepared::Statement;
use crate::session::{Outcome, RowsTag, Scope, TransactionStatus};

/// SQLSTATE `character_not_in_repertoire`.
const CHARACTER_NOT_IN_REPERTOIRE: &str = "22021";

/// What an Execute ends with.
enum Completion {
    Empty,
    Tag(String),
    Suspended,
}

/// An Execute whose portal has to be waited for.
pub(super) struct Execution {
    name: String,
    taken: TakenPortal,
    max_rows: u32,
    scope: Scope,
    /// The transaction's status when the message came.
    before: TransactionStatus,
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
        let statement = Statement::new(prepared, Arc::from(sql), false);
        self.session.statements.insert(name, statement);
        backend::parse_complete(self.channel.output());
        Ok(())
    }

    /// Answers Bind.
    pub(super) fn bind(&mut self, bind: Bind) -> Result<()> {
        let statement = self.session.statements.get(&bind.statement)?;
        self.session.portals.check_new(&bind.portal)?;
        let (types, columns) = match &statement.prepared {
            Some(prepared) => (
                prepared.parameter_types.as_slice(),
                self.session.columns_now(prepared),
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
        if let Some(columns) = &columns
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
        let portal = Portal::bound(
            &bind.portal,
            statement,
            values,
            columns,
            bind.result_formats,
        );
        self.session.portals.insert(bind.portal, portal);
        backend::bind_complete(self.channel.output());
        Ok(())
    }

    /// Answers Describe.
    pub(super) fn describe(&mut self, target: &Target) -> Result<()> {
        let (columns, formats) = match target {
            Target::Statement(name) => {
                let statement = self.session.statements.get(name)?;
                let prepared = statement.prepared.as_ref();
                let types = prepared.map(|one| one.parameter_types.as_slice());
                backend::parameter_description(self.channel.output(), types.unwrap_or_default());
                (prepared.and_then(|one| one.columns.clone()), &[][..])
            }
            Target::Portal(name) => {
                let portal = self.session.portals.get(name)?;
                (portal.columns.clone(), portal.formats.as_slice())
            }
        };
        match columns {
            Some(columns) => backend::row_description(self.channel.output(), &columns, formats),
            None => backend::no_data(self.channel.output()),
        }
        Ok(())
    }

    /// Answers Execute, or says what there is to wait for.
    pub(super) fn execute(&mut self, name: String, max_rows: u32) -> Result<Option<Execution>> {
        let mut taken = self.session.portals.take(&name)?;
        let before = self.session.transaction_status();
        let alone = !self.block_open && self.channel.only_sync_follows();
        let scope = if alone { Scope::Alone } else { Scope::Pipeline };
        self.block_open |= !alone;
        if max_rows == 0 && self.send_now(&mut taken.portal, scope)? {
            self.session.portals.put_back(name, taken);
            return Ok(None);
        }
        Ok(Some(Execution {
            name,
            taken,
            max_rows,
            scope,
            before,
        }))
    }

    /// Runs a portal, and tells its end.
    pub(super) async fn finish(&mut self, execution: Execution) -> Result<()> {
        let Execution {
            name,
            mut taken,
            max_rows,
            scope,
            before,
        } = execution;
        let portal = &mut taken.portal;
        match self.run_portal(&name, portal, max_rows, scope).await? {
            Completion::Empty => self.complete(None),
            Completion::Tag(tag) => self.complete(Some(&tag)),
            Completion::Suspended => {
                self.send_notices();
                backend::portal_suspended(self.channel.output());
            }
        }
        // The transaction may have ended, and its portals with it.
        let ended = before != TransactionStatus::Idle
            && self.session.transaction_status() == TransactionStatus::Idle;
        if !ended || taken.portal.declared.hold {
            self.session.portals.put_back(name, taken);
        }
        Ok(())
    }

    /// Runs a portal that is a lookup of few rows, if they are at hand: nothing to wait for, to stream or to cancel.
    fn send_now(&mut self, portal: &mut Portal, scope: Scope) -> Result<bool> {
        let PortalState::Bound(statement, values) = &portal.state else {
            return Ok(false);
        };
        let Some(prepared) = &statement.prepared else {
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
        portal.state = PortalState::Exhausted(count as u64, "SELECT 0".to_string());
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
        if let Some(statement) = portal.statement()
            && statement.prepared.is_none()
        {
            return Ok(Completion::Empty);
        }
        let token = canceller.start_statement(session.statement_timeout());
        let mut running = Running::start(channel, canceller, token.clone());
        let rows_max = (max_rows > 0).then_some(u64::from(max_rows));
        let settings = session.format_settings();
        let (stream, tag) = match std::mem::replace(&mut portal.state, PortalState::Done) {
            PortalState::Done => return Err(cannot_run(name)),
            PortalState::Exhausted(rows, tag) => {
                portal.state = PortalState::Exhausted(rows, tag.clone());
                return Ok(Completion::Tag(tag));
            }
            PortalState::Open(..) if session.transaction_status() == TransactionStatus::Failed => {
                return Err(PgError::new(
                    sqlstate::IN_FAILED_SQL_TRANSACTION,
                    "current transaction is aborted, commands ignored until end of transaction block",
                ));
            }
            PortalState::Open(reader, tag) => {
                return send_portal(
                    &mut running,
                    name,
                    portal,
                    (reader, tag),
                    rows_max,
                    settings,
                )
                .await;
            }
            PortalState::Bound(statement, values) => {
                let Some(prepared) = &statement.prepared else {
                    return Ok(Completion::Empty);
                };
                let work = session.execute(prepared, values, scope, &token);
                match running.until_done(work).await? {
                    Outcome::Done(tag) => return Ok(Completion::Tag(tag)),
                    Outcome::CopyIn(copy) => {
                        let copying = copy::copy_in(&mut running, session, copy);
                        let tag = Box::pin(copying).await?;
                        return Ok(Completion::Tag(tag));
                    }
                    Outcome::CopyOut { options, stream } => {
                        let copying = copy::copy_out(&mut running, &options, stream, settings);
                        let tag = Box::pin(copying).await?;
                        return Ok(Completion::Tag(tag));
                    }
                    Outcome::Rows { stream, tag } => (stream, tag),
                }
            }
        };
        if rows_max.is_some() {
            // More may be asked for: the rows are read as those of a cursor that goes forward only.
            let reader = shared(Reader::new(stream, Keeping::Nothing));
            return send_portal(
                &mut running,
                name,
                portal,
                (reader, tag),
                rows_max,
                settings,
            )
            .await;
        }
        let schema = portal.columns.clone().unwrap_or_else(|| stream.schema());
        let mut rows = Rows::new(stream, tag, &schema, &portal.formats, settings)?;
        let sent = running.send_rows(&mut rows, None).await?;
        portal.state = PortalState::Exhausted(sent, rows.command_tag(0));
        Ok(Completion::Tag(rows.command_tag(sent)))
    }

    /// Answers Close.
    pub(super) fn close(&mut self, target: &Target) {
        match target {
            Target::Statement(name) => self.session.statements.close(name),
            Target::Portal(name) => {
                self.session.portals.close(name);
            }
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

/// Sends the next rows of a portal, and leaves it to be read on.
async fn send_portal(
    running: &mut Running<'_>,
    name: &str,
    portal: &mut Portal,
    (reader, tag): (SharedReader, RowsTag),
    rows_max: Option<u64>,
    settings: FormatSettings,
) -> Result<Completion> {
    let stream = next_rows(&reader, name, rows_max).await?;
    let schema = portal.columns.clone().unwrap_or_else(|| stream.schema());
    let mut rows = Rows::new(stream, tag.clone(), &schema, &portal.formats, settings)?;
    let sent = running.send_rows(&mut rows, None).await?;
    portal.state = PortalState::Open(reader, tag);
    // As in PostgreSQL a portal that sent all that was asked for is suspended, even if it has no more.
    if Some(sent) == rows_max {
        return Ok(Completion::Suspended);
    }
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
    scalar_at(&parser.finish(), 0)
        .map_err(|error| ValueError::new(sqlstate::INTERNAL_ERROR, error.to_string()))
}

fn violation(message: String) -> PgError {
    PgError::new(sqlstate::PROTOCOL_VIOLATION, message)
}
