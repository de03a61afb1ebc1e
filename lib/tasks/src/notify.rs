//! Notify bits: being woken by another core.
//!
//! The kernel sets a bit in the frame's word; the runtime takes all bits by a swap and keeps each
//! until somebody asks for it, so none is lost between two waits. Several may wait for the same bit
//! (channels that share one): all of them are woken, and each looks for itself.

use alloc::{
    rc::{Rc, Weak},
    vec::Vec,
};
use core::{
    cell::RefCell,
    future::{Future, poll_fn},
    task::{Context, Poll, Waker},
};

use capelin_abi::dispatcher::offset;

use crate::{OwnedCap, RtError, frame, sys};

const BITS: usize = 64;

struct Bits {
    used: u64,
    arrived: u64,
    /// Of those who wait, by bit, up to the highest that was ever waited for.
    wakers: Vec<Vec<Waker>>,
}

local! {
    /// The 64 bits of this dispatcher.
    static NOTIFY: Bits = Bits { used: 0, arrived: 0, wakers: Vec::new() };
}

/// One bit of this dispatcher, and the capability that rings it.
#[derive(Debug)]
pub struct Notify {
    bit: u8,
    cap: OwnedCap,
}

impl Notify {
    /// A bit that nobody uses.
    ///
    /// # Errors
    /// [`RtError::OutOfNotifyBits`], [`RtError::OutOfSlots`], [`RtError::OutOfHomeMemory`]; as
    /// [`sys::dispatcher::make_notify`].
    pub fn new() -> Result<Self, RtError> {
        let bit = NOTIFY.with(|bits| {
            let mut bits = bits.borrow_mut();
            let bit = bits.used.trailing_ones();
            if bit as usize >= BITS {
                return Err(RtError::OutOfNotifyBits);
            }
            bits.used |= 1 << bit;
            Ok(u8::try_from(bit).unwrap_or(0))
        })?;
        match OwnedCap::make(|slot| sys::dispatcher::make_notify(bit, slot)) {
            Ok(cap) => Ok(Self { bit, cap }),
            Err(error) => {
                release(bit);
                Err(error)
            }
        }
    }

    /// The capability that rings it, to be given to those who may.
    #[must_use]
    pub const fn cap(&self) -> &OwnedCap {
        &self.cap
    }

    /// Whether it has been rung since it was last asked, or keeps the waker for when it is.
    pub fn poll_rung(&self, context: &mut Context<'_>) -> Poll<()> {
        NOTIFY.with(|bits| {
            let mut bits = bits.borrow_mut();
            bits.collect();
            let mask = 1 << self.bit;
            let has_arrived = bits.arrived & mask != 0;
            bits.arrived &= !mask;
            let wakers = bits.wakers_of(self.bit);
            if has_arrived {
                wakers.drain(..).for_each(Waker::wake);
                return Poll::Ready(());
            }
            let waker = context.waker();
            if !wakers.iter().any(|known| known.will_wake(waker)) {
                wakers.push(waker.clone());
            }
            Poll::Pending
        })
    }

    /// Waits until it is rung.
    pub fn rung(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|context| self.poll_rung(context))
    }
}

/// Bits for channels: each gets one of its own while there are any, so that a ring wakes the channel
/// that it is for and no other. With none left, the bit that fewest share is shared.
///
/// A bit is free again when the last that holds it has dropped it.
#[derive(Debug, Default)]
pub struct Bells {
    given: RefCell<Vec<Weak<Notify>>>,
}

impl Bells {
    /// A bit for one more channel.
    ///
    /// # Errors
    /// As [`Notify::new`], where [`RtError::OutOfNotifyBits`] means that all bits are used otherwise.
    pub fn next(&self) -> Result<Rc<Notify>, RtError> {
        self.next_from(Notify::new)
    }

    fn next_from(
        &self,
        make: impl FnOnce() -> Result<Notify, RtError>,
    ) -> Result<Rc<Notify>, RtError> {
        let mut given = self.given.borrow_mut();
        given.retain(|notify| notify.strong_count() > 0);
        match make() {
            Ok(notify) => {
                let notify = Rc::new(notify);
                given.push(Rc::downgrade(&notify));
                Ok(notify)
            }
            Err(RtError::OutOfNotifyBits) => {
                let least = given.iter().min_by_key(|notify| notify.strong_count());
                least
                    .and_then(Weak::upgrade)
                    .ok_or(RtError::OutOfNotifyBits)
            }
            Err(error) => Err(error),
        }
    }
}

fn release(bit: u8) {
    NOTIFY.with(|bits| {
        let mut bits = bits.borrow_mut();
        bits.used &= !(1 << bit);
        bits.arrived &= !(1 << bit);
        if let Some(wakers) = bits.wakers.get_mut(usize::from(bit)) {
            wakers.clear();
        }
    });
}

impl Drop for Notify {
    fn drop(&mut self) {
        release(self.bit);
    }
}

impl Bits {
    fn wakers_of(&mut self, bit: u8) -> &mut Vec<Waker> {
        let at = usize::from(bit);
        if at >= self.wakers.len() {
            self.wakers.resize_with(at + 1, Vec::new);
        }
        &mut self.wakers[at]
    }

    /// Takes what the kernel has set. Every channel whose bit it was is looked at after this, which
    /// is what the barrier within is for; see `capelin_urpc::sleep`.
    fn collect(&mut self) {
        let new = capelin_urpc::take_rung(frame::word(offset::NOTIFIED));
        self.arrived |= new & self.used;
    }
}

/// Wakes whoever waits for a bit that has been set.
pub(crate) fn wake_waiters() {
    NOTIFY.with(|bits| {
        let mut bits = bits.borrow_mut();
        bits.collect();
        let mut arrived = bits.arrived;
        while arrived != 0 {
            let bit = arrived.trailing_zeros();
            arrived &= arrived - 1;
            if let Some(wakers) = bits.wakers.get_mut(bit as usize) {
                wakers.drain(..).for_each(Waker::wake);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slots;

    fn notify(bit: u8) -> Notify {
        NOTIFY.with(|bits| bits.borrow_mut().used |= 1 << bit);
        let cap = OwnedCap::adopt(slots::allocate().unwrap());
        Notify { bit, cap }
    }

    #[test]
    fn a_ring_before_the_wait_is_not_lost() {
        let (one, other) = (notify(3), notify(5));
        let mut context = Context::from_waker(Waker::noop());
        frame::write(offset::NOTIFIED, 1 << 3 | 1 << 9);
        assert!(other.poll_rung(&mut context).is_pending());
        assert!(one.poll_rung(&mut context).is_ready());
        assert!(one.poll_rung(&mut context).is_pending());
        // Bit 9 was nobody's.
        let nine = notify(9);
        assert!(nine.poll_rung(&mut context).is_pending());
    }

    /// A waker that counts.
    #[derive(Default)]
    struct Count(core::sync::atomic::AtomicU32);

    impl alloc::task::Wake for Count {
        fn wake(self: alloc::sync::Arc<Self>) {
            self.0.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ring_wakes_the_channels_of_its_bit_and_no_other() {
        use alloc::sync::Arc;
        use core::sync::atomic::Ordering;
        let bells = [notify(11), notify(12), notify(13)];
        // Two channels share bit 12.
        let counts: [Arc<Count>; 4] = Default::default();
        let wait = |bell: &Notify, count: &Arc<Count>| {
            let waker = Waker::from(Arc::clone(count));
            bell.poll_rung(&mut Context::from_waker(&waker))
        };
        for (bell, count) in [0, 1, 1, 2].into_iter().zip(&counts) {
            assert!(wait(&bells[bell], count).is_pending());
        }
        let woken =
            || -> [u32; 4] { core::array::from_fn(|n| counts[n].0.load(Ordering::Relaxed)) };
        wake_waiters();
        assert_eq!(woken(), [0; 4], "nothing was rung");
        frame::write(offset::NOTIFIED, 1 << 12);
        wake_waiters();
        assert_eq!(woken(), [0, 1, 1, 0]);
        wake_waiters();
        assert_eq!(woken(), [0, 1, 1, 0], "woken once a ring");
        // The first that asks takes it; the other has been woken, and waits for the next.
        assert!(wait(&bells[1], &counts[1]).is_ready());
        assert!(wait(&bells[1], &counts[2]).is_pending());
        // A bit that one finds on its own way wakes whoever waits for it.
        frame::write(offset::NOTIFIED, 1 << 12);
        assert!(wait(&bells[1], &counts[1]).is_ready());
        assert_eq!(woken(), [0, 1, 2, 0]);
    }

    #[test]
    fn channels_share_a_bit_only_when_none_is_left() {
        let bells = Bells::default();
        let made = |bit| bells.next_from(|| Ok(notify(bit))).unwrap();
        let none_left = || bells.next_from(|| Err(RtError::OutOfNotifyBits));
        assert!(none_left().is_err(), "there is none to share");
        let (one, two) = (made(20), made(21));
        assert_ne!(one.bit, two.bit);
        let shared = [none_left().unwrap(), none_left().unwrap()];
        let bits = shared.each_ref().map(|notify| notify.bit);
        assert!(bits.contains(&20) && bits.contains(&21), "evenly: {bits:?}");
        drop((one, shared));
        // Only 21 is still held.
        assert_eq!(none_left().unwrap().bit, 21);
    }
}
