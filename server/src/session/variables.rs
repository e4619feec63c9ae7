//! SET, SHOW, RESET and DISCARD.

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use nyala_catalog::types::SqlType;
use sqlparser::ast::{
    ContextModifier, DiscardObject, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, Query, Reset, Set, SetSessionAuthorizationParam, SetSessionAuthorizationParamKind,
    Statement, UnaryOperator, Value, visit_expressions, visit_expressions_mut,
};

use super::{Outcome, RowsTag, Session, State};
use crate::error::{PgError, Result, sqlstate};
use crate::notifications::Listening;
use crate::sql::{names, query};

impl Session {
    /// Runs a statement about settings; `None` for all others.
    pub(super) fn variable(&mut self, statement: &Statement) -> Result<Option<Outcome>> {
        match statement {
            Statement::Set(set) => {
                self.set(set)?;
                Ok(Some(Outcome::Done("SET".to_string())))
            }
            Statement::Reset(reset) => {
                match &reset.reset {
                    Reset::ALL => self.settings.reset_all(),
                    Reset::ConfigurationParameter(name) => match parameter_name(name) {
                        // A session's role never changes.
                        name if is_role(&name) => {}
                        name => self.settings.reset(&name)?,
                    },
                }
                Ok(Some(Outcome::Done("RESET".to_string())))
            }
            Statement::ShowVariable { variable } => {
                let rows = self.show(variable)?;
                let tag = RowsTag::Fixed("SHOW".to_string());
                Ok(Some(Outcome::Rows {
                    stream: query::stream_of(rows),
                    tag,
                }))
            }
            Statement::Discard { object_type } => {
                let tag = match object_type {
                    DiscardObject::ALL => {
                        if !matches!(self.state, State::Idle) {
                            return Err(PgError::new(
                                sqlstate::ACTIVE_SQL_TRANSACTION,
                                "DISCARD ALL cannot run inside a transaction block",
                            ));
                        }
                        self.settings.reset_all();
                        self.statements.clear();
                        self.portals.clear();
                        self.sequences.lock().clear();
                        self.backend.unlock_all();
                        self.backend.listen(Listening::StopAll);
                        "DISCARD ALL"
                    }
                    // Nothing of these outlives a statement here.
                    DiscardObject::PLANS => "DISCARD PLANS",
                    DiscardObject::SEQUENCES => {
                        self.sequences.lock().clear();
                        "DISCARD SEQUENCES"
                    }
                    // Temporary relations are dropped before this is asked.
                    DiscardObject::TEMP => "DISCARD TEMP",
                };
                Ok(Some(Outcome::Done(tag.to_string())))
            }
            _ => Ok(None),
        }
    }

    fn set(&mut self, set: &Set) -> Result<()> {
        let in_block = matches!(self.state, State::Block(_));
        match set {
            Set::SingleAssignment {
                scope,
                hivevar: false,
                variable,
                values,
            } => {
                let name = parameter_name(variable);
                let local = *scope == Some(ContextModifier::Local);
                if local && !in_block {
                    self.notices.push(PgError::warning(
                        sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                        "SET LOCAL can only be used in transaction blocks",
                    ));
                }
                match values.as_slice() {
                    [Expr::Identifier(word)]
                        if word.quote_style.is_none()
                            && word.value.eq_ignore_ascii_case("default") =>
                    {
                        self.settings.reset(&name)
                    }
                    values => self.settings.set(&name, &value_list(values)?, local),
                }
            }
            Set::SetTimeZone { local, value } => {
                let value = value_text(value)?;
                if value.eq_ignore_ascii_case("default") || value.eq_ignore_ascii_case("local") {
                    return self.settings.reset("TimeZone");
                }
                self.settings.set("TimeZone", &value, *local)
            }
            Set::SetNames {
                charset_name,
                collation_name: None,
            } => self
                .settings
                .set("client_encoding", &charset_name.value, false),
            Set::SetTransaction {
                modes,
                snapshot: None,
                session,
            } => {
                if !session && !in_block {
                    self.notices.push(PgError::warning(
                        sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                        "SET TRANSACTION can only be used in transaction blocks",
                    ));
                }
                self.set_modes(modes, !session)
            }
            Set::SetRole {
                role_name: None, ..
            } => Ok(()),
            Set::SetRole {
                role_name: Some(role),
                context_modifier,
            } => self.take_role(role, *context_modifier),
            Set::SetSessionAuthorization(SetSessionAuthorizationParam { scope, kind }) => {
                match kind {
                    SetSessionAuthorizationParamKind::Default => Ok(()),
                    SetSessionAuthorizationParamKind::User(role) => {
                        self.take_role(role, Some(*scope))
                    }
                }
            }
            other => Err(PgError::unsupported(format!("{other} is not supported"))),
        }
    }

    /// The session's role is all that there is to become.
    fn take_role(&mut self, role: &Ident, scope: Option<ContextModifier>) -> Result<()> {
        let name = match role.quote_style {
            Some('\'') => role.value.clone(),
            _ => names::fold(role),
        };
        if name != self.user {
            return Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                format!("role \"{name}\" does not exist"),
            ));
        }
        if scope == Some(ContextModifier::Local) && !matches!(self.state, State::Block(_)) {
            self.notices.push(PgError::warning(
                sqlstate::NO_ACTIVE_SQL_TRANSACTION,
                "SET LOCAL can only be used in transaction blocks",
            ));
        }
        Ok(())
    }

    /// Does the `set_config(name, value, is_local)` calls of a query, whose arguments have to be constants, and
    /// returns the query with their results in their place; `None` if there are none.
    pub(super) fn set_config(&mut self, query: &Query) -> Result<Option<Box<Query>>> {
        let mut calls = 0;
        let _: ControlFlow<()> = visit_expressions(query, |expr| {
            calls += usize::from(config_call(expr).is_some());
            ControlFlow::Continue(())
        });
        if calls == 0 {
            return Ok(None);
        }
        let mut query = Box::new(query.clone());
        let done = visit_expressions_mut(&mut query, |expr| {
            let Some(arguments) = config_call(expr) else {
                return ControlFlow::Continue(());
            };
            match self.set_from_call(&arguments) {
                Ok(value) => {
                    *expr = Expr::value(Value::SingleQuotedString(value));
                    ControlFlow::Continue(())
                }
                Err(error) => ControlFlow::Break(error),
            }
        });
        match done {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(Some(query)),
        }
    }

    /// Sets what one call says; returns the new value.
    fn set_from_call(&mut self, arguments: &[Expr]) -> Result<String> {
        let [name, value, local] = arguments else {
            return Err(PgError::new(
                sqlstate::UNDEFINED_FUNCTION,
                "set_config takes a name, a value and whether it is local",
            ));
        };
        let constant = |expr: &Expr| match uncast(expr) {
            value @ Expr::Value(_) => value_text(value),
            _ => Err(PgError::unsupported(
                "set_config is supported with constant arguments only",
            )),
        };
        let name = constant(name)?;
        let local = matches!(
            constant(local)?.to_lowercase().as_str(),
            "true" | "t" | "on" | "1"
        );
        self.settings.set(&name, &constant(value)?, local)?;
        Ok(self.settings.show(&name)?.1)
    }

    /// Columns of SHOW.
    pub(super) fn show_columns(&self, variable: &[Ident]) -> Result<SchemaRef> {
        let name = shown_name(variable);
        let names = if name.eq_ignore_ascii_case("all") {
            ["name", "setting", "description"]
                .map(Cow::Borrowed)
                .to_vec()
        } else {
            vec![self.settings.show(&name)?.0]
        };
        let fields: Vec<_> = names
            .iter()
            .map(|name| SqlType::Text.field(name, true))
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    fn show(&self, variable: &[Ident]) -> Result<RecordBatch> {
        let name = shown_name(variable);
        let column = |values: Vec<String>| -> ArrayRef {
            Arc::new(StringViewArray::from_iter_values(values))
        };
        let columns = if name.eq_ignore_ascii_case("all") {
            let mut rows = self.settings.rows();
            rows.retain(|row| !row.is_custom);
            vec![
                column(rows.iter().map(|row| row.name.clone()).collect()),
                column(rows.iter().map(|row| row.shown.clone()).collect()),
                column(rows.iter().map(|row| row.short_desc.to_string()).collect()),
            ]
        } else {
            vec![column(vec![self.settings.show(&name)?.1])]
        };
        Ok(RecordBatch::try_new(self.show_columns(variable)?, columns)?)
    }
}

fn is_role(parameter: &str) -> bool {
    ["role", "session_authorization"]
        .iter()
        .any(|role| parameter.eq_ignore_ascii_case(role))
}

/// The arguments of a call of `set_config`.
fn config_call(expr: &Expr) -> Option<Vec<Expr>> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let name = function.name.0.last()?.as_ident()?;
    if !name.value.eq_ignore_ascii_case("set_config") {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return Some(Vec::new());
    };
    let plain = |argument: &FunctionArg| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    Some(list.args.iter().filter_map(plain).collect())
}

/// A constant without the casts that say its type.
fn uncast(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => uncast(expr),
        other => other,
    }
}

fn shown_name(variable: &[Ident]) -> String {
    let words: Vec<_> = variable
        .iter()
        .map(|word| word.value.to_lowercase())
        .collect();
    match words.join(" ").as_str() {
        "transaction isolation level" => "transaction_isolation".to_string(),
        "session authorization" => "session_authorization".to_string(),
        name if words.len() == 1 || find_words(name) => name.to_string(),
        // The parser leaves the dots out.
        _ => words.join("."),
    }
}

/// Whether SHOW knows a parameter by several words.
fn find_words(name: &str) -> bool {
    name == "time zone"
}

fn parameter_name(name: &ObjectName) -> String {
    let parts: Vec<_> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident())
        .map(|ident| ident.value.as_str())
        .collect();
    parts.join(".")
}

fn value_list(values: &[Expr]) -> Result<String> {
    let values: Result<Vec<_>> = values.iter().map(value_text).collect();
    Ok(values?.join(", "))
}

fn value_text(value: &Expr) -> Result<String> {
    match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Ok(text.clone()),
            Value::Number(number, _) => Ok(number.clone()),
            Value::Boolean(value) => Ok(value.to_string()),
            other => Err(PgError::syntax(format!(
                "syntax error at or near \"{other}\""
            ))),
        },
        Expr::Identifier(ident) => Ok(match ident.quote_style {
            Some(_) => format!("\"{}\"", ident.value.replace('"', "\"\"")),
            None => ident.value.clone(),
        }),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => Ok(format!("-{}", value_text(expr)?)),
        Expr::Interval(interval) => value_text(&interval.value),
        other => Err(PgError::syntax(format!(
            "syntax error at or near \"{other}\""
        ))),
    }
}
