//! No tables make the translation panic, run for long or write a tree that
//! `capelin-dt` refuses: cut off, changed byte by byte and word by word with a checksum
//! that fits, put together at random, and made to be expensive.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each test program uses its own part")]
mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use capelin_acpi::root::{self, PhysicalMemory};
use capelin_acpi::{Descriptor, Error, Inputs, Tables, dump, translate};
use capelin_dt::{Machine, bootability};
use common::{
    Body, ENABLED, cache, gicc, madt, mcfg, pptt, processor, seal, server, slit, srat, srat_memory,
    table,
};
use proptest::prelude::{any, prop};
use proptest::test_runner::Config;
use proptest::{prop_assert, proptest};

/// Longest that one translation may take: told apart is only what doesn't end from what
/// does.
const LIMIT: Duration = Duration::from_secs(60);

/// Translates, and reads what comes of it.
fn survive(raw: &[Vec<u8>], inputs: &Inputs<'_>) -> Option<Machine> {
    let start = Instant::now();
    let mut tables = Tables::default();
    for bytes in raw {
        tables.add(bytes);
    }
    let machine = match translate(&tables, inputs) {
        Ok(translation) => {
            assert!(translation.blob.len() <= Error::MOST_BYTES);
            assert!(translation.findings.as_slice().len() <= 65);
            for finding in translation.findings.as_slice() {
                assert!(!finding.to_string().is_empty());
            }
            let machine = Machine::parse(&translation.blob).expect("a tree that is one");
            let _ = bootability(&machine).to_string();
            let _ = machine.usable_memory(&[]);
            Some(machine)
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            None
        }
    };
    assert!(start.elapsed() < LIMIT, "took {:?}", start.elapsed());
    machine
}

/// Calls `change` with a copy of each table, and with what makes a changed one's checksum
/// fit and translates the set with it.
fn with_each(set: &[Vec<u8>], mut change: impl FnMut(&mut Vec<u8>, &mut dyn FnMut(&mut Vec<u8>))) {
    for (index, original) in set.iter().enumerate() {
        let mut all = set.to_vec();
        let mut attempt = |table: &mut Vec<u8>| {
            seal(table);
            all[index].clone_from(table);
            survive(&all, &Inputs::default());
        };
        change(&mut original.clone(), &mut attempt);
    }
}

#[test]
fn every_cut() {
    with_each(&server(), |table, attempt| {
        for length in 0..table.len() {
            let mut cut = table[..length].to_vec();
            // One that doesn't admit it, now and then, and one that does.
            if length % 16 == 7 {
                attempt(&mut cut.clone());
            }
            if length >= 8 {
                let said = u32::try_from(length).unwrap();
                cut[4..8].copy_from_slice(&said.to_le_bytes());
                attempt(&mut cut);
            }
        }
    });
}

#[test]
fn every_byte() {
    with_each(&server(), |table, attempt| {
        for at in 36..table.len() {
            for value in [0xff, table[at] ^ 1] {
                let mut changed = table.clone();
                changed[at] = value;
                attempt(&mut changed);
            }
        }
    });
}

#[test]
fn every_word() {
    with_each(&server(), |table, attempt| {
        let size = u32::try_from(table.len()).unwrap();
        for at in (36..table.len() - 3).step_by(2) {
            for value in [36, size - 4, u32::MAX - 3] {
                let mut changed = table.clone();
                changed[at..at + 4].copy_from_slice(&value.to_le_bytes());
                attempt(&mut changed);
            }
        }
    });
}

proptest! {
    #![proptest_config(Config::with_cases(200))]

    /// Several lies at once, in several tables.
    #[test]
    fn several_lies(lies in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u8>()), 1..24)) {
        lie(&server(), &lies);
    }

    /// A table's name, and anything behind it.
    #[test]
    fn any_body(
        which in 0..11_usize,
        body in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        let name: [u8; 4] = server()[which][..4].try_into().unwrap();
        let mut set = server();
        set[which] = table(&name, body.first().copied().unwrap_or(0), &Body(body));
        survive(&set, &Inputs::default());
    }

    #[test]
    fn any_memory_map(
        map in prop::collection::vec((0..18_u32, 0..64_u64, 0..64_u64, any::<u64>()), 0..40),
        far in any::<[u64; 4]>(),
    ) {
        let mut descriptors: Vec<Descriptor> = map
            .iter()
            .map(|&(kind, base, pages, attributes)| Descriptor {
                kind,
                base: 0x8000_0000 + (base << 12),
                pages,
                attributes: attributes | 8,
            })
            .collect();
        descriptors.push(Descriptor { kind: 7, base: far[0], pages: far[1], attributes: 8 });
        descriptors.push(Descriptor { kind: 7, base: far[2] >> 8 & !0xfff, pages: far[3] >> 20, attributes: 8 });
        let inputs = Inputs { memory_map: Some(&descriptors), ..Inputs::default() };
        let machine = survive(&server(), &inputs).unwrap();
        // No page is given away that somebody has, or that no descriptor gives.
        for usable in machine.usable_memory(&[]) {
            let region = usable.region;
            for page in [region.base.0, region.end() - 0x1000] {
                let covering: Vec<_> = descriptors
                    .iter()
                    .filter(|one| {
                        let end = one.base.saturating_add(one.pages.saturating_mul(0x1000));
                        one.base <= page && page < end && end <= 1 << 52 && one.base % 0x1000 == 0
                    })
                    .collect();
                let is_free = |one: &&Descriptor| {
                    matches!(one.kind, 1..=4 | 7) && one.attributes >> 63 == 0
                        && one.attributes & 1 << 18 == 0
                };
                prop_assert!(covering.iter().any(is_free), "{page:#x}");
                let others = covering.iter().filter(|one| !matches!(one.kind, 11 | 12 | 14 | 15)
                    || one.attributes >> 63 != 0);
                prop_assert!(others.clone().all(is_free), "{page:#x}: {covering:?}");
            }
        }
    }

    #[test]
    fn any_text(text in "([A-Z]{0,5} @ 0x[0-9]{0,3}\n|    00[01][0-9A-F]:( [0-9A-F ]{2}){0,18}.{0,4}\n|.*\n){0,20}") {
        let tables = dump::tables(&text);
        survive(&tables, &Inputs::default());
    }

    /// Roots that lead anywhere.
    #[test]
    fn any_root(
        at in any::<[u64; 4]>(),
        lies in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6),
    ) {
        let mut memory = vec![0; 36];
        let mut addresses = Body::default();
        for table in server() {
            addresses = addresses.d(memory.len() as u64);
            memory.extend(table);
        }
        for address in at {
            addresses = addresses.d(address);
        }
        let list = memory.len() as u64;
        memory.extend(table(b"XSDT", 1, &addresses));
        memory[..8].copy_from_slice(b"RSD PTR ");
        memory[15] = 2;
        memory[24..32].copy_from_slice(&list.to_le_bytes());
        for (place, value) in lies {
            let place = usize::from(place) % memory.len();
            memory[place] = value;
        }
        for (field, end) in [(8, 20), (32, 36)] {
            memory[field] = 0;
            memory[field] = memory[..end].iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
        }
        if let Ok(tables) = root::tables(&Memory(&memory), 0) {
            let translation = translate(&tables, &Inputs::default()).unwrap();
            prop_assert!(Machine::parse(&translation.blob).is_ok());
        }
    }
}

struct Memory<'a>(&'a [u8]);

impl<'a> PhysicalMemory<'a> for Memory<'a> {
    fn bytes(&self, address: u64, length: usize) -> Option<&'a [u8]> {
        let at = usize::try_from(address).ok()?;
        self.0.get(at..at.checked_add(length)?)
    }
}

/// Puts lies (table, place, value) into a set, and translates it.
fn lie(set: &[Vec<u8>], lies: &[(u16, u16, u8)]) {
    let mut set = set.to_vec();
    let count = set.len();
    for &(which, place, value) in lies {
        let table = &mut set[usize::from(which) % count];
        if table.len() > 36 {
            let place = 36 + usize::from(place) % (table.len() - 36);
            table[place] = value;
            seal(table);
        }
    }
    survive(&set, &Inputs::default());
}

/// What takes much work for few bytes, at the longest that a table may be.
#[test]
fn expensive_tables() {
    const BYTES: usize = 4 << 20;
    let fill = |entry: &Body, space: usize| vec![entry.clone(); space / entry.0.len()];
    // Redistributors in one place, cores beyond counting, empty structures.
    let small = Body::default().b(&[0xff, 2]);
    for entry in [
        gicc(0, 0x100, ENABLED),
        common::gicr(0x1000_0000, 1),
        small.clone(),
    ] {
        survive(&[madt(&fill(&entry, BYTES - 100))], &Inputs::default());
    }
    let memory = srat_memory(0, 0x8000_0000, 0x1000, 1);
    survive(&[srat(&fill(&memory, BYTES - 100))], &Inputs::default());
    survive(&[slit(2000, &vec![10; 4_000_000])], &Inputs::default());
    survive(
        &[mcfg(&vec![(0x1000_0000, 0, 0, 0); BYTES / 16 - 4])],
        &Inputs::default(),
    );
    // Long chains of nodes and caches, with as many resources as fit, for all cores.
    let cores: Vec<Body> = (0..1024)
        .map(|uid| gicc(uid, u64::from(uid), ENABLED))
        .collect();
    let mut structures: Vec<Body> = Vec::new();
    let caches: Vec<u32> = (0..58).map(|index| 36 + 24 * index).collect();
    for index in 0..58_u32 {
        structures.push(cache(36 + 24 * ((index + 1) % 58), 1, 8));
    }
    let mut at = 36 + 24 * 58;
    let mut parent = 0;
    for _ in 0..14 {
        structures.push(processor(0, parent, 0, &caches));
        (parent, at) = (at, at + 20 + 4 * 58);
    }
    for uid in 0..1024 {
        structures.push(processor(2, parent, uid, &caches));
    }
    let (topology, _) = pptt(&structures);
    let machine = survive(&[madt(&cores), topology], &Inputs::default()).unwrap();
    assert_eq!(machine.cpus.len(), 1024);
    // As many mappings as a node holds, through as many SMMUs and hosts.
    let mut nodes = Body::default();
    let mappings = 3200;
    for index in 0..60_u32 {
        nodes = nodes
            .b(&[4])
            .h(u16::try_from(68 + 20 * mappings).unwrap())
            .b(&[0])
            .w(&[0, mappings, 68])
            .d(0x2b40_0000 + (u64::from(index) << 17))
            .zeros(44);
        for _ in 0..mappings {
            nodes = nodes.w(&[0, u32::MAX, 0, 48, 0]);
        }
    }
    let count = 60;
    let body = Body::default().w(&[count, 48, 0]).b(&nodes.0);
    let spaces: Vec<_> = (0..256_u64)
        .map(|index| (0x40_0000_0000 + (index << 20), 0, 0, 0))
        .collect();
    survive(
        &[table(b"IORT", 0, &body), mcfg(&spaces)],
        &Inputs::default(),
    );
    // A map of as many pieces as are read, all apart, and all taken.
    let map: Vec<Descriptor> = (0..20_000_u64)
        .map(|index| Descriptor {
            kind: if index % 2 == 0 { 7 } else { 6 },
            base: index << 14,
            pages: 1,
            attributes: 8,
        })
        .collect();
    let inputs = Inputs {
        memory_map: Some(&map),
        ..Inputs::default()
    };
    let machine = survive(&server(), &inputs).unwrap();
    assert!(machine.memory.len() > 10_000);
}

/// Recorded tables, changed in many places: rounds by `CAPELIN_ACPI_ROUNDS`.
#[test]
#[ignore = "needs tables that others wrote"]
fn recorded_tables_that_lie() {
    let rounds = std::env::var("CAPELIN_ACPI_ROUNDS");
    let rounds: u64 = rounds.map_or(40, |rounds| rounds.parse().unwrap());
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/acpi");
    let mut sets = 0;
    // SplitMix64: the same numbers each time.
    let mut state = 0_u64;
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    };
    for entry in std::fs::read_dir(folder).unwrap() {
        let set = entry.unwrap().path();
        if !set.is_dir() {
            continue;
        }
        let files = std::fs::read_dir(set).unwrap();
        let mut files: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
        files.sort();
        let tables: Vec<Vec<u8>> = files
            .iter()
            .map(|file| std::fs::read(file).unwrap())
            .collect();
        let read = tables
            .iter()
            .filter(|table| table[..4] != *b"DSDT" && table[..4] != *b"RSD ");
        let tables: Vec<Vec<u8>> = read.cloned().collect();
        for _ in 0..rounds {
            let count = random() % 16 + 1;
            let lies: Vec<_> = (0..count)
                .map(|_| {
                    let bits = random().to_le_bytes();
                    let half = |at: usize| u16::from_le_bytes([bits[at], bits[at + 1]]);
                    (half(0), half(2), bits[4])
                })
                .collect();
            lie(&tables, &lies);
        }
        sets += 1;
    }
    assert!(sets >= 10);
}
