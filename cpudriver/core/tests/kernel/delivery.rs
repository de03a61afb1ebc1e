//! What is delivered, and that nobody sleeps through it.

use std::sync::atomic::Ordering;

use capelin_abi::SysError;
use capelin_abi::dispatcher::offset;
use capelin_abi::lmp::{COUNTED_BADGE, MISSED, MessageHeader};
use capelin_abi::syscall::{Invocation, SendFlags};
use capelin_kernel::dcb::Wait;
use capelin_kernel::doorbell::SGI;
use capelin_kernel::machine::{FrameWords, Machine, Objects};
use capelin_wake::Ring;
use proptest::prelude::*;

use crate::host::Asked;
use crate::world::{CAPACITY, Dispatcher, Left, NEVER, RING, SLICE, World, cap, slot};

/// Makes a Notify for `bit` of a dispatcher, in a free slot.
fn notify(world: &mut World, of: Dispatcher, bit: u64, to: u8) {
    let arguments = [bit, cap(to).to_word()];
    world
        .invoke(of.slot, Invocation::MakeNotify, &arguments)
        .expect("a Notify");
}

/// Another kernel rings a bit of a dispatcher. Returns whether it sends an SGI.
fn ring_from_afar(world: &World, of: Dispatcher, bit: u64) -> bool {
    let word = world.core.objects.dcb(of.dcb).doorbell as usize;
    let bit = u32::try_from(bit).expect("a bit");
    world.core.machine.doorbells().ring(word, bit) == Ring::Interrupt
}

fn notified(world: &World, of: Dispatcher) -> u64 {
    world.core.objects.frame_at(of.frame).read(offset::NOTIFIED)
}

#[test]
fn who_has_not_seen_a_delivery_does_not_wait() {
    let mut world = World::new();
    let other = world.dispatcher();
    let seen = world.delivered(world.init);
    world.run(other);
    world.send(slot::ENDPOINT, SendFlags::empty(), &[1], 0);
    world.run(world.init);
    assert_eq!(world.wait_seen(false, seen, NEVER), Left::Caller);
    assert_eq!(world.register(0), 0);
}

#[test]
fn a_bell_of_the_same_kernel_wakes() {
    let mut world = World::new();
    let other = world.dispatcher();
    notify(&mut world, other, 5, 200);
    world.run(other);
    world.wait(false, NEVER);
    world.invoke(200, Invocation::Ring, &[]).expect("a ring");
    assert_eq!(notified(&world, other), 1 << 5);
    world.run(other);
    assert_eq!(world.register(0), 0);
}

#[test]
fn a_bell_from_afar_wakes() {
    let mut world = World::new();
    let other = world.dispatcher();
    notify(&mut world, other, 63, 200);
    world.run(other);
    world.wait(false, NEVER);
    assert!(ring_from_afar(&world, other, 63), "one SGI");
    assert!(!ring_from_afar(&world, other, 63), "and only one");
    world.core.machine.pending.push_back(u32::from(SGI));
    world.interrupt();
    world.run(other);
    assert_eq!(notified(&world, other), 1 << 63);
}

#[test]
fn a_remote_bell_sends_one_interrupt() {
    let mut world = World::new();
    let init = world.init;
    notify(&mut world, init, 3, 200);
    // As it would be at another kernel: of kernel 9.
    let index = world.index(200);
    let [word, _] = capelin_cap::SlotStore::slot(&world.core.slots, index).data();
    // Its word was given out once, as ours was.
    let peer = capelin_abi::KernelId(9);
    let pages = world.core.machine.map_shared(peer).expect("kernel 9");
    let number = usize::try_from(word & 0xffff).expect("a word");
    pages.generations[number].store(word >> 32, Ordering::Relaxed);
    let bell = capelin_cap::Capability::plain(
        capelin_abi::ObjectType::Notify,
        0x77,
        capelin_abi::Rights::all(),
    )
    .with_data([word, 0]);
    let target = world.index(201);
    let record = capelin_cap::CapRecord {
        capability: bell,
        owner: capelin_abi::KernelId(9),
        mode: capelin_cap::ExportMode::Copy,
        has_ancestors: false,
        is_in_frame: false,
        is_executable: false,
    };
    let core = &mut world.core;
    capelin_cap::import(&mut core.slots, &mut core.database.mdb, &record, target).expect("room");
    world.core.machine.asked();
    for expected in [vec![Asked::Sgi(0x102)], vec![]] {
        world.invoke(201, Invocation::Ring, &[]).expect("a ring");
        let asked = world.core.machine.asked();
        assert_eq!(asked, expected);
    }
    // The word is somebody else's now.
    pages.doorbell[number].store(0, Ordering::Relaxed);
    pages.generations[number].fetch_add(1, Ordering::Relaxed);
    let refused = world.invoke(201, Invocation::Ring, &[]).map(drop);
    assert_eq!(refused, Err(SysError::NotRunnable));
    assert_eq!(pages.doorbell[number].load(Ordering::Relaxed), 0);
}

/// B10: a doorbell word that is given to another dispatcher isn't rung by a Notify to
/// the first, whether that is here or on another kernel.
#[test]
fn a_reused_word_is_not_rung_by_an_old_notify() {
    let mut world = World::new();
    let first = world.dispatcher();
    notify(&mut world, first, 3, 200);
    let index = world.index(200);
    let old = capelin_cap::SlotStore::slot(&world.core.slots, index).data()[0];
    let generation = |world: &World| {
        let word = usize::try_from(old & 0xffff).expect("a word");
        let shared = world.core.machine.shared;
        shared.generations[word].load(Ordering::Relaxed)
    };
    assert_eq!(generation(&world), old >> 32);
    world
        .invoke(
            slot::L1CNODE,
            Invocation::Delete,
            &[cap(first.slot).to_word()],
        )
        .expect("deleted");
    // Already now, before the word has a new owner.
    assert_ne!(generation(&world), old >> 32);
}

#[test]
fn an_interrupt_finds_room_in_a_full_ring_and_stays_masked() {
    let mut world = World::new();
    let other = world.dispatcher();
    let arguments = [cap(other.endpoint).to_word(), cap(200).to_word()];
    world
        .invoke(slot::IRQ, Invocation::BindIrq, &arguments)
        .expect("bound");
    assert!(world.core.machine.enabled.contains(&40));
    let mut sent = 0;
    while world.send(other.endpoint, SendFlags::empty(), &[sent], 0) == Left::Caller
        && world.register(0) == 0
    {
        sent += 1;
    }
    assert_eq!(sent, CAPACITY - 1, "one is kept free");
    world.core.machine.pending.push_back(40);
    world.interrupt();
    assert!(!world.core.machine.enabled.contains(&40));
    for n in 0..sent {
        assert_eq!(world.receive(other).map(|(_, _, words)| words[0]), Some(n));
    }
    let (header, badge, words) = world.receive(other).expect("the interrupt");
    assert!(MessageHeader(header).is_event());
    assert_eq!((badge, words[0]), (40, 40));
    world.run(world.init);
    world
        .invoke(200, Invocation::AcknowledgeIrq, &[])
        .expect("acknowledged");
    assert!(world.core.machine.enabled.contains(&40));
}

/// Another endpoint may have its place: that must neither get its events nor lose room.
#[test]
fn an_interrupt_ends_with_its_endpoint() {
    let mut world = World::new();
    let other = world.dispatcher();
    let arguments = [cap(other.endpoint).to_word(), cap(200).to_word()];
    world
        .invoke(slot::IRQ, Invocation::BindIrq, &arguments)
        .expect("bound");
    let delete = |world: &mut World, which: u8| {
        world.invoke(slot::L1CNODE, Invocation::Delete, &[cap(which).to_word()])
    };
    delete(&mut world, other.endpoint).expect("deleted");
    assert!(!world.core.machine.enabled.contains(&40), "masked");
    let refused = world.invoke(200, Invocation::AcknowledgeIrq, &[]);
    assert_eq!(refused, Err(SysError::NotRunnable));
    delete(&mut world, 200).expect("the IrqDest, to which nothing is bound");
}

/// A server that waits hears that a client is gone; one whose ring is full finds a count; and
/// neither takes the room that is kept for an interrupt.
#[test]
fn the_end_of_a_badges_senders_is_told_even_to_a_full_ring() {
    const GONE: u64 = COUNTED_BADGE | 7;
    let mut world = World::new();
    let server = world.dispatcher();
    let mint = |world: &mut World, target: u8| {
        let to = cap(target).to_word();
        let from = cap(server.endpoint).to_word();
        let all = u64::from(capelin_abi::Rights::all().bits());
        world
            .invoke(slot::L1CNODE, Invocation::Mint, &[to, from, all, GONE])
            .expect("minted");
    };
    let delete = |world: &mut World, which: u8| {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[cap(which).to_word()])
            .expect("deleted");
    };
    mint(&mut world, 210);
    mint(&mut world, 211);
    world.run(server);
    world.wait(false, NEVER);
    let before = world.delivered(server);
    delete(&mut world, 210);
    assert_eq!(world.receive(server), None, "somebody holds one");
    assert_eq!(world.delivered(server), before);
    world.core.machine.asked();
    delete(&mut world, 211);
    assert_eq!(world.delivered(server), before + 1);
    let (header, badge, words) = world.receive(server).expect("the news");
    assert!(MessageHeader(header).is_event());
    assert_eq!((badge, words), (GONE, [0; 8]));
    // It runs, within a quantum.
    assert!(world.core.objects.dcb(server.dcb).node.is_queued());
    world.pass(SLICE);
    world.interrupt();
    assert_eq!(world.current(), Some(server.dcb));

    world.run(world.init);
    let arguments = [cap(server.endpoint).to_word(), cap(200).to_word()];
    world
        .invoke(slot::IRQ, Invocation::BindIrq, &arguments)
        .expect("bound");
    let mut sent = 0;
    while world.send(server.endpoint, SendFlags::empty(), &[sent], 0) == Left::Caller
        && world.register(0) == 0
    {
        sent += 1;
    }
    let missed = |world: &World| {
        let frame = world.core.objects.frame_at(server.frame);
        frame.read32(RING + MISSED)
    };
    let before = world.delivered(server);
    assert_eq!(missed(&world), 0);
    for n in 1..=2 {
        mint(&mut world, 210);
        delete(&mut world, 210);
        assert_eq!(
            (missed(&world), world.delivered(server)),
            (n, before + u64::from(n))
        );
    }
    world.core.machine.pending.push_back(40);
    world.interrupt();
    for n in 0..sent {
        assert_eq!(world.receive(server).map(|(_, _, words)| words[0]), Some(n));
    }
    let (_, badge, _) = world.receive(server).expect("the interrupt");
    assert_eq!(badge, 40);
    // A server that is being deleted itself is nobody to tell.
    mint(&mut world, 210);
    world.run(world.init);
    delete(&mut world, server.slot);
}

/// What happens around a dispatcher that is about to wait.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A bit is rung from afar, and the SGI comes now or later.
    Far(u64, bool),
    /// The SGI comes.
    Sgi,
    /// The dispatcher is preempted and runs again.
    Preempted,
    /// Somebody else sends it a message.
    Message,
    /// The dispatcher looks at its delivery count, then at its bits and its ring.
    Looks,
    /// It waits, if it found nothing.
    Waits,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u64, any::<bool>()).prop_map(|(bit, now)| Event::Far(bit, now)),
        Just(Event::Sgi),
        Just(Event::Preempted),
        Just(Event::Message),
        Just(Event::Looks),
        Just(Event::Waits),
    ]
}

proptest! {
    /// A dispatcher that waits has seen everything: no bit is rung that no SGI is to
    /// come for, none lies in its frame, and no message in its ring.
    #[test]
    fn nobody_sleeps_through_a_delivery(events in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        let me = world.dispatcher();
        let other = world.dispatcher();
        notify(&mut world, me, 0, 200);
        world.run(me);
        let mut seen = None;
        let mut sgi_to_come = false;
        for event in events {
            let waits = world.core.objects.dcb(me.dcb).wait != Wait::Not;
            match event {
                Event::Far(bit, now) => {
                    sgi_to_come |= ring_from_afar(&world, me, bit);
                    if now && sgi_to_come {
                        sgi_to_come = false;
                        world.core.machine.pending.push_back(u32::from(SGI));
                        world.interrupt();
                    }
                }
                Event::Sgi if sgi_to_come => {
                    sgi_to_come = false;
                    world.core.machine.pending.push_back(u32::from(SGI));
                    world.interrupt();
                }
                Event::Preempted if !waits => {
                    world.run(me);
                    world.give_way();
                    world.run(me);
                }
                Event::Message => {
                    world.run(other);
                    world.send(me.endpoint, SendFlags::empty(), &[], 0);
                    if !waits {
                        world.run(me);
                    }
                }
                Event::Looks if !waits => {
                    world.run(me);
                    seen = Some(world.delivered(me));
                    world.core.objects.frame_at(me.frame).write(offset::NOTIFIED, 0);
                    while world.receive(me).is_some() {}
                }
                Event::Waits if !waits => {
                    world.run(me);
                    if let Some(seen) = seen {
                        world.wait_seen(false, seen, NEVER);
                    }
                }
                _ => {}
            }
            if world.core.objects.dcb(me.dcb).wait != Wait::Not {
                let word = world.core.objects.dcb(me.dcb).doorbell as usize;
                let is_rung = world.core.machine.doorbells().is_rung(word);
                prop_assert!(!is_rung || sgi_to_come, "a bit is rung");
                prop_assert_eq!(notified(&world, me), 0, "bits lie in the frame");
                prop_assert!(world.receive(me).is_none(), "a message lies in the ring");
            }
        }
    }
}
