//! Casts to types that DataFusion does not have: `regclass` and its like, `oid`, `name`, `json`, `uuid`, …

use sqlparser::ast::{
    ArrayElemTypeDef, CastKind, CharacterLength, DataType, ExactNumberInfo, Expr, Function, Select,
    SelectItem, TimezoneInfo, TypedString, Value,
};

use crate::sql::normalize::{build, system_name};

/// Digits of a decimal literal.
const DECIMAL_DIGITS_MAX: u64 = 38;

/// The function that reads a value of this type, for types whose cast is not a plain Arrow cast.
pub fn cast_function(data_type: &DataType) -> Option<&'static str> {
    match type_name(data_type)?.as_str() {
        "json" => Some("json_in"),
        "jsonb" => Some("jsonb_in"),
        "uuid" => Some("uuid_in"),
        _ => None,
    }
}

/// `regclass 'x'`, `jsonb '{}'` and `interval '1 day'` are casts of a string.
pub fn typed_string(expr: &mut Expr) {
    if let Expr::Interval(interval) = expr
        && interval.leading_field.is_none()
        && matches!(interval.value.as_ref(), Expr::Value(_))
    {
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::take(&mut interval.value)),
            data_type: DataType::Interval {
                fields: None,
                precision: None,
            },
            array: false,
            format: None,
        };
        return;
    }
    let Expr::TypedString(TypedString {
        data_type, value, ..
    }) = expr
    else {
        return;
    };
    let special = cast_function(data_type).is_some()
        || type_name(data_type)
            .is_some_and(|name| registry(&name).is_some() || standard(&name).is_some());
    if special {
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::Value(value.clone())),
            data_type: data_type.clone(),
            array: false,
            format: None,
        };
    }
}

/// `x::regclass::text` is the name of x, not its number as text; `x::regproc::oid` is its number.
pub fn cast_twice(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    if is_text(data_type) {
        if let Some(name) = shown_name(inner) {
            **inner = name;
        }
    } else if type_name(data_type).as_deref() == Some("oid")
        && let Expr::Cast {
            expr: innermost,
            data_type,
            ..
        } = inner.as_mut()
        && let Some(conversion) = type_name(data_type).as_deref().and_then(registry)
        && !conversion.shows_itself()
    {
        *expr = build::call(conversion.oid, vec![build::take(innermost)]);
    }
}

/// Result columns of type `regclass` and its like show names; anywhere else they are OIDs.
pub fn show_names(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            show_name(expr);
        }
    }
}

/// A cast: to an OID or a name, through a function, or to the type DataFusion has for it.
pub fn cast(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type,
        array: false,
        format: None,
        ..
    } = expr
    else {
        return;
    };
    if matches!(inner.as_ref(), Expr::Value(value) if matches!(value.value, Value::Null)) {
        translate(data_type);
    } else if let Some(length) = length_limit(data_type) {
        // An explicit cast cuts what is too long; storing it would be an error.
        let text = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::take(inner)),
            data_type: DataType::Text,
            array: false,
            format: None,
        };
        **inner = build::call("left", vec![text, build::number(length)]);
    } else if let Some(function) = cast_function(data_type) {
        *expr = build::call(function, vec![build::take(inner)]);
    } else if let Some(registry) = type_name(data_type).as_deref().and_then(registry) {
        *expr = build::call(registry.oid, vec![build::take(inner)]);
    } else {
        translate(data_type);
    }
}

/// A string where a condition stands is read as a boolean.
pub fn condition(expr: &mut Expr) {
    let is_text = matches!(&*expr, Expr::Value(value)
        if matches!(value.value, Value::SingleQuotedString(_)));
    if is_text {
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::take(expr)),
            data_type: DataType::Boolean,
            array: false,
            format: None,
        };
    }
}

/// The length that a character type is limited to.
fn length_limit(data_type: &DataType) -> Option<u64> {
    let length = match data_type {
        DataType::Varchar(length)
        | DataType::CharVarying(length)
        | DataType::CharacterVarying(length) => length.as_ref(),
        DataType::Char(length) | DataType::Character(length) => {
            Some(length.as_ref().unwrap_or(&CharacterLength::IntegerLength {
                length: 1,
                unit: None,
            }))
        }
        _ => None,
    };
    match length {
        Some(CharacterLength::IntegerLength { length, .. }) => Some(*length),
        _ => None,
    }
}

/// `1e100` has more digits than a decimal: it is read as a float is read.
pub fn large_number(expr: &mut Expr) {
    let Expr::Value(value) = &*expr else {
        return;
    };
    let Value::Number(text, _) = &value.value else {
        return;
    };
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else {
        return;
    };
    let digits = mantissa.bytes().filter(u8::is_ascii_digit).count();
    let fits = exponent
        .parse::<i64>()
        .is_ok_and(|exponent| exponent.unsigned_abs() + (digits as u64) <= DECIMAL_DIGITS_MAX);
    if !fits {
        let text = Expr::value(Value::SingleQuotedString(text.clone()));
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(text),
            data_type: DataType::DoublePrecision,
            array: false,
            format: None,
        };
    }
}

/// Functions that convert to OIDs and names of one kind of object.
struct Conversion {
    name: &'static str,
    oid: &'static str,
}

impl Conversion {
    /// Whether the OID prints as the name by itself.
    fn shows_itself(&self) -> bool {
        matches!(self.oid, "nyala_regproc_oid" | "nyala_to_regproc_oid")
    }
}

fn registry(type_name: &str) -> Option<Conversion> {
    let (name, oid) = match type_name {
        "regclass" => ("nyala_regclass_name", "nyala_regclass_oid"),
        "regtype" => ("nyala_regtype_name", "nyala_regtype_oid"),
        "regproc" | "regprocedure" => ("nyala_regproc_name", "nyala_regproc_oid"),
        "regnamespace" => ("nyala_regnamespace_name", "nyala_regnamespace_oid"),
        "regrole" => ("nyala_regrole_name", "nyala_regrole_oid"),
        "to_regclass" => ("nyala_to_regclass_name", "nyala_to_regclass_oid"),
        "to_regtype" => ("nyala_to_regtype_name", "nyala_to_regtype_oid"),
        "to_regproc" | "to_regprocedure" => ("nyala_to_regproc_name", "nyala_to_regproc_oid"),
        "to_regnamespace" => ("nyala_to_regnamespace_name", "nyala_to_regnamespace_oid"),
        "to_regrole" => ("nyala_to_regrole_name", "nyala_to_regrole_oid"),
        _ => return None,
    };
    Some(Conversion { name, oid })
}

/// The function that gives the OID of what `to_regclass` and its like find.
pub fn lookup_function(name: &str) -> Option<&'static str> {
    let conversion = registry(name).filter(|_| name.starts_with("to_"))?;
    Some(conversion.oid)
}

/// The name of what a `reg*` conversion gives; `None` for any other expression.
fn shown_name(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Nested(inner) => shown_name(inner),
        Expr::Cast {
            expr: inner,
            data_type,
            ..
        } => {
            let conversion = registry(&type_name(data_type)?)?;
            Some(build::call(conversion.name, vec![build::take(inner)]))
        }
        Expr::Function(function) => {
            let conversion = conversion_function(function)?;
            let arguments = build::plain_arguments(function)?
                .into_iter()
                .cloned()
                .collect();
            Some(build::call(conversion.name, arguments))
        }
        _ => None,
    }
}

fn conversion_function(function: &Function) -> Option<Conversion> {
    let name = system_name(&function.name)?;
    if name.starts_with("to_") {
        registry(&name)
    } else {
        None
    }
}

/// Whether an expression converts to a type whose OIDs print as names by themselves.
fn shows_itself(expr: &Expr) -> bool {
    let conversion = match expr {
        Expr::Nested(inner) => return shows_itself(inner),
        Expr::Cast { data_type, .. } => type_name(data_type).as_deref().and_then(registry),
        Expr::Function(function) => conversion_function(function),
        _ => None,
    };
    conversion.is_some_and(|conversion| conversion.shows_itself())
}

/// Follows the places whose value is the value of the whole expression.
fn show_name(expr: &mut Expr) {
    if shows_itself(expr) {
        return;
    }
    if let Some(name) = shown_name(expr) {
        *expr = name;
        return;
    }
    match expr {
        Expr::Nested(inner) => show_name(inner),
        Expr::Case {
            conditions,
            else_result,
            ..
        } => {
            conditions
                .iter_mut()
                .for_each(|when| show_name(&mut when.result));
            if let Some(result) = else_result {
                show_name(result);
            }
        }
        _ => {}
    }
}

/// The name of a type without schema and modifiers, if it is PostgreSQL's own.
fn type_name(data_type: &DataType) -> Option<String> {
    match data_type {
        DataType::Regclass => Some("regclass".to_string()),
        DataType::JSON => Some("json".to_string()),
        DataType::JSONB => Some("jsonb".to_string()),
        DataType::Uuid => Some("uuid".to_string()),
        DataType::Custom(name, _) => system_name(name),
        _ => None,
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Text | DataType::Varchar(_) | DataType::CharacterVarying(_) => true,
        other => matches!(
            type_name(other).as_deref(),
            Some("text" | "varchar" | "name")
        ),
    }
}

/// Puts the type that DataFusion knows in the place of a type of `pg_catalog`.
fn translate(data_type: &mut DataType) {
    if let DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) = data_type {
        translate(element);
        return;
    }
    let DataType::Custom(name, modifiers) = &data_type else {
        return;
    };
    let Some(plain) = system_name(name).as_deref().and_then(standard) else {
        return;
    };
    let number = |position: usize| {
        modifiers
            .get(position)
            .and_then(|text| text.parse::<u64>().ok())
    };
    *data_type = match (plain, number(0)) {
        (DataType::Numeric(_), Some(precision)) => {
            let scale = modifiers.get(1).and_then(|text| text.parse().ok());
            DataType::Numeric(ExactNumberInfo::PrecisionAndScale(
                precision,
                scale.unwrap_or(0),
            ))
        }
        (DataType::Varchar(_), Some(length)) => {
            DataType::Varchar(Some(CharacterLength::IntegerLength { length, unit: None }))
        }
        (plain, _) => plain,
    };
}

/// The standard spelling of a type of `pg_catalog`.
fn standard(name: &str) -> Option<DataType> {
    Some(match name {
        "bool" => DataType::Boolean,
        "int2" => DataType::SmallInt(None),
        "int4" | "cid" => DataType::Integer(None),
        "int8" => DataType::BigInt(None),
        "float4" => DataType::Real,
        "float8" => DataType::DoublePrecision,
        "numeric" => DataType::Numeric(ExactNumberInfo::None),
        "varchar" => DataType::Varchar(None),
        "text" | "bpchar" | "cstring" | "regconfig" => DataType::Text,
        "date" => DataType::Date,
        "time" => DataType::Time(None, TimezoneInfo::None),
        "timestamp" => DataType::Timestamp(None, TimezoneInfo::None),
        "timestamptz" => DataType::Timestamp(None, TimezoneInfo::WithTimeZone),
        "interval" => DataType::Interval {
            fields: None,
            precision: None,
        },
        "bytea" => DataType::Bytea,
        _ => return None,
    })
}
