//! Columns of other tables in RETURNING of `UPDATE … FROM` and `DELETE … USING`.
//!
//! RETURNING reads the rows written; a column of a joined table is known only to the query that found them. So that
//! query selects such columns too, and RETURNING reads them from beside the row.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use sqlparser::ast::{
    Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins,
    visit_expressions, visit_expressions_mut,
};

use super::{Target, aliased};
use crate::error::{PgError, Result};
use crate::sql::names;

/// References to columns of joined tables, each once.
#[derive(Default)]
pub(super) struct Joined {
    references: Vec<Expr>,
}

impl Joined {
    /// The references that RETURNING makes to the tables in `from`.
    pub(super) fn find(
        target: &Target,
        returning: Option<&Vec<SelectItem>>,
        from: &[TableWithJoins],
    ) -> Result<Self> {
        let mut joined = Self::default();
        let mut tables = Vec::new();
        for item in from {
            table_name(&item.relation, &mut tables);
            for join in &item.joins {
                table_name(&join.relation, &mut tables);
            }
        }
        if tables.is_empty() {
            return Ok(joined);
        }
        for item in returning.into_iter().flatten() {
            let own = match item {
                SelectItem::Wildcard(_) => false,
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => names::single_name(name)? == names::fold(&target.alias),
                _ => true,
            };
            if !own {
                return Err(
                    PgError::unsupported("RETURNING * of joined tables is not supported")
                        .with_hint("Name the columns."),
                );
            }
            let nested = visit_expressions(item, |expr| match expr {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            });
            let _: ControlFlow<()> = visit_expressions(item, |expr| {
                let other = match expr {
                    Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                        [table, _] => tables.contains(&names::fold(table)),
                        _ => false,
                    },
                    // A subquery's names are its own.
                    Expr::Identifier(name) => {
                        nested.is_continue() && target.column(&names::fold(name)).is_err()
                    }
                    _ => false,
                };
                if other && !joined.references.contains(expr) {
                    joined.references.push(expr.clone());
                }
                ControlFlow::Continue(())
            });
        }
        Ok(joined)
    }

    /// What the query for the rows has to select beside them.
    pub(super) fn items(&self) -> impl Iterator<Item = SelectItem> {
        let references = self.references.iter().cloned().enumerate();
        references.map(|(at, reference)| aliased(reference, &column_name(at)))
    }

    /// RETURNING's items with references to the columns beside the row.
    pub(super) fn rewrite(&self, target: &Target, items: &[SelectItem]) -> Vec<SelectItem> {
        let mut items = items.to_vec();
        for item in &mut items {
            // The column keeps its name.
            if let SelectItem::UnnamedExpr(expr) = item
                && self.references.contains(expr)
                && let Expr::CompoundIdentifier(parts) = &*expr
                && let Some(name) = parts.last()
            {
                *item = SelectItem::ExprWithAlias {
                    alias: Ident::with_quote('"', names::fold(name)),
                    expr: expr.clone(),
                };
            }
        }
        for item in &mut items {
            let _: ControlFlow<()> = visit_expressions_mut(item, |expr| {
                if let Some(at) = self.references.iter().position(|known| known == expr) {
                    *expr = target.reference(&column_name(at));
                }
                ControlFlow::Continue(())
            });
        }
        items
    }

    /// The schema of rows with the columns beside them, whose types the query's last columns have.
    pub(super) fn schema(&self, rows: &SchemaRef, query: &[FieldRef]) -> SchemaRef {
        if self.references.is_empty() {
            return Arc::clone(rows);
        }
        let beside = query.len().saturating_sub(self.references.len());
        let beside = query.iter().skip(beside).enumerate().map(|(at, field)| {
            let field = field.as_ref().clone().with_name(column_name(at));
            Arc::new(field.with_nullable(true))
        });
        Arc::new(Schema::new(
            rows.fields()
                .iter()
                .cloned()
                .chain(beside)
                .collect::<Vec<_>>(),
        ))
    }

    /// Rows with the columns beside them, from a batch of the query.
    pub(super) fn rows(&self, rows: &RecordBatch, query: &RecordBatch) -> Result<RecordBatch> {
        if self.references.is_empty() {
            return Ok(rows.clone());
        }
        let schema = self.schema(&rows.schema(), query.schema().fields());
        let skipped = query.num_columns().saturating_sub(self.references.len());
        let beside = query.columns().iter().skip(skipped);
        let columns = rows.columns().iter().chain(beside).cloned().collect();
        Ok(RecordBatch::try_new(schema, columns)?)
    }
}

fn column_name(at: usize) -> String {
    format!("$joined{at}")
}

fn table_name(factor: &TableFactor, names: &mut Vec<String>) {
    let name = match factor {
        TableFactor::Table {
            alias: Some(alias), ..
        }
        | TableFactor::Derived {
            alias: Some(alias), ..
        }
        | TableFactor::UNNEST {
            alias: Some(alias), ..
        }
        | TableFactor::Function {
            alias: Some(alias), ..
        } => Some(names::fold(&alias.name)),
        TableFactor::Table { name, .. } => name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(names::fold),
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => {
            table_name(&table_with_joins.relation, names);
            for join in &table_with_joins.joins {
                table_name(&join.relation, names);
            }
            None
        }
        _ => None,
    };
    names.extend(name);
}
