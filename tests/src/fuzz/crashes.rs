//! Statements that have broken the server: `tests/fuzz/NAME.sql`, replayed by the trial `fuzz::crash::NAME`.
//!
//! A file's first line is `-- finds: ` and a piece of the failure's name. While the trial is a known gap
//! (`tests/gaps.txt`), the fuzzers do not report that failure again.

use std::path::PathBuf;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use super::round::{STATEMENT_TIMEOUT_MS, Target};
use crate::harness::server::DATABASE;
use crate::harness::wire::{Format, WireError};
use crate::harness::{TestResult, gaps, package_directory, trial};

const MARK: &str = "-- finds: ";
/// A statement of a crash file ends at a line that ends so.
const END: &str = ";\n";

fn files() -> Result<Vec<(String, PathBuf)>, Failed> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(package_directory().join("fuzz"))? {
        let path = entry?.path();
        if let Some(name) = path.file_stem().and_then(|name| name.to_str()) {
            found.push((format!("fuzz::crash::{name}"), path.clone()));
        }
    }
    found.sort();
    Ok(found)
}

/// A trial per file.
pub(super) fn trials() -> Vec<Trial> {
    match files() {
        Ok(files) => files
            .into_iter()
            .map(|(name, path)| trial(name, move || replay(&path)))
            .collect(),
        Err(failure) => vec![trial("fuzz::crashes", || Err(failure))],
    }
}

/// Pieces of the names of failures that are known gaps.
pub(super) fn known() -> Result<Vec<String>, Failed> {
    let mut known = Vec::new();
    for (name, path) in files()? {
        if gaps::of_test(&name).is_some() {
            let text = std::fs::read_to_string(&path)?;
            let first = text.lines().next().and_then(|line| line.strip_prefix(MARK));
            known.push(
                first
                    .ok_or_else(|| format!("{} must begin with {MARK:?}", path.display()))?
                    .to_string(),
            );
        }
    }
    Ok(known)
}

/// Each statement by both protocols; errors are right, anything else is not.
fn replay(path: &std::path::Path) -> TestResult {
    let text = std::fs::read_to_string(path)?;
    let mut target = Target::start()?;
    let mut findings = Vec::new();
    for extended in [false, true] {
        let mut wire = target.connect(DATABASE)?;
        wire.simple(&format!("SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))?;
        for sql in text.split(END).map(str::trim).filter(|sql| !sql.is_empty()) {
            target.sending(sql);
            let answer = if extended {
                wire.extended(sql, &[], Format::Binary).map(|_| ())
            } else {
                wire.simple(sql).map(|_| ())
            };
            match answer {
                Err(WireError::Closed) => {
                    findings.push(target.finding("the connection was closed".into()))
                }
                Err(error) => findings.extend(target.judge(&error)),
                Ok(()) => {}
            }
            if !findings.is_empty() {
                break;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
        findings.extend(target.end_round()?);
    }
    match findings.first() {
        None => Ok(()),
        Some(finding) => Err(format!("{}\n{}", finding.kind, finding.sent).into()),
    }
}
