//! The start-up phase: TLS negotiation, protocol version, start-up parameters, cancel requests.
//!
//! It ends with a request for a session, or with nothing more to do. It never authenticates, and never
//! goes on in plaintext after TLS was asked for and agreed.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};

use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::channel::Channel;
use crate::pgwire::messages::backend;
use crate::pgwire::messages::frontend::Body;
use crate::pgwire::tls::Tls;

/// Largest packet of the start-up phase, as in PostgreSQL.
const STARTUP_PACKET_BYTES_MAX: usize = 10_000;

/// First word of a CancelRequest.
const CANCEL_REQUEST: u32 = 80_877_102;
/// First word of an SSLRequest.
const SSL_REQUEST: u32 = 80_877_103;
/// First word of a GSSENCRequest.
const GSS_REQUEST: u32 = 80_877_104;

const MAJOR: u32 = 3;
/// Newest minor version spoken; it made the cancel key longer.
const MINOR_MAX: u32 = 2;

/// Prefix of protocol options; Nyala knows none.
const PROTOCOL_OPTION: &str = "_pq_.";

/// What the client opened the connection for.
#[derive(Debug, PartialEq, Eq)]
pub enum Opening {
    /// A session.
    Session(StartupRequest),
    /// To cancel what another connection runs.
    Cancel {
        /// Its process id.
        process_id: i32,
        /// Its key.
        secret: Bytes,
    },
    /// Nothing: it closed the connection.
    Closed,
}

/// A request for a session.
#[derive(Debug, PartialEq, Eq)]
pub struct StartupRequest {
    /// Role to log in as.
    pub user: String,
    /// Database to connect to.
    pub database: String,
    /// Settings given at start, those in `options` included.
    pub parameters: BTreeMap<String, String>,
    /// Whether the protocol version has room for a long cancel key.
    pub long_key: bool,
}

/// A connection after its start-up phase.
pub struct Opened {
    /// The connection, encrypted if the client asked for it.
    pub channel: Channel,
    /// Whether it is encrypted.
    pub encrypted: bool,
    /// What it is for, or why not.
    pub opening: Result<Opening>,
}

/// Runs the start-up phase; `None` when the TLS handshake failed and no connection is left.
pub async fn open(mut channel: Channel, tls: Option<&Tls>) -> Option<Opened> {
    let mut encrypted = false;
    let mut ssl_answered = false;
    let mut gss_answered = false;
    let opening = loop {
        match next(&mut channel).await {
            Ok(Packet::Ssl) if !ssl_answered => {
                ssl_answered = true;
                let Some(tls) = tls else {
                    channel.output().extend_from_slice(b"N");
                    continue;
                };
                // Bytes sent before the handshake could be an attacker's, to be taken as encrypted.
                if channel.has_input() {
                    break Err(violation("received unencrypted data after SSL request"));
                }
                channel.output().extend_from_slice(b"S");
                channel.flush().await.ok()?;
                channel = channel.start_tls(&tls.acceptor).await.ok()?;
                encrypted = true;
            }
            Ok(Packet::Gss) if !gss_answered && !encrypted => {
                gss_answered = true;
                channel.output().extend_from_slice(b"N");
            }
            Ok(Packet::Ssl | Packet::Gss) => {
                break Err(violation("unexpected encryption request"));
            }
            Ok(Packet::Opening(opening)) => break Ok(opening),
            Err(error) => break Err(error),
        }
    };
    Some(Opened {
        channel,
        encrypted,
        opening,
    })
}

/// A packet of the start-up phase.
#[derive(Debug, PartialEq, Eq)]
enum Packet {
    Ssl,
    Gss,
    Opening(Opening),
}

async fn next(channel: &mut Channel) -> Result<Packet> {
    let Some(mut packet) = channel
        .next_startup_packet(STARTUP_PACKET_BYTES_MAX)
        .await?
    else {
        return Ok(Packet::Opening(Opening::Closed));
    };
    match packet
        .try_get_u32()
        .map_err(|_| violation("invalid length of startup packet"))?
    {
        SSL_REQUEST => Ok(Packet::Ssl),
        GSS_REQUEST => Ok(Packet::Gss),
        CANCEL_REQUEST => {
            let process_id = packet
                .try_get_i32()
                .map_err(|_| violation("invalid length of cancel request"))?;
            Ok(Packet::Opening(Opening::Cancel {
                process_id,
                secret: packet,
            }))
        }
        version => session_request(version, packet, channel).map(Packet::Opening),
    }
}

fn session_request(version: u32, packet: Bytes, channel: &mut Channel) -> Result<Opening> {
    let (major, minor) = (version >> 16, version & 0xffff);
    if major != MAJOR {
        return Err(PgError::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            format!(
                "unsupported frontend protocol {major}.{minor}: server supports {MAJOR}.0 to \
                 {MAJOR}.{MINOR_MAX}"
            ),
        ));
    }
    let mut parameters = read_parameters(packet)?;
    let unknown_options: Vec<String> = parameters
        .keys()
        .filter(|name| name.starts_with(PROTOCOL_OPTION))
        .cloned()
        .collect();
    for option in &unknown_options {
        parameters.remove(option);
    }
    let spoken = minor.min(MINOR_MAX);
    if minor > MINOR_MAX || !unknown_options.is_empty() {
        let version = (MAJOR << 16) | spoken;
        backend::negotiate_protocol_version(channel.output(), version, &unknown_options);
    }
    let user = parameters
        .remove("user")
        .filter(|user| !user.is_empty())
        .ok_or_else(|| {
            PgError::fatal(
                sqlstate::INVALID_AUTHORIZATION,
                "no PostgreSQL user name specified in startup packet",
            )
        })?;
    let database = parameters
        .remove("database")
        .filter(|database| !database.is_empty())
        .unwrap_or_else(|| user.clone());
    if let Some(replication) = parameters.remove("replication")
        && !matches!(replication.as_str(), "false" | "off" | "no" | "0")
    {
        return Err(PgError::fatal(
            sqlstate::FEATURE_NOT_SUPPORTED,
            "replication connections are not supported",
        ));
    }
    if let Some(options) = parameters.remove("options") {
        parameters.extend(parse_options(&options)?);
    }
    let long_key = spoken >= 2;
    Ok(Opening::Session(StartupRequest {
        user,
        database,
        parameters,
        long_key,
    }))
}

fn read_parameters(packet: Bytes) -> Result<BTreeMap<String, String>> {
    let mut parameters = BTreeMap::new();
    let mut body = Body(packet);
    let fatal = |error: PgError| PgError::fatal(error.code, error.message);
    loop {
        let name = body.string().map_err(fatal)?;
        if name.is_empty() {
            break;
        }
        parameters.insert(name, body.string().map_err(fatal)?);
    }
    if body.0.has_remaining() {
        return Err(violation(
            "invalid startup packet layout: expected terminator as last byte",
        ));
    }
    Ok(parameters)
}

/// The settings in the `options` parameter: `-c name=value`, `-cname=value` and `--name=value`.
fn parse_options(options: &str) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut arguments = split_arguments(options).into_iter();
    while let Some(argument) = arguments.next() {
        let setting = if argument == "-c" {
            arguments.next()
        } else if let Some(setting) = argument.strip_prefix("--") {
            // PostgreSQL takes dashes for underscores in the name.
            setting
                .split_once('=')
                .map(|(name, value)| format!("{}={value}", name.replace('-', "_")))
        } else {
            argument.strip_prefix("-c").map(str::to_owned)
        };
        match setting
            .as_deref()
            .and_then(|setting| setting.split_once('='))
        {
            Some((name, value)) => settings.push((name.to_owned(), value.to_owned())),
            None => {
                return Err(PgError::fatal(
                    sqlstate::SYNTAX_ERROR,
                    format!("invalid command-line argument for server process: {argument}"),
                ));
            }
        }
    }
    Ok(settings)
}

/// Splits at white space; a backslash takes the next character as it is.
fn split_arguments(options: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => current.get_or_insert_default().extend(characters.next()),
            space if space.is_ascii_whitespace() => arguments.extend(current.take()),
            other => current.get_or_insert_default().push(other),
        }
    }
    arguments.extend(current);
    arguments
}

fn violation(message: &str) -> PgError {
    PgError::fatal(sqlstate::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests;
