//! What exists in a Nyala server and where its rows lie: definitions, the row store, the committer,
//! open, closed and hybrid tables, and housekeeping.
//!
//! There is no socket here, no SQL text that is looked into, and no session. Nothing outside this
//! crate touches a keyspace or a Delta log. [`Catalog`] is the way in: [`Catalog::begin`] gives a
//! [`Transaction`], its [`ReadView`] gives [`TableScan`]s, its commit makes writes durable.

pub mod closed_table;
pub mod definitions;
pub mod error;
pub mod external_table;
pub mod foreign_key;
pub mod housekeeping;
pub mod index;
pub mod object_stores;
pub mod offload;
pub mod partitioning;
pub mod restore_point;
pub mod sequence;
pub mod storage_failure;
pub mod stream_exec;
pub mod turns;
pub mod types;
pub mod vacuum;

mod bulk_load;
mod catalog;
mod column_history;
mod columnar_store;
mod committer;
mod compaction;
mod disk_reserve;
mod durable;
mod fresh_rows;
mod hybrid_table;
mod job_log;
mod key_range;
mod manifest;
pub mod materialized;
mod open_table;
mod rewriting;
mod row_cache;
mod row_checks;
mod row_codec;
mod row_store;
mod row_text;
mod shadow_log;
mod sieve;
mod table_edit;
mod table_handles;
mod table_size;
mod transaction;
mod widening;
mod write_buffer;

pub use catalog::{BOOTSTRAP_NAME, Catalog, CatalogConfig, Globals, OpenRow, TEMPORARY_FOLDER};
pub use error::{CatalogError, ErrorKind};
pub use hybrid_table::{OpenReads, Part, TableScan, load_statistics, physical_optimizer_rules};
pub use job_log::{JOBS_KEPT, JobRecord, JobStatus};
pub use row_checks::{CheckDef, RowCheck, RowChecks};
pub use row_codec::ROW_NUMBER_COLUMN;
pub use table_edit::TableEdit;
pub use table_size::RelationSize;
pub use transaction::{
    Arbiter, BulkInsert, Conflicting, Existing, NewIndex, NewMaterialized, NewSequence, NewTable,
    NewView, ReadView, Rewritten, Savepoint, Transaction,
};
pub use types::SqlType;
pub use widening::widens;

/// A named step of a protocol at which a crash test can end the process. Does nothing unless the
/// `failpoints` feature is on and the point is armed.
#[macro_export]
macro_rules! crash_point {
    ($name:expr) => {
        fail::fail_point!($name, |_| std::process::abort());
    };
}
