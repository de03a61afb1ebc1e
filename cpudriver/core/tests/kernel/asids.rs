//! ASIDs: no translation is hit that was another address space's.

use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{ObjectType, PAGE_SIZE};

use crate::host::{Asked, forged_link};
use crate::memory::{FRAME, TABLES, map, tables_below};
use crate::world::{World, cap, slot};

#[test]
fn an_asid_is_not_used_twice_without_an_invalidation() {
    let mut world = World::new();
    world.core.asid_max = 2;
    let others = [(); 3].map(|()| world.dispatcher());
    world.core.machine.asked();
    for _ in 0..2 {
        for other in others {
            world.run(other);
        }
    }
    let mut owners = std::collections::BTreeMap::new();
    for asked in world.core.machine.asked() {
        match asked {
            Asked::Root(root, asid) => {
                assert_eq!(*owners.entry(asid).or_insert(root), root, "ASID {asid}");
            }
            Asked::InvalidateAll => owners.clear(),
            _ => {}
        }
    }
}

/// An ASID is an address space's until all translations are forgotten, for which the core
/// first leaves whose root it walks; and that comes when all ASIDs are used, not before.
#[test]
fn all_asids_are_used_before_any_is_another_address_spaces() {
    const MAX: u32 = 3;
    let mut world = World::new();
    world.core.asid_max = MAX;
    let others = [(); 5].map(|()| world.dispatcher());
    let mut owners = std::collections::BTreeMap::new();
    let mut rollovers = 0;
    for _ in 0..3 {
        for other in others {
            world.run(other);
            let asked = world.core.machine.asked();
            for (number, what) in asked.iter().enumerate() {
                match *what {
                    Asked::Root(root, asid) => {
                        assert!((1..=MAX).contains(&asid.into()), "ASID {asid}");
                        assert_eq!(*owners.entry(asid).or_insert(root), root, "ASID {asid}");
                    }
                    Asked::InvalidateAll => {
                        assert!(rollovers == 0 || owners.len() == MAX as usize, "{owners:?}");
                        assert_eq!(asked[number - 1], Asked::EmptyRoot);
                        owners.clear();
                        rollovers += 1;
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(rollovers > 2, "{rollovers}");
}

/// What is below a table that was detached is in no address space any more: nothing of it is
/// cached, and what was its root may be anything by now.
#[test]
fn nothing_is_read_of_a_root_that_is_gone() {
    let mut world = World::new();
    let child = world.dispatcher();
    world.run(child);
    world.run(world.init);
    let root = child.slot + 3;
    tables_below(&mut world, root);
    map(&mut world, FRAME, 0, 1, MapFlags::READ).expect("mapped");
    let address = world.address_of(root);
    let asid = u16::try_from(world.core.objects.table_at(address).asid).expect("an ASID");
    assert_ne!(asid, 0, "it has run");
    world.core.machine.asked();
    let delete = |world: &mut World, slot: u8| {
        world
            .invoke(slot::L1CNODE, Invocation::Delete, &[cap(slot).to_word()])
            .expect("deleted");
    };
    delete(&mut world, TABLES[0] + 20);
    let asked = world.core.machine.asked();
    assert_eq!(asked, [Asked::InvalidateAsid(asid)], "all below it, once");
    delete(&mut world, child.slot);
    delete(&mut world, root);
    // Its memory is a frame, whose owner writes there what a root with an ASID has.
    let own = world.address_of(slot::VSPACE);
    let [asid, generation] = {
        let own = world.core.objects.table_at(own);
        [own.asid, own.asid_generation]
    };
    let offset = address.0 - world.address_of(slot::HOME).0;
    world
        .retype(root, ObjectType::Frame, offset, 0x2000, 1)
        .expect("free again");
    let forged = world.core.objects.table_at_mut(address);
    (forged.asid, forged.asid_generation) = (asid, generation);
    forged.above = forged_link(address.0);
    world.core.machine.asked();
    let readable = u64::from(MapFlags::READ.bits());
    let protected = world.invoke(160, Invocation::Protect, &[readable]);
    assert_eq!(protected, Ok([0; 3]));
    world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
    assert_eq!(world.core.machine.asked(), [], "it isn't cached anywhere");
    // From the top down it is part of an address space again, and cached.
    for at in [2, 1] {
        delete(&mut world, TABLES[at] + 20);
    }
    let mut above = slot::VSPACE;
    for table in TABLES {
        let arguments = [cap(table).to_word(), 1 << 16, 0, cap(table + 20).to_word()];
        world
            .invoke(above, Invocation::Map, &arguments)
            .expect("attached");
        above = table;
    }
    map(&mut world, FRAME, 7, 1, MapFlags::READ).expect("mapped");
    world.core.machine.asked();
    world.invoke(160, Invocation::Unmap, &[]).expect("unmapped");
    let dropped = Asked::InvalidateLeaves {
        address: 7 * PAGE_SIZE,
        count: 1,
        span: PAGE_SIZE,
        asid: u16::try_from(asid).expect("an ASID"),
    };
    assert_eq!(world.core.machine.asked(), [dropped]);
}
