//! Clients: what they see, what they can't change, and what is theirs alone.

use super::all;
use crate::{Error, KnowledgeBase, Limits, Resource, Scope, Term, read_term};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

fn system() -> KnowledgeBase {
    let mut kb = KnowledgeBase::with_rules();
    kb.consult("core(0, 0, 0). core(1, 256, 0). memory(0, 4096, 0).")
        .unwrap();
    kb
}

fn answers(kb: &mut KnowledgeBase, scope: &Scope, goal: &str) -> Result<Vec<String>, String> {
    let told = |error: Error| error.term().to_string();
    let mut query = kb.query_as(scope, goal).map_err(told)?;
    let mut answers = Vec::new();
    while let Some(solution) = query.next(kb).map_err(told)? {
        answers.push(solution.to_string());
    }
    Ok(answers)
}

const SHARE: usize = 1 << 20;

#[test]
fn a_client_cannot_change_what_the_system_knows() {
    let mut kb = system();
    let client = kb.open_client(SHARE).unwrap();
    let before: Vec<Term> = kb.clauses().collect();
    for (goal, indicator) in [
        ("assertz(core(9, 9, 9))", "core/3"),
        ("asserta(core(9, 9, 9))", "core/3"),
        ("assertz((core(X, Y, Z) :- true))", "core/3"),
        ("retract(core(0, _, _))", "core/3"),
        ("retract((core(0, _, _) :- true))", "core/3"),
        ("retractall(core(_, _, _))", "core/3"),
        ("retractall(core_state(_, _))", "core_state/2"),
        ("abolish(memory/3)", "memory/3"),
        ("dynamic(core/3)", "core/3"),
        ("dynamic([foo/1, core/3])", "core/3"),
        ("assertz(boot_tree(0, []))", "boot_tree/2"),
        ("retract((boot_order(_) :- _))", "boot_order/1"),
        ("call(retract, core(0, _, _))", "core/3"),
        ("findall(X, retract(core(X, _, _)), L)", "core/3"),
        ("maplist(assertz, [core(9, 9, 9)])", "core/3"),
        ("G = retractall(core(_, _, _)), \\+ \\+ G", "core/3"),
        ("forall(core(X, Y, Z), retract(core(X, Y, Z)))", "core/3"),
        ("retract(append([], _, _))", "append/3"),
        ("retractall(member(_, _))", "member/2"),
        ("assertz((atom(_) :- true))", "atom/1"),
        ("assertz(((_, _) :- true))", "(',')/2"),
    ] {
        let error = answers(&mut kb, &client, goal).unwrap_err();
        let expected = std::format!("permission_error(modify,static_procedure,{indicator})");
        assert!(error.contains(&expected), "{goal}: {error}");
    }
    let core = read_term("core(9, 9, 9)").unwrap().term;
    assert!(matches!(
        kb.assertz_as(&client, &core),
        Err(Error::Uncaught(_))
    ));
    let core = read_term("core(0, _, _)").unwrap().term;
    assert!(matches!(
        kb.retract_as(&client, &core),
        Err(Error::Uncaught(_))
    ));
    assert_eq!(kb.clauses().collect::<Vec<_>>(), before);
    assert_eq!(all(&mut kb, "boot_order(L)"), ["L=[1]"]);
    // It may look.
    assert_eq!(
        answers(&mut kb, &client, "clause(core(C, M, 0), true)")
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn the_librarys_own_names_are_out_of_reach() {
    let mut kb = system();
    let client = kb.open_client(SHARE).unwrap();
    let system = kb.system().clone();
    for goal in [
        "'$clause'(append(_, _, _), B, R)",
        "'$erase'(append(_, _, _), 3)",
        "'$modifiable'(core(_, _, _))",
        "'$member'(T, X, Y)",
        "call('$erase', core(_, _, _), 1)",
        "G =.. ['$erase', core(_, _, _), 1], G",
        "findall(X, '$clause'(core(_, _, _), true, X), L)",
        "\\+ '$erase'(core(_, _, _), 1)",
        "catch('$length'([], 0, N), error(existence_error(procedure, P), _), throw(error(existence_error(procedure, P), _)))",
    ] {
        for scope in [&client, &system] {
            let error = answers(&mut kb, scope, goal).unwrap_err();
            assert!(
                error.contains("existence_error(procedure,"),
                "{goal}: {error}"
            );
        }
    }
    // Of its own it may have what it likes, and the library doesn't notice.
    answers(
        &mut kb,
        &client,
        "assertz('$member'(x, x, x)), assertz(('$erase'(_, _) :- fail))",
    )
    .unwrap();
    assert_eq!(
        answers(
            &mut kb,
            &client,
            "member(X, [1, 2]), assertz(f(X)), retract(f(X))"
        )
        .unwrap(),
        ["X = 1", "X = 2"]
    );
}

#[test]
fn what_a_client_adds_is_its_own_and_goes_with_it() {
    let mut kb = system();
    let (one, two) = (
        kb.open_client(SHARE).unwrap(),
        kb.open_client(SHARE).unwrap(),
    );
    answers(
        &mut kb,
        &one,
        "assertz(mine(1)), assertz((mine(X) :- core(X, _, _), X > 0, other(X))), assertz(other(1))",
    )
    .unwrap();
    assert_eq!(
        answers(&mut kb, &one, "mine(X)").unwrap(),
        ["X = 1", "X = 1"]
    );
    assert!(
        answers(&mut kb, &two, "mine(X)")
            .unwrap_err()
            .contains("mine/1")
    );
    assert!(kb.first("mine(X)").is_err(), "nor does the system see it");
    answers(
        &mut kb,
        &two,
        "assertz(mine(two)), assertz(append(x, y, z))",
    )
    .unwrap();
    assert_eq!(
        answers(&mut kb, &two, "append(X, Y, Z)").unwrap(),
        ["X = x, Y = y, Z = z"]
    );
    assert_eq!(
        answers(&mut kb, &two, "append([X], [2], [1, 2]), X = 1").unwrap(),
        [""; 0]
    );
    assert_eq!(
        answers(&mut kb, &two, "append([[1], [2]], L)").unwrap(),
        ["L = [1,2]"],
        "the library keeps its own"
    );
    assert_eq!(
        answers(&mut kb, &one, "append([1], [2], L)").unwrap(),
        ["L = [1,2]"]
    );
    assert_eq!(
        answers(&mut kb, &one, "retract(mine(1)), \\+ clause(mine(_), true)").unwrap(),
        ["true"]
    );
    assert_eq!(answers(&mut kb, &two, "mine(X)").unwrap(), ["X = two"]);
    // The system's come through at once, a client's own first.
    kb.consult("later(system). mine(system).").unwrap();
    assert_eq!(answers(&mut kb, &one, "later(X)").unwrap(), ["X = system"]);
    assert_eq!(answers(&mut kb, &two, "mine(X)").unwrap(), ["X = two"]);
    let mut open = kb.query_as(&two, "mine(X) ; repeat").unwrap();
    assert!(open.next(&mut kb).unwrap().is_some());
    kb.close_client(&two);
    assert_eq!(open.next(&mut kb), Ok(None), "it finds nothing more");
    assert_eq!(
        answers(&mut kb, &two, "true").unwrap_err(),
        "error(resource_error(client_memory),_0)"
    );
    // Whoever comes next finds none of it, in the same places.
    let three = kb.open_client(SHARE).unwrap();
    answers(&mut kb, &three, "assertz(fresh(1)), assertz(fresh(2))").unwrap();
    assert_eq!(answers(&mut kb, &three, "mine(X)").unwrap(), ["X = system"]);
    drop(open);
    assert_eq!(two.bytes(), 0);
}

#[test]
fn one_client_that_uses_up_its_share_leaves_the_others_theirs() {
    let mut kb = system();
    kb.set_limits(Limits {
        memory_bytes: kb.memory() + 4 * SHARE,
        ..Limits::default()
    });
    let greedy = kb.open_client(SHARE).unwrap();
    let modest = kb.open_client(SHARE).unwrap();
    for goal in [
        "between(1, 1000000, X), assertz(f(X)), fail",
        "length(L, 1000000)",
        "between(1, 1000000, X), atom_concat(name_, X, N), assertz(g(N)), fail",
        "between(1, 1000000, X), atom_concat(name_, X, N), fail",
    ] {
        let mut query = kb.query_as(&greedy, goal).unwrap();
        assert_eq!(
            query.next(&mut kb),
            Err(Error::Limit(Resource::ClientMemory)),
            "{goal}"
        );
        drop(query);
        assert!(greedy.bytes() <= SHARE);
        assert_eq!(
            answers(
                &mut kb,
                &modest,
                "between(1, 1000, X), assertz(f(X)), fail ; retractall(f(_)), boot_order(L)"
            )
            .unwrap(),
            ["X = _0, L = [1]"]
        );
        // It may still ask, and tidy up.
        let asked = answers(&mut kb, &greedy, "core(C, 256, 0)");
        assert_eq!(asked.unwrap(), ["C = 1"]);
        answers(&mut kb, &greedy, "retractall(f(_))").unwrap();
        answers(&mut kb, &greedy, "between(1, 10, X), assertz(f(X)), fail").unwrap();
    }
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let mut kb = system();
    let round = |kb: &mut KnowledgeBase, n: i32| {
        let client = kb.open_client(SHARE).unwrap();
        let goal = std::format!(
            "between(1, 50, X), atom_concat(of_{n}_, X, N), assertz(f(N, X)), g(N), fail ; f(_, 7)"
        );
        let _ = answers(kb, &client, &goal);
        answers(kb, &client, "assertz((core_like(X) :- true)), f(_, 7)").unwrap();
        kb.close_client(&client);
    };
    (0..3).for_each(|n| round(&mut kb, n));
    let after_three = kb.memory();
    (3..300).for_each(|n| round(&mut kb, n));
    assert_eq!(kb.memory(), after_three);
}
