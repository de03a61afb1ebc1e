//! Rules that a member's manifest and source files keep: lints, `forbid(unsafe_code)`, no kernel locks.

use std::path::Path;

use super::{Violation, errors, files_below, read, relative};
use crate::error::{Error, Result};
use crate::workspace::Package;

/// Members that hold unsafe code, in named modules; every other one forbids it.
const UNSAFE_MEMBERS: [&str; 11] = [
    "arch/aarch64",
    "cpudriver",
    "urpc",
    "lib/channels",
    "lib/resources",
    "lib/rt",
    "lib/sys",
    "lib/tasks",
    "images/boot",
    "images/uefi",
    "tests/harness",
];
/// Programs' entry points need an unsafe attribute, which the runtime's macro puts there: they deny (through the
/// workspace's lints) instead of forbidding, and have no unsafe block.
const PROGRAMS: [&str; 4] = ["usr/", "tests/", "monitor", "skb"];
/// Members in which a lock would be shared between cores or wait in a handler.
const LOCKLESS_MEMBERS: [&str; 3] = ["cpudriver", "cpudriver/core", "arch/aarch64"];
/// Words that mean a lock.
const LOCKS: [&str; 7] = [
    "Mutex",
    "RwLock",
    "SpinLock",
    "Spinlock",
    "TicketLock",
    "spin::lock_api",
    "spin::barrier",
];

/// Macros whose text holds unsafe code and which are expanded only where that may be: the crate they stand in forbids
/// it all the same.
const UNSAFE_MACROS: [&str; 1] = ["lib/abi/src/mmio.rs"];
/// Words that mean an access of which the compiler chooses the instruction: for device registers it must be a plain load
/// or store, so that a hypervisor can emulate it (`lib/abi/src/mmio.rs`).
const VOLATILE: [&str; 3] = [
    "read_volatile",
    "write_volatile",
    "tock_registers::registers",
];
/// Files that access memory so, and no device.
const VOLATILE_MEMORY: [&str; 8] = [
    "arch/aarch64/src/cache.rs",
    "arch/aarch64/src/guarded.rs",
    "arch/aarch64/src/spin_table.rs",
    "cpudriver/src/map.rs",
    "cpudriver/src/memory.rs",
    "images/boot/src/translation.rs",
    "lib/abi/src/mmio.rs",
    "tests/harness/src/fault.rs",
];

/// The rules that `package` breaks.
///
/// # Errors
/// If its files can't be read.
pub(super) fn package_violations(package: &Package) -> Result<Vec<Violation>> {
    let folder = relative(package.folder());
    let mut violations = Vec::new();
    let manifest = read(&package.manifest_path)?;
    if !opts_in_to_lints(&package.manifest_path, &manifest)? {
        let place = relative(&package.manifest_path);
        violations.push(Violation::new(
            place,
            "doesn't opt in to the workspace's lints",
        ));
    }
    for target in &package.targets {
        let kind = target.kind.first().map_or("", String::as_str);
        if matches!(kind, "lib" | "bin" | "proc-macro") {
            let place = relative(&target.src_path);
            violations.extend(match read(&target.src_path) {
                Ok(text) => root_violation(&folder, kind, &place, &text),
                Err(error) => Some(Violation::new(folder.clone(), error.to_string())),
            });
        }
    }
    let source = package.folder().join("src");
    if source.is_dir() {
        for file in files_below(&source, "rs")? {
            let (place, text) = (relative(&file), read(&file)?);
            violations.extend(file_violations(&folder, &place, &text));
            violations.extend(errors::violations(&place, &text));
        }
    }
    Ok(violations)
}

fn opts_in_to_lints(path: &Path, manifest: &str) -> Result<bool> {
    let table: toml::Table = toml::from_str(manifest)
        .map_err(|error| Error::Malformed(path.to_owned(), error.to_string()))?;
    let lints = table.get("lints").and_then(|lints| lints.get("workspace"));
    Ok(lints.and_then(toml::Value::as_bool) == Some(true))
}

/// A crate's root file must forbid unsafe code unless the layout lets it have some.
fn root_violation(folder: &str, kind: &str, place: &str, text: &str) -> Option<Violation> {
    let is_program = kind == "bin" && PROGRAMS.iter().any(|prefix| folder.starts_with(prefix));
    let is_exempt = UNSAFE_MEMBERS.contains(&folder) || is_program;
    let forbids = text
        .lines()
        .any(|line| line.trim() == "#![forbid(unsafe_code)]");
    (!is_exempt && !forbids).then(|| Violation::new(place, "doesn't forbid unsafe code"))
}

/// Locks in the kernel, unsafe blocks where there may be none, volatile accesses that may be a device's.
fn file_violations(folder: &str, place: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    // Tests put memory in the place of devices, and look at it as such.
    let mut is_test = false;
    for (number, line) in (1..).zip(text.lines()) {
        is_test |= line == "#[cfg(test)]";
        let code = line.split("//").next().unwrap_or(line);
        let at = || format!("{place}:{number}");
        if LOCKLESS_MEMBERS.contains(&folder) {
            for lock in LOCKS.iter().filter(|lock| code.contains(**lock)) {
                violations.push(Violation::new(
                    at(),
                    format!("{lock}: kernels have no locks (I2)"),
                ));
            }
        }
        let is_block =
            code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl");
        let is_tool = folder == "scripts/xtask";
        let may_be = UNSAFE_MEMBERS.contains(&folder) || UNSAFE_MACROS.contains(&place);
        let volatile = VOLATILE.iter().find(|word| code.contains(**word));
        if let Some(word) = volatile
            && !is_test
            && !is_tool
            && !VOLATILE_MEMORY.contains(&place)
        {
            let what = format!(
                "{word}: device registers are accessed by mmio_accessors! only; memory's files are listed"
            );
            violations.push(Violation::new(at(), what));
        }
        if is_block && !is_tool && !may_be {
            violations.push(Violation::new(
                at(),
                "unsafe code in a member that has none",
            ));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lints_must_be_those_of_the_workspace() {
        let opts_in = |manifest| opts_in_to_lints(Path::new("Cargo.toml"), manifest).unwrap();
        assert!(opts_in("[lints]\nworkspace = true\n"));
        assert!(!opts_in("[package]\nname = 'x'\n"));
        assert!(!opts_in("[lints]\nworkspace = false\n"));
        assert!(!opts_in("# [lints]\n# workspace = true\n"));
    }

    #[test]
    fn forbidding_is_told_from_talking_about_it() {
        let found = |folder, kind, text| root_violation(folder, kind, "lib.rs", text).is_some();
        assert!(!found(
            "lib/cap",
            "lib",
            "#![no_std]\n#![forbid(unsafe_code)]\n"
        ));
        assert!(found("lib/cap", "lib", "// #![forbid(unsafe_code)]\n"));
        assert!(found("monitor", "lib", "#![no_std]\n"));
        assert!(!found("monitor", "bin", "#![no_std]\n"));
        assert!(!found("cpudriver", "lib", "#![no_std]\n"));
    }

    #[test]
    fn locks_in_the_kernel_are_found() {
        let found = |folder, text: &str| file_violations(folder, "x.rs", text).len();
        assert_eq!(found("cpudriver", "use spin::Mutex;\n"), 1);
        assert_eq!(found("cpudriver", "static X: spin::RwLock<u8>;\n"), 1);
        assert_eq!(found("cpudriver", "use spin::Once; // no Mutex here\n"), 0);
        assert_eq!(found("usr/fish", "use std::sync::Mutex;\n"), 0);
    }

    #[test]
    fn accesses_that_may_be_a_devices_are_found() {
        let found = |place, text: &str| file_violations("arch/aarch64", place, text).len();
        let cells = "use tock_registers::registers::{ReadOnly, ReadWrite};\n";
        assert_eq!(found("arch/aarch64/src/gic/registers.rs", cells), 1);
        let volatile = "    unsafe { at.write_volatile(0) };\n";
        assert_eq!(found("arch/aarch64/src/console.rs", volatile), 1);
        assert_eq!(found("arch/aarch64/src/cache.rs", volatile), 0);
        let test = "#[cfg(test)]\nmod tests {\n    unsafe { at.write_volatile(0) };\n";
        assert_eq!(found("arch/aarch64/src/console.rs", test), 0);
    }

    #[test]
    fn unsafe_code_is_found_where_there_may_be_none() {
        let found = |folder, text: &str| file_violations(folder, "x.rs", text).len();
        assert_eq!(found("usr/fish", "unsafe { x() }\n"), 1);
        assert_eq!(found("usr/fish", "// unsafe { x() }\n"), 0);
        assert_eq!(found("lib/rt", "unsafe { x() }\n"), 0);
    }
}
