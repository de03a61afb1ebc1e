//! Which virtio devices there are in the places that a device tree has for them
//! (`docs/117-virtio.md`).

use alloc::{format, string::String, vec::Vec};
use core::{fmt, str::FromStr};

use capelin_idc::interface;

use crate::names::PRIVATE;

crate::service_error! {
    /// Why it isn't known which devices there are.
    SlotsError {
        /// Some registers that the program was told of weren't handed over.
        OutOfReach = "registers are missing",
    }
}

/// Where a slot is in what is handed to who looks at it; its text is an argument of that program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The number of the registers that it is in ([`crate::handover::registers_of`]).
    pub registers: usize,
    /// Bytes from their start.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.registers, self.offset, self.bytes)
    }
}

/// The text isn't a place's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotAPlace;

impl FromStr for Place {
    type Err = NotAPlace;

    fn from_str(text: &str) -> Result<Self, NotAPlace> {
        let mut numbers = text.split(':');
        let mut number = || numbers.next().and_then(|it| it.parse().ok());
        let (registers, offset, bytes) = (number(), number(), number());
        let place = Self {
            registers: registers
                .and_then(|it: u64| usize::try_from(it).ok())
                .ok_or(NotAPlace)?,
            offset: offset.ok_or(NotAPlace)?,
            bytes: bytes.ok_or(NotAPlace)?,
        };
        match numbers.next() {
            None => Ok(place),
            Some(_) => Err(NotAPlace),
        }
    }
}

/// What is in a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Content {
    /// No device.
    Nothing,
    /// A device of this type (Virtual I/O Device Specification 1.3, 5).
    Device(u32),
    /// It isn't a slot, as far as the driver knows such.
    Unknown,
}

/// The name under which the program in the domain called `domain` serves [`Slots`]: private to `init`.
#[must_use]
pub fn slots_name(domain: &str) -> String {
    format!("{PRIVATE}{domain}")
}

/// Who looks at slots, under the name [`slots_name`]. It ends when its client has gone.
#[interface(name = "slots", version = 1)]
pub trait Slots {
    /// What is in each slot, in the order of the program's arguments.
    async fn look(&self) -> Result<Vec<Content>, SlotsError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn a_place_has_a_text() {
        let place = Place {
            registers: 3,
            offset: 0x200,
            bytes: u64::MAX,
        };
        assert_eq!(place.to_string(), "3:512:18446744073709551615");
        assert_eq!(place.to_string().parse(), Ok(place));
        for wrong in [
            "",
            "1",
            "1:2",
            "1:2:3:4",
            "1:2:x",
            "-1:2:3",
            "1:2:3:",
            "virtio,mmio",
        ] {
            assert_eq!(wrong.parse::<Place>(), Err(NotAPlace), "{wrong}");
        }
    }
}
