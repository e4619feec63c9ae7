//! Keeps queries apart from what has to be quick: their own threads, and limits on their memory.
//!
//! - **Threads.** Connections, point lookups and commits run on the process' main runtime. Queries run on the runtime of
//!   [`Workload`], whose threads have a lower priority: when both want a processor, the lookup gets it first. A query hands
//!   its batches over through a bounded channel, so a slow client slows its query and holds no thread. Jobs (offload,
//!   housekeeping) run there too.
//! - **Memory.** All queries share one limit, fairly between the operators that can write to disk. A statement may have a
//!   limit of its own (`nyala.statement_memory_mb`). Sorts and aggregates that reach a limit go on in temporary files;
//!   what cannot, fails with 53200 and takes nothing from others.
//!
//! There is no queue in front: a query that waited for another to end could wait for a cursor that its client
//! never closes. Queries share the threads in small steps instead.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::common::{Result as DataFusionResult, resources_datafusion_err, resources_err};
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation, TrackConsumersPool,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::runtime::Handle;

use crate::error::{PgError, Result, sqlstate};

/// Batches that wait between a query and its connection.
const BATCHES_WAITING_MAX: usize = 2;

/// Operators that an "out of memory" names.
const CONSUMERS_NAMED: std::num::NonZeroUsize = std::num::NonZeroUsize::MIN.saturating_add(2);

/// Memory for what is known of Parquet files (footers, page indexes).
const FILE_METADATA_BYTES_MAX: usize = 256 << 20;

/// Priority of query threads, of 0 to 99: on Linux a niceness of 5, a third of the share of other threads.
const QUERY_PRIORITY: u8 = 37;

/// Limits of all queries together.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: usize,
    /// Where sorts and aggregates write what does not fit.
    pub temporary: PathBuf,
}

/// Where queries run.
pub struct Workload {
    threads: Handle,
    runtime: Arc<RuntimeEnv>,
}

/// The threads for queries. To be made before anything runs, and kept by the one who ends it.
pub fn threads(stack_bytes: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("nyala-query")
        .thread_stack_size(stack_bytes)
        .on_thread_start(|| {
            nyala_catalog::turns::begin();
            let lower = thread_priority::ThreadPriorityValue::try_from(QUERY_PRIORITY)
                .map_err(|error| error.to_string())
                .and_then(|priority| {
                    let priority = thread_priority::ThreadPriority::Crossplatform(priority);
                    let set = thread_priority::set_current_thread_priority(priority);
                    set.map_err(|error| error.to_string())
                });
            // Queries then compete with lookups on equal terms.
            if let Err(error) = lower {
                tracing::debug!(%error, "a query thread keeps its priority");
            }
        })
        .build()
}

/// What a statement may take of the memory of queries.
#[derive(Debug, Clone, Copy)]
pub struct StatementMemory {
    /// Bytes for all its operators; `None` for what there is.
    pub all: Option<usize>,
    /// Bytes from which on an operator that can writes to temporary files.
    pub operator: usize,
}

impl Workload {
    /// Defaults of settings that depend on the machine.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        let memory = match self.runtime.memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes >> 10,
            _ => usize::MAX,
        };
        let memory = i32::try_from(memory).unwrap_or(i32::MAX);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        [
            ("work_mem", memory.to_string()),
            ("max_parallel_workers_per_gather", (threads - 1).to_string()),
        ]
    }

    /// Whether it is less than what queries have anyway.
    fn is_limit(&self, memory: StatementMemory) -> bool {
        let shared = match self.runtime.memory_pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        memory.all.is_some() || memory.operator < shared >> 10 << 10
    }

    /// Queries on `threads`, within `limits`.
    pub fn new(threads: Handle, limits: &Limits) -> Result<Self> {
        empty_folder(&limits.temporary).map_err(|error| {
            let folder = limits.temporary.display();
            PgError::new(sqlstate::IO_ERROR, format!("folder \"{folder}\": {error}"))
        })?;
        let pool = TrackConsumersPool::new(FairSpillPool::new(limits.memory), CONSUMERS_NAMED);
        let folders = DiskManagerMode::Directories(vec![limits.temporary.clone()]);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(pool))
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(folders))
            .with_metadata_cache_limit(FILE_METADATA_BYTES_MAX)
            // Listings of external folders are never kept: others add files to them.
            .with_object_list_cache_limit(0)
            .build_arc()?;
        Ok(Self { threads, runtime })
    }

    /// Memory, temporary files and caches that plans are made with.
    pub fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// Runs a plan on the threads for queries; `memory` limits this statement. Dropping the stream ends the query.
    pub fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: TaskContext,
        memory: StatementMemory,
    ) -> SendableRecordBatchStream {
        let context = Arc::new(match self.is_limit(memory) {
            true => limited(context, memory),
            false => context,
        });
        let mut rows = RecordBatchReceiverStream::builder(plan.schema(), BATCHES_WAITING_MAX);
        let sender = rows.tx();
        let work = async move {
            let mut batches = execute_stream(plan, context)?;
            while let Some(batch) = batches.next().await {
                let failed = batch.is_err();
                // Nobody listens any more: the query has ended or was cancelled.
                if sender.send(batch).await.is_err() || failed {
                    break;
                }
            }
            Ok(())
        };
        rows.spawn_on(work, &self.threads);
        rows.build()
    }

    /// Memory for what is kept between statements, of what queries share; `memory` limits the statement that keeps it.
    pub fn reserve(&self, what: &str, memory: Option<usize>) -> MemoryReservation {
        let shared = &self.runtime.memory_pool;
        let pool = match memory {
            Some(bytes) => statement_pool(shared, bytes, usize::MAX),
            None => Arc::clone(shared),
        };
        MemoryConsumer::new(what).register(&pool)
    }

    /// Runs a job on the threads for queries, to its end whatever happens to the caller.
    pub async fn job<T: Send + 'static>(
        &self,
        job: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match self.threads.spawn(job).await {
            Ok(result) => result,
            Err(error) => Err(PgError::internal(format!("job ended: {error}"))),
        }
    }
}

/// Makes a folder with nothing in it.
fn empty_folder(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => std::fs::create_dir_all(path),
    }
}

/// The context with a limit on what the statement's operators take together.
fn limited(context: TaskContext, memory: StatementMemory) -> TaskContext {
    let runtime = context.runtime_env();
    let runtime = RuntimeEnv {
        memory_pool: statement_pool(
            &runtime.memory_pool,
            memory.all.unwrap_or(usize::MAX),
            memory.operator,
        ),
        ..runtime.as_ref().clone()
    };
    context.with_runtime(Arc::new(runtime))
}

fn statement_pool(
    shared: &Arc<dyn MemoryPool>,
    limit: usize,
    operator: usize,
) -> Arc<dyn MemoryPool> {
    Arc::new(StatementPool {
        limit,
        operator,
        used: AtomicUsize::new(0),
        shared: Arc::clone(shared),
    })
}

/// One statement's part of the shared memory.
#[derive(Debug)]
struct StatementPool {
    limit: usize,
    /// From this on an operator that can spill is told to.
    operator: usize,
    used: AtomicUsize,
    shared: Arc<dyn MemoryPool>,
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "statement({} of {} bytes)", self.reserved(), self.limit)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        "statement"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.used.fetch_add(additional, Ordering::Relaxed);
        self.shared.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.used.fetch_sub(shrink, Ordering::Relaxed);
        self.shared.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DataFusionResult<()> {
        // What it has it can write to files; an operator that has nothing yet could only fail.
        let can_spill = reservation.consumer().can_spill() && reservation.size() > 0;
        if can_spill && reservation.size().saturating_add(additional) > self.operator {
            return resources_err!(
                "{} has {} bytes, and work_mem is {}",
                reservation.consumer().name(),
                reservation.size(),
                self.operator
            );
        }
        let within = |used: usize| {
            used.checked_add(additional)
                .filter(|all| *all <= self.limit)
        };
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, within)
            .map_err(|used| {
                let name = reservation.consumer().name();
                resources_datafusion_err!(
                    "{name} needs {additional} bytes more; the statement has {used} of the {} that \
                     nyala.statement_memory_mb allows",
                    self.limit
                )
            })?;
        self.shared
            .try_grow(reservation, additional)
            .inspect_err(|_| {
                self.used.fetch_sub(additional, Ordering::Relaxed);
            })
    }

    fn reserved(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_stays_within_its_part_and_within_all() {
        let shared: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(100));
        let statement = |limit| -> Arc<dyn MemoryPool> {
            Arc::new(StatementPool {
                limit,
                operator: usize::MAX,
                used: AtomicUsize::new(0),
                shared: Arc::clone(&shared),
            })
        };
        let (small, large) = (statement(50), statement(90));
        let one = MemoryConsumer::new("one").register(&small);
        one.try_grow(50).expect("its part");
        assert!(one.try_grow(1).is_err(), "more than its part");
        let two = MemoryConsumer::new("two").register(&large);
        assert!(two.try_grow(60).is_err(), "more than there is");
        assert_eq!(large.reserved(), 0);
        two.try_grow(50).expect("the rest");
        drop(one);
        assert_eq!((small.reserved(), shared.reserved()), (0, 50));
    }
}
