//! Capabilities that a kernel offers to others.
//!
//! ```text
//!                  offer                    take
//!          FREE ──────────▶ OFFERED ─────────────────────▶ TAKEN
//!           ▲   sender         │       receiver, CAS         │
//!           │                  │ withdraw: sender, CAS       │ settle: sender
//!           └──────────────────┴─────────────────────────────┘
//! ```
//! An entry's state, the kernel that it is offered to and the number of its use are
//! one word, so *take* and *withdraw* exclude each other: one compare-and-swap decides
//! for both sides. Until then nothing has happened that the sender can't undo, and the
//! receiver has found out that it can't fail; a receiver that fails, or vanishes,
//! leaves the offer standing. After it, the capability is the receiver's.
//!
//! Single use: a ticket names the entry's use, which every *offer* changes, and which never
//! comes back: after its last use ([`LAST_USE`]), an entry is never free again.
//!
//! A receiver that doesn't take what it is offered leaves room for others: it never has
//! more entries than stay free, so the first such has half of them at most, the second
//! half of what is left, and so on. Of 120 entries, it takes seven such to use all up.
//!
//! Ordering: the sender writes the record before it releases the state, and doesn't
//! write it again before it has left *offered*; the receiver acquires the state, copies
//! the record, and its compare-and-swap shows that the copy was of that offer.

use capelin_abi::{KernelId, LAST_USE, NAMED_PLACES, SysError, Ticket};

use crate::sync::{AtomicU64, Ordering};

/// Words of a record that are handed over: the others of
/// `capelin_cap::CapRecord::to_words` are zero.
pub const RECORD_WORDS: usize = 5;

const FREE: u64 = 0;
const OFFERED: u64 = 1;
const TAKEN: u64 = 2;
const STATE: u64 = 0x7f;
/// Where the receiver begins in a state's word.
const RECEIVER: u32 = 7;
/// Where the use does.
const USE: u32 = 16;
const _: () = assert!(KernelId::LIMIT as u64 <= 1 << (USE - RECEIVER));
const _: () = assert!(LAST_USE << USE >> USE == LAST_USE);

/// One offer, in a cache line of its own.
///
/// `state`: state in bits 6:0, receiver in bits 15:7, use in bits 63:16.
#[repr(C, align(64))]
#[derive(Debug)]
struct Entry {
    state: AtomicU64,
    record: [AtomicU64; RECORD_WORDS],
    taker: AtomicU64,
    reserved: u64,
}

/// A kernel's offers. Zeroed memory is an empty one.
#[repr(C)]
#[derive(Debug)]
pub struct Outbox<const ENTRIES: usize> {
    entries: [Entry; ENTRIES],
}

/// Which kernel of an id an offer is made to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Taker {
    /// Whichever has the id.
    Any = 0,
    /// One that the sender has started. What is offered before is nobody else's who gets
    /// the id.
    Child = 1,
}

/// What is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Offer {
    /// To whom.
    pub to: KernelId,
    /// To which of that id: for the receiver's kernel to check.
    pub taker: Taker,
    /// What: the words of a record.
    pub record: [u64; RECORD_WORDS],
}

/// What has become of an offer, as its sender sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OfferState {
    /// Nobody has taken it yet.
    Offered,
    /// The receiver has it.
    Taken,
}

/// What the sender has to settle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The offer's entry, to be [`Outbox::free`]d.
    pub entry: u16,
    /// What was offered, and to whom.
    pub offer: Offer,
}

/// A receiver is below [`KernelId::LIMIT`].
const fn word(state: u64, to: KernelId, nonce: u64) -> u64 {
    state | (to.0 as u64) << RECEIVER | nonce << USE
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the fields are cut out on purpose"
)]
const fn parts(word: u64) -> (u64, KernelId, u64) {
    (
        word & STATE,
        KernelId((word >> RECEIVER) as u16 & ((1 << (USE - RECEIVER)) - 1)),
        word >> USE,
    )
}

#[cfg(not(loom))]
impl<const ENTRIES: usize> Outbox<ENTRIES> {
    /// An empty outbox, for a static.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            entries: [const {
                Entry {
                    state: AtomicU64::new(0),
                    record: [const { AtomicU64::new(0) }; RECORD_WORDS],
                    taker: AtomicU64::new(0),
                    reserved: 0,
                }
            }; ENTRIES],
        }
    }
}

impl<const ENTRIES: usize> Outbox<ENTRIES> {
    /// An empty outbox.
    #[must_use]
    pub fn new() -> Self {
        Self {
            entries: core::array::from_fn(|_| Entry {
                state: AtomicU64::new(0),
                record: core::array::from_fn(|_| AtomicU64::new(0)),
                taker: AtomicU64::new(0),
                reserved: 0,
            }),
        }
    }

    /// Sender: offers a capability; `own` is the sender.
    ///
    /// # Errors
    /// `NoResources` while the receiver has no fewer entries than are free, as when none
    /// is; `InvalidArgument` for a receiver that can't be.
    pub fn offer(&self, own: KernelId, offer: &Offer) -> Result<Ticket, SysError> {
        const { assert!(ENTRIES <= NAMED_PLACES) };
        if offer.to.0 >= KernelId::LIMIT {
            return Err(SysError::InvalidArgument);
        }
        let (number, used) = self.free_for(offer.to)?;
        let entry = self.entries.get(usize::from(number));
        let entry = entry.ok_or(SysError::NoResources)?;
        let nonce = used + 1;
        for (to, from) in entry.record.iter().zip(offer.record) {
            to.store(from, Ordering::Relaxed);
        }
        entry.taker.store(offer.taker as u64, Ordering::Relaxed);
        // Pairs with the load in `look` and the exchange in `take`: whoever sees
        // the offer sees the record.
        let offered = word(OFFERED, offer.to, nonce);
        entry.state.store(offered, Ordering::Release);
        Ok(Ticket::new(own, number, nonce))
    }

    /// Sender: the first free entry, and the number of its last use, if `to` may have one
    /// more.
    fn free_for(&self, to: KernelId) -> Result<(u16, u64), SysError> {
        let (mut first, mut free, mut held) = (None, 0_usize, 0_usize);
        for (number, entry) in (0_u16..).zip(&self.entries) {
            // Only the sender leaves FREE: nobody else writes such an entry meanwhile.
            let (state, receiver, used) = parts(entry.state.load(Ordering::Relaxed));
            if state != FREE {
                held += usize::from(receiver == to);
            } else if used != LAST_USE {
                free += 1;
                first = first.or(Some((number, used)));
            }
        }
        let is_fair = held < free;
        first.filter(|_| is_fair).ok_or(SysError::NoResources)
    }

    /// Receiver: what `ticket` offers to kernel `own`. It counts only if
    /// [`Outbox::take`] succeeds afterwards.
    ///
    /// # Errors
    /// `NoSuchTransfer` for what isn't offered to `own`, or not any more.
    pub fn look(&self, own: KernelId, ticket: Ticket) -> Result<Offer, SysError> {
        let entry = self.entry(ticket)?;
        // Pairs with the store in `offer`.
        if entry.state.load(Ordering::Acquire) != word(OFFERED, own, ticket.nonce()) {
            return Err(SysError::NoSuchTransfer);
        }
        Ok(entry.offer(own))
    }

    /// Receiver: takes what `ticket` offers to kernel `own`: from now on it is the
    /// receiver's.
    ///
    /// # Errors
    /// `NoSuchTransfer` when the sender has withdrawn it.
    pub fn take(&self, own: KernelId, ticket: Ticket) -> Result<(), SysError> {
        let entry = self.entry(ticket)?;
        let offered = word(OFFERED, own, ticket.nonce());
        let taken = word(TAKEN, own, ticket.nonce());
        // Release: the sender reuses the entry only after our reads (its acquire is in
        // `next_taken` and `state`). Acquire: no read of `look` was of another offer.
        entry
            .state
            .compare_exchange(offered, taken, Ordering::AcqRel, Ordering::Relaxed)
            .map(drop)
            .map_err(|_| SysError::NoSuchTransfer)
    }

    /// Sender: how the offer of `ticket` stands.
    ///
    /// # Errors
    /// `NoSuchTransfer` for an offer that has been settled, or never was.
    pub fn state(&self, ticket: Ticket) -> Result<(OfferState, Settled), SysError> {
        let entry = self.entry(ticket)?;
        // Pairs with the exchange in `take`.
        let (state, to, nonce) = parts(entry.state.load(Ordering::Acquire));
        let state = match state {
            OFFERED => OfferState::Offered,
            TAKEN => OfferState::Taken,
            _ => return Err(SysError::NoSuchTransfer),
        };
        if nonce != ticket.nonce() {
            return Err(SysError::NoSuchTransfer);
        }
        Ok((state, entry.settled(ticket.entry(), to)))
    }

    /// Sender: takes the offer of `ticket` back, unless it has been taken. The entry
    /// is free then.
    ///
    /// # Errors
    /// `NoSuchTransfer` when it has been taken, or isn't offered.
    pub fn withdraw(&self, ticket: Ticket) -> Result<Settled, SysError> {
        let entry = self.entry(ticket)?;
        let (_, to, _) = parts(entry.state.load(Ordering::Relaxed));
        let offered = word(OFFERED, to, ticket.nonce());
        let free = word(FREE, to, ticket.nonce());
        // Acquire: a receiver that looked is done with the record, or fails to take it.
        entry
            .state
            .compare_exchange(offered, free, Ordering::AcqRel, Ordering::Relaxed)
            .map_err(|_| SysError::NoSuchTransfer)?;
        Ok(entry.settled(ticket.entry(), to))
    }

    /// Sender: the first entry from `first` on that has been taken and isn't settled.
    pub fn next_taken(&self, first: u16) -> Option<Settled> {
        let entries = self.entries.iter().enumerate().skip(usize::from(first));
        for (number, entry) in entries {
            // Pairs with the exchange in `take`.
            let (state, to, _) = parts(entry.state.load(Ordering::Acquire));
            if state == TAKEN {
                return Some(entry.settled(u16::try_from(number).ok()?, to));
            }
        }
        None
    }

    /// Sender: the first offer of `own` from entry `first` on that isn't settled, and its
    /// entry.
    pub fn next_open(&self, own: KernelId, first: u16) -> Option<(Ticket, Settled)> {
        let entries = self.entries.iter().enumerate().skip(usize::from(first));
        for (number, entry) in entries {
            // Our own record: nothing is read that others write.
            let (state, to, nonce) = parts(entry.state.load(Ordering::Relaxed));
            if state != FREE {
                let number = u16::try_from(number).ok()?;
                return Some((Ticket::new(own, number, nonce), entry.settled(number, to)));
            }
        }
        None
    }

    /// Sender: the entry of an offer that was taken can be used again.
    pub fn free(&self, settled: Settled) {
        if let Some(entry) = self.entries.get(usize::from(settled.entry)) {
            let (state, to, nonce) = parts(entry.state.load(Ordering::Relaxed));
            if state == TAKEN {
                // The receiver is done with it: nobody else writes a taken entry.
                entry.state.store(word(FREE, to, nonce), Ordering::Relaxed);
            }
        }
    }

    fn entry(&self, ticket: Ticket) -> Result<&Entry, SysError> {
        self.entries
            .get(usize::from(ticket.entry()))
            .ok_or(SysError::NoSuchTransfer)
    }
}

impl<const ENTRIES: usize> Default for Outbox<ENTRIES> {
    fn default() -> Self {
        Self::new()
    }
}

impl Entry {
    fn record(&self) -> [u64; RECORD_WORDS] {
        self.record
            .each_ref()
            .map(|word| word.load(Ordering::Relaxed))
    }

    fn offer(&self, to: KernelId) -> Offer {
        let taker = match self.taker.load(Ordering::Relaxed) {
            0 => Taker::Any,
            _ => Taker::Child,
        };
        let record = self.record();
        Offer { to, taker, record }
    }

    fn settled(&self, entry: u16, to: KernelId) -> Settled {
        let offer = self.offer(to);
        Settled { entry, offer }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    const SENDER: KernelId = KernelId(3);
    const RECEIVER: KernelId = KernelId(7);
    const OTHER: KernelId = KernelId(8);
    const GONE: Result<(), SysError> = Err(SysError::NoSuchTransfer);

    fn offer(what: u64) -> Offer {
        Offer {
            to: RECEIVER,
            taker: if what == 9 { Taker::Child } else { Taker::Any },
            record: [1, 2, 3, 4, what],
        }
    }

    #[test]
    fn an_offer_is_taken_once_by_whom_it_is_made_to() {
        let outbox = Outbox::<2>::new();
        let ticket = outbox.offer(SENDER, &offer(9)).unwrap();
        assert_eq!(ticket.kernel(), SENDER);
        assert_eq!(outbox.look(OTHER, ticket).map(drop), GONE);
        assert_eq!(outbox.take(OTHER, ticket), GONE);
        assert_eq!(outbox.look(RECEIVER, ticket), Ok(offer(9)));
        assert_eq!(outbox.take(RECEIVER, ticket), Ok(()));
        assert_eq!(outbox.take(RECEIVER, ticket), GONE);
        assert_eq!(outbox.look(RECEIVER, ticket).map(drop), GONE);
        assert_eq!(outbox.withdraw(ticket).map(drop), GONE);
    }

    #[test]
    fn an_old_ticket_names_no_later_offer() {
        let outbox = Outbox::<1>::new();
        let first = outbox.offer(SENDER, &offer(1)).unwrap();
        outbox.withdraw(first).unwrap();
        let second = outbox.offer(SENDER, &offer(2)).unwrap();
        assert_eq!(first.entry(), second.entry());
        assert_eq!(outbox.look(RECEIVER, first).map(drop), GONE);
        assert_eq!(outbox.take(RECEIVER, first), GONE);
        assert_eq!(outbox.withdraw(first).map(drop), GONE);
        assert_eq!(outbox.state(first).map(drop), GONE);
        assert_eq!(outbox.look(RECEIVER, second), Ok(offer(2)));
    }

    #[test]
    fn what_was_withdrawn_cannot_be_taken() {
        let outbox = Outbox::<1>::new();
        let ticket = outbox.offer(SENDER, &offer(5)).unwrap();
        assert_eq!(outbox.look(RECEIVER, ticket), Ok(offer(5)));
        let settled = outbox.withdraw(ticket).unwrap();
        assert_eq!(settled.offer, offer(5));
        assert_eq!(outbox.take(RECEIVER, ticket), GONE);
    }

    #[test]
    fn entries_come_back_when_they_are_settled() {
        let outbox = Outbox::<2>::new();
        let other = Offer {
            to: OTHER,
            ..offer(1)
        };
        let tickets = [other, offer(2)].map(|offer| outbox.offer(SENDER, &offer).unwrap());
        assert_eq!(outbox.offer(SENDER, &offer(3)), Err(SysError::NoResources));
        assert_eq!(outbox.next_taken(0), None);
        outbox.take(RECEIVER, tickets[1]).unwrap();
        let settled = outbox.next_taken(0).unwrap();
        assert_eq!((settled.entry, settled.offer), (1, offer(2)));
        assert_eq!(outbox.state(tickets[1]), Ok((OfferState::Taken, settled)));
        // Taken, it is still in use until the sender has settled it.
        assert_eq!(outbox.offer(SENDER, &offer(3)), Err(SysError::NoResources));
        outbox.free(settled);
        assert_eq!(outbox.next_taken(0), None);
        assert_eq!(outbox.offer(SENDER, &offer(3)).unwrap().entry(), 1);
    }

    /// Who takes nothing leaves room for others, and these for more.
    #[test]
    fn no_receiver_has_more_than_is_left_for_others() {
        const ENTRIES: usize = 120;
        let outbox = Outbox::<ENTRIES>::new();
        let fill = |to: KernelId| -> Vec<Ticket> {
            let offer = Offer { to, ..offer(1) };
            core::iter::from_fn(|| outbox.offer(SENDER, &offer).ok()).collect()
        };
        let mut left = ENTRIES;
        let mut greedy = Vec::new();
        for liar in 20..26 {
            let held = fill(KernelId(liar));
            assert_eq!(held.len(), left.div_ceil(2), "{liar}");
            left -= held.len();
            greedy.push(held);
        }
        assert_eq!(left, 1);
        // Another gets through, one after the other, for as long as it takes them.
        let other = Offer {
            to: OTHER,
            ..offer(2)
        };
        for _ in 0..3 {
            let ticket = outbox.offer(SENDER, &other).unwrap();
            assert_eq!(outbox.offer(SENDER, &other), Err(SysError::NoResources));
            outbox.take(OTHER, ticket).unwrap();
            let (_, settled) = outbox.state(ticket).unwrap();
            outbox.free(settled);
        }
        // What was taken and isn't settled counts, too; what is taken back doesn't.
        let first = Offer {
            to: KernelId(20),
            ..offer(3)
        };
        outbox.take(first.to, greedy[0][0]).unwrap();
        assert_eq!(outbox.offer(SENDER, &first), Err(SysError::NoResources));
        for &ticket in &greedy[0][1..31] {
            outbox.withdraw(ticket).unwrap();
        }
        // It has 30 of 60: one more, and others have fewer left.
        assert!(outbox.offer(SENDER, &first).is_ok());
        assert_eq!(fill(first.to), []);
    }

    #[test]
    fn open_offers_are_found_until_they_are_settled() {
        let outbox = Outbox::<6>::new();
        let tickets = [1, 2, 3].map(|what| outbox.offer(SENDER, &offer(what)).unwrap());
        outbox.withdraw(tickets[0]).unwrap();
        outbox.take(RECEIVER, tickets[1]).unwrap();
        for first in [0, 1] {
            let (ticket, settled) = outbox.next_open(SENDER, first).unwrap();
            assert_eq!((ticket, settled.offer), (tickets[1], offer(2)));
        }
        let (ticket, settled) = outbox.next_open(SENDER, 2).unwrap();
        assert_eq!((ticket, settled.entry), (tickets[2], 2));
        assert_eq!(outbox.next_open(SENDER, 3), None);
        outbox.withdraw(tickets[2]).unwrap();
        assert_eq!(outbox.next_open(SENDER, 2), None);
    }

    #[test]
    fn freeing_what_stands_offered_does_nothing() {
        let outbox = Outbox::<1>::new();
        let ticket = outbox.offer(SENDER, &offer(1)).unwrap();
        let (_, settled) = outbox.state(ticket).unwrap();
        outbox.free(settled);
        assert_eq!(outbox.take(RECEIVER, ticket), Ok(()));
    }

    #[test]
    fn a_use_never_comes_back() {
        let outbox = Outbox::<3>::new();
        let used = word(FREE, RECEIVER, LAST_USE - 1);
        outbox.entries[0].state.store(used, Ordering::Relaxed);
        let last = outbox.offer(SENDER, &offer(1)).unwrap();
        assert_eq!((last.entry(), last.nonce()), (0, LAST_USE));
        assert_eq!(outbox.look(RECEIVER, last), Ok(offer(1)));
        outbox.withdraw(last).unwrap();
        // The entry is used up; it counts neither as the receiver's nor as free.
        let next = outbox.offer(SENDER, &offer(2)).unwrap();
        assert_eq!((next.entry(), next.nonce()), (1, 1));
        assert_eq!(outbox.offer(SENDER, &offer(3)), Err(SysError::NoResources));
        let other = Offer {
            to: OTHER,
            ..offer(3)
        };
        assert_eq!(outbox.offer(SENDER, &other).map(Ticket::entry), Ok(2));
        assert_eq!(outbox.offer(SENDER, &other), Err(SysError::NoResources));
        outbox.withdraw(next).unwrap();
        assert_eq!(outbox.offer(SENDER, &offer(4)).map(Ticket::entry), Ok(1));
        assert_eq!(outbox.look(RECEIVER, last).map(drop), GONE);
    }

    #[test]
    fn who_cannot_be_is_offered_nothing() {
        let outbox = Outbox::<2>::new();
        for to in [KernelId::LIMIT, u16::MAX] {
            let to = KernelId(to);
            let refused = outbox.offer(SENDER, &Offer { to, ..offer(1) });
            assert_eq!(refused, Err(SysError::InvalidArgument));
        }
        let to = KernelId(KernelId::LIMIT - 1);
        let ticket = outbox.offer(SENDER, &Offer { to, ..offer(1) }).unwrap();
        assert_eq!(outbox.take(to, ticket), Ok(()));
    }

    #[test]
    fn forged_tickets_name_nothing() {
        let outbox = Outbox::<2>::new();
        let ticket = outbox.offer(SENDER, &offer(1)).unwrap();
        for entry in [1, 2, 127, u16::MAX] {
            let forged = Ticket::new(SENDER, entry, ticket.nonce());
            assert_eq!(outbox.look(RECEIVER, forged).map(drop), GONE);
            assert_eq!(outbox.take(RECEIVER, forged), GONE);
            assert_eq!(outbox.withdraw(forged).map(drop), GONE);
        }
        for nonce in [0, 2, 1 << 32 | 1, LAST_USE] {
            let forged = Ticket::new(SENDER, 0, nonce);
            assert_eq!(outbox.look(RECEIVER, forged).map(drop), GONE);
            assert_eq!(outbox.take(RECEIVER, forged), GONE);
        }
    }
}
