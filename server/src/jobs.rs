//! Jobs that run by themselves: `offload_schedule` and `housekeeping_schedule` of tables, and the offload of a snapshot that
//! too many rows are fresher than (`offload_percent`).
//!
//! One task looks at all tables' schedules, waits for the next one that is due, and runs it as a session of the superuser
//! would with CALL. So a scheduled job takes the same locks, is recorded in `nyala.jobs` by the same code, and can be
//! called by hand at the same time. Schedules are cron patterns in UTC. What was due while the server was down is not
//! made up for. A table's job is not started again while it runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use nyala_catalog::definitions::{Oid, Relation, Table};
use nyala_catalog::{BOOTSTRAP_NAME, JobRecord, JobStatus, offload};
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::error::{PgError, Result, sqlstate};
use crate::server::Server;
use crate::session::{Session, SessionStart};

/// How often changed definitions are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long jobs have to end when the server stops.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// How long an offload that nobody asked for rests after a failure.
const RETRY_AFTER: Duration = Duration::from_secs(300);

/// Who started a job that nobody called: a schedule, or the fresh rows of a snapshot, which were too many.
const SCHEDULE: &str = "schedule";
const FRESH_ROWS: &str = "fresh rows";

/// Reads a cron pattern of five fields, or of six, which begin with the second.
pub fn parse_schedule(option: &str, pattern: &str) -> Result<Cron> {
    parser().parse(pattern).map_err(|error| {
        PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("invalid value for parameter \"{option}\": \"{pattern}\""),
        )
        .with_detail(format!("{error}."))
        .with_hint("A schedule has five fields: minute, hour, day of month, month, day of week.")
    })
}

fn parser() -> CronParser {
    CronParser::builder()
        .seconds(Seconds::Optional)
        .year(Year::Disallowed)
        .build()
}

/// A job that some table's definition asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Scheduled {
    database: String,
    table: Oid,
    kind: &'static str,
    /// `None`: as soon as it is wanted.
    pattern: Option<String>,
}

/// What is known of a scheduled job.
struct Plan {
    /// The table's name, quoted, with its schema.
    name: String,
    due: Option<DateTime<Utc>>,
}

/// Why a job is not started now.
enum Busy {
    Runs,
    /// It failed then.
    Rests(Instant),
}

/// Marks a job as running, unless it runs or rests.
fn begin(busy: &mut HashMap<Scheduled, Busy>, job: &Scheduled) -> bool {
    let held = match busy.get(job) {
        Some(Busy::Runs) => true,
        Some(Busy::Rests(since)) => since.elapsed() < RETRY_AFTER,
        None => false,
    };
    if !held {
        busy.insert(job.clone(), Busy::Runs);
    }
    !held
}

/// Runs schedules until `stop` completes, and waits a little for the jobs that run then.
pub async fn run_schedules(server: Arc<Server>, stop: impl Future<Output = ()>) {
    let mut stop = std::pin::pin!(stop);
    let running = TaskTracker::new();
    let mut plans: HashMap<Scheduled, Plan> = HashMap::new();
    let busy: Arc<Mutex<HashMap<Scheduled, Busy>>> = Arc::default();
    loop {
        let now = clock::now();
        match wanted(&server).await {
            Ok(wanted) => {
                plans.retain(|job, _| wanted.contains_key(job));
                for (job, name) in wanted {
                    let due = || next_run(&job, now);
                    let plan = plans.entry(job.clone()).or_insert_with(|| Plan {
                        name: String::new(),
                        due: due(),
                    });
                    plan.name = name;
                }
            }
            // Read again in a moment; what is known stays.
            Err(error) => tracing::warn!(%error, "schedules could not be read"),
        }
        for (job, plan) in &mut plans {
            if plan.due.is_none_or(|due| due > now) {
                continue;
            }
            plan.due = next_run(job, now);
            if !begin(&mut busy.lock(), job) {
                continue;
            }
            let (server, job, name) = (Arc::clone(&server), job.clone(), plan.name.clone());
            let busy = Arc::clone(&busy);
            running.spawn(async move {
                // A failed job has its error in `nyala.jobs`, too.
                let outcome = run(server, &job, &name).await;
                if let Err(error) = &outcome {
                    tracing::warn!(job.kind, table = name, %error, "scheduled job failed");
                }
                let mut busy = busy.lock();
                match outcome.is_err() && job.pattern.is_none() {
                    true => busy.insert(job, Busy::Rests(Instant::now())),
                    false => busy.remove(&job),
                };
            });
        }
        let next = plans.values().filter_map(|plan| plan.due).min();
        let wait = next.and_then(|due| (due - now).to_std().ok());
        let wait = wait.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut stop => break,
        }
    }
    running.close();
    // What does not end in time is finished or undone at the next start.
    tokio::time::timeout(STOP_WAIT, running.wait()).await.ok();
}

fn next_run(job: &Scheduled, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match &job.pattern {
        Some(pattern) => next_after(pattern, now),
        None => Some(now),
    }
}

fn next_after(pattern: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // Patterns were checked when the table was made.
    let cron = parser().parse(pattern).ok()?;
    cron.find_next_occurrence(&now, false).ok()
}

/// All jobs that definitions ask for, with their tables' names.
async fn wanted(server: &Server) -> Result<HashMap<Scheduled, String>> {
    let mut wanted = HashMap::new();
    for database in server.catalog.globals()?.databases() {
        let transaction = server.catalog.begin(database)?;
        let definitions = transaction.definitions();
        for relation in definitions.relations() {
            let Relation::Table(table) = relation else {
                continue;
            };
            let schema = definitions
                .schemas()
                .find(|schema| schema.oid == table.def.schema);
            let Some(schema) = schema else { continue };
            let name = format!("{}.{}", quoted(&schema.name), quoted(&table.def.name));
            for (kind, pattern) in schedules(table) {
                let job = Scheduled {
                    database: database.name.clone(),
                    table: table.def.oid,
                    kind,
                    pattern: Some(pattern.clone()),
                };
                wanted.insert(job, name.clone());
            }
            if offload::is_outgrown(transaction.view(), table).await? {
                let job = Scheduled {
                    database: database.name.clone(),
                    table: table.def.oid,
                    kind: "offload",
                    pattern: None,
                };
                wanted.insert(job, name);
            }
        }
    }
    Ok(wanted)
}

fn schedules(table: &Table) -> impl Iterator<Item = (&'static str, &String)> {
    let schedules = &table.def.schedules;
    let offload = schedules.offload.iter().map(|pattern| ("offload", pattern));
    let housekeeping = schedules.housekeeping.iter();
    offload.chain(housekeeping.map(|pattern| ("housekeeping", pattern)))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn run(server: Arc<Server>, job: &Scheduled, name: &str) -> Result<()> {
    let start = SessionStart {
        user: BOOTSTRAP_NAME.to_string(),
        database: job.database.clone(),
        process_id: server.background_process_id(),
        canceller: None,
        parameters: BTreeMap::new(),
    };
    let mut session = Session::start(server, start).await?;
    let started_by = if job.pattern.is_some() {
        SCHEDULE
    } else {
        FRESH_ROWS
    };
    session.started_by = started_by.to_string();
    let call = format!("CALL nyala.{}('{}')", job.kind, name.replace('\'', "''"));
    session.run_script(&call).await.map(drop)
}

/// Runs the work of a job between the two entries that the history has of it.
pub async fn recorded<T: std::fmt::Display>(
    server: &Server,
    mut record: JobRecord,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    record.started_us = clock::now_us();
    server.catalog.start_job(&mut record).await?;
    let outcome = work.await;
    record.finished_us = Some(clock::now_us());
    (record.status, record.result) = match &outcome {
        Ok(done) => (JobStatus::Done, Some(done.to_string())),
        Err(error) => (JobStatus::Failed, Some(error.message.clone())),
    };
    // The job did what it did; that the history does not say so must not look as if it had failed.
    if let Err(error) = server.catalog.finish_job(&record).await {
        tracing::warn!(job = record.id, %error, "the end of a job was not recorded");
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_five_or_six_fields() {
        for right in ["0 2 * * *", "*/15 * * * 1-5", "*/10 * * * * *"] {
            assert!(parse_schedule("offload_schedule", right).is_ok(), "{right}");
        }
        for wrong in ["", "nightly", "61 * * * *", "0 2 * *", "0 0 2 * * * 2030"] {
            let error = parse_schedule("offload_schedule", wrong).unwrap_err();
            assert_eq!(error.code, sqlstate::INVALID_PARAMETER_VALUE, "{wrong}");
        }
    }

    #[test]
    fn the_next_time_is_after_now() {
        let now = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let next = next_after("0 3 * * 6", now).unwrap();
        assert_eq!(next.to_rfc3339(), "2023-11-18T03:00:00+00:00");
    }
}
