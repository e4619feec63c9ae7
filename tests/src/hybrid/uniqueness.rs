//! One key, many writers: exactly one INSERT of a key wins, on whichever side the key lies, and
//! counters lose no increment.

use libtest_mimic::Trial;

use crate::harness::server::Server;
use crate::harness::wire::{Wire, WireError};
use crate::harness::{TestResult, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("hybrid::one_insert_wins", one_insert_wins),
        trial("hybrid::no_lost_update", no_lost_update),
    ]
}

const WRITERS: usize = 4;

fn one_insert_wins() -> TestResult {
    const KEYS: usize = 40;
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple(
            "CREATE TABLE h (id integer PRIMARY KEY, writer integer, done boolean) \
             WITH (closed_when = 'done')",
        )?;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let login = server.login("nyala");
                std::thread::spawn(move || -> Result<usize, WireError> {
                    let mut wire = Wire::connect(&login)?;
                    let mut won = 0;
                    for key in 0..KEYS {
                        let done = key % 2 == 0;
                        let sql = format!("INSERT INTO h VALUES ({key}, {writer}, {done})");
                        match wire.simple(&sql) {
                            Ok(_) => won += 1,
                            Err(error) if error.code() == Some("23505") => {}
                            // Two concurrent inserts of a key are a write-write conflict.
                            Err(error) if error.code() == Some("40001") => {}
                            Err(error) => return Err(error),
                        }
                        if key % 10 == writer {
                            wire.simple("CALL nyala.housekeeping('h')").or_else(busy)?;
                        }
                    }
                    Ok(won)
                })
            })
            .collect();
        let mut won = 0;
        for writer in writers {
            won += writer.join().map_err(|_| "writer panicked")??;
        }
        expect_eq("inserts that won", &won, &KEYS)?;
        expect_eq(
            "rows",
            &wire.number("SELECT count(*) FROM h")?,
            &(KEYS as i64),
        )?;
        expect_eq(
            "keys",
            &wire.number("SELECT count(DISTINCT id) FROM h")?,
            &(KEYS as i64),
        )
    })
}

/// Housekeeping that another session already does is no failure here.
fn busy(error: WireError) -> Result<Vec<crate::harness::wire::Reply>, WireError> {
    match error.code() {
        Some("55P03" | "55006") => Ok(Vec::new()),
        _ => Err(error),
    }
}

/// `v = v + 1` from several sessions, retried on 40001: every acknowledged increment counts.
fn no_lost_update() -> TestResult {
    const INCREMENTS: usize = 50;
    Server::fresh()?.scope(|server| {
        let mut wire = server.connect()?;
        wire.simple("CREATE TABLE c (id integer PRIMARY KEY, v integer); INSERT INTO c VALUES (1, 0)")?;
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let login = server.login("nyala");
                std::thread::spawn(move || -> Result<(), WireError> {
                    let mut wire = Wire::connect(&login)?;
                    for _ in 0..INCREMENTS {
                        loop {
                            let sql = if writer % 2 == 0 {
                                "UPDATE c SET v = v + 1 WHERE id = 1"
                            } else {
                                "INSERT INTO c VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = c.v + 1"
                            };
                            match wire.simple(sql) {
                                Ok(_) => break,
                                Err(error) if error.code() == Some("40001") => {}
                                Err(error) => return Err(error),
                            }
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        for writer in writers {
            writer.join().map_err(|_| "writer panicked")??;
        }
        let expected = (WRITERS * INCREMENTS) as i64;
        expect_eq("the counter", &wire.number("SELECT v FROM c")?, &expected)
    })
}
