//! I1 across cores: kernels share nothing.
//!
//! Every CPU driver's own map is read (`kmap`), and every CPU driver tries to read every other's memory (`probe`, whose
//! load runs inside of that CPU driver). What two maps have in common may be doorbell pages, devices, and what nobody
//! writes: text and constants, which the cores of a node have in one place, and those of two nodes in two.

use super::session::Session;
use super::{Context, Outcome};
use crate::error::Result;

/// A piece of a CPU driver's map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Leaf {
    start: u64,
    end: u64,
    writable: bool,
    executable: bool,
    /// Doorbell page or device: what may be in several maps.
    shared: bool,
}

impl Leaf {
    fn meets(&self, other: &Self) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// Boots `cores` cores with `options` and asks all of them.
///
/// # Errors
/// If the image doesn't build, or QEMU can't be started.
pub(super) fn run(context: &Context, name: &str, cores: u32, options: &str) -> Result<Outcome> {
    let options = format!("--smp {cores} {options}");
    let mut session = Session::start(context, name, &options)?;
    Ok(match examine(&mut session, cores) {
        Ok((probes, failures)) if failures.is_empty() => Outcome::Passed(probes + 1),
        Ok((_, failures)) => Outcome::of(failures),
        Err(what) => Outcome::of(vec![what]),
    })
}

/// How many probes were made, and what was wrong.
fn examine(session: &mut Session, cores: u32) -> Result<(usize, Vec<String>), String> {
    session.until_prompt()?;
    let nodes: Vec<_> = session.ask("cores")?.lines().filter_map(node).collect();
    let mut maps = Vec::new();
    for core in 0..cores {
        let text = session.ask(&format!("kmap {core}"))?;
        let map: Vec<_> = text.lines().filter_map(leaf).collect();
        if map.iter().filter(|leaf| !leaf.shared).count() < 3 {
            return Err(format!("core {core} shows no map"));
        }
        maps.push(map);
    }
    let mut failures = overlaps(&maps);
    failures.extend(texts(&maps, &nodes));
    let mut probes = 0;
    for (by, _) in (0..cores).zip(&maps) {
        for (of, map) in (0..cores).zip(&maps) {
            // The linear map of home memory: the CPU driver reads it at physical address plus a constant.
            let home = map.iter().filter(|leaf| !leaf.shared);
            let Some(home) = home.max_by_key(|leaf| leaf.end - leaf.start) else {
                continue;
            };
            for address in [home.start, home.end - 8] {
                let answer = session.ask(&format!("probe {by} {address:#x}"))?;
                let faults = answer.contains("faults");
                if faults == (by == of) {
                    failures.push(format!("core {by} at core {of}'s {address:#x}: {answer}"));
                }
                probes += 1;
            }
        }
        // No kernel, not even the one in whose home memory it lies, reaches a text where it could write.
        for text in maps.iter().filter_map(|map| text(map)) {
            let answer = session.ask(&format!("probe {by} {text:#x}"))?;
            if !answer.contains("faults") {
                failures.push(format!("core {by} at the text {text:#x}: {answer}"));
            }
            probes += 1;
        }
    }
    Ok((probes, failures))
}

/// What two maps have in common and shouldn't, and what is writable and executable.
fn overlaps(maps: &[Vec<Leaf>]) -> Vec<String> {
    let mut failures = Vec::new();
    for (core, map) in maps.iter().enumerate() {
        for leaf in map {
            if leaf.writable && leaf.executable {
                failures.push(format!("core {core}: {leaf:x?} is writable and executable"));
            }
            if leaf.shared {
                continue;
            }
            for (other, theirs) in maps.iter().enumerate().filter(|(other, _)| *other != core) {
                // A doorbell page of ours lies in our image, between leaves: theirs of it meets none of them.
                let is_wrong =
                    |their: &&Leaf| leaf.meets(their) && (leaf.writable || their.writable);
                if let Some(met) = theirs.iter().find(is_wrong) {
                    failures.push(format!(
                        "core {core}'s {leaf:x?} is core {other}'s {met:x?}"
                    ));
                }
            }
        }
    }
    failures
}

/// Where a map's text begins.
fn text(map: &[Leaf]) -> Option<u64> {
    map.iter()
        .find(|leaf| leaf.executable)
        .map(|leaf| leaf.start)
}

/// What is wrong with where texts lie: on each node all in one place, on two nodes in two (`nodes` says by
/// core which it is on).
fn texts(maps: &[Vec<Leaf>], nodes: &[u64]) -> Vec<String> {
    if nodes.len() != maps.len() {
        return vec![format!(
            "{} of {} cores say which node they are on",
            nodes.len(),
            maps.len()
        )];
    }
    let mut failures = Vec::new();
    let at: Vec<_> = maps.iter().map(|map| text(map)).collect();
    for (core, (text, node)) in at.iter().zip(nodes).enumerate() {
        if text.is_none() {
            failures.push(format!("core {core} shows no text"));
        }
        for (other, (its, its_node)) in at.iter().zip(nodes).enumerate().take(core) {
            if (text == its) != (node == its_node) {
                failures.push(format!(
                    "cores {other} and {core}, on nodes {its_node} and {node}, have their texts at {its:x?} and {text:x?}"
                ));
            }
        }
    }
    failures
}

/// The node in a core's line of `cores`.
fn node(line: &str) -> Option<u64> {
    let words: Vec<_> = line.split_whitespace().collect();
    match words[..] {
        [_, _, node, "running", ..] => node.parse().ok(),
        _ => None,
    }
}

/// A line of `kmap`: virtual and physical address, size, access.
fn leaf(line: &str) -> Option<Leaf> {
    let mut words = line.split_whitespace();
    let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let _virtual_address = hex(words.next()?)?;
    let start = hex(words.next()?)?;
    let end = start.checked_add(hex(words.next()?)?)?;
    let access = words.next()?;
    Some(Leaf {
        start,
        end,
        writable: access.contains('w'),
        executable: access.contains('x'),
        shared: matches!(words.next(), Some("doorbell" | "device")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "\
        0xffff000040a45000  0x40a45000  0x3bb000  rw\r\n\
        0xffffffff80000000  0x40a00000   0x1b000  rx\r\n\
        0xffffffff80020000  0x40a20000    0x1000  rw doorbell\r\n\
        0xffffffff80200000   0x9000000    0x1000  rw device\r\n";

    fn map(text: &str) -> Vec<Leaf> {
        text.lines().filter_map(leaf).collect()
    }

    #[test]
    fn texts_are_shared_on_a_node_and_not_between_nodes() {
        let at = |start: u64| map(&format!("0xffffffff80000000 {start:#x} 0x1b000 rx"));
        let maps = [at(0x1000_0000), at(0x1000_0000), at(0x2000_0000)];
        assert!(texts(&maps, &[0, 0, 1]).is_empty());
        assert_eq!(texts(&maps, &[0, 0, 0]).len(), 2);
        assert_eq!(texts(&maps, &[0, 1, 1]).len(), 2);
        assert_eq!(texts(&maps, &[0, 0]).len(), 1);
        assert_eq!(texts(&[map("0x0 0x0 0x1000 rw")], &[0]).len(), 1);
    }

    #[test]
    fn nodes_of_cores() {
        assert_eq!(
            node("   7    0x7     1  running  2 MiB          4"),
            Some(1)
        );
        assert_eq!(node("core  mpidr  node  state     home"), None);
    }

    #[test]
    fn lines_of_the_map() {
        let map = map(FIRST);
        assert_eq!(map.len(), 4);
        assert_eq!((map[0].start, map[0].end), (0x40a4_5000, 0x40e0_0000));
        assert!(map[0].writable && !map[0].executable && !map[0].shared);
        assert!(map[1].executable && !map[1].writable);
        assert!(map[2].shared && map[3].shared);
        assert_eq!(leaf("virtual physical size access"), None);
    }

    #[test]
    fn sharing_is_found_and_doorbells_are_let_through() {
        let apart = "0xffff000050a45000 0x50a45000 0x1000 rw\n0xffffffff80401000 0x40a20000 0x1000 rw doorbell";
        assert!(overlaps(&[map(FIRST), map(apart)]).is_empty());
        let within = "0xffff000050a45000 0x40b00000 0x1000 r";
        assert_eq!(overlaps(&[map(FIRST), map(within)]).len(), 2);
        let text = "0xffffffff80000000 0x40a00000 0x1b000 rx";
        assert!(overlaps(&[map(FIRST), map(text)]).is_empty());
        let written = "0xffff000050a45000 0x40a00000 0x1000 rw";
        assert_eq!(overlaps(&[map(FIRST), map(written)]).len(), 2);
        let device = "0xffff000050a45000 0x40b00000 0x1000 rw device";
        assert_eq!(overlaps(&[map(FIRST), map(device)]).len(), 1);
        let both = "0xffff000050a45000 0x50b00000 0x1000 rwx";
        assert_eq!(overlaps(&[map(both)]).len(), 1);
    }
}
