//! Which table's column a result column is, for RowDescription: drivers look up keys and defaults by it.
//!
//! A column is traced from the plan's output to a scan, through what passes columns on: subqueries, joins, sorts, groups. What is
//! computed has no origin. As in PostgreSQL a view's column comes from the view, not from the tables behind it.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, JoinType};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};
use nyala_catalog::Part;
use nyala_catalog::definitions::{Oid, Relation};

use crate::pg_catalog::{self, PG_CATALOG};
use crate::sql::names::RelationName;
use crate::sql::planner::Planner;
use crate::sql::query;
use crate::sql::shared_ctes::SharedRows;

/// Key of a field's metadata with its origin, as `oid:number`.
const ORIGIN: &str = "nyala.origin";

/// A column of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// OID of the relation.
    pub relation: Oid,
    /// The column's number in it, from 1.
    pub column: i16,
}

impl Origin {
    fn parse(text: &str) -> Option<Self> {
        let (relation, column) = text.split_once(':')?;
        Some(Self {
            relation: relation.parse().ok()?,
            column: column.parse().ok()?,
        })
    }

    /// The origin of a field of [`described`].
    pub fn of_field(field: &Field) -> Option<Self> {
        Self::parse(field.metadata().get(ORIGIN)?)
    }

    /// Marks an expression as a column of a view.
    pub fn of_view(view: Oid, index: usize) -> FieldMetadata {
        let text = format!("{view}:{}", index + 1);
        HashMap::from([(ORIGIN.to_string(), text)]).into()
    }
}

/// The columns that clients are told of, with their origins.
pub fn described(planner: &Planner, plan: &LogicalPlan) -> SchemaRef {
    let schema = query::output_schema(plan);
    let fields = schema.fields().iter().enumerate().map(|(index, field)| {
        let mut field = field.as_ref().clone();
        let metadata = field.metadata_mut();
        // What comes up through the plan's own fields may have been computed with.
        metadata.remove(ORIGIN);
        if let Some(Origin { relation, column }) = traced(planner, plan, index) {
            metadata.insert(ORIGIN.to_string(), format!("{relation}:{column}"));
        }
        field
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The origin of a plan's output column.
fn traced(planner: &Planner, plan: &LogicalPlan, index: usize) -> Option<Origin> {
    match plan {
        LogicalPlan::Projection(projection) => {
            expression(planner, projection.expr.get(index)?, &projection.input)
        }
        LogicalPlan::Aggregate(aggregate) => {
            expression(planner, aggregate.group_expr.get(index)?, &aggregate.input)
        }
        LogicalPlan::Distinct(Distinct::On(on)) => {
            expression(planner, on.select_expr.get(index)?, &on.input)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => traced(planner, input, index),
        LogicalPlan::Filter(filter) => traced(planner, &filter.input, index),
        LogicalPlan::Sort(sort) => traced(planner, &sort.input, index),
        LogicalPlan::Limit(limit) => traced(planner, &limit.input, index),
        LogicalPlan::SubqueryAlias(alias) => traced(planner, &alias.input, index),
        LogicalPlan::Extension(node) => traced(planner, SharedRows::input_of(node)?, index),
        LogicalPlan::Window(window) if index < window.input.schema().fields().len() => {
            traced(planner, &window.input, index)
        }
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => None,
                _ if index < left => traced(planner, &join.left, index),
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    traced(planner, &join.right, index - left)
                }
                _ => None,
            }
        }
        LogicalPlan::TableScan(scan) => {
            let index = match &scan.projection {
                Some(projection) => *projection.get(index)?,
                None => index,
            };
            let name = RelationName {
                schema: scan.table_name.schema().map(str::to_string),
                name: scan.table_name.table().to_string(),
            };
            let relation = relation(planner, &name, index)?;
            let column = i16::try_from(index + 1).ok()?;
            Some(Origin { relation, column })
        }
        _ => None,
    }
}

fn expression(planner: &Planner, expr: &Expr, input: &LogicalPlan) -> Option<Origin> {
    match expr {
        Expr::Alias(alias) => {
            let view = alias.metadata.as_ref();
            match view.and_then(|metadata| metadata.inner().get(ORIGIN)) {
                Some(origin) => Origin::parse(origin),
                None => expression(planner, &alias.expr, input),
            }
        }
        Expr::Column(column) => column_of(planner, column, input),
        _ => None,
    }
}

fn column_of(planner: &Planner, column: &Column, input: &LogicalPlan) -> Option<Origin> {
    traced(
        planner,
        input,
        input.schema().maybe_index_of_column(column)?,
    )
}

/// OID of a scanned relation that has a column of that number; a part of a table is none that `pg_class` knows.
fn relation(planner: &Planner, name: &RelationName, index: usize) -> Option<Oid> {
    let schema = name.schema.as_deref().unwrap_or(PG_CATALOG);
    if let Some(oid) = pg_catalog::relation_oid(schema, &name.name) {
        return Some(oid);
    }
    match planner.find_relation(name).ok()?? {
        (Relation::Table(table), Part::All) if index < table.def.columns.len() => {
            Some(table.def.oid)
        }
        (Relation::External(def), _) => Some(def.oid),
        (Relation::Sequence(def), _) => Some(def.oid),
        _ => None,
    }
}
