//! Functions of one value in FROM: `SELECT * FROM upper('abc')` has one row and one column.
//!
//! The call becomes a subquery before the query is planned. The column has the function's name, or the alias, as in PostgreSQL.
//! Functions that return sets stay as they are.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgumentList, FunctionArguments, Ident, ObjectName, Query,
    SelectItem, TableAlias, TableFactor, Visit, VisitMut, VisitorMut, visit_expressions,
};

use crate::error::{PgError, Result};
use crate::pg_catalog;
use crate::sql::planner::{Planner, bare_function};
use crate::sql::{dml, names};

/// Makes subqueries of calls that return one value.
pub fn to_subqueries(planner: &Planner, query: &mut Query) -> Result<()> {
    match query.visit(&mut Calls(planner)) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Calls<'a>(&'a Planner);

impl VisitorMut for Calls<'_> {
    type Break = PgError;

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<PgError> {
        let (name, args, alias) = match &*factor {
            TableFactor::Table {
                name,
                args: Some(args),
                alias,
                with_ordinality: false,
                ..
            } => (name, &args.args, alias),
            TableFactor::Function {
                name,
                args,
                alias,
                with_ordinality: false,
                ..
            } => (name, args, alias),
            _ => return ControlFlow::Continue(()),
        };
        if !self.is_scalar(name) {
            return ControlFlow::Continue(());
        }
        match subquery(name, args, alias.as_ref()) {
            Ok(derived) => {
                *factor = derived;
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl Calls<'_> {
    fn is_scalar(&self, name: &ObjectName) -> bool {
        let parts = name.0.iter().filter_map(|part| part.as_ident());
        let parts: Vec<_> = parts.map(names::fold).collect();
        let full = parts.join(".");
        let bare = bare_function(&full);
        let state = &self.0.state;
        !state.table_functions().contains_key(bare)
            && !pg_catalog::is_aggregate_or_set(bare)
            && (state.scalar_functions().contains_key(bare)
                || pg_catalog::function_names().any(|known| known == bare))
    }
}

fn subquery(
    name: &ObjectName,
    args: &[FunctionArg],
    alias: Option<&TableAlias>,
) -> Result<TableFactor> {
    let own = name.0.last().and_then(|part| part.as_ident());
    let own = own.map_or_else(String::new, names::fold);
    let alias = match alias {
        Some(alias) => alias.clone(),
        None => TableAlias {
            explicit: true,
            name: Ident::with_quote('"', own),
            columns: Vec::new(),
            at: None,
        },
    };
    // Arguments may be columns of what stands before.
    let lateral = args.iter().any(|arg| names_column(arg).is_break());
    let call = Expr::Function(Function {
        name: name.clone(),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.to_vec(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    });
    let item = SelectItem::ExprWithAlias {
        expr: call,
        alias: alias.name.clone(),
    };
    Ok(TableFactor::Derived {
        lateral,
        subquery: dml::select(vec![item], Vec::new(), None)?,
        alias: Some(alias),
        sample: None,
    })
}

/// Breaks at the first name of a column.
fn names_column(arg: &impl Visit) -> ControlFlow<()> {
    visit_expressions(arg, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}
