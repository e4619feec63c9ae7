//! kill -9 under load: at random moments, and at each named step of commit, housekeeping and offload.
//!
//! Writers keep a log of what the server acknowledged; readers check while they run that no row is
//! seen twice or missing; housekeeping runs in a loop. After each restart the whole table is
//! compared with the log: no acknowledged write lost, no key twice, and what was in flight is there
//! as a whole or not at all.

mod ledger;
mod load;
mod rounds;

use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::{TestResult, expect, setting, trial};
use rounds::{End, Moves, Rounds};

const ROUNDS_VARIABLE: &str = "NYALA_CRASH_ROUNDS";
const ROUNDS_DEFAULT: u64 = 8;
const SEED_VARIABLE: &str = "NYALA_CRASH_SEED";
const SEED_DEFAULT: u64 = 7;
/// A kill comes this long after the writers started, drawn evenly.
const KILL_AFTER_MS: std::ops::Range<u64> = 100..1500;

/// The steps at which a server built with `failpoints` can abort, with the passes before it does.
const STEPS: &[(&str, u32)] = &[
    ("housekeeping::selected", 0),
    ("housekeeping::selected", 2),
    ("housekeeping::files_written", 0),
    ("housekeeping::files_written", 2),
    ("housekeeping::delta_committed", 0),
    ("housekeeping::delta_committed", 2),
    ("housekeeping::manifest_committed", 0),
    ("housekeeping::manifest_committed", 2),
    ("offload::begun", 0),
    ("offload::selected", 1),
    ("offload::files_written", 0),
    ("offload::files_written", 2),
    ("offload::delta_committed", 0),
    ("offload::delta_committed", 2),
    ("offload::shown", 0),
    ("offload::shown", 2),
    ("index::begun", 0),
    ("index::begun", 2),
    ("index::filled", 0),
    ("index::filled", 2),
    ("commit::before_batch", 20),
    ("commit::after_batch", 20),
];

/// The crash tests.
pub fn trials() -> Vec<Trial> {
    vec![
        trial("crash::random_kills", random_kills),
        trial("crash::named_steps", named_steps),
        trial("crash::rows_are_replaced", rows_are_replaced),
        trial("crash::twice_at_the_same_step", twice_at_the_same_step),
    ]
}

fn random_kills() -> TestResult {
    let count = setting(ROUNDS_VARIABLE, ROUNDS_DEFAULT)?;
    let mut rounds = Rounds::start(setting(SEED_VARIABLE, SEED_DEFAULT)?, Moves::Deleted)?;
    for _ in 0..count {
        let wait = Duration::from_millis(rounds.draw(KILL_AFTER_MS));
        rounds.round(End::KillAfter(wait))?;
    }
    finish("random kills", rounds)
}

fn named_steps() -> TestResult {
    let mut rounds = Rounds::start(setting(SEED_VARIABLE, SEED_DEFAULT)?, Moves::Deleted)?;
    for (step, passes) in STEPS {
        rounds.round(End::AtStep {
            step,
            passes: *passes,
        })?;
    }
    finish("named steps", rounds)
}

/// Recovery itself is interrupted by the next crash at the same step.
fn twice_at_the_same_step() -> TestResult {
    let mut rounds = Rounds::start(setting(SEED_VARIABLE, SEED_DEFAULT)?, Moves::Deleted)?;
    for step in [
        "housekeeping::files_written",
        "housekeeping::delta_committed",
        "offload::delta_committed",
    ] {
        for _ in 0..2 {
            rounds.round(End::AtStep { step, passes: 0 })?;
        }
    }
    finish("twice at a step", rounds)
}

/// Housekeeping puts a copy of the rows that stay in their place.
fn rows_are_replaced() -> TestResult {
    let mut rounds = Rounds::start(setting(SEED_VARIABLE, SEED_DEFAULT)?, Moves::Copied)?;
    for (step, passes) in STEPS {
        if step.starts_with("housekeeping::") {
            let (step, passes) = (*step, *passes);
            rounds.round(End::AtStep { step, passes })?;
            let wait = Duration::from_millis(rounds.draw(KILL_AFTER_MS));
            rounds.round(End::KillAfter(wait))?;
        }
    }
    finish("rows replaced", rounds)
}

fn finish(name: &str, mut rounds: Rounds) -> TestResult {
    rounds.settle()?;
    let totals = rounds.totals();
    println!("crash, {name}: {totals}");
    expect(totals.acknowledged > 0, || {
        format!("no write was acknowledged: {totals}")
    })
}
