//! What every suite stands on: servers on scratch directories, a PostgreSQL to compare with, a
//! protocol client that hides nothing, and deadlines so that a hang is a failure.

pub mod gaps;
pub mod oracle;
pub mod process;
pub mod s3;
pub mod server;
pub mod shared;
pub mod small_disk;
pub mod values;
pub mod wire;

use std::path::PathBuf;

use libtest_mimic::{Failed, Trial};

/// Folder of this crate: cargo tells it when it runs the tests, and else they run in it. It is not taken from the time of
/// the build, because checkouts at other places share builds.
pub fn package_directory() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from)
}

/// What a test returns; any displayable error turns into a failure through `?`.
pub type TestResult = Result<(), Failed>;

/// Makes a trial of a plain function.
pub fn trial(name: impl Into<String>, body: impl FnOnce() -> TestResult + Send + 'static) -> Trial {
    let name = name.into();
    let gap = gaps::of_test(&name);
    Trial::test(name, move || match (body(), gap) {
        (result, None) => result,
        (Err(_), Some(_)) => Ok(()),
        (Ok(()), Some(reason)) => Err(gaps::closed(reason)),
    })
}

/// Fails with both sides printed when they differ.
pub fn expect_eq<T: PartialEq + std::fmt::Debug>(what: &str, got: &T, expected: &T) -> TestResult {
    if got == expected {
        return Ok(());
    }
    Err(format!("{what}\n  expected: {expected:?}\n  got:      {got:?}").into())
}

/// Fails with the whole text when it lacks `needle`.
pub fn expect_contains(what: &str, text: &str, needle: &str) -> TestResult {
    if text.contains(needle) {
        return Ok(());
    }
    Err(format!("{what}\n  expected to contain: {needle:?}\n  got:\n{text}").into())
}

/// Fails with `message` unless `condition` holds.
pub fn expect(condition: bool, message: impl FnOnce() -> String) -> TestResult {
    if condition {
        Ok(())
    } else {
        Err(message().into())
    }
}

/// A number from the environment, for the sizes a long run raises.
pub fn setting(name: &str, default: u64) -> Result<u64, Failed> {
    match std::env::var(name) {
        Err(_) => Ok(default),
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name} must be a whole number, got {text:?}").into()),
    }
}
