//! Known gaps: where Nyala does not yet do what PostgreSQL does, and a test says so.
//!
//! `gaps.txt` lists them, one a line: a test's name, or a script and a line of it (`ddl.slt:120`, or
//! `simple/ddl.slt:120` where only that protocol differs), then the reason. A listed test runs like any other and has to fail; one that passes fails the
//! suite until its line is taken out. So the list is complete, and it can only get shorter.

use libtest_mimic::Failed;

/// The list, as it stands beside the scripts.
const LIST: &str = include_str!("../../gaps.txt");

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    LIST.lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').unwrap_or((line, "no reason given")))
}

/// The reason why a test is expected to fail.
pub fn of_test(name: &str) -> Option<&'static str> {
    lines()
        .find(|(test, _)| *test == name)
        .map(|(_, reason)| reason)
}

/// Lines of a script whose record is expected to fail over one protocol.
pub fn of_script(script: &str, protocol: &str) -> Vec<usize> {
    lines()
        .filter_map(|(place, _)| {
            let (file, line) = place.rsplit_once(".slt:")?;
            let listed = match file.split_once('/') {
                Some((only, file)) => only == protocol && file == script,
                None => file == script,
            };
            listed.then_some(line)?.parse().ok()
        })
        .collect()
}

/// A listed test passed.
pub fn closed(reason: &str) -> Failed {
    format!("this gap is closed ({reason}): take its line out of gaps.txt").into()
}
