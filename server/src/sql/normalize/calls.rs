//! Functions and operators that are spelled with others: what DataFusion lacks, or types otherwise than PostgreSQL.

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    AccessExpr, Array, ArrayElemTypeDef, BinaryOperator, CaseWhen, CastKind, DataType,
    DateTimeField, DuplicateTreatment, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArgumentClause, FunctionArguments, Interval, NamedWindowDefinition,
    NamedWindowExpr, OrderByExpr, OrderByOptions, Select, Subscript, TimezoneInfo, TypedString,
    UnaryOperator, Value, WindowFrameBound, WindowSpec, WindowType,
};

use crate::sql::normalize::{build, sets, system_name};

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
        Expr::UnaryOp { op, expr: operand } => {
            let function = match op {
                UnaryOperator::PGAbs => "abs",
                UnaryOperator::PGSquareRoot => "sqrt",
                UnaryOperator::PGCubeRoot => "cbrt",
                _ => return,
            };
            *expr = build::call(function, vec![build::take(operand)]);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGOverlap,
            right,
        } => {
            let arrays = vec![build::take(left), build::take(right)];
            *expr = build::call("array_has_any", arrays);
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Overlaps,
            right,
        } => {
            if let Some(overlap) = overlap(left, right) {
                *expr = overlap;
            }
        }
        Expr::Like { any: true, .. } | Expr::ILike { any: true, .. } => like_any(expr),
        Expr::AnyOp { .. } => match_any(expr),
        Expr::CompoundFieldAccess { root, access_chain } => {
            slice_bounds(root, access_chain);
            if let Some(element) = element_of_aggregate(root, access_chain) {
                *expr = element;
            }
        }
        Expr::Function(function) => {
            if let Some(WindowType::WindowSpec(window)) = &mut function.over {
                frame(window);
            }
            if let Some(spelled) = json_aggregate(function).or_else(|| call(function)) {
                *expr = spelled;
            }
        }
        _ => {}
    }
}

/// A string in Unicode escapes, which are read by now, is like any other.
pub fn plain_string(expr: &mut Expr) {
    if let Expr::Value(value) = expr
        && let Value::UnicodeStringLiteral(text) = &mut value.value
    {
        value.value = Value::SingleQuotedString(std::mem::take(text));
    }
}

/// The frames of the windows that a SELECT names.
pub fn named_frames(select: &mut Select) {
    for NamedWindowDefinition(_, window) in &mut select.named_window {
        if let NamedWindowExpr::WindowSpec(window) = window {
            frame(window);
        }
    }
}

/// The bounds of a frame are literals to DataFusion, an interval too.
fn frame(window: &mut WindowSpec) {
    let Some(frame) = &mut window.window_frame else {
        return;
    };
    for bound in std::iter::once(&mut frame.start_bound).chain(&mut frame.end_bound) {
        let (WindowFrameBound::Preceding(Some(offset)) | WindowFrameBound::Following(Some(offset))) =
            bound
        else {
            continue;
        };
        let mut inner = offset.as_ref();
        while let Expr::Nested(nested) = inner {
            inner = nested;
        }
        if let Expr::Cast {
            expr: text,
            data_type: DataType::Interval { .. },
            ..
        } = inner
        {
            **offset = Expr::Interval(Interval {
                value: text.clone(),
                leading_field: None,
                leading_precision: None,
                last_field: None,
                fractional_seconds_precision: None,
            });
        }
    }
}

/// `json_agg(x)` is the list of an `array_agg`, which has its order, filter and window.
fn json_aggregate(function: &Function) -> Option<Expr> {
    let (item, list) = match system_name(&function.name)?.as_str() {
        "json_agg" => ("nyala_json_item", "nyala_json_list"),
        "jsonb_agg" => ("nyala_json_item", "nyala_jsonb_list"),
        "json_object_agg" => ("nyala_json_member", "nyala_json_members"),
        "jsonb_object_agg" => ("nyala_json_member", "nyala_jsonb_members"),
        _ => return None,
    };
    let mut aggregate = function.clone();
    aggregate.name = build::name("array_agg");
    let FunctionArguments::List(arguments) = &mut aggregate.args else {
        return None;
    };
    let values = arguments.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
        _ => None,
    });
    let values: Vec<Expr> = values.collect::<Option<_>>()?;
    let number = if item == "nyala_json_item" { 1 } else { 2 };
    if values.len() != number {
        return None;
    }
    if arguments.duplicate_treatment == Some(DuplicateTreatment::Distinct) {
        return match (values.as_slice(), list) {
            ([value], "nyala_json_list" | "nyala_jsonb_list") => {
                // Values are told apart and ordered as they are, not as JSON.
                if arguments.clauses.is_empty() {
                    let key = OrderByExpr {
                        expr: value.clone(),
                        options: OrderByOptions::default(),
                        with_fill: None,
                    };
                    arguments
                        .clauses
                        .push(FunctionArgumentClause::OrderBy(vec![key]));
                }
                let list = format!("{list}_of");
                Some(build::call(&list, vec![Expr::Function(aggregate)]))
            }
            _ => None,
        };
    }
    let item = build::call(item, values);
    arguments.args = vec![FunctionArg::Unnamed(FunctionArgExpr::Expr(item))];
    Some(build::call(list, vec![Expr::Function(aggregate)]))
}

/// `(a, b) OVERLAPS (c, d)`: each pair are the ends of a time, in any order, or its begin and length.
fn overlap(left: &Expr, right: &Expr) -> Option<Expr> {
    let (one, other) = (ends(left)?, ends(right)?);
    let first = |ends: &[Expr; 2]| build::call("least", ends.to_vec());
    let last = |ends: &[Expr; 2]| build::call("greatest", ends.to_vec());
    let before = |a: Expr, b: Expr| binary(a, BinaryOperator::Lt, b);
    let within = binary(
        before(first(&one), last(&other)),
        BinaryOperator::And,
        before(first(&other), last(&one)),
    );
    let together = binary(first(&one), BinaryOperator::Eq, first(&other));
    Some(binary(within, BinaryOperator::Or, together))
}

fn ends(pair: &Expr) -> Option<[Expr; 2]> {
    let mut pair = pair;
    while let Expr::Nested(inner) = pair {
        pair = inner;
    }
    let Expr::Tuple(parts) = pair else {
        return None;
    };
    let [begin, end] = parts.as_slice() else {
        return None;
    };
    let is_length = matches!(
        end,
        Expr::Interval(_)
            | Expr::Cast {
                data_type: DataType::Interval { .. },
                ..
            }
    );
    let end = match is_length {
        true => binary(begin.clone(), BinaryOperator::Plus, end.clone()),
        false => end.clone(),
    };
    Some([begin.clone(), end])
}

/// What DISTINCT keeps comes sorted, unless the call says another order.
pub fn distinct_in_order(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let sorts = matches!(
        system_name(&function.name).as_deref(),
        Some("array_agg" | "string_agg")
    );
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let ordered =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    if !sorts
        || list.duplicate_treatment != Some(DuplicateTreatment::Distinct)
        || list.clauses.iter().any(ordered)
    {
        return;
    }
    if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(value))) = list.args.first() {
        let order = OrderByExpr {
            expr: value.clone(),
            options: OrderByOptions {
                asc: None,
                nulls_first: None,
            },
            with_fill: None,
        };
        list.clauses
            .push(FunctionArgumentClause::OrderBy(vec![order]));
    }
}

/// Functions that count in `integer` in PostgreSQL, and in other types in DataFusion; `string_agg`, whose text is of a larger type there.
pub fn result_type(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    if system_name(&function.name).as_deref() == Some("string_agg") {
        *expr = cast(build::take(expr), DataType::Text);
        return;
    }
    let counts = matches!(
        system_name(&function.name).as_deref(),
        Some(
            "array_length"
                | "array_ndims"
                | "array_position"
                | "cardinality"
                | "regexp_count"
                | "regexp_instr"
        )
    );
    if counts {
        *expr = cast(build::take(expr), DataType::Integer(None));
    }
}

/// `x LIKE ANY (ARRAY[a, b])` is `x LIKE a OR x LIKE b`.
fn like_any(expr: &mut Expr) {
    let (Expr::Like { any, pattern, .. } | Expr::ILike { any, pattern, .. }) = expr else {
        return;
    };
    let mut list = pattern.as_ref();
    while let Expr::Nested(inner) = list {
        list = inner;
    }
    let patterns = match list {
        Expr::Array(array) => array.elem.clone(),
        Expr::Tuple(patterns) => patterns.clone(),
        _ => return,
    };
    *any = false;
    // Each has its own pattern, and not the list.
    **pattern = build::null();
    let each = patterns.into_iter().map(|one| {
        let mut like = expr.clone();
        if let Expr::Like { pattern, .. } | Expr::ILike { pattern, .. } = &mut like {
            **pattern = one;
        }
        like
    });
    *expr = any_of(each.collect());
}

/// `x ~ ANY (ARRAY[a, b])` is `x ~ a OR x ~ b`.
fn match_any(expr: &mut Expr) {
    let Expr::AnyOp {
        left,
        compare_op,
        right,
        ..
    } = expr
    else {
        return;
    };
    let is_match = matches!(
        compare_op,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
    );
    let Expr::Array(array) = right.as_ref() else {
        return;
    };
    if !is_match {
        return;
    }
    let each = array.elem.iter().map(|pattern| {
        let (text, op) = (left.as_ref().clone(), compare_op.clone());
        binary(text, op, pattern.clone())
    });
    *expr = any_of(each.collect());
}

fn any_of(conditions: Vec<Expr>) -> Expr {
    let any = combined(conditions, &BinaryOperator::Or);
    any.unwrap_or_else(|| Expr::value(Value::Boolean(false)))
}

/// All of a list in one expression, which is no deeper than it has to be: what is long must not overflow a stack.
fn combined(mut list: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    if list.len() <= 1 {
        return list.pop();
    }
    let right = list.split_off(list.len() / 2);
    let (left, right) = (combined(list, op)?, combined(right, op)?);
    Some(binary(left, op.clone(), right))
}

/// `(array_agg(x ORDER BY y))[1]`: DataFusion takes it for another aggregate, which has no such order.
fn element_of_aggregate(root: &Expr, accesses: &[AccessExpr]) -> Option<Expr> {
    let [AccessExpr::Subscript(Subscript::Index { index })] = accesses else {
        return None;
    };
    let mut array = root;
    while let Expr::Nested(inner) = array {
        array = inner;
    }
    match array {
        Expr::Function(function) if system_name(&function.name).as_deref() == Some("array_agg") => {
            let arguments = vec![array.clone(), index.clone()];
            Some(build::call("array_element", arguments))
        }
        _ => None,
    }
}

/// A bound of a slice that is left out is that of the array.
fn slice_bounds(root: &Expr, accesses: &mut [AccessExpr]) {
    let [
        AccessExpr::Subscript(Subscript::Slice {
            lower_bound,
            upper_bound,
            ..
        }),
    ] = accesses
    else {
        return;
    };
    lower_bound.get_or_insert_with(|| build::number(1));
    upper_bound.get_or_insert_with(|| {
        let length = build::call("cardinality", vec![root.clone()]);
        cast(length, DataType::BigInt(None))
    });
}

/// The bounds and the step of a series of times, with their types: strings are read as what the other bounds are, and a series of
/// dates is one of instants.
pub fn series_bounds(mut bounds: Vec<Expr>) -> Vec<Expr> {
    let [_, _, step] = bounds.as_mut_slice() else {
        return bounds;
    };
    let interval = DataType::Interval {
        fields: None,
        precision: None,
    };
    if text_of(step).is_some() && matches!(step, Expr::Value(_)) {
        *step = cast(build::take(step), interval);
    }
    let Some(ty) = bounds.iter().take(2).find_map(time_type) else {
        return bounds;
    };
    for bound in bounds.iter_mut().take(2) {
        *bound = cast(build::take(bound), ty.clone());
    }
    bounds
}

/// The type of the series that begins or ends with a time.
fn time_type(bound: &Expr) -> Option<DataType> {
    let instants = || Some(DataType::Timestamp(None, TimezoneInfo::WithTimeZone));
    match bound {
        Expr::Nested(inner) => time_type(inner),
        Expr::Cast { data_type, .. } | Expr::TypedString(TypedString { data_type, .. }) => {
            match data_type {
                DataType::Date => instants(),
                DataType::Timestamp(..) => Some(data_type.clone()),
                DataType::Custom(name, _)
                    if system_name(name).as_deref() == Some("timestamptz") =>
                {
                    instants()
                }
                _ => None,
            }
        }
        Expr::Function(function) => match system_name(&function.name)?.as_str() {
            "current_date" | "now" | "current_timestamp" => instants(),
            "localtimestamp" => Some(DataType::Timestamp(None, TimezoneInfo::None)),
            _ => None,
        },
        _ => None,
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
        ("generate_series", _) => {
            let series = build::call(SERIES, series_bounds(arguments));
            Some(build::call("unnest", vec![series]))
        }
        ("array_length", [_, _]) => {
            // An empty array has no dimension to be asked for.
            let length = cast(Expr::Function(function.clone()), DataType::Integer(None));
            Some(build::call("nullif", vec![length, build::number(0)]))
        }
        ("array_positions", [_, _]) => Some(cast(
            Expr::Function(function.clone()),
            DataType::Array(ArrayElemTypeDef::SquareBracket(
                Box::new(DataType::Integer(None)),
                None,
            )),
        )),
        ("array_remove", [_, _]) => Some(build::call("array_remove_all", arguments)),
        ("array_replace", [_, _, _]) => Some(build::call("array_replace_all", arguments)),
        ("encode" | "convert_from", [Expr::Value(text), format]) => {
            // A string without a type is one of bytes.
            let bytes = cast(Expr::Value(text.clone()), DataType::Bytea);
            function.args = build::arguments(vec![bytes, format.clone()]);
            None
        }
        // Where no row is that far, the default is that of the row itself.
        ("lag" | "lead", [value, offset, default])
            if function.over.is_some() && !matches!(default, Expr::Value(_)) =>
        {
            let at = |value: &Expr| {
                let mut call = function.clone();
                call.args = build::arguments(vec![value.clone(), offset.clone()]);
                Expr::Function(call)
            };
            Some(Expr::Case {
                case_token: AttachedToken::empty(),
                end_token: AttachedToken::empty(),
                operand: None,
                conditions: vec![CaseWhen {
                    condition: at(&Expr::value(Value::Boolean(true))),
                    result: at(value),
                }],
                else_result: Some(Box::new(default.clone())),
            })
        }
        ("every", [_]) => {
            function.name = build::name("bool_and");
            None
        }
        ("isfinite", [time]) => {
            // No time here is infinite; of NULL it is not known.
            let known = Expr::IsNotNull(Box::new(time.clone()));
            Some(binary(known, BinaryOperator::Or, build::null()))
        }
        ("jsonb_extract_path" | "json_extract_path", [document, path @ ..]) => {
            let path = array(path.to_vec());
            let op = BinaryOperator::HashArrow;
            let document = match document {
                Expr::Value(_) if name.starts_with("jsonb") => {
                    build::call("jsonb_in", vec![document.clone()])
                }
                _ => document.clone(),
            };
            Some(binary(document, op, path))
        }
        ("jsonb_extract_path_text" | "json_extract_path_text", [document, path @ ..]) => {
            let path = array(path.to_vec());
            let op = BinaryOperator::HashLongArrow;
            let document = match document {
                Expr::Value(_) if name.starts_with("jsonb") => {
                    build::call("jsonb_in", vec![document.clone()])
                }
                _ => document.clone(),
            };
            Some(binary(document, op, path))
        }
        ("ntile", [_]) if function.over.is_some() => Some(cast(
            Expr::Function(function.clone()),
            DataType::Integer(None),
        )),
        ("row_number" | "rank" | "dense_rank", []) if function.over.is_some() => Some(cast(
            Expr::Function(function.clone()),
            DataType::BigInt(None),
        )),
        ("num_nulls", [_, ..]) => Some(count_where(arguments, Expr::IsNull)),
        ("num_nonnulls", [_, ..]) => Some(count_where(arguments, Expr::IsNotNull)),
        ("transaction_timestamp", []) => Some(build::call("now", Vec::new())),
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
        (name, _) => sets::in_select(name, &arguments),
    }
}

fn array(elem: Vec<Expr>) -> Expr {
    Expr::Array(Array { elem, named: true })
}

/// How many of the values the condition holds for.
fn count_where(values: Vec<Expr>, condition: fn(Box<Expr>) -> Expr) -> Expr {
    let ones = values.into_iter().map(|value| {
        let holds = Expr::Nested(Box::new(condition(Box::new(value))));
        cast(holds, DataType::Integer(None))
    });
    combined(ones.collect(), &BinaryOperator::Plus).unwrap_or_else(|| build::number(0))
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
