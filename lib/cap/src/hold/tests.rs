//! Holds that end together.

use super::*;

/// Marks in each other, twice the same, apart, a lock, and local ones.
fn table() -> (Holds, [OperationId; 8]) {
    let ids = [0, 1, 2, 3, 4, 5, 6, 7].map(|n| OperationId::new(KernelId(0), n, 1));
    let ram = |base, size| {
        let kind = ObjectType::Ram;
        Object { kind, base, size }.probe()
    };
    let mut holds = Holds::new();
    holds.mark(ids[0], &ram(0x4000, 0x1000)).unwrap();
    holds.mark(ids[1], &ram(0x4000, 0x2000)).unwrap();
    holds.mark_or_join(ids[2], &ram(0x4000, 0x2000)).unwrap();
    holds.keep(ids[2], SlotIndex::in_segment(0, 77).unwrap());
    holds.lock(ids[3], &ram(0x9000, 0x1000)).unwrap();
    holds.mark_or_join(ids[4], &ram(0xa000, 0x1000)).unwrap();
    holds.keep(ids[4], SlotIndex::in_segment(0, 78).unwrap());
    holds.mark(ids[5], &ram(0x4000, 0x4000)).unwrap();
    holds.mark(ids[6], &ram(0x2_0000, 0x1000)).unwrap();
    holds.mark(ids[7], &ram(0x4000, 0x5000)).unwrap();
    (holds, ids)
}

#[test]
fn all_at_once_is_one_by_one() {
    let (before, ids) = table();
    for set in 0..1_u32 << ids.len() {
        let ended: [OperationId; 8] = core::array::from_fn(|n| match set >> n & 1 {
            1 => ids[n],
            _ => OperationId(0),
        });
        let (mut one_by_one, mut at_once) = (before, before);
        at_once.release_all(&ended);
        for id in ended.into_iter().filter(|id| *id != OperationId(0)) {
            one_by_one.release(id, End::GivenUp).unwrap();
        }
        assert_eq!(at_once, one_by_one, "{set:#b}");
    }
}
