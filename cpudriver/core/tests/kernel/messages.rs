//! Local messages: all or nothing, and the short way does what the long one does.

use capelin_abi::dispatcher::{context, offset};
use capelin_abi::syscall::{DIRECT_MESSAGE, Invocation, SendFlags, Syscall, send_word};
use capelin_abi::{CapRef, ObjectType, SysError};
use capelin_cap::SlotStore;
use capelin_kernel::dcb::{DcbRef, Wait};
use capelin_kernel::machine::{FrameWords, Objects, SaveContext};
use capelin_kernel::syscall;
use proptest::prelude::*;

use crate::world::{Dispatcher, Left, NEVER, World, cap, slot};

/// Everything that a message may change, as far as it can be compared.
fn picture(world: &World) -> Vec<String> {
    let slots = (1..=255).map(|n| {
        let slot = world.core.slots.slot(world.index(n));
        format!("{:?} {:?}", slot.capability(), slot.state())
    });
    let dispatchers = [world.init]
        .into_iter()
        .chain(world.children.clone())
        .map(|one| {
            let entry = world.core.objects.dcb(one.dcb);
            let frame = world.core.objects.frame_at(one.frame);
            let words: Vec<_> = (offset::RUNTIME..offset::ENDPOINTS + 512)
                .step_by(8)
                .map(|at| frame.read(at))
                .collect();
            format!(
                "{:?} {:?} {} {:?} {words:?}",
                entry.state,
                entry.wait,
                entry.delivered.count(),
                entry.endpoints[0]
            )
        });
    slots.chain(dispatchers).collect()
}

#[test]
fn a_message_goes_into_the_ring() {
    let mut world = World::new();
    let other = world.dispatcher();
    world.send(other.endpoint, SendFlags::empty(), &[7, 8, 9], 0);
    assert_eq!(world.register(0), 0);
    let (header, _, words) = world.receive(other).expect("a message");
    assert_eq!(header & 0xff, 3);
    assert_eq!(words, [7, 8, 9, 0, 0, 0, 0, 0]);
    assert_eq!(world.receive(other), None);
}

#[test]
fn a_full_ring_takes_no_more() {
    let mut world = World::new();
    let other = world.dispatcher();
    for _ in 0..crate::world::CAPACITY {
        world.send(other.endpoint, SendFlags::empty(), &[], 0);
        assert_eq!(world.register(0), 0);
    }
    world.send(other.endpoint, SendFlags::empty(), &[], 0);
    assert_eq!(world.register(0), SysError::EndpointFull as u64);
}

#[test]
fn a_call_is_answered_in_registers() {
    let mut world = World::new();
    let server = world.dispatcher();
    world.run(server);
    world.wait(true, NEVER);
    assert_eq!(world.current(), Some(world.init.dcb));
    // `init` is enabled or not: both have to work.
    assert_eq!(world.call(server.endpoint, &[1, 2]), Left::Switch);
    assert_eq!(world.current(), Some(server.dcb));
    assert_eq!(
        [0, 2, 3, 4].map(|n| world.register(n)),
        [DIRECT_MESSAGE, 1, 2, 0]
    );
    assert_eq!(world.call(slot::ENDPOINT, &[3]), Left::Switch);
    assert_eq!(world.current(), Some(world.init.dcb));
    assert_eq!([0, 2, 3].map(|n| world.register(n)), [DIRECT_MESSAGE, 3, 0]);
}

/// What a send may be asked for.
#[derive(Clone, Debug)]
struct Send {
    endpoint: u8,
    flags: u8,
    length: u8,
    capability: Option<u8>,
    /// Where the receiver wants a capability.
    posted: Option<u8>,
    waits: Option<bool>,
    filled: usize,
    stopped: bool,
}

fn some_send() -> impl Strategy<Value = Send> {
    let slots = || prop_oneof![1..24_u8, 190..=255_u8];
    (
        prop_oneof![6 => Just(18_u8), 1 => slots()],
        prop_oneof![4 => 0..8_u8, 1 => any::<u8>()],
        prop_oneof![6 => 0..9_u8, 1 => any::<u8>()],
        prop::option::of(slots()),
        prop::option::of(slots()),
        prop::option::of(any::<bool>()),
        0..5_usize,
        any::<bool>(),
    )
        .prop_map(
            |(endpoint, flags, length, capability, posted, waits, filled, stopped)| Send {
                endpoint,
                flags,
                length,
                capability,
                posted,
                waits,
                filled,
                stopped: stopped && filled == 4,
            },
        )
}

proptest! {
    #[test]
    fn a_send_that_fails_changes_nothing(send in some_send()) {
        let mut world = World::new();
        let other = world.dispatcher();
        prop_assert_eq!(other.endpoint, 18);
        if let Some(is_direct) = send.waits {
            world.run(other);
            world.wait(is_direct, NEVER);
        } else {
            for _ in 0..send.filled {
                world.send(other.endpoint, SendFlags::empty(), &[], 0);
            }
        }
        if send.stopped {
            world.invoke(other.slot, Invocation::Stop, &[]).expect("stopped");
        }
        if let Some(posted) = send.posted {
            world.post_slot(other, posted);
        }
        let mut registers = [0; 12];
        registers[0] = CapRef::to_word(cap(send.endpoint))
            | u64::from(send.flags) << 48
            | u64::from(send.length) << 56;
        registers[1] = send.capability.map_or(0, |slot| cap(slot).to_word());
        let before = picture(&world);
        let source = send.capability.map(|slot| world.core.slots.slot(world.index(slot)).capability());
        world.run(world.init);
        let left = world.syscall(Syscall::Send as u64, &registers);
        let caller = world.core.objects.context(world.caller_area.expect("a call"));
        if caller.get(0) != 0 {
            prop_assert_eq!(left, Left::Caller);
            prop_assert_eq!(before, picture(&world));
        } else {
            // It has arrived, and with it the capability.
            let word = |slot: u8| world.core.slots.slot(world.index(slot)).capability();
            if let Some(source) = source {
                let posted = send.posted.expect("a slot for it");
                prop_assert_eq!(word(posted).kind, source.kind);
                prop_assert_eq!(word(posted).base, source.base);
                let is_moved = send.flags & SendFlags::MOVE.bits() != 0;
                let left_over = word(send.capability.expect("one")).kind;
                prop_assert_eq!(left_over == ObjectType::Null, is_moved);
            }
            prop_assert_ne!(before, picture(&world));
        }
    }
}

/// What the short way looks at.
#[derive(Clone, Debug)]
struct Situation {
    length: u8,
    flags: u8,
    capability: bool,
    deadline: bool,
    unseen: bool,
    rung: [bool; 2],
    third: bool,
    in_ring: bool,
    waits: Option<bool>,
    disabled: [bool; 2],
    badge: Option<u64>,
    words: [u64; 8],
}

impl Situation {
    /// One in which the short way is taken.
    const PLAIN: Self = Self {
        length: 2,
        flags: 0,
        capability: false,
        deadline: false,
        unseen: false,
        rung: [false; 2],
        third: false,
        in_ring: false,
        waits: Some(true),
        disabled: [true; 2],
        badge: None,
        words: [1, 2, 3, 4, 5, 6, 7, 8],
    };
}

fn situation() -> impl Strategy<Value = Situation> {
    let rarely = || prop::bool::weighted(0.1);
    (
        (
            prop_oneof![10 => 0..9_u8, 1 => any::<u8>()],
            prop_oneof![10 => Just(0), 1 => any::<u8>()],
            rarely(),
            rarely(),
            rarely(),
            [rarely(), rarely()],
        ),
        (
            rarely(),
            rarely(),
            prop_oneof![1 => Just(None), 1 => Just(Some(false)), 12 => Just(Some(true))],
            [prop::bool::weighted(0.9), prop::bool::weighted(0.9)],
            prop::option::of(any::<u64>()),
            any::<[u64; 8]>(),
        ),
    )
        .prop_map(
            |(
                (length, flags, capability, deadline, unseen, rung),
                (third, in_ring, waits, disabled, badge, words),
            )| Situation {
                length,
                flags,
                capability,
                deadline,
                unseen,
                rung,
                third,
                in_ring,
                waits,
                disabled,
                badge,
                words,
            },
        )
}

/// A client that is about to call a server, and the call's registers.
fn situate(of: &Situation) -> (World, [Dispatcher; 2], [u64; 12]) {
    let mut world = World::new();
    let (client, server) = (world.dispatcher(), world.dispatcher());
    let third = world.stopped();
    for (one, bell) in [(client, 200), (server, 201)] {
        let arguments = [1, cap(bell).to_word()];
        world
            .invoke(one.slot, Invocation::MakeNotify, &arguments)
            .expect("a Notify");
    }
    let mut endpoint = server.endpoint;
    if let Some(badge) = of.badge {
        let all = u64::from(capelin_abi::Rights::all().bits());
        let arguments = [cap(202).to_word(), cap(endpoint).to_word(), all, badge, 0];
        if world
            .invoke(slot::L1CNODE, Invocation::Mint, &arguments)
            .is_ok()
        {
            endpoint = 202;
        }
    }
    if of.third {
        world
            .invoke(third.slot, Invocation::Run, &[])
            .expect("it can run");
    }
    if of.in_ring {
        world.send(server.endpoint, SendFlags::empty(), &[], 0);
    }
    for (one, is_disabled) in [(client, of.disabled[0]), (server, of.disabled[1])] {
        let frame = world.core.objects.frame_at(one.frame);
        world.run(one);
        frame.write(offset::DISABLED, u64::from(is_disabled));
        frame.write(offset::ENABLED + context::PC * 8, crate::world::RUN + 0x100);
    }
    if let Some(is_direct) = of.waits {
        world.run(server);
        world.wait(is_direct, NEVER);
    }
    world.run(world.init);
    world.wait(true, NEVER);
    world.run(client);
    // It came here by an upcall, which it has left since.
    let frame = world.core.objects.frame_at(client.frame);
    frame.write(offset::DISABLED, u64::from(of.disabled[0]));
    for (one, is_rung) in [client, server].into_iter().zip(of.rung) {
        let word = world.core.objects.dcb(one.dcb).doorbell as usize;
        let bits = u64::from(is_rung) << 1;
        world.core.machine.shared.doorbell[word].store(bits, std::sync::atomic::Ordering::Relaxed);
    }
    let mut registers = [0; 12];
    registers[0] = send_word(cap(endpoint), SendFlags::empty(), 0)
        | u64::from(of.flags) << 48
        | u64::from(of.length) << 56;
    registers[1] = if of.capability {
        cap(slot::FRAME).to_word()
    } else {
        0
    };
    registers[2..10].copy_from_slice(&of.words);
    registers[10] = world
        .core
        .current_delivered()
        .wrapping_sub(u64::from(of.unseen));
    registers[11] = if of.deadline {
        world.core.machine.now + 5
    } else {
        NEVER
    };
    world.core.machine.now += 3;
    (world, [client, server], registers)
}

/// What both ways have to agree on: who runs from where, and all that either
/// dispatcher can see or the kernel keeps of it.
fn outcome(world: &World, dispatchers: [Dispatcher; 2]) -> String {
    let scheduler = &world.core.kcb.scheduler;
    let mut text = format!(
        "{:?} {:?} {:?} {:?} {:?} {:?} {:?}\n",
        world.current(),
        world.core.kcb.current_area,
        world.core.kcb.current_frame,
        scheduler.slice_end,
        scheduler.run_since,
        world.core.active_root,
        world.core.kcb.counters,
    );
    for one in dispatchers {
        let entry = world.core.objects.dcb(one.dcb);
        let frame = world.core.objects.frame_at(one.frame);
        // x11–x17 are nobody's after a call.
        let areas = [offset::ENABLED, offset::DISABLED_AREA].map(|area| {
            // x0 of who waits will be the result of that.
            let first = usize::from(entry.wait != Wait::Not);
            let words = (first..11).chain(18..context::WORDS);
            words
                .map(|word| frame.read(area + word * 8))
                .collect::<Vec<_>>()
        });
        let ring: Vec<_> = (offset::ENDPOINTS..offset::ENDPOINTS + 512)
            .step_by(8)
            .map(|at| frame.read(at))
            .collect();
        text += &format!(
            "{:?} {:?} {} {} {:?} {areas:x?} {ring:x?} {}\n",
            entry.state,
            entry.wait,
            entry.delivered.count(),
            entry.run_ticks,
            entry.endpoints[0],
            frame.read(offset::NOTIFIED),
        );
    }
    text
}

fn waiting(world: &World, dcb: DcbRef) -> Wait {
    world.core.objects.dcb(dcb).wait
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_short_way_of_a_call_does_what_the_long_one_does(of in situation()) {
        let (mut short, dispatchers, registers) = situate(&of);
        short.syscall(Syscall::Call as u64, &registers);
        let (mut long, again, same) = situate(&of);
        prop_assert_eq!((dispatchers, registers), (again, same));
        long.syscall_by(&registers, syscall::call_the_long_way);
        prop_assert_eq!(outcome(&short, dispatchers), outcome(&long, dispatchers));
    }
}

#[test]
fn the_property_above_takes_the_short_way() {
    let of = Situation::PLAIN;
    let (mut world, [client, server], registers) = situate(&of);
    assert_eq!(waiting(&world, server.dcb), Wait::Short);
    world.syscall(Syscall::Call as u64, &registers);
    assert_eq!(world.current(), Some(server.dcb));
    assert_eq!(waiting(&world, client.dcb), Wait::Short);
}

/// Each thing that the short way asks for, alone: it isn't taken where that is otherwise, or
/// does the same.
#[test]
fn whatever_the_short_way_asks_for_is_asked_for() {
    let plain = Situation::PLAIN;
    let with = |change: &dyn Fn(&mut Situation)| {
        let mut one = plain.clone();
        change(&mut one);
        one
    };
    let mut all: Vec<_> = (0..=10)
        .map(|length| with(&|one| one.length = length))
        .collect();
    all.extend([
        with(&|one| one.length = 255),
        with(&|one| one.flags = 1),
        with(&|one| one.flags = 2),
        with(&|one| one.flags = 0x80),
        with(&|one| one.capability = true),
        with(&|one| one.deadline = true),
        with(&|one| one.unseen = true),
        with(&|one| one.rung = [true, false]),
        with(&|one| one.rung = [false, true]),
        with(&|one| one.third = true),
        with(&|one| one.in_ring = true),
        with(&|one| one.waits = Some(false)),
        with(&|one| one.waits = None),
        with(&|one| one.disabled = [false, true]),
        with(&|one| one.disabled = [true, false]),
        with(&|one| one.badge = Some(77)),
    ]);
    for of in all {
        let (mut short, dispatchers, registers) = situate(&of);
        short.syscall(Syscall::Call as u64, &registers);
        let (mut long, ..) = situate(&of);
        long.syscall_by(&registers, syscall::call_the_long_way);
        let outcomes = [&short, &long].map(|world| outcome(world, dispatchers));
        assert_eq!(outcomes[0], outcomes[1], "{of:?}");
    }
}

/// Bits of the first register that mean something aren't made up for by the second's.
#[test]
fn flags_and_a_reference_that_are_the_same_are_both_wrong() {
    let mut world = World::new();
    let server = world.dispatcher();
    for one in [world.init, server] {
        world
            .core
            .objects
            .frame_at(one.frame)
            .write(offset::DISABLED, 1);
    }
    world.run(server);
    let frame = world.core.objects.frame_at(server.frame);
    frame.write(offset::DISABLED, 1);
    world.wait(true, NEVER);
    assert_eq!(waiting(&world, server.dcb), Wait::Short);
    let same = 1 << 48;
    let mut registers = [0; 12];
    registers[0] = send_word(cap(server.endpoint), SendFlags::empty(), 2) | same;
    registers[1] = same;
    registers[10] = world.core.current_delivered();
    registers[11] = NEVER;
    let left = world.syscall(Syscall::Call as u64, &registers);
    assert_eq!(left, Left::Caller);
    assert_ne!(world.register(0), 0);
    assert_eq!(waiting(&world, server.dcb), Wait::Short);
}

/// A receiver whose ASID is of an earlier generation gets another before it runs: its old one
/// may be somebody else's by now.
#[test]
fn a_call_enters_nobody_under_an_old_asid() {
    for is_old in [false, true] {
        let mut world = World::new();
        let server = world.dispatcher();
        world
            .core
            .objects
            .frame_at(world.init.frame)
            .write(offset::DISABLED, 1);
        world.run(server);
        let frame = world.core.objects.frame_at(server.frame);
        frame.write(offset::DISABLED, 1);
        world.wait(true, NEVER);
        if is_old {
            world.core.kcb.asid_generation += 1;
        }
        world.call(server.endpoint, &[1]);
        assert_eq!(world.current(), Some(server.dcb));
        let entry = world.core.objects.dcb(server.dcb);
        let root = world
            .core
            .objects
            .vnode(entry.place.expect("a place").root.table());
        let generation = world.core.kcb.asid_generation;
        assert_eq!(
            [entry.asid_generation, root.asid_generation],
            [generation; 2]
        );
        assert_eq!(u64::from(entry.asid), root.asid);
    }
}

/// A caller that is enabled waits so: it goes on by its run upcall, not where it was.
#[test]
fn an_enabled_caller_waits_enabled() {
    for is_disabled in [false, true] {
        let mut world = World::new();
        let server = world.dispatcher();
        world.run(server);
        let frame = world.core.objects.frame_at(server.frame);
        frame.write(offset::DISABLED, 1);
        world.wait(true, NEVER);
        assert_eq!(waiting(&world, server.dcb), Wait::Short);
        let frame = world.core.objects.frame_at(world.init.frame);
        frame.write(offset::DISABLED, u64::from(is_disabled));
        world.call(server.endpoint, &[1]);
        assert_eq!(world.current(), Some(server.dcb));
        let expected = if is_disabled {
            Wait::Short
        } else {
            Wait::DirectEnabled
        };
        assert_eq!(waiting(&world, world.init.dcb), expected);
    }
}
