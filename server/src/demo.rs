//! `nyala demo`: fills a data directory with a seeded, realistic data set, table by table.
//!
//! It writes as any client does, through a [`Session`], and owns no way around one. What was loaded
//! is recorded in the table `demo_loads`, so a later start serves it as it is, and a load that was
//! cut off is done again. The rows depend on the scale alone: no clock, no ambient randomness.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use nyala_catalog::BOOTSTRAP_NAME;
use nyala_catalog::definitions::{PUBLIC_SCHEMA_OID, Relation, Table};

use crate::error::{PgError, Result, sqlstate};
use crate::server::Server;
use crate::session::{Session, SessionStart};

mod contracts;
mod flights;
mod journeys;
mod profiles;
mod random;

/// Rows of the batches that are inserted, each in a transaction of its own.
const BATCH_ROWS: usize = 100_000;

/// Largest scale: the data set has to fit on one machine's disk.
const SCALE_MAX: f64 = 100.0;

/// Microseconds of a day, for the generators' dates.
const DAY_US: i64 = 86_400_000_000;

/// The day on which the demonstration takes place: 2026-10-01, in days since 1970.
const TODAY: i64 = 20_727;

/// What was loaded; a table without a line here is not complete.
const CREATE_LOADS: &str = "\
CREATE TABLE IF NOT EXISTS demo_loads (
  table_name text PRIMARY KEY, rows bigint NOT NULL, scale double precision NOT NULL
)";

/// Queries worth trying, with what each shows.
const QUERIES: [(&str, &str); 3] = [
    (
        "Which contracts were in force on a day: one name over open and closed rows",
        "\
SELECT tariff, count(*) AS active, count(*) FILTER (WHERE valid_to IS NULL) AS still_open,
       avg(price)::numeric(12,2) AS avg_price
FROM contracts
WHERE valid_from <= '2025-06-30' AND (valid_to > '2025-06-30' OR valid_to IS NULL)
GROUP BY tariff ORDER BY active DESC;",
    ),
    (
        "Where customers give up: a path into JSON",
        "\
SELECT channel, steps #>> '{-1,step}' AS last_step, count(*) AS journeys
FROM journeys
WHERE status = 'abandoned'
GROUP BY 1, 2 ORDER BY journeys DESC, channel, last_step LIMIT 5;",
    ),
    (
        "Profiles merged from their change records",
        "\
SELECT profile #>> '{address,city}' AS city, count(*) AS profiles,
       count(*) FILTER (WHERE profile #>> '{consent,email}' = 'true') AS may_email
FROM (SELECT profile_id, json_merge_agg(body ORDER BY ts, record_id) AS profile
      FROM profile_records GROUP BY profile_id) AS merged
GROUP BY 1 ORDER BY profiles DESC LIMIT 5;",
    ),
];

/// What `nyala demo` is asked for.
pub struct DemoOptions {
    /// Size of the data set; 1 is 2 million contract versions.
    pub scale: f64,
    /// CSV file with the flights; without it that table is left out.
    pub flights: Option<PathBuf>,
}

/// Loads what is not there yet. Progress goes to standard error.
///
/// # Errors
/// If a relation of the user's has the name of a demonstration table, and those of the session.
pub async fn load(server: &Arc<Server>, options: DemoOptions) -> Result<()> {
    let DemoOptions { scale, flights } = options;
    if !(scale > 0.0 && scale <= SCALE_MAX) {
        return Err(PgError::new(
            sqlstate::INVALID_PARAMETER_VALUE,
            format!("scale must be above 0 and at most {SCALE_MAX}"),
        ));
    }
    let start = SessionStart {
        user: BOOTSTRAP_NAME.to_owned(),
        database: BOOTSTRAP_NAME.to_owned(),
        process_id: 0,
        canceller: None,
        parameters: BTreeMap::new(),
    };
    let session = Session::start(Arc::clone(server), start).await?;
    let mut loader = Loader {
        server,
        session,
        scale,
        loaded: BTreeMap::new(),
    };
    loader.read_loads().await?;

    if loader.begin("contracts", contracts::CREATE).await? {
        let clock = Instant::now();
        let rows = loader
            .insert_all("contracts", contracts::Contracts::new(scale))
            .await?;
        report("contracts", rows, clock);
        let clock = Instant::now();
        loader
            .session
            .run_script("CALL nyala.housekeeping('contracts')")
            .await?;
        step("contracts: housekeeping moved the closed rows", clock);
        let clock = Instant::now();
        loader.session.run_script(contracts::CHANGES).await?;
        step("contracts: changes on both sides", clock);
        loader.finish("contracts", rows).await?;
    }
    if loader.begin("journeys", journeys::CREATE).await? {
        let clock = Instant::now();
        let rows = loader
            .insert_all("journeys", journeys::Journeys::new(scale))
            .await?;
        report("journeys", rows, clock);
        loader.finish("journeys", rows).await?;
    }
    if loader.begin("profile_records", profiles::CREATE).await? {
        let clock = Instant::now();
        let records = profiles::ProfileRecords::new(scale);
        let rows = loader.insert_all("profile_records", records).await?;
        report("profile_records", rows, clock);
        loader.finish("profile_records", rows).await?;
    }
    match flights {
        Some(file) => loader.load_flights(&file).await?,
        None if loader.loaded.contains_key("flights") => {}
        None => eprintln!("demo: no --flights FILE, so there is no table flights"),
    }
    Ok(())
}

/// How to connect and what to ask first; for standard output once the server listens.
pub fn invitation(address: SocketAddr) -> String {
    let host = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let port = address.port();
    let mut text = format!("\n    psql -h {host} -p {port} -U {BOOTSTRAP_NAME} {BOOTSTRAP_NAME}\n");
    for (title, query) in QUERIES {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n-- {title}\n{query}\n");
    }
    text
}

/// The demonstration's session and what it found.
struct Loader<'a> {
    server: &'a Arc<Server>,
    session: Session,
    scale: f64,
    /// Complete tables, with their rows and scale.
    loaded: BTreeMap<String, (i64, f64)>,
}

impl Loader<'_> {
    async fn read_loads(&mut self) -> Result<()> {
        self.session.run_script(CREATE_LOADS).await?;
        let lines = self
            .session
            .run_script("SELECT table_name, rows, scale FROM demo_loads")
            .await?;
        for batch in lines {
            let column = |at: usize, ty: &DataType| match batch.columns().get(at) {
                Some(column) => Ok(cast(column, ty)?),
                None => Err(PgError::internal("demo_loads lacks a column")),
            };
            let (names, rows, scales) = (
                column(0, &DataType::Utf8View)?,
                column(1, &DataType::Int64)?,
                column(2, &DataType::Float64)?,
            );
            let lines = names
                .as_string_view()
                .iter()
                .zip(rows.as_primitive::<Int64Type>())
                .zip(scales.as_primitive::<Float64Type>());
            for ((name, rows), scale) in lines {
                let line = (rows.unwrap_or_default(), scale.unwrap_or_default());
                self.loaded
                    .insert(name.unwrap_or_default().to_owned(), line);
            }
        }
        Ok(())
    }

    /// Makes the table anew and returns true, unless it is complete.
    async fn begin(&mut self, name: &str, create: &str) -> Result<bool> {
        if let Some((rows, scale)) = self.loaded.get(name) {
            eprintln!(
                "demo: {name} has {} rows at scale {scale} already",
                grouped(*rows)
            );
            if *scale != self.scale && name != "flights" {
                eprintln!(
                    "demo: for scale {} start on an empty data directory",
                    self.scale
                );
            }
            return Ok(false);
        }
        if self.table(name)?.is_some() {
            // Only a demonstration's own tables are replaced; a marker says that one was begun.
            if !self.loaded.contains_key(&begun(name)) {
                return Err(PgError::new(
                    sqlstate::DUPLICATE_TABLE,
                    format!("relation \"{name}\" already exists and is no demonstration data"),
                )
                .with_hint("Start the demonstration on another data directory."));
            }
            eprintln!("demo: the load of {name} was cut off and starts again");
            self.session
                .run_script(&format!("DROP TABLE {name} CASCADE"))
                .await?;
        }
        let marker = begun(name);
        let begin = format!(
            "INSERT INTO demo_loads VALUES ('{marker}', 0, {}) ON CONFLICT DO NOTHING",
            self.scale
        );
        self.session.run_script(&begin).await?;
        self.session.run_script(create).await?;
        Ok(true)
    }

    /// Records that the table is complete.
    async fn finish(&mut self, name: &str, rows: i64) -> Result<()> {
        let marker = begun(name);
        let scale = self.scale;
        let finish = format!(
            "BEGIN; DELETE FROM demo_loads WHERE table_name = '{marker}'; \
             INSERT INTO demo_loads VALUES ('{name}', {rows}, {scale}); COMMIT"
        );
        self.session.run_script(&finish).await.map(drop)
    }

    async fn insert_all(
        &mut self,
        name: &str,
        batches: impl Iterator<Item = Result<Vec<ArrayRef>>>,
    ) -> Result<i64> {
        let table = self.required(name)?;
        let mut rows = 0;
        for columns in batches {
            let batch = RecordBatch::try_new(Arc::clone(&table.schema), columns?)?;
            rows += row_count(&batch);
            self.session.insert_batch(name, batch).await?;
        }
        Ok(rows)
    }

    async fn load_flights(&mut self, file: &Path) -> Result<()> {
        if !self.begin("flights", flights::CREATE).await? {
            return Ok(());
        }
        let clock = Instant::now();
        let table = self.required("flights")?;
        let mut reader = flights::FlightsFile::open(file, &table, &self.session.input_settings())?;
        let mut rows = 0;
        while let Some(batches) = reader.next_batches()? {
            for batch in batches {
                let columns = batch.columns().to_vec();
                let batch = RecordBatch::try_new(Arc::clone(&table.schema), columns)?;
                rows += row_count(&batch);
                self.session.insert_batch("flights", batch).await?;
            }
        }
        report("flights", rows, clock);
        self.finish("flights", rows).await
    }

    /// The table as it is now, if it exists.
    fn table(&self, name: &str) -> Result<Option<Arc<Table>>> {
        let globals = self.server.catalog.globals()?;
        let database = globals
            .database(BOOTSTRAP_NAME)
            .ok_or_else(|| PgError::internal("the first database is gone"))?;
        let transaction = self.server.catalog.begin(database)?;
        match transaction.definitions().relation(PUBLIC_SCHEMA_OID, name) {
            None => Ok(None),
            Some(Relation::Table(table)) => Ok(Some(Arc::clone(table))),
            Some(_) => Err(PgError::new(
                sqlstate::DUPLICATE_TABLE,
                format!("relation \"{name}\" already exists and is not a table"),
            )),
        }
    }

    fn required(&self, name: &str) -> Result<Arc<Table>> {
        self.table(name)?
            .ok_or_else(|| PgError::internal(format!("table {name} was not created")))
    }
}

/// What `demo_loads` calls a table whose load has begun.
fn begun(name: &str) -> String {
    format!("{name} (begun)")
}

fn row_count(batch: &RecordBatch) -> i64 {
    i64::try_from(batch.num_rows()).unwrap_or(i64::MAX)
}

/// Units of something that there are `at_scale_1` of at scale 1; never none.
fn scaled(at_scale_1: u32, scale: f64) -> u64 {
    // The scale is checked, so the product is a small positive number.
    (f64::from(at_scale_1) * scale).round().max(1.0) as u64
}

fn report(table: &str, rows: i64, since: Instant) {
    step(&format!("{table}: {} rows", grouped(rows)), since);
}

fn step(what: &str, since: Instant) {
    eprintln!("demo: {what}, {:.1} s", since.elapsed().as_secs_f64());
}

/// `1234567` as `1,234,567`.
fn grouped(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_invitation_names_an_address_that_can_be_reached() {
        let text = invitation(SocketAddr::from(([0, 0, 0, 0], 5433)));
        assert!(
            text.contains("psql -h 127.0.0.1 -p 5433 -U nyala nyala"),
            "{text}"
        );
        let text = invitation(SocketAddr::from((Ipv6Addr::LOCALHOST, 6000)));
        assert!(text.contains("psql -h ::1 -p 6000 "), "{text}");
    }

    #[test]
    fn the_readme_shows_the_same_queries() {
        let readme = include_str!("../../README.md");
        for (_, query) in QUERIES {
            assert!(readme.contains(query), "not in README.md:\n{query}");
        }
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            [grouped(0), grouped(999), grouped(1_000)],
            ["0", "999", "1,000"]
        );
        assert_eq!(grouped(1_995_003), "1,995,003");
    }

    #[test]
    fn today_is_the_day_it_says() {
        let today = chrono::DateTime::from_timestamp_micros(TODAY * DAY_US);
        assert_eq!(
            today.map(|day| day.to_rfc3339()).as_deref(),
            Some("2026-10-01T00:00:00+00:00")
        );
    }
}
