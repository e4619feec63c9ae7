//! Statements: a script's own, in order, and mutated ones between them, by both protocols.

use libtest_mimic::Failed;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::round::{Finding, STATEMENT_TIMEOUT_MS, Target};
use super::{corpus, mutate};
use crate::harness::wire::{Format, Wire, WireError};

/// Mutated statements of a round. Short rounds, so that what broke something is near its end.
const MUTATED: usize = 60;
/// The script's own statements that they stand between.
const OWN: usize = 40;

/// One script in an empty database.
pub(super) fn round(target: &mut Target, seed: u64, number: u64) -> Result<Vec<Finding>, Failed> {
    let mut random = Target::random(seed, number);
    target.begin_round();
    let database = format!("fuzz_{number}");
    let mut findings = Vec::new();
    if let Err(error) = target.make_database(&database) {
        findings.extend(target.judge(&error));
        findings.extend(target.end_round()?);
        return Ok(findings);
    }
    let mut wire: Option<Wire> = None;
    for input in inputs(&mut random, target) {
        let session = match wire.take() {
            Some(session) => Ok(session),
            None => begin(target, &database),
        };
        let mut session = match session {
            Ok(session) => session,
            Err(error) => {
                findings.extend(target.judge(&error));
                break;
            }
        };
        target.sending(&input.sql);
        match send(&mut session, &input) {
            Ok(()) => wire = Some(session),
            Err(error) => {
                findings.extend(target.judge(&error));
                if matches!(error, WireError::Db(_)) {
                    wire = Some(session);
                }
            }
        }
    }
    drop(wire);
    if findings.is_empty()
        && let Err(error) = target.drop_database(&database)
    {
        findings.extend(target.judge(&error));
    }
    findings.extend(target.end_round()?);
    Ok(findings)
}

fn begin(target: &Target, database: &str) -> Result<Wire, WireError> {
    let mut wire = target.connect(database)?;
    wire.simple(&format!("SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))?;
    Ok(wire)
}

struct Input {
    sql: String,
    extended: bool,
}

fn inputs(random: &mut StdRng, target: &Target) -> Vec<Input> {
    let Some(script) = target.scripts.choose(random) else {
        return Vec::new();
    };
    let own = &script.statements;
    let start = random.random_range(0..own.len().saturating_sub(OWN).max(1));
    let any = |random: &mut StdRng| -> String {
        let script = target.scripts.choose(random);
        script
            .and_then(|script| script.statements.choose(random))
            .cloned()
            .unwrap_or_default()
    };
    let mut inputs = Vec::new();
    // All before them too, so that the tables are there that the mutated ones name.
    for (number, sql) in own.iter().take(start + OWN).enumerate() {
        inputs.push(Input {
            sql: sql.clone(),
            extended: random.random_bool(0.3),
        });
        if number < start {
            continue;
        }
        for _ in 0..random.random_range(0..=2 * MUTATED / OWN) {
            let one = if random.random_bool(0.7) {
                sql.clone()
            } else {
                any(random)
            };
            let other = if random.random_bool(0.5) {
                any(random)
            } else {
                own.choose(random).cloned().unwrap_or_default()
            };
            let sql = mutate::statement(random, &one, &other);
            if corpus::allowed(&sql) && !sql.contains('\0') {
                inputs.push(Input {
                    sql,
                    extended: random.random_bool(0.5),
                });
            }
        }
    }
    inputs
}

fn send(wire: &mut Wire, input: &Input) -> Result<(), WireError> {
    if input.extended {
        wire.extended(&input.sql, &[], Format::Binary).map(|_| ())
    } else {
        wire.simple(&input.sql).map(|_| ())
    }
}
