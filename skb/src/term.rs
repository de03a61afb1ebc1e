//! Terms as the outside sees them: self-contained, flat, printable.
//!
//! A [`Term`] keeps its nodes in preorder in one vector, so that building,
//! cloning, comparing and dropping never recurse, however deep the term is. It
//! carries its own names and needs no knowledge base to be read or printed.
//! Variables are numbered from 0 in order of first occurrence.
//!
//! ```
//! use capelin_skb::{Term, View};
//! let term = Term::compound("core", [Term::int(3), Term::int(0x300), Term::int(0)]);
//! assert_eq!(term.to_string(), "core(3,768,0)");
//! let View::Compound(name, args) = term.root().view() else { unreachable!() };
//! assert_eq!((name, args.count()), ("core", 3));
//! ```

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use crate::operators::TERM;

/// The text of an atom, functor or string.
pub type Name = Arc<str>;

/// One node of a term; a compound's arguments follow it in preorder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Node {
    Var(u32),
    Int(i64),
    Atom(Name),
    Str(Name),
    Compound(Name, u32),
}

/// A term that owns all it consists of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Term {
    nodes: Vec<Node>,
}

/// A term or subterm, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TermRef<'a> {
    /// Starts with this term's nodes; may hold others behind them.
    nodes: &'a [Node],
}

/// What a term is.
#[derive(Clone, Debug)]
pub enum View<'a> {
    /// An unbound variable with its number within the term.
    Var(u32),
    /// An integer.
    Int(i64),
    /// An atom; the empty list is the atom `[]`.
    Atom(&'a str),
    /// A string.
    Str(&'a str),
    /// A functor with its arguments; a list cell is `'.'(Head, Tail)`.
    Compound(&'a str, Args<'a>),
}

/// The arguments of a compound, from left to right.
#[derive(Clone, Debug)]
pub struct Args<'a> {
    nodes: &'a [Node],
    left: u32,
}

impl Term {
    /// Wraps nodes that form exactly one term in preorder.
    pub(crate) fn from_nodes(nodes: Vec<Node>) -> Self {
        debug_assert_eq!(end_of(&nodes), nodes.len());
        Self { nodes }
    }

    /// The nodes in preorder.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// An integer.
    #[must_use]
    pub fn int(value: i64) -> Self {
        Self {
            nodes: Vec::from([Node::Int(value)]),
        }
    }

    /// An atom.
    #[must_use]
    pub fn atom(name: &str) -> Self {
        Self {
            nodes: Vec::from([Node::Atom(Arc::from(name))]),
        }
    }

    /// A string.
    #[must_use]
    pub fn string(text: &str) -> Self {
        Self {
            nodes: Vec::from([Node::Str(Arc::from(text))]),
        }
    }

    /// The variable with this number; the same number is the same variable
    /// throughout the term that it becomes part of.
    #[must_use]
    pub fn var(number: u32) -> Self {
        Self {
            nodes: Vec::from([Node::Var(number)]),
        }
    }

    /// `name(args…)`; the atom `name` when there are no arguments.
    #[must_use]
    pub fn compound(name: &str, args: impl IntoIterator<Item = Term>) -> Self {
        let mut nodes = Vec::from([Node::Atom(Arc::from(name))]);
        let mut arity = 0;
        for arg in args {
            nodes.extend(arg.nodes);
            arity += 1;
        }
        if arity > 0 {
            nodes[0] = Node::Compound(Arc::from(name), arity);
        }
        Self { nodes }
    }

    /// The proper list of `items`.
    #[must_use]
    pub fn list(items: impl IntoIterator<Item = Term>) -> Self {
        let dot: Name = Arc::from(".");
        let mut nodes = Vec::new();
        for item in items {
            nodes.push(Node::Compound(Arc::clone(&dot), 2));
            nodes.extend(item.nodes);
        }
        nodes.push(Node::Atom(Arc::from("[]")));
        Self { nodes }
    }

    /// A lower bound of the bytes that the term takes as text, at the cost of one pass: the text
    /// of a term with long names many times over is larger than the term.
    #[must_use]
    pub fn least_text_bytes(&self) -> usize {
        let bytes = |node: &Node| match node {
            Node::Var(_) | Node::Int(_) => 1,
            Node::Atom(name) | Node::Str(name) => name.len(),
            // Its name, or a bracket or comma of a list.
            Node::Compound(name, _) => name.len().max(1),
        };
        self.nodes.iter().map(bytes).fold(0, usize::saturating_add)
    }

    /// The term, borrowed from its root.
    #[must_use]
    pub fn root(&self) -> TermRef<'_> {
        TermRef { nodes: &self.nodes }
    }

    /// The value of an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        self.root().as_int()
    }

    /// The name of an atom.
    #[must_use]
    pub fn as_atom(&self) -> Option<&str> {
        self.root().as_atom()
    }

    /// The elements of a proper list.
    #[must_use]
    pub fn elements(&self) -> Option<Vec<TermRef<'_>>> {
        self.root().elements()
    }
}

impl<'a> TermRef<'a> {
    /// What this term is.
    #[must_use]
    pub fn view(self) -> View<'a> {
        match self.nodes.first() {
            Some(Node::Var(number)) => View::Var(*number),
            Some(Node::Int(value)) => View::Int(*value),
            Some(Node::Str(text)) => View::Str(text),
            Some(Node::Compound(name, arity)) => View::Compound(
                name,
                Args {
                    nodes: self.nodes.get(1..).unwrap_or_default(),
                    left: *arity,
                },
            ),
            Some(Node::Atom(name)) => View::Atom(name),
            // No constructor makes a term without nodes.
            None => View::Atom("[]"),
        }
    }

    /// The value of an integer.
    #[must_use]
    pub fn as_int(self) -> Option<i64> {
        match self.view() {
            View::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The name of an atom.
    #[must_use]
    pub fn as_atom(self) -> Option<&'a str> {
        match self.view() {
            View::Atom(name) => Some(name),
            _ => None,
        }
    }

    /// The elements of a proper list; none if this isn't one.
    #[must_use]
    pub fn elements(self) -> Option<Vec<TermRef<'a>>> {
        let mut items = Vec::new();
        let mut rest = self;
        loop {
            match rest.view() {
                View::Atom("[]") => return Some(items),
                View::Compound(".", mut args) => {
                    items.push(args.next()?);
                    rest = args.next()?;
                }
                _ => return None,
            }
        }
    }

    /// A copy that stands for itself. Variables keep their numbers.
    #[must_use]
    pub fn to_term(self) -> Term {
        Term {
            nodes: self.own_nodes().to_vec(),
        }
    }

    /// Exactly this term's nodes.
    pub(crate) fn own_nodes(self) -> &'a [Node] {
        &self.nodes[..end_of(self.nodes)]
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = TermRef<'a>;

    fn next(&mut self) -> Option<TermRef<'a>> {
        if self.left == 0 {
            return None;
        }
        let arg = TermRef { nodes: self.nodes };
        self.left -= 1;
        // The last argument's end is nobody's start: don't look for it, so that
        // walking down a list costs its length only.
        if self.left > 0 {
            self.nodes = &self.nodes[end_of(self.nodes)..];
        }
        Some(arg)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl ExactSizeIterator for Args<'_> {}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root().fmt(f)
    }
}

impl fmt::Display for TermRef<'_> {
    /// Writes the term so that the reader gives the same term back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::writer::write(self.own_nodes(), TERM))
    }
}

/// Index just past the term that starts at the first node.
fn end_of(nodes: &[Node]) -> usize {
    let mut open = 1usize;
    for (i, node) in nodes.iter().enumerate() {
        if let Node::Compound(_, arity) = node {
            open += *arity as usize;
        }
        open -= 1;
        if open == 0 {
            return i + 1;
        }
    }
    nodes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_behind_nested_ones() {
        let inner = Term::compound("f", [Term::int(1), Term::list([Term::int(2)])]);
        let term = Term::compound("g", [inner.clone(), Term::atom("x"), Term::string("s")]);
        let View::Compound("g", args) = term.root().view() else {
            panic!("not g: {term}")
        };
        let args: Vec<Term> = args.map(TermRef::to_term).collect();
        assert_eq!(args, [inner, Term::atom("x"), Term::string("s")]);
    }

    #[test]
    fn only_proper_lists_have_elements() {
        let list = Term::list((0..3).map(Term::int));
        let values: Vec<_> = list
            .elements()
            .unwrap()
            .iter()
            .map(|t| t.as_int())
            .collect();
        assert_eq!(values, [Some(0), Some(1), Some(2)]);
        let partial = Term::compound(".", [Term::int(0), Term::var(0)]);
        assert!(partial.elements().is_none());
        assert!(Term::atom("a").elements().is_none());
    }

    #[test]
    fn a_million_deep_term_is_cloned_compared_and_dropped() {
        let mut nodes: Vec<Node> = (0..1_000_000)
            .map(|_| Node::Compound(Arc::from("s"), 1))
            .collect();
        nodes.push(Node::Int(0));
        let term = Term::from_nodes(nodes);
        assert_eq!(term.clone(), term);
    }
}
