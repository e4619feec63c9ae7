//! Real clients against a real server: psql, the tokio-postgres driver, and the raw protocol.

mod cancel;
mod copy;
mod cursors;
mod driver;
mod login;
mod origins;
mod pgbench;
mod psql;
mod psql_catalog;
mod sessions;
mod tags;
mod wire;

use libtest_mimic::Trial;

/// Every client test.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    trials.extend(psql::trials());
    trials.extend(psql_catalog::trials());
    trials.extend(login::trials());
    trials.extend(cancel::trials());
    trials.extend(copy::trials());
    trials.extend(cursors::trials());
    trials.extend(driver::trials());
    trials.extend(origins::trials());
    trials.extend(pgbench::trials());
    trials.extend(sessions::trials());
    trials.extend(tags::trials());
    trials.extend(wire::trials());
    trials
}
