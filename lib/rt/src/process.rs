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

/// Ends the program when its output has been taken.
pub async fn exit(code: ExitCode) -> ! {
    print::flush().await;
    abort(code)
}

/// Ends the program at once.
pub fn abort(code: ExitCode) -> ! {
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
