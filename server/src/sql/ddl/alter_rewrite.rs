//! ALTER TABLE for which the rows of a table have to be written anew: another primary key, or none, and types that values are
//! converted to. And UNIQUE constraints, which are indexes made with the rows that are there.
//!
//! The rows go into a new storage, as COPY would load them, while others go on reading the old one.

use std::mem;
use std::sync::Arc;

use arrow::array::new_empty_array;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use futures::TryStreamExt;
use nyala_catalog::definitions::{ColumnDef, Relation, Table};
use nyala_catalog::sequence::SequenceRule;
use nyala_catalog::types::SqlType;
use nyala_catalog::{CatalogError, ErrorKind, Rewritten, Transaction};
use sqlparser::ast::Expr;

use super::alter::{check_no_nulls, undefined_column};
use super::columns::check_default;
use super::index::{self, Unique};
use super::key_positions;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml::{self, Target, internal_table, quoted};
use crate::sql::planner::Planner;
use crate::sql::{casts, checks, parse, query};

/// Internal name of the table whose rows are written anew.
const REWRITTEN: &str = "rewritten";

/// A column's new type.
struct NewType {
    column: String,
    ty: SqlType,
    /// What computes the new value from the old row; the old value where there is none.
    using: Option<Expr>,
}

/// What one ALTER TABLE changes about the rows.
#[derive(Default)]
pub(super) struct Rewrite {
    types: Vec<NewType>,
    drops_key: bool,
    /// Name and columns of the new primary key.
    key: Option<(Option<String>, Vec<String>)>,
    uniques: Vec<Unique>,
}

impl Rewrite {
    pub(super) fn drops_key(&self) -> bool {
        self.drops_key
    }

    /// The primary key goes.
    pub(super) fn drop_key(&mut self) {
        self.drops_key = true;
    }

    /// Gives `table`, as it was before, a primary key.
    pub(super) fn add_key(
        &mut self,
        table: &Table,
        name: Option<String>,
        columns: Vec<String>,
    ) -> Result<()> {
        let has_one = table.def.primary_key.is_some() && !self.drops_key;
        if has_one || self.key.is_some() {
            let name = &table.def.name;
            return Err(PgError::new(
                sqlstate::INVALID_TABLE_DEFINITION,
                format!("multiple primary keys for table \"{name}\" are not allowed"),
            ));
        }
        self.key = Some((name, columns));
        Ok(())
    }

    pub(super) fn add_unique(&mut self, unique: Unique) {
        self.uniques.push(unique);
    }

    /// Gives a column another type.
    pub(super) fn set_type(
        &mut self,
        planner: &Planner,
        column: &ColumnDef,
        ty: SqlType,
        using: Option<Expr>,
    ) -> Result<()> {
        let name = &column.name;
        if self.types.iter().any(|new| new.column == *name) {
            return Err(PgError::unsupported(format!(
                "cannot alter type of column \"{name}\" twice"
            )));
        }
        if using.as_ref().is_some_and(checks::holds_subquery) {
            return Err(PgError::unsupported(
                "cannot use subquery in transform expression",
            ));
        }
        if column.identity.is_some() && SequenceRule::bounds(&ty).is_none() {
            return Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "identity column type must be smallint, integer, or bigint",
            ));
        }
        // As in PostgreSQL what is no assignment is converted only where the statement says so.
        if using.is_none() && !is_assignment(planner, column, &ty) {
            return Err(PgError::new(
                sqlstate::DATATYPE_MISMATCH,
                format!("column \"{name}\" cannot be cast automatically to type {ty}"),
            )
            .with_hint(format!("You might need to specify \"USING {name}::{ty}\".")));
        }
        if let Some(default) = &column.default {
            let retyped = ColumnDef {
                ty: ty.clone(),
                ..column.clone()
            };
            let default = parse::parse_expression(default)?;
            check_default(planner, &default, &retyped).map_err(|_| {
                PgError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!(
                        "default for column \"{name}\" cannot be cast automatically to type {ty}"
                    ),
                )
            })?;
        }
        self.types.push(NewType {
            column: name.clone(),
            ty,
            using,
        });
        Ok(())
    }

    /// Whether there is nothing to change.
    pub(super) fn is_empty(&self) -> bool {
        !self.rewrites() && self.uniques.is_empty()
    }

    fn rewrites(&self) -> bool {
        self.drops_key || self.key.is_some() || !self.types.is_empty()
    }

    /// Changes them for the table and its rows.
    pub(super) async fn apply(
        mut self,
        planner: &mut Planner,
        transaction: &mut Transaction,
        table: &Arc<Table>,
    ) -> Result<()> {
        let mut table = Arc::clone(table);
        if self.rewrites() {
            let types = mem::take(&mut self.types);
            let key = (self.drops_key || self.key.is_some()).then_some(self.key);
            table = rewrite(planner, transaction, &table, key, types).await?;
        }
        let def = &table.def;
        let (oid, schema, name) = (def.oid, def.schema, def.name.clone());
        let made =
            index::unique_indexes(transaction, schema, &name, &def.columns, None, self.uniques)?;
        for index in made {
            transaction.create_index(&table, index).await?;
            if let Some(Relation::Table(indexed)) = transaction.definitions().relation_by_oid(oid) {
                table = Arc::clone(indexed);
            }
        }
        planner.view = transaction.view().clone();
        Ok(())
    }
}

/// Stores all rows anew: by another key, or by none, if `key` is there, and with values of other types.
async fn rewrite(
    planner: &mut Planner,
    transaction: &mut Transaction,
    old: &Arc<Table>,
    key: Option<Option<(Option<String>, Vec<String>)>>,
    types: Vec<NewType>,
) -> Result<Arc<Table>> {
    let def = &old.def;
    let changes_key = key.is_some();
    let key = match key.flatten() {
        None => None,
        Some((name, columns)) => {
            let own = def.primary_key.as_ref().map(|key| key.name.as_str());
            let taken = |name: &str| {
                own != Some(name) && transaction.definitions().has_name(def.schema, name)
            };
            let default = || index::free_name(taken, &def.name, &[], "pkey");
            let name = name.unwrap_or_else(default);
            for column in &columns {
                if !def.columns.iter().any(|known| known.name == *column) {
                    return Err(undefined_column(column, &def.name));
                }
            }
            let positions = key_positions(&def.columns, &columns)?;
            let nullable = positions.iter().filter_map(|at| def.columns.get(*at));
            for column in nullable.filter(|column| !column.not_null) {
                check_no_nulls(planner, transaction, old, &column.name).await?;
            }
            Some((name, positions))
        }
    };
    planner.add_addressed(REWRITTEN, old)?;
    let columns = def.columns.iter().map(|column| {
        let mut types = types.iter();
        let retyped = types.find(|new| new.column == column.name);
        let using = retyped.and_then(|new| new.using.clone());
        let value = using.unwrap_or_else(|| Expr::Identifier(quoted(&column.name)));
        dml::aliased(value, &column.name)
    });
    let from = vec![internal_table(REWRITTEN, &quoted(&def.name))?];
    let all = dml::select(columns.collect(), from, None)?;
    let plan = planner.plan(&all, Vec::new())?;
    check_one_row_each(&plan)?;
    // They are read as the transaction sees them now, whatever becomes of the old storage.
    let mut stored = query::run_plan(planner, &plan).await?;
    let positions = types.into_iter().filter_map(|new| {
        let mut columns = def.columns.iter();
        let at = columns.position(|column| column.name == new.column)?;
        Some((at, new.ty))
    });
    let change = Rewritten {
        key: changes_key.then_some(key),
        types: positions.collect(),
    };
    let table = transaction.rewrite_table(old, change)?;
    checks::prepare(planner, &table)?;
    let target = Target::of(&table);
    let mut insert = transaction.begin_insert(&table).await?;
    while let Some(batch) = stored.try_next().await? {
        let rows = target.rows(&planner.input, &planner.format, &batch, 0)?;
        let added = transaction.add_rows(&mut insert, rows).await;
        added.map_err(not_unique)?;
    }
    let finished = transaction.finish_insert(insert).await;
    finished.map_err(not_unique)?;
    Ok(table)
}

/// USING makes one value of each row: a plan with anything but a projection of the table would lose rows, or make more.
fn check_one_row_each(plan: &LogicalPlan) -> Result<()> {
    let mut refused = None;
    plan.apply_with_subqueries(|node| {
        let (code, what) = match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_) => return Ok(TreeNodeRecursion::Continue),
            LogicalPlan::Aggregate(_) => ("42803", "aggregate functions"),
            LogicalPlan::Window(_) => ("42P20", "window functions"),
            _ => (sqlstate::FEATURE_NOT_SUPPORTED, "set-returning functions"),
        };
        let message = format!("{what} are not allowed in transform expressions");
        refused = Some(PgError::new(code, message));
        Ok(TreeNodeRecursion::Stop)
    })?;
    refused.map_or(Ok(()), Err)
}

/// Whether values of a column are those of another type where a statement only puts them there.
fn is_assignment(planner: &Planner, column: &ColumnDef, ty: &SqlType) -> bool {
    let stored = column.ty.arrow_type();
    if stored.is_string() {
        // Text could be read as anything, and is not unless that is asked for.
        let is_json = |ty: &SqlType| matches!(ty, SqlType::Json | SqlType::Jsonb);
        let is_text =
            |ty: &SqlType| matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_));
        return is_text(ty) || is_json(&column.ty) && is_json(ty);
    }
    let field = column.ty.field(&column.name, true);
    let none = new_empty_array(&stored);
    casts::assign(&none, &field, ty, &planner.input, &planner.format).is_ok()
}

/// What PostgreSQL says where two rows have the same key.
fn not_unique(error: CatalogError) -> CatalogError {
    let Some(name) = error.constraint.clone() else {
        return error;
    };
    if error.kind != ErrorKind::UniqueViolation {
        return error;
    }
    let detail = error.detail.clone().unwrap_or_default();
    CatalogError {
        message: format!("could not create unique index \"{name}\""),
        detail: Some(detail.replace("already exists.", "is duplicated.")),
        ..error
    }
}
