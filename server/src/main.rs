//! The `nyala` binary: reads the configuration, opens the catalog, serves until a signal, exits.
//!
//! The order of start and stop is here and nowhere else. Signals, exit codes and standard output
//! belong to this file; everything below it returns errors and logs.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use nyala_catalog::{Catalog, CatalogConfig, TEMPORARY_FOLDER};
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::config::{Auth, Command, CommandLine, DemoFlags, PASSWORD_VARIABLE, Settings};
use crate::pgwire::listener::{self, Authentication};
use crate::pgwire::scram;
use crate::pgwire::tls::Tls;
use crate::server::Server;
use crate::workload::{Limits, Workload};

mod advisory_locks;
mod allocator;
mod clock;
mod config;
mod demo;
mod entropy;
mod error;
mod jobs;
mod notifications;
mod pg_catalog;
mod pgwire;
mod server;
mod session;
mod sql;
mod workload;

/// Data directory of `nyala serve`.
const DATA_DIR: &str = "nyala-data";

/// Data directory of `nyala demo`.
const DEMO_DATA_DIR: &str = "nyala-demo-data";

/// File in the data directory with the generated password.
const PASSWORD_FILE: &str = "initial_password";

/// Stack of a worker thread: plans are trees, and deep ones are walked recursively.
const STACK_BYTES: usize = 32 * 1024 * 1024;

/// How long background work may take to end after the last connection has.
const RUNTIME_STOP: Duration = Duration::from_secs(5);

/// The signal for a file that grows beyond the process' limit, on every architecture but MIPS.
const SIGXFSZ: std::ffi::c_int = 25;

/// Exit code for a wrong configuration, as clap has it for wrong flags.
const EXIT_CONFIGURATION: u8 = 2;

/// Exit code for every other failure, and for a second signal.
const EXIT_FAILURE: u8 = 1;

/// Why the process ends with an error.
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    fn configuration(message: impl Into<String>) -> Self {
        Self {
            code: EXIT_CONFIGURATION,
            message: message.into(),
        }
    }

    fn other(message: impl Into<String>) -> Self {
        Self {
            code: EXIT_FAILURE,
            message: message.into(),
        }
    }
}

fn main() -> ExitCode {
    allocator::keep_memory();
    // Dropped, it would disarm the crash points.
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();

    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("nyala: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

fn run() -> Result<(), Failure> {
    let (flags, demo) = match CommandLine::parse().command {
        Command::Serve(flags) => (flags, None),
        Command::Demo(DemoFlags {
            scale,
            flights,
            serve,
        }) => (serve, Some(demo::DemoOptions { scale, flights })),
    };
    let default_data_dir = if demo.is_some() {
        DEMO_DATA_DIR
    } else {
        DATA_DIR
    };
    let settings = Settings::load(&flags, default_data_dir).map_err(Failure::configuration)?;
    start_log(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("nyala")
        .thread_stack_size(STACK_BYTES)
        .build()
        .map_err(|error| Failure::other(format!("cannot start threads: {error}")))?;
    let queries = workload::threads(STACK_BYTES)
        .map_err(|error| Failure::other(format!("cannot start threads: {error}")))?;
    let result = runtime.block_on(serve(settings, demo, queries.handle().clone()));
    queries.shutdown_timeout(RUNTIME_STOP);
    runtime.shutdown_timeout(RUNTIME_STOP);
    result
}

fn start_log(filter: &str) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Failure::configuration(format!("log filter \"{filter}\": {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    // A panic is a bug worth finding: it goes where the rest of the log goes.
    std::panic::set_hook(Box::new(|panic| {
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(%backtrace, "{panic}");
    }));
    Ok(())
}

/// Everything from the configuration to the end of the last connection.
async fn serve(
    settings: Settings,
    demo: Option<demo::DemoOptions>,
    queries: Handle,
) -> Result<(), Failure> {
    let address = resolve(&settings.listen).await?;
    let authentication = authentication(settings.auth, demo.is_some(), address)?;
    let tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(certificate), Some(key)) => {
            let clients = settings.tls_client_ca.as_deref();
            Some(Tls::load(certificate, key, clients).map_err(Failure::configuration)?)
        }
        _ => None,
    };
    let stop = stop_signal()?;
    full_disks_are_errors()?;
    let catalog = Catalog::open(CatalogConfig {
        data_dir: settings.data_dir.clone(),
        columnar_url: settings.columnar_url.clone(),
        s3_options: settings.s3.into_inner(),
        disk_reserve: settings.disk_reserve_mb.saturating_mul(1 << 20),
    })
    .await
    .map_err(|error| match error.hint {
        Some(hint) => Failure::other(format!("{}\n{hint}", error.message)),
        None => Failure::other(error.message),
    })?;
    if catalog
        .is_new()
        .map_err(|error| Failure::other(error.to_string()))?
    {
        bootstrap(&catalog, &settings.data_dir).await?;
    }
    let limits = Limits {
        memory: settings.query_memory_mb << 20,
        temporary: settings.data_dir.join(TEMPORARY_FOLDER),
    };
    let server = Workload::new(queries, &limits)
        .and_then(|workload| Server::new(Arc::clone(&catalog), workload))
        .map_err(|error| Failure::other(error.to_string()))
        .map(Arc::new)?;
    let refused =
        |error: std::io::Error| Failure::other(format!("cannot listen on {address}: {error}"));
    // The address is taken before a demo is loaded, which may be for nothing otherwise.
    let socket = listener::bind(address).map_err(refused)?;
    let is_demo = demo.is_some();
    if let Some(options) = demo {
        demo::load(&server, options)
            .await
            .map_err(|error| Failure::other(error.to_string()))?;
    }
    let listener = listener::listen(socket).map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;
    say(&format!("listening on {local}"));
    if is_demo {
        say(&demo::invitation(local));
    }

    let options = listener::Options {
        authentication,
        tls,
        connections_max: settings.max_connections,
    };
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    let schedules = jobs::run_schedules(Arc::clone(&server), async {
        // The sender is dropped, not used.
        end.await.ok();
    });
    let schedules = tokio::spawn(schedules);
    listener::serve(listener, server, options, stop).await;
    drop(ended);
    if schedules.await.is_err() {
        tracing::error!("the schedules ended with a panic");
    }
    if let Err(error) = catalog.settle_sequences() {
        tracing::warn!(%error, "sequences go on behind the values reserved last");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn resolve(listen: &str) -> Result<SocketAddr, Failure> {
    tokio::net::lookup_host(listen)
        .await
        .map_err(|error| Failure::configuration(format!("address \"{listen}\": {error}")))?
        .next()
        .ok_or_else(|| Failure::configuration(format!("address \"{listen}\" has no host")))
}

/// A demo on a loopback address asks for no password unless told otherwise; any other server does.
fn authentication(
    chosen: Option<Auth>,
    demo: bool,
    address: SocketAddr,
) -> Result<Authentication, Failure> {
    let loopback = address.ip().is_loopback();
    match chosen {
        Some(Auth::Trust) if !loopback => Err(Failure::configuration(format!(
            "--auth trust lets anyone in and is refused on {}, which is not a loopback address",
            address.ip()
        ))),
        Some(Auth::Trust) => Ok(Authentication::Trust),
        Some(Auth::Cert) => Ok(Authentication::Certificate),
        None if demo && loopback => Ok(Authentication::Trust),
        Some(Auth::Scram) | None => Ok(Authentication::Scram),
    }
}

/// Creates the first database and the superuser with the given or a generated password.
async fn bootstrap(catalog: &Catalog, data_dir: &Path) -> Result<(), Failure> {
    let password = match std::env::var(PASSWORD_VARIABLE) {
        Ok(password) if !password.is_empty() => password,
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Failure::configuration(format!(
                "{PASSWORD_VARIABLE} is not UTF-8"
            )));
        }
        _ => {
            let password = entropy::password();
            let path = data_dir.join(PASSWORD_FILE);
            // Written before the role exists: after a crash in between both are made anew.
            write_secret(&path, &password)
                .map_err(|error| Failure::other(format!("{}: {error}", path.display())))?;
            say(&format!(
                "password of user \"nyala\" is in {}",
                path.display()
            ));
            password
        }
    };
    catalog
        .bootstrap(Some(scram::verifier(&password)))
        .await
        .map_err(|error| Failure::other(error.to_string()))
}

/// Writes a file that only its owner can read, durably.
fn write_secret(path: &Path, secret: &str) -> std::io::Result<()> {
    // An earlier file may have other permissions, which opening it would keep.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

/// Prints a line at once; whoever waits for it may be reading a pipe.
fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        tracing::warn!(%error, "cannot write to standard output");
    }
}

/// A write beyond a limit on the size of files ends a process, unless it handles the signal: then the write fails, as on a
/// full disk.
fn full_disks_are_errors() -> Result<(), Failure> {
    let kind = SignalKind::from_raw(SIGXFSZ);
    match signal(kind) {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::other(format!("cannot handle signals: {error}"))),
    }
}

/// Completes at the first SIGTERM or SIGINT; the second ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let watch = |kind| {
        signal(kind).map_err(|error| Failure::other(format!("cannot handle signals: {error}")))
    };
    let mut terminate = watch(SignalKind::terminate())?;
    let mut interrupt = watch(SignalKind::interrupt())?;
    let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
    tokio::spawn(async move {
        either(&mut terminate, &mut interrupt).await;
        tracing::info!("stopping; a second signal ends the process at once");
        drop(sender);
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(i32::from(EXIT_FAILURE));
    });
    Ok(async {
        // The sender is dropped, not used: both mean stop.
        receiver.await.ok();
    })
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}
