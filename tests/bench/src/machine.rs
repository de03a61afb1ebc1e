//! Boot, and memory in use.

use capelin_rt::interfaces::memory::ANY_NODE;
use capelin_rt::interfaces::monitor::THIS_CORE;
use capelin_rt::interfaces::service;
use capelin_rt::interfaces::system::SystemClient;
use capelin_rt::{Lmp, println, services};
use capelin_suite::{Figure, Outcome, why};

/// What the CPU driver has run since it was entered, without what it slept: up to the shell, and
/// the start of this program, which is more than is asked for. And what of the machine's memory
/// isn't free: what the memory service gave out, and home memory in use.
pub(crate) async fn run() -> Outcome {
    let system: SystemClient<Lmp> = services::connect(service::SYSTEM).await.map_err(why)?;
    let stats = system.kernel_stats(THIS_CORE).await;
    let stats = stats.map_err(why)?;
    let memory = services::memory().await.map_err(why)?.stats(ANY_NODE).await;
    let memory = memory.map_err(why)?;
    let boot = stats.uptime_us.saturating_sub(stats.idle_us) * 1000;
    println!("{}", Figure::single("boot", boot, "instructions"));
    let given = memory.total_bytes.saturating_sub(memory.free_bytes);
    let used = (given + stats.object_bytes) / 1024;
    println!("{}", Figure::single("memory", used, "KiB"));
    Ok(())
}
