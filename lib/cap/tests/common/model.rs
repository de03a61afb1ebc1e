//! The naive model: a list of capabilities and O(n) rules, written from
//! `docs/020-capabilities.md` without the tree.
//!
//! Long, since it says all rules again, one function an operation.
#![allow(
    clippy::manual_is_multiple_of,
    reason = "choices are remainders, not multiples"
)]

use capelin_abi::{ObjectType, PAGE_SIZE, Rights, SysError};
use capelin_cap::{CapRecord, Capability, ExportMode, Mint, Retype, RetypeRequest, State};

use super::{SELF, inner_slots};
use ObjectType::{
    CoreImage, DevFrame, Dispatcher, EndpointLmp, EndpointUmp, Frame, HomeRam, Id, IrqDest,
    IrqSource, Kernel, KernelControlBlock, L1CNode, L2CNode, Mapping, Notify, PerfMon, PhysAddr,
    Ram, VNodeL0, VNodeL1, VNodeL2, VNodeL3,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cap {
    pub at: u32,
    pub kind: ObjectType,
    pub rights: Rights,
    pub base: u64,
    pub size: u64,
    pub data: [u64; 2],
    pub owner: u16,
    pub state: State,
    /// Copies on other kernels: on their way, and whether any has arrived.
    pub remote_copies: (u32, bool),
    pub remote_ancestors: bool,
    /// A frame around it is on another kernel.
    pub remote_frame: bool,
    pub tombstone: bool,
    pub executable: bool,
    /// Of what is in transit: where to.
    pub to: Option<u16>,
}

/// No copies on other kernels.
pub const NONE: (u32, bool) = (0, false);

impl Cap {
    pub fn is_remote(&self) -> bool {
        self.tombstone || self.state == State::InTransit || self.remote_copies != NONE
    }

    pub fn end(&self) -> u64 {
        self.base + self.size
    }

    pub fn is_same(&self, other: &Cap) -> bool {
        (self.kind, self.base, self.size) == (other.kind, other.base, other.size)
    }

    fn is_own(&self) -> bool {
        self.owner == SELF.0
    }

    fn from(at: u32, c: &Capability, owner: u16) -> Self {
        Self {
            at,
            kind: c.kind,
            rights: c.rights,
            base: c.base,
            size: c.size,
            data: c.data,
            owner,
            state: State::Live,
            remote_copies: NONE,
            remote_ancestors: false,
            remote_frame: false,
            tombstone: false,
            executable: false,
            to: None,
        }
    }
}

fn space(kind: ObjectType) -> u32 {
    match kind {
        IrqSource | IrqDest => 1,
        Kernel => 2,
        Id => 3,
        PerfMon => 4,
        _ => 0,
    }
}

fn rank(kind: ObjectType) -> u32 {
    match kind {
        Ram => 1,
        HomeRam => 2,
        CoreImage => 3,
        Frame | DevFrame | EndpointUmp => 4,
        L1CNode | L2CNode | VNodeL0 | VNodeL1 | VNodeL2 | VNodeL3 | Dispatcher
        | KernelControlBlock => 5,
        Mapping => 6,
        EndpointLmp | Notify | IrqDest => 7,
        _ => 0,
    }
}

/// Where a capability stands in the order; equal for copies.
pub fn key(c: &Cap) -> (u32, u64, u64, u32, u8) {
    (
        space(c.kind),
        c.base,
        u64::MAX - c.size,
        rank(c.kind),
        c.kind as u8,
    )
}

/// Whether `a` is an ancestor of `b`.
pub fn is_ancestor(a: &Cap, b: &Cap) -> bool {
    let contains = space(a.kind) == space(b.kind) && a.base <= b.base && b.end() <= a.end();
    contains && (a.size > b.size || (a.size == b.size && key(a) < key(b)))
}

fn overlaps(c: &Cap, kind: ObjectType, start: u64, end: u64) -> bool {
    space(c.kind) == space(kind) && c.base < end && start < c.end()
}

fn crosses(a: &Cap, b: &Cap) -> bool {
    let apart = a.end() <= b.base || b.end() <= a.base;
    let nested =
        (a.base <= b.base && b.end() <= a.end()) || (b.base <= a.base && a.end() <= b.end());
    space(a.kind) == space(b.kind) && !apart && !nested
}

/// The same range and rank, but another type.
fn is_rival(a: &Cap, b: &Cap) -> bool {
    let is_level = (space(a.kind), rank(a.kind)) == (space(b.kind), rank(b.kind));
    is_level && (a.base, a.size) == (b.base, b.size) && a.kind != b.kind
}

fn is_paged(kind: ObjectType) -> bool {
    space(kind) == 0 && !matches!(kind, EndpointLmp | Notify)
}

fn is_conserved(kind: ObjectType) -> bool {
    matches!(
        kind,
        PhysAddr | Ram | HomeRam | CoreImage | Frame | DevFrame | EndpointUmp | IrqSource
    )
}

/// What a deletion did besides removing capabilities.
#[derive(Default, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub stopped: Vec<u64>,
    pub unbound: Vec<u64>,
    pub released: Vec<(ObjectType, u64, u64)>,
    /// Each with the capabilities one of which must be found in the shelter.
    pub rescued: Vec<Vec<Cap>>,
}

/// What a deletion would take along.
pub struct Closure {
    pub gone: Vec<u32>,
    pub outcome: Outcome,
    pub meets_lock: bool,
}

#[derive(Clone, Default)]
pub struct Model {
    pub caps: Vec<Cap>,
    /// What operations hold: the object, and whether it is marked with its range.
    pub holds: Vec<(u64, Cap, bool)>,
}

impl Model {
    pub fn get(&self, at: u32) -> Option<&Cap> {
        self.caps.iter().find(|c| c.at == at)
    }

    fn get_mut(&mut self, at: u32) -> &mut Cap {
        self.caps
            .iter_mut()
            .find(|c| c.at == at)
            .expect("checked before")
    }

    fn vacant(&self, at: u32) -> Result<(), SysError> {
        if self.get(at).is_some() {
            Err(SysError::SlotInUse)
        } else {
            Ok(())
        }
    }

    /// Whether an operation holds the object, or a range around it.
    fn check_held(&self, cap: &Cap) -> Result<(), SysError> {
        let covers =
            |hold: &Cap, is_mark: bool| hold.is_same(cap) || (is_mark && is_ancestor(hold, cap));
        if self
            .holds
            .iter()
            .any(|(_, hold, mark)| *mark && covers(hold, true))
        {
            return Err(SysError::Dying);
        }
        if self
            .holds
            .iter()
            .any(|(_, hold, mark)| !mark && covers(hold, false))
        {
            return Err(SysError::Locked);
        }
        Ok(())
    }

    fn check_new(&self, kind: ObjectType, start: u64, end: u64) -> Result<(), SysError> {
        let is_in = |(_, hold, mark): &(u64, Cap, bool)| *mark && overlaps(hold, kind, start, end);
        if self.holds.iter().any(is_in) {
            return Err(SysError::Dying);
        }
        Ok(())
    }

    pub fn lock_object(&mut self, at: u32, operation: u64) -> Result<(), SysError> {
        let cap = self.usable(at)?;
        if !cap.is_own() {
            return Err(SysError::Foreign);
        }
        self.holds.push((operation, cap, false));
        Ok(())
    }

    /// Marks around others aren't tried here.
    pub fn mark_range(&mut self, cap: &Cap, operation: u64) -> Result<(), SysError> {
        self.check_held(cap)?;
        let is_in = |(_, hold, mark): &(u64, Cap, bool)| {
            !mark && (hold.is_same(cap) || is_ancestor(cap, hold))
        };
        if self.holds.iter().any(is_in) {
            return Err(SysError::Locked);
        }
        self.holds
            .retain(|(_, hold, mark)| !(*mark && is_ancestor(cap, hold)));
        self.holds.push((operation, cap.clone(), true));
        Ok(())
    }

    fn usable(&self, at: u32) -> Result<Cap, SysError> {
        let cap = self.get(at).ok_or(SysError::EmptySlot)?;
        match cap.state {
            State::Live if cap.tombstone => Err(SysError::Foreign),
            State::Live => self.check_held(cap).map(|()| cap.clone()),
            _ => Err(SysError::Locked),
        }
    }

    pub fn has_copies(&self, cap: &Cap) -> bool {
        cap.kind != Mapping && self.caps.iter().any(|c| c.at != cap.at && c.is_same(cap))
    }

    pub fn has_descendants(&self, cap: &Cap) -> bool {
        self.caps.iter().any(|c| is_ancestor(cap, c))
    }

    /// The innermost ancestor counts, but for what is owned only if it is owned.
    pub fn has_ancestors(&self, cap: &Cap) -> bool {
        let is_owned = cap.is_own() && cap.kind != Mapping;
        self.innermost(cap)
            .is_some_and(|c| c.is_own() || !(is_owned || c.tombstone))
    }

    fn innermost(&self, cap: &Cap) -> Option<&Cap> {
        self.caps
            .iter()
            .filter(|c| is_ancestor(c, cap) && c.kind != Mapping)
            .max_by_key(|c| key(c))
    }

    pub fn has_remote_relations(&self, cap: &Cap) -> bool {
        self.caps
            .iter()
            .any(|c| (c.is_same(cap) || is_ancestor(cap, c)) && c.is_remote())
    }

    pub fn is_range_used(&self, cap: &Cap, offset: u64, size: u64) -> bool {
        let (start, end) = (cap.base + offset, cap.base + offset + size);
        self.caps
            .iter()
            .any(|c| is_ancestor(cap, c) && overlaps(c, cap.kind, start, end))
    }

    /// The range of the innermost capability to memory around an address.
    pub fn find(&self, address: u64) -> Option<&Cap> {
        let around = |c: &&Cap| overlaps(c, Ram, address, address + 1);
        self.caps.iter().filter(around).max_by_key(|c| key(c))
    }

    pub fn create(&mut self, at: u32, capability: &Capability) {
        self.caps.push(Cap::from(at, capability, SELF.0));
    }

    pub fn copy(&mut self, src: u32, dst: u32, mask: Rights) -> Result<(), SysError> {
        let cap = self.usable(src)?;
        if cap.kind == Mapping {
            return Err(SysError::WrongType);
        }
        self.vacant(dst)?;
        self.caps.push(Cap {
            at: dst,
            rights: cap.rights & mask,
            remote_copies: NONE,
            ..cap
        });
        Ok(())
    }

    pub fn relocate(&mut self, src: u32, dst: u32, mask: Rights) -> Result<(), SysError> {
        if self.usable(src)?.kind == Mapping {
            return Err(SysError::WrongType);
        }
        self.vacant(dst)?;
        let cap = self.get_mut(src);
        cap.at = dst;
        cap.rights &= mask;
        Ok(())
    }

    pub fn mint(&mut self, src: u32, dst: u32, mask: Rights, what: Mint) -> Result<(), SysError> {
        let cap = self.usable(src)?;
        let mut new = Cap {
            at: dst,
            rights: cap.rights & mask,
            remote_copies: NONE,
            ..cap.clone()
        };
        match what {
            Mint::Badge(badge) => {
                if !matches!(cap.kind, EndpointLmp | Id) {
                    return Err(SysError::WrongType);
                }
                if badge == 0 {
                    return Err(SysError::InvalidArgument);
                }
                if cap.data[0] != 0 {
                    return Err(SysError::AlreadyBound);
                }
                self.vacant(dst)?;
                new.data[0] = badge;
            }
            Mint::Range { offset, size } => {
                if !matches!(cap.kind, Ram | Frame | DevFrame | PhysAddr | IrqSource) {
                    return Err(SysError::WrongType);
                }
                if size == 0 || offset.checked_add(size).is_none_or(|end| end > cap.size) {
                    return Err(SysError::OutOfRange);
                }
                if is_paged(cap.kind) && (offset | size) % PAGE_SIZE != 0 {
                    return Err(SysError::Unaligned);
                }
                self.vacant(dst)?;
                new.base += offset;
                new.size = size;
                if size != cap.size {
                    self.check_new(new.kind, new.base, new.end())?;
                }
                let is_used = if size == cap.size {
                    false
                } else if matches!(cap.kind, Frame | DevFrame) {
                    self.caps.iter().any(|c| {
                        let is_away = c.tombstone || c.state == State::InTransit;
                        crosses(c, &new) || is_rival(c, &new) || (c.is_same(&new) && is_away)
                    })
                } else {
                    self.is_range_used(&cap, offset, size)
                };
                if is_used {
                    return Err(SysError::RangeInUse);
                }
            }
        }
        self.caps.push(new);
        Ok(())
    }

    pub fn retype(&mut self, src: u32, r: &RetypeRequest, dst: u32) -> Result<Retype, SysError> {
        let cap = self.usable(src)?;
        if !cap.is_own() {
            return Err(SysError::ThroughMonitor);
        }
        if !cap.rights.contains(Rights::RETYPE) {
            return Err(SysError::MissingRight);
        }
        let legal: &[ObjectType] = match cap.kind {
            PhysAddr => &[PhysAddr, DevFrame],
            Ram if r.is_privileged => &[Ram, Frame, EndpointUmp, HomeRam],
            Ram => &[Ram, Frame, EndpointUmp],
            HomeRam => &[
                HomeRam,
                Frame,
                L1CNode,
                L2CNode,
                VNodeL0,
                VNodeL1,
                VNodeL2,
                VNodeL3,
                Dispatcher,
                KernelControlBlock,
            ],
            IrqSource => &[IrqSource],
            _ => &[],
        };
        if !legal.contains(&r.kind) {
            return Err(SysError::InvalidRetype);
        }
        let size = r.kind.fixed_size().unwrap_or(r.object_size);
        if r.count == 0 || r.count > 256 || size == 0 || ![0, size].contains(&r.object_size) {
            return Err(SysError::InvalidArgument);
        }
        if is_paged(r.kind) && (r.offset | size) % PAGE_SIZE != 0 {
            return Err(SysError::Unaligned);
        }
        let total = u128::from(r.offset) + u128::from(size) * u128::from(r.count);
        if total > u128::from(cap.size) {
            return Err(SysError::OutOfRange);
        }
        if cap.kind == r.kind && size == cap.size {
            return Err(SysError::InvalidRetype);
        }
        let zeroed = !matches!(r.kind, PhysAddr | Ram | HomeRam | DevFrame | IrqSource);
        let object = |n: u32| Cap {
            at: dst + n,
            kind: r.kind,
            base: cap.base + r.offset + u64::from(n) * size,
            size,
            data: [0; 2],
            state: if zeroed {
                State::InProgress
            } else {
                State::Live
            },
            remote_copies: NONE,
            remote_ancestors: false,
            remote_frame: false,
            ..cap.clone()
        };
        let begun = (0..r.count).all(|n| {
            self.get(dst + n).is_some_and(|c| {
                c.is_same(&object(n)) && matches!(c.state, State::Live | State::InProgress)
            })
        });
        let unfinished = (0..r.count).any(|n| {
            self.get(dst + n)
                .is_some_and(|c| c.state == State::InProgress)
        });
        if zeroed && begun && unfinished {
            return Ok(Retype::Continue);
        }
        for n in 0..r.count {
            self.vacant(dst + n)?;
        }
        let (start, length) = (cap.base + r.offset, size * u64::from(r.count));
        self.check_new(cap.kind, start, start + length)?;
        if self.is_range_used(&cap, r.offset, size * u64::from(r.count)) {
            return Err(SysError::RangeInUse);
        }
        self.caps.extend((0..r.count).map(object));
        Ok(if zeroed { Retype::Fresh } else { Retype::Done })
    }

    pub fn finish(&mut self, at: u32) -> Result<(), SysError> {
        match self.get(at) {
            Some(cap) if cap.state == State::InProgress => {
                self.get_mut(at).state = State::Live;
                Ok(())
            }
            _ => Err(SysError::InvalidArgument),
        }
    }

    pub fn derive(&mut self, parent: u32, new: &Capability, dst: u32) -> Result<(), SysError> {
        let cap = self.usable(parent)?;
        let legal = match new.kind {
            EndpointLmp | Notify => cap.kind == Dispatcher,
            IrqDest => cap.kind == IrqSource,
            Mapping => matches!(
                cap.kind,
                Frame | DevFrame | EndpointUmp | VNodeL1 | VNodeL2 | VNodeL3
            ),
            _ => false,
        };
        if !legal {
            return Err(SysError::InvalidRetype);
        }
        let made = Cap {
            executable: new.kind == Mapping && cap.executable,
            ..Cap::from(dst, new, SELF.0)
        };
        let inside = new.size != 0 && cap.base <= new.base && made.end() <= cap.end();
        if !inside || (new.kind == Mapping && new.size != cap.size) {
            return Err(SysError::OutOfRange);
        }
        if new.kind != Mapping && !cap.is_own() {
            return Err(SysError::Foreign);
        }
        self.vacant(dst)?;
        if new.kind != Mapping && self.is_range_used(&cap, new.base - cap.base, new.size) {
            return Err(SysError::RangeInUse);
        }
        self.caps.push(made);
        Ok(())
    }

    /// Everything that goes when the capabilities in `start` do.
    pub fn closure(&self, start: Vec<u32>) -> Closure {
        let mut gone = start;
        let mut outcome = Outcome::default();
        let mut settled: Vec<Cap> = Vec::new();
        loop {
            let before = gone.len() + settled.len();
            for at in gone.clone() {
                let Some(cap) = self.get(at) else { continue };
                let is_object = cap.state != State::InProgress && cap.kind != Mapping;
                let all_go = self
                    .caps
                    .iter()
                    .all(|c| !c.is_same(cap) || gone.contains(&c.at));
                let stays = cap.tombstone || cap.state == State::InTransit;
                if !is_object || stays || !all_go || settled.iter().any(|c| c.is_same(cap)) {
                    continue;
                }
                settled.push(cap.clone());
                self.destroy(cap, &mut gone, &mut outcome);
            }
            if gone.len() + settled.len() == before {
                break;
            }
        }
        for at in &gone {
            match self.get(*at) {
                Some(cap) if cap.tombstone || cap.state == State::InTransit => {
                    outcome.rescued.push(vec![cap.clone()])
                }
                _ => {}
            }
        }
        let meets_lock = gone.iter().filter_map(|at| self.get(*at)).any(|c| {
            c.state == State::Locked || (c.kind != Mapping && self.check_held(c).is_err())
        });
        Closure {
            gone,
            outcome,
            meets_lock,
        }
    }

    /// The last capability to an object goes.
    fn destroy(&self, cap: &Cap, gone: &mut Vec<u32>, outcome: &mut Outcome) {
        let copies: Vec<Cap> = self
            .caps
            .iter()
            .filter(|c| c.is_same(cap))
            .cloned()
            .collect();
        if cap.is_own() {
            let has_remote_copies =
                copies.iter().any(|c| c.remote_copies != NONE) && cap.kind != Notify;
            if has_remote_copies || (is_conserved(cap.kind) && !self.has_ancestors(cap)) {
                outcome.rescued.push(copies);
                return;
            }
            match cap.kind {
                IrqDest => outcome.unbound.push(cap.base),
                kind => outcome.released.push((kind, cap.base, cap.size)),
            }
        }
        let mut add = |at: u32| {
            if !gone.contains(&at) {
                gone.push(at);
            }
        };
        for other in &self.caps {
            let address = super::address_of(other.at);
            let goes = match cap.kind {
                L1CNode | L2CNode => cap.base <= address && address < cap.end(),
                Dispatcher => {
                    is_ancestor(cap, other)
                        || inner_slots(cap.base)
                            .iter()
                            .any(|s| super::number_of(*s) == other.at)
                }
                VNodeL0 | VNodeL1 | VNodeL2 | VNodeL3 => {
                    other.kind == Mapping
                        && (other.data[0] == cap.base
                            || (other.base, other.size) == (cap.base, cap.size))
                }
                Frame | DevFrame | EndpointUmp => {
                    other.kind == Mapping && (other.base, other.size) == (cap.base, cap.size)
                }
                _ => false,
            };
            if goes {
                add(other.at);
            }
        }
        if cap.kind == Dispatcher {
            outcome.stopped.push(cap.base);
        }
    }

    /// Whether the capability may be deleted on its own.
    pub fn check_delete(&self, at: u32) -> Result<(), SysError> {
        let cap = self.get(at).ok_or(SysError::EmptySlot)?;
        if cap.kind != Mapping && self.check_held(cap).is_err() {
            return Err(SysError::Locked);
        }
        match cap.state {
            State::Locked | State::InTransit => return Err(SysError::Locked),
            State::InProgress => return Ok(()),
            _ => {}
        }
        if cap.tombstone {
            return Err(SysError::Foreign);
        }
        if cap.kind == Mapping || self.has_copies(cap) || !cap.is_own() {
            return Ok(());
        }
        if cap.remote_copies != NONE && cap.kind != Notify {
            return Err(SysError::ThroughMonitor);
        }
        if is_conserved(cap.kind) && !self.has_ancestors(cap) {
            return Err(SysError::LastCopy);
        }
        Ok(())
    }

    pub fn check_revoke(&self, at: u32) -> Result<(), SysError> {
        let cap = self.usable(at)?;
        if cap.kind == Mapping {
            return Err(SysError::WrongType);
        }
        if !cap.rights.contains(Rights::REVOKE) {
            return Err(SysError::MissingRight);
        }
        if !cap.is_own() {
            return Err(SysError::ThroughMonitor);
        }
        if self.has_remote_relations(&cap) {
            return Err(SysError::ThroughMonitor);
        }
        let at = super::address_of(cap.at);
        if matches!(cap.kind, Ram | HomeRam | PhysAddr) && cap.base <= at && at < cap.end() {
            return Err(SysError::InsideItself);
        }
        Ok(())
    }

    /// What revoking removes first.
    pub fn related(&self, at: u32) -> Vec<u32> {
        let cap = self.get(at).expect("checked before");
        let has_badge = matches!(cap.kind, EndpointLmp | Id) && cap.data[0] != 0;
        let is_alike = |c: &Cap| c.is_same(cap) && (!has_badge || c.data[0] == cap.data[0]);
        let goes = |c: &&Cap| (is_alike(c) && c.at != at) || is_ancestor(cap, c);
        self.caps.iter().filter(goes).map(|c| c.at).collect()
    }

    /// Removes; where a copy remains, it takes over the mark of remote copies.
    pub fn remove(&mut self, gone: &[u32]) {
        for at in gone {
            let Some(cap) = self.get(*at).cloned() else {
                continue;
            };
            self.caps.retain(|c| c.at != *at);
            if cap.remote_copies != NONE {
                let heir = self
                    .caps
                    .iter_mut()
                    .find(|c| c.is_same(&cap) && !gone.contains(&c.at));
                if let Some(heir) = heir {
                    heir.remote_copies.0 += cap.remote_copies.0;
                    heir.remote_copies.1 |= cap.remote_copies.1;
                }
            }
        }
    }

    fn is_in_frame(&self, cap: &Cap) -> bool {
        let can_map = |c: &Cap| matches!(c.kind, Frame | DevFrame | EndpointUmp);
        cap.remote_frame || self.innermost(cap).is_some_and(can_map)
    }

    /// Whether this is the only way to a frame.
    fn check_sole(&self, cap: &Cap) -> Result<(), SysError> {
        if !cap.is_own() {
            return Err(SysError::Foreign);
        }
        if cap.remote_frame || self.has_remote_relations(cap) {
            return Err(SysError::ThroughMonitor);
        }
        if self.is_in_frame(cap) || self.has_copies(cap) || self.has_descendants(cap) {
            return Err(SysError::HasRelations);
        }
        Ok(())
    }

    pub fn seal(&mut self, at: u32) -> Result<(), SysError> {
        let cap = self.usable(at)?;
        if cap.kind != Frame {
            return Err(SysError::WrongType);
        }
        self.check_sole(&cap)?;
        let cap = self.get_mut(at);
        cap.kind = CoreImage;
        cap.executable = false;
        cap.rights &= Rights::EXECUTE | Rights::GRANT | Rights::REVOKE;
        Ok(())
    }

    pub fn make_executable(&mut self, at: u32) -> Result<(), SysError> {
        let cap = self.usable(at)?;
        if cap.kind != Frame {
            return Err(SysError::WrongType);
        }
        if !cap.rights.contains(Rights::EXECUTE) {
            return Err(SysError::MissingRight);
        }
        if cap.executable {
            return Ok(());
        }
        self.check_sole(&cap)?;
        let cap = self.get_mut(at);
        cap.executable = true;
        cap.rights -= Rights::WRITE;
        Ok(())
    }

    pub fn export(&mut self, at: u32, to: u16, mode: ExportMode) -> Result<CapRecord, SysError> {
        let cap = self.usable(at)?;
        if to == SELF.0 || to >= 512 {
            return Err(SysError::InvalidArgument);
        }
        let travels = match mode {
            ExportMode::Move => matches!(
                cap.kind,
                Ram | Frame | DevFrame | PhysAddr | EndpointUmp | IrqSource
            ),
            ExportMode::Copy => matches!(cap.kind, Frame | EndpointUmp | Notify),
            // `tests/holds.rs` and `tests/transfer.rs` have these.
            ExportMode::Claim | ExportMode::HandOver => false,
        };
        if !travels {
            return Err(SysError::WrongType);
        }
        if !cap.is_own() && mode == ExportMode::Move {
            return Err(SysError::Foreign);
        }
        let capability = Capability {
            kind: cap.kind,
            rights: cap.rights,
            base: cap.base,
            size: cap.size,
            data: cap.data,
        };
        let has_ancestors = cap.remote_ancestors || self.has_ancestors(&cap);
        let mut record = CapRecord {
            capability,
            owner: capelin_abi::KernelId(to),
            mode,
            has_ancestors,
            is_in_frame: self.is_in_frame(&cap),
            is_executable: cap.executable,
        };
        if mode == ExportMode::Copy {
            record.owner = capelin_abi::KernelId(cap.owner);
            record.capability.rights -= Rights::REVOKE | Rights::RETYPE;
            if !cap.is_own() {
                return Ok(record);
            }
            self.get_mut(at).remote_copies.0 += 1;
            return Ok(record);
        }
        if self.has_remote_relations(&cap) {
            return Err(SysError::ThroughMonitor);
        }
        if self.has_copies(&cap) || self.has_descendants(&cap) {
            return Err(SysError::HasRelations);
        }
        let cap = self.get_mut(at);
        cap.state = State::InTransit;
        cap.to = Some(to);
        Ok(record)
    }

    /// Which capability a transfer is noted in.
    fn under_way(&self, record: &CapRecord) -> Result<u32, SysError> {
        let sent = Cap::from(0, &record.capability, 0);
        let is_noted = |c: &&Cap| {
            c.is_same(&sent)
                && match record.mode {
                    ExportMode::Move => c.to == Some(record.owner.0),
                    ExportMode::Copy => c.remote_copies.0 != 0,
                    ExportMode::Claim | ExportMode::HandOver => false,
                }
        };
        let found = self.caps.iter().find(is_noted).map(|c| c.at);
        found.ok_or(SysError::EmptySlot)
    }

    pub fn commit(&mut self, record: &CapRecord) -> Result<(), SysError> {
        if record.mode == ExportMode::Copy && record.owner != SELF {
            return Ok(());
        }
        let at = self.under_way(record)?;
        if record.mode == ExportMode::Copy {
            let copies = &mut self.get_mut(at).remote_copies;
            *copies = (copies.0 - 1, true);
            return Ok(());
        }
        let sent = self.get(at).expect("found");
        let is_claimed = self.innermost(sent).is_some_and(Cap::is_own);
        if !is_claimed {
            self.caps.retain(|c| c.at != at);
            return Ok(());
        }
        *self.get_mut(at) = Cap {
            owner: record.owner.0,
            rights: Rights::empty(),
            data: [0; 2],
            tombstone: true,
            executable: false,
            state: State::Live,
            to: None,
            ..self.get(at).expect("found").clone()
        };
        Ok(())
    }

    pub fn abort(&mut self, record: &CapRecord) -> Result<(), SysError> {
        if record.mode == ExportMode::Copy && record.owner != SELF {
            return Ok(());
        }
        let at = self.under_way(record)?;
        let cap = self.get_mut(at);
        if record.mode == ExportMode::Copy {
            cap.remote_copies.0 -= 1;
        } else {
            cap.state = State::Live;
            cap.to = None;
        }
        Ok(())
    }

    /// For records whose own fields make sense.
    pub fn import(&mut self, record: &CapRecord, dst: u32) -> Result<(), SysError> {
        self.vacant(dst)?;
        let new = Cap {
            executable: record.is_executable,
            ..Cap::from(dst, &record.capability, record.owner.0)
        };
        self.check_held(&new)?;
        let same: Vec<Cap> = self
            .caps
            .iter()
            .filter(|c| c.is_same(&new))
            .cloned()
            .collect();
        let crossing = self
            .caps
            .iter()
            .any(|c| crosses(c, &new) || is_rival(c, &new));
        let around = self.innermost(&new).cloned();
        let inside: Vec<Cap> = self
            .caps
            .iter()
            .filter(|c| is_ancestor(&new, c))
            .cloned()
            .collect();
        match record.mode {
            ExportMode::Claim | ExportMode::HandOver => return Err(SysError::InvalidArgument),
            ExportMode::Move if record.owner != SELF => return Err(SysError::InvalidArgument),
            ExportMode::Move if same.len() == 1 && same[0].tombstone && inside.is_empty() => {
                let home = self.get_mut(same[0].at);
                *home = Cap {
                    remote_ancestors: home.remote_ancestors,
                    remote_frame: home.remote_frame,
                    ..new
                };
            }
            ExportMode::Move => {
                let owned = around.is_some_and(|c| !c.tombstone);
                if owned || crossing || !same.is_empty() || !inside.is_empty() {
                    return Err(SysError::RangeInUse);
                }
                self.caps.push(Cap {
                    remote_ancestors: record.has_ancestors,
                    remote_frame: record.is_in_frame,
                    ..new
                });
            }
            ExportMode::Copy if record.owner == SELF => {
                let original = same.iter().find(|c| c.is_own() && c.state == State::Live);
                let original = original.ok_or(SysError::Dying)?;
                if original.executable != new.executable {
                    return Err(SysError::InvalidArgument);
                }
                let (remote_ancestors, remote_frame) =
                    (original.remote_ancestors, original.remote_frame);
                self.caps.push(Cap {
                    remote_ancestors,
                    remote_frame,
                    ..new
                });
            }
            ExportMode::Copy => {
                if let Some(first) = same.first() {
                    let differs = |c: &Cap| !c.tombstone && c.executable != new.executable;
                    if first.is_own() || same.iter().any(differs) {
                        return Err(SysError::RangeInUse);
                    }
                } else {
                    let refused = around.as_ref().is_some_and(|c| {
                        !c.tombstone
                            && !matches!(c.kind, CoreImage | PhysAddr)
                            && c.owner != new.owner
                    });
                    let differs = |c: &Cap| {
                        let is_mapped = matches!(c.kind, Frame | DevFrame | EndpointUmp);
                        !c.tombstone && is_mapped && c.executable != new.executable
                    };
                    let claimed = inside.iter().any(|c| c.owner != new.owner || differs(c));
                    if refused || around.is_some_and(|c| differs(&c)) || claimed || crossing {
                        return Err(SysError::RangeInUse);
                    }
                }
                self.caps.push(new);
            }
        }
        Ok(())
    }

    /// Whether copies of what is around or inside the object of `record` name different
    /// owners, as they may once it has been handed over.
    pub fn names_owners_apart(&self, record: &CapRecord) -> bool {
        let new = Cap::from(0, &record.capability, record.owner.0);
        let around = self.innermost(&new);
        let mut inside = self.caps.iter().filter(|c| is_ancestor(&new, c));
        let differs = |of: &Cap| {
            let mut copies = self.caps.iter().filter(|c| c.is_same(of));
            copies.any(|c| c.owner != of.owner)
        };
        around.is_some_and(differs) || inside.any(differs)
    }

    pub fn reclaim(&mut self, at: u32) -> Result<(), SysError> {
        let cap = self.get(at).ok_or(SysError::EmptySlot)?.clone();
        if !cap.tombstone {
            return Err(SysError::WrongType);
        }
        if self.has_descendants(&cap) {
            return Err(SysError::HasRelations);
        }
        self.caps.retain(|c| c.at != at);
        Ok(())
    }

    pub fn lock(&mut self, at: u32) -> Result<(), SysError> {
        self.usable(at)?;
        self.get_mut(at).state = State::Locked;
        Ok(())
    }

    pub fn unlock(&mut self, at: u32) -> Result<(), SysError> {
        if self.get(at).ok_or(SysError::EmptySlot)?.state != State::Locked {
            return Err(SysError::InvalidArgument);
        }
        self.get_mut(at).state = State::Live;
        Ok(())
    }
}
