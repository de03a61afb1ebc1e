//! A device of our own. Its line to the interrupt controller stands while an interrupt does that IER
//! lets through; reception is *edge-like*: it stands from the arrival of a byte until the FIFO was
//! empty or the interrupt was masked, and a byte that lies there raises none.

use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
use core::cell::RefCell;

use crate::uart::{Kind, Registers, register};

/// The device's inside.
pub(crate) struct Device {
    pub(crate) kind: Kind,
    /// Bytes received, each with its error bits of the line status.
    pub(crate) received: VecDeque<(u8, u8)>,
    pub(crate) transmit: VecDeque<u8>,
    pub(crate) sent: Vec<u8>,
    pub(crate) has_fifos: bool,
    pub(crate) enabled: u8,
    pub(crate) line_control: u8,
    pub(crate) modem_control: u8,
    pub(crate) mini_control: u8,
    /// A byte has arrived that nobody has been told of.
    arrived: bool,
    /// The transmitter has run empty, and nobody has looked.
    emptied: bool,
    /// DesignWare: it was written to while busy, or so it says.
    pub(crate) is_busy: bool,
    /// DesignWare: a time-out without a byte.
    pub(crate) has_ghost: bool,
    /// What a sender has ready that minds whether there is room: the next byte comes some looks after
    /// the one before was taken.
    pub(crate) ready: VecDeque<u8>,
    looks: u32,
}

/// Looks at the line status that the next byte of a sender takes.
const SOON: u32 = 50;

/// The device as its driver sees it.
#[derive(Clone)]
pub(crate) struct Fake(pub(crate) Rc<RefCell<Device>>);

impl Device {
    fn depth(&self) -> usize {
        match (self.kind, self.has_fifos) {
            (Kind::Mini, _) => 8,
            (_, true) => 16,
            (_, false) => 1,
        }
    }

    fn arrive(&mut self, byte: u8, damage: u8) {
        assert!(self.received.len() < self.depth(), "overrun");
        self.received.push_back((byte, damage));
        self.arrived = true;
    }

    fn has_room(&self) -> bool {
        match self.kind {
            Kind::Mini => self.transmit.len() < self.depth(),
            _ => self.transmit.is_empty(),
        }
    }

    /// Which interrupt stands, most urgent first (table 4-3).
    fn interrupt(&self) -> u8 {
        // The mini UART tells of nothing while bits 2 and 3 aren't both set.
        let lets = |bit: u8| {
            self.enabled & bit != 0 && (self.kind != Kind::Mini || self.enabled & 0b1100 == 0b1100)
        };
        let is_damaged = self
            .received
            .front()
            .is_some_and(|&(_, damage)| damage != 0);
        if self.is_busy {
            7
        } else if lets(4) && self.arrived && is_damaged {
            6
        } else if self.has_ghost {
            12
        } else if lets(1) && self.arrived {
            4
        } else if lets(2) && self.emptied {
            2
        } else {
            1
        }
    }
}

impl Fake {
    /// A device that firmware has set up, with its FIFOs on.
    pub(crate) fn running(kind: Kind) -> Self {
        Self(Rc::new(RefCell::new(Device {
            kind,
            received: VecDeque::new(),
            transmit: VecDeque::new(),
            sent: Vec::new(),
            has_fifos: true,
            enabled: 0,
            line_control: 3,
            modem_control: 0,
            mini_control: 3,
            arrived: false,
            emptied: true,
            is_busy: false,
            has_ghost: false,
            ready: VecDeque::new(),
            looks: 0,
        })))
    }

    /// A byte arrives, with these error bits.
    pub(crate) fn receive(&self, byte: u8, damage: u8) {
        self.0.borrow_mut().arrive(byte, damage);
    }

    /// Up to `count` bytes leave. Whether there is an interrupt.
    pub(crate) fn transmit(&self, count: usize) -> bool {
        let mut device = self.0.borrow_mut();
        let was_full = !device.has_room();
        for _ in 0..count {
            let Some(byte) = device.transmit.pop_front() else {
                break;
            };
            device.sent.push(byte);
        }
        if was_full && device.has_room() {
            device.emptied = true;
        }
        drop(device);
        self.interrupts()
    }

    /// Whether the interrupt line stands.
    pub(crate) fn interrupts(&self) -> bool {
        let device = self.0.borrow();
        // OUT2 connects it, but on the mini UART.
        let is_connected = device.kind == Kind::Mini || device.modem_control & 8 != 0;
        is_connected && device.interrupt() != 1
    }
}

impl Registers for Fake {
    fn read(&self, number: usize) -> u8 {
        let mut device = self.0.borrow_mut();
        assert!(
            device.line_control & 0x80 == 0 || number == register::LINE_CONTROL,
            "the divisor isn't data"
        );
        match number {
            register::DATA => {
                device.has_ghost = false;
                let byte = device.received.pop_front().map_or(0, |(byte, _)| byte);
                if device.received.is_empty() {
                    device.arrived = false;
                }
                byte
            }
            register::INTERRUPT => {
                let interrupt = device.interrupt();
                if interrupt == 2 {
                    device.emptied = false;
                }
                let fifos = device.has_fifos || device.kind == Kind::Mini;
                interrupt | if fifos { 0xc0 } else { 0 }
            }
            register::LINE_STATUS => {
                if device.received.is_empty() && !device.ready.is_empty() {
                    device.looks += 1;
                    if device.looks == SOON {
                        device.looks = 0;
                        let next = device.ready.pop_front();
                        next.into_iter().for_each(|byte| device.arrive(byte, 0));
                    }
                }
                let room = u8::from(device.has_room()) << 5;
                let idle = u8::from(device.transmit.is_empty()) << 6;
                // A look ends the error.
                let damage = device
                    .received
                    .front_mut()
                    .map_or(0, |(_, damage)| core::mem::take(damage));
                u8::from(!device.received.is_empty()) | damage | room | idle
            }
            register::LINE_CONTROL => device.line_control,
            register::MODEM_CONTROL => device.modem_control,
            register::MODEM_STATUS => 0,
            register::MINI_CONTROL if device.kind == Kind::Mini => device.mini_control,
            register::DW_STATUS if device.kind == Kind::DesignWare => {
                device.is_busy = false;
                0
            }
            other => panic!("read of {other}"),
        }
    }

    fn write(&self, number: usize, value: u8) {
        let mut device = self.0.borrow_mut();
        match number {
            register::DATA => {
                assert!(device.transmit.len() < device.depth(), "overflow");
                device.transmit.push_back(value);
                device.emptied = false;
            }
            register::INTERRUPT_ENABLE => {
                // Asking for it while there is room tells at once; masking reception forgets.
                if value & !device.enabled & 2 != 0 && device.has_room() {
                    device.emptied = true;
                }
                if value & 1 == 0 {
                    device.arrived = false;
                }
                device.enabled = value;
            }
            register::FIFO_CONTROL => {
                assert!(value & 6 == 0, "it is told to empty its FIFOs");
                if device.has_fifos != (value & 1 != 0) && device.kind != Kind::Mini {
                    device.received.clear();
                    device.transmit.clear();
                    device.arrived = false;
                }
                device.has_fifos = value & 1 != 0;
            }
            register::LINE_CONTROL => device.line_control = value,
            register::MODEM_CONTROL => device.modem_control = value,
            register::MINI_CONTROL if device.kind == Kind::Mini => device.mini_control = value,
            other => panic!("write of {other}"),
        }
    }
}
