//! What children do, by their first argument.

use alloc::{boxed::Box, rc::Rc, vec, vec::Vec};
use core::task::{Context, Waker};

use capelin_abi::{
    CapAddress,
    layout::{l1, slot},
    syscall::{MapFlags, SendFlags},
};
use capelin_rt::{Env, ExitCode, Listener, Lmp, bind, memory::Frame, println, sys};

use crate::{
    calls::{Server, State, exercise},
    probe::{ProbeClient, ProbeServer},
};

pub(crate) async fn run(env: &Env) -> ExitCode {
    match env.arguments().first().map(|role| &**role) {
        Some("succeed") => ExitCode::SUCCESS,
        Some("print") => {
            println!("child: this is for the console");
            ExitCode::SUCCESS
        }
        Some("seven") => ExitCode(7),
        Some("panic") => panic!("as asked"),
        Some("fault") => fault(),
        Some("overflow") => ExitCode(overflow(1)),
        Some("lost") => lost(),
        Some("overflowed") => overflowed(),
        Some("writable") => writable(),
        Some("spin") => spin(),
        Some("arguments") => arguments(env),
        Some("client") => client(env).await,
        Some("deaf") => deaf(env).await,
        Some("server") => server().await,
        other => {
            println!("child: nothing to do for {other:?}");
            ExitCode::FAILURE
        }
    }
}

/// Looks at memory that isn't mapped any more.
fn fault() -> ExitCode {
    let Ok(mapped) = Frame::new(4096).and_then(Frame::map) else {
        return ExitCode(2);
    };
    for slot in 0..=255 {
        // Whatever isn't a mapping refuses.
        let _ = sys::vnode::unmap(CapAddress::new(l1::FREE, slot));
    }
    ExitCode(u32::from(core::hint::black_box(mapped.as_slice())[0]))
}

/// The slots of tables, frames and mappings that the loader made.
fn made_by_the_loader() -> impl Iterator<Item = CapAddress> {
    (0..u32::from(slot::LOADER_COUNT)).map(|number| CapAddress(slot::LOADER.0 + number))
}

/// How many of the loader's mappings can be made writable.
fn writable() -> ExitCode {
    let flags = MapFlags::READ | MapFlags::WRITE;
    let count = made_by_the_loader().filter(|&slot| sys::vnode::protect(slot, flags).is_ok());
    ExitCode(u32::try_from(count.count()).unwrap_or(u32::MAX))
}

/// Finds that the loader had more to make than the task CNode has slots for.
fn overflowed() -> ExitCode {
    let first = CapAddress::new(l1::LOADER, 0);
    ExitCode::from(sys::cspace::identify(first.into()).is_ok())
}

/// Takes its whole address space away: not even its upcalls can run.
fn lost() -> ExitCode {
    for slot in made_by_the_loader() {
        let _ = sys::vnode::unmap(slot);
    }
    ExitCode::FAILURE
}

/// Runs off the end of its stack.
#[expect(
    unconditional_recursion,
    reason = "the end of the stack is what is to be found"
)]
fn overflow(depth: u32) -> u32 {
    let frame = core::hint::black_box([depth; 256]);
    overflow(depth.wrapping_add(1)).wrapping_add(frame[core::hint::black_box(7)])
}

fn spin() -> ExitCode {
    loop {
        core::hint::spin_loop();
    }
}

fn arguments(env: &Env) -> ExitCode {
    let expected = ["arguments", "two words", "", "ümlaut"];
    let sound = env.name() == "child"
        && env.core() == 3
        && env.arguments().iter().eq(expected.iter())
        && env.word("answer") == Some(42)
        && env.word("large") == Some(u64::MAX)
        && env.word("nothing").is_none()
        && env.capability("probe").is_none();
    // Memory of its own, too.
    let grown = vec![1u8; 300_000];
    ExitCode::from(sound && grown.iter().all(|&byte| byte == 1))
}

async fn client(env: &Env) -> ExitCode {
    let (Some(server), Some(badge)) = (env.capability("probe"), env.word("badge")) else {
        return ExitCode(2);
    };
    match bind::<ProbeClient<Lmp>>(server).await {
        Ok(client) => ExitCode::from(exercise(&client, badge).await),
        Err(error) => ExitCode::from(Err::<(), _>(error)),
    }
}

/// Asks for much and takes nothing.
async fn deaf(env: &Env) -> ExitCode {
    let Some(server) = env.capability("probe") else {
        return ExitCode(2);
    };
    let Ok(client) = bind::<ProbeClient<Lmp>>(server).await else {
        return ExitCode(3);
    };
    let bytes = vec![1; 2000];
    let mut calls: Vec<_> = (0..8).map(|_| Box::pin(client.reverse(&bytes))).collect();
    // Each is sent, as far as that goes, and not looked at again.
    let mut context = Context::from_waker(Waker::noop());
    for call in &mut calls {
        let _ = call.as_mut().poll(&mut context);
    }
    let Ok(teller) = bind::<ProbeClient<Lmp>>(server).await else {
        return ExitCode(4);
    };
    let _ = teller.note("asked").await;
    core::future::pending().await
}

async fn server() -> ExitCode {
    let Ok(listener) = Listener::new(16) else {
        return ExitCode(2);
    };
    let Ok(cap) = listener.capability(3) else {
        return ExitCode(3);
    };
    let flags = SendFlags::empty();
    if sys::send(slot::PARENT, Some(cap.address()), flags, &[1]).is_err() {
        return ExitCode(4);
    }
    let state = Rc::new(State::default());
    listener
        .serve(move |caller| ProbeServer(Server::new(Rc::clone(&state), caller.badge)))
        .await;
    ExitCode::SUCCESS
}
