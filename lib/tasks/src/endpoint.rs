//! LMP endpoints: where local messages and kernel events arrive.
//!
//! Each endpoint has a ring in the dispatcher frame (`capelin_abi::lmp`). A message that comes in
//! registers instead (from [`sys::wait`]) is kept here until it is received; the runtime
//! asks for those only while every ring is empty, so the order stays.
//!
//! A capability goes into the slot that the ring names. [`Endpoint::receive`] posts the next slot
//! at once when one has been used.

use alloc::{collections::VecDeque, vec::Vec};
use core::{
    future::{Future, poll_fn},
    sync::atomic::Ordering,
    task::{Context, Poll, Waker},
};

use capelin_abi::{
    CapAddress, CapRef, Rights,
    dispatcher::{FRAME_BYTES, offset},
    lmp::{
        self, COUNTED_BADGE, ENDPOINTS_PER_DISPATCHER, MAX_CAPACITY, MESSAGE_BYTES, MESSAGE_WORDS,
        MessageHeader, RING_HEADER_BYTES,
    },
};

use crate::{
    OwnedCap, RtError, frame,
    ranges::Ranges,
    slots,
    sys::{self, DirectMessage},
};

/// A message as it arrived.
#[derive(PartialEq, Eq, Debug)]
pub struct Received {
    /// The badge of the capability that it was sent through.
    pub badge: u64,
    /// The payload; only the first `length` words count, or all for an event.
    pub words: [u64; MESSAGE_WORDS],
    /// Words of payload, 0–8.
    pub length: usize,
    /// The capability that came along.
    pub cap: Option<OwnedCap>,
    /// Whether the kernel sent it: an interrupt, the end of a dispatcher (words: its
    /// [`capelin_abi::syscall::DispatcherState`] and its exit code), or of a badge's senders
    /// ([`Received::news`]).
    pub is_event: bool,
}

/// What the kernel says of those who send to an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// Nobody holds a capability with this counted badge any more: nothing more will come through
    /// it ([`capelin_abi::lmp::COUNTED_BADGE`]).
    NoSenders(u64),
    /// Such news found no room in the ring: look after all of them.
    Missed,
}

impl Received {
    /// The words that count.
    #[must_use]
    pub fn payload(&self) -> &[u64] {
        &self.words[..self.length.min(MESSAGE_WORDS)]
    }

    /// What it says of those who send here; `None` for messages, and for other events.
    #[must_use]
    pub const fn news(&self) -> Option<News> {
        match (self.is_event, self.badge) {
            (false, _) => None,
            (true, 0) => Some(News::Missed),
            (true, badge) if badge & COUNTED_BADGE != 0 => Some(News::NoSenders(badge)),
            (true, _) => None,
        }
    }

    /// [`News::Missed`] as it is received, after all that lay in the ring.
    const MISSED: Self = Self {
        badge: 0,
        words: [0; MESSAGE_WORDS],
        length: 0,
        cap: None,
        is_event: true,
    };
}

#[derive(Default)]
struct State {
    ring: usize,
    capacity: u32,
    tail: u32,
    /// Of the kernel's count of missed news, how many we know.
    missed: u32,
    posted: Option<CapAddress>,
    direct: VecDeque<Received>,
    waker: Option<Waker>,
}

struct Endpoints {
    /// By index, up to the highest that was ever in use.
    table: Vec<Option<State>>,
    room: Option<Ranges>,
}

local! {
    /// The endpoints of this dispatcher by index, and the free part of its frame.
    static ENDPOINTS: Endpoints = Endpoints {
        table: Vec::new(),
        room: None,
    };
}

impl Endpoints {
    fn in_use(&self) -> impl Iterator<Item = &State> {
        self.table.iter().flatten()
    }

    fn room(&mut self) -> &mut Ranges {
        self.room.get_or_insert_with(|| {
            let start = offset::ENDPOINTS as u64;
            Ranges::with(start, FRAME_BYTES - start)
        })
    }
}

impl State {
    fn head(&self) -> u32 {
        // Acquire: the message was written before the head that covers it.
        frame::half(self.ring + lmp::HEAD).load(Ordering::Acquire)
    }

    fn is_empty(&self) -> bool {
        self.direct.is_empty() && self.head() == self.tail && self.missed() == self.missed
    }

    fn missed(&self) -> u32 {
        // Relaxed: it says nothing of other memory.
        frame::half(self.ring + lmp::MISSED).load(Ordering::Relaxed)
    }

    /// Takes the capability that a message brought, and posts the next slot.
    fn take_cap(&mut self) -> Option<OwnedCap> {
        let cap = self.posted.take().map(OwnedCap::adopt);
        if cap.is_some() {
            self.post();
        }
        cap
    }

    fn post(&mut self) {
        if self.posted.is_none()
            && let Ok(slot) = slots::allocate()
        {
            self.posted = Some(slot);
            frame::write(self.ring + lmp::RECEIVE_SLOT, CapRef::l2(slot).to_word());
        }
    }

    fn take(&mut self) -> Option<Received> {
        if let Some(message) = self.direct.pop_front() {
            return Some(message);
        }
        if self.head() == self.tail {
            let missed = self.missed();
            let is_news = missed != self.missed;
            self.missed = missed;
            return is_news.then_some(Received::MISSED);
        }
        let index = (self.tail % self.capacity.max(1)) as usize;
        let at = self.ring + RING_HEADER_BYTES + index * MESSAGE_BYTES;
        let header = MessageHeader(frame::read(at));
        let badge = frame::read(at + 8);
        let mut words = [0; MESSAGE_WORDS];
        for (n, word) in words.iter_mut().enumerate() {
            *word = frame::read(at + 16 + n * 8);
        }
        self.tail = self.tail.wrapping_add(1);
        // Release: the message has been copied out before the kernel may overwrite it.
        frame::half(self.ring + lmp::TAIL).store(self.tail, Ordering::Release);
        Some(self.received(header, badge, words))
    }

    fn received(
        &mut self,
        header: MessageHeader,
        badge: u64,
        words: [u64; MESSAGE_WORDS],
    ) -> Received {
        let cap = if header.has_capability() {
            self.take_cap()
        } else {
            None
        };
        Received {
            badge,
            words,
            length: header.length(),
            cap,
            is_event: header.is_event(),
        }
    }
}

/// An endpoint of this dispatcher. Dropping it revokes all capabilities to it.
#[derive(Debug)]
pub struct Endpoint {
    index: usize,
    cap: OwnedCap,
}

impl Endpoint {
    /// An endpoint whose ring holds `capacity` messages (1–128), or as many more as make it a
    /// power of two. All rings of a program share
    /// 14 KiB; one takes 64 + 80 × `capacity` bytes.
    ///
    /// # Errors
    /// [`RtError::OutOfEndpoints`] when the frame has no room for the ring,
    /// [`RtError::OutOfSlots`], [`RtError::OutOfHomeMemory`]; as
    /// [`sys::dispatcher::make_endpoint`].
    pub fn new(capacity: usize) -> Result<Self, RtError> {
        let capacity = capacity.clamp(1, MAX_CAPACITY).next_power_of_two();
        let bytes = lmp::ring_bytes(capacity) as u64;
        let ring = ENDPOINTS
            .with(|endpoints| endpoints.borrow_mut().room().allocate(bytes, 64, 0))
            .ok_or(RtError::OutOfEndpoints)?;
        let made = usize::try_from(ring)
            .map_err(|_| RtError::OutOfEndpoints)
            .and_then(|ring| Self::make(ring, capacity));
        if made.is_err() {
            ENDPOINTS.with(|endpoints| endpoints.borrow_mut().room().free(ring, bytes));
        }
        made
    }

    fn make(ring: usize, capacity: usize) -> Result<Self, RtError> {
        frame::half(ring + lmp::HEAD).store(0, Ordering::Relaxed);
        frame::half(ring + lmp::TAIL).store(0, Ordering::Relaxed);
        frame::half(ring + lmp::MISSED).store(0, Ordering::Relaxed);
        frame::write(ring + lmp::RECEIVE_SLOT, 0);
        let mut index = usize::MAX;
        let cap = OwnedCap::make(|slot| {
            index = usize::from(sys::dispatcher::make_endpoint(ring, capacity, slot)?);
            Ok::<_, RtError>(())
        })?;
        Self::register(index, ring, capacity)?;
        Ok(Self { index, cap })
    }

    fn register(index: usize, ring: usize, capacity: usize) -> Result<(), RtError> {
        ENDPOINTS.with(|endpoints| {
            let table = &mut endpoints.borrow_mut().table;
            if index >= ENDPOINTS_PER_DISPATCHER {
                return Err(RtError::OutOfEndpoints);
            }
            if index >= table.len() {
                table.resize_with(index + 1, || None);
            }
            table[index] = Some(State {
                ring,
                capacity: u32::try_from(capacity).unwrap_or(1),
                ..State::default()
            });
            Ok(())
        })
    }

    /// The capability to send to it, with all rights and without a badge. It can be badged anew by
    /// whoever gets a copy: give others [`Endpoint::badged`] ones.
    #[must_use]
    pub const fn cap(&self) -> CapAddress {
        self.cap.address()
    }

    /// A capability to send to it, with `badge`, which isn't 0.
    ///
    /// # Errors
    /// As [`OwnedCap::badged`].
    pub fn badged(&self, badge: u64) -> Result<OwnedCap, RtError> {
        OwnedCap::badged(self.cap(), badge)
    }

    /// As [`Endpoint::badged`], to have the kernel tell by `badge` how a dispatcher ends: it
    /// keeps room in the ring for that, which senders don't get any more. Not for whoever may
    /// only send.
    ///
    /// # Errors
    /// As [`OwnedCap::badged`].
    pub fn for_events(&self, badge: u64) -> Result<OwnedCap, RtError> {
        let rights = Rights::WRITE | Rights::GRANT | Rights::RETYPE;
        OwnedCap::badged_with(self.cap(), badge, rights)
    }

    /// Lets one capability come; further ones can then always come, one with each message.
    pub fn accept_caps(&self) {
        self.with(State::post);
    }

    /// The next message, if there is one.
    #[must_use]
    pub fn try_receive(&self) -> Option<Received> {
        self.with(State::take).flatten()
    }

    /// The next message, or keeps the waker for when there is one.
    pub fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Received> {
        self.with(|state| match state.take() {
            Some(message) => Poll::Ready(message),
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .unwrap_or(Poll::Pending)
    }

    /// Waits for the next message.
    pub fn receive(&self) -> impl Future<Output = Received> + '_ {
        poll_fn(|context| self.poll_receive(context))
    }

    fn with<R>(&self, body: impl FnOnce(&mut State) -> R) -> Option<R> {
        ENDPOINTS.with(|endpoints| {
            let mut endpoints = endpoints.borrow_mut();
            endpoints.table.get_mut(self.index)?.as_mut().map(body)
        })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // Whoever still holds a capability to it loses that. With the last one, the kernel forgets
        // the endpoint, and its ring can be used again.
        let own = sys::cspace::OWN;
        let is_forgotten = sys::cspace::revoke(own, self.cap.reference())
            .and_then(|()| sys::cspace::delete(own, self.cap.reference()))
            .is_ok();
        // What still lies in the ring would hold on to capabilities.
        while self.try_receive().is_some() {}
        let state = ENDPOINTS.with(|endpoints| {
            let mut endpoints = endpoints.borrow_mut();
            endpoints.table.get_mut(self.index)?.take()
        });
        let Some(state) = state else { return };
        frame::write(state.ring + lmp::RECEIVE_SLOT, 0);
        if let Some(slot) = state.posted {
            slots::free(slot);
        }
        if is_forgotten {
            let bytes = lmp::ring_bytes(state.capacity as usize) as u64;
            ENDPOINTS.with(|endpoints| {
                let mut endpoints = endpoints.borrow_mut();
                endpoints.room().free(state.ring as u64, bytes);
            });
        }
    }
}

/// Whether no message waits anywhere, so that the next may come in registers.
pub(crate) fn all_empty() -> bool {
    ENDPOINTS.with(|endpoints| {
        let endpoints = endpoints.borrow();
        endpoints.in_use().all(State::is_empty)
    })
}

/// Wakes whoever waits at an endpoint that has a message.
pub(crate) fn wake_receivers() {
    ENDPOINTS.with(|endpoints| {
        let mut endpoints = endpoints.borrow_mut();
        for state in endpoints.table.iter_mut().flatten() {
            if !state.is_empty()
                && let Some(waker) = state.waker.take()
            {
                waker.wake();
            }
        }
    });
}

/// Takes in a message that came in registers.
pub(crate) fn deliver(message: &DirectMessage) {
    ENDPOINTS.with(|endpoints| {
        let mut endpoints = endpoints.borrow_mut();
        let index = usize::from(message.header.endpoint());
        if let Some(state) = endpoints.table.get_mut(index).and_then(Option::as_mut) {
            let received = state.received(message.header, message.badge, message.words);
            state.direct.push_back(received);
            if let Some(waker) = state.waker.take() {
                waker.wake();
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a message into a ring as the kernel does.
    fn put(ring: usize, capacity: usize, header: MessageHeader, badge: u64, first: u64) {
        let head = frame::half(ring + lmp::HEAD).load(Ordering::Relaxed);
        let at = ring + RING_HEADER_BYTES + head as usize % capacity * MESSAGE_BYTES;
        frame::write(at, header.0);
        frame::write(at + 8, badge);
        for n in 0..MESSAGE_WORDS {
            frame::write(at + 16 + n * 8, first + n as u64);
        }
        frame::half(ring + lmp::HEAD).store(head.wrapping_add(1), Ordering::Relaxed);
    }

    fn endpoint(index: usize, capacity: usize) -> (Endpoint, usize) {
        let ring = offset::ENDPOINTS + index * 2048;
        Endpoint::register(index, ring, capacity).unwrap();
        let cap = OwnedCap::adopt(slots::allocate().unwrap());
        (Endpoint { index, cap }, ring)
    }

    #[test]
    fn messages_come_in_order_round_the_ring() {
        let (endpoint, ring) = endpoint(1, 3);
        for n in 0..10 {
            put(ring, 3, MessageHeader::new(2, false, 1), n, 100 * n);
            put(ring, 3, MessageHeader::new(8, false, 1), n, 100 * n + 1);
            let first = endpoint.try_receive().unwrap();
            assert_eq!(
                (first.badge, first.payload()),
                (n, &[100 * n, 100 * n + 1][..])
            );
            assert_eq!(endpoint.try_receive().unwrap().words[0], 100 * n + 1);
            assert_eq!(endpoint.try_receive(), None);
            let tail = frame::half(ring + lmp::TAIL).load(Ordering::Relaxed);
            assert_eq!(u64::from(tail), 2 * (n + 1));
        }
    }

    #[test]
    fn a_capability_uses_the_posted_slot_and_another_is_posted() {
        let (endpoint, ring) = endpoint(2, 4);
        endpoint.accept_caps();
        let posted = frame::read(ring + lmp::RECEIVE_SLOT);
        let slot = CapRef::from_word(posted).unwrap().address;
        frame::write(ring + lmp::RECEIVE_SLOT, 0);
        put(ring, 4, MessageHeader::new(1, true, 2), 7, 0);
        let message = endpoint.try_receive().unwrap();
        assert_eq!(message.cap.as_ref().map(OwnedCap::address), Some(slot));
        let next = frame::read(ring + lmp::RECEIVE_SLOT);
        assert!(next != 0 && next != posted);
    }

    #[test]
    fn news_of_senders_comes_after_their_messages_and_isnt_lost() {
        let (endpoint, ring) = endpoint(4, 2);
        let gone = COUNTED_BADGE | 3;
        put(ring, 2, MessageHeader::new(1, false, 4), gone, 0);
        put(ring, 2, MessageHeader::event(4), gone, 0);
        frame::half(ring + lmp::MISSED).store(2, Ordering::Relaxed);
        assert_eq!(endpoint.try_receive().unwrap().news(), None);
        let told = endpoint.try_receive().unwrap();
        assert_eq!(told.news(), Some(News::NoSenders(gone)));
        // Both that were missed are told of once.
        assert!(!all_empty());
        let told = endpoint.try_receive().unwrap();
        assert_eq!((told.news(), told.cap), (Some(News::Missed), None));
        assert_eq!(endpoint.try_receive(), None);
        assert!(all_empty());
        // An interrupt's or a death's event is none of that.
        put(ring, 2, MessageHeader::event(4), 6, 0);
        assert_eq!(endpoint.try_receive().unwrap().news(), None);
    }

    #[test]
    fn direct_messages_and_events_are_received_like_others() {
        let (endpoint, ring) = endpoint(3, 4);
        assert!(all_empty());
        deliver(&DirectMessage {
            header: MessageHeader::new(1, false, 3),
            badge: 5,
            words: [9; 8],
        });
        assert!(!all_empty());
        put(ring, 4, MessageHeader::event(3), 6, 0);
        let direct = endpoint.try_receive().unwrap();
        assert_eq!((direct.badge, direct.payload()), (5, &[9][..]));
        let event = endpoint.try_receive().unwrap();
        assert!(event.is_event && event.words[1] == 1);
        assert!(all_empty());
        // For an endpoint that isn't there: dropped.
        deliver(&DirectMessage {
            header: MessageHeader::new(1, false, 40),
            badge: 5,
            words: [9; 8],
        });
        assert!(all_empty());
    }
}
