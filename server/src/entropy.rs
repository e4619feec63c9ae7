//! Randomness: the only file that draws it, always from the operating system's generator.
//!
//! Keys, salts and passwords come from here. Anything that only needs variety (test data, sampling)
//! takes a seeded generator instead and never calls this.

use rand::TryRngCore;
use rand::rngs::OsRng;

/// Letters and digits without the pairs that are easily confused in print (`0O`, `1lI`).
const PASSWORD_ALPHABET: &[u8] = b"abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Length of a generated password: 24 characters of 57 are 139 bits.
const PASSWORD_CHARS: usize = 24;

/// Random bytes, good for keys.
///
/// # Panics
/// When the operating system has no randomness to give: nothing secure can be done without it.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = OsRng.try_fill_bytes(&mut bytes) {
        panic!("the operating system's random number generator failed: {error}");
    }
    bytes
}

/// A password for a human to copy.
pub fn password() -> String {
    let size = PASSWORD_ALPHABET.len();
    // Bytes at or beyond the largest multiple of the alphabet's size would favour its first letters.
    let fair = u8::MAX as usize / size * size;
    let mut password = String::with_capacity(PASSWORD_CHARS);
    while password.len() < PASSWORD_CHARS {
        let letters = bytes::<PASSWORD_CHARS>()
            .into_iter()
            .map(usize::from)
            .filter(|byte| *byte < fair)
            .filter_map(|byte| PASSWORD_ALPHABET.get(byte % size))
            .map(|letter| char::from(*letter));
        password.extend(letters.take(PASSWORD_CHARS - password.len()));
    }
    password
}

#[cfg(test)]
mod tests {
    use super::{PASSWORD_ALPHABET, PASSWORD_CHARS, bytes, password};

    #[test]
    fn passwords_have_their_length_and_differ() {
        let (one, other) = (password(), password());
        assert_eq!(one.len(), PASSWORD_CHARS);
        assert!(
            one.bytes()
                .all(|letter| PASSWORD_ALPHABET.contains(&letter))
        );
        assert_ne!(one, other);
    }

    #[test]
    fn bytes_differ() {
        assert_ne!(bytes::<32>(), bytes::<32>());
    }
}
