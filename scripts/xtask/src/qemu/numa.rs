//! NUMA shapes: `--numa N` for even nodes, or one clause a node.
//!
//! ```text
//! spec    = number | node *( ";" node )
//! node    = id ":" [ field *( "," field ) ]
//! field   = "mem=" size | "cpus=" range *( "+" range ) | "dist=" number *( "/" number )
//! range   = core | core "-" core
//! ```
//!
//! Ids count up from 0. A node may lack memory or cores, not every node either. `dist` is the node's row of distances
//! to all nodes in order; rows left out have 10 to the node itself and 20 to the others.

use std::str::FromStr;

use super::size::Size;
use crate::error::{Error, Result};

const LOCAL: u32 = 10;
const REMOTE: u32 = 20;
/// Memory of each node of an even shape is a multiple of this.
const GRAIN: u64 = 2 << 20;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NumaSpec {
    /// So many nodes, with cores and memory split evenly.
    Even(u32),
    /// Explicit nodes.
    Nodes(Vec<Node>),
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    /// Its memory, maybe none.
    pub(crate) memory: Size,
    /// First and last core of each of its ranges, maybe none.
    pub(crate) cores: Vec<(u32, u32)>,
    /// Distances to all nodes, empty for the default.
    pub(crate) distances: Vec<u32>,
}

impl FromStr for NumaSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Ok(count) = text.parse() {
            return match count {
                1..=64 => Ok(Self::Even(count)),
                _ => Err(Error::Usage("--numa wants 1 to 64 nodes".to_owned())),
            };
        }
        let nodes = text
            .split(';')
            .enumerate()
            .map(|(index, clause)| node(index, clause.trim()))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| Error::Usage(format!("--numa can't be {text:?}")))?;
        Ok(Self::Nodes(nodes))
    }
}

fn node(index: usize, clause: &str) -> Option<Node> {
    let (id, fields) = clause.split_once(':')?;
    if id.parse() != Ok(index) {
        return None;
    }
    let mut node = Node::default();
    for field in fields.split(',').filter(|field| !field.is_empty()) {
        match field.split_once('=')? {
            ("mem", size) => node.memory = size.parse().ok()?,
            ("cpus", ranges) => {
                node.cores = ranges.split('+').map(range).collect::<Option<_>>()?;
            }
            ("dist", row) => {
                let row: std::result::Result<_, _> = row.split('/').map(str::parse).collect();
                node.distances = row.ok()?;
            }
            _ => return None,
        }
    }
    Some(node)
}

fn range(text: &str) -> Option<(u32, u32)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

impl NumaSpec {
    /// The nodes for a machine of `cores` cores and `memory` bytes. Explicit nodes bring their own memory.
    ///
    /// # Errors
    /// If a core belongs to no node or to two, or doesn't exist; if a node has a row of distances of another length,
    /// or a distance that QEMU refuses; if nothing has memory.
    pub(crate) fn resolve(&self, cores: u32, memory: Size) -> Result<Vec<Node>> {
        let nodes = match self {
            Self::Even(count) => even(*count, cores, memory)?,
            Self::Nodes(nodes) => nodes.clone(),
        };
        let mut owners = vec![0_u32; cores as usize];
        for &(first, last) in nodes.iter().flat_map(|node| &node.cores) {
            let range = owners
                .get_mut(first as usize..=last as usize)
                .ok_or_else(|| Error::Usage(format!("--numa: no core {last} of {cores}")))?;
            range.iter_mut().for_each(|count| *count += 1);
        }
        if let Some(core) = owners.iter().position(|&count| count != 1) {
            return Err(Error::Usage(format!(
                "--numa: core {core} belongs to {} nodes",
                owners[core]
            )));
        }
        if nodes.iter().all(|node| node.memory == Size(0)) {
            return Err(Error::Usage("--numa: no node has memory".to_owned()));
        }
        let row_fits = |(index, node): (usize, &Node)| {
            node.distances.is_empty()
                || (node.distances.len() == nodes.len()
                    && node.distances.iter().enumerate().all(|(other, &distance)| {
                        (other == index) == (distance == LOCAL) && (LOCAL..255).contains(&distance)
                    }))
        };
        if !nodes.iter().enumerate().all(row_fits) {
            return Err(Error::Usage(
                "--numa: dist wants one number a node, 10 for itself, 11 to 254 for others"
                    .to_owned(),
            ));
        }
        Ok(nodes)
    }
}

fn even(count: u32, cores: u32, memory: Size) -> Result<Vec<Node>> {
    let grains = memory.0 / GRAIN / u64::from(count);
    if grains == 0 {
        return Err(Error::Usage(format!(
            "{memory} is too little for {count} nodes"
        )));
    }
    // The first nodes take what doesn't divide evenly.
    let mut next_core = 0;
    let mut nodes = Vec::new();
    for index in 0..count {
        let share = cores / count + u32::from(index < cores % count);
        let memory = match index {
            0 => memory.0 - grains * GRAIN * u64::from(count - 1),
            _ => grains * GRAIN,
        };
        nodes.push(Node {
            memory: Size(memory),
            cores: if share == 0 {
                vec![]
            } else {
                vec![(next_core, next_core + share - 1)]
            },
            distances: vec![],
        });
        next_core += share;
    }
    Ok(nodes)
}

/// QEMU's arguments for `nodes`.
pub(crate) fn arguments(nodes: &[Node]) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut add = |option: &str, value: String| {
        arguments.push(option.to_owned());
        arguments.push(value);
    };
    for (id, node) in nodes.iter().enumerate() {
        let mut value = format!("node,nodeid={id}");
        for (first, last) in &node.cores {
            value.push_str(&format!(",cpus={first}-{last}"));
        }
        if node.memory > Size(0) {
            add(
                "-object",
                format!("memory-backend-ram,id=node{id},size={}", node.memory),
            );
            value.push_str(&format!(",memdev=node{id}"));
        }
        add("-numa", value);
    }
    for (from, node) in nodes.iter().enumerate() {
        for to in (0..nodes.len()).filter(|&to| to != from) {
            let distance = node.distances.get(to).copied().unwrap_or(REMOTE);
            add("-numa", format!("dist,src={from},dst={to},val={distance}"));
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(spec: &str, cores: u32, memory: Size) -> Option<Vec<Node>> {
        spec.parse::<NumaSpec>().ok()?.resolve(cores, memory).ok()
    }

    #[test]
    fn even_nodes_split_cores_and_memory_without_loss() {
        let nodes = resolved("3", 8, Size::mib(1024)).unwrap();
        let cores: Vec<_> = nodes.iter().map(|node| node.cores.clone()).collect();
        assert_eq!(cores, [vec![(0, 2)], vec![(3, 5)], vec![(6, 7)]]);
        let total: u64 = nodes.iter().map(|node| node.memory.0).sum();
        assert_eq!(Size(total), Size::mib(1024));
        assert!(nodes.iter().all(|node| node.memory.0.is_multiple_of(GRAIN)));
    }

    #[test]
    fn more_nodes_than_cores_leave_nodes_without_cores() {
        let nodes = resolved("4", 2, Size::mib(1024)).unwrap();
        assert_eq!(nodes.iter().filter(|node| node.cores.is_empty()).count(), 2);
    }

    #[test]
    fn uneven_nodes() {
        let spec = "0:mem=512M,cpus=0-2;1:mem=1G,cpus=3;2:mem=0";
        let nodes = resolved(spec, 4, Size(0)).unwrap();
        assert_eq!(nodes[0].cores, [(0, 2)]);
        assert_eq!(nodes[1].memory, Size::mib(1024));
        assert_eq!(nodes[2], Node::default());
        assert_eq!(
            arguments(&nodes).join(" "),
            "-object memory-backend-ram,id=node0,size=512M -numa node,nodeid=0,cpus=0-2,memdev=node0 \
             -object memory-backend-ram,id=node1,size=1G -numa node,nodeid=1,cpus=3-3,memdev=node1 \
             -numa node,nodeid=2 \
             -numa dist,src=0,dst=1,val=20 -numa dist,src=0,dst=2,val=20 \
             -numa dist,src=1,dst=0,val=20 -numa dist,src=1,dst=2,val=20 \
             -numa dist,src=2,dst=0,val=20 -numa dist,src=2,dst=1,val=20"
        );
    }

    #[test]
    fn distances_may_be_asymmetric() {
        let spec = "0:mem=1G,cpus=0,dist=10/15;1:cpus=1,dist=30/10";
        let nodes = resolved(spec, 2, Size(0)).unwrap();
        let arguments = arguments(&nodes).join(" ");
        assert!(arguments.contains("src=0,dst=1,val=15"));
        assert!(arguments.contains("src=1,dst=0,val=30"));
    }

    #[test]
    fn scattered_cores() {
        let nodes = resolved("0:mem=1G,cpus=0+2;1:mem=1G,cpus=1+3-4", 5, Size(0)).unwrap();
        assert_eq!(nodes[0].cores, [(0, 0), (2, 2)]);
        assert_eq!(nodes[1].cores, [(1, 1), (3, 4)]);
    }

    #[test]
    fn nonsense_is_refused() {
        for spec in [
            "0",
            "65",
            "x",
            "1:mem=1G,cpus=0-3",                    // ids count from 0
            "0:mem=1G,cpus=0-2",                    // core 3 has no node
            "0:mem=1G,cpus=0-3;1:cpus=3",           // core 3 has two
            "0:mem=1G,cpus=0-4",                    // there is no core 4
            "0:cpus=0-3",                           // no memory
            "0:mem=1G,cpus=3-0",                    // a range backwards
            "0:mem=1G,cpus=0-3,speed=9",            // an unknown field
            "0:mem=1G,cpus=0-3,dist=10/20",         // a row too long
            "0:mem=1G,cpus=0-3,dist=20",            // not 10 to itself
            "0:mem=1G,cpus=0-3,dist=10/9;1:mem=1G", // nearer than itself
        ] {
            assert_eq!(resolved(spec, 4, Size::mib(1024)), None, "{spec}");
        }
        assert_eq!(resolved("64", 4, Size::mib(64)), None);
    }
}
