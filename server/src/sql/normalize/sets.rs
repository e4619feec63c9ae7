//! Functions that return sets, by the arrays whose elements are their rows.
//!
//! `unnest` is the one function of DataFusion that makes rows of a value, in FROM over columns of what stands before and in the select
//! list. So `jsonb_each(d)` becomes `unnest(keys of d, values of d)`, and WITH ORDINALITY one array more.

use sqlparser::ast::{
    AccessExpr, ArrayElemTypeDef, CastKind, DataType, Expr, FunctionArg, FunctionArgExpr, Ident,
    ObjectName, TableAlias, TableAliasColumnDef, TableFactor, Value,
};

use crate::sql::normalize::{build, calls, labels, system_name};

/// What a set-returning function is spelled with.
struct Set {
    arrays: Vec<Expr>,
    /// Names of the columns; none where the one column is named after the function or its alias.
    columns: &'static [&'static str],
}

impl Set {
    fn of(function: &str, arguments: &[Expr]) -> Option<Self> {
        let call = |name: &str| build::call(name, arguments.to_vec());
        let (arrays, columns): (_, &'static [&'static str]) = match function {
            "json_array_elements" => (vec![call("nyala_json_elements")], &["value"]),
            "jsonb_array_elements" => (vec![call("nyala_jsonb_elements")], &["value"]),
            "json_array_elements_text" => (vec![call("nyala_json_elements_text")], &["value"]),
            "jsonb_array_elements_text" => (vec![call("nyala_jsonb_elements_text")], &["value"]),
            "json_object_keys" => (vec![call("nyala_json_keys")], &[]),
            "jsonb_object_keys" => (vec![call("nyala_jsonb_keys")], &[]),
            "json_each" => {
                let arrays = vec![call("nyala_json_each_keys"), call("nyala_json_values")];
                (arrays, &["key", "value"])
            }
            "jsonb_each" => {
                let arrays = vec![call("nyala_jsonb_each_keys"), call("nyala_jsonb_values")];
                (arrays, &["key", "value"])
            }
            "json_each_text" => {
                let arrays = vec![call("nyala_json_each_keys"), call("nyala_json_values_text")];
                (arrays, &["key", "value"])
            }
            "jsonb_each_text" => {
                let arrays = vec![
                    call("nyala_jsonb_each_keys"),
                    call("nyala_jsonb_values_text"),
                ];
                (arrays, &["key", "value"])
            }
            "regexp_split_to_table" => (vec![call("regexp_split_to_array")], &[]),
            "string_to_table" => (vec![call("string_to_array")], &[]),
            _ => return None,
        };
        Some(Self { arrays, columns })
    }
}

/// Spells a set-returning function in FROM; false where it is none of these.
pub fn in_from(factor: &mut TableFactor) -> bool {
    let (function, arguments, alias, with_ordinality) = match factor {
        TableFactor::Table {
            name,
            alias,
            args: Some(arguments),
            with_ordinality,
            ..
        } => match system_name(name) {
            Some(name) => (name, expressions(&arguments.args), alias, *with_ordinality),
            None => return false,
        },
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality,
            ..
        } => match system_name(name) {
            Some(name) => (name, expressions(args), alias, *with_ordinality),
            None => return false,
        },
        TableFactor::UNNEST {
            alias,
            array_exprs,
            with_offset: false,
            with_ordinality: true,
            ..
        } => ("unnest".to_string(), Some(array_exprs.clone()), alias, true),
        _ => return false,
    };
    let Some(arguments) = arguments else {
        return false;
    };
    if let Some(json) = record_function(&function)
        && let Some(record) = record(json, &function, &arguments, alias)
    {
        *factor = record;
        return true;
    }
    let set = match (function.as_str(), with_ordinality) {
        ("unnest", true) => Set {
            arrays: arguments,
            columns: &[],
        },
        ("generate_series", true) => Set {
            arrays: vec![build::call(calls::SERIES, calls::series_bounds(arguments))],
            columns: &[],
        },
        _ => match Set::of(&function, &arguments) {
            Some(set) => set,
            None => return false,
        },
    };
    let mut alias = alias.take().unwrap_or_else(|| TableAlias {
        explicit: true,
        name: Ident::new(function.as_str()),
        columns: Vec::new(),
        at: None,
    });
    let mut arrays = set.arrays;
    let mut names: Vec<Ident> = match set.columns {
        [] => vec![alias.name.clone(); arrays.len()],
        names => names.iter().map(|name| Ident::new(*name)).collect(),
    };
    if with_ordinality {
        arrays.push(build::call("nyala_ordinals", arrays.clone()));
        names.push(Ident::new("ordinality"));
    }
    // Two columns of one name are told apart where the client does not see it.
    for at in 1..names.len() {
        let (before, rest) = names.split_at_mut(at);
        if let Some(name) = rest.first_mut()
            && before.contains(name)
        {
            *name = labels::suffixed(&build::fold(name), at);
        }
    }
    // An alias that names only some columns leaves the others their names.
    for name in names.into_iter().skip(alias.columns.len()) {
        alias.columns.push(TableAliasColumnDef {
            name,
            data_type: None,
        });
    }
    *factor = TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs: arrays,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    };
    true
}

/// The function that takes one field of the records of a document, by the function that returns the records.
fn record_function(name: &str) -> Option<&'static str> {
    match name {
        "json_to_recordset" | "jsonb_to_recordset" => Some("nyala_json_fields"),
        "json_to_record" | "jsonb_to_record" => Some("nyala_json_field"),
        _ => None,
    }
}

/// `jsonb_to_recordset(d) AS t(a int, b text)`: an array for each column, of the type that it is given.
fn record(
    taken_by: &str,
    function: &str,
    arguments: &[Expr],
    alias: &mut Option<TableAlias>,
) -> Option<TableFactor> {
    let [document] = arguments else {
        return None;
    };
    let columns = &alias.as_ref()?.columns;
    // Arrays of arrays would be of two dimensions.
    let is_plain = |column: &TableAliasColumnDef| {
        let ty = column.data_type.as_ref();
        ty.is_some_and(|ty| !matches!(ty, DataType::Array(_)))
    };
    if columns.is_empty() || !columns.iter().all(is_plain) {
        return None;
    }
    let arrays = columns.iter().filter_map(|column| {
        let field = Value::SingleQuotedString(build::fold(&column.name));
        let text = |text: &str| Expr::value(Value::SingleQuotedString(text.to_string()));
        let arguments = vec![
            document.clone(),
            Expr::value(field),
            text(function),
            text(kind(column.data_type.as_ref()?)),
        ];
        let fields = build::call(taken_by, arguments);
        Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(fields),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(
                Box::new(column.data_type.clone()?),
                None,
            )),
            array: false,
            format: None,
        })
    });
    let array_exprs: Vec<Expr> = arrays.collect();
    let mut alias = alias.take()?;
    for column in &mut alias.columns {
        column.data_type = None;
    }
    Some(TableFactor::UNNEST {
        alias: Some(alias),
        array_exprs,
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    })
}

/// In which form a field is taken for a column of a type.
fn kind(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::JSON | DataType::JSONB => "json",
        _ => "text",
    }
}

fn expressions(arguments: &[FunctionArg]) -> Option<Vec<Expr>> {
    let plain = arguments.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    });
    plain.collect()
}

/// Spells a set-returning function in the select list.
pub fn in_select(function: &str, arguments: &[Expr]) -> Option<Expr> {
    if function == "regexp_matches" {
        // Each row is an array itself; an array of them would be one of two dimensions.
        let literals = build::call("nyala_regexp_matches", arguments.to_vec());
        return Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(build::call("unnest", vec![literals])),
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(
                Box::new(DataType::Text),
                None,
            )),
            array: false,
            format: None,
        });
    }
    let set = Set::of(function, arguments)?;
    match set.arrays.as_slice() {
        [_] => Some(build::call("unnest", set.arrays)),
        // Rows of several columns are taken apart by `(jsonb_each(d)).key` only.
        _ => None,
    }
}

/// `(jsonb_each(d)).key` is the one column of the set.
pub fn field_of_set(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    let [AccessExpr::Dot(Expr::Identifier(field))] = access_chain.as_slice() else {
        return;
    };
    let mut call = root.as_ref();
    while let Expr::Nested(inner) = call {
        call = inner;
    }
    let Expr::Function(function) = call else {
        return;
    };
    let arguments = build::plain_arguments(function);
    let (Some(name), Some(arguments)) = (system_name(&function.name), arguments) else {
        return;
    };
    let arguments: Vec<Expr> = arguments.into_iter().cloned().collect();
    let Some(set) = Set::of(&name, &arguments) else {
        return;
    };
    let field = build::fold(field);
    let found = set.columns.iter().position(|column| *column == field);
    if let Some(array) = found.and_then(|at| set.arrays.get(at)) {
        *expr = build::call("unnest", vec![array.clone()]);
    }
}

/// Whether the one column of a function in FROM is named `value`, whatever the alias.
pub fn returns_value(function: &ObjectName) -> bool {
    let name = system_name(function);
    let set = name.and_then(|name| Set::of(&name, &[]));
    set.is_some_and(|set| set.columns == ["value"])
}
