//! Results as text: each function gives whole lines, each with its end.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};
use core::fmt::Write as _;

use capelin_abi::{CapAddress, ObjectType, Rights, syscall::KernelLeaf};
use capelin_interfaces::{
    devices::DeviceInfo,
    memory::{Held, MemoryStats},
    monitor::{CapabilityInfo, CoreInfo, CoreState, DomainId, DomainInfo, DomainState, PingStats},
    skb::Solution,
    system::{KernelMapping, KernelStats},
};

use crate::{
    machine::Machine,
    usage::{COMMANDS, Usage},
};

/// Columns, each as wide as its widest cell; numbers stand to the right.
#[must_use]
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cell = |row: &[String], column: usize| row.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().map(|row| cell(row, c).chars().count()).max())
        .map(|width| width.unwrap_or(0))
        .collect();
    // The first row is the heading, whatever it looks like.
    let is_number = |text: &str| text.starts_with(|c: char| c.is_ascii_digit()) || text == "-";
    let to_right: Vec<bool> = (0..columns)
        .map(|c| rows.iter().skip(1).all(|row| is_number(&cell(row, c))))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, width) in widths.iter().enumerate() {
            let cell = cell(row, column);
            // Writing to a String can't fail.
            let _ = if to_right[column] {
                write!(line, "{cell:>width$}  ")
            } else {
                write!(line, "{cell:<width$}  ")
            };
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(String::from).into()
}

/// Bytes, with a unit that leaves no more than four digits; one decimal where it isn't whole.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scale = 1u64;
    while unit + 1 < UNITS.len() && count / scale >= 1024 {
        unit += 1;
        scale <<= 10;
    }
    let tenths = count % scale * 10 / scale;
    match tenths {
        0 => format!("{} {}", count / scale, UNITS[unit]),
        _ => format!("{}.{tenths} {}", count / scale, UNITS[unit]),
    }
}

const fn core_state(state: CoreState) -> &'static str {
    match state {
        CoreState::Offline => "offline",
        CoreState::Starting => "starting",
        CoreState::Running => "running",
        CoreState::Failed => "failed",
    }
}

fn domain_state(state: DomainState) -> String {
    match state {
        DomainState::Runnable => "runnable".into(),
        DomainState::Blocked => "blocked".into(),
        DomainState::Stopped => "stopped".into(),
        DomainState::Exited(code) => format!("exited {code}"),
        DomainState::Faulted => "faulted".into(),
    }
}

/// One line a job: its number, its domain, its program, and how that is doing, if it is known.
#[must_use]
pub fn jobs(jobs: &[(u32, DomainId, &str, Option<&DomainInfo>)]) -> String {
    let mut rows = Vec::from([row(["job", "domain", "program", "state"])]);
    for (number, domain, program, info) in jobs {
        let state = info.map_or_else(|| "gone".into(), |info| domain_state(info.state));
        let number = format!("%{number}");
        rows.push(Vec::from([
            number,
            domain.to_string(),
            (*program).into(),
            state,
        ]));
    }
    table(&rows)
}

/// One line a core; `stats` holds for each what its CPU driver has counted, if it answered, and
/// the upcalls it made each second.
#[must_use]
pub fn cores(cores: &[(CoreInfo, Option<(KernelStats, u64)>)]) -> String {
    let mut rows = Vec::from([row(["core", "mpidr", "node", "state", "home", "upcalls/s"])]);
    for (core, stats) in cores {
        let (home, upcalls) = match stats {
            Some((stats, rate)) => (bytes(stats.home_bytes), rate.to_string()),
            None => ("-".into(), "-".into()),
        };
        rows.push(Vec::from([
            core.core.to_string(),
            format!("{:#x}", core.mpidr),
            core.node.to_string(),
            core_state(core.state).into(),
            home,
            upcalls,
        ]));
    }
    table(&rows)
}

/// One line a domain.
#[must_use]
pub fn domains(domains: &[DomainInfo]) -> String {
    let mut rows = Vec::from([row([
        "domain", "name", "state", "time", "upcalls", "memory",
    ])]);
    for domain in domains {
        rows.push(Vec::from([
            domain.id.to_string(),
            domain.name.clone(),
            domain_state(domain.state),
            format!(
                "{}.{:03} ms",
                domain.run_time_us / 1000,
                domain.run_time_us % 1000
            ),
            domain.upcalls.to_string(),
            bytes(domain.memory_bytes),
        ]));
    }
    table(&rows)
}

/// Where memory is: what [`memory`] tells.
#[derive(Clone, Copy, Debug)]
pub struct Accounts<'a> {
    /// What the memory service has, by node.
    pub nodes: &'a [(u32, MemoryStats)],
    /// What it wasn't handed.
    pub held: &'a [Held],
    /// The home memory of each core. The boot core's first is among `held`, all other home memory
    /// is given out by the service.
    pub cores: &'a [(CoreInfo, KernelStats)],
    /// What there is; `None` where that isn't known.
    pub machine: Option<&'a Machine>,
}

/// One line a node, then one line for each other use, then one line a core; at last, whether that is
/// all memory that the machine has, and to the byte what is free and what kernel objects take.
#[must_use]
pub fn memory(accounts: &Accounts<'_>) -> String {
    let mut rows = Vec::from([row(["node", "total", "given", "free", "largest", "pieces"])]);
    for (node, stats) in accounts.nodes {
        rows.push(Vec::from([
            node.to_string(),
            bytes(stats.total_bytes),
            bytes(stats.total_bytes.saturating_sub(stats.free_bytes)),
            bytes(stats.free_bytes),
            bytes(stats.largest_bytes),
            stats.allocations.to_string(),
        ]));
    }
    let mut text = table(&rows);
    let reserved = accounts.machine.map_or(0, Machine::reserved_bytes);
    let held = accounts.held.iter().map(|held| (&*held.name, held.bytes));
    let others: Vec<(&str, u64)> = held
        .chain([("reserved", reserved)].into_iter().filter(|one| one.1 > 0))
        .collect();
    rows = Vec::from([row(["besides", "total"])]);
    for &(name, count) in &others {
        rows.push(Vec::from([name.to_string(), bytes(count)]));
    }
    text.push_str(&table(&rows));
    rows = Vec::from([row(["core", "node", "home", "objects", "free"])]);
    for (core, stats) in accounts.cores {
        let node = accounts
            .machine
            .and_then(|machine| machine.node_of(stats.home_base));
        rows.push(Vec::from([
            core.core.to_string(),
            node.map_or_else(|| "-".into(), |node| node.to_string()),
            bytes(stats.home_bytes),
            bytes(stats.object_bytes),
            bytes(stats.home_bytes.saturating_sub(stats.object_bytes)),
        ]));
    }
    text.push_str(&table(&rows));
    let given = accounts.nodes.iter().map(|(_, stats)| stats.total_bytes);
    let told: u64 = given.chain(others.iter().map(|other| other.1)).sum();
    text.push_str(&match accounts.machine.map(Machine::total_bytes) {
        None => format!("{told} bytes; how much memory the machine has isn't known\n"),
        Some(all) if all == told => format!("all {all} bytes of the machine's memory\n"),
        Some(all) => format!("{told} of the machine's {all} bytes of memory\n"),
    });
    let free: u64 = accounts.nodes.iter().map(|node| node.1.free_bytes).sum();
    let objects: u64 = accounts.cores.iter().map(|core| core.1.object_bytes).sum();
    // Writing to a String can't fail.
    let _ = writeln!(text, "{free} bytes are free, {objects} are kernel objects");
    text
}

/// The letters of the rights, in the order of their bits; `-` for those that are missing.
fn rights(bits: u8) -> String {
    let rights = Rights::from_bits_truncate(bits);
    [
        (Rights::READ, 'r'),
        (Rights::WRITE, 'w'),
        (Rights::EXECUTE, 'x'),
        (Rights::GRANT, 'g'),
        (Rights::REVOKE, 'v'),
        (Rights::RETYPE, 't'),
    ]
    .map(|(right, letter)| if rights.contains(right) { letter } else { '-' })
    .iter()
    .collect()
}

/// One line a capability.
#[must_use]
pub fn capabilities(capabilities: &[CapabilityInfo]) -> String {
    let mut rows = Vec::from([row(["slot", "type", "rights", "owner", "base", "size"])]);
    for info in capabilities {
        let address = CapAddress(info.address);
        let kind = ObjectType::try_from(info.kind)
            .map_or_else(|raw| raw.to_string(), |kind| kind.name().into());
        rows.push(Vec::from([
            format!("{}.{}", address.l1(), address.l2()),
            kind,
            rights(info.rights),
            info.owner.to_string(),
            format!("{:#x}", info.base),
            format!("{:#x}", info.size),
        ]));
    }
    table(&rows)
}

/// One solution of a query.
#[must_use]
pub fn solution(solution: &Solution) -> String {
    if solution.bindings.is_empty() {
        return "true\n".into();
    }
    let bindings = solution.bindings.iter();
    let bindings: Vec<String> = bindings
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    format!("{}\n", bindings.join(", "))
}

/// The last line of a query's answer.
#[must_use]
pub fn solution_count(count: usize) -> String {
    match count {
        0 => "no\n".into(),
        1 => "1 solution\n".into(),
        _ => format!("{count} solutions\n"),
    }
}

/// The answer of a ping to `core`.
#[must_use]
pub fn ping(core: u16, stats: &PingStats) -> String {
    let figure = |ticks| format!("{} ns ({ticks} ticks)", stats.to_ns(ticks));
    let rounds = if stats.rounds == 1 { "round" } else { "rounds" };
    format!(
        "core {core}: {} {rounds}, min {}, median {}, p99 {}\n",
        stats.rounds,
        figure(stats.min_ticks),
        figure(stats.median_ticks),
        figure(stats.p99_ticks)
    )
}

/// One line a module.
#[must_use]
pub fn modules(modules: &[(String, u64)]) -> String {
    let mut rows = Vec::from([row(["module", "size"])]);
    rows.extend(
        modules
            .iter()
            .map(|(name, size)| Vec::from([name.clone(), bytes(*size)])),
    );
    table(&rows)
}

/// Leaves that go on where the one before ends, on both sides and with the same access, as one.
fn merged(leaves: &[KernelMapping]) -> Vec<KernelMapping> {
    let mut merged: Vec<KernelMapping> = Vec::new();
    for leaf in leaves {
        match merged.last_mut() {
            Some(last)
                if last.flags == leaf.flags
                    && last.virtual_address.checked_add(last.bytes)
                        == Some(leaf.virtual_address)
                    && last.physical_address.checked_add(last.bytes)
                        == Some(leaf.physical_address) =>
            {
                last.bytes = last.bytes.saturating_add(leaf.bytes);
            }
            _ => merged.push(*leaf),
        }
    }
    merged
}

/// One line for each run of leaves.
#[must_use]
pub fn kernel_map(leaves: &[KernelMapping]) -> String {
    let mut rows = Vec::from([row(["virtual", "physical", "size", "access"])]);
    for leaf in merged(leaves) {
        let flags = KernelLeaf::from_bits_truncate(leaf.flags);
        let mut access = String::from("r");
        for (flag, text) in [
            (KernelLeaf::WRITE, "w"),
            (KernelLeaf::EXECUTE, "x"),
            (KernelLeaf::DEVICE, " device"),
            (KernelLeaf::DOORBELL, " doorbell"),
        ] {
            access.push_str(if flags.contains(flag) { text } else { "" });
        }
        rows.push(Vec::from([
            format!("{:#x}", leaf.virtual_address),
            format!("{:#x}", leaf.physical_address),
            format!("{:#x}", leaf.bytes),
            access,
        ]));
    }
    table(&rows)
}

/// Bytes in hexadecimal, 32 a line.
#[must_use]
pub fn hexadecimal(all: &[u8]) -> String {
    let line = |line: &[u8]| -> String {
        let digits = line.iter().map(|byte| format!("{byte:02x}"));
        digits.chain([String::from("\n")]).collect()
    };
    all.chunks(32).map(line).collect()
}

/// The devices, one line each.
#[must_use]
pub fn devices(all: &[DeviceInfo]) -> String {
    let mut rows = Vec::from([row(["device", "driver", "state"])]);
    rows.extend(all.iter().map(|device| {
        Vec::from([
            device.path.clone(),
            device.driver.clone().unwrap_or_else(|| "none".to_string()),
            device.state.to_string(),
        ])
    }));
    table(&rows)
}

/// All commands, one line each.
#[must_use]
pub fn help() -> String {
    let rows: Vec<_> = COMMANDS
        .iter()
        .map(|usage| Vec::from([usage.to_string(), usage.summary.to_string()]))
        .collect();
    // No heading, so the table's first row is like all others.
    let mut text = table(&rows);
    text.push_str("; separates commands. Up and Down bring back earlier lines.\n");
    text
}

/// One command.
#[must_use]
pub fn help_for(usage: &Usage) -> String {
    format!("{usage}: {}\n", usage.summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::machine;
    use capelin_interfaces::monitor::DomainId;

    #[test]
    fn sizes_are_exact_or_rounded_down() {
        for (count, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.5 KiB"),
            (2 << 20, "2 MiB"),
            ((2 << 20) - 1, "1.9 MiB"),
            (1000 << 30, "1000 GiB"),
            (u64::MAX, "16777215.9 TiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn bytes_are_written_32_a_line() {
        assert_eq!(hexadecimal(&[]), "");
        assert_eq!(hexadecimal(&[0, 0xa5, 0xff]), "00a5ff\n");
        let expected = "07".repeat(32) + "\n" + "07" + "\n";
        assert_eq!(hexadecimal(&[7; 33]), expected);
    }

    #[test]
    fn devices_tell_their_driver_and_state() {
        use capelin_interfaces::devices::DeviceState;
        let device = |path: &str, driver: Option<&str>, state| DeviceInfo {
            path: path.into(),
            driver: driver.map(Into::into),
            state,
        };
        let text = devices(&[
            device("/gic@1", Some("irqd"), DeviceState::Running),
            device("/usb", None, DeviceState::NoDriver),
            device("/pm@2", Some("pm"), DeviceState::Exited { code: 3 }),
        ]);
        let expected = "device  driver  state\n\
                        /gic@1  irqd    running\n\
                        /usb    none    no driver\n\
                        /pm@2   pm      ended with 3\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn columns_line_up() {
        let core = |core, state| CoreInfo {
            core,
            mpidr: u64::from(core) << 8,
            node: 0,
            state,
            parent: 0,
            boot_time_us: 0,
        };
        let stats = KernelStats {
            home_bytes: 2 << 20,
            ..KernelStats::default()
        };
        let text = cores(&[
            (core(0, CoreState::Running), Some((stats, 1234))),
            (core(10, CoreState::Failed), None),
        ]);
        let expected = "\
core  mpidr  node  state     home  upcalls/s
   0    0x0     0  running  2 MiB       1234
  10  0xa00     0  failed       -          -
";
        assert_eq!(text, expected);
    }

    #[test]
    fn memory_in_no_row_is_told() {
        let stats = MemoryStats {
            total_bytes: 60 << 20,
            free_bytes: 50 << 20,
            largest_bytes: 50 << 20,
            allocations: 3,
        };
        let held = Held {
            name: "home of the boot core".into(),
            bytes: 3 << 20,
        };
        let core = CoreInfo {
            core: 0,
            mpidr: 0,
            node: 0,
            state: CoreState::Running,
            parent: 0,
            boot_time_us: 0,
        };
        let kernel = KernelStats {
            home_bytes: 4 << 20,
            object_bytes: 3 << 20,
            home_base: 0x4200_0000,
            ..KernelStats::default()
        };
        let memory = |bytes| {
            // The core's memory is another node's.
            let machine = machine(&[(0x4000_0000, bytes, 2)], &[(0x4000_0000, 1 << 20)]);
            let accounts = Accounts {
                nodes: &[(2, stats)],
                held: core::slice::from_ref(&held),
                cores: &[(core, kernel)],
                machine: Some(&machine),
            };
            memory(&accounts)
        };
        let expected = "\
node   total   given    free  largest  pieces
   2  60 MiB  10 MiB  50 MiB   50 MiB       3
besides                total
home of the boot core  3 MiB
reserved               1 MiB
core  node   home  objects   free
   0     2  4 MiB    3 MiB  1 MiB
";
        let all = "all 67108864 bytes of the machine's memory\n";
        let sums = "52428800 bytes are free, 3145728 are kernel objects\n";
        assert_eq!(memory(64 << 20), format!("{expected}{all}{sums}"));
        let some = "67108864 of the machine's 67112960 bytes of memory\n";
        assert_eq!(memory((64 << 20) + 4096), format!("{expected}{some}{sums}"));
    }

    #[test]
    fn a_query_ends_in_a_count() {
        let bindings = [("C", "0"), ("M", "0"), ("N", "0")];
        let found = Solution {
            bindings: bindings.map(|(n, v)| (n.into(), v.into())).into(),
        };
        assert_eq!(solution(&found), "C = 0, M = 0, N = 0\n");
        assert_eq!(solution(&Solution::default()), "true\n");
        assert_eq!(solution_count(8), "8 solutions\n");
        assert_eq!(solution_count(1), "1 solution\n");
        assert_eq!(solution_count(0), "no\n");
    }

    #[test]
    fn ping_tells_nanoseconds_and_ticks() {
        let stats = PingStats {
            rounds: 1000,
            min_ticks: 100,
            median_ticks: 125,
            p99_ticks: 1000,
            max_ticks: 9999,
            frequency_hz: 62_500_000,
        };
        assert_eq!(
            ping(7, &stats),
            "core 7: 1000 rounds, min 1600 ns (100 ticks), median 2000 ns (125 ticks), \
             p99 16000 ns (1000 ticks)\n"
        );
    }

    #[test]
    fn domains_capabilities_and_leaves_are_named() {
        let domain = DomainInfo {
            id: DomainId::new(3, 7),
            name: "hello".into(),
            state: DomainState::Exited(2),
            run_time_us: 1_234_005,
            upcalls: 9,
            memory_bytes: 4096,
        };
        let text = domains(&[domain]);
        let line = text.lines().nth(1).unwrap();
        assert_eq!(
            line,
            "   3.7  hello  exited 2  1234.005 ms        9   4 KiB"
        );
        let capability = CapabilityInfo {
            address: CapAddress::new(2, 5).0,
            kind: ObjectType::Frame as u8,
            rights: (Rights::READ | Rights::GRANT).bits(),
            owner: 0,
            base: 0x4000_0000,
            size: 0x1000,
        };
        let text = capabilities(&[capability]);
        assert!(text.contains(" 2.5  Frame  r--g--"), "{text}");
        let leaf = KernelMapping {
            virtual_address: 0xffff_0000_0000_0000,
            physical_address: 0x900_0000,
            bytes: 4096,
            flags: (KernelLeaf::WRITE | KernelLeaf::DEVICE).bits(),
        };
        assert!(kernel_map(&[leaf]).ends_with("rw device\n"));
        let next = |leaf: KernelMapping| KernelMapping {
            virtual_address: leaf.virtual_address + 4096,
            physical_address: leaf.physical_address + 4096,
            ..leaf
        };
        let other = KernelMapping {
            flags: 0,
            ..next(next(leaf))
        };
        let apart = KernelMapping {
            physical_address: 0,
            ..next(other)
        };
        let text = kernel_map(&[leaf, next(leaf), other, apart]);
        let sizes: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_ascii_whitespace().nth(2))
            .collect();
        assert_eq!(sizes, ["size", "0x2000", "0x1000", "0x1000"]);
    }

    #[test]
    fn help_names_every_command() {
        let text = help();
        for usage in COMMANDS {
            assert!(text.lines().any(|line| line.starts_with(usage.name)));
        }
    }
}
