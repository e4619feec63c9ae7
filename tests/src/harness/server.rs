//! One `nyala serve` process on a scratch data directory: start, kill, restart, and its log.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use libtest_mimic::Failed;
use tempfile::TempDir;

use super::process;
use super::wire::{Login, Wire, WireError};

/// The superuser of the first start.
pub const USER: &str = "nyala";
/// Its password in every test server.
pub const PASSWORD: &str = "correct horse";
/// The database of the first start.
pub const DATABASE: &str = "nyala";

/// A debug build on a busy two-core machine opens a large data directory within this.
const START_LIMIT: Duration = Duration::from_secs(120);
/// A drain with open statements takes at most this.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// Unpacking a data directory of a few rows takes no longer.
const UNPACK_LIMIT: Duration = Duration::from_secs(60);
/// Lines of the server's log that a failure shows.
const LOG_LINES_SHOWN: usize = 80;

/// How a server is started; the data directory and `--listen 127.0.0.1:0` are always added.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Arguments after `serve --data-dir … --listen …`.
    pub arguments: Vec<String>,
    /// Environment beside `NYALA_PASSWORD`.
    pub environment: Vec<(String, String)>,
    /// Command that runs the server's.
    pub runner: Vec<String>,
}

impl Options {
    /// Aborts the server at a named step, in the `fail` crate's notation.
    pub fn failpoint(action: &str) -> Self {
        Self {
            environment: vec![("FAILPOINTS".into(), action.into())],
            ..Self::default()
        }
    }

    /// Adds command line arguments.
    pub fn with_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(ToString::to_string));
        self
    }
}

/// A server and its scratch directory; dropped, it is killed and the directory removed.
pub struct Server {
    scratch: TempDir,
    child: Option<Child>,
    port: u16,
    options: Options,
}

impl Server {
    /// Starts a server on a fresh data directory and waits until it listens.
    pub fn start(options: Options) -> Result<Self, Failed> {
        let scratch = tempfile::Builder::new().prefix("nyala-test-").tempdir()?;
        let mut server = Self {
            scratch,
            child: None,
            port: 0,
            options,
        };
        server.launch()?;
        Ok(server)
    }

    /// A server that is not started yet, on a data directory in `scratch`.
    pub fn prepared(scratch: TempDir) -> Self {
        Self {
            scratch,
            child: None,
            port: 0,
            options: Options::default(),
        }
    }

    /// Starts a server on a data directory that a packed folder holds.
    pub fn on_fixture(name: &str) -> Result<Self, Failed> {
        let scratch = tempfile::Builder::new().prefix("nyala-test-").tempdir()?;
        let packed = super::package_directory().join("fixtures").join(name);
        let mut unpack = Command::new("tar");
        unpack
            .arg("-xzf")
            .arg(&packed)
            .arg("-C")
            .arg(scratch.path());
        let unpacked = process::run(&mut unpack, b"", UNPACK_LIMIT)?;
        if !unpacked.status.success() {
            let error = String::from_utf8_lossy(&unpacked.stderr);
            return Err(format!("cannot unpack {}: {error}", packed.display()).into());
        }
        let mut server = Self {
            scratch,
            child: None,
            port: 0,
            options: Options::default(),
        };
        server.launch()?;
        Ok(server)
    }

    /// Starts a server with the default options.
    pub fn fresh() -> Result<Self, Failed> {
        Self::start(Options::default())
    }

    /// Path of the binary under test.
    pub fn binary() -> Result<PathBuf, String> {
        if let Some(path) = std::env::var_os("NYALA_BIN") {
            return Ok(PathBuf::from(path));
        }
        // This binary is TARGET/PROFILE/deps/integration-HASH.
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let profile = own
            .parent()
            .and_then(Path::parent)
            .ok_or("no target directory")?;
        let binary = profile.join("nyala");
        if binary.is_file() {
            Ok(binary)
        } else {
            Err(format!(
                "{} does not exist: `cargo build -p nyala-server --features failpoints` first, \
                 or name another binary in NYALA_BIN",
                binary.display()
            ))
        }
    }

    /// A command for the binary that inherits none of the caller's settings.
    pub fn command() -> Result<Command, String> {
        let mut command = Command::new(Self::binary()?);
        for (name, _) in std::env::vars_os() {
            let settings = ["NYALA_", "AWS_"];
            let name_text = name.to_string_lossy();
            if settings.iter().any(|prefix| name_text.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.env_remove("FAILPOINTS");
        Ok(command)
    }

    fn launch(&mut self) -> Result<(), Failed> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let mut command = match self.options.runner.split_first() {
            None => Self::command()?,
            Some((runner, arguments)) => {
                let mut command = Command::new(runner);
                command.args(arguments).arg(Self::binary()?);
                command
            }
        };
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(self.data_dir())
            .args(&self.options.arguments)
            .env("NYALA_PASSWORD", PASSWORD)
            .envs(self.options.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start the server: {error}"))?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let ready = follow(BufReader::new(stdout), log);
        self.child = Some(child);
        match ready.recv_timeout(START_LIMIT) {
            Ok(port) => {
                self.port = port;
                Ok(())
            }
            Err(_) => {
                let status = self
                    .child
                    .as_mut()
                    .and_then(|child| child.try_wait().ok().flatten());
                self.kill();
                Err(self.explain(match status {
                    Some(status) => format!("the server ended before it listened: {status}"),
                    None => format!("the server did not listen within {START_LIMIT:?}"),
                }))
            }
        }
    }

    /// The data directory given to the server.
    pub fn data_dir(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// A directory for the files of a test, removed with the server.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn log_path(&self) -> PathBuf {
        self.scratch.path().join("server.log")
    }

    /// Everything the server has written to stdout and stderr.
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// A failure that shows the end of the server's log.
    pub fn explain(&self, failure: impl std::fmt::Display) -> Failed {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let shown = lines.len().saturating_sub(LOG_LINES_SHOWN);
        format!(
            "{failure}\n--- server log ---\n{}",
            lines[shown..].join("\n")
        )
        .into()
    }

    /// Runs a test body and adds the server's log to its failure.
    pub fn scope<T>(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        body(self).map_err(|failure| self.explain(failure.message().unwrap_or("failed")))
    }

    /// How the superuser logs in to `database`.
    pub fn login(&self, database: &str) -> Login {
        Login::new(self.port, USER, PASSWORD, database)
    }

    /// A connection to the first database.
    pub fn connect(&self) -> Result<Wire, WireError> {
        Wire::connect(&self.login(DATABASE))
    }

    /// kill -9, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }

    /// Waits until the server ends by itself (a failpoint was reached).
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<ExitStatus, Failed> {
        let child = self.child.as_mut().ok_or("the server is not running")?;
        match process::wait(child, limit)? {
            Some(status) => {
                self.child = None;
                Ok(status)
            }
            None => Err(self.explain(format!("the server still runs after {limit:?}"))),
        }
    }

    /// SIGTERM, and the status it ended with.
    pub fn terminate(&mut self) -> Result<ExitStatus, Failed> {
        self.signal("TERM")?;
        self.wait_for_end(STOP_LIMIT)
    }

    /// Sends a signal to this server's process.
    pub fn signal(&self, signal: &str) -> Result<(), Failed> {
        let child = self.child.as_ref().ok_or("the server is not running")?;
        Ok(process::signal(child.id(), signal)?)
    }

    /// The id of the server's process.
    pub fn id(&self) -> Result<u32, Failed> {
        let child = self.child.as_ref().ok_or("the server is not running")?;
        Ok(child.id())
    }

    /// Drains, then starts again on the same data directory.
    pub fn restart(&mut self) -> Result<(), Failed> {
        let status = self.terminate()?;
        if !status.success() {
            return Err(self.explain(format!("SIGTERM must end with status 0, got {status}")));
        }
        self.launch()
    }

    /// Starts on the same data directory with other options, after a kill.
    pub fn start_again(&mut self, options: Options) -> Result<(), Failed> {
        if self.child.is_some() {
            return Err("the server still runs".into());
        }
        self.options = options;
        self.launch()
    }

    /// kill -9, then starts again on the same data directory.
    pub fn crash(&mut self) -> Result<(), Failed> {
        self.kill();
        self.launch()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Copies stdout to the log and reports the port of the first `listening on HOST:PORT` line.
fn follow(stdout: impl BufRead + Send + 'static, mut log: File) -> mpsc::Receiver<u16> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            writeln!(log, "{line}").ok();
            let port = line
                .strip_prefix("listening on ")
                .and_then(|address| address.rsplit(':').next())
                .and_then(|port| port.trim().parse().ok());
            if let Some(port) = port {
                sender.send(port).ok();
            }
        }
    });
    receiver
}
