//! What operations between kernels hold, for whom, and how it ends.

use capelin_abi::syscall::Invocation;
use capelin_abi::{KernelId, ObjectType, OperationId, PAGE_SIZE, SysError};

use crate::world::{World, cap, slot};

/// Whoever runs locks what the capability in slot `of` names.
fn lock(world: &mut World, of: u8) -> Result<OperationId, SysError> {
    let arguments = [cap(of).to_word()];
    let answer = world.invoke(slot::KERNEL, Invocation::Lock, &arguments)?;
    Ok(OperationId(answer[0]))
}

fn unlock(world: &mut World, id: OperationId) -> Result<(), SysError> {
    world
        .invoke(slot::KERNEL, Invocation::Unlock, &[id.0])
        .map(drop)
}

fn copy(world: &mut World, of: u8, to: u8) -> Result<(), SysError> {
    let arguments = [cap(to).to_word(), cap(of).to_word(), u64::MAX >> 58];
    world
        .invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .map(drop)
}

fn delete(world: &mut World, at: u8) -> Result<(), SysError> {
    world
        .invoke(slot::L1CNODE, Invocation::Delete, &[cap(at).to_word()])
        .map(drop)
}

/// A world with a frame in slot 200, and a copy in 201.
fn world() -> World {
    let mut world = World::new();
    world
        .retype_ram(200, ObjectType::Frame, 0, PAGE_SIZE)
        .expect("free memory");
    copy(&mut world, 200, 201).expect("an empty slot");
    world
}

#[test]
fn a_lock_holds_until_it_is_ended() {
    let mut world = world();
    let id = lock(&mut world, 201).expect("it is ours");
    assert_eq!(id.kernel(), KernelId(0));
    for of in [200, 201] {
        assert_eq!(copy(&mut world, of, 210), Err(SysError::Locked));
        assert_eq!(delete(&mut world, of), Err(SysError::Locked));
        assert_eq!(lock(&mut world, of), Err(SysError::Locked));
    }
    let next = OperationId::new(id.kernel(), id.place(), id.number() + 1);
    let beside = OperationId::new(id.kernel(), id.place() ^ 1, id.number());
    for made_up in [OperationId(0), OperationId(u64::MAX), next, beside] {
        let refused = unlock(&mut world, made_up);
        assert_eq!(refused, Err(SysError::NoSuchOperation), "{made_up:?}");
    }
    assert_eq!(unlock(&mut world, id), Ok(()));
    assert_eq!(unlock(&mut world, id), Err(SysError::NoSuchOperation));
    assert_eq!(copy(&mut world, 200, 210), Ok(()));
    // The same place, another name.
    let later = lock(&mut world, 200).expect("it isn't locked");
    assert_eq!(later.place(), id.place());
    assert_eq!(unlock(&mut world, id), Err(SysError::NoSuchOperation));
    assert_eq!(copy(&mut world, 200, 211), Err(SysError::Locked));
}

/// What stays on its kernel needs no lock, and whoever locked a CSpace would have to look
/// for the way out.
#[test]
fn what_stays_here_is_not_locked() {
    let mut world = world();
    for of in [
        slot::L1CNODE,
        slot::VSPACE,
        slot::DISPATCHER,
        slot::KERNEL,
        slot::IRQ,
        slot::ENDPOINT,
        slot::HOME,
    ] {
        assert_eq!(lock(&mut world, of), Err(SysError::WrongType), "{of}");
    }
}

#[test]
fn a_lock_that_fails_takes_no_place() {
    let mut world = world();
    for _ in 0..40 {
        assert_eq!(lock(&mut world, 99), Err(SysError::EmptySlot));
    }
    let ids: Vec<_> = (0..16)
        .map(|n| {
            let offset = (n + 4) * PAGE_SIZE;
            let to = 220 + u8::try_from(n).expect("a few");
            world
                .retype_ram(to, ObjectType::Frame, offset, PAGE_SIZE)
                .expect("free memory");
            lock(&mut world, to).expect("a place")
        })
        .collect();
    assert_eq!(lock(&mut world, 200), Err(SysError::NoResources));
    assert_eq!(unlock(&mut world, ids[7]), Ok(()));
    assert!(lock(&mut world, 200).is_ok());
}

/// However the dispatcher ends that began it: nobody else knows of it.
#[test]
fn a_lock_ends_with_whom_it_was_for() {
    for how in 0..5 {
        let mut world = world();
        let [other, third] = [(); 2].map(|()| world.dispatcher());
        world.run(third);
        world
            .retype_ram(202, ObjectType::Frame, PAGE_SIZE, PAGE_SIZE)
            .expect("free memory");
        let kept = lock(&mut world, 202).expect("it is ours");
        world.run(other);
        lock(&mut world, 200).expect("it is ours");
        if how != 4 {
            world.run(world.init);
            assert_eq!(copy(&mut world, 201, 210), Err(SysError::Locked));
        }
        match how {
            0 => drop(delete(&mut world, other.slot)),
            // Its frame, its address space: it can't run without.
            1 | 2 => {
                let part = other.slot + [0, 1, 3][how];
                let word = cap(part).to_word();
                world
                    .invoke(slot::L1CNODE, Invocation::Revoke, &[word])
                    .expect("all but this one");
            }
            3 => {
                world.run(other);
                // Twice: it has no entry for that.
                world.fault(false, 0);
                if world.current() == Some(other.dcb) {
                    world.fault(false, 0);
                }
            }
            _ => {
                world
                    .invoke(other.slot, Invocation::Exit, &[1])
                    .expect("it ends");
            }
        }
        assert_eq!(copy(&mut world, 201, 210), Ok(()), "{how}");
        // Another's stays.
        assert_eq!(copy(&mut world, 202, 211), Err(SysError::Locked), "{how}");
        assert_eq!(unlock(&mut world, kept), Ok(()), "{how}");
    }
}

/// Stopped, it may go on: what it holds stays.
#[test]
fn a_lock_outlasts_a_pause() {
    let mut world = world();
    let other = world.dispatcher();
    world.run(other);
    let id = lock(&mut world, 200).expect("it is ours");
    world.run(world.init);
    world
        .invoke(other.slot, Invocation::Stop, &[])
        .expect("it runs");
    assert_eq!(copy(&mut world, 201, 210), Err(SysError::Locked));
    // Whoever holds the Kernel capability may end it.
    assert_eq!(unlock(&mut world, id), Ok(()));
    assert_eq!(copy(&mut world, 201, 210), Ok(()));
}
