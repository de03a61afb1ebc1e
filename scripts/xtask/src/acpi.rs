//! `cargo xtask acpi PATH…`: what Capelin would use of a server's ACPI tables, before
//! anyone writes a disk: as `cargo xtask dt` shows a device tree, since it is one that
//! the UEFI loader would make of them (`docs/120-acpi.md`).
//!
//! A path that holds no tables is reported on standard error and makes the exit status
//! 3; a machine on which fewer cores would run than it has makes it 6, as with
//! `cargo xtask dt`. UEFI's memory map isn't in the tables: memory is what the SRAT says.

use std::path::{Path, PathBuf};

use capelin_acpi::{Inputs, Tables, Translation, translate};
use capelin_dt::{Machine, bootability};
use lexopt::Arg::Value as Word;
use lexopt::Parser;
use lexopt::prelude::{Long, Short};

use crate::dt;
use crate::error::{Error, Result};

const HELP: &str = "\
usage: cargo xtask acpi [--json] [-o FILE] PATH…

Shows what Capelin would use of a server, from its ACPI tables. PATH is a folder of
raw tables (/sys/firmware/acpi/tables, or what `acpidump -b` writes), or a file with
what `acpidump` prints.

  --json   the object of `cargo xtask dt --json`, file being the path
  -o FILE  also writes the device tree that is made of the tables of the only PATH

exit status: 3 for a path without tables, 6 where fewer cores would run than the
machine has";

/// The most bytes of a text that are read: four for each of all tables' bytes.
const MOST_TEXT_BYTES: usize = 32 << 20;
/// The most bytes that are read of all of a folder's files.
const MOST_BYTES: usize = 16 << 20;
/// The most files of a folder that are read.
const MOST_FILES: usize = 1024;

/// Runs the recipe.
///
/// # Errors
/// The last path that holds no tables; the ones before were reported.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let mut as_json = false;
    let mut output = None;
    let mut paths = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Long("json") => as_json = true,
            Short('o') | Long("output") => output = Some(PathBuf::from(args.value()?)),
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            Word(path) => paths.push(PathBuf::from(path)),
            other => return Err(other.unexpected().into()),
        }
    }
    if paths.is_empty() {
        return Err(Error::Usage("no path given".to_owned()));
    }
    if output.is_some() && paths.len() > 1 {
        return Err(Error::Usage("one FILE for several paths".to_owned()));
    }
    let mut failure = None;
    let mut short = 0;
    for path in &paths {
        let (machine, translation) = match read(path) {
            Ok(read) => read,
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    eprintln!("xtask: {earlier}");
                }
                continue;
            }
        };
        if let Some(file) = &output {
            std::fs::write(file, &translation.blob)
                .map_err(|error| Error::File(file.clone(), error))?;
        }
        let verdict = bootability(&machine);
        let findings = translation.findings.as_slice().iter();
        let notes: Vec<String> = findings.map(ToString::to_string).collect();
        if as_json {
            println!("{}", dt::as_value(path, &machine, &verdict, &notes));
        } else {
            println!("{}", dt::as_text(path, &machine, &verdict, &notes));
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

/// The machine that the tables at `path` describe.
fn read(path: &Path) -> Result<(Machine, Translation)> {
    of_tables(&raw_tables(path)?, path)
}

/// The machine that these tables describe, which are at `path`.
fn of_tables(raw: &[Vec<u8>], path: &Path) -> Result<(Machine, Translation)> {
    let malformed = |what: String| Error::Malformed(path.to_owned(), what);
    let mut tables = Tables::default();
    for bytes in raw {
        tables.add(bytes);
    }
    let translation = translate(&tables, &Inputs::default());
    let translation = translation.map_err(|error| malformed(error.to_string()))?;
    if tables.is_empty() {
        let findings = translation.findings.as_slice().first();
        let why = findings.map(|finding| format!(": {finding}"));
        let why = why.unwrap_or_default();
        return Err(malformed(format!("no ACPI tables that Capelin reads{why}")));
    }
    let machine =
        Machine::parse(&translation.blob).map_err(|error| malformed(error.to_string()))?;
    Ok((machine, translation))
}

/// What may be tables: the files of a folder, or those that a text holds. Whatever is there, that ends soon.
fn raw_tables(path: &Path) -> Result<Vec<Vec<u8>>> {
    if !path.is_dir() {
        let text = dt::first_bytes(path, MOST_TEXT_BYTES)?;
        return Ok(capelin_acpi::dump::tables(&String::from_utf8_lossy(&text)));
    }
    let failed = |error| Error::File(path.to_owned(), error);
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)?.take(MOST_FILES) {
        files.push(entry.map_err(failed)?.path());
    }
    files.sort();
    let mut left = MOST_BYTES;
    let mut tables = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let table = dt::first_bytes(file, left)?;
        left -= table.len();
        tables.push(table);
        if left == 0 {
            let what = format!("more than {MOST_BYTES} bytes: a folder of tables has less");
            return Err(Error::Malformed(path.to_owned(), what));
        }
    }
    Ok(tables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// A table of that name: header, `body`, and a checksum that fits.
    fn table(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut table = [name.as_slice(), &[0; 32], body].concat();
        let length = u32::try_from(table.len()).unwrap();
        table[4..8].copy_from_slice(&length.to_le_bytes());
        table[9] = table.iter().fold(0_u8, |sum, &byte| sum.wrapping_sub(byte));
        table
    }

    /// A MADT with one core, MPIDR 0x100.
    fn madt() -> Vec<u8> {
        let mut core = [0_u8; 80];
        (core[0], core[1], core[12], core[69]) = (0xb, 80, 1, 1);
        table(b"APIC", &[[0; 8].as_slice(), &core].concat())
    }

    fn folder(name: &str) -> PathBuf {
        let name = format!("xtask-acpi-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// The same tables as files and as text are the same machine; a bad path doesn't keep
    /// the others from being shown, but fails the recipe.
    #[test]
    fn folders_and_text_say_the_same() {
        let folder = folder("same");
        std::fs::write(folder.join("apic.bin"), madt()).unwrap();
        std::fs::write(folder.join("rsdp.bin"), b"RSD PTR no table").unwrap();
        let mut text = "APIC @ 0x0000000000000000\n".to_owned();
        for (row, bytes) in madt().chunks(16).enumerate() {
            let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            text += &format!("    {:04X}: {:<48} text\n", 16 * row, digits.join(" "));
        }
        let dump = folder.join("dump");
        let empty = folder.join("empty");
        std::fs::create_dir_all(&empty).unwrap();
        let (machine, _) = read(&folder).unwrap();
        assert_eq!(machine.cpus.len(), 1);
        assert_eq!(machine.cpus[0].mpidr.0, 0x100);
        std::fs::write(&dump, text).unwrap();
        assert_eq!(read(&dump).unwrap().0, machine);
        let path = |path: &PathBuf| path.display().to_string();
        let outcome = main(Parser::from_args([path(&empty), path(&dump)]));
        assert!(matches!(&outcome, Err(Error::Malformed(at, _)) if *at == empty));
        // No GIC: nothing runs there.
        let outcome = main(Parser::from_args(["--json".to_owned(), path(&dump)]));
        assert!(matches!(outcome, Err(Error::FewerCores(1))));
        let tree = folder.join("tree.dtb");
        let outcome = main(Parser::from_args([
            "-o".to_owned(),
            path(&tree),
            path(&dump),
        ]));
        assert!(matches!(outcome, Err(Error::FewerCores(1))));
        assert_eq!(Machine::parse(&std::fs::read(&tree).unwrap()), Ok(machine));
        let gone = folder.join("gone");
        assert!(matches!(
            main(Parser::from_args([path(&gone)])),
            Err(Error::File(..))
        ));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// All that the recipe does with tables.
    fn show(raw: &[Vec<u8>]) {
        let path = Path::new("x");
        let Ok((machine, translation)) = of_tables(raw, path) else {
            return;
        };
        let findings = translation.findings.as_slice().iter();
        let notes: Vec<String> = findings.map(ToString::to_string).collect();
        let verdict = bootability(&machine);
        let value = dt::as_value(path, &machine, &verdict, &notes).to_string();
        assert!(!value.contains('\n'), "one line per path");
        assert!(dt::as_text(path, &machine, &verdict, &notes).starts_with("x: "));
    }

    proptest! {
        /// Any text, and any bodies behind headers and checksums that fit.
        #[test]
        fn any_tables_are_survived(
            text in vec(any::<u8>(), 0..200),
            bodies in vec((0..8_usize, vec(any::<u8>(), 0..300)), 0..6),
        ) {
            show(&capelin_acpi::dump::tables(&String::from_utf8_lossy(&text)));
            let names = [b"APIC", b"FACP", b"GTDT", b"SRAT", b"PPTT", b"SPCR", b"MCFG", b"IORT"];
            let mut raw: Vec<_> = bodies.iter().map(|(name, body)| table(names[*name], body)).collect();
            raw.push(madt());
            show(&raw);
        }
    }

    #[test]
    fn what_never_ends_is_read_to_a_bound() {
        let endless = Path::new("/dev/zero");
        if endless.exists() {
            assert!(matches!(read(endless), Err(Error::Malformed(..))));
        }
        let folder = folder("large");
        let large = std::fs::File::create(folder.join("large")).unwrap();
        large.set_len(1 << 40).unwrap();
        assert!(matches!(read(&folder), Err(Error::Malformed(..))));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    /// What is wrong with a table stands among the reasons.
    #[test]
    fn findings_are_reasons() {
        let folder = folder("reasons");
        let mut wrong = madt();
        wrong[20] ^= 1;
        std::fs::write(folder.join("a"), wrong).unwrap();
        std::fs::write(folder.join("b"), table(b"FACP", &[0; 240])).unwrap();
        let (machine, translation) = read(&folder).unwrap();
        let notes: Vec<String> = translation
            .findings
            .as_slice()
            .iter()
            .map(ToString::to_string)
            .collect();
        let value = dt::as_value(&folder, &machine, &bootability(&machine), &notes);
        let reasons = value["reasons"].to_string();
        assert!(
            reasons.contains("APIC is left out: its checksum is wrong"),
            "{reasons}"
        );
        assert!(reasons.contains("no GIC"), "{reasons}");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
