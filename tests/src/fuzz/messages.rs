//! Protocol messages: sequences that are right in themselves, and then broken in their order, fields and bytes.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use libtest_mimic::Failed;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::round::{ANSWER_LIMIT, Finding, STATEMENT_TIMEOUT_MS, Target};
use crate::harness::server::DATABASE;

/// Conversations of a round, each on a connection of its own.
const CONVERSATIONS: usize = 20;
/// Messages of a conversation.
const MESSAGES: usize = 12;
/// A server that neither answers nor closes for this long waits for more of a message.
const SILENCE: Duration = Duration::from_millis(60);

const STATEMENTS: &[&str] = &[
    "SELECT 1",
    "SELECT $1::int + $2",
    "SELECT * FROM generate_series(1, 300) AS g",
    "SELECT $1::text, $2::numeric, $3::timestamptz",
    "SELECT $1::int[]",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "",
    ";",
    "SELECT 1; SELECT 2",
    "COPY fuzz_messages FROM STDIN",
    "COPY fuzz_messages TO STDOUT",
    "COPY fuzz_messages FROM STDIN (FORMAT binary)",
    "COPY (SELECT 1, 'x') TO STDOUT (FORMAT binary)",
    "INSERT INTO fuzz_messages VALUES ($1, $2)",
    "SELECT b FROM fuzz_messages WHERE a = $1",
    "DECLARE c CURSOR FOR SELECT 1",
    "FETCH ALL FROM c",
    "SELECT $1::jsonb, $2::uuid, $3::bytea, $4::interval, $5::date, $6::time",
    "DELETE FROM fuzz_messages WHERE a = $1",
    "SELEC",
    "SELECT 1/0",
    "DISCARD ALL",
    "SET client_encoding = 'UTF8'",
];
const NAMES: &[&str] = &[
    "",
    "s",
    "p",
    "c",
    "a rather long name of a statement or of a portal that nobody would give",
    "\u{fc}",
];
const VALUES: &[&[u8]] = &[
    b"1",
    b"",
    b"-5",
    b"abc",
    b"\0\0\0\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\0\x01\0\0\0\0\0\x02\0\x07",
    b"{1,2}",
    b"2024-01-01",
    b"\xc3\x28",
    b"\0\0\0\x01\0\0\0\0\0\0\0\x17\0\0\0\x02\0\0\0\x01\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff\0\0\0\0\0\0\0\x17",
    b"\x01{\"a\":1}",
];
const TYPES: &[u32] = &[
    0,
    16,
    17,
    20,
    21,
    23,
    25,
    700,
    701,
    1082,
    1083,
    1114,
    1184,
    1186,
    1700,
    2950,
    3802,
    1007,
    1009,
    705,
    2278,
    4_294_967_295,
];

pub(super) fn round(target: &mut Target, seed: u64, number: u64) -> Result<Vec<Finding>, Failed> {
    let mut random = Target::random(seed, number);
    target.begin_round();
    let mut findings = Vec::new();
    let mut first = target.connect(DATABASE)?;
    first.simple("CREATE TABLE IF NOT EXISTS fuzz_messages (a integer PRIMARY KEY, b text)")?;
    drop(first);
    for _ in 0..CONVERSATIONS {
        let conversation = conversation(&mut random);
        target.sending(&conversation.escape_ascii().to_string());
        if random.random_bool(0.15) {
            // In place of the startup packet.
            let mut stream = TcpStream::connect(("127.0.0.1", target.port()))?;
            stream.write_all(&startup(&mut random, &conversation))?;
            exchange(&mut stream, &[], target, &mut findings)?;
        } else {
            let mut wire = target.connect(DATABASE)?;
            wire.simple(&format!("SET statement_timeout = {STATEMENT_TIMEOUT_MS}"))?;
            exchange(wire.stream(), &conversation, target, &mut findings)?;
        }
        findings.extend(target.new_panic());
    }
    findings.extend(target.end_round()?);
    Ok(findings)
}

/// Sends, and reads until the server closes, or is silent with a cycle answered.
fn exchange(
    stream: &mut TcpStream,
    bytes: &[u8],
    target: &Target,
    findings: &mut Vec<Finding>,
) -> Result<(), Failed> {
    // The server may have closed already: that is an answer too.
    stream.write_all(bytes).ok();
    // Ends any COPY and any message that waits for bytes: the end of the input must end the connection.
    stream.set_read_timeout(Some(SILENCE))?;
    let mut buffer = [0; 64 << 10];
    let start = Instant::now();
    let mut half_closed = false;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                if !half_closed {
                    half_closed = stream.shutdown(std::net::Shutdown::Write).is_ok();
                }
            }
            Err(_) => return Ok(()),
        }
        if start.elapsed() > ANSWER_LIMIT {
            findings.push(target.finding("a connection whose client has left stays open".into()));
            return Ok(());
        }
    }
}

fn conversation(random: &mut StdRng) -> BytesMut {
    let mut out = BytesMut::new();
    for _ in 0..random.random_range(1..=MESSAGES) {
        let start = out.len();
        message(random, &mut out);
        if random.random_bool(0.1) {
            damage(random, &mut out, start);
        }
    }
    if random.random_bool(0.8) {
        out.put_slice(b"S\0\0\0\x04");
    }
    out
}

/// Appends a message that is right, at a place where it may be wrong.
fn message(random: &mut StdRng, out: &mut BytesMut) {
    let tag = *b"QPPBBBDDEECSHdcfFpX".choose(random).unwrap_or(&b'S');
    let name = |random: &mut StdRng| NAMES.choose(random).copied().unwrap_or_default();
    let mut body = BytesMut::new();
    match tag {
        b'Q' => text(
            &mut body,
            STATEMENTS.choose(random).copied().unwrap_or_default(),
        ),
        b'P' => {
            text(&mut body, name(random));
            text(
                &mut body,
                STATEMENTS.choose(random).copied().unwrap_or_default(),
            );
            let count = random.random_range(0..4_u16);
            body.put_u16(count);
            for _ in 0..count {
                body.put_u32(TYPES.choose(random).copied().unwrap_or_default());
            }
        }
        b'B' => {
            text(&mut body, name(random));
            text(&mut body, name(random));
            formats(random, &mut body);
            let count = random.random_range(0..7_u16);
            body.put_u16(count);
            for _ in 0..count {
                let value = VALUES.choose(random).copied().unwrap_or_default();
                if random.random_bool(0.1) {
                    body.put_i32(-1);
                } else {
                    body.put_u32(u32::try_from(value.len()).unwrap_or_default());
                    body.put_slice(value);
                }
            }
            formats(random, &mut body);
        }
        b'D' | b'C' => {
            body.put_u8(*b"SPx".choose(random).unwrap_or(&b'S'));
            text(&mut body, name(random));
        }
        b'E' => {
            text(&mut body, name(random));
            body.put_i32(
                *[0, 1, 7, -1, i32::MAX, i32::MIN]
                    .choose(random)
                    .unwrap_or(&0),
            );
        }
        b'd' => match random.random_range(0..4) {
            0 => body.put_slice(
                b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x09\0\0\0\x01x\xff\xff",
            ),
            1 => body.put_slice(b"5\tfive\n6\t\\N\n\\.\n"),
            2 => body.put_slice(b"7\t\\x\xff\n\\"),
            _ => body.put_slice(VALUES.choose(random).copied().unwrap_or_default()),
        },
        b'f' | b'p' => text(&mut body, "no more"),
        b'F' => body.put_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0]),
        _ => {}
    }
    out.put_u8(tag);
    out.put_u32(u32::try_from(body.len() + 4).unwrap_or_default());
    out.put_slice(&body);
}

fn formats(random: &mut StdRng, body: &mut BytesMut) {
    let count = random.random_range(0..4_u16);
    body.put_u16(count);
    for _ in 0..count {
        body.put_i16(*[0, 1, 1, 2, -1].choose(random).unwrap_or(&0));
    }
}

fn text(out: &mut BytesMut, text: &str) {
    out.put_slice(text.as_bytes());
    out.put_u8(0);
}

/// Changes bytes of the last message.
fn damage(random: &mut StdRng, out: &mut BytesMut, start: usize) {
    match random.random_range(0..5) {
        0 => {
            // A length that is wrong.
            let length = *[0_u32, 3, 4, 5, 100, 9999, 10_001, 0x7fff_ffff, 0xffff_ffff]
                .choose(random)
                .unwrap_or(&0);
            out[start + 1..start + 5].copy_from_slice(&length.to_be_bytes());
        }
        1 => {
            let at = random.random_range(start..out.len());
            out[at] = random.random();
        }
        2 => {
            // Shorter, with a length that is right.
            let length = random.random_range(0..=out.len() - start - 5);
            out.truncate(start + 5 + length);
            let told = u32::try_from(length + 4).unwrap_or_default();
            out[start + 1..start + 5].copy_from_slice(&told.to_be_bytes());
        }
        3 => {
            for _ in 0..4 {
                let at = random
                    .random_range(start + 5..=out.len())
                    .min(out.len() - 1);
                out[at] ^= 1 << random.random_range(0..8);
            }
        }
        _ => out[start] = random.random(),
    }
}

/// What may stand where a startup packet is expected.
fn startup(random: &mut StdRng, conversation: &[u8]) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u32(
        *[
            0x0003_0000,
            0x0003_0002,
            0x0003_ffff,
            0x0002_0000,
            80_877_102,
            80_877_103,
            80_877_104,
            0,
        ]
        .choose(random)
        .unwrap_or(&0),
    );
    match random.random_range(0..4) {
        0 => {
            body.put_slice(b"user\0nyala\0database\0nyala\0options\0-c statement_timeout=x\\ \0\0")
        }
        1 => body.put_slice(b"user\0\0\0"),
        2 => body.put_slice(b"user\0nyala\0client_encoding\0'utf-8'\0_pq_.x\0y\0\0"),
        _ => body.put_slice(conversation),
    }
    body.truncate(9000);
    let mut out = BytesMut::new();
    let length = u32::try_from(body.len() + 4).unwrap_or_default();
    out.put_u32(if random.random_bool(0.1) {
        random.random()
    } else {
        length
    });
    out.put_slice(&body);
    out.put_slice(conversation);
    out
}
