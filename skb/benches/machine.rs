//! What the queries of the system cost: steps, and time on the host.
//!
//! `cargo bench -p capelin-skb`. For instructions, run the same program under
//! `valgrind --tool=callgrind --toggle-collect='machine::<case>*'` with the
//! case's name as argument; each case is a function of its own for that.

use std::hint::black_box;
use std::time::Instant;

use capelin_skb::schema::{Core, CoreAffinity, CoreStart, CoreTopology, Distance, Memory};
use capelin_skb::{Error, KnowledgeBase};

/// A program that says what plain inference costs: 496 calls a list of 30.
const REVERSE: &str = "
    app([], L, L).
    app([H|T], L, [H|R]) :- app(T, L, R).
    nrev([], []).
    nrev([H|T], R) :- nrev(T, S), app(S, [H], R).
    bench(0, _) :- !.
    bench(N, L) :- \\+ \\+ nrev(L, _), M is N - 1, bench(M, L).
";

/// Measured runs of each case.
const ROUNDS: u32 = 10;

type Case = fn(&mut KnowledgeBase) -> Result<u64, Error>;

const CASES: &[(&str, Case)] = &[
    ("indexed_query", indexed_query),
    ("boot_order", boot_order),
    ("boot_tree", boot_tree),
    ("boot_parent", boot_parent),
    ("ring_node", ring_node),
    ("naive_reverse", naive_reverse),
];

fn main() -> Result<(), Error> {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    for (cores, nodes) in [(256, 8), (512, 8)] {
        println!("{cores} cores, {nodes} nodes");
        let mut kb = KnowledgeBase::with_rules();
        kb.consult(REVERSE)?;
        let start = Instant::now();
        let facts = assert_facts(&mut kb, cores, nodes)?;
        println!("  assert_facts: {facts} facts, {:?}", start.elapsed());
        for (name, case) in CASES {
            if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
                // Once before, so that the indexes are there.
                case(&mut kb)?;
                let mut steps = 0;
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    steps = case(&mut kb)?;
                }
                println!("  {name}: {steps} steps, {:?}", start.elapsed() / ROUNDS);
            }
        }
    }
    Ok(())
}

#[inline(never)]
fn assert_facts(kb: &mut KnowledgeBase, cores: u64, nodes: u64) -> Result<u64, Error> {
    for id in 0..cores {
        let node = id * nodes / cores;
        kb.assert_fact(&Core {
            id,
            mpidr: id << 8,
            node,
        })?;
        kb.assert_fact(&CoreAffinity {
            id,
            aff3: 0,
            aff2: id >> 8,
            aff1: id & 255,
            aff0: 0,
        })?;
        kb.assert_fact(&CoreTopology {
            id,
            socket: node,
            cluster: 0,
            core: id,
            thread: 0,
        })?;
        kb.assert_fact(&CoreStart {
            id,
            method: "psci",
            release: 0,
        })?;
    }
    for from in 0..nodes {
        kb.assert_fact(&Memory {
            base: from << 36,
            size: 1 << 34,
            node: from,
        })?;
        for to in 0..nodes {
            let distance = if from == to { 10 } else { 20 + (from ^ to) };
            kb.assert_fact(&Distance { from, to, distance })?;
        }
    }
    Ok(cores * 4 + nodes * (nodes + 1))
}

/// Runs a query to its end; gives its steps.
fn solve(kb: &mut KnowledgeBase, text: &str) -> Result<u64, Error> {
    let mut query = kb.query(text)?;
    while let Some(solution) = query.next(kb)? {
        black_box(solution);
    }
    Ok(query.steps())
}

#[inline(never)]
fn indexed_query(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "core(217, Mpidr, Node)")
}

#[inline(never)]
fn boot_order(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "boot_order(Cores)")
}

#[inline(never)]
fn boot_tree(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "findall(P-Cs, boot_tree(P, Cs), Tree)")
}

#[inline(never)]
fn boot_parent(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "boot_parent(217, P)")
}

#[inline(never)]
fn ring_node(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "ring_node(3, 217, Node)")
}

#[inline(never)]
fn naive_reverse(kb: &mut KnowledgeBase) -> Result<u64, Error> {
    solve(kb, "numlist(1, 30, L), bench(1000, L)")
}
