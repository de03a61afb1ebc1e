//! Memory from the memory service, programs, tasks, and the way to another core's monitor.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use capelin_rt::abi::{ObjectType, PAGE_SIZE};
use capelin_rt::interfaces::memory::ANY_NODE;
use capelin_rt::interfaces::monitor::{MonitorClient, THIS_CORE};
use capelin_rt::interfaces::service;
use capelin_rt::{Lmp, OwnedCap, RtError, println, services, spawn, sys, time};

use crate::figures::{BATCHES, Figures};

/// Frames of a batch.
const FRAMES: u64 = 32;
/// Programs of a batch.
const PROGRAMS: u64 = 4;
/// Tasks of a batch.
const TASKS: u64 = 200;
/// Round trips to another monitor.
const ROUNDS: u32 = 500;

/// A frame of 4 KiB: the service's RAM, retyped here.
pub(crate) async fn memory() -> Result<(), RtError> {
    let service = services::memory().await?;
    let mut figures = Figures::new("mem-serv", FRAMES);
    for _ in 0..BATCHES {
        let mut made = Vec::new();
        let start = time::now();
        for _ in 0..FRAMES {
            let ram = service.allocate(PAGE_SIZE, PAGE_SIZE, ANY_NODE).await;
            let ram = OwnedCap::received(ram.map_err(|_| RtError::OutOfMemory)?);
            let frame = OwnedCap::make(|slot| {
                let (own, from) = (sys::cspace::OWN, ram.reference());
                sys::cspace::retype(own, slot.into(), from, ObjectType::Frame, 0, PAGE_SIZE, 1)
            })?;
            made.push((ram, frame));
        }
        figures.note(start);
        for (ram, frame) in made {
            let base = ram.identify()?.base.0;
            drop(frame);
            drop(ram);
            // What it doesn't take back shows in `mem`.
            let _ = service.free(base, PAGE_SIZE).await;
        }
    }
    figures.print();
    Ok(())
}

/// From asking for a program until it has run and its memory is back.
pub(crate) async fn start() -> Result<(), RtError> {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await?;
    let mut figures = Figures::new("spawn", PROGRAMS);
    for _ in 0..BATCHES {
        let start = time::now();
        run(&monitor, PROGRAMS).await?;
        figures.note(start);
    }
    figures.print();
    Ok(())
}

/// Starts `count` programs, one after the other: to see where the instructions go, which takes the
/// difference of two runs.
pub(crate) async fn repeat(count: u64) -> Result<(), RtError> {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await?;
    run(&monitor, count).await
}

async fn run(monitor: &MonitorClient<Lmp>, count: u64) -> Result<(), RtError> {
    let arguments = vec!["nothing".to_string()];
    for _ in 0..count {
        let program = monitor.spawn(THIS_CORE, "bench", &arguments).await;
        let ended = match program {
            Ok(program) => monitor.wait(program).await.is_ok(),
            Err(_) => false,
        };
        if !ended {
            println!("bench: a program didn't run");
            return Err(RtError::NoService);
        }
    }
    Ok(())
}

/// A task made, run and waited for.
pub(crate) async fn tasks() {
    let mut figures = Figures::new("thread", TASKS);
    for _ in 0..BATCHES {
        let start = time::now();
        for number in 0..TASKS {
            if spawn(async move { number }).await != number {
                println!("bench: a task lost its result");
            }
        }
        figures.note(start);
    }
    figures.print();
}

/// Round trips between the monitors of cores 0 and 1, as they measure them.
pub(crate) async fn ping() -> Result<(), RtError> {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await?;
    // On a machine of one core there is nobody to ask.
    if let Ok(stats) = monitor.ping(1, ROUNDS).await {
        let (least, median) = (
            stats.to_ns(stats.min_ticks),
            stats.to_ns(stats.median_ticks),
        );
        println!(
            "bench: monitor-ping {median} instructions n={} min={least} median={median}",
            stats.rounds
        );
    }
    Ok(())
}
