//! An S3 server of a test's own, behind a gate that counts requests and can be shut.
//!
//! The server is `tests/s3/server.py` in the virtual environment that `make packages` makes. Nyala talks to the gate; what the
//! test itself asks goes past it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use libtest_mimic::Failed;

use super::server::Options;

/// The bucket that each server has.
pub const BUCKET: &str = "nyala-test";

/// Importing the server's modules on a busy machine takes no longer.
const START_LIMIT: Duration = Duration::from_secs(120);
/// An answer of the server itself.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// What is copied at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// The server looks at no signature, but at the name.
const AUTHORIZATION: &str = "Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, \
                             SignedHeaders=host, Signature=none";

const OPEN: u8 = 0;
const SHUT: u8 = 1;
const SILENT: u8 = 2;

/// A running S3 server with one bucket.
pub struct S3 {
    child: Child,
    port: u16,
    gate: Arc<Gate>,
    gate_port: u16,
}

/// What stands between Nyala and the server.
#[derive(Default)]
struct Gate {
    state: AtomicU8,
    /// Heads of all requests that came through.
    requests: Mutex<Vec<String>>,
    connections: Mutex<Vec<TcpStream>>,
}

impl S3 {
    /// Starts a server with an empty bucket.
    pub fn start() -> Result<Self, Failed> {
        let package = super::package_directory();
        let python = std::env::var_os("NYALA_S3_PYTHON")
            .map_or_else(|| package.join("../.venv/s3/bin/python"), PathBuf::from);
        if !python.is_file() {
            let missing = python.display();
            return Err(format!(
                "{missing} does not exist: `make packages` installs the S3 server"
            )
            .into());
        }
        let mut child = Command::new(python)
            .arg(package.join("s3/server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        let (sender, ready) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).ok();
            sender.send(line).ok();
        });
        let line = ready.recv_timeout(START_LIMIT).unwrap_or_default();
        let port = line
            .trim()
            .rsplit(':')
            .next()
            .and_then(|port| port.parse().ok());
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let mut s3 = Self {
            child,
            port: 0,
            gate: Arc::default(),
            gate_port: listener.local_addr()?.port(),
        };
        s3.port = port.ok_or_else(|| format!("the S3 server did not start: {line:?}"))?;
        let (gate, port) = (Arc::clone(&s3.gate), s3.port);
        std::thread::spawn(move || gate.serve(&listener, port));
        match s3.ask("PUT", "", &[], b"")? {
            (200, _) => Ok(s3),
            (status, body) => Err(format!("the bucket was not made: {status} {body}").into()),
        }
    }

    /// How to start a server whose columnar files lie under `prefix`.
    pub fn options(&self, prefix: &str) -> Options {
        let mut options = self.access();
        options.arguments.push("--columnar-url".into());
        options.arguments.push(format!("s3://{BUCKET}/{prefix}"));
        options
    }

    /// How to start a server that can read from the bucket.
    pub fn access(&self) -> Options {
        let endpoint = format!("http://127.0.0.1:{}", self.gate_port);
        let variables = [
            ("AWS_ENDPOINT_URL", endpoint.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ];
        let variables = variables.map(|(name, value)| (name.to_string(), value.to_string()));
        Options {
            environment: variables.into(),
            ..Options::default()
        }
    }

    /// Ends all connections and takes no more.
    pub fn shut(&self) {
        self.gate.turn(SHUT);
    }

    /// Ends all connections; new ones are taken and never answered.
    pub fn silence(&self) {
        self.gate.turn(SILENT);
    }

    /// Takes connections again.
    pub fn open(&self) {
        self.gate.turn(OPEN);
    }

    /// The heads of the requests since the last call, but for requests that ask for nothing new.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.gate.requests))
    }

    /// Names of all objects whose name begins with `prefix`.
    pub fn objects(&self, prefix: &str) -> Result<Vec<String>, Failed> {
        let (status, body) = self.ask("GET", &format!("?list-type=2&prefix={prefix}"), &[], b"")?;
        if status != 200 || body.contains("<IsTruncated>true") {
            return Err(format!("objects were not listed: {status} {body}").into());
        }
        let names = body.split("<Key>").skip(1);
        Ok(names
            .filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_string()))
            .collect())
    }

    /// Puts an object unless there is one; the status.
    pub fn put_new(&self, name: &str, bytes: &[u8]) -> Result<u16, Failed> {
        let header = "If-None-Match: *";
        Ok(self.ask("PUT", &format!("/{name}"), &[header], bytes)?.0)
    }

    /// The content of an object.
    pub fn get(&self, name: &str) -> Result<String, Failed> {
        match self.ask("GET", &format!("/{name}"), &[], b"")? {
            (200, body) => Ok(body),
            (status, body) => Err(format!("{name}: {status} {body}").into()),
        }
    }

    /// One request, past the gate: its status and body.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: &[u8],
    ) -> Result<(u16, String), Failed> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut head = format!(
            "{method} /{BUCKET}{path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{AUTHORIZATION}\r\n\
             Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
            body.len()
        );
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer
            .split_once("\r\n\r\n")
            .ok_or("an answer without a head")?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Ok((
            status.ok_or("an answer without a status")?,
            body.to_string(),
        ))
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn locked<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    fn turn(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
        if state != OPEN {
            for connection in locked(&self.connections).drain(..) {
                connection.shutdown(Shutdown::Both).ok();
            }
        }
    }

    /// Takes connections as long as the test runs; the thread ends with the process.
    fn serve(self: Arc<Self>, listener: &TcpListener, port: u16) {
        for client in listener.incoming().map_while(Result::ok) {
            match self.state.load(Ordering::SeqCst) {
                OPEN => {}
                SILENT => {
                    locked(&self.connections).push(client);
                    continue;
                }
                _ => continue,
            }
            let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else {
                continue;
            };
            let (Ok(from), Ok(to)) = (client.try_clone(), server.try_clone()) else {
                continue;
            };
            let gate = Arc::clone(&self);
            {
                let mut connections = locked(&self.connections);
                connections.extend(
                    [&client, &server]
                        .iter()
                        .filter_map(|end| end.try_clone().ok()),
                );
            }
            std::thread::spawn(move || copy(from, to, |chunk| gate.see(chunk)));
            std::thread::spawn(move || copy(server, client, |_| {}));
        }
    }

    /// Notes the head of a request. Clients send it in one piece.
    fn see(&self, chunk: &[u8]) {
        let text = String::from_utf8_lossy(chunk);
        let methods = ["GET ", "HEAD ", "PUT ", "POST ", "DELETE "];
        if methods.iter().any(|method| text.starts_with(method)) {
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            locked(&self.requests).push(head.to_string());
        }
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, see: impl Fn(&[u8])) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(bytes @ 1..) = from.read(&mut chunk) {
        see(&chunk[..bytes]);
        if to.write_all(&chunk[..bytes]).is_err() {
            break;
        }
    }
    from.shutdown(Shutdown::Both).ok();
    to.shutdown(Shutdown::Both).ok();
}
