//! A queue that owns the buffers which its device has.
//!
//! The crate's queue wants a promise of whoever gives it a buffer: that nobody uses it until it is
//! taken back (`unsafe`). Here a buffer is moved in, and comes out again once the device is done with it,
//! so that the promise holds by ownership. Nothing that a device writes is believed: an answer for a
//! buffer that it doesn't have, or about more bytes than there are, is an error.

use alloc::vec::Vec;

use virtio_drivers::{Error, Hal, queue::VirtQueue, transport::Transport};

/// What a device may do with a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read it.
    Read,
    /// Write it.
    Write,
}

/// A buffer that the device has.
#[derive(Debug)]
struct Lent {
    buffer: Vec<u8>,
    access: Access,
}

/// A queue of `SIZE` buffers, a power of two.
#[derive(Debug)]
pub struct Queue<H: Hal, const SIZE: usize> {
    queue: VirtQueue<H, SIZE>,
    number: u16,
    /// By token, which is below `SIZE`.
    lent: [Option<Lent>; SIZE],
}

impl<H: Hal, const SIZE: usize> Queue<H, SIZE> {
    /// Sets up queue `number` of the device.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] if the device has no such queue, or a smaller one; [`Error::IoError`] if it
    /// doesn't take it; as [`VirtQueue::new`].
    pub fn new(transport: &mut impl Transport, number: u16) -> Result<Self, Error> {
        let queue = VirtQueue::new(transport, number, false, false)?;
        if !transport.queue_used(number) {
            return Err(Error::IoError);
        }
        Ok(Self {
            queue,
            number,
            lent: [const { None }; SIZE],
        })
    }

    /// Gives the device `buffer`, and tells it.
    ///
    /// # Errors
    /// [`Error::InvalidParam`] for one without bytes; [`Error::QueueFull`].
    pub fn lend(
        &mut self,
        transport: &mut impl Transport,
        mut buffer: Vec<u8>,
        access: Access,
    ) -> Result<(), Error> {
        if buffer.is_empty() {
            return Err(Error::InvalidParam);
        }
        let token = match access {
            // SAFETY: `buffer`'s memory stays where it is, and nobody reaches it, until `take_back` has
            // popped it: it is moved into `lent`, from which nothing else takes it.
            Access::Read => unsafe { self.queue.add(&[buffer.as_slice()], &mut []) },
            // SAFETY: the same.
            Access::Write => unsafe { self.queue.add(&[], &mut [buffer.as_mut_slice()]) },
        }?;
        let place = self.lent.get_mut(usize::from(token));
        // Tokens are numbers of descriptors.
        *place.ok_or(Error::WrongToken)? = Some(Lent { buffer, access });
        if self.queue.should_notify() {
            transport.notify(self.number);
        }
        Ok(())
    }

    /// A buffer that the device is done with, and how many bytes it wrote to it.
    ///
    /// # Errors
    /// [`Error::WrongToken`] if the device tells of a buffer that it doesn't have; [`Error::IoError`] if it
    /// says that it wrote more bytes than there are.
    pub fn take_back(&mut self) -> Result<Option<(Vec<u8>, usize)>, Error> {
        let Some(token) = self.queue.peek_used() else {
            return Ok(None);
        };
        let place = self.lent.get_mut(usize::from(token));
        let place = place.ok_or(Error::WrongToken)?;
        let Lent { buffer, access } = place.as_mut().ok_or(Error::WrongToken)?;
        let written = match access {
            // SAFETY: this buffer was added with this token, in this direction.
            Access::Read => unsafe { self.queue.pop_used(token, &[buffer.as_slice()], &mut []) },
            // SAFETY: the same.
            Access::Write => unsafe {
                self.queue
                    .pop_used(token, &[], &mut [buffer.as_mut_slice()])
            },
        }?;
        let written = match access {
            Access::Read => 0,
            Access::Write => usize::try_from(written).unwrap_or(usize::MAX),
        };
        let buffer = place.take().map(|lent| lent.buffer).unwrap_or_default();
        if written > buffer.len() {
            return Err(Error::IoError);
        }
        Ok(Some((buffer, written)))
    }

    /// How many buffers the device has.
    #[must_use]
    pub fn lent(&self) -> usize {
        self.lent.iter().flatten().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::fake::{FakeDevice, HostMemory};
    use alloc::vec;
    use virtio_drivers::transport::DeviceType;

    type Small = Queue<HostMemory, 4>;

    fn device(sizes: &[u32]) -> FakeDevice {
        FakeDevice::new(DeviceType::EntropySource, sizes)
    }

    #[test]
    fn buffers_go_to_the_device_and_come_back() {
        for is_legacy in [false, true] {
            let mut device = device(&[0, 8]);
            device.set_legacy(is_legacy);
            let mut queue = Small::new(&mut device, 1).unwrap();
            // More than once round the ring.
            for round in 0..10_u8 {
                queue
                    .lend(&mut device, vec![round; 3], Access::Read)
                    .unwrap();
                queue.lend(&mut device, vec![0; 5], Access::Write).unwrap();
                assert_eq!(device.notified(), [1, 1]);
                assert_eq!(queue.lent(), 2);
                let (first, second) = (device.next(1).unwrap(), device.next(1).unwrap());
                assert!(device.next(1).is_none());
                assert_eq!((first.is_writable, second.is_writable), (false, true));
                assert_eq!(device.read(&first), [round; 3]);
                device.write(&second, &[9, round]);
                assert_eq!(queue.take_back(), Ok(None));
                // In another order than they came.
                device.used(1, second.id.into(), 2);
                device.used(1, first.id.into(), 0);
                let (buffer, written) = queue.take_back().unwrap().unwrap();
                assert_eq!((&buffer[..], written), (&[9, round, 0, 0, 0][..], 2));
                let (buffer, written) = queue.take_back().unwrap().unwrap();
                assert_eq!((&buffer[..], written), (&[round; 3][..], 0));
                assert_eq!(queue.take_back(), Ok(None));
                assert_eq!(queue.lent(), 0);
            }
        }
    }

    #[test]
    fn a_queue_that_is_missing_or_too_small_is_refused() {
        for size in [0, 3] {
            let mut device = device(&[size]);
            let refused = Small::new(&mut device, 0).map(drop);
            assert_eq!(refused, Err(Error::InvalidParam), "{size}");
        }
        let mut device = device(&[4]);
        device.ignore_queues();
        assert_eq!(Small::new(&mut device, 0).map(drop), Err(Error::IoError));
    }

    #[test]
    fn no_more_than_there_is_room_for() {
        let mut device = device(&[4]);
        let mut queue = Small::new(&mut device, 0).unwrap();
        let mut lend = |bytes: usize| queue.lend(&mut device, vec![0; bytes], Access::Write);
        assert_eq!(lend(0), Err(Error::InvalidParam));
        assert!((0..4).all(|_| lend(1).is_ok()));
        assert_eq!(lend(1), Err(Error::QueueFull));
    }

    /// A queue whose device has two buffers, and the number of one of them.
    fn lent() -> (FakeDevice, Small, u32) {
        let mut device = device(&[4]);
        let mut queue = Small::new(&mut device, 0).unwrap();
        queue.lend(&mut device, vec![0; 8], Access::Write).unwrap();
        queue.lend(&mut device, vec![0; 8], Access::Read).unwrap();
        let id = device.next(0).unwrap().id.into();
        (device, queue, id)
    }

    #[test]
    fn answers_about_other_buffers_are_refused() {
        // One that it doesn't have, those that there can't be, and one that is another modulo 2^16.
        for wrong in [2, 3, 4, 0xffff, 0x1_0004, u32::MAX] {
            let (device, mut queue, _) = lent();
            device.used(0, wrong, 1);
            assert_eq!(queue.take_back(), Err(Error::WrongToken), "{wrong:#x}");
            assert_eq!(queue.lent(), 2);
        }
        // Twice the same.
        let (device, mut queue, id) = lent();
        device.used(0, id, 1);
        device.used(0, id, 1);
        assert!(queue.take_back().is_ok_and(|it| it.is_some()));
        assert_eq!(queue.take_back(), Err(Error::WrongToken));
    }

    #[test]
    fn answers_about_more_bytes_than_there_are_are_refused() {
        for bytes in [9, u32::MAX] {
            let (device, mut queue, id) = lent();
            device.used(0, id, bytes);
            assert_eq!(queue.take_back(), Err(Error::IoError), "{bytes}");
        }
        let (device, mut queue, id) = lent();
        device.used(0, id, 8);
        let (buffer, written) = queue.take_back().unwrap().unwrap();
        assert_eq!((buffer.len(), written), (8, 8));
    }

    #[test]
    fn more_answers_than_buffers_are_refused() {
        let (device, mut queue, id) = lent();
        device.used(0, id, 1);
        device.claim_used(0, 100);
        assert!(queue.take_back().is_ok_and(|it| it.is_some()));
        // What lies in the ring from before, or was never written.
        let mut answers = 0..100;
        assert!(answers.any(|_| queue.take_back().is_err()));
    }
}
