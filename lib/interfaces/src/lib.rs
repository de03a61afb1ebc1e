//! The interfaces of the system services, one module each.
//!
//! Every operation can also fail with the `Call` variant of its error: the call
//! itself didn't come through ([`capelin_idc::CallError`]).
//!
//! | module | who serves it |
//! | --- | --- |
//! | [`memory`] | `mem_serv`: physical memory |
//! | [`clock`] | the driver of a board's own clock |
//! | [`console`] | the console driver |
//! | [`interrupts`] | the interrupt service, owner of the distributor |
//! | [`devices`] | `init`, which starts drivers: devices and who drives them |
//! | [`entropy`] | the driver of a device that gives random bytes |
//! | [`files`] | the driver of a card: files on it |
//! | [`firmware`] | the driver of the channel to a board's firmware |
//! | [`gpio`] | the driver of a board's pins |
//! | [`pci`] | the driver of a PCI host bridge |
//! | [`power`] | the driver of a board's power management |
//! | [`slots`] | who looks which virtio devices there are in their slots |
//! | [`skb`] | the System Knowledge Base |
//! | [`monitor`] | each core's monitor: domains, cores |
//! | [`names`] | the monitor of the boot core: services by name |
//! | [`system`] | the monitor: power, kernel logs and counters |
//!
//! [`service`] holds the names under which they register, [`handover`] what `init` hands to those
//! that it starts.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod clock;
pub mod console;
pub mod devices;
pub mod entropy;
pub mod files;
pub mod firmware;
pub mod gpio;
pub mod handover;
pub mod interrupts;
pub mod memory;
pub mod monitor;
pub mod names;
pub mod pci;
pub mod power;
pub mod skb;
pub mod slots;
pub mod system;

/// The names under which the system services register with [`names::Names`], and
/// under which a spawner passes their endpoints to a domain.
pub mod service {
    macro_rules! services {
        ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
            $($(#[$doc])* pub const $name: &str = $text;)*
            /// All of them.
            pub const ALL: &[&str] = &[$($text,)*];
        };
    }

    services! {
        /// [`crate::memory::Memory`].
        MEMORY = "mem",
        /// [`crate::memory::Memory`], with the rights of the system ([`crate::memory::Memory::add`]).
        /// Private to `init` ([`crate::names::PRIVATE`]).
        SYSTEM_MEMORY = ".mem",
        /// [`crate::clock::Clock`].
        CLOCK = "clock",
        /// [`crate::console::Console`].
        CONSOLE = "console",
        /// [`crate::interrupts::Interrupts`].
        INTERRUPTS = "interrupts",
        /// The same, with the right to hand over controllers of message interrupts, and to have
        /// interrupts go to other cores. Private to `init` ([`crate::names::PRIVATE`]) and the boot
        /// core's monitor.
        INTERRUPT_CONTROLLERS = ".interrupt-controllers",
        /// [`crate::devices::Devices`].
        DEVICES = "devices",
        /// [`crate::entropy::Entropy`].
        ENTROPY = "entropy",
        /// [`crate::files::Files`].
        FILES = "files",
        /// [`crate::firmware::Firmware`].
        FIRMWARE = "firmware",
        /// [`crate::gpio::Gpio`].
        GPIO = "gpio",
        /// [`crate::power::Power`].
        POWER = "power",
        /// [`crate::skb::Skb`].
        SKB = "skb",
        /// [`crate::skb::Skb`], with the right to tell of what is on PCI buses and in slots. Private to `init`
        /// ([`crate::names::PRIVATE`]).
        PCI_FACTS = ".skb-pci",
        /// [`crate::monitor::Monitor`] of this core.
        MONITOR = "monitor",
        /// [`crate::names::Names`].
        NAMES = "names",
        /// [`crate::system::System`] of this core.
        SYSTEM = "system",
    }
}

/// An error of an interface: its own reasons, and that the call failed.
macro_rules! service_error {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
            /// The call didn't come through.
            Call(capelin_idc::CallError),
        }

        impl From<capelin_idc::CallError> for $name {
            fn from(error: capelin_idc::CallError) -> Self {
                Self::Call(error)
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($text),)*
                    Self::Call(error) => error.fmt(f),
                }
            }
        }

        impl core::error::Error for $name {}
    };
}
pub(crate) use service_error;
