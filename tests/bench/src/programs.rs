//! Memory from the memory service, programs, tasks, and the way to another core's monitor.

use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use capelin_rt::abi::{ObjectType, PAGE_SIZE};
use capelin_rt::interfaces::memory::ANY_NODE;
use capelin_rt::interfaces::monitor::{MonitorClient, THIS_CORE};
use capelin_rt::interfaces::service;
use capelin_rt::{Lmp, OwnedCap, println, services, spawn, sys, time};
use capelin_suite::figures::{BATCHES, Figures};
use capelin_suite::{Figure, Hundredths, Outcome, why};

/// Frames of a batch.
const FRAMES: u64 = 32;
/// Programs of a batch.
const PROGRAMS: u64 = 4;
/// Tasks of a batch.
const TASKS: u64 = 200;
/// Round trips to another monitor.
const ROUNDS: u32 = 500;

/// A frame of 4 KiB: the service's RAM, retyped here.
pub(crate) async fn memory() -> Outcome {
    let service = services::memory().await.map_err(why)?;
    let mut figures = Figures::new("mem-serv", FRAMES);
    for _ in 0..BATCHES {
        let mut made = Vec::new();
        let start = time::now();
        for _ in 0..FRAMES {
            let ram = service.allocate(PAGE_SIZE, PAGE_SIZE, ANY_NODE).await;
            let ram = OwnedCap::received(ram.map_err(why)?);
            let frame = OwnedCap::make(|slot| {
                let (own, from) = (sys::cspace::OWN, ram.reference());
                sys::cspace::retype(own, slot.into(), from, ObjectType::Frame, 0, PAGE_SIZE, 1)
            })
            .map_err(why)?;
            made.push((ram, frame));
        }
        figures.note(start);
        for (ram, frame) in made {
            let base = ram.identify().map_err(why)?.base.0;
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
pub(crate) async fn start() -> Outcome {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await.map_err(why)?;
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
pub(crate) async fn repeat(count: u64) -> Outcome {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await.map_err(why)?;
    run(&monitor, count).await
}

async fn run(monitor: &MonitorClient<Lmp>, count: u64) -> Outcome {
    let arguments = vec!["nothing".to_string()];
    for _ in 0..count {
        let program = monitor.spawn(THIS_CORE, "bench", &arguments).await;
        monitor.wait(program.map_err(why)?).await.map_err(why)?;
    }
    Ok(())
}

/// A task made, run and waited for.
pub(crate) async fn tasks() -> Outcome {
    let mut figures = Figures::new("thread", TASKS);
    for _ in 0..BATCHES {
        let start = time::now();
        for number in 0..TASKS {
            if spawn(async move { number }).await != number {
                return Err("a task lost its result".into());
            }
        }
        figures.note(start);
    }
    figures.print();
    Ok(())
}

/// Round trips between the monitors of cores 0 and 1, as they measure them.
pub(crate) async fn ping() -> Outcome {
    let monitor: MonitorClient<Lmp> = services::connect(service::MONITOR).await.map_err(why)?;
    // On a machine of one core there is nobody to ask.
    if let Ok(stats) = monitor.ping(1, ROUNDS).await {
        let (least, median) = (
            stats.to_ns(stats.min_ticks),
            stats.to_ns(stats.median_ticks),
        );
        let figure = Figure {
            value: Hundredths::whole(median),
            n: Some(stats.rounds.into()),
            min: Some(Hundredths::whole(least)),
            median: Some(Hundredths::whole(median)),
            ..Figure::single("monitor-ping", median, "instructions")
        };
        println!("{figure}");
    }
    Ok(())
}
