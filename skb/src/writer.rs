//! From terms to text, quoted and with operators, so that the text reads back.
//!
//! The counterpart of [`crate::reader`]: same operators, and like it without
//! recursion. Variables are written `_0`, `_1`, …

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write;

use crate::operators::{self, ARGUMENT, TERM};
use crate::term::Node;

/// Writes the term whose nodes these are, as an operand of at most this priority.
pub(crate) fn write(nodes: &[Node], most: u16) -> String {
    let mut writer = Writer {
        nodes,
        ends: ends(nodes),
        out: String::new(),
        work: Vec::new(),
    };
    writer.work.push(Work::Term { at: 0, most });
    while let Some(work) = writer.work.pop() {
        match work {
            Work::Term { at, most } => writer.term(at, most),
            Work::Token(text) => writer.token(text),
            Work::Punctuation(text) => writer.out.push_str(text),
            Work::Operator(name) => writer.operator(name),
            Work::ListRest { at } => writer.list_rest(at),
        }
    }
    writer.out
}

enum Work<'a> {
    /// The term at an index, in brackets if its priority is above `most`.
    Term { at: usize, most: u16 },
    /// Text that must not grow together with what stands before it.
    Token(&'a str),
    /// Brackets and commas.
    Punctuation(&'static str),
    /// An infix operator.
    Operator(&'a str),
    /// The tail of a list whose last element has been written.
    ListRest { at: usize },
}

struct Writer<'a> {
    nodes: &'a [Node],
    /// Index just past each subterm.
    ends: Vec<usize>,
    out: String,
    work: Vec<Work<'a>>,
}

impl<'a> Writer<'a> {
    fn term(&mut self, at: usize, most: u16) {
        match self.nodes.get(at) {
            None => {}
            Some(Node::Var(number)) => self.formatted(format_args!("_{number}")),
            Some(Node::Int(value)) => self.formatted(format_args!("{value}")),
            Some(Node::Str(text)) => {
                let quoted = quoted(text, '"');
                self.token(&quoted);
            }
            Some(Node::Atom(name)) => {
                // Beside another operator a bare operator would be taken for one;
                // as argument only its priority counts.
                let priority = operators::atom_priority(name);
                let brackets = match most {
                    TERM => false,
                    ARGUMENT => priority > ARGUMENT,
                    _ => priority > 0,
                };
                self.atom(name, brackets);
            }
            Some(Node::Compound(name, arity)) => self.compound(at, name, *arity, most),
        }
    }

    fn compound(&mut self, at: usize, name: &'a str, arity: u32, most: u16) {
        let first = at + 1;
        let second = self.ends.get(first).copied().unwrap_or(first);
        match (name, arity) {
            (".", 2) => {
                self.token("[");
                self.work.push(Work::ListRest { at: second });
                self.work.push(Work::Term {
                    at: first,
                    most: ARGUMENT,
                });
                return;
            }
            ("{}", 1) => {
                self.token("{");
                self.work.push(Work::Punctuation("}"));
                self.work.push(Work::Term {
                    at: first,
                    most: TERM,
                });
                return;
            }
            _ => {}
        }
        if arity == 2
            && let Some(op) = operators::infix(name)
        {
            self.in_brackets(op.priority > most, |work| {
                work.push(Work::Term {
                    at: second,
                    most: op.right,
                });
                work.push(Work::Operator(name));
                work.push(Work::Term {
                    at: first,
                    most: op.left,
                });
            });
            return;
        }
        // -(1) must not become the number -1: numbers keep the brackets.
        if arity == 1
            && let Some(op) = operators::prefix(name)
            && !matches!(self.nodes.get(first), Some(Node::Int(_)))
        {
            self.in_brackets(op.priority > most, |work| {
                work.push(Work::Term {
                    at: first,
                    most: op.right,
                });
                // A space keeps an opening bracket from making it a functor.
                work.push(Work::Punctuation(" "));
                work.push(Work::Token(name));
            });
            return;
        }
        self.atom(name, false);
        self.out.push('(');
        self.work.push(Work::Punctuation(")"));
        // Arguments in reverse, as the work is taken from the end.
        let start = self.work.len();
        let mut arg = first;
        for i in 0..arity {
            if i > 0 {
                self.work.push(Work::Punctuation(","));
            }
            self.work.push(Work::Term {
                at: arg,
                most: ARGUMENT,
            });
            arg = self.ends.get(arg).copied().unwrap_or(arg);
        }
        self.work[start..].reverse();
    }

    fn in_brackets(&mut self, brackets: bool, inner: impl FnOnce(&mut Vec<Work<'a>>)) {
        if brackets {
            self.bracket();
            self.work.push(Work::Punctuation(")"));
        }
        inner(&mut self.work);
    }

    fn list_rest(&mut self, at: usize) {
        match self.nodes.get(at) {
            Some(Node::Atom(name)) if &**name == "[]" => self.out.push(']'),
            Some(Node::Compound(name, 2)) if &**name == "." => {
                let first = at + 1;
                let second = self.ends.get(first).copied().unwrap_or(first);
                self.out.push(',');
                self.work.push(Work::ListRest { at: second });
                self.work.push(Work::Term {
                    at: first,
                    most: ARGUMENT,
                });
            }
            _ => {
                self.out.push('|');
                self.work.push(Work::Punctuation("]"));
                self.work.push(Work::Term { at, most: ARGUMENT });
            }
        }
    }

    fn operator(&mut self, name: &'a str) {
        if name == "," {
            self.out.push(',');
        } else if name.starts_with(|c: char| c.is_alphabetic())
            || matches!(name, "->" | ":-" | "-->")
        {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push(' ');
        } else {
            self.token(name);
        }
    }

    fn atom(&mut self, name: &str, brackets: bool) {
        let text = atom_text(name);
        if brackets {
            self.bracket();
            self.out.push_str(&text);
            self.out.push(')');
        } else {
            self.token(&text);
        }
    }

    /// An opening bracket that is not a functor's.
    fn bracket(&mut self) {
        if self.out.ends_with(|c: char| !"([{,| ".contains(c)) {
            // After an infix operator the bracket may follow at once; a space
            // is right in every place.
            self.out.push(' ');
        }
        self.out.push('(');
    }

    /// Text after which a space is set if it would grow together with the last.
    fn token(&mut self, text: &str) {
        if let (Some(last), Some(next)) = (self.out.chars().next_back(), text.chars().next()) {
            let class = |c: char| {
                if c == '_' || c.is_alphanumeric() || c == '\'' {
                    1
                } else if "+-*/\\^<>=~:.?@#&$".contains(c) {
                    2
                } else if c == '"' {
                    3
                } else {
                    0
                }
            };
            if class(last) != 0 && class(last) == class(next) {
                self.out.push(' ');
            }
        }
        self.out.push_str(text);
    }

    fn formatted(&mut self, args: core::fmt::Arguments<'_>) {
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = text.write_fmt(args);
        self.token(&text);
    }
}

/// Index just past each subterm, from right to left in one pass.
fn ends(nodes: &[Node]) -> Vec<usize> {
    let mut ends = vec![nodes.len(); nodes.len()];
    // Starts of the finished subterms to the right, nearest last.
    let mut finished: Vec<usize> = Vec::new();
    for (i, node) in nodes.iter().enumerate().rev() {
        let mut end = i + 1;
        if let Node::Compound(_, arity) = node {
            for _ in 0..*arity {
                if let Some(arg) = finished.pop() {
                    end = ends[arg];
                }
            }
        }
        ends[i] = end;
        finished.push(i);
    }
    ends
}

/// An atom's text, quoted where it needs to be.
fn atom_text(name: &str) -> Cow<'_, str> {
    let mut chars = name.chars();
    let bare = match chars.next() {
        Some('a'..='z') => chars.all(|c| c == '_' || c.is_ascii_alphanumeric()),
        Some(c) if "+-*/\\^<>=~:?@#&$".contains(c) => {
            !name.starts_with("/*") && chars.all(|c| "+-*/\\^<>=~:.?@#&$".contains(c))
        }
        _ => matches!(name, "[]" | "{}" | "!" | ";"),
    };
    if bare {
        Cow::Borrowed(name)
    } else {
        Cow::Owned(quoted(name, '\''))
    }
}

fn quoted(text: &str, quote: char) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                // Writing to a string can't fail.
                let _ = write!(out, "\\x{:x}\\", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

#[cfg(test)]
mod tests {
    use crate::reader::read_term;
    use alloc::string::ToString;

    #[test]
    fn writes_what_a_reader_expects() {
        for (text, expected) in [
            ("f( X , 'a b', \"s\\n\" )", "f(_0,'a b',\"s\\n\")"),
            ("[1,2|T]", "[1,2|_0]"),
            ("a:-b,\\+c", "a :- b,\\+ c"),
            ("1 - -1", "1- -1"),
            ("1-(2-3)", "1- (2-3)"),
            ("(1-2)-3", "1-2-3"),
            ("-(1)", "-(1)"),
            ("-(a)", "- a"),
            ("-(-(1))", "- -(1)"),
            ("- (a,b)", "- (a,b)"),
            ("X is A mod B", "_0 is _1 mod _2"),
            ("f((a,b),(:-))", "f((a,b),(:-))"),
            ("[(a:-b)]", "[(a :- b)]"),
            ("'Abc'('','\\\\')", "'Abc'('',\\)"),
            ("{a}", "{a}"),
            ("a= \\+", "a= (\\+)"),
            ("'.'", "'.'"),
            ("0xff", "255"),
        ] {
            assert_eq!(
                read_term(text).unwrap().term.to_string(),
                expected,
                "{text}"
            );
        }
    }
}
