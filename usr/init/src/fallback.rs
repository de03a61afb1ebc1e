//! A console without a driver.
//!
//! What is written goes to this core's kernel log, which the CPU driver shows on the UART while it
//! has it: so programs on all cores are heard on a machine whose UART nobody drives. There is no
//! input.

use alloc::{string::String, vec::Vec};

use capelin_interfaces::{
    console::{Console, ConsoleError, ConsoleMode, ConsoleServer},
    service,
};
use capelin_monitor::names::NameService;
use capelin_rt::{Listener, RtError, print, spawn};

/// Messages of all clients that may wait.
const CAPACITY: usize = 16;

/// Registers the console, and serves it.
///
/// # Errors
/// As [`Listener::new`]; [`RtError::NoService`] when there is a console already.
pub(crate) fn serve(names: &NameService) -> Result<(), RtError> {
    let listener = Listener::new(CAPACITY)?;
    let endpoint = listener.capability(1)?;
    let added = names.add(service::CONSOLE, endpoint.give());
    added.map_err(|_| RtError::NoService)?;
    spawn(listener.serve(|_| ConsoleServer(KernelLog)));
    Ok(())
}

struct KernelLog;

impl Console for KernelLog {
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        print::to_log(format_args!("{}", String::from_utf8_lossy(bytes)));
        Ok(())
    }

    async fn read(&self, _limit: u32) -> Result<Vec<u8>, ConsoleError> {
        Err(ConsoleError::NoInput)
    }

    async fn set_mode(&self, _mode: ConsoleMode) -> Result<(), ConsoleError> {
        Err(ConsoleError::NoInput)
    }

    async fn flush(&self) -> Result<(), ConsoleError> {
        Ok(())
    }
}
