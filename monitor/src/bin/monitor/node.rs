//! What a monitor has.

use alloc::{boxed::Box, collections::BTreeMap, rc::Rc, string::String, vec::Vec};
use core::{
    cell::{Cell, RefCell},
    future::Future,
    time::Duration,
};

use capelin_abi::{CapAddress, CapRef, KernelId, Mpidr, boot::BootInfo};
use capelin_archive::Archive;
use capelin_idc::{Client, TransportError};
use capelin_interfaces::{console::ConsoleClient, memory::MemoryClient, service, skb::SkbClient};
use capelin_monitor::{
    Ticket,
    domains::Domains,
    intermon::IntermonClient,
    late::Late,
    membership::{Failure, Fate, Member, Membership, Report},
    overlay::{Hop, Overlay, Way},
    plan::Plan,
    sent::Sent,
};
use capelin_rt::{
    Listener, Lmp, OwnedCap, RtError,
    endpoint::Endpoint,
    future::{Either, race},
    notify::{Bells, Notify},
    spawn,
    sync::{Event, Mutex},
    sys::{self, kernel::Receiver},
    time,
    urpc::Urpc,
};
use capelin_spawn::Executables;

use crate::{
    children::{Expected, Images, Memories},
    interrupts::Routes,
    programs::Local,
    ram::{Adopted, GivingBack, Lent},
    relay, transfer,
};

/// A connection to another core.
pub(crate) type Remote = Hop<Urpc>;

/// Messages of local clients that may wait.
const CAPACITY: usize = 32;
/// The badge of the endpoint that programs get.
const PUBLIC: u64 = 1;

/// What only the boot core's monitor has.
pub(crate) struct BootCore {
    /// The memory service.
    pub(crate) memory: MemoryClient<Lmp>,
    /// The knowledge base; `None` when it doesn't run.
    pub(crate) skb: RefCell<Option<SkbClient<Lmp>>>,
    /// The console; `None` until a driver has it.
    pub(crate) console: RefCell<Option<ConsoleClient<Lmp>>>,
    /// Whose write it is, of the programs on other cores.
    pub(crate) console_turn: Rc<Mutex<()>>,
    /// The name service of the boot core, as programs have it.
    pub(crate) names: CapAddress,
    /// The same, by which private names are found, too.
    pub(crate) private_names: CapAddress,
    /// Interrupts of other cores.
    pub(crate) routes: Routes,
    /// What has become of all other cores.
    pub(crate) membership: RefCell<Membership>,
    /// Every core runs or has failed.
    pub(crate) settled: Event,
    /// Reports that said something new.
    pub(crate) reports: Cell<u32>,
}

/// What a monitor has. Lives as long as the monitor.
pub(crate) struct Node {
    /// This core.
    pub(crate) own: u16,
    /// The core that firmware started.
    pub(crate) boot_core: u16,
    /// This kernel.
    pub(crate) kernel: CapRef,
    /// What the CPU driver tells.
    pub(crate) info: &'static BootInfo,
    /// The modules.
    pub(crate) archive: Archive<'static>,
    /// Those of them that are programs.
    pub(crate) executables: Executables,
    /// The archive's frame, of which other kernels get copies.
    pub(crate) archive_frame: CapRef,
    /// Node of this core's home and working memory.
    pub(crate) home_node: u32,
    /// Cores in the whole machine, as far as they are known.
    pub(crate) machine_cores: Cell<usize>,
    /// Connections to other monitors.
    pub(crate) overlay: Overlay<Urpc>,
    /// What rings us: a bit a ring, as long as there are enough, so that a wake-up costs what there
    /// is to do, however many neighbours are idle.
    bells: Bells,
    /// The cores below this one that are to run.
    pub(crate) below: RefCell<Plan>,
    /// The images from which cores start; `None` until one is to be started.
    pub(crate) images: RefCell<Option<Images>>,
    /// Children that may say hello.
    pub(crate) expected: RefCell<BTreeMap<u16, Expected>>,
    /// Those of them that are late.
    pub(crate) late: RefCell<Late<Event>>,
    /// Memory of the cores below children that have said hello, until they fetch it.
    pub(crate) promised: RefCell<BTreeMap<u16, Memories>>,
    /// The programs on this core.
    pub(crate) programs: RefCell<Domains<Local>>,
    /// Memory lent to programs on this core, on other cores than the boot core.
    pub(crate) lent: RefCell<Vec<Lent>>,
    /// Memory sent to other cores, by where it begins: the slots are free again when it
    /// comes back.
    pub(crate) sent: RefCell<BTreeMap<u64, OwnedCap>>,
    /// What was given to other kernels besides.
    pub(crate) given: RefCell<Sent<OwnedCap>>,
    /// Where pieces begin that were fetched for frames, and can be given back.
    pub(crate) fetched: RefCell<Vec<u64>>,
    /// Whether memory is being given back.
    pub(crate) giving_back: Cell<GivingBack>,
    /// What was made home memory of this kernel.
    pub(crate) adopted: RefCell<Vec<Adopted>>,
    /// Where their ends are told.
    pub(crate) deaths: Endpoint,
    /// By which local programs reach us.
    pub(crate) public: OwnedCap,
    /// What only the boot core's has.
    pub(crate) boot: Option<BootCore>,
}

/// What rings us for one ring.
pub(crate) struct Bell {
    /// Our side.
    pub(crate) notify: Rc<Notify>,
    /// For the peer's kernel.
    pub(crate) ticket: Ticket,
}

/// The parts of a [`Node`] that differ by how it begins.
pub(crate) struct Beginning {
    /// See [`Node::boot_core`].
    pub(crate) boot_core: u16,
    /// The parent; `None` on the boot core.
    pub(crate) parent: Option<u16>,
    /// See [`Node::kernel`].
    pub(crate) kernel: CapRef,
    /// See [`Node::info`].
    pub(crate) info: &'static BootInfo,
    /// See [`Node::archive`].
    pub(crate) archive: Archive<'static>,
    /// See [`Node::archive_frame`].
    pub(crate) archive_frame: CapRef,
    /// See [`Node::home_node`].
    pub(crate) home_node: u32,
    /// See [`Node::machine_cores`].
    pub(crate) machine_cores: usize,
    /// See [`Node::boot`].
    pub(crate) boot: Option<BootCore>,
}

impl Node {
    /// Sets everything up that doesn't depend on others: from now on this monitor
    /// serves local programs and whoever comes over the overlay.
    ///
    /// # Errors
    /// No endpoints, slots or memory: as [`capelin_rt::endpoint::Endpoint::new`].
    pub(crate) fn begin(with: Beginning) -> Result<Rc<Self>, RtError> {
        let own = u16::try_from(with.info.kernel_id).unwrap_or(KernelId::LIMIT);
        let spawner = Box::new(|future| drop(spawn(future)));
        let listener = Listener::new(CAPACITY)?;
        let node = Rc::new(Self {
            own,
            boot_core: with.boot_core,
            kernel: with.kernel,
            info: with.info,
            executables: Executables::new(with.archive, with.archive_frame, with.kernel),
            archive: with.archive,
            archive_frame: with.archive_frame,
            home_node: with.home_node,
            machine_cores: Cell::new(with.machine_cores),
            overlay: Overlay::new(own, with.parent, spawner),
            bells: Bells::default(),
            below: RefCell::default(),
            images: RefCell::new(None),
            expected: RefCell::default(),
            late: RefCell::default(),
            promised: RefCell::default(),
            programs: RefCell::new(Domains::new(own)),
            lent: RefCell::default(),
            sent: RefCell::default(),
            given: RefCell::default(),
            fetched: RefCell::default(),
            giving_back: Cell::new(GivingBack::Not),
            adopted: RefCell::default(),
            deaths: Endpoint::new(CAPACITY)?,
            public: listener.capability(PUBLIC)?,
            boot: with.boot,
        });
        crate::programs::watch(&node);
        relay::serve(&node, listener);
        Ok(node)
    }

    /// What the monitor of the core of `to` is to ring for one ring.
    ///
    /// # Errors
    /// As [`capelin_rt::notify::Notify::new`] and [`sys::kernel::export`].
    pub(crate) fn bell_for(&self, to: Receiver) -> Result<Bell, RtError> {
        let notify = self.bells.next()?;
        let ticket = transfer::offer_copy(self, notify.cap().reference(), to)?;
        Ok(Bell { notify, ticket })
    }

    /// A client of a service of another core's monitor.
    ///
    /// # Errors
    /// [`TransportError::Closed`] when no way leads there.
    pub(crate) fn remote<C: Client<Remote>>(&self, core: u16) -> Result<C, TransportError> {
        self.overlay.connect(core, Way::Tree)
    }

    /// Whether `core` means this one.
    pub(crate) const fn is_own(&self, core: u16) -> bool {
        core == self.own || core == capelin_interfaces::monitor::THIS_CORE
    }

    /// Tells the boot core what became of cores.
    pub(crate) async fn report(&self, report: Report) {
        if let Some(boot) = &self.boot {
            boot.apply(report);
        } else if let Ok(client) = self.remote::<IntermonClient<_>>(self.boot_core) {
            // Without a way to the boot core nobody is left to be told.
            let _ = client.report(alloc::vec![report]).await;
        }
    }

    /// Writes a line on the console, from whichever core.
    pub(crate) fn say(self: &Rc<Self>, line: String) {
        if self.boot.is_some() {
            capelin_rt::println!("{line}");
            return;
        }
        let node = Rc::clone(self);
        spawn(async move {
            if let Ok(client) = node.remote::<IntermonClient<_>>(node.boot_core) {
                let mut text = line.into_bytes();
                text.push(b'\n');
                // As above.
                let _ = client.output(text).await;
            }
        });
    }

    /// The names under which programs on this core find services that we pass.
    pub(crate) fn passed(&self) -> impl Iterator<Item = (&'static str, CapAddress)> {
        let own = self.public.address();
        let names = [
            service::NAMES,
            service::MEMORY,
            service::CONSOLE,
            service::SKB,
            service::MONITOR,
            service::SYSTEM,
        ];
        // On the boot core there is a name service that knows the others.
        let boot = self.boot.as_ref().map(|boot| boot.names);
        let count = if boot.is_some() { 1 } else { names.len() };
        names
            .into_iter()
            .take(count)
            .map(move |name| (name, boot.unwrap_or(own)))
    }
}

/// Why another core can't be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unreachable {
    /// It has stopped, or one has that its messages come through.
    Stopped,
    /// It didn't answer in time.
    Silent,
}

/// How long another core may take for an answer that it needn't wait for itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// After so long without an answer, firmware is asked whether the core is off: at first, and then
/// twice as long each time, up to the last.
const FIRST_LOOK: Duration = Duration::from_millis(50);
const LAST_LOOK: Duration = Duration::from_secs(1);

impl Node {
    /// What `call` to `core` gives, if it does in time and the core doesn't stop meanwhile.
    ///
    /// # Errors
    /// [`Unreachable`].
    pub(crate) async fn in_time<T>(
        &self,
        core: u16,
        call: impl Future<Output = T>,
    ) -> Result<T, Unreachable> {
        let answer = time::timeout(PATIENCE, self.while_it_runs(core, call)).await;
        answer.unwrap_or(Err(Unreachable::Silent))
    }

    /// What `call` to `core` gives, however long it takes, as long as the core doesn't stop.
    ///
    /// # Errors
    /// [`Unreachable::Stopped`].
    pub(crate) async fn while_it_runs<T>(
        &self,
        core: u16,
        call: impl Future<Output = T>,
    ) -> Result<T, Unreachable> {
        let stops = async {
            let boot = self.boot.as_ref();
            let is_known = || boot.is_some_and(|boot| boot.is_known_cut_off(self, core));
            let mut pause = FIRST_LOOK;
            // Most answers come before firmware is asked.
            if !is_known() {
                loop {
                    time::sleep(pause).await;
                    if self.is_cut_off(core).await {
                        break;
                    }
                    pause = (pause * 2).min(LAST_LOOK);
                }
            }
        };
        match race(call, stops).await {
            Either::First(answer) => Ok(answer),
            Either::Second(()) => Err(Unreachable::Stopped),
        }
    }
}

impl Node {
    /// As [`BootCore::is_cut_off`], which the boot core is asked for by others. It isn't asked
    /// about itself; if it doesn't answer, the call's own time limit ends this.
    async fn is_cut_off(&self, core: u16) -> bool {
        if let Some(boot) = &self.boot {
            return boot.is_cut_off(self, core);
        }
        if core == self.boot_core {
            return false;
        }
        let Ok(boot) = self.remote::<IntermonClient<_>>(self.boot_core) else {
            return false;
        };
        boot.is_cut_off(core).await.unwrap_or(false)
    }
}

impl BootCore {
    /// Whether it is known that `core` doesn't run, or one that its messages come through.
    fn is_known_cut_off(&self, node: &Node, core: u16) -> bool {
        let path = self.membership.borrow().path(core, node.own);
        path.iter()
            .any(|member| matches!(member.fate, Fate::Failed(_)))
    }

    /// Whether `core` has stopped, or one that its messages come through. What firmware says of
    /// each is noted, and told on the console when it is new.
    pub(crate) fn is_cut_off(&self, node: &Node, core: u16) -> bool {
        let path = self.membership.borrow().path(core, node.own);
        // All are looked at: each that has stopped is told of.
        path.iter()
            .filter(|member| self.has_stopped(node, member))
            .count()
            > 0
    }

    fn has_stopped(&self, node: &Node, member: &Member) -> bool {
        match member.fate {
            Fate::Failed(_) => return true,
            Fate::Planned | Fate::Starting => return false,
            Fate::Running { .. } => {}
        }
        let mpidr = Mpidr(member.planned.mpidr);
        let is_off = matches!(
            sys::kernel::affinity_info(node.kernel, mpidr),
            Ok(sys::kernel::Affinity::Off)
        );
        if is_off {
            self.apply(Report {
                core: member.planned.core,
                parent: member.planned.parent,
                fate: Fate::Failed(Failure::Stopped),
            });
        }
        is_off
    }

    /// Looks after all cores.
    pub(crate) fn look_after_all(&self, node: &Node) {
        let members: Vec<Member> = self.membership.borrow().members().copied().collect();
        for member in members {
            let _ = self.has_stopped(node, &member);
        }
    }

    /// Takes a report in.
    pub(crate) fn apply(&self, report: Report) {
        let mut membership = self.membership.borrow_mut();
        let before = membership.get(report.core).map(|member| member.fate);
        if !membership.apply(report) {
            return;
        }
        self.reports.set(self.reports.get().wrapping_add(1));
        if let Fate::Failed(failure) = report.fate {
            let mpidr = membership.get(report.core).map_or(0, |m| m.planned.mpidr);
            capelin_rt::println!("core {} (MPIDR {mpidr:#x}) {failure}", report.core);
        } else if let Some(Fate::Failed(_)) = before {
            capelin_rt::println!("core {} is late, and runs", report.core);
        }
        if membership.is_settled() {
            self.settled.set();
        }
    }
}
