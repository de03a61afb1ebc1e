//! Domains and cores, for programs on this core and for other monitors.
//!
//! What another core has to do goes to its monitor, which serves the same interface
//! over the overlay, for its own core only.

use alloc::{rc::Rc, string::String, vec::Vec};
use core::future::Future;

use capelin_idc::Cap;
use capelin_interfaces::monitor::{
    CapabilityInfo, CoreInfo, CoreState, DomainId, DomainInfo, DomainState, Monitor, MonitorClient,
    MonitorError, PingStats, THIS_CORE,
};
use capelin_monitor::{
    gone::Gone,
    intermon::IntermonClient,
    membership::{Fate, Member},
    overlay::Way,
    ping,
};
use capelin_rt::{OwnedCap, time};

use crate::{
    node::{Node, PATIENCE, Remote, Unreachable},
    programs, rings, transfer,
};

/// Round trips that one ping may have.
const MAX_ROUNDS: u32 = 10_000;

/// Serves one client.
pub(crate) struct MonitorService {
    pub(crate) node: Rc<Node>,
    /// It is another core's monitor: what isn't for this core isn't passed on again.
    pub(crate) is_remote: bool,
    /// For what waits on its behalf.
    pub(crate) gone: Gone,
}

const fn unreachable(why: Unreachable) -> MonitorError {
    match why {
        Unreachable::Stopped => MonitorError::CoreFailed,
        Unreachable::Silent => MonitorError::TimedOut,
    }
}

/// How long `rounds` round trips take, in ticks.
async fn measure(client: &IntermonClient<Remote>, rounds: u32) -> Result<Vec<u64>, MonitorError> {
    let mut ticks = Vec::new();
    for round in 0..rounds {
        let start = time::now();
        let word = u64::from(round);
        let answer = time::timeout(PATIENCE, client.echo(word)).await;
        let end = time::now();
        match answer {
            Ok(Ok(answer)) if answer == word => ticks.push(end.saturating_sub(start)),
            Ok(Ok(_)) => return Err(MonitorError::CoreFailed),
            Ok(Err(_)) => return Err(MonitorError::NoSuchCore),
            Err(_) => return Err(MonitorError::TimedOut),
        }
    }
    Ok(ticks)
}

impl MonitorService {
    /// What `call` to `core` gives, if it does in time and the core doesn't stop meanwhile.
    async fn in_time<T>(
        &self,
        core: u16,
        call: impl Future<Output = Result<T, MonitorError>>,
    ) -> Result<T, MonitorError> {
        let answer = self.node.in_time(core, call).await;
        answer.unwrap_or_else(|why| Err(unreachable(why)))
    }

    /// What `call` gives; nobody hears that it gave nothing, since then the client is gone.
    async fn unless_gone<T>(
        &self,
        call: impl Future<Output = Result<T, MonitorError>>,
    ) -> Result<T, MonitorError> {
        let answer = self.gone.unless(call).await;
        answer.unwrap_or(Err(MonitorError::NotAllowed))
    }

    /// A client of the monitor of `core`, which isn't this one.
    fn other(&self, core: u16) -> Result<MonitorClient<Remote>, MonitorError> {
        if self.is_remote {
            return Err(MonitorError::NoSuchCore);
        }
        let client = self.node.remote(core);
        client.map_err(|_| MonitorError::NoSuchCore)
    }

    /// A client that pings `core`, over a ring that leads there directly; one is opened
    /// when there is none.
    async fn direct(&self, core: u16) -> Result<IntermonClient<Remote>, MonitorError> {
        let node = &self.node;
        if !node.is_own(core) && !node.overlay.is_direct(core) {
            let client: IntermonClient<_> =
                node.remote(core).map_err(|_| MonitorError::NoSuchCore)?;
            let bell = node
                .bell_for(transfer::running(core))
                .map_err(|_| MonitorError::Exhausted)?;
            let opened = node.in_time(core, client.open_ring(bell.ticket)).await;
            if !matches!(opened, Ok(Ok(_))) {
                transfer::withdraw(node, bell.ticket);
            }
            let opened = opened
                .map_err(unreachable)?
                .map_err(|_| MonitorError::NoSuchCore)?;
            let ring = rings::attach(node, &opened, core, bell.notify)
                .map_err(|_| MonitorError::Exhausted)?;
            node.overlay.add_direct(core, ring);
        }
        let core = if core == THIS_CORE { node.own } else { core };
        let client = node.overlay.connect(core, Way::Direct);
        client.map_err(|_| MonitorError::NoSuchCore)
    }

    fn core_info(member: &Member) -> CoreInfo {
        let (state, boot_time_us) = match member.fate {
            Fate::Planned => (CoreState::Offline, 0),
            Fate::Starting => (CoreState::Starting, 0),
            Fate::Running { boot_us } => (CoreState::Running, boot_us),
            Fate::Failed(_) => (CoreState::Failed, 0),
        };
        CoreInfo {
            core: member.planned.core,
            mpidr: member.planned.mpidr,
            node: member.planned.node,
            state,
            parent: member.planned.parent,
            boot_time_us,
        }
    }
}

impl Monitor for MonitorService {
    async fn spawn(
        &self,
        core: u16,
        program: &str,
        arguments: &[String],
    ) -> Result<DomainId, MonitorError> {
        if self.node.is_own(core) {
            return programs::start(&self.node, program, arguments).await;
        }
        let client = self.other(core)?;
        self.in_time(core, client.spawn(THIS_CORE, program, arguments))
            .await
    }

    async fn spawn_file(&self, path: &str, arguments: &[String]) -> Result<DomainId, MonitorError> {
        programs::start_file(&self.node, path, arguments).await
    }

    async fn wait(&self, domain: DomainId) -> Result<DomainState, MonitorError> {
        if self.node.is_own(domain.core()) {
            return self.unless_gone(programs::wait(&self.node, domain)).await;
        }
        // As long as it takes; a core that stops ends it.
        let client = self.other(domain.core())?;
        let waiting = self.node.while_it_runs(domain.core(), client.wait(domain));
        let waiting = async { waiting.await.unwrap_or_else(|why| Err(unreachable(why))) };
        self.unless_gone(waiting).await
    }

    async fn kill(&self, domain: DomainId) -> Result<(), MonitorError> {
        if self.node.is_own(domain.core()) {
            let killed = programs::kill(&self.node, domain);
            programs::give_back(&self.node);
            return killed;
        }
        let client = self.other(domain.core())?;
        self.in_time(domain.core(), client.kill(domain)).await
    }

    async fn domains(&self, core: u16) -> Result<Vec<DomainInfo>, MonitorError> {
        if self.node.is_own(core) {
            return Ok(programs::list(&self.node));
        }
        let client = self.other(core)?;
        self.in_time(core, client.domains(THIS_CORE)).await
    }

    async fn cores(&self) -> Result<Vec<CoreInfo>, MonitorError> {
        let node = &self.node;
        let Some(boot) = &node.boot else {
            let client = self.other(node.boot_core)?;
            return self.in_time(node.boot_core, client.cores()).await;
        };
        boot.look_after_all(node);
        let mut cores: Vec<CoreInfo> = boot
            .membership
            .borrow()
            .members()
            .map(Self::core_info)
            .collect();
        cores.push(CoreInfo {
            core: node.own,
            mpidr: node.info.mpidr,
            node: u32::try_from(node.info.node).unwrap_or(0),
            state: CoreState::Running,
            parent: node.own,
            boot_time_us: 0,
        });
        cores.sort_unstable_by_key(|info| info.core);
        Ok(cores)
    }

    async fn capabilities(
        &self,
        domain: DomainId,
        first: u32,
        limit: u32,
    ) -> Result<Vec<CapabilityInfo>, MonitorError> {
        if self.node.is_own(domain.core()) {
            return programs::capabilities(&self.node, domain, first, limit).await;
        }
        let client = self.other(domain.core())?;
        self.in_time(domain.core(), client.capabilities(domain, first, limit))
            .await
    }

    async fn ping(&self, core: u16, rounds: u32) -> Result<PingStats, MonitorError> {
        let client = self.direct(core).await?;
        let rounds = rounds.clamp(1, MAX_ROUNDS);
        let measured = self
            .node
            .while_it_runs(core, measure(&client, rounds))
            .await;
        let ticks = measured.unwrap_or_else(|why| Err(unreachable(why)))?;
        Ok(ping::statistics(ticks, time::frequency()))
    }

    async fn settled(&self) -> Result<u32, MonitorError> {
        let Some(boot) = &self.node.boot else {
            let client = self.other(self.node.boot_core)?;
            return self.unless_gone(client.settled()).await;
        };
        let settled = async {
            boot.settled.wait().await;
            Ok(())
        };
        self.unless_gone(settled).await?;
        let others = boot.membership.borrow().running();
        Ok(u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1))
    }

    async fn adopt(
        &self,
        name: &str,
        memory_bytes: u64,
        dispatcher: Cap,
    ) -> Result<DomainId, MonitorError> {
        let dispatcher = OwnedCap::received(dispatcher);
        programs::adopt(&self.node, name, memory_bytes, dispatcher)
    }

    async fn adopt_cspace(&self, domain: DomainId, cspace: Cap) -> Result<(), MonitorError> {
        let cspace = OwnedCap::received(cspace);
        programs::adopt_cspace(&self.node, domain, cspace)
    }

    /// It may have waited for what never happens.
    fn closed(&self) {
        self.gone.set();
    }
}
