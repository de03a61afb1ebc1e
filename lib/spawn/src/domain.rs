//! A domain that has been made.

use alloc::string::String;

use capelin_abi::syscall::DispatcherState;
use capelin_rt::{OwnedCap, RtError, sys};

use crate::Chunk;

/// A domain that has been made. Dropping it lets the domain live on, with its memory.
#[derive(Debug)]
pub struct Domain {
    pub(crate) name: String,
    pub(crate) dispatcher: OwnedCap,
    pub(crate) cspace: OwnedCap,
    pub(crate) home: Chunk,
    pub(crate) ram: Chunk,
}

/// Memory given to a domain and taken back from it, where the spawner had been given it.
#[derive(Debug, Default)]
pub struct Reclaimed {
    /// Home memory.
    pub home: Option<OwnedCap>,
    /// RAM.
    pub ram: Option<OwnedCap>,
}

impl Domain {
    /// The program's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its dispatcher.
    #[must_use]
    pub const fn dispatcher(&self) -> &OwnedCap {
        &self.dispatcher
    }

    /// Its L1 CNode, to look at what it holds.
    #[must_use]
    pub const fn cspace(&self) -> &OwnedCap {
        &self.cspace
    }

    /// Bytes of memory given to it, kernel objects included.
    #[must_use]
    pub const fn memory_bytes(&self) -> u64 {
        self.home.bytes() + self.ram.bytes()
    }

    /// Lets it run; it starts, or goes on where it was stopped.
    ///
    /// # Errors
    /// As [`sys::dispatcher::run`]: [`SysError::NotRunnable`](capelin_abi::SysError::NotRunnable)
    /// once it has ended.
    pub fn run(&self) -> Result<(), RtError> {
        Ok(sys::dispatcher::run(self.dispatcher.reference())?)
    }

    /// Stops it.
    ///
    /// # Errors
    /// As [`sys::dispatcher::stop`].
    pub fn stop(&self) -> Result<(), RtError> {
        Ok(sys::dispatcher::stop(self.dispatcher.reference())?)
    }

    /// How it is doing.
    ///
    /// # Errors
    /// As [`sys::dispatcher::status`]; [`SysError::EmptySlot`](capelin_abi::SysError::EmptySlot)
    /// when its memory was taken back.
    pub fn status(&self) -> Result<sys::dispatcher::Status, RtError> {
        Ok(sys::dispatcher::status(self.dispatcher.reference())?)
    }

    /// Whether it has ended, by itself or by a fault.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        use DispatcherState::{Exited, Faulted};
        self.status()
            .is_ok_and(|status| matches!(status.state, Exited | Faulted))
    }

    /// Ends it, if it hasn't ended, and takes all its memory back.
    ///
    /// # Errors
    /// As [`Chunk::reclaim`]. The other chunk is taken back all the same.
    pub fn reclaim(self) -> Result<Reclaimed, RtError> {
        // It may have ended before; revoking its home memory ends it in any case.
        let _ = self.stop();
        // Dispatcher and CSpace are made from the home chunk, and go with it.
        let home = self.home.reclaim();
        let ram = self.ram.reclaim();
        if home.is_ok() {
            self.dispatcher.forget();
            self.cspace.forget();
        }
        Ok(Reclaimed {
            home: home?,
            ram: ram?,
        })
    }
}
