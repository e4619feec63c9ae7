//! JSON kernels over Arrow arrays and the DataFusion functions made of them; no table, no session, no clock.
//!
//! A `jsonb` column is canonical JSON text ([`canonical`]) in a `Utf8View` column whose field says so ([`pg_type`]). The functions
//! read ([`json_get`], [`json_exists`], [`json_contains`]), make ([`json_input`]), take apart, change and merge ([`json_merge_patch`],
//! [`json_merge_agg`]) such values; [`json_expr_planner`] gives them their operators. All of them are registered by
//! [`register_all`].

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)
)]

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

pub mod canonical;
mod json_args;
pub mod json_contains;
mod json_edit;
pub mod json_error;
pub mod json_exists;
pub mod json_expr_planner;
pub mod json_get;
pub mod json_input;
pub mod json_merge_agg;
pub mod json_merge_patch;
mod json_node;
mod json_path;
mod json_reader;
mod json_sets;
mod json_shape;
pub mod pg_type;
#[cfg(test)]
mod random_json;
#[cfg(test)]
mod sql_tests;
mod verbatim_views;

pub use json_error::JsonError;
pub use json_reader::JSON_DEPTH_MAX;
pub use json_sets::MemberForm;

/// The elements of an array literal of one dimension such as `{a,NULL,"b c"}`; an unquoted `NULL` is none.
///
/// # Errors
/// SQLSTATE 22P02 if the text is no such literal.
pub fn array_literal(text: &str) -> std::result::Result<Vec<Option<String>>, JsonError> {
    json_path::array_literal::parse(text)
}

/// A member of each object in an array of objects, as text; none where it is null or missing. Errors name `function`.
///
/// # Errors
/// SQLSTATE 22023 for a document that is no array of objects, and those of text that is not JSON.
pub fn field_of_elements(
    function: &str,
    document: &str,
    field: &str,
    form: MemberForm,
) -> std::result::Result<Vec<Option<String>>, JsonError> {
    json_sets::field_of_elements(function, document, field, form)
}

/// A member of an object as the only element.
///
/// # Errors
/// As [`field_of_elements`].
pub fn field_of_object(
    function: &str,
    document: &str,
    field: &str,
    form: MemberForm,
) -> std::result::Result<Vec<Option<String>>, JsonError> {
    json_sets::field_of_object(function, document, field, form)
}

/// All scalar functions of this crate.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let shapes = json_shape::JsonShape::all();
    let mut functions: Vec<Arc<ScalarUDF>> = vec![
        Arc::new(json_input::JsonInput::jsonb().into()),
        Arc::new(json_input::JsonInput::json().into()),
        Arc::new(json_get::JsonGet::get().into()),
        Arc::new(json_get::JsonGet::get_text().into()),
        Arc::new(json_get::JsonGet::get_path().into()),
        Arc::new(json_get::JsonGet::get_path_text().into()),
        Arc::new(json_contains::JsonContains::contains().into()),
        Arc::new(json_contains::JsonContains::contained().into()),
        Arc::new(json_exists::JsonExists::one().into()),
        Arc::new(json_exists::JsonExists::any().into()),
        Arc::new(json_exists::JsonExists::all().into()),
        Arc::new(json_merge_patch::JsonMergePatch::default().into()),
    ];
    functions.extend(shapes.map(|function| Arc::new(function.into())));
    functions.extend(json_sets::JsonSet::all().map(|function| Arc::new(function.into())));
    functions.extend(json_edit::JsonEdit::all().map(|function| Arc::new(function.into())));
    functions
}

/// All aggregate functions of this crate.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    vec![Arc::new(json_merge_agg::JsonMergeAgg::default().into())]
}

/// All planners of operators of this crate.
pub fn expr_planners() -> Vec<Arc<dyn ExprPlanner>> {
    vec![Arc::new(json_expr_planner::JsonExprPlanner)]
}

/// Registers all functions and planners of this crate.
///
/// # Errors
/// If the registry takes no functions or no planners.
pub fn register_all(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalar_functions() {
        registry.register_udf(function)?;
    }
    for function in aggregate_functions() {
        registry.register_udaf(function)?;
    }
    for planner in expr_planners() {
        registry.register_expr_planner(planner)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_name_is_used_twice() {
        let mut names = HashSet::new();
        let scalar = scalar_functions();
        let aggregate = aggregate_functions();
        let all = scalar
            .iter()
            .map(|function| (function.name(), function.aliases()))
            .chain(
                aggregate
                    .iter()
                    .map(|function| (function.name(), function.aliases())),
            );
        for (name, aliases) in all {
            assert!(names.insert(name.to_string()), "{name}");
            for alias in aliases {
                assert!(names.insert(alias.clone()), "{alias}");
            }
        }
    }
}
