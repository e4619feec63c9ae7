//! What all sessions of one server process share: the catalog, the query engine's base state, and
//! the list of connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SessionState;
use datafusion::prelude::SessionConfig;
use nyala_catalog::Catalog;
use nyala_catalog::definitions::Oid;
use parking_lot::Mutex;

use crate::advisory_locks::AdvisoryLocks;
use crate::clock;
use crate::error::Result;
use crate::notifications::Notifications;
use crate::pg_catalog::{self, ActivityRow};
use crate::session::cancel::Canceller;
use crate::sql::average::Average;
use crate::sql::date_comparison::DateComparison;
use crate::sql::integers::IntegerPlanner;
use crate::sql::join_order;
use crate::sql::jsonb::JsonbPlanner;
use crate::sql::numeric::NumericPlanner;
use crate::sql::operators::IntervalPlanner;
use crate::sql::retyped::ArrayPlanner;
use crate::sql::shared_ctes::WithSharedRows;
use crate::sql::string_agg::StringAgg;
use crate::sql::{monotonic, plan_hints};
use crate::workload::Workload;

/// A connection's line in `pg_stat_activity`.
pub type Activity = Arc<Mutex<ActivityRow>>;

/// The server.
pub struct Server {
    /// What exists and where rows lie.
    pub catalog: Arc<Catalog>,
    /// Where queries run, and what they may take.
    pub workload: Arc<Workload>,
    /// When the server started, in microseconds since 1970.
    pub started_us: i64,
    /// Advisory locks of all sessions.
    pub advisory_locks: Arc<AdvisoryLocks>,
    /// LISTEN and NOTIFY.
    pub notifications: Notifications,
    state: SessionState,
    cancellers: Mutex<BTreeMap<i32, Canceller>>,
    last_transaction_id: AtomicI64,
    activity: Mutex<BTreeMap<i32, Activity>>,
    background: AtomicI32,
}

impl Server {
    /// A server over an open catalog, whose queries run in `workload`.
    pub fn new(catalog: Arc<Catalog>, workload: Workload) -> Result<Self> {
        let mut config = SessionConfig::new();
        let options = config.options_mut();
        options.sql_parser.parse_float_as_decimal = true;
        options.execution.collect_statistics = true;
        // It compares what may be NULL by two rules, which differ for `x IS TRUE`.
        options.execution.skip_physical_aggregate_schema_check = true;
        // So `now()` is an instant; the session's zone comes in where an instant becomes something else.
        options.execution.time_zone = Some("UTC".to_string());
        // A folder is read with all folders in it.
        options.execution.listing_table_ignore_subdirectory = false;
        let mut planners = nyala_udfs::expr_planners();
        planners.push(Arc::new(IntervalPlanner));
        planners.push(Arc::new(JsonbPlanner));
        planners.push(Arc::new(NumericPlanner));
        planners.push(Arc::new(IntegerPlanner));
        planners.push(Arc::new(ArrayPlanner));
        let mut builder = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(Arc::clone(workload.runtime()))
            .with_default_features();
        // JSON operators are asked first: the array planner would take `@>` for arrays alone.
        planners.extend(builder.expr_planners().take().unwrap_or_default());
        let mut scalar = builder.scalar_functions().take().unwrap_or_default();
        scalar = monotonic::careful(scalar);
        scalar.extend(nyala_udfs::scalar_functions());
        let mut aggregate = builder.aggregate_functions().take().unwrap_or_default();
        aggregate.extend(nyala_udfs::aggregate_functions());
        aggregate.push(Arc::new(StringAgg::default().into()));
        aggregate.push(Arc::new(Average::default().into()));
        aggregate.extend(pg_catalog::aggregates().into_iter().map(Arc::new));
        let state = builder
            .with_expr_planners(planners)
            .with_scalar_functions(scalar)
            .with_aggregate_functions(aggregate)
            .with_optimizer_rules(join_order::rules())
            .with_physical_optimizer_rules(plan_hints::around(
                nyala_catalog::physical_optimizer_rules(),
            ))
            .with_query_planner(Arc::new(WithSharedRows))
            .with_optimizer_rule(Arc::new(DateComparison))
            .build();
        Ok(Self {
            catalog,
            workload: Arc::new(workload),
            started_us: clock::now_us(),
            advisory_locks: Arc::default(),
            notifications: Notifications::default(),
            state,
            cancellers: Mutex::default(),
            // Above those of earlier runs: nobody asks for a million a second.
            last_transaction_id: AtomicI64::new(clock::now_us()),
            activity: Mutex::default(),
            background: AtomicI32::new(-1),
        })
    }

    /// The engine's state for a statement whose `now()` is `now_us`.
    pub fn engine_state(&self, now_us: i64) -> SessionState {
        let mut state = self.state.clone();
        state.execution_props_mut().query_execution_start_time =
            chrono::DateTime::from_timestamp_micros(now_us);
        state
    }

    /// Adds or replaces a connection's line in `pg_stat_activity`. The session changes it through what is returned, which no
    /// other session waits for.
    pub fn set_activity(&self, row: ActivityRow) -> Activity {
        let process_id = row.process_id;
        let activity: Activity = Arc::new(Mutex::new(row));
        let mut all = self.activity.lock();
        all.insert(process_id, Arc::clone(&activity));
        activity
    }

    /// Removes a connection's line.
    pub fn end_activity(&self, process_id: i32) {
        self.activity.lock().remove(&process_id);
        self.cancellers.lock().remove(&process_id);
    }

    /// All connections.
    pub fn activity(&self) -> Vec<ActivityRow> {
        let all = self.activity.lock();
        all.values().map(|row| row.lock().clone()).collect()
    }

    /// The process id of a session that no client has: negative, and no other's.
    pub fn background_process_id(&self) -> i32 {
        self.background.fetch_sub(1, Ordering::Relaxed)
    }

    /// Lets other sessions cancel what a session runs.
    pub fn set_canceller(&self, process_id: i32, canceller: Canceller) {
        self.cancellers.lock().insert(process_id, canceller);
    }

    /// Cancels what a session runs; `None` if there is no such session.
    pub fn canceller(&self, process_id: i32) -> Option<Canceller> {
        self.cancellers.lock().get(&process_id).cloned()
    }

    /// The number of a transaction that asks for one.
    pub fn next_transaction_id(&self) -> i64 {
        self.last_transaction_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Connections to a database.
    pub fn connections_to(&self, database: Oid) -> usize {
        self.activity
            .lock()
            .values()
            .filter(|row| row.lock().database_oid == database)
            .count()
    }
}
