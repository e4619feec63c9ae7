//! ALTER TABLE for which the rows of a table have to be written anew: another primary key, or none, and types that values are
//! converted to. And UNIQUE constraints, which are indexes made with the rows that are there.
//!
//! The rows go into a new storage, as COPY would load them, while others go on reading the old one.

use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
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
use crate::sql::dml::{self, internal_table, quoted};
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
        if column.identity.is_some() && SequenceRule::bounds(&ty).is_none() {
            return Err(PgError::new(
                sqlstate::INVALID_PARAMETER_VALUE,
                "identity column type must be smallint, integer, or bigint",
            ));
        }
        // As in PostgreSQL text is read as something else only where the statement says so.
        if using.is_none() && is_text(&column.ty) && !is_text(&ty) {
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
    let mut insert = transaction.begin_insert(&table).await?;
    while let Some(batch) = stored.try_next().await? {
        let columns = batch
            .columns()
            .iter()
            .zip(batch.schema().fields())
            .zip(&table.def.columns)
            .map(|((values, field), column)| {
                casts::assign(values, field, &column.ty, &planner.input, &planner.format)
            })
            .collect::<Result<Vec<_>>>()?;
        // Nullability is the constraint's business, whose error names the row.
        let fields = table.schema.fields().iter();
        let fields = fields.map(|field| field.as_ref().clone().with_nullable(true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let rows = RecordBatch::try_new(Arc::new(schema), columns)?;
        let added = transaction.add_rows(&mut insert, rows).await;
        added.map_err(not_unique)?;
    }
    let finished = transaction.finish_insert(insert).await;
    finished.map_err(not_unique)?;
    Ok(table)
}

fn is_text(ty: &SqlType) -> bool {
    matches!(ty, SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_))
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
