//! How a monitor begins on the boot core: the plan, and all cores' memory.

use alloc::rc::Rc;
use core::{
    cell::{Cell, RefCell},
    time::Duration,
};

use capelin_abi::{
    PAGE_SIZE,
    boot::{BootInfo, HOME_ALIGNMENT},
};
use capelin_archive::Archive;
use capelin_interfaces::{
    console::ConsoleClient,
    handover,
    memory::{ANY_NODE, MemoryStats, Within},
    service,
    skb::{SkbClient, SkbError},
};
use capelin_monitor::{
    membership::{Failure, Fate, Membership, Patience, Report},
    plan::{CORES_QUERY, Plan, TREE_QUERY},
};
use capelin_rt::{
    Env, Lmp, OwnedCap, RtError, boot, print, println, services, spawn,
    sync::{Event, Mutex},
    time,
};
use zerocopy::FromBytes;

use crate::{
    children::{self, CoreMemory, Memories},
    error::Error,
    interrupts::Routes,
    node::{Beginning, BootCore, Node},
    ram,
};

/// How long the knowledge base may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);
/// Memory that is kept for programs when the cores get theirs, in bytes; a quarter where
/// there is little.
const RESERVE: u64 = 16 << 20;
/// A machine has plenty of memory when there is this much for each core, in bytes.
const PLENTY: u64 = 32 << 20;
/// Working memory of a monitor, and what its home memory has beyond the least, in
/// bytes: where memory is scarce, and where there is plenty.
const SCARCE_RAM: u64 = 1 << 20;
const PLENTY_RAM: u64 = 4 << 20;
const PLENTY_HOME: u64 = 2 << 20;

/// Begins, as a program that `init` has started.
///
/// # Errors
/// What a monitor can't do without. Without a knowledge base, only this core runs.
pub(crate) async fn begin(env: &Env) -> Result<(), Error> {
    let passed = |name: &str| env.capability(name).ok_or(Error::HandOver);
    let page = boot::read_only(OwnedCap::adopt(passed(handover::BOOT_INFO)?))?;
    let (info, _) = BootInfo::ref_from_prefix(page).map_err(|_| Error::HandOver)?;
    let archive_frame = passed(handover::ARCHIVE)?;
    let kernel = passed(handover::KERNEL)?.into();
    let own = u16::try_from(info.kernel_id).map_err(|_| Error::HandOver)?;
    let archive = boot::read_only(OwnedCap::adopt(archive_frame))?;
    let archive = Archive::parse(archive).map_err(Error::Archive)?;
    let boot = BootCore {
        memory: services::memory().await?,
        skb: RefCell::new(None),
        console: RefCell::new(None),
        console_turn: Rc::new(Mutex::new(())),
        names: passed(handover::PUBLIC_NAMES)?,
        private_names: passed(handover::PRIVATE_NAMES)?,
        routes: Routes::default(),
        membership: RefCell::default(),
        settled: Event::new(),
        reports: Cell::new(0),
    };
    let node = Node::begin(Beginning {
        boot_core: own,
        parent: None,
        kernel,
        info,
        archive,
        archive_frame: archive_frame.into(),
        home_node: u32::try_from(info.node).unwrap_or(0),
        machine_cores: 1,
        boot: Some(boot),
    })?;
    register(&node).await?;
    spawn(find_console(Rc::clone(&node)));
    let asked = match env.word(handover::HAS_SKB) {
        Some(0) => None,
        _ => ask_for_plan(&node).await,
    };
    let plan = asked.unwrap_or_else(|| {
        println!("monitor: without an answer of the knowledge base, only core {own} runs");
        Plan::default()
    });
    node.machine_cores.set(plan.cores().len() + 1);
    let Some(boot) = &node.boot else {
        return Ok(());
    };
    *boot.membership.borrow_mut() = Membership::new(&plan);
    let (plan, memories) = allot(&node, boot, plan).await;
    children::start_all(&node, plan, memories);
    spawn(give_up(Rc::clone(&node)));
    if boot.membership.borrow().is_settled() {
        boot.settled.set();
    }
    Ok(())
}

/// When nothing has been heard of any core for twice as long as one may take, those of which
/// nothing final was heard have failed: the one that was to start them vanished after its
/// hello.
async fn give_up(node: Rc<Node>) {
    let Some(boot) = &node.boot else { return };
    let mut patience = Patience::for_a_core(node.machine_cores.get()).doubled();
    let mut seen = boot.reports.get();
    while !boot.membership.borrow().is_settled() {
        let began = time::now();
        time::sleep(Duration::from_millis(Patience::STEP_MS)).await;
        let took = time::to_duration(time::now().saturating_sub(began));
        if boot.reports.get() != seen {
            seen = boot.reports.get();
            patience.renew();
        } else if patience.step(u64::try_from(took.as_millis()).unwrap_or(u64::MAX)) {
            let overdue = boot.membership.borrow().overdue();
            overdue.into_iter().for_each(|report| boot.apply(report));
            return;
        }
    }
}

async fn register(node: &Node) -> Result<(), Error> {
    let names = services::names().await?;
    for name in [service::MONITOR, service::SYSTEM] {
        let endpoint = OwnedCap::copy_of(node.public.address())?;
        // A second monitor isn't a matter of ours.
        if let Err(error) = names.register(name, endpoint.give()).await {
            println!("monitor: cannot register as {name}: {error}");
        }
    }
    Ok(())
}

/// Sends our text, and that of other cores' programs, to the console driver once there
/// is one.
async fn find_console(node: Rc<Node>) {
    let console = services::wait_for::<ConsoleClient<Lmp>>(service::CONSOLE).await;
    if let (Ok(console), Some(boot)) = (console, &node.boot) {
        print::to_console(console.clone());
        *boot.console.borrow_mut() = Some(console);
    }
}

/// Asks the knowledge base who starts whom; says why there is no answer.
async fn ask_for_plan(node: &Node) -> Option<Plan> {
    let skb = services::wait_for::<SkbClient<Lmp>>(service::SKB);
    let skb = time::timeout(PATIENCE, skb).await.ok()?.ok()?;
    if let Some(boot) = &node.boot {
        *boot.skb.borrow_mut() = Some(skb.clone());
    }
    let answers = async {
        let cores = skb.all(CORES_QUERY).await?;
        let tree = skb.all(TREE_QUERY).await?;
        Ok::<_, SkbError>((cores, tree))
    };
    match answers.await {
        Ok((cores, tree)) => {
            let mut plan = Plan::from_solutions(node.own, &cores, &tree)
                .inspect_err(|error| println!("monitor: {error}"))
                .ok()?;
            if let Some(query) = plan.rings_query() {
                let answer = skb.all(&query).await;
                // A ring lies well enough at the child.
                let _ = plan.place_rings(&answer.unwrap_or_default());
            }
            Some(plan)
        }
        Err(error) => {
            println!("monitor: the knowledge base: {error}");
            None
        }
    }
}

/// Fetches the memory of all cores, on their own nodes. Cores for which there is none are
/// reported, and left out; those that they were to start go to their parents.
async fn allot(node: &Node, boot: &BootCore, mut plan: Plan) -> (Plan, Memories) {
    let mut memories = Memories::new();
    let least = match children::images(node) {
        Ok(images) => images.layout.home_bytes(),
        Err(error) => {
            println!("monitor: {error}");
            for core in plan.cores() {
                boot.apply(Report {
                    core: core.core,
                    parent: node.own,
                    fate: Fate::Failed(Failure::NoImage),
                });
            }
            return (Plan::default(), memories);
        }
    };
    let free = |stats: MemoryStats| stats.free_bytes;
    let total_free = boot.memory.stats(ANY_NODE).await.map_or(0, free);
    let per_core = total_free / (plan.cores().len() as u64 + 1);
    let sizes = [
        (least + PLENTY_HOME, PLENTY_RAM),
        // Also where there is plenty, but in pieces.
        (least, SCARCE_RAM),
    ];
    let sizes = sizes
        .get(usize::from(per_core < PLENTY)..)
        .unwrap_or_default();
    let mut budget = total_free - RESERVE.min(total_free / 4);
    for core in plan.cores().to_vec() {
        let memory = fetch(node, sizes, budget, core.home_node).await;
        match memory {
            Ok((memory, bytes)) => {
                budget -= bytes;
                memories.insert(core.core, memory);
            }
            Err(_) => {
                boot.apply(Report {
                    core: core.core,
                    parent: core.parent,
                    fate: Fate::Failed(Failure::NoMemory),
                });
                plan.leave_out(core.core);
            }
        }
    }
    (plan, memories)
}

/// A core's memory, at most `budget` bytes, and how many they are. `sizes`: bytes of home
/// memory and of working memory, of which the first that can be had are taken: memory may
/// be there, and in pieces.
async fn fetch(
    node: &Node,
    sizes: &[(u64, u64)],
    budget: u64,
    numa: u32,
) -> Result<(CoreMemory, u64), Error> {
    let mut last = Error::Runtime(RtError::OutOfMemory);
    for &(home, working) in sizes {
        let bytes = home + working;
        if bytes > budget {
            continue;
        }
        let both = async {
            Ok(CoreMemory {
                home: near(node, home, HOME_ALIGNMENT, numa).await?,
                ram: near(node, working, PAGE_SIZE, numa).await?,
            })
        };
        match both.await {
            Ok(memory) => return Ok((memory, bytes)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Memory on node `numa`, or, when that is full, on any.
async fn near(node: &Node, bytes: u64, alignment: u64, numa: u32) -> Result<OwnedCap, Error> {
    match ram::allocate(node, bytes, alignment, Within::node(numa)).await {
        Ok(ram) => Ok(ram),
        Err(_) => ram::allocate(node, bytes, alignment, Within::node(ANY_NODE)).await,
    }
}
