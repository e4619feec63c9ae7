//! Names of result columns, as PostgreSQL gives them.
//!
//! PostgreSQL names an unnamed column after its function, cast or `CASE`, and lets two columns have one
//! name. DataFusion names it after its whole text, and does not. So unnamed columns get PostgreSQL's name
//! as an alias, and a name that is taken already gets a suffix that [`column_label`] cuts off again
//! where the client is told.

use std::collections::HashSet;
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, BinaryOperator, DataType, Distinct, Expr, Function,
    FunctionArguments, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TimezoneInfo, TrimWhereField, Value,
    visit_expressions,
};

use crate::sql::normalize::{build, from, last_name};

/// Starts the suffix of a name that is taken already; no identifier of a user holds it.
const SUFFIX: char = '\u{1}';

/// The name of a result column as the client is to see it.
pub fn column_label(name: &str) -> &str {
    name.split(SUFFIX).next().unwrap_or(name)
}

/// The name of a column whose label another one has already.
pub fn suffixed(label: &str, position: usize) -> Ident {
    Ident::with_quote('"', format!("{label}{SUFFIX}{position}"))
}

/// Names the unnamed columns of a select list, and keeps all names apart.
///
/// `outermost` tells that no other query refers to the names.
pub fn label_columns(select: &mut Select, outermost: bool) {
    // Names given so far, and whether it was as an alias.
    let mut aliases: HashSet<String> = HashSet::new();
    let mut columns: HashSet<String> = HashSet::new();
    let wildcards = Wildcards::of(select);
    for (position, item) in select.projection.iter_mut().enumerate() {
        let suffixed = |label: &str| suffixed(label, position);
        match item {
            SelectItem::UnnamedExpr(expr @ (Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
                if !is_keyword(expr) =>
            {
                let label = label(expr);
                let repeated = !columns.insert(expr.to_string())
                    || aliases.contains(&label)
                    || wildcards.hold(expr, outermost);
                columns.insert(label.clone());
                if repeated {
                    *item = SelectItem::ExprWithAlias {
                        alias: suffixed(&label),
                        expr: build::take(expr),
                    };
                }
            }
            SelectItem::UnnamedExpr(expr) => {
                let label = label(expr);
                // DataFusion may put a column of that name beside this one to order or unnest by it.
                let hides = outermost && mentions_column(expr, &label);
                let taken = columns.contains(&label) || !aliases.insert(label.clone()) || hides;
                let alias = if taken {
                    suffixed(&label)
                } else {
                    Ident::with_quote('"', label)
                };
                *item = SelectItem::ExprWithAlias {
                    alias,
                    expr: build::take(expr),
                };
            }
            SelectItem::ExprWithAlias { alias, .. } => {
                let label = build::fold(alias);
                if columns.contains(&label) || !aliases.insert(label.clone()) {
                    *alias = suffixed(&label);
                }
            }
            SelectItem::ExprWithAliases { .. }
            | SelectItem::Wildcard(_)
            | SelectItem::QualifiedWildcard(..) => {}
        }
    }
}

/// The wildcards of a select list.
struct Wildcards {
    /// `*`
    all: bool,
    /// The tables of `t.*`.
    tables: HashSet<String>,
}

impl Wildcards {
    fn of(select: &Select) -> Self {
        let mut wildcards = Self {
            all: false,
            tables: HashSet::new(),
        };
        for item in &select.projection {
            match item {
                SelectItem::Wildcard(_) => wildcards.all = true,
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    _,
                ) => {
                    wildcards.tables.extend(last_name(name));
                }
                _ => {}
            }
        }
        wildcards
    }

    /// Whether a wildcard has, or may have, a column as well.
    fn hold(&self, column: &Expr, outermost: bool) -> bool {
        let named = match column {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [.., table, _] => self.tables.contains(&build::fold(table)),
                _ => false,
            },
            // Whose column it is is not known, and a name that others refer to must stay.
            _ => outermost && !self.tables.is_empty(),
        };
        self.all || named
    }
}

/// Keeps the names of result columns apart from columns that ORDER BY names with their table: in `SELECT a AS b … ORDER BY t.b` the
/// order is that of another column, and DataFusion would have both under one name.
///
/// `outermost` tells that no other query refers to the names; otherwise a query around it gives the names back.
pub fn apart_from_order(query: &mut Query, outermost: bool) {
    let Some(OrderBy {
        kind: OrderByKind::Expressions(keys),
        ..
    }) = &mut query.order_by
    else {
        return;
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        return;
    };
    if select.distinct.is_some() {
        return;
    }
    let mut ordered: Vec<Expr> = Vec::new();
    for key in keys.iter() {
        let _: ControlFlow<()> = visit_expressions(&key.expr, |part| {
            if matches!(part, Expr::CompoundIdentifier(_)) {
                ordered.push(part.clone());
            }
            ControlFlow::Continue(())
        });
    }
    let same_name = |expr: &Expr, label: &str| match expr {
        Expr::CompoundIdentifier(parts) => {
            parts.last().is_some_and(|name| build::fold(name) == label)
        }
        _ => false,
    };
    let hides = select.projection.iter().any(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } => {
            let label = build::fold(alias);
            ordered
                .iter()
                .any(|key| same_name(key, &label) && key != expr)
        }
        _ => false,
    });
    let named_alone = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
        )
    };
    if !hides || !select.projection.iter().all(named_alone) {
        return;
    }
    let labels: Vec<String> = select
        .projection
        .iter()
        .map(|item| named(item).label)
        .collect();
    // Groups may be named by the names of result columns, too.
    let groups = match &select.group_by {
        GroupByExpr::Expressions(groups, _) => groups.as_slice(),
        GroupByExpr::All(_) => return,
    };
    let is_label = |expr: &Expr| match expr {
        Expr::Identifier(name) => labels.contains(&build::fold(name)),
        _ => false,
    };
    if groups.iter().any(is_label) {
        return;
    }
    for key in keys {
        if let Expr::Identifier(name) = &key.expr
            && let Some(at) = labels.iter().position(|label| *label == build::fold(name))
        {
            key.expr = build::number(at + 1);
        }
    }
    for (position, (item, label)) in select.projection.iter_mut().zip(&labels).enumerate() {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            *item = SelectItem::ExprWithAlias {
                alias: suffixed(label, position),
                expr: build::take(expr),
            };
        }
    }
    if !outermost {
        let items = labels.into_iter().enumerate();
        let items = items.map(|(position, label)| SelectItem::ExprWithAlias {
            expr: Expr::Identifier(suffixed(&label, position)),
            alias: Ident::with_quote('"', label),
        });
        from::around(query, items.collect());
    }
}

/// Orders by the position of an unnamed column, where ORDER BY names it or, under DISTINCT, repeats it.
pub fn order_by_position(query: &mut Query) {
    let Some(select) = first_select(&query.body) else {
        return;
    };
    let distinct = matches!(select.distinct, Some(Distinct::Distinct));
    let wildcard = |item: &&SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    // Positions after a wildcard are not known.
    let items = select.projection.iter().take_while(|item| !wildcard(item));
    let columns: Vec<_> = items.map(named).collect();
    let Some(OrderBy {
        kind: OrderByKind::Expressions(keys),
        ..
    }) = &mut query.order_by
    else {
        return;
    };
    for key in keys {
        let position = match &key.expr {
            Expr::Identifier(name) => {
                let name = build::fold(name);
                let mut same = columns
                    .iter()
                    .enumerate()
                    .filter(|(_, column)| column.label == name);
                match (same.next(), same.next()) {
                    (
                        Some((
                            position,
                            Labelled {
                                unnamed: Some(_), ..
                            },
                        )),
                        None,
                    ) => Some(position),
                    _ => None,
                }
            }
            Expr::Value(_) => None,
            expr if distinct => columns
                .iter()
                .position(|column| column.unnamed.as_ref() == Some(expr)),
            _ => None,
        };
        if let Some(position) = position {
            key.expr = build::number(position + 1);
        }
    }
}

/// A column of a select list: its name, and its expression where that gives the name.
struct Labelled {
    label: String,
    unnamed: Option<Expr>,
}

fn named(item: &SelectItem) -> Labelled {
    match item {
        SelectItem::UnnamedExpr(expr) => {
            let column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
            Labelled {
                label: label(expr),
                unnamed: (!column).then(|| expr.clone()),
            }
        }
        SelectItem::ExprWithAlias { alias, .. } => Labelled {
            label: build::fold(alias),
            unnamed: None,
        },
        _ => Labelled {
            label: String::new(),
            unnamed: None,
        },
    }
}

/// The SELECT that names the columns of a query.
fn first_select(body: &SetExpr) -> Option<&Select> {
    match body {
        SetExpr::Select(select) => Some(select),
        SetExpr::Query(query) => first_select(&query.body),
        SetExpr::SetOperation { left, .. } => first_select(left),
        _ => None,
    }
}

fn mentions_column(expr: &Expr, name: &str) -> bool {
    let found = visit_expressions(expr, |part| {
        let column = match part {
            Expr::Identifier(column) => Some(column),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        match column {
            Some(column) if build::fold(column) == name => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}

fn is_keyword(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(name) if name.quote_style.is_none()
        && matches!(name.value.to_lowercase().as_str(), "current_role" | "current_schema" | "current_catalog" | "user"))
}

/// The name PostgreSQL gives an unnamed column.
fn label(expr: &Expr) -> String {
    strong_label(expr)
        .or_else(|| weak_label(expr))
        .unwrap_or_else(|| "?column?".to_string())
}

/// Names that come from a column or function.
fn strong_label(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(build::fold(name)),
        Expr::CompoundIdentifier(parts) => parts.last().map(build::fold),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => strong_label(inner),
        Expr::Cast { expr: inner, .. } => strong_label(inner),
        Expr::Function(function) => function_label(function),
        Expr::Exists { negated: false, .. } => Some("exists".to_string()),
        Expr::Extract { .. } => Some("extract".to_string()),
        Expr::Substring {
            shorthand: true, ..
        } => Some("substr".to_string()),
        Expr::Substring { .. } => Some("substring".to_string()),
        Expr::Position { .. } => Some("position".to_string()),
        Expr::Overlay { .. } => Some("overlay".to_string()),
        Expr::Ceil { .. } => Some("ceil".to_string()),
        Expr::Floor { .. } => Some("floor".to_string()),
        Expr::AtTimeZone { .. } => Some("timezone".to_string()),
        Expr::BinaryOp {
            op: BinaryOperator::Overlaps,
            ..
        } => Some("overlaps".to_string()),
        Expr::Trim { trim_where, .. } => Some(
            match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                _ => "btrim",
            }
            .to_string(),
        ),
        Expr::Array(_) => Some("array".to_string()),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first() {
                Some(SelectItem::UnnamedExpr(inner)) => Some(label(inner)),
                Some(SelectItem::ExprWithAlias { alias, .. }) => Some(build::fold(alias)),
                _ => None,
            },
            _ => None,
        },
        Expr::CompoundFieldAccess { root, access_chain } => {
            let field = access_chain.iter().rev().find_map(|access| match access {
                AccessExpr::Dot(Expr::Identifier(name)) => Some(build::fold(name)),
                _ => None,
            });
            field.or_else(|| strong_label(root))
        }
        _ => None,
    }
}

fn function_label(function: &Function) -> Option<String> {
    // A subquery as argument without parentheses is ARRAY(SELECT …).
    let name = last_name(&function.name);
    if matches!(function.args, FunctionArguments::Subquery(_)) {
        Some("array".to_string())
    } else {
        name
    }
}

/// Names that come from a type or from `CASE`, where nothing better is inside.
fn weak_label(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => weak_label(inner),
        Expr::Cast { data_type, .. } => Some(type_label(data_type)),
        Expr::TypedString(typed) => Some(type_label(&typed.data_type)),
        Expr::Interval(_) => Some("interval".to_string()),
        Expr::Case { else_result, .. } => {
            let inner = else_result.as_deref().and_then(strong_label);
            Some(inner.unwrap_or_else(|| "case".to_string()))
        }
        // PostgreSQL reads a bare boolean as a cast of a string.
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some("bool".to_string()),
        _ => None,
    }
}

fn type_label(data_type: &DataType) -> String {
    match data_type {
        DataType::Custom(name, _) => last_name(name).unwrap_or_default(),
        DataType::Boolean | DataType::Bool => "bool".to_string(),
        DataType::SmallInt(_) | DataType::Int2(_) => "int2".to_string(),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4".to_string(),
        DataType::BigInt(_) | DataType::Int8(_) => "int8".to_string(),
        DataType::Real | DataType::Float4 => "float4".to_string(),
        DataType::Double(_) | DataType::DoublePrecision | DataType::Float8 | DataType::Float(_) => {
            "float8".to_string()
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric".to_string(),
        DataType::Varchar(_) | DataType::CharacterVarying(_) => "varchar".to_string(),
        DataType::Char(_) | DataType::Character(_) => "bpchar".to_string(),
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => {
            "timestamptz".to_string()
        }
        DataType::Timestamp(..) => "timestamp".to_string(),
        DataType::Time(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "timetz".to_string(),
        DataType::Time(..) => "time".to_string(),
        DataType::Array(element) => match element {
            ArrayElemTypeDef::SquareBracket(element, _)
            | ArrayElemTypeDef::AngleBracket(element) => type_label(element),
            _ => "array".to_string(),
        },
        other => other.to_string().to_lowercase(),
    }
}
