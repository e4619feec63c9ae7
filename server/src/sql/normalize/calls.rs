//! Functions and operators that are spelled with others: what DataFusion lacks, or types otherwise than PostgreSQL.

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, DateTimeField, ExactNumberInfo, Expr, Function,
    FunctionArg, FunctionArgExpr, FunctionArguments, TimezoneInfo, UnaryOperator, Value,
};

use crate::sql::normalize::{build, system_name};

/// The name under which DataFusion's array of a series is found, so that it is not taken for the set.
pub const SERIES: &str = "nyala_series";

/// Parameters of `make_interval`, in order.
const INTERVAL_PARTS: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];

/// Rewrites one expression whose operands are rewritten already.
pub fn spell_out(expr: &mut Expr) {
    match expr {
        Expr::Extract { .. } => {
            let extract = build::take(expr);
            *expr = extracted(extract);
        }
        Expr::UnaryOp {
            op: UnaryOperator::BitwiseNot,
            expr: operand,
        } => {
            let ones = Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: Box::new(build::number(1)),
            };
            *expr = binary(build::take(operand), BinaryOperator::PGBitwiseXor, ones);
        }
        Expr::Cast {
            expr: inner,
            data_type: DataType::Numeric(ExactNumberInfo::None),
            array: false,
            format: None,
            ..
        } if is_decimal(inner) => {
            // A literal is of the type already, with as many digits as were written.
            *expr = build::take(inner);
        }
        Expr::Function(function) => {
            if let Some(spelled) = call(function) {
                *expr = spelled;
            }
        }
        _ => {}
    }
}

fn call(function: &mut Function) -> Option<Expr> {
    let name = system_name(&function.name)?;
    if name == "make_interval" {
        name_parts(function);
        return None;
    }
    let arguments: Vec<Expr> = build::plain_arguments(function)?
        .into_iter()
        .cloned()
        .collect();
    match (name.as_str(), arguments.as_slice()) {
        ("generate_series", _) => Some(build::call("unnest", vec![build::call(SERIES, arguments)])),
        ("regexp_substr", [text, pattern]) => {
            let brackets = |text: &str| Expr::value(Value::SingleQuotedString(text.to_string()));
            let whole = build::call(
                "concat",
                vec![brackets("("), pattern.clone(), brackets(")")],
            );
            let found = build::call("regexp_match", vec![text.clone(), whole]);
            Some(build::call("array_element", vec![found, build::number(1)]))
        }
        ("mod", [left, right]) => Some(binary(left.clone(), BinaryOperator::Modulo, right.clone())),
        ("div", [left, right]) => {
            let number = |expr: &Expr| cast(expr.clone(), numeric(None));
            let rest = binary(number(left), BinaryOperator::Modulo, number(right));
            let whole = binary(number(left), BinaryOperator::Minus, rest);
            let quotient = binary(whole, BinaryOperator::Divide, number(right));
            Some(cast(quotient, numeric(Some((38, 0)))))
        }
        ("sign", [value]) => Some(build::call("signum", vec![value.clone()])),
        ("variance", [value]) => Some(build::call("var_samp", vec![value.clone()])),
        ("date_part", [_, _]) => {
            function.name = build::name("date_part");
            let part = match text_of(arguments.first()?) {
                Some(field) => extracted_from(&field.to_lowercase(), arguments.get(1)?.clone()),
                None => None,
            };
            let part = part.unwrap_or_else(|| Expr::Function(function.clone()));
            Some(cast(part, DataType::DoublePrecision))
        }
        ("age", [number]) if is_transaction(number) => {
            Some(build::call("nyala_xid_age", vec![number.clone()]))
        }
        ("age", [time]) => {
            let today = cast(build::call("now", Vec::new()), DataType::Date);
            Some(build::call(
                "age",
                vec![timestamp(today), timestamp(time.clone())],
            ))
        }
        ("age", [one, other]) => Some(build::call(
            "age",
            vec![timestamp(one.clone()), timestamp(other.clone())],
        )),
        ("make_timestamptz", [_, _, _, _, _, _]) => {
            let zoned = DataType::Timestamp(None, TimezoneInfo::WithTimeZone);
            Some(cast(build::call("make_timestamp", arguments), zoned))
        }
        ("make_timestamptz", [parts @ .., zone]) if parts.len() == 6 => Some(Expr::AtTimeZone {
            timestamp: Box::new(build::call("make_timestamp", parts.to_vec())),
            time_zone: Box::new(zone.clone()),
        }),
        _ => None,
    }
}

/// Whether an expression is the number of a transaction: what a column of that type is called, or a cast to it.
fn is_transaction(expr: &Expr) -> bool {
    let column = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => return is_transaction(inner),
        Expr::Function(function) => {
            return system_name(&function.name).as_deref() == Some("nyala_xmin");
        }
        Expr::Cast {
            data_type: DataType::Custom(name, _),
            ..
        } => {
            return system_name(name).as_deref() == Some("xid");
        }
        _ => None,
    };
    column.is_some_and(|name| TRANSACTIONS.contains(&build::fold(name).as_str()))
}

/// Columns of system relations whose type is `xid`.
const TRANSACTIONS: [&str; 9] = [
    "xmin",
    "relfrozenxid",
    "relminmxid",
    "datfrozenxid",
    "datminmxid",
    "backend_xid",
    "backend_xmin",
    "transactionid",
    "catalog_xmin",
];

/// `make_interval(hours => 2)` gets all its arguments, in order.
fn name_parts(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let mut parts = vec![build::number(0); INTERVAL_PARTS.len()];
    for (position, argument) in list.args.iter().enumerate() {
        let (at, value) = match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (Some(position), value),
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let name = build::fold(name);
                (INTERVAL_PARTS.iter().position(|part| *part == name), value)
            }
            FunctionArg::ExprNamed {
                name: Expr::Identifier(name),
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let name = build::fold(name);
                (INTERVAL_PARTS.iter().position(|part| *part == name), value)
            }
            _ => return,
        };
        // A name or a number of arguments that there is not: the call is left to fail.
        let Some(part) = at.and_then(|at| parts.get_mut(at)) else {
            return;
        };
        *part = value.clone();
    }
    function.args = build::arguments(parts);
}

/// `extract` is `numeric`, with the digits behind the point that the field has.
fn extracted(extract: Expr) -> Expr {
    let Expr::Extract { field, expr, .. } = &extract else {
        return extract;
    };
    let field = field.to_string().to_lowercase();
    let field = field.trim_matches(['\'', '"']);
    extracted_from(field, expr.as_ref().clone()).unwrap_or(extract)
}

fn extracted_from(field: &str, from: Expr) -> Option<Expr> {
    let part = |field: DateTimeField| Expr::Extract {
        field,
        syntax: sqlparser::ast::ExtractSyntax::From,
        expr: Box::new(from.clone()),
    };
    let whole = |expr: Expr| cast(expr, numeric(Some((20, 0))));
    let micros = || whole(part(DateTimeField::Microsecond));
    let of_millions = |millions: &str| {
        let factor = Expr::value(Value::Number(millions.to_string(), false));
        binary(micros(), BinaryOperator::Multiply, factor)
    };
    // The n-th group of years ends with a year that n divides.
    let years = |group: u32, before: u32| {
        let year = binary(
            part(DateTimeField::Year),
            BinaryOperator::Plus,
            build::number(before),
        );
        whole(binary(year, BinaryOperator::Divide, build::number(group)))
    };
    Some(match field {
        "year" | "years" => whole(part(DateTimeField::Year)),
        "quarter" => whole(part(DateTimeField::Quarter)),
        "month" | "months" => whole(part(DateTimeField::Month)),
        "week" | "weeks" => whole(part(DateTimeField::Week(None))),
        "day" | "days" => whole(part(DateTimeField::Day)),
        "hour" | "hours" => whole(part(DateTimeField::Hour)),
        "minute" | "minutes" => whole(part(DateTimeField::Minute)),
        "dow" => whole(part(DateTimeField::Dow)),
        "isodow" => {
            // Sunday is the seventh day, not the one before the first.
            let day = binary(
                part(DateTimeField::Dow),
                BinaryOperator::Plus,
                build::number(6),
            );
            let day = binary(day, BinaryOperator::Modulo, build::number(7));
            whole(binary(day, BinaryOperator::Plus, build::number(1)))
        }
        "doy" => whole(part(DateTimeField::Doy)),
        "isoyear" => whole(part(DateTimeField::Isoyear)),
        "decade" => years(10, 0),
        "century" => years(100, 99),
        "millennium" => years(1_000, 999),
        "second" | "seconds" => of_millions("0.000001"),
        "millisecond" | "milliseconds" => of_millions("0.001"),
        "microsecond" | "microseconds" => micros(),
        "epoch" => cast(part(DateTimeField::Epoch), numeric(Some((20, 6)))),
        _ => return None,
    })
}

fn numeric(modifier: Option<(u64, i64)>) -> DataType {
    DataType::Numeric(match modifier {
        None => ExactNumberInfo::None,
        Some((precision, scale)) => ExactNumberInfo::PrecisionAndScale(precision, scale),
    })
}

/// A time as the session's clock shows it.
fn timestamp(expr: Expr) -> Expr {
    cast(expr, DataType::Timestamp(None, TimezoneInfo::None))
}

fn cast(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    let operand = |expr| Box::new(Expr::Nested(Box::new(expr)));
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: operand(left),
        op,
        right: operand(right),
    }))
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Cast { expr, .. } => text_of(expr),
        _ => None,
    }
}

fn is_decimal(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => {
            matches!(&value.value, Value::Number(text, _) if text.contains('.') && !text.contains(['e', 'E']))
        }
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => is_decimal(expr),
        Expr::Nested(expr) => is_decimal(expr),
        _ => false,
    }
}
