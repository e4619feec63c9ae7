//! Many connections, and clients that behave badly: what they cost the server, and that others do not feel them.
//!
//! Memory is measured from outside, as the process' resident set. All bounds are several times what was measured, so
//! that they tell a leak or a missing limit and not the weather.

mod bad_clients;
mod crowd;
mod logins;

use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::harness::server::Server;
use crate::harness::{TestResult, process, trial};

const MIB: u64 = 1 << 20;
/// Rows that no buffer between server and client holds.
const MANY_ROWS: &str = "SELECT x, repeat('r', 200) FROM generate_series(1, 50000000) AS g(x)";

/// Every trial.
pub fn trials() -> Vec<Trial> {
    vec![
        // First, because it waits for a minute and needs no processor meanwhile.
        trial(
            "load::half_open_sockets_time_out",
            logins::half_open_sockets_time_out,
        ),
        trial("load::max_connections", logins::max_connections),
        trial(
            "load::a_thousand_idle_two_hundred_busy",
            crowd::a_thousand_idle_two_hundred_busy,
        ),
        trial("load::slow_readers", bad_clients::slow_readers),
        trial(
            "load::clients_vanish_in_the_middle_of_results",
            bad_clients::vanish_in_results,
        ),
        trial("load::oversized_messages", bad_clients::oversized_messages),
        trial(
            "load::announced_messages_take_no_memory",
            bad_clients::announced_messages,
        ),
        trial(
            "load::joins_without_rows_let_others_run",
            bad_clients::joins_without_rows,
        ),
    ]
}

/// Resident memory of a server.
fn memory(server: &Server) -> Result<u64, Failed> {
    Ok(process::resident_bytes(server.id()?)?)
}

/// Repeats a question until the answer is yes.
fn eventually(
    what: &str,
    limit: Duration,
    mut holds: impl FnMut() -> Result<bool, Failed>,
) -> TestResult {
    let start = Instant::now();
    while !holds()? {
        if start.elapsed() > limit {
            return Err(format!("not within {limit:?}: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
