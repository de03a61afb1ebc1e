//! The guest cases: one entry a behaviour, what it is booted with, what it is told, what must come of it.
//!
//! To add a case, add an entry to one of the lists; to add a behaviour, write a guest program that reports
//! `test NAME ... ok` for each of its tests, put an image of it into `tests/images.toml`, and add an entry that runs it.
//!
//! Long, since it is a table: all guest cases are looked up here.

use std::borrow::Cow;

use capelin_archive::{Archive, ModuleSpec};

/// How a guest must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// All its commands succeed and it powers off.
    Success,
    /// So many of its commands fail, and it powers off.
    Failures(u32),
    /// All its commands succeed, and it can't power off, but says why.
    StaysOn,
    /// It says that it can't go on (`capelin: fatal: …`).
    GivesUp,
}

/// Damage to a boot image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The archive is cut off.
    NoArchive,
    /// The second half of the archive is cut off.
    HalfArchive,
    /// A bit of the archive's directory is flipped.
    Directory,
    /// A bit in the middle of this module's data is flipped.
    Module(&'static str),
    /// The archive is sound and lacks this module.
    Missing(&'static str),
    /// The archive is sound, and this module is an ELF file for x86-64.
    OtherMachine(&'static str),
    /// The archive is sound, and the CPU driver's entry code has an undefined instruction where it first has vectors.
    Entry,
    /// The archive is sound, and the CPU driver calls firmware by SMC where it means HVC, and the other way round. (QEMU
    /// writes its own conduit into any tree that it is given.)
    OtherConduit,
}

impl Damage {
    /// Does the damage to `image`, whose archive starts at `archive`.
    ///
    /// # Errors
    /// If the image has no such module.
    pub(crate) fn apply(self, image: &mut Vec<u8>, archive: usize) -> Result<(), String> {
        let at = match self {
            Self::NoArchive => {
                image.truncate(archive);
                return Ok(());
            }
            Self::HalfArchive => {
                image.truncate(archive.midpoint(image.len()));
                return Ok(());
            }
            Self::Directory => archive + capelin_archive::HEADER_LEN + 8,
            Self::Module(name) => {
                let bytes = image.get(archive..).unwrap_or_default();
                let parsed = Archive::parse(bytes).map_err(|error| error.to_string())?;
                let module = parsed.find(name).ok_or(format!("has no module {name}"))?;
                archive + module.offset() + module.data().len() / 2
            }
            Self::Missing(name) => {
                return rewrite(image, archive, name, |module| {
                    (module.name != name).then_some(module)
                });
            }
            Self::Entry => {
                // msr vbar_el1, x0; isb; and UDF is 0.
                let vectors = [0xd518_c000_u32, 0xd503_3fdf].map(u32::to_le_bytes);
                return rewrite(image, archive, "cpudriver", |mut module| {
                    let data = &mut module.data;
                    if module.name == "cpudriver"
                        && let Some(at) = data
                            .windows(8)
                            .position(|it| *it == *vectors.as_flattened())
                        && let Some(next) = data.get_mut(at + 8..at + 12)
                    {
                        next.fill(0);
                    }
                    Some(module)
                });
            }
            Self::OtherConduit => {
                // hvc #0, smc #0.
                let [hvc, smc] = [0xd400_0002_u32, 0xd400_0003].map(u32::to_le_bytes);
                return rewrite(image, archive, "cpudriver", |mut module| {
                    if module.name == "cpudriver" {
                        for word in module.data.as_chunks_mut().0 {
                            *word = match *word {
                                it if it == hvc => smc,
                                it if it == smc => hvc,
                                other => other,
                            };
                        }
                    }
                    Some(module)
                });
            }
            Self::OtherMachine(name) => {
                return rewrite(image, archive, name, |mut module| {
                    // ELF header: e_machine at 18, EM_X86_64 = 62.
                    if module.name == name
                        && let Some(machine) = module.data.get_mut(18..20)
                    {
                        machine.copy_from_slice(&62_u16.to_le_bytes());
                    }
                    Some(module)
                });
            }
        };
        match image.get_mut(at) {
            Some(byte) => *byte ^= 0x10,
            None => return Err("is too short to be damaged there".to_owned()),
        }
        Ok(())
    }
}

/// Writes the archive anew, with what `change` makes of each module.
fn rewrite(
    image: &mut Vec<u8>,
    start: usize,
    name: &str,
    change: impl Fn(ModuleSpec) -> Option<ModuleSpec>,
) -> Result<(), String> {
    let bytes = image.get(start..).unwrap_or_default();
    let parsed = Archive::parse(bytes).map_err(|error| error.to_string())?;
    parsed.find(name).ok_or(format!("has no module {name}"))?;
    let modules = parsed.modules().filter_map(|module| {
        change(ModuleSpec {
            name: module.name().to_owned(),
            kind: module.kind(),
            uses_fp: module.uses_fp(),
            data: module.data().to_vec(),
        })
    });
    let archive = crate::image::archive(modules.collect()).map_err(|error| error.to_string())?;
    image.truncate(start);
    image.extend(archive);
    Ok(())
}

/// A device tree that tells other things than what is there: QEMU's own, changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeChange {
    /// QEMU's tree for so many cores, if not for those that there are.
    pub(crate) cores: Option<u32>,
    /// QEMU's tree for this version of the interrupt controller, if not for the one that there is.
    pub(crate) gic: Option<u32>,
    /// Text to be replaced wherever it stands, by as much other text.
    pub(crate) replace: &'static [(&'static str, &'static str)],
    /// MPIDRs for the cores, in the tree's order, in place of their own; none for no change.
    pub(crate) mpidrs: &'static [u32],
    /// Bytes that the tree has when it reaches the boot driver, thousands of devices more; none for no change. (QEMU adds
    /// some to any tree that it is given; that is counted in.)
    pub(crate) bytes: Option<usize>,
    /// Addresses of 4 KiB that are reserved: the first, the first that isn't any more, and their distance.
    pub(crate) reserved: Option<(u64, u64, u64)>,
}

impl TreeChange {
    /// Does the change to `tree`, and cuts off what QEMU puts behind it: a tree of more than 2 MiB is refused, and QEMU
    /// doubles what it is given.
    pub(crate) fn apply(self, tree: &mut Vec<u8>) {
        for (from, to) in self.replace {
            let (from, to) = (from.as_bytes(), to.as_bytes());
            for at in 0..tree.len() {
                if tree.get(at..).is_some_and(|rest| rest.starts_with(from))
                    && let Some(place) = tree.get_mut(at..at + to.len())
                {
                    place.copy_from_slice(to);
                }
            }
        }
        set_mpidrs(tree, self.mpidrs);
        let end = used_bytes(tree);
        tree.truncate(end);
        if let (Some(size), Ok(end)) = (tree.get_mut(4..8), u32::try_from(end)) {
            size.copy_from_slice(&end.to_be_bytes());
        }
    }
}

/// Where structure and strings of `tree` end (Devicetree Specification 5.2: offsets and sizes, big endian).
pub(crate) fn used_bytes(tree: &[u8]) -> usize {
    let word = |at: usize| {
        tree.get(at..at + 4)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map_or(0, u32::from_be_bytes)
    };
    let structure = word(8).saturating_add(word(36));
    let strings = word(12).saturating_add(word(32));
    structure.max(strings) as usize
}

/// Writes `mpidrs` into the one-cell `reg` of the nodes `cpu@…`, one after the other (Devicetree Specification 5.4).
fn set_mpidrs(tree: &mut [u8], mpidrs: &[u32]) {
    let word = |tree: &[u8], at: usize| {
        let bytes = tree.get(at..at + 4)?;
        <[u8; 4]>::try_from(bytes).ok().map(u32::from_be_bytes)
    };
    let text = |tree: &[u8], at: usize, wanted: &[u8]| {
        tree.get(at..).is_some_and(|rest| rest.starts_with(wanted))
    };
    let mut left = mpidrs.iter();
    let mut is_core = false;
    let mut at = word(tree, 8).unwrap_or(0) as usize;
    let strings = word(tree, 12).unwrap_or(0) as usize;
    while let Some(token) = word(tree, at) {
        at += 4;
        match token {
            1 => {
                is_core = text(tree, at, b"cpu@");
                let length = tree.iter().skip(at).take_while(|&&byte| byte != 0).count();
                at += (length + 1).next_multiple_of(4);
            }
            3 => {
                let bytes = word(tree, at).unwrap_or(0) as usize;
                let name = word(tree, at + 4).unwrap_or(0) as usize;
                at += 8;
                if is_core
                    && bytes == 4
                    && text(tree, strings + name, b"reg\0")
                    && let Some(mpidr) = left.next()
                    && let Some(value) = tree.get_mut(at..at + 4)
                {
                    value.copy_from_slice(&mpidr.to_be_bytes());
                }
                at += bytes.next_multiple_of(4);
            }
            2 | 4 => {}
            _ => return,
        }
    }
}

/// A guest case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestCase {
    /// Without the leading `qemu/`.
    pub(crate) name: &'static str,
    /// Options of `scripts/run`, separated by spaces.
    pub(crate) options: String,
    /// What the shell is told.
    pub(crate) exec: Option<Cow<'static, str>>,
    /// Kernel arguments.
    pub(crate) append: Option<&'static str>,
    pub(crate) expected: Expected,
    /// Pieces of lines that must be printed in this order; `*` stands for anything.
    pub(crate) patterns: Vec<&'static str>,
    /// Pieces of lines that must not be printed.
    pub(crate) forbidden: Vec<&'static str>,
    /// Tests that must be reported at least.
    pub(crate) least_tests: usize,
    pub(crate) timeout_s: u64,
    /// Pieces of lines, and how many lines must hold each.
    pub(crate) counts: Vec<(&'static str, usize)>,
    /// Commands that must print the same the last time as the first.
    pub(crate) steady: Vec<&'static str>,
    /// Seconds from the emulator's start to its end that it may take.
    pub(crate) within_s: Option<u64>,
    /// Seconds of the host's processors that the emulator may take, however busy the host is.
    pub(crate) processor_s: Option<u64>,
    /// The device tree, if not QEMU's for this machine.
    pub(crate) tree: Option<TreeChange>,
    /// Whether it runs with `--full` only.
    pub(crate) is_long: bool,
    pub(crate) damage: Option<Damage>,
}

impl GuestCase {
    /// A case that expects success within a minute and no panic.
    pub(crate) fn new(name: &'static str, options: impl Into<String>) -> Self {
        Self {
            name,
            options: options.into(),
            exec: None,
            append: None,
            expected: Expected::Success,
            patterns: vec![],
            forbidden: vec!["panic"],
            least_tests: 0,
            timeout_s: 60,
            counts: vec![],
            steady: vec![],
            within_s: None,
            processor_s: None,
            tree: None,
            is_long: false,
            damage: None,
        }
    }
}

/// Cores of a kind that isn't QEMU's, told by MIDR alone: what is done about their errata, and
/// at entry from EL0, is chosen and said, and the system runs that way.
fn cores() -> Vec<GuestCase> {
    let case = |name, cpu: &str, patterns: Vec<&'static str>| GuestCase {
        exec: Some("cores; run hello; dmesg 1".into()),
        patterns,
        counts: vec![(" running ", 2)],
        ..GuestCase::new(name, format!("--smp 2 --cpu {cpu}"))
    };
    vec![
        case(
            "cores/cortex-a53-r0p2",
            "cortex-a53,midr=0x410fd032",
            vec![
                "cpu 0: Cortex-A53 r0p2; erratum 824069, 826319, 827319: lines are dropped when they are cleaned; \
                 erratum 835769: nothing is done",
                "Cortex-A53 r0p2",
            ],
        ),
        case(
            "cores/neoverse-n1-r3p1",
            "neoverse-n1,midr=0x413fd0c1",
            vec![
                "cpu 0: Neoverse N1 r3p1; erratum 1542419: instructions are invalidated always; \
                 24 branches at each entry",
                "Neoverse N1 r3p1",
            ],
        ),
        case(
            "cores/cortex-a72",
            "cortex-a72",
            vec!["cpu 0: Cortex-A72 r0p3; 8 branches at each entry; open to Spectre-v2"],
        ),
        case(
            "cores/neoverse-v1",
            "neoverse-n1,midr=0x411fd401",
            vec!["cpu 0: Neoverse V1 r1p1; 32 branches at each entry"],
        ),
        case(
            "cores/neoverse-v2",
            "neoverse-n1,midr=0x410fd4f1",
            vec!["cpu 0: Neoverse V2 r0p1; 132 branches at each entry"],
        ),
    ]
}

/// All guest cases.
pub(crate) fn cases() -> Vec<GuestCase> {
    let mut cases = boots();
    cases.extend(cores());
    cases.extend(kernel());
    cases.extend(machines());
    cases.extend(programs());
    cases.extend(shell());
    cases.extend(bad_inputs());
    cases
}

/// Every kind of machine boots to the shell with all of its cores. In processor seconds, name, options, cores that run.
fn boots() -> Vec<GuestCase> {
    let boot =
        |(limit, name, options, cores): (u64, &'static str, &'static str, usize)| GuestCase {
            exec: Some("cores".into()),
            counts: vec![(" running ", cores)],
            processor_s: Some(limit),
            timeout_s: 5 * limit + 60,
            ..GuestCase::new(name, options)
        };
    let short = [
        // What the first milestone promises, plus two seconds to print and to power off.
        (5, "boot/default", "", 4),
        (5, "boot/one-core", "--smp 1", 1),
        (5, "boot/two-cores", "--smp 2", 2),
        (5, "boot/three-cores", "--smp 3", 3),
        (10, "boot/seven-cores", "--smp 7", 7),
        (10, "boot/gic2", "--gic 2", 4),
        (10, "boot/gic2-8-cores", "--gic 2 --smp 8", 8),
        (10, "boot/gic4", "--gic 4", 4),
        (10, "boot/el2", "--el2", 4),
        (10, "boot/el2-gic2", "--el2 --gic 2", 4),
        (10, "boot/cortex-a53", "--cpu cortex-a53", 4),
        (10, "boot/neoverse-n1", "--cpu neoverse-n1", 4),
        (10, "boot/max", "--cpu max", 4),
        (10, "boot/max-el2", "--cpu max --el2", 4),
        (10, "boot/16-cores", "--smp 16", 16),
        (10, "boot/two-nodes", "--smp 4 --numa 2", 4),
        (
            10,
            "boot/uneven-nodes",
            "--smp 4 --numa 0:mem=512M,cpus=0-2;1:mem=1G,cpus=3;2:mem=256M",
            4,
        ),
        (
            10,
            "boot/node-without-memory",
            "--smp 4 --numa 0:mem=1G,cpus=0-2;1:cpus=3",
            4,
        ),
        (10, "boot/256-MiB", "--mem 256M", 4),
        (10, "boot/16-GiB", "--mem 16G", 4),
        (60, "boot/icount", "--icount", 4),
        (25, "boot/64-cores", "--smp 64", 64),
    ];
    let long = [
        (10, "boot/gic2-2-cores", "--gic 2 --smp 2", 2),
        (10, "boot/gic2-7-cores-el2", "--gic 2 --smp 7 --el2", 7),
        (10, "boot/four-nodes", "--smp 8 --numa 4", 8),
        (25, "boot/64-cores-8-nodes", "--smp 64 --numa 8", 64),
        (25, "boot/64-cores-el2", "--smp 64 --el2", 64),
        (25, "boot/64-cores-max", "--smp 64 --cpu max", 64),
        (100, "boot/128-cores-two-gicr-regions", "--smp 128", 128),
        (100, "boot/256-cores", "--smp 256", 256),
        (100, "boot/256-cores-4-nodes", "--smp 256 --numa 4", 256),
        (120, "boot/icount-16-cores", "--icount --smp 16", 16),
    ];
    let long = long.into_iter().map(|entry| GuestCase {
        is_long: true,
        ..boot(entry)
    });
    short.into_iter().map(boot).chain(long).collect()
}

/// Machines on which something is missing or wrong: what works runs, and the rest is said.
fn machines() -> Vec<GuestCase> {
    let fatal = |name, options: &'static str, pattern| GuestCase {
        expected: Expected::GivesUp,
        patterns: vec![pattern],
        timeout_s: 30,
        ..GuestCase::new(name, options)
    };
    let tree = |replace| {
        Some(TreeChange {
            replace,
            ..TreeChange::default()
        })
    };
    let numbered = |mpidrs| {
        Some(TreeChange {
            mpidrs,
            ..TreeChange::default()
        })
    };
    let large = |bytes| {
        Some(TreeChange {
            bytes: Some(bytes),
            ..TreeChange::default()
        })
    };
    let all_four = |name| GuestCase {
        exec: Some("cores; echo still here".into()),
        patterns: vec!["still here"],
        forbidden: vec!["panic", "warning", "the device tree", "no such"],
        counts: vec![(" running ", 4)],
        ..GuestCase::new(name, "--smp 4")
    };
    let other_gic = |name, options, version, pattern| GuestCase {
        tree: Some(TreeChange {
            gic: Some(version),
            ..TreeChange::default()
        }),
        ..fatal(name, options, pattern)
    };
    vec![
        other_gic(
            "machine/gic3-in-the-tree-only",
            "--gic 2 --smp 2",
            3,
            "cannot start: interrupt controller: the device tree says GICv3, *the hardware ",
        ),
        other_gic(
            "machine/gic2-in-the-tree-only",
            "--gic 3 --smp 2",
            2,
            "cannot start: interrupt controller: the device tree says GICv2, *the hardware ",
        ),
        other_gic(
            "machine/gic2-in-the-tree-only-max-el2",
            "--gic 3 --smp 2 --cpu max --el2",
            2,
            "cannot start: interrupt controller: the device tree says GICv2, *the hardware ",
        ),
        GuestCase {
            // Firmware is called by an instruction that this machine doesn't know, or that EL2 has no answer to.
            exec: Some("cores; echo still here".into()),
            expected: Expected::StaysOn,
            patterns: vec![
                "core 1 (MPIDR 0x1) cannot be started: this machine cannot do that",
                "still here",
                "error: firmware refused",
            ],
            counts: vec![(" running ", 1), (" failed ", 1)],
            damage: Some(Damage::OtherConduit),
            ..GuestCase::new("machine/wrong-conduit", "--smp 2")
        },
        GuestCase {
            exec: Some("cores; echo still here".into()),
            expected: Expected::StaysOn,
            patterns: vec![
                "core 1 (MPIDR 0x1) cannot be started: this machine cannot do that",
                "still here",
                "error: firmware refused",
            ],
            counts: vec![(" running ", 1), (" failed ", 1)],
            damage: Some(Damage::OtherConduit),
            ..GuestCase::new("machine/wrong-conduit-el2", "--smp 2 --el2")
        },
        GuestCase {
            // With an EL3, HVC can't be switched off at EL2: it gets to the vectors there.
            exec: Some("cores; echo still here".into()),
            expected: Expected::StaysOn,
            patterns: vec![
                "core 1 (MPIDR 0x1) cannot be started: this machine cannot do that",
                "still here",
                "error: firmware refused",
            ],
            damage: Some(Damage::OtherConduit),
            ..GuestCase::new(
                "machine/wrong-conduit-el2-el3",
                "--smp 2 --el2 --cpu max --qemu-args -M secure=on",
            )
        },
        GuestCase {
            damage: Some(Damage::Entry),
            ..fatal(
                "machine/exception-at-entry",
                "",
                "fatal: CPU driver: exception before its own map: ESR 0x0000000002000000 PC 0x",
            )
        },
        GuestCase {
            tree: tree(&[("arm,gic-v3", "xyz,gic-v3")]),
            ..fatal("machine/no-interrupt-controller", "", "no GIC")
        },
        GuestCase {
            tree: tree(&[
                ("arm,armv8-timer", "xyz,armv8-timer"),
                ("arm,armv7-timer", "xyz,armv7-timer"),
            ]),
            ..fatal("machine/no-timer", "", "timer")
        },
        GuestCase {
            // The structure holds, but no node says which interrupts it has.
            tree: tree(&[("interrupts", "interrapts")]),
            ..fatal("machine/nonsense-tree", "", "capelin: fatal: cannot boot")
        },
        GuestCase {
            // The board has one UART, and no word says that it is the console.
            tree: tree(&[("stdout-path", "xtdout-path")]),
            exec: Some("cores; echo still here".into()),
            patterns: vec!["capelin: boot driver on", "still here"],
            counts: vec![(" running ", 2)],
            ..GuestCase::new("machine/no-stdout-path", "--smp 2")
        },
        GuestCase {
            // The boot core, MPIDR 0, stands second, as on an Altra.
            tree: numbered(&[1, 0, 3, 2]),
            exec: Some("cores; ping 0 10; oncore 2 hello; ping 3 10; echo still here".into()),
            patterns: vec!["hello from core 2", "still here"],
            counts: vec![(" running ", 4)],
            ..GuestCase::new("machine/boot-core-second", "--smp 4")
        },
        GuestCase {
            // The boot core stands nowhere, and MPIDR 0x10 isn't there.
            tree: numbered(&[1, 0x10, 3, 2]),
            exec: Some("cores; oncore 0 hello; echo still here".into()),
            patterns: vec!["core 1 (MPIDR 0x10)", "hello from core 0", "still here"],
            counts: vec![(" running ", 4)],
            ..GuestCase::new("machine/boot-core-nowhere", "--smp 4")
        },
        // As little memory as the boot driver accepts, and a tree that leaves too little of it. (With a small one, it
        // depends on who asks first whether the shell gets enough.)
        GuestCase {
            tree: large(1 << 20),
            ..fatal(
                "machine/16-MiB",
                "--smp 1 --mem 16M",
                "cannot boot: too little memory: ",
            )
        },
        GuestCase {
            exec: Some("cores; echo still here".into()),
            // How many fit depends on how large the programs are: some do, not all.
            patterns: vec![
                "core 15 (MPIDR 0xf) is left out: no memory",
                " running ",
                "still here",
            ],
            ..GuestCase::new(
                "machine/too-little-memory-for-all-cores",
                "--smp 16 --mem 40M",
            )
        },
        GuestCase {
            exec: Some("cores; echo still here".into()),
            patterns: vec!["core 4 (MPIDR 0x4)", "still here"],
            counts: vec![(" running ", 4), (" failed ", 1)],
            tree: Some(TreeChange {
                cores: Some(5),
                ..TreeChange::default()
            }),
            ..GuestCase::new("machine/a-core-that-is-not-there", "--smp 4")
        },
        GuestCase {
            tree: large(280 << 10),
            ..all_four("machine/280-KiB-tree")
        },
        GuestCase {
            tree: large(425 << 10),
            ..all_four("machine/425-KiB-tree")
        },
        GuestCase {
            tree: large(2 << 20),
            exec: Some("cores; skb device('/bus@10/engine@10020000', C); echo still here".into()),
            ..all_four("machine/2-MiB-tree")
        },
        // A page at the start of each 4 MiB from where nothing lies when the machine starts.
        GuestCase {
            tree: Some(TreeChange {
                reserved: Some((0x4100_0000, 0x5000_0000, 4 << 20)),
                ..TreeChange::default()
            }),
            options: "--smp 4 --mem 256M".to_owned(),
            exec: Some("cores; run hello; oncore 3 hello; mem; echo still here".into()),
            forbidden: vec!["panic", "left out", "warning"],
            ..all_four("machine/reserved-in-each-4-MiB")
        },
        GuestCase {
            tree: large(2 << 20),
            options: "--smp 4 --mem 256M".to_owned(),
            ..all_four("machine/2-MiB-tree-256-MiB")
        },
        GuestCase {
            tree: large((2 << 20) + 1),
            ..fatal(
                "machine/larger-tree",
                "--smp 2",
                "cannot boot: device tree: it has 2097153 bytes, the arm64 boot protocol allows 2097152",
            )
        },
        GuestCase {
            exec: Some("cores; echo still here".into()),
            patterns: vec![" running ", "still here"],
            ..GuestCase::new("machine/secure", "--smp 4 --qemu-args -M secure=on")
        },
        GuestCase {
            exec: Some("echo still here; hello".into()),
            expected: Expected::Failures(1),
            patterns: vec!["still here", "hello"],
            damage: Some(Damage::Missing("hello")),
            ..GuestCase::new("machine/missing-program", "--smp 2")
        },
        GuestCase {
            exec: Some("echo still here; hello".into()),
            expected: Expected::Failures(1),
            patterns: vec!["still here", "error: "],
            damage: Some(Damage::OtherMachine("hello")),
            ..GuestCase::new("machine/program-for-another-machine", "--smp 2")
        },
        GuestCase {
            exec: Some("echo still here".into()),
            patterns: vec!["init: skb does not run", "still here"],
            damage: Some(Damage::Missing("skb")),
            ..GuestCase::new("machine/missing-service", "--smp 2")
        },
        GuestCase {
            expected: Expected::GivesUp,
            patterns: vec!["init"],
            timeout_s: 30,
            damage: Some(Damage::Missing("init")),
            ..GuestCase::new("machine/missing-init", "")
        },
    ]
}

/// The CPU driver's own tests, each on several machines: what they test doesn't depend on the machine.
fn kernel() -> Vec<GuestCase> {
    // Name, image, tests, more options.
    let short = [
        // Deterministic: it asks whether others run during long calls, and the emulator's own timers may be late.
        ("kernel/capabilities", "test-capabilities", 19, "--icount"),
        ("kernel/faults", "test-faults", 24, ""),
        ("kernel/floating", "test-floating", 7, ""),
        // Deterministic, as the capabilities are.
        ("kernel/growth", "test-growth", 5, "--icount"),
        ("kernel/interrupts", "test-interrupts", 8, ""),
        ("kernel/interrupts-gic2", "test-interrupts", 8, "--gic 2"),
        ("kernel/invocations", "test-invocations", 11, ""),
        ("kernel/isolation", "test-isolation", 6, ""),
        (
            "kernel/isolation-4-GiB",
            "test-isolation",
            6,
            "--mem 4G --numa 2 --smp 2",
        ),
        ("kernel/mapping", "test-mapping", 18, "--mem 4G"),
        // Deterministic: it measures.
        ("kernel/sharing", "test-sharing", 7, "--icount --mem 1G"),
        ("kernel/wakeups", "test-wakeups", 5, "--smp 2"),
        // Deterministic: it asks for exact turns, and a busy host ends slices early.
        ("kernel/messages", "test-messages", 23, "--icount"),
        ("kernel/rights", "test-rights", 5, ""),
    ];
    let long = [
        (
            "kernel/capabilities-a53",
            "test-capabilities",
            19,
            "--icount --cpu cortex-a53",
        ),
        (
            "kernel/capabilities-max",
            "test-capabilities",
            19,
            "--icount --cpu max",
        ),
        ("kernel/faults-a53", "test-faults", 24, "--cpu cortex-a53"),
        (
            "kernel/faults-max-el2",
            "test-faults",
            24,
            "--cpu max --el2",
        ),
        ("kernel/floating-max", "test-floating", 7, "--cpu max"),
        ("kernel/interrupts-el2", "test-interrupts", 8, "--el2"),
        (
            "kernel/invocations-gic2-el2",
            "test-invocations",
            11,
            "--gic 2 --el2",
        ),
        (
            "kernel/invocations-max",
            "test-invocations",
            11,
            "--cpu max",
        ),
        (
            "kernel/isolation-n1",
            "test-isolation",
            6,
            "--cpu neoverse-n1",
        ),
        ("kernel/mapping-a53", "test-mapping", 18, "--cpu cortex-a53"),
        ("kernel/mapping-max", "test-mapping", 18, "--cpu max"),
        ("kernel/mapping-icount", "test-mapping", 18, "--icount"),
        (
            "kernel/messages-max-gic2",
            "test-messages",
            23,
            "--cpu max --gic 2",
        ),
    ];
    let case =
        |(name, image, tests, options): (&'static str, &'static str, usize, &'static str)| {
            let smp = if options.contains("--smp") {
                ""
            } else {
                "--smp 1"
            };
            GuestCase {
                least_tests: tests,
                ..GuestCase::new(name, format!("--image {image} {smp} {options}"))
            }
        };
    let long = long.into_iter().map(|entry| GuestCase {
        is_long: true,
        timeout_s: 120,
        ..case(entry)
    });
    short.into_iter().map(case).chain(long).collect()
}

/// Programs that misbehave end alone and are reported; those that use FP registers keep them.
fn programs() -> Vec<GuestCase> {
    vec![
        GuestCase {
            exec: Some(
                "wild calls; wild memory; wild overflow; wild panic; wild unmap; wild cspace; wild frame; dmesg; \
                 oncore 1 wild overflow; oncore 1 wild calls; echo still here; oncore 1 hello"
                    .into(),
            ),
            expected: Expected::Failures(6),
            patterns: vec![
                "calls were refused",
                "frames: out of memory",
                "error: wild exited with 139",
                "error: wild exited with 101",
                "on core 0 crashed: PC 0x",
                "  x28 0x",
                "error: wild ended by a fault",
                // It may let go of its CSpace, and not take its maker's capability away.
                "error: wild exited with 1",
                "error: wild ended by a fault",
                // The runtime's own report is in the kernel's log.
                "wild: write fault (not mapped) at 0x",
                "  x28 0x",
                "wild: panicked at",
                "error: wild exited with 139",
                "calls were refused",
                "still here",
                "hello from core 1",
            ],
            forbidden: vec![],
            ..GuestCase::new("programs/wild", "--image test-programs --smp 2")
        },
        GuestCase {
            // Without a word to a console, and faster than a console is.
            exec: Some(
                "chatter lines 1000; oncore 1 chatter lines 1000; chatter together 100; chatter long; \
                 chatter panic; oncore 1 chatter panic; chatter fault; oncore 1 chatter fault; \
                 oncore 1 hello; hello"
                    .into(),
            ),
            expected: Expected::Failures(4),
            patterns: vec![
                "<0:0001:",
                "<0:1000:",
                "<1:0001:",
                "<1:1000:",
                "-> is the end",
                "this line is whole",
                "hello from core 1",
                "hello from core 0",
            ],
            // Parts of two lines in one.
            forbidden: vec!["<*<", "lost"],
            // What a monitor says of a crash on another core may come after the shell's line, but
            // before what a program started there afterwards says.
            counts: vec![
                ("this line is whole", 4),
                ("half a linechatter: panicked at", 2),
                ("half a linechatter: read fault", 2),
                ("error: chatter exited with 101", 2),
                ("error: chatter exited with 139", 2),
                ("<0:", 1200),
                ("<1:", 1200),
                (":xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx>", 2400),
            ],
            ..GuestCase::new("programs/output", "--image test-programs --smp 2")
        },
        GuestCase {
            exec: Some("fp; oncore 1 fp".into()),
            patterns: vec!["fp: 3 of 3 sums are right", "fp: 3 of 3 sums are right"],
            ..GuestCase::new("programs/fp", "--image test-programs --smp 2")
        },
        GuestCase {
            // The runtime, as a core's first domain; what its children are told to crash of is theirs.
            least_tests: 20,
            forbidden: vec!["cpu 0: panic"],
            timeout_s: 150,
            ..GuestCase::new("programs/runtime", "--image test-runtime --smp 1")
        },
        GuestCase {
            // Nothing of a hundred programs, crashed ones among them, is left behind.
            exec: Some(LEAKS.into()),
            expected: Expected::Failures(10),
            patterns: vec!["still here"],
            forbidden: vec!["panic", "out of memory", "out of resources"],
            timeout_s: 120,
            ..GuestCase::new("programs/leave-nothing", "--image test-programs --smp 2")
        },
        come_and_go("programs/come-and-go", COME_AND_GO, 303),
        at_once("programs/at-once", 40),
        GuestCase {
            is_long: true,
            timeout_s: 1800,
            ..at_once("programs/at-once-200", 200)
        },
        GuestCase {
            is_long: true,
            timeout_s: 1800,
            ..come_and_go("programs/come-and-go-10000", COME_AND_GO_LONG, 10_003)
        },
    ]
}

/// More programs, `count` on each of two cores, than any service keeps connections for: memory and capabilities stay as
/// they are, and each of them gets to its console.
fn come_and_go(name: &'static str, exec: &'static str, count: usize) -> GuestCase {
    GuestCase {
        exec: Some(exec.into()),
        counts: vec![("hello from core 0", count), ("hello from core 1", count)],
        steady: vec!["mem", "caps 0.1", "caps 0.4", "caps 0.5", "caps 1.1"],
        forbidden: vec!["panic", "error", "allocation failed"],
        timeout_s: 120,
        ..GuestCase::new(name, "--smp 2")
    }
}

/// `count` programs at a time on the boot core, then on another, which are all killed, twice: they are more than the
/// home memory that a core starts with has room for.
fn at_once(name: &'static str, count: usize) -> GuestCase {
    let mut script = String::new();
    let mut job = 0;
    for _ in 0..2 {
        for core in ["", "oncore 1 "] {
            script.push_str(&format!("repeat {count} {core}test-services sleep &\n"));
            for _ in 0..count {
                job += 1;
                script.push_str(&format!("kill %{job}\n"));
            }
        }
        // Those are forgotten whom nobody waits for.
        script.push_str("ping 1 20\nmem\ncaps 0.1\n");
    }
    script.push_str("echo still here");
    GuestCase {
        exec: Some(script.into()),
        patterns: vec!["[1] 0.", "still here"],
        forbidden: vec!["panic", "error", "allocation failed", "is lost"],
        timeout_s: 240,
        ..GuestCase::new(name, "--image test-services --smp 2")
    }
}

/// What is there after a few programs on each core, and after many.
const COME_AND_GO: &str = "repeat 3 run hello; repeat 3 oncore 1 hello; \
     mem; caps 0.1; caps 0.4; caps 0.5; caps 1.1; \
     repeat 300 run hello; repeat 300 oncore 1 hello; \
     mem; caps 0.1; caps 0.4; caps 0.5; caps 1.1; dmesg";
/// The same with as many as no bound of any table would let pass unseen.
const COME_AND_GO_LONG: &str = "repeat 3 run hello; repeat 3 oncore 1 hello; \
     mem; caps 0.1; caps 0.4; caps 0.5; caps 1.1; \
     repeat 10000 run hello; repeat 10000 oncore 1 hello; \
     mem; caps 0.1; caps 0.4; caps 0.5; caps 1.1; dmesg";

/// Programs that end well and badly, a hundred times.
const LEAKS: &str = "hello; hello; hello; hello; hello; hello; hello; hello; wild overflow; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild unmap; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild frame; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild cspace; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; oncore 1 wild unmap; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild overflow; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild unmap; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild frame; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; wild cspace; oncore 1 hello; \
     hello; hello; hello; hello; hello; hello; hello; hello; oncore 1 wild unmap; echo still here";

/// A script that takes 60 KB as a kernel argument.
fn long_script() -> String {
    let mut script = "# It says little.\n".to_owned();
    for line in 1..1500 {
        script.push_str(&format!("echo line {line}\n"));
    }
    script + "echo the last of 1500 lines"
}

/// The shell tells how many of its commands failed, and goes on after one that did.
fn shell() -> Vec<GuestCase> {
    let told = |name, options, exec: &'static str, expected, patterns| GuestCase {
        exec: Some(exec.into()),
        expected,
        patterns,
        ..GuestCase::new(name, options)
    };
    vec![
        told(
            "shell/failures-are-counted",
            "--smp 1",
            "no-such-command; echo still here; no-other-command",
            Expected::Failures(2),
            vec!["no-such-command", "still here", "no-other-command"],
        ),
        told(
            "shell/jobs",
            "--image test-services --smp 2",
            "test-services sleep &; oncore 1 test-services sleep &; jobs; kill %1; wait %1; kill %2; wait; jobs; \
             wait %7; cores &; echo still here",
            Expected::Failures(4),
            vec![
                "[1] 0.",
                "[2] 1.",
                "%1*0.*test-services",
                "%2*1.*test-services",
                "error: test-services ended by a fault",
                "error: test-services ended by a fault",
                "error: 1 of 1 jobs failed",
                "job  domain  program  state",
                "error: no job %7; jobs lists them",
                "error: only programs go on by themselves",
                "still here",
            ],
        ),
        // A core that stops takes nobody along: who asks it is told so, and the others answer.
        GuestCase {
            forbidden: vec!["cpu 0: panic", "cpu 1: panic"],
            within_s: Some(45),
            ..told(
                "shell/a-core-stops",
                "--smp 4",
                "oncore 2 hello; core panic 2; cores; ps; mem; caps 2.1; oncore 2 hello; ping 2 3; dmesg 2; kmap 2; \
                 core panic 2; oncore 1 hello; echo still here",
                Expected::Failures(6),
                vec![
                    "hello from core 2",
                    "core 2 (MPIDR 0x2) has stopped",
                    "2    0x2     0  failed       -",
                    "0.1  mem_serv",
                    "core  node   home",
                    "error: 2.1: no such domain",
                    "error: the core has stopped",
                    "error: the core has stopped",
                    "error: the core has stopped",
                    "error: the core has stopped",
                    "hello from core 1",
                    "still here",
                ],
            )
        },
        // Those whose messages came through it can't be reached any more, and are named.
        GuestCase {
            forbidden: vec!["cpu 0: panic"],
            within_s: Some(45),
            ..told(
                "shell/a-core-in-between-stops",
                "--smp 12",
                "core panic 1; cores; ps; mem",
                Expected::Success,
                vec![
                    "core 1 (MPIDR 0x1) has stopped",
                    "1    0x1     0  failed       -",
                    ": the core has stopped",
                    "0.1  mem_serv",
                    ": the core has stopped",
                    "core  node   home",
                    ": the core has stopped",
                ],
            )
        },
        told(
            "shell/hints",
            "--smp 1",
            "corse; ping 0 x; oncore 0; help pign; skb core(C",
            Expected::Failures(5),
            vec![
                "error: corse: no such command or program; did you mean cores?",
                "error: x is not a number from 1 to 10000; usage: ping CORE [ROUNDS]",
                "error: an argument is missing; usage: oncore CORE PROGRAM",
                "error: pign is no command; did you mean ping?",
                "error: syntax error at 1:7: unexpected_end_of_text",
            ],
        ),
        told(
            "shell/queries",
            "--smp 4",
            "skb core(C, M, N); skb fail; skb (member(X, [1, 2]) ; X = 'a;b'); skb device(P, _), boot_core(C); \
             skb repeat, fail; skb assertz(seen(1)); skb seen(X)",
            Expected::Failures(1),
            vec![
                "C = 0, M = 0, N = 0",
                "C = 3, M = 3, N = 0",
                "4 solutions",
                "no",
                "X = 2",
                "X = 'a;b'",
                "3 solutions",
                "P = '/pl011@9000000', C = 0",
                "error: a bound was reached: steps",
                "X = 1",
                "1 solution",
            ],
        ),
        told(
            "shell/eight-cores-on-two-nodes",
            "--smp 8 --numa 2",
            "cores; skb core(C,M,N); ping 7 1000; mem; ps; oncore 5 hello; poweroff",
            Expected::Success,
            vec![
                "core  mpidr  node  state",
                "   0    0x0     0  running",
                "   7    0x7     1  running",
                "8 solutions",
                "core 7: 1000 rounds, min *",
                "node      total",
                "domain  name",
                "7.1  monitor",
                "hello from core 5",
            ],
        ),
        GuestCase {
            // The lines of three writers, each written in three pieces.
            forbidden: vec!["panic", ":<", "><"],
            least_tests: 17,
            ..told(
                "shell/services",
                "--image test-services --smp 2 --icount",
                "test-services",
                Expected::Success,
                vec!["<1:19>"],
            )
        },
        GuestCase {
            counts: vec![
                ("hello from core 0", 6),
                ("hello from core 1", 2),
                ("error: nothing: no such command", 7),
                ("rounds failed", 4),
            ],
            ..told(
                "shell/repeat",
                "--smp 2",
                "repeat 3 repeat 2 (run hello x; echo 'a;b'); repeat 2 oncore 1 hello; \
                 repeat 3 (echo twice; nothing); repeat 2 repeat 2 nothing; repeat 0 ps; repeat 5 poweroff",
                Expected::Failures(3),
                vec![
                    "argument 1: x",
                    "error: 3 of 3 rounds failed",
                    "error: 2 of 2 rounds failed",
                    "error: 2 of 2 rounds failed",
                    "error: 2 of 2 rounds failed",
                    "error: 0 is not a number of times, 1 or more; usage: repeat N COMMAND",
                ],
            )
        },
        GuestCase {
            // Written by hand, without the encoding that the runner makes.
            append: Some("capelin.nonsense capelin.exec=echo a%20b; bogus; echo c"),
            expected: Expected::Failures(1),
            patterns: vec![
                "error: capelin.nonsense: no such kernel argument",
                "a b",
                "error: bogus: no such command",
                "c",
            ],
            ..GuestCase::new("shell/exec-with-spaces", "--smp 1")
        },
        GuestCase {
            // More than a page by far, and more than once in a line.
            exec: Some(long_script().into()),
            counts: vec![("the last of 1500 lines", 2)],
            ..GuestCase::new("shell/long-script", "--smp 1")
        },
        told(
            "shell/programs",
            "--smp 2",
            "hello a 'b c'; run hello; oncore 1 hello; oncore 2 hello; oncore 1 nothing; caps hello; caps fish",
            Expected::Failures(3),
            vec![
                "hello from core 0",
                "argument 1: a",
                "argument 2: b c",
                "hello from core 0",
                "hello from core 1",
                "error: no such core",
                "error: nothing: no such command or program",
                "error: hello: no such domain",
                "0.1  L1CNode",
            ],
        ),
    ]
}

/// What is wrong with an image is said, by name, and ends the boot.
fn bad_inputs() -> Vec<GuestCase> {
    let bad = |name, damage, pattern| GuestCase {
        expected: Expected::GivesUp,
        patterns: vec![pattern],
        damage: Some(damage),
        timeout_s: 30,
        ..GuestCase::new(name, "")
    };
    // What some service is missing for is said, and the rest goes on.
    let missing = |name, module, exec: &'static str, expected, patterns| GuestCase {
        exec: Some(exec.into()),
        expected,
        patterns,
        damage: Some(Damage::Module(module)),
        ..GuestCase::new(name, "--smp 2")
    };
    let mut cases = vec![
        missing(
            "bad/pl011",
            "pl011",
            "echo still here; oncore 1 hello; hello",
            Expected::Success,
            vec![
                "init: pl011 does not run",
                "still here",
                "hello from core 1",
                "hello from core 0",
            ],
        ),
        missing(
            "bad/irqd",
            "irqd",
            "echo still here",
            Expected::Success,
            vec!["init: irqd does not run", "still here"],
        ),
        missing(
            "bad/skb",
            "skb",
            "echo still here; skb true",
            Expected::Failures(1),
            vec![
                "init: skb does not run",
                "still here",
                "error: the skb service",
            ],
        ),
        missing(
            "bad/hello",
            "hello",
            "echo still here; hello",
            Expected::Failures(1),
            vec!["still here", "error: "],
        ),
    ];
    cases.extend([
        bad("bad/no-archive", Damage::NoArchive, "archive"),
        bad("bad/half-archive", Damage::HalfArchive, "archive"),
        bad("bad/directory", Damage::Directory, "archive"),
        bad("bad/cpudriver", Damage::Module("cpudriver"), "cpudriver"),
        bad("bad/init", Damage::Module("init"), "init"),
    ]);
    cases
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_archive::{ArchiveError, ModuleKind};

    fn image() -> Vec<u8> {
        let module = |name: &str| ModuleSpec {
            name: name.to_owned(),
            kind: ModuleKind::Raw,
            uses_fp: false,
            data: vec![7; 100],
        };
        let archive = crate::image::archive(vec![module("init"), module("fish")]).unwrap();
        [vec![0; 4096], archive].concat()
    }

    fn damaged(damage: Damage) -> Vec<u8> {
        let mut image = image();
        damage.apply(&mut image, 4096).unwrap();
        image.split_off(4096)
    }

    #[test]
    fn damage_hits_what_it_names() {
        let bytes = damaged(Damage::Module("init"));
        let archive = Archive::parse(&bytes).unwrap();
        assert!(archive.find("init").unwrap().verify().is_err());
        assert!(archive.find("fish").unwrap().verify().is_ok());
        let refused = Archive::parse(&damaged(Damage::Directory)).err();
        assert_eq!(refused, Some(ArchiveError::DirectoryChecksum));
        assert!(damaged(Damage::NoArchive).is_empty());
        let refused = Archive::parse(&damaged(Damage::HalfArchive)).err();
        assert!(matches!(refused, Some(ArchiveError::Truncated { .. })));
    }

    #[test]
    fn archives_written_anew_are_sound() {
        let bytes = damaged(Damage::Missing("init"));
        let archive = Archive::parse(&bytes).unwrap();
        assert!(archive.find("init").is_none());
        assert!(archive.find("fish").unwrap().verify().is_ok());
        let bytes = damaged(Damage::OtherMachine("fish"));
        let archive = Archive::parse(&bytes).unwrap();
        let module = archive.find("fish").unwrap();
        assert!(module.verify().is_ok());
        assert_eq!(module.data()[17..21], [7, 62, 0, 7]);
        assert_eq!(archive.find("init").unwrap().data(), [7; 100]);
    }

    #[test]
    fn trees_are_changed_and_cut_to_size() {
        let mut tree = vec![0; 4096];
        for (at, word) in [(4, 4096_u32), (8, 56), (12, 156), (32, 20), (36, 100)] {
            tree[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        tree[60..64].copy_from_slice(b"psci");
        let change = TreeChange {
            replace: &[("psci", "none")],
            ..TreeChange::default()
        };
        change.apply(&mut tree);
        assert_eq!(tree.len(), 176);
        assert_eq!(
            (&tree[4..8], &tree[60..64]),
            (&[0, 0, 0, 176][..], &b"none"[..])
        );
    }

    #[test]
    fn damage_to_what_is_not_there_is_refused() {
        assert!(Damage::Module("ghost").apply(&mut image(), 4096).is_err());
        assert!(Damage::Directory.apply(&mut vec![0; 10], 10).is_err());
    }
}
