//! Which columns the relations of a FROM clause have, asked while the query around them is still a syntax tree.
//!
//! What a name means can depend on it: `id` of `a FULL JOIN b USING (id)` is a column of both, and `t` in `to_jsonb(t)` all columns
//! of `t` unless there is a column of that name. The relation is planned by itself, under the WITH clauses that it sees.

use arrow::datatypes::FieldRef;
use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    Cte, Expr, Ident, Query, SelectItem, TableFactor, TableWithJoins, WildcardAdditionalOptions,
    With,
};

use crate::error::Result;
use crate::sql::dml;
use crate::sql::planner::Planner;

/// A column of a relation in FROM.
pub(super) struct FromColumn {
    /// The name of the relation, with its schema where it was written with one.
    relation: Vec<String>,
    /// The name of the column.
    pub(super) name: String,
}

impl FromColumn {
    /// The column by its full name.
    pub(super) fn reference(&self) -> Expr {
        let parts = self.relation.iter().chain([&self.name]);
        let parts: Vec<Ident> = parts.map(|part| Ident::with_quote('"', part)).collect();
        match parts.as_slice() {
            [only] => Expr::Identifier(only.clone()),
            _ => Expr::CompoundIdentifier(parts),
        }
    }
}

/// The columns of one relation, in order.
pub(super) fn columns_of(
    planner: &Planner,
    scopes: &Scopes,
    relation: &TableFactor,
    parameters: &[Option<FieldRef>],
) -> Result<Vec<FromColumn>> {
    let all = SelectItem::Wildcard(WildcardAdditionalOptions {
        wildcard_token: AttachedToken::empty(),
        ..WildcardAdditionalOptions::default()
    });
    let from = TableWithJoins {
        relation: relation.clone(),
        joins: Vec::new(),
    };
    let mut query = dml::select(vec![all], vec![from], None)?;
    query.with = scopes.with();
    // What is visible has been spelled out by now.
    let plan = planner.analysed_names(*query, parameters.to_vec())?;
    let columns = plan.schema().iter().map(|(qualifier, field)| FromColumn {
        relation: qualifier.map_or_else(Vec::new, |qualifier| {
            let schema = qualifier.schema().map(str::to_string);
            schema
                .into_iter()
                .chain([qualifier.table().to_string()])
                .collect()
        }),
        name: field.name().clone(),
    });
    Ok(columns.collect())
}

/// The WITH clauses around a query that is being visited.
#[derive(Default)]
pub(super) struct Scopes(Vec<Scope>);

struct Scope {
    with: Option<With>,
    /// How many of its parts have been visited; these are what is visible.
    visited: usize,
}

impl Scopes {
    /// A query is about to be visited, its WITH clause first.
    pub(super) fn enter(&mut self, query: &Query) {
        self.0.push(Scope {
            with: query.with.clone(),
            visited: 0,
        });
    }

    /// A query has been visited, and may have been changed.
    pub(super) fn leave(&mut self, query: &Query) {
        self.0.pop();
        // One that ends before all parts of the clause around it are visited is the next of them.
        if let Some(Scope {
            with: Some(with),
            visited,
        }) = self.0.last_mut()
            && let Some(part) = with.cte_tables.get_mut(*visited)
        {
            *part.query = query.clone();
            *visited += 1;
        }
    }

    /// What is visible, as one clause.
    fn with(&self) -> Option<With> {
        let mut parts: Vec<Cte> = Vec::new();
        let mut recursive = false;
        for scope in &self.0 {
            let Some(with) = &scope.with else {
                continue;
            };
            recursive |= with.recursive;
            for part in with.cte_tables.iter().take(scope.visited) {
                parts.retain(|outer| outer.alias.name != part.alias.name);
                parts.push(part.clone());
            }
        }
        (!parts.is_empty()).then(|| With {
            with_token: AttachedToken::empty(),
            recursive,
            cte_tables: parts,
        })
    }
}
