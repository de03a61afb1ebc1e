//! Who is served what: local programs through our endpoint, other monitors over the
//! overlay; and services of the boot core for programs on other cores.
//!
//! A program on another core finds its services as on the boot core. Its monitor serves
//! console and knowledge base by passing each call on to the boot core's monitor, and
//! that one to the service. Memory and interrupts are capabilities, so they have operations of
//! their own between monitors ([`crate::ram`], [`crate::interrupts`]).

use alloc::{boxed::Box, rc::Rc, vec::Vec};
use core::future::Future;

use capelin_idc::{
    CallError, Cap, InterfaceId, RemoteError, Service, Transport, TransportError, shares::ClientId,
};
use capelin_interfaces::{
    console::{Console, ConsoleClient, ConsoleError, ConsoleMode, ConsoleServer},
    interrupts::InterruptsServer,
    memory::{Held, Memory, MemoryError, MemoryServer, MemoryStats, Within},
    monitor::MonitorServer,
    service,
    skb::{Skb, SkbClient, SkbError, SkbServer, Solutions},
    system::SystemServer,
};
use capelin_monitor::{
    gone::Gone,
    intermon::{IntermonClient, IntermonError, IntermonServer},
    names::{NameService, Naming},
};
use capelin_rt::{Listener, Lmp, OwnedCap, RtError, lmp::Caller, services, spawn, sync::Mutex};

use crate::{
    error::Error, intermon_service::IntermonService, interrupts::RemoteInterrupts,
    monitor_service::MonitorService, node::Node, ram, system_service::SystemService,
};

/// Passes calls on to another client's service, as long as its own client is there.
struct Relay<C> {
    to: C,
    gone: Gone,
}

impl<C> Relay<C> {
    fn new(to: C) -> Self {
        let gone = Gone::default();
        Self { to, gone }
    }

    /// What `call` gives. Nobody hears of the error, since then the client is gone.
    async fn unless_gone<T, E: From<CallError>>(
        &self,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let lost = CallError::Transport(TransportError::Closed);
        let answer = self.gone.unless(call).await;
        answer.unwrap_or_else(|| Err(lost.into()))
    }
}

/// The knowledge base for one client on another core: by a connection of its own, so that what it asserts and
/// asks for is its own, and goes with it.
struct OwnSkb {
    /// `None` until it is needed.
    client: Mutex<Option<SkbClient<Lmp>>>,
    gone: Gone,
}

/// The console for programs on other cores. To its driver all of them are one client, this monitor;
/// so their writes go one after the other, or the lines of one might end within another's.
struct OneByOne {
    console: ConsoleClient<Lmp>,
    turn: Rc<Mutex<()>>,
}

/// Serves local programs and other monitors from now on.
pub(crate) fn serve(node: &Rc<Node>, listener: Listener) {
    let names = names(node);
    let local = Rc::clone(node);
    spawn(listener.serve_any(move |caller| {
        for_local(&local, names.as_ref(), caller).ok_or(RemoteError::UnknownInterface)
    }));
    let remote = Rc::clone(node);
    let accept = move |from, interface| for_remote(&remote, from, interface);
    node.overlay.serve(Box::new(accept));
}

/// On other cores than the boot core, the monitor is the name service.
fn names(node: &Rc<Node>) -> Option<NameService> {
    if node.boot.is_some() {
        return None;
    }
    let names = NameService::default();
    for name in [
        service::MEMORY,
        service::CONSOLE,
        service::SKB,
        service::INTERRUPTS,
        service::MONITOR,
        service::SYSTEM,
    ] {
        // The first entries of an empty table always fit.
        let _ = names.add(name, Cap::copy(node.public.address()));
    }
    Some(names)
}

fn offer<S: Service + 'static>(service: S, wanted: InterfaceId) -> Option<Box<dyn Service>> {
    (service.interface().hash == wanted.hash).then(|| Box::new(service) as Box<dyn Service>)
}

/// What a local program gets.
fn for_local(
    node: &Rc<Node>,
    names: Option<&NameService>,
    caller: Caller,
) -> Option<Box<dyn Service>> {
    let wanted = caller.interface;
    let of_monitor = MonitorService {
        node: Rc::clone(node),
        is_remote: false,
        gone: Gone::default(),
    };
    let of_system = SystemService {
        node: Rc::clone(node),
        is_remote: false,
    };
    let own =
        offer(MonitorServer(of_monitor), wanted).or_else(|| offer(SystemServer(of_system), wanted));
    let relayed = || {
        let names = names?;
        let console: ConsoleClient<_> = node.remote(node.boot_core).ok()?;
        let skb: SkbClient<_> = node.remote(node.boot_core).ok()?;
        let memory = RemoteMemory(Rc::clone(node), caller.client);
        offer(
            // What the system starts runs on the boot core.
            names.serve(caller.client, caller.connection, Naming::Public),
            wanted,
        )
        .or_else(|| offer(MemoryServer(memory), wanted))
        .or_else(|| offer(ConsoleServer(Relay::new(console)), wanted))
        .or_else(|| offer(SkbServer(Relay::new(skb)), wanted))
        .or_else(|| offer(InterruptsServer(RemoteInterrupts::new(node)), wanted))
    };
    own.or_else(relayed)
}

/// What the monitor of core `from` gets.
fn for_remote(node: &Rc<Node>, from: u16, wanted: InterfaceId) -> Option<Box<dyn Service>> {
    let of_intermon = IntermonService {
        node: Rc::clone(node),
        from,
    };
    let of_monitor = MonitorService {
        node: Rc::clone(node),
        is_remote: true,
        gone: Gone::default(),
    };
    let of_system = SystemService {
        node: Rc::clone(node),
        is_remote: true,
    };
    let own = offer(IntermonServer(of_intermon), wanted)
        .or_else(|| offer(MonitorServer(of_monitor), wanted))
        .or_else(|| offer(SystemServer(of_system), wanted));
    let of_boot = || {
        let boot = node.boot.as_ref()?;
        let console = boot.console.borrow().clone();
        let has_skb = boot.skb.borrow().is_some();
        console
            .and_then(|console| {
                let turn = Rc::clone(&boot.console_turn);
                offer(ConsoleServer(OneByOne { console, turn }), wanted)
            })
            .or_else(|| {
                has_skb
                    .then(OwnSkb::new)
                    .and_then(|own| offer(SkbServer(own), wanted))
            })
    };
    own.or_else(of_boot)
}

impl<T: Transport> Console for Relay<ConsoleClient<T>> {
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        self.unless_gone(self.to.write(bytes)).await
    }

    async fn read(&self, limit: u32) -> Result<Vec<u8>, ConsoleError> {
        self.unless_gone(self.to.read(limit)).await
    }

    async fn set_mode(&self, mode: ConsoleMode) -> Result<(), ConsoleError> {
        self.unless_gone(self.to.set_mode(mode)).await
    }

    async fn flush(&self) -> Result<(), ConsoleError> {
        self.unless_gone(self.to.flush()).await
    }

    fn closed(&self) {
        self.gone.set();
    }
}

impl Console for OneByOne {
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        let _turn = self.turn.lock().await;
        self.console.write(bytes).await
    }

    async fn read(&self, limit: u32) -> Result<Vec<u8>, ConsoleError> {
        self.console.read(limit).await
    }

    async fn set_mode(&self, mode: ConsoleMode) -> Result<(), ConsoleError> {
        self.console.set_mode(mode).await
    }

    async fn flush(&self) -> Result<(), ConsoleError> {
        self.console.flush().await
    }
}

impl<T: Transport> Skb for Relay<SkbClient<T>> {
    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError> {
        self.unless_gone(self.to.query(goal, limit)).await
    }

    async fn next(&self, cursor: u64, limit: u32) -> Result<Solutions, SkbError> {
        self.unless_gone(self.to.next(cursor, limit)).await
    }

    async fn close(&self, cursor: u64) {
        // One-way: nobody hears of it.
        let _ = self.to.close(cursor).await;
    }

    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError> {
        self.unless_gone(self.to.assert_clause(clause)).await
    }

    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError> {
        self.unless_gone(self.to.retract_clause(clause)).await
    }

    async fn consult(&self, program: &str) -> Result<u32, SkbError> {
        self.unless_gone(self.to.consult(program)).await
    }

    async fn read_boot_rules(&self) -> Result<u32, SkbError> {
        self.unless_gone(self.to.read_boot_rules()).await
    }

    fn closed(&self) {
        self.gone.set();
    }
}

impl OwnSkb {
    fn new() -> Self {
        Self {
            client: Mutex::new(None),
            gone: Gone::default(),
        }
    }

    /// Its connection, which is made when there is none.
    async fn to(&self) -> Result<SkbClient<Lmp>, SkbError> {
        let mut known = self.client.lock().await;
        if let Some(client) = &*known {
            return Ok(client.clone());
        }
        let lost = CallError::Transport(TransportError::Closed);
        let client: SkbClient<Lmp> =
            services::connect(service::SKB)
                .await
                .map_err(|error| match error {
                    RtError::Call(error) => error,
                    _ => lost,
                })?;
        *known = Some(client.clone());
        Ok(client)
    }

    /// As [`Relay::unless_gone`], on its connection.
    async fn ask<T>(
        &self,
        call: impl AsyncFnOnce(SkbClient<Lmp>) -> Result<T, SkbError>,
    ) -> Result<T, SkbError> {
        let answer = async { call(self.to().await?).await };
        let lost = CallError::Transport(TransportError::Closed);
        let answer = self.gone.unless(answer).await;
        answer.unwrap_or_else(|| Err(lost.into()))
    }
}

impl Skb for OwnSkb {
    async fn query(&self, goal: &str, limit: u32) -> Result<Solutions, SkbError> {
        self.ask(async |skb| skb.query(goal, limit).await).await
    }

    async fn next(&self, cursor: u64, limit: u32) -> Result<Solutions, SkbError> {
        self.ask(async |skb| skb.next(cursor, limit).await).await
    }

    async fn close(&self, cursor: u64) {
        let closed = self.ask(async |skb| Ok(skb.close(cursor).await?));
        // One-way: nobody hears of it.
        let _ = closed.await;
    }

    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError> {
        self.ask(async |skb| skb.assert_clause(clause).await).await
    }

    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError> {
        self.ask(async |skb| skb.retract_clause(clause).await).await
    }

    async fn consult(&self, program: &str) -> Result<u32, SkbError> {
        self.ask(async |skb| skb.consult(program).await).await
    }

    async fn read_boot_rules(&self) -> Result<u32, SkbError> {
        self.ask(async |skb| skb.read_boot_rules().await).await
    }

    fn closed(&self) {
        self.gone.set();
    }
}

/// Memory for programs on this core, which the monitor lends: so it has an ancestor
/// here, and comes back when they end.
struct RemoteMemory(Rc<Node>, ClientId);

impl Memory for RemoteMemory {
    /// On whichever node there is: what the monitor has lies on its core's.
    async fn allocate(&self, bytes: u64, alignment: u64, _node: u32) -> Result<Cap, MemoryError> {
        match ram::lend(&self.0, self.1, bytes, alignment).await {
            Ok(ram) => Ok(ram.give().keep_revoke()),
            Err(Error::Memory(error) | Error::Intermon(IntermonError::Memory(error))) => Err(error),
            Err(Error::Intermon(IntermonError::Call(error))) => Err(error.into()),
            Err(_) => Err(MemoryError::Exhausted),
        }
    }

    /// What the monitor has lies where it lies: there may be some, or not.
    async fn allocate_within(
        &self,
        bytes: u64,
        alignment: u64,
        Within { node, from, end }: Within,
    ) -> Result<Cap, MemoryError> {
        let cap = self.allocate(bytes, alignment, node).await?;
        let ram = OwnedCap::received(cap);
        match ram.identify() {
            Ok(it) if it.base.0 >= from && it.base.0.saturating_add(it.size) <= end => {
                Ok(ram.give().keep_revoke())
            }
            _ => Err(MemoryError::Exhausted),
        }
    }

    async fn free(&self, base: u64, bytes: u64) -> Result<(), MemoryError> {
        ram::take_back(&self.0, base, bytes)
    }

    async fn stats(&self, node: u32) -> Result<MemoryStats, MemoryError> {
        let lost = CallError::Transport(TransportError::Closed);
        let client: IntermonClient<_> = self.0.remote(self.0.boot_core).map_err(|_| lost)?;
        client.memory_stats(node).await
    }

    async fn add(&self, ram: Cap, _node: u32) -> Result<(), MemoryError> {
        drop(OwnedCap::received(ram));
        Err(MemoryError::NotAllowed)
    }

    async fn held(&self) -> Result<Vec<Held>, MemoryError> {
        let lost = CallError::Transport(TransportError::Closed);
        let client: IntermonClient<_> = self.0.remote(self.0.boot_core).map_err(|_| lost)?;
        client.memory_held().await
    }
}
