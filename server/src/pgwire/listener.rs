//! Accepts connections, logs them in, and drains them when the server goes down.
//!
//! It owns every limit on connections. It never reads a message of a session; that is `connection`.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::error::{PgError, Result, Severity, sqlstate};
use crate::pgwire::cancel_registry::{CancelRegistry, Registration};
use crate::pgwire::channel::Channel;
use crate::pgwire::connection::Connection;
use crate::pgwire::messages::backend;
use crate::pgwire::scram::Scram;
use crate::pgwire::startup::{self, Opened, Opening, StartupRequest};
use crate::pgwire::tls::{self, Tls};
use crate::pgwire::transport::Transport;
use crate::server::Server;
use crate::session::cancel::CancelReason;
use crate::session::{Session, SessionStart};

/// From accepting a connection to its first ReadyForQuery.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are not logged in, cancel requests among them; more are closed at once.
const LOGINS_MAX: usize = 256;

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: u32 = 1_024;

/// How long to wait when the process is out of file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// At shutdown, how long running statements may take before they are cancelled.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// After that, how long connections may take to end.
const SHUTDOWN_CANCEL_GRACE: Duration = Duration::from_secs(5);

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// By SCRAM-SHA-256.
    Scram,
    /// By a certificate whose common name is the role's.
    Certificate,
    /// Not at all.
    Trust,
}

/// What the listener needs beside the server.
pub struct Options {
    /// How clients prove who they are.
    pub authentication: Authentication,
    /// The server's certificate, if it offers TLS.
    pub tls: Option<Tls>,
    /// Sessions at a time.
    pub connections_max: usize,
}

/// Takes an address; clients are refused until [`listen`].
pub fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit it: a peer whose machine is gone is noticed some day.
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Lets clients in; they wait until [`serve`] accepts them.
pub fn listen(socket: TcpSocket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)
}

/// What all connections share.
struct Shared {
    server: Arc<Server>,
    options: Options,
    scram: Scram,
    registry: Arc<CancelRegistry>,
    sessions: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Serves connections until `stop`, then drains them: idle ones end at once, running statements get a
/// grace period and are cancelled then.
pub async fn serve(
    listener: TcpListener,
    server: Arc<Server>,
    options: Options,
    stop: impl Future<Output = ()>,
) {
    let (announce_stop, stopping) = watch::channel(false);
    let tasks_max = options.connections_max + LOGINS_MAX;
    let registry = Arc::new(CancelRegistry::default());
    let shared = Arc::new(Shared {
        server,
        scram: Scram::new(options.tls.as_ref().map(|tls| tls.certificate_pem.as_ref())),
        registry: Arc::clone(&registry),
        sessions: Arc::new(Semaphore::new(options.connections_max)),
        options,
        stopping,
    });
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(ended) = connections.join_next() => report(ended),
            accepted = listener.accept() => match accepted {
                // Dropped: there is no room even to say why.
                Ok(_) if connections.len() >= tasks_max => {
                    tracing::warn!("too many connections that are not logged in");
                }
                Ok((stream, peer)) => {
                    connections.spawn(connection(Arc::clone(&shared), stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
        }
    }
    drop(listener);
    drop(shared);
    announce_stop.send_replace(true);
    if !drained(&mut connections, SHUTDOWN_GRACE).await {
        tracing::info!(
            connections = connections.len(),
            "cancelling what still runs"
        );
        registry.cancel_all(CancelReason::Shutdown);
        if !drained(&mut connections, SHUTDOWN_CANCEL_GRACE).await {
            tracing::warn!(
                connections = connections.len(),
                "connections did not end in time"
            );
            connections.shutdown().await;
        }
    }
}

/// Waits until all connections have ended; `false` if they have not after `limit`.
async fn drained(connections: &mut JoinSet<()>, limit: Duration) -> bool {
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    tokio::time::timeout(limit, all).await.is_ok()
}

fn report(ended: std::result::Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

/// A session that has begun, and what it holds.
struct LoggedIn {
    channel: Channel,
    session: Session,
    registration: Registration,
    _slot: OwnedSemaphorePermit,
}

async fn connection(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "cannot set TCP_NODELAY");
    }
    let mut stopping = shared.stopping.clone();
    let logged_in = tokio::select! {
        logged_in = tokio::time::timeout(LOGIN_TIMEOUT, log_in(&shared, stream)) => logged_in,
        _ = stopping.wait_for(|stopping| *stopping) => return,
    };
    let Ok(logged_in) = logged_in else {
        tracing::info!(%peer, "login took too long");
        return;
    };
    let Some(LoggedIn {
        channel,
        session,
        registration,
        _slot,
    }) = logged_in
    else {
        return;
    };
    tracing::debug!(%peer, process_id = registration.process_id, "connected");
    Connection::new(channel, session, registration.canceller.clone(), stopping)
        .run()
        .await;
    tracing::debug!(%peer, process_id = registration.process_id, "disconnected");
}

/// From the first byte to a session; `None` when there will be none, and the client knows.
async fn log_in(shared: &Shared, stream: TcpStream) -> Option<LoggedIn> {
    let channel = Channel::new(Transport::Plain(stream));
    let Opened {
        mut channel,
        encrypted,
        opening,
    } = startup::open(channel, shared.options.tls.as_ref()).await?;
    let refusal = match opening {
        Ok(Opening::Closed) => return None,
        Ok(Opening::Cancel { process_id, secret }) => {
            shared.registry.cancel(process_id, &secret);
            return None;
        }
        Ok(Opening::Session(request)) => {
            match begin(shared, &mut channel, request, encrypted).await {
                Ok((session, registration, slot)) => {
                    return Some(LoggedIn {
                        channel,
                        session,
                        registration,
                        _slot: slot,
                    });
                }
                Err(error) => error,
            }
        }
        Err(error) => error,
    };
    tracing::info!(
        code = refusal.code,
        message = refusal.message,
        "connection refused"
    );
    let refusal = PgError {
        severity: Severity::Fatal,
        ..refusal
    };
    backend::error_or_notice(channel.output(), &refusal);
    channel.close().await;
    None
}

async fn begin(
    shared: &Shared,
    channel: &mut Channel,
    request: StartupRequest,
    encrypted: bool,
) -> Result<(Session, Registration, OwnedSemaphorePermit)> {
    let slot = Arc::clone(&shared.sessions)
        .try_acquire_owned()
        .map_err(|_| {
            PgError::fatal(
                sqlstate::TOO_MANY_CONNECTIONS,
                "sorry, too many clients already",
            )
        })?;
    let certificate = channel.client_certificate();
    if shared
        .options
        .tls
        .as_ref()
        .is_some_and(|tls| tls.asks_clients)
        && certificate.is_none()
    {
        return Err(PgError::fatal(
            sqlstate::INVALID_AUTHORIZATION,
            "connection requires a valid client certificate",
        ));
    }
    if shared.options.authentication == Authentication::Certificate {
        let name = certificate.and_then(tls::common_name);
        if name.as_deref() != Some(request.user.as_str()) {
            return Err(PgError::fatal(
                sqlstate::INVALID_AUTHORIZATION,
                format!(
                    "certificate authentication failed for user \"{}\"",
                    request.user
                ),
            ));
        }
    }
    if shared.options.authentication == Authentication::Scram {
        let globals = shared.server.catalog.globals()?;
        let verifier = globals
            .role(&request.user)
            .and_then(|role| role.password.as_deref());
        shared
            .scram
            .authenticate(channel, &request.user, verifier, encrypted)
            .await?;
    }
    backend::authentication(channel.output(), &backend::Authentication::Ok);
    let registration = shared.registry.register(request.long_key);
    let start = SessionStart {
        user: request.user,
        database: request.database,
        process_id: registration.process_id,
        canceller: Some(registration.canceller.clone()),
        parameters: request.parameters,
    };
    let session = Session::start(Arc::clone(&shared.server), start).await?;
    for (name, value) in session.reported_parameters() {
        backend::parameter_status(channel.output(), &name, &value);
    }
    backend::backend_key_data(
        channel.output(),
        registration.process_id,
        &registration.secret,
    );
    Ok((session, registration, slot))
}
