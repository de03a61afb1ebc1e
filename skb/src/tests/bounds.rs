//! Runaway and hostile programs end in an error, and deep terms are no problem.

use super::{all, error, run};
use crate::{Error, KnowledgeBase, Limits, Resource, Term};
use alloc::string::String;
use alloc::vec;
use proptest::prelude::*;

fn limited(program: &str, query: &str) -> Resource {
    let mut kb = KnowledgeBase::new();
    kb.consult(program).unwrap();
    kb.set_limits(Limits {
        steps: 500_000,
        query_bytes: 2 << 20,
        database_bytes: kb.bytes() + (1 << 19),
        ..Limits::default()
    });
    let result = kb.query(query).and_then(|mut q| {
        while q.next(&mut kb)?.is_some() {}
        Ok(())
    });
    match result {
        Err(Error::Limit(resource)) => resource,
        other => panic!("{query}: {other:?}"),
    }
}

#[test]
fn runaway_queries_end_in_a_resource_error() {
    use Resource::{DatabaseMemory, QueryMemory, Steps};
    assert_eq!(limited("p :- p.", "p"), Steps);
    assert_eq!(limited("", "repeat, fail"), Steps);
    assert_eq!(limited("p :- catch(p, _, true).", "p"), QueryMemory);
    assert_eq!(limited("p :- p, q. q.", "p"), QueryMemory);
    assert_eq!(limited("p. p :- p.", "p, fail"), Steps);
    assert_eq!(limited("p(X) :- p(f(X, X)).", "p(a)"), QueryMemory);
    assert_eq!(limited("", "length(L, N), N < 0"), QueryMemory);
    assert_eq!(limited("", "length(L, 100000000)"), QueryMemory);
    assert_eq!(
        limited("", "findall(f(a,b,c,d,e,f,g,h), repeat, L)"),
        QueryMemory
    );
    assert_eq!(limited("p :- call(p).", "p"), Steps);
    assert_eq!(limited("p :- \\+ \\+ p.", "p"), QueryMemory);
    assert_eq!(
        limited("p(X) :- assertz(f(X)), Y is X + 1, p(Y).", "p(0)"),
        DatabaseMemory
    );
    assert_eq!(
        limited("", "between(1, 100000000, X), atom_concat(a, X, Y), fail"),
        DatabaseMemory
    );
    // Each goal holds the clauses of its moment, and those are the database's.
    assert_eq!(
        limited("f(a). p :- f(_), assertz(f(b)), p. p(_).", "p"),
        DatabaseMemory
    );
    // It can't be caught.
    assert_eq!(limited("p :- p.", "catch(p, _, true)"), Steps);
}

#[test]
fn terms_that_are_exponential_or_cyclic_end_too() {
    use Resource::{QueryMemory, Steps};
    let grow = "g(0, x) :- !. g(N, f(X, X)) :- M is N - 1, g(M, X).";
    assert_eq!(limited(grow, "g(60, X), g(60, Y), X = Y"), Steps);
    assert_eq!(limited(grow, "g(60, X), g(60, Y), X == Y"), Steps);
    assert_eq!(
        limited(grow, "g(60, X)"),
        QueryMemory,
        "the answer is too large"
    );
    assert_eq!(limited("", "X = f(X), Y = f(Y), X = Y"), Steps);
    assert_eq!(limited("", "X = f(X)"), QueryMemory);
    assert_eq!(limited("", "X = [a|X], length(X, N)"), Steps);
    assert_eq!(limited("", "X = [a|X], msort(X, N)"), QueryMemory);
    assert_eq!(limited("", "X = 1 + X, Y is X"), QueryMemory);
}

#[test]
fn after_a_bound_the_knowledge_base_goes_on() {
    let mut kb = KnowledgeBase::new();
    kb.consult("p :- p. q(1).").unwrap();
    kb.set_limits(Limits {
        steps: 10_000,
        ..Limits::default()
    });
    assert_eq!(kb.first("p").unwrap_err(), Error::Limit(Resource::Steps));
    assert_eq!(all(&mut kb, "q(X)"), ["X=1"]);
}

#[test]
fn a_full_database_can_be_emptied() {
    let mut kb = KnowledgeBase::new();
    kb.set_limits(Limits {
        database_bytes: kb.bytes() + 100_000,
        ..Limits::default()
    });
    let mut added = 0;
    let full = loop {
        match kb.assertz(&Term::compound("f", [Term::int(added)])) {
            Ok(()) => added += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::Limit(Resource::DatabaseMemory));
    assert!(added > 100, "{added}");
    kb.set_limits(Limits::default());
    kb.retract_all(&Term::compound("f", [Term::var(0)]))
        .unwrap();
    kb.set_limits(Limits {
        database_bytes: kb.bytes() + 1000,
        ..Limits::default()
    });
    assert!(kb.assertz(&Term::compound("f", [Term::int(0)])).is_ok());
}

#[test]
fn nobody_locks_the_others_out_with_names() {
    let mut kb = KnowledgeBase::with_rules();
    kb.consult(":- dynamic(seen/1). core(0, 0, 0). core(1, 1, 0). append(mine, a, b).")
        .unwrap();
    kb.set_limits(Limits {
        database_bytes: kb.bytes() + 20_000,
        ..Limits::default()
    });
    let refused = (0..1_000)
        .find(|i| kb.query(&std::format!("X = some_new_name_{i}")).is_err())
        .unwrap();
    assert!(refused > 10);
    assert_eq!(
        all(&mut kb, "boot_order(L)"),
        ["L=[1]"],
        "others are served"
    );
    let mut compact = kb.compacted().unwrap();
    assert!(compact.bytes() < kb.bytes());
    assert_eq!(compact.limits(), kb.limits());
    assert_eq!(compact.clauses().count(), kb.clauses().count());
    assert_eq!(
        all(&mut compact, "boot_order(L), \\+ seen(_), X = brand_new"),
        ["L=[1] X=brand_new"]
    );
    assert_eq!(all(&mut compact, "append(X, a, b)"), ["X=mine"]);
}

#[test]
fn a_query_of_another_knowledge_base_does_no_harm() {
    let mut one = KnowledgeBase::with_rules();
    one.consult("p(X) :- q(X, own_name). q(1, own_name).")
        .unwrap();
    let mut query = one.query("p(X)").unwrap();
    let mut other = KnowledgeBase::new();
    // Whatever comes out, nothing panics.
    let _ = query.next(&mut other);
    let _ = one.query("p(X)").unwrap().next(&mut one);
}

#[test]
fn a_deterministic_loop_runs_in_constant_frames() {
    let program = "count(N, N) :- !. count(I, N) :- J is I + 1, count(J, N).";
    let mut kb = KnowledgeBase::new();
    kb.consult(program).unwrap();
    kb.set_limits(Limits {
        query_bytes: 8 << 20,
        ..Limits::default()
    });
    // Only the counter's cells are left behind: no frame, no choice per round.
    assert!(kb.first("count(0, 50000)").unwrap().is_some());
    assert!(
        kb.first("between(1, 100000, X), atom(a), fail ; true")
            .unwrap()
            .is_some()
    );
}

#[test]
fn deep_terms_and_goals_need_no_host_stack() {
    let deep = "d(0, x) :- !. d(N, s(T)) :- M is N - 1, d(M, T).
                l(0, []) :- !. l(N, [[]|T]) :- M is N - 1, l(M, T).
                e(0, 1) :- !. e(N, 1 + T) :- M is N - 1, e(M, T).
                c(0, true) :- !. c(N, (true, T)) :- M is N - 1, c(M, T).
                k(0, true) :- !. k(N, call(T)) :- M is N - 1, k(M, T).
                w(0, x) :- !. w(N, T) :- M is N - 1, catch(w(M, T), E, throw(E)).
                r(0) :- throw(x). r(N) :- M is N - 1, catch(r(M), x, throw(x)).";
    let mut kb = KnowledgeBase::new();
    kb.consult(deep).unwrap();
    for query in [
        "d(30000, X), d(30000, Y), X = Y, X == Y, copy_term(X, Z), Z == X",
        "d(30000, X), assertz(f(X)), f(Y), X = Y, retract(f(X))",
        "d(30000, X), findall(X, true, [Y]), X == Y",
        "l(30000, X), msort(X, Y), sort(Y, Z), length(X, N)",
        "e(30000, X), Y is X",
        "c(30000, G), call(G)",
        "k(30000, G), call(G)",
        "w(5000, X)",
        "catch(r(5000), x, true)",
    ] {
        let solution = kb
            .first(query)
            .unwrap_or_else(|e| panic!("{query}: {:.200}", std::format!("{e}")));
        assert!(solution.is_some(), "{query}");
    }
}

#[test]
fn deeply_nested_clauses_compile_in_linear_time() {
    let depth = 100_000;
    let left = String::from("p :- ") + &"(".repeat(depth) + "true" + &", true)".repeat(depth) + ".";
    assert_eq!(run(&left, "p"), [""]);
    let mut chain = String::from("q(X) :- ");
    for i in 0..5_000 {
        chain += &std::format!("( X = {i} -> true ; ");
    }
    chain += "true";
    chain += &" )".repeat(5_000);
    chain += ".";
    assert_eq!(run(&chain, "q(4999)"), [""]);
    let not = String::from("r :- ") + &"\\+ ".repeat(depth) + "true.";
    assert_eq!(run(&not, "r"), [""]);
}

#[test]
fn many_clauses_with_a_variable_keep_the_index_small() {
    let mut kb = KnowledgeBase::new();
    for i in 0..3_000 {
        kb.assertz(&Term::compound("f", [Term::int(i)])).unwrap();
        kb.assertz(&Term::compound("f", [Term::var(0)])).unwrap();
        if i == 1_500 {
            assert_eq!(all(&mut kb, "f(7)").len(), 1_502);
        }
    }
    assert_eq!(all(&mut kb, "f(7)").len(), 3_001);
}

/// Goals over a few predicates, variables and constants, well-typed or not.
fn goal() -> impl Strategy<Value = String> {
    let term = prop_oneof![
        Just("X"),
        Just("Y"),
        Just("1"),
        Just("a"),
        Just("f(X)"),
        Just("[a|Y]"),
        Just("[]"),
        Just("[1,2]"),
        Just("X+1"),
        Just("(a:-b)"),
        Just("\"s\""),
        Just("p/1"),
        Just("f(1,Z)"),
    ];
    let leaf = (
        prop::sample::select(alloc::vec![
            "p",
            "q",
            "=",
            "==",
            "is",
            "<",
            "\\=",
            "length",
            "member",
            "append",
            "functor",
            "=..",
            "arg",
            "sort",
            "msort",
            "keysort",
            "call",
            "findall",
            "between",
            "assertz",
            "retract",
            "copy_term",
            "compare",
            "catch",
            "throw",
            "nth0",
            "select",
            "reverse",
            "atom_concat",
            "atom_length",
            "clause",
            "maplist",
            "@<",
            "dynamic",
            "succ",
            "retractall",
            "number",
        ]),
        prop::collection::vec(term, 1..4),
    )
        .prop_map(|(name, args)| {
            std::format!("'{name}'({})", args.join(",")).replace("\\=", "\\\\=")
        });
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| std::format!("({a},{b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| std::format!("({a};{b})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| std::format!("({a} -> {b} ; {c})")),
            inner.clone().prop_map(|a| std::format!("\\+ ({a})")),
            inner
                .clone()
                .prop_map(|a| std::format!("findall(X, ({a}), Y)")),
            inner
                .clone()
                .prop_map(|a| std::format!("catch(({a}), X, true)")),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| std::format!("assertz((q(X) :- {a}, {b}))")),
            inner.prop_map(|a| std::format!("(member(X, [1,a,f(Y)]), {a}, !)")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever a client asks, it gets answers or an error term that reads back,
    /// and the next client is served.
    #[test]
    fn any_goal_ends_well(goal in goal(), slice in 1u64..200) {
        let mut kb = KnowledgeBase::new();
        kb.consult("p(1). p(a). p(f(X)) :- p(X). q(X) :- p(X), \\+ X = 1.").unwrap();
        kb.set_limits(Limits { steps: 20_000, query_bytes: 1 << 20, database_bytes: 4 << 20, ..Limits::default() });
        let result = kb.query(&goal).and_then(|mut query| {
            for _ in 0..300 {
                match query.run(&mut kb, slice)? {
                    crate::Progress::Exhausted => break,
                    crate::Progress::Paused => {}
                    crate::Progress::Solution(solution) => {
                        for (_, term) in solution.bindings() {
                            let text = alloc::string::ToString::to_string(term);
                            assert!(crate::read_term(&text).is_ok(), "{text}");
                        }
                    }
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            let text = alloc::string::ToString::to_string(&error.term());
            prop_assert!(!matches!(error, Error::Syntax(_)), "{}: {}", goal, text);
            prop_assert!(crate::read_term(&text).is_ok());
        }
        kb.set_limits(Limits::default());
        prop_assert_eq!(kb.first("length([a,b], N)").unwrap().unwrap().int("N"), Some(2));
    }
}

#[test]
fn errors_of_a_deep_goal_are_bounded() {
    let program = "d(0, x) :- !. d(N, s(T)) :- M is N - 1, d(M, T).";
    let term = error(program, "d(50000, X), throw(X)");
    assert_eq!(term.matches("s(").count(), 50_000);
}
