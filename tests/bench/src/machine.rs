//! Boot, and memory in use.

use capelin_rt::interfaces::memory::ANY_NODE;
use capelin_rt::interfaces::monitor::THIS_CORE;
use capelin_rt::interfaces::service;
use capelin_rt::interfaces::system::SystemClient;
use capelin_rt::{Lmp, RtError, println, services};

/// What the CPU driver has run since it was entered, without what it slept: up to the shell, and
/// the start of this program, which is more than is asked for. And what of the machine's memory
/// isn't free: what the memory service gave out, and home memory in use.
pub(crate) async fn run() -> Result<(), RtError> {
    let system: SystemClient<Lmp> = services::connect(service::SYSTEM).await?;
    let stats = system.kernel_stats(THIS_CORE).await;
    let stats = stats.map_err(|_| RtError::NoService)?;
    let memory = services::memory().await?.stats(ANY_NODE).await;
    let memory = memory.map_err(|_| RtError::NoService)?;
    let boot = stats.uptime_us.saturating_sub(stats.idle_us) * 1000;
    println!("bench: boot {boot} instructions n=1");
    let given = memory.total_bytes.saturating_sub(memory.free_bytes);
    let used = (given + stats.object_bytes) / 1024;
    println!("bench: memory {used} KiB n=1");
    Ok(())
}
