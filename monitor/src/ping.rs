//! Statistics of round trips.

use alloc::vec::Vec;

use capelin_interfaces::monitor::PingStats;

/// The figures of round trips that took `ticks`, one number each, by a counter that
/// makes `frequency_hz` ticks a second. All zero when there was none.
#[must_use]
pub fn statistics(mut ticks: Vec<u64>, frequency_hz: u64) -> PingStats {
    ticks.sort_unstable();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0);
    let count = ticks.len();
    // The smallest index with at least 99 % of the values at or below it.
    let p99 = (count * 99).div_ceil(100).saturating_sub(1);
    PingStats {
        rounds: u32::try_from(count).unwrap_or(u32::MAX),
        min_ticks: at(0),
        median_ticks: at(count / 2),
        p99_ticks: at(p99),
        max_ticks: at(count.saturating_sub(1)),
        frequency_hz,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_are_those_of_the_sorted_values() {
        let figures = statistics((1..=200).rev().collect(), 5);
        let expected = PingStats {
            rounds: 200,
            min_ticks: 1,
            median_ticks: 101,
            p99_ticks: 198,
            max_ticks: 200,
            frequency_hz: 5,
        };
        assert_eq!(figures, expected);
        let one = statistics(vec![7], 5);
        let parts = (
            one.min_ticks,
            one.median_ticks,
            one.p99_ticks,
            one.max_ticks,
        );
        assert_eq!(parts, (7, 7, 7, 7));
        assert_eq!(statistics(vec![], 5).rounds, 0);
    }
}
