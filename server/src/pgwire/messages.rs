//! Bodies of protocol messages: [`frontend`] decodes what clients send, [`backend`] writes what they get.
//!
//! Both are pure functions over bytes. pgwire's own message types are not used here: its frontend
//! decoder panics on bodies that end early and reads on into the next message.

pub mod backend;
pub mod frontend;
