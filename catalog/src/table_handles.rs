//! Handles on one closed table or snapshot, as the definitions that statements use see it.
//!
//! Mostly there is one. After ALTER TABLE there are two until the last statement on the old definition is done, so the
//! oldest is forgotten when there are more; a statement that still needs it gets a new one.

use std::collections::VecDeque;

use crate::closed_table::{ClosedTable, ClosedTableSpec};
use crate::definitions::Table;
use crate::error::Result;

/// Definitions of one table that are remembered.
const DEFINITIONS_MAX: usize = 4;

/// Handles on one table's files.
#[derive(Default)]
pub(crate) struct Handles(VecDeque<ClosedTable>);

impl Handles {
    /// One handle.
    pub(crate) fn of(table: ClosedTable) -> Self {
        Self(VecDeque::from([table]))
    }

    /// The handle of a definition that a statement before has used, too.
    pub(crate) fn of_definition(&self, table: &Table) -> Option<ClosedTable> {
        let known = self
            .0
            .iter()
            .rev()
            .find(|known| known.has_columns(&table.files));
        known.cloned()
    }

    /// The handle that sees the files as `spec` says; the first one is what `open` gives.
    pub(crate) fn seen_as(
        &mut self,
        spec: ClosedTableSpec,
        open: impl FnOnce(ClosedTableSpec) -> Result<ClosedTable>,
    ) -> Result<ClosedTable> {
        if let Some(known) = self.0.iter().rev().find(|known| known.is_seen_as(&spec)) {
            return Ok(known.clone());
        }
        let table = match self.0.back() {
            Some(other) => other.seen_as(spec)?,
            None => open(spec)?,
        };
        self.0.push_back(table.clone());
        while self.0.len() > DEFINITIONS_MAX {
            self.0.pop_front();
        }
        Ok(table)
    }
}
