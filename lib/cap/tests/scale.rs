//! What operations cost at 10 and at 100,000 capabilities, in slot accesses.
//!
//! Instruction counts need the target machine; the number of slots that an
//! operation touches decides them, and can be counted anywhere. The bounds are
//! for single operations, not for averages.

mod common;

use capelin_abi::{KernelId, ObjectType, PhysAddr, Rights, SysError};
use capelin_cap::{
    Capability, DeleteList, MappingData, Mdb, RetypeRequest, SlotIndex, SlotStore, Step, check,
    copy, create, delete, derive_mapping, finish, retype,
};
use common::{Arena, Kernel, at_index};

const MANY: u32 = if cfg!(miri) { 64 } else { 100_000 };
const PAGE: u64 = 4096;

struct Bench {
    arena: Arena,
    mdb: Mdb,
    list: DeleteList,
    kernel: Kernel,
    next: u32,
}

impl Bench {
    fn new(slots: u32) -> Self {
        Self {
            arena: Arena::new(slots as usize),
            mdb: Mdb::new(KernelId(0)),
            list: DeleteList::new(),
            kernel: Kernel::default(),
            next: 1,
        }
    }

    fn slot(&mut self) -> SlotIndex {
        self.next += 1;
        at_index(self.next - 1)
    }

    fn root(&mut self, base: u64, pages: u64) -> SlotIndex {
        let slot = self.slot();
        let ram = Capability::memory(ObjectType::Ram, PhysAddr(base), pages * PAGE, Rights::all());
        create(&mut self.arena, &mut self.mdb, ram, slot).expect("a fresh range");
        slot
    }

    fn frames(&mut self, ram: SlotIndex, first: u64, count: u32) -> SlotIndex {
        let request = RetypeRequest {
            kind: ObjectType::Ram,
            offset: first * PAGE,
            object_size: PAGE,
            count,
            is_privileged: false,
        };
        let dst = at_index(self.next);
        retype(&mut self.arena, &mut self.mdb, ram, &request, dst).expect("a free range");
        self.next += count;
        dst
    }

    /// How many slots `run` touches.
    fn count<T>(&mut self, run: impl FnOnce(&mut Self) -> T) -> (T, u64) {
        let before = self.arena.accesses.get();
        let result = run(self);
        (result, self.arena.accesses.get() - before)
    }
}

/// The most accesses that copy, delete and retype of one frame took, over many
/// places of a database of `total` capabilities.
fn costs(total: u32, is_flat: bool) -> [u64; 4] {
    let mut bench = Bench::new(total * 2 + 1000);
    let mut parents = Vec::new();
    // One Ram with all others in it, or many with four each.
    let per_parent = if is_flat { total } else { 4 };
    for n in 0..total / per_parent {
        let pages = u64::from(per_parent) * 2;
        let parent = bench.root(u64::from(n) * pages * PAGE + (1 << 32), pages);
        for first in 0..per_parent {
            bench.frames(parent, u64::from(first) * 2, 1);
        }
        parents.push(parent);
    }
    let mut most = [0; 4];
    let samples = total.min(500);
    for sample in 0..samples {
        let at = u64::from(sample) * 7919 % u64::from(total);
        let parent = parents[usize::try_from(at).expect("small") % parents.len()];
        let place = at % u64::from(per_parent) * 2 + 1;
        let (frame, retyped) = bench.count(|bench| bench.frames(parent, place, 1));
        let dst = bench.slot();
        let (copied, copying) =
            bench.count(|bench| copy(&mut bench.arena, &mut bench.mdb, frame, dst, Rights::all()));
        assert_eq!(copied, Ok(()));
        let deletion = |bench: &mut Bench, slot| {
            let (step, cost) = bench.count(|bench| {
                let Bench {
                    arena,
                    mdb,
                    list,
                    kernel,
                    ..
                } = bench;
                delete(arena, mdb, list, slot, kernel)
            });
            assert_eq!(step, Ok(Step::Done));
            cost
        };
        let with_copy = deletion(&mut bench, dst);
        let last = deletion(&mut bench, frame);
        for (most, cost) in most.iter_mut().zip([copying, with_copy, last, retyped]) {
            *most = cost.max(*most);
        }
    }
    check(&bench.arena, &bench.mdb).expect("a sound database");
    most
}

#[test]
fn costs_are_logarithmic() {
    for is_flat in [true, false] {
        let few = costs(12, is_flat);
        let many = costs(MANY, is_flat);
        // An AVL tree of n nodes is at most 1.44 log2 n high.
        let height = u64::from(MANY.ilog2()) * 3 / 2;
        println!("flat {is_flat}: copy, delete, delete the last, retype: {few:?} {many:?}");
        for (few, many) in few.into_iter().zip(many) {
            assert!(many <= few + 8 * height, "{many} against {few}");
        }
    }
}

/// A hundred thousand copies of one frame: still no walk over them.
#[test]
fn copies_are_not_walked_over() {
    let mut bench = Bench::new(MANY + 1000);
    let ram = bench.root(1 << 32, 16);
    let first = bench.frames(ram, 0, 1);
    for _ in 0..MANY {
        let dst = bench.slot();
        copy(&mut bench.arena, &mut bench.mdb, first, dst, Rights::all()).expect("an empty slot");
    }
    let height = u64::from(MANY.ilog2()) * 3 / 2;
    let (used, cost) = bench.count(|bench| bench.mdb.is_range_used(&bench.arena, ram, 4096, 4096));
    assert!(!used && cost < 6 * height, "{cost}");
    let (has, cost) = bench.count(|bench| bench.mdb.has_descendants(&bench.arena, at_index(3)));
    assert!(!has && cost < 6 * height, "{cost}");
    let (_, cost) = bench.count(|bench| bench.frames(ram, 8, 1));
    assert!(cost < 10 * height, "{cost}");
}

/// Ranges that began long before the one asked for, and reach into it, are seen
/// among a hundred thousand that don't.
#[test]
fn what_reaches_into_a_range_is_seen() {
    let mut bench = Bench::new(MANY + 1000);
    let ram = bench.root(1 << 32, u64::from(MANY) + 16);
    let large = bench.slot();
    let part = Capability::memory(
        ObjectType::Ram,
        PhysAddr(1 << 32),
        (u64::from(MANY) + 8) * PAGE,
        Rights::all(),
    );
    create(&mut bench.arena, &mut bench.mdb, part, large).expect("it nests");
    for page in 0..u64::from(MANY) {
        bench.frames(large, page, 1);
    }
    let height = u64::from(MANY.ilog2()) * 3 / 2;
    let ask = |bench: &mut Bench, page: u64| {
        bench.count(|bench| {
            bench
                .mdb
                .is_range_used(&bench.arena, ram, (u64::from(MANY) + page) * PAGE, PAGE)
        })
    };
    for (page, expected) in [(0, true), (7, true), (8, false), (15, false)] {
        let (used, cost) = ask(&mut bench, page);
        assert_eq!(used, expected, "page {page}");
        assert!(cost < 6 * height, "{cost}");
    }
    let request = RetypeRequest {
        kind: ObjectType::Frame,
        offset: (u64::from(MANY) + 7) * PAGE,
        object_size: PAGE,
        count: 2,
        is_privileged: false,
    };
    let dst = bench.slot();
    let result = retype(&mut bench.arena, &mut bench.mdb, ram, &request, dst);
    assert_eq!(result, Err(SysError::RangeInUse));
    assert!(bench.arena.slot(dst).is_empty());
}

/// The cost that half of some retypes of pages, one after the other, don't exceed, among `many`
/// others. Each is mapped, or not.
fn cost_of_the_next(many: u32, is_mapped: bool) -> u64 {
    let mut bench = Bench::new(many * 2 + 1000);
    let ram = bench.root(1 << 32, 100);
    for base in [1 << 31, 1 << 40] {
        let other = bench.root(base, u64::from(many));
        for page in 0..u64::from(many) / 2 {
            bench.frames(other, page, 1);
        }
    }
    let mut costs = Vec::new();
    for page in 0..65 {
        let request = RetypeRequest {
            kind: ObjectType::Frame,
            offset: page * PAGE,
            object_size: PAGE,
            count: 1,
            is_privileged: false,
        };
        let (frame, mapping) = (bench.slot(), bench.slot());
        let (made, cost) =
            bench.count(|bench| retype(&mut bench.arena, &mut bench.mdb, ram, &request, frame));
        made.expect("a free range");
        costs.push(cost);
        finish(&mut bench.arena, frame).expect("it is in progress");
        if is_mapped {
            let data = MappingData::from_words([0, 0]);
            derive_mapping(&mut bench.arena, &mut bench.mdb, frame, data, mapping)
                .expect("a frame");
        }
    }
    check(&bench.arena, &bench.mdb).expect("a sound database");
    costs.sort_unstable();
    costs[costs.len() / 2]
}

/// What belongs right behind what was made last, or behind its mapping, is put there without a
/// descent, so it costs the same however much there is.
#[test]
fn what_follows_the_last_is_found_beside_it() {
    for is_mapped in [false, true] {
        let [few, many] = [16, MANY].map(|many| cost_of_the_next(many, is_mapped));
        println!("mapped: {is_mapped}: {few} {many}");
        assert!(many <= few + 6 && few <= 50, "{many} against {few}");
    }
}
