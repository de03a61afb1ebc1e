//! The driver: serves [`Firmware`].
#![cfg_attr(target_os = "none", no_std, no_main)]
#![forbid(unsafe_code)]

extern crate alloc;

use alloc::rc::Rc;
use core::cell::RefCell;

use bcm2835_mbox::{
    mailbox::{Mailbox, MailboxError, REGISTER_BYTES},
    property::{BUFFER_BYTES, Buffer, Property, PropertyError, Tag},
};
use capelin_driver::{Mmio, Patient, StartError, dma, registers, serve};
use capelin_interfaces::{
    firmware::{Board, Clock, Firmware, FirmwareError, FirmwareServer, Temperature},
    service,
};
use capelin_rt::{
    Env, ExitCode, Listener, services,
    vspace::{SharedMapped, device_fence},
};

capelin_rt::main!(run);

/// Messages of all clients that may wait.
const RING: usize = 16;
/// Where the VideoCore sees the first GiB of memory, past its caches.
const BUS_MEMORY: u64 = 0xc000_0000;
/// Bytes of memory that it sees there.
const SEEN_BYTES: u64 = 1 << 30;

/// Memory for requests.
struct Memory {
    mapped: SharedMapped,
    bus_address: u32,
}

impl Memory {
    fn new(mapped: SharedMapped) -> Result<Self, StartError> {
        let end = mapped.physical().0 + mapped.bytes() as u64;
        let bus_address = u32::try_from(BUS_MEMORY + mapped.physical().0).ok();
        match bus_address {
            Some(bus_address) if end <= SEEN_BYTES && mapped.bytes() >= BUFFER_BYTES => Ok(Self {
                mapped,
                bus_address,
            }),
            _ => Err(StartError::NoMemory),
        }
    }
}

impl Buffer for Memory {
    fn bus_address(&self) -> u32 {
        self.bus_address
    }

    fn write(&mut self, words: &[u32]) -> bool {
        let mut bytes = [0; BUFFER_BYTES];
        let Some(part) = bytes.get_mut(..words.len() * 4) else {
            return false;
        };
        for (place, word) in part.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        let is_written = self.mapped.write(0, part);
        // Firmware is told by a write to the mailbox, which comes after.
        device_fence();
        is_written
    }

    fn read(&self, words: &mut [u32]) -> bool {
        // What firmware wrote before it answered, not what was there earlier.
        device_fence();
        let mut bytes = [0; BUFFER_BYTES];
        let Some(part) = bytes.get_mut(..words.len() * 4) else {
            return false;
        };
        let is_read = self.mapped.read(0, part);
        for (word, place) in words.iter_mut().zip(part.chunks_exact(4)) {
            *word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
        }
        is_read
    }
}

type Channel = Property<Mmio, Patient, Memory>;

/// Serves one client.
struct Session(Rc<RefCell<Channel>>);

fn to_wire(error: PropertyError) -> FirmwareError {
    match error {
        PropertyError::Mailbox(MailboxError::Silent) => FirmwareError::Silent,
        PropertyError::Mailbox(_) => FirmwareError::Mailbox,
        PropertyError::UnknownTag => FirmwareError::Unknown,
        _ => FirmwareError::BadAnswer,
    }
}

impl Session {
    fn get<const N: usize>(&self, tag: Tag) -> Result<[u32; N], FirmwareError> {
        self.0.borrow_mut().get(tag, &[]).map_err(to_wire)
    }

    fn get_of(&self, tag: Tag, subject: u32) -> Result<u32, FirmwareError> {
        self.0.borrow_mut().get_of(tag, subject).map_err(to_wire)
    }
}

impl Firmware for Session {
    async fn board(&self) -> Result<Board, FirmwareError> {
        let [revision] = self.get(Tag::BoardRevision)?;
        let [low, high] = self.get(Tag::BoardSerial)?;
        let [firmware] = self.get(Tag::FirmwareRevision)?;
        let [memory_base, memory_bytes] = self.get(Tag::ArmMemory)?;
        Ok(Board {
            revision,
            serial: u64::from(high) << 32 | u64::from(low),
            firmware,
            memory_base,
            memory_bytes,
        })
    }

    async fn temperature(&self) -> Result<Temperature, FirmwareError> {
        const CHIP: u32 = 0;
        Ok(Temperature {
            now_mc: self.get_of(Tag::Temperature, CHIP)?,
            limit_mc: self.get_of(Tag::MaxTemperature, CHIP)?,
        })
    }

    async fn clock_hz(&self, clock: Clock) -> Result<u32, FirmwareError> {
        self.get_of(Tag::ClockRate, clock.number())
    }
}

async fn run(env: Env) -> ExitCode {
    serve(&env, start(&env).await, |it| FirmwareServer(Session(it))).await
}

async fn start(env: &Env) -> Result<(Rc<RefCell<Channel>>, Listener), StartError> {
    let mailbox = Mailbox::new(registers(env, 0, REGISTER_BYTES)?, Patient);
    let property = Property::new(mailbox, Memory::new(dma(env)?)?);
    let listener = Listener::new(RING)?;
    services::register(service::FIRMWARE, &listener, 1).await?;
    Ok((Rc::new(RefCell::new(property)), listener))
}
