//! `pg_operator` and `pg_cast`: the operators and casts that Nyala and PostgreSQL 15 share, read once from `operators.tsv` and
//! `casts.tsv`.
//!
//! The files have the columns of the relations, with PostgreSQL's OIDs. Functions are told where `pg_proc` has them; most
//! operators and casts are computed by no function that could be called.

use std::collections::HashSet;

use arrow::record_batch::RecordBatch;
use nyala_catalog::definitions::{BOOTSTRAP_ROLE_OID, Oid, PG_CATALOG_OID};

use crate::error::{PgError, Result};
use crate::pg_catalog::procedures;
use crate::pg_catalog::rows::{Cell, Rows};
use crate::pg_catalog::shape::Shape;

const OPERATORS: &str = include_str!("operators.tsv");
const CASTS: &str = include_str!("casts.tsv");

/// The rows of a relation of this file.
pub fn rows(shape: &Shape) -> Option<Result<RecordBatch>> {
    match shape.name {
        "pg_operator" => Some(pg_operator(shape)),
        "pg_cast" => Some(pg_cast(shape)),
        _ => None,
    }
}

fn fields<const N: usize>(line: &'static str) -> Result<[&'static str; N]> {
    let fields: Vec<_> = line.split('\t').collect();
    let wrong = |_| PgError::internal(format!("not {N} fields: {line}"));
    fields.try_into().map_err(wrong)
}

fn oid(field: &str) -> Oid {
    field.parse().unwrap_or_default()
}

/// The function of that OID, if there is one.
fn function(field: &str) -> Cell {
    procedures::by_oid(oid(field))
        .map_or(0, |known| known.oid)
        .into()
}

fn pg_operator(shape: &Shape) -> Result<RecordBatch> {
    let known: HashSet<Oid> = OPERATORS
        .lines()
        .filter_map(|line| line.split('\t').next())
        .map(oid)
        .collect();
    let other = |field: &str| {
        Cell::from(
            Some(oid(field))
                .filter(|oid| known.contains(oid))
                .unwrap_or_default(),
        )
    };
    let mut rows = Rows::new(shape);
    for line in OPERATORS.lines() {
        let [
            number,
            name,
            kind,
            merges,
            hashes,
            left,
            right,
            result,
            commutator,
            negator,
            code,
        ] = fields(line)?;
        rows.push([
            ("oid", oid(number).into()),
            ("oprname", name.into()),
            ("oprnamespace", PG_CATALOG_OID.into()),
            ("oprowner", BOOTSTRAP_ROLE_OID.into()),
            ("oprkind", kind.into()),
            ("oprcanmerge", (merges == "t").into()),
            ("oprcanhash", (hashes == "t").into()),
            ("oprleft", oid(left).into()),
            ("oprright", oid(right).into()),
            ("oprresult", oid(result).into()),
            ("oprcom", other(commutator)),
            ("oprnegate", other(negator)),
            ("oprcode", function(code)),
        ])?;
    }
    rows.finish()
}

fn pg_cast(shape: &Shape) -> Result<RecordBatch> {
    let mut rows = Rows::new(shape);
    for line in CASTS.lines() {
        let [number, source, target, code, context, method] = fields(line)?;
        rows.push([
            ("oid", oid(number).into()),
            ("castsource", oid(source).into()),
            ("casttarget", oid(target).into()),
            ("castfunc", function(code)),
            ("castcontext", context.into()),
            ("castmethod", method.into()),
        ])?;
    }
    rows.finish()
}
