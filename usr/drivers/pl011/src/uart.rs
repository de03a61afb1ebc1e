//! The PL011 (Arm DDI 0183G) and its subset, the SBSA UART (Arm DEN 0029, appendix B).
//!
//! The driver side of it is [`embedded_io`]'s: a read or write moves as many bytes as the FIFOs
//! allow now, and `ReadReady`/`WriteReady` tell beforehand, so that nothing waits.
//!
//! Transmission: the interrupt comes when the FIFO falls to its trigger level (3.3.3), so that it
//! must have been filled above that before. It is unmasked only while bytes are left that didn't
//! fit.
//!
//! Reception: the interrupt comes with a byte that arrives, not for those that lie there. So
//! whoever clears it, or masks it, empties the FIFO afterwards: [`capelin_console::console::Console`] does
//! when it takes the device over, at each interrupt, and when it has room again.

use alloc::collections::VecDeque;
use core::convert::Infallible;

use capelin_console::{rest, uart::Uart};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use tock_registers::{LocalRegisterCopy, register_bitfields};

register_bitfields![u32,
    Data [
        BYTE OFFSET(0) NUMBITS(8) [],
        /// Framing, parity, break, overrun: the byte is none, except for an overrun, where only
        /// later ones are lost.
        FRAMING OFFSET(8) NUMBITS(1) [],
        PARITY OFFSET(9) NUMBITS(1) [],
        BREAK OFFSET(10) NUMBITS(1) [],
        OVERRUN OFFSET(11) NUMBITS(1) []
    ],
    Flags [
        BUSY OFFSET(3) NUMBITS(1) [],
        /// Receive FIFO empty.
        RXFE OFFSET(4) NUMBITS(1) [],
        /// Transmit FIFO full.
        TXFF OFFSET(5) NUMBITS(1) []
    ],
    LineControl [
        FIFO_ENABLE OFFSET(4) NUMBITS(1) [],
        WORD_LENGTH OFFSET(5) NUMBITS(2) [Eight = 3]
    ],
    Control [
        UART_ENABLE OFFSET(0) NUMBITS(1) [],
        TRANSMIT_ENABLE OFFSET(8) NUMBITS(1) [],
        RECEIVE_ENABLE OFFSET(9) NUMBITS(1) []
    ],
    Interrupts [
        RECEIVE OFFSET(4) NUMBITS(1) [],
        TRANSMIT OFFSET(5) NUMBITS(1) [],
        /// Bytes lie in the receive FIFO below its level, and no more come.
        RECEIVE_TIMEOUT OFFSET(6) NUMBITS(1) [],
        ERRORS OFFSET(7) NUMBITS(4) [All = 15]
    ]
];

/// Offsets of the registers, in bytes.
pub mod offset {
    /// Data (UARTDR).
    pub const DATA: usize = 0x00;
    /// Flags (UARTFR).
    pub const FLAGS: usize = 0x18;
    /// Line control (UARTLCR_H).
    pub const LINE_CONTROL: usize = 0x2c;
    /// Control (UARTCR).
    pub const CONTROL: usize = 0x30;
    /// Interrupt FIFO levels (UARTIFLS).
    pub const FIFO_LEVELS: usize = 0x34;
    /// Interrupt mask: a one lets it through (UARTIMSC).
    pub const MASK: usize = 0x38;
    /// Interrupts, masked (UARTMIS).
    pub const MASKED_STATUS: usize = 0x40;
    /// Interrupt clear (UARTICR).
    pub const CLEAR: usize = 0x44;
}

/// Bytes that the driver needs of the registers.
pub const REGISTER_BYTES: usize = 0x48;
/// Both FIFOs trigger at half (UARTIFLS: `010` twice), the reset value.
const HALF: u32 = 0b010_010;
/// The interrupts of reception: RECEIVE and RECEIVE_TIMEOUT.
const RECEPTION: u32 = 1 << 4 | 1 << 6;
/// A device's registers.
pub trait Registers {
    /// Reads the 32-bit register at byte `offset`, one of [`offset`]'s.
    fn read(&self, offset: usize) -> u32;
    /// Writes it.
    fn write(&self, offset: usize, value: u32);
}

/// Which of its kind a device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A whole PL011.
    Pl011,
    /// An SBSA UART: no line control, no control; firmware has set it up.
    Sbsa,
}

impl Kind {
    /// The kind of a device with these `compatible` names, if it is ours.
    pub fn of<'a>(compatible: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        compatible.into_iter().find_map(|name| match name {
            "arm,pl011" | "arm,pl011-axi" => Some(Self::Pl011),
            "arm,sbsa-uart" => Some(Self::Sbsa),
            _ => None,
        })
    }
}

/// A UART with its registers.
#[derive(Debug)]
pub struct Pl011<R> {
    registers: R,
    /// What UARTIMSC holds: only we write it.
    mask: u32,
    /// What was received before the FIFOs were switched on, which empties them; read first.
    early: VecDeque<u32>,
}

impl<R: Registers> Pl011<R> {
    /// Takes over a device that others may have written to: what is in its FIFOs stays, and so
    /// does its speed. Interrupts are let through from here on, those of reception only.
    pub fn take_over(registers: R, kind: Kind) -> Self {
        let mut early = VecDeque::new();
        if kind == Kind::Pl011 {
            early = enable(&registers);
            registers.write(offset::FIFO_LEVELS, HALF);
        }
        // What stands for reception isn't cleared: it may be for a key that was pressed already.
        let stale = Interrupts::TRANSMIT::SET + Interrupts::ERRORS::All;
        registers.write(offset::CLEAR, stale.value);
        let mask = RECEPTION;
        registers.write(offset::MASK, mask);
        Self {
            registers,
            mask,
            early,
        }
    }

    /// The next data word received, damaged or not.
    fn next(&mut self) -> Option<u32> {
        self.early.pop_front().or_else(|| {
            let is_empty = self.flags().is_set(Flags::RXFE);
            (!is_empty).then(|| self.registers.read(offset::DATA))
        })
    }

    /// Lets the interrupts `which` through, or not.
    fn set_mask(&mut self, which: u32, on: bool) {
        let mask = if on {
            self.mask | which
        } else {
            self.mask & !which
        };
        if mask != self.mask {
            self.mask = mask;
            self.registers.write(offset::MASK, mask);
        }
    }

    fn flags(&self) -> LocalRegisterCopy<u32, Flags::Register> {
        LocalRegisterCopy::new(self.registers.read(offset::FLAGS))
    }
}

/// Enables the device with its FIFOs, unless that has been done; gives what had been received, if
/// it had to be. The line control register may change only while the device is disabled, and that
/// only while it is idle (3.3.8). To switch the FIFOs on empties them, so that waits until nothing
/// has come for a while: right after a byte was taken, the next may be on its way. On a line that
/// doesn't rest, a device that is enabled stays without FIFOs.
fn enable<R: Registers>(registers: &R) -> VecDeque<u32> {
    let flags = || LocalRegisterCopy::<u32, Flags::Register>::new(registers.read(offset::FLAGS));
    let control = LocalRegisterCopy::<u32, Control::Register>::new(registers.read(offset::CONTROL));
    let line =
        LocalRegisterCopy::<u32, LineControl::Register>::new(registers.read(offset::LINE_CONTROL));
    let wanted =
        Control::UART_ENABLE::SET + Control::TRANSMIT_ENABLE::SET + Control::RECEIVE_ENABLE::SET;
    let is_enabled = control.matches_all(wanted);
    if is_enabled && line.is_set(LineControl::FIFO_ENABLE) {
        return VecDeque::new();
    }
    rest::until_idle(|| !flags().is_set(Flags::BUSY));
    let early =
        rest::until_rest(|| (!flags().is_set(Flags::RXFE)).then(|| registers.read(offset::DATA)));
    if !early.is_at_rest && is_enabled {
        return early.taken;
    }
    registers.write(offset::CONTROL, 0);
    let line = LineControl::FIFO_ENABLE::SET + LineControl::WORD_LENGTH::Eight;
    registers.write(offset::LINE_CONTROL, line.value);
    registers.write(offset::CONTROL, wanted.value);
    early.taken
}

impl<R: Registers> ErrorType for Pl011<R> {
    type Error = Infallible;
}

impl<R: Registers> ReadReady for Pl011<R> {
    fn read_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.early.is_empty() || !self.flags().is_set(Flags::RXFE))
    }
}

impl<R: Registers> WriteReady for Pl011<R> {
    fn write_ready(&mut self) -> Result<bool, Infallible> {
        Ok(!self.flags().is_set(Flags::TXFF))
    }
}

impl<R: Registers> Read for Pl011<R> {
    /// The bytes that are there, none when there are none. Damaged ones are left out.
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        let mut count = 0;
        while count < buffer.len()
            && let Some(word) = self.next()
        {
            let data = LocalRegisterCopy::<u32, Data::Register>::new(word);
            let is_damaged =
                data.is_set(Data::FRAMING) || data.is_set(Data::PARITY) || data.is_set(Data::BREAK);
            if !is_damaged {
                buffer[count] = word.to_le_bytes()[0];
                count += 1;
            }
        }
        Ok(count)
    }
}

impl<R: Registers> Write for Pl011<R> {
    /// As many bytes as the FIFO has room for now.
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for (count, &byte) in bytes.iter().enumerate() {
            if self.flags().is_set(Flags::TXFF) {
                return Ok(count);
            }
            self.registers.write(offset::DATA, u32::from(byte));
        }
        Ok(bytes.len())
    }

    /// Nothing is held back here.
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<R: Registers> Uart for Pl011<R> {
    fn acknowledge(&mut self) {
        // Receive interrupts end when the FIFO is emptied; clearing them here as well would lose
        // none, since whoever acknowledges empties the FIFO next.
        let standing = self.registers.read(offset::MASKED_STATUS);
        self.registers.write(offset::CLEAR, standing);
    }

    fn want_room(&mut self, want: bool) {
        self.set_mask(Interrupts::TRANSMIT::SET.value, want);
    }

    fn want_bytes(&mut self, want: bool) {
        self.set_mask(RECEPTION, want);
    }

    fn is_drained(&self) -> bool {
        !self.flags().is_set(Flags::BUSY)
    }
}

#[cfg(test)]
pub(crate) mod fake {
    //! A device of our own: FIFOs of 16 bytes. Raw interrupts of reception stand from the arrival
    //! of a byte in an empty FIFO, or of the one that fills it to half, until they are cleared or
    //! the FIFO is empty: a byte that lies there raises none.

    use super::offset;
    use alloc::{collections::VecDeque, rc::Rc, vec::Vec};
    use core::cell::RefCell;

    const DEPTH: usize = 16;
    /// Looks at the flags that the next byte of a sender takes.
    const SOON: u32 = 50;

    /// The device's inside.
    #[derive(Default)]
    pub(crate) struct Device {
        pub(crate) received: VecDeque<u32>,
        pub(crate) transmit: VecDeque<u8>,
        pub(crate) sent: Vec<u8>,
        pub(crate) control: u32,
        pub(crate) line_control: u32,
        pub(crate) mask: u32,
        pub(crate) raw: u32,
        /// What a sender has ready that minds whether there is room: the next byte comes some time
        /// after the one before was taken.
        pub(crate) ready: VecDeque<u32>,
        /// Looks at the flags until then.
        pub(crate) looks: u32,
        /// Line control was written while enabled, or control while busy.
        pub(crate) misused: bool,
    }

    /// The device as its driver sees it.
    #[derive(Clone, Default)]
    pub(crate) struct Fake(pub(crate) Rc<RefCell<Device>>);

    impl Fake {
        /// A device that firmware has enabled, with FIFOs.
        pub(crate) fn running() -> Self {
            let fake = Self::default();
            fake.0.borrow_mut().control = 0x301;
            fake.0.borrow_mut().line_control = 0x70;
            fake
        }

        /// A byte arrives.
        pub(crate) fn receive(&self, data: u32) {
            let mut device = self.0.borrow_mut();
            assert!(device.received.len() < DEPTH, "overrun");
            device.received.push_back(data);
            device.raw |= match device.received.len() {
                1 => 0x40,
                count if count == DEPTH / 2 => 0x10,
                _ => 0,
            };
        }

        /// Up to `count` bytes leave. Whether there is an interrupt.
        pub(crate) fn transmit(&self, count: usize) -> bool {
            let mut device = self.0.borrow_mut();
            let was_above = device.transmit.len() > DEPTH / 2;
            for _ in 0..count {
                let Some(byte) = device.transmit.pop_front() else {
                    break;
                };
                device.sent.push(byte);
            }
            if was_above && device.transmit.len() <= DEPTH / 2 {
                device.raw |= 0x20;
            }
            drop(device);
            self.interrupts()
        }

        /// Whether the interrupt line stands.
        pub(crate) fn interrupts(&self) -> bool {
            let device = self.0.borrow();
            device.raw & device.mask != 0
        }
    }

    impl Fake {
        /// Time passes for a sender that has bytes ready.
        fn look(&self) {
            let mut device = self.0.borrow_mut();
            if device.received.is_empty() && !device.ready.is_empty() {
                device.looks += 1;
                if device.looks == SOON {
                    device.looks = 0;
                    let next = device.ready.pop_front();
                    drop(device);
                    next.into_iter().for_each(|data| self.receive(data));
                }
            }
        }
    }

    impl super::Registers for Fake {
        fn read(&self, register: usize) -> u32 {
            if register == offset::FLAGS {
                self.look();
            }
            let mut device = self.0.borrow_mut();
            match register {
                offset::DATA => {
                    let data = device.received.pop_front().unwrap_or(0);
                    if device.received.is_empty() {
                        device.raw &= !0x50;
                    }
                    data
                }
                offset::FLAGS => {
                    u32::from(!device.transmit.is_empty()) << 3
                        | u32::from(device.received.is_empty()) << 4
                        | u32::from(device.transmit.len() >= DEPTH) << 5
                }
                offset::LINE_CONTROL => device.line_control,
                offset::CONTROL => device.control,
                offset::MASK => device.mask,
                offset::MASKED_STATUS => device.raw & device.mask,
                other => panic!("read of {other:#x}"),
            }
        }

        fn write(&self, register: usize, value: u32) {
            let mut device = self.0.borrow_mut();
            match register {
                offset::DATA => {
                    assert!(device.transmit.len() < DEPTH, "overflow");
                    device.transmit.push_back(value.to_le_bytes()[0]);
                }
                offset::LINE_CONTROL => {
                    device.misused |= device.control & 1 != 0;
                    if (device.line_control ^ value) & 1 << 4 != 0 {
                        device.received.clear();
                    }
                    device.line_control = value;
                }
                offset::CONTROL => {
                    device.misused |= !device.transmit.is_empty();
                    device.control = value;
                }
                offset::MASK => device.mask = value,
                offset::CLEAR => device.raw &= !value,
                offset::FIFO_LEVELS => {}
                other => panic!("write of {other:#x}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fake::Fake, *};
    use alloc::vec::Vec;

    #[test]
    fn a_running_device_is_not_disturbed() {
        let fake = Fake::running();
        fake.0.borrow_mut().transmit.extend(b"boot");
        Pl011::take_over(fake.clone(), Kind::Pl011);
        let device = fake.0.borrow();
        assert!(!device.misused);
        assert_eq!(device.transmit, *b"boot");
        assert_eq!(device.mask, 0x50);
    }

    #[test]
    fn a_device_that_is_off_is_set_up_in_the_order_that_the_manual_asks_for() {
        let fake = Fake::default();
        fake.0.borrow_mut().control = 0x300;
        Pl011::take_over(fake.clone(), Kind::Pl011);
        let device = fake.0.borrow();
        assert!(!device.misused);
        assert_eq!((device.control, device.line_control), (0x301, 0x70));
    }

    #[test]
    fn to_switch_the_fifos_on_loses_no_key() {
        let fake = Fake::running();
        fake.0.borrow_mut().line_control = 0x60;
        fake.receive(u32::from(b'k'));
        let mut uart = Pl011::take_over(fake.clone(), Kind::Pl011);
        assert_eq!(fake.0.borrow().line_control, 0x70);
        fake.receive(u32::from(b'l'));
        assert!(uart.read_ready().unwrap());
        let mut buffer = [0; 4];
        assert_eq!(uart.read(&mut buffer).unwrap(), 2);
        assert_eq!(&buffer[..2], b"kl");
        assert!(!uart.read_ready().unwrap());
    }

    /// What a device without FIFOs gives of `count` keys that are typed as fast as it takes them.
    fn typed_ahead(count: u32) -> (Vec<u8>, u32) {
        let fake = Fake::running();
        fake.0.borrow_mut().line_control = 0x60;
        fake.receive(0);
        fake.0.borrow_mut().ready = (1..count).map(|key| key % 256).collect();
        let mut uart = Pl011::take_over(fake.clone(), Kind::Pl011);
        let mut keys = Vec::new();
        for _ in 0..100 * count {
            let mut buffer = [0; 8];
            let more = uart.read(&mut buffer).unwrap();
            keys.extend_from_slice(&buffer[..more]);
        }
        let line = fake.0.borrow().line_control;
        (keys, line)
    }

    #[test]
    fn to_switch_the_fifos_on_waits_for_a_line_at_rest() {
        let all = |count: u32| (0..count).map(|key| key.to_le_bytes()[0]).collect();
        assert_eq!(typed_ahead(24), (all(24), 0x70));
        assert_eq!(typed_ahead(1000), (all(1000), 0x60));
    }

    #[test]
    fn a_subset_keeps_what_firmware_set() {
        let fake = Fake::default();
        Pl011::take_over(fake.clone(), Kind::Sbsa);
        assert_eq!(fake.0.borrow().control, 0);
        assert_eq!(Kind::of(["arm,sbsa-uart"]), Some(Kind::Sbsa));
        assert_eq!(Kind::of(["arm,pl011", "arm,primecell"]), Some(Kind::Pl011));
        assert_eq!(Kind::of(["ns16550a", "brcm,bcm2835-aux-uart"]), None);
    }

    #[test]
    fn damaged_bytes_are_left_out() {
        let fake = Fake::running();
        let mut uart = Pl011::take_over(fake.clone(), Kind::Pl011);
        for data in [0x61, 0x162, 0x263, 0x400, 0x864] {
            fake.receive(data);
        }
        let mut buffer = [0; 8];
        let count = uart.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], b"ad");
        assert!(!uart.read_ready().unwrap());
    }

    #[test]
    fn writing_stops_when_the_fifo_is_full() {
        let fake = Fake::running();
        let mut uart = Pl011::take_over(fake.clone(), Kind::Pl011);
        let bytes: Vec<u8> = (0..40).collect();
        assert_eq!(uart.write(&bytes).unwrap(), 16);
        assert!(!uart.write_ready().unwrap());
        assert!(!uart.is_drained());
        assert!(!fake.transmit(16), "nobody asked for an interrupt");
        assert!(uart.is_drained());
        uart.write(&bytes).unwrap();
        uart.acknowledge();
        uart.want_room(true);
        assert!(fake.transmit(8));
        uart.acknowledge();
        assert!(!fake.interrupts() || fake.0.borrow().raw & 0x20 == 0);
    }
}
