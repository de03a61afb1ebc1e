//! What tests find, and their report, by `lib/report`.

use core::fmt;
use core::panic::Location;

use capelin_abi::SysError;
use capelin_report::Reporter;
pub use capelin_report::{Figure, Mark, MarkKind};
use capelin_sys::{local, log};

use crate::fault::Fault;
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
    reporter: Reporter,
}

local! {
    /// The name of the test that runs, for [`give_up`].
    static NAME: &'static str = "start";
}

impl Suite {
    /// Runs a test and reports it.
    pub fn test(&mut self, name: &'static str, test: impl FnOnce(&mut World) -> Outcome) {
        set_name(name);
        let outcome = test(&mut self.world);
        self.reporter.tell(name, outcome);
    }

    /// Makes what several tests need; `None`, and a failed test `name`, if it can't be had.
    pub fn prepare<T>(
        &mut self,
        name: &'static str,
        prepare: impl FnOnce(&mut World) -> Result<T, Failure>,
    ) -> Option<T> {
        set_name(name);
        prepare(&mut self.world)
            .map_err(|failure| self.reporter.tell(name, Err(failure)))
            .ok()
    }

    /// All that the runner waits for has run: says how many tests failed.
    pub fn end(&self) {
        self.reporter.end();
    }

    /// What the tests of this program use.
    pub fn world(&mut self) -> &mut World {
        &mut self.world
    }
}

/// Runs the program's tests and switches the machine off.
pub fn run(tests: fn(&mut Suite)) -> ! {
    let mut reporter = Reporter::new(line);
    match World::new() {
        Ok(world) => tests(&mut Suite { world, reporter }),
        Err(failure) => reporter.tell("start", Err(failure)),
    }
    call::power_off()
}

fn set_name(name: &'static str) {
    NAME.with(|current| current.replace(name));
}

/// Fails the test that runs, and ends. Faults come here between any two instructions of the
/// program, and panics from anywhere.
pub(crate) fn give_up(why: fmt::Arguments<'_>) -> ! {
    let name = NAME.with(|current| current.try_borrow().map_or("?", |name| *name));
    Reporter::new(line).tell(name, Err(why));
    call::power_off()
}

/// Prints a line.
pub fn line(text: fmt::Arguments<'_>) {
    log::write(format_args!("{text}\n"));
}
