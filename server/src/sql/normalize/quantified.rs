//! `x op ANY (SELECT …)` and `x op ALL (SELECT …)`.
//!
//! Over a subquery they say something about its smallest or its largest value: `x > ALL (q)` is `x` greater than the
//! largest one, true where `q` has no rows, and unknown where it has a NULL and no value decides. `ANY` is
//! the negation of `ALL` with the negated operator. So one comparison with an aggregate is planned, which
//! DataFusion decorrelates, where its own rewriting needs a join that compares every pair.

use sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Ident, Query, SetExpr, TableAlias, TableAliasColumnDef,
    TableFactor, UnaryOperator, Value,
};

use crate::sql::normalize::{build, from};

/// Replaces a quantified comparison with a subquery.
pub fn over_subquery(expr: &mut Expr) {
    let (left, op, right, any) = match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => (left, compare_op, right, true),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => (left, compare_op, right, false),
        _ => return,
    };
    let Expr::Subquery(query) = right.as_ref() else {
        return;
    };
    let of_all = if any { negated(op) } else { Some(op.clone()) };
    let Some(of_all) = of_all else { return };
    *expr = match (&*op, any) {
        (BinaryOperator::Eq, true) | (BinaryOperator::NotEq, false) => Expr::InSubquery {
            subquery: query.clone(),
            expr: Box::new(build::take(left)),
            negated: !any,
        },
        _ => {
            let Some(all) = all(left, &of_all, query) else {
                return;
            };
            if any { not(all) } else { all }
        }
    };
}

/// `x IN (VALUES …)`: rows of VALUES are a table first, because DataFusion asks of what a subquery's column is made.
pub fn over_values(expr: &mut Expr) {
    if let Expr::InSubquery { subquery, .. } = expr
        && let SetExpr::Values(_) = subquery.body.as_ref()
    {
        *subquery = from::all_of(TableFactor::Derived {
            lateral: false,
            subquery: subquery.clone(),
            alias: Some(TableAlias {
                explicit: true,
                name: Ident::new("nyala_rows"),
                columns: Vec::new(),
                at: None,
            }),
            sample: None,
        });
    }
}

/// The operator that is true where another is false.
pub(super) fn negated(op: &BinaryOperator) -> Option<BinaryOperator> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    Some(match op {
        Eq => NotEq,
        NotEq => Eq,
        Lt => GtEq,
        LtEq => Gt,
        Gt => LtEq,
        GtEq => Lt,
        _ => return None,
    })
}

fn all(left: &Expr, op: &BinaryOperator, query: &Query) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq};
    let compare = |function: &str| binary(left.clone(), op.clone(), over_rows(function, query));
    let holds = match op {
        Gt | GtEq => compare("max"),
        Lt | LtEq => compare("min"),
        Eq => binary(compare("min"), BinaryOperator::And, compare("max")),
        _ => return None,
    };
    let is_zero = |count: Expr| binary(count, Eq, build::number(0));
    let truth = |value| Expr::value(Value::Boolean(value));
    let nulls = binary(
        over_rows("count", query),
        Lt,
        of_rows(build::call("count", vec![build::number(1)]), query),
    );
    let rows = of_rows(build::call("count", vec![build::number(1)]), query);
    let when = |condition, result| CaseWhen { condition, result };
    Some(Expr::Nested(Box::new(Expr::Case {
        case_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        end_token: sqlparser::ast::helpers::attached_token::AttachedToken::empty(),
        operand: None,
        conditions: vec![
            when(is_zero(rows), truth(true)),
            when(not(holds.clone()), truth(false)),
            when(nulls, build::null()),
        ],
        else_result: Some(Box::new(holds)),
    })))
}

/// The subquery's only column, aggregated.
fn over_rows(function: &str, query: &Query) -> Expr {
    let column = Expr::Identifier(Ident::new("nyala_element"));
    of_rows(build::call(function, vec![column]), query)
}

fn of_rows(aggregate: Expr, query: &Query) -> Expr {
    let alias = TableAlias {
        explicit: true,
        name: Ident::new("nyala_rows"),
        columns: vec![TableAliasColumnDef {
            name: Ident::new("nyala_element"),
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
    Expr::Subquery(from::select(aggregate, rows))
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }))
}

fn not(expr: Expr) -> Expr {
    Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(expr),
    }
}
