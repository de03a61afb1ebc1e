//! Capabilities between two kernels, with nothing between them but what they share and
//! a ticket.

use capelin_abi::syscall::Invocation;
use capelin_abi::{KernelId, Mpidr, ObjectType, PAGE_SIZE, PhysAddr, Rights, SysError, Ticket};
use capelin_cap::{Capability, Object, SlotStore};
use capelin_kernel::handover;
use capelin_kernel::machine::Machine;
use capelin_peers::{Home, Offer, PeerTable, SharedPages, Taker};

use crate::host::{HOME, HOME_BYTES, PEERS_AT, RAM, RAM_BYTES};
use crate::world::{World, cap, slot};

const OFFERED: u64 = 0;
const TAKEN: u64 = 1;
const WITHDRAWN: u64 = 2;
/// Home memory of kernel 1, as the table says.
const OTHER_HOME: u64 = 0x6000_0000;

/// Kernels 0 and 1, which know each other.
fn kernels() -> [World; 2] {
    let cores: Vec<_> = (0..3).map(|core| (Mpidr(core), None)).collect();
    let table: &'static PeerTable = Box::leak(Box::new(PeerTable::new(&cores)));
    for (kernel, base) in [(0, HOME), (1, OTHER_HOME)] {
        let home = Home {
            base: PhysAddr(base),
            bytes: HOME_BYTES,
        };
        let entered = table.enter(
            KernelId(kernel),
            Mpidr(kernel.into()),
            home,
            Some(KernelId(0)),
        );
        entered.expect("an empty table");
    }
    let mut worlds = [0, 1].map(|id| World::of(KernelId(id)));
    let shared: [&'static SharedPages; 2] =
        [worlds[0].core.machine.shared, worlds[1].core.machine.shared];
    for (own, other) in [(0, 1), (1, 0)] {
        let machine = &mut worlds[own].core.machine;
        machine.peers = table;
        let id = u16::try_from(other).expect("a kernel");
        machine.remote.insert(id, shared[other]);
    }
    worlds
}

fn export(world: &mut World, of: u8, to: u16, copy: u64) -> Result<u64, SysError> {
    let arguments = [cap(of).to_word(), u64::from(to) | copy << 16];
    let answer = world.invoke(slot::KERNEL, Invocation::Export, &arguments)?;
    Ok(answer[0])
}

fn import(world: &mut World, ticket: u64, to: u8) -> Result<(), SysError> {
    let arguments = [ticket, cap(to).to_word()];
    let answer = world.invoke(slot::KERNEL, Invocation::Import, &arguments);
    answer.map(drop)
}

fn settle(world: &mut World, ticket: u64, withdraw: u64) -> Result<u64, SysError> {
    let arguments = [ticket, withdraw];
    let answer = world.invoke(slot::KERNEL, Invocation::SettleExport, &arguments)?;
    Ok(answer[0])
}

/// A piece of memory of the world's own, in slot `to`.
fn piece(world: &mut World, kind: ObjectType, page: u64, to: u8) {
    let offset = page * PAGE_SIZE;
    let made = world.retype_ram(to, kind, offset, PAGE_SIZE);
    made.expect("free memory");
}

fn kind(world: &World, slot: u8) -> ObjectType {
    let index = world.index(slot);
    world.core.slots.slot(index).kind()
}

fn usable(world: &World, slot: u8) -> bool {
    let index = world.index(slot);
    capelin_cap::usable(&world.core.slots, &world.core.database.mdb, index).is_ok()
}

#[test]
fn memory_moves_once() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Ram, 0, 200);
    let ticket = export(&mut a, 200, 1, 0).expect("offered");
    assert!(!usable(&a, 200), "in transit");
    assert_eq!(settle(&mut a, ticket, 0), Ok(OFFERED));
    assert_eq!(import(&mut b, ticket, 210), Ok(()));
    assert_eq!(kind(&b, 210), ObjectType::Ram);
    let again = import(&mut b, ticket, 211);
    assert_eq!(again, Err(SysError::NoSuchTransfer));
    // Too late to take it back.
    assert_eq!(settle(&mut a, ticket, 1), Ok(TAKEN));
    assert!(!usable(&a, 200));
    assert_eq!(settle(&mut a, ticket, 0), Err(SysError::NoSuchTransfer));
}

/// An interrupt is moved, to be bound where its driver is: it is the other kernel's then, until it comes back, which it
/// can't while it is bound. Its number is no address: it may be that of a page of a home's.
#[test]
fn an_interrupt_is_bound_where_it_was_moved_to() {
    const INTID: u32 = 77;
    let [mut a, mut b] = kernels();
    let target = a.index(200);
    let source = Capability::interrupts(ObjectType::IrqSource, INTID, 1, Rights::all());
    a.core.caps().create(source, target).expect("room");
    let ticket = export(&mut a, 200, 1, 0).expect("offered");
    let bind = [cap(slot::ENDPOINT).to_word(), cap(211).to_word()];
    let refused = a.invoke(200, Invocation::BindIrq, &bind);
    assert_eq!(refused, Err(SysError::Locked), "in transit");
    assert_eq!(import(&mut b, ticket, 210), Ok(()));
    b.invoke(210, Invocation::BindIrq, &bind).expect("bound");
    assert!(b.core.machine.enabled.contains(&INTID));
    assert!(!a.core.machine.enabled.contains(&INTID));
    assert_eq!(settle(&mut a, ticket, 0), Ok(TAKEN));
    let bound = export(&mut b, 210, 0, 0);
    assert_eq!(bound, Err(SysError::HasRelations));
    let unbind = [cap(211).to_word()];
    b.invoke(slot::L1CNODE, Invocation::Delete, &unbind)
        .expect("unbound");
    assert!(!b.core.machine.enabled.contains(&INTID));
    let ticket = export(&mut b, 210, 0, 0).expect("offered");
    assert_eq!(import(&mut a, ticket, 201), Ok(()));
    a.invoke(201, Invocation::BindIrq, &bind).expect("bound");
    // A copy would be two kernels' to unmask.
    let copied = export(&mut a, slot::IRQ, 1, 1);
    assert_eq!(copied, Err(SysError::WrongType));
}

/// What was taken and hasn't been settled is gone all the same: a part of it may come back.
/// Who takes a page may make a home of it, or map it uncached: so no translation of it
/// is left in the window's places.
#[test]
fn what_leaves_was_forgotten_where_it_was_zeroed() {
    let [mut sender, _] = kernels();
    sender
        .retype_ram(220, ObjectType::Frame, 0, 4 * PAGE_SIZE)
        .expect("free memory");
    assert_eq!(sender.core.machine.remembered.len(), 4);
    export(&mut sender, 220, 1, 0).expect("room in the outbox");
    assert!(sender.core.machine.remembered.is_empty());
}

#[test]
fn a_part_comes_back_before_its_whole_was_settled() {
    let [mut a, mut b] = kernels();
    let count = 9;
    for n in 0..count {
        piece(&mut a, ObjectType::Ram, n.into(), 200 + n);
        let ticket = export(&mut a, 200 + n, 1, 0).expect("offered");
        import(&mut b, ticket, 200 + n).expect("taken");
    }
    let last = 199 + count;
    let arguments = [
        cap(220).to_word(),
        cap(last).to_word(),
        ObjectType::Frame as u64,
        0,
        PAGE_SIZE,
        1,
    ];
    b.invoke(slot::L1CNODE, Invocation::Retype, &arguments)
        .expect("a frame in it");
    let ticket = export(&mut b, 220, 0, 1).expect("offered");
    assert_eq!(import(&mut a, ticket, 230), Ok(()));
    assert_eq!(kind(&a, 230), ObjectType::Frame);
}

/// B3: whatever an import fails for, the offer stands, and can be taken or withdrawn.
#[test]
fn a_failed_import_loses_nothing() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Ram, 0, 200);
    let ticket = export(&mut a, 200, 1, 0).expect("offered");
    let occupied = import(&mut b, ticket, slot::KERNEL);
    assert_eq!(occupied, Err(SysError::SlotInUse));
    let nowhere = b.invoke(slot::KERNEL, Invocation::Import, &[ticket, u64::MAX]);
    assert!(nowhere.is_err());
    assert_eq!(settle(&mut a, ticket, 0), Ok(OFFERED));
    assert_eq!(settle(&mut a, ticket, 1), Ok(WITHDRAWN));
    assert!(usable(&a, 200), "as before");
    let late = import(&mut b, ticket, 210);
    assert_eq!(late, Err(SysError::NoSuchTransfer));
    assert_eq!(kind(&b, 210), ObjectType::Null);
    // And it goes all the same, by a new ticket.
    let ticket = export(&mut a, 200, 1, 0).expect("offered again");
    assert_eq!(import(&mut b, ticket, 210), Ok(()));
}

/// A1: nobody makes a ticket up, replays one, or takes what is offered to another.
#[test]
fn forged_and_stale_tickets_get_nothing() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Ram, 0, 200);
    let to_another = export(&mut a, 200, 2, 0).expect("offered to kernel 2");
    let refused = Err(SysError::NoSuchTransfer);
    assert_eq!(import(&mut b, to_another, 210), refused);
    assert_eq!(settle(&mut a, to_another, 1), Ok(WITHDRAWN));
    let ticket = export(&mut a, 200, 1, 0).expect("offered");
    let real = Ticket::from_word(ticket).expect("a ticket");
    let forged = [
        0,
        1,
        u64::MAX,
        // Another use of the entry, and other entries.
        ticket + (1 << 16),
        ticket - (1 << 16),
        ticket + (1 << 48),
        ticket + (1 << 9),
        ticket | 0x7f << 9,
        // Of this kernel itself, of one that isn't, of one that can't be.
        Ticket::new(KernelId(1), real.entry(), real.nonce()).to_word(),
        Ticket::new(KernelId(2), real.entry(), real.nonce()).to_word(),
        Ticket::new(KernelId(u16::MAX), real.entry(), real.nonce()).to_word(),
    ];
    for forged in forged {
        assert_eq!(import(&mut b, forged, 210), refused, "{forged:#x}");
    }
    assert_eq!(import(&mut b, ticket, 210), Ok(()));
    // The same entry, later: the old ticket is of no use.
    piece(&mut a, ObjectType::Ram, 1, 201);
    assert_eq!(settle(&mut a, ticket, 0), Ok(TAKEN));
    let next = export(&mut a, 201, 1, 0).expect("offered");
    let of_next = Ticket::from_word(next).expect("a ticket");
    assert_eq!(of_next.entry(), real.entry());
    assert_eq!(import(&mut b, ticket, 211), refused);
    assert_eq!(import(&mut b, next, 211), Ok(()));
}

/// What the kernel maps by itself stays what it is, whatever becomes of the capability
/// that it came by.
#[test]
fn what_the_kernel_keeps_is_not_given_away() {
    for copy in [0, 1] {
        let [mut a, mut b] = kernels();
        piece(&mut a, ObjectType::Frame, 0, 200);
        let ticket = export(&mut a, 200, 1, copy).expect("offered");
        import(&mut b, ticket, 210).expect("taken");
        let [given, kept] = [210, 211].map(|slot| b.index(slot));
        assert_eq!(handover::keep(&mut b.core, given, kept), Ok(()));
        // It may be used and passed on as a copy, but not moved, nor taken apart.
        let away = export(&mut b, 210, 0, 0);
        assert_eq!(
            away,
            Err(if copy == 0 {
                SysError::HasRelations
            } else {
                SysError::Foreign
            })
        );
        let arguments = [cap(212).to_word(), cap(210).to_word(), 0b1];
        let copied = b.invoke(slot::L1CNODE, Invocation::Copy, &arguments);
        assert!(copied.is_ok());
        for gone in [210, 212] {
            let deleted = b.invoke(slot::L1CNODE, Invocation::Delete, &[cap(gone).to_word()]);
            assert!(deleted.is_ok());
        }
        // (The slot is in a CNode here, as none of the kernel's own is.)
        let deleted = b.invoke(slot::L1CNODE, Invocation::Delete, &[cap(211).to_word()]);
        assert_eq!(deleted.map(drop), Err(SysError::Locked));
        assert_eq!(export(&mut b, 211, 0, 1), Err(SysError::MissingRight));
        assert_eq!(kind(&b, 211), ObjectType::Frame);
    }
}

/// What is offered to a kernel that is about to be started isn't for another that takes
/// its id first.
#[test]
fn an_offer_to_a_child_is_for_that_child() {
    const TO_CHILD: u64 = 2;
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Ram, 0, 200);
    piece(&mut a, ObjectType::Frame, 1, 201);
    // Kernel 1 is 0's child, as `kernels` says; 0 isn't anybody's, least of all 1's.
    for (of, copy, to) in [(200, 0, 210), (201, 1, 211)] {
        let ticket = export(&mut a, of, 1, copy | TO_CHILD).expect("offered");
        assert_eq!(import(&mut b, ticket, to), Ok(()));
        let back = export(&mut b, to, 0, copy | TO_CHILD);
        let Ok(back) = back else {
            panic!("{of}: {back:?}");
        };
        assert_eq!(import(&mut a, back, 205), Err(SysError::NoSuchTransfer));
        assert_eq!(settle(&mut b, back, 1), Ok(WITHDRAWN));
        assert!(usable(&b, to), "it is offered still");
    }
    for unknown in [5, 6, 9, 16] {
        let refused = export(&mut a, 201, 1, unknown);
        assert_eq!(refused, Err(SysError::InvalidArgument));
    }
}

/// What is revoked doesn't come back by a ticket that somebody kept: marking a range ends
/// the transfers of what is in it, also of copies that are noted nowhere.
#[test]
fn nothing_marked_is_on_its_way() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Frame, 0, 200);
    piece(&mut a, ObjectType::Frame, 2, 202);
    piece(&mut a, ObjectType::Ram, 1, 201);
    let ticket = export(&mut a, 200, 1, 1).expect("offered");
    import(&mut b, ticket, 210).expect("a copy");
    piece(&mut b, ObjectType::Frame, 9, 211);
    let beside = export(&mut b, 211, 0, 0).expect("offered");
    // Passed on to a third kernel; more of them than one step ends.
    let kept: Vec<_> = (0..9)
        .map(|_| export(&mut b, 210, 2, 1).expect("passed on"))
        .collect();
    let moved = export(&mut a, 201, 1, 0).expect("offered");
    let taken = export(&mut a, 202, 1, 0).expect("offered");
    import(&mut b, taken, 212).expect("taken");

    let mark = |world: &mut World, of: &Object| {
        let operation = capelin_cap::OperationId(7);
        capelin_cap::mark_range(&mut world.core.database.mdb, of, operation).expect("marked");
        let (mut steps, mut first) = (0, Some(0));
        while let Some(entry) = first {
            first = handover::recall(&mut world.core, of, entry);
            steps += 1;
        }
        capelin_cap::unmark(&mut world.core.database.mdb, operation).expect("unmarked");
        steps
    };
    let object = Object {
        kind: ObjectType::Ram,
        base: RAM,
        size: 4 * PAGE_SIZE,
    };
    assert_eq!(mark(&mut b, &object), 3);
    for ticket in kept {
        assert_eq!(settle(&mut b, ticket, 0), Err(SysError::NoSuchTransfer));
    }
    assert_eq!(settle(&mut b, beside, 0), Ok(OFFERED), "not in the range");
    assert_eq!(mark(&mut a, &object), 1);
    assert!(usable(&a, 201), "as before the export");
    assert_eq!(import(&mut b, moved, 213), Err(SysError::NoSuchTransfer));
    assert!(!usable(&a, 202), "it was taken");
    assert_eq!(settle(&mut a, taken, 0), Err(SysError::NoSuchTransfer));
}

/// Rights come from the sender's kernel: none are won by a journey.
#[test]
fn a_journey_wins_no_rights() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Frame, 0, 200);
    let arguments = [cap(201).to_word(), cap(200).to_word(), 0b1001];
    a.invoke(slot::L1CNODE, Invocation::Copy, &arguments)
        .expect("a weak copy");
    let ticket = export(&mut a, 201, 1, 1).expect("offered");
    import(&mut b, ticket, 210).expect("a copy");
    let back = export(&mut b, 210, 0, 1).expect("passed back");
    import(&mut a, back, 202).expect("home");
    let rights = |world: &World, slot: u8| {
        let index = world.index(slot);
        world.core.slots.slot(index).rights().bits()
    };
    assert_eq!((rights(&b, 210), rights(&a, 202)), (0b1001, 0b1001));
}

/// A7, I1: home memory leaves by no record, its own or another's; nor does what kernels
/// share.
#[test]
fn home_memory_is_not_offered() {
    let [mut a, _] = kernels();
    a.retype(200, ObjectType::Frame, 0x8_0000, PAGE_SIZE, 1)
        .expect("a frame of home memory");
    for copy in [0, 1] {
        assert_eq!(export(&mut a, 200, 1, copy), Err(SysError::RangeInUse));
        assert!(usable(&a, 200), "nothing has changed");
    }
}

/// A core that lies: its records are checked against all that is known here.
#[test]
fn a_lying_kernel_names_no_home_and_no_foreign_word() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Frame, 0, 200);
    let ticket = export(&mut a, 200, 1, 1).expect("offered");
    let ticket = Ticket::from_word(ticket).expect("a ticket");
    let sound = a.core.machine.shared.outbox.look(KernelId(1), ticket);
    let sound = sound.expect("what is offered").record;
    let mut lie = |record: [u64; 5]| {
        let offer = Offer {
            to: KernelId(1),
            taker: Taker::Any,
            record,
        };
        let outbox = &a.core.machine.shared.outbox;
        let ticket = outbox.offer(KernelId(0), &offer).expect("room");
        let refused = import(&mut b, ticket.to_word(), 210);
        outbox.withdraw(ticket).expect("nobody has taken it");
        refused
    };
    let refused = Err(SysError::RangeInUse);
    let moved = sound[0] & !(0xff << 16) & !(0xffff << 32) | 1 << 16 | 1 << 32;
    for base in [HOME, HOME + HOME_BYTES - PAGE_SIZE, OTHER_HOME, PEERS_AT] {
        for head in [sound[0], moved] {
            let record = [head, base, PAGE_SIZE, 0, 0];
            assert_eq!(lie(record), refused, "{base:#x}");
        }
        // Around it, too.
        let record = [sound[0], base - PAGE_SIZE, 4 * PAGE_SIZE, 0, 0];
        assert_eq!(lie(record), refused, "around {base:#x}");
    }
    // A move that isn't to us, a Notify of a kernel that isn't, one of no home.
    let to_another = moved & !(0xffff << 32) | 2 << 32;
    let record = [to_another, RAM + 0x10_0000, PAGE_SIZE, 0, 0];
    assert_eq!(lie(record), Err(SysError::InvalidArgument));
    let notify = ObjectType::Notify as u64 | 0x3f << 8 | 2 << 16 | 1 << 48;
    for (owner, at) in [(300, RAM), (0, RAM), (0, OTHER_HOME), (1, HOME)] {
        let record = [notify | owner << 32, at, 1, 100, 0];
        assert_eq!(lie(record), refused, "{owner}: {at:#x}");
    }
    // Words that mean nothing.
    for head in [0, u64::MAX, sound[0] ^ 3 << 48, sound[0] | 0xff << 24] {
        assert!(lie([head, RAM, PAGE_SIZE, 0, 0]).is_err());
    }
    assert_eq!(kind(&b, 210), ObjectType::Null);
}

/// Offers that nobody takes are bounded, and what is taken makes room by itself.
#[test]
fn a_full_outbox_refuses_and_loses_nothing() {
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Frame, 0, 200);
    let mut tickets = Vec::new();
    let full = loop {
        match export(&mut a, 200, 1, 1) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => break error,
        }
    };
    assert_eq!(full, SysError::NoResources);
    assert_eq!(tickets.len(), capelin_peers::shared::OFFERS / 2);
    piece(&mut a, ObjectType::Ram, 1, 201);
    assert_eq!(export(&mut a, 201, 1, 0), Err(SysError::NoResources));
    assert!(usable(&a, 201), "not in transit");
    import(&mut b, tickets[37], 210).expect("a copy");
    assert!(export(&mut a, 201, 1, 0).is_ok());
}

/// A kernel whose monitor takes nothing keeps nothing from others.
#[test]
fn who_takes_nothing_leaves_room_for_others() {
    const LIAR: u16 = 2;
    let [mut a, mut b] = kernels();
    piece(&mut a, ObjectType::Frame, 0, 200);
    while export(&mut a, 200, LIAR, 1).is_ok() {}
    assert_eq!(export(&mut a, 200, LIAR, 1), Err(SysError::NoResources));
    for _ in 0..40 {
        let ticket = export(&mut a, 200, 1, 1).expect("there is room for others");
        import(&mut b, ticket, 210).expect("taken");
        settle(&mut a, ticket, 0).expect("it is over");
        let word = cap(210).to_word();
        b.invoke(slot::L1CNODE, Invocation::Delete, &[word])
            .expect("a copy");
    }
}

#[test]
fn what_travels_is_what_may() {
    let [mut a, _] = kernels();
    for (of, error) in [
        (slot::KERNEL, SysError::WrongType),
        (slot::L1CNODE, SysError::WrongType),
        (99, SysError::EmptySlot),
    ] {
        assert_eq!(export(&mut a, of, 1, 0), Err(error));
    }
    for to in [0, 512, u16::MAX] {
        piece(&mut a, ObjectType::Ram, 4, 200);
        let refused = export(&mut a, 200, to, 0);
        assert_eq!(refused, Err(SysError::InvalidArgument));
        let word = cap(200).to_word();
        a.invoke(slot::L1CNODE, Invocation::Delete, &[word])
            .expect("deleted");
    }
    // Another's transfer isn't ours to settle.
    let theirs = Ticket::new(KernelId(1), 0, 1).to_word();
    assert_eq!(settle(&mut a, theirs, 1), Err(SysError::InvalidArgument));
    assert_eq!(settle(&mut a, theirs, 2), Err(SysError::InvalidArgument));
    // A kernel that was never started has no pages to look at.
    assert!(a.core.machine.map_shared(KernelId(2)).is_err());
    let _ = RAM_BYTES;
}
