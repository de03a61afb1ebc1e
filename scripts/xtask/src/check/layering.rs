//! No upward edges in the dependency graph.
//!
//! ```text
//! pure lib/* < arch < cpudriver/core < cpudriver, boot driver                     (kernel side)
//! pure lib/* < platforms < boot driver, tools
//! pure lib/* < urpc, sys < idc < interfaces, resources < tasks < channels < rt < spawn < monitor, skb < usr, tests
//!                                                                                              (user side)
//! ```
//! Kernel side and user side share the pure libraries only: so `cpudriver` never depends on `urpc`. The build tools may
//! use the pure libraries. Dependencies for tests only are free.

use super::Violation;
use crate::workspace::Package;

/// Where a member of the workspace stands. A normal dependency must stand lower, on the same side or in the pure part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    /// No hardware, no system calls, no unsafe code; runs on the host as well.
    Pure,
    /// What a platform declares: data.
    Platform,
    Kernel(u32),
    User(u32),
    /// Runs on the host.
    Tool,
}

/// The layer of the member at `folder` (from the workspace's root).
fn layer(folder: &str) -> Option<Layer> {
    Some(match folder {
        "lib/abi" | "lib/acpi" | "lib/archive" | "lib/cap" | "lib/dt" | "lib/pci" | "lib/peers"
        | "lib/platform" | "lib/report" | "lib/tree" | "lib/vspace" | "lib/wake" => Layer::Pure,
        "arch/aarch64" => Layer::Kernel(1),
        "cpudriver/core" => Layer::Kernel(2),
        "cpudriver" | "images/boot" => Layer::Kernel(3),
        "urpc" | "lib/idc-macros" | "lib/sys" => Layer::User(1),
        "lib/idc" => Layer::User(2),
        "lib/interfaces" | "lib/resources" => Layer::User(3),
        "lib/tasks" => Layer::User(4),
        "lib/channels" => Layer::User(5),
        "lib/rt" => Layer::User(6),
        "lib/spawn" => Layer::User(7),
        "monitor" | "skb" => Layer::User(8),
        "scripts/xtask" => Layer::Tool,
        _ if folder.starts_with("platforms/") => Layer::Platform,
        _ if folder.starts_with("usr/") || folder.starts_with("tests/") => Layer::User(9),
        // A new library stands where it is used, until it gets a line of its own: between idc and the services.
        _ if folder.starts_with("lib/") => Layer::User(7),
        _ if folder.starts_with("images/") => Layer::Kernel(3),
        _ => return None,
    })
}

/// Whether a member of layer `user` may depend on one of layer `used`.
fn allowed(user: Layer, used: Layer) -> bool {
    match (user, used) {
        // cargo refuses circles, so the pure libraries need no order among themselves. Programs share libraries, too.
        (_, Layer::Pure) | (Layer::User(9), Layer::User(9)) => true,
        (Layer::Kernel(user), Layer::Kernel(used)) | (Layer::User(user), Layer::User(used)) => {
            used < user
        }
        // The host runs the pure part of the services' libraries in its tools and tests.
        (Layer::Tool, Layer::User(_)) => true,
        // Recipes, and what the boot driver tries without a device tree.
        (Layer::Tool, Layer::Platform) => true,
        (Layer::Kernel(user), Layer::Platform) => user >= 3,
        _ => false,
    }
}

/// Edges that lead upwards or across, members that stand nowhere, and kernel locks let in through a feature.
pub(super) fn violations(packages: &[Package]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in packages {
        let folder = super::relative(package.folder());
        let Some(user) = layer(&folder) else {
            let what = "the architecture's layout has no such folder";
            violations.push(Violation::new(folder, what));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind.as_deref() == Some("dev") {
                continue;
            }
            if let Some(path) = &dependency.path {
                let used = layer(&super::relative(path));
                if !used.is_some_and(|used| allowed(user, used)) {
                    let what = format!("{} must not depend on {}", package.name, dependency.name);
                    violations.push(Violation::new(folder.clone(), what));
                }
            }
            let lock = dependency
                .features
                .iter()
                .find(|feature| *feature != "once");
            if let (Layer::Kernel(_), "spin", Some(lock)) = (user, dependency.name.as_str(), lock) {
                let what = format!("spin is here for one-time initialisation, not for {lock}");
                violations.push(Violation::new(folder.clone(), what));
            }
        }
    }
    violations
}

/// A package that isn't called as the scheme has it (`docs/000-overview.md`): programs of `usr/` and `tests/` as their
/// folder, everything else `capelin-…`.
pub(super) fn name_violation(package: &Package) -> Option<Violation> {
    let folder = super::relative(package.folder());
    let (parent, own) = folder.rsplit_once('/').unwrap_or(("", &folder));
    let name = package.name.as_str();
    let is_right = if layer(&folder) == Some(Layer::Tool) {
        name == own
    } else if package.has("bin") && (parent.starts_with("usr") || parent == "tests") {
        name == own || (parent == "tests" && name.strip_prefix("test-") == Some(own))
    } else {
        name.starts_with("capelin-")
    };
    let what = format!("{name} isn't called as the scheme of names has it");
    (!is_right).then(|| Violation::new(folder.clone(), what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Target, root};

    fn member(folder: &str, uses: &[(&str, Option<&str>)]) -> Package {
        let dependencies = uses.iter().map(|(path, kind)| Dependency {
            name: (*path).to_owned(),
            kind: kind.map(str::to_owned),
            path: Some(root().join(path)),
            features: vec![],
        });
        Package::for_test(folder, dependencies.collect())
    }

    fn count(folder: &str, uses: &str) -> usize {
        violations(&[member(folder, &[(uses, None)])]).len()
    }

    #[test]
    fn the_architectures_edges() {
        for (user, used) in [
            ("arch/aarch64", "lib/abi"),
            ("cpudriver", "arch/aarch64"),
            ("cpudriver", "cpudriver/core"),
            ("cpudriver/core", "arch/aarch64"),
            ("cpudriver", "lib/cap"),
            ("images/boot", "platforms/rpi4"),
            ("scripts/xtask", "platforms/rpi4"),
            ("platforms/rpi4", "lib/platform"),
            ("urpc", "lib/abi"),
            ("lib/idc", "urpc"),
            ("lib/rt", "lib/idc"),
            ("monitor", "lib/rt"),
            ("usr/fish", "lib/interfaces"),
            ("scripts/xtask", "lib/archive"),
        ] {
            assert_eq!(count(user, used), 0, "{user} on {used}");
        }
    }

    #[test]
    fn upward_and_sideways_edges_are_found() {
        for (user, used) in [
            ("cpudriver", "urpc"),
            ("cpudriver", "images/boot"),
            ("arch/aarch64", "cpudriver"),
            ("cpudriver/core", "cpudriver"),
            ("lib/abi", "urpc"),
            ("lib/cap", "arch/aarch64"),
            ("platforms/rpi4", "arch/aarch64"),
            ("cpudriver/core", "platforms/rpi4"),
            ("usr/fish", "platforms/rpi4"),
            ("urpc", "lib/idc"),
            ("lib/rt", "monitor"),
            ("monitor", "skb"),
            ("skb", "usr/fish"),
            ("usr/fish", "cpudriver"),
            ("usr/fish", "arch/aarch64"),
            ("lib/archive", "scripts/xtask"),
        ] {
            assert_eq!(count(user, used), 1, "{user} on {used}");
        }
    }

    #[test]
    fn tests_may_use_what_they_like_but_build_scripts_may_not() {
        let tests = member("lib/abi", &[("usr/fish", Some("dev"))]);
        assert_eq!(violations(&[tests]), []);
        let build = member("lib/abi", &[("usr/fish", Some("build"))]);
        assert_eq!(violations(&[build]).len(), 1);
    }

    #[test]
    fn members_outside_of_the_layout_are_found() {
        assert_eq!(violations(&[member("misc/tool", &[])]).len(), 1);
    }

    #[test]
    fn names_follow_the_scheme() {
        let is_wrong = |folder: &str, name: &str, kind: &str| {
            let mut package = Package::for_test(folder, vec![]);
            package.name = name.to_owned();
            package.targets = vec![Target {
                name: name.to_owned(),
                kind: vec![kind.to_owned()],
                src_path: root().join(folder),
            }];
            name_violation(&package).is_some()
        };
        for (folder, name, kind) in [
            ("lib/dt", "capelin-dt", "lib"),
            ("lib/idc-macros", "capelin-idc-macros", "proc-macro"),
            ("skb", "capelin-skb", "bin"),
            ("usr/fish", "fish", "bin"),
            ("usr/drivers/pl011", "pl011", "bin"),
            ("usr/drivers/console", "capelin-console", "lib"),
            ("tests/wild", "wild", "bin"),
            ("tests/kernel", "test-kernel", "bin"),
            ("tests/harness", "capelin-harness", "lib"),
            ("scripts/xtask", "xtask", "bin"),
        ] {
            assert!(!is_wrong(folder, name, kind), "{name}");
        }
        for (folder, name, kind) in [
            ("lib/dt", "dt", "lib"),
            ("skb", "skb-server", "bin"),
            ("usr/fish", "shell", "bin"),
            ("usr/fish", "test-fish", "bin"),
            ("usr/drivers/console", "console-driver", "lib"),
            ("tests/kernel", "kernel-tests", "bin"),
            ("tests/harness", "guest-harness", "lib"),
        ] {
            assert!(is_wrong(folder, name, kind), "{name}");
        }
    }

    #[test]
    fn kernel_locks_are_found() {
        let spin = |features: &[&str]| Dependency {
            name: "spin".to_owned(),
            kind: None,
            path: None,
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
        };
        let fine = Package::for_test("cpudriver", vec![spin(&["once"])]);
        assert_eq!(violations(&[fine]), []);
        let lock = Package::for_test("cpudriver", vec![spin(&["once", "mutex"])]);
        assert_eq!(violations(&[lock]).len(), 1);
    }
}
