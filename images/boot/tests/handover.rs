//! Boots a stand-in for the CPU driver (`tests/probe`) under QEMU and checks what
//! it was handed: at EL1 and EL2, with GICv2 and GICv3, with NUMA, with the archive
//! behind the image and as initrd; and that each obstacle is told by name.
//!
//! QEMU and the bare-metal target must be there (scripts/test sees to it).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use capelin_abi::boot::{ARGS_MAGIC, KernelHeader, PsciArgs};
use capelin_abi::flat::{FLAT_MAGIC, FlatHeader, FlatSegment};
use capelin_archive::{Archive, ModuleKind, ModuleSpec, Writer};
use capelin_report::Fatal;
use elf::ElfBytes;
use elf::endian::LittleEndian;
use zerocopy::{FromBytes, IntoBytes};

const TARGET: &str = "aarch64-unknown-none-softfloat";

/// The boot driver's memory, and an archive with the probe as CPU driver.
struct Parts {
    boot: Vec<u8>,
    archive: Vec<u8>,
    folder: PathBuf,
}

/// A program's memory from its lowest address on, zeros included, in whole pages;
/// and how much of it comes from the file.
fn memory_image(file: &[u8]) -> (Vec<u8>, usize) {
    let elf = ElfBytes::<LittleEndian>::minimal_parse(file).unwrap();
    let (mut image, mut file_bytes) = (Vec::new(), 0);
    for segment in elf.segments().unwrap().iter() {
        if segment.p_type != elf::abi::PT_LOAD {
            continue;
        }
        let data = elf.segment_data(&segment).unwrap();
        let start = usize::try_from(segment.p_vaddr).unwrap();
        image.resize(start, 0);
        image.extend_from_slice(data);
        file_bytes = image.len();
        image.resize(start + usize::try_from(segment.p_memsz).unwrap(), 0);
    }
    image.resize(image.len().next_multiple_of(4096), 0);
    (image, file_bytes)
}

fn module(name: &str, data: Vec<u8>) -> ModuleSpec {
    ModuleSpec {
        name: name.to_owned(),
        kind: ModuleKind::Raw,
        uses_fp: false,
        data,
    }
}

fn archive_of(modules: Vec<ModuleSpec>) -> Vec<u8> {
    let mut writer = Writer::new();
    for module in modules {
        writer.add(module).unwrap();
    }
    writer.finish()
}

fn first_domain() -> Vec<u8> {
    let mut header = FlatHeader {
        magic: FLAT_MAGIC,
        abi_version: capelin_abi::ABI_VERSION,
        entry: 0x20_0000,
        segment_count: 1,
        ..FlatHeader::default()
    };
    header.segments[0] = FlatSegment {
        address: 0x20_0000,
        offset: 4096,
        file_bytes: 4096,
        memory_bytes: 4096,
        flags: 5,
    };
    let mut file = vec![0; 8192];
    file[..size_of::<FlatHeader>()].copy_from_slice(header.as_bytes());
    file
}

fn kernel(file: &[u8]) -> Vec<u8> {
    let (mut image, file_bytes) = memory_image(file);
    let memory_bytes = image.len() as u64;
    image.truncate(file_bytes);
    let (header, _) = KernelHeader::mut_from_prefix(&mut image).unwrap();
    header.file_bytes = file_bytes as u64;
    header.memory_bytes = memory_bytes;
    image
}

/// Builds both programs, once; `None` where that or QEMU isn't possible.
fn parts() -> &'static Parts {
    static PARTS: OnceLock<Parts> = OnceLock::new();
    PARTS.get_or_init(build)
}

fn build() -> Parts {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("handover");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "--package", "capelin-boot"])
        .args(["--bin", "boot", "--bin", "boot-probe", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "the programs don't build");
    let read = |name: &str| fs::read(folder.join(TARGET).join("release").join(name)).unwrap();
    let (boot, _) = memory_image(&read("boot"));
    let archive = archive_of(vec![
        module("cpudriver", kernel(&read("boot-probe"))),
        module("init", first_domain()),
    ]);
    Parts {
        boot,
        archive,
        folder,
    }
}

fn image(boot: &[u8], archive: &[u8]) -> Vec<u8> {
    let mut image = [boot, archive].concat();
    let length = image.len() as u64;
    image[16..24].copy_from_slice(&length.to_le_bytes());
    image
}

/// What the guest says, up to a last line or half a minute.
fn run(parts: &Parts, name: &str, image: &[u8], options: &str) -> String {
    run_with(parts, name, image, options, "-serial stdio")
}

/// As [`run`], with the first serial line as `serial` says.
fn run_with(parts: &Parts, name: &str, image: &[u8], options: &str, serial: &str) -> String {
    let file = parts.folder.join(format!("{name}.img"));
    fs::write(&file, image).unwrap();
    let mut qemu = Command::new("qemu-system-aarch64")
        .args(["-nodefaults", "-nographic", "-nic", "none"])
        .args(serial.split_whitespace())
        .arg("-kernel")
        .arg(&file)
        .args(options.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = qemu.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut said, mut byte) = (Vec::new(), [0]);
        while stdout.read(&mut byte).is_ok_and(|n| n == 1) {
            said.push(byte[0]);
            let text = String::from_utf8_lossy(&said);
            let last = text.lines().last().unwrap_or("");
            let is_last = last.starts_with("done ") || Fatal::parse(last).is_some();
            if byte[0] == b'\n' && is_last {
                break;
            }
        }
        String::from_utf8_lossy(&said).into_owned()
    });
    let started = Instant::now();
    while !reader.is_finished() && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = qemu.kill();
    let _ = qemu.wait();
    fs::remove_file(&file).unwrap();
    let said = reader.join().unwrap();
    println!("--- {name} {options}\n{said}");
    said
}

type Said = HashMap<String, Vec<u64>>;

fn numbers(text: &str) -> Said {
    let mut said = Said::new();
    for line in text.lines() {
        if let Some((name, value)) = line.split_once(' ')
            && let Ok(value) = u64::from_str_radix(value.trim(), 16)
        {
            said.entry(name.to_owned()).or_default().push(value);
        }
    }
    said
}

/// Boots and checks what holds everywhere.
fn booted(parts: &Parts, name: &str, options: &str) -> Said {
    booted_with(parts, name, options, "-serial stdio")
}

fn booted_with(parts: &Parts, name: &str, options: &str, serial: &str) -> Said {
    let image = image(&parts.boot, &parts.archive);
    let said = numbers(&run_with(parts, name, &image, options, serial));
    check(&said, parts);
    said
}

fn check(said: &Said, parts: &Parts) {
    let one = |name: &str| said.get(name).unwrap_or_else(|| panic!("no {name}"))[0];
    assert_eq!(one("magic"), ARGS_MAGIC);
    assert_eq!(one("x0-offset"), 0);
    assert_eq!(one("mmu-or-cache"), 0);
    assert_eq!(one("home") % (2 << 20), 0);
    assert_eq!(one("home-bytes"), 4 << 20);
    assert_eq!(one("boot-core"), 1);
    assert_eq!((one("timer"), one("timer-is-physical")), (27, 0));
    assert_eq!(one("archive") % 4096, 0);
    assert_eq!(one("archive-bytes"), parts.archive.len() as u64);
    assert_eq!(one("tree") % 4096, 0);
    assert_eq!(one("tree-magic"), 0xedfe_0dd0);
    assert_eq!(one("domain-magic"), FLAT_MAGIC);
    assert_eq!(one("domain-bytes"), 8192);
    assert_eq!(one("zeros"), 0);
    assert!(one("entry-ticks") > 0);
    let mut taken: Vec<(u64, u64)> = [
        ("home", "home-bytes"),
        ("archive", "archive-bytes"),
        ("tree", "tree-bytes"),
    ]
    .map(|(base, bytes)| (one(base), one(bytes)))
    .to_vec();
    let ram = said["ram-base"].iter().zip(&said["ram-bytes"]);
    taken.extend(ram.map(|(&base, &bytes)| (base, bytes)));
    taken.sort_unstable();
    for pair in taken.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:x?} overlap");
    }
    let ram: u64 = said["ram-bytes"].iter().sum();
    assert!(ram > 100 << 20, "{ram:#x} bytes are free");
}

#[test]
fn every_kind_of_virt_board_is_handed_over() {
    let parts = parts();
    let cases = [
        (
            "gic3",
            "-M virt,gic-version=3 -cpu cortex-a72 -m 256M",
            1,
            3,
        ),
        (
            "gic2",
            "-M virt,gic-version=2 -cpu cortex-a53 -m 256M",
            1,
            2,
        ),
        (
            "el2",
            "-M virt,gic-version=3,virtualization=on -cpu max -m 256M",
            2,
            3,
        ),
        (
            "el2-gic2",
            "-M virt,gic-version=2,virtualization=on -cpu neoverse-n1 -m 256M",
            2,
            2,
        ),
    ];
    for (name, options, el, gic) in cases {
        let said = booted(parts, name, options);
        assert_eq!(said["el"], [el], "{name}");
        assert_eq!(said["gic"], [gic], "{name}");
        let method = if el == 2 {
            PsciArgs::SMC
        } else {
            PsciArgs::HVC
        };
        assert_eq!(said["psci"], [u64::from(method)], "{name}");
        assert_eq!(said["redistributors"], [u64::from(gic == 3)], "{name}");
    }
}

/// A core whose firmware left `HCR_EL2.E2H` set, as some can't clear it: EL2 has EL1's
/// layout of registers and descriptors then.
#[test]
fn el2_may_have_el1s_layout() {
    let parts = parts();
    let mut image = image(&parts.boot, &parts.archive);
    let word = |image: &[u8], at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap());
    let first = word(&image, 0);
    assert_eq!(first >> 26, 5, "the header begins with a branch");
    // The header's reserved words have room for: mrs x1, hcr_el2; orr x1, x1, #1 << 34;
    // msr hcr_el2, x1; isb; and the branch.
    let set = [
        0xd53c_1101,
        0xb25e_0021,
        0xd51c_1101,
        0xd503_3fdf,
        first - 12,
    ];
    for (at, code) in (32_usize..).step_by(4).zip(set) {
        image[at..at + 4].copy_from_slice(&u32::to_le_bytes(code));
    }
    image[..4].copy_from_slice(&u32::to_le_bytes(5 << 26 | 8));
    let options = "-M virt,gic-version=3,virtualization=on -cpu max -m 256M";
    let said = numbers(&run(parts, "e2h", &image, options));
    check(&said, parts);
    assert_eq!((&said["el"][..], &said["e2h"][..]), (&[2][..], &[1][..]));
}

#[test]
fn numa_nodes_are_told_apart() {
    let parts = parts();
    let options = "-M virt,gic-version=3 -cpu cortex-a72 -smp 2 -m 512M \
        -object memory-backend-ram,id=a,size=256M -object memory-backend-ram,id=b,size=256M \
        -numa node,nodeid=0,cpus=1,memdev=a -numa node,nodeid=1,cpus=0,memdev=b";
    let said = booted(parts, "numa", options);
    assert_eq!(said["node"], [1]);
    // Node 1 is the upper half: home memory is local.
    assert_eq!(said["home"], [0x5000_0000]);
    assert!(said["ram-node"].contains(&0) && said["ram-node"].contains(&1));
}

#[test]
fn the_archive_may_be_the_initrd() {
    let parts = parts();
    let initrd = parts.folder.join("initrd.archive");
    fs::write(&initrd, &parts.archive).unwrap();
    let options = format!(
        "-M virt -cpu cortex-a72 -m 256M -initrd {}",
        initrd.display()
    );
    let said = numbers(&run(parts, "initrd", &parts.boot, &options));
    check(&said, parts);
}

/// QEMU's tree, with every occurrence of a string replaced by one of the same length, as
/// options for QEMU.
fn damaged_tree(parts: &Parts, from: &str, to: &str) -> String {
    let mut tree = capelin_trees::qemu("gic-version=2", "-smp 1 -m 256M");
    assert_eq!(from.len(), to.len());
    for at in 0..tree.len() - from.len() {
        if tree[at..].starts_with(from.as_bytes()) {
            tree[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    let file = parts.folder.join(format!("{to}.dtb"));
    fs::write(&file, tree).unwrap();
    format!(
        "-M virt,gic-version=2 -cpu cortex-a72 -m 256M -dtb {}",
        file.display()
    )
}

#[test]
#[ignore = "needs trees that others wrote"]
fn the_raspberry_pi_4_has_a_spin_table_and_a_mini_uart() {
    let parts = parts();
    let tree = parts.folder.join("bcm2711-rpi-4-b.dtb");
    let blob = capelin_trees::recorded("boards", "broadcom__bcm2711-rpi-4-b.dtb");
    fs::write(&tree, blob).unwrap();
    // The tree's stdout is the second UART that QEMU has.
    let options = format!("-M raspi4b -serial stdio -dtb {}", tree.display());
    let said = booted_with(parts, "raspi4b", &options, "-serial null");
    assert_eq!((said["el"][0], said["gic"][0]), (2, 2));
    assert_eq!(said["psci"], [u64::from(PsciArgs::NONE)]);
    // Page 0 holds the release addresses.
    assert!(said["ram-base"].iter().all(|&base| base >= 4096));
}

/// Whether the boot driver's last line says that it can't boot, and that it is for `reason`.
fn refuses(line: &str, reason: &str) -> bool {
    Fatal::parse(line)
        .is_some_and(|Fatal(why)| why.starts_with("cannot boot: ") && why.contains(reason))
}

#[test]
fn a_tree_that_lacks_something_is_told_by_name() {
    let parts = parts();
    let cases = [
        ("arm,cortex-a15-gic", "arm,cortex-a15-nic", "no GIC"),
        (",armv", ",arm+", "no architected timer"),
    ];
    for (from, to, expected) in cases {
        let options = damaged_tree(parts, from, to);
        let said = run(parts, to, &image(&parts.boot, &parts.archive), &options);
        let last = said.lines().last().unwrap_or("");
        assert!(refuses(last, expected), "{last:?}");
    }
}

/// Some firmware only keeps a tree's cells aligned.
#[test]
fn a_tree_at_any_multiple_of_4_is_used() {
    let parts = parts();
    let tree = parts.folder.join("unaligned.dtb");
    let dumped = Command::new("qemu-system-aarch64")
        .args([
            "-nodefaults",
            "-nographic",
            "-m",
            "256M",
            "-cpu",
            "cortex-a72",
            "-M",
        ])
        .arg(format!("virt,dumpdtb={}", tree.display()))
        .output()
        .unwrap();
    assert!(dumped.status.success());
    // QEMU pads it to 1 MiB; the end of the last block is the end of the tree.
    let mut blob = fs::read(&tree).unwrap();
    let word = |at: usize| u32::from_be_bytes(blob[at..at + 4].try_into().unwrap());
    let end = (word(8) + word(36)).max(word(12) + word(32));
    blob.truncate(end as usize);
    blob[4..8].copy_from_slice(&end.to_be_bytes());
    fs::write(&tree, blob).unwrap();
    let whole = image(&parts.boot, &parts.archive);
    // adr x0, . - 0xffffc: the image is entered at 0x4020_0000.
    let said = run(
        parts,
        "unaligned-tree",
        &entered_with(&whole, 0x1080_0020),
        &format!(
            "-M virt -cpu cortex-a72 -m 256M -device loader,addr=0x40100004,force-raw=on,file={}",
            tree.display()
        ),
    );
    assert!(said.contains("memory: 256 MiB"), "{said}");
    assert!(
        said.lines().last().unwrap_or("").starts_with("done "),
        "{said}"
    );
}

#[test]
fn many_cores_need_no_more_than_the_heap() {
    let parts = parts();
    let said = booted(
        parts,
        "cores",
        "-M virt,gic-version=3 -cpu cortex-a72 -smp 200 -m 512M",
    );
    assert_eq!(said["redistributors"], [2]);
}

/// The image with one instruction before its own first one: the Image header has
/// room for two. `mov x0, #0` is 0xd2800000, `adr x0, .+0x1000` 0x10008000,
/// `mov x0, #0x10000000000` (where nothing is) 0xd2c02000.
fn entered_with(image: &[u8], instruction: u32) -> Vec<u8> {
    let mut image = image.to_vec();
    let branch = u32::from_le_bytes(*image.first_chunk().unwrap());
    assert_eq!(branch >> 26, 0b000101, "the image starts with a branch");
    image[..4].copy_from_slice(&instruction.to_le_bytes());
    image[4..8].copy_from_slice(&(branch - 1).to_le_bytes());
    image
}

#[test]
fn obstacles_are_told_by_name() {
    let parts = parts();
    const VIRT: &str = "-M virt -cpu cortex-a72 -m 256M";
    let whole = image(&parts.boot, &parts.archive);
    let at = parts.boot.len();
    let offset = |name: &str| {
        let archive = Archive::parse(&parts.archive).unwrap();
        at + archive.find(name).unwrap().offset()
    };
    let flipped = |at: usize| {
        let mut image = whole.clone();
        image[at] ^= 0x10;
        image
    };
    let cut = whole[..at + parts.archive.len() / 2].to_vec();
    let mut domain = first_domain();
    domain.resize(5 << 20, 0);
    let cpudriver = Archive::parse(&parts.archive)
        .unwrap()
        .find("cpudriver")
        .unwrap()
        .data();
    let large_init = archive_of(vec![
        module("cpudriver", cpudriver.to_vec()),
        module("init", domain),
    ]);
    let no_init = archive_of(vec![module("cpudriver", vec![0; 100])]);
    let cases = [
        ("no-archive", parts.boot.clone(), VIRT, "no module archive"),
        (
            "cut-archive",
            cut,
            VIRT,
            "module archive: its end is missing",
        ),
        (
            "directory",
            flipped(at + 72),
            VIRT,
            "directory: bad checksum",
        ),
        (
            "cpudriver",
            flipped(offset("cpudriver") + 99),
            VIRT,
            "module cpudriver: bad checksum",
        ),
        (
            "init",
            flipped(offset("init") + 99),
            VIRT,
            "module init: bad checksum",
        ),
        (
            "not-a-kernel",
            image(&parts.boot, &no_init),
            VIRT,
            "isn't a CPU driver",
        ),
        (
            "small",
            image(&parts.boot, &large_init),
            "-M virt -cpu cortex-a72 -m 16M",
            "KiB are needed in one piece",
        ),
        (
            "no-tree",
            entered_with(&whole, 0xd280_0000),
            VIRT,
            "no device tree",
        ),
        (
            // mov x0, #1
            "no-address",
            entered_with(&whole, 0xd280_0020),
            VIRT,
            "firmware gave 0x1 as the device tree's address",
        ),
        (
            "bad-tree",
            entered_with(&whole, 0x1000_8000),
            VIRT,
            "device tree: not a",
        ),
        (
            "wild-tree",
            entered_with(&whole, 0xd2c0_2000),
            VIRT,
            "exception: ESR 0x96",
        ),
    ];
    for (name, image, options, expected) in cases {
        let said = run(parts, name, &image, options);
        let last = said.lines().last().unwrap_or("");
        assert!(refuses(last, expected), "{name}: {last:?}");
    }
}
