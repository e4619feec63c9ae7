//! Columns as CREATE TABLE and ADD COLUMN declare them: types, defaults, and the constraints that stand with a column.

use datafusion::logical_expr::Expr as PlanExpr;
use nyala_catalog::definitions::ColumnDef;
use nyala_catalog::types::SqlType;
use sqlparser::ast::{ColumnOption, Expr};

use super::foreign_keys::Declared;
use super::index::Unique;
use super::sequence::{self, ColumnSequence};
use super::{alter_checks, check_key_options};
use crate::error::{PgError, Result, sqlstate};
use crate::sql::parse::definitions::SequenceOptions;
use crate::sql::planner::Planner;
use crate::sql::{casts, names, sequences, types};

/// A column as CREATE TABLE or ADD COLUMN declares it.
pub(super) struct NewColumn {
    pub(super) definition: ColumnDef,
    /// Whether it is declared as the primary key, with the constraint's name.
    pub(super) key: Option<Option<String>>,
    pub(super) uniques: Vec<Unique>,
    /// Its CHECK constraints, with the names they were given.
    pub(super) checks: Vec<(Option<String>, Expr)>,
    /// What it references.
    pub(super) foreign_keys: Vec<Declared>,
    /// The sequence that its values come from.
    pub(super) sequence: Option<ColumnSequence>,
}

pub(super) fn column_definition(
    planner: &Planner,
    column: &sqlparser::ast::ColumnDef,
    before: &[ColumnDef],
) -> Result<NewColumn> {
    let name = names::fold(&column.name);
    if before.iter().any(|other| other.name == name) {
        return Err(PgError::new(
            sqlstate::DUPLICATE_COLUMN,
            format!("column \"{name}\" specified more than once"),
        ));
    }
    let serial = sequence::serial_type(&column.data_type);
    let mut sequence = serial.is_some().then(|| ColumnSequence {
        identity: false,
        options: SequenceOptions::default(),
    });
    let ty = match serial {
        Some(ty) => ty,
        None => types::sql_type(&column.data_type)?,
    };
    if !ty.is_storable() {
        return Err(PgError::unsupported(format!(
            "column \"{name}\" cannot have type {ty}, which only system relations have"
        )));
    }
    let mut definition = ColumnDef::new(name, ty);
    let mut key = None;
    let mut uniques = Vec::new();
    let mut checks = Vec::new();
    let mut foreign_keys = Vec::new();
    let of_table = |message: &str| {
        PgError::syntax(format!(
            "{message} for column \"{}\"",
            names::fold(&column.name)
        ))
    };
    for option in &column.options {
        match &option.option {
            ColumnOption::Null => {}
            ColumnOption::NotNull => definition.not_null = true,
            ColumnOption::Default(_) if sequence.is_some() => {
                return Err(of_table("multiple default values specified"));
            }
            ColumnOption::Default(expr) => {
                definition.default = Some(default_of(planner, expr, &definition)?);
            }
            ColumnOption::Generated {
                generated_as,
                sequence_options,
                generation_expr: None,
                ..
            } => {
                if definition.default.is_some() || sequence.is_some() {
                    return Err(of_table("both default and identity specified"));
                }
                definition.identity = sequence::identity_of(*generated_as);
                let options = sequence_options.as_deref().unwrap_or_default();
                sequence = Some(ColumnSequence {
                    identity: true,
                    options: sequence::identity_options(options)?,
                });
            }
            ColumnOption::Check(check) => {
                let (name, condition) = alter_checks::given(check)?;
                let name = option.name.as_ref().map(names::fold).or(name);
                checks.push((name, condition));
            }
            ColumnOption::ForeignKey(constraint) => {
                let named = option.name.as_ref();
                let column = Some(definition.name.as_str());
                foreign_keys.push(Declared::new(constraint, named, column)?);
            }
            ColumnOption::PrimaryKey(primary) => {
                check_key_options(primary)?;
                key = Some(option.name.as_ref().map(names::fold));
            }
            ColumnOption::Unique(unique) => {
                let name = option.name.as_ref().map(names::fold);
                uniques.push(Unique::new(unique, name, Some(&definition.name))?);
            }
            other => {
                return Err(PgError::unsupported(format!(
                    "column option {other} is not supported"
                )));
            }
        }
    }
    definition.not_null |= sequence.is_some();
    Ok(NewColumn {
        definition,
        key,
        uniques,
        checks,
        foreign_keys,
        sequence,
    })
}

/// The text of a default, which names its sequences by OID.
pub(super) fn default_of(planner: &Planner, expr: &Expr, column: &ColumnDef) -> Result<String> {
    let mut expr = expr.clone();
    sequences::pin(&mut expr, &planner.view.definitions, &planner.search_path)?;
    check_default(planner, &expr, column)?;
    Ok(expr.to_string())
}

/// A default has to be an expression without columns that fits the column.
pub(super) fn check_default(planner: &Planner, expr: &Expr, column: &ColumnDef) -> Result<()> {
    let empty = datafusion::common::DFSchema::empty();
    let planned = planner
        .expression(&expr.to_string(), &empty)
        .map_err(|error| {
            if error.code == sqlstate::UNDEFINED_COLUMN {
                PgError::unsupported("cannot use column reference in DEFAULT expression")
            } else {
                error
            }
        })?;
    // A literal that is no value of the type is found now, not at the first INSERT.
    if let PlanExpr::Literal(value, _) = planned
        && !value.is_null()
    {
        let field = SqlType::of_arrow(&value.data_type()).field(&column.name, true);
        let format = &planner.format;
        casts::assign(
            &value.to_array()?,
            &field,
            &column.ty,
            &planner.input,
            format,
        )?;
    }
    Ok(())
}
