//! The closed part of a hybrid table: rows that never change again, in a Delta table of Parquet files.
//!
//! This module alone reads and writes the Delta log of a closed table. delta-rs keeps the log
//! (commits, checkpoints, snapshots); the files themselves, their statistics and the plans that
//! scan them are made here, because every statement passes through them.
//!
//! What always holds:
//!
//! - A [`ClosedVersion`] is immutable: its list of files and their statistics are pinned when it is
//!   loaded, so a statement sees one version however many commits follow.
//! - Files are written and flushed to disk before the commit that names them. A crash in between
//!   leaves files that no version names, nothing else.
//! - Each commit carries the caller's transaction (`txn`), so a step that was cut off can be told
//!   from one that never happened: [`ClosedTable::transaction_version`].
//! - What a scan returns has exactly the table's own Arrow schema, whatever Delta and Parquet call
//!   the types.
//!
//! - A handle sees all files, of whatever age, as one definition of the table does. The definition may change; then
//!   another handle over the same directory sees them as the new one ([`ClosedTable::seen_as`]).
//!
//! The parts: `schema` (types), `columns` (what the table's columns are in files), `stats` (statistics in the log), `version` (what a version is made
//! of), `scan` and `left_out` (plans), `write`, `rewrite` and `commit` (changes), `partition`, `row_order` and `merge` (which rows are in a
//! file), `vacuum` (removing files), `keys`, `read` and `decoded` (key probes).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::execution::object_store::ObjectStoreUrl;
use deltalake::logstore::LogStoreRef;
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::SaveMode;
use deltalake::table::state::DeltaTableState;
use deltalake::{DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use object_store::path::Path;
use parking_lot::{Mutex, RwLock};
use url::Url;

use crate::object_stores::ObjectStores;
use crate::partitioning::PartitionField;

mod adopt;
mod bucket_hash;
mod columns;
mod commit;
mod convert;
mod decoded;
mod deletion_vector;
mod durable;
mod error;
mod evolve;
mod file_facts;
mod file_format;
mod key_order;
mod keys;
mod left_out;
mod merge;
mod partition;
mod read;
mod rewrite;
mod row_order;
mod scan;
mod schema;
mod stats;
mod vacuum;
mod version;
mod write;

#[cfg(test)]
mod tests;

pub(crate) use adopt::Adoption;
pub use columns::ColumnFiles;
pub use error::{ClosedTableError, Result};
// Nothing outside the crate needs them but `benches/`.
#[doc(hidden)]
pub use left_out::{LeftOutRows, without};
pub use rewrite::Rewrite;
pub(crate) use stats::total as total_statistics;
pub use vacuum::Vacuumed;
pub use version::{ClosedVersion, LiveFile};
pub use write::WrittenFile;

/// Versions of one table kept in memory. Statements that still use a dropped one hold it themselves.
const VERSIONS_CACHED_MAX: usize = 8;

/// Table property that names the key columns, as a JSON array in key order.
const KEY_PROPERTY: &str = "nyala.key";

/// What a closed table is: where it lies, and what its rows look like.
#[derive(Debug, Clone, PartialEq)]
pub struct ClosedTableSpec {
    /// The table's directory, as a URL of one of the [`ObjectStores`].
    pub location: Url,
    /// The table's name, for messages and the Delta metadata.
    pub name: String,
    /// The schema of the rows, with the metadata that tells their SQL types.
    pub schema: SchemaRef,
    /// Indexes of the key columns in `schema`, in key order.
    pub key: Vec<usize>,
    /// What each column of `schema` is in files.
    pub columns: Arc<[ColumnFiles]>,
    /// How files that are written now are divided.
    pub partition: Vec<PartitionField>,
    /// Folder for what sorts write that does not fit into memory.
    pub temporary: PathBuf,
    /// Present if others have written files of the table.
    pub adopted: Option<AdoptedFiles>,
}

/// What differs in a table that others made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdoptedFiles {
    /// Indexes of the Delta table's partition columns in the schema. Others' files do not have them.
    pub partition_columns: Vec<usize>,
}

/// A handle on a closed table. Cheap to clone; clones share the cache of versions.
#[derive(Clone)]
pub struct ClosedTable {
    layout: Arc<Layout>,
    versions: Arc<Versions>,
}

/// Where a table lies and what it is made of; shared by the handle and all its versions.
struct Layout {
    spec: ClosedTableSpec,
    /// The schema of files that are written now.
    file_schema: SchemaRef,
    log_store: LogStoreRef,
    /// Store whose root is the table's directory.
    store: Arc<dyn ObjectStore>,
    /// Store whose root is the file system or bucket, as DataFusion knows it.
    root_store: Arc<dyn ObjectStore>,
    root_url: ObjectStoreUrl,
    /// Indexes of the columns in the order that scans of files have them: partition columns of Delta are last.
    scan_order: Vec<usize>,
    /// The table's directory within `root_store`.
    prefix: Path,
    /// The table's directory, where it is a local one: then writes are flushed to disk.
    directory: Option<PathBuf>,
    readers: Arc<read::ReaderCache>,
    /// Tells what was decoded of files for this definition.
    seen: decoded::Seen,
    /// Versions that were the visible one, with the csn of the commit that ended that.
    superseded: Arc<Mutex<Vec<(u64, u64)>>>,
}

/// The loaded versions of a table.
#[derive(Default)]
struct Versions {
    loaded: RwLock<BTreeMap<u64, Arc<ClosedVersion>>>,
    /// Held while a version is loaded, so that many statements that need it load it once.
    loading: tokio::sync::Mutex<()>,
}

impl Versions {
    fn get(&self, version: u64) -> Option<Arc<ClosedVersion>> {
        self.loaded.read().get(&version).cloned()
    }

    /// The newest loaded version that is not above `version`.
    fn at_most(&self, version: u64) -> Option<Arc<ClosedVersion>> {
        self.loaded
            .read()
            .range(..=version)
            .next_back()
            .map(|(_, loaded)| loaded.clone())
    }

    fn keep(&self, version: Arc<ClosedVersion>) {
        let mut loaded = self.loaded.write();
        loaded.insert(version.version(), version);
        while loaded.len() > VERSIONS_CACHED_MAX {
            loaded.pop_first();
        }
    }
}

impl ClosedTable {
    /// Creates the table and returns it with its first version, 0.
    ///
    /// A table that is already there is adopted if it is the same one and still at version 0: that
    /// is what a crash between this call and the caller's own commit leaves behind. Any other
    /// table at the location is a [`ClosedTableError::Conflict`].
    pub async fn create(spec: ClosedTableSpec, stores: &ObjectStores) -> Result<(Self, u64)> {
        let table = Self::open(spec, stores)?;
        let layout = &table.layout;
        if layout.log_store.is_delta_table_location().await? {
            table.adopt().await?;
        } else {
            let columns = schema::delta_fields(&layout.file_schema)?;
            let created = CreateBuilder::new()
                .with_log_store(layout.log_store.clone())
                .with_table_name(layout.spec.name.clone())
                .with_save_mode(SaveMode::ErrorIfExists)
                .with_columns(columns)
                .with_configuration(schema::properties(layout)?)
                .with_raise_if_key_not_exists(false)
                .await?;
            crate::crash_point!("closed_table::created");
            if created.version() != Some(0) {
                return Err(conflict_at(
                    &layout.spec,
                    "another writer created it at the same time",
                ));
            }
        }
        layout.flush_log(0).await?;
        Ok((table, 0))
    }

    /// Whether the table is there.
    pub async fn exists(&self) -> Result<bool> {
        Ok(self.layout.log_store.is_delta_table_location().await?)
    }

    /// Opens the table. Nothing is read until a version is asked for.
    pub fn open(spec: ClosedTableSpec, stores: &ObjectStores) -> Result<Self> {
        schema::check(&spec)?;
        let mut location = spec.location.clone();
        if !location.path().ends_with('/') {
            location.set_path(&format!("{}/", location.path()));
        }
        let log_store = stores.log_store(&location)?;
        let prefix =
            Path::from_url_path(location.path()).map_err(|error| ClosedTableError::Invalid {
                message: format!("location \"{location}\": {error}"),
            })?;
        let directory = match location.scheme() {
            "file" => location.to_file_path().ok(),
            _ => None,
        };
        let root_url = ObjectStoreUrl::parse(&location[..url::Position::BeforePath])
            .map_err(|error| ClosedTableError::Input(Box::new(error)))?;
        let layout = Layout {
            store: log_store.object_store(None),
            root_store: log_store.root_object_store(None),
            log_store,
            root_url,
            prefix,
            directory,
            readers: Arc::default(),
            seen: decoded::Seen::new(),
            superseded: Arc::default(),
            scan_order: spec.scan_order(),
            file_schema: spec.file_schema(),
            spec: ClosedTableSpec { location, ..spec },
        };
        Ok(Self {
            layout: Arc::new(layout),
            versions: Arc::default(),
        })
    }

    /// Whether the table is seen as `spec` says.
    pub fn is_seen_as(&self, spec: &ClosedTableSpec) -> bool {
        let own = &self.layout.spec;
        let same_schema = Arc::ptr_eq(&own.schema, &spec.schema) || own.schema == spec.schema;
        let same_columns = Arc::ptr_eq(&own.columns, &spec.columns) || own.columns == spec.columns;
        let same_division = own.partition == spec.partition && own.adopted == spec.adopted;
        let same_name = own.name == spec.name;
        same_schema && same_columns && own.key == spec.key && same_division && same_name
    }

    /// Whether the handle was made for this very list of columns.
    pub fn has_columns(&self, columns: &Arc<[ColumnFiles]>) -> bool {
        Arc::ptr_eq(&self.layout.spec.columns, columns)
    }

    /// The same table as another definition sees it. What is known of its files is shared.
    pub fn seen_as(&self, spec: ClosedTableSpec) -> Result<Self> {
        schema::check(&spec)?;
        let own = &self.layout;
        let layout = Arc::new(Layout {
            file_schema: spec.file_schema(),
            scan_order: spec.scan_order(),
            spec: ClosedTableSpec {
                location: own.spec.location.clone(),
                ..spec
            },
            log_store: own.log_store.clone(),
            store: Arc::clone(&own.store),
            root_store: Arc::clone(&own.root_store),
            root_url: own.root_url.clone(),
            prefix: own.prefix.clone(),
            directory: own.directory.clone(),
            readers: Arc::clone(&own.readers),
            seen: decoded::Seen::new(),
            superseded: Arc::clone(&own.superseded),
        });
        let versions = Versions::default();
        if let Some(known) = self.versions.at_most(u64::MAX) {
            let state = known.state().clone();
            versions.keep(Arc::new(ClosedVersion::load(
                Arc::clone(&layout),
                state,
                None,
            )?));
        }
        Ok(Self {
            layout,
            versions: Arc::new(versions),
        })
    }

    /// The schema of the table's rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.layout.spec.schema
    }

    /// Whether others have written files of the table, and its log.
    pub(crate) fn is_adopted(&self) -> bool {
        self.layout.spec.adopted.is_some()
    }

    /// Where the table lies.
    pub fn location(&self) -> &Url {
        &self.layout.spec.location
    }

    /// One version of the table, loaded at most once; only the commits since the nearest loaded
    /// older version are read.
    /// A version, if it is in memory.
    pub(crate) fn loaded(&self, version: u64) -> Option<Arc<ClosedVersion>> {
        self.versions.get(version)
    }

    pub async fn at_version(&self, version: u64) -> Result<Arc<ClosedVersion>> {
        if let Some(loaded) = self.versions.get(version) {
            return Ok(loaded);
        }
        let _loading = self.versions.loading.lock().await;
        if let Some(loaded) = self.versions.get(version) {
            return Ok(loaded);
        }
        let log_store = self.layout.log_store.as_ref();
        let older = self.versions.at_most(version);
        let state = match &older {
            Some(older) => {
                let mut state = older.state().clone();
                state.update(log_store, Some(version)).await?;
                state
            }
            None => DeltaTableState::try_new(log_store, Some(version)).await?,
        };
        if state.version() != version {
            return Err(ClosedTableError::Invalid {
                message: format!(
                    "closed table \"{}\" has no version {version}",
                    self.layout.spec.name
                ),
            });
        }
        file_facts::read(&self.layout, &state).await?;
        let loaded = Arc::new(ClosedVersion::load(
            self.layout.clone(),
            state,
            older.as_deref(),
        )?);
        self.versions.keep(loaded.clone());
        Ok(loaded)
    }

    /// The newest version of the table, flushed to disk: a caller that finds its own commit there after a
    /// crash may build on it.
    pub async fn latest(&self) -> Result<Arc<ClosedVersion>> {
        let known = self.versions.at_most(u64::MAX);
        let version = match known.map(|known| known.version()) {
            Some(known) => match self.layout.log_store.get_latest_version(known).await {
                Err(DeltaTableError::InvalidVersion(_)) => self.load_newest().await?,
                found => found?,
            },
            None => self.load_newest().await?,
        };
        self.layout.flush_log(version).await?;
        self.at_version(version).await
    }

    /// Loads the newest version from the last checkpoint on: the log's older entries may be gone.
    async fn load_newest(&self) -> Result<u64> {
        let _loading = self.versions.loading.lock().await;
        let state = DeltaTableState::try_new(self.layout.log_store.as_ref(), None).await?;
        let version = state.version();
        if self.versions.get(version).is_none() {
            let loaded = ClosedVersion::load(self.layout.clone(), state, None)?;
            self.versions.keep(Arc::new(loaded));
        }
        Ok(version)
    }

    /// The transaction that `app_id` last committed, as of version `at`.
    ///
    /// A caller that finds its step's number in the latest version must finish the step, not redo it.
    pub async fn transaction_version(
        &self,
        at: &ClosedVersion,
        app_id: &str,
    ) -> Result<Option<i64>> {
        Ok(at
            .state()
            .transaction_version(self.layout.log_store.as_ref(), app_id)
            .await?)
    }

    /// Checks that the table found at the location is the one that would have been created.
    async fn adopt(&self) -> Result<()> {
        let spec = &self.layout.spec;
        let mut found = DeltaTable::new(self.layout.log_store.clone());
        found.load().await?;
        let state = found.snapshot()?;
        if state.version() != 0 {
            return Err(conflict_at(spec, "another table with rows is there"));
        }
        let columns = schema::delta_fields(&self.layout.file_schema)?;
        let same_columns = state.schema().fields().eq(columns.iter());
        let key = schema::key_property(&self.layout)?;
        let same_key = state.metadata().configuration().get(KEY_PROPERTY) == Some(&key);
        if same_columns && same_key {
            Ok(())
        } else {
            Err(conflict_at(
                spec,
                "another table with other columns is there",
            ))
        }
    }
}

impl std::fmt::Debug for ClosedTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClosedTable")
            .field("spec", &self.layout.spec)
            .finish_non_exhaustive()
    }
}

fn conflict_at(spec: &ClosedTableSpec, what: &str) -> ClosedTableError {
    ClosedTableError::Conflict(format!(
        "could not create closed table \"{}\" at \"{}\": {what}",
        spec.name, spec.location
    ))
}
