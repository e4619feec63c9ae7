//! Statements and protocol messages that nobody would send, made by seeded mutation of those that people do send.
//!
//! A real server is driven over a socket. No input may make it panic, hang, end or grow: after each statement its answer
//! is judged, after each round its log and its memory. Everything is drawn from one seed, which is printed;
//! `NYALA_FUZZ_SEED` gives it back, `NYALA_FUZZ_SECONDS` says for how long (`make fuzz SECONDS=n`). What a round sent
//! is kept until it has passed, and a failure shows the end of it.
//!
//! Statements that were found to break the server lie in `tests/fuzz/*.sql`, each a trial of its own.

mod corpus;
mod crashes;
mod messages;
mod mutate;
mod round;
mod statements;

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::harness::{TestResult, setting, trial};
use round::{Finding, Target};

const SECONDS_VARIABLE: &str = "NYALA_FUZZ_SECONDS";
const SECONDS_DEFAULT: u64 = 10;
const SEED_VARIABLE: &str = "NYALA_FUZZ_SEED";
const SEED_DEFAULT: u64 = 7;
/// A run ends when it has found so many different failures.
const FINDINGS_MAX: usize = 40;

/// The fuzzers, and what they have found before.
pub fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("fuzz::statements", || run("statements", statements::round)),
        trial("fuzz::messages", || run("messages", messages::round)),
    ];
    trials.extend(crashes::trials());
    trials
}

/// Runs rounds until the time is over. Each is drawn from the seed and its own number, so that one can be had again
/// alone: the seed with `NYALA_FUZZ_FIRST` set to its number.
fn run(what: &str, round: fn(&mut Target, u64, u64) -> Result<Vec<Finding>, Failed>) -> TestResult {
    let limit = Duration::from_secs(setting(SECONDS_VARIABLE, SECONDS_DEFAULT)?);
    let seed = setting(SEED_VARIABLE, SEED_DEFAULT)?;
    let first = setting("NYALA_FUZZ_FIRST", 0)?;
    let known = crashes::known()?;
    let mut target = Target::start()?;
    let mut findings: Vec<(u64, Finding)> = Vec::new();
    let start = Instant::now();
    let mut number = first;
    while start.elapsed() < limit && findings.len() < FINDINGS_MAX {
        for finding in round(&mut target, seed, number)? {
            let seen = findings.iter().any(|(_, other)| other.kind == finding.kind);
            if !seen
                && !known
                    .iter()
                    .any(|known| finding.kind.contains(known.as_str()))
            {
                eprintln!(
                    "fuzz::{what}: seed {seed}, round {number}: {}\n{}",
                    finding.kind, finding.sent
                );
                findings.push((number, finding));
            }
        }
        number += 1;
    }
    eprintln!(
        "fuzz::{what}: seed {seed}, {} rounds, {} inputs, {} refused, {} MiB at most, {} MiB at the end",
        number - first,
        target.inputs,
        target.errors,
        target.memory_most >> 20,
        target.memory_now >> 20,
    );
    // Wrong as well, but no danger: a run is not failed by them.
    for (message, (count, input)) in &target.internal {
        eprintln!("fuzz::{what}: internal error, {count} times: {message}\n  {input}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    let shown = findings.iter().map(|(number, finding)| {
        format!(
            "seed {seed}, round {number}: {}\n{}",
            finding.kind, finding.sent
        )
    });
    Err(shown.collect::<Vec<_>>().join("\n\n").into())
}
