//! The end of a program.

use crate::{print, sys};

/// What a program ends with. 0 is success.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExitCode(pub u32);

impl ExitCode {
    /// All went well.
    pub const SUCCESS: Self = Self(0);
    /// Something didn't.
    pub const FAILURE: Self = Self(1);
    /// The program panicked.
    pub const PANIC: Self = Self(101);
    /// The program made a fault that it couldn't take (a signal's number, as shells show it).
    pub const FAULT: Self = Self(139);
    /// Text went to the kernel's log that was meant for the console, and all went well otherwise
    /// (`EX_IOERR`, as other systems have it).
    pub const NO_CONSOLE: Self = Self(74);
    /// The program couldn't be started: its arguments can't be read, or its kernel is of another
    /// ABI.
    pub const BAD_START: Self = Self(126);
}

impl From<bool> for ExitCode {
    fn from(success: bool) -> Self {
        if success {
            Self::SUCCESS
        } else {
            Self::FAILURE
        }
    }
}

impl<T, E: core::fmt::Display> From<Result<T, E>> for ExitCode {
    /// Says what the error is.
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::SUCCESS,
            Err(error) => {
                crate::println!("error: {error}");
                Self::FAILURE
            }
        }
    }
}

/// Ends the program when its output has been taken; with [`ExitCode::NO_CONSOLE`] instead of
/// success if it couldn't be.
pub async fn exit(code: ExitCode) -> ! {
    print::flush().await;
    if code == ExitCode::SUCCESS && print::is_lost() {
        abort(ExitCode::NO_CONSOLE)
    }
    abort(code)
}

/// Ends the program at once. Text that waits for the end of its line goes to the kernel's log.
pub fn abort(code: ExitCode) -> ! {
    print::abandon();
    loop {
        // It returns only if the kernel doesn't know us any more; then nothing else will do.
        let _ = sys::dispatcher::exit(code.0);
        halt();
    }
}

#[cfg(target_os = "none")]
fn halt() {
    let _ = sys::yield_now();
}

#[cfg(not(target_os = "none"))]
fn halt() {
    panic!("there is no kernel here to end the program");
}
