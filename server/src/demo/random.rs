//! Seeded variety for the demonstration data: the same numbers at every start.

/// A SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
/// 2014): 64 bits of state, good enough to look real, and not for secrets.
#[derive(Debug, Clone)]
pub(super) struct Random {
    state: u64,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// 64 uniform bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A uniform number below `bound`; 0 where `bound` is.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A uniform number in `low..high`, as an offset of days, seconds or cents.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.below(high.abs_diff(low))).unwrap_or_default()
    }

    /// A uniform number in [0, 1).
    pub(super) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// An exponentially distributed number.
    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// A number below `bound`, low ones far more often: one in a thousand of them is drawn in
    /// `1000.powf(-1.0 / power)` of all cases.
    pub(super) fn skewed(&mut self, bound: u64, power: i32) -> u64 {
        (bound as f64 * self.unit().powi(power)) as u64
    }

    /// One of `choices`, all alike.
    pub(super) fn pick<T: Copy + Default>(&mut self, choices: &[T]) -> T {
        let at = self.below(choices.len() as u64);
        choices.get(at as usize).copied().unwrap_or_default()
    }

    /// One of `choices`, each as often as its weight says.
    pub(super) fn weighted<T: Copy + Default>(&mut self, choices: &[(T, u32)]) -> T {
        let total: u64 = choices.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = self.below(total);
        for (choice, weight) in choices {
            match left.checked_sub(u64::from(*weight)) {
                Some(rest) => left = rest,
                None => return *choice,
            }
        }
        T::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_paper() {
        // First outputs of the reference implementation for seed 1234567.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.bits(), 6_457_827_717_110_365_317);
        assert_eq!(random.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn weights_are_kept() {
        let mut random = Random::new(1);
        let draws = (0..10_000).map(|_| random.weighted(&[("a", 9), ("b", 1), ("c", 0)]));
        let draws: Vec<_> = draws.collect();
        let count = |name| draws.iter().filter(|draw| **draw == name).count();
        assert!((8_800..9_200).contains(&count("a")), "{}", count("a"));
        assert_eq!(count("c"), 0);
    }

    #[test]
    fn bounds_are_kept() {
        let mut random = Random::new(2);
        for _ in 0..1_000 {
            assert!(random.below(7) < 7);
            assert!((-3..4).contains(&random.between(-3, 4)));
            assert!(random.skewed(100, 3) < 100);
        }
        assert_eq!(random.below(0), 0);
    }
}
