//! The facts of recorded device trees, checked against what an independent
//! reader found in the same trees (`../shared/data/dtb/*.json`).

use capelin_dt::{Machine, Mpidr};
use capelin_skb::{KnowledgeBase, facts_from_machine, set_running_core};
use serde_json::Value;

fn knowledge(blob: &[u8]) -> Option<(KnowledgeBase, Machine)> {
    let machine = Machine::parse(blob).ok()?;
    let mut kb = KnowledgeBase::with_rules();
    facts_from_machine(&mut kb, &machine).expect("the facts of a board fit");
    Some((kb, machine))
}

fn count(kb: &mut KnowledgeBase, goal: &str) -> usize {
    let query = format!("findall(x, ({goal}), L), length(L, N)");
    let solution = kb.first(&query).unwrap_or_else(|e| panic!("{query}: {e}"));
    usize::try_from(solution.and_then(|s| s.int("N")).unwrap_or(-1)).unwrap_or(usize::MAX)
}

#[test]
#[ignore = "needs trees that others wrote"]
fn facts_agree_with_the_independent_reader() {
    let mut trees = 0;
    for set in ["qemu", "boards"] {
        let truths: Value =
            serde_json::from_str(&capelin_trees::facts(set)).expect("the list is JSON");
        for truth in truths.as_array().into_iter().flatten() {
            let file = truth["file"].as_str().unwrap_or_default();
            let blob = capelin_trees::recorded(set, file);
            let Some((mut kb, _)) = knowledge(&blob) else {
                panic!("{file}: not read")
            };
            let cpus = truth["cpus"].as_array().cloned().unwrap_or_default();
            assert_eq!(count(&mut kb, "core(_, _, _)"), cpus.len(), "{file}: cores");
            for (id, cpu) in cpus.iter().enumerate() {
                let mpidr = cpu["mpidr"].as_i64().unwrap_or(-1);
                assert_eq!(
                    count(&mut kb, &format!("core({id}, {mpidr}, _)")),
                    1,
                    "{file}: core {id}"
                );
            }
            // Each core that takes part is started exactly once.
            let takes_part = count(&mut kb, "boot_tree(_, _)");
            assert_eq!(
                count(&mut kb, "boot_parent(_, _)") + 1,
                takes_part,
                "{file}: tree"
            );
            let order = kb
                .first("boot_order(L), length(L, N)")
                .expect(file)
                .expect(file);
            assert_eq!(
                order.int("N"),
                i64::try_from(takes_part - 1).ok(),
                "{file}: order"
            );
            let total = kb
                .first("findall(S, memory(_, S, _), L), sum_list(L, T)")
                .expect(file);
            assert_eq!(
                total.and_then(|s| s.int("T")),
                truth["memory_total"].as_i64(),
                "{file}: memory"
            );
            trees += 1;
        }
    }
    assert!(trees >= 100, "{trees} trees");
}

#[test]
#[ignore = "needs trees that others wrote"]
fn a_numa_machine_boots_node_by_node() {
    let blob = capelin_trees::recorded("qemu", "virt-gic3-smp16-numa4-dist.dtb");
    let (mut kb, machine) = knowledge(&blob).expect("well formed");
    assert_eq!(count(&mut kb, "distance(_, _, _)"), 16);
    assert_eq!(count(&mut kb, "home_node(_, _)"), 16);
    let order = kb
        .first("boot_order(L)")
        .expect("no error")
        .and_then(|s| s.ints("L"));
    let order = order.expect("a list of ids");
    assert_eq!(order.len(), 15);
    let far: Vec<u32> = order
        .iter()
        .map(|id| {
            let node = machine.cpus[usize::try_from(*id).expect("an index")].numa;
            let home = machine.cpus[0].numa.expect("a node");
            machine
                .distances
                .distance(home, node.expect("a node"))
                .expect("a distance")
        })
        .collect();
    assert!(far.is_sorted(), "{far:?}");
    // Another core runs than the header says.
    let last = machine.cpus[15].mpidr;
    assert_eq!(set_running_core(&mut kb, &machine, last), Ok(true));
    let order = kb
        .first("boot_order(L), \\+ member(15, L), member(0, L)")
        .expect("no error");
    assert!(order.is_some());
    // A core that the tree doesn't have: it starts all that are there, and nobody it.
    assert_eq!(
        set_running_core(&mut kb, &machine, Mpidr(0xdead)),
        Ok(false)
    );
    let order = kb
        .first(
            "boot_core(16), core(16, 0xdead, 0), boot_order(L), length(L, 16), \\+ member(16, L)",
        )
        .expect("no error");
    assert!(order.is_some());
    let tree = kb.first("boot_tree(16, [_|_])").expect("no error");
    assert!(tree.is_some());
}

#[test]
fn devices_of_qemu_virt_have_registers_and_interrupts() {
    let blob = capelin_trees::qemu("gic-version=3", "-smp 4");
    let (mut kb, _) = knowledge(&blob).expect("well formed");
    let uart = "device(P, C), member('arm,pl011', C), device_reg(P, 0, 0x9000000, 0x1000), \
                device_irq(P, 0, I, T)";
    let solution = kb.first(uart).expect("no error").expect("a UART");
    // SPI 1 is INTID 33.
    assert_eq!(
        (solution.int("I"), solution.atom("T")),
        (Some(33), Some("level"))
    );
    assert_eq!(
        count(
            &mut kb,
            "device(P, ['virtio,mmio']), device_irq(P, 0, _, edge)"
        ),
        32
    );
    assert_eq!(count(&mut kb, "core_affinity(_, 0, 0, 0, _)"), 4);
    assert_eq!(count(&mut kb, "core_start(_, psci, 0)"), 4);
    // Cores have facts of their own.
    let cores = "core_type(_, T), device(_, T)";
    assert_eq!(count(&mut kb, cores), 0);
}

#[test]
#[ignore = "needs trees that others wrote"]
fn a_spin_table_board_keeps_its_release_addresses() {
    let blob = capelin_trees::recorded("qemu", "raspi4b-debian612-image.dtb");
    let (mut kb, _) = knowledge(&blob).expect("well formed");
    let solution = kb
        .first("findall(R, core_start(_, spin_table, R), L)")
        .expect("no error");
    assert_eq!(
        solution.and_then(|s| s.ints("L")),
        Some(vec![0xd8, 0xe0, 0xe8, 0xf0])
    );
    assert_eq!(count(&mut kb, "cache(_, 2, unified, 0x100000, 64, _)"), 1);
    assert_eq!(
        count(&mut kb, "core_cache(_, C), cache(C, 2, _, _, _, _)"),
        4
    );
}
