//! What the scripts cannot reach: the closed table's own files, reads while rows move, concurrent
//! housekeeping, and the keys of both sides under concurrent writers.

mod adopting;
mod altering;
mod delta_features;
mod external;
mod moving;
mod schedules;
mod uniqueness;
mod vacuum;

use libtest_mimic::Trial;

/// Every test of the split between open and closed rows.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(adopting::trials());
    trials.extend(altering::trials());
    trials.extend(delta_features::trials());
    trials.extend(external::trials());
    trials.extend(moving::trials());
    trials.extend(schedules::trials());
    trials.extend(uniqueness::trials());
    trials.extend(vacuum::trials());
    trials
}
