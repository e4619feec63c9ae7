//! What goes on: `pg_stat_activity`, `pg_cursors`, `pg_prepared_statements`, `nyala.jobs`, and the statistics of tables and databases.

use std::net::SocketAddr;

use arrow::record_batch::RecordBatch;

use nyala_catalog::RelationSize;

use crate::error::Result;
use crate::pg_catalog::entries::Kind;
use crate::pg_catalog::relations::schema_name;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pg_catalog::{SystemView, keys};

/// The rows of a relation of this file.
pub fn rows(view: &SystemView, shape: &Shape) -> Option<Result<RecordBatch>> {
    Some(match shape.name {
        "pg_stat_activity" => pg_stat_activity(view, shape),
        "pg_cursors" => pg_cursors(view, shape),
        "pg_prepared_statements" => pg_prepared_statements(view, shape),
        "pg_stat_database" => pg_stat_database(view, shape),
        "pg_stat_all_tables" | "pg_stat_user_tables" => pg_stat_tables(view, shape),
        "jobs" => jobs(view, shape),
        "pg_locks" => pg_locks(view, shape),
        "pg_stat_all_indexes" | "pg_stat_user_indexes" => pg_stat_indexes(view, shape),
        _ => return None,
    })
}

fn address(addr: Option<SocketAddr>) -> Cell {
    addr.map(|addr| addr.ip().to_string()).into()
}

fn pg_stat_activity(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for backend in &view.activity {
        rows.push([
            ("datid", backend.database_oid.into()),
            ("datname", Cell::from(&backend.database)),
            ("pid", backend.process_id.into()),
            ("usesysid", backend.user_oid.into()),
            ("usename", Cell::from(&backend.user)),
            ("application_name", Cell::from(&backend.application_name)),
            ("client_addr", address(backend.client_addr)),
            (
                "client_port",
                backend
                    .client_addr
                    .map(|addr| i32::from(addr.port()))
                    .into(),
            ),
            ("backend_start", backend.backend_start_us.into()),
            ("xact_start", backend.xact_start_us.into()),
            ("query_start", backend.query_start_us.into()),
            ("state_change", backend.state_change_us.into()),
            ("state", backend.state.into()),
            ("query", Cell::from(&backend.query.to_string())),
            ("backend_type", "client backend".into()),
        ])?;
    }
    rows.finish()
}

/// Advisory locks: there are no others that a session could wait for.
fn pg_locks(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    let locks = view.backend.iter().flat_map(|backend| backend.locks());
    for lock in locks {
        rows.push([
            ("locktype", "advisory".into()),
            ("database", lock.key.database.into()),
            ("classid", lock.key.class.into()),
            ("objid", lock.key.object.into()),
            ("objsubid", i16::from(lock.key.kind).into()),
            (
                "virtualtransaction",
                format!("{}/0", lock.process_id).into(),
            ),
            ("pid", lock.process_id.into()),
            ("mode", lock.mode.name().into()),
            ("granted", lock.waiting_since_us.is_none().into()),
            ("fastpath", false.into()),
            ("waitstart", lock.waiting_since_us.into()),
        ])?;
    }
    rows.finish()
}

fn pg_cursors(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for cursor in &view.cursors {
        rows.push([
            ("name", Cell::from(&cursor.name)),
            ("statement", Cell::from(&cursor.statement.to_string())),
            ("is_holdable", cursor.is_holdable.into()),
            ("is_binary", cursor.is_binary.into()),
            ("is_scrollable", cursor.is_scrollable.into()),
            ("creation_time", cursor.created_us.into()),
        ])?;
    }
    rows.finish()
}

fn pg_prepared_statements(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for statement in &view.statements {
        let types = statement.parameter_types.iter().map(|ty| ty.to_string());
        rows.push([
            ("name", Cell::from(&statement.name)),
            ("statement", Cell::from(&statement.statement.to_string())),
            ("prepare_time", statement.prepared_us.into()),
            ("parameter_types", types.collect::<Vec<_>>().into()),
            ("from_sql", statement.from_sql.into()),
            // A plan is made for each run, for the values of its parameters.
            ("generic_plans", Cell::Int(0)),
            ("custom_plans", Cell::Int(0)),
        ])?;
    }
    rows.finish()
}

fn jobs(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for job in (view.jobs.0)()? {
        rows.push([
            (
                "job_id",
                Cell::Int(i64::try_from(job.id).unwrap_or(i64::MAX)),
            ),
            ("table_schema", job.schema.into()),
            ("table_name", job.table.into()),
            ("kind", job.kind.into()),
            ("started_by", job.started_by.into()),
            ("started", job.started_us.into()),
            ("finished", job.finished_us.into()),
            ("status", job.status.name().into()),
            ("result", job.result.into()),
        ])?;
    }
    rows.finish()
}

fn pg_stat_database(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for database in &view.databases {
        let backends = view
            .activity
            .iter()
            .filter(|row| row.database_oid == database.oid);
        rows.push([
            ("datid", database.oid.into()),
            ("datname", Cell::from(&database.name)),
            ("numbackends", Cell::Int(backends.count() as i64)),
        ])?;
    }
    rows.finish()
}

fn pg_stat_tables(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for entry in view.entries().users() {
        if matches!(entry.kind, Kind::Table { .. }) {
            let size = view.sizes().get(&entry.oid).copied();
            let RelationSize { rows: live, .. } = size.unwrap_or_default();
            rows.push([
                ("relid", entry.oid.into()),
                ("schemaname", schema_name(view, entry)),
                ("relname", Cell::from(&entry.name)),
                ("n_live_tup", Cell::Int(live as i64)),
            ])?;
        }
    }
    rows.finish()
}

fn pg_stat_indexes(view: &SystemView, shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (entry, index) in keys::indexes(view) {
        rows.push([
            ("relid", entry.oid.into()),
            ("indexrelid", index.oid.into()),
            ("schemaname", schema_name(view, entry)),
            ("relname", Cell::from(&entry.name)),
            ("indexrelname", Cell::from(&index.name)),
        ])?;
    }
    rows.finish()
}
