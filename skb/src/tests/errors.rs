//! Error terms as ISO/IEC 13211-1 7.12 has them.

use super::{error, error_of, run};
use crate::{Error, KnowledgeBase, SyntaxErrorKind, Term};

#[test]
fn iso_error_terms() {
    for (query, term) in [
        (
            "nothing(1)",
            "error(existence_error(procedure,nothing/1),_0)",
        ),
        ("call(X)", "error(instantiation_error,_0)"),
        ("X", "error(instantiation_error,_0)"),
        ("call(1)", "error(type_error(callable,1),_0)"),
        (
            "G = (fail, 1), call(G)",
            "error(type_error(callable,(fail,1)),_0)",
        ),
        ("X is Y + 1", "error(instantiation_error,_0)"),
        ("X is a", "error(type_error(evaluable,a/0),_0)"),
        ("X is foo(1, 2)", "error(type_error(evaluable,foo/2),_0)"),
        ("X is 1 // 0", "error(evaluation_error(zero_divisor),_0)"),
        (
            "X is 9223372036854775807 + 1",
            "error(evaluation_error(int_overflow),_0)",
        ),
        (
            "X is -9223372036854775808 // -1",
            "error(evaluation_error(int_overflow),_0)",
        ),
        (
            "X is abs(-9223372036854775808)",
            "error(evaluation_error(int_overflow),_0)",
        ),
        ("X is 1 << 63", "error(evaluation_error(int_overflow),_0)"),
        ("X is 3 ** 64", "error(evaluation_error(int_overflow),_0)"),
        ("atom_length(X, Y)", "error(instantiation_error,_0)"),
        (
            "functor(X, f, -1)",
            "error(domain_error(not_less_than_zero,-1),_0)",
        ),
        ("functor(X, f(a), 1)", "error(type_error(atomic,f(a)),_0)"),
        (
            "functor(X, f, 9999999999)",
            "error(representation_error(max_arity),_0)",
        ),
        ("arg(x, f(a), A)", "error(type_error(integer,x),_0)"),
        ("msort([a|b], L)", "error(type_error(list,[a|b]),_0)"),
        ("msort([a|B], L)", "error(instantiation_error,_0)"),
        ("keysort([a], L)", "error(type_error(pair,a),_0)"),
        ("length(L, a)", "error(type_error(integer,a),_0)"),
        (
            "findall(X, true, [a|b])",
            "error(type_error(list,[a|b]),_0)",
        ),
        ("compare(x, 1, 2)", "error(domain_error(order,x),_0)"),
        ("between(1, a, X)", "error(type_error(integer,a),_0)"),
        ("assertz(X)", "error(instantiation_error,_0)"),
        ("assertz((f :- 1))", "error(type_error(callable,1),_0)"),
        ("assertz(3)", "error(type_error(callable,3),_0)"),
        (
            "assertz(atom(x))",
            "error(permission_error(modify,static_procedure,atom/1),_0)",
        ),
        (
            "assertz((a , b))",
            "error(permission_error(modify,static_procedure,(',')/2),_0)",
        ),
        (
            "retract(atom(x))",
            "error(permission_error(modify,static_procedure,atom/1),_0)",
        ),
        (
            "retract(append([], _, _))",
            "error(permission_error(modify,static_procedure,append/3),_0)",
        ),
        ("throw(mine(X, Y, X))", "mine(_0,_1,_0)"),
        ("throw(_)", "error(instantiation_error,_0)"),
        ("catch(throw(a), b, true)", "a"),
    ] {
        assert_eq!(error("", query), term, "{query}");
    }
}

#[test]
fn errors_pass_through_rules() {
    let program = "p(X) :- q(X), r(X). q(1). q(2). r(2) :- missing.";
    assert_eq!(
        error(program, "p(X)"),
        "error(existence_error(procedure,missing/0),_0)"
    );
    // A declared predicate without clauses fails instead.
    assert_eq!(
        run(":- dynamic(missing/0). p :- missing. p :- true.", "p"),
        [""]
    );
}

#[test]
fn a_query_is_over_after_an_error() {
    let mut kb = KnowledgeBase::new();
    let mut query = kb.query("member(X, [1]) ; throw(x)").unwrap();
    assert!(query.next(&mut kb).unwrap().is_some());
    assert_eq!(query.next(&mut kb), Err(Error::Uncaught(Term::atom("x"))));
    assert_eq!(query.next(&mut kb), Ok(None));
}

#[test]
fn syntax_errors_have_a_place_and_change_nothing() {
    let mut kb = KnowledgeBase::new();
    let result = kb.consult("f(1).\nf(2).\nf(3) :- g(,).\n");
    assert_eq!(
        error_of(result, "consult"),
        "error(syntax_error(unexpected_token),position(3,11))"
    );
    assert_eq!(
        error_of(kb.first("f(X)"), "f"),
        "error(existence_error(procedure,f/1),_0)",
        "the first clauses have not been added"
    );
    assert!(
        matches!(kb.query("f(X"), Err(Error::Syntax(e)) if e.kind == SyntaxErrorKind::UnexpectedEnd)
    );
    assert!(matches!(kb.query("1"), Err(Error::Uncaught(_))));
    assert!(matches!(
        kb.consult("f. :- fail. g."),
        Err(Error::DirectiveFailed(2))
    ));
    assert!(matches!(kb.consult("1."), Err(Error::Uncaught(_))));
    assert!(matches!(kb.consult("f(x) :- 3."), Err(Error::Uncaught(_))));
}
