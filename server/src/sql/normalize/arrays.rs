//! Arrays: `ARRAY(SELECT …)`, `= ANY (array)`, and the vectors of the system relations.

use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, BinaryOperator, DataType, Distinct, DuplicateTreatment, Expr, Function,
    FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, LambdaFunction,
    LambdaFunctionParameter, LambdaSyntax, OneOrManyWithParens, OrderByExpr, OrderByKind, Query,
    Select, SelectItem, SetExpr, Subscript, TableAlias, TableAliasColumnDef, TableFactor,
    TableWithJoins, UnaryOperator, Value, visit_expressions,
};

use crate::sql::normalize::quantified::negated;
use crate::sql::normalize::{build, from, functions, last_name, system_name};

/// Columns of system relations whose type is `int2vector` or `oidvector`; the last is pgjdbc's alias of one.
const VECTORS: [&str; 6] = [
    "indkey",
    "indclass",
    "indcollation",
    "indoption",
    "proargtypes",
    "i_indoption",
];

/// `ARRAY(SELECT x …)` is `array_agg(x)` of the query, empty where the query has no rows.
pub fn array_subquery(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    if system_name(&function.name).as_deref() != Some("array") {
        return;
    }
    let FunctionArguments::Subquery(query) = &mut function.args else {
        return;
    };
    if let Some(transformed) = transformed_array(query) {
        *expr = transformed;
        return;
    }
    let aggregated = if aggregate_in_place(query) {
        query.clone()
    } else {
        aggregate_around(query)
    };
    *expr = build::call("nyala_array_or_empty", vec![Expr::Subquery(aggregated)]);
}

/// `ARRAY(SELECT f(x) FROM unnest(a) x)` maps the elements of `a`; a subquery could not see outer columns.
fn transformed_array(query: &Query) -> Option<Expr> {
    let select = simple_select(query).filter(|_| query.order_by.is_none())?;
    let [TableWithJoins { relation, joins }] = select.from.as_slice() else {
        return None;
    };
    if !joins.is_empty() || select.selection.is_some() || select.distinct.is_some() {
        return None;
    }
    let [SelectItem::UnnamedExpr(body) | SelectItem::ExprWithAlias { expr: body, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let source = from::array_source(relation)?;
    let mut body = body.clone();
    let parameter = Ident::new("nyala_element");
    source.bind(&mut body, &parameter);
    let lambda = Expr::Lambda(LambdaFunction {
        params: OneOrManyWithParens::One(LambdaFunctionParameter {
            name: parameter,
            data_type: None,
        }),
        body: Box::new(body),
        syntax: LambdaSyntax::Arrow,
    });
    Some(build::call("array_transform", vec![source.array, lambda]))
}

/// The SELECT of a query that has no set operation, groups, aggregates over groups or limits.
fn simple_select(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let ungrouped =
        matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let simple = ungrouped
        && query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && select.having.is_none()
        && select.qualify.is_none();
    simple.then_some(select)
}

/// Aggregates the one column of a simple query where it stands, keeping its order.
fn aggregate_in_place(query: &mut Query) -> bool {
    let Some(select) = simple_select(query) else {
        return false;
    };
    let distinct = match &select.distinct {
        None | Some(Distinct::All) => None,
        Some(Distinct::Distinct) => Some(DuplicateTreatment::Distinct),
        Some(Distinct::On(_)) => return false,
    };
    let [SelectItem::UnnamedExpr(column) | SelectItem::ExprWithAlias { expr: column, .. }] =
        select.projection.as_slice()
    else {
        return false;
    };
    // An aggregate or set-returning function in the select list changes what the rows are.
    if functions::calls_aggregate_or_set(column) {
        return false;
    }
    let column = column.clone();
    let mut order = Vec::new();
    if let Some(order_by) = &query.order_by {
        let OrderByKind::Expressions(keys) = &order_by.kind else {
            return false;
        };
        order.clone_from(keys);
    }
    for key in &mut order {
        if matches!(&key.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))) {
            key.expr = column.clone();
        }
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    select.distinct = None;
    select.projection = vec![SelectItem::UnnamedExpr(array_agg(column, distinct, order))];
    query.order_by = None;
    true
}

/// Aggregates the rows of any query of one column.
fn aggregate_around(query: &Query) -> Box<Query> {
    let element = Ident::new("nyala_element");
    let alias = TableAlias {
        explicit: true,
        name: Ident::new("nyala_rows"),
        columns: vec![TableAliasColumnDef {
            name: element.clone(),
            data_type: None,
        }],
        at: None,
    };
    let rows = TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query.clone()),
        alias: Some(alias),
        sample: None,
    };
    let column = array_agg(Expr::Identifier(element), None, Vec::new());
    from::select(column, rows)
}

fn array_agg(
    column: Expr,
    duplicate_treatment: Option<DuplicateTreatment>,
    order: Vec<OrderByExpr>,
) -> Expr {
    let mut call = build::call("array_agg", vec![column]);
    if let Expr::Function(Function {
        args: FunctionArguments::List(list),
        ..
    }) = &mut call
    {
        list.duplicate_treatment = duplicate_treatment;
        if !order.is_empty() {
            list.clauses.push(FunctionArgumentClause::OrderBy(order));
        }
    }
    call
}

/// `ARRAY[a, $1]` is a call: as a literal its elements are planned as if they stood alone, without the query around them, its CTEs and
/// the types of parameters.
pub fn literal(expr: &mut Expr) {
    let Expr::Array(array) = expr else {
        return;
    };
    let nested = array.elem.iter().any(|item| matches!(item, Expr::Array(_)));
    let looks_around = |expr: &Expr| {
        visit_expressions(expr, |part| match part {
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Subquery(_)
            | Expr::InSubquery { .. }
            | Expr::Exists { .. } => ControlFlow::Break(()),
            Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        })
        .is_break()
    };
    if !nested && array.elem.iter().any(looks_around) {
        *expr = build::call("make_array", std::mem::take(&mut array.elem));
    }
}

/// `x = ANY (ARRAY[a, b])` is `x IN (a, b)`.
fn as_list(expr: &Expr) -> Option<Expr> {
    let (left, right, negated) = match expr {
        Expr::AnyOp {
            left,
            compare_op: BinaryOperator::Eq,
            right,
            ..
        } => (left, right, false),
        Expr::AllOp {
            left,
            compare_op: BinaryOperator::NotEq,
            right,
        } => (left, right, true),
        _ => return None,
    };
    match right.as_ref() {
        Expr::Array(array) if !array.elem.is_empty() => Some(Expr::InList {
            expr: left.clone(),
            list: array.elem.clone(),
            negated,
        }),
        _ => None,
    }
}

/// `x > ANY (a)` is `NOT x <= ALL (a)`, which knows NULLs.
fn not_all(expr: &mut Expr) {
    let Expr::AnyOp {
        left,
        compare_op,
        right,
        ..
    } = expr
    else {
        return;
    };
    if *compare_op == BinaryOperator::Eq || matches!(right.as_ref(), Expr::Subquery(_)) {
        return;
    }
    if let Some(compare_op) = negated(compare_op) {
        let all = Expr::AllOp {
            left: Box::new(build::take(left)),
            compare_op,
            right: Box::new(build::take(right)),
        };
        *expr = Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(Expr::Nested(Box::new(all))),
        };
    }
}

/// `x = ANY (array)` and its like: text is read as an array of what it is compared with.
pub fn quantified(expr: &mut Expr) {
    if let Some(list) = as_list(expr) {
        *expr = list;
        return;
    }
    text_as_array(expr);
    not_all(expr);
}

fn text_as_array(expr: &mut Expr) {
    let (Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. }) = expr else {
        return;
    };
    if !matches!(right.as_ref(), Expr::Subquery(_) | Expr::Array(_)) {
        let array = build::take(right);
        **right = build::call("nyala_array", vec![array, left.as_ref().clone()]);
    }
}

/// A vector column used as an array: subscripted, unnested, or asked for its subscripts.
pub fn vector(expr: &mut Expr) {
    match expr {
        Expr::CompoundFieldAccess { root, access_chain } => {
            if let Some((vector, index)) = vector_subscript(root, access_chain) {
                *expr = build::call("nyala_element", vec![vector, index]);
            }
        }
        Expr::Function(function) => {
            let name = system_name(&function.name);
            let Some(arguments) = build::plain_arguments(function) else {
                return;
            };
            match (name.as_deref(), arguments.as_slice()) {
                (Some(name), [array, rest @ ..]) if takes_array(name) && is_vector(array) => {
                    let elements = build::call("nyala_elements", vec![(*array).clone()]);
                    let rest = rest.iter().map(|argument| (*argument).clone());
                    function.args =
                        build::arguments(std::iter::once(elements).chain(rest).collect());
                }
                (Some("generate_subscripts"), [array, _dimension]) => {
                    let subscripts = build::call("nyala_subscripts", vec![(*array).clone()]);
                    *expr = build::call("unnest", vec![subscripts]);
                }
                _ if last_name(&function.name).as_deref() == Some("_pg_expandarray") => {
                    let elements = arguments.into_iter().cloned().collect();
                    *expr = build::call("unnest", vec![build::call("nyala_expand", elements)]);
                }
                _ => {}
            }
        }
        Expr::Cast {
            expr: inner,
            data_type: DataType::Array(_),
            ..
        } if is_vector(inner) => {
            **inner = build::call("nyala_elements", vec![build::take(inner)]);
        }
        _ => {}
    }
}

fn takes_array(function: &str) -> bool {
    matches!(
        function,
        "unnest" | "array_length" | "array_ndims" | "array_to_string" | "cardinality"
    )
}

/// `i.indkey[0]` parses either with `i.indkey` as the root or with `.indkey` as an access.
fn vector_subscript(root: &Expr, chain: &[AccessExpr]) -> Option<(Expr, Expr)> {
    match (root, chain) {
        (root, [AccessExpr::Subscript(Subscript::Index { index })]) if is_vector(root) => {
            Some((root.clone(), index.clone()))
        }
        (
            Expr::Identifier(table),
            [
                AccessExpr::Dot(Expr::Identifier(column)),
                AccessExpr::Subscript(Subscript::Index { index }),
            ],
        ) => {
            let column = Expr::CompoundIdentifier(vec![table.clone(), column.clone()]);
            is_vector(&column).then(|| (column, index.clone()))
        }
        _ => None,
    }
}

fn is_vector(expr: &Expr) -> bool {
    let column = match expr {
        Expr::Identifier(name) => Some(name),
        Expr::CompoundIdentifier(parts) => parts.last(),
        Expr::Nested(inner) => return is_vector(inner),
        _ => None,
    };
    column.is_some_and(|name| VECTORS.contains(&build::fold(name).as_str()))
}
