//! Memory: frames made from this program's RAM, kernel objects from its home memory.
//!
//! A pool is a `Ram` or `HomeRam` capability and the [`Ranges`] of it that aren't in use. More RAM
//! can be added ([`add_ram`]). Where the kernel says that a range is
//! in use although we gave it back (others still hold it), that range is left out for good.

use alloc::vec::Vec;

use capelin_abi::{
    CapAddress, CapRef, ObjectType, PAGE_SIZE, PhysAddr, SysError, capability::CNODE_BYTES,
    layout::slot, syscall::MapFlags,
};

use crate::{OwnedCap, RtError, ranges::Ranges, sys, vspace};

/// Bytes of a block that one entry of a level 2 table maps.
pub const BLOCK_BYTES: u64 = 2 << 20;

struct Pool {
    source: CapAddress,
    base: PhysAddr,
    bytes: u64,
    ranges: Ranges,
}

impl Pool {
    fn new(source: CapAddress) -> Result<Self, RtError> {
        let identity = sys::cspace::identify(source.into())?;
        Ok(Self {
            source,
            base: identity.base,
            bytes: identity.size,
            ranges: Ranges::with(0, identity.size),
        })
    }
}

struct Pools {
    ram: Vec<Pool>,
    home: Vec<Pool>,
    prepared: bool,
}

local! {
    /// What memory this program has.
    static POOLS: Pools = Pools { ram: Vec::new(), home: Vec::new(), prepared: false };
}

local! {
    /// How many operations of the memory managers are under way.
    static BUSY: u32 = 0;
}

/// While one exists, the heap doesn't grow and lazy memory isn't filled: both need the memory
/// managers in a state between operations.
pub(crate) struct Busy(());

impl Busy {
    pub(crate) fn new() -> Self {
        BUSY.with(|busy| *busy.borrow_mut() += 1);
        Self(())
    }

    pub(crate) fn is_busy() -> bool {
        BUSY.with(|busy| *busy.borrow() > 0)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.with(|busy| *busy.borrow_mut() -= 1);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Ram,
    Home,
}

impl Sort {
    /// The type of the pools' capabilities.
    const fn kind(self) -> ObjectType {
        match self {
            Self::Ram => ObjectType::Ram,
            Self::Home => ObjectType::HomeRam,
        }
    }
}

impl Pools {
    /// Takes over what the loader gave. An empty slot gives no pool.
    fn prepare(&mut self) {
        if !core::mem::replace(&mut self.prepared, true) {
            // Room beforehand: these lists grow while the heap does.
            self.ram.reserve(8);
            self.home.reserve(4);
            self.ram.extend(Pool::new(slot::RAM));
            self.home.extend(Pool::new(slot::HOME));
        }
    }

    fn of(&mut self, sort: Sort) -> &mut Vec<Pool> {
        self.prepare();
        match sort {
            Sort::Ram => &mut self.ram,
            Sort::Home => &mut self.home,
        }
    }
}

/// Where an object was made: which source, and which range of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The `Ram` or `HomeRam` capability.
    pub source: CapAddress,
    /// Bytes into it.
    pub offset: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Makes one object of `kind` and `bytes` bytes from a pool.
fn make(
    sort: Sort,
    cspace: CapRef,
    target: CapRef,
    kind: ObjectType,
    bytes: u64,
    alignment: u64,
) -> Result<Place, RtError> {
    let (place, ()) = make_by(sort, kind, bytes, alignment, |place| {
        let source = place.source.into();
        sys::cspace::retype(cspace, target, source, kind, place.offset, bytes, 1)
    })?;
    Ok(place)
}

/// Has `retype` make one of `kind`, of `bytes` bytes of a pool: the place, and what it says. No
/// capability is made into one of the same type and range, so that takes all of no pool.
fn make_by<R>(
    sort: Sort,
    kind: ObjectType,
    bytes: u64,
    alignment: u64,
    mut retype: impl FnMut(&Place) -> Result<R, SysError>,
) -> Result<(Place, R), RtError> {
    let exhausted = match sort {
        Sort::Ram => RtError::OutOfMemory,
        Sort::Home => RtError::OutOfHomeMemory,
    };
    let _busy = Busy::new();
    loop {
        let place = POOLS
            .with(|pools| {
                pools.borrow_mut().of(sort).iter_mut().find_map(|pool| {
                    if kind == sort.kind() && bytes == pool.bytes {
                        return None;
                    }
                    let offset = pool.ranges.allocate(bytes, alignment, pool.base.0)?;
                    Some(Place {
                        source: pool.source,
                        offset,
                        bytes,
                    })
                })
            })
            .ok_or(exhausted)?;
        match retype(&place) {
            Ok(made) => return Ok((place, made)),
            // Somebody still holds some of it: the next place, and this one never again.
            Err(SysError::RangeInUse) => {}
            Err(error) => {
                release(place);
                return Err(error.into());
            }
        }
    }
}

/// Says that nothing is left of the object that was made at `place`.
pub fn release(place: Place) {
    let _busy = Busy::new();
    POOLS.with(|pools| {
        let mut pools = pools.borrow_mut();
        for sort in [Sort::Ram, Sort::Home] {
            if let Some(pool) = pools.of(sort).iter_mut().find(|p| p.source == place.source) {
                pool.ranges.free(place.offset, place.bytes);
                return;
            }
        }
    });
}

/// Makes a kernel object (CNode, VNode, Dispatcher, or a Frame for a dispatcher, or HomeRam) from
/// home memory, in slot `target` of the CSpace of `cspace`.
///
/// # Errors
/// [`RtError::OutOfHomeMemory`]; as [`sys::cspace::retype`], such as [`SysError::SlotInUse`], but
/// for ranges in use, which are passed over.
pub fn make_object(
    cspace: CapRef,
    target: CapRef,
    kind: ObjectType,
    bytes: u64,
) -> Result<Place, RtError> {
    make(Sort::Home, cspace, target, kind, bytes, PAGE_SIZE)
}

/// Has this program's L1 CNode grow, until it has slot `number`, by CNodes of home memory.
///
/// # Errors
/// [`RtError::OutOfHomeMemory`]; as [`sys::cspace::grow`]: [`SysError::SlotInUse`] for a slot that
/// is there. What was made on the way is used by the next attempt.
pub(crate) fn grow_l1(number: u32) -> Result<(), RtError> {
    let mut more = 1;
    while more > 0 {
        (_, more) = make_by(
            Sort::Home,
            ObjectType::L2CNode,
            CNODE_BYTES,
            PAGE_SIZE,
            |place| sys::cspace::grow(sys::cspace::OWN, number, place.source.into(), place.offset),
        )?;
    }
    Ok(())
}

/// Makes a `Ram` or a `Frame` from RAM, in slot `target` of the CSpace of `cspace`.
///
/// # Errors
/// [`RtError::OutOfMemory`], [`RtError::InvalidSize`]; as [`make_object`].
pub fn make_ram_object(
    cspace: CapRef,
    target: CapRef,
    kind: ObjectType,
    bytes: u64,
    alignment: u64,
) -> Result<Place, RtError> {
    if bytes == 0 || !bytes.is_multiple_of(PAGE_SIZE) || alignment < PAGE_SIZE {
        return Err(RtError::InvalidSize);
    }
    make(Sort::Ram, cspace, target, kind, bytes, alignment)
}

/// Adds a `Ram` capability to what frames are made from.
///
/// # Errors
/// [`RtError::WrongType`]; as [`OwnedCap::identify`].
pub fn add_ram(ram: OwnedCap) -> Result<(), RtError> {
    add(Sort::Ram, ram, ObjectType::Ram)
}

/// Adds a `HomeRam` capability to what kernel objects are made from.
///
/// # Errors
/// [`RtError::WrongType`]; as [`OwnedCap::identify`].
pub fn add_home(home: OwnedCap) -> Result<(), RtError> {
    add(Sort::Home, home, ObjectType::HomeRam)
}

fn add(sort: Sort, cap: OwnedCap, kind: ObjectType) -> Result<(), RtError> {
    if cap.identify()?.kind != kind {
        return Err(RtError::WrongType);
    }
    let pool = Pool::new(cap.address())?;
    // The list may grow: then the heap doesn't, which would look at the list.
    let _busy = Busy::new();
    POOLS.with(|pools| pools.borrow_mut().of(sort).push(pool));
    cap.keep();
    Ok(())
}

/// What this program has left, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Of RAM.
    pub ram: u64,
    /// The largest piece of it.
    pub largest_ram: u64,
    /// Of home memory.
    pub home: u64,
    /// The largest piece of it.
    pub largest_home: u64,
}

/// What this program has left.
#[must_use]
pub fn left() -> Left {
    POOLS.with(|pools| {
        let mut pools = pools.borrow_mut();
        Left {
            ram: pools.of(Sort::Ram).iter().map(|p| p.ranges.total()).sum(),
            largest_ram: largest(pools.of(Sort::Ram)),
            home: pools.of(Sort::Home).iter().map(|p| p.ranges.total()).sum(),
            largest_home: largest(pools.of(Sort::Home)),
        }
    })
}

/// The largest piece of RAM that would be left if `bytes` bytes of it were taken in one piece;
/// `None` where there is no such piece.
#[must_use]
pub fn left_after(bytes: u64) -> Option<u64> {
    POOLS.with(|pools| {
        let mut pools = pools.borrow_mut();
        let pools = pools.of(Sort::Ram);
        let from = pools
            .iter()
            .position(|pool| pool.ranges.largest() >= bytes)?;
        let pieces = pools.iter().enumerate().map(|(at, pool)| {
            let largest = pool.ranges.largest();
            if at == from { largest - bytes } else { largest }
        });
        pieces.max()
    })
}

/// The largest free piece in some pools.
fn largest(pools: &[Pool]) -> u64 {
    let pieces = pools.iter().map(|pool| pool.ranges.largest());
    pieces.max().unwrap_or(0)
}

/// Takes back what was added by [`add_ram`] or [`add_home`] and isn't used: a capability of type
/// `kind` with a base that `may_go`, if at least `keep` bytes are free in others. From now on
/// nothing is made of it.
#[must_use]
pub fn take_unused(
    kind: ObjectType,
    keep: u64,
    may_go: impl Fn(PhysAddr) -> bool,
) -> Option<OwnedCap> {
    let sort = match kind {
        ObjectType::Ram => Sort::Ram,
        ObjectType::HomeRam => Sort::Home,
        _ => return None,
    };
    POOLS.with(|pools| {
        let mut pools = pools.borrow_mut();
        let pools = pools.of(sort);
        let free: u64 = pools.iter().map(|pool| pool.ranges.total()).sum();
        let at = pools.iter().rposition(|pool| {
            let is_unused = pool.ranges.total() == pool.bytes;
            is_unused && free - pool.bytes >= keep && may_go(pool.base)
        })?;
        Some(OwnedCap::adopt(pools.swap_remove(at).source))
    })
}

/// A piece of memory that can be mapped, made by this program and held by nobody else.
///
/// Copies of its capability can't be had: that is what makes [`vspace::Mapped`] safe to look at.
/// To share memory, turn it into a capability with [`Frame::into_shared`].
#[derive(Debug)]
pub struct Frame {
    cap: Option<OwnedCap>,
    place: Place,
}

impl Frame {
    /// A frame of `bytes` bytes (rounded up to whole pages), zeroed. One of 2 MiB or more is
    /// aligned to 2 MiB, so that blocks map it.
    ///
    /// # Errors
    /// [`RtError::OutOfMemory`], [`RtError::OutOfSlots`], [`RtError::InvalidSize`].
    pub fn new(bytes: u64) -> Result<Self, RtError> {
        let bytes = bytes
            .checked_next_multiple_of(PAGE_SIZE)
            .filter(|&bytes| bytes > 0)
            .ok_or(RtError::InvalidSize)?;
        let alignment = if bytes >= BLOCK_BYTES {
            BLOCK_BYTES
        } else {
            PAGE_SIZE
        };
        let slot = crate::slots::allocate()?;
        match make(
            Sort::Ram,
            sys::cspace::OWN,
            slot.into(),
            ObjectType::Frame,
            bytes,
            alignment,
        ) {
            Ok(place) => Ok(Self {
                cap: Some(OwnedCap::adopt(slot)),
                place,
            }),
            Err(error) => {
                crate::slots::free(slot);
                Err(error)
            }
        }
    }

    /// Bytes in it.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.place.bytes
    }

    /// Maps it for this program's own use.
    ///
    /// # Errors
    /// See [`vspace::map`].
    pub fn map(self) -> Result<vspace::Mapped, RtError> {
        let flags = MapFlags::READ | MapFlags::WRITE;
        let mapping = vspace::map(self.address(), 0, self.bytes(), flags)?;
        Ok(vspace::Mapped::new(mapping, self))
    }

    /// Its capability, to be shared. Its memory isn't used again by this program until the
    /// kernel finds nobody holding it.
    #[must_use]
    pub fn into_shared(mut self) -> (OwnedCap, Place) {
        // `cap` is there until here or drop.
        let cap = self
            .cap
            .take()
            .unwrap_or_else(|| OwnedCap::adopt(CapAddress::NULL));
        (cap, self.place)
    }

    pub(crate) fn address(&self) -> CapAddress {
        self.cap
            .as_ref()
            .map_or(CapAddress::NULL, OwnedCap::address)
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        if let Some(cap) = self.cap.take() {
            drop(cap);
            release(self.place);
        }
    }
}
