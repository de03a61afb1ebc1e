//! The programs on this core: started from the archive, watched, and their memory
//! taken back when they end.

use alloc::{
    format,
    rc::Rc,
    string::{String, ToString},
    vec::Vec,
};
use core::future::poll_fn;
use core::task::Poll;

use capelin_abi::{
    CapAddress, CapRef, ObjectType,
    capability::{CNODE_SLOTS, L1_LIMIT},
    layout::slot,
    syscall::DispatcherState,
};
use capelin_interfaces::monitor::{
    CapabilityInfo, DomainId, DomainInfo, DomainState, MonitorError,
};
use capelin_monitor::domains::Waiter;
use capelin_rt::{
    ExitCode, OwnedCap, RtError, endpoint::News, executor::yield_now, spawn, sys, time,
};
use capelin_spawn::{Chunk, Domain, Image, ModuleError, Program, SpawnError, loader};

use crate::{
    error::Error,
    file, log,
    node::Node,
    ram::{self, GivingBack},
};

/// Home memory that a program has for its own kernel objects, in bytes.
const HOME_BYTES: u64 = 96 << 10;
/// Memory that a program has for its own frames, in bytes.
const RAM_BYTES: u64 = 1 << 20;

/// Ends of a program that noticed its crash itself.
const LAST_WORDS: [DomainState; 2] = [
    DomainState::Exited(ExitCode::FAULT.0),
    DomainState::Exited(ExitCode::PANIC.0),
];
/// How often a program's memory is asked for while others take it.
const TRIES: u32 = 8;
/// Bytes that the name of a program that others made may have, and how many of them are listed.
const MOST_NAME: usize = 64;
const MOST_ADOPTED: usize = 512;
/// CNodes of a program that are looked at before others get their turn.
const CNODES_AT_ONCE: usize = 16;
/// Of what it then said, the newest bytes.
const LAST_WORDS_BYTES: u64 = 4096;

/// What the monitor keeps of a program.
pub(crate) struct Local {
    /// As it was made; `None` for those that others made, and once it has ended.
    domain: Option<Domain>,
    /// To ask how it is doing.
    dispatcher: Option<OwnedCap>,
    /// To look at what it holds.
    cspace: Option<OwnedCap>,
    /// Given to it.
    memory_bytes: u64,
    /// Upcalls and microseconds at its end.
    last: (u64, u64),
    /// Where the kernel's log ended when it started: what it says of its end follows.
    log_start: u64,
}

impl Local {
    fn dispatcher(&self) -> Option<CapRef> {
        let own = self.domain.as_ref().map(Domain::dispatcher);
        own.or(self.dispatcher.as_ref()).map(OwnedCap::reference)
    }

    fn cspace(&self) -> Option<CapRef> {
        let own = self.domain.as_ref().map(Domain::cspace);
        own.or(self.cspace.as_ref()).map(OwnedCap::reference)
    }

    /// Whether another has made it.
    fn is_adopted(&self) -> bool {
        self.dispatcher.is_some()
    }

    /// Whether nothing is there any more.
    fn is_gone(&self) -> bool {
        let status = self.dispatcher().map(sys::dispatcher::status);
        status.is_none_or(|status| status.is_err())
    }

    /// Upcalls, and time run in microseconds.
    fn used(&self) -> (u64, u64) {
        let status = self.dispatcher().map(sys::dispatcher::status);
        match status {
            Some(Ok(status)) => (status.upcalls, microseconds(status.run_ticks)),
            _ => self.last,
        }
    }
}

fn microseconds(ticks: u64) -> u64 {
    u64::try_from(time::to_duration(ticks).as_micros()).unwrap_or(u64::MAX)
}

/// Lists this monitor itself, the first domain of its core.
///
/// # Errors
/// As [`OwnedCap::copy_of`].
pub(crate) fn list_self(node: &Node) -> Result<(), Error> {
    let own = Local {
        domain: None,
        dispatcher: Some(OwnedCap::copy_of(slot::DISPATCHER)?),
        cspace: Some(OwnedCap::copy_of(slot::L1CNODE)?),
        memory_bytes: node.info.home.bytes,
        last: (0, 0),
        log_start: 0,
    };
    node.programs
        .borrow_mut()
        .insert("monitor".to_string(), own);
    Ok(())
}

/// Starts module `program` here.
///
/// # Errors
/// [`MonitorError`].
pub(crate) async fn start(
    node: &Rc<Node>,
    program: &str,
    arguments: &[String],
) -> Result<DomainId, MonitorError> {
    let found = node.executables.find(program);
    let executable = found.map_err(|error| match error {
        ModuleError::Missing => MonitorError::NoSuchProgram,
        ModuleError::Damaged | ModuleError::Image(_) => MonitorError::BadProgram,
    })?;
    let fp = if executable.uses_fp {
        UsesFp::Yes
    } else {
        UsesFp::No
    };
    launch(node, program, arguments, &executable.image, fp).await
}

/// Starts the program in the file at `path` here.
///
/// It is copied into memory of our own first: nobody changes it once it has been checked.
///
/// # Errors
/// [`MonitorError`].
pub(crate) async fn start_file(
    node: &Rc<Node>,
    path: &str,
    arguments: &[String],
) -> Result<DomainId, MonitorError> {
    let file = file::read(node, path).await?;
    let image = Image::parse(file.bytes()).map_err(|_| MonitorError::BadProgram)?;
    let name = path.rsplit('/').next().unwrap_or(path);
    launch(node, name, arguments, &image, UsesFp::No).await
}

/// Whether a program uses the floating-point registers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum UsesFp {
    /// It does.
    Yes,
    /// It may not.
    No,
}

/// Starts `image` as `program` here.
async fn launch(
    node: &Rc<Node>,
    program: &str,
    arguments: &[String],
    image: &Image<'_>,
    fp: UsesFp,
) -> Result<DomainId, MonitorError> {
    let id = node.programs.borrow().next_id();
    let death = node
        .deaths
        .for_events(id.number())
        .map_err(|error| runtime(&error))?;
    let mut wanted = Program::new(program)
        .core(node.own)
        .arguments(arguments)
        .home_bytes(HOME_BYTES)
        .ram_bytes(RAM_BYTES)
        .death(death);
    for (name, endpoint) in node.passed() {
        wanted = wanted.capability(name, endpoint);
    }
    if fp == UsesFp::Yes {
        wanted = wanted.with_fp();
    }
    // The number is ours before anything waits: others may start programs, too.
    let entry = Local {
        domain: None,
        dispatcher: None,
        cspace: None,
        memory_bytes: 0,
        last: (0, 0),
        log_start: log::end(node).unwrap_or(0),
    };
    let id = node
        .programs
        .borrow_mut()
        .insert(program.to_string(), entry);
    match make(node, wanted, image).await {
        Ok(domain) => {
            let run = domain.run();
            let mut programs = node.programs.borrow_mut();
            let entry = programs.get_mut(id)?;
            entry.data.memory_bytes = domain.memory_bytes();
            entry.data.domain = Some(domain);
            run.map_err(|error| runtime(&error))?;
            Ok(id)
        }
        Err(error) => {
            let mut programs = node.programs.borrow_mut();
            programs.end(id, DomainState::Faulted);
            // Nobody knows its number, so nobody waits for it.
            drop(programs.forget(id));
            Err(error)
        }
    }
}

async fn make(node: &Node, wanted: Program, image: &Image<'_>) -> Result<Domain, MonitorError> {
    let needs = loader::needs(&wanted, image).map_err(spawning)?;
    for _ in 0..TRIES {
        let ensured = ram::ensure(node, needs.ram).await;
        ensured.map_err(|_| MonitorError::Exhausted)?;
        let ensured = ram::ensure_home(node, needs.home).await;
        ensured.map_err(|_| MonitorError::Exhausted)?;
        // Others that start may have taken the first while the second was waited for.
        let Ok(home) = Chunk::home(needs.home) else {
            continue;
        };
        match Chunk::ram(needs.ram).await {
            Ok(ram) => return wanted.make_in(image, home, ram).map_err(spawning),
            Err(_) => drop(home.reclaim().map_err(|error| runtime(&error))?),
        }
    }
    Err(MonitorError::Exhausted)
}

fn spawning(error: SpawnError) -> MonitorError {
    match error {
        SpawnError::Image(_) => MonitorError::BadProgram,
        SpawnError::Arguments(_) => MonitorError::Exhausted,
        SpawnError::Runtime(error) => runtime(&error),
    }
}

const fn runtime(error: &RtError) -> MonitorError {
    match error {
        RtError::System(_) => MonitorError::Kernel,
        _ => MonitorError::Exhausted,
    }
}

/// Lists a program that another has made, until its dispatcher is gone.
///
/// # Errors
/// [`MonitorError::NotAllowed`] for what isn't a dispatcher, or has a name that is too long;
/// [`MonitorError::Exhausted`].
pub(crate) fn adopt(
    node: &Node,
    name: &str,
    memory_bytes: u64,
    dispatcher: OwnedCap,
) -> Result<DomainId, MonitorError> {
    forget_gone(node);
    if name.len() > MOST_NAME || !is_a(&dispatcher, ObjectType::Dispatcher) {
        return Err(MonitorError::NotAllowed);
    }
    let adopted = |entry: &Local| entry.is_adopted();
    let programs = node.programs.borrow();
    if programs.iter().filter(|(_, it)| adopted(&it.data)).count() >= MOST_ADOPTED {
        return Err(MonitorError::Exhausted);
    }
    drop(programs);
    let entry = Local {
        domain: None,
        dispatcher: Some(dispatcher),
        cspace: None,
        memory_bytes,
        last: (0, 0),
        log_start: 0,
    };
    Ok(node.programs.borrow_mut().insert(name.to_string(), entry))
}

/// Adopted programs of which nothing is there any more aren't listed.
fn forget_gone(node: &Node) {
    let mut programs = node.programs.borrow_mut();
    let gone: Vec<DomainId> = programs
        .iter()
        .filter(|(_, entry)| entry.data.is_adopted() && entry.data.is_gone())
        .map(|(id, _)| id)
        .collect();
    for id in gone {
        drop(programs.forget(id));
    }
}

fn is_a(cap: &OwnedCap, kind: ObjectType) -> bool {
    cap.identify().is_ok_and(|identity| identity.kind == kind)
}

/// What [`adopt`] can't take: a message carries one capability.
///
/// # Errors
/// [`MonitorError::NoSuchDomain`]; [`MonitorError::NotAllowed`] for our own programs, and for what isn't an L1 CNode.
pub(crate) fn adopt_cspace(
    node: &Node,
    id: DomainId,
    cspace: OwnedCap,
) -> Result<(), MonitorError> {
    let mut programs = node.programs.borrow_mut();
    let entry = programs.get_mut(id)?;
    let may_be = entry.data.is_adopted() && entry.data.cspace.is_none();
    if !may_be || !is_a(&cspace, ObjectType::L1CNode) {
        return Err(MonitorError::NotAllowed);
    }
    entry.data.cspace = Some(cspace);
    Ok(())
}

/// Waits until a program has ended, and forgets it.
///
/// # Errors
/// [`MonitorError::NoSuchDomain`].
pub(crate) async fn wait(node: &Node, id: DomainId) -> Result<DomainState, MonitorError> {
    let waiting = Waiting {
        node,
        id,
        waiter: node.programs.borrow_mut().new_waiter(),
    };
    poll_fn(|context| {
        let mut programs = node.programs.borrow_mut();
        match programs.take_ended(id, waiting.waiter, context.waker()) {
            Ok(None) => Poll::Pending,
            Ok(Some((state, _))) => Poll::Ready(Ok(state)),
            Err(error) => Poll::Ready(Err(error)),
        }
    })
    .await
}

/// One who waits for an end, until this is dropped.
struct Waiting<'a> {
    node: &'a Node,
    id: DomainId,
    waiter: Waiter,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut programs = self.node.programs.borrow_mut();
        programs.give_up(self.id, self.waiter);
    }
}

/// Ends a program that we have started.
///
/// # Errors
/// [`MonitorError::NoSuchDomain`], [`MonitorError::NotAllowed`] for others' programs.
pub(crate) fn kill(node: &Node, id: DomainId) -> Result<(), MonitorError> {
    let mut programs = node.programs.borrow_mut();
    let entry = programs.get_mut(id)?;
    if entry.ended.is_some() {
        return Ok(());
    }
    let used = entry.data.used();
    let domain = entry.data.domain.take().ok_or(MonitorError::NotAllowed)?;
    entry.data.last = used;
    // What can't be taken back isn't used again.
    let _ = domain.reclaim();
    programs.end(id, DomainState::Faulted);
    Ok(())
}

/// The programs on this core.
pub(crate) fn list(node: &Node) -> Vec<DomainInfo> {
    forget_gone(node);
    let programs = node.programs.borrow();
    let info = |(id, entry): (DomainId, &capelin_monitor::domains::Entry<Local>)| {
        let (upcalls, run_time_us) = entry.data.used();
        DomainInfo {
            id,
            name: entry.name.clone(),
            state: entry.ended.unwrap_or_else(|| state_of(&entry.data)),
            run_time_us,
            upcalls,
            memory_bytes: entry.data.memory_bytes,
        }
    };
    programs.iter().map(info).collect()
}

fn state_of(program: &Local) -> DomainState {
    let status = program.dispatcher().map(sys::dispatcher::status);
    match status {
        Some(Ok(status)) => state(status.state, status.exit_code),
        // Its dispatcher is gone, and with it everything; or it isn't made yet.
        _ => DomainState::Stopped,
    }
}

const fn state(state: DispatcherState, code: u32) -> DomainState {
    match state {
        DispatcherState::Runnable => DomainState::Runnable,
        DispatcherState::Blocked => DomainState::Blocked,
        DispatcherState::New | DispatcherState::Stopped => DomainState::Stopped,
        DispatcherState::Exited => DomainState::Exited(code),
        DispatcherState::Faulted => DomainState::Faulted,
    }
}

/// What a program holds, from slot `first` on, at most `limit`.
///
/// # Errors
/// [`MonitorError::NoSuchDomain`], [`MonitorError::NotAllowed`] when we weren't given its
/// CSpace.
pub(crate) async fn capabilities(
    node: &Node,
    id: DomainId,
    first: u32,
    limit: u32,
) -> Result<Vec<CapabilityInfo>, MonitorError> {
    // It may end while others get their turn, and its slot be another's then.
    let cspace = || {
        let programs = node.programs.borrow();
        let cspace = programs.get(id)?.data.cspace();
        cspace.ok_or(MonitorError::NotAllowed)
    };
    let mut found = Vec::new();
    let limit = usize::try_from(limit.min(1000)).unwrap_or(0);
    let cnodes = CapAddress(first).l1()..L1_LIMIT;
    for (number, cnode) in (1_usize..).zip(cnodes) {
        if number.is_multiple_of(CNODES_AT_ONCE) {
            yield_now().await;
        }
        let cspace = cspace()?;
        match sys::cspace::identify_slot(cspace, CapRef::l1(cnode)) {
            Ok(identity) if identity.kind == ObjectType::L2CNode => {}
            // A hole between the chunks that there are.
            Ok(_) => continue,
            // Past them, or nothing of the CSpace is there any more: so it is with all that follow.
            Err(_) => break,
        }
        for slot in 0..u32::try_from(CNODE_SLOTS).unwrap_or(256) {
            let address = CapAddress(cnode << 8 | slot);
            if address.0 < first {
                continue;
            }
            if found.len() >= limit {
                return Ok(found);
            }
            match sys::cspace::identify_slot(cspace, address.into()) {
                Ok(identity) if identity.kind != ObjectType::Null => found.push(CapabilityInfo {
                    address: address.0,
                    kind: identity.kind as u8,
                    rights: identity.rights.bits(),
                    owner: identity.owner.0,
                    base: identity.base.0,
                    size: identity.size,
                }),
                _ => {}
            }
        }
    }
    Ok(found)
}

/// From now on, ends are noticed.
pub(crate) fn watch(node: &Rc<Node>) {
    let node = Rc::clone(node);
    spawn(async move {
        loop {
            let event = node.deaths.receive().await;
            if event.news() == Some(News::Missed) {
                end_missed(&node);
                give_back(&node);
            } else if event.is_event {
                let id = DomainId::new(node.own, event.badge);
                let [ended, code, ..] = event.words;
                end(&node, id, ended, code);
                give_back(&node);
            }
        }
    });
}

/// Some programs have ended, and there was no room to say which.
fn end_missed(node: &Rc<Node>) {
    let ended: Vec<_> = {
        let programs = node.programs.borrow();
        let alive = programs.iter().filter(|(_, entry)| entry.ended.is_none());
        let with_status = alive.filter_map(|(id, entry)| {
            let status = sys::dispatcher::status(entry.data.dispatcher()?).ok()?;
            Some((id, status.state, status.exit_code))
        });
        let has_ended = |state| {
            use DispatcherState::{Exited, Faulted};
            matches!(state, Exited | Faulted)
        };
        with_status
            .filter(|&(_, state, _)| has_ended(state))
            .collect()
    };
    for (id, state, code) in ended {
        end(node, id, state as u64, code.into());
    }
}

/// Memory that isn't needed any more goes back, meanwhile: other cores have a part in it.
pub(crate) fn give_back(node: &Rc<Node>) {
    if node.giving_back.get() != GivingBack::Not {
        node.giving_back.set(GivingBack::Again);
        return;
    }
    node.giving_back.set(GivingBack::Again);
    let node = Rc::clone(node);
    spawn(async move {
        while node.giving_back.replace(GivingBack::AtWork) == GivingBack::Again {
            if let Err(error) = ram::give_back(&node).await {
                node.say(format!("memory isn't given back: {error}"));
            }
        }
        node.giving_back.set(GivingBack::Not);
    });
}

/// A program has ended: says so if it crashed, and takes its memory back.
fn end(node: &Rc<Node>, id: DomainId, ended: u64, code: u64) {
    let mut programs = node.programs.borrow_mut();
    let Ok(entry) = programs.get_mut(id) else {
        return;
    };
    if entry.ended.is_some() {
        return;
    }
    let known = u32::try_from(ended).ok();
    let ended = match known.and_then(|ended| DispatcherState::try_from(ended).ok()) {
        Some(DispatcherState::Exited) => {
            DomainState::Exited(u32::try_from(code).unwrap_or(u32::MAX))
        }
        _ => DomainState::Faulted,
    };
    let used = entry.data.used();
    if ended == DomainState::Faulted
        && let Some(dispatcher) = entry.data.dispatcher()
    {
        node.say(crash(&entry.name, id, dispatcher));
    }
    if LAST_WORDS.contains(&ended) {
        last_words(node, &entry.name, id, entry.data.log_start);
    }
    entry.data.last = used;
    if let Some(domain) = entry.data.domain.take()
        && let Err(error) = domain.reclaim()
    {
        node.say(format!(
            "the memory of {} ({id}) is lost: {error}",
            entry.name
        ));
    }
    programs.end(id, ended);
}

/// A program that ended so has said why, and with which registers, in the kernel's log:
/// by then it couldn't ask a service for anything.
fn last_words(node: &Rc<Node>, name: &str, id: DomainId, since: u64) {
    let is_shown = node
        .boot
        .as_ref()
        .is_some_and(|boot| boot.console.borrow().is_none());
    // While the CPU driver has the console, it shows its log there.
    if is_shown {
        return;
    }
    let log = log::since(node, since, LAST_WORDS_BYTES).unwrap_or_default();
    let text = String::from_utf8_lossy(&log);
    node.say(format!(
        "{name} ({id}) on core {} crashed:\n{}",
        id.core(),
        text.trim_end()
    ));
}

/// A crash and the registers at it.
fn crash(name: &str, id: DomainId, dispatcher: CapRef) -> String {
    use core::fmt::Write as _;
    let register = |index| sys::dispatcher::fault_register(dispatcher, index).unwrap_or(0);
    let core = id.core();
    if (register(32), register(34)) == (0, 0) {
        return format!("{name} ({id}) on core {core} crashed: what it ran on is gone");
    }
    let mut text = format!(
        "{name} ({id}) on core {core} crashed: PC {:#x}, SP {:#x}, ESR {:#x}, FAR {:#x}",
        register(32),
        register(31),
        register(34),
        register(35),
    );
    for index in 0..31 {
        // Writing to a String can't fail.
        let _ = match index % 4 {
            0 => write!(text, "\n  x{index:<2} {:#018x}", register(index)),
            _ => write!(text, "  x{index:<2} {:#018x}", register(index)),
        };
    }
    text
}
