//! The reader against the writer's canonical form, and on hostile texts.

use super::*;
use alloc::string::{String, ToString};
use alloc::{format, vec};
use proptest::prelude::*;

/// The term with every operator and list spelt as a compound.
fn canonical(text: &str) -> String {
    let read = read_term(text).unwrap_or_else(|e| panic!("{text:?}: {e}"));
    let mut out = String::new();
    let mut open: Vec<u32> = Vec::new();
    for node in read.term.nodes() {
        match node {
            Node::Compound(name, arity) => {
                out += &format!("{name}(");
                open.push(*arity);
                continue;
            }
            Node::Var(n) => out += &format!("_{n}"),
            Node::Int(i) => out += &i.to_string(),
            Node::Atom(a) => out += a,
            Node::Str(s) => out += &format!("\"{s}\""),
        }
        while let Some(left) = open.last_mut() {
            *left -= 1;
            if *left > 0 {
                out.push(' ');
                break;
            }
            out.push(')');
            open.pop();
        }
    }
    out
}

fn fails(text: &str) -> (Kind, u32, u32) {
    match read_term(text) {
        Ok(read) => panic!("{text:?} read as {}", read.term),
        Err(e) => (e.kind, e.at.line, e.at.column),
    }
}

#[test]
fn operators_bind_by_priority_and_associativity() {
    for (text, expected) in [
        ("a:-b,c;d->e", ":-(a ;(,(b c) ->(d e)))"),
        ("1-2-3", "-(-(1 2) 3)"),
        ("1+2*3", "+(1 *(2 3))"),
        ("2^3^4", "^(2 ^(3 4))"),
        ("- 2^3", "-(^(2 3))"),
        ("-2^3", "^(-2 3)"),
        ("a - -1", "-(a -1)"),
        ("a-1", "-(a 1)"),
        ("a - (-(1))", "-(a -(1))"),
        ("- (1)", "-(1)"),
        ("-(-(1))", "-(-(1))"),
        ("\\+a,b", ",(\\+(a) b)"),
        ("\\+ (a,b)", "\\+(,(a b))"),
        ("\\+(a,b)", "\\+(a b)"),
        ("X is 1<<2+3", "is(_0 +(<<(1 2) 3))"),
        ("X = -", "=(_0 -)"),
        ("- = x", "=(- x)"),
        ("[-]", ".(- [])"),
        ("f(+,-)", "f(+ -)"),
        ("[a,B|T]", ".(a .(_0 _1))"),
        ("[a|[b]]", ".(a .(b []))"),
        ("{a,b}", "{}(,(a b))"),
        (":- dynamic f/1, g/2", ":-(dynamic(,(/(f 1) /(g 2))))"),
        ("f(A,_,A,_)", "f(_0 _1 _0 _2)"),
        ("'hello world'(x)", "hello world(x)"),
        ("f(a)(b)", "ERR"),
    ] {
        if expected == "ERR" {
            fails(text);
        } else {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }
}

#[test]
fn extremes_of_integers() {
    assert_eq!(
        read_term("-9223372036854775808").unwrap().term,
        Term::int(i64::MIN)
    );
    assert_eq!(
        read_term("9223372036854775807").unwrap().term,
        Term::int(i64::MAX)
    );
    assert_eq!(
        read_term("0x7fffffffffffffff").unwrap().term,
        Term::int(i64::MAX)
    );
    assert_eq!(fails("9223372036854775808"), (Kind::IntegerTooLarge, 1, 1));
    assert_eq!(
        fails("- 9223372036854775808"),
        (Kind::IntegerTooLarge, 1, 3)
    );
    assert_eq!(fails("0xffffffffffffffff"), (Kind::IntegerTooLarge, 1, 1));
}

#[test]
fn errors_point_at_the_place() {
    assert_eq!(fails("f(a b)"), (Kind::OperatorExpected, 1, 5));
    assert_eq!(fails("f(a,\n  )"), (Kind::UnexpectedToken, 2, 3));
    assert_eq!(fails("f(a"), (Kind::UnexpectedEnd, 1, 4));
    assert_eq!(fails("(a]"), (Kind::UnexpectedToken, 1, 3));
    assert_eq!(fails("a = b = c"), (Kind::PriorityClash, 1, 7));
    assert_eq!(fails("f(a :- b)"), (Kind::PriorityClash, 1, 9));
    assert_eq!(fails("f()"), (Kind::EmptyArguments, 1, 1));
    assert_eq!(fails("[a|b,c]"), (Kind::PriorityClash, 1, 7));
    assert_eq!(fails("[a|b|c]"), (Kind::UnexpectedToken, 1, 5));
    assert_eq!(fails(""), (Kind::UnexpectedEnd, 1, 1));
    assert_eq!(fails("a. b"), (Kind::UnexpectedToken, 1, 4));
    assert_eq!(fails(")"), (Kind::UnexpectedToken, 1, 1));
    assert_eq!(fails("a | b"), (Kind::UnexpectedToken, 1, 3));
}

#[test]
fn clauses_come_one_by_one_with_names_and_positions() {
    let mut reader = Reader::new("f(X,Y,_).\n\n  g(X):-f(X,_,_).");
    let first = reader.next_clause().unwrap().unwrap();
    assert_eq!(
        (first.variable("X"), first.variable("Y")),
        (Some(0), Some(1))
    );
    assert_eq!(first.variables.len(), 2);
    let second = reader.next_clause().unwrap().unwrap();
    assert_eq!(second.at, Position { line: 3, column: 3 });
    assert_eq!(reader.next_clause(), Ok(None));
    let open = Reader::new("f(X)").next_clause();
    assert_eq!(open.map_err(|e| e.kind), Err(Kind::UnexpectedEnd));
}

#[test]
fn nesting_is_bounded_by_memory_only() {
    const DEPTH: usize = 50_000;
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("{", "}"),
        ("f(", ")"),
        ("- ", ""),
        ("a-(", ")"),
    ] {
        let text = open.repeat(DEPTH) + "x" + &close.repeat(DEPTH);
        let term = read_term(&text).unwrap().term;
        assert_eq!(read_term(&term.to_string()).unwrap().term, term);
    }
    assert_eq!(fails(&"[".repeat(DEPTH)).0, Kind::UnexpectedEnd);
}

#[test]
fn many_variables_are_found_by_name() {
    let names: Vec<String> = (0..50_000).map(|i| format!("V{i}")).collect();
    let text = format!("f([{0}], [{0}])", names.join(","));
    let read = read_term(&text).unwrap();
    assert_eq!(read.variables.len(), 50_000);
    assert_eq!(read.variables[40_000], (Name::from("V40000"), 40_000));
}

/// Atoms that need quotes, are operators, or neither.
fn atom_name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][A-Za-z0-9_]{0,4}",
        "[-+*/<>=:.?@#&$^~\\\\]{1,3}",
        Just("[]".to_string()),
        Just("{}".to_string()),
        Just(",".to_string()),
        Just("|".to_string()),
        Just("is".to_string()),
        Just("dynamic".to_string()),
        Just("\\+".to_string()),
        any::<String>(),
    ]
}

fn term() -> impl Strategy<Value = Term> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Term::int),
        (-3i64..3).prop_map(Term::int),
        atom_name().prop_map(|name| Term::atom(&name)),
        any::<String>().prop_map(|text| Term::string(&text)),
    ];
    leaf.prop_recursive(6, 48, 3, |inner| {
        prop_oneof![
            (atom_name(), prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(name, args)| Term::compound(&name, args)),
            (
                prop::sample::select(vec![
                    ":-", ";", "->", ",", "=", "is", "+", "-", "*", "^", "**", ":", "mod", "\\+",
                    "dynamic", "\\", "?-",
                ]),
                prop::collection::vec(inner.clone(), 1..3)
            )
                .prop_map(|(name, args)| Term::compound(name, args)),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Term::list),
            prop::collection::vec(inner, 2..3).prop_map(|args| Term::compound(".", args)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_a_term_or_an_error(text in any::<String>()) {
        if let Ok(read) = read_term(&text) {
            prop_assert_eq!(read_term(&read.term.to_string()).map(|r| r.term), Ok(read.term));
        }
    }

    #[test]
    fn any_prolog_like_text_is_a_term_or_an_error(
        text in "([a-cX_(),.|\\[\\]{}+*=\\\\:;! -]|:-|->|\\\\\\+|is |0x1|'a|\"|0'|/\\*|%\n){0,24}"
    ) {
        if let Ok(read) = read_term(&text) {
            prop_assert_eq!(read_term(&read.term.to_string()).map(|r| r.term), Ok(read.term));
        }
    }

    #[test]
    fn what_is_written_reads_back(term in term()) {
        let text = term.to_string();
        let read = read_term(&text).map(|read| read.term);
        prop_assert_eq!(read, Ok(term), "written as {}", text);
    }
}
