//! The life of a statement, from text to rows.
//!
//! 1. [`parse`]: text -> syntax trees, once, by `sqlparser` in PostgreSQL's dialect.
//! 2. The session classifies the tree: transaction control and settings it does itself; the rest
//!    runs in a transaction of the catalog.
//! 3. [`parameters`]: `$1`, `$2`, … get their types at Parse, and their values at Execute.
//! 4. [`normalize`]: PostgreSQL-only syntax becomes what the planner reads.
//! 5. [`planner`]: names are resolved against the transaction's definitions and the system
//!    relations; the tree becomes a logical plan, optimised, and a physical plan.
//! 6. [`query`] streams rows; [`dml`] turns INSERT, UPDATE and DELETE into a query for the rows to
//!    write and hands these to the transaction; [`ddl`] edits definitions; [`copy`] moves bulk data.
//!
//! Nothing here touches a socket, a keyspace or a Delta log.

mod append;
mod array_sets;
pub mod as_of;
pub mod average;
pub mod casts;
pub mod checks;
mod conditions;
pub mod copy;
pub mod date_comparison;
pub mod ddl;
mod dialect;
pub mod dml;
pub mod explain;
mod expressions;
mod from_columns;
mod function_relations;
mod instants;
pub mod integers;
pub mod join_order;
mod json_build;
pub mod jsonb;
mod kernel;
mod library;
mod merged_columns;
pub mod monotonic;
pub mod names;
pub mod normalize;
pub mod numeric;
pub mod operators;
pub mod origin;
mod pacing;
pub mod parameters;
pub mod parse;
pub mod plan_hints;
pub mod planner;
pub mod point;
mod precedence;
pub mod procedures;
pub mod query;
mod restore;
pub mod retyped;
pub mod sequences;
mod series;
mod series_order;
mod set_literals;
pub mod shared_ctes;
mod sound_rules;
pub mod string_agg;
mod strings;
mod table_sizes;
mod templates;
mod time_zone;
pub mod types;
mod unknown_function;
mod whole;
mod whole_rows;
