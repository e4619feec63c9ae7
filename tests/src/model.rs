//! Random histories against a flat model: whatever mix of statements, transactions, changed columns, housekeeping,
//! restarts and kills a table has seen, it must hold exactly what a `BTreeMap` would hold.
//!
//! A history is a pure function of its seed, which is printed with every failure. To repeat one:
//! `NYALA_MODEL_SEED=<seed> NYALA_MODEL_HISTORIES=1`. Long runs are several processes with seeds far apart.

mod alter;
mod check;
mod flat;
mod history;
mod step;

use libtest_mimic::Trial;

use crate::harness::{TestResult, setting, trial};
use history::Kind;

const HISTORIES_VARIABLE: &str = "NYALA_MODEL_HISTORIES";
const HISTORIES_DEFAULT: u64 = 3;
const SEED_VARIABLE: &str = "NYALA_MODEL_SEED";
const SEED_DEFAULT: u64 = 20_240_229;
const STEPS_VARIABLE: &str = "NYALA_MODEL_STEPS";
const STEPS_DEFAULT: u64 = 90;

/// One trial per kind of table.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("model::hybrid_table", || run(Kind::Hybrid)),
        trial("model::open_table", || run(Kind::Open)),
    ]
}

fn run(kind: Kind) -> TestResult {
    let histories = setting(HISTORIES_VARIABLE, HISTORIES_DEFAULT)?;
    let first_seed = setting(SEED_VARIABLE, SEED_DEFAULT)?;
    let steps = setting(STEPS_VARIABLE, STEPS_DEFAULT)?;
    for seed in first_seed..first_seed + histories {
        let done = history::run(kind, seed, steps)?;
        println!("model {kind:?}: seed {seed}: {done}");
    }
    Ok(())
}
