//! psql's backslash commands, which are real queries over `pg_catalog`: what they print for the
//! same definitions must be what PostgreSQL prints.

use libtest_mimic::Trial;

use super::psql::{both, run_ok, same_output};
use crate::harness::server::Server;
use crate::harness::shared::Engine;
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("psql::describe_relations", describe_relations),
        trial("psql::describe_table", describe_table),
        trial("psql::describe_hybrid_table", describe_hybrid_table),
        trial("psql::list_databases_and_roles", list_databases_and_roles),
        trial("psql::list_functions", list_functions),
        trial("psql::oids_survive_restart", oids_survive_restart),
    ]
}

const DEFINITIONS: &str = "
    CREATE TABLE contracts (
      contract_id bigint, valid_from timestamptz, valid_to timestamptz, customer_id bigint,
      tariff text, price numeric(12,2), attrs jsonb, PRIMARY KEY (contract_id, valid_from));
    CREATE TABLE every_type (
      id integer PRIMARY KEY, a boolean, b smallint, c bigint NOT NULL, d real, e double precision,
      f numeric(5,1), g varchar(20), h bytea, i date, j time, k timestamp, l interval, m uuid, n json,
      o integer[], p text[]);
    CREATE TABLE defaults (n integer NOT NULL DEFAULT 7, word text DEFAULT 'none');
    CREATE VIEW open_contracts AS SELECT contract_id FROM contracts WHERE valid_to IS NULL;
    CREATE SCHEMA sales;
    CREATE TABLE sales.orders (id integer);
    CREATE TABLE indexed (id bigint PRIMARY KEY, email text UNIQUE, customer bigint, state text,
      CONSTRAINT pair UNIQUE (customer, state));
    CREATE INDEX ON indexed (customer, state DESC);
    CREATE UNIQUE INDEX by_state ON indexed (state NULLS FIRST, id) NULLS NOT DISTINCT;
";

fn describe_relations() -> TestResult {
    let (nyala, postgres) = both("psql_relations", DEFINITIONS)?;
    for command in [
        "\\dt",
        "\\dv",
        "\\d",
        "\\dt sales.*",
        "\\dt every*",
        "\\dt nosuch",
        "\\dv nosuch",
    ] {
        same_output(&nyala, &postgres, &["-c", command])?;
    }
    // PostgreSQL's owner of `public` is a role of its own kind; the schemas themselves must agree.
    for expected in ["public", "sales"] {
        expect_contains("\\dn", &run_ok(&nyala, &["-c", "\\dn"], "")?, expected)?;
    }
    Ok(())
}

fn describe_table() -> TestResult {
    let (nyala, postgres) = both("psql_tables", DEFINITIONS)?;
    let contracts = run_ok(&nyala, &["-c", "\\d contracts"], "")?;
    expect_contains(
        "\\d contracts",
        &contracts,
        "Indexes:\n    \"contracts_pkey\" PRIMARY KEY, btree (contract_id, valid_from)",
    )?;
    for command in [
        "\\d contracts",
        "\\d every_type",
        "\\d defaults",
        "\\d open_contracts",
        "\\d sales.orders",
        "\\d indexed",
        "\\d by_state",
        "\\di",
        "\\d nosuch",
    ] {
        same_output(&nyala, &postgres, &["-c", command])?;
    }
    Ok(())
}

/// The split into parts is not part of the data model that a user sees.
fn describe_hybrid_table() -> TestResult {
    let login = Engine::Nyala.create_database("psql_hybrid")?;
    let setup = "
        CREATE TABLE contracts (contract_id bigint, valid_from timestamptz, valid_to timestamptz,
          PRIMARY KEY (contract_id, valid_from)) WITH (closed_when = 'valid_to IS NOT NULL');
        INSERT INTO contracts VALUES (1, '2024-01-01', '2024-02-01'), (1, '2024-02-01', NULL);
        CALL nyala.housekeeping('contracts');";
    run_ok(&login, &["-q", "-v", "ON_ERROR_STOP=1", "-f", "-"], setup)?;
    let listed = run_ok(&login, &["-Atc", "\\dt"], "")?;
    expect_eq("\\dt", &listed.as_str(), &"public|contracts|table|nyala\n")?;
    let described = run_ok(&login, &["-c", "\\d contracts"], "")?;
    expect_contains(
        "\\d",
        &described,
        "\"contracts_pkey\" PRIMARY KEY, btree (contract_id, valid_from)",
    )?;
    let called = run_ok(
        &login,
        &["-x", "-c", "CALL nyala.housekeeping('contracts')"],
        "",
    )?;
    expect_contains("CALL answers a row", &called, "-[ RECORD 1 ]")
}

fn list_databases_and_roles() -> TestResult {
    let login = Engine::Nyala.create_database("psql_databases")?;
    let listed = run_ok(&login, &["-Atc", "\\l"], "")?;
    for database in ["nyala", "psql_databases"] {
        let prefix = format!("{database}|nyala|UTF8|");
        expect(listed.lines().any(|line| line.starts_with(&prefix)), || {
            format!("\\l must list {database} with its owner and encoding:\n{listed}")
        })?;
    }
    let roles = run_ok(&login, &["-Atc", "\\du"], "")?;
    expect_contains("\\du", &roles, "nyala|Superuser")?;
    let connected = run_ok(&login, &["-Atc", "\\conninfo"], "")?;
    expect_contains(
        "\\conninfo",
        &connected,
        "database \"psql_databases\" as user \"nyala\"",
    )
}

fn list_functions() -> TestResult {
    let login = Engine::Nyala.create_database("psql_functions")?;
    let listed = run_ok(&login, &["-At", "-c", "\\df *.json_merge*"], "")?;
    for function in ["json_merge_patch", "json_merge_agg"] {
        expect_contains("\\df", &listed, function)?;
    }
    // No user-made functions exist, so the plain command lists no row that belongs to PostgreSQL.
    let plain = run_ok(&login, &["-At", "-c", "\\df"], "")?;
    expect(!plain.contains("pg_catalog|"), || {
        format!("\\df lists system functions:\n{plain}")
    })
}

/// Clients keep OIDs in caches; a restart must not give a table another's OID.
fn oids_survive_restart() -> TestResult {
    Server::fresh()?.scope(|server| {
        let login = server.login("nyala");
        run_ok(
            &login,
            &["-q", "-v", "ON_ERROR_STOP=1", "-f", "-"],
            DEFINITIONS,
        )?;
        let query = "SELECT c.relname, c.oid, c.reltype, n.oid, (SELECT oid FROM pg_database WHERE \
                     datname = current_database()) FROM pg_class c JOIN pg_namespace n ON n.oid = \
                     c.relnamespace WHERE n.nspname IN ('public', 'sales') ORDER BY 1";
        let before = run_ok(&login, &["-Atc", query], "")?;
        expect(before.lines().count() >= 5, || {
            format!("too few relations:\n{before}")
        })?;
        server.restart()?;
        let login = server.login("nyala");
        expect_eq("OIDs", &run_ok(&login, &["-Atc", query], "")?, &before)?;
        run_ok(
            &login,
            &[
                "-q",
                "-c",
                "DROP TABLE defaults; CREATE TABLE defaults (n integer)",
            ],
            "",
        )?;
        let after = run_ok(&login, &["-Atc", query], "")?;
        let line = |text: &str| {
            text.lines()
                .find(|l| l.starts_with("defaults|"))
                .map(String::from)
        };
        expect(line(&after) != line(&before), || {
            "a new table has an old OID".into()
        })
    })
}
