//! Functions in FROM: `generate_series`, `unnest` and their result columns.

use std::ops::ControlFlow;

use sqlparser::ast::helpers::attached_token::AttachedToken;
use sqlparser::ast::{
    ArrayElemTypeDef, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, GroupByExpr, Ident,
    JoinOperator, ObjectName, Query, Select, SelectFlavor, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, TableWithJoins, WildcardAdditionalOptions, visit_expressions,
    visit_expressions_mut,
};

use crate::sql::normalize::{build, calls, system_name};

/// Gives a function in FROM the name, arguments and result column it has in PostgreSQL.
pub fn rewrite(factor: &mut TableFactor) {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args: Some(arguments),
            ..
        } => {
            let Some(function) = system_name(name) else {
                return;
            };
            match function.as_str() {
                "unnest" => {
                    let Some(array_exprs) = expressions(&arguments.args) else {
                        return;
                    };
                    *factor = unnest(array_exprs, alias.take());
                }
                "pg_listening_channels" => {
                    let channels = build::call("nyala_listening_channels", Vec::new());
                    let alias = named_column(alias.take(), &function);
                    *factor = unnest(vec![channels], alias);
                }
                // Its arguments are columns of what stands before.
                "generate_series" if arguments.args.iter().any(names_column) => {
                    let Some(bounds) = expressions(&arguments.args) else {
                        return;
                    };
                    let series = build::call(calls::SERIES, calls::series_bounds(bounds));
                    let alias = named_column(alias.take(), &function);
                    *factor = unnest(vec![series], alias);
                }
                "generate_series" => {
                    arguments.args.iter_mut().for_each(widen_length);
                    if let Some(bounds) = expressions(&arguments.args) {
                        let bounds = calls::series_bounds(bounds).into_iter();
                        let bounds =
                            bounds.map(|bound| FunctionArg::Unnamed(FunctionArgExpr::Expr(bound)));
                        arguments.args = bounds.collect();
                    }
                    *name = ObjectName::from(vec![Ident::new(function.as_str())]);
                    *alias = named_column(alias.take(), &function);
                }
                _ => *name = ObjectName::from(vec![Ident::new(function)]),
            }
        }
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality: false,
            ..
        } => {
            let function = system_name(name);
            let Some(arguments) = expressions(args) else {
                return;
            };
            match function.as_deref() {
                Some("unnest") => *factor = unnest(arguments, alias.take()),
                Some("generate_series") => {
                    let series = build::call(calls::SERIES, calls::series_bounds(arguments));
                    let alias = named_column(alias.take(), "generate_series");
                    *factor = unnest(vec![series], alias);
                }
                _ => {}
            }
        }
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            ..
        } if array_exprs.len() == 1 => {
            *alias = named_column(alias.take(), "unnest");
        }
        _ => {}
    }
}

/// DataFusion's `generate_series` takes `bigint` only, and PostgreSQL's array functions give `integer`.
fn widen_length(argument: &mut FunctionArg) {
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
        && let Expr::Function(function) = expr
        && matches!(
            system_name(&function.name).as_deref(),
            Some("array_upper" | "array_lower" | "array_length" | "cardinality")
        )
    {
        *expr = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::take(expr)),
            data_type: DataType::BigInt(None),
            array: false,
            format: None,
        };
    }
}

fn names_column(argument: &FunctionArg) -> bool {
    visit_expressions(argument, |expr| match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
    .is_break()
}

fn unnest(array_exprs: Vec<Expr>, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::UNNEST {
        alias: named_column(alias, "unnest"),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

/// `FROM f(…) x` names the one column x as well, `FROM f(…)` names both after the function.
fn named_column(alias: Option<TableAlias>, function: &str) -> Option<TableAlias> {
    let mut alias = alias.unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef {
            name: alias.name.clone(),
            data_type: None,
        });
    }
    Some(alias)
}

fn expressions(arguments: &[FunctionArg]) -> Option<Vec<Expr>> {
    arguments
        .iter()
        .map(|argument| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        })
        .collect()
}

/// A FROM item that gives the elements of one array.
pub struct ArraySource {
    /// The array.
    pub array: Expr,
    kind: SourceKind,
}

enum SourceKind {
    /// Elements as they are, in a column of this name.
    Elements(String),
    /// Options of the form `name=value`, in columns `option_name` and `option_value`.
    Options,
}

/// Reads a FROM item as the elements of an array, if it is that.
pub fn array_source(factor: &TableFactor) -> Option<ArraySource> {
    let (function, arguments, alias) = match factor {
        TableFactor::Table {
            name,
            alias,
            args: Some(arguments),
            ..
        } => (system_name(name)?, expressions(&arguments.args)?, alias),
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: false,
            ..
        } => ("unnest".to_string(), array_exprs.clone(), alias),
        _ => return None,
    };
    let array = match function.as_str() {
        // What is computed of an element has its type from the start, before it is known whether bounds are `integer`.
        "generate_series" => Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::call(calls::SERIES, arguments)),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(
                Box::new(DataType::BigInt(None)),
                None,
            )),
            array: false,
            format: None,
        },
        _ => arguments.into_iter().next()?,
    };
    let kind = match function.as_str() {
        "unnest" | "generate_series" => {
            let alias = alias.as_ref();
            let column = alias.map(|alias| {
                alias
                    .columns
                    .first()
                    .map_or(&alias.name, |column| &column.name)
            });
            SourceKind::Elements(column.map_or(function, build::fold))
        }
        "pg_options_to_table" => SourceKind::Options,
        _ => return None,
    };
    Some(ArraySource { array, kind })
}

impl ArraySource {
    /// Puts a parameter in the place of the source's columns.
    pub fn bind(&self, body: &mut Expr, parameter: &Ident) {
        let element = Expr::Identifier(parameter.clone());
        let _: ControlFlow<()> = visit_expressions_mut(body, |part| {
            let column = match &*part {
                Expr::Identifier(name) => Some(name),
                Expr::CompoundIdentifier(parts) if parts.len() == 2 => parts.last(),
                _ => None,
            };
            if let Some(column) = column.map(build::fold) {
                match &self.kind {
                    SourceKind::Elements(name) if *name == column => *part = element.clone(),
                    SourceKind::Options if column == "option_name" => {
                        *part = build::call("nyala_option_name", vec![element.clone()]);
                    }
                    SourceKind::Options if column == "option_value" => {
                        *part = build::call("nyala_option_value", vec![element.clone()]);
                    }
                    _ => {}
                }
            }
            ControlFlow::Continue(())
        });
    }
}

/// `SELECT column FROM rows`.
pub fn select(column: Expr, rows: TableFactor) -> Box<Query> {
    select_item(SelectItem::UnnamedExpr(column), rows)
}

/// `SELECT * FROM rows`.
pub fn all_of(rows: TableFactor) -> Box<Query> {
    select_item(
        SelectItem::Wildcard(WildcardAdditionalOptions::default()),
        rows,
    )
}

fn select_item(item: SelectItem, rows: TableFactor) -> Box<Query> {
    let from = TableWithJoins {
        relation: rows,
        joins: Vec::new(),
    };
    let select = select_of(vec![item], vec![from]);
    Box::new(Query {
        with: None,
        body: Box::new(select),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    })
}

/// Puts a query around one: `SELECT items FROM (query)`, its name one that no user gives.
pub fn around(query: &mut Query, items: Vec<SelectItem>) {
    let empty = Query {
        body: Box::new(select_of(Vec::new(), Vec::new())),
        ..query.clone()
    };
    let inner = std::mem::replace(query, empty);
    query.with = None;
    query.order_by = None;
    query.limit_clause = None;
    query.fetch = None;
    query.locks = Vec::new();
    *query.body = select_of(
        items,
        vec![TableWithJoins {
            relation: TableFactor::Derived {
                lateral: false,
                subquery: Box::new(inner),
                alias: Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', "\u{1}rows"),
                    columns: Vec::new(),
                    at: None,
                }),
                sample: None,
            },
            joins: Vec::new(),
        }],
    );
}

/// `SELECT items`.
pub fn select_one(items: Vec<SelectItem>) -> SetExpr {
    select_of(items, Vec::new())
}

fn select_of(projection: Vec<SelectItem>, from: Vec<TableWithJoins>) -> SetExpr {
    SetExpr::Select(Box::new(Select {
        select_token: AttachedToken::empty(),
        optimizer_hints: Vec::new(),
        distinct: None,
        select_modifiers: None,
        top: None,
        top_before_distinct: false,
        projection,
        exclude: None,
        into: None,
        from,
        lateral_views: Vec::new(),
        prewhere: None,
        selection: None,
        connect_by: Vec::new(),
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        cluster_by: Vec::new(),
        distribute_by: Vec::new(),
        sort_by: Vec::new(),
        having: None,
        named_window: Vec::new(),
        qualify: None,
        window_before_qualify: false,
        value_table_mode: None,
        flavor: SelectFlavor::Standard,
    }))
}

/// What stands beside RIGHT and FULL JOIN sees nothing of what is joined with it, so a function there is not LATERAL: its arguments
/// are columns of queries further out.
pub fn beside_outer_joins(item: &mut TableWithJoins) {
    within_parentheses(&mut item.relation);
    for join in &mut item.joins {
        within_parentheses(&mut join.relation);
        let outer = matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        );
        match &mut join.relation {
            TableFactor::Derived { lateral, .. } => *lateral &= !outer,
            // A function is always seen as LATERAL, but for one in a subquery.
            TableFactor::UNNEST { alias, .. } if outer => {
                let alias = alias.clone();
                join.relation = TableFactor::Derived {
                    lateral: false,
                    subquery: all_of(join.relation.clone()),
                    alias,
                    sample: None,
                };
            }
            _ => {}
        }
    }
}

fn within_parentheses(factor: &mut TableFactor) {
    if let TableFactor::NestedJoin {
        table_with_joins, ..
    } = factor
    {
        beside_outer_joins(table_with_joins);
    }
}
