//! Resolution, control, the built-ins and the library: answers and their order.
//! One list of cases, longer than a file usually is.

use super::{all, run};
use crate::{KnowledgeBase, Progress, Term};
use alloc::string::ToString;
use alloc::vec::Vec;

const FAMILY: &str = "
    parent(tom, bob). parent(tom, liz). parent(bob, ann). parent(bob, pat). parent(pat, jim).
    ancestor(X, Y) :- parent(X, Y).
    ancestor(X, Z) :- parent(X, Y), ancestor(Y, Z).
";

#[test]
fn solutions_come_in_the_order_of_the_clauses() {
    assert_eq!(run(FAMILY, "parent(tom, X)"), ["X=bob", "X=liz"]);
    assert_eq!(
        run(FAMILY, "ancestor(tom, X)"),
        ["X=bob", "X=liz", "X=ann", "X=pat", "X=jim"]
    );
    assert_eq!(run(FAMILY, "ancestor(X, jim)"), ["X=pat", "X=tom", "X=bob"]);
    assert_eq!(run(FAMILY, "parent(X, tom)"), [""; 0]);
    assert_eq!(run(FAMILY, "parent(tom, bob)"), [""]);
}

#[test]
fn conjunctions_share_variables() {
    let facts = "core(0,0,0). core(1,256,0). core(2,512,1). memory(0x40000000, 0x1000, 1).";
    assert_eq!(
        run(facts, "core(C, M, N), memory(Base, _, N)"),
        ["C=2 M=512 N=1 Base=1073741824"]
    );
    assert_eq!(
        run(facts, "core(A,_,N), core(B,_,N), A < B"),
        ["A=0 N=0 B=1"]
    );
}

#[test]
fn unbound_variables_are_numbered_across_bindings() {
    assert_eq!(run("", "X = f(A, B, A)"), ["X=f(_0,_1,_0) A=_0 B=_1"]);
    assert_eq!(run("", "X = Y, X = 1"), ["X=1 Y=1"]);
    assert_eq!(run("", "X = f(_Y, _)"), ["X=f(_0,_1)"]);
}

#[test]
fn cut_is_local_to_its_clause() {
    let program = "
        a(1). a(2). a(3).
        first(X) :- a(X), !.
        p(X) :- a(X), q(X).
        q(X) :- X > 1, !.
        q(_) :- fail.
        r(X, Y) :- a(X), !, a(Y).
        r(9, 9).
        s(X) :- ( a(X), X > 1, ! ; X = 0 ).
        s(7).
        t(X) :- call(( a(X), ! )).
        t(8).
    ";
    assert_eq!(run(program, "first(X)"), ["X=1"]);
    assert_eq!(run(program, "p(X)"), ["X=2", "X=3"]);
    assert_eq!(run(program, "r(X, Y)"), ["X=1 Y=1", "X=1 Y=2", "X=1 Y=3"]);
    assert_eq!(run(program, "s(X)"), ["X=2"]);
    assert_eq!(run(program, "t(X)"), ["X=1", "X=8"]);
    assert_eq!(run(program, "a(X), !, a(Y), Y > X"), ["X=1 Y=2", "X=1 Y=3"]);
}

#[test]
fn if_then_else_and_negation() {
    let program = "
        a(1). a(2). a(3).
        kind(X, K) :- ( X < 2 -> K = small ; X < 3 -> K = middle ; K = large ).
        none(X) :- \\+ a(X).
        nested(X, Y) :- ( a(X), X > 1 -> ( X > 2 -> Y = big ; Y = two ) ; Y = none ), true.
        inner(X) :- ( ( a(X), ! ; X = 5 ) -> true ; X = 6 ).
    ";
    assert_eq!(
        run(program, "a(X), kind(X, K)"),
        ["X=1 K=small", "X=2 K=middle", "X=3 K=large"]
    );
    assert_eq!(run(program, "none(4)"), [""]);
    assert_eq!(run(program, "none(X)"), [""; 0]);
    assert_eq!(run(program, "nested(X, Y)"), ["X=2 Y=two"]);
    assert_eq!(run(program, "( a(X) -> true ; X = 0 )"), ["X=1"]);
    assert_eq!(run(program, "( fail -> X = 1 )"), [""; 0]);
    assert_eq!(
        run(program, "( a(X) ; X = z )"),
        ["X=1", "X=2", "X=3", "X=z"]
    );
    assert_eq!(run(program, "\\+ ( a(X), X > 3 ), X = free"), ["X=free"]);
    // The variable gets its value in either branch, and after both.
    assert_eq!(
        run(
            "",
            "member(B, [y, n]), ( B == y -> X = 1 ; X = 2 ), Y is X * 2"
        ),
        ["B=y X=1 Y=2", "B=n X=2 Y=4"]
    );
    assert_eq!(run(program, "inner(X)"), ["X=1"]);
}

#[test]
fn branches_that_bind_the_same_new_variable() {
    let program = "
        p(X, R) :- ( X = 1, Z = f(W), W = a ; X = 2, Z = g(W), W = b ), q(Z, R).
        q(f(A), A). q(g(A), A).
        twice(X, Y) :- r(X), s(Y).
        r(1). r(2). s(X) :- member(X, [a, b]).
    ";
    assert_eq!(run(program, "p(X, R)"), ["X=1 R=a", "X=2 R=b"]);
    assert_eq!(
        run(program, "twice(X, Y)"),
        ["X=1 Y=a", "X=1 Y=b", "X=2 Y=a", "X=2 Y=b"]
    );
}

#[test]
fn arithmetic_and_its_rounding() {
    for (expression, value) in [
        ("1 + 2 * 3 - 4", "3"),
        ("7 // 2", "3"),
        ("-7 // 2", "-3"),
        ("-7 div 2", "-4"),
        ("-7 mod 3", "2"),
        ("7 mod -3", "-2"),
        ("-7 rem 3", "-1"),
        ("min(3, 2) + max(3, 2)", "5"),
        ("1 << 40", "1099511627776"),
        ("0xff00 >> 8 /\\ 0xf0", "240"),
        ("-1 >> 100", "-1"),
        ("5 xor 1 \\/ 2", "6"),
        ("abs(-3) * sign(-9)", "-3"),
        ("\\ 0", "-1"),
        ("gcd(12, 18)", "6"),
        ("msb(4096)", "12"),
        ("2 ** 10 + 3 ^ 2", "1033"),
        ("-(3)", "-3"),
        ("-9223372036854775808 rem -1", "0"),
        ("max_integer", "9223372036854775807"),
    ] {
        let query = std::format!("X is {expression}");
        assert_eq!(run("", &query), [std::format!("X={value}")], "{expression}");
    }
    assert_eq!(
        run("", "3 =:= 1 + 2, 1 < 2, 2 =< 2, 3 > 2, 3 >= 3, 1 =\\= 2"),
        [""]
    );
    assert_eq!(run("", "1 + 2 = 3"), [""; 0]);
}

#[test]
fn comparison_and_the_standard_order() {
    assert_eq!(
        run("", "msort([f(b), \"s\", b, 2, g(a,a), X, f(a), -1, a], L)"),
        ["X=_0 L=[_0,-1,2,a,b,\"s\",f(a),f(b),g(a,a)]"]
    );
    assert_eq!(run("", "sort([c,a,b,a,c], L)"), ["L=[a,b,c]"]);
    assert_eq!(run("", "msort([c,a,b,a,c], L)"), ["L=[a,a,b,c,c]"]);
    assert_eq!(
        run("", "keysort([2-x,1-b,2-a,1-a], L)"),
        ["L=[1-b,1-a,2-x,2-a]"]
    );
    assert_eq!(run("", "compare(O, f(1,2), f(1,3))"), ["O=<"]);
    assert_eq!(
        run("", "X == X, \\+ X == Y, f(X) \\== f(Y), a @< b, b @>= b"),
        ["X=_0 Y=_1"]
    );
    assert_eq!(
        run("", "f(X, b) \\= f(a, c), \\+ f(X, b) \\= f(a, Y)"),
        ["X=_0 Y=_1"]
    );
}

#[test]
fn findall_copies_and_nests() {
    let program = "a(1). a(2). a(3).";
    assert_eq!(
        run(program, "findall(X-Y, (a(X), Y is X * X), L)"),
        ["X=_0 Y=_1 L=[1-1,2-4,3-9]"]
    );
    assert_eq!(run(program, "findall(X, (a(X), X > 5), L)"), ["X=_0 L=[]"]);
    assert_eq!(
        run(
            program,
            "findall(X-L, (a(X), findall(Y, (a(Y), Y < X), L)), R)"
        ),
        ["X=_0 L=_1 Y=_2 R=[1-[],2-[1],3-[1,2]]"]
    );
    assert_eq!(
        run("", "findall(X-Y, member(X, [A, B, A]), L)"),
        ["X=_0 Y=_1 A=_2 B=_3 L=[_4-_5,_6-_7,_8-_9]"]
    );
    assert_eq!(
        run(program, "findall(X, a(X), [A|B])"),
        ["X=_0 A=1 B=[2,3]"]
    );
    // A built-in as the goal, as the last goal of a clause.
    assert_eq!(
        run("p(L) :- findall(X, X = 1, L).", "p(L), M = L"),
        ["L=[1] M=[1]"]
    );
    assert_eq!(
        run(program, "forall(a(X), X > 0), \\+ forall(a(X), X > 1)"),
        ["X=_0"]
    );
}

#[test]
fn lists_forwards_and_backwards() {
    assert_eq!(
        run("", "append(X, Y, [1,2])"),
        ["X=[] Y=[1,2]", "X=[1] Y=[2]", "X=[1,2] Y=[]"]
    );
    assert_eq!(run("", "member(X, [a,b,c])"), ["X=a", "X=b", "X=c"]);
    assert_eq!(run("", "length([a,b], N)"), ["N=2"]);
    assert_eq!(run("", "length(L, 2)"), ["L=[_0,_1]"]);
    assert_eq!(run("", "length([a|T], 3)"), ["T=[_0,_1]"]);
    assert_eq!(run("", "length(L, N), N >= 2, !"), ["L=[_0,_1] N=2"]);
    assert_eq!(run("", "nth0(1, [a,b], X), nth1(I, [a,b], b)"), ["X=b I=2"]);
    assert_eq!(
        run("", "reverse([1,2,3], L), last(L, X)"),
        ["L=[3,2,1] X=1"]
    );
    assert_eq!(
        run("", "select(b, [a,b,c,b], L)"),
        ["L=[a,c,b]", "L=[a,b,c]"]
    );
    assert_eq!(
        run("", "delete([a,b,a,c], a, L), subtract([1,2,3], [2], M)"),
        ["L=[b,c] M=[1,3]"]
    );
    assert_eq!(
        run("", "sum_list([1,2,3], S), max_list([1,3,2], M)"),
        ["S=6 M=3"]
    );
    assert_eq!(
        run("", "numlist(1, 4, L), exclude(var, [a,X,b], M)"),
        ["L=[1,2,3,4] X=_0 M=[a,b]"]
    );
    assert_eq!(
        run("d(X, Y) :- Y is 2 * X.", "maplist(d, [1,2], L)"),
        ["L=[2,4]"]
    );
    assert_eq!(
        run("s(X, A, B) :- B is A + X.", "foldl(s, [1,2,3], 0, S)"),
        ["S=6"]
    );
    assert_eq!(run("", "between(1, 3, X)"), ["X=1", "X=2", "X=3"]);
    assert_eq!(run("", "between(3, 1, X)"), [""; 0]);
    assert_eq!(
        run("", "between(9223372036854775806, 9223372036854775807, X)"),
        ["X=9223372036854775806", "X=9223372036854775807"]
    );
}

#[test]
fn terms_are_taken_apart_and_made() {
    assert_eq!(
        run("", "functor(f(a,b), N, A), functor(T, g, 2)"),
        ["N=f A=2 T=g(_0,_1)"]
    );
    assert_eq!(
        run("", "f(a,b) =.. L, T =.. [g,1,2]"),
        ["L=[f,a,b] T=g(1,2)"]
    );
    assert_eq!(run("", "arg(N, f(a,b), X)"), ["N=1 X=a", "N=2 X=b"]);
    assert_eq!(
        run("", "copy_term(f(X,Y,X), T)"),
        ["X=_0 Y=_1 T=f(_2,_3,_2)"]
    );
    assert_eq!(
        run("", "atom_concat(core, 7, A), atom_length(A, N)"),
        ["A=core7 N=5"]
    );
    assert_eq!(
        run(
            "",
            "atom(a), integer(1), var(X), compound(f(x)), string(\"s\")"
        ),
        ["X=_0"]
    );
    assert_eq!(
        run(
            "",
            "ground(f(a)), \\+ ground(f(X)), callable(a), is_list([a])"
        ),
        ["X=_0"]
    );
}

#[test]
fn catch_finds_the_innermost_active_catcher() {
    let program = "
        p(X) :- catch(q(X), oops(Y), X = caught(Y)).
        q(1). q(2). q(_) :- throw(oops(3)).
        outer(X) :- catch(catch(throw(a), b, X = inner), a, X = outer).
        left(X) :- catch(member(X, [1,2]), E, X = E), X > 1, throw(gone).
        rethrow(X) :- catch(catch(throw(a), a, throw(b)), b, X = done).
        undo(X, Y) :- catch(( X = 1, throw(e) ), e, Y = X).
    ";
    assert_eq!(run(program, "p(X)"), ["X=1", "X=2", "X=caught(3)"]);
    assert_eq!(run(program, "outer(X)"), ["X=outer"]);
    assert_eq!(
        run(program, "catch(left(X), G, X = out(G))"),
        ["X=out(gone) G=gone"]
    );
    assert_eq!(run(program, "rethrow(X)"), ["X=done"]);
    assert_eq!(run(program, "undo(X, Y), X = 2"), ["X=2 Y=2"]);
    assert_eq!(
        run("", "catch(X is foo + 1, error(type_error(T, C), _), true)"),
        ["X=_0 T=evaluable C=foo/0"]
    );
    assert_eq!(
        run("", "findall(X, catch(member(X, [1,2]), _, true), L)"),
        ["X=_0 L=[1,2]"]
    );
    assert_eq!(
        run(
            "",
            "catch(findall(X, (member(X, [1,2]), X > 1, throw(t(X))), _), t(Y), true)"
        ),
        ["X=_0 Y=2"]
    );
}

#[test]
fn clauses_come_and_go_with_the_logical_view() {
    let mut kb = KnowledgeBase::new();
    kb.consult("c(1). c(2). c(3). n(0).").unwrap();
    // The goal sees the clauses of the moment it was called.
    assert_eq!(all(&mut kb, "c(X), Y is X + 10, assertz(c(Y))").len(), 3);
    assert_eq!(
        all(&mut kb, "findall(X, c(X), L)"),
        ["X=_0 L=[1,2,3,11,12,13]"]
    );
    assert_eq!(
        all(&mut kb, "c(X), retract(c(X)), X > 10"),
        ["X=11", "X=12", "X=13"]
    );
    assert_eq!(all(&mut kb, "c(_)"), [""; 0]);
    assert_eq!(
        all(&mut kb, "retract(n(N)), M is N + 1, assertz(n(M)), n(K)"),
        ["N=0 M=1 K=1"]
    );
    assert_eq!(
        all(&mut kb, "asserta(c(b)), asserta(c(a)), c(X)"),
        ["X=a", "X=b"]
    );
    assert_eq!(
        all(
            &mut kb,
            "retractall(c(_)), \\+ c(_), retractall(new(_)), \\+ new(_)"
        ),
        [""]
    );
    assert_eq!(
        all(
            &mut kb,
            "assertz((r(X) :- X > 1, \\+ X = 3)), r(2), \\+ r(3), clause(r(A), B)"
        ),
        ["X=_0 A=_1 B=_1>1,\\+ _1=3"]
    );
    assert!(kb.retract(&Term::compound("n", [Term::int(1)])).unwrap());
    assert!(!kb.retract(&Term::compound("n", [Term::int(1)])).unwrap());
}

#[test]
fn every_index_agrees_with_a_scan() {
    let mut kb = KnowledgeBase::new();
    let mut text = std::string::String::new();
    for i in 0..200 {
        text += &std::format!("f({}, {}, x{}, {i}).\n", i % 20, i % 7, i % 3);
        if i % 60 == 0 {
            text += &std::format!("f(_, {}, y, {i}).\n", i % 7);
        }
    }
    kb.consult(&text).unwrap();
    let scan = |kb: &mut KnowledgeBase| {
        all(kb, "f(A, B, C, D)")
            .iter()
            .map(|s| s.replace("A=_0", "A=any"))
            .collect::<Vec<_>>()
    };
    let check = |kb: &mut KnowledgeBase| {
        let rows = scan(kb);
        for a in [0, 7, 99] {
            let expected = rows
                .iter()
                .filter(|r| r.starts_with(&std::format!("A={a} ")) || r.starts_with("A=any"))
                .map(|r| r.split_once(' ').unwrap().1.into())
                .collect::<Vec<std::string::String>>();
            assert_eq!(
                all(kb, &std::format!("f({a}, B, C, D)")),
                expected,
                "first argument {a}"
            );
        }
        for c in ["x1", "y", "nothing"] {
            let expected = rows
                .iter()
                .filter(|r| r.contains(&std::format!(" C={c} ")))
                .count();
            assert_eq!(
                all(kb, &std::format!("f(A, B, {c}, D)")).len(),
                expected,
                "third {c}"
            );
            assert_eq!(
                all(kb, &std::format!("C = {c}, f(_, 3, C, D)")).len(),
                rows.iter()
                    .filter(|r| r.contains(&std::format!(" B=3 C={c} ")))
                    .count()
            );
        }
    };
    check(&mut kb);
    // The indexes exist now and are kept up.
    all(
        &mut kb,
        "retract(f(7, _, x1, _)), fail ; asserta(f(7, 3, y, new)), assertz(f(_, 3, x1, last))",
    );
    check(&mut kb);
    for i in 0..12 {
        kb.assertz(&Term::compound(
            "f",
            [Term::var(0), Term::var(1), Term::var(2), Term::int(i)],
        ))
        .unwrap();
    }
    assert_eq!(all(&mut kb, "f(12345, q, q, D)").len(), 12);
}

#[test]
fn a_program_may_shadow_the_library() {
    let mut kb = KnowledgeBase::new();
    kb.consult("uses(X) :- reverse([1,2], X). append(mine, mine, mine).")
        .unwrap();
    assert_eq!(all(&mut kb, "append(X, _, _)"), ["X=mine"]);
    assert_eq!(
        all(&mut kb, "append([[1],[2]], L)"),
        ["L=[1,2]"],
        "the library keeps its own"
    );
    assert_eq!(all(&mut kb, "uses(X)"), ["X=[2,1]"]);
}

#[test]
fn queries_are_independent_and_can_be_sliced() {
    let mut kb = KnowledgeBase::new();
    kb.consult("n(0). n(X) :- n(Y), X is Y + 1. loop :- loop.")
        .unwrap();
    let mut endless = kb.query("loop").unwrap();
    let mut numbers = kb.query("n(X)").unwrap();
    for expected in 0..50 {
        assert_eq!(endless.run(&mut kb, 100), Ok(Progress::Paused));
        let solution = loop {
            match numbers.run(&mut kb, 10).unwrap() {
                Progress::Paused => {}
                Progress::Solution(solution) => break solution,
                Progress::Exhausted => panic!("n/1 has no end"),
            }
        };
        assert_eq!(solution.int("X"), Some(expected));
    }
    assert!(
        (5_000..6_000).contains(&endless.steps()),
        "{} steps",
        endless.steps()
    );
}

#[test]
fn slices_change_no_answer() {
    let program = "p(X, Y) :- member(X, [1,2,3]), \\+ X = 2, findall(Z, between(1, X, Z), Y).";
    let whole = run(program, "catch(p(X, Y), _, fail)");
    for slice in 1..20 {
        let mut kb = KnowledgeBase::new();
        kb.consult(program).unwrap();
        let mut query = kb.query("catch(p(X, Y), _, fail)").unwrap();
        let mut answers = Vec::new();
        loop {
            match query.run(&mut kb, slice).unwrap() {
                Progress::Paused => {}
                Progress::Exhausted => break,
                Progress::Solution(s) => answers.push(std::format!(
                    "X={} Y={}",
                    s.get("X").unwrap(),
                    s.get("Y").unwrap()
                )),
            }
        }
        assert_eq!(answers, whole);
    }
}

#[test]
fn directives_run_in_the_order_of_the_text() {
    let mut kb = KnowledgeBase::new();
    let program =
        ":- dynamic(f/1), g/2. :- dynamic([h/0]). f(1). :- f(X), Y is X + 1, assertz(g(X, Y)).";
    kb.consult(&program.replace("dynamic(f/1), g/2", "dynamic f/1, g/2"))
        .unwrap();
    assert_eq!(all(&mut kb, "g(X, Y), \\+ h"), ["X=1 Y=2"]);
}

#[test]
fn a_solution_is_written_as_a_goal() {
    let mut kb = KnowledgeBase::new();
    let text = |kb: &mut KnowledgeBase, query| kb.first(query).unwrap().unwrap().to_string();
    assert_eq!(
        text(&mut kb, "X = (<), Y = (a, b), Z = f(W)"),
        "X = (<), Y = (a,b), Z = f(_0), W = _0"
    );
    assert_eq!(text(&mut kb, "1 < 2"), "true");
}

#[test]
fn a_solved_puzzle() {
    // Eight queens: 92 solutions.
    let program = "
        queens(N, Qs) :- numlist(1, N, Ns), place(Ns, [], Qs).
        place([], Qs, Qs).
        place(Free, Placed, Qs) :- select(Q, Free, Rest), safe(Q, 1, Placed), place(Rest, [Q|Placed], Qs).
        safe(_, _, []).
        safe(Q, D, [P|Ps]) :- P =\\= Q + D, P =\\= Q - D, D1 is D + 1, safe(Q, D1, Ps).
    ";
    assert_eq!(
        run(program, "findall(Q, queens(6, Q), L), length(L, N)").len(),
        1
    );
    let mut kb = KnowledgeBase::new();
    kb.consult(program).unwrap();
    let solution = kb
        .first("findall(Q, queens(8, Q), L), length(L, N)")
        .unwrap()
        .unwrap();
    assert_eq!(solution.int("N"), Some(92));
}
