//! Statements that ask how large tables are. A size is told without waiting for files, so what lists them is loaded first.

use std::ops::ControlFlow;
use std::time::Duration;

use futures::StreamExt;
use nyala_catalog::definitions::Relation;
use nyala_catalog::{ReadView, load_statistics};
use sqlparser::ast::{Expr, Ident, Visit, visit_expressions};

/// How long a statement waits for it. What is not loaded then, as of an object store that does not answer, is told as unknown.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Tables that are loaded at a time.
const LOADED_AT_ONCE: usize = 16;

/// Columns of system relations that tell rows of tables.
const COLUMNS: [&str; 2] = ["n_live_tup", "reltuples"];

/// Functions that tell bytes of tables.
const FUNCTIONS: [&str; 4] = [
    "pg_database_size",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
];

/// Whether a statement asks for sizes.
pub(super) fn are_asked(node: &impl Visit) -> bool {
    let asked = visit_expressions(node, |expr| {
        let (names, name) = match expr {
            Expr::Function(function) => {
                let name = function.name.0.last().and_then(|part| part.as_ident());
                (FUNCTIONS.as_slice(), name)
            }
            Expr::Identifier(name) => (COLUMNS.as_slice(), Some(name)),
            Expr::CompoundIdentifier(parts) => (COLUMNS.as_slice(), parts.last()),
            _ => return ControlFlow::Continue(()),
        };
        let is = |name: &Ident| names.contains(&name.value.to_ascii_lowercase().as_str());
        match name.is_some_and(is) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    asked.is_break()
}

/// Loads what tells the sizes of all tables.
pub(super) async fn load(view: &ReadView) {
    let tables = view
        .definitions
        .relations()
        .filter_map(|relation| match relation {
            // One that cannot be loaded has an unknown size; a statement that reads its rows is told why.
            Relation::Table(table) if !matches!(view.table_size(table), Ok(Some(_))) => Some(table),
            _ => None,
        });
    let loads =
        futures::stream::iter(tables).for_each_concurrent(LOADED_AT_ONCE, |table| async move {
            let _ = load_statistics(view, table).await;
        });
    let _ = tokio::time::timeout(WAIT_MAX, loads).await;
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::PostgreSqlDialect;
    use sqlparser::parser::Parser;

    use super::are_asked;

    #[test]
    fn statements_that_ask_for_sizes_are_told_apart() {
        let asked = |sql: &str| {
            let parsed = Parser::parse_sql(&PostgreSqlDialect {}, sql);
            are_asked(&parsed.unwrap())
        };
        assert!(asked("SELECT reltuples FROM pg_catalog.pg_class"));
        assert!(asked("SELECT pg_size_pretty(pg_total_relation_size('t'))"));
        assert!(asked("SELECT 1 WHERE 1 < (SELECT pg_database_size('d'))"));
        assert!(!asked("SELECT relname FROM pg_catalog.pg_class"));
        assert!(!asked("SELECT pg_size_pretty(8192::bigint)"));
    }
}
