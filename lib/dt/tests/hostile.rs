//! No bytes make the reader panic, run for long, or take much memory.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use std::time::{Duration, Instant};

use capelin_dt::validate::{MAX_DEPTH, MAX_NODES};
use capelin_dt::{DtError, Machine, bootability, early};
use common::{Builder, small};
use proptest::prelude::{Strategy, any, prop, prop_oneof};
use proptest::proptest;
use proptest::test_runner::Config;

/// Longest that one reading may take: told apart is only what doesn't end from what
/// does. How work grows is counted in `tests/large.rs`.
const LIMIT: Duration = Duration::from_secs(300);

/// Reads `blob` and everything that is derived from it.
fn read(blob: &[u8]) -> Result<Machine, DtError> {
    let start = Instant::now();
    let _ = early::header(blob);
    let machine = Machine::parse(blob);
    let hosts = capelin_dt::pcie_hosts(blob);
    for host in hosts.iter().flatten() {
        let _ = host.reachable_buses();
    }
    match &machine {
        Ok(machine) => {
            let _ = bootability(machine).to_string();
            let _ = machine.usable_memory(&[]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    machine
}

/// A small tree made here, and QEMU's.
fn samples() -> Vec<Vec<u8>> {
    // QEMU pads its blobs; what is in the padding is never looked at.
    let qemu = capelin_trees::qemu("gic-version=3", "-smp 4");
    vec![small().finish(), trim(qemu)]
}

/// Trees of boards that have much of their own.
fn boards() -> Vec<Vec<u8>> {
    let files = [
        "broadcom__bcm2711-rpi-4-b.dtb",
        "arm__fvp-base-revc.dtb",
        "hisilicon__hip07-d05.dtb",
        "apm__apm-mustang.dtb",
        "mediatek__mt6795-evb.dtb",
    ];
    files
        .map(|file| trim(capelin_trees::recorded("boards", file)))
        .into()
}

/// Cuts the padding after the last block off and corrects `totalsize`.
fn trim(mut blob: Vec<u8>) -> Vec<u8> {
    let header = early::header(&blob).unwrap();
    let strings = header.strings_offset + header.strings_size;
    let structure = header.structure_offset + header.structure_size.unwrap_or(0);
    let end = strings.max(structure);
    blob.truncate(end);
    blob[4..8].copy_from_slice(&u32::try_from(end).unwrap().to_be_bytes());
    blob
}

/// `cases` cases, or as many as `PROPTEST_CASES` asks for.
fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    }
}

/// Every length of the small tree, with and without `totalsize` following it.
#[test]
fn every_truncation_is_an_error() {
    let blob = small().finish();
    for length in 0..blob.len() {
        assert!(read(&blob[..length]).is_err(), "{length}");
        let mut cut = blob[..length].to_vec();
        if length >= 8 {
            cut[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        }
        assert!(read(&cut).is_err(), "{length}");
    }
}

/// Every single bit of the small tree.
#[test]
fn every_bit_flip_is_survived() {
    let mut blob = small().finish();
    for bit in 0..blob.len() * 8 {
        blob[bit / 8] ^= 1 << (bit % 8);
        let _ = read(&blob);
        blob[bit / 8] ^= 1 << (bit % 8);
    }
}

/// A change to a blob.
#[derive(Clone, Debug)]
enum Mutation {
    Flip(prop::sample::Index, u8),
    Word(prop::sample::Index, u32),
    Copy(prop::sample::Index, prop::sample::Index, usize),
    Truncate(prop::sample::Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let index = any::<prop::sample::Index>;
    // Words that mean something: tokens, small counts, sign bits.
    let word = prop_oneof![0..12_u32, any::<u32>(), proptest::strategy::Just(u32::MAX)];
    prop_oneof![
        4 => (index(), 0..8_u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        8 => (index(), word).prop_map(|(at, word)| Mutation::Word(at, word)),
        2 => (index(), index(), 1..64_usize).prop_map(|(a, b, n)| Mutation::Copy(a, b, n)),
        1 => index().prop_map(Mutation::Truncate),
    ]
}

fn apply(blob: &mut Vec<u8>, mutation: &Mutation) {
    if blob.len() < 4 {
        return;
    }
    match mutation {
        Mutation::Flip(at, bit) => {
            let at = at.index(blob.len());
            blob[at] ^= 1 << bit;
        }
        Mutation::Word(at, word) => {
            let at = at.index(blob.len() / 4) * 4;
            blob[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        Mutation::Copy(from, to, count) => {
            let (from, to) = (from.index(blob.len() / 4) * 4, to.index(blob.len() / 4) * 4);
            let count = (count * 4).min(blob.len() - from.max(to));
            blob.copy_within(from..from + count, to);
        }
        Mutation::Truncate(at) => blob.truncate(at.index(blob.len())),
    }
}

#[test]
fn mutated_trees_are_survived() {
    survives_mutations(&samples());
}

#[test]
#[ignore = "needs trees that others wrote"]
fn mutated_trees_of_boards_are_survived() {
    survives_mutations(&boards());
}

fn survives_mutations(samples: &[Vec<u8>]) {
    let plan = (0..samples.len(), prop::collection::vec(mutation(), 1..6));
    let config = config(1500);
    proptest!(config, |((sample, mutations) in plan)| {
        let mut blob = samples[sample].clone();
        for mutation in &mutations {
            apply(&mut blob, mutation);
        }
        let _ = read(&blob);
    });
}

/// One step of a random walk through the format: mostly well-formed.
#[derive(Clone, Debug)]
enum Step {
    Begin(usize),
    End,
    Property(usize, Vec<u32>),
    Token(u32),
}

const NODES: &[&str] = &[
    "cpus",
    "cpu@0",
    "memory@0",
    "soc",
    "chosen",
    "aliases",
    "timer",
    "psci",
    "reserved-memory",
    "gic",
    "cpu-map",
    "core0",
    "cluster0",
    "nexus",
];
const PROPERTIES: &[&str] = &[
    "reg",
    "ranges",
    "#address-cells",
    "#size-cells",
    "#interrupt-cells",
    "interrupts",
    "interrupts-extended",
    "interrupt-parent",
    "interrupt-map",
    "interrupt-map-mask",
    "interrupt-controller",
    "phandle",
    "next-level-cache",
    "compatible",
    "device_type",
    "size",
    "alignment",
    "alloc-ranges",
    "numa-node-id",
    "distance-matrix",
    "mbi-ranges",
    "cpu",
    "#redistributor-regions",
    "redistributor-stride",
    "status",
    "stdout-path",
];

fn step() -> impl Strategy<Value = Step> {
    let cells = prop::collection::vec(prop_oneof![0..6_u32, any::<u32>()], 0..12);
    prop_oneof![
        4 => (0..NODES.len()).prop_map(Step::Begin),
        3 => proptest::strategy::Just(Step::End),
        12 => (0..PROPERTIES.len(), cells).prop_map(|(name, cells)| Step::Property(name, cells)),
        1 => (0..11_u32).prop_map(Step::Token),
    ]
}

#[test]
fn random_token_streams_are_survived() {
    let config = config(3000);
    proptest!(config, |(steps in prop::collection::vec(step(), 0..120), wild in any::<bool>())| {
        let mut b = Builder::new();
        let mut depth = 1;
        let mut may_have_properties = true;
        for step in &steps {
            match step {
                Step::Begin(name) => {
                    b.begin(NODES[*name]);
                    depth += 1;
                    may_have_properties = true;
                }
                Step::End if depth > 1 => {
                    b.end();
                    depth -= 1;
                    may_have_properties = false;
                }
                Step::End => {}
                Step::Property(name, cells) if may_have_properties || wild => {
                    match PROPERTIES[*name] {
                        // Interesting strings; cells would never make one.
                        "compatible" => b.str("compatible", [
                            "arm,gic-v3", "arm,gic-400", "arm,armv8-timer", "arm,psci-1.0",
                            "numa-distance-map-v1", "arm,gic-v3-its",
                        ][cells.len() % 6]),
                        "device_type" => b.str("device_type", ["cpu", "memory"][cells.len() % 2]),
                        name => b.cells(name, cells),
                    };
                }
                Step::Property(..) => {}
                Step::Token(token) if wild => {
                    b.token(*token);
                }
                Step::Token(_) => {
                    b.token(4);
                }
            }
        }
        let machine = read(&b.finish());
        // What is well-formed is read, however little sense it makes.
        proptest::prop_assert!(wild || machine.is_ok() || depth > MAX_DEPTH, "{:?}", machine);
    });
}

#[test]
fn random_bytes_are_survived() {
    let config = config(2000);
    proptest!(config, |(bytes in prop::collection::vec(any::<u8>(), 0..400), header in any::<bool>())| {
        let mut bytes = bytes;
        if header && bytes.len() >= 40 {
            let total = u32::try_from(bytes.len()).unwrap();
            bytes[..8].copy_from_slice(&[&0xd00d_feed_u32.to_be_bytes()[..], &total.to_be_bytes()].concat());
            bytes[20..28].copy_from_slice(&[0, 0, 0, 17, 0, 0, 0, 16]);
            for offset in [8, 12, 16, 32, 36] {
                bytes[offset..offset + 3].fill(0);
            }
        }
        let _ = read(&bytes);
    });
}

/// Trees that are well-formed and as expensive as their size allows.
#[test]
fn malicious_trees_are_bounded() {
    // Many registers below a bus with many ranges, none of which fits.
    let mut b = Builder::new();
    let cells: Vec<u32> = (0..120_000).collect();
    b.begin("bus")
        .cells("#address-cells", &[1])
        .cells("#size-cells", &[1])
        .cells("ranges", &cells);
    b.begin("d")
        .str("compatible", "x")
        .cells("reg", &[u32::MAX; 120_000])
        .end();
    assert_eq!(read(&b.finish()), Err(DtError::TooComplex));

    // Many interrupts of a controller with a long path.
    let mut b = Builder::new();
    for _ in 0..3 {
        b.begin(&"long".repeat(50));
    }
    b.cells("#interrupt-cells", &[1]);
    b.begin("d")
        .str("compatible", "x")
        .cells("interrupts", &[0; 250_000])
        .end();
    assert_eq!(read(&b.finish()), Err(DtError::TooComplex));

    // Many interrupts through a long map that none of them is in.
    let mut b = Builder::new();
    let row = [1, 1, 7];
    b.cells("phandle", &[1])
        .cells("#interrupt-cells", &[1])
        .cells("#address-cells", &[0]);
    b.cells("interrupt-map", &row.repeat(50_000));
    b.begin("d")
        .str("compatible", "x")
        .cells("interrupts", &[9; 50_000])
        .end();
    assert_eq!(read(&b.finish()), Err(DtError::TooComplex));

    // Many interrupts of a controller with many properties, and of one with a
    // `compatible` as long as a novel.
    for novel in [false, true] {
        let mut b = Builder::new();
        b.cells("#interrupt-cells", &[1]);
        if novel {
            b.str("compatible", &"x".repeat(1_000_000));
        }
        for _ in 0..if novel { 1 } else { 60_000 } {
            b.flag("p");
        }
        b.flag("interrupt-controller");
        b.begin("d")
            .str("compatible", "x")
            .cells("interrupts", &[0; 200_000])
            .end();
        assert_eq!(read(&b.finish()), Err(DtError::TooComplex));
    }

    // So deep that to step over what is in a node, level by level, takes too long.
    let mut b = Builder::new();
    for _ in 0..60 {
        b.begin("d");
    }
    b.cells("large", &vec![0; 400_000]);
    assert_eq!(read(&b.finish()), Err(DtError::TooComplex));

    // As many nodes as there may be, and one more.
    let mut b = Builder::new();
    for _ in 1..MAX_NODES {
        b.begin("n").str("compatible", "x").end();
    }
    assert_eq!(
        read(&b.finish()).map(|machine| machine.devices.len()),
        Ok(MAX_NODES - 1)
    );
    b.begin("n").end();
    assert_eq!(read(&b.finish()), Err(DtError::TooManyNodes));
}

/// Parents, maps and aliases that lead in circles.
#[test]
fn circles_end() {
    let mut b = Builder::new();
    b.cells("phandle", &[1])
        .cells("interrupt-parent", &[1])
        .cells("#interrupt-cells", &[1])
        .cells("#address-cells", &[0])
        .cells("interrupt-map", &[3, 1, 3])
        .flag("interrupt-controller");
    b.begin("d")
        .str("compatible", "x")
        .cells("interrupts", &[3])
        .end();
    b.begin("aliases").str("a", "a").str("b", "/aliases").end();
    b.begin("chosen").str("stdout-path", "a").end();
    let machine = read(&b.finish()).unwrap();
    assert_eq!(machine.devices[0].interrupts[0].intid, None);
    assert_eq!(machine.console, None);
}
