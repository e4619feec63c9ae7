//! `pg_timezone_names` and `pg_timezone_abbrevs`: the zones of the IANA database, as of now.

use arrow::record_batch::RecordBatch;
use chrono_tz::TZ_VARIANTS;

use crate::clock;
use crate::error::Result;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;
use crate::pgwire::encode::TimeZone;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// The abbreviations that stand for summer time.
const SUMMER_TIMES: [&str; 11] = [
    "west", "bst", "cest", "cetdst", "mesz", "eest", "edt", "cdt", "mdt", "pdt", "akdt",
];

/// The rows of a relation of this file.
pub fn rows(shape: &Shape) -> Option<Result<RecordBatch>> {
    match shape.name {
        "pg_timezone_names" => Some(pg_timezone_names(shape)),
        "pg_timezone_abbrevs" => Some(pg_timezone_abbrevs(shape)),
        _ => None,
    }
}

fn pg_timezone_names(shape: &Shape) -> Result<RecordBatch> {
    let now_us = clock::now_us();
    let mut rows = Rows::new(shape);
    for zone in TZ_VARIANTS {
        let zone = TimeZone::Named(zone);
        rows.push([
            ("name", zone.name().into()),
            ("abbrev", zone.abbreviation_at_utc(now_us).into()),
            ("utc_offset", offset(zone.offset_at_utc(now_us))),
            ("is_dst", zone.is_summer_time_at_utc(now_us).into()),
        ])?;
    }
    rows.finish()
}

/// The abbreviations that input takes for a zone.
fn pg_timezone_abbrevs(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for (abbreviation, seconds) in crate::pgwire::decode::ZONE_ABBREVIATIONS {
        rows.push([
            ("abbrev", abbreviation.to_uppercase().into()),
            ("utc_offset", offset(seconds)),
            ("is_dst", SUMMER_TIMES.contains(&abbreviation).into()),
        ])?;
    }
    rows.finish()
}

fn offset(seconds: i32) -> Cell {
    Cell::Int(i64::from(seconds) * MICROS_PER_SECOND)
}
