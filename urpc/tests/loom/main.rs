//! The ring under the model checker: every interleaving, and every value that the orderings allow
//! a load to see. It is the source that ships; see `memory` for what differs.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p capelin-urpc --profile model --test loom`
//!
//! Payloads are checked cells here (see `memory/checked.rs`): a model fails if a payload can be read
//! while it is written. A lost wake-up shows as a deadlock, which `loom` reports.
//!
//! | module | models |
//! | --- | --- |
//! | [`data`] | messages, batches, reuse of slots, attaching |
//! | [`credits`] | how many messages may be under way, of which class |
//! | [`sleep`] | announcements, barriers, second looks; bells of one bit and of many |
//! | [`close`] | closing by either end, while the other sleeps |
//! | [`bell`] | what stands in for the kernel |
//!
//! `urpc/mutants.toml` names the changes to the source that each of them must fail on.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod bell;
mod close;
mod credits;
mod data;
mod sleep;

use capelin_urpc::{Line, RingConfig};

/// Lines that live as long as one run of a model needs them.
fn lines(count: usize) -> &'static [Line] {
    Box::leak((0..count).map(|_| Line::new()).collect())
}

/// Four slots: two credits, one in reserve, one for closing; numbered from just before the
/// wrap-around.
fn config() -> RingConfig {
    RingConfig::new(4).unwrap().with_first_sequence(u32::MAX)
}

/// Runs `body` in all executions with at most so many preemptions.
fn model(preemptions: Option<usize>, body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.max_branches = 20_000;
    builder.check(body);
}
