//! A PCI host bridge and what is below it (`docs/115-pcie.md`).

use alloc::{format, string::String};

use capelin_idc::{Cap, interface};

use crate::names::PRIVATE;

crate::service_error! {
    /// Why it isn't known what is below a host bridge.
    PciError {
        /// The knowledge base can't be reached, or doesn't take the facts.
        KnowledgeBase = "the knowledge base does not answer as it should",
        /// There is no such function below the host bridge.
        NoSuchFunction = "no such function",
        /// The driver can't serve so many functions.
        Exhausted = "too many functions are driven",
        /// The knowledge base knows no host bridge with these registers.
        UnknownHost = "the knowledge base does not know the host bridge",
    }
}

/// What has been found below a host bridge.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Found {
    /// Functions.
    pub functions: u32,
    /// Registers of them that found no place in memory.
    pub unplaced: u32,
}

crate::service_error! {
    /// Why a function doesn't do what is wanted.
    FunctionError {
        /// There is no such register.
        NoSuchRegister = "no such register of the function",
        /// Some of its registers found no place.
        Unplaced = "some of its registers found no room",
        /// It has no interrupt, or nobody serves that.
        NoInterrupt = "it has no interrupt that could be served",
    }
}

/// The name under which the driver in the domain called `domain` serves [`Pci`]: private to `init`,
/// since it gives out all functions.
#[must_use]
pub fn host_name(domain: &str) -> String {
    format!("{PRIVATE}{domain}")
}

/// A host bridge, under the name [`host_name`].
#[interface(name = "pci", version = 2)]
pub trait Pci {
    /// Tells the knowledge base what is below the host bridge, with `facts`, a capability to it
    /// that has the right to. At first that is looked for, and registers are placed; later it is
    /// told again, to a knowledge base that was started anew.
    async fn publish(&self, facts: Cap) -> Result<Found, PciError>;

    /// Hands over the registers that a function's table of message interrupts is in: `registers` is a DevFrame of the
    /// pages of that BAR, which starts `offset` bytes behind the first and has `bytes` bytes. They are given back when
    /// the function is disabled.
    async fn table(
        &self,
        address: &str,
        registers: Cap,
        offset: u64,
        bytes: u64,
    ) -> Result<(), PciError>;

    /// A capability to the function at `address` (`0000:00:01.0`), by which [`Function`] is reached:
    /// for its driver.
    async fn function(&self, address: &str) -> Result<Cap, PciError>;
}

/// One function, for its driver.
#[interface(name = "pci-function", version = 2)]
pub trait Function {
    /// Reads a register of its configuration space: `offset` is a multiple of 4 below 4,096.
    async fn read(&self, offset: u16) -> Result<u32, FunctionError>;

    /// From now on it answers to its addresses in memory, and may read and write memory itself.
    async fn enable(&self) -> Result<(), FunctionError>;

    /// Has it interrupt by messages from now on, all of its reasons by the first of them. Gives an IrqSource, to be bound
    /// to an endpoint. [`FunctionError::NoInterrupt`] if it can't, or nobody takes its messages.
    async fn message(&self) -> Result<Cap, FunctionError>;

    /// Lets its pin through, and answers once it has been raised; it is held back then until this is asked again, when
    /// the driver has served it. Whoever asks meanwhile takes the place of who has asked before, which gets
    /// [`FunctionError::NoInterrupt`].
    async fn interrupt(&self) -> Result<(), FunctionError>;

    /// It does none of these any more.
    async fn disable(&self) -> Result<(), FunctionError>;
}
