//! What has to hold after each entry, as told from the capabilities that there are: of tables
//! and their mappings, of control blocks, of what is promised, of the account of objects; and
//! of a TLB that forgets nothing by itself.

use std::collections::{BTreeMap, BTreeSet};

use capelin_abi::syscall::DispatcherState;
use capelin_abi::{ObjectType as T, PhysAddr, Rights};
use capelin_cap::{MappingData, Slot, SlotStore, State};
use capelin_kernel::dcb::{DcbRef, held};
use capelin_kernel::machine::{Above, FrameRef, Objects, RootRef, TableRef};
use capelin_kernel::names::EndpointIndex;
use capelin_vspace::{Descriptor, Entry, TableLevel};

use super::Storm;
use crate::host::Asked;

/// What a TLB may hold: by ASID and address, the leaf.
pub(super) type Tlb = BTreeMap<(u16, u64), u64>;

/// In the kernel's word of a mapping: it is of a table; it is being made ready.
const TABLE: u32 = 1 << 31;
const PREPARING: u32 = 1 << 30;

const TABLES: &[T] = &[T::VNodeL0, T::VNodeL1, T::VNodeL2, T::VNodeL3];

/// The first addresses of what is made of these types.
fn bases(made: &[Slot], kinds: &[T]) -> BTreeSet<u64> {
    let of = made.iter().filter(|slot| kinds.contains(&slot.kind()));
    of.map(Slot::base).collect()
}
impl Storm {
    pub(super) fn look(&mut self) {
        self.invalidate();
        let made = self.made();
        self.tables(&made);
        self.mappings(&made);
        self.promises(&made);
        self.dispatchers(&made);
        let bytes = self.object_bytes();
        assert_eq!(
            self.account(),
            bytes.wrapping_add(self.baseline),
            "the account"
        );
        self.translations(&made);
    }

    /// Bytes of home memory in objects; of frames, each part is one.
    pub(super) fn object_bytes(&self) -> u64 {
        let objects = &self.world.core.objects;
        let is_counted = |slot: &&Slot| {
            let is_home = objects.contains(slot.address(), slot.size());
            match slot.kind() {
                T::EndpointLmp | T::Notify | T::Kernel => false,
                T::Frame => is_home,
                kind => kind.fixed_size().is_some(),
            }
        };
        let made = self.made();
        let each = made.iter().filter(is_counted);
        let each: BTreeSet<_> = each
            .map(|slot| (slot.kind() as u8, slot.base(), slot.size()))
            .collect();
        each.into_iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Entries and their mappings' slots name each other, and are counted.
    fn tables(&self, made: &[Slot]) {
        let core = &self.world.core;
        for table in bases(made, TABLES) {
            let vnode = core.objects.table_at(PhysAddr(table));
            let (mut entries, mut children) = (0, 0);
            for (number, &at) in vnode.mappings.iter().enumerate() {
                if at.is_none() {
                    assert_eq!(vnode.entries[number], 0, "entry {number} of {table:#x}");
                    continue;
                }
                let mapping = core.slots.slot(at);
                let data = MappingData::of(mapping);
                let first = usize::from(data.first_entry);
                let is_within = (first..first + usize::from(data.entries)).contains(&number);
                let is_its = mapping.kind() == T::Mapping && data.table.0 == table && is_within;
                assert!(is_its, "entry {number} of {table:#x} names another slot");
                entries += 1;
                children += u64::from(data.kernel & TABLE != 0);
            }
            let counted = (vnode.held, vnode.child_tables);
            assert_eq!(counted, (entries, children), "of {table:#x}");
        }
    }

    /// What is mapped lies in its frame and isn't more than that allows; a table that is
    /// attached knows where.
    fn mappings(&self, made: &[Slot]) {
        let core = &self.world.core;
        let tables = bases(made, TABLES);
        for mapping in made.iter().filter(|slot| slot.kind() == T::Mapping) {
            let data = MappingData::of(mapping);
            assert!(tables.contains(&data.table.0), "{:?} is gone", data.table);
            let vnode = core.objects.table_at(data.table);
            let number = u8::try_from(data.kernel & 3).expect("two bits");
            let level = TableLevel::new(number).expect("a level");
            let first = usize::from(data.first_entry);
            for entry in first..first + usize::from(data.entries) {
                let descriptor = Descriptor(vnode.entries[entry]);
                match descriptor.decode(level) {
                    Entry::Leaf(to, permissions) => {
                        let end = mapping.base() + mapping.size();
                        let is_inside = mapping.base() <= to.0 && to.0 + level.entry_span() <= end;
                        assert!(is_inside && permissions.user, "{descriptor:?}");
                        let may_write = mapping.rights().contains(Rights::WRITE);
                        assert!(may_write || !permissions.is_writable(), "{descriptor:?}");
                        let may_run = mapping.is_executable();
                        assert!(may_run || !permissions.is_executable(), "{descriptor:?}");
                    }
                    Entry::Table(to) => {
                        assert_eq!((to.0, data.kernel & TABLE), (mapping.base(), TABLE));
                        let child = core.objects.table_at(to);
                        let address = vnode.first_address + entry as u64 * level.entry_span();
                        let above = child.above.get().map(TableRef::address);
                        assert_eq!(above, Some(data.table), "{to:?}");
                        let is_attached = vnode.above != Above::NONE;
                        assert!(!is_attached || child.first_address == address, "{to:?}");
                    }
                    other => assert!(data.kernel & PREPARING != 0, "{other:?}"),
                }
            }
        }
    }

    /// Room is kept for what is promised, and for nothing else; nobody is promised anything by
    /// who is gone.
    fn promises(&self, made: &[Slot]) {
        let core = &self.world.core;
        let alive = bases(made, &[T::Dispatcher]);
        let mut kept: BTreeMap<(u64, u16), u16> = BTreeMap::new();
        let mut keep = |to: DcbRef, endpoint: EndpointIndex| {
            let at = core.objects.dcb_address(to).0;
            assert!(alive.contains(&at), "something is promised by who is gone");
            *kept.entry((at, endpoint.get())).or_default() += 1;
        };
        for irq in &core.kcb.irqs {
            if let Some(dcb) = irq.dispatcher {
                keep(dcb, irq.endpoint);
            }
        }
        for &at in &alive {
            let block = core.objects.dcb(self.block(at));
            if let Some(to) = block.promise {
                keep(to, block.promise_index);
            }
        }
        let endpoints = made.iter().filter(|slot| slot.kind() == T::EndpointLmp);
        let endpoints: BTreeSet<_> = endpoints
            .map(|slot| {
                let data = slot.data()[1];
                let dcb = DcbRef::around(slot.named()).expect("a dispatcher");
                (
                    core.objects.dcb_address(dcb).0,
                    EndpointIndex::from_word(data).get(),
                )
            })
            .collect();
        for &(at, _) in &endpoints {
            assert!(alive.contains(&at), "an endpoint of who is gone");
        }
        let dying = made.iter().filter(|slot| slot.state() == State::Dying);
        let dying: Vec<u64> = dying.map(Slot::base).collect();
        for &at in &alive {
            let records = &core.objects.dcb(self.block(at)).endpoints;
            for (number, record) in (0..).zip(records) {
                let is_there = endpoints.contains(&(at, number));
                assert_eq!(is_there, record.ring != 0, "endpoint {number} of {at:#x}");
                if dying.contains(&at) {
                    // Nothing can be sent to it, nor promised, any more.
                    continue;
                }
                let promised = kept.get(&(at, number)).copied().unwrap_or(0);
                assert_eq!(record.reserved, promised, "endpoint {number} of {at:#x}");
            }
        }
    }

    /// Whoever runs or may run has what it lives on, and the kernel names nobody who is gone.
    fn dispatchers(&self, made: &[Slot]) {
        let core = &self.world.core;
        let alive = bases(made, &[T::Dispatcher]);
        for named in core.kcb.fp_owner.iter().chain(&core.kcb.scheduler.current) {
            let at = core.objects.dcb_address(*named).0;
            assert!(alive.contains(&at), "the KCB names {at:#x}, which is gone");
        }
        for at in alive {
            let dcb = self.block(at);
            let block = core.objects.dcb(dcb);
            if block.state != DispatcherState::Runnable {
                continue;
            }
            let [frame, cspace, vspace] = [held::FRAME, held::CSPACE, held::VSPACE]
                .map(|which| core.slots.slot(dcb.held(which)));
            assert_eq!(FrameRef::of(frame, &core.objects).ok(), block.frame());
            assert_eq!(core.slots.index_of(cspace.address()), Some(block.l1));
            assert_eq!(RootRef::of(vspace), block.place.map(|place| place.root));
            let kinds = [frame, cspace, vspace].map(Slot::kind);
            assert_eq!(kinds, [T::Frame, T::L1CNode, T::VNodeL0]);
            for slot in [frame, cspace, vspace] {
                assert_eq!(slot.state(), State::Live, "{at:#x} runs");
            }
        }
    }

    /// What was invalidated since the last look isn't in the TLB any more.
    fn invalidate(&mut self) {
        for asked in self.world.core.machine.asked() {
            match asked {
                Asked::InvalidateAll => self.tlb.clear(),
                Asked::InvalidateAsid(gone) => self.tlb.retain(|&(asid, _), _| asid != gone),
                Asked::InvalidateLeaves {
                    address,
                    count,
                    span,
                    asid: of,
                } => {
                    let gone = address..address + count * span;
                    self.tlb
                        .retain(|&(asid, at), _| asid != of || !gone.contains(&at));
                }
                _ => {}
            }
        }
    }

    /// No address space has an ASID under which the TLB may hold what isn't mapped there. The
    /// one in use is held from now on.
    fn translations(&mut self, made: &[Slot]) {
        let core = &self.world.core;
        let roots = bases(made, &[T::VNodeL0]);
        let active = core.active_root.map(|root| root.address().0);
        assert!(
            active.is_none_or(|root| roots.contains(&root)),
            "the core walks what is gone"
        );
        let mut spaces = BTreeMap::new();
        for &root in &roots {
            let vnode = core.objects.table_at(PhysAddr(root));
            if vnode.asid_generation == core.kcb.asid_generation {
                let asid = u16::try_from(vnode.asid).expect("an ASID");
                let mut leaves = BTreeMap::new();
                self.walk(root, TableLevel::L0, 0, &mut leaves);
                let other = spaces.insert(asid, (root, leaves));
                assert!(other.is_none(), "two address spaces with ASID {asid}");
            }
        }
        for (&(asid, at), leaf) in &self.tlb {
            if let Some((_, leaves)) = spaces.get(&asid) {
                assert_eq!(
                    leaves.get(&at),
                    Some(leaf),
                    "{at:#x} of ASID {asid} is stale"
                );
            }
        }
        let in_use = spaces
            .into_iter()
            .find(|(_, (root, _))| Some(*root) == active);
        if let Some((asid, (_, leaves))) = in_use {
            let seen = leaves.into_iter().map(|(at, leaf)| ((asid, at), leaf));
            self.tlb.extend(seen);
        }
    }

    /// The leaves that a walk from a table finds.
    fn walk(&self, table: u64, level: TableLevel, base: u64, leaves: &mut BTreeMap<u64, u64>) {
        let vnode = self.world.core.objects.table_at(PhysAddr(table));
        for (number, &descriptor) in (0..).zip(&vnode.entries) {
            let at = base + number * level.entry_span();
            match (Descriptor(descriptor).decode(level), level.next()) {
                (Entry::Leaf(..), _) => drop(leaves.insert(at, descriptor)),
                (Entry::Table(to), Some(next)) => self.walk(to.0, next, at, leaves),
                _ => {}
            }
        }
    }
}
