//! The wire layer: PostgreSQL's frontend/backend protocol 3.0 to 3.2 between a socket and a session.
//!
//! Life of a connection: [`listener`] accepts the socket, `startup` negotiates TLS and version,
//! `scram` authenticates, `connection` reads messages and hands them to `simple_query` and
//! `extended_query`; those call the session and answer through `statement` (rows), `copy` and
//! `messages`. Nothing here looks into SQL text, decides access, or knows a table.

mod append;
pub mod cancel_registry;
mod channel;
mod connection;
mod copy;
pub mod copy_format;
pub mod decode;
pub mod encode;
mod extended_query;
mod frame;
pub mod listener;
mod messages;
pub mod scram;
mod simple_query;
mod startup;
mod statement;
pub mod tls;
mod transport;
