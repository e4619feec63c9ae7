//! FOREIGN KEY constraints of tables that are made or altered: what they reference, their names, and the rows that exist.

use std::sync::Arc;

use futures::TryStreamExt;
use nyala_catalog::definitions::{Oid, Relation, Table};
use nyala_catalog::foreign_key::{ForeignKeyDef, ReferentialAction, can_reference};
use nyala_catalog::types::SqlType;
use nyala_catalog::{CatalogError, ErrorKind, OpenReads, Transaction};
use sqlparser::ast::{
    ConstraintCharacteristics, ConstraintReferenceMatchKind, DeferrableInitial,
    ForeignKeyConstraint, Ident, ObjectName, ReferentialAction as ActionSyntax, Statement,
    Truncate,
};

use super::alter_checks::constraint_names;
use super::index::free_name;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse;
use crate::sql::planner::Planner;
use crate::sql::{names, query};

/// A constraint as it was declared.
pub(super) struct Declared {
    name: Option<String>,
    columns: Vec<String>,
    table: ObjectName,
    referenced: Vec<String>,
    on_delete: ReferentialAction,
    on_update: ReferentialAction,
    match_full: bool,
    deferrable: bool,
    initially_deferred: bool,
}

impl Declared {
    /// A table constraint, or with `column` one that stands with a column and may have got its name there.
    pub(super) fn new(
        constraint: &ForeignKeyConstraint,
        name: Option<&Ident>,
        column: Option<&str>,
    ) -> Result<Self> {
        if constraint.index_name.is_some() {
            return Err(PgError::syntax(
                "FOREIGN KEY takes its columns in parentheses",
            ));
        }
        let match_full = match constraint.match_kind {
            None | Some(ConstraintReferenceMatchKind::Simple) => false,
            Some(ConstraintReferenceMatchKind::Full) => true,
            Some(ConstraintReferenceMatchKind::Partial) => {
                return Err(PgError::unsupported("MATCH PARTIAL not yet implemented"));
            }
        };
        let (deferrable, initially_deferred) = deferral(constraint.characteristics.as_ref())?;
        Ok(Self {
            name: name.or(constraint.name.as_ref()).map(names::fold),
            columns: match column {
                Some(column) => vec![column.to_string()],
                None => constraint.columns.iter().map(names::fold).collect(),
            },
            table: constraint.foreign_table.clone(),
            referenced: constraint
                .referred_columns
                .iter()
                .map(names::fold)
                .collect(),
            on_delete: action(constraint.on_delete)?,
            on_update: action(constraint.on_update)?,
            match_full,
            deferrable,
            initially_deferred,
        })
    }
}

fn action(given: Option<ActionSyntax>) -> Result<ReferentialAction> {
    match given {
        None | Some(ActionSyntax::NoAction) => Ok(ReferentialAction::NoAction),
        Some(ActionSyntax::Restrict) => Ok(ReferentialAction::Restrict),
        Some(ActionSyntax::Cascade) => Ok(ReferentialAction::Cascade),
        Some(ActionSyntax::SetNull) => Ok(ReferentialAction::SetNull),
        Some(ActionSyntax::SetDefault) => Err(PgError::unsupported(
            "SET DEFAULT of foreign keys is not supported",
        )
        .with_hint("Use SET NULL, CASCADE, or RESTRICT.")),
    }
}

/// Whether a constraint is DEFERRABLE, and INITIALLY DEFERRED.
fn deferral(said: Option<&ConstraintCharacteristics>) -> Result<(bool, bool)> {
    let Some(said) = said else {
        return Ok((false, false));
    };
    if said.enforced == Some(false) {
        return Err(PgError::unsupported("NOT ENFORCED is not supported"));
    }
    let deferred = said.initially == Some(DeferrableInitial::Deferred);
    match said.deferrable {
        Some(false) if deferred => Err(PgError::syntax(
            "constraint declared INITIALLY DEFERRED must be DEFERRABLE",
        )),
        deferrable => Ok((deferrable == Some(true) || deferred, deferred)),
    }
}

/// Adds declared constraints to a table; `examined` says whether rows that exist may violate them.
pub(super) async fn add(
    planner: &mut Planner,
    transaction: &mut Transaction,
    table: Oid,
    declared: Vec<Declared>,
    examined: bool,
) -> Result<()> {
    for one in declared {
        let Some(Relation::Table(table)) = transaction.definitions().relation_by_oid(table) else {
            return Err(PgError::internal(
                "the table to be constrained is not there",
            ));
        };
        let table = Arc::clone(table);
        let (referenced, new) = resolve(planner, transaction, &table, one)?;
        let name = new.name.clone();
        let changed = transaction.add_foreign_key(&table, new)?;
        planner.view = transaction.view().clone();
        if examined {
            examine(planner, transaction, &changed, &referenced, &name).await?;
        }
    }
    Ok(())
}

/// Finds what a constraint references.
fn resolve(
    planner: &Planner,
    transaction: &Transaction,
    table: &Table,
    declared: Declared,
) -> Result<(Arc<Table>, ForeignKeyDef)> {
    let definitions = transaction.definitions();
    let name = names::relation_name(&declared.table, &planner.database)?;
    let referenced = match names::find(definitions, &planner.search_path, &name)? {
        Some(Relation::Table(referenced)) if referenced.def.materialized.is_none() => {
            Arc::clone(referenced)
        }
        Some(_) => {
            return Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("referenced relation \"{}\" is not a table", name.name),
            ));
        }
        None => return Err(names::undefined_relation(&name)),
    };
    let is_temporary = |table: &Table| Some(table.def.schema) == definitions.temporary_schema();
    match (is_temporary(table), is_temporary(&referenced)) {
        (false, true) => {
            return Err(invalid(
                "constraints on permanent tables may reference only permanent tables",
            ));
        }
        (true, false) => {
            return Err(invalid(
                "constraints on temporary tables may reference only temporary tables",
            ));
        }
        _ => {}
    }
    if table.def.on_commit != referenced.def.on_commit {
        let (by, of) = (&table.def.name, &referenced.def.name);
        return Err(PgError::unsupported("unsupported ON COMMIT and foreign key combination")
            .with_detail(format!(
                "Table \"{by}\" references \"{of}\", but they do not have the same ON COMMIT setting."
            )));
    }
    let columns = positions(table, &declared.columns)?;
    let (index, key) = referenced_key(&referenced, &declared.referenced)?;
    let asked = match declared.referenced.as_slice() {
        [] => key.clone(),
        names => positions(&referenced, names)?,
    };
    if asked.len() != columns.len() {
        return Err(PgError::new(
            "42830",
            "number of referencing and referenced columns for foreign key disagree",
        ));
    }
    let taken = |name: &str| constraint_names(&table.def).any(|known| known == name);
    let constraint = match declared.name {
        Some(name) if taken(&name) => {
            let of = &table.def.name;
            return Err(PgError::new(
                sqlstate::DUPLICATE_OBJECT,
                format!("constraint \"{name}\" for relation \"{of}\" already exists"),
            ));
        }
        Some(name) => name,
        None => free_name(taken, &table.def.name, &declared.columns, "fkey"),
    };
    for (from, to) in columns.iter().zip(&asked) {
        let from = table.def.columns.get(*from);
        let to = referenced.def.columns.get(*to);
        if let (Some(from), Some(to)) = (from, to)
            && !can_reference(&from.ty, &to.ty)
        {
            let detail = format!(
                "Key columns \"{}\" and \"{}\" are of {} types: {} and {}.",
                from.name,
                to.name,
                if comparable(&from.ty, &to.ty) {
                    "different"
                } else {
                    "incompatible"
                },
                from.ty,
                to.ty
            );
            let message = format!("foreign key constraint \"{constraint}\" cannot be implemented");
            let error = match comparable(&from.ty, &to.ty) {
                true => PgError::unsupported(message).with_hint("Give both columns one type."),
                false => PgError::new(sqlstate::DATATYPE_MISMATCH, message),
            };
            return Err(error.with_detail(detail));
        }
    }
    let places = asked.iter().filter_map(|position| {
        let mut key = key.iter();
        key.position(|of_key| of_key == position)
    });
    let new = ForeignKeyDef {
        oid: transaction.new_oid(),
        name: constraint,
        columns,
        referenced: referenced.def.oid,
        index,
        places: places.collect(),
        on_delete: declared.on_delete,
        on_update: declared.on_update,
        match_full: declared.match_full,
        deferrable: declared.deferrable,
        initially_deferred: declared.initially_deferred,
    };
    Ok((referenced, new))
}

fn invalid(message: &str) -> PgError {
    PgError::new(sqlstate::INVALID_TABLE_DEFINITION, message)
}

/// Whether PostgreSQL has an operator that compares the types.
fn comparable(a: &SqlType, b: &SqlType) -> bool {
    let family = |ty: &SqlType| match ty {
        SqlType::Int2 | SqlType::Int4 | SqlType::Int8 | SqlType::Numeric(_) => 1,
        SqlType::Float4 | SqlType::Float8 => 1,
        SqlType::Text | SqlType::Varchar(_) | SqlType::Bpchar(_) => 2,
        SqlType::Date | SqlType::Timestamp | SqlType::Timestamptz => 3,
        _ => 0,
    };
    family(a) != 0 && family(a) == family(b)
}

fn positions(table: &Table, names: &[String]) -> Result<Vec<usize>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let position = table
            .def
            .columns
            .iter()
            .position(|column| column.name == *name);
        let position = position.ok_or_else(|| {
            PgError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" referenced in foreign key constraint does not exist"),
            )
        })?;
        found.push(position);
    }
    Ok(found)
}

/// OID of the index, and positions of its columns, of the key with the given columns, in any order; the primary key without.
fn referenced_key(table: &Table, names: &[String]) -> Result<(Oid, Vec<usize>)> {
    let name = &table.def.name;
    let primary = table.def.primary_key.as_ref();
    if names.is_empty() {
        let primary = primary.ok_or_else(|| {
            PgError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("there is no primary key for referenced table \"{name}\""),
            )
        })?;
        return Ok((primary.index_oid, primary.columns.clone()));
    }
    let mut wanted = positions(table, names)?;
    wanted.sort_unstable();
    if wanted.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(PgError::new(
            "42830",
            "foreign key referenced-columns list must not contain duplicates",
        ));
    }
    let fits = |columns: &[usize]| {
        let mut columns = columns.to_vec();
        columns.sort_unstable();
        columns == wanted
    };
    if let Some(primary) = primary.filter(|primary| fits(&primary.columns)) {
        return Ok((primary.index_oid, primary.columns.clone()));
    }
    let unique = table.indexes.iter();
    let unique = unique.filter(|index| index.def.unique && index.is_ready());
    for index in unique {
        let columns: Vec<usize> = index.positions().collect();
        if fits(&columns) {
            return Ok((index.def.oid, columns));
        }
    }
    Err(PgError::new(
        "42830",
        format!(
            "there is no unique constraint matching given keys for referenced table \"{name}\""
        ),
    ))
}

/// 23503 if a row that exists references none.
async fn examine(
    planner: &mut Planner,
    transaction: &Transaction,
    table: &Table,
    referenced: &Table,
    name: &str,
) -> Result<()> {
    let mut keys = table.def.foreign_keys.iter();
    let Some(key) = keys.find(|key| key.name == name) else {
        return Err(PgError::internal("the new constraint is not there"));
    };
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let qualified = |table: &Table| {
        let schema = transaction.definitions().schema_by_oid(table.def.schema);
        let schema = schema.map_or("", |schema| schema.name.as_str());
        format!("{}.{}", quote(schema), quote(&table.def.name))
    };
    let of_key: Vec<usize> = match &referenced.def.primary_key {
        Some(primary) if primary.index_oid == key.index => primary.columns.clone(),
        _ => {
            let mut indexes = referenced.indexes.iter();
            let index = indexes.find(|index| index.def.oid == key.index);
            index.map_or_else(Vec::new, |index| index.positions().collect())
        }
    };
    let mut columns = Vec::new();
    let mut same = Vec::new();
    let pairs = key.columns.iter().zip(&key.places);
    for (position, place) in pairs {
        let from = table.def.columns.get(*position);
        let to = of_key
            .get(*place)
            .and_then(|at| referenced.def.columns.get(*at));
        if let (Some(from), Some(to)) = (from, to) {
            columns.push(from.name.as_str());
            same.push(format!("r.{} = t.{}", quote(&to.name), quote(&from.name)));
        }
    }
    let texts: Vec<_> = columns
        .iter()
        .map(|name| format!("t.{}::text", quote(name)))
        .collect();
    let is_null = |how: &str, with: &str| {
        let parts = columns
            .iter()
            .map(|name| format!("t.{} {how}", quote(name)));
        format!("({})", parts.collect::<Vec<_>>().join(with))
    };
    let (some_null, none_null) = (is_null("IS NULL", " OR "), is_null("IS NOT NULL", " AND "));
    let mixed = match key.match_full {
        true => format!("({some_null} AND {})", is_null("IS NOT NULL", " OR ")),
        false => "false".to_string(),
    };
    let sql = format!(
        "SELECT {mixed}, {} FROM {} AS t WHERE {mixed} OR ({none_null} AND NOT EXISTS (SELECT 1 FROM {} AS r WHERE {})) LIMIT 1",
        texts.join(", "),
        qualified(table),
        qualified(referenced),
        same.join(" AND ")
    );
    let trees = parse::parse(&sql)?;
    let [parse::Tree::Sql(statement)] = trees.as_slice() else {
        return Err(PgError::internal("a query is one statement"));
    };
    let Statement::Query(rows) = statement.as_ref() else {
        return Err(PgError::internal("a query is a query"));
    };
    planner.open_relations(rows).await?;
    // The rows as they are, whatever the session's queries read.
    let open_reads = std::mem::replace(&mut planner.open_reads, OpenReads::Fresh);
    let plan = planner.plan(rows, Vec::new());
    planner.open_reads = open_reads;
    let mut found = query::run_plan(planner, &plan?).await?;
    while let Some(batch) = found.try_next().await? {
        if batch.num_rows() == 0 {
            continue;
        }
        let text = |at: usize| -> Result<String> {
            let column = batch.columns().get(at);
            let column = column.ok_or_else(|| PgError::internal("a column is missing"))?;
            Ok(arrow::util::display::array_value_to_string(column, 0)?)
        };
        let detail = match text(0)?.as_str() {
            "true" => {
                "MATCH FULL does not allow mixing of null and nonnull key values.".to_string()
            }
            _ => {
                let values = (1..=columns.len()).map(text).collect::<Result<Vec<_>>>()?;
                format!(
                    "Key ({})=({}) is not present in table \"{}\".",
                    columns.join(", "),
                    values.join(", "),
                    referenced.def.name
                )
            }
        };
        let of = &table.def.name;
        let error = CatalogError::new(
            ErrorKind::ForeignKeyViolation,
            format!(
                "insert or update on table \"{of}\" violates foreign key constraint \"{name}\""
            ),
        );
        let error = error
            .with_detail(detail)
            .with_table(of)
            .with_constraint(name);
        let schema = transaction.definitions().schema_by_oid(table.def.schema);
        let schema = schema.map_or("", |schema| schema.name.as_str());
        return Err(error.with_schema(schema).into());
    }
    Ok(())
}

/// The tables that TRUNCATE empties beside those it names, with CASCADE; without it there may be none.
pub(super) fn truncated_with(
    transaction: &Transaction,
    truncate: &Truncate,
    named: &[Arc<Table>],
) -> Result<Vec<Arc<Table>>> {
    let cascades = truncate.cascade == Some(sqlparser::ast::CascadeOption::Cascade);
    let mut all = named.to_vec();
    let mut at = 0;
    while let Some(table) = all.get(at).cloned() {
        at += 1;
        for (by, _) in transaction.definitions().referencing(table.def.oid) {
            if all.iter().any(|known| known.def.oid == by.def.oid) {
                continue;
            }
            if !cascades {
                let (by, of) = (&by.def.name, &table.def.name);
                return Err(PgError::unsupported(
                    "cannot truncate a table referenced in a foreign key constraint",
                )
                .with_detail(format!("Table \"{by}\" references \"{of}\"."))
                .with_hint(format!(
                    "Truncate table \"{by}\" at the same time, or use TRUNCATE ... CASCADE."
                )));
            }
            all.push(Arc::clone(by));
        }
    }
    Ok(all.split_off(named.len()))
}
