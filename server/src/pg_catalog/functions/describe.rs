//! Functions that describe objects: their definitions, comments, visibility and sizes.

use crate::error::{PgError, Result, sqlstate};
use crate::pg_catalog::entries::{Entry, Kind};
use crate::pg_catalog::functions::{Call, SystemFunction, lenient, strict};
use crate::pg_catalog::rows::Cell;
use crate::pg_catalog::{comments, keys, procedures, relations, sequences, types};

pub(super) const FUNCTIONS: &[SystemFunction] = &[
    // Nobody counts them.
    strict("pg_stat_get_numscans", "int8", |_| Ok(Cell::Int(0))),
    strict("col_description", "text", col_description),
    strict("nyala_sequence_cycles", "bool", |call| {
        let rule = sequences::rule(call.view, call.oid(0)?);
        Ok(rule.map(|rule| rule.cycle).into())
    }),
    strict("nyala_sequence_field", "int8", |call| {
        Ok(sequences::field(call.view, call.oid(0)?, call.text(1)?).into())
    }),
    // What it means is in the plan, see `sql::normalize`.
    lenient("nyala_with_ties", "int8", |call| Ok(call.cell(0).clone())),
    lenient("format_type", "text", format_type),
    strict("obj_description", "text", obj_description),
    strict("pg_collation_is_visible", "bool", always),
    strict("pg_conversion_is_visible", "bool", always),
    strict("pg_database_size", "int8", database_size),
    strict("pg_function_is_visible", "bool", function_is_visible),
    strict("pg_get_constraintdef", "text", |call| {
        let pretty = *call.cell(1) == Cell::Bool(true);
        Ok(keys::constraint_definition(call.view, call.oid(0)?, pretty).into())
    }),
    strict("pg_get_expr", "text", |call| Ok(call.cell(0).clone())),
    strict("pg_get_function_arguments", "text", function_arguments),
    strict(
        "pg_get_function_identity_arguments",
        "text",
        function_arguments,
    ),
    strict("pg_get_function_result", "text", function_result),
    strict("pg_get_function_sqlbody", "text", nothing),
    strict("pg_get_functiondef", "text", nothing),
    strict("pg_get_indexdef", "text", index_definition),
    strict("pg_get_partition_constraintdef", "text", nothing),
    strict("pg_get_partkeydef", "text", nothing),
    strict("pg_get_ruledef", "text", nothing),
    strict("pg_get_serial_sequence", "text", serial_sequence),
    strict("pg_get_statisticsobjdef_columns", "text", nothing),
    strict("pg_get_triggerdef", "text", nothing),
    strict("pg_get_viewdef", "text", view_definition),
    strict("pg_indexes_size", "int8", indexes_size),
    strict("pg_opclass_is_visible", "bool", always),
    strict("pg_operator_is_visible", "bool", always),
    strict("pg_opfamily_is_visible", "bool", always),
    strict("pg_relation_is_publishable", "bool", |_| Ok(false.into())),
    strict("pg_relation_size", "int8", relation_size),
    strict("pg_statistics_obj_is_visible", "bool", always),
    strict("pg_table_is_visible", "bool", table_is_visible),
    strict("pg_table_size", "int8", relation_size),
    strict("pg_tablespace_location", "text", |_| Ok("".into())),
    strict("pg_total_relation_size", "int8", total_size),
    strict("pg_ts_config_is_visible", "bool", always),
    strict("pg_ts_dict_is_visible", "bool", always),
    strict("pg_ts_parser_is_visible", "bool", always),
    strict("pg_ts_template_is_visible", "bool", always),
    strict("pg_type_is_visible", "bool", |call| {
        Ok(types::name(call.oid(0)?).map(|_| true).into())
    }),
    strict("pg_sequence_last_value", "int8", |call| {
        let oid = call.relation(0)?.unwrap_or_default();
        Ok(call.view.sequences.get(&oid).copied().flatten().into())
    }),
    strict("shobj_description", "text", shobj_description),
];

/// About things that Nyala does not have.
fn nothing(_call: &Call<'_>) -> Result<Cell> {
    Ok(Cell::Null)
}

/// About things that are in `pg_catalog` only, which is always searched.
fn always(_call: &Call<'_>) -> Result<Cell> {
    Ok(true.into())
}

fn format_type(call: &Call<'_>) -> Result<Cell> {
    if *call.cell(0) == Cell::Null {
        return Ok(Cell::Null);
    }
    let modifier = match call.cell(1) {
        Cell::Null => None,
        _ => i32::try_from(call.int(1)?).ok(),
    };
    let name = types::display(call.oid(0)?, modifier);
    Ok(name.unwrap_or_else(|| "???".to_string()).into())
}

fn obj_description(call: &Call<'_>) -> Result<Cell> {
    let oid = call.oid(0)?;
    let catalog = call.cell(1).as_text();
    Ok(comments::of_object(call.view, oid, catalog).into())
}

/// Of what all databases share: databases, and nothing else that has comments.
fn shobj_description(call: &Call<'_>) -> Result<Cell> {
    let oid = call.oid(0)?;
    let is_current = oid == call.view.definitions.database.oid && call.text(1)? == "pg_database";
    let comment = call.view.definitions.comment(oid).filter(|_| is_current);
    Ok(comment.map(str::to_string).into())
}

fn col_description(call: &Call<'_>) -> Result<Cell> {
    let entry = call.view.entries().by_oid(call.oid(0)?);
    let at = usize::try_from(call.int(1)? - 1);
    let column = entry
        .zip(at.ok())
        .and_then(|(entry, at)| entry.columns.get(at));
    Ok(column.and_then(|column| column.comment.clone()).into())
}

fn serial_sequence(call: &Call<'_>) -> Result<Cell> {
    sequences::of_column(call.view, call.text(0)?, call.text(1)?)
}

fn function_is_visible(call: &Call<'_>) -> Result<Cell> {
    Ok(procedures::by_oid(call.oid(0)?)
        .map(|procedure| procedure.is_visible())
        .into())
}

fn function_arguments(call: &Call<'_>) -> Result<Cell> {
    Ok(procedures::by_oid(call.oid(0)?)
        .map(|procedure| procedure.argument_list())
        .into())
}

fn function_result(call: &Call<'_>) -> Result<Cell> {
    Ok(procedures::by_oid(call.oid(0)?)
        .and_then(|procedure| procedure.result_name())
        .into())
}

fn index_definition(call: &Call<'_>) -> Result<Cell> {
    let column = if call.arguments.len() > 1 {
        call.int(1)?
    } else {
        0
    };
    let index = call.relation(0)?.unwrap_or_default();
    Ok(keys::index_definition(call.view, index, column).into())
}

fn view_definition(call: &Call<'_>) -> Result<Cell> {
    let entry = call
        .relation(0)?
        .and_then(|oid| call.view.entries().by_oid(oid));
    Ok(entry.and_then(relations::view_definition).into())
}

fn table_is_visible(call: &Call<'_>) -> Result<Cell> {
    let entry = call.view.entries().by_oid(call.oid(0)?);
    Ok(entry.map(|entry| call.view.is_visible(entry)).into())
}

/// Bytes of a relation without its indexes; unknown while the files of a table are not loaded.
fn relation_size(call: &Call<'_>) -> Result<Cell> {
    let entry = call
        .relation(0)?
        .and_then(|oid| call.view.entries().by_oid(oid));
    match call.cell(1) {
        Cell::Text(fork) if fork != "main" => {
            // What PostgreSQL keeps beside the rows.
            if !["fsm", "vm", "init"].contains(&&**fork) {
                let error = PgError::new(sqlstate::INVALID_PARAMETER_VALUE, "invalid fork name");
                let hint = "Valid fork names are \"main\", \"fsm\", \"vm\", and \"init\".";
                return Err(error.with_hint(hint));
            }
            Ok(entry.map(|_| 0).into())
        }
        _ => Ok(entry.and_then(|entry| bytes_of(call, entry)).into()),
    }
}

fn bytes_of(call: &Call<'_>, entry: &Entry) -> Option<i64> {
    match (call.view.sizes().get(&entry.oid), &entry.kind) {
        (Some(size), _) => i64::try_from(size.bytes).ok(),
        (None, Kind::Table { .. } | Kind::Materialized { .. }) => None,
        // The index of a primary key is the order of the rows; views and system relations are made when they are asked for.
        (None, _) => Some(0),
    }
}

fn bytes_of_indexes(call: &Call<'_>, entry: &Entry) -> i64 {
    let sizes = entry.indexes.iter();
    let sizes = sizes.filter_map(|index| call.view.sizes().get(&index.oid));
    sizes.map(|size| size.bytes as i64).sum()
}

fn indexes_size(call: &Call<'_>) -> Result<Cell> {
    let entry = call
        .relation(0)?
        .and_then(|oid| call.view.entries().by_oid(oid));
    Ok(entry.map(|entry| bytes_of_indexes(call, entry)).into())
}

fn total_size(call: &Call<'_>) -> Result<Cell> {
    let entry = call
        .relation(0)?
        .and_then(|oid| call.view.entries().by_oid(oid));
    let bytes =
        entry.and_then(|entry| Some(bytes_of(call, entry)? + bytes_of_indexes(call, entry)));
    Ok(bytes.into())
}

/// Only the current database's size is known; of others a connection learns nothing.
fn database_size(call: &Call<'_>) -> Result<Cell> {
    let current = &call.view.definitions.database;
    let is_current = match call.cell(0) {
        Cell::Text(name) => *name == current.name,
        _ => call.oid(0)? == current.oid,
    };
    let bytes: u64 = call.view.sizes().values().map(|size| size.bytes).sum();
    Ok(is_current.then_some(bytes as i64).into())
}
