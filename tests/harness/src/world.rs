//! What a test program is made of: slots, memory, addresses. Nothing is given back but by the
//! tests themselves; a program that runs out fails its test.

use capelin_abi::boot::{BootInfo, INFO_MAGIC, PhysRegion, RamRegion};
use capelin_abi::capability::CNODE_BYTES;
use capelin_abi::layout::{self, l1, slot};
use capelin_abi::syscall::MapFlags;
use capelin_abi::{CapAddress, CapRef, ObjectType, PAGE_SIZE, VirtAddr};
use capelin_vspace::{Leaves, Plan};

use crate::fault::peek;
use crate::{Failure, call};

/// Bytes that an entry of a level 1 table covers.
const GIB: u64 = 1 << 30;
/// Bytes that an entry of a level 2 table covers.
const BLOCK: u64 = 2 << 20;
/// Tables of level 3 that [`World::map`] may need.
const TABLES: usize = 32;

/// Readable and writable.
pub const READ_WRITE: MapFlags = MapFlags::READ.union(MapFlags::WRITE);

/// The program's slots, memory and addresses.
#[derive(Debug)]
pub struct World {
    next_slot: u32,
    home: Pool,
    ram: Pool,
    /// The `Ram` capability that [`World::frame`] uses.
    pub ram_cap: CapAddress,
    next_address: u64,
    table2: CapAddress,
    tables3: [CapAddress; TABLES],
}

#[derive(Clone, Copy, Debug)]
struct Pool {
    base: u64,
    next: u64,
    end: u64,
}

impl Pool {
    fn take(&mut self, bytes: u64, alignment: u64) -> Option<u64> {
        let at = (self.base + self.next).next_multiple_of(alignment) - self.base;
        let end = at.checked_add(bytes).filter(|&end| end <= self.end)?;
        self.next = end;
        Some(at)
    }
}

/// A word of the boot information, `offset` bytes into it.
fn info(offset: usize) -> u64 {
    peek(layout::BOOT_INFO.0 + offset as u64)
}

/// All home memory of this kernel.
#[must_use]
pub fn home() -> PhysRegion {
    let at = core::mem::offset_of!(BootInfo, home);
    PhysRegion {
        base: info(at),
        bytes: info(at + 8),
    }
}

/// The `number`th region of memory that this program was given.
#[must_use]
pub fn ram(number: u64) -> Option<RamRegion> {
    if number >= info(core::mem::offset_of!(BootInfo, ram_count)) {
        return None;
    }
    let [_, is_boot_core] = call::halves(info(core::mem::offset_of!(BootInfo, kernel_id)));
    if is_boot_core == 0 {
        // Only the boot core has a list: another one's is what it was granted.
        let at = layout::ram_region(u32::try_from(number).ok()?);
        let (_, base, bytes) = call::identify(at).ok()?;
        let node = info(core::mem::offset_of!(BootInfo, node));
        return Some(RamRegion { base, bytes, node });
    }
    let at = layout::REGIONS.0 + number * 24;
    Some(RamRegion {
        base: peek(at),
        bytes: peek(at + 8),
        node: peek(at + 16),
    })
}

/// The `number`th region of device addresses.
#[must_use]
pub fn devices(number: u64) -> Option<PhysRegion> {
    let count = info(core::mem::offset_of!(BootInfo, device_count));
    let at = info(core::mem::offset_of!(BootInfo, device_list)) + number * 16;
    (number < count).then(|| PhysRegion {
        base: peek(at),
        bytes: peek(at + 8),
    })
}

/// Base and bytes of the interrupt controller's distributor.
#[must_use]
pub fn distributor() -> PhysRegion {
    let at = core::mem::offset_of!(BootInfo, gic)
        + core::mem::offset_of!(capelin_abi::boot::GicArgs, distributor);
    PhysRegion {
        base: info(at),
        bytes: info(at + 8),
    }
}

/// 2 or 3.
#[must_use]
pub fn gic_version() -> u32 {
    call::halves(info(core::mem::offset_of!(BootInfo, gic)))[0]
}

impl World {
    /// Takes over what the kernel gave.
    ///
    /// # Errors
    /// If that isn't what a first domain gets.
    pub fn new() -> Result<Self, Failure> {
        if info(core::mem::offset_of!(BootInfo, magic)) != INFO_MAGIC {
            return Err(Failure::because("there is no boot information"));
        }
        let (_, base, bytes) = call::identify(slot::HOME)?;
        let home = Pool {
            base,
            next: 0,
            end: bytes,
        };
        let (number, region) = (0..)
            .map_while(|number| ram(u64::from(number)).map(|region| (number, region)))
            .max_by_key(|(_, region)| region.bytes)
            .ok_or(Failure::because("there is no memory"))?;
        let ram = Pool {
            base: region.base,
            next: 0,
            end: region.bytes,
        };
        let mut world = Self {
            next_slot: CapAddress::new(l1::FREE, 0).0,
            home,
            ram,
            ram_cap: layout::ram_region(number),
            next_address: layout::DYNAMIC_START.0,
            table2: CapAddress::NULL,
            tables3: [CapAddress::NULL; TABLES],
        };
        world.table2 = world.object(ObjectType::VNodeL2)?;
        let mapping = world.slot()?;
        let entry = layout::DYNAMIC_START.0 / GIB;
        call::attach(slot::VSPACE_L1, world.table2, entry, mapping)?;
        Ok(world)
    }

    /// An empty slot.
    ///
    /// # Errors
    /// When home memory has run out.
    pub fn slot(&mut self) -> Result<CapAddress, Failure> {
        self.slots(1)
    }

    /// The first of `count` consecutive empty slots of one CNode (at most 256).
    ///
    /// # Errors
    /// When home memory has run out.
    pub fn slots(&mut self, count: u32) -> Result<CapAddress, Failure> {
        let mut first = self.next_slot;
        if (first & 0xff) + count > 256 {
            first = (first | 0xff) + 1;
        }
        if CapAddress(first).l1() == l1::LOST_AND_FOUND {
            // What is there is the kernel's to give back.
            first = CapAddress::new(l1::DYNAMIC, 0).0;
        }
        let address = CapAddress(first);
        if address.l2() == 0 && address.l1() >= l1::DYNAMIC {
            let offset = self.home.take(CNODE_BYTES, PAGE_SIZE);
            let offset = offset.ok_or(Failure::because("no home memory for slots"))?;
            let target = CapRef::l1(address.l1());
            call::retype(
                target,
                slot::HOME,
                ObjectType::L2CNode,
                offset,
                CNODE_BYTES,
                1,
            )?;
        }
        self.next_slot = first + count;
        Ok(address)
    }

    /// Makes a kernel object of a type of fixed size.
    ///
    /// # Errors
    /// When home memory has run out; if there is no such object.
    pub fn object(&mut self, kind: ObjectType) -> Result<CapAddress, Failure> {
        let bytes = kind
            .fixed_size()
            .ok_or(Failure::because("no such object"))?;
        self.of_home(kind, bytes)
    }

    /// Sets aside a piece of home memory: its offset in the capability to all of it.
    ///
    /// # Errors
    /// When home memory has run out.
    pub fn claim_home(&mut self, bytes: u64) -> Result<u64, Failure> {
        let offset = self.home.take(bytes, PAGE_SIZE);
        offset.ok_or(Failure::because("no home memory"))
    }

    /// Makes an object (or a frame) of home memory.
    ///
    /// # Errors
    /// When home memory has run out; those of [`call::retype`].
    pub fn of_home(&mut self, kind: ObjectType, bytes: u64) -> Result<CapAddress, Failure> {
        let slot = self.slot()?;
        let offset = self.claim_home(bytes)?;
        call::retype(slot.into(), slot::HOME, kind, offset, bytes, 1)?;
        Ok(slot)
    }

    /// Makes a frame.
    ///
    /// # Errors
    /// When memory has run out; those of [`call::retype`].
    pub fn frame(&mut self, bytes: u64, alignment: u64) -> Result<CapAddress, Failure> {
        self.of_ram(ObjectType::Frame, bytes, alignment)
    }

    /// Makes a `Frame` or `Ram` of memory.
    ///
    /// # Errors
    /// When memory has run out; those of [`call::retype`].
    pub fn of_ram(
        &mut self,
        kind: ObjectType,
        bytes: u64,
        alignment: u64,
    ) -> Result<CapAddress, Failure> {
        let slot = self.slot()?;
        let offset = self.claim(bytes, alignment)?;
        call::retype(slot.into(), self.ram_cap, kind, offset, bytes, 1)?;
        Ok(slot)
    }

    /// Sets aside a piece of memory: its offset in [`World::ram_cap`].
    ///
    /// # Errors
    /// When memory has run out.
    pub fn claim(&mut self, bytes: u64, alignment: u64) -> Result<u64, Failure> {
        let offset = self.ram.take(bytes, alignment);
        offset.ok_or(Failure::because("no memory"))
    }

    /// Sets aside addresses below the first GiB of the dynamic range.
    ///
    /// # Errors
    /// When there are none.
    pub fn addresses(&mut self, bytes: u64, alignment: u64) -> Result<u64, Failure> {
        let at = self.next_address.next_multiple_of(alignment);
        self.next_address = at + bytes.next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
        if self.next_address > layout::DYNAMIC_START.0 + TABLES as u64 * BLOCK {
            return Err(Failure::because("no addresses"));
        }
        Ok(at)
    }

    /// An address at which nothing is mapped, at the end of those for [`World::map`].
    #[must_use]
    pub const fn addresses_end(&self) -> u64 {
        layout::DYNAMIC_START.0 + TABLES as u64 * BLOCK - PAGE_SIZE
    }

    /// The level 3 table for `address` and the entry there; made if need be.
    ///
    /// # Errors
    /// When home memory has run out; an address past those for [`World::map`].
    pub fn table3(&mut self, address: u64) -> Result<(CapAddress, u64), Failure> {
        let index = (address - layout::DYNAMIC_START.0) / BLOCK;
        let known = usize::try_from(index)
            .ok()
            .and_then(|at| self.tables3.get(at));
        let known = *known.ok_or(Failure::because("an address outside"))?;
        let table = if known == CapAddress::NULL {
            let made = self.object(ObjectType::VNodeL3)?;
            let mapping = self.slot()?;
            call::attach(self.table2, made, index, mapping)?;
            self.tables3[index as usize] = made;
            made
        } else {
            known
        };
        Ok((table, address / PAGE_SIZE % 512))
    }

    /// The level 2 table that covers the first GiB of the dynamic range, and the entry of
    /// `address` in it.
    #[must_use]
    pub fn table2(&self, address: u64) -> (CapAddress, u64) {
        (self.table2, address / BLOCK % 512)
    }

    /// Maps the first `bytes` bytes of `frame`: the address, and the first mapping's slot.
    ///
    /// # Errors
    /// When something has run out; those of [`call::map`].
    pub fn map_at(
        &mut self,
        address: u64,
        frame: CapAddress,
        bytes: u64,
        flags: MapFlags,
    ) -> Result<CapAddress, Failure> {
        let plan = Plan::new(VirtAddr(address), bytes, Leaves::Pages);
        let mut first = None;
        for piece in plan.map_err(|_| Failure::because("what isn't whole pages"))? {
            let (table, _) = self.table3(piece.start.0)?;
            let mapping = self.slot()?;
            let (entry, count) = (piece.first.into(), piece.count.into());
            call::map(table, frame, entry, count, flags, piece.offset, mapping)?;
            first = first.or(Some(mapping));
        }
        first.ok_or(Failure::because("nothing to map"))
    }

    /// Maps `bytes` bytes of `frame` from `offset` on by one mapping, which `address`, the start of
    /// a table's range, has room for.
    ///
    /// # Errors
    /// When something has run out; those of [`call::map`].
    pub fn map_piece(
        &mut self,
        address: u64,
        frame: CapAddress,
        offset: u64,
        bytes: u64,
        flags: MapFlags,
    ) -> Result<CapAddress, Failure> {
        let (table, entry) = self.table3(address)?;
        let mapping = self.slot()?;
        let count = bytes / PAGE_SIZE;
        call::map(table, frame, entry, count, flags, offset, mapping)?;
        Ok(mapping)
    }

    /// As [`World::map_at`], at fresh addresses.
    ///
    /// # Errors
    /// When something has run out; those of [`call::map`].
    pub fn map(
        &mut self,
        frame: CapAddress,
        bytes: u64,
        flags: MapFlags,
    ) -> Result<(u64, CapAddress), Failure> {
        let address = self.addresses(bytes, PAGE_SIZE)?;
        let mapping = self.map_at(address, frame, bytes, flags)?;
        Ok((address, mapping))
    }

    /// A fresh frame of `bytes` bytes, mapped readable and writable: its capability, address and
    /// mapping.
    ///
    /// # Errors
    /// When something has run out.
    pub fn mapped(&mut self, bytes: u64) -> Result<(CapAddress, u64, CapAddress), Failure> {
        let frame = self.frame(bytes, PAGE_SIZE)?;
        let (address, mapping) = self.map(frame, bytes, READ_WRITE)?;
        Ok((frame, address, mapping))
    }
}
