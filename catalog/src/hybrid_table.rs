//! The reading rule: what rows a table has. Nothing else decides it.
//!
//! One statement takes one snapshot of the row store ([`ReadView`]). The manifest, the shadow and
//! the open rows all come from it, so every table of the statement is seen at one commit sequence
//! number, whatever commits or moves meanwhile:
//!
//! ```text
//! rows(table) = closed table at the manifest's version, minus the keys in shadow_closed
//!             + open rows
//!
//! open rows   = rows of the row store
//!             = snapshot at its manifest's version, minus the fresh keys, + the fresh rows
//! ```
//!
//! - The two ways to the open rows give the same rows: the committer puts what it writes to the row store into the fresh
//!   keyspace too. Single keys are read from the row store; scans read the snapshot, if the table has one.
//! - A row is never on both sides: housekeeping's last step removes it from the row store and shows
//!   the closed version in one batch; a write to a closed row puts its key into the shadow in the
//!   same batch as the new row.
//! - Projection, filters and limits reach both sides. The closed side prunes files by their
//!   statistics; one whose files are all pruned is not read.
//! - With an empty shadow the closed side is read as it is: no key column that the query did not ask
//!   for, no filter on top. With one the rows of its keys are left out by position ([`crate::shadow_log`]).

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::{Result as DataFusionResult, ScalarValue, Statistics};
use datafusion::datasource::{TableProvider, TableType};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, col, lit};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::closed_table::ClosedVersion;
use crate::definitions::Table;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::index::choose::choose;
use crate::key_range::{KeyRange, key_range};
use crate::open_table::{OpenScanExec, RowSource};
use crate::row_store::Space;
use crate::transaction::ReadView;

mod estimates;
mod parts;
mod shadow_filter;

pub use estimates::load_statistics;
use parts::PartsExec;
pub use parts::physical_optimizer_rules;
use shadow_filter::ShadowFilterExec;

/// Keys up to which a key filter lists them one by one; more are filtered by their range only.
const KEY_FILTER_LIST_MAX: usize = 64;

/// The side of a table that a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// `contracts`: all rows.
    All,
    /// `contracts$open`: rows in the row store.
    Open,
    /// `contracts$closed`: rows in the closed table.
    Closed,
    /// `contracts$snapshot`: open rows as of the last offload.
    Snapshot,
    /// `contracts$history`: the versions that can be read again. Not rows of the table.
    History,
}

/// Where a statement reads open rows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpenReads {
    /// As they are now.
    #[default]
    Fresh,
    /// As of the last offload, without touching the row store: for tables without a closed part that have a snapshot.
    /// In a hybrid table rows move between the parts, so both have to be of one moment; its rows are always fresh.
    Snapshot,
}

/// A query without filters for so few rows reads the row store: it has the first of them at hand.
const FEW_ROWS: usize = 1_000;

impl Part {
    /// Suffix of the part's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::All => "",
            Self::Open => "$open",
            Self::Closed => "$closed",
            Self::Snapshot => "$snapshot",
            Self::History => "$history",
        }
    }

    /// Splits `contracts$open` into the table's name and the part.
    pub fn split(name: &str) -> (&str, Self) {
        for part in [Self::Open, Self::Closed, Self::Snapshot, Self::History] {
            if let Some(table) = name.strip_suffix(part.suffix()) {
                return (table, part);
            }
        }
        (name, Self::All)
    }
}

/// A table as one statement reads it.
#[derive(Debug)]
pub struct TableScan {
    view: ReadView,
    table: Arc<Table>,
    part: Part,
    open_reads: OpenReads,
    schema: SchemaRef,
}

impl TableScan {
    /// The rows of one part of a table.
    pub fn new(view: ReadView, table: Arc<Table>, part: Part, open_reads: OpenReads) -> Self {
        let schema = Arc::clone(&table.schema);
        Self {
            view,
            table,
            part,
            open_reads,
            schema,
        }
    }

    /// All rows of a table with, where it has no primary key, the hidden row number as last column.
    pub fn with_addresses(view: ReadView, table: Arc<Table>) -> Result<Self> {
        let mut columns: Vec<usize> = (0..table.schema.fields().len()).collect();
        if table.codec.has_row_numbers() {
            columns.push(columns.len());
        }
        let schema = table.codec.projected_schema(&columns)?;
        Ok(Self {
            view,
            table,
            part: Part::All,
            open_reads: OpenReads::Fresh,
            schema,
        })
    }

    /// An error for a materialized view whose rows nobody has asked for.
    fn check_populated(&self) -> Result<()> {
        let materialized = self.table.def.materialized.as_ref();
        if materialized.is_none_or(|materialized| materialized.populated) {
            return Ok(());
        }
        let name = &self.table.def.name;
        Err(CatalogError::new(
            ErrorKind::NotPopulated,
            format!("materialized view \"{name}\" has not been populated"),
        )
        .with_hint("Use the REFRESH MATERIALIZED VIEW command."))
    }

    async fn scan_closed(
        &self,
        session: &dyn Session,
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(manifest) = self.view.manifest(&self.table)? else {
            return Ok(None);
        };
        let closed = self.view.catalog.closed_table(&self.table)?;
        let version = closed.at_version(manifest.closed_version).await?;
        if version.file_count() == 0 {
            return Ok(None);
        }
        let space = Space::ShadowClosed(self.table.def.storage);
        let Some(log) = self.view.catalog.shadow_logs.find(space, version.version()) else {
            let shadow = self.view.shadow_closed(&self.table)?;
            return self.scan_files(session, &version, shadow, projection, filters, limit);
        };
        let own = self.view.own_reopened(&self.table);
        let left_out = log
            .left_out(&self.table, &closed, &version, self.view.csn, &own)
            .await?;
        let (columns, rows) = (projection.to_vec(), &left_out.rows);
        let plan = version.scan_without(session, Some(&columns), filters, limit, rows)?;
        Ok(Some(plan))
    }

    /// The rows of a version of files, without those of shadowed keys; `None` if it has no files.
    fn scan_files(
        &self,
        session: &dyn Session,
        version: &ClosedVersion,
        shadow: Vec<Vec<u8>>,
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if version.file_count() == 0 {
            return Ok(None);
        }
        if shadow.is_empty() {
            let projection = projection.to_vec();
            return Ok(Some(version.scan(
                session,
                Some(&projection),
                filters,
                limit,
            )?));
        }
        // The shadow removes rows, so a limit below it could stop too early.
        let with_key = ShadowFilterExec::input_projection(&self.table, projection);
        let plan = version.scan(session, Some(&with_key), filters, None)?;
        let shadow: HashSet<Vec<u8>> = shadow.into_iter().collect();
        let table = Arc::clone(&self.table);
        let shadow = Arc::new(shadow);
        Ok(Some(Arc::new(ShadowFilterExec::new(
            plan,
            table,
            projection.len(),
            shadow,
        )?)))
    }

    /// The visible version of the snapshot, if the table has one.
    async fn snapshot(&self) -> Result<Option<Arc<ClosedVersion>>> {
        match self.view.snapshot_manifest(&self.table)? {
            None => Ok(None),
            Some(manifest) => {
                let snapshot = self.view.catalog.snapshot_table(&self.table).await?;
                Ok(Some(snapshot.at_version(manifest.version).await?))
            }
        }
    }

    /// Adds the open rows as of now, from a version of the snapshot and what is fresh.
    async fn scan_snapshot(
        &self,
        session: &dyn Session,
        version: &Arc<ClosedVersion>,
        projection: &[usize],
        filters: &[Expr],
        range: KeyRange,
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let catalog = &self.view.catalog;
        let space = Space::Fresh(self.table.def.storage);
        let Some(log) = catalog.shadow_logs.find(space, version.version()) else {
            // Without a log keys are compared.
            let fresh = self.view.fresh_keys(&self.table)?;
            let files = self.scan_files(session, version, fresh, projection, filters, limit)?;
            let mut sides: Vec<_> = files.into_iter().collect();
            sides.push(self.scan_rows(RowSource::Fresh, projection, range, limit, None)?);
            return Ok(sides);
        };
        let own = self.view.own_keys(&self.table);
        let snapshot = catalog.snapshot_table(&self.table).await?;
        let left_out = log
            .left_out(&self.table, &snapshot, version, self.view.csn, &own)
            .await?;
        let mut sides: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(3);
        if version.file_count() > 0 {
            let (columns, rows) = (projection.to_vec(), &left_out.rows);
            let plan = version.scan_without(session, Some(&columns), filters, limit, rows)?;
            sides.push(plan);
        }
        if left_out.any {
            let fresh = catalog
                .fresh_rows
                .scan(&self.view, &self.table, &log, projection, &range);
            match fresh.await? {
                Some(fresh) => sides.extend(fresh),
                None => {
                    sides.push(self.scan_rows(RowSource::Fresh, projection, range, limit, None)?)
                }
            }
        }
        Ok(sides)
    }

    /// Rows of the row store; `index` names the index that their keys are from.
    fn scan_rows(
        &self,
        source: RowSource,
        projection: &[usize],
        range: KeyRange,
        limit: Option<usize>,
        index: Option<String>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (view, table) = (self.view.clone(), Arc::clone(&self.table));
        let columns = projection.to_vec();
        let scan = OpenScanExec::new(view, table, source, columns, range, limit)?;
        Ok(Arc::new(scan.by_index(index)))
    }

    /// The open rows.
    async fn scan_open(
        &self,
        session: &dyn Session,
        projection: &[usize],
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
        let mut range = key_range(&self.table, filters)?;
        let few = filters.is_empty() && limit.is_some_and(|limit| limit <= FEW_ROWS);
        let mut snapshot = match (&range, few, self.part) {
            (_, _, Part::Snapshot) | (KeyRange::Range(..), false, _) => self.snapshot().await?,
            _ => None,
        };
        let as_of_offload = self.part == Part::Snapshot
            || (self.open_reads == OpenReads::Snapshot && !self.table.is_hybrid());
        let mut index = None;
        // The entries of an index are those of the row store's rows, which are all open rows.
        if !as_of_offload
            && let Some(chosen) =
                choose(&self.view, &self.table, filters, &range, snapshot.is_some())?
        {
            snapshot = None;
            range = KeyRange::Keys(chosen.keys);
            index = Some(chosen.index);
        }
        match snapshot {
            Some(version) if as_of_offload => {
                let all = Vec::new();
                let files = self.scan_files(session, &version, all, projection, filters, limit)?;
                Ok(files.into_iter().collect())
            }
            Some(version) => {
                self.scan_snapshot(session, &version, projection, filters, range, limit)
                    .await
            }
            // A snapshot that was never made is empty.
            None if self.part == Part::Snapshot => Ok(Vec::new()),
            None => {
                let rows = self.scan_rows(RowSource::Rows, projection, range, limit, index)?;
                Ok(vec![rows])
            }
        }
    }
}

#[async_trait]
impl TableProvider for TableScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        self.estimates().ok().flatten()
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.check_populated()?;
        let projection = match projection {
            Some(columns) => columns.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let mut sides: Vec<Arc<dyn ExecutionPlan>> = Vec::with_capacity(2);
        if matches!(self.part, Part::All | Part::Closed)
            && let Some(closed) = self
                .scan_closed(session, &projection, filters, limit)
                .await?
        {
            sides.push(closed);
        }
        // A side without rows would leave the plan without the bounds that the other one knows.
        let closed_only = !sides.is_empty() && self.view.has_no_open_rows(&self.table)?;
        if self.part != Part::Closed && !closed_only {
            let open = self.scan_open(session, &projection, filters, limit);
            sides.extend(open.await?);
        }
        if sides.is_empty() {
            // Even without any row there has to be a plan with the right schema.
            sides.push(Arc::new(EmptyExec::new(
                self.table.codec.projected_schema(&projection)?,
            )));
        }
        PartsExec::of(sides)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }
}

/// Filters that rows with the given keys pass: a list of the first key column's values, or their
/// range. Other rows may pass too.
pub(crate) fn key_range_filter(addresses: &RecordBatch) -> Result<Vec<Expr>> {
    let schema = addresses.schema();
    let (Some(column), Some(field)) = (addresses.columns().first(), schema.fields().first()) else {
        return Ok(Vec::new());
    };
    let name = col(datafusion::common::Column::from_name(field.name()));
    let mut values = Vec::with_capacity(column.len());
    for at in 0..column.len() {
        values.push(ScalarValue::try_from_array(column, at)?);
    }
    if values.len() <= KEY_FILTER_LIST_MAX {
        return Ok(vec![
            name.in_list(values.into_iter().map(lit).collect(), false),
        ]);
    }
    let bounds = values
        .iter()
        .fold(None, |bounds: Option<(&ScalarValue, &ScalarValue)>, v| {
            let (low, high) = bounds.unwrap_or((v, v));
            Some((
                if v < low { v } else { low },
                if v > high { v } else { high },
            ))
        });
    Ok(match bounds {
        Some((low, high)) => vec![
            name.clone().gt_eq(lit(low.clone())),
            name.lt_eq(lit(high.clone())),
        ],
        None => Vec::new(),
    })
}
