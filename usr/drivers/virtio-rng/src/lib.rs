//! The device of a virtio entropy source (Virtual I/O Device Specification 1.3, 5.4): one queue of buffers,
//! which the device fills with random bytes.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::{collections::VecDeque, vec, vec::Vec};

use capelin_rt::virtio::{Access, Queue};
use capelin_virtio::device;
use virtio_drivers::{Error, Hal, transport::Transport};

/// Buffers of the queue, of which one is in use.
const BUFFERS: usize = 2;
/// Bytes of one.
const BYTES: usize = 1024;
/// The queue (5.4.2).
const REQUESTS: u16 = 0;
/// Answers without a byte, one after the other, until the device is believed to be out of order.
const PATIENCE: u32 = 8;

/// An entropy source.
#[derive(Debug)]
pub struct Source<H: Hal, T: Transport> {
    // First, so that its end resets the device before the memory of its queue is free.
    transport: T,
    requests: Queue<H, BUFFERS>,
    /// Bytes that nobody has had.
    bytes: VecDeque<u8>,
    empty: u32,
}

impl<H: Hal, T: Transport> Source<H, T> {
    /// Takes over the device.
    ///
    /// # Errors
    /// As [`device::begin`], [`Queue::new`].
    pub fn take_over(mut transport: T) -> Result<Self, Error> {
        device::begin(&mut transport)?;
        let requests = Queue::new(&mut transport, REQUESTS)?;
        transport.finish_init();
        Ok(Self {
            transport,
            requests,
            bytes: VecDeque::new(),
            empty: 0,
        })
    }

    /// At most `limit` bytes that nobody has had; none, and the device is asked for some, when there are
    /// none.
    ///
    /// # Errors
    /// As [`Queue::lend`].
    pub fn take(&mut self, limit: usize) -> Result<Vec<u8>, Error> {
        if self.bytes.is_empty() && !self.is_asked() {
            let buffer = vec![0; BYTES];
            self.requests
                .lend(&mut self.transport, buffer, Access::Write)?;
        }
        let count = limit.min(self.bytes.len());
        Ok(self.bytes.drain(..count).collect())
    }

    /// Whether the device is to answer.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.requests.lent() > 0
    }

    /// Takes what the device has answered.
    ///
    /// # Errors
    /// As [`device::acknowledge`], [`Queue::take_back`], [`Queue::lend`]; [`Error::IoError`] if it gives nothing
    /// time and again.
    pub fn collect(&mut self) -> Result<(), Error> {
        device::acknowledge(&mut self.transport)?;
        let Some((buffer, written)) = self.requests.take_back()? else {
            return Ok(());
        };
        if written > 0 {
            self.empty = 0;
            self.bytes.extend(buffer.into_iter().take(written));
            return Ok(());
        }
        self.empty += 1;
        if self.empty > PATIENCE {
            return Err(Error::IoError);
        }
        // Whoever asked waits.
        self.requests
            .lend(&mut self.transport, buffer, Access::Write)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_rt::virtio::fake::{FakeDevice, HostMemory};
    use virtio_drivers::transport::DeviceType;

    type Fake = Source<HostMemory, FakeDevice>;

    fn source() -> (FakeDevice, Fake) {
        let device = FakeDevice::new(DeviceType::EntropySource, &[8]);
        let source = Fake::take_over(device.clone()).unwrap();
        (device, source)
    }

    #[test]
    fn bytes_are_given_once_and_in_order() {
        let (device, mut source) = source();
        assert!(!source.is_asked(), "nobody has asked");
        let mut given = Vec::new();
        for round in 0..20_u8 {
            assert_eq!(source.take(5), Ok(Vec::new()));
            // Asking again asks no second time.
            assert_eq!(source.take(5), Ok(Vec::new()));
            assert_eq!(device.notified(), [0]);
            assert!(device.answer(0, &[round; 7]));
            source.collect().unwrap();
            assert!(!source.is_asked());
            assert_eq!(source.take(5), Ok(vec![round; 5]));
            given.extend(source.take(5).unwrap());
        }
        let expected: Vec<u8> = (0..20).flat_map(|round| [round; 2]).collect();
        assert_eq!(given, expected);
        assert!(device.next(0).is_none());
    }

    #[test]
    fn what_the_device_did_not_write_is_not_given() {
        let (device, mut source) = source();
        source.take(1).unwrap();
        let buffer = device.next(0).unwrap();
        assert_eq!((buffer.bytes, buffer.is_writable), (1024, true));
        device.write(&buffer, &[1, 2, 3, 4]);
        device.used(0, buffer.id.into(), 2);
        source.collect().unwrap();
        assert_eq!(source.take(1000), Ok(vec![1, 2]));
    }

    #[test]
    fn a_device_that_gives_nothing_is_asked_again_a_few_times() {
        let (device, mut source) = source();
        source.take(1).unwrap();
        for _ in 0..PATIENCE {
            assert!(device.answer(0, b""));
            assert_eq!(source.collect(), Ok(()));
        }
        assert!(device.answer(0, b""));
        assert_eq!(source.collect(), Err(Error::IoError));
    }

    #[test]
    fn a_device_that_lies_is_out_of_order() {
        for (id, bytes, error) in [
            (0, 1025, Error::IoError),
            (0, u32::MAX, Error::IoError),
            (1, 1, Error::WrongToken),
            (2, 1, Error::WrongToken),
            (0x1_0001, 1, Error::WrongToken),
        ] {
            let (device, mut source) = source();
            source.take(1).unwrap();
            assert_eq!(device.next(0).unwrap().id, 0);
            device.used(0, id, bytes);
            assert_eq!(source.collect(), Err(error), "{id} {bytes}");
        }
        let none = FakeDevice::new(DeviceType::EntropySource, &[0]);
        assert!(matches!(Fake::take_over(none), Err(Error::InvalidParam)));
    }
}
