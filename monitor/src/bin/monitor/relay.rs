//! Who is served what: local programs through our endpoint, other monitors over the
//! overlay; and services of the boot core for programs on other cores.
//!
//! A program on another core finds its services as on the boot core. Its monitor serves
//! console and knowledge base by passing each call on to the boot core's monitor, and
//! that one to the service. Memory and interrupts are capabilities, so they have operations of
//! their own between monitors ([`crate::ram`], [`crate::interrupts`]).

use alloc::{boxed::Box, rc::Rc, vec::Vec};

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
    intermon::{IntermonClient, IntermonError, IntermonServer},
    names::{NameService, Naming},
};
use capelin_rt::{Listener, Lmp, OwnedCap, lmp::Caller, spawn, sync::Mutex};

use crate::{
    error::Error, intermon_service::IntermonService, interrupts::RemoteInterrupts,
    monitor_service::MonitorService, node::Node, ram, system_service::SystemService,
};

/// Passes calls on to another client's service.
struct Relay<C>(C);

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
        .or_else(|| offer(ConsoleServer(Relay(console)), wanted))
        .or_else(|| offer(SkbServer(Relay(skb)), wanted))
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
        let skb = boot.skb.borrow().clone();
        console
            .and_then(|console| {
                let turn = Rc::clone(&boot.console_turn);
                offer(ConsoleServer(OneByOne { console, turn }), wanted)
            })
            .or_else(|| skb.and_then(|skb| offer(SkbServer(Relay(skb)), wanted)))
    };
    own.or_else(of_boot)
}

impl<T: Transport> Console for Relay<ConsoleClient<T>> {
    async fn write(&self, bytes: &[u8]) -> Result<(), ConsoleError> {
        self.0.write(bytes).await
    }

    async fn read(&self, limit: u32) -> Result<Vec<u8>, ConsoleError> {
        self.0.read(limit).await
    }

    async fn set_mode(&self, mode: ConsoleMode) -> Result<(), ConsoleError> {
        self.0.set_mode(mode).await
    }

    async fn flush(&self) -> Result<(), ConsoleError> {
        self.0.flush().await
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
        self.0.query(goal, limit).await
    }

    async fn next(&self, cursor: u64, limit: u32) -> Result<Solutions, SkbError> {
        self.0.next(cursor, limit).await
    }

    async fn close(&self, cursor: u64) {
        // One-way: nobody hears of it.
        let _ = self.0.close(cursor).await;
    }

    async fn assert_clause(&self, clause: &str) -> Result<(), SkbError> {
        self.0.assert_clause(clause).await
    }

    async fn retract_clause(&self, clause: &str) -> Result<bool, SkbError> {
        self.0.retract_clause(clause).await
    }

    async fn consult(&self, program: &str) -> Result<u32, SkbError> {
        self.0.consult(program).await
    }

    async fn read_boot_rules(&self) -> Result<u32, SkbError> {
        self.0.read_boot_rules().await
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
