//! The console.

use alloc::vec::Vec;

use capelin_idc::interface;

crate::service_error! {
    /// Why the console did nothing.
    ConsoleError {
        /// Input belongs to another client.
        NotForeground = "another program has the input",
        /// The device failed.
        Device = "the console device failed",
        /// Nobody drives the device, so nothing can be read.
        NoInput = "the console has no input",
    }
}

/// How input is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub enum ConsoleMode {
    /// Line by line: the driver echoes, and handles backspace and kill.
    #[default]
    Line,
    /// Byte by byte, without echo.
    Raw,
}

/// Output and input of one console. Lines of different clients aren't mixed: the
/// driver holds back an unfinished line while another client's is unfinished,
/// for a short time only.
#[interface(name = "console", version = 1)]
pub trait Console {
    /// Writes `bytes` and answers when they are accepted (not: transmitted).
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError>;

    /// The next input, at least one byte and at most `limit`: in line mode up to
    /// and including the end of the line, in raw mode what is there. Waits for
    /// it. Empty at the end of input (Ctrl-D on an empty line).
    async fn read(&self, limit: u32) -> Result<Vec<u8>, ConsoleError>;

    /// How this client's input is treated from now on.
    async fn set_mode(&self, mode: ConsoleMode) -> Result<(), ConsoleError>;

    /// Answers when all that was written has left the device.
    async fn flush(&self) -> Result<(), ConsoleError>;
}
