//! Prepared statements: those of Parse messages and those of PREPARE, which share their names.
//!
//! EXECUTE puts its arguments in the place of the parameters and runs the statement as any other.

use std::collections::HashMap;
use std::sync::Arc;

use sqlparser::ast::{Expr, Statement as Syntax};

use super::{Outcome, ParsedStatement, Prepared, Scope, Session, Tree};
use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::StatementRow;
use crate::session::cancel::CancelToken;
use crate::sql::{names, parameters, types};

/// Prepared statements of one connection.
const STATEMENTS_MAX: usize = 10_000;

/// A prepared statement.
pub struct Statement {
    /// `None` for an empty query string.
    pub prepared: Option<Prepared>,
    /// The text that made it: that of Parse, or PREPARE itself.
    text: Arc<str>,
    /// Whether PREPARE made it.
    from_sql: bool,
    /// When it was made, in microseconds since 1970.
    prepared_us: i64,
}

impl Statement {
    /// A statement that `text` made just now.
    pub fn new(prepared: Option<Prepared>, text: Arc<str>, from_sql: bool) -> Self {
        Self {
            prepared,
            text,
            from_sql,
            prepared_us: clock::now_us(),
        }
    }
}

/// Prepared statements by name. Clones are cheap: a statement that is being planned keeps one, to show.
#[derive(Default, Clone)]
pub struct Statements(Arc<HashMap<String, Arc<Statement>>>);

impl Statements {
    /// 42P05 where a named statement exists, 53400 where there are too many.
    pub fn check_new(&self, name: &str) -> Result<()> {
        if !name.is_empty() && self.0.contains_key(name) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_PREPARED_STATEMENT,
                format!("prepared statement \"{name}\" already exists"),
            ));
        }
        if self.0.len() < STATEMENTS_MAX {
            return Ok(());
        }
        Err(PgError::new(
            sqlstate::LIMIT_EXCEEDED,
            format!("a connection can have at most {STATEMENTS_MAX} prepared statements"),
        )
        .with_hint("Deallocate those that are not needed any more."))
    }

    /// Adds a statement; the unnamed one replaces its predecessor.
    pub fn insert(&mut self, name: String, statement: Statement) {
        Arc::make_mut(&mut self.0).insert(name, Arc::new(statement));
    }

    /// Finds a statement.
    pub fn get(&self, name: &str) -> Result<Arc<Statement>> {
        self.0.get(name).cloned().ok_or_else(|| {
            let message = if name.is_empty() {
                "unnamed prepared statement does not exist".to_owned()
            } else {
                format!("prepared statement \"{name}\" does not exist")
            };
            PgError::new(sqlstate::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Forgets a statement, if it exists.
    pub fn close(&mut self, name: &str) {
        if self.0.contains_key(name) {
            Arc::make_mut(&mut self.0).remove(name);
        }
    }

    /// Forgets all statements.
    pub fn clear(&mut self) {
        self.0 = Arc::default();
    }

    /// The rows of `pg_prepared_statements`; the unnamed statement is not shown, as in PostgreSQL.
    pub fn rows(&self) -> Vec<StatementRow> {
        let named = self.0.iter().filter(|(name, _)| !name.is_empty());
        let mut rows: Vec<_> = named
            .map(|(name, statement)| StatementRow {
                name: name.clone(),
                statement: Arc::clone(&statement.text),
                prepared_us: statement.prepared_us,
                parameter_types: match &statement.prepared {
                    Some(prepared) => prepared.parameter_types.clone(),
                    None => Vec::new(),
                },
                from_sql: statement.from_sql,
            })
            .collect();
        rows.sort_by(|left, right| left.name.cmp(&right.name));
        rows
    }
}

impl Session {
    /// Runs PREPARE, EXECUTE and DEALLOCATE; `None` for all others.
    pub(super) async fn prepared_statement(
        &mut self,
        statement: &Syntax,
        scope: Scope,
        cancel: &CancelToken,
    ) -> Result<Option<Outcome>> {
        match statement {
            Syntax::Prepare {
                name,
                data_types,
                statement,
            } => {
                let name = names::fold(name);
                self.statements.check_new(&name)?;
                let mut given = Vec::with_capacity(data_types.len());
                for data_type in data_types {
                    given.push(types::sql_type(data_type)?.oid());
                }
                let parsed = ParsedStatement {
                    sql: Arc::from(statement.to_string()),
                    tree: Tree::Sql(statement.clone()),
                };
                let prepared = Some(cancel.run(self.prepare(parsed, &given)).await?);
                let text = Arc::clone(&self.statement_text);
                let statement = Statement::new(prepared, text, true);
                self.statements.insert(name, statement);
                Ok(Some(Outcome::Done("PREPARE".to_string())))
            }
            Syntax::Execute { parameters, .. } => {
                let prepared = self.executed(statement)?;
                let Some(prepared) = &prepared.prepared else {
                    return Err(PgError::internal("an empty statement was prepared"));
                };
                cancel.run(self.check_columns(prepared)).await?;
                let tree = with_arguments(prepared, parameters)?;
                let outcome = Box::pin(self.run(&tree, scope, cancel)).await?;
                Ok(Some(outcome))
            }
            Syntax::Deallocate { name, .. } => {
                let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
                if all {
                    self.statements.clear();
                    return Ok(Some(Outcome::Done("DEALLOCATE ALL".to_string())));
                }
                let name = names::fold(name);
                self.statements.get(&name)?;
                self.statements.close(&name);
                Ok(Some(Outcome::Done("DEALLOCATE".to_string())))
            }
            _ => Ok(None),
        }
    }

    /// The statement that an EXECUTE names.
    pub(super) fn executed(&self, statement: &Syntax) -> Result<Arc<Statement>> {
        let Syntax::Execute {
            name: Some(name),
            immediate: false,
            into,
            using,
            ..
        } = statement
        else {
            return Err(PgError::syntax("EXECUTE takes the name of a statement"));
        };
        if !into.is_empty() || !using.is_empty() {
            return Err(PgError::syntax(
                "EXECUTE takes its arguments in parentheses",
            ));
        }
        self.statements.get(&names::single_name(name)?)
    }
}

/// The statement with the arguments of EXECUTE in the place of its parameters.
fn with_arguments(prepared: &Prepared, arguments: &[Expr]) -> Result<Tree> {
    let types = &prepared.parameter_types;
    if types.len() != arguments.len() {
        return Err(
            PgError::syntax("wrong number of parameters for prepared statement").with_detail(
                format!(
                    "Expected {} parameters but got {}.",
                    types.len(),
                    arguments.len()
                ),
            ),
        );
    }
    let mut tree = prepared.tree.clone();
    if let Tree::Sql(statement) = &mut tree
        && !arguments.is_empty()
    {
        parameters::substitute(statement.as_mut(), types, arguments)?;
    }
    Ok(tree)
}
