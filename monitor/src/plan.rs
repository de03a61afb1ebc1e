//! The tree in which cores start, and in which messages travel.
//!
//! The System Knowledge Base decides who starts whom ([`Plan::from_solutions`]);
//! a parent hands each child the part of the tree below it ([`Plan::below`]). So a
//! monitor knows its parent, its children and the cores below each child: a message
//! goes to the child below which its destination lies, else to the parent.

use alloc::{format, string::String, vec::Vec};

use capelin_abi::syscall::CoreText;
use capelin_interfaces::skb::Solution;
use serde::{Deserialize, Serialize};

/// The query whose solutions [`Plan::from_solutions`] takes first.
pub const CORES_QUERY: &str =
    "core(C,M,N), home_node(C,H), (core_start(C,spin_table,R) -> true ; R = 0)";
/// The query whose solutions [`Plan::from_solutions`] takes second.
pub const TREE_QUERY: &str = "boot_tree(P,Cs)";

/// A core that is to be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlannedCore {
    /// Its number, and its kernel's id.
    pub core: u16,
    /// The core that starts it.
    pub parent: u16,
    /// Its affinity (`MPIDR_EL1`).
    pub mpidr: u64,
    /// Its NUMA node.
    pub node: u32,
    /// The node on which its home memory lies: its own unless that has no memory.
    pub home_node: u32,
    /// The node on which the rings that join it with its parent lie.
    pub ring_node: u32,
    /// Where its spin table's release address lies, 0 when PSCI starts it.
    pub release: u64,
}

impl PlannedCore {
    /// Whose text it runs, if it is started by a core whose home memory lies on node
    /// `starters_node`: so each node with memory has one text, that of the first core
    /// there, which all cores below it share. A core that waits in a spin table can't be
    /// told where its home memory is, but by a text that lies there.
    #[must_use]
    pub const fn text(&self, starters_node: u32) -> CoreText {
        if self.home_node == starters_node && self.release == 0 {
            CoreText::Shared
        } else {
            CoreText::Own
        }
    }
}

/// Why a plan is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// The knowledge base answered with something else than numbers and lists.
    Malformed,
    /// A core stands twice, or is its own ancestor.
    NotATree,
    /// A core's number is no kernel id.
    InvalidCore,
}

impl core::fmt::Display for PlanError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the knowledge base's answer cannot be read",
            Self::NotATree => "the boot tree is not a tree",
            Self::InvalidCore => "a core's number is out of range",
        })
    }
}

/// The tree below one core, its root, which isn't part of it.
///
/// Every core stands behind its parent, and every parent is the root or part of the
/// plan.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Plan {
    root: u16,
    cores: Vec<PlannedCore>,
}

#[derive(Deserialize)]
struct Unchecked {
    root: u16,
    cores: Vec<PlannedCore>,
}

impl TryFrom<Unchecked> for Plan {
    type Error = PlanError;

    fn try_from(plan: Unchecked) -> Result<Self, PlanError> {
        Self::new(plan.root, plan.cores)
    }
}

impl Plan {
    /// The tree of `cores` below `root`, in any order.
    ///
    /// # Errors
    /// [`PlanError::NotATree`], [`PlanError::InvalidCore`].
    pub fn new(root: u16, mut cores: Vec<PlannedCore>) -> Result<Self, PlanError> {
        if cores.iter().any(|c| c.core >= capelin_abi::KernelId::LIMIT) {
            return Err(PlanError::InvalidCore);
        }
        // Parents first: take those whose parent has been taken, until none is left.
        let mut ordered: Vec<PlannedCore> = Vec::with_capacity(cores.len());
        let mut parents = alloc::vec![root];
        while let Some(parent) = parents.pop() {
            let (children, others): (Vec<_>, Vec<_>) =
                cores.into_iter().partition(|c| c.parent == parent);
            for child in &children {
                if child.core == root || ordered.iter().any(|known| known.core == child.core) {
                    return Err(PlanError::NotATree);
                }
                ordered.push(*child);
                parents.push(child.core);
            }
            cores = others;
        }
        if cores.is_empty() {
            Ok(Self {
                root,
                cores: ordered,
            })
        } else {
            Err(PlanError::NotATree)
        }
    }

    /// The tree that the knowledge base draws: `cores` are the solutions of
    /// [`CORES_QUERY`], `tree` those of [`TREE_QUERY`]. Cores without a place in
    /// the tree (disabled ones) are left out.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn from_solutions(
        root: u16,
        cores: &[Solution],
        tree: &[Solution],
    ) -> Result<Self, PlanError> {
        let mut planned = Vec::new();
        for solution in tree {
            let parent = number(solution, "P")?;
            let children = solution.get("Cs").ok_or(PlanError::Malformed)?;
            for child in list(children)? {
                let facts = cores
                    .iter()
                    .find(|facts| number(facts, "C") == Ok(child))
                    .ok_or(PlanError::Malformed)?;
                planned.push(PlannedCore {
                    core: number(facts, "C")?,
                    parent,
                    mpidr: number(facts, "M")?,
                    node: number(facts, "N")?,
                    home_node: number(facts, "H")?,
                    // Until `place_rings` knows better: at the receiver.
                    ring_node: number(facts, "H")?,
                    release: number(facts, "R")?,
                });
            }
        }
        Self::new(root, planned)
    }

    /// The query that asks where the rings between parents and children are to lie;
    /// its solutions are for [`Plan::place_rings`]. `None` without any core.
    #[must_use]
    pub fn rings_query(&self) -> Option<String> {
        let edges: Vec<String> = self
            .cores
            .iter()
            .map(|core| format!("{}-{}", core.parent, core.core))
            .collect();
        let query = || format!("member(P-C,[{}]),ring_node(P,C,N)", edges.join(","));
        (!edges.is_empty()).then(query)
    }

    /// Takes in where rings are to lie.
    ///
    /// # Errors
    /// [`PlanError::Malformed`], [`PlanError::InvalidCore`].
    pub fn place_rings(&mut self, solutions: &[Solution]) -> Result<(), PlanError> {
        for solution in solutions {
            let core: u16 = number(solution, "C")?;
            let node = number(solution, "N")?;
            if let Some(core) = self.cores.iter_mut().find(|c| c.core == core) {
                core.ring_node = node;
            }
        }
        Ok(())
    }

    /// The core that the tree hangs from.
    #[must_use]
    pub const fn root(&self) -> u16 {
        self.root
    }

    /// All cores below the root, each behind its parent.
    #[must_use]
    pub fn cores(&self) -> &[PlannedCore] {
        &self.cores
    }

    /// What is planned for `core`.
    #[must_use]
    pub fn get(&self, core: u16) -> Option<&PlannedCore> {
        self.cores.iter().find(|c| c.core == core)
    }

    /// The cores that `parent` starts.
    pub fn children(&self, parent: u16) -> impl Iterator<Item = &PlannedCore> {
        self.cores.iter().filter(move |c| c.parent == parent)
    }

    /// The tree below `core`.
    #[must_use]
    pub fn below(&self, core: u16) -> Self {
        let mut cores: Vec<PlannedCore> = Vec::new();
        // Parents stand first, so one pass suffices.
        for candidate in &self.cores {
            let is_below =
                candidate.parent == core || cores.iter().any(|c| c.core == candidate.parent);
            if is_below {
                cores.push(*candidate);
            }
        }
        Self { root: core, cores }
    }

    /// The root's child below which, or at which, `destination` is. `None` when it
    /// isn't in the tree.
    #[must_use]
    pub fn child_towards(&self, destination: u16) -> Option<u16> {
        let mut at = self.get(destination)?;
        while at.parent != self.root {
            at = self.get(at.parent)?;
        }
        Some(at.core)
    }

    /// The tree below `root` that holds no core.
    #[must_use]
    pub const fn leaf(root: u16) -> Self {
        Self {
            root,
            cores: Vec::new(),
        }
    }

    /// Takes `core` in, a child of the root without children, unless it is there: whether
    /// the tree has changed.
    pub fn take_in(&mut self, core: PlannedCore) -> bool {
        let is_new =
            core.parent == self.root && core.core != self.root && self.get(core.core).is_none();
        if is_new {
            self.cores.push(core);
        }
        is_new
    }

    /// Takes `core` out; its children become its parent's. They are returned.
    pub fn leave_out(&mut self, core: u16) -> Vec<PlannedCore> {
        let Some(parent) = self.get(core).map(|found| found.parent) else {
            return Vec::new();
        };
        self.cores.retain(|c| c.core != core);
        let mut adopted = Vec::new();
        for child in self.cores.iter_mut().filter(|c| c.parent == core) {
            child.parent = parent;
            adopted.push(*child);
        }
        adopted
    }

    /// Rounds of starting that the tree takes: the longest way down, in edges.
    #[must_use]
    pub fn depth(&self) -> usize {
        let mut depths: Vec<(u16, usize)> = alloc::vec![(self.root, 0)];
        for core in &self.cores {
            let above = depths.iter().find(|(c, _)| *c == core.parent);
            let depth = above.map_or(0, |(_, depth)| depth + 1);
            depths.push((core.core, depth));
        }
        depths.iter().map(|(_, depth)| *depth).max().unwrap_or(0)
    }
}

/// The value of `variable`, a number.
fn number<N: TryFrom<i128>>(solution: &Solution, variable: &str) -> Result<N, PlanError> {
    let text = solution.get(variable).ok_or(PlanError::Malformed)?;
    parse(text)
}

fn parse<N: TryFrom<i128>>(text: &str) -> Result<N, PlanError> {
    let number: i128 = text.trim().parse().map_err(|_| PlanError::Malformed)?;
    N::try_from(number).map_err(|_| PlanError::InvalidCore)
}

/// The cores of a list as the knowledge base writes it: `[1,2,3]`.
fn list(text: &str) -> Result<Vec<u16>, PlanError> {
    let inner = text
        .trim()
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or(PlanError::Malformed)?;
    if inner.trim().is_empty() {
        return Ok(Vec::new());
    }
    inner.split(',').map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn core(core: u16, parent: u16) -> PlannedCore {
        PlannedCore {
            core,
            parent,
            mpidr: u64::from(core),
            node: 0,
            home_node: 0,
            ring_node: 0,
            release: 0,
        }
    }

    fn solution(bindings: &[(&str, &str)]) -> Solution {
        let own = |&(name, value): &(&str, &str)| (name.into(), value.into());
        Solution {
            bindings: bindings.iter().map(own).collect(),
        }
    }

    fn facts(core: &str) -> Solution {
        solution(&[("C", core), ("M", core), ("N", "1"), ("H", "0"), ("R", "0")])
    }

    #[test]
    fn the_knowledge_bases_answer_is_read() {
        let cores = ["0", "1", "2", "3"].map(facts);
        let tree = [
            solution(&[("P", "0"), ("Cs", "[1, 3]")]),
            solution(&[("P", "1"), ("Cs", "[2]")]),
            solution(&[("P", "2"), ("Cs", "[]")]),
        ];
        let plan = Plan::from_solutions(0, &cores, &tree).unwrap();
        assert_eq!(plan.children(0).map(|c| c.core).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(
            plan.get(2).map(|c| (c.parent, c.node, c.home_node)),
            Some((1, 1, 0))
        );
        assert_eq!(plan.depth(), 2);
        for wrong in ["1,3", "[1", "[x]", "[9]", "[1,]"] {
            let tree = [solution(&[("P", "0"), ("Cs", wrong)])];
            assert_eq!(
                Plan::from_solutions(0, &cores, &tree),
                Err(PlanError::Malformed),
                "{wrong}"
            );
        }
    }

    #[test]
    fn who_was_left_out_is_taken_in_as_a_leaf() {
        let mut plan = Plan::new(0, vec![core(1, 0), core(2, 1), core(3, 2)]).unwrap();
        let left_out = *plan.get(1).unwrap();
        assert_eq!(plan.leave_out(1).len(), 1);
        assert_eq!(plan.child_towards(1), None);
        assert!(plan.take_in(left_out));
        assert!(!plan.take_in(left_out));
        assert_eq!(plan.child_towards(1), Some(1));
        assert_eq!(plan.child_towards(3), Some(2));
        assert_eq!(plan.cores().len(), 3);
        assert_eq!(plan.below(1), Plan::leaf(1));
        // No other's child, nor the root.
        assert!(!plan.take_in(core(4, 3)));
        assert!(!plan.take_in(core(0, 0)));
        assert_eq!(plan.cores().len(), 3);
    }

    #[test]
    fn a_text_is_shared_on_its_own_node_alone() {
        let at = |node, home_node, release| PlannedCore {
            node,
            home_node,
            release,
            ..core(2, 1)
        };
        assert_eq!(at(1, 1, 0).text(1), CoreText::Shared);
        assert_eq!(at(1, 1, 0).text(0), CoreText::Own);
        // Where a node has no memory, home and text lie elsewhere together.
        assert_eq!(at(3, 1, 0).text(1), CoreText::Shared);
        assert_eq!(at(1, 0, 0).text(1), CoreText::Own);
        assert_eq!(at(1, 1, 0xd8).text(1), CoreText::Own);
    }

    #[test]
    fn rings_lie_where_the_knowledge_base_says() {
        let mut plan = Plan::new(0, vec![core(1, 0), core(2, 1)]).unwrap();
        let query = plan.rings_query().unwrap();
        assert_eq!(query, "member(P-C,[0-1,1-2]),ring_node(P,C,N)");
        let answer = [solution(&[("P", "1"), ("C", "2"), ("N", "3")])];
        plan.place_rings(&answer).unwrap();
        let nodes: Vec<u32> = plan.cores().iter().map(|c| c.ring_node).collect();
        assert_eq!(nodes, [0, 3]);
        let wrong = [solution(&[("C", "2"), ("N", "x")])];
        assert_eq!(plan.place_rings(&wrong), Err(PlanError::Malformed));
        assert_eq!(Plan::default().rings_query(), None);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        for cores in [
            vec![core(1, 2), core(2, 1)],
            vec![core(1, 0), core(1, 0)],
            vec![core(0, 0)],
            vec![core(1, 0), core(0, 1)],
            vec![core(2, 9)],
        ] {
            assert_eq!(Plan::new(0, cores), Err(PlanError::NotATree));
        }
        assert_eq!(
            Plan::new(0, vec![core(512, 0)]),
            Err(PlanError::InvalidCore)
        );
    }

    #[test]
    fn children_of_a_failed_core_are_adopted() {
        let cores = vec![core(1, 0), core(2, 0), core(3, 1), core(4, 1), core(5, 3)];
        let mut plan = Plan::new(0, cores).unwrap();
        let adopted = plan.leave_out(1);
        assert_eq!(adopted, [core(3, 0), core(4, 0)]);
        assert_eq!(plan.child_towards(5), Some(3));
        assert_eq!(plan.child_towards(1), None);
        assert_eq!(plan.leave_out(3), [core(5, 0)]);
        assert_eq!(plan.leave_out(9), []);
        assert_eq!(plan.cores().len(), 3);
    }

    /// A random tree: the parent of core n is one of the cores before it.
    fn tree() -> impl Strategy<Value = Plan> {
        proptest::collection::vec(any::<u16>(), 0..200).prop_map(|parents| {
            let cores = (1_u16..).zip(&parents);
            let mut cores: Vec<_> = cores.map(|(n, p)| core(n, p % n)).collect();
            cores.reverse();
            Plan::new(0, cores).unwrap()
        })
    }

    proptest! {
        #[test]
        fn every_core_is_reached_hop_by_hop(plan in tree()) {
            for target in plan.cores() {
                let mut part = plan.clone();
                let mut hops = 0;
                while let Some(child) = part.child_towards(target.core) {
                    prop_assert!(part.children(part.root()).any(|c| c.core == child));
                    part = part.below(child);
                    hops += 1;
                }
                prop_assert_eq!(part.root(), target.core);
                prop_assert!(hops <= plan.depth());
            }
        }

        #[test]
        fn leaving_cores_out_leaves_a_tree(mut plan in tree(), which: Vec<u16>) {
            for core in which {
                let core = core % 200;
                let others = plan.cores().iter().filter(|c| c.core != core).count();
                plan.leave_out(core);
                prop_assert_eq!(plan.cores().len(), others);
                let rebuilt = Plan::new(plan.root(), plan.cores().to_vec());
                prop_assert!(rebuilt.is_ok());
            }
        }

        #[test]
        fn plans_survive_the_wire(plan in tree()) {
            let bytes = capelin_idc::encode(&plan).unwrap();
            prop_assert_eq!(capelin_idc::decode::<Plan>(&bytes), Ok(plan));
        }

        #[test]
        fn no_bytes_make_a_plan_that_is_no_tree(bytes: Vec<u8>) {
            if let Ok(plan) = capelin_idc::decode::<Plan>(&bytes) {
                for core in plan.cores() {
                    prop_assert!(plan.child_towards(core.core).is_some());
                }
            }
        }
    }
}
