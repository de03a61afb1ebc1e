//! A controller with a card in it, or without (SD Host Controller Simplified Specification 3.00, as
//! far as the driver uses it), for the tests.

use std::cell::RefCell;
use std::rc::Rc;

use capelin_driver::Registers32;
use embedded_hal::delay::DelayNs;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Data of this block is damaged on the line.
    Damaged(u32),
    /// No data of this block comes.
    Late(u32),
    /// The card reports an error for this block (ECC failed).
    Refused(u32),
}

/// How a card differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Version 2, addressed by blocks.
    HighCapacity,
    /// Version 2, addressed by bytes.
    Standard,
    /// Version 1: knows no CMD8.
    Old,
}

pub(crate) struct Card {
    pub(crate) kind: Kind,
    pub(crate) data: Vec<u8>,
    /// Polls until it is powered up.
    pub(crate) power_up: u32,
    state: CardState,
    is_application: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum CardState {
    Idle,
    Ready,
    Identified,
    Standby,
    Transfer,
}

const ADDRESS: u32 = 0x4567_0000;

impl Card {
    pub(crate) fn new(kind: Kind, blocks: usize) -> Self {
        let data = (0..blocks * 512).map(|at| (at / 512 + at).to_le_bytes()[0]);
        Self {
            kind,
            data: data.collect(),
            power_up: 3,
            state: CardState::Idle,
            is_application: false,
        }
    }

    /// CSD as the controller shows it: without the lowest byte.
    fn csd(&self) -> [u32; 4] {
        let blocks = u128::try_from(self.data.len() / 512).unwrap();
        let csd: u128 = match self.kind {
            // Blocks of 512 KiB less one, in bits 48 to 69.
            Kind::HighCapacity => 1 << 126 | (blocks / 1024 - 1) << 48,
            // READ_BL_LEN 9, C_SIZE_MULT 0: units of 4 blocks.
            _ => 9 << 80 | (blocks / 4 - 1) << 62,
        };
        let shown = csd >> 8;
        [0, 32, 64, 96].map(|at| u32::try_from(shown >> at & 0xffff_ffff).unwrap())
    }

    /// What it answers, and whether it has data; `None` if it doesn't.
    fn command(&mut self, index: u32, argument: u32) -> Option<[u32; 4]> {
        let is_application = std::mem::take(&mut self.is_application);
        let short = |word| Some([word, 0, 0, 0]);
        // "Ready for data" and no error.
        let fine = short(0x900);
        match (index, is_application, self.state) {
            (0, ..) => {
                self.state = CardState::Idle;
                fine
            }
            (8, false, CardState::Idle) if self.kind != Kind::Old => short(argument & 0xfff),
            (55, ..) => {
                let is_mine = self.state == CardState::Idle || argument == ADDRESS;
                self.is_application = is_mine;
                is_mine.then_some([0x920, 0, 0, 0])
            }
            (41, true, CardState::Idle) => {
                if self.power_up > 0 {
                    self.power_up -= 1;
                    return short(0x00ff_8000);
                }
                self.state = CardState::Ready;
                let high = u32::from(self.kind == Kind::HighCapacity && argument >> 30 & 1 == 1);
                short(1 << 31 | high << 30 | 0x00ff_8000)
            }
            (2, false, CardState::Ready) => {
                self.state = CardState::Identified;
                Some([1, 2, 3, 4])
            }
            (3, false, CardState::Identified) => {
                self.state = CardState::Standby;
                short(ADDRESS | 0x500)
            }
            (9, false, CardState::Standby) if argument == ADDRESS => Some(self.csd()),
            (7, false, CardState::Standby) if argument == ADDRESS => {
                self.state = CardState::Transfer;
                fine
            }
            (6, true, CardState::Transfer) if argument == 2 => fine,
            (16, false, CardState::Transfer) if argument == 512 => fine,
            (12 | 17 | 18 | 24 | 25, false, CardState::Transfer) => fine,
            _ => None,
        }
    }

    fn block(&self, argument: u32) -> u32 {
        match self.kind {
            Kind::HighCapacity => argument,
            _ => argument / 512,
        }
    }
}

pub(crate) struct Controller {
    pub(crate) card: Option<Card>,
    pub(crate) faults: Vec<Fault>,
    registers: [u32; 64],
    /// The transfer under way: next block, blocks left, whether to the card.
    transfer: Option<(u32, u32, bool)>,
    /// Bytes of the block at the port.
    port: Vec<u8>,
    /// Pulled after so many blocks.
    pub(crate) blocks_left: Option<u32>,
    /// Commands sent, in order.
    pub(crate) log: Vec<u32>,
    /// The fastest clock during identification and after, in kHz.
    pub(crate) clock_khz: u32,
    /// Doesn't come out of its reset.
    pub(crate) is_stuck: bool,
    /// Has seen the card being pulled: power and clock are off until a reset, and no command is sent.
    pub(crate) is_off: bool,
    /// What its capabilities say of that.
    pub(crate) told_mhz: u32,
    pub(crate) base_mhz: u32,
}

impl Default for Controller {
    fn default() -> Self {
        Self {
            card: None,
            faults: Vec::new(),
            registers: [0; 64],
            transfer: None,
            port: Vec::new(),
            blocks_left: None,
            log: Vec::new(),
            clock_khz: 0,
            is_stuck: false,
            is_off: false,
            told_mhz: BASE_MHZ,
            base_mhz: BASE_MHZ,
        }
    }
}

const BLOCKS: usize = 1;
const ARGUMENT: usize = 2;
const COMMAND: usize = 3;
const RESPONSE: usize = 4;
const BUFFER: usize = 8;
const CONTROL: usize = 10;
const CLOCK: usize = 11;
const STATUS: usize = 12;
const ENABLE: usize = 13;
const CAPABILITIES: usize = 16;
const BASE_MHZ: u32 = 100;

impl Controller {
    fn raise(&mut self, bits: u32) {
        let error = if bits >> 16 != 0 { 1 << 15 } else { 0 };
        self.registers[STATUS] |= (bits | error) & self.registers[ENABLE];
    }

    fn has(&self, fault: fn(u32) -> Fault, block: u32) -> bool {
        self.faults.contains(&fault(block))
    }

    fn send(&mut self, word: u32) {
        let (index, argument) = (word >> 24 & 0x3f, self.registers[ARGUMENT]);
        self.log.push(index);
        if self.is_off {
            return;
        }
        assert!(self.registers[CLOCK] & 4 != 0, "the card has a clock");
        assert_eq!(self.registers[CONTROL] >> 8 & 0xf, 0xf, "power at 3.3 V");
        if index == 41 || index == 2 {
            assert!(
                self.clock_khz <= 400,
                "identified at {} kHz",
                self.clock_khz
            );
        }
        assert!(self.clock_khz <= 25_000, "{} kHz", self.clock_khz);
        self.transfer = None;
        let card = self.card.as_mut();
        let answer = card.and_then(|card| card.command(index, argument));
        let Some(mut answer) = answer else {
            // Without a response there is nobody to miss.
            self.raise(if word >> 16 & 3 == 0 { 1 } else { 1 << 16 });
            return;
        };
        if matches!(index, 17 | 18 | 24 | 25) {
            let (size, count) = (self.registers[BLOCKS] & 0xfff, self.registers[BLOCKS] >> 16);
            assert_eq!(size, 512);
            assert!(word >> 21 & 1 == 1, "data");
            assert_eq!(word >> 4 & 1, u32::from(index < 20), "direction");
            assert_eq!(word >> 5 & 1 == 1, count > 1, "several");
            assert_eq!(word >> 2 & 3 == 1, count > 1, "ended by the controller");
            assert_eq!(matches!(index, 18 | 25), count > 1);
            let block = self.card.as_ref().map_or(0, |card| card.block(argument));
            if (block..block + count).any(|at| self.has(Fault::Refused, at)) {
                answer[0] |= 1 << 21;
                answer[0] |= 1 << 31;
            }
            self.transfer = Some((block, count, index > 20));
            self.registers[RESPONSE..RESPONSE + 4].copy_from_slice(&answer);
            self.raise(1);
            self.next_block();
            return;
        }
        self.registers[RESPONSE..RESPONSE + 4].copy_from_slice(&answer);
        let is_busy = word >> 16 & 3 == 3;
        self.raise(if is_busy { 3 } else { 1 });
    }

    /// The next block comes to the port, or goes from it.
    fn next_block(&mut self) {
        let Some((block, count, is_write)) = self.transfer else {
            return;
        };
        if count == 0 {
            self.transfer = None;
            self.raise(2);
            return;
        }
        if let Some(left) = &mut self.blocks_left {
            if *left == 0 {
                self.card = None;
            }
            *left = left.saturating_sub(1);
        }
        let Some(card) = &self.card else {
            self.raise(1 << 20);
            return;
        };
        if self.has(Fault::Late, block) {
            self.raise(1 << 20);
        } else if self.has(Fault::Damaged, block) && !is_write {
            self.raise(1 << 21);
        } else if is_write {
            self.port.clear();
            self.raise(1 << 4);
        } else {
            let at = block as usize * 512;
            self.port = card.data[at..at + 512].to_vec();
            self.raise(1 << 5);
        }
    }

    fn buffer_read(&mut self) -> u32 {
        let word: Vec<u8> = self.port.drain(..4).collect();
        if self.port.is_empty() {
            self.advance();
        }
        u32::from_le_bytes(word.try_into().unwrap())
    }

    fn buffer_write(&mut self, value: u32) {
        self.port.extend(value.to_le_bytes());
        if self.port.len() == 512 {
            let (block, ..) = self.transfer.unwrap();
            if self.has(Fault::Damaged, block) {
                self.raise(1 << 21);
                return;
            }
            let port = std::mem::take(&mut self.port);
            let card = self.card.as_mut().unwrap();
            card.data[block as usize * 512..][..512].copy_from_slice(&port);
            self.advance();
        }
    }

    fn advance(&mut self) {
        if let Some((block, count, is_write)) = self.transfer {
            self.transfer = Some((block + 1, count - 1, is_write));
        }
        self.next_block();
    }
}

#[derive(Clone)]
pub(crate) struct Machine(pub(crate) Rc<RefCell<Controller>>, Rc<RefCell<u64>>);

impl Machine {
    pub(crate) fn new(card: Option<Card>) -> Self {
        let controller = Controller {
            card,
            ..Controller::default()
        };
        Self(Rc::new(RefCell::new(controller)), Rc::default())
    }

    /// Microseconds that were waited.
    pub(crate) fn waited_us(&self) -> u64 {
        *self.1.borrow() / 1000
    }
}

impl Registers32 for Machine {
    fn read(&self, offset: usize) -> u32 {
        let mut it = self.0.borrow_mut();
        match offset / 4 {
            BUFFER => it.buffer_read(),
            CAPABILITIES => it.told_mhz << 8,
            CLOCK => {
                // Stable once it runs.
                let clock = it.registers[CLOCK];
                clock | (clock & 1) << 1
            }
            at => it.registers[at],
        }
    }

    fn write(&self, offset: usize, value: u32) {
        assert_eq!(offset % 4, 0);
        let mut it = self.0.borrow_mut();
        match offset / 4 {
            STATUS => it.registers[STATUS] &= !value,
            BUFFER => it.buffer_write(value),
            COMMAND => it.send(value),
            CLOCK if value >> 24 & 1 == 1 => {
                let log = std::mem::take(&mut it.log);
                let card = it.card.take();
                let (faults, blocks_left) = (std::mem::take(&mut it.faults), it.blocks_left);
                let is_stuck = it.is_stuck;
                let (told_mhz, base_mhz) = (it.told_mhz, it.base_mhz);
                *it = Controller {
                    card,
                    faults,
                    blocks_left,
                    log,
                    is_stuck,
                    told_mhz,
                    base_mhz,
                    ..Controller::default()
                };
                it.registers[CLOCK] = if is_stuck { value } else { 0 };
            }
            CLOCK => {
                if value >> 25 & 3 != 0 {
                    it.transfer = None;
                    it.port.clear();
                }
                it.registers[CLOCK] = value & 0x00ff_ffff;
                let divider = value >> 8 & 0xff | (value >> 6 & 3) << 8;
                it.clock_khz = match divider {
                    0 => it.base_mhz * 1000,
                    divider => it.base_mhz * 1000 / (2 * divider),
                };
            }
            at => it.registers[at] = value,
        }
    }
}

impl DelayNs for Machine {
    fn delay_ns(&mut self, ns: u32) {
        *self.1.borrow_mut() += u64::from(ns);
    }
}
