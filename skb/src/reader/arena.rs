//! The term being read: nodes that name their arguments by index.
//!
//! Nodes are made from the inside out; the preorder is made at the end.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::SyntaxErrorKind as Kind;
use crate::term::{Name, Node, Term};

/// A node in the making: compounds name their arguments by index.
enum Draft {
    Leaf(Node),
    Compound {
        name: Name,
        first: usize,
        arity: u32,
    },
}

/// The nodes of the term being read, and its variables.
#[derive(Default)]
pub(super) struct Arena {
    drafts: Vec<Draft>,
    /// Runs of argument indices.
    arguments: Vec<usize>,
    /// The named variables in order of occurrence, and their places by name.
    variables: Vec<(Name, u32)>,
    by_name: BTreeMap<Name, u32>,
    variable_count: u32,
}

impl Arena {
    /// A node without arguments.
    pub(super) fn leaf(&mut self, node: Node) -> usize {
        self.drafts.push(Draft::Leaf(node));
        self.drafts.len() - 1
    }

    /// A compound of nodes made before.
    pub(super) fn compound(&mut self, name: Name, args: &[usize]) -> Result<usize, Kind> {
        let arity = u32::try_from(args.len()).map_err(|_| Kind::TooLarge)?;
        let first = self.arguments.len();
        self.arguments.extend_from_slice(args);
        self.drafts.push(Draft::Compound { name, first, arity });
        Ok(self.drafts.len() - 1)
    }

    /// The variable with that name; `_` is a new one each time.
    pub(super) fn variable(&mut self, name: &str) -> usize {
        let known = self.by_name.get(name).copied();
        let number = known.unwrap_or_else(|| {
            let number = self.variable_count;
            self.variable_count += 1;
            if name != "_" {
                let name: Name = Arc::from(name);
                self.by_name.insert(Arc::clone(&name), number);
                self.variables.push((name, number));
            }
            number
        });
        self.leaf(Node::Var(number))
    }

    /// The preorder of the term at `root`. Variables stand in the text in the
    /// order of the preorder, so their numbers are in order of occurrence.
    pub(super) fn flatten(&self, root: usize) -> Term {
        let mut nodes = Vec::with_capacity(self.drafts.len());
        let mut pending = Vec::from([root]);
        while let Some(draft) = pending.pop() {
            match &self.drafts[draft] {
                Draft::Leaf(node) => nodes.push(node.clone()),
                Draft::Compound { name, first, arity } => {
                    nodes.push(Node::Compound(Arc::clone(name), *arity));
                    let args = &self.arguments[*first..*first + *arity as usize];
                    pending.extend(args.iter().rev());
                }
            }
        }
        Term::from_nodes(nodes)
    }

    /// The named variables with their numbers, in order of occurrence.
    pub(super) fn into_variables(self) -> Vec<(Name, u32)> {
        self.variables
    }
}
