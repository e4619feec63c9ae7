//! CREATE, ALTER and OWNED BY of sequences, and the sequences of `serial` and identity columns.
//!
//! Bounds and defaults of what is not given, and the errors about what contradicts itself, are PostgreSQL's.

use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, ColumnDef, Identity, Oid, Relation};
use nyala_catalog::sequence::{SequenceDef, SequenceOwner, SequenceRule, default_text};
use nyala_catalog::types::SqlType;
use nyala_catalog::{NewSequence, Transaction};
use sqlparser::ast::{
    DataType, Expr, Ident, ObjectName, ObjectNamePart, SequenceOptions as Parsed,
};

use super::Defined;
use super::index::free_name;
use crate::error::{PgError, Result, sqlstate};
use crate::sql::names::{self, RelationName};
use crate::sql::parse::definitions::SequenceOptions;
use crate::sql::planner::Planner;
use crate::sql::types;

/// The sequence that a column of a new table is to have.
#[derive(Debug)]
pub(super) struct ColumnSequence {
    pub(super) identity: bool,
    pub(super) options: SequenceOptions,
}

/// The integer type that `serial` and its like stand for.
pub(super) fn serial_type(data_type: &DataType) -> Option<SqlType> {
    let DataType::Custom(name, modifiers) = data_type else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = name.0.as_slice() else {
        return None;
    };
    match (names::fold(name).as_str(), modifiers.is_empty()) {
        ("smallserial" | "serial2", true) => Some(SqlType::Int2),
        ("serial" | "serial4", true) => Some(SqlType::Int4),
        ("bigserial" | "serial8", true) => Some(SqlType::Int8),
        _ => None,
    }
}

/// The options of an identity column.
pub(super) fn identity_options(parsed: &[Parsed]) -> Result<SequenceOptions> {
    let mut options = SequenceOptions::default();
    for option in parsed {
        match option {
            Parsed::IncrementBy(value, _) => options.increment = Some(number(value)?),
            Parsed::MinValue(value) => options.min = Some(value.as_ref().map(number).transpose()?),
            Parsed::MaxValue(value) => options.max = Some(value.as_ref().map(number).transpose()?),
            Parsed::StartWith(value, _) => options.start = Some(number(value)?),
            Parsed::Cache(value) => options.cache = Some(number(value)?),
            // The parser's flag stands for NO.
            Parsed::Cycle(no) => options.cycle = Some(!no),
        }
    }
    Ok(options)
}

fn number(value: &Expr) -> Result<i64> {
    let text = value.to_string().replace(' ', "");
    text.parse()
        .map_err(|_| invalid(format!("invalid number in sequence options: {text}")))
}

fn invalid(message: String) -> PgError {
    PgError::new(sqlstate::INVALID_PARAMETER_VALUE, message)
}

/// Makes the sequence of a column of a table that is about to be made or altered, and has the column's default use it.
pub(super) fn create_for_column(
    transaction: &mut Transaction,
    schema: Oid,
    table: &str,
    column: &mut ColumnDef,
    wanted: &ColumnSequence,
) -> Result<Oid> {
    if SequenceRule::bounds(&column.ty).is_none() {
        return Err(invalid(
            "identity column type must be smallint, integer, or bigint".to_string(),
        ));
    }
    let definitions = transaction.definitions();
    let taken = |name: &str| name == table || definitions.has_name(schema, name);
    let columns = [column.name.clone()];
    let name = free_name(taken, table, &columns, "seq");
    let oid = transaction.create_sequence(NewSequence {
        schema,
        name,
        owner: BOOTSTRAP_ROLE_OID,
        rule: rule(None, &wanted.options, Some(&column.ty))?,
    })?;
    column.default = Some(default_text(oid));
    column.not_null = true;
    Ok(oid)
}

/// Makes a sequence go with a column.
pub(super) fn own(
    transaction: &mut Transaction,
    sequence: Oid,
    table: Oid,
    column: &str,
    identity: bool,
) -> Result<()> {
    let owner = SequenceOwner {
        table,
        column: column.to_string(),
        identity,
    };
    Ok(transaction.own_sequence(sequence, Some(owner))?)
}

/// CREATE SEQUENCE.
pub(super) fn create(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    temporary: bool,
    if_not_exists: bool,
    options: &SequenceOptions,
) -> Result<Defined> {
    if options.restart.is_some() {
        return Err(PgError::syntax("syntax error at or near \"RESTART\""));
    }
    let place = super::place(planner, transaction, name, if_not_exists, temporary)?;
    let (schema, name) = match place {
        Ok(place) => place,
        Err(mut skipped) => {
            skipped.tag = "CREATE SEQUENCE".to_string();
            return Ok(skipped);
        }
    };
    let ty = match &options.data_type {
        Some(data_type) => Some(types::sql_type(data_type)?),
        None => None,
    };
    let oid = transaction.create_sequence(NewSequence {
        schema,
        name,
        owner: BOOTSTRAP_ROLE_OID,
        rule: rule(None, options, ty.as_ref())?,
    })?;
    set_owner(planner, transaction, oid, schema, options)?;
    Ok(Defined::tag("CREATE SEQUENCE"))
}

/// ALTER SEQUENCE.
pub(super) fn alter(
    planner: &Planner,
    transaction: &mut Transaction,
    name: &ObjectName,
    if_exists: bool,
    options: &SequenceOptions,
    rename: Option<&Ident>,
) -> Result<Defined> {
    let defined = Defined::tag("ALTER SEQUENCE");
    let name = names::relation_name(name, &planner.database)?;
    let old = match names::find(transaction.definitions(), &planner.search_path, &name)? {
        Some(Relation::Sequence(def)) => def.as_ref().clone(),
        Some(_) => return Err(not_a_sequence(&name)),
        None if if_exists => {
            let notice = format!("relation \"{name}\" does not exist, skipping");
            return Ok(defined.with_notice(notice));
        }
        None => return Err(names::undefined_relation(&name)),
    };
    let mut new = old.clone();
    if let Some(rename) = rename {
        new.name = names::fold(rename);
        if new.name == old.name || transaction.definitions().has_name(old.schema, &new.name) {
            return Err(PgError::new(
                sqlstate::DUPLICATE_TABLE,
                format!("relation \"{}\" already exists", new.name),
            ));
        }
    }
    let ty = match &options.data_type {
        Some(data_type) => Some(types::sql_type(data_type)?),
        None => None,
    };
    new.rule = rule(Some(&old), options, ty.as_ref())?;
    let restart = options.restart.map(|value| value.unwrap_or(new.rule.start));
    if let Some(value) = restart {
        check_within(&new.rule, "RESTART", value)?;
    }
    if new != old || restart.is_some() {
        transaction.alter_sequence(&old, new, restart)?;
    }
    if options.owned_by.is_some() && old.owned_by.as_ref().is_some_and(|owner| owner.identity) {
        return Err(
            PgError::unsupported("cannot change ownership of identity sequence")
                .with_detail(format!("Sequence \"{}\" is linked to a table.", old.name)),
        );
    }
    set_owner(planner, transaction, old.oid, old.schema, options)?;
    Ok(defined)
}

pub(super) fn not_a_sequence(name: &RelationName) -> PgError {
    PgError::new(
        sqlstate::WRONG_OBJECT_TYPE,
        format!("\"{}\" is not a sequence", name.name),
    )
}

/// OWNED BY.
fn set_owner(
    planner: &Planner,
    transaction: &mut Transaction,
    sequence: Oid,
    schema: Oid,
    options: &SequenceOptions,
) -> Result<()> {
    let Some(owner) = &options.owned_by else {
        return Ok(());
    };
    let Some(owner) = owner else {
        return Ok(transaction.own_sequence(sequence, None)?);
    };
    let mut parts = owner.0.clone();
    let column = parts.pop();
    let column = column
        .as_ref()
        .and_then(|part| part.as_ident())
        .map(names::fold);
    let (Some(column), false) = (column, parts.is_empty()) else {
        return Err(PgError::syntax("invalid OWNED BY option")
            .with_hint("Specify OWNED BY table.column or OWNED BY NONE."));
    };
    let name = names::relation_name(&ObjectName(parts), &planner.database)?;
    let definitions = transaction.definitions();
    let table = match names::find(definitions, &planner.search_path, &name)? {
        Some(Relation::Table(table)) => table,
        Some(_) => {
            return Err(PgError::new(
                sqlstate::WRONG_OBJECT_TYPE,
                format!("sequence cannot be owned by relation \"{}\"", name.name),
            ));
        }
        None => return Err(names::undefined_relation(&name)),
    };
    if table.def.schema != schema {
        return Err(PgError::new(
            sqlstate::NOT_IN_PREREQUISITE_STATE,
            "sequence must be in same schema as table it is linked to",
        ));
    }
    if !table.def.columns.iter().any(|known| known.name == column) {
        return Err(PgError::new(
            sqlstate::UNDEFINED_COLUMN,
            format!(
                "column \"{column}\" of relation \"{}\" does not exist",
                table.def.name
            ),
        ));
    }
    let table = table.def.oid;
    own(transaction, sequence, table, &column, false)
}

/// The rule of a new sequence, or that of an old one with what is changed.
fn rule(
    old: Option<&SequenceDef>,
    options: &SequenceOptions,
    ty: Option<&SqlType>,
) -> Result<SequenceRule> {
    let before = old.map(|old| &old.rule);
    let ty = ty.or(before.map(|rule| &rule.ty)).unwrap_or(&SqlType::Int8);
    let (least, greatest) = SequenceRule::bounds(ty)
        .ok_or_else(|| invalid("sequence type must be smallint, integer, or bigint".to_string()))?;
    let increment = options
        .increment
        .or(before.map(|rule| rule.increment))
        .unwrap_or(1);
    if increment == 0 {
        return Err(invalid("INCREMENT must not be zero".to_string()));
    }
    let ascending = increment > 0;
    // A bound that was only its type's moves along with the type.
    let kept = |value: Option<i64>, end: fn((i64, i64)) -> i64| {
        let value = value?;
        let of_type = before
            .and_then(|rule| SequenceRule::bounds(&rule.ty))
            .map(end);
        let retyped = before.is_some_and(|rule| rule.ty != *ty);
        (!retyped || of_type != Some(value)).then_some(value)
    };
    let default_min = if ascending { 1 } else { least };
    let default_max = if ascending { greatest } else { -1 };
    let min = match options.min {
        Some(given) => given.unwrap_or(default_min),
        None => kept(before.map(|rule| rule.min), |bounds| bounds.0).unwrap_or(default_min),
    };
    let max = match options.max {
        Some(given) => given.unwrap_or(default_max),
        None => kept(before.map(|rule| rule.max), |bounds| bounds.1).unwrap_or(default_max),
    };
    for (word, value) in [("MINVALUE", min), ("MAXVALUE", max)] {
        if !(least..=greatest).contains(&value) {
            return Err(invalid(format!(
                "{word} ({value}) is out of range for sequence data type {ty}"
            )));
        }
    }
    if min >= max {
        return Err(invalid(format!(
            "MINVALUE ({min}) must be less than MAXVALUE ({max})"
        )));
    }
    let start = options.start.or(before.map(|rule| rule.start));
    let start = start.unwrap_or(if ascending { min } else { max });
    let cache = options.cache.or(before.map(|rule| rule.cache)).unwrap_or(1);
    if cache <= 0 {
        return Err(invalid(format!(
            "CACHE ({cache}) must be greater than zero"
        )));
    }
    let rule = SequenceRule {
        ty: ty.clone(),
        start,
        increment,
        min,
        max,
        cache,
        cycle: options
            .cycle
            .or(before.map(|rule| rule.cycle))
            .unwrap_or(false),
    };
    check_within(&rule, "START", start)?;
    Ok(rule)
}

fn check_within(rule: &SequenceRule, word: &str, value: i64) -> Result<()> {
    let (min, max) = (rule.min, rule.max);
    if value < min {
        return Err(invalid(format!(
            "{word} value ({value}) cannot be less than MINVALUE ({min})"
        )));
    }
    if value > max {
        return Err(invalid(format!(
            "{word} value ({value}) cannot be greater than MAXVALUE ({max})"
        )));
    }
    Ok(())
}

/// The identity that `GENERATED … AS IDENTITY` declares.
pub(super) fn identity_of(generated: sqlparser::ast::GeneratedAs) -> Option<Identity> {
    match generated {
        sqlparser::ast::GeneratedAs::Always => Some(Identity::Always),
        sqlparser::ast::GeneratedAs::ByDefault => Some(Identity::Default),
        sqlparser::ast::GeneratedAs::ExpStored => None,
    }
}
