//! The catalog of a server: the row store, the committer, the closed tables, and the definitions
//! that say what they hold.
//!
//! The row store lies in `rows/` of the data directory; where columnar files lie [`crate::columnar_store`] says.
//!
//! Opening finishes what a crash left half done (see [`crate::housekeeping`]) before anyone can read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use datafusion::execution::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use parking_lot::Mutex;

use crate::columnar_store::{ColumnarStore, Place};
use crate::committer::{ActiveTransactions, CommitRequest, Committer, Counters};
use crate::compaction::DeadRows;
use crate::definitions::{
    BOOTSTRAP_ROLE_OID, DatabaseDef, Definitions, FIRST_USER_OID, Oid, PUBLIC_SCHEMA,
    PUBLIC_SCHEMA_OID, Relation, RelationDef, RoleDef, SchemaDef, StorageId,
};
use crate::disk_reserve::DiskReserve;
use crate::error::{CatalogError, ErrorKind, Result};
use crate::fresh_rows::FreshRows;
use crate::manifest::{Manifest, SnapshotManifest};
use crate::object_stores::ObjectStores;
use crate::restore_point::RestorePoint;
use crate::row_cache::RowCache;
use crate::row_store::{RowStore, Space, StoreSnapshot, meta_key};
use crate::sequence::values::Sequences;
use crate::shadow_log::ShadowLogs;
use crate::table_handles::Handles;
use crate::transaction::{Retired, Transaction};

mod adoption;
mod files;
mod lookup;
mod removal;

pub(crate) use adoption::adopted_key;
pub(crate) use files::{closed_folder, points_folder};
pub use lookup::OpenRow;

/// Folder of the row store in the data directory.
const ROWS: &str = "rows";

/// Version of the on-disk format of a new data directory.
const FORMAT: u64 = 1;

/// Version of the format since a table was altered: rows have layouts, and files columns, that the first version does not know.
pub(crate) const FORMAT_ALTERED: u64 = 2;

/// Version of the format of a database with a `columnar_url`, which is not looked for by servers of earlier ones, and of one with
/// a table made of files that were there: servers of earlier ones would look for them elsewhere.
pub(crate) const FORMAT_ELSEWHERE: u64 = 3;

/// Version of the format of a database with sequences or constraints, which servers of earlier ones would not keep to.
pub(crate) const FORMAT_CONSTRAINED: u64 = 4;

/// Version of the format since rows were replaced as a whole: servers of earlier ones would read the rows from before.
pub(crate) const FORMAT_GENERATIONS: u64 = 5;

/// Version of the format of a database with foreign keys, which servers of earlier ones would not keep to, or with materialized views, which
/// would be tables to them.
pub(crate) const FORMAT_REFERENCES: u64 = 6;

/// Folder in the data directory with temporary files; whoever starts the server empties it.
pub const TEMPORARY_FOLDER: &str = "temporary";

/// Name of the first database and of the bootstrap superuser.
pub const BOOTSTRAP_NAME: &str = "nyala";

/// Where a server keeps its data.
#[derive(Clone, Default)]
pub struct CatalogConfig {
    /// The data directory; made if it does not exist.
    pub data_dir: PathBuf,
    /// Where closed tables, snapshots and restore points lie, if not in the data directory: a URL of [`ObjectStores`].
    pub columnar_url: Option<String>,
    /// Options for S3, by the names that the AWS command line tools have for them.
    pub s3_options: BTreeMap<String, String>,
    /// Bytes of the data directory's disk that commits leave free.
    pub disk_reserve: u64,
}

/// Databases and roles, at one commit sequence number.
#[derive(Debug, Default)]
pub struct Globals {
    databases: Vec<DatabaseDef>,
    roles: Vec<RoleDef>,
}

impl Globals {
    /// All databases, by OID.
    pub fn databases(&self) -> &[DatabaseDef] {
        &self.databases
    }

    /// All roles, by OID.
    pub fn roles(&self) -> &[RoleDef] {
        &self.roles
    }

    /// A database by name.
    pub fn database(&self, name: &str) -> Option<&DatabaseDef> {
        self.databases.iter().find(|database| database.name == name)
    }

    /// A role by name.
    pub fn role(&self, name: &str) -> Option<&RoleDef> {
        self.roles.iter().find(|role| role.name == name)
    }
}

/// A state derived from the row store, with the csn it stands for.
struct Cached<T> {
    version: u64,
    value: Arc<T>,
}

/// The catalog of a server.
pub struct Catalog {
    data_dir: PathBuf,
    columnar: Arc<ColumnarStore>,
    object_stores: Arc<ObjectStores>,
    store: Arc<RowStore>,
    committer: Committer,
    pub(crate) counters: Arc<Counters>,
    active: Arc<ActiveTransactions>,
    pub(crate) row_cache: Arc<RowCache>,
    reserve: DiskReserve,
    pub(crate) dead_rows: DeadRows,
    pub(crate) shadow_logs: Arc<ShadowLogs>,
    pub(crate) fresh_rows: FreshRows,
    pub(crate) next_job: AtomicU64,
    pub(crate) sequences: Sequences,
    globals: Mutex<Cached<Globals>>,
    definitions: Mutex<HashMap<Oid, Cached<Definitions>>>,
    closed_tables: Mutex<HashMap<StorageId, Handles>>,
    snapshots: Mutex<HashMap<StorageId, Handles>>,
    row_numbers: Mutex<HashMap<StorageId, Arc<AtomicI64>>>,
    rewriters: Mutex<HashMap<StorageId, Arc<tokio::sync::Mutex<()>>>>,
    /// Read by whoever commits a change of definitions.
    definitions_held: tokio::sync::RwLock<()>,
    /// Storages that no definition names since a csn; removed when nobody can read them any more.
    retired: Mutex<Vec<(u64, Retired)>>,
    /// Runs the catalog's own scans (uniqueness checks, moves).
    session: SessionState,
}

impl Catalog {
    /// Opens the catalog in the configured directory, or makes an empty one.
    pub async fn open(config: CatalogConfig) -> Result<Arc<Self>> {
        std::fs::create_dir_all(&config.data_dir)?;
        let rows = config.data_dir.join(ROWS);
        let store = Arc::new(RowStore::open(&rows).map_err(|error| match error.kind {
            ErrorKind::Locked => CatalogError::new(
                ErrorKind::Locked,
                format!(
                    "data directory \"{}\" is in use by another nyala server",
                    config.data_dir.display()
                ),
            ),
            _ => error,
        })?);
        let snapshot = store.snapshot();
        let format = snapshot.meta_number(meta_key::FORMAT)?;
        if format > FORMAT_REFERENCES {
            return Err(CatalogError::new(
                ErrorKind::Unsupported,
                format!(
                    "data directory has format {format}, this server reads formats up to {FORMAT_REFERENCES}"
                ),
            ));
        }
        let csn = snapshot.meta_number(meta_key::CSN)?;
        let next_oid = Oid::try_from(snapshot.meta_number(meta_key::NEXT_OID)?)
            .map_err(|_| CatalogError::corrupted("object identifiers are used up"))?;
        let next_storage = snapshot.meta_number(meta_key::NEXT_STORAGE)?;
        drop(snapshot);
        store.sweep_generations()?;
        let object_stores = Arc::new(ObjectStores::new(&config.s3_options)?);
        let columnar = open_columnar(&config, &object_stores, &store, format == 0).await?;
        let counters = Arc::new(Counters::new(
            next_oid.max(FIRST_USER_OID),
            next_storage.max(1),
            csn,
        ));
        let active = Arc::new(ActiveTransactions::default());
        let row_cache = Arc::new(RowCache::new());
        let rows = store.snapshot();
        let shadow_logs = Arc::new(ShadowLogs::default());
        let mut fresh = HashSet::new();
        for (storage, manifest) in by_storage::<SnapshotManifest>(&rows, meta_key::SNAPSHOTS)? {
            let space = Space::Fresh(storage);
            shadow_logs.start(space, manifest.version, csn, rows.keys(space)?);
            fresh.insert(storage);
        }
        for (storage, manifest) in by_storage::<Manifest>(&rows, meta_key::MANIFESTS)? {
            let space = Space::ShadowClosed(storage);
            shadow_logs.start(space, manifest.closed_version, csn, rows.keys(space)?);
        }
        let next_job = crate::job_log::next_job(&rows)?;
        drop(rows);
        let reserve = DiskReserve::new(config.data_dir.join(ROWS), config.disk_reserve);
        let committer = Committer::start(
            Arc::clone(&store),
            Arc::clone(&counters),
            Arc::clone(&active),
            Arc::clone(&row_cache),
            reserve.clone(),
            fresh,
            Arc::clone(&shadow_logs),
        )?;
        let catalog = Arc::new(Self {
            data_dir: config.data_dir.clone(),
            columnar: Arc::new(columnar),
            object_stores,
            store,
            committer,
            counters,
            active,
            row_cache,
            reserve,
            dead_rows: DeadRows::default(),
            shadow_logs,
            fresh_rows: FreshRows::new(),
            next_job: AtomicU64::new(next_job),
            sequences: Sequences::default(),
            globals: Mutex::new(Cached {
                version: 0,
                value: Arc::default(),
            }),
            definitions: Mutex::default(),
            closed_tables: Mutex::default(),
            snapshots: Mutex::default(),
            row_numbers: Mutex::default(),
            rewriters: Mutex::default(),
            definitions_held: tokio::sync::RwLock::default(),
            retired: Mutex::default(),
            session: SessionStateBuilder::new().with_default_features().build(),
        });
        crate::housekeeping::recover(&catalog).await?;
        crate::offload::recover(&catalog).await?;
        crate::index::build::recover(&catalog).await?;
        crate::job_log::recover(&catalog).await?;
        catalog.sweep_storages().await?;
        Ok(catalog)
    }

    /// Whether the data directory has just been made and [`Catalog::bootstrap`] is due.
    pub fn is_new(&self) -> Result<bool> {
        Ok(self.store.snapshot().meta_number(meta_key::FORMAT)? == 0)
    }

    /// Makes the first database and the superuser.
    pub async fn bootstrap(&self, password: Option<String>) -> Result<()> {
        let role = RoleDef {
            oid: BOOTSTRAP_ROLE_OID,
            name: BOOTSTRAP_NAME.to_string(),
            superuser: true,
            password,
        };
        let database = DatabaseDef {
            oid: self.counters.oid(),
            name: BOOTSTRAP_NAME.to_string(),
            owner: role.oid,
        };
        let mut meta = self.database_writes(&database)?;
        let format = match columnar_place(&self.store.snapshot())? {
            Some(_) => FORMAT_ELSEWHERE,
            None => FORMAT,
        };
        let format = Some(format.to_be_bytes().to_vec());
        meta.push((meta_key::FORMAT.to_string(), format));
        meta.push((meta_key::role(role.oid), Some(serde_json::to_vec(&role)?)));
        self.commit_meta(meta).await?;
        Ok(())
    }

    /// Databases and roles as they are now.
    pub fn globals(&self) -> Result<Arc<Globals>> {
        self.globals_at(&self.store.snapshot())
    }

    /// Makes a database with a `public` schema.
    pub async fn create_database(&self, name: &str, owner: Oid) -> Result<()> {
        if self.globals()?.database(name).is_some() {
            return Err(duplicate_database(name));
        }
        let database = DatabaseDef {
            oid: self.counters.oid(),
            name: name.to_string(),
            owner,
        };
        let meta = self.database_writes(&database)?;
        match self.commit_meta(meta).await {
            // Only another creator of the same name can have come in between.
            Err(error) if error.kind == ErrorKind::SerializationFailure => {
                Err(duplicate_database(name))
            }
            Err(error) => Err(error),
            Ok(_) => Ok(()),
        }
    }

    /// Removes a database and all it holds. The caller has made sure that nobody is connected.
    pub async fn drop_database(&self, name: &str) -> Result<()> {
        let globals = self.globals()?;
        let Some(database) = globals.database(name) else {
            return Err(CatalogError::new(
                ErrorKind::UndefinedDatabase,
                format!("database \"{name}\" does not exist"),
            ));
        };
        let snapshot = self.store.snapshot();
        let definitions = self.definitions_at(&snapshot, database)?;
        let mut meta = vec![
            (meta_key::database(database.oid), None),
            (meta_key::database_name(name), None),
            (meta_key::definitions_version(database.oid), None),
        ];
        let mut retired = Vec::new();
        for schema in definitions.schemas() {
            meta.push((meta_key::schema(database.oid, schema.oid), None));
        }
        for relation in definitions.relations() {
            meta.push((meta_key::relation(database.oid, relation.oid()), None));
            if let Relation::Sequence(def) = relation {
                retired.push(Retired {
                    storage: def.storage,
                    closed_folder: None,
                });
            }
            if let Relation::Table(table) = relation {
                meta.push((meta_key::manifest(table.def.storage), None));
                meta.push((meta_key::snapshot(table.def.storage), None));
                meta.push((meta_key::generation(table.def.storage), None));
                for point in RestorePoint::load_all(&snapshot, table.def.storage)? {
                    meta.push((point.meta_key(table.def.storage), None));
                }
                meta.extend(adopted_key(table).map(|key| (key, None)));
                let closed_folder = closed_folder(table);
                retired.push(Retired {
                    storage: table.def.storage,
                    closed_folder,
                });
                retired.extend(table.indexes.iter().map(|index| Retired {
                    storage: index.def.storage,
                    closed_folder: None,
                }));
            }
        }
        for (oid, _) in definitions.comments() {
            meta.push((meta_key::comment(database.oid, oid), None));
        }
        let csn = self.commit_meta(meta).await?;
        self.definitions.lock().remove(&database.oid);
        self.retire(csn, retired).await;
        Ok(())
    }

    /// Starts a transaction in a database, on a snapshot of everything committed so far.
    pub fn begin(self: &Arc<Self>, database: &DatabaseDef) -> Result<Transaction> {
        let (guard, snapshot) = self.active.register(|| {
            let snapshot = self.store.snapshot();
            Ok((snapshot.meta_number(meta_key::CSN)?, snapshot))
        })?;
        let csn = snapshot.meta_number(meta_key::CSN)?;
        let definitions = self.definitions_at(&snapshot, database)?;
        Ok(Transaction::new(
            Arc::clone(self),
            guard,
            snapshot,
            csn,
            definitions,
        ))
    }

    /// Changes whenever a definition does. What was derived from a transaction that began after this was read is right as
    /// long as it stays the same.
    pub fn definitions_epoch(&self) -> u64 {
        self.counters.definitions_epoch()
    }

    pub(crate) async fn commit(&self, request: CommitRequest) -> Result<u64> {
        self.committer.commit(request).await
    }

    /// csn of the oldest snapshot that a transaction holds, or the largest number.
    pub(crate) fn oldest_transaction(&self) -> u64 {
        self.active.oldest(u64::MAX)
    }

    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        self.store.snapshot()
    }

    pub(crate) fn store(&self) -> Arc<RowStore> {
        Arc::clone(&self.store)
    }

    pub(crate) fn disk_reserve(&self) -> DiskReserve {
        self.reserve.clone()
    }

    pub(crate) fn session(&self) -> &SessionState {
        &self.session
    }

    /// Keeps definitions as they are while the guard lives: transactions that change some wait with their commits.
    pub(crate) async fn hold_definitions(&self) -> tokio::sync::RwLockWriteGuard<'_, ()> {
        self.definitions_held.write().await
    }

    /// For the commit of a change of definitions: waits until nobody holds them.
    pub(crate) async fn change_definitions(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.definitions_held.read().await
    }

    /// The lock that one rewriter of a table's files holds.
    pub(crate) fn rewriter(&self, storage: StorageId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.rewriters.lock().entry(storage).or_default())
    }

    /// The counter of a storage's row numbers, set behind the last stored one on first use.
    pub(crate) fn row_numbers(&self, storage: StorageId) -> Result<Arc<AtomicI64>> {
        let mut counters = self.row_numbers.lock();
        if let Some(counter) = counters.get(&storage) {
            return Ok(Arc::clone(counter));
        }
        let last = match self.store.snapshot().last_key(Space::Rows(storage))? {
            None => 0,
            Some(key) => (*key)
                .try_into()
                .map(i64::from_be_bytes)
                .map_err(|_| CatalogError::corrupted("row number is not 8 bytes"))?,
        };
        let counter = Arc::new(AtomicI64::new(last + 1));
        counters.insert(storage, Arc::clone(&counter));
        Ok(counter)
    }

    fn globals_at(&self, snapshot: &StoreSnapshot) -> Result<Arc<Globals>> {
        let version = snapshot.meta_number(meta_key::GLOBALS_VERSION)?;
        if let cached = self.globals.lock()
            && cached.version == version
        {
            return Ok(Arc::clone(&cached.value));
        }
        let value = Arc::new(Globals {
            databases: load_all(snapshot, meta_key::DATABASES)?,
            roles: load_all(snapshot, meta_key::ROLES)?,
        });
        *self.globals.lock() = Cached {
            version,
            value: Arc::clone(&value),
        };
        Ok(value)
    }

    pub(crate) fn definitions_at(
        &self,
        snapshot: &StoreSnapshot,
        database: &DatabaseDef,
    ) -> Result<Arc<Definitions>> {
        let version = snapshot.meta_number(&meta_key::definitions_version(database.oid))?;
        if version == 0 {
            return Err(CatalogError::new(
                ErrorKind::UndefinedDatabase,
                format!("database \"{}\" does not exist", database.name),
            ));
        }
        if let Some(cached) = self.definitions.lock().get(&database.oid)
            && cached.version == version
        {
            return Ok(Arc::clone(&cached.value));
        }
        let mut definitions = Definitions::new(database.clone());
        for schema in load_all(snapshot, &meta_key::schemas(database.oid))? {
            definitions.put_schema(schema)?;
        }
        for relation in load_all::<RelationDef>(snapshot, &meta_key::relations(database.oid))? {
            definitions.put_relation(Relation::new(relation)?)?;
        }
        let prefix = meta_key::comments(database.oid);
        for entry in snapshot.prefix(Space::Meta, &prefix)? {
            let (key, value) = entry.into_inner()?;
            let oid = std::str::from_utf8(&key)
                .ok()
                .and_then(|key| key.strip_prefix(&prefix))
                .and_then(|hex| Oid::from_str_radix(hex, 16).ok())
                .ok_or_else(|| CatalogError::corrupted("comment without an object"))?;
            let text = String::from_utf8_lossy(&value).into_owned();
            definitions.put_comment(oid, Some(text));
        }
        let value = Arc::new(definitions);
        let mut cache = self.definitions.lock();
        // A statement on an older snapshot must not displace what newer ones share.
        if cache
            .get(&database.oid)
            .is_none_or(|cached| cached.version < version)
        {
            cache.insert(
                database.oid,
                Cached {
                    version,
                    value: Arc::clone(&value),
                },
            );
        }
        Ok(value)
    }

    fn database_writes(&self, database: &DatabaseDef) -> Result<Vec<(String, Option<Vec<u8>>)>> {
        let public = SchemaDef {
            oid: PUBLIC_SCHEMA_OID,
            name: PUBLIC_SCHEMA.to_string(),
            owner: database.owner,
        };
        Ok(vec![
            (
                meta_key::database(database.oid),
                Some(serde_json::to_vec(database)?),
            ),
            (
                meta_key::database_name(&database.name),
                Some(database.oid.to_be_bytes().to_vec()),
            ),
            (
                meta_key::schema(database.oid, public.oid),
                Some(serde_json::to_vec(&public)?),
            ),
            (
                meta_key::definitions_version(database.oid),
                Some(1u64.to_be_bytes().to_vec()),
            ),
        ])
    }

    async fn commit_meta(&self, meta: Vec<(String, Option<Vec<u8>>)>) -> Result<u64> {
        // Registered, so that the committer remembers what others write in the meantime.
        let (guard, csn) = self.active.register(|| {
            let csn = self.store.snapshot().meta_number(meta_key::CSN)?;
            Ok((csn, csn))
        })?;
        let request = CommitRequest {
            snapshot_csn: csn,
            meta,
            stamps: vec![meta_key::GLOBALS_VERSION.to_string()],
            ..CommitRequest::default()
        };
        let committed = self.commit(request).await?;
        drop(guard);
        Ok(committed)
    }
}

fn duplicate_database(name: &str) -> CatalogError {
    CatalogError::new(
        ErrorKind::DuplicateDatabase,
        format!("database \"{name}\" already exists"),
    )
}

/// Opens the place of columnar files, and makes sure that it is this database's.
async fn open_columnar(
    config: &CatalogConfig,
    object_stores: &ObjectStores,
    store: &Arc<RowStore>,
    new: bool,
) -> Result<ColumnarStore> {
    let columnar_url = config.columnar_url.as_deref();
    let columnar = ColumnarStore::open(&config.data_dir, columnar_url, object_stores)?;
    let known = columnar_place(&store.snapshot())?;
    let place = columnar.check(known.as_ref(), new)?;
    if place != known {
        // Before the place is claimed, so that a start that is cut off can be done again. The committer does not run yet.
        let mut batch = store.batch();
        let meta = store.keyspace(Space::Meta)?;
        match &place {
            Some(place) => batch.insert(&meta, meta_key::COLUMNAR, serde_json::to_vec(place)?),
            None => batch.remove(&meta, meta_key::COLUMNAR),
        }
        store.write(batch, &[])?;
    }
    if let Some(place) = place {
        columnar.claim(&place, new).await?;
    }
    Ok(columnar)
}

fn columnar_place(snapshot: &StoreSnapshot) -> Result<Option<Place>> {
    match snapshot.get(Space::Meta, meta_key::COLUMNAR)? {
        Some(json) => Ok(Some(serde_json::from_slice(&json)?)),
        None => Ok(None),
    }
}

/// Values of the `meta` keyspace whose keys are a prefix and a storage.
pub(crate) fn by_storage<T: serde::de::DeserializeOwned>(
    snapshot: &StoreSnapshot,
    prefix: &str,
) -> Result<Vec<(StorageId, T)>> {
    let mut all = Vec::new();
    for entry in snapshot.prefix(Space::Meta, prefix)? {
        let (key, value) = entry.into_inner()?;
        let storage = std::str::from_utf8(&key)
            .ok()
            .and_then(|key| key.strip_prefix(prefix))
            .and_then(|hex| StorageId::from_str_radix(hex, 16).ok())
            .ok_or_else(|| CatalogError::corrupted(format!("{prefix} without a storage")))?;
        all.push((storage, serde_json::from_slice(&value)?));
    }
    Ok(all)
}

fn load_all<T: serde::de::DeserializeOwned>(
    snapshot: &StoreSnapshot,
    prefix: &str,
) -> Result<Vec<T>> {
    let mut all = Vec::new();
    for entry in snapshot.prefix(Space::Meta, prefix)? {
        all.push(serde_json::from_slice(&entry.value()?)?);
    }
    Ok(all)
}
