//! Materialized views: tables whose rows are those that a query had when it was last asked for.
//!
//! To everything that reads and keeps rows they are tables. Only who writes them differs: the server lets nothing but
//! REFRESH do so, which gives the table a new storage ([`crate::Transaction::refresh`]) and fills it in the same transaction.

use serde::{Deserialize, Serialize};

use crate::definitions::ViewDef;

/// What makes a table a materialized view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MaterializedDef {
    /// The view whose rows it has: of its own OID, name and columns.
    pub view: ViewDef,
    /// Whether it has rows, of whatever age: those of REFRESH or CREATE … WITH DATA.
    pub populated: bool,
}
