//! Islands: domains with an address space and a CSpace of their own, which run a position-independent
//! program of [`crate::code`].

use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::dispatcher::{FRAME_BYTES, Upcall, offset};
use capelin_abi::layout::slot;
use capelin_abi::syscall::{Invocation, MapFlags};
use capelin_abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, Rights};

use crate::child::Child;
use crate::fault::{peek, poke};
use crate::world::READ_WRITE;
use crate::{Failure, World, call, code};

const READ_EXECUTE: MapFlags = MapFlags::READ.union(MapFlags::EXECUTE);
/// Bytes that an entry of a level 2 table covers.
const BLOCK: u64 = 2 << 20;
/// Pages between an island's code and its dispatcher frame.
const FRAME_PAGE: u64 = 16;

/// A domain with its own address space and CSpace.
#[derive(Clone, Copy, Debug)]
pub struct Island {
    /// Its dispatcher, and how this program sees its frame.
    pub child: Child,
    /// Its dispatcher.
    pub dispatcher: CapAddress,
    /// Where this program sees its data page.
    pub data: u64,
    /// The root of its address space.
    pub root: CapAddress,
    l1_cnode: CapAddress,
}

impl Island {
    /// An island that counts in its data page ([`code::island`]).
    ///
    /// # Errors
    /// When something has run out.
    pub fn counter(world: &mut World) -> Result<Self, Failure> {
        Self::new(world, code::island(), code::island_end())
    }

    /// An island that runs the code from `start` to `end`, from its first instruction, as a run
    /// upcall.
    ///
    /// # Errors
    /// When something has run out.
    pub fn new(world: &mut World, start: u64, end: u64) -> Result<Self, Failure> {
        let child = Child::unconfigured(world)?;
        let l1_cnode = world.object(ObjectType::L1CNode)?;
        let offset = world.claim_home(CNODE_BYTES)?;
        let arguments = [
            CapRef::l1(0).to_word(),
            call::word(slot::HOME),
            ObjectType::L2CNode as u64,
            offset,
            CNODE_BYTES,
            1,
        ];
        call::invoke(l1_cnode, Invocation::Retype, &arguments)?;

        let root = world.object(ObjectType::VNodeL0)?;
        let mut tables = [root; 4];
        let steps = [
            (ObjectType::VNodeL1, 0),
            (ObjectType::VNodeL2, 0),
            (ObjectType::VNodeL3, code::ISLAND_CODE / BLOCK),
        ];
        for (number, (kind, entry)) in steps.into_iter().enumerate() {
            let (table, link) = (world.object(kind)?, world.slot()?);
            call::attach(tables[number], table, entry, link)?;
            tables[number + 1] = table;
        }
        let [_, _, table2, table3] = tables;
        let (data_table, link) = (world.object(ObjectType::VNodeL3)?, world.slot()?);
        call::attach(table2, data_table, code::ISLAND_DATA / BLOCK, link)?;

        let (program, at, writing) = world.mapped(PAGE_SIZE)?;
        for word in 0..(end - start).div_ceil(8) {
            poke(at + word * 8, peek(start + word * 8));
        }
        call::unmap(writing)?;
        call::make_executable(program)?;
        let (data_frame, data, _) = world.mapped(PAGE_SIZE)?;
        let slots = world.slots(3)?;
        let slot_at = |n| CapAddress(slots.0 + n);
        let pages = FRAME_BYTES / PAGE_SIZE;
        call::map(table3, program, 0, 1, READ_EXECUTE, 0, slot_at(0))?;
        call::map(
            table3,
            child.frame_cap,
            FRAME_PAGE,
            pages,
            READ_WRITE,
            0,
            slot_at(1),
        )?;
        call::map(data_table, data_frame, 0, 1, READ_WRITE, 0, slot_at(2))?;
        child.set(Upcall::Run.entry_offset(), code::ISLAND_CODE);
        child.set(offset::UPCALL_STACK, 0);
        let arguments = [
            call::word(child.frame_cap),
            code::ISLAND_CODE + FRAME_PAGE * PAGE_SIZE,
            call::word(l1_cnode),
            call::word(root),
            0,
        ];
        call::invoke(child.dispatcher, Invocation::Configure, &arguments)?;
        let island = Self {
            child,
            dispatcher: child.dispatcher,
            data,
            root,
            l1_cnode,
        };
        island.give(2, child.dispatcher)?;
        Ok(island)
    }

    /// Copies `source` into slot `number` of the island's first CNode.
    ///
    /// # Errors
    /// Those of `Copy`: the slot is in use.
    pub fn give(&self, number: u8, source: CapAddress) -> Result<(), Failure> {
        let rights = u64::from(Rights::all().bits());
        let target = call::word(CapAddress::new(0, number));
        let arguments = [target, call::word(source), rights];
        call::invoke(self.l1_cnode, Invocation::Copy, &arguments)?;
        Ok(())
    }
}
