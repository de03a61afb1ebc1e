//! Children: what they are given, how they end, what comes back.

use alloc::string::String;
use core::time::Duration;

use capelin_abi::{
    PAGE_SIZE, VirtAddr,
    layout::slot,
    syscall::{DispatcherState, MapFlags},
};
use capelin_archive::Archive;
use capelin_idc::RemoteError;
use capelin_interfaces::service;
use capelin_rt::{ExitCode, Listener, boot, endpoint::Endpoint, memory, println, spawn, time};
use capelin_spawn::{Domain, Executables, Image, ImageError, Program, SpawnError, image::Segment};

use capelin_suite::{Figure, Outcome, Reporter, ensure, why};

/// How long a child may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) async fn run(report: &mut Reporter) {
    report.tell("spawn_arguments", arguments().await);
    report.tell("spawn_exit_codes", exit_codes().await);
    report.tell("output_without_a_console", no_console().await);
    report.tell("spawn_memory_comes_back", memory_comes_back().await);
    report.tell("spawn_running_child_is_reclaimed", reclaim_running().await);
    report.tell("spawn_refuses_bad_images", bad_images().await);
    report.tell("spawn_is_undone_when_it_fails", undone().await);
    report.tell("spawn_maps_text_from_the_archive", from_archive().await);
    report.tell("spawn_with_many_tables", many_tables().await);
}

/// Our own executable, from the archive.
pub(crate) fn image() -> Result<Image<'static>, String> {
    let archive = boot::archive().ok_or("no archive")?;
    let archive = Archive::parse(archive).map_err(why)?;
    let module = archive
        .find("test-runtime")
        .ok_or("no test-runtime in the archive")?;
    Image::parse(module.data()).map_err(why)
}

/// Runs a child to its end.
async fn run_child(program: Program) -> Result<(Domain, u64, u64), String> {
    let deaths = Endpoint::new(2).map_err(why)?;
    let program = program.death(deaths.for_events(1234).map_err(why)?);
    let domain = program.spawn(&image()?).await.map_err(why)?;
    let ended = time::timeout(LIMIT, deaths.receive()).await;
    let event = ended.map_err(|_| "the child doesn't end")?;
    ensure!(event.is_event, "{event:?} is no event");
    ensure!(event.badge == 1234, "badge {}", event.badge);
    Ok((domain, event.words[0], event.words[1]))
}

async fn expect_code(role: &str, code: ExitCode) -> Outcome {
    let program = Program::new("child").argument(role);
    let (domain, state, exit) = run_child(program).await?;
    ensure!(state == DispatcherState::Exited as u64, "state {state}");
    ensure!(exit == u64::from(code.0), "{role} ended with {exit}");
    let status = domain.status().map_err(why)?;
    ensure!(status.exit_code == code.0, "{status:?}");
    ensure!(status.run_ticks > 0, "it never ran");
    domain.reclaim().map_err(why)?;
    Ok(())
}

async fn arguments() -> Outcome {
    let program = Program::new("child")
        .core(3)
        .argument("arguments")
        .arguments(["two words", "", "ümlaut"])
        .word("answer", 42)
        .word("large", u64::MAX);
    let (domain, _, code) = run_child(program).await?;
    domain.reclaim().map_err(why)?;
    ensure!(code == 0, "the child misses something: {code}");
    Ok(())
}

async fn exit_codes() -> Outcome {
    expect_code("succeed", ExitCode::SUCCESS).await?;
    expect_code("seven", ExitCode(7)).await?;
    println!("test-runtime: these are to crash:");
    expect_code("panic", ExitCode::PANIC).await?;
    expect_code("fault", ExitCode::FAULT).await?;
    expect_code("overflow", ExitCode::FAULT).await?;
    let (domain, state, _) = run_child(Program::new("child").argument("lost")).await?;
    domain.reclaim().map_err(why)?;
    ensure!(state == DispatcherState::Faulted as u64, "state {state}");
    Ok(())
}

/// Who was given nobody to ask for a console writes to the log; who was, and finds none, doesn't
/// end with success.
async fn no_console() -> Outcome {
    expect_code("print", ExitCode::SUCCESS).await?;
    let listener = Listener::new(4).map_err(why)?;
    let names = listener.capability(1).map_err(why)?;
    let refusing = spawn(listener.serve_any(|_| Err(RemoteError::Refused)));
    let program = Program::new("child")
        .argument("print")
        .capability(service::NAMES, names.address());
    let (domain, _, code) = run_child(program).await?;
    domain.reclaim().map_err(why)?;
    drop(refusing);
    ensure!(code == u64::from(ExitCode::NO_CONSOLE.0), "{code}");
    Ok(())
}

async fn memory_comes_back() -> Outcome {
    // The first child makes tables and CNodes of ours, which stay.
    expect_code("succeed", ExitCode::SUCCESS).await?;
    let before = memory::left();
    let start = time::now();
    for _ in 0..20 {
        expect_code("succeed", ExitCode::SUCCESS).await?;
    }
    let each = time::to_duration(time::now() - start) / 20;
    let each = u64::try_from(each.as_micros()).map_err(why)?;
    println!("{}", Figure::single("rt_spawn_to_reclaim", each, "us"));
    let after = memory::left();
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

async fn reclaim_running() -> Outcome {
    let before = memory::left();
    let program = Program::new("child").argument("spin");
    let domain = program.spawn(&image()?).await.map_err(why)?;
    time::sleep(Duration::from_millis(30)).await;
    let status = domain.status().map_err(why)?;
    ensure!(status.state == DispatcherState::Runnable, "{status:?}");
    domain.reclaim().map_err(why)?;
    let after = memory::left();
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

async fn bad_images() -> Outcome {
    let text = Image::parse(b"hello, world");
    ensure!(text == Err(ImageError::UnknownFormat), "{text:?}");
    Ok(())
}

/// Text and constants need no memory, and can't be made writable.
async fn from_archive() -> Outcome {
    let archive = boot::archive().ok_or("no archive")?;
    let archive = Archive::parse(archive).map_err(why)?;
    let executables = Executables::new(archive, slot::ARCHIVE.into(), slot::KERNEL.into());
    let before = memory::left();
    let (copied, shared) = (image()?, executables.find("test-runtime").map_err(why)?);
    let is_code = |flags: MapFlags| flags.contains(MapFlags::EXECUTE);
    let read_only = copied.segments.iter();
    let read_only = read_only.filter(|segment| !segment.flags.contains(MapFlags::WRITE));
    let saved: u64 = read_only.clone().map(|segment| segment.bytes).sum();
    let constants = read_only.filter(|segment| !is_code(segment.flags)).count() as u64;
    let (with, without) = (copied.memory_bytes(), shared.image.memory_bytes());
    ensure!(saved > 0 && with - without == saved, "{with}, {without}");
    let writable = async |image: &Image<'_>| -> Result<u64, String> {
        let deaths = Endpoint::new(2).map_err(why)?;
        let program = Program::new("child").argument("writable");
        let program = program.death(deaths.for_events(5).map_err(why)?);
        let domain = program.spawn(image).await.map_err(why)?;
        let ended = time::timeout(LIMIT, deaths.receive()).await;
        domain.reclaim().map_err(why)?;
        Ok(ended.map_err(|_| "the child doesn't end")?.words[1])
    };
    let of_copies = writable(&copied).await?;
    let of_shared = writable(&shared.image).await?;
    // Its own copy of the constants is no one else's business.
    ensure!(of_copies > constants, "{of_copies} can be made writable");
    ensure!(
        of_shared == of_copies - constants,
        "{of_shared} of {of_copies}"
    );
    let after = memory::left();
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

/// A capability that doesn't exist makes the last step fail.
async fn undone() -> Outcome {
    let before = memory::left();
    let nothing = capelin_abi::CapAddress::new(0, 255);
    let program = Program::new("child").capability("nothing", nothing);
    match program.spawn(&image()?).await {
        Err(SpawnError::Runtime(_)) => {}
        other => return Err(alloc::format!("{other:?}")),
    }
    let after = memory::left();
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}

/// Segments on each side of many ends of tables: their tables and mappings take more slots than the
/// task CNode has for them.
async fn many_tables() -> Outcome {
    const TABLE_BYTES: u64 = 2 << 20;
    let before = memory::left();
    let mut image = image()?;
    let end = image.segments.last().map_or(0, |last| last.end().0);
    let first = end.next_multiple_of(TABLE_BYTES);
    for number in 1..=16 {
        image.segments.push(Segment {
            start: VirtAddr(first + 2 * number * TABLE_BYTES - PAGE_SIZE),
            bytes: 2 * PAGE_SIZE,
            flags: MapFlags::READ | MapFlags::WRITE,
            lead: 0,
            data: &[],
            file_pages: None,
        });
    }
    let deaths = Endpoint::new(2).map_err(why)?;
    let program = Program::new("child").argument("overflowed");
    let program = program.death(deaths.for_events(6).map_err(why)?);
    let domain = program.spawn(&image).await.map_err(why)?;
    let ended = time::timeout(LIMIT, deaths.receive()).await;
    domain.reclaim().map_err(why)?;
    let ended = ended.map_err(|_| "the child doesn't end")?;
    let expected = [DispatcherState::Exited as u64, 0];
    ensure!(ended.words[..2] == expected, "{:?}", ended.words);
    let after = memory::left();
    ensure!(after == before, "{before:?} became {after:?}");
    Ok(())
}
