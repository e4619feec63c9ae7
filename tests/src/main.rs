//! The integration tests: every suite of this crate in one binary, over real sockets.
//!
//! `cargo test -p nyala-tests -- FILTER` runs the tests whose name contains FILTER; the name starts
//! with the suite (`slt::`, `psql::`, `wire::`, `model::`, `points::`, `references::`, `crash::`, `tidy::` …). The server under
//! test is the `nyala` binary next to this one in the target directory, or `NYALA_BIN`.
//!
//! Nothing here is ever skipped: a missing tool or server fails the tests that need it.

mod bulk;
mod clients;
mod constraints;
mod crash;
mod differential;
mod disk;
mod formats;
mod fuzz;
mod harness;
mod hybrid;
mod indexes;
mod lifecycle;
mod load;
mod model;
mod points;
mod references;
mod s3;
mod slt;
mod tidy;

use libtest_mimic::{Arguments, Trial};

/// Most tests wait for a server, so a few more threads than cores; each may hold two servers.
const DEFAULT_THREADS: usize = 4;

fn main() {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(DEFAULT_THREADS);

    let mut trials: Vec<Trial> = Vec::new();
    trials.extend(tidy::trials());
    trials.extend(slt::trials());
    trials.extend(clients::trials());
    trials.extend(bulk::trials());
    trials.extend(constraints::trials());
    trials.extend(load::trials());
    trials.extend(lifecycle::trials());
    trials.extend(formats::trials());
    trials.extend(fuzz::trials());
    trials.extend(differential::trials());
    trials.extend(hybrid::trials());
    trials.extend(indexes::trials());
    trials.extend(disk::trials());
    trials.extend(s3::trials());
    trials.extend(model::trials());
    trials.extend(points::trials());
    trials.extend(references::trials());
    trials.extend(crash::trials());

    let conclusion = libtest_mimic::run(&arguments, trials);
    harness::shared::stop_all();
    conclusion.exit();
}
