//! A core that hangs in the middle of its start, and goes on when nobody waits for it any more.
//!
//! The emulator holds it (`scripts/xtask/plugin/hold.c`): the guest has no part in that.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::session::Session;
use super::{Context, Outcome};
use crate::error::{Error, Result};
use crate::events;

/// Cores of the machine: on one node, the first four after the boot core are its children, and the first of these starts
/// the last; on two, the fourth starts those after it.
const CORES: u32 = 6;
/// How long that core may take from where it was held, on whichever host.
const LIMIT: Duration = Duration::from_secs(60);

/// What a core executes.
#[derive(Clone, Copy)]
enum Code {
    /// Entry code and kernel.
    Kernel,
    /// Its first program.
    Monitor,
}

impl Code {
    /// Where it ends: memory begins there on QEMU's board, and programs are linked below.
    const fn below(self) -> u64 {
        match self {
            Self::Kernel => u64::MAX,
            Self::Monitor => 0x4000_0000,
        }
    }
}

/// Which core hangs, and where.
#[derive(Clone, Copy)]
pub(super) struct Hang {
    core: u32,
    /// In what.
    code: Code,
    /// Blocks of that code that it executes before.
    after: u64,
    /// What the machine is besides.
    options: &'static str,
}

/// The cases. How far the code named is executed is less than what it takes to the hello, and more than the entry code.
pub(super) const HANGS: [(&str, Hang); 4] = [
    (
        "qemu/late/a-core-at-its-entry",
        Hang::of(1, Code::Kernel, 20),
    ),
    (
        "qemu/late/a-core-in-the-kernel",
        Hang::of(1, Code::Kernel, 10_000),
    ),
    (
        "qemu/late/a-core-in-its-monitor",
        Hang::of(1, Code::Monitor, 500),
    ),
    (
        "qemu/late/the-first-core-of-a-node",
        Hang {
            options: "--numa 2",
            ..Hang::of(3, Code::Kernel, 10_000)
        },
    ),
];

impl Hang {
    const fn of(core: u32, code: Code, after: u64) -> Self {
        Self {
            core,
            code,
            after,
            options: "",
        }
    }
}

/// Holds a core, and lets it go when the others are at the prompt.
///
/// # Errors
/// If something doesn't build, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str, hang: Hang) -> Result<Outcome> {
    let Hang {
        core,
        code,
        after,
        options,
    } = hang;
    let library = events::compile("hold")?;
    let release = library.with_file_name(format!("{}.go", name.replace('/', "-")));
    if release.exists() {
        fs::remove_file(&release).map_err(|error| Error::File(release.clone(), error))?;
    }
    let options = format!(
        "--smp {CORES} {options} --qemu-args -plugin {},core={core},after={after},below={:#x},until={}",
        library.display(),
        code.below(),
        release.display()
    );
    let mut session = Session::start(context, name, &options)?;
    let said = talk(&mut session, core, || {
        fs::write(&release, "").map_err(|error| error.to_string())
    });
    Ok(Outcome::of(Vec::from_iter(said.err())))
}

fn talk(
    session: &mut Session,
    held: u32,
    release: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let boot = session.until_prompt()?;
    contains(
        &boot,
        &format!("core {held} (MPIDR {held:#x}) does not answer"),
    )?;
    // All others run, those below it too.
    let cores = session.ask("cores")?;
    for core in (0..CORES).filter(|&core| core != held) {
        is_running(&cores, core)?;
    }
    if is_running(&cores, held).is_ok() {
        return Err(format!("the core that hangs is said to run: {cores:?}"));
    }
    contains(&session.ask("oncore 5 hello")?, "hello from core 5")?;
    release()?;
    let cores = joined(session, held)?;
    for core in 0..CORES {
        is_running(&cores, core)?;
    }
    for core in [held, CORES - 1] {
        let said = session.ask(&format!("oncore {core} hello"))?;
        contains(&said, &format!("hello from core {core}"))?;
    }
    let said = session.ask(&format!("ping {held} 10"))?;
    contains(&said, &format!("core {held}: 10 rounds"))
}

/// What `cores` says when the core that hung has joined; it is told on the console, too.
fn joined(session: &mut Session, held: u32) -> Result<String, String> {
    let end = Instant::now() + LIMIT;
    let mut said = String::new();
    while Instant::now() < end {
        let cores = session.ask("cores")?;
        said.push_str(&cores);
        if is_running(&cores, held).is_ok() {
            contains(&said, &format!("core {held} is late, and runs"))?;
            return Ok(cores);
        }
        thread::sleep(Duration::from_millis(100));
    }
    Err(format!("the core doesn't join: {said:?}"))
}

fn contains(text: &str, wanted: &str) -> Result<(), String> {
    if text.contains(wanted) {
        Ok(())
    } else {
        Err(format!("no {wanted:?} in {text:?}"))
    }
}

fn is_running(cores: &str, core: u32) -> Result<(), String> {
    let runs = cores.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next() == Some(&core.to_string()) && words.nth(2) == Some("running")
    });
    if runs {
        Ok(())
    } else {
        Err(format!("core {core} doesn't run: {cores:?}"))
    }
}
