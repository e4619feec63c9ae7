//! CREATE, DROP and TRUNCATE of what a database holds; ALTER TABLE in `alter`.
//!
//! An option that is not in force here is refused with 0A000; none is taken and ignored.

use std::sync::Arc;

use datafusion::logical_expr::{Expr as PlanExpr, LogicalPlan};
use futures::TryStreamExt;
use nyala_catalog::definitions::{
    BOOTSTRAP_ROLE_OID, ColumnDef, Oid, Relation, Schedules, Table, arrow_schema,
};
use nyala_catalog::external_table::open_external;
use nyala_catalog::types::SqlType;
use nyala_catalog::{CatalogError, NewTable, NewView, Part, Transaction};
use sqlparser::ast::{
    CreateTable, CreateTableOptions, CreateView, DeferrableInitial, Expr, ObjectName, ObjectType,
    PrimaryKeyConstraint, Query, SchemaName, Statement, TableConstraint, Truncate,
    TruncateIdentityOption,
};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::dml::Target;
use crate::sql::names;
use crate::sql::parse::CreateExternalTable;
use crate::sql::parse::definitions::Definition;
use crate::sql::planner::Planner;
use crate::sql::query;

mod alter;
mod alter_checks;
mod alter_default;
mod alter_rewrite;
mod alter_views;
mod columns;
mod comment;
mod dropping;
mod foreign_keys;
pub mod index;
pub mod like;
mod materialized;
mod options;
mod partitioning;
mod sequence;
mod temporary;

use columns::{NewColumn, column_definition, default_of};
use dropping::drop_all;
use foreign_keys::Declared;
use index::Unique;
use options::Options;
use sequence::ColumnSequence;

/// What a statement did: its tag, and notices for the client.
pub struct Defined {
    /// Command tag.
    pub tag: String,
    /// Notices.
    pub notices: Vec<PgError>,
}

impl Defined {
    fn tag(tag: &str) -> Self {
        Self {
            tag: tag.to_string(),
            notices: Vec::new(),
        }
    }

    fn with_warnings(mut self, warnings: Vec<PgError>) -> Self {
        self.notices.extend(warnings);
        self
    }

    fn with_tag(mut self, tag: &str) -> Self {
        self.tag = tag.to_string();
        self
    }

    fn with_notice(mut self, notice: String) -> Self {
        self.notices.push(PgError::notice(notice));
        self
    }
}

/// Runs a statement in a transaction; `None` if it is not one of this file's.
pub async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    statement: &Statement,
) -> Result<Option<Defined>> {
    Ok(Some(match statement {
        Statement::CreateTable(create) => create_table(planner, transaction, create).await?,
        Statement::CreateView(create) if create.materialized => {
            materialized::create(planner, transaction, create).await?
        }
        Statement::CreateView(create) => create_view(planner, transaction, create).await?,
        Statement::CreateSchema {
            schema_name,
            if_not_exists,
            with: None,
            options: None,
            default_collate_spec: None,
            clone: None,
        } => create_schema(transaction, schema_name, *if_not_exists)?,
        Statement::Drop {
            object_type:
                object_type @ (ObjectType::Table
                | ObjectType::View
                | ObjectType::MaterializedView
                | ObjectType::Sequence
                | ObjectType::Schema),
            if_exists,
            names,
            cascade,
            temporary: false,
            table: None,
            ..
        } => drop_all(
            planner,
            transaction,
            *object_type,
            *if_exists,
            names,
            *cascade,
        )?,
        Statement::AlterTable(alter) => alter::run(planner, transaction, alter).await?,
        Statement::CreateIndex(create) => index::create_index(planner, transaction, create).await?,
        Statement::Drop {
            object_type: ObjectType::Index,
            if_exists,
            names,
            table: None,
            ..
        } => index::drop_indexes(planner, transaction, *if_exists, names)?,
        Statement::Comment {
            object_type,
            object_name,
            comment,
            if_exists: false,
        } => comment::run(
            planner,
            transaction,
            *object_type,
            object_name,
            comment.as_deref(),
        )?,
        Statement::Truncate(truncate) => run_truncate(planner, transaction, truncate).await?,
        _ => return Ok(None),
    }))
}

/// Runs a definition that has a tree of its own.
pub async fn define(
    planner: &mut Planner,
    transaction: &mut Transaction,
    definition: &Definition,
) -> Result<Defined> {
    match definition {
        Definition::CreateSequence {
            name,
            temporary,
            if_not_exists,
            options,
        } => sequence::create(
            planner,
            transaction,
            name,
            *temporary,
            *if_not_exists,
            options,
        ),
        Definition::AlterSequence {
            name,
            if_exists,
            options,
            rename,
        } => {
            let rename = rename.as_ref();
            sequence::alter(planner, transaction, name, *if_exists, options, rename)
        }
        Definition::RefreshView {
            name,
            concurrently,
            with_data,
        } => {
            let (concurrently, with_data) = (*concurrently, *with_data);
            materialized::refresh(planner, transaction, name, concurrently, with_data).await
        }
        Definition::RenameMaterialized {
            name,
            if_exists,
            rename,
        } => materialized::rename(planner, transaction, name, *if_exists, rename),
        Definition::CommentOnConstraint {
            name,
            table,
            comment,
        } => comment::on_constraint(planner, transaction, name, table, comment.as_deref()),
    }
}

fn create_schema(
    transaction: &mut Transaction,
    name: &SchemaName,
    if_not_exists: bool,
) -> Result<Defined> {
    let SchemaName::Simple(name) = name else {
        return Err(PgError::unsupported(
            "CREATE SCHEMA AUTHORIZATION is not supported",
        ));
    };
    let name = names::single_name(name)?;
    if name.starts_with("pg_") || names::system_schema(&name).is_some() {
        return Err(
            PgError::new("42939", format!("unacceptable schema name \"{name}\""))
                .with_detail("This name is reserved for system schemas."),
        );
    }
    let defined = Defined::tag("CREATE SCHEMA");
    if if_not_exists && transaction.definitions().schema(&name).is_some() {
        return Ok(defined.with_notice(format!("schema \"{name}\" already exists, skipping")));
    }
    transaction.create_schema(&name, BOOTSTRAP_ROLE_OID)?;
    Ok(defined)
}

/// Where a new relation goes, unless its name is taken and IF NOT EXISTS was given.
fn place(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    if_not_exists: bool,
    temporary: bool,
) -> Result<Result<(Oid, String), Defined>> {
    let name = names::relation_name(name, &planner.database)?;
    let schema = match temporary::schema(planner, transaction, &name, temporary)? {
        Some(schema) => schema,
        None => names::creation_schema(transaction.definitions(), &planner.search_path, &name)?,
    };
    if Part::split(&name.name).1 != Part::All {
        return Err(part_name(&name.name));
    }
    if transaction.definitions().has_name(schema, &name.name) {
        if if_not_exists {
            let notice = format!("relation \"{}\" already exists, skipping", name.name);
            return Ok(Err(Defined::tag("CREATE TABLE").with_notice(notice)));
        }
        return Err(PgError::new(
            sqlstate::DUPLICATE_TABLE,
            format!("relation \"{}\" already exists", name.name),
        ));
    }
    Ok(Ok((schema, name.name)))
}

/// 42939 for a name that stands for a part of a table.
fn part_name(name: &str) -> PgError {
    PgError::new("42939", format!("unacceptable relation name \"{name}\"")).with_detail(
        "Names that end in $open, $closed, $snapshot or $history stand for parts of tables.",
    )
}

fn refuse_table_options(create: &CreateTable) -> Result<()> {
    let refused = [
        (create.or_replace, "CREATE OR REPLACE TABLE"),
        (
            create.transient || create.volatile || create.dynamic || create.iceberg,
            "this kind of table",
        ),
        (create.like.is_some(), "LIKE"),
        (create.clone.is_some(), "CLONE"),
        (create.inherits.is_some(), "INHERITS"),
        (
            create.partition_by.is_some() || create.partition_of.is_some(),
            "PARTITION BY",
        ),
        (create.strict, "this table option"),
        (
            create.without_rowid && create.query.is_none(),
            "this table option",
        ),
        (
            create.order_by.is_some() || create.cluster_by.is_some(),
            "this table option",
        ),
        (
            create.external || create.location.is_some() || create.file_format.is_some(),
            "this form of CREATE EXTERNAL TABLE",
        ),
    ];
    match refused.iter().find(|(given, _)| *given) {
        Some((_, what)) => Err(PgError::unsupported(format!("{what} is not supported"))),
        None => Ok(()),
    }
}

async fn create_table(
    planner: &mut Planner,
    transaction: &mut Transaction,
    create: &CreateTable,
) -> Result<Defined> {
    refuse_table_options(create)?;
    let (schema, name) = match place(
        planner,
        transaction,
        &create.name,
        create.if_not_exists,
        create.temporary,
    )? {
        Ok(place) => place,
        Err(skipped) => return Ok(skipped),
    };
    let on_commit = temporary::on_commit(transaction, schema, create.on_commit.as_ref())?;
    let mut key: Option<(Option<String>, Vec<String>)> = None;
    let mut uniques = Vec::new();
    let mut checks: Vec<(Option<String>, Expr)> = Vec::new();
    let mut declared = Vec::new();
    let mut sequences: Vec<(usize, ColumnSequence)> = Vec::new();
    let mut columns = Vec::with_capacity(create.columns.len());
    for column in create.columns.iter().filter(|column| !has_no_type(column)) {
        let new = column_definition(planner, column, &columns)?;
        uniques.extend(new.uniques);
        checks.extend(new.checks);
        declared.extend(new.foreign_keys);
        sequences.extend(new.sequence.map(|sequence| (columns.len(), sequence)));
        if let Some(constraint) = new.key {
            set_key(
                &mut key,
                constraint,
                vec![new.definition.name.clone()],
                &name,
            )?;
        }
        columns.push(new.definition);
    }
    for constraint in &create.constraints {
        let primary = match constraint {
            TableConstraint::PrimaryKey(primary) => primary,
            TableConstraint::Unique(unique) => {
                uniques.push(Unique::new(unique, None, None)?);
                continue;
            }
            TableConstraint::Check(check) => {
                checks.push(alter_checks::given(check)?);
                continue;
            }
            TableConstraint::ForeignKey(foreign_key) => {
                declared.push(Declared::new(foreign_key, None, None)?);
                continue;
            }
            other => return Err(unsupported_constraint(other)),
        };
        set_key(
            &mut key,
            primary.name.as_ref().map(names::fold),
            key_names(primary)?,
            &name,
        )?;
    }
    let source = match &create.query {
        None => None,
        Some(source) if create.columns.iter().all(has_no_type) => {
            planner.open_relations(source.as_ref()).await?;
            let plan = planner.plan(source, Vec::new())?;
            let names: Vec<_> = create.columns.iter().map(|column| &column.name).collect();
            let schema = query::output_schema(&plan);
            if names.len() > schema.fields().len() {
                return Err(PgError::syntax("too many column names were specified"));
            }
            columns = query_columns(&renamed(&schema, &names))?;
            Some(plan)
        }
        Some(_) => {
            return Err(PgError::unsupported(
                "CREATE TABLE AS with column definitions is not supported",
            ));
        }
    };
    let mut key = match key {
        None => None,
        Some((constraint, names)) => {
            let is_named = constraint.is_some();
            let default = || index::key_name(transaction, schema, &name);
            let constraint = constraint.unwrap_or_else(default);
            Some((constraint, key_positions(&columns, &names)?, is_named))
        }
    };
    let of_key = key.as_mut();
    let indexes = index::unique_indexes(transaction, schema, &name, &columns, of_key, uniques)?;
    let primary_key = key.map(|(constraint, positions, _)| (constraint, positions));
    let given = Options::read(planner, &create.table_options, &columns)?;
    let warnings: Vec<PgError> = given.warnings().collect();
    let closed_when = given.closed_when.clone();
    let partition_by = given.partition_by(&[], closed_when.is_some())?;
    let closed_location = given.closed_location()?;
    let has_location = closed_location.is_some();
    let retention_s = given.retention_s(None);
    let schedules = given.schedules(Schedules::default(), closed_when.is_some())?;
    if on_commit.is_some() && closed_when.is_some() {
        return Err(PgError::unsupported(
            "a temporary table with closed_when is not supported",
        ));
    }
    let mut owned = Vec::with_capacity(sequences.len());
    for (at, wanted) in sequences {
        if let Some(column) = columns.get_mut(at) {
            let made = sequence::create_for_column(transaction, schema, &name, column, &wanted)?;
            owned.push((made, column.name.clone(), wanted.identity));
        }
    }
    let mut new = NewTable {
        schema,
        name,
        owner: BOOTSTRAP_ROLE_OID,
        columns,
        primary_key,
        closed_when,
        partition_by,
        closed_location,
        schedules,
        retention_s,
        indexes,
        checks: Vec::new(),
        on_commit: on_commit.unwrap_or_default(),
        materialized: None,
    };
    new.checks = alter_checks::of_new_table(planner, transaction, &new, checks)?;
    let table = transaction.create_table(new).await?;
    for (sequence, column, identity) in owned {
        sequence::own(transaction, sequence, table.def.oid, &column, identity)?;
    }
    if create.query.is_some() && !declared.is_empty() {
        return Err(PgError::syntax("syntax error at or near \"AS\""));
    }
    let adopts = create.query.is_none() && has_location;
    foreign_keys::add(planner, transaction, table.def.oid, declared, adopts).await?;
    let Some(plan) = source else {
        return Ok(Defined::tag("CREATE TABLE").with_warnings(warnings));
    };
    if create.without_rowid {
        return Ok(Defined::tag("CREATE TABLE AS").with_warnings(warnings));
    }
    let count = insert_rows_of(planner, transaction, &table, &plan).await?;
    Ok(Defined::tag(&format!("SELECT {count}")).with_warnings(warnings))
}

/// Writes a query's rows to a new table; returns how many.
async fn insert_rows_of(
    planner: &mut Planner,
    transaction: &mut Transaction,
    table: &Arc<Table>,
    plan: &LogicalPlan,
) -> Result<usize> {
    let mut stream = query::run_plan(planner, plan).await?;
    let target = Target::of(table);
    let mut insert = transaction.begin_insert(table).await?;
    let mut count = 0;
    while let Some(batch) = stream.try_next().await? {
        count += batch.num_rows();
        let rows = target.rows(&planner.input, &planner.format, &batch, 0)?;
        transaction.add_rows(&mut insert, rows).await?;
    }
    transaction.finish_insert(insert).await?;
    Ok(count)
}

/// Whether a column is only named, as in CREATE TABLE AS.
fn has_no_type(column: &sqlparser::ast::ColumnDef) -> bool {
    column.data_type == sqlparser::ast::DataType::Unspecified
}

/// A schema whose first columns have other names.
fn renamed(
    schema: &arrow::datatypes::Schema,
    names: &[&sqlparser::ast::Ident],
) -> arrow::datatypes::Schema {
    let fields: Vec<_> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| match names.get(at) {
            Some(name) => Arc::new(field.as_ref().clone().with_name(names::fold(name))),
            None => Arc::clone(field),
        })
        .collect();
    arrow::datatypes::Schema::new(fields)
}

fn unsupported_constraint(constraint: &TableConstraint) -> PgError {
    let kind = match constraint {
        TableConstraint::Check(_) => "this CHECK constraint is",
        _ => "this constraint is",
    };
    PgError::unsupported(format!("{kind} not supported"))
}

fn set_key(
    key: &mut Option<(Option<String>, Vec<String>)>,
    name: Option<String>,
    columns: Vec<String>,
    table: &str,
) -> Result<()> {
    if key.is_some() {
        return Err(PgError::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            format!("multiple primary keys for table \"{table}\" are not allowed"),
        ));
    }
    *key = Some((name, columns));
    Ok(())
}

/// The columns that a PRIMARY KEY constraint names.
fn key_names(primary: &PrimaryKeyConstraint) -> Result<Vec<String>> {
    check_key_options(primary)?;
    let columns = primary.columns.iter();
    let names = columns.map(|column| match &column.column.expr {
        Expr::Identifier(ident) => Ok(names::fold(ident)),
        other => Err(PgError::syntax(format!(
            "syntax error at or near \"{other}\""
        ))),
    });
    names.collect()
}

/// What is said about a key beside its columns has to be what it is anyway.
fn check_key_options(primary: &PrimaryKeyConstraint) -> Result<()> {
    let deferred = primary.characteristics.as_ref().is_some_and(|said| {
        said.deferrable == Some(true) || said.initially == Some(DeferrableInitial::Deferred)
    });
    let refused = deferred
        || primary.index_name.is_some()
        || primary.index_type.is_some()
        || !primary.index_options.is_empty();
    match refused {
        true => Err(PgError::unsupported(
            "options of PRIMARY KEY constraints are not supported",
        )),
        false => Ok(()),
    }
}

fn key_positions(columns: &[ColumnDef], names: &[String]) -> Result<Vec<usize>> {
    let mut positions = Vec::with_capacity(names.len());
    for name in names {
        let at = columns
            .iter()
            .position(|column| column.name == *name)
            .ok_or_else(|| {
                PgError::new(
                    sqlstate::UNDEFINED_COLUMN,
                    format!("column \"{name}\" named in key does not exist"),
                )
            })?;
        if positions.contains(&at) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" appears twice in primary key constraint"),
            ));
        }
        positions.push(at);
    }
    Ok(positions)
}

/// Compiles a closing rule: a condition on the row's columns alone.
pub fn closing_rule(planner: &Planner, text: &str, columns: &[ColumnDef]) -> Result<PlanExpr> {
    use datafusion::logical_expr::ExprSchemable;
    let schema = datafusion::common::DFSchema::try_from(arrow_schema(columns))?;
    let expr = planner.expression(text, &schema)?;
    let boolean = expr.get_type(&schema)? == arrow::datatypes::DataType::Boolean;
    if !boolean {
        return Err(PgError::new(
            sqlstate::DATATYPE_MISMATCH,
            "argument of closed_when must be type boolean",
        ));
    }
    if expr.is_volatile() {
        return Err(PgError::new(
            sqlstate::INVALID_TABLE_DEFINITION,
            "functions in closed_when must be marked IMMUTABLE",
        ));
    }
    Ok(expr)
}

/// Columns for a query's result: names and types as the client would see them.
fn query_columns(schema: &arrow::datatypes::Schema) -> Result<Vec<ColumnDef>> {
    let mut columns: Vec<ColumnDef> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let name = field.name().clone();
        if columns.iter().any(|column| column.name == name) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        let ty = SqlType::of_field(field);
        columns.push(ColumnDef::new(name, ty));
    }
    Ok(columns)
}

async fn create_view(
    planner: &mut Planner,
    transaction: &mut Transaction,
    create: &CreateView,
) -> Result<Defined> {
    if create.secure || create.or_alter {
        return Err(PgError::unsupported("only plain views are supported"));
    }
    if create.options != CreateTableOptions::None {
        return Err(PgError::unsupported("view options are not supported"));
    }
    let name = names::relation_name(&create.name, &planner.database)?;
    let schema = match temporary::schema(planner, transaction, &name, create.temporary)? {
        Some(schema) => schema,
        None => names::creation_schema(transaction.definitions(), &planner.search_path, &name)?,
    };
    let defined = Defined::tag("CREATE VIEW");
    if create.if_not_exists
        && transaction
            .definitions()
            .relation(schema, &name.name)
            .is_some()
    {
        return Ok(defined.with_notice(format!(
            "relation \"{}\" already exists, skipping",
            name.name
        )));
    }
    planner.open_relations(create.query.as_ref()).await?;
    let source: &Query = &create.query;
    if crate::sql::parameters::any(source) {
        return Err(PgError::new(
            sqlstate::UNDEFINED_PARAMETER,
            "there is no parameter $1",
        ));
    }
    let plan = planner.plan(source, Vec::new())?;
    let mut output = query::output_schema(&plan).as_ref().clone();
    if !create.columns.is_empty() {
        if create.columns.len() > output.fields().len() {
            return Err(PgError::syntax(
                "CREATE VIEW specifies more column names than columns",
            ));
        }
        let names: Vec<_> = create.columns.iter().map(|column| &column.name).collect();
        output = renamed(&output, &names);
    }
    let depends_on = planner.relations_of(source);
    // As PostgreSQL: what is over temporary tables is temporary.
    let definitions = Arc::clone(transaction.definitions());
    let schema = match temporary::of_any(&definitions, &depends_on) {
        Some(temporary) if name.schema.is_none() => temporary,
        _ => schema,
    };
    transaction.create_view(NewView {
        schema,
        name: name.name,
        owner: BOOTSTRAP_ROLE_OID,
        query: create.query.to_string(),
        columns: query_columns(&output)?,
        depends_on,
        replace: create.or_replace,
    })?;
    Ok(defined)
}

/// Runs CREATE EXTERNAL TABLE.
pub async fn create_external_table(
    planner: &Planner,
    transaction: &mut Transaction,
    create: &CreateExternalTable,
) -> Result<Defined> {
    let (schema, name) = match place(
        planner,
        transaction,
        &create.name,
        create.if_not_exists,
        false,
    )? {
        Ok(place) => place,
        Err(skipped) => return Ok(skipped),
    };
    let stores = planner.view.object_stores();
    let external = open_external(&planner.state, stores, create.format, &create.location)
        .await
        .map_err(CatalogError::from)?;
    let columns = query_columns(&external.schema())?;
    let (owner, location) = (BOOTSTRAP_ROLE_OID, &create.location);
    transaction.create_external_table(schema, &name, owner, create.format, location, columns)?;
    Ok(Defined::tag("CREATE TABLE"))
}

async fn run_truncate(
    planner: &Planner,
    transaction: &mut Transaction,
    truncate: &Truncate,
) -> Result<Defined> {
    let mut defined = Defined::tag("TRUNCATE TABLE");
    let restarts = truncate.identity == Some(TruncateIdentityOption::Restart);
    if truncate.partitions.is_some() || truncate.on_cluster.is_some() {
        return Err(PgError::unsupported("TRUNCATE takes table names only"));
    }
    let mut tables: Vec<Arc<Table>> = Vec::new();
    for target in &truncate.table_names {
        let name = names::relation_name(&target.name, &planner.database)?;
        match names::find(transaction.definitions(), &planner.search_path, &name)?.cloned() {
            Some(Relation::Table(table)) if table.def.materialized.is_none() => {
                if !tables.iter().any(|known| known.def.oid == table.def.oid) {
                    tables.push(table);
                }
            }
            Some(_) => {
                return Err(PgError::new(
                    sqlstate::WRONG_OBJECT_TYPE,
                    format!("\"{}\" is not a table", name.name),
                ));
            }
            None => return Err(names::undefined_relation(&name)),
        }
    }
    for table in foreign_keys::truncated_with(transaction, truncate, &tables)? {
        let notice = format!("truncate cascades to table \"{}\"", table.def.name);
        defined = defined.with_notice(notice);
        tables.push(table);
    }
    for table in tables {
        transaction.truncate(&table).await?;
        if restarts {
            transaction.restart_owned_sequences(table.def.oid)?;
        }
    }
    Ok(defined)
}
