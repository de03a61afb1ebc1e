//! A transport inside one program, for tests on the host.
//!
//! Both directions hold a few fragments only, as the real ones do.

use alloc::{collections::VecDeque, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    task::{Context, Poll, Waker},
};

use crate::{
    Arrival, Cap, Fragment, RemoteError, Transport, TransportError, WireHeader, shares::Share,
};

#[derive(Debug, Default)]
struct Direction {
    queue: VecDeque<([u64; 8], usize, Option<Cap>)>,
    reader: Option<Waker>,
    writer: Option<Waker>,
    closed: bool,
}

/// One side of a loopback.
#[derive(Debug)]
pub struct Loopback {
    outward: Rc<RefCell<Direction>>,
    inward: Rc<RefCell<Direction>>,
    capacity: usize,
    fragment_bytes: usize,
    refuses_capabilities: Cell<bool>,
    has_room: Cell<bool>,
    share: RefCell<Option<Share>>,
}

/// Two sides whose directions each hold `capacity` fragments of up to
/// `fragment_bytes` bytes.
#[must_use]
pub fn pair(capacity: usize, fragment_bytes: usize) -> (Loopback, Loopback) {
    let one = Rc::<RefCell<Direction>>::default();
    let other = Rc::<RefCell<Direction>>::default();
    let side = |outward: &Rc<_>, inward: &Rc<_>| Loopback {
        outward: Rc::clone(outward),
        inward: Rc::clone(inward),
        capacity,
        fragment_bytes,
        refuses_capabilities: Cell::new(false),
        has_room: Cell::new(true),
        share: RefCell::new(None),
    };
    (side(&one, &other), side(&other, &one))
}

impl Loopback {
    /// Makes this side carry no capabilities, or carry them again.
    pub fn refuse_capabilities(&self, refuse: bool) {
        self.refuses_capabilities.set(refuse);
    }

    /// From now on, this side says whether it has memory for more requests.
    pub fn set_room(&self, has_room: bool) {
        self.has_room.set(has_room);
    }

    /// From now on, what this side keeps for the other counts as part of `share`.
    pub fn set_share(&self, share: Share) {
        *self.share.borrow_mut() = Some(share);
    }

    /// Puts any words into the other side's queue, whatever its capacity.
    pub fn inject(&self, words: [u64; 8], count: usize, cap: Option<Cap>) {
        let mut outward = self.outward.borrow_mut();
        outward.queue.push_back((words, count.min(8), cap));
        if let Some(waker) = outward.reader.take() {
            waker.wake();
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        for direction in [&self.outward, &self.inward] {
            let mut direction = direction.borrow_mut();
            direction.closed = true;
            for waker in [direction.reader.take(), direction.writer.take()] {
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }
}

impl Transport for Loopback {
    fn fragment_bytes(&self) -> usize {
        self.fragment_bytes
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        fragment: &Fragment,
        cap: Option<&Cap>,
    ) -> Poll<Result<(), TransportError>> {
        let mut outward = self.outward.borrow_mut();
        if outward.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        if cap.is_some() && self.refuses_capabilities.get() {
            return Poll::Ready(Err(TransportError::NoCapabilities));
        }
        if outward.queue.len() >= self.capacity {
            outward.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let (payload, count) = fragment.payload_words();
        let mut words = [0; 8];
        words[0] = fragment.header().to_word();
        words[1..].copy_from_slice(payload);
        // One that is lent stays so: nothing is copied here.
        let sent = (words, count + 1, cap.map(Cap::twin));
        outward.queue.push_back(sent);
        if let Some(waker) = outward.reader.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<Result<Arrival, TransportError>> {
        let mut inward = self.inward.borrow_mut();
        while let Some((words, count, cap)) = inward.queue.pop_front() {
            if let Some(waker) = inward.writer.take() {
                waker.wake();
            }
            if count == 0 {
                continue;
            }
            if let Some(header) = WireHeader::from_word(words[0]) {
                let fragment = Fragment::from_words(header, &words[1..count]);
                return Poll::Ready(Ok(Arrival { fragment, cap }));
            }
        }
        if inward.closed {
            return Poll::Ready(Err(TransportError::Closed));
        }
        inward.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn admit(&self, bytes: usize) -> Result<(), RemoteError> {
        if !self.has_room.get() {
            return Err(RemoteError::Busy);
        }
        let share = self.share.borrow();
        share.as_ref().map_or(Ok(()), |share| share.admit(bytes))
    }

    fn hold(&self, bytes: usize) {
        if let Some(share) = &*self.share.borrow() {
            share.hold(bytes);
        }
    }
}
