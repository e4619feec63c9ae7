//! Random queries and changes, answered by Nyala and by PostgreSQL 15 over the same rows, and compared.
//!
//! Differential testing as of McKeeman, "Differential Testing for Software", 1998. Each round makes three tables of random
//! rows on both sides (here one of them has open rows alone, the others lie in both parts, with changes over the closed rows), and
//! sends statements drawn from a typed grammar: queries, half of them by the extended protocol with parameters and binary
//! results, and now and then a change, after which the table must hold the same rows.
//!
//! What counts as a finding: other rows, another order where the statement says one, other column types, an error where
//! PostgreSQL has rows, rows where PostgreSQL refuses the statement. Where PostgreSQL fails on a value (class 22) Nyala may
//! succeed and the other way round not: in which order conditions are read is free, but no answer may be lost to it.
//! A finding is cut down to a smaller statement of the same kind before it is shown.
//!
//! Everything is drawn from one seed: `NYALA_DIFFERENTIAL_SEED` and `NYALA_DIFFERENTIAL_SECONDS` (`make differential`);
//! the rounds of the plain test run are always the same ones.

mod changes;
mod grammar;
mod judge;
mod queries;
mod tables;
mod tree;
mod types;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::harness::{TestResult, setting, shared, trial};
use grammar::Generator;
use judge::{Judge, Verdict};

/// Rounds of the plain test run.
const ROUNDS_DEFAULT: u64 = 8;
const SEED_DEFAULT: u64 = 1;
/// Statements of a round.
const STATEMENTS: usize = 60;
/// Share of the statements that change a table.
const CHANGES: f64 = 0.1;
/// A run ends when it has so many findings.
const FINDINGS_MAX: usize = 60;

/// One trial.
pub fn trials() -> Vec<Trial> {
    vec![trial("differential::statements", run)]
}

fn run() -> TestResult {
    let seed = setting("NYALA_DIFFERENTIAL_SEED", SEED_DEFAULT)?;
    let first = setting("NYALA_DIFFERENTIAL_FIRST", 0)?;
    let rounds = setting("NYALA_DIFFERENTIAL_ROUNDS", ROUNDS_DEFAULT)?;
    let seconds = setting("NYALA_DIFFERENTIAL_SECONDS", 0)?;
    let mut judge = Judge::start()?;
    let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut findings = Vec::new();
    let start = Instant::now();
    let mut number = first;
    let more = |number: u64| {
        if seconds > 0 {
            start.elapsed() < Duration::from_secs(seconds)
        } else {
            number < first + rounds
        }
    };
    while more(number) && findings.len() < FINDINGS_MAX {
        round(&mut judge, seed, number, &mut counts, &mut findings)
            .map_err(|failure| shared::explain(failure.message().unwrap_or("failed")))?;
        number += 1;
    }
    let told: Vec<String> = counts
        .iter()
        .map(|(what, count)| format!("{count} {what}"))
        .collect();
    eprintln!(
        "differential: seed {seed}, rounds {first} to {number}: {}",
        told.join(", ")
    );
    if findings.is_empty() {
        return Ok(());
    }
    Err(findings.join("\n\n").into())
}

/// What a round draws from.
fn random(seed: u64, number: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number)
}

fn round(
    judge: &mut Judge,
    seed: u64,
    number: u64,
    counts: &mut BTreeMap<&'static str, u64>,
    findings: &mut Vec<String>,
) -> Result<(), Failed> {
    let mut random = random(seed, number);
    judge.load(&tables::statements(&mut random))?;
    for statement in 0..STATEMENTS {
        let changes = random.random_bool(CHANGES);
        let mut generator = Generator::new(&mut random);
        let verdict = if changes {
            let (table, tree) = changes::statement(&mut generator);
            judge.change(&table, &tree)?
        } else {
            let tree = queries::statement(&mut generator);
            let sending = judge::Sending::draw(&mut random);
            judge.query(&tree, sending)?
        };
        let (what, finding) = match verdict {
            Verdict::Equal => ("equal", None),
            Verdict::BothRefused => ("refused by both", None),
            Verdict::ValueRefused => ("refused by PostgreSQL for a value", None),
            Verdict::Slow => ("too slow for PostgreSQL", None),
            Verdict::Finding(finding) => (finding.kind, Some(finding)),
        };
        *counts.entry(what).or_insert(0) += 1;
        if let Some(finding) = finding {
            let text = format!("seed {seed}, round {number}, statement {statement}: {finding}");
            eprintln!("{text}\n");
            findings.push(text);
        }
    }
    Ok(())
}
