//! ALTER TABLE.
//!
//! 1. The actions edit a copy of the table's definition, in PostgreSQL's order: what drops first, then types, new columns,
//!    constraints, options.
//! 2. The transaction takes the new definition. No row and no file is touched.
//! 3. What depends on the table is looked at as it is now: the closing rule, views ([`super::alter_views`]), and NOT NULL, for which
//!    the rows are searched.
//!
//! An error in step 3 fails the statement, and with it goes what step 2 did.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::DFSchema;
use futures::TryStreamExt;
use nyala_catalog::definitions::{Relation, Table, arrow_schema};
use nyala_catalog::{
    BOOTSTRAP_NAME, CatalogError, CheckDef, ErrorKind, Part, TableEdit, Transaction,
};
use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, DropBehavior, Expr, Ident, Owner,
    RenameTableNameKind, TableConstraint, visit_expressions_mut,
};

use super::alter_default::{self, Missing};
use super::alter_rewrite::Rewrite;
use super::alter_views::{Cause, Dependents};
use super::foreign_keys::{self, Declared};
use super::index::Unique;
use super::{
    ColumnSequence, Defined, NewColumn, Options, alter_checks, closing_rule, column_definition,
    default_of, key_names, sequence, unsupported_constraint,
};
use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog;
use crate::sql::dml::{self, internal_table, quoted};
use crate::sql::names::RelationName;
use crate::sql::planner::Planner;
use crate::sql::{checks, names, parse, query, types};

/// Internal name of the table whose rows are searched.
const ALTERED: &str = "altered";

/// Runs ALTER TABLE.
pub(super) async fn run(
    planner: &mut Planner,
    transaction: &mut Transaction,
    alter: &AlterTable,
) -> Result<Defined> {
    if alter.location.is_some() || alter.on_cluster.is_some() || alter.table_type.is_some() {
        return Err(PgError::unsupported(
            "this form of ALTER TABLE is not supported",
        ));
    }
    let mut defined = Defined::tag("ALTER TABLE");
    let Some(table) = find(planner, transaction, alter)? else {
        let name = names::relation_name(&alter.name, &planner.database)?;
        let notice = format!("relation \"{name}\" does not exist, skipping");
        return Ok(defined.with_notice(notice));
    };
    let mut actions: Vec<&AlterTableOperation> = alter.operations.iter().collect();
    if let (true, Some(renames)) = (actions.len() > 1, actions.iter().find(|one| renames(one))) {
        return Err(
            PgError::syntax(format!("syntax error at or near \"{renames}\""))
                .with_hint("RENAME stands alone."),
        );
    }
    actions.sort_by_key(|action| pass(action));

    let dependents = Dependents::of(planner, &table).await?;
    let mut change = Change {
        edit: TableEdit::new(&table.def),
        fill: None,
        filled: false,
        examined: Vec::new(),
        declared: Vec::new(),
        rewrite: Rewrite::default(),
        cause: Cause::default(),
        cascade: true,
        notices: Vec::new(),
    };
    for action in actions {
        change.act(planner, transaction, &table, action).await?;
    }
    let Change {
        mut edit,
        fill,
        filled,
        examined,
        declared,
        rewrite,
        cause,
        cascade,
        notices,
    } = change;
    defined.notices.extend(notices);
    // IF EXISTS and the like ask for nothing: no writer has to lose to that.
    if !edit.differs_from(&table.def) && rewrite.is_empty() && declared.is_empty() {
        return Ok(defined);
    }
    if cascade {
        edit.drop_lost_self_references(rewrite.drops_key());
        let mut def = edit.def().clone();
        if rewrite.drops_key() {
            def.primary_key = None;
        }
        transaction.drop_lost_references(&def)?;
    }
    let checked = edit.perhaps_null().to_vec();
    // Where rows are looked at, others must not write meanwhile.
    let looks = filled || !checked.is_empty() || !examined.is_empty();
    let altered = transaction.alter_table(&table, edit, looks)?;
    planner.view = transaction.view().clone();
    check_closing_rule(planner, &altered)?;
    checks::prepare(planner, &altered)?;
    if let Some(column) = fill {
        if altered.is_hybrid() && exists(planner, &altered, None).await? {
            return Err(alter_default::volatile());
        }
        alter_checks::fill(planner, transaction, &altered, &column).await?;
    }
    for check in &examined {
        alter_checks::examine(planner, &altered, check)
            .await
            .map_err(|error| in_schema(transaction, &altered, error))?;
    }
    for column in checked {
        check_no_nulls(planner, transaction, &altered, &column).await?;
    }
    if !rewrite.is_empty() {
        let applied = rewrite.apply(planner, transaction, &altered).await;
        applied.map_err(|error| in_schema(transaction, &altered, error))?;
    }
    foreign_keys::add(planner, transaction, altered.def.oid, declared, true).await?;
    for view in dependents.changed(planner, &cause)? {
        if !cascade || !cause.only_drops() {
            return Err(cause.refusal(&table.def.name, &view.name));
        }
        transaction.drop_relation(view.oid, true)?;
        defined = defined.with_notice(format!("drop cascades to view {}", view.name));
    }
    Ok(defined)
}

/// 23502 if rows have NULL in a column.
pub(super) async fn check_no_nulls(
    planner: &mut Planner,
    transaction: &Transaction,
    table: &Arc<Table>,
    column: &str,
) -> Result<()> {
    if !exists(planner, table, Some(column)).await? {
        return Ok(());
    }
    let name = &table.def.name;
    let error = CatalogError::new(
        ErrorKind::NotNullViolation,
        format!("column \"{column}\" of relation \"{name}\" contains null values"),
    );
    let error = error.with_table(name).with_column(column).into();
    Err(in_schema(transaction, table, error))
}

/// Names the schema of the table that an error names.
fn in_schema(transaction: &Transaction, table: &Table, mut error: PgError) -> PgError {
    let schema = transaction.definitions().schema_by_oid(table.def.schema);
    if error.table.is_some() {
        error.schema = schema.map(|schema| schema.name.clone());
    }
    error
}

/// The table that is altered; `None` if it does not exist and need not.
fn find(
    planner: &Planner,
    transaction: &Transaction,
    alter: &AlterTable,
) -> Result<Option<Arc<Table>>> {
    let name = names::relation_name(&alter.name, &planner.database)?;
    match names::find(transaction.definitions(), &planner.search_path, &name) {
        Ok(Some(Relation::Table(table))) if table.def.materialized.is_none() => {
            Ok(Some(Arc::clone(table)))
        }
        Ok(Some(other)) => {
            let kind = match other {
                Relation::Table(_) => "materialized views",
                Relation::View(_) => "views",
                Relation::Sequence(_) => "sequences",
                _ => "foreign tables",
            };
            Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!(
                    "ALTER TABLE cannot be performed on relation \"{}\"",
                    name.name
                ),
            )
            .with_detail(format!("This operation is not supported for {kind}.")))
        }
        Ok(None) if is_system_relation(&name) => Err(PgError::new(
            "42501",
            format!("permission denied: \"{}\" is a system catalog", name.name),
        )),
        Ok(None) if matches!(planner.find_relation(&name)?, Some((_, part)) if part != Part::All) => {
            Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("cannot alter \"{}\", which is a part of a table", name.name),
            )
            .with_hint("Alter the table itself; its parts have the same columns."))
        }
        Ok(None) if alter.if_exists => Ok(None),
        Err(error) if alter.if_exists && error.code == sqlstate::UNDEFINED_SCHEMA => Ok(None),
        Ok(None) => Err(names::undefined_relation(&name)),
        Err(error) => Err(error),
    }
}

fn is_system_relation(name: &RelationName) -> bool {
    let schema = name.schema.as_deref().unwrap_or(pg_catalog::PG_CATALOG);
    pg_catalog::relation_schema(schema, &name.name).is_some()
}

fn renames(action: &AlterTableOperation) -> bool {
    matches!(
        action,
        AlterTableOperation::RenameColumn { .. } | AlterTableOperation::RenameTable { .. }
    )
}

/// When an action takes its turn.
fn pass(action: &AlterTableOperation) -> u8 {
    match action {
        AlterTableOperation::DropColumn { .. } | AlterTableOperation::DropConstraint { .. } => 0,
        AlterTableOperation::AlterColumn { op, .. } => match op {
            AlterColumnOperation::DropNotNull | AlterColumnOperation::DropDefault => 0,
            AlterColumnOperation::SetDataType { .. } => 1,
            _ => 3,
        },
        AlterTableOperation::AddColumn { .. } => 2,
        _ => 4,
    }
}

/// The table's change so far.
struct Change {
    edit: TableEdit,
    /// A column that was added with another value for each row.
    fill: Option<String>,
    /// Whether there is one.
    filled: bool,
    /// CHECK constraints that the rows have to be looked at for.
    examined: Vec<CheckDef>,
    /// FOREIGN KEY constraints that come.
    declared: Vec<Declared>,
    /// What changes about the rows.
    rewrite: Rewrite,
    cause: Cause,
    /// Whether views that use what is dropped go, too.
    cascade: bool,
    notices: Vec<PgError>,
}

impl Change {
    async fn act(
        &mut self,
        planner: &mut Planner,
        transaction: &mut Transaction,
        table: &Table,
        action: &AlterTableOperation,
    ) -> Result<()> {
        match action {
            AlterTableOperation::AddColumn {
                if_not_exists,
                column_def,
                column_position: None,
                ..
            } => {
                self.add_column(planner, transaction, table, column_def, *if_not_exists)
                    .await
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::Check(check),
                not_valid: false,
            } => {
                let (name, condition) = alter_checks::given(check)?;
                self.add_check(planner, transaction, name, &condition)
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::PrimaryKey(primary),
                not_valid: false,
            } => {
                let name = primary.name.as_ref().map(names::fold);
                self.rewrite.add_key(table, name, key_names(primary)?)
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::Unique(unique),
                not_valid: false,
            } => {
                self.rewrite.add_unique(Unique::new(unique, None, None)?);
                Ok(())
            }
            AlterTableOperation::AddConstraint {
                constraint: TableConstraint::ForeignKey(foreign_key),
                not_valid: false,
            } => {
                self.declared.push(Declared::new(foreign_key, None, None)?);
                Ok(())
            }
            AlterTableOperation::AddConstraint { constraint, .. } => {
                Err(unsupported_constraint(constraint))
            }
            AlterTableOperation::DropConstraint {
                if_exists,
                name,
                drop_behavior,
            } => {
                self.cascade &= *drop_behavior == Some(DropBehavior::Cascade);
                self.drop_constraint(name, *if_exists)
            }
            AlterTableOperation::OwnerTo { new_owner } => check_owner(new_owner),
            AlterTableOperation::DropColumn {
                column_names,
                if_exists,
                drop_behavior,
                ..
            } => {
                self.cascade &= *drop_behavior == Some(DropBehavior::Cascade);
                column_names
                    .iter()
                    .try_for_each(|name| self.drop_column(planner, name, *if_exists))
            }
            AlterTableOperation::RenameColumn {
                old_column_name,
                new_column_name,
            } => self.rename_column(old_column_name, new_column_name),
            AlterTableOperation::RenameTable {
                table_name: RenameTableNameKind::To(name),
            } => {
                let name = names::single_name(name)?;
                if Part::split(&name).1 != Part::All {
                    return Err(super::part_name(&name));
                }
                if name == table.def.name {
                    return Err(PgError::new(
                        sqlstate::DUPLICATE_TABLE,
                        format!("relation \"{name}\" already exists"),
                    ));
                }
                self.cause.renamed_table = true;
                self.edit.rename(name);
                Ok(())
            }
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(planner, transaction, column_name, op)
            }
            AlterTableOperation::SetOptionsParens { options } => {
                let def = self.edit.def();
                let given = Options::read_list(planner, options, &def.columns)?;
                given.check_alter()?;
                self.notices.extend(given.warnings());
                if let Some(rule) = given.closed_when.clone() {
                    self.edit.set_closed_when(rule)?;
                }
                let def = self.edit.def();
                let hybrid = def.closing.is_some();
                if given.partition_by.is_some() {
                    let partition_by = given.partition_by(&[], hybrid)?;
                    self.edit.set_partition_by(partition_by)?;
                }
                let def = self.edit.def();
                let retention_s = given.retention_s(def.retention_s);
                let schedules = given.schedules(def.schedules.clone(), def.closing.is_some())?;
                self.edit.set_retention_s(retention_s);
                self.edit.set_schedules(schedules);
                Ok(())
            }
            other => Err(PgError::unsupported(format!(
                "ALTER TABLE {other} is not supported"
            ))),
        }
    }

    async fn add_column(
        &mut self,
        planner: &mut Planner,
        transaction: &mut Transaction,
        table: &Table,
        column: &sqlparser::ast::ColumnDef,
        if_not_exists: bool,
    ) -> Result<()> {
        let name = names::fold(&column.name);
        let def = self.edit.def();
        if def.columns.iter().any(|other| other.name == name) {
            let exists = format!(
                "column \"{name}\" of relation \"{}\" already exists",
                def.name
            );
            if if_not_exists {
                self.notices
                    .push(PgError::notice(format!("{exists}, skipping")));
                return Ok(());
            }
            return Err(PgError::new(sqlstate::DUPLICATE_COLUMN, exists));
        }
        let NewColumn {
            mut definition,
            key,
            uniques,
            checks,
            foreign_keys,
            sequence: wanted,
        } = column_definition(planner, column, &def.columns)?;
        for unique in uniques {
            self.rewrite.add_unique(unique);
        }
        self.declared.extend(foreign_keys);
        if let Some(constraint) = key {
            self.rewrite.add_key(table, constraint, vec![name])?;
        }
        if let Some(wanted) = &wanted {
            let (schema, name, oid) = (def.schema, def.name.clone(), def.oid);
            let made =
                sequence::create_for_column(transaction, schema, &name, &mut definition, wanted)?;
            sequence::own(transaction, made, oid, &definition.name, wanted.identity)?;
            planner.view = transaction.view().clone();
        }
        let missing = match alter_default::missing(planner, &definition).await? {
            Missing::Value(value) => value,
            Missing::Volatile(null) => {
                if self.fill.replace(definition.name.clone()).is_some() {
                    return Err(PgError::unsupported(
                        "two columns with volatile defaults cannot be added at once",
                    ));
                }
                self.filled = true;
                null
            }
        };
        self.cause.other = true;
        self.edit.add_column(definition, &missing)?;
        checks.iter().try_for_each(|(name, condition)| {
            self.add_check(planner, transaction, name.clone(), condition)
        })
    }

    fn add_check(
        &mut self,
        planner: &mut Planner,
        transaction: &Transaction,
        name: Option<String>,
        condition: &Expr,
    ) -> Result<()> {
        let check = alter_checks::added(planner, transaction, self.edit.def(), name, condition)?;
        self.examined.push(check.clone());
        self.edit.add_check(check);
        Ok(())
    }

    fn drop_constraint(&mut self, name: &Ident, if_exists: bool) -> Result<()> {
        let name = names::fold(name);
        let def = self.edit.def();
        if let Some(check) = def.checks.iter().find(|check| check.name == name) {
            let oid = check.oid;
            self.edit.drop_check(oid);
            return Ok(());
        }
        let mut foreign_keys = def.foreign_keys.iter();
        if let Some(key) = foreign_keys.find(|key| key.name == name) {
            let oid = key.oid;
            self.edit.drop_foreign_key(oid);
            return Ok(());
        }
        let mut unique = def
            .indexes
            .iter()
            .filter(|index| index.constraint_oid.is_some());
        if let Some(index) = unique.find(|index| index.name == name) {
            let oid = index.oid;
            self.edit.drop_index(oid);
            return Ok(());
        }
        if def.primary_key.as_ref().is_some_and(|key| key.name == name) {
            self.rewrite.drop_key();
            return Ok(());
        }
        let missing = format!(
            "constraint \"{name}\" of relation \"{}\" does not exist",
            def.name
        );
        if if_exists {
            self.notices
                .push(PgError::notice(format!("{missing}, skipping")));
            return Ok(());
        }
        Err(PgError::new(sqlstate::UNDEFINED_OBJECT, missing))
    }

    fn drop_column(&mut self, planner: &Planner, name: &Ident, if_exists: bool) -> Result<()> {
        let name = names::fold(name);
        let def = self.edit.def();
        let Some(at) = def.columns.iter().position(|column| column.name == name) else {
            let missing = undefined_column(&name, &def.name);
            if if_exists {
                let notice = format!("{}, skipping", missing.message);
                self.notices.push(PgError::notice(notice));
                return Ok(());
            }
            return Err(missing);
        };
        if let Some(closing) = &def.closing {
            let rule = closing_rule(planner, &closing.closed_when, &def.columns)?;
            if rule.column_refs().iter().any(|column| column.name == name) {
                let mut cause = Cause::default();
                cause.dropped.push(name);
                return Err(cause.refusal_of(&def.name, "closed_when").with_hint(
                    "Change closed_when with ALTER TABLE ... SET (closed_when = ...) first.",
                ));
            }
        }
        // As PostgreSQL: a constraint goes with any of its columns.
        let (checks, columns) = (def.checks.clone(), def.columns.clone());
        for check in checks {
            let condition = parse::parse_expression(&check.condition)?;
            let columns = checks::columns_of(&condition, &columns);
            if columns.iter().any(|column| column.name == name) {
                self.edit.drop_check(check.oid);
            }
        }
        self.edit.drop_column(at)?;
        self.cause.dropped.push(name);
        Ok(())
    }

    fn rename_column(&mut self, old: &Ident, new: &Ident) -> Result<()> {
        let (old, new) = (names::fold(old), names::fold(new));
        let def = self.edit.def();
        let position = |name: &str| def.columns.iter().position(|column| column.name == name);
        let at = position(&old).ok_or_else(|| {
            PgError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column \"{old}\" does not exist"),
            )
        })?;
        if position(&new).is_some() {
            return Err(PgError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!(
                    "column \"{new}\" of relation \"{}\" already exists",
                    def.name
                ),
            ));
        }
        let rule = match &def.closing {
            Some(closing) => Some(renamed_in(&closing.closed_when, &old, &new)?),
            None => None,
        };
        if let Some(rule) = rule {
            self.edit.set_closed_when(rule)?;
        }
        for check in self.edit.def().checks.clone() {
            let condition = checks::renamed_in(&check.condition, &old, &new)?;
            self.edit.set_check_condition(check.oid, condition);
        }
        self.cause.renamed.push(old);
        Ok(self.edit.rename_column(at, new)?)
    }

    fn alter_column(
        &mut self,
        planner: &mut Planner,
        transaction: &mut Transaction,
        name: &Ident,
        operation: &AlterColumnOperation,
    ) -> Result<()> {
        let name = names::fold(name);
        let def = self.edit.def();
        let mut columns = def.columns.iter().enumerate();
        let found = columns.find(|(_, column)| column.name == name);
        let (at, column) = found.ok_or_else(|| undefined_column(&name, &def.name))?;
        match operation {
            AlterColumnOperation::SetDefault { .. } | AlterColumnOperation::DropDefault
                if column.identity.is_some() =>
            {
                Err(PgError::syntax(format!(
                    "column \"{name}\" of relation \"{}\" is an identity column",
                    def.name
                )))
            }
            AlterColumnOperation::AddGenerated {
                generated_as: Some(generated_as),
                sequence_options,
            } => {
                let not_now = |what: &str| {
                    PgError::new(
                        sqlstate::NOT_IN_PREREQUISITE_STATE,
                        format!("column \"{name}\" of relation \"{}\" {what}", def.name),
                    )
                };
                if column.identity.is_some() {
                    return Err(not_now("is already an identity column"));
                }
                if column.default.is_some() {
                    return Err(not_now("already has a default value"));
                }
                if !column.not_null {
                    return Err(not_now(
                        "must be declared NOT NULL before identity can be added",
                    ));
                }
                let wanted = ColumnSequence {
                    identity: true,
                    options: sequence::identity_options(
                        sequence_options.as_deref().unwrap_or_default(),
                    )?,
                };
                let mut column = column.clone();
                let (schema, table, oid) = (def.schema, def.name.clone(), def.oid);
                let made =
                    sequence::create_for_column(transaction, schema, &table, &mut column, &wanted)?;
                sequence::own(transaction, made, oid, &name, true)?;
                planner.view = transaction.view().clone();
                self.edit.set_default(at, column.default)?;
                Ok(self
                    .edit
                    .set_identity(at, sequence::identity_of(*generated_as))?)
            }
            AlterColumnOperation::SetNotNull => Ok(self.edit.set_not_null(at, true)?),
            AlterColumnOperation::DropNotNull => Ok(self.edit.set_not_null(at, false)?),
            AlterColumnOperation::SetDefault { value } => {
                let default = default_of(planner, value, column)?;
                Ok(self.edit.set_default(at, Some(default))?)
            }
            AlterColumnOperation::DropDefault => Ok(self.edit.set_default(at, None)?),
            AlterColumnOperation::SetDataType {
                data_type, using, ..
            } => {
                let ty = types::sql_type(data_type)?;
                if ty == column.ty && using.is_none() {
                    return Ok(());
                }
                let column = column.clone();
                self.cause.retyped.push(name);
                if using.is_none() {
                    let widened = self.edit.set_type(at, ty.clone());
                    if widened.is_ok() || self.edit.def().closing.is_some() {
                        return Ok(widened?);
                    }
                }
                self.rewrite.set_type(planner, &column, ty, using.clone())
            }
            other => Err(PgError::unsupported(format!(
                "ALTER COLUMN {other} is not supported"
            ))),
        }
    }
}

/// There is one role, which owns everything.
fn check_owner(owner: &Owner) -> Result<()> {
    match owner {
        Owner::Ident(name) if names::fold(name) != BOOTSTRAP_NAME => {
            let name = names::fold(name);
            Err(PgError::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("role \"{name}\" does not exist"),
            ))
        }
        _ => Ok(()),
    }
}

pub(super) fn undefined_column(name: &str, table: &str) -> PgError {
    PgError::new(
        sqlstate::UNDEFINED_COLUMN,
        format!("column \"{name}\" of relation \"{table}\" does not exist"),
    )
}

/// A closing rule with a column's new name.
fn renamed_in(rule: &str, old: &str, new: &str) -> Result<String> {
    let mut expr = parse::parse_expression(rule)?;
    let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |part| {
        if let Expr::Identifier(ident) = part
            && names::fold(ident) == old
        {
            *ident = quoted(new);
        }
        ControlFlow::Continue(())
    });
    Ok(expr.to_string())
}

/// The closing rule still has to be a condition on the columns.
fn check_closing_rule(planner: &Planner, table: &Table) -> Result<()> {
    if let Some(closing) = &table.def.closing {
        let rule = closing_rule(planner, &closing.closed_when, &table.def.columns)?;
        let schema = DFSchema::try_from(arrow_schema(&table.def.columns))?;
        planner.state.create_physical_expr(rule, &schema)?;
    }
    Ok(())
}

/// Whether the table has rows, or ones with NULL in a column, in any of its parts.
async fn exists(planner: &mut Planner, table: &Arc<Table>, null_in: Option<&str>) -> Result<bool> {
    planner.add_addressed(ALTERED, table)?;
    let condition = null_in.map(|column| {
        let column = Expr::Identifier(quoted(column));
        Expr::IsNull(Box::new(column))
    });
    let from = vec![internal_table(ALTERED, &quoted(&table.def.name))?];
    let one = dml::aliased(
        Expr::Value(sqlparser::ast::Value::Number("1".to_string(), false).into()),
        "found",
    );
    let rows = dml::select(vec![one], from, condition)?;
    let plan = planner.plan(&rows, Vec::new())?;
    let mut found = query::run_plan(planner, &plan).await?;
    while let Some(batch) = found.try_next().await? {
        if batch.num_rows() > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}
