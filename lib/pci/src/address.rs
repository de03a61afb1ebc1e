//! Where a function is.

use core::fmt;

/// A function's place: segment, bus, device and function.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    segment: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl Address {
    /// Devices that a bus may have.
    pub const DEVICES: u8 = 32;
    /// Functions that a device may have.
    pub const FUNCTIONS: u8 = 8;

    /// The function's address; `None` from device 32 or function 8 on.
    #[must_use]
    pub const fn new(segment: u16, bus: u8, device: u8, function: u8) -> Option<Self> {
        if device >= Self::DEVICES || function >= Self::FUNCTIONS {
            return None;
        }
        Some(Self {
            segment,
            bus,
            device,
            function,
        })
    }

    /// The segment: buses of two segments are two, whatever their numbers.
    #[must_use]
    pub const fn segment(self) -> u16 {
        self.segment
    }

    /// The bus.
    #[must_use]
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// The device on its bus.
    #[must_use]
    pub const fn device(self) -> u8 {
        self.device
    }

    /// The function of its device.
    #[must_use]
    pub const fn function(self) -> u8 {
        self.function
    }

    /// What the function is known by to those who take its requests (7.5.1.1: Requester ID): bus in bits 15:8, device
    /// in 7:3, function in 2:0.
    #[must_use]
    pub fn requester(self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device) << 3 | u16::from(self.function)
    }

    /// Offset of its 4 KiB in an ECAM whose first bus is `first` (7.2.2); `None` for a bus before.
    #[must_use]
    pub fn ecam_offset(self, first: u8) -> Option<u64> {
        let bus = self.bus.checked_sub(first)?;
        let place = u64::from(bus) << 8 | u64::from(self.device) << 3 | u64::from(self.function);
        Some(place << 12)
    }
}

/// As everybody writes them: `0000:02:1f.7`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            segment,
            bus,
            device,
            function,
        } = self;
        write!(f, "{segment:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn parts_offsets_and_text() {
        let address = Address::new(2, 0x21, 31, 7).unwrap();
        assert_eq!(address.to_string(), "0002:21:1f.7");
        assert_eq!(address.requester(), 0x21ff);
        assert_eq!(address.ecam_offset(0x20), Some(0x001f_f000));
        assert_eq!(address.ecam_offset(0x22), None);
        assert_eq!(Address::new(0, 0, 32, 0), None);
        assert_eq!(Address::new(0, 0, 0, 8), None);
    }
}
