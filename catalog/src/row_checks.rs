//! CHECK constraints: what is stored of them, and where they are enforced.
//!
//! The catalog keeps conditions as text and never looks into it. Whoever writes rows has the conditions compiled and gives them
//! to the table ([`RowChecks::set`]); a write to a table whose conditions nobody has compiled fails, so none is ever
//! passed over. A definition that changes is another [`crate::definitions::Table`], with conditions of its own.

use std::sync::{Arc, OnceLock};

use arrow::array::{Array, BooleanArray, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::definitions::{Oid, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::row_text::row_text;

/// A CHECK constraint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckDef {
    /// Object identifier.
    pub oid: Oid,
    /// Name, unique among the table's constraints.
    pub name: String,
    /// SQL text of the condition, over the table's columns.
    pub condition: String,
}

/// A condition that can be asked about rows.
pub trait RowCheck: Send + Sync {
    /// Whether it holds, for each of some rows with all columns of the table. NULL is no violation.
    fn holds(&self, rows: &RecordBatch) -> Result<BooleanArray>;
}

/// The compiled conditions of a table, in the order of its constraints.
#[derive(Default)]
pub struct RowChecks(OnceLock<Vec<Arc<dyn RowCheck>>>);

impl std::fmt::Debug for RowChecks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let compiled = self.0.get().map(Vec::len);
        f.debug_tuple("RowChecks").field(&compiled).finish()
    }
}

impl RowChecks {
    /// Whether the conditions are there.
    pub fn are_set(&self) -> bool {
        self.0.get().is_some()
    }

    /// Gives the table its conditions. Those that it has stay.
    pub fn set(&self, checks: Vec<Arc<dyn RowCheck>>) {
        drop(self.0.set(checks));
    }
}

impl Table {
    /// 23514 if a row violates a constraint.
    pub(crate) fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        if self.def.checks.is_empty() {
            return Ok(());
        }
        let compiled = self.checks.0.get().map_or(&[][..], Vec::as_slice);
        if compiled.len() != self.def.checks.len() {
            return Err(CatalogError::internal(
                "rows are written to a table whose CHECK constraints are not compiled",
            ));
        }
        for (def, check) in self.def.checks.iter().zip(compiled) {
            let holds = check.holds(rows)?;
            if holds.false_count() > 0 {
                let mut rows_at = 0..holds.len();
                let at = rows_at.find(|at| holds.is_valid(*at) && !holds.value(*at));
                return Err(self.check_violation(def, rows, at.unwrap_or_default()));
            }
        }
        Ok(())
    }

    fn check_violation(&self, def: &CheckDef, rows: &RecordBatch, at: usize) -> CatalogError {
        CatalogError::new(
            ErrorKind::CheckViolation,
            format!(
                "new row for relation \"{}\" violates check constraint \"{}\"",
                self.def.name, def.name
            ),
        )
        .with_detail(format!("Failing row contains ({}).", row_text(rows, at)))
        .with_table(&self.def.name)
        .with_constraint(&def.name)
    }
}
