//! What the runs that rewrite a table's files share: the table as it is now, and the intent that says one has begun.
//!
//! An intent is stored before anything is written and deleted by the run's last commit, so that a start knows what was cut off.
//! What has to be done about it differs: [`crate::housekeeping`] and [`crate::offload`] say.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::committer::{CommitRequest, Move};
use crate::definitions::{DatabaseDef, Oid, Relation, Table};
use crate::error::{CatalogError, ErrorKind, Result};
use crate::transaction::ReadView;

/// A run that has begun.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) database: Oid,
    pub(crate) table: Oid,
}

/// Stores the intent of a run under a key of `meta`, and tells the committer what it needs to know.
pub(crate) async fn begin(
    catalog: &Catalog,
    database: &DatabaseDef,
    table: &Table,
    key: String,
    told: Move,
) -> Result<()> {
    let intent = Intent {
        database: database.oid,
        table: table.def.oid,
    };
    let request = CommitRequest {
        // Nobody else writes this key: it is written under the rewriter lock.
        snapshot_csn: u64::MAX,
        meta: vec![(key, Some(serde_json::to_vec(&intent)?))],
        row_move: Some(told),
        ..CommitRequest::default()
    };
    catalog.commit(request).await.map(drop)
}

/// The table as it is now, and a view of now.
pub(crate) fn current_table(
    catalog: &Arc<Catalog>,
    database: &DatabaseDef,
    oid: Oid,
) -> Result<(ReadView, Arc<Table>)> {
    let transaction = catalog.begin(database)?;
    let view = transaction.view().clone();
    match view.definitions.relation_by_oid(oid) {
        Some(Relation::Table(table)) => {
            let table = Arc::clone(table);
            Ok((view, table))
        }
        Some(other) => Err(CatalogError::new(
            ErrorKind::WrongObjectType,
            format!("\"{}\" is not a table", other.name()),
        )),
        None => Err(CatalogError::new(
            ErrorKind::UndefinedTable,
            format!("relation with OID {oid} does not exist"),
        )),
    }
}
