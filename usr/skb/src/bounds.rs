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

use capelin_skb::Limits;

use crate::QUERY_STEPS;

/// Memory that the server asks for with any device tree, in bytes: facts of 512 cores, and a
/// few long queries.
pub const MEMORY_BYTES: u64 = 8 << 20;

/// Memory that it asks for besides, for a device tree of `bytes` bytes. Its facts take 8 times
/// what it has, and may take 3/8 of all there is; while they are made, what was read of the
/// tree takes 6 times as much.
#[must_use]
pub const fn for_tree(bytes: u64) -> u64 {
    bytes.saturating_mul(32)
}

/// Bounds for the knowledge base and queries, with `ram` bytes in all.
#[must_use]
pub fn limits(ram: u64) -> Limits {
    let ram = usize::try_from(ram).unwrap_or(usize::MAX);
    Limits {
        steps: QUERY_STEPS,
        query_bytes: ram / 8,
        database_bytes: ram / 8 * 3,
        memory_bytes: ram / 4 * 3,
    }
}

/// A client's share, in bytes.
#[must_use]
pub fn share(ram: u64) -> usize {
    usize::try_from(ram / 4).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::{Search, Step};
    use alloc::vec::Vec;
    use capelin_interfaces::skb::SkbError;
    use capelin_skb::{KnowledgeBase, Scope};

    const RAM: u64 = 8 << 20;

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
        kb.set_limits(limits(RAM));
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
        assert!(kb.memory() <= limits(RAM).memory_bytes);
        let third = kb.open_client(share(RAM)).unwrap();
        assert_eq!(run(&mut kb, &third, "member(X, [1, 2])"), Ok(2));
    }
}
