//! Names of functions and of system columns.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CastKind, DataType, Expr, FunctionArguments, Ident, ObjectName,
    Select, SelectItem, TableFactor, TableWithJoins, TimezoneInfo, Value, visit_expressions,
    visit_expressions_mut,
};

use crate::pg_catalog;
use crate::sql::normalize::{build, casts, labels, last_name, system_name};

/// Whether a word is one of the functions that are called without parentheses and are names to the parser.
pub fn is_keyword(name: &Ident) -> bool {
    name.quote_style.is_none()
        && matches!(
            name.value.to_lowercase().as_str(),
            "current_catalog"
                | "current_role"
                | "current_schema"
                | "current_user"
                | "session_user"
                | "user"
        )
}

/// `current_user` and its like are functions that are called without parentheses.
pub fn keyword(expr: &mut Expr) {
    match expr {
        Expr::Identifier(name) if is_keyword(name) => {
            *expr = build::call(&build::fold(name), Vec::new());
        }
        Expr::Function(function) if matches!(function.args, FunctionArguments::None) => {
            function.args = build::arguments(Vec::new());
            // Both are what the clock of the session's zone shows, so they are casts of the instant.
            let data_type = match system_name(&function.name).as_deref() {
                Some("current_date") => DataType::Date,
                Some("localtime") => DataType::Time(None, TimezoneInfo::None),
                Some("localtimestamp") => DataType::Timestamp(None, TimezoneInfo::None),
                _ => return,
            };
            *expr = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(build::call("now", Vec::new())),
                data_type,
                array: false,
                format: None,
            };
        }
        _ => {}
    }
}

/// `pg_listening_channels()` returns a set: the elements of an array.
pub fn listening_channels(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && system_name(&function.name).as_deref() == Some("pg_listening_channels")
    {
        let channels = build::call("nyala_listening_channels", Vec::new());
        *expr = build::call("unnest", vec![channels]);
    }
}

/// `pg_partition_ancestors(x)` returns a set, which is empty: no table has partitions.
pub fn partition_ancestors(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && system_name(&function.name).as_deref() == Some("pg_partition_ancestors")
    {
        let none = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(Expr::Array(sqlparser::ast::Array {
                elem: Vec::new(),
                named: true,
            })),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(
                Box::new(DataType::Integer(None)),
                None,
            )),
            array: false,
            format: None,
        };
        *expr = build::call("unnest", vec![none]);
    }
}

/// `pg_catalog.lower(x)` is `lower(x)`: DataFusion's functions have no schema.
pub fn strip_schema(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let Some(name) = system_name(&function.name) else {
        return;
    };
    if let Some(lookup) = casts::lookup_function(&name) {
        function.name = ObjectName::from(vec![Ident::new(lookup)]);
    } else if function.name.0.len() > 1 {
        function.name = ObjectName::from(vec![Ident::new(name)]);
    }
}

/// System columns of system relations, which are the same for all their rows: psql joins descriptions on `tableoid`, and IDEs
/// compare `xmin` to see what has changed. The rows are made by the statement that reads them, so that is its own transaction.
pub fn resolve_system_columns(select: &mut Select) {
    let mut oids = HashMap::new();
    for factor in select.from.iter().flat_map(factors) {
        if let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
            && let Some((table, oid)) = system_table(name)
        {
            let alias = alias.as_ref().map(|alias| build::fold(&alias.name));
            oids.insert(alias.unwrap_or(table), oid);
        }
    }
    if oids.is_empty() {
        return;
    }
    // Without a table's name the column is that of the one relation.
    let only = match select.from.as_slice() {
        [item] if item.joins.is_empty() => oids.values().next().copied(),
        _ => None,
    };
    let value = |expr: &Expr| {
        let (oid, column) = match expr {
            Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, column] => (*oids.get(&build::fold(table))?, column),
                _ => return None,
            },
            Expr::Identifier(column) => (only?, column),
            _ => return None,
        };
        let value = match build::fold(column).as_str() {
            "tableoid" => build::number(oid),
            "xmin" => build::call("nyala_xmin", Vec::new()),
            _ => return None,
        };
        Some((value, column.clone()))
    };
    let mut named = HashSet::new();
    for (position, item) in select.projection.iter_mut().enumerate() {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Some((expr, name)) = value(expr)
        {
            let name = build::fold(&name);
            let alias = match named.insert(name.clone()) {
                true => Ident::with_quote('"', name),
                false => labels::suffixed(&name, position),
            };
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    let _: ControlFlow<()> = visit_expressions_mut(select, |expr| {
        if let Some((value, _)) = value(expr) {
            *expr = value;
        }
        ControlFlow::Continue(())
    });
}

/// The relations of a FROM item and of its joins.
pub fn factors(item: &TableWithJoins) -> impl Iterator<Item = &TableFactor> {
    std::iter::once(&item.relation).chain(item.joins.iter().map(|join| &join.relation))
}

/// Name and OID of a relation that is named with schema `pg_catalog`.
pub fn system_relation(name: &ObjectName) -> Option<(String, u32)> {
    let is_system = name.0.len() == 2 && system_name(name).is_some();
    let table = last_name(name).filter(|_| is_system)?;
    let oid = pg_catalog::relation_oid(pg_catalog::PG_CATALOG, &table)?;
    Some((table, oid))
}

/// As [`system_relation`], with or without the schema, where PostgreSQL has a table: views have no system columns.
fn system_table(name: &ObjectName) -> Option<(String, u32)> {
    let table = system_name(name)?;
    let oid = pg_catalog::table_oid(&table)?;
    Some((table, oid))
}

/// `(expression).field` is `get_field(expression, 'field')`; a name before the dot is a table's.
pub fn field_access(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    if let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice()
        && matches!(root.as_ref(), Expr::Nested(_) | Expr::Function(_))
    {
        let field = Expr::value(Value::SingleQuotedString(build::fold(field)));
        *expr = build::call("get_field", vec![build::take(root), field]);
    }
}

/// Whether an expression calls a function that aggregates or returns a set.
pub fn calls_aggregate_or_set(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |part| {
        let name = match part {
            Expr::Function(function) => system_name(&function.name),
            _ => None,
        };
        match name {
            Some(name) if pg_catalog::is_aggregate_or_set(&name) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    found.is_break()
}

/// `timezone(zone, time)` is `time AT TIME ZONE zone`.
pub fn timezone(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    if system_name(&function.name).as_deref() != Some("timezone") {
        return;
    }
    let operands = match build::plain_arguments(function).as_deref() {
        Some([zone, time]) => (Box::new((*zone).clone()), Box::new((*time).clone())),
        _ => return,
    };
    let (time_zone, timestamp) = operands;
    *expr = Expr::AtTimeZone {
        timestamp,
        time_zone,
    };
}

/// `substring(text FROM 'pattern')` is what the pattern matches, or its first group if it has one.
pub fn substring_of_pattern(expr: &mut Expr) {
    let Expr::Substring {
        expr: text,
        substring_from: Some(pattern),
        substring_for: None,
        ..
    } = expr
    else {
        return;
    };
    let is_pattern = matches!(
        pattern.as_ref(),
        Expr::Value(value) if matches!(
            value.value,
            Value::SingleQuotedString(_) | Value::EscapedStringLiteral(_)
        )
    );
    if is_pattern {
        let arguments = vec![build::take(text), build::take(pattern)];
        let groups = build::call("regexp_match", arguments);
        *expr = build::call("array_element", vec![groups, build::number(1)]);
    }
}
