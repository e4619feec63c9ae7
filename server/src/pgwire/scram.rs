//! SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding over TLS: the exchange and the verifier.
//!
//! The cryptography is pgwire's; the messages and the decision who may try are here. A role that does
//! not exist or has no password goes through the same exchange with a made-up verifier, so nobody can
//! find out by trying which roles exist. Passwords are never stored or logged.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pgwire::api::auth::sasl::scram::{
    SCRAM_ITERATIONS, ScramSecret, ScramServerAuth, gen_salted_password,
};

use crate::entropy;
use crate::error::{PgError, Result, sqlstate};
use crate::pgwire::channel::Channel;
use crate::pgwire::messages::backend::{Authentication, authentication};
use crate::pgwire::messages::frontend::{Body, Frontend};

const PLAIN: &str = "SCRAM-SHA-256";
const WITH_BINDING: &str = "SCRAM-SHA-256-PLUS";
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;

/// What the server needs to authenticate by SCRAM.
pub struct Scram {
    plain: ScramServerAuth,
    /// For connections over TLS; offers channel binding where the certificate allows it.
    over_tls: ScramServerAuth,
    /// Makes the made-up salts: the same for a name as long as the server runs.
    mock_secret: [u8; KEY_BYTES],
}

impl Scram {
    /// Without a certificate, or with one whose signature has no channel binding, it is not offered.
    pub fn new(certificate_pem: Option<&[u8]>) -> Self {
        let mut over_tls = ScramServerAuth::new();
        if let Some(pem) = certificate_pem
            && let Err(error) = over_tls.configure_certificate(pem)
        {
            tracing::warn!(%error, "this TLS certificate allows no SCRAM channel binding");
        }
        Self {
            plain: ScramServerAuth::new(),
            over_tls,
            mock_secret: entropy::bytes(),
        }
    }

    /// Runs the exchange; `verifier` is the role's, if it has one. 28P01 where it fails.
    pub async fn authenticate(
        &self,
        channel: &mut Channel,
        user: &str,
        verifier: Option<&str>,
        encrypted: bool,
    ) -> Result<()> {
        let server = if encrypted {
            &self.over_tls
        } else {
            &self.plain
        };
        let offered: &[&str] = if server.supports_channel_binding() {
            &[WITH_BINDING, PLAIN]
        } else {
            &[PLAIN]
        };
        authentication(channel.output(), &Authentication::Sasl(offered));

        let mut first = Body(receive(channel).await?);
        let mechanism = first.string()?;
        if !offered.contains(&mechanism.as_str()) {
            return Err(violation(
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let Some(client_first) = first.value()? else {
            return Err(violation("the client's first SASL message is empty"));
        };
        if client_first.starts_with(b"p=") != (mechanism == WITH_BINDING) {
            return Err(violation(
                "SCRAM channel binding and mechanism contradict each other",
            ));
        }
        let (secret, real) = match verifier.and_then(parse_verifier) {
            Some(secret) => (secret, true),
            None => (self.mock(user), false),
        };
        let (server_first, exchange) = server
            .on_client_first_message_with_secret(&client_first, secret)
            .map_err(|error| violation("malformed SCRAM message").with_detail(error.to_string()))?;
        authentication(
            channel.output(),
            &Authentication::SaslContinue(&server_first),
        );

        let client_final = receive(channel).await?;
        match exchange.on_client_final_message(&client_final) {
            Ok(server_final) if real => {
                authentication(channel.output(), &Authentication::SaslFinal(&server_final));
                Ok(())
            }
            // pgwire tells a wrong proof from a malformed one; the client is told neither.
            Ok(_) | Err(_) => Err(PgError::fatal(
                sqlstate::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            )),
        }
    }

    fn mock(&self, user: &str) -> ScramSecret {
        let mut salt = gen_salted_password(user, &self.mock_secret, 1);
        salt.truncate(SALT_BYTES);
        ScramSecret::Verifier {
            salt,
            iterations: SCRAM_ITERATIONS,
            stored_key: entropy::bytes::<KEY_BYTES>().to_vec(),
            server_key: entropy::bytes::<KEY_BYTES>().to_vec(),
        }
    }
}

/// The verifier to store for a password, in PostgreSQL's form
/// `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`.
pub fn verifier(password: &str) -> String {
    let salt = entropy::bytes::<SALT_BYTES>().to_vec();
    let salted = gen_salted_password(password, &salt, SCRAM_ITERATIONS);
    match ScramSecret::verifier_from_salted_password(salt, salted, SCRAM_ITERATIONS) {
        ScramSecret::Verifier {
            salt,
            iterations,
            stored_key,
            server_key,
        } => format!(
            "{PLAIN}${iterations}:{}${}:{}",
            STANDARD.encode(salt),
            STANDARD.encode(stored_key),
            STANDARD.encode(server_key)
        ),
        ScramSecret::SaltedPassword { .. } => unreachable!("a verifier was asked for"),
    }
}

fn parse_verifier(text: &str) -> Option<ScramSecret> {
    let (iterations, rest) = text
        .strip_prefix(PLAIN)?
        .strip_prefix('$')?
        .split_once(':')?;
    let (salt, keys) = rest.split_once('$')?;
    let (stored_key, server_key) = keys.split_once(':')?;
    let stored_key = STANDARD.decode(stored_key).ok()?;
    let server_key = STANDARD.decode(server_key).ok()?;
    (stored_key.len() == KEY_BYTES && server_key.len() == KEY_BYTES).then_some(())?;
    Some(ScramSecret::Verifier {
        salt: STANDARD.decode(salt).ok()?,
        iterations: iterations.parse().ok()?,
        stored_key,
        server_key,
    })
}

/// The body of the client's next SASL message.
async fn receive(channel: &mut Channel) -> Result<bytes::Bytes> {
    match channel.next_frame().await? {
        None => Err(violation("the client left during authentication")),
        Some(frame) => match Frontend::decode(frame)? {
            Frontend::Password(data) => Ok(data),
            _ => Err(violation("expected SASL response")),
        },
    }
}

fn violation(message: &str) -> PgError {
    PgError::fatal(sqlstate::PROTOCOL_VIOLATION, message)
}

#[cfg(test)]
mod tests {
    use super::{ScramSecret, parse_verifier, verifier};

    #[test]
    fn verifiers_have_the_stored_form() {
        let text = verifier("correct horse");
        assert!(text.starts_with("SCRAM-SHA-256$4096:"));
        let Some(ScramSecret::Verifier {
            salt, iterations, ..
        }) = parse_verifier(&text)
        else {
            panic!("{text} is not read back");
        };
        assert_eq!((salt.len(), iterations), (16, 4096));
        assert_ne!(text, verifier("correct horse"));
    }

    #[test]
    fn other_stored_passwords_are_no_verifier() {
        for text in [
            "",
            "md5abc",
            "SCRAM-SHA-256$4096:c2FsdA==$a:b",
            "SCRAM-SHA-256$x:$:",
        ] {
            assert!(parse_verifier(text).is_none(), "{text}");
        }
    }
}
