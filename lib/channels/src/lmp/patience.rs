//! How long a sender has patience with a receiver whose ring is full.

use core::time::Duration;

/// The first pause before a further try; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_micros(20);
/// The longest pause for a server, which makes room soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);
/// The longest pause for a client: many that never take anything cost nearly nothing.
const LONGEST_CLIENT_PAUSE: Duration = Duration::from_millis(64);
/// A client that takes no reply for so long has no connection any more.
const LONGEST_STALL: Duration = Duration::from_secs(60);
/// A yield that has taken no longer than that, and made room, was worth it.
const SHORT_YIELD: Duration = Duration::from_micros(250);
/// After one that wasn't, nobody yields for so many times as long as it took.
const WITHOUT_YIELD: u64 = 50;

/// How long a receiver may leave its ring full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    /// A server, which takes what comes: for as long as it likes.
    Server,
    /// A client that has replies to take: [`LONGEST_STALL`].
    Client,
}

/// What to do about a full ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// To try again after that.
    Pause(Duration),
    /// To try no more.
    GiveUp,
}

/// The tries for one receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tries {
    bound: Bound,
    pause: Duration,
    /// Since when the ring has been full, in counter ticks.
    since: Option<u64>,
    /// A yield has made no room.
    is_slow: bool,
}

impl Tries {
    pub(super) const fn new(bound: Bound) -> Self {
        Self {
            bound,
            pause: FIRST_PAUSE,
            since: None,
            is_slow: false,
        }
    }

    /// Something was sent.
    pub(super) fn sent(&mut self) {
        *self = Self::new(self.bound);
    }

    /// Whether the receiver may have made room if it got the processor now.
    pub(super) const fn is_worth_a_yield(&self) -> bool {
        !self.is_slow
    }

    /// The ring is full at `now`, in counter ticks of which `frequency` are a second, and
    /// was just before, too, if the receiver got the processor in between.
    pub(super) fn full(&mut self, yielded: Yielded, now: u64, frequency: u64) -> Verdict {
        self.is_slow |= yielded == Yielded::Yes;
        let since = *self.since.get_or_insert(now);
        let most = LONGEST_STALL.as_secs().saturating_mul(frequency);
        if self.bound == Bound::Client && now.saturating_sub(since) >= most {
            return Verdict::GiveUp;
        }
        let pause = self.pause;
        let longest = match self.bound {
            Bound::Server => LONGEST_PAUSE,
            Bound::Client => LONGEST_CLIENT_PAUSE,
        };
        self.pause = (pause * 2).min(longest);
        Verdict::Pause(pause)
    }
}

/// Whether the receiver got the processor before the last try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Yielded {
    /// It did.
    Yes,
    /// It didn't.
    No,
}

/// When this program may give its time to receivers: to all others that can run, in fact, one of
/// which may use all that it gets. So what it loses that way is a small part of its time at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Yields {
    /// Not before then, in counter ticks.
    not_before: u64,
}

impl Yields {
    pub(super) const fn new() -> Self {
        Self { not_before: 0 }
    }

    pub(super) const fn may(&self, now: u64) -> bool {
        now >= self.not_before
    }

    /// A yield was over at `now` and had taken `took`, both in counter ticks of which `frequency` are
    /// a second.
    pub(super) fn took(&mut self, took: u64, now: u64, frequency: u64) {
        let short = SHORT_YIELD.as_micros() * u128::from(frequency) / 1_000_000;
        if u128::from(took) > short {
            self.not_before = now.saturating_add(took.saturating_mul(WITHOUT_YIELD));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Tries until `until`; the pauses.
    fn pauses(tries: &mut Tries, now: &mut u64, until: u64) -> Vec<Duration> {
        let mut pauses = Vec::new();
        while *now < until {
            match tries.full(Yielded::No, *now, SECOND) {
                Verdict::Pause(pause) => {
                    *now += u64::try_from(pause.as_micros()).unwrap();
                    pauses.push(pause);
                }
                Verdict::GiveUp => break,
            }
        }
        pauses
    }

    #[test]
    fn a_client_that_takes_nothing_costs_little_and_is_given_up() {
        let mut tries = Tries::new(Bound::Client);
        let mut now = 7;
        let first = pauses(&mut tries, &mut now, SECOND);
        assert_eq!(first[0], FIRST_PAUSE);
        assert!(
            first.len() < 32,
            "{} tries in the first second",
            first.len()
        );
        // One that takes something in between has all the time again.
        tries.sent();
        let started = now;
        let all = pauses(&mut tries, &mut now, 1000 * SECOND);
        assert_eq!(all[0], FIRST_PAUSE);
        assert!(all.len() < 1000);
        let given_up_after = (now - started) / SECOND;
        assert_eq!(given_up_after, LONGEST_STALL.as_secs());
        // A server isn't given up.
        let mut tries = Tries::new(Bound::Server);
        let mut now = 0;
        pauses(&mut tries, &mut now, 1000 * SECOND);
        assert!(now >= 1000 * SECOND);
    }

    #[test]
    fn a_yield_that_made_no_room_is_the_last_until_something_is_sent() {
        let mut tries = Tries::new(Bound::Client);
        assert!(tries.is_worth_a_yield());
        tries.full(Yielded::No, 0, SECOND);
        assert!(tries.is_worth_a_yield());
        tries.full(Yielded::Yes, 1, SECOND);
        tries.full(Yielded::No, 2, SECOND);
        assert!(!tries.is_worth_a_yield());
        tries.sent();
        assert!(tries.is_worth_a_yield());
    }

    /// Whatever those who get the time do with it, and however many they are.
    #[test]
    fn little_time_is_given_away() {
        // A scheduler's turn, in ticks.
        const TURN: u64 = 10_000;
        let (mut yields, mut now, mut lost) = (Yields::new(), 0, 0);
        while now < 10 * SECOND {
            if yields.may(now) {
                now += TURN;
                lost += TURN;
                yields.took(TURN, now, SECOND);
            }
            now += 10;
        }
        assert!(lost <= 10 * SECOND / 40, "{lost} of {now}");
        // Receivers that take what is there at once are worth it, always.
        let mut yields = Yields::new();
        for now in (0..SECOND).step_by(100) {
            assert!(yields.may(now));
            yields.took(90, now, SECOND);
        }
    }
}
