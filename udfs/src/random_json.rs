//! Owns the random JSON of the property tests: small documents with few distinct keys, so that they collide, from a seed.

use std::fmt::Write;

/// A linear congruential generator (Knuth, MMIX) that writes JSON.
pub(crate) struct RandomJson {
    state: u64,
}

impl RandomJson {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `limit`, which must not be 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.state = self
            .state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % limit
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let chosen = self.below(choices.len());
        *choices.get(chosen).expect("not empty")
    }

    /// Any JSON value.
    pub(crate) fn document(&mut self) -> String {
        let mut out = String::new();
        self.value(0, &mut out);
        out
    }

    /// An object, or now and then something else, as a merge patch.
    pub(crate) fn patch(&mut self) -> String {
        let mut out = String::new();
        if self.below(12) == 0 {
            self.value(0, &mut out);
        } else {
            self.object(0, &mut out);
        }
        out
    }

    fn value(&mut self, depth: usize, out: &mut String) {
        let kinds = if depth < 4 { 9 } else { 6 };
        match self.below(kinds) {
            0 | 1 => out.push_str("null"),
            2 => out.push_str(self.pick(&["true", "false"])),
            3 => out.push_str(self.pick(&[
                "0",
                "-1",
                "1.0",
                "1e2",
                "12345678901234567890.123",
                "0.5E-3",
            ])),
            4 | 5 => out.push_str(self.pick(&[
                "\"\"",
                "\"x\"",
                "\"a\\\"b\"",
                "\"\\u00e9\\n\"",
                "\"\\ud83d\\ude00 long enough\"",
            ])),
            6 => {
                self.sequence('[', ']', depth, out, |random, out| {
                    random.value(depth + 1, out)
                });
            }
            _ => self.object(depth, out),
        }
    }

    fn object(&mut self, depth: usize, out: &mut String) {
        self.sequence('{', '}', depth, out, |random, out| {
            let key = random.pick(&["a", "b", "c", "aa", "name", "\\u0061", "q\\\"", ""]);
            let space = random.space();
            let _ = write!(out, "\"{key}\":{space}");
            random.value(depth + 1, out);
        });
    }

    fn sequence(
        &mut self,
        open: char,
        close: char,
        depth: usize,
        out: &mut String,
        item: impl Fn(&mut Self, &mut String),
    ) {
        out.push(open);
        for position in 0..self.below(5 - depth.min(3)) {
            if position > 0 {
                out.push(',');
            }
            out.push_str(self.space());
            item(self, out);
        }
        out.push(close);
    }

    fn space(&mut self) -> &'static str {
        self.pick(&["", "", " ", "\n\t"])
    }
}
