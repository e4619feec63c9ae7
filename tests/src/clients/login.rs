//! Who gets in and how: SCRAM, wrong passwords, unknown databases, trust, TLS.

use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::psql::{run, run_ok};
use crate::harness::process;
use crate::harness::server::{DATABASE, Options, PASSWORD, Server, USER};
use crate::harness::wire::{Login, Wire, WireError};
use crate::harness::{TestResult, expect, expect_contains, expect_eq, trial};

pub(super) fn trials() -> Vec<Trial> {
    vec![
        trial("login::scram", scram),
        trial("login::trust_on_loopback", trust_on_loopback),
        trial("login::concurrent", concurrent),
        trial("login::tls", tls),
        trial("login::tls_not_offered", tls_not_offered),
        trial("login::client_certificates", client_certificates),
    ]
}

fn refused(login: &Login, code: &str) -> TestResult {
    match Wire::connect(login) {
        Ok(_) => Err(format!("{login:?} must be refused").into()),
        Err(error) => expect_eq(&format!("refusal: {error}"), &error.code(), &Some(code)),
    }
}

fn scram() -> TestResult {
    Server::fresh()?.scope(|server| {
        let login = server.login(DATABASE);
        let mut connection = Wire::connect(&login)?;
        let who = connection.texts("SELECT current_user, current_database()")?;
        expect_eq(
            "identity",
            &who,
            &vec![vec![USER.to_string(), DATABASE.to_string()]],
        )?;

        refused(
            &Login {
                password: "wrong".into(),
                ..login.clone()
            },
            "28P01",
        )?;
        refused(
            &Login {
                password: String::new(),
                ..login.clone()
            },
            "28P01",
        )?;
        // An unknown user must look like a wrong password.
        refused(
            &Login {
                user: "nobody".into(),
                ..login.clone()
            },
            "28P01",
        )?;
        refused(
            &Login {
                database: "nosuch".into(),
                ..login.clone()
            },
            "3D000",
        )?;

        let wrong = run(
            &Login {
                password: "wrong".into(),
                ..login.clone()
            },
            &["-c", "SELECT 1"],
            "",
        )?;
        expect_contains(
            "psql",
            &wrong.err,
            "password authentication failed for user \"nyala\"",
        )?;
        expect_eq("psql's status for no connection", &wrong.code, &Some(2))?;
        let missing = Login {
            database: "nosuch".into(),
            ..login.clone()
        };
        let missing = run(&missing, &["-c", "SELECT 1"], "")?;
        expect_contains("psql", &missing.err, "database \"nosuch\" does not exist")?;
        expect_eq(
            "psql",
            &run_ok(&login, &["-Atc", "SELECT 40 + 2"], "")?.as_str(),
            &"42\n",
        )?;

        // Nothing readable of the password lies in the data directory.
        let needle = PASSWORD.as_bytes();
        for file in files_below(&server.data_dir())? {
            let bytes = std::fs::read(&file)?;
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            expect(!found, || format!("{} holds the password", file.display()))?;
        }
        Ok(())
    })
}

fn files_below(directory: &std::path::Path) -> Result<Vec<std::path::PathBuf>, Failed> {
    let mut files = Vec::new();
    let mut left = vec![directory.to_path_buf()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path)
            } else {
                files.push(path)
            }
        }
    }
    Ok(files)
}

fn trust_on_loopback() -> TestResult {
    let options = Options::default().with_arguments(&["--auth", "trust"]);
    Server::start(options)?.scope(|server| {
        let login = Login {
            password: String::new(),
            ..server.login(DATABASE)
        };
        expect_eq(
            "psql",
            &run_ok(&login, &["-Atc", "SELECT 1"], "")?.as_str(),
            &"1\n",
        )?;
        refused(
            &Login {
                database: "nosuch".into(),
                ..login.clone()
            },
            "3D000",
        )?;
        refused(
            &Login {
                user: "nobody".into(),
                ..login
            },
            "28000",
        )
    })
}

/// Interleaved logins must not share their handshake's state.
fn concurrent() -> TestResult {
    const CONNECTIONS: usize = 16;
    Server::fresh()?.scope(|server| {
        let login = server.login(DATABASE);
        let attempts: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let mut login = login.clone();
                if number % 4 == 3 {
                    login.password = format!("wrong {number}");
                }
                std::thread::spawn(move || -> Result<(usize, Option<String>), WireError> {
                    match Wire::connect(&login) {
                        Ok(mut wire) => wire.number("SELECT 1").map(|_| (number, None)),
                        Err(error) => match error.code() {
                            Some(code) => Ok((number, Some(code.to_string()))),
                            None => Err(error),
                        },
                    }
                })
            })
            .collect();
        for attempt in attempts {
            let (number, code) = attempt.join().map_err(|_| "login thread panicked")??;
            let expected = (number % 4 == 3).then(|| "28P01".to_string());
            expect_eq(&format!("login {number}"), &code, &expected)?;
        }
        Ok(())
    })
}

/// A self-signed certificate for `localhost`.
fn certificate(directory: &std::path::Path) -> Result<(String, String), Failed> {
    let key = directory.join("server.key").display().to_string();
    let certificate = directory.join("server.crt").display().to_string();
    let mut command = Command::new(process::require("openssl", "openssl")?);
    command.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ]);
    command.args([
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
    ]);
    command.args(["-keyout", &key, "-out", &certificate]);
    let output = process::run(&mut command, b"", std::time::Duration::from_secs(60))?;
    if output.status.success() {
        Ok((certificate, key))
    } else {
        Err(format!("openssl: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn openssl(arguments: &[&str]) -> TestResult {
    let mut command = Command::new(process::require("openssl", "openssl")?);
    command.args(arguments);
    let output = process::run(&mut command, b"", std::time::Duration::from_secs(60))?;
    expect(output.status.success(), || {
        format!("openssl: {}", String::from_utf8_lossy(&output.stderr))
    })
}

/// A certificate for a client of that name, signed by the authority `ca`, as an option of libpq.
fn client_certificate(
    directory: &std::path::Path,
    ca: &(String, String),
    name: &str,
) -> Result<String, Failed> {
    let file = |end: &str| {
        directory
            .join(format!("{name}.{end}"))
            .display()
            .to_string()
    };
    let (key, request, certificate) = (file("key"), file("csr"), file("crt"));
    let subject = format!("/O=Bank/CN={name}");
    let extensions = file("ext");
    std::fs::write(
        &extensions,
        "basicConstraints = CA:FALSE\nextendedKeyUsage = clientAuth\n",
    )?;
    openssl(&[
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", &subject, "-keyout", &key, "-out",
        &request,
    ])?;
    openssl(&[
        "x509",
        "-req",
        "-days",
        "2",
        "-in",
        &request,
        "-CA",
        &ca.0,
        "-CAkey",
        &ca.1,
        "-CAcreateserial",
        "-extfile",
        &extensions,
        "-out",
        &certificate,
    ])?;
    Ok(format!(
        "sslmode=require sslcert={certificate} sslkey={key}"
    ))
}

/// An authority that signs the certificates of clients.
fn authority(directory: &std::path::Path, name: &str) -> Result<(String, String), Failed> {
    let file = |end: &str| {
        directory
            .join(format!("{name}.{end}"))
            .display()
            .to_string()
    };
    let (key, certificate) = (file("key"), file("crt"));
    let subject = format!("/CN={name}");
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
        "-keyout",
        &key,
        "-out",
        &certificate,
    ])?;
    Ok((certificate, key))
}

fn client_certificates() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let (certificate, key) = certificate(scratch.path())?;
    let ca = authority(scratch.path(), "authority")?;
    let other_ca = authority(scratch.path(), "other")?;
    let own = client_certificate(scratch.path(), &ca, USER)?;
    let stranger = client_certificate(scratch.path(), &ca, "stranger")?;
    let forged = client_certificate(scratch.path(), &other_ca, "forged")?;
    let files = [
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca.0,
    ];

    // In front of the password: any certificate that the authority signed.
    Server::start(Options::default().with_arguments(&files))?.scope(|server| {
        let login = server.login(DATABASE);
        for options in [&own, &stranger] {
            let printed = psql_tls(&login, options, "SELECT 'in'")?;
            expect_eq(&printed.err, &printed.out.as_str(), &"in\n")?;
        }
        let wrong = Login {
            password: "wrong".into(),
            ..login.clone()
        };
        let printed = psql_tls(&wrong, &own, "SELECT 1")?;
        expect_contains("psql", &printed.err, "password authentication failed")?;
        for options in ["sslmode=require sslcert=none", "sslmode=disable"] {
            let printed = psql_tls(&login, options, "SELECT 1")?;
            expect_contains(
                options,
                &printed.err,
                "connection requires a valid client certificate",
            )?;
        }
        let printed = psql_tls(&login, &forged, "SELECT 1")?;
        expect_contains("psql", &printed.err, "unknown ca")
    })?;

    // In its place: the certificate has to be the role's.
    let arguments = [&files[..], &["--auth", "cert"]].concat();
    Server::start(Options::default().with_arguments(&arguments))?.scope(|server| {
        let login = Login {
            password: String::new(),
            ..server.login(DATABASE)
        };
        let printed = psql_tls(&login, &own, "SELECT current_user")?;
        expect_eq(&printed.err, &printed.out, &format!("{USER}\n"))?;
        let printed = psql_tls(&login, &stranger, "SELECT 1")?;
        let refused = format!("certificate authentication failed for user \"{USER}\"");
        expect_contains("psql", &printed.err, &refused)
    })
}

/// psql with a connection string, so that libpq's TLS options can be given.
fn psql_tls(login: &Login, options: &str, sql: &str) -> Result<super::psql::Printed, Failed> {
    let database = format!("dbname={} {options}", login.database);
    let login = Login {
        database,
        ..login.clone()
    };
    run(&login, &["-At", "-c", sql], "")
}

fn tls() -> TestResult {
    let scratch = tempfile::tempdir()?;
    let (certificate, key) = certificate(scratch.path())?;
    let options =
        Options::default().with_arguments(&["--tls-cert", &certificate, "--tls-key", &key]);
    Server::start(options)?.scope(|server| {
        let login = server.login(DATABASE);
        let verify = format!("sslmode=verify-full sslrootcert={certificate}");
        for options in [
            "sslmode=require",
            &verify,
            "sslmode=require channel_binding=prefer",
            "sslmode=require channel_binding=require",
            "sslmode=require ssl_min_protocol_version=TLSv1.2 ssl_max_protocol_version=TLSv1.2",
        ] {
            let printed = psql_tls(&login, options, "SELECT 'over tls'")?;
            expect_eq(
                &format!("psql {options}: {}", printed.err),
                &printed.out.as_str(),
                &"over tls\n",
            )?;
        }
        let printed = psql_tls(&login, "sslmode=require", "\\conninfo")?;
        expect_contains(
            "the connection is encrypted",
            &printed.out,
            "SSL connection (protocol: TLS",
        )?;
        // Large results cross record borders.
        let sql = "SELECT sum(length(repeat('x', g))) FROM generate_series(1, 1000) g; \
                   SELECT repeat('y', 300000)";
        let printed = psql_tls(&login, "sslmode=require", sql)?;
        expect(
            printed.out.starts_with("500500\n") && printed.out.len() == 300_008,
            || {
                format!(
                    "large result over TLS: {} bytes, {}",
                    printed.out.len(),
                    printed.err
                )
            },
        )?;
        // A wrong password stays refused inside TLS, and plain connections are still possible.
        let wrong = Login {
            password: "wrong".into(),
            ..login.clone()
        };
        let printed = psql_tls(&wrong, "sslmode=require", "SELECT 1")?;
        expect_contains("psql", &printed.err, "password authentication failed")?;
        let printed = psql_tls(&login, "sslmode=disable", "SELECT 'plain'")?;
        expect_eq("without TLS", &printed.out.as_str(), &"plain\n")
    })
}

fn tls_not_offered() -> TestResult {
    Server::fresh()?.scope(|server| {
        let login = server.login(DATABASE);
        let required = psql_tls(&login, "sslmode=require", "SELECT 1")?;
        expect_contains(
            "psql",
            &required.err,
            "server does not support SSL, but SSL was required",
        )?;
        let preferred = psql_tls(&login, "sslmode=prefer", "SELECT 1")?;
        expect_eq("falls back when asked to", &preferred.out.as_str(), &"1\n")
    })
}
