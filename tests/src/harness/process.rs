//! Child processes: signals by their own id, waits with a deadline, captured output.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// How often a waiting loop looks again.
const POLL: Duration = Duration::from_millis(5);

/// Sends `signal` (`TERM`, `INT`, `KILL`) to exactly this process.
///
/// The shell's builtin is used because the standard library can only send SIGKILL.
pub fn signal(pid: u32, signal: &str) -> Result<(), String> {
    let status = Command::new("sh")
        .args(["-c", &format!("kill -{signal} {pid}")])
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("cannot run sh: {error}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("kill -{signal} {pid} failed: no such process"))
    }
}

/// Waits until the child ends; `None` when the deadline passes first (the child then still runs).
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, String> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(Some(status)),
            Ok(None) if start.elapsed() > limit => return Ok(None),
            Ok(None) => std::thread::sleep(POLL),
            Err(error) => return Err(format!("cannot wait for process: {error}")),
        }
    }
}

/// Runs a command to its end with `input` on its standard input; kills and fails at the deadline.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, String> {
    let running = Running::start(command, input)?;
    running.finish(limit)
}

/// A running command whose output is being collected.
pub struct Running {
    child: Child,
    program: String,
    stdout: std::thread::JoinHandle<Vec<u8>>,
    stderr: std::thread::JoinHandle<Vec<u8>>,
}

impl Running {
    /// Starts the command; its input is written from a thread so that large inputs cannot deadlock.
    pub fn start(command: &mut Command, input: &[u8]) -> Result<Self, String> {
        let program = format!("{:?}", command.get_program());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start {program}: {error}"))?;
        let mut stdin = child.stdin.take().ok_or("no stdin")?;
        let input = input.to_vec();
        // A child that exits early closes the pipe; that is its right, not an error of ours.
        std::thread::spawn(move || stdin.write_all(&input).ok());
        let stdout = collect(child.stdout.take().ok_or("no stdout")?);
        let stderr = collect(child.stderr.take().ok_or("no stderr")?);
        Ok(Self {
            child,
            program,
            stdout,
            stderr,
        })
    }

    /// The process id, to signal it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end; kills and fails at the deadline.
    pub fn finish(mut self, limit: Duration) -> Result<Output, String> {
        let status = wait(&mut self.child, limit)?;
        if status.is_none() {
            self.child.kill().ok();
            self.child.wait().ok();
        }
        let stdout = self.stdout.join().map_err(|_| "stdout reader panicked")?;
        let stderr = self.stderr.join().map_err(|_| "stderr reader panicked")?;
        match status {
            Some(status) => Ok(Output {
                status,
                stdout,
                stderr,
            }),
            None => Err(format!(
                "{} did not end within {limit:?}\nstdout: {}\nstderr: {}",
                self.program,
                String::from_utf8_lossy(&stdout),
                String::from_utf8_lossy(&stderr)
            )),
        }
    }
}

fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A broken pipe still leaves what came before it.
        pipe.read_to_end(&mut bytes).ok();
        bytes
    })
}

/// Finds a program on `PATH`, naming the Debian package when it is missing.
pub fn require(program: &str, package: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| {
            format!("`{program}` is not installed: `apt-get install {package}` (make test does it)")
        })
}

/// Resident memory of a process.
pub fn resident_bytes(pid: u32) -> Result<u64, String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .map_err(|error| format!("process {pid}: {error}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes
        .map(|kibibytes| kibibytes << 10)
        .ok_or_else(|| format!("process {pid} has no VmRSS"))
}
