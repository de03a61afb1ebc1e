//! What a misspelt name was likely meant for.

use alloc::vec::Vec;

/// The name among `names` that `word` is likely to have been meant for.
pub fn nearest<'a>(word: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A third of the letters may be wrong.
    let limit = (word.chars().count() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(word, name), name))
        .filter(|(distance, _)| *distance <= limit)
        // Of two that are as near, letters swapped are likelier than letters missing.
        .min_by_key(|(distance, name)| (*distance, name.len().abs_diff(word.len())))
        .map(|(_, name)| name)
}

/// The least number of letters to insert, delete, replace, or swap with the next, to make one word
/// of the other (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let one: Vec<char> = one.chars().collect();
    let other: Vec<char> = other.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in one.iter().enumerate() {
        let mut row = Vec::with_capacity(last.len());
        row.push(i + 1);
        for (j, &b) in other.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && b == one[i - 1] {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = core::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::COMMANDS;
    use proptest::prelude::*;

    #[test]
    fn the_nearest_command_is_hinted_at() {
        let hint = |word| nearest(word, COMMANDS.iter().map(|usage| usage.name));
        assert_eq!(hint("corse"), Some("cores"));
        assert_eq!(hint("power-off"), Some("poweroff"));
        assert_eq!(hint("pign"), Some("ping"));
        assert_eq!(hint("xyzzy"), None);
        assert_eq!(hint("hello"), None, "help is something else");
        assert_eq!(hint(""), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a in "[abc]{0,6}", b in "[abc]{0,6}") {
            prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
