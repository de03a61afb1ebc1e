//! The report: one line a test, as `docs/047-running.md` says.
//!
//! ```text
//!   src/main.rs:17: a second mapping in the same slot: got Ok, want SlotInUse
//! test mapping/slots ... FAILED
//! ```

use core::fmt::{self, Write};
use core::panic::Location;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use capelin_abi::SysError;

use crate::fault::{Fault, say};
use crate::{World, call};

/// What a test comes to.
pub type Outcome = Result<(), Failure>;

/// What was wrong.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    place: &'static Location<'static>,
    what: &'static str,
    detail: Detail,
}

#[derive(Clone, Copy, Debug)]
enum Detail {
    None,
    Numbers {
        got: u64,
        want: u64,
    },
    Error(SysError),
    Result {
        got: Option<SysError>,
        want: SysError,
    },
    Fault(Fault),
}

impl From<SysError> for Failure {
    #[track_caller]
    fn from(error: SysError) -> Self {
        Self::new("an invocation", Detail::Error(error))
    }
}

impl From<Fault> for Failure {
    #[track_caller]
    fn from(fault: Fault) -> Self {
        Self::new("an access", Detail::Fault(fault))
    }
}

impl Failure {
    #[track_caller]
    fn new(what: &'static str, detail: Detail) -> Self {
        Self {
            place: Location::caller(),
            what,
            detail,
        }
    }

    /// A failure that `what` describes.
    #[track_caller]
    #[must_use]
    pub fn because(what: &'static str) -> Self {
        Self::new(what, Detail::None)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}: {}",
            self.place.file(),
            self.place.line(),
            self.what
        )?;
        match self.detail {
            Detail::None => Ok(()),
            Detail::Numbers { got, want } => write!(f, ": got {got:#x}, want {want:#x}"),
            Detail::Error(error) => write!(f, ": {error:?}"),
            Detail::Result { got: None, want } => write!(f, ": got Ok, want {want:?}"),
            Detail::Result {
                got: Some(got),
                want,
            } => write!(f, ": got {got:?}, want {want:?}"),
            Detail::Fault(fault) => write!(
                f,
                ": fault at {:#x}, ESR {:#x}",
                fault.address, fault.syndrome
            ),
        }
    }
}

/// Fails unless `condition`.
///
/// # Errors
/// Saying `what`.
#[track_caller]
pub fn check(condition: bool, what: &'static str) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(Failure::because(what))
    }
}

/// Fails unless the two are equal.
///
/// # Errors
/// Saying `what`, and both.
#[track_caller]
pub fn equal(got: u64, want: u64, what: &'static str) -> Outcome {
    if got == want {
        Ok(())
    } else {
        Err(Failure::new(what, Detail::Numbers { got, want }))
    }
}

/// Fails unless `result` is the error `want`.
///
/// # Errors
/// Saying `what`, and both.
#[track_caller]
pub fn refused<T>(result: Result<T, SysError>, want: SysError, what: &'static str) -> Outcome {
    let got = result.err();
    if got == Some(want) {
        Ok(())
    } else {
        Err(Failure::new(what, Detail::Result { got, want }))
    }
}

/// The tests of a program, one after the other.
#[derive(Debug)]
pub struct Suite {
    world: World,
}

// The name of the test that runs, for `give_up`: one dispatcher writes and reads both.
static NAME: AtomicPtr<u8> = AtomicPtr::new(core::ptr::null_mut());
static NAME_LENGTH: AtomicUsize = AtomicUsize::new(0);

impl Suite {
    /// Runs a test and reports it.
    pub fn test(&mut self, name: &'static str, test: impl FnOnce(&mut World) -> Outcome) {
        NAME.store(name.as_ptr().cast_mut(), Ordering::Relaxed);
        NAME_LENGTH.store(name.len(), Ordering::Relaxed);
        match test(&mut self.world) {
            Ok(()) => line(format_args!("test {name} ... ok")),
            Err(failure) => {
                line(format_args!("  {failure}"));
                line(format_args!("test {name} ... FAILED"));
            }
        }
    }

    /// What the tests of this program use.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }
}

/// Runs the program's tests and switches the machine off.
pub fn run(tests: fn(&mut Suite)) -> ! {
    match World::new() {
        Ok(world) => tests(&mut Suite { world }),
        Err(failure) => {
            line(format_args!("  {failure}"));
            line(format_args!("test start ... FAILED"));
        }
    }
    call::power_off()
}

/// Fails the test that runs, and ends.
pub(crate) fn give_up(why: fmt::Arguments<'_>) -> ! {
    line(format_args!("  {why}"));
    let mut log = Log {
        bytes: [0; 256],
        length: 0,
    };
    let _ = log.write_str("test ");
    let name = NAME.load(Ordering::Relaxed);
    for at in 0..NAME_LENGTH.load(Ordering::Relaxed) as u64 {
        // The name is a static string: its bytes are there whatever else is broken.
        let address = name.expose_provenance() as u64 + at;
        let word = crate::fault::peek32(address & !3);
        let _ = log.write_char(char::from(word.to_le_bytes()[(address & 3) as usize]));
    }
    let _ = log.write_str(" ... FAILED\n");
    log.flush();
    call::power_off()
}

/// Prints a line.
pub fn line(text: fmt::Arguments<'_>) {
    let mut log = Log {
        bytes: [0; 256],
        length: 0,
    };
    let _ = log.write_fmt(text);
    let _ = log.write_str("\n");
    log.flush();
}

struct Log {
    bytes: [u8; 256],
    length: usize,
}

impl Log {
    fn flush(&mut self) {
        say(self.bytes.get(..self.length).unwrap_or_default());
        self.length = 0;
    }
}

impl Write for Log {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for &byte in text.as_bytes() {
            if self.length == self.bytes.len() {
                self.flush();
            }
            self.bytes[self.length] = byte;
            self.length += 1;
        }
        Ok(())
    }
}
