//! `contracts`: versions of energy contracts (SCD2). The newest version of each contract is open.
//!
//! A contract has 20 versions on the average and some have many more; a customer has one contract and
//! some have hundreds. Contracts begin on the first of a month more often than not, and in January,
//! April and October more often than in summer.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, Int64Array, StringViewArray, TimestampMicrosecondArray,
};
use chrono::NaiveDate;
use nyala_catalog::types::UTC;

use super::random::Random;
use super::{BATCH_ROWS, DAY_US, TODAY, scaled};
use crate::error::{PgError, Result};

/// The table.
pub(super) const CREATE: &str = "\
CREATE TABLE contracts (
  contract_id bigint, valid_from timestamptz, valid_to timestamptz, customer_id bigint,
  tariff text, price numeric(12,2), attrs jsonb,
  PRIMARY KEY (contract_id, valid_from)
) WITH (closed_when = 'valid_to IS NOT NULL')";

/// What happens after housekeeping: prices of open versions rise, closed versions are corrected or
/// deleted, and versions end that the next housekeeping will move.
pub(super) const CHANGES: &str = "\
UPDATE contracts SET price = price + 1.50
  WHERE valid_to IS NULL AND contract_id % 100 = 7;
UPDATE contracts SET tariff = 'Green Flex'
  WHERE valid_to IS NOT NULL AND tariff = 'Night Saver' AND contract_id % 500 = 42;
DELETE FROM contracts
  WHERE valid_to < '2011-01-01' AND contract_id % 250 = 9;
UPDATE contracts SET valid_to = '2026-10-01 00:00:00+00'
  WHERE valid_to IS NULL AND contract_id % 200 = 11;
INSERT INTO contracts (contract_id, valid_from, valid_to, customer_id, tariff, price, attrs)
  SELECT contract_id, valid_to, NULL, customer_id, 'Green Fix 24', price, attrs FROM contracts
  WHERE valid_to = '2026-10-01 00:00:00+00' AND contract_id % 200 = 11;";

/// Contracts at scale 1.
const CONTRACTS: u32 = 100_000;

/// Versions of a contract: their mean beyond the first, and their bound.
const VERSIONS_MEAN: f64 = 19.5;
const VERSIONS_MAX: usize = 240;

/// Years in which contracts begin; the last one leaves room for versions.
const FIRST_YEAR: i32 = 2010;
const YEARS: f64 = 14.0;

/// Months by how many contracts begin in them.
const MONTHS: [(u32, u32); 12] = [
    (1, 22),
    (2, 7),
    (3, 8),
    (4, 14),
    (5, 7),
    (6, 5),
    (7, 4),
    (8, 4),
    (9, 9),
    (10, 15),
    (11, 8),
    (12, 6),
];

/// A tariff with its monthly price in cents.
#[derive(Debug, Clone, Copy, Default)]
struct Tariff {
    name: &'static str,
    cents: f64,
}

const fn tariff(name: &'static str, cents: f64) -> Tariff {
    Tariff { name, cents }
}

/// Tariffs by how common they are.
const TARIFFS: [(Tariff, u32); 9] = [
    (tariff("Basic Supply", 9_450.0), 30),
    (tariff("Green Fix 24", 8_690.0), 21),
    (tariff("Green Flex", 8_120.0), 14),
    (tariff("Gas Fix 12", 12_380.0), 12),
    (tariff("Night Saver", 6_340.0), 7),
    (tariff("Heat Pump Plus", 10_250.0), 6),
    (tariff("EV Night", 5_480.0), 5),
    (tariff("Solar Feed-in", 2_990.0), 3),
    (tariff("Business Fix 36", 64_900.0), 2),
];

const CHANNELS: [(&str, u32); 5] = [
    ("web", 46),
    ("app", 21),
    ("call_centre", 15),
    ("partner", 12),
    ("shop", 6),
];

const PAYMENTS: [(&str, u32); 3] = [("sepa", 81), ("transfer", 16), ("card", 3)];

/// Yearly rise of all prices, and the day that those above are of: 2010-01-01, in days since 1970.
const INFLATION: f64 = 1.027;
const PRICES_OF: i64 = 14_610;

/// Generates the columns of the table, in order, in batches that end with a contract.
pub(super) struct Contracts {
    random: Random,
    customers: u64,
    contracts: u64,
    /// The next contract.
    contract: u64,
}

#[derive(Default)]
struct Columns {
    contract_id: Vec<i64>,
    valid_from: Vec<i64>,
    valid_to: Vec<Option<i64>>,
    customer_id: Vec<i64>,
    tariff: Vec<&'static str>,
    price: Vec<i128>,
    attrs: Vec<String>,
}

impl Contracts {
    pub(super) fn new(scale: f64) -> Self {
        let contracts = scaled(CONTRACTS, scale);
        let customers = (contracts * 4 / 5).max(1);
        Self {
            random: Random::new(0x636f_6e74),
            customers,
            contracts,
            contract: 1,
        }
    }

    fn first_day(&mut self) -> Result<i64> {
        // More contracts began lately than long ago.
        let year = FIRST_YEAR + (YEARS * self.random.unit().sqrt()) as i32;
        let month = self.random.weighted(&MONTHS);
        let day = if self.random.chance(0.6) {
            1
        } else {
            1 + self.random.below(28) as u32
        };
        let date = NaiveDate::from_ymd_opt(year, month, day)
            .ok_or_else(|| PgError::internal("demo: no such date"))?;
        Ok((date - NaiveDate::default()).num_days())
    }

    /// Days on which the versions of a contract begin, ascending.
    fn version_days(&mut self) -> Result<Vec<i64>> {
        let first = self.first_day()?;
        let wanted = 1 + self.random.exponential(VERSIONS_MEAN) as usize;
        let versions = wanted.min(VERSIONS_MAX);
        let lengths: Vec<f64> = (0..versions)
            .map(|_| 0.2 + self.random.exponential(1.0))
            .collect();
        let total: f64 = lengths.iter().sum();
        // Each version lasts a day at least; the rest of the time is shared by length.
        let shared = (TODAY - first - versions as i64) as f64;
        let mut day = first;
        let mut days = Vec::with_capacity(versions);
        for length in lengths {
            days.push(day);
            day += 1 + (shared * length / total) as i64;
        }
        Ok(days)
    }

    fn add_contract(&mut self, columns: &mut Columns) -> Result<()> {
        let contract_id = self.contract as i64;
        self.contract += 1;
        let customer_id = 1 + self.random.skewed(self.customers, 2) as i64;
        let channel = self.random.weighted(&CHANNELS);
        let payment = self.random.weighted(&PAYMENTS);
        let meter = 10_000_000 + self.random.below(90_000_000);
        let smart = self.random.chance(0.3);
        let size = 0.4 + self.random.exponential(0.6).min(6.0);
        let mut tariff = self.random.weighted(&TARIFFS);
        let days = self.version_days()?;
        let ends = days.iter().skip(1).map(|day| Some(*day)).chain([None]);
        for (day, end) in days.iter().zip(ends) {
            if self.random.chance(0.12) {
                tariff = self.random.weighted(&TARIFFS);
            }
            let years = (*day - PRICES_OF) as f64 / 365.25;
            let noise = 0.97 + 0.06 * self.random.unit();
            let cents = (tariff.cents * size * noise * INFLATION.powf(years)).round();
            let kwh = (2_600.0 * size * noise) as u64 / 10 * 10;
            let discount = match self.random.below(8) {
                0 => format!(
                    ", \"discount\": {}",
                    self.random.pick(&["2.5", "5.0", "10.0"])
                ),
                _ => String::new(),
            };
            columns.contract_id.push(contract_id);
            columns.valid_from.push(day * DAY_US);
            columns.valid_to.push(end.map(|day| day * DAY_US));
            columns.customer_id.push(customer_id);
            columns.tariff.push(tariff.name);
            columns.price.push(cents as i128);
            columns.attrs.push(format!(
                "{{\"kwh\": {kwh}, \"meter\": {{\"id\": \"1EMH{meter}\", \"smart\": {smart}}}, \
                 \"channel\": \"{channel}\", \"payment\": \"{payment}\"{discount}}}"
            ));
        }
        Ok(())
    }
}

impl Columns {
    fn into_arrays(self) -> Result<Vec<ArrayRef>> {
        let timestamps = |values: TimestampMicrosecondArray| values.with_timezone(UTC);
        Ok(vec![
            Arc::new(Int64Array::from(self.contract_id)),
            Arc::new(timestamps(self.valid_from.into())),
            Arc::new(timestamps(self.valid_to.into())),
            Arc::new(Int64Array::from(self.customer_id)),
            Arc::new(StringViewArray::from_iter_values(self.tariff)),
            Arc::new(
                Decimal128Array::from_iter_values(self.price).with_precision_and_scale(12, 2)?,
            ),
            Arc::new(StringViewArray::from_iter_values(self.attrs)),
        ])
    }
}

impl Iterator for Contracts {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns = Columns::default();
        while self.contract <= self.contracts
            && columns.contract_id.len() + VERSIONS_MAX <= BATCH_ROWS
        {
            if let Err(error) = self.add_contract(&mut columns) {
                return Some(Err(error));
            }
        }
        (!columns.contract_id.is_empty()).then(|| columns.into_arrays())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn versions_follow_each_other_and_the_newest_is_open() {
        let batches: Vec<_> = Contracts::new(0.05)
            .collect::<Result<_>>()
            .expect("generated");
        let (mut rows, mut open) = (0, 0);
        let mut before: Option<(i64, Option<i64>)> = None;
        for batch in &batches {
            assert!(batch[0].len() <= BATCH_ROWS);
            let ids = batch[0].as_primitive::<Int64Type>();
            let from = batch[1].as_primitive::<TimestampMicrosecondType>();
            let to = batch[2].as_primitive::<TimestampMicrosecondType>();
            for ((id, from), to) in ids.values().iter().zip(from.values()).zip(to) {
                rows += 1;
                open += usize::from(to.is_none());
                assert!(to.is_none_or(|to| *from < to && to <= TODAY * DAY_US));
                match before {
                    Some((last, end)) if last == *id => assert_eq!(end, Some(*from)),
                    Some((last, end)) => assert_eq!((end, *id), (None, last + 1)),
                    None => assert_eq!(*id, 1),
                }
                before = Some((*id, to));
            }
        }
        assert_eq!(open, 5_000);
        assert!((90_000..110_000).contains(&rows), "{rows}");
    }

    #[test]
    fn attributes_are_canonical() {
        let batch = Contracts::new(0.001)
            .next()
            .expect("a batch")
            .expect("generated");
        for text in batch[6].as_string_view().iter().flatten() {
            let mut canonical = String::new();
            nyala_udfs::canonical::canonicalize_jsonb(text, &mut canonical).expect("JSON");
            assert_eq!(canonical, text);
        }
    }
}
