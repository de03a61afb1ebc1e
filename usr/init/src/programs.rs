//! Starting modules of the archive, and hearing of their ends.

use alloc::{
    collections::BTreeMap,
    rc::Rc,
    string::{String, ToString},
};
use core::{cell::RefCell, fmt};

use capelin_abi::{capability::DISPATCHER_BYTES, layout::slot, syscall::DispatcherState};
use capelin_archive::{Archive, Module};
use capelin_idc::shares::ClientId;
use capelin_kaluga::inventory::End;
use capelin_rt::{RtError, endpoint::Endpoint, println, spawn, sync::Queue};
use capelin_spawn::{
    Domain, Executables, ModuleError, Program, SpawnError,
    loader::{self, Needs},
};

/// Messages that the endpoint for ends holds: one for each program.
const CAPACITY: usize = 32;

/// Why a module doesn't run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum StartError {
    /// What the archive has isn't a program that runs here.
    Module(ModuleError),
    /// The domain couldn't be made.
    Spawn(SpawnError),
    /// Something that it needs couldn't be had.
    Runtime(RtError),
    /// The device tree names no console that could be driven.
    NoConsole,
    /// The console's device has no interrupt: nothing would tell of a key.
    NoInterrupt,
}

impl From<ModuleError> for StartError {
    fn from(error: ModuleError) -> Self {
        Self::Module(error)
    }
}

impl From<SpawnError> for StartError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl From<RtError> for StartError {
    fn from(error: RtError) -> Self {
        Self::Runtime(error)
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Module(error) => error.fmt(f),
            Self::Spawn(error) => error.fmt(f),
            Self::Runtime(error) => error.fmt(f),
            Self::NoConsole => f.write_str("the device tree names no console that it knows"),
            Self::NoInterrupt => f.write_str("the device has no interrupt"),
        }
    }
}

/// A program that has ended, and whose memory has been taken back.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: String,
    pub(crate) how: End,
}

/// The modules, and the programs that run.
pub(crate) struct Programs {
    archive: Archive<'static>,
    executables: Executables,
    deaths: Rc<Endpoint>,
    running: Rc<RefCell<BTreeMap<u64, Domain>>>,
    next: RefCell<u64>,
    /// Those that have ended, of which somebody is to be told.
    ended: Queue<Ended>,
}

impl Programs {
    /// Programs from `archive`.
    pub(crate) fn new(archive: Archive<'static>) -> Result<Self, RtError> {
        let programs = Self {
            executables: Executables::new(archive, slot::ARCHIVE.into(), slot::KERNEL.into()),
            archive,
            deaths: Rc::new(Endpoint::new(CAPACITY)?),
            running: Rc::default(),
            next: RefCell::new(1),
            ended: Queue::new(),
        };
        spawn(watch(
            Rc::clone(&programs.deaths),
            Rc::clone(&programs.running),
            programs.ended.clone(),
        ));
        Ok(programs)
    }

    /// The modules.
    pub(crate) fn modules(&self) -> impl Iterator<Item = Module<'static>> {
        self.archive.modules()
    }

    /// What memory it takes to start module `name` as `program`.
    pub(crate) fn needs(&self, name: &str, program: &Program) -> Result<Needs, StartError> {
        let executable = self.executables.find(name)?;
        Ok(loader::needs(program, &executable.image)?)
    }

    /// Starts module `name` as `program`.
    pub(crate) async fn start(&self, name: &str, program: Program) -> Result<(), StartError> {
        let executable = self.executables.find(name)?;
        let number = {
            let mut next = self.next.borrow_mut();
            *next += 1;
            *next
        };
        let program = program.death(self.deaths.for_events(number)?);
        let domain = program.make(&executable.image).await?;
        domain.run()?;
        self.running.borrow_mut().insert(number, domain);
        Ok(())
    }

    /// As which client services know the program in `domain`, while it runs.
    pub(crate) fn client(&self, domain: &str) -> Option<ClientId> {
        let running = self.running.borrow();
        let its = running.values().find(|it| it.name() == domain)?;
        let dispatcher = its.dispatcher().identify().ok()?;
        Some(ClientId(dispatcher.base.0 / DISPATCHER_BYTES))
    }

    /// Waits until a program ends. To be called by one task.
    pub(crate) async fn next_end(&self) -> Ended {
        self.ended.pop().await
    }

    /// What the monitor wants to know of each program that runs.
    pub(crate) fn for_each(&self, mut tell: impl FnMut(&Domain)) {
        self.running.borrow().values().for_each(&mut tell);
    }
}

/// Reports ends, and takes the memory back.
async fn watch(
    deaths: Rc<Endpoint>,
    running: Rc<RefCell<BTreeMap<u64, Domain>>>,
    ended: Queue<Ended>,
) {
    loop {
        let event = deaths.receive().await;
        if !event.is_event {
            continue;
        }
        let Some(domain) = running.borrow_mut().remove(&event.badge) else {
            continue;
        };
        let name = domain.name().to_string();
        let [state, code, ..] = event.words;
        let how = ending(state, code);
        match how {
            // It had nothing to do: a driver whose slot is empty.
            End::Exited(0) => {}
            End::Exited(code) => println!("init: {name} has ended with {code}"),
            End::Crashed => println!("init: {name} has crashed"),
        }
        if let Err(error) = domain.reclaim() {
            println!("init: the memory of {name} is lost: {error}");
        }
        ended.push(Ended { name, how });
    }
}

fn ending(state: u64, code: u64) -> End {
    let state = u32::try_from(state).ok();
    match state.and_then(|state| DispatcherState::try_from(state).ok()) {
        Some(DispatcherState::Exited) => End::Exited(code),
        _ => End::Crashed,
    }
}
