//! What the knowledge base says that it uses against what the allocator gave, block by block.
//!
//! The allocator here rounds as `lib/rt`'s buddy system does. Three things are asserted: charges are
//! never less than what is in use, not much more, and no request, however greedy, goes beyond the
//! bound that was set for everything together.
#![expect(unsafe_code, reason = "a global allocator hands out raw memory")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use capelin_skb::{Error, KnowledgeBase, Limits, Query, Resource, Scope};

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// Larger blocks aren't given.
static LARGEST: AtomicUsize = AtomicUsize::new(usize::MAX);
/// One test at a time: the counts are the process's.
static ALONE: Mutex<()> = Mutex::new(());

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn block(layout: Layout) -> usize {
    layout.size().next_power_of_two().max(layout.align()).max(8)
}

// SAFETY: memory comes from and goes to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > LARGEST.load(Ordering::Relaxed) {
            return std::ptr::null_mut();
        }
        let used = USED.fetch_add(block(layout), Ordering::Relaxed) + block(layout);
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: as the caller says of the layout.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(block(layout), Ordering::Relaxed);
        // SAFETY: as the caller says: it came from `alloc` with this layout.
        unsafe { System.dealloc(pointer, layout) };
    }
}

fn used() -> usize {
    USED.load(Ordering::Relaxed)
}

/// A knowledge base, and the bytes that were in use before it.
fn empty() -> (KnowledgeBase, usize) {
    let before = used();
    (KnowledgeBase::with_rules(), before)
}

/// What is charged is what is in use, but for some hundred bytes and what is charged for the nodes
/// of trees that are fuller than they must be.
fn is_true(kb: &KnowledgeBase, before: usize, what: &str) {
    let (charged, real) = (kb.memory(), used() - before);
    assert!(
        charged + 4_096 >= real,
        "{what}: {charged} charged, {real} in use"
    );
    assert!(
        charged <= real + real / 3 + 8_192,
        "{what}: {charged} charged, only {real} in use"
    );
}

fn run(kb: &mut KnowledgeBase, scope: &Scope, goal: &str) -> Result<usize, Error> {
    let mut query = kb.query_as(scope, goal)?;
    let mut count = 0;
    while query.next(kb)?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// A query that has got as far as `steps` steps.
fn open(kb: &mut KnowledgeBase, scope: &Scope, goal: &str, steps: u64) -> Query {
    let mut query = kb.query_as(scope, goal).expect("there is room");
    query.run(kb, steps).expect("and for what it does");
    query
}

#[test]
fn what_is_charged_is_what_is_in_use() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut kb, before) = empty();
    is_true(&kb, before, "library and rules");
    let system = kb.system().clone();
    run(
        &mut kb,
        &system,
        "between(1, 30000, X), assertz(j(X, X, X)), fail",
    )
    .unwrap();
    is_true(&kb, before, "facts");
    for _ in 0..100 {
        run(&mut kb, &system, "j(17, X, Y) ; j(X, 17, Y) ; j(X, Y, 17)").unwrap();
    }
    is_true(&kb, before, "three indexes");
    run(
        &mut kb,
        &system,
        "between(1, 1000, X), assertz(j(X, X, X)), fail",
    )
    .unwrap();
    is_true(&kb, before, "facts under indexes");
    run(
        &mut kb,
        &system,
        "between(1, 20000, X), retract(j(X, X, X)), fail",
    )
    .unwrap();
    is_true(&kb, before, "some are gone");
    run(
        &mut kb,
        &system,
        "between(1, 5000, X), atom_concat(name_of_a_thing_, X, Y), assertz((r(Y, X) :- X > 3, j(X, _, _) -> true ; fail)), fail",
    )
    .unwrap();
    is_true(&kb, before, "rules and names");
    let base = kb.memory();
    let client = kb.open_client(32 << 20).unwrap();
    let queries = [
        open(&mut kb, &client, "length(L, 100000), repeat, fail", 900_000),
        open(
            &mut kb,
            &client,
            "findall(X-Y, (between(1, 20000, X), Y = f(X)), L), repeat, fail",
            900_000,
        ),
        open(
            &mut kb,
            &client,
            "numlist(1, 30000, L), msort(L, M), atom_length(abc, N), copy_term(L-M-_, T), repeat, fail",
            3_000_000,
        ),
        open(
            &mut kb,
            &client,
            "j(X, Y, Z), findall(A-B-C, j(A, B, C), L), fail",
            100_000,
        ),
    ];
    is_true(&kb, before, "open queries");
    run(
        &mut kb,
        &client,
        "between(1, 5000, X), atom_concat(own_, X, Y), assertz(own(Y, X)), fail",
    )
    .unwrap();
    is_true(&kb, before, "a client's facts and names");
    assert!(client.bytes() > 4 << 20);
    drop(queries);
    is_true(&kb, before, "no open queries");
    kb.close_client(&client);
    is_true(&kb, before, "no client");
    assert_eq!(client.bytes(), 0);
    assert!(
        kb.memory() < base + base / 50 + 1_000_000,
        "{base} {}",
        kb.memory()
    );
    drop(kb);
    assert!(used() <= before + 8_192);
}

/// Requests that want more than there is, each in its own way.
const GREEDY: &[&str] = &[
    "between(1, 300000, X), assertz(j(X, X, X)), fail",
    "between(1, 300000, X), atom_concat(some_name_, X, Y), assertz(n(Y)), fail",
    "length(L, 10000000)",
    "length(L, 200000), copy_term(L, M), copy_term(f(L, M), N), msort(N, _)",
    "findall(f(a, b, c, d, e, f, g, h), repeat, L)",
    "numlist(1, 300000, L), sort(L, M), keysort(M, N)",
    "numlist(1, 200000, L), assertz(big(L)), big(M), assertz(big(M-M)), fail",
    "functor(T, f, 1000000), T =.. L, U =.. L, copy_term(U, V)",
    "length(L, 60000), G =.. [foo|L], call((G, G, G -> G ; G))",
    "catch((numlist(1, 200000, L), throw(L)), E, throw(E))",
    "length(L, 100000), atom_concat(a, b, C), X = f(L, L, L, L), Y = g(X, X, X, X)",
    "X = a, Y = f(X, X), assertz(g(Y)), between(1, 100000, N), asserta(g(N)), g(7), g(_), N > 90000",
];

#[test]
fn nobody_gets_more_than_the_bound_for_all() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut kb, before) = empty();
    let bound = 12 << 20;
    kb.set_limits(Limits {
        steps: 5_000_000,
        query_bytes: 8 << 20,
        database_bytes: 8 << 20,
        memory_bytes: bound,
    });
    MOST.store(used(), Ordering::Relaxed);
    let clients: Vec<Scope> = (0..4).map(|_| kb.open_client(6 << 20).unwrap()).collect();
    let system = kb.system().clone();
    let mut refused = 0;
    let mut open: Vec<Query> = Vec::new();
    for (round, goal) in GREEDY.iter().enumerate() {
        for scope in clients.iter().chain([&system]) {
            if let Err(error) = run(&mut kb, scope, goal) {
                assert!(
                    matches!(error, Error::Limit(_) | Error::Uncaught(_)),
                    "{goal}: {error}"
                );
                refused += 1;
            }
            // Left where it stands.
            if let Ok(mut query) = kb.query_as(scope, goal)
                && query.run(&mut kb, 100_000).is_ok()
            {
                open.push(query);
            }
        }
        let most = MOST.load(Ordering::Relaxed) - before;
        assert!(
            most <= bound + (64 << 10),
            "after {goal}: {most} of {bound}"
        );
        if round % 3 == 2 {
            open.clear();
        }
    }
    assert!(refused > 30, "{refused}");
    open.clear();
    for client in &clients {
        kb.close_client(client);
    }
    let client = kb.open_client(1 << 20).unwrap();
    assert_eq!(run(&mut kb, &client, "member(X, [1, 2, 3])"), Ok(3));
}

#[test]
fn a_block_that_is_not_there_is_an_error() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut kb, _) = empty();
    let client = kb.open_client(64 << 20).unwrap();
    let mut refused = 0;
    for goal in GREEDY {
        LARGEST.store(64 << 10, Ordering::Relaxed);
        let result = run(&mut kb, &client, goal);
        LARGEST.store(usize::MAX, Ordering::Relaxed);
        match result {
            Err(Error::Limit(Resource::Steps)) | Ok(_) => {}
            Err(Error::Limit(_)) => refused += 1,
            Err(error) => panic!("{goal}: {error}"),
        }
        assert_eq!(
            run(&mut kb, &client, "member(X, [1, 2, 3])"),
            Ok(3),
            "after {goal}"
        );
    }
    assert!(refused >= 10, "{refused}");
}
