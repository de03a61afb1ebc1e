//! The rules of the machine: expected answers, odd shapes, and trees of any shape.

use super::all;
use crate::schema::{
    Core, CoreStart, CoreState, CoreTopology, Device, Distance, Driver, Memory, SCHEMAS,
};
use crate::{KnowledgeBase, TOPOLOGY, TermRef};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

/// A machine of these (core, node) pairs, with 1 GiB on each of the nodes.
fn machine(cores: &[(u64, u64)], memory: &[u64]) -> KnowledgeBase {
    let mut kb = KnowledgeBase::with_rules();
    for (id, node) in cores {
        kb.assert_fact(&Core {
            id: *id,
            mpidr: id << 8,
            node: *node,
        })
        .unwrap();
    }
    for node in memory {
        kb.assert_fact(&Memory {
            base: (node + 1) << 32,
            size: 1 << 30,
            node: *node,
        })
        .unwrap();
    }
    kb
}

/// `count` cores over `nodes` nodes in blocks.
fn blocks(count: u64, nodes: u64) -> Vec<(u64, u64)> {
    (0..count).map(|id| (id, id * nodes / count)).collect()
}

fn distances(kb: &mut KnowledgeBase, table: &[&[u64]]) {
    for (from, row) in table.iter().enumerate() {
        for (to, distance) in row.iter().enumerate() {
            let (from, to) = (from as u64, to as u64);
            kb.assert_fact(&Distance {
                from,
                to,
                distance: *distance,
            })
            .unwrap();
        }
    }
}

fn order(kb: &mut KnowledgeBase) -> Vec<i64> {
    kb.first("boot_order(L)")
        .unwrap()
        .unwrap()
        .ints("L")
        .unwrap()
}

/// The whole tree, children by parent.
fn tree(kb: &mut KnowledgeBase) -> BTreeMap<i64, Vec<i64>> {
    let mut query = kb.query("boot_tree(P, Cs)").unwrap();
    let mut tree = BTreeMap::new();
    while let Some(solution) = query.next(kb).unwrap() {
        let children = solution.ints("Cs").unwrap();
        let again = tree.insert(solution.int("P").unwrap(), children);
        assert_eq!(again, None, "a core stands twice as parent: {solution}");
    }
    tree
}

#[test]
fn every_schema_is_declared() {
    // The rules for drivers have facts of their own.
    let mut kb = KnowledgeBase::with_boot_rules();
    for schema in SCHEMAS {
        let args = vec!["_"; schema.arguments.len()].join(",");
        let query = std::format!("{}({args})", schema.name);
        assert!(
            kb.first(&query).unwrap().is_none(),
            "{query} fails without facts"
        );
    }
}

#[test]
fn one_core_without_anything() {
    let mut kb = machine(&[(0, 0)], &[]);
    assert_eq!(order(&mut kb), Vec::<i64>::new());
    assert_eq!(tree(&mut kb), BTreeMap::from([(0, vec![])]));
    assert_eq!(all(&mut kb, "boot_parent(0, P)"), [""; 0]);
    assert_eq!(
        all(&mut kb, "home_node(0, N)"),
        [""; 0],
        "there is no memory"
    );
    let mut none = machine(&[], &[0]);
    assert_eq!(all(&mut none, "boot_order(L)"), [""; 0]);
    assert_eq!(all(&mut none, "boot_tree(P, C)"), [""; 0]);
}

#[test]
fn boot_order_goes_by_distance_then_id() {
    // Default distances: the own node first.
    let mut kb = machine(&[(0, 1), (1, 0), (2, 1), (3, 0)], &[0, 1]);
    assert_eq!(order(&mut kb), [2, 1, 3]);
    // Node 2 is nearer to node 0 than node 1.
    let mut kb = machine(
        &[(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)],
        &[0, 1, 2],
    );
    distances(&mut kb, &[&[10, 30, 20], &[30, 10, 20], &[20, 20, 10]]);
    assert_eq!(order(&mut kb), [3, 2, 5, 1, 4]);
    // From another boot core's place.
    kb.consult("boot_core(4).").unwrap();
    assert_eq!(order(&mut kb), [1, 2, 5, 0, 3]);
    // A boot core that isn't there counts as none.
    let mut kb = machine(&[(3, 0), (5, 0)], &[0]);
    kb.consult("boot_core(4).").unwrap();
    assert_eq!(order(&mut kb), [5]);
}

#[test]
fn distances_default_by_direction_and_kind() {
    let mut kb = machine(&[], &[]);
    kb.consult("distance(0, 1, 21). distance(1, 0, 31). distance(0, 2, 15).")
        .unwrap();
    assert_eq!(
        all(
            &mut kb,
            "member(A-B, [0-1, 1-0, 0-2, 2-0, 1-2, 1-1]), node_distance(A, B, D)"
        ),
        [
            "A=0 B=1 D=21",
            "A=1 B=0 D=31",
            "A=0 B=2 D=15",
            "A=2 B=0 D=15",
            "A=1 B=2 D=20",
            "A=1 B=1 D=10"
        ]
    );
}

#[test]
fn cores_that_cannot_start_are_left_out() {
    let mut kb = machine(&blocks(8, 2), &[0, 1]);
    for (id, state) in [(1, "failed"), (4, "disabled"), (2, "running")] {
        kb.assert_fact(&CoreState { id, state }).unwrap();
    }
    for (id, method) in [(0, "none"), (5, "none"), (6, "psci")] {
        kb.assert_fact(&CoreStart {
            id,
            method,
            release: 0,
        })
        .unwrap();
    }
    // The boot core runs, whatever its start method.
    assert_eq!(order(&mut kb), [2, 3, 6, 7]);
    let tree = tree(&mut kb);
    assert_eq!(
        tree,
        BTreeMap::from([
            (0, vec![6, 2, 3]),
            (2, vec![]),
            (3, vec![]),
            (6, vec![7]),
            (7, vec![]),
        ])
    );
    assert_eq!(all(&mut kb, "boot_parent(5, P)"), [""; 0]);
    assert_eq!(all(&mut kb, "boot_tree(5, C)"), [""; 0]);
}

#[test]
fn the_tree_of_a_small_machine() {
    let mut kb = machine(&blocks(8, 1), &[0]);
    assert_eq!(
        tree(&mut kb),
        BTreeMap::from([
            (0, vec![1, 2, 3, 4]),
            (1, vec![5, 6, 7]),
            (2, vec![]),
            (3, vec![]),
            (4, vec![]),
            (5, vec![]),
            (6, vec![]),
            (7, vec![]),
        ])
    );
    assert_eq!(all(&mut kb, "boot_parent(7, P)"), ["P=1"]);
    assert_eq!(all(&mut kb, "boot_tree(1, Cs)"), ["Cs=[5,6,7]"]);
    assert_eq!(
        all(&mut kb, "overlay_parent(5, P), overlay_tree(P, Cs)"),
        ["P=1 Cs=[5,6,7]"]
    );
    assert_eq!(all(&mut kb, "boot_parent(C, 1)"), ["C=5", "C=6", "C=7"]);
    assert_eq!(all(&mut kb, "boot_tree(1, [5|_])"), [""]);
    assert_eq!(all(&mut kb, "boot_tree(1, [])"), [""; 0]);
    assert_eq!(
        all(&mut kb, "boot_parent(0, P) ; boot_parent(99, P)"),
        [""; 0]
    );
}

#[test]
fn near_nodes_are_reached_first() {
    // Four nodes in a line: 0 - 1 - 2 - 3, the boot core in node 2.
    let mut kb = machine(&blocks(16, 4), &[0, 1, 2, 3]);
    distances(
        &mut kb,
        &[
            &[10, 20, 30, 40],
            &[20, 10, 20, 30],
            &[30, 20, 10, 20],
            &[40, 30, 20, 10],
        ],
    );
    kb.consult("boot_core(9).").unwrap();
    let tree = tree(&mut kb);
    // Node 2 is led by the boot core, then come 1 and 3, then 0.
    assert_eq!(tree[&9], [4, 12, 8, 10]);
    assert_eq!(tree[&4], [0, 5, 6, 7]);
    assert_eq!(tree[&8], [11]);
    assert_eq!(tree[&0], [1, 2, 3]);
    assert_eq!(tree[&12], [13, 14, 15]);
}

#[test]
fn memory_is_taken_where_it_is_nearest() {
    // Node 1 has cores and no memory, node 2 memory and no cores.
    let mut kb = machine(&[(0, 0), (7, 1)], &[0, 2, 3]);
    distances(
        &mut kb,
        &[
            &[10, 40, 20, 30],
            &[40, 10, 15, 12],
            &[20, 15, 10, 20],
            &[30, 12, 20, 10],
        ],
    );
    kb.assert_fact(&Memory {
        base: 0,
        size: 0,
        node: 1,
    })
    .unwrap();
    assert_eq!(all(&mut kb, "nearest_memory(1, L)"), ["L=[3,2,0]"]);
    assert_eq!(all(&mut kb, "nearest_memory(0, L)"), ["L=[0,2,3]"]);
    assert_eq!(all(&mut kb, "home_node(C, N)"), ["C=0 N=0", "C=7 N=3"]);
    assert_eq!(
        all(&mut kb, "ring_node(0, 7, N), ring_node(7, 0, M)"),
        ["N=3 M=0"]
    );
    assert_eq!(
        all(&mut kb, "ring_node(0, 8, N) ; ring_node(8, 0, N)"),
        [""; 0]
    );
    // Without distances: by id, the own node before all.
    let mut kb = machine(&[(0, 2), (1, 5)], &[4, 2, 1]);
    assert_eq!(all(&mut kb, "nearest_memory(2, L)"), ["L=[2,1,4]"]);
    assert_eq!(all(&mut kb, "home_node(C, N)"), ["C=0 N=2", "C=1 N=1"]);
}

#[test]
fn an_own_node_as_far_as_others_comes_first() {
    let mut kb = machine(&[(0, 1)], &[0, 1]);
    distances(&mut kb, &[&[10, 10], &[10, 10]]);
    assert_eq!(all(&mut kb, "nearest_memory(1, L)"), ["L=[1,0]"]);
}

#[test]
fn only_what_mentions_drivers_needs_their_rules() {
    use crate::{DRIVER_RULES, DRIVERS};
    use alloc::string::ToString as _;
    let mut boot = KnowledgeBase::with_boot_rules();
    let heads = |kb: &mut KnowledgeBase| {
        let (clauses, _held) = kb.read_program_as(kb.system(), DRIVERS).unwrap();
        let heads = clauses.iter().map(|clause| clause.term.to_string());
        heads.collect::<Vec<_>>()
    };
    let heads = heads(&mut boot);
    assert!(heads.len() > 20);
    for clause in heads {
        let clause = clause.trim_start_matches(":-(");
        assert!(clause.starts_with(DRIVER_RULES), "{clause}");
    }
    assert_eq!(all(&mut boot, "driver(_, _, _)").len(), 0);
    boot.consult(DRIVERS).unwrap();
    assert!(all(&mut boot, "driver(_, _, _)").len() > 5);
}

#[test]
fn the_most_specific_driver_wins() {
    let mut kb = KnowledgeBase::with_rules();
    let compatible = vec![String::from("acme,uart-2"), String::from("arm,pl011")];
    kb.assert_fact(&Device {
        path: "/uart@9000000".into(),
        compatible,
    })
    .unwrap();
    let mut driver = |compatible: &str, module: &str, priority| {
        let (compatible, module) = (compatible.into(), module.into());
        kb.assert_fact(&Driver {
            compatible,
            module,
            priority,
        })
        .unwrap();
    };
    driver("arm,pl011", "pl011", 0);
    driver("acme,uart-2", "acme_slow", 5);
    driver("acme,uart-2", "acme", 1);
    assert_eq!(all(&mut kb, "driver_for('/uart@9000000', M)"), ["M=acme"]);
    assert_eq!(all(&mut kb, "driver_for('/other', M)"), [""; 0]);
}

#[test]
fn an_address_too_large_for_a_fact_is_an_error() {
    let mut kb = KnowledgeBase::with_rules();
    let fact = Memory {
        base: 1 << 63,
        size: 1,
        node: 0,
    };
    let error = kb.assert_fact(&fact).unwrap_err();
    let term = alloc::string::ToString::to_string(&error.term());
    assert_eq!(term, "error(representation_error(max_integer),_0)");
}

/// Checks a tree against what it promises; gives its depth.
fn check_tree(kb: &mut KnowledgeBase, cores: &[(u64, u64)], boot: i64) -> usize {
    let tree = tree(kb);
    let expected: BTreeSet<i64> = cores.iter().map(|(id, _)| *id as i64).collect();
    let node: BTreeMap<i64, u64> = cores.iter().map(|(id, n)| (*id as i64, *n)).collect();
    assert_eq!(
        tree.keys().copied().collect::<BTreeSet<_>>(),
        expected,
        "parents"
    );
    let mut parent: BTreeMap<i64, i64> = BTreeMap::new();
    for (from, children) in &tree {
        assert!(children.len() <= 4, "{from} starts {children:?}");
        for child in children {
            assert_eq!(
                parent.insert(*child, *from),
                None,
                "{child} is started twice"
            );
        }
    }
    assert!(!parent.contains_key(&boot));
    assert_eq!(parent.len() + 1, cores.len());
    // A link between nodes joins leaders, and a node has one.
    let mut leaders: BTreeMap<u64, i64> = BTreeMap::from([(node[&boot], boot)]);
    for (child, from) in &parent {
        if node[child] != node[from] {
            assert_eq!(
                leaders.insert(node[child], *child),
                None,
                "two ways into a node"
            );
        }
    }
    for (child, from) in &parent {
        if node[child] != node[from] {
            assert_eq!(leaders.get(&node[from]), Some(from));
        }
    }
    for (n, leader) in &leaders {
        let first = cores
            .iter()
            .filter(|(_, m)| m == n)
            .map(|(id, _)| *id as i64)
            .min();
        assert!(
            Some(*leader) == first || *leader == boot,
            "node {n} is led by {leader}"
        );
    }
    let depth = |core: &i64| {
        core::iter::successors(parent.get(core), |above| parent.get(above))
            .take(1000)
            .count()
    };
    let deepest = tree.keys().map(depth).max().unwrap_or(0);
    assert!(deepest < 1000, "a circle");
    deepest
}

/// What the rules promise: log2 of the nodes plus log4 of the largest node, and
/// one level as a leader has fewer children of its own.
fn depth_bound(cores: &[(u64, u64)]) -> usize {
    let mut sizes: BTreeMap<u64, usize> = BTreeMap::new();
    for (_, node) in cores {
        *sizes.entry(*node).or_default() += 1;
    }
    let nodes = sizes.len();
    let largest = sizes.values().max().copied().unwrap_or(1);
    let log = |base: usize, n: usize| (0..).find(|i| base.pow(*i) >= n).unwrap_or(0) as usize;
    log(2, nodes) + log(4, largest) + 1
}

#[test]
fn large_machines_stay_shallow_and_cheap() {
    for (cores, nodes, depth, most_steps) in [
        (256, 8, 6, 60_000),
        (512, 8, 6, 120_000),
        (512, 1, 5, 120_000),
        (64, 64, 6, 40_000),
    ] {
        let cores = blocks(cores, nodes);
        let mut kb = machine(&cores, &(0..nodes).collect::<Vec<_>>());
        let found = check_tree(&mut kb, &cores, 0);
        assert_eq!(found, depth, "{} cores, {nodes} nodes", cores.len());
        assert!(found <= depth_bound(&cores));
        let mut query = kb.query("findall(P-C, boot_tree(P, C), L)").unwrap();
        query.next(&mut kb).unwrap().unwrap();
        assert!(query.steps() < most_steps, "{} steps", query.steps());
        let mut query = kb.query("boot_order(L)").unwrap();
        query.next(&mut kb).unwrap().unwrap();
        assert!(query.steps() < most_steps, "{} steps", query.steps());
    }
}

/// `core_topology` for cores numbered through: `[sockets, clusters, cores, threads]`, of each one
/// how many the one before it has.
fn topology(shape: [u64; 4]) -> (KnowledgeBase, Vec<[u64; 4]>) {
    let [sockets, clusters, cores, threads] = shape;
    let count = sockets * clusters * cores * threads;
    let mut kb = machine(&blocks(count, 1), &[0]);
    let place = |id: u64| {
        let (core, thread) = (id / threads, id % threads);
        let (cluster, core) = (core / cores, core % cores);
        [cluster / clusters, cluster % clusters, core, thread]
    };
    let places: Vec<_> = (0..count).map(place).collect();
    for (id, [socket, cluster, core, thread]) in (0..).zip(places.iter().copied()) {
        kb.assert_fact(&CoreTopology {
            id,
            socket,
            cluster,
            core,
            thread,
        })
        .unwrap();
    }
    kb.consult(TOPOLOGY).unwrap();
    (kb, places)
}

/// Edges of the tree between sockets, clusters of one socket, and cores of one cluster.
fn crossings(kb: &mut KnowledgeBase, places: &[[u64; 4]]) -> [usize; 3] {
    let mut crossings = [0; 3];
    for (parent, children) in tree(kb) {
        for child in children {
            let at = |core: i64| places[usize::try_from(core).unwrap()];
            let (from, to) = (at(parent), at(child));
            let level = (0..3).find(|&level| from[level] != to[level]);
            level.into_iter().for_each(|level| crossings[level] += 1);
        }
    }
    crossings
}

#[test]
fn one_core_of_each_socket_and_cluster_is_started_from_another() {
    // As `qemu -smp 8,sockets=2,clusters=2,cores=2` has it.
    let (mut kb, _) = topology([2, 2, 2, 1]);
    let expected = [
        (0, vec![4, 2, 1]),
        (1, vec![]),
        (2, vec![3]),
        (3, vec![]),
        (4, vec![6, 5]),
        (5, vec![]),
        (6, vec![7]),
        (7, vec![]),
    ];
    assert_eq!(tree(&mut kb), BTreeMap::from(expected));
    // The boot core's own come first, whichever it is.
    kb.consult("boot_core(6).").unwrap();
    let of_boot = all(&mut kb, "boot_tree(6, Cs)");
    assert_eq!(of_boot, ["Cs=[0,4,7]"]);
    // One that takes no part is nobody's; its cluster has another leader.
    kb.consult("core_state(0, disabled).").unwrap();
    assert_eq!(all(&mut kb, "boot_tree(6, Cs)"), ["Cs=[1,4,7]"]);
    assert_eq!(
        all(&mut kb, "boot_tree(0, Cs) ; boot_parent(0, Cs)"),
        [""; 0]
    );
    // What is on several nodes goes by them.
    let (mut kb, _) = topology([1, 4, 1, 1]);
    kb.consult("core(9, 0x900, 1).").unwrap();
    assert_eq!(all(&mut kb, "boot_tree(0, Cs)"), ["Cs=[9,1,2,3]"]);
    // And what isn't divided as if there were no cpu-map.
    let (mut kb, _) = topology([1, 1, 8, 1]);
    assert_eq!(all(&mut kb, "boot_tree(0, Cs)"), ["Cs=[1,2,3,4]"]);
    assert_eq!(all(&mut kb, "boot_tree(1, Cs)"), ["Cs=[5,6,7]"]);
}

#[test]
fn large_topologies_stay_shallow_and_cheap() {
    for (shape, depth) in [
        ([2, 4, 32, 1], 6),
        ([2, 2, 64, 2], 7),
        ([1, 64, 4, 1], 7),
        ([4, 32, 4, 1], 8),
    ] {
        let (mut kb, places) = topology(shape);
        let found = check_tree(&mut kb, &blocks(places.len() as u64, 1), 0);
        assert!(found <= depth, "{shape:?}: {found}");
        let mut query = kb.query("findall(P-C, boot_tree(P, C), L)").unwrap();
        query.next(&mut kb).unwrap().unwrap();
        // It grows with the cores, and little with how they are divided.
        let most_steps = 1200 * places.len() as u64;
        assert!(
            query.steps() < most_steps,
            "{shape:?}: {} steps",
            query.steps()
        );
    }
}

#[test]
fn an_indexed_query_on_512_cores_is_a_handful_of_steps() {
    let mut kb = machine(&blocks(512, 8), &[0]);
    for (query, answers) in [
        ("core(417, M, N)", 1),
        ("core(C, 0x1a100, N)", 1),
        ("core(C, M, 3)", 64),
    ] {
        // Some before, so that the index is complete.
        for _ in 0..4 {
            assert!(kb.first(query).unwrap().is_some());
        }
        let mut query = kb.query(query).unwrap();
        let mut count = 0;
        while query.next(&mut kb).unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count, answers);
        assert!(query.steps() < 20 * answers, "{} steps", query.steps());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn trees_of_any_shape_keep_their_promises(
        cores in prop::collection::btree_map(0u64..1000, 0u64..9, 1..60),
        boot in any::<prop::sample::Index>(),
        far in prop::collection::vec((0u64..9, 0u64..9, 10u64..60), 0..30),
        named in any::<bool>(),
    ) {
        let cores: Vec<(u64, u64)> = cores.into_iter().collect();
        let mut kb = machine(&cores, &[0]);
        let boot = if named { cores[boot.index(cores.len())].0 } else { cores[0].0 };
        if named {
            kb.consult(&std::format!("boot_core({boot}).")).unwrap();
        }
        for (from, to, distance) in far {
            kb.assert_fact(&Distance { from, to, distance }).unwrap();
        }
        let depth = check_tree(&mut kb, &cores, boot as i64);
        prop_assert!(depth <= depth_bound(&cores), "{depth} > {}", depth_bound(&cores));

        // Asking for one core gives the same as the whole tree.
        let tree = tree(&mut kb);
        for (id, _) in &cores {
            let one = kb.first(&std::format!("boot_tree({id}, Cs)")).unwrap().unwrap().ints("Cs");
            prop_assert_eq!(one.as_ref(), tree.get(&(*id as i64)));
            let parent = kb.first(&std::format!("boot_parent({id}, P)")).unwrap();
            let parent = parent.and_then(|solution| solution.int("P"));
            let expected = tree.iter().find(|(_, cs)| cs.contains(&(*id as i64))).map(|(p, _)| *p);
            prop_assert_eq!(parent, expected);
        }

        let mut order = order(&mut kb);
        order.push(boot as i64);
        order.sort_unstable();
        prop_assert_eq!(order, cores.iter().map(|(id, _)| *id as i64).collect::<Vec<_>>());
    }

    #[test]
    fn trees_of_any_topology_cross_each_border_once(
        shape in (1u64..5, 1u64..6, 1u64..6, 1u64..4),
        boot in any::<prop::sample::Index>(),
        left_out in any::<prop::sample::Index>(),
    ) {
        let [sockets, clusters, cores, threads] = [shape.0, shape.1, shape.2, shape.3];
        let (mut kb, places) = topology([sockets, clusters, cores, threads]);
        let boot = boot.index(places.len());
        kb.consult(&std::format!("boot_core({boot}).")).unwrap();
        let ids = blocks(places.len() as u64, 1);
        check_tree(&mut kb, &ids, boot as i64);
        if sockets * clusters * threads > 1 {
            let expected = [
                sockets - 1,
                sockets * (clusters - 1),
                sockets * clusters * (cores - 1),
            ];
            prop_assert_eq!(crossings(&mut kb, &places).map(|count| count as u64), expected);
        }
        // A core that cpu-map doesn't name, and one that takes no part.
        let stranger = places.len() as u64;
        kb.assert_fact(&Core { id: stranger, mpidr: 1 << 32, node: 0 }).unwrap();
        let left_out = left_out.index(places.len());
        let mut ids = [ids, vec![(stranger, 0)]].concat();
        if left_out != boot {
            kb.consult(&std::format!("core_state({left_out}, disabled).")).unwrap();
            ids.remove(left_out);
        }
        check_tree(&mut kb, &ids, boot as i64);
        let tree = tree(&mut kb);
        for (id, _) in &ids {
            let one = kb.first(&std::format!("boot_tree({id}, Cs)")).unwrap().unwrap().ints("Cs");
            prop_assert_eq!(one.as_ref(), tree.get(&(*id as i64)));
        }
    }

    #[test]
    fn home_nodes_have_memory_and_none_is_nearer(
        cores in prop::collection::btree_map(0u64..100, 0u64..6, 1..10),
        memory in prop::collection::btree_set(0u64..6, 1..6),
        table in prop::collection::vec(prop::collection::vec(10u64..50, 6), 6),
    ) {
        let cores: Vec<(u64, u64)> = cores.into_iter().collect();
        let memory: Vec<u64> = memory.into_iter().collect();
        let mut kb = machine(&cores, &memory);
        let at = |from: u64, to: u64| {
            let row = table.iter().zip(0..).find(|(_, i)| *i == from).unwrap().0;
            if from == to { 10 } else { *row.iter().zip(0..).find(|(_, i)| *i == to).unwrap().0 }
        };
        for from in 0..6 {
            for to in 0..6 {
                kb.assert_fact(&Distance { from, to, distance: at(from, to) }).unwrap();
            }
        }
        for (id, node) in &cores {
            let home = kb.first(&std::format!("home_node({id}, N)")).unwrap().unwrap();
            let home = home.int("N").unwrap() as u64;
            prop_assert!(memory.contains(&home));
            prop_assert!(memory.iter().all(|other| at(*node, home) <= at(*node, *other)));
            prop_assert!(home == *node || !memory.contains(node));
        }
        let list = kb.first("nearest_memory(3, L)").unwrap().unwrap();
        let list = list.get("L").unwrap().elements().unwrap();
        let list: Vec<_> = list.into_iter().filter_map(TermRef::as_int).map(|n| n as u64).collect();
        prop_assert_eq!(list.iter().copied().collect::<BTreeSet<_>>(), memory.into_iter().collect());
        prop_assert!(list.is_sorted_by_key(|node| at(3, *node)));
    }
}
