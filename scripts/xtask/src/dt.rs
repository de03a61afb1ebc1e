//! `cargo xtask dt FILE…`: what Capelin would use of a device tree, as text or,
//! with `--json`, as one JSON object per file and line.
//!
//! A file that is no device tree is reported on standard error and makes the exit
//! status 3; a machine on which fewer cores would run, with the tree as it stands,
//! than the tree has enabled makes it 6. All files are shown in any case. What the
//! fields mean is in `docs/050-device-tree.md`.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use capelin_dt::early::MAX_TOTAL_SIZE;
use capelin_dt::{
    Bootability, Console, ConsoleSource, ConsoleUse, Cpu, EnableMethod, Gic, Machine, Psci, Region,
    ReservationKind, Timer, bootability,
};
use serde_json::{Value, json};

use crate::error::{Error, Result};
use lexopt::Arg::Value as Word;
use lexopt::Parser;
use lexopt::prelude::Long;

const HELP: &str = "\
usage: cargo xtask dt [--json] FILE…

Shows what Capelin would use of each flattened device tree.

  --json   one JSON object per file, one line each; numbers are decimal, null is
           what the tree doesn't have: file, model, cpus, gic, memory,
           reservations, psci, timer_intids, console, distances, bootable,
           usable_cores, enabled_cores, console_input, reasons

exit status: 3 for a file that is no device tree, 6 where fewer cores would run
than the tree has";

/// Runs the recipe.
///
/// # Errors
/// The last file that couldn't be read; the ones before were reported.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let mut as_json = false;
    let mut files = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => as_json = true,
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Word(file) => files.push(PathBuf::from(file)),
            other => return Err(other.unexpected().into()),
        }
    }
    if files.is_empty() {
        return Err(Error::Usage("no file given".to_owned()));
    }
    let mut failure = None;
    let mut short = 0;
    for file in &files {
        let machine = match read(file) {
            Ok(machine) => machine,
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    eprintln!("xtask: {earlier}");
                }
                continue;
            }
        };
        let verdict = bootability(&machine);
        if as_json {
            println!("{}", as_value(file, &machine, &verdict, &[]));
        } else {
            println!("{}", as_text(file, &machine, &verdict, &[]));
        }
        if !verdict.is_bootable() || verdict.usable_cores < verdict.enabled_cores {
            short += 1;
        }
    }
    match failure {
        Some(error) => Err(error),
        None if short > 0 => Err(Error::FewerCores(short)),
        None => Ok(()),
    }
}

/// The first bytes of a file, so many at most: whatever it is, that ends.
pub(crate) fn first_bytes(file: &Path, most: usize) -> Result<Vec<u8>> {
    let failed = |error| Error::File(file.to_owned(), error);
    let mut found = Vec::new();
    let opened = File::open(file).map_err(failed)?;
    opened
        .take(most as u64)
        .read_to_end(&mut found)
        .map_err(failed)?;
    Ok(found)
}

fn read(file: &Path) -> Result<Machine> {
    // What is behind the largest tree is looked at by nobody.
    let blob = first_bytes(file, MAX_TOTAL_SIZE)?;
    Machine::parse(&blob).map_err(|error| Error::Malformed(file.to_owned(), error.to_string()))
}

/// The object for one file; `notes` are more reasons, of who made the tree.
pub(crate) fn as_value(
    file: &Path,
    machine: &Machine,
    verdict: &Bootability,
    notes: &[String],
) -> Value {
    let reasons = verdict.findings.iter().map(ToString::to_string);
    let memory = machine.memory.iter().map(|memory| pair(&memory.region));
    let reservations = machine.reserved_regions().map(|region| pair(&region));
    let distances = machine.distances.entries.iter();
    let intids = machine.timer.as_ref().map(timer_intids);
    json!({
        "file": file.display().to_string(),
        "model": machine.model,
        "cpus": machine.cpus.iter().map(cpu_value).collect::<Vec<_>>(),
        "gic": machine.gic.as_ref().map(gic_value),
        "memory": memory.collect::<Vec<_>>(),
        "reservations": reservations.collect::<Vec<_>>(),
        "psci": machine.psci.as_ref().map(psci_value),
        "timer_intids": intids.filter(|intids| !intids.is_empty()),
        "console": machine.console.as_ref().map(console_value),
        "distances": distances.map(|(from, to, distance)| json!([from.0, to.0, distance]))
            .collect::<Vec<_>>(),
        "bootable": verdict.is_bootable(),
        "usable_cores": verdict.usable_cores,
        "enabled_cores": verdict.enabled_cores,
        "console_input": verdict.console == ConsoleUse::InputAndOutput,
        "reasons": reasons.chain(notes.iter().cloned()).collect::<Vec<_>>(),
    })
}

fn pair(region: &Region) -> Value {
    json!([region.base.0, region.size])
}

fn method(cpu: &Cpu) -> Option<&str> {
    match &cpu.enable_method {
        EnableMethod::Psci => Some("psci"),
        EnableMethod::SpinTable { .. } => Some("spin-table"),
        EnableMethod::Other(other) => Some(other),
        EnableMethod::None => None,
    }
}

fn cpu_value(cpu: &Cpu) -> Value {
    json!({
        "mpidr": cpu.mpidr.0,
        "enable_method": method(cpu),
        "release_addr": cpu.release_addr.map(|address| address.0),
        "numa": cpu.numa.map(|numa| numa.0),
        "enabled": cpu.status.is_okay(),
    })
}

fn gic_value(gic: &Gic) -> Value {
    let services = gic.its.iter().map(|its| pair(&its.region));
    let frames = gic.v2m_frames.iter().map(|frame| pair(&frame.region));
    json!({
        "path": gic.path,
        "kind": format!("{:?}", gic.kind),
        "compatible": gic.compatible,
        "regions": gic.regions.iter().map(pair).collect::<Vec<_>>(),
        "redistributor_regions": gic.redistributor_regions,
        "redistributor_stride": gic.redistributor_stride,
        "its": services.collect::<Vec<_>>(),
        "v2m_frames": frames.collect::<Vec<_>>(),
    })
}

/// `cpu_on` is the id that Capelin calls: the standard's from PSCI 0.2 on.
fn psci_value(psci: &Psci) -> Value {
    json!({
        "method": psci.conduit.name(),
        "cpu_on": psci.cpu_on(),
        "version": format!("{:?}", psci.version),
    })
}

fn timer_intids(timer: &Timer) -> Vec<u32> {
    timer.intids().map(|intid| intid.0).collect()
}

fn console_value(console: &Console) -> Value {
    let layout = console.layout();
    json!({
        "path": console.path,
        "base": console.base().map(|base| base.0),
        "kind": format!("{:?}", console.kind),
        "intid": console.intid().map(|intid| intid.0),
        "register_shift": layout.shift,
        "access_bytes": layout.access_bytes,
        "source": format!("{:?}", console.source),
        "enabled": console.status.is_okay(),
    })
}

/// The text for one file, with `notes` of who made the tree. Writing to a string can't
/// fail.
pub(crate) fn as_text(
    file: &Path,
    machine: &Machine,
    verdict: &Bootability,
    notes: &[String],
) -> String {
    let mut text = String::new();
    let model = machine.model.as_deref().unwrap_or("no model");
    let _ = writeln!(text, "{}: {model}", file.display());
    let compatible = machine.compatible.join(", ");
    line(&mut text, "compatible", &compatible);
    text_of_cores(&mut text, machine);
    text_of_gic(&mut text, machine.gic.as_ref());
    match &machine.timer {
        Some(timer) => line(
            &mut text,
            "timer",
            &format!("INTIDs {:?}", timer_intids(timer)),
        ),
        None => line(&mut text, "timer", "none"),
    }
    text_of_memory(&mut text, machine);
    match &machine.psci {
        Some(psci) => {
            let function = match psci.cpu_on() {
                Some(function) => format!("CPU_ON {function:#x}"),
                None => "no CPU_ON".to_owned(),
            };
            let what = format!("{:?} by {}, {function}", psci.version, psci.conduit.name());
            line(&mut text, "psci", &what);
        }
        None => line(&mut text, "psci", "none"),
    }
    text_of_console(&mut text, machine);
    if let Some(bootargs) = &machine.chosen.bootargs {
        line(&mut text, "bootargs", bootargs);
    }
    text_of_verdict(&mut text, verdict);
    for note in notes {
        line(&mut text, "", &format!("- {note}"));
    }
    text
}

fn line(text: &mut String, what: &str, value: &str) {
    let _ = writeln!(text, "  {what:<12} {value}");
}

fn text_of_cores(text: &mut String, machine: &Machine) {
    line(text, "cores", &machine.cpus.len().to_string());
    for cpu in &machine.cpus {
        let mut what = format!("MPIDR {:#x}", cpu.mpidr.0);
        let _ = write!(what, ", {}", method(cpu).unwrap_or("no enable-method"));
        if let EnableMethod::SpinTable {
            release_addr: Some(address),
        } = cpu.enable_method
        {
            let _ = write!(what, " {:#x}", address.0);
        }
        if let Some(numa) = cpu.numa {
            let _ = write!(what, ", node {numa}");
        }
        if let Some(kind) = cpu.compatible.first() {
            let _ = write!(what, ", {kind}");
        }
        if !cpu.status.is_okay() {
            what.push_str(", not enabled");
        }
        line(text, "", &what);
    }
}

fn text_of_gic(text: &mut String, gic: Option<&Gic>) {
    let Some(gic) = gic else {
        return line(text, "gic", "none");
    };
    let compatible = gic.compatible.join(", ");
    line(text, "gic", &format!("{} ({compatible})", gic.path));
    for region in &gic.regions {
        line(text, "", &region.to_string());
    }
    for its in &gic.its {
        line(text, "", &format!("ITS {}", its.region));
    }
    for frame in &gic.v2m_frames {
        line(text, "", &format!("GICv2m {}", frame.region));
    }
}

fn text_of_memory(text: &mut String, machine: &Machine) {
    if machine.memory.is_empty() {
        line(text, "memory", "none");
    }
    for memory in &machine.memory {
        let node = memory.numa.map(|numa| format!(", node {numa}"));
        let what = format!("{}{}", memory.region, node.unwrap_or_default());
        line(text, "memory", &what);
    }
    for reservation in &machine.reservations {
        let regions = reservation.regions.iter().map(ToString::to_string);
        let mut what = regions.collect::<Vec<_>>().join(" ");
        if let ReservationKind::Dynamic { size, .. } = reservation.kind {
            let _ = write!(what, "{size:#x} bytes anywhere");
        }
        let _ = write!(what, " {}", reservation.name);
        for (is_so, word) in [
            (reservation.no_map, ", not to be mapped"),
            (reservation.reusable, ", reusable"),
            (!reservation.status.is_okay(), ", not in force"),
        ] {
            if is_so {
                what.push_str(word);
            }
        }
        line(text, "reserved", &what);
    }
    for (from, to, distance) in &machine.distances.entries {
        line(text, "distance", &format!("{from} to {to}: {distance}"));
    }
}

fn text_of_console(text: &mut String, machine: &Machine) {
    let Some(console) = &machine.console else {
        return line(text, "console", "none");
    };
    let base = match console.base() {
        Some(base) => format!("{:#x}", base.0),
        None => "no CPU address".to_owned(),
    };
    let source = match console.source {
        ConsoleSource::StdoutPath => "named by stdout-path",
        ConsoleSource::Bootargs => "named by bootargs",
        ConsoleSource::OnlyUart => "the only UART",
    };
    let what = format!("{} ({:?}) at {base}, {source}", console.path, console.kind);
    line(text, "console", &what);
}

fn text_of_verdict(text: &mut String, verdict: &Bootability) {
    for (index, sentence) in verdict.to_string().lines().enumerate() {
        line(text, if index == 0 { "verdict" } else { "" }, sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    /// The smallest tree: header, empty reservations, one node without properties.
    fn smallest() -> Vec<u8> {
        let words = [
            0xd00d_feed_u32,
            72,
            56,
            72,
            40,
            17,
            16,
            0,
            0,
            16, // header
            0,
            0,
            0,
            0, // reservations
            1,
            0,
            2,
            9, // structure
        ];
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn what_a_tree_lacks_is_null() {
        let machine = Machine::parse(&smallest()).unwrap();
        let value = as_value(Path::new("x.dtb"), &machine, &bootability(&machine), &[]);
        assert_eq!(value["file"], "x.dtb");
        for field in ["gic", "psci", "timer_intids", "console", "model"] {
            assert!(value[field].is_null(), "{field}");
        }
        assert_eq!(value["cpus"], json!([]));
        assert_eq!(value["memory"], json!([]));
        assert_eq!(value["bootable"], json!(false));
        let reasons = value["reasons"].as_array().unwrap();
        assert!(
            reasons
                .iter()
                .any(|reason| reason.as_str().unwrap().contains("no GIC"))
        );
        assert!(!value.to_string().contains('\n'), "one line per file");
    }

    #[test]
    fn text_names_the_file_and_gives_the_verdict() {
        let machine = Machine::parse(&smallest()).unwrap();
        let text = as_text(Path::new("x.dtb"), &machine, &bootability(&machine), &[]);
        assert!(text.starts_with("x.dtb: no model\n"));
        assert!(text.contains("Capelin can't boot here (0 of 0 cores usable, no console)"));
        assert!(text.contains("- no GIC"));
    }

    /// All that the recipe does with bytes; none is shown that isn't a tree.
    fn show(blob: &[u8]) {
        let Ok(machine) = Machine::parse(blob) else {
            return;
        };
        let (path, verdict) = (Path::new("x.dtb"), bootability(&machine));
        let value = as_value(path, &machine, &verdict, &[]).to_string();
        assert!(!value.contains('\n'), "one line per file");
        assert!(as_text(path, &machine, &verdict, &[]).starts_with("x.dtb: "));
    }

    /// A tree of QEMU's with everything that the recipe shows.
    fn rich() -> &'static [u8] {
        static RICH: OnceLock<Vec<u8>> = OnceLock::new();
        RICH.get_or_init(|| {
            let nodes = "-smp 4 -m 256M -object memory-backend-ram,id=a,size=128M -numa node,memdev=a,cpus=0-1 \
                         -object memory-backend-ram,id=b,size=128M -numa node,memdev=b,cpus=2-3 -numa dist,src=0,dst=1,val=20";
            let mut tree = capelin_trees::qemu("gic-version=3", nodes);
            tree.truncate(capelin_dt::early::used_size(&tree).unwrap());
            let bytes = u32::try_from(tree.len()).unwrap();
            tree[4..8].copy_from_slice(&bytes.to_be_bytes());
            tree
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in vec(any::<u8>(), 0..300)) {
            show(&bytes);
            // And behind a header that is believed.
            let mut tree = smallest();
            tree.extend(bytes);
            let length = u32::try_from(tree.len()).unwrap();
            tree[4..8].copy_from_slice(&length.to_be_bytes());
            tree[36..40].copy_from_slice(&(length - 56).to_be_bytes());
            show(&tree);
        }

        #[test]
        fn a_tree_that_lies_is_survived(
            lies in vec((any::<Index>(), prop_oneof![any::<u8>(), Just(0), Just(0xff)]), 1..12),
        ) {
            let mut tree = rich().to_vec();
            for (at, byte) in lies {
                *at.get_mut(&mut tree) = byte;
            }
            show(&tree);
        }
    }

    #[test]
    fn what_never_ends_is_read_to_a_bound() {
        let endless = Path::new("/dev/zero");
        if endless.exists() {
            assert!(matches!(read(endless), Err(Error::Malformed(..))));
        }
        show(rich());
        assert!(Machine::parse(rich()).is_ok());
    }

    /// A bad file doesn't keep the others from being shown, but fails the recipe.
    #[test]
    fn a_bad_file_fails_after_all_were_tried() {
        let folder = std::env::temp_dir().join(format!("xtask-dt-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (good, bad) = (folder.join("good.dtb"), folder.join("bad.dtb"));
        std::fs::write(&good, smallest()).unwrap();
        std::fs::write(&bad, b"no tree at all").unwrap();
        let path = |file: &PathBuf| file.display().to_string();
        let outcome = main(Parser::from_args([path(&bad), path(&good)]));
        assert!(matches!(&outcome, Err(Error::Malformed(file, _)) if *file == bad));
        // Well-formed, but nothing runs there.
        let outcome = main(Parser::from_args(["--json".to_owned(), path(&good)]));
        assert!(matches!(outcome, Err(Error::FewerCores(1))));
        let gone = folder.join("gone.dtb");
        assert!(matches!(
            main(Parser::from_args([path(&gone)])),
            Err(Error::File(..))
        ));
        assert!(matches!(
            main(Parser::from_args(["--json"])),
            Err(Error::Usage(_))
        ));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
