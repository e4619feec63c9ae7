//! SQL type names in syntax trees: to [`SqlType`], and to the fields the planner works with.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::Result as DataFusionResult;
use datafusion::logical_expr::planner::TypePlanner;
use nyala_catalog::types::SqlType;
use sqlparser::ast::{ArrayElemTypeDef, CharacterLength, DataType, ExactNumberInfo, TimezoneInfo};

use crate::error::{PgError, Result, sqlstate};
use crate::sql::names;

/// Largest precision of a `numeric` that is stored exactly.
const NUMERIC_PRECISION_MAX: u64 = 38;

/// The type that a statement names.
pub fn sql_type(data_type: &DataType) -> Result<SqlType> {
    Ok(match data_type {
        DataType::Boolean | DataType::Bool => SqlType::Bool,
        DataType::SmallInt(_) | DataType::Int2(_) => SqlType::Int2,
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => SqlType::Int4,
        DataType::BigInt(_) | DataType::Int8(_) => SqlType::Int8,
        DataType::Real | DataType::Float4 => SqlType::Float4,
        DataType::Float(ExactNumberInfo::Precision(bits)) if *bits <= 24 => SqlType::Float4,
        DataType::Float8 | DataType::Float(_) | DataType::Double(_) | DataType::DoublePrecision => {
            SqlType::Float8
        }
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => numeric(info)?,
        DataType::Text => SqlType::Text,
        DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::CharacterVarying(length) => {
            SqlType::Varchar(character_length(length.as_ref())?)
        }
        DataType::Char(length) | DataType::Character(length) => {
            SqlType::Bpchar(Some(character_length(length.as_ref())?.unwrap_or(1)))
        }
        DataType::Bytea => SqlType::Bytea,
        DataType::Date => SqlType::Date,
        DataType::Time(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => SqlType::Time,
        DataType::Timestamp(_, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
            SqlType::Timestamp
        }
        DataType::Timestamp(_, _) => SqlType::Timestamptz,
        DataType::Interval { .. } => SqlType::Interval,
        DataType::Uuid => SqlType::Uuid,
        DataType::JSON => SqlType::Json,
        DataType::JSONB => SqlType::Jsonb,
        DataType::Regclass => SqlType::Regclass,
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::Parenthesis(element),
        ) => match sql_type(element)? {
            nested @ SqlType::Array(_) => nested,
            element => SqlType::Array(Box::new(element)),
        },
        DataType::Custom(name, modifiers) => {
            let parts: Vec<String> = name
                .0
                .iter()
                .filter_map(|part| part.as_ident())
                .map(names::fold)
                .collect();
            let bare = match parts.as_slice() {
                [bare] => bare,
                [schema, bare] if schema == "pg_catalog" => bare,
                _ => return Err(undefined(data_type)),
            };
            let text = match modifiers.as_slice() {
                [] => bare.clone(),
                modifiers => format!("{bare}({})", modifiers.join(",")),
            };
            // Without quotes this is `character`.
            if text == "char" {
                return Ok(SqlType::Char);
            }
            let ty: SqlType = text.parse().map_err(|_| undefined(data_type))?;
            if !ty.has_input() {
                return Err(undefined(data_type));
            }
            ty
        }
        DataType::Time(..) => {
            return Err(PgError::unsupported(format!(
                "type {data_type} is not supported"
            )));
        }
        other => return Err(undefined(other)),
    })
}

fn undefined(data_type: &DataType) -> PgError {
    PgError::new(
        sqlstate::UNDEFINED_OBJECT,
        format!(
            "type \"{}\" does not exist",
            data_type.to_string().to_lowercase()
        ),
    )
}

fn numeric(info: &ExactNumberInfo) -> Result<SqlType> {
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(SqlType::Numeric(None)),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    if precision == 0 || precision > 1_000 {
        return Err(PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("NUMERIC precision {precision} must be between 1 and 1000"),
        ));
    }
    if precision > NUMERIC_PRECISION_MAX {
        return Err(PgError::unsupported(format!(
            "numeric precision above {NUMERIC_PRECISION_MAX} is not supported"
        )));
    }
    let fits = |scale: &i64| u64::try_from(*scale).is_ok_and(|scale| scale <= precision);
    match (u8::try_from(precision), i8::try_from(scale)) {
        (Ok(precision), Ok(small)) if fits(&scale) => {
            Ok(SqlType::Numeric(Some((precision, small))))
        }
        _ => Err(PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("NUMERIC scale {scale} must be between 0 and precision {precision}"),
        )),
    }
}

fn character_length(length: Option<&CharacterLength>) -> Result<Option<u32>> {
    let length = match length {
        None | Some(CharacterLength::Max) => return Ok(None),
        Some(CharacterLength::IntegerLength { length, .. }) => *length,
    };
    match u32::try_from(length) {
        Ok(length) if (1..=10_485_760).contains(&length) => Ok(Some(length)),
        Ok(0) => Err(PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "length for type varchar must be at least 1",
        )),
        _ => Err(PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            "length for type varchar cannot exceed 10485760",
        )),
    }
}

/// Tells DataFusion's planner what SQL types are, with the metadata that keeps them apart.
#[derive(Debug)]
pub struct PostgresTypes;

impl TypePlanner for PostgresTypes {
    fn plan_type_field(&self, data_type: &DataType) -> DataFusionResult<Option<FieldRef>> {
        // DataFusion's own types (struct, map, …) stay reachable for what PostgreSQL does not know.
        match sql_type(data_type) {
            Ok(ty) => Ok(Some(Arc::new(ty.field("", true)))),
            Err(error) if error.code == sqlstate::UNDEFINED_OBJECT => match data_type {
                DataType::Custom(..) => Err(error.into()),
                _ => Ok(None),
            },
            Err(error) => Err(error.into()),
        }
    }
}
