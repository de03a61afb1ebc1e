//! How the memory that there is is divided.
//!
//! ```text
//! RAM ─┬─ 3/4 all that the knowledge base charges ─┬─ ≤ 3/8 facts, rules, names
//!      │                                           └─ ≤ 1/4 each client ── ≤ 1/8 each query
//!      └─ 1/4 messages, solutions as text, and what the heap can't join
//! ```
//!
//! The sum of what clients may have is more than there is: who comes when others have filled it is
//! refused, and nobody's memory is taken away. The system's part is used from the start.
//!
//! RAM is what there is in the end ([`most`]). The server starts with what its device tree takes
//! ([`at_start`]) and fetches more before a piece of work that might need it ([`more`]); until then
//! "all" is 3/4 of what it has.

use crate::Limits;

use super::QUERY_STEPS;

/// Memory that the server may come to with any device tree, in bytes: facts of 512 cores, and a
/// few long queries.
pub const MEMORY_BYTES: u64 = 8 << 20;
/// Memory is fetched by multiples of this, in bytes.
const STEP_BYTES: u64 = 512 << 10;

/// Memory that it asks for besides, for a device tree of `bytes` bytes. Its facts take 8 times
/// what it has, and may take 3/8 of all there is; while they are made, what was read of the
/// tree takes 6 times as much.
#[must_use]
pub const fn for_tree(bytes: u64) -> u64 {
    bytes.saturating_mul(32)
}

/// Memory that the server may come to with a device tree of `tree` bytes, with `available` bytes
/// that it may take, in bytes.
#[must_use]
pub fn most(tree: u64, available: u64) -> u64 {
    MEMORY_BYTES.saturating_add(for_tree(tree)).min(available)
}

/// Bounds for the knowledge base and queries, with at most `most` bytes in all, of which `ram` are
/// there.
#[must_use]
pub fn limits(most: u64, ram: u64) -> Limits {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        steps: QUERY_STEPS,
        query_bytes: size(most / 8),
        database_bytes: size(most / 8 * 3),
        memory_bytes: size(ram / 4 * 3),
    }
}

/// By how much more may be in use before it is looked whether to fetch memory, in bytes.
pub const LOOK_BYTES: usize = 64 << 10;

/// What one piece of work may need, in bytes: a list doubles meanwhile, and the longest is a
/// query's.
const fn room(most: u64) -> u64 {
    most / 8
}

/// How much memory to fetch before the next piece of work, in bytes: with `used` bytes of what the
/// knowledge base charges in use, at most `most` bytes in all, `ram` of them there, and `largest`
/// bytes in one piece of what the heap hasn't taken. Never beyond `most`.
#[must_use]
pub fn more(used: usize, most: u64, ram: u64, largest: u64) -> u64 {
    let room = room(most);
    let needed = (used as u64)
        .saturating_add(room)
        .div_ceil(3)
        .saturating_mul(4);
    let missing = needed.saturating_sub(ram);
    let missing = if largest < room {
        missing.max(room)
    } else {
        missing
    };
    let missing = missing.checked_next_multiple_of(STEP_BYTES);
    let rest = most.saturating_sub(ram);
    missing.map_or(rest, |missing| missing.min(rest))
}

/// How much memory there should be to take in a device tree of `tree` bytes, of at most `most`
/// bytes in all, in bytes.
#[must_use]
pub fn at_start(tree: u64, most: u64) -> u64 {
    for_tree(tree).saturating_add(2 * room(most)).min(most)
}

/// A client's share, in bytes.
#[must_use]
pub fn share(ram: u64) -> usize {
    usize::try_from(ram / 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::search::{Search, Step};
    use crate::{KnowledgeBase, Scope};
    use alloc::vec::Vec;
    use capelin_interfaces::skb::SkbError;

    const RAM: u64 = MEMORY_BYTES;

    #[test]
    fn memory_is_fetched_before_it_is_needed_and_not_for_ever() {
        for most in [MEMORY_BYTES, most(2 << 20, u64::MAX), most(0, 3 << 20)] {
            let room = room(most);
            assert_eq!(more(0, most, 2 * room, room), 0);
            assert!(
                more(0, most, 2 * room, room - 1) >= room,
                "no list could double"
            );
            let mut ram = 2 * room;
            for used in (0..most / 4 * 3).step_by(4096) {
                ram += more(usize::try_from(used).unwrap(), most, ram, room);
                assert!(ram <= most);
                let bound = limits(most, ram).memory_bytes as u64;
                assert!(bound >= used + room || ram == most, "{used} of {ram}");
            }
            assert_eq!(ram, most);
            assert_eq!(more(usize::MAX, most, ram, 0), 0);
            assert_eq!(more(usize::MAX, most, 0, 0), most);
        }
    }

    #[test]
    fn a_tree_has_its_memory_from_the_start() {
        assert_eq!(most(0, u64::MAX), MEMORY_BYTES);
        assert_eq!(at_start(0, MEMORY_BYTES), MEMORY_BYTES / 4);
        let tree = 2 << 20;
        let all = most(tree, u64::MAX);
        assert_eq!(all, MEMORY_BYTES + for_tree(tree));
        let start = at_start(tree, all);
        assert!((for_tree(tree)..=all).contains(&start));
        // No more than may be taken.
        assert_eq!(most(tree, 1 << 20), 1 << 20);
        assert_eq!(at_start(tree, 1 << 20), 1 << 20);
        assert_eq!(most(u64::MAX, u64::MAX), u64::MAX);
    }

    fn run(kb: &mut KnowledgeBase, client: &Scope, goal: &str) -> Result<usize, SkbError> {
        let mut search = Search::new(kb, client, goal)?;
        let mut count = 0;
        loop {
            match search.step(kb, 0)? {
                Step::Pause => {}
                Step::Batch(found) => count += found.len(),
                Step::Last(found) => return Ok(count + found.len()),
            }
        }
    }

    #[test]
    fn what_once_killed_the_server_is_refused_to_whoever_asks_for_it() {
        let mut kb = KnowledgeBase::with_rules();
        kb.set_limits(limits(RAM, RAM));
        let greedy = kb.open_client(share(RAM)).unwrap();
        let other = kb.open_client(share(RAM)).unwrap();
        let all = "between(1, 300000, X), assertz(j(X, X, X)), fail";
        assert_eq!(
            run(&mut kb, &greedy, all),
            Err(SkbError::ResourceLimit("client_memory".into()))
        );
        for goal in ["j(7, X, Y)", "j(X, 7, Y)", "j(X, Y, 7)"] {
            for _ in 0..50 {
                assert_eq!(run(&mut kb, &greedy, goal), Ok(1));
            }
        }
        // Four cursors of one client over long lists.
        let long = "numlist(1, 20000, L), member(X, L)";
        let mut open = Vec::new();
        let mut refused = 0;
        for _ in 0..4 {
            match Search::new(&mut kb, &other, long) {
                Ok(mut search) => match search.step(&mut kb, 1) {
                    Ok(_) => open.push(search),
                    Err(_) => refused += 1,
                },
                Err(_) => refused += 1,
            }
        }
        for search in &mut open {
            for _ in 0..300 {
                if search.step(&mut kb, 1).is_err() {
                    refused += 1;
                    break;
                }
            }
        }
        assert!(refused > 0 || other.bytes() <= share(RAM));
        assert!(kb.memory() <= limits(RAM, RAM).memory_bytes);
        let third = kb.open_client(share(RAM)).unwrap();
        assert_eq!(run(&mut kb, &third, "member(X, [1, 2])"), Ok(2));
    }
}
