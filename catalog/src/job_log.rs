//! The history of jobs: what housekeeping and offload did, when, and for whom, kept over restarts.
//!
//! A job is written when it starts and again when it ends. One that a crash cut off is marked at the next start. The
//! newest [`JOBS_KEPT`] are kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::catalog::Catalog;
use crate::committer::CommitRequest;
use crate::definitions::Oid;
use crate::error::{CatalogError, Result};
use crate::row_store::{Space, StoreSnapshot, meta_key};

/// Jobs in the history.
pub const JOBS_KEPT: u64 = 1_000;

/// How a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobStatus {
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It ended with an error.
    Failed,
    /// The server ended before it did.
    Interrupted,
}

impl JobStatus {
    /// The word that system relations show.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// Number, counting up; given by [`Catalog::start_job`].
    pub id: u64,
    /// Database of the table.
    pub database: Oid,
    /// Schema of the table.
    pub schema: String,
    /// Name of the table.
    pub table: String,
    /// `housekeeping` or `offload`.
    pub kind: String,
    /// A role's name, or `schedule`.
    pub started_by: String,
    /// Start, in microseconds since 1970.
    pub started_us: i64,
    /// End, in microseconds since 1970.
    pub finished_us: Option<i64>,
    /// How it stands.
    pub status: JobStatus,
    /// What it did, or the message of its error.
    pub result: Option<String>,
}

impl Catalog {
    /// Writes down that a job starts; the record gets its number.
    pub async fn start_job(&self, record: &mut JobRecord) -> Result<()> {
        record.id = self.next_job.fetch_add(1, Ordering::Relaxed);
        let mut meta = vec![(meta_key::job(record.id), Some(serde_json::to_vec(record)?))];
        if let Some(old) = record.id.checked_sub(JOBS_KEPT) {
            meta.push((meta_key::job(old), None));
        }
        self.write_jobs(meta).await
    }

    /// Writes down how a job ended.
    pub async fn finish_job(&self, record: &JobRecord) -> Result<()> {
        let meta = vec![(meta_key::job(record.id), Some(serde_json::to_vec(record)?))];
        self.write_jobs(meta).await
    }

    /// The history, oldest first.
    pub fn jobs(&self) -> Result<Vec<JobRecord>> {
        load(&self.snapshot())
    }

    async fn write_jobs(&self, meta: Vec<(String, Option<Vec<u8>>)>) -> Result<()> {
        let request = CommitRequest {
            // Numbers are handed out once, so no two write the same record.
            snapshot_csn: u64::MAX,
            meta,
            ..CommitRequest::default()
        };
        self.commit(request).await.map(drop)
    }
}

fn load(snapshot: &StoreSnapshot) -> Result<Vec<JobRecord>> {
    let mut jobs = Vec::new();
    for entry in snapshot.prefix(Space::Meta, meta_key::JOBS)? {
        jobs.push(serde_json::from_slice(&entry.value()?)?);
    }
    Ok(jobs)
}

/// The number of the next job.
pub(crate) fn next_job(snapshot: &StoreSnapshot) -> Result<u64> {
    let last = load(snapshot)?.pop().map_or(0, |job| job.id);
    last.checked_add(1)
        .ok_or_else(|| CatalogError::corrupted("job numbers are used up"))
}

/// Marks the jobs that the end of the server cut off. Called before anyone can start one.
pub(crate) async fn recover(catalog: &Arc<Catalog>) -> Result<()> {
    for mut job in catalog.jobs()? {
        if job.status == JobStatus::Running {
            job.status = JobStatus::Interrupted;
            catalog.finish_job(&job).await?;
        }
    }
    Ok(())
}
