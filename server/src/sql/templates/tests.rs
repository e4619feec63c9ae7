//! Rules that scripts against PostgreSQL do not reach: what the lexer makes of odd patterns, and that no text panics.

use arrow::datatypes::IntervalMonthDayNano;

use super::date_time::{Parts, TimePattern};
use super::number::NumberPattern;
use super::{Compiled, time_pattern};
use crate::pgwire::encode::TimeZone;

fn time(us: i64, pattern: &str) -> String {
    let mut out = String::new();
    let parts = Parts::of_instant(us, TimeZone::default());
    TimePattern::new(pattern).write(&parts, &mut out).unwrap();
    out
}

#[test]
fn patterns_are_cut_at_the_longest_keyword() {
    let us = 1_709_300_096_000_000;
    for (pattern, expected) in [
        ("YYYY-MM-DD\"T\"HH24:MI:SS", "2024-03-01T13:34:56"),
        ("FMDDth FMMonth", "1st March"),
        ("\\\"DD\\\"", "\"01\""),
        ("\"a\\\"b", "a\"b"),
        ("FM", ""),
        ("Hh", "Hh"),
    ] {
        assert_eq!(time(us, pattern), expected, "{pattern}");
    }
}

#[test]
fn a_pattern_is_compiled_again_only_when_it_changes() {
    let mut compiled = Compiled::new(time_pattern);
    let first = std::ptr::from_ref(compiled.get("YYYY").unwrap().nodes.as_slice());
    let again = std::ptr::from_ref(compiled.get("YYYY").unwrap().nodes.as_slice());
    assert_eq!(first, again);
    assert_eq!(compiled.get("YYYY-MM").unwrap().nodes.len(), 3);
}

/// Numbers that look random and are the same in every run.
fn noise(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

#[test]
fn any_pattern_of_times_and_any_text_end_without_a_panic() {
    const PARTS: [&str; 24] = [
        "YYYY",
        "Y,YYY",
        "MM",
        "DD",
        "D",
        "J",
        "IYYY",
        "IW",
        "ID",
        "HH12",
        "AM",
        "MS",
        "US",
        "FF3",
        "TZH",
        "TZM",
        "FM",
        "FX",
        "th",
        "\"",
        "\\",
        "é",
        "-",
        "99999999999",
    ];
    let mut random = noise(1);
    for _ in 0..20_000 {
        let mut make = || -> String {
            let length = random(6);
            (0..length).map(|_| PARTS[random(PARTS.len())]).collect()
        };
        let (pattern, text) = (make(), make());
        let pattern = TimePattern::new(&pattern);
        let _ = pattern.read(&text);
        let _ = pattern.read("2024-13-45 é -99");
        let mut out = String::new();
        let month = IntervalMonthDayNano::new(-13, i32::MIN, i64::MIN);
        for parts in [
            Parts::of_local(i64::MIN + 1),
            Parts::of_local(i64::MAX - 1),
            Parts::of_interval(month),
        ] {
            let _ = pattern.write(&parts, &mut out);
        }
    }
}

#[test]
fn any_pattern_of_numbers_ends_without_a_panic() {
    const PARTS: [&str; 19] = [
        "9", "0", ".", "D", ",", "G", "S", "MI", "PL", "SG", "PR", "FM", "TH", "V", "EEEE", "RN",
        "L", "B", "é",
    ];
    let mut random = noise(2);
    for _ in 0..20_000 {
        let length = random(8);
        let text: String = (0..length).map(|_| PARTS[random(PARTS.len())]).collect();
        let Ok(pattern) = NumberPattern::new(&text) else {
            continue;
        };
        let mut out = String::new();
        for value in [0, 1, -1, 12_345, i128::MAX, i128::MIN] {
            if let Ok(digits) = pattern.picture.decimal(value, 2) {
                let _ = pattern.write(&digits, &mut out);
            }
        }
        for value in [0.0, -0.5, 1e300, f64::NAN, f64::NEG_INFINITY] {
            if let Ok(digits) = pattern.picture.double(value) {
                let _ = pattern.write(&digits, &mut out);
            }
        }
        for given in ["", " ", "-1,234.5é", "<12>", "1-", "٣"] {
            let _ = pattern.read(given, 10);
        }
    }
}
