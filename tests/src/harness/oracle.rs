//! A real PostgreSQL 15 as the judge of SQL behaviour: its own cluster in a scratch directory.
//!
//! PostgreSQL refuses to run as root, so under root it runs as the `postgres` user that its Debian
//! package makes.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::process;
use super::wire::{Login, Wire};

/// The version the scripts' expected results come from.
const VERSION: &str = "15";
const START_LIMIT: Duration = Duration::from_secs(60);
/// The port is chosen before PostgreSQL binds it, so another process may take it in between.
const START_ATTEMPTS: u32 = 5;

/// A running cluster; dropped, it is killed and removed.
pub struct Oracle {
    _scratch: TempDir,
    child: Child,
    port: u16,
}

impl Oracle {
    /// Makes and starts a cluster.
    pub fn start() -> Result<Self, Failed> {
        let programs = find_programs()?;
        let scratch = tempfile::Builder::new().prefix("nyala-oracle-").tempdir()?;
        let cluster = scratch.path().join("cluster");
        let root = is_root()?;
        if root {
            check(
                Command::new("chown").arg("postgres").arg(scratch.path()),
                "chown",
            )?;
        }
        let mut initdb = unprivileged(root, &programs.join("initdb"));
        initdb.args([
            "--username=nyala",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb
            .args(["--no-sync", "-D"])
            .arg(&cluster)
            .current_dir(scratch.path());
        check(&mut initdb, "initdb")?;

        let mut last = String::new();
        for _ in 0..START_ATTEMPTS {
            let port = free_port()?;
            let mut child = spawn(&programs, root, scratch.path(), &cluster, port)?;
            match wait_until_ready(&mut child, port) {
                Ok(()) => {
                    return Ok(Self {
                        _scratch: scratch,
                        child,
                        port,
                    });
                }
                Err(error) => {
                    child.kill().ok();
                    child.wait().ok();
                    let log = std::fs::read_to_string(scratch.path().join("log"));
                    last = format!("{error}\n{}", log.unwrap_or_default());
                }
            }
        }
        Err(format!("PostgreSQL did not start: {last}").into())
    }

    /// How to log in to one of its databases.
    pub fn login(&self, database: &str) -> Login {
        Login::new(self.port, "nyala", "", database)
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown: it ends its own children and their shared memory.
        process::signal(self.child.id(), "INT").ok();
        if !matches!(
            process::wait(&mut self.child, Duration::from_secs(20)),
            Ok(Some(_))
        ) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

fn find_programs() -> Result<PathBuf, String> {
    let named = std::env::var_os("NYALA_PG_BIN").map(PathBuf::from);
    let debian = PathBuf::from(format!("/usr/lib/postgresql/{VERSION}/bin"));
    let directory = named.unwrap_or(debian);
    if directory.join("initdb").is_file() {
        Ok(directory)
    } else {
        Err(format!(
            "PostgreSQL {VERSION} is not installed in {}: `apt-get install postgresql-{VERSION}` \
             (make test does it), or name its programs' directory in NYALA_PG_BIN",
            directory.display()
        ))
    }
}

fn is_root() -> Result<bool, Failed> {
    let output = Command::new("id").arg("-u").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim() == "0")
}

/// `setpriv` replaces itself by the program, so the child's id is the program's own.
fn unprivileged(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=postgres", "--regid=postgres", "--clear-groups"])
        .arg(program);
    command
}

fn check(command: &mut Command, what: &str) -> Result<(), Failed> {
    let output = command
        .output()
        .map_err(|error| format!("cannot run {what}: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}

fn free_port() -> Result<u16, Failed> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn spawn(
    programs: &Path,
    root: bool,
    scratch: &Path,
    cluster: &Path,
    port: u16,
) -> Result<Child, Failed> {
    let log = std::fs::File::create(scratch.join("log"))?;
    let settings = [
        "listen_addresses=127.0.0.1".to_string(),
        format!("unix_socket_directories={}", scratch.display()),
        "fsync=off".into(),
        "synchronous_commit=off".into(),
        "full_page_writes=off".into(),
        "shared_buffers=32MB".into(),
        "TimeZone=UTC".into(),
        "lc_messages=C".into(),
    ];
    let mut command = unprivileged(root, &programs.join("postgres"));
    command
        .arg("-D")
        .arg(cluster)
        .args(["-p", &port.to_string()]);
    for setting in settings {
        command.args(["-c", &setting]);
    }
    command.current_dir(scratch).stdin(Stdio::null());
    Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn wait_until_ready(child: &mut Child, port: u16) -> Result<(), String> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
            return Err(format!("PostgreSQL ended: {status}"));
        }
        match Wire::connect(&Login::new(port, "nyala", "", "postgres")) {
            Ok(connection) => {
                connection.terminate();
                return Ok(());
            }
            Err(error) if start.elapsed() > START_LIMIT => return Err(error.to_string()),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
