//! A line at rest: to switch a device's FIFOs on may empty them, so that waits for a moment at which
//! nothing is on its way. Right after a byte was taken, the next may be.

use alloc::collections::VecDeque;

/// Looks at an empty receiver, one after the other, after which the line is at rest: longer than
/// a byte takes at 115,200 Bd.
const QUIET: u32 = 2_000;
/// Bytes, damaged ones too, that are taken before the line counts as one that doesn't rest.
const EARLY: usize = 256;
/// Looks at a device that is to become idle.
const PATIENCE: u32 = 100_000;

/// What came before a line was at rest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Early<T> {
    /// In the order of arrival.
    pub taken: VecDeque<T>,
    /// Whether nothing came for a while then; if not, more is on its way.
    pub is_at_rest: bool,
}

/// Takes what `next` gives, until that is nothing for a while, or too much.
pub fn until_rest<T>(mut next: impl FnMut() -> Option<T>) -> Early<T> {
    let mut taken = VecDeque::new();
    let mut quiet = 0;
    while quiet < QUIET && taken.len() < EARLY {
        match next() {
            Some(one) => {
                taken.push_back(one);
                quiet = 0;
            }
            None => quiet += 1,
        }
    }
    Early {
        taken,
        is_at_rest: quiet == QUIET,
    }
}

/// Looks until `is_idle`; a device that stays busy for longer than its FIFO takes is stuck.
pub fn until_idle(mut is_idle: impl FnMut() -> bool) {
    for _ in 0..PATIENCE {
        if is_idle() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_no_rest() {
        let mut looks = 0;
        let early = until_rest(|| {
            looks += 1;
            // The last possible look of each pause.
            (looks % QUIET == 0 && looks <= 3 * QUIET).then_some(looks)
        });
        assert_eq!(early.taken, [QUIET, 2 * QUIET, 3 * QUIET]);
        assert!(early.is_at_rest);
        assert_eq!(looks, 4 * QUIET);
    }

    #[test]
    fn a_line_that_never_rests_is_left() {
        let mut sent = 0_u32;
        let early = until_rest(|| {
            sent += 1;
            Some(sent)
        });
        assert!(!early.is_at_rest);
        assert_eq!(early.taken.len(), EARLY);
        assert_eq!(sent as usize, EARLY, "what isn't kept isn't taken");
    }

    #[test]
    fn a_stuck_device_is_not_waited_for_for_ever() {
        let mut looks = 0;
        until_idle(|| {
            looks += 1;
            false
        });
        assert_eq!(looks, PATIENCE);
        until_idle(|| true);
    }
}
