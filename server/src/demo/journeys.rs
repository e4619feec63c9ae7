//! `journeys`: what customers did on their way through a process, each with its steps as JSON.
//!
//! They span the last ninety days, more by day than by night; each step takes its time and may be the
//! last one.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringViewArray, TimestampMicrosecondArray};
use chrono::DateTime;
use nyala_catalog::types::UTC;

use super::random::Random;
use super::{BATCH_ROWS, TODAY, scaled};
use crate::error::{PgError, Result};

/// The table.
pub(super) const CREATE: &str = "\
CREATE TABLE journeys (
  journey_id bigint PRIMARY KEY, customer_id bigint, channel text, started_at timestamptz,
  status text, steps jsonb
)";

/// Journeys at scale 1, and the customers that make them.
const JOURNEYS: u32 = 200_000;
const CUSTOMERS: u32 = 80_000;

/// Days before today that journeys began in.
const DAYS: i64 = 90;

const DAY_SECONDS: i64 = 86_400;

/// Journeys younger than this may be under way.
const UNDER_WAY_SECONDS: i64 = 2 * DAY_SECONDS;

/// A channel with the probability that a step is the last one there.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    name: &'static str,
    gives_up: f64,
}

const fn channel(name: &'static str, gives_up: f64) -> Channel {
    Channel { name, gives_up }
}

const CHANNELS: [(Channel, u32); 5] = [
    (channel("web", 0.11), 44),
    (channel("app", 0.07), 31),
    (channel("email", 0.16), 12),
    (channel("call_centre", 0.03), 9),
    (channel("shop", 0.02), 4),
];

/// Hours of the day by how many journeys begin in them.
const HOURS: [(i64, u32); 24] = [
    (0, 5),
    (1, 3),
    (2, 2),
    (3, 2),
    (4, 2),
    (5, 4),
    (6, 12),
    (7, 24),
    (8, 35),
    (9, 41),
    (10, 44),
    (11, 42),
    (12, 39),
    (13, 38),
    (14, 39),
    (15, 41),
    (16, 44),
    (17, 49),
    (18, 54),
    (19, 58),
    (20, 55),
    (21, 41),
    (22, 24),
    (23, 11),
];

/// Processes by how common they are.
const PROCESSES: [(&[&str], u32); 4] = [
    (
        &[
            "start",
            "identify",
            "choose_tariff",
            "enter_address",
            "credit_check",
            "confirm",
            "done",
        ],
        38,
    ),
    (
        &["start", "identify", "enter_reading", "confirm", "done"],
        31,
    ),
    (
        &[
            "start",
            "identify",
            "announce_move",
            "choose_tariff",
            "confirm",
            "done",
        ],
        19,
    ),
    (
        &[
            "start",
            "identify",
            "terminate",
            "retention_offer",
            "confirm",
            "done",
        ],
        12,
    ),
];

const ERRORS: [(&str, u32); 4] = [
    ("timeout", 5),
    ("invalid_iban", 3),
    ("unknown_meter", 2),
    ("address_not_found", 2),
];

/// Generates the columns of the table, in order, in batches.
pub(super) struct Journeys {
    random: Random,
    customers: u64,
    journeys: u64,
    /// The next journey.
    journey: u64,
}

#[derive(Default)]
struct Columns {
    journey_id: Vec<i64>,
    customer_id: Vec<i64>,
    channel: Vec<&'static str>,
    started_at: Vec<i64>,
    status: Vec<&'static str>,
    steps: Vec<String>,
}

impl Journeys {
    pub(super) fn new(scale: f64) -> Self {
        Self {
            random: Random::new(0x6a6f_7572),
            customers: scaled(CUSTOMERS, scale),
            journeys: scaled(JOURNEYS, scale),
            journey: 1,
        }
    }

    fn add_journey(&mut self, columns: &mut Columns) -> Result<()> {
        let journey_id = self.journey as i64;
        // Identifiers are given in the order of days.
        let day = TODAY - DAYS + (DAYS as u64 * (self.journey - 1) / self.journeys) as i64;
        self.journey += 1;
        let second = self.random.weighted(&HOURS) * 3_600 + self.random.between(0, 3_600);
        let started = day * DAY_SECONDS + second;
        let channel = self.random.weighted(&CHANNELS);
        let (steps, status) = self.walk(started, channel)?;
        columns.journey_id.push(journey_id);
        columns
            .customer_id
            .push(1 + self.random.skewed(self.customers, 2) as i64);
        columns.channel.push(channel.name);
        columns.started_at.push(started * 1_000_000);
        columns.status.push(status);
        columns.steps.push(steps);
        Ok(())
    }

    /// The steps as JSON, and how the journey ended.
    fn walk(&mut self, started: i64, channel: Channel) -> Result<(String, &'static str)> {
        let process = self.random.weighted(&PROCESSES);
        let young = TODAY * DAY_SECONDS - started < UNDER_WAY_SECONDS;
        let mut json = String::from("[");
        let mut second = started;
        let mut status = "completed";
        for (at, step) in process.iter().enumerate() {
            let took_ms = 40 + self.random.exponential(180.0) as i64;
            let time = DateTime::from_timestamp(second, 0)
                .ok_or_else(|| PgError::internal("demo: no such time"))?
                .format("%Y-%m-%dT%H:%M:%SZ");
            let separator = if at == 0 { "" } else { ", " };
            // Writing to a string cannot fail.
            let _ = write!(
                json,
                "{separator}{{\"at\": \"{time}\", \"ms\": {took_ms}, \"step\": \"{step}\""
            );
            let failed = self.random.chance(0.02);
            if failed {
                let error = self.random.weighted(&ERRORS);
                let _ = write!(json, ", \"error\": \"{error}\"");
            }
            json.push('}');
            let last = at + 1 == process.len();
            if failed && self.random.chance(0.5) {
                status = "failed";
                break;
            }
            if !last && self.random.chance(channel.gives_up) {
                status = if young { "in_progress" } else { "abandoned" };
                break;
            }
            second += 2 + self.random.exponential(45.0) as i64;
        }
        json.push(']');
        Ok((json, status))
    }
}

impl Columns {
    fn into_arrays(self) -> Vec<ArrayRef> {
        vec![
            Arc::new(Int64Array::from(self.journey_id)),
            Arc::new(Int64Array::from(self.customer_id)),
            Arc::new(StringViewArray::from_iter_values(self.channel)),
            Arc::new(TimestampMicrosecondArray::from(self.started_at).with_timezone(UTC)),
            Arc::new(StringViewArray::from_iter_values(self.status)),
            Arc::new(StringViewArray::from_iter_values(self.steps)),
        ]
    }
}

impl Iterator for Journeys {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns = Columns::default();
        while self.journey <= self.journeys && columns.journey_id.len() < BATCH_ROWS {
            if let Err(error) = self.add_journey(&mut columns) {
                return Some(Err(error));
            }
        }
        (!columns.journey_id.is_empty()).then(|| Ok(columns.into_arrays()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::DAY_US;
    use std::collections::HashSet;

    use arrow::array::{Array, AsArray};
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    #[test]
    fn steps_are_canonical_and_every_end_occurs() {
        let batches: Vec<_> = Journeys::new(0.05)
            .collect::<Result<_>>()
            .expect("generated");
        let mut ends = HashSet::new();
        for batch in &batches {
            ends.extend(
                batch[4]
                    .as_string_view()
                    .iter()
                    .flatten()
                    .map(str::to_owned),
            );
            for text in batch[5].as_string_view().iter().flatten() {
                let mut canonical = String::new();
                nyala_udfs::canonical::canonicalize_jsonb(text, &mut canonical).expect("JSON");
                assert_eq!(canonical, text);
            }
        }
        assert_eq!(
            batches.iter().map(|batch| batch[0].len()).sum::<usize>(),
            10_000
        );
        assert_eq!(ends.len(), 4, "{ends:?}");
    }

    #[test]
    fn journeys_began_in_the_last_days() {
        let batch = Journeys::new(0.01)
            .next()
            .expect("a batch")
            .expect("generated");
        let started = batch[3].as_primitive::<TimestampMicrosecondType>();
        let days = (TODAY - DAYS) * DAY_US..TODAY * DAY_US;
        assert!(started.values().iter().all(|time| days.contains(time)));
    }
}
