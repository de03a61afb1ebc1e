//! Takes memory and drops it, piece by piece, each of another size or at another place: it never has more than one, and
//! whoever gives it out needs no more for it than for one.

use capelin_abi::PAGE_SIZE;
use capelin_interfaces::memory::{ANY_NODE, MemoryClient, Within};
use capelin_rt::{Lmp, OwnedCap, RtError, services};
use capelin_suite::{Outcome, Reporter, check, must};

/// More than a service with memory of half a megabyte could note one by one.
const MANY: u64 = 9000;
/// Places where pieces of one size end.
const PLACES: u64 = 64;
/// Behind the last of them: somewhere within the machine's memory.
const END: u64 = (1 << 30) + (64 << 20);

/// Takes and drops.
pub(crate) async fn run(report: &mut Reporter) {
    let memory = services::memory().await;
    report.tell("pieces/taken-and-dropped", take_and_drop(&memory).await);
}

async fn take_and_drop(memory: &Result<MemoryClient<Lmp>, RtError>) -> Outcome {
    let memory = must("memory", memory.as_ref())?;
    let before = must("stats", memory.stats(ANY_NODE).await)?;
    for number in 0..MANY {
        let within = Within {
            node: ANY_NODE,
            from: 0,
            end: END - number % PLACES * PAGE_SIZE,
        };
        let bytes = (1 + number / PLACES) * PAGE_SIZE;
        let given = memory.allocate_within(bytes, PAGE_SIZE, within).await;
        let given = given.map_err(|error| alloc::format!("piece {number}: {error:?}"))?;
        drop(OwnedCap::received(given));
    }
    // What was dropped is found when there is need of it: all that one may have is there in one piece.
    let half = (before.free_bytes - before.reserve_bytes()) / 2 / PAGE_SIZE * PAGE_SIZE;
    let large = half.min(before.largest_bytes) / 2 / PAGE_SIZE * PAGE_SIZE;
    let given = must("large", memory.allocate(large, PAGE_SIZE, ANY_NODE).await)?;
    drop(OwnedCap::received(given));
    let after = must("stats", memory.stats(ANY_NODE).await)?;
    check(
        "pieces are still given out",
        after.allocations < before.allocations + MANY / 2,
    )
}
