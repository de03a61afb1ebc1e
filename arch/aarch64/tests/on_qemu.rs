//! Runs `tests/probe` on QEMU's `virt` board, on several cores and both GICs, and
//! wants every line to say ok. QEMU must be there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use capelin_report::{TestOutcome, TestResult};

const TARGET: &str = "aarch64-unknown-none-softfloat";

#[test]
fn the_probe_finds_nothing_wrong() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("on-qemu");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "--package",
            "capelin-aarch64",
        ])
        .args(["--bin", "arch-probe", "--target", TARGET, "--target-dir"])
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "the probe doesn't build");
    let elf = folder.join(TARGET).join("release").join("arch-probe");
    let image = folder.join("arch-probe.img");
    let mut bytes = flat(&std::fs::read(elf).unwrap());
    std::fs::write(&image, &bytes).unwrap();
    for machine in [
        "-M virt,gic-version=3 -cpu cortex-a72",
        "-M virt,gic-version=2 -cpu cortex-a53",
        "-M virt,gic-version=3 -cpu neoverse-n1",
        "-M virt,gic-version=max -cpu max",
        "-M virt,gic-version=3,virtualization=on -cpu cortex-a72",
        "-M virt,gic-version=2,virtualization=on -cpu cortex-a53",
        "-M virt,gic-version=3,virtualization=on -cpu neoverse-v1",
        "-M virt,gic-version=3,virtualization=on -cpu max",
        "-M virt,gic-version=3,virtualization=on -cpu max,sve=off,pauth=off,lpa2=off",
    ] {
        run(&image, machine);
    }
    // Two words of the Image header that the probe reads: E2H stays set, there is an EL3.
    let el3 = "-M virt,gic-version=3,virtualization=on,secure=on -cpu";
    let el2 = "-M virt,gic-version=3,virtualization=on -cpu";
    for (machine, cpu, keeps_e2h, has_el3) in [
        (el2, "neoverse-n1", 1, 0),
        (el2, "max", 1, 0),
        (el2, "max,sve=off,sme=off", 1, 0),
        (el3, "max", 0, 1),
        (el3, "max", 1, 1),
        (el3, "cortex-a72", 0, 1),
    ] {
        (bytes[32], bytes[40]) = (keeps_e2h, has_el3);
        std::fs::write(&image, &bytes).unwrap();
        run(&image, &format!("{machine} {cpu}"));
    }
}

/// The one segment's bytes.
fn flat(file: &[u8]) -> Vec<u8> {
    let elf = elf::ElfBytes::<elf::endian::LittleEndian>::minimal_parse(file).unwrap();
    let segments = elf.segments().unwrap();
    let load = segments.iter().find(|s| s.p_type == elf::abi::PT_LOAD);
    elf.segment_data(&load.unwrap()).unwrap().to_vec()
}

fn run(image: &Path, machine: &str) {
    let mut qemu = Command::new("qemu-system-aarch64")
        .args([
            "-nodefaults",
            "-nographic",
            "-serial",
            "stdio",
            "-nic",
            "none",
        ])
        .args(["-m", "128M", "-kernel"])
        .arg(image)
        .args(machine.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, receiver) = mpsc::channel();
    let stdout = BufReader::new(qemu.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    println!("--- {machine}");
    let (mut passed, mut ended) = (0, false);
    while let Ok(line) = receiver.recv_timeout(Duration::from_secs(20)) {
        println!("{line}");
        match line.trim_end() {
            "done" => {
                ended = true;
                break;
            }
            line => {
                let result = TestResult::parse(line);
                if !result.is_some_and(|test| test.outcome == TestOutcome::Passed) {
                    break;
                }
                passed += 1;
            }
        }
    }
    let _ = qemu.kill();
    let _ = qemu.wait();
    assert!(
        ended && passed >= 22,
        "{machine}: {passed} passed, then that"
    );
}
