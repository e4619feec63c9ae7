//! CREATE INDEX, DROP INDEX, and the indexes of UNIQUE constraints.
//!
//! What an index is to hold is worked out here; how it is kept is `nyala_catalog::index`'s business. Default names are
//! made as PostgreSQL makes them, down to how long ones are cut.

use std::sync::Arc;

use nyala_catalog::definitions::{
    ColumnDef, Definitions, IDENTIFIER_BYTES_MAX, Oid, Relation, Table,
};
use nyala_catalog::index::{INDEX_COLUMNS_MAX, IndexColumn};
use nyala_catalog::types::SqlType;
use nyala_catalog::{NewIndex, Part, Transaction};
use sqlparser::ast::{
    CreateIndex, Expr, IndexColumn as ColumnSyntax, IndexType, NullsDistinctOption, ObjectName,
    UniqueConstraint,
};

use super::Defined;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::names::{self, RelationName};
use crate::sql::planner::Planner;

/// Access methods of PostgreSQL that there are none of here.
const OTHER_METHODS: [&str; 5] = ["hash", "gist", "gin", "spgist", "brin"];

/// The index that a statement asks for, with its table; or what to answer if IF NOT EXISTS leaves nothing to do.
pub fn new_index(
    planner: &Planner,
    transaction: &Transaction,
    create: &CreateIndex,
) -> Result<Result<(Arc<Table>, NewIndex), Defined>> {
    refuse_options(create)?;
    let table = indexed_table(planner, transaction, &create.table_name)?;
    let definitions = transaction.definitions();
    let schema = table.def.schema;
    let given = create.name.as_ref().map(names::single_name).transpose()?;
    if let Some(name) = &given
        && definitions.has_name(schema, name)
    {
        if !create.if_not_exists {
            return Err(PgError::new(
                sqlstate::DUPLICATE_TABLE,
                format!("relation \"{name}\" already exists"),
            ));
        }
        let notice = format!("relation \"{name}\" already exists, skipping");
        return Ok(Err(Defined::tag("CREATE INDEX").with_notice(notice)));
    }
    check_count(create.columns.len())?;
    let columns = create
        .columns
        .iter()
        .map(|column| index_column(column, &table.def.columns))
        .collect::<Result<Vec<_>>>()?;
    let taken = |name: &str| definitions.has_name(schema, name);
    let name = given.unwrap_or_else(|| {
        let names = column_names(&table.def.columns, &columns);
        free_name(taken, &table.def.name, &names, "idx")
    });
    let new = NewIndex {
        name,
        columns,
        unique: create.unique,
        nulls_distinct: create.nulls_distinct != Some(false),
        is_constraint: false,
    };
    Ok(Ok((table, new)))
}

/// CREATE INDEX inside a transaction.
pub(super) async fn create_index(
    planner: &Planner,
    transaction: &mut Transaction,
    create: &CreateIndex,
) -> Result<Defined> {
    if create.concurrently {
        return Err(PgError::new(
            sqlstate::ACTIVE_SQL_TRANSACTION,
            "CREATE INDEX CONCURRENTLY cannot run inside a transaction block",
        ));
    }
    match new_index(planner, transaction, create)? {
        Err(skipped) => Ok(skipped),
        Ok((table, new)) => {
            transaction.create_index(&table, new).await?;
            Ok(Defined::tag("CREATE INDEX"))
        }
    }
}

fn refuse_options(create: &CreateIndex) -> Result<()> {
    let refused = [
        (!create.include.is_empty(), "INCLUDE is"),
        (!create.with.is_empty(), "storage parameters of indexes are"),
        (create.predicate.is_some(), "partial indexes are"),
        (
            !create.index_options.is_empty() || !create.alter_options.is_empty(),
            "this index option is",
        ),
    ];
    if let Some((_, what)) = refused.iter().find(|(given, _)| *given) {
        return Err(PgError::unsupported(format!("{what} not supported")));
    }
    let method = match &create.using {
        None | Some(IndexType::BTree) => return Ok(()),
        Some(IndexType::Custom(name)) => names::fold(name),
        Some(other) => other.to_string().to_lowercase(),
    };
    if OTHER_METHODS.contains(&method.as_str()) {
        return Err(
            PgError::unsupported(format!("access method \"{method}\" is not supported"))
                .with_hint("Indexes are btrees."),
        );
    }
    Err(PgError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!("access method \"{method}\" does not exist"),
    ))
}

fn indexed_table(
    planner: &Planner,
    transaction: &Transaction,
    name: &ObjectName,
) -> Result<Arc<Table>> {
    let name = names::relation_name(name, &planner.database)?;
    let kind = match planner.find_relation(&name)? {
        Some((Relation::Table(table), Part::All)) => return Ok(Arc::clone(table)),
        Some((Relation::External(_), _)) => "foreign tables",
        Some(_) => "views",
        None if find_index(transaction.definitions(), &planner.search_path, &name)?.is_some() => {
            "indexes"
        }
        None => {
            let schema = name.schema.as_deref();
            let schema = schema.unwrap_or(crate::pg_catalog::PG_CATALOG);
            if crate::pg_catalog::relation_schema(schema, &name.name).is_some() {
                return Err(PgError::new(
                    "42501",
                    format!("permission denied: \"{}\" is a system catalog", name.name),
                ));
            }
            return Err(names::undefined_relation(&name));
        }
    };
    Err(PgError::new(
        sqlstate::WRONG_OBJECT_TYPE,
        format!("cannot create index on relation \"{}\"", name.name),
    )
    .with_detail(format!("This operation is not supported for {kind}.")))
}

fn index_column(syntax: &ColumnSyntax, columns: &[ColumnDef]) -> Result<IndexColumn> {
    if syntax.operator_class.is_some() {
        return Err(PgError::unsupported("operator classes are not supported"));
    }
    let mut expr = &syntax.column.expr;
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    let name = match expr {
        Expr::Identifier(name) => names::fold(name),
        Expr::Collate { .. } => {
            return Err(PgError::unsupported(
                "collations of index columns are not supported",
            ));
        }
        _ => {
            return Err(PgError::unsupported(
                "indexes on expressions are not supported",
            ));
        }
    };
    let position = columns.iter().position(|column| column.name == name);
    let (position, column) = position
        .and_then(|at| Some((at, columns.get(at)?)))
        .ok_or_else(|| {
            PgError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{name}\" does not exist"),
            )
        })?;
    check_type(&column.ty)?;
    let options = syntax.column.options;
    let descending = options.asc == Some(false);
    Ok(IndexColumn {
        position,
        descending,
        nulls_first: options.nulls_first.unwrap_or(descending),
    })
}

/// Values of the type need an order that is equality where the type's `=` is.
fn check_type(ty: &SqlType) -> Result<()> {
    match ty {
        SqlType::Json => Err(PgError::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("data type {ty} has no default operator class for access method \"btree\""),
        )
        .with_hint(
            "You must specify an operator class for the index or define a default operator class for the data type.",
        )),
        // A month equals 30 days, and the stored forms differ.
        SqlType::Interval => Err(PgError::unsupported(
            "indexes on columns of type interval are not supported",
        )),
        SqlType::Array(element) => check_type(element),
        _ => Ok(()),
    }
}

fn check_count(columns: usize) -> Result<()> {
    if columns > INDEX_COLUMNS_MAX {
        return Err(PgError::new(
            "54011",
            format!("cannot use more than {INDEX_COLUMNS_MAX} columns in an index"),
        ));
    }
    Ok(())
}

/// Drops indexes by name.
pub(super) fn drop_indexes(
    planner: &Planner,
    transaction: &mut Transaction,
    if_exists: bool,
    names: &[ObjectName],
) -> Result<Defined> {
    let mut defined = Defined::tag("DROP INDEX");
    for name in names {
        let name = names::relation_name(name, &planner.database)?;
        let found = match find_index(transaction.definitions(), &planner.search_path, &name) {
            Err(error) if if_exists && error.code == sqlstate::UNDEFINED_SCHEMA => None,
            other => other?,
        };
        let Some(table) = found else {
            if planner.find_relation(&name)?.is_some() {
                return Err(PgError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("\"{}\" is not an index", name.name),
                ));
            }
            if !if_exists {
                return Err(PgError::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("index \"{name}\" does not exist"),
                ));
            }
            let notice = format!("index \"{name}\" does not exist, skipping");
            defined = defined.with_notice(notice);
            continue;
        };
        let mut indexes = table.def.indexes.iter();
        match indexes.find(|index| index.name == name.name) {
            Some(index) if index.constraint_oid.is_none() => {
                transaction.drop_index(&table, index.oid)?;
            }
            _ => {
                let (index, table) = (&name.name, &table.def.name);
                return Err(PgError::new(
                    sqlstate::DEPENDENT_OBJECTS,
                    format!(
                        "cannot drop index {index} because constraint {index} on table {table} requires it"
                    ),
                )
                .with_hint(format!(
                    "You can drop constraint {index} on table {table} instead."
                )));
            }
        }
    }
    Ok(defined)
}

/// The table that an index of that name belongs to: in the schema given, or the first on the search path that has it.
pub(super) fn find_index(
    definitions: &Definitions,
    search_path: &[String],
    name: &RelationName,
) -> Result<Option<Arc<Table>>> {
    let of_schema = |schema: Oid| definitions.table_of_index(schema, &name.name).cloned();
    match &name.schema {
        Some(schema) if names::system_schema(schema).is_some() => Ok(None),
        Some(schema) => {
            let schema = definitions.schema(schema);
            let schema = schema.ok_or_else(|| {
                names::undefined_schema(name.schema.as_deref().unwrap_or_default())
            })?;
            Ok(of_schema(schema.oid))
        }
        None => Ok(search_path
            .iter()
            .filter_map(|schema| definitions.schema(schema))
            .find_map(|schema| of_schema(schema.oid))),
    }
}

/// A UNIQUE constraint of CREATE TABLE.
pub(super) struct Unique {
    name: Option<String>,
    columns: Vec<String>,
    nulls_distinct: bool,
}

impl Unique {
    /// Reads a constraint; one of a column has no columns of its own, and its name stands in front of it.
    pub(super) fn new(
        syntax: &UniqueConstraint,
        name: Option<String>,
        column: Option<&str>,
    ) -> Result<Self> {
        let refused = syntax.characteristics.is_some()
            || syntax.index_name.is_some()
            || syntax.index_type.is_some()
            || !syntax.index_options.is_empty();
        if refused {
            return Err(PgError::unsupported(
                "options of UNIQUE constraints are not supported",
            ));
        }
        let mut columns: Vec<String> = column.map(str::to_string).into_iter().collect();
        for column in &syntax.columns {
            match &column.column.expr {
                Expr::Identifier(name) => columns.push(names::fold(name)),
                other => {
                    return Err(PgError::syntax(format!(
                        "syntax error at or near \"{other}\""
                    )));
                }
            }
        }
        Ok(Self {
            name: name.or_else(|| syntax.name.as_ref().map(names::fold)),
            columns,
            nulls_distinct: syntax.nulls_distinct != NullsDistinctOption::NotDistinct,
        })
    }
}

/// The name of a primary key that was given none.
pub(super) fn key_name(transaction: &Transaction, schema: Oid, table: &str) -> String {
    let taken = |name: &str| transaction.definitions().has_name(schema, name);
    free_name(taken, table, &[], "pkey")
}

/// The indexes of the UNIQUE constraints of a new table, whose primary key is given by its name and columns.
pub(super) fn unique_indexes(
    transaction: &Transaction,
    schema: Oid,
    table: &str,
    columns: &[ColumnDef],
    mut key: Option<&mut (String, Vec<usize>, bool)>,
    constraints: Vec<Unique>,
) -> Result<Vec<NewIndex>> {
    let mut found: Vec<(Option<String>, NewIndex)> = Vec::new();
    for constraint in constraints {
        let mut indexed = Vec::with_capacity(constraint.columns.len());
        for name in &constraint.columns {
            let position = columns.iter().position(|column| column.name == *name);
            let position = position.ok_or_else(|| {
                PgError::new(
                    sqlstate::UNDEFINED_COLUMN,
                    format!("column \"{name}\" named in key does not exist"),
                )
            })?;
            if let Some(column) = columns.get(position) {
                check_type(&column.ty)?;
            }
            let column = IndexColumn::ascending(position);
            if indexed.contains(&column) {
                return Err(PgError::new(
                    sqlstate::DUPLICATE_COLUMN,
                    format!("column \"{name}\" appears twice in unique constraint"),
                ));
            }
            indexed.push(column);
        }
        check_count(indexed.len())?;
        // As PostgreSQL: what repeats another constraint only gives it its name.
        if let Some((key_name, key_columns, is_named)) = key.as_deref_mut() {
            let same = indexed
                .iter()
                .map(|c| c.position)
                .eq(key_columns.iter().copied());
            let name_fits = constraint.name.is_none() || !*is_named;
            if same && name_fits {
                if let Some(name) = constraint.name {
                    *key_name = name;
                    *is_named = true;
                }
                continue;
            }
        }
        let known = found.iter_mut().find(|(name, index)| {
            index.columns == indexed
                && index.nulls_distinct == constraint.nulls_distinct
                && (name.is_none() || constraint.name.is_none())
        });
        match known {
            Some((name, _)) => *name = name.take().or(constraint.name),
            None => found.push((
                constraint.name,
                NewIndex {
                    name: String::new(),
                    columns: indexed,
                    unique: true,
                    nulls_distinct: constraint.nulls_distinct,
                    is_constraint: true,
                },
            )),
        }
    }
    let mut indexes: Vec<NewIndex> = Vec::with_capacity(found.len());
    let given: Vec<String> = found.iter().filter_map(|(name, _)| name.clone()).collect();
    for (name, index) in found {
        let taken = |name: &str| {
            transaction.definitions().has_name(schema, name)
                || name == table
                || key.as_ref().is_some_and(|key| key.0 == name)
                || given.iter().any(|other| other == name)
                || indexes.iter().any(|other| other.name == name)
        };
        let name = name.unwrap_or_else(|| {
            let names = column_names(columns, &index.columns);
            free_name(taken, table, &names, "key")
        });
        indexes.push(NewIndex { name, ..index });
    }
    Ok(indexes)
}

/// Names of index columns; one that comes again has a number behind it.
pub(super) fn column_names(columns: &[ColumnDef], indexed: &[IndexColumn]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(indexed.len());
    for column in indexed {
        let name = columns.get(column.position).map_or("", |c| c.name.as_str());
        let mut tried = name.to_string();
        let mut number = 1;
        while names.contains(&tried) {
            let suffix = number.to_string();
            tried = format!("{}{suffix}", cut(name, IDENTIFIER_BYTES_MAX - suffix.len()));
            number += 1;
        }
        names.push(tried);
    }
    names
}

/// The first free name of `table_column_column_label`, `…_label1`, …: PostgreSQL's `ChooseRelationName`.
pub(super) fn free_name(
    taken: impl Fn(&str) -> bool,
    table: &str,
    columns: &[String],
    label: &str,
) -> String {
    let joined = cut(&columns.join("_"), IDENTIFIER_BYTES_MAX).to_string();
    let mut number = 0_u32;
    loop {
        let label = match number {
            0 => label.to_string(),
            _ => format!("{label}{number}"),
        };
        let name = object_name(table, &joined, &label);
        if !taken(&name) {
            return name;
        }
        number += 1;
    }
}

/// `table_columns_label`, where the longer of the first two is cut until all fit: PostgreSQL's `makeObjectName`.
fn object_name(table: &str, columns: &str, label: &str) -> String {
    let separators = if columns.is_empty() { 1 } else { 2 };
    let room = IDENTIFIER_BYTES_MAX.saturating_sub(label.len() + separators);
    let (mut first, mut second) = (table.len(), columns.len());
    while first + second > room {
        if first > second {
            first -= 1;
        } else {
            second -= 1;
        }
    }
    let (table, columns) = (cut(table, first), cut(columns, second));
    match columns {
        "" => format!("{table}_{label}"),
        _ => format!("{table}_{columns}_{label}"),
    }
}

/// The longest start of a text that has at most so many bytes.
fn cut(text: &str, bytes: usize) -> &str {
    let ends = (0..=bytes.min(text.len())).rev();
    let end = ends.into_iter().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_are_postgresqls() {
        let columns = |names: &[&str]| {
            names
                .iter()
                .map(|name| name.to_string())
                .collect::<Vec<_>>()
        };
        let free = |_: &str| false;
        assert_eq!(
            free_name(free, "t", &columns(&["a", "b"]), "idx"),
            "t_a_b_idx"
        );
        assert_eq!(free_name(free, "t", &[], "pkey"), "t_pkey");
        let first = |name: &str| name == "t_a_idx";
        assert_eq!(free_name(first, "t", &columns(&["a"]), "idx"), "t_a_idx1");
        let (long, name) = (
            "x".repeat(63),
            free_name(free, &"t".repeat(63), &columns(&[&"c".repeat(63)]), "idx"),
        );
        assert_eq!(name, format!("{}_{}_idx", "t".repeat(29), "c".repeat(29)));
        assert_eq!(free_name(free, &long, &[], "pkey").len(), 63);
        assert_eq!(cut("aä", 2), "a");
    }
}
