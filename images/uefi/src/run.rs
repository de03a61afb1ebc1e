//! The sequence, and what is said on UEFI's console.

#![expect(unsafe_code, reason = "ends boot services")]

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, str};

use capelin_aarch64::{cpu, timer};
use capelin_acpi::{Descriptor, Findings, Inputs, Tables, firmware_tree, root, translate};
use capelin_report::Fatal;
use capelin_uefi::configuration::{self, Configuration};
use capelin_uefi::secure_boot::SecureBoot;
use capelin_uefi::{layout, unified};
use uefi::boot::{self, MemoryType};
use uefi::mem::memory_map::{MemoryMap, MemoryMapOwned};
use uefi::{Status, entry, println};

use crate::files::OpenFile;
use crate::handover::Piece;
use crate::tables::{self, Mapped, Roots};
use crate::{files, heap, own};

/// Bytes of a configuration that are read at most: a command line of Linux's fits a hundred times.
const MOST_CONFIGURATION_BYTES: usize = 1 << 20;
/// Seconds for which a message stays before firmware goes on with what else can be booted.
const READING_SECONDS: u64 = 20;

#[entry]
fn main() -> Status {
    let entry_ticks = timer::now_ordered();
    if let Err(error) = heap::init() {
        println!(
            "{}",
            Fatal(format_args!("no memory for the loader: {error}"))
        );
        return Status::OUT_OF_RESOURCES;
    }
    let Err(problem) = run(entry_ticks);
    println!("{}", Fatal(format_args!("cannot boot: {problem}")));
    boot::stall(core::time::Duration::from_secs(READING_SECONDS));
    Status::LOAD_ERROR
}

/// Boots, or says why not. `entry_ticks`: the counter when firmware entered the loader.
fn run(entry_ticks: u64) -> Result<core::convert::Infallible, String> {
    if tables::secure_boot() == SecureBoot::On {
        println!(
            "capelin: Secure Boot is on, and this loader isn't signed for it: switch Secure Boot off in \
             firmware's setup"
        );
    }
    let Program {
        name,
        image,
        arguments,
    } = program()?;
    let piece = image.load().map_err(|error| format!("{name}: {error}"))?;
    let source = Source::of(&tables::roots())?;
    let make = |map: &[Descriptor]| {
        source.tree(&Inputs {
            memory_map: Some(map),
            command_line: arguments.as_deref(),
            boot_core: Some(cpu::mpidr().0),
            entry_ticks: Some(entry_ticks),
            ..Inputs::default()
        })
    };
    let map = boot::memory_map(MemoryType::LOADER_DATA)
        .map_err(|error| format!("no memory map: {error}"))?;
    let made = make(&descriptors(&map))?;
    for finding in made.findings.as_slice() {
        println!("capelin: warning: {finding}");
    }
    let bytes = made.blob.len();
    match made.cores {
        Some(cores) => println!(
            "capelin: UEFI loader: {cores} cores, a device tree of {bytes} bytes from ACPI"
        ),
        None => println!("capelin: UEFI loader: firmware's device tree, {bytes} bytes"),
    }
    drop((map, made));
    // SAFETY: no protocol of boot services is held from here on, and the heap's memory is
    // the loader's own.
    let map = unsafe { boot::exit_boot_services(None) };
    // The same source gave a tree a moment ago; a map that is a little longer gives one, too.
    match make(&descriptors(&map)) {
        Ok(made) => piece.enter(&made.blob),
        Err(_) => cpu::halt(),
    }
}

/// What is booted.
struct Program {
    /// The boot image's, for messages.
    name: String,
    image: BootImage,
    /// The command line.
    arguments: Option<String>,
}

/// Where the boot image is.
enum BootImage {
    /// In the loader's own file.
    Section(&'static [u8]),
    File(OpenFile),
}

impl BootImage {
    /// Puts the image where it is entered.
    fn load(self) -> Result<Piece, String> {
        let bytes = match &self {
            Self::Section(section) => section.len() as u64,
            Self::File(file) => file.bytes(),
        };
        if bytes > layout::MOST_IMAGE_BYTES {
            return Err(format!(
                "it has {bytes} bytes: it is no boot image of Capelin's"
            ));
        }
        let mut piece = Piece::new(bytes)
            .map_err(|error| format!("no memory for its {bytes} bytes: {error}"))?;
        match self {
            Self::Section(section) => piece.image().copy_from_slice(section),
            Self::File(file) => {
                let read = file.read(piece.image());
                read.map_err(|error| error.to_string())?;
            }
        }
        layout::check_image(piece.image()).map_err(|error| error.to_string())?;
        Ok(piece)
    }
}

/// The program in the loader's own file, or on its volume.
fn program() -> Result<Program, String> {
    let own = |name| {
        own::section(name).map_err(|error| format!("the loader cannot find its file: {error}"))
    };
    let Some(image) = own(unified::KERNEL)? else {
        return program_on_volume();
    };
    let arguments = own(unified::ARGUMENTS)?
        .map(|bytes| str::from_utf8(bytes).map(str::trim))
        .transpose()
        .map_err(|_| String::from("the loader's section .cmdline is no text"))?;
    Ok(Program {
        name: "the loader's section .linux".to_string(),
        image: BootImage::Section(image),
        arguments: arguments
            .filter(|it| !it.is_empty())
            .map(ToString::to_string),
    })
}

/// The program that the configuration names.
fn program_on_volume() -> Result<Program, String> {
    let path = configuration::PATH;
    let text = files::read(path, MOST_CONFIGURATION_BYTES);
    let text = text.map_err(|error| format!("{path}: {error}"))?;
    let text = str::from_utf8(&text).map_err(|_| format!("{path} is no text"))?;
    let configuration = Configuration::parse(text).map_err(|error| format!("{path}: {error}"))?;
    let kernel = configuration.kernel;
    let image = OpenFile::open(kernel).map_err(|error| format!("{kernel}: {error}"))?;
    Ok(Program {
        name: kernel.to_string(),
        image: BootImage::File(image),
        arguments: configuration.arguments.map(ToString::to_string),
    })
}

/// What the machine is known from.
enum Source {
    /// Firmware's device tree, which is the whole of the truth where there is one.
    Firmware(&'static [u8]),
    /// ACPI's tables, and where their root is.
    Acpi(Tables<'static>, u64),
}

/// A tree to be handed over.
struct Made {
    blob: Vec<u8>,
    findings: Findings,
    /// Cores that ACPI names.
    cores: Option<usize>,
}

impl Source {
    fn of(roots: &Roots) -> Result<Self, String> {
        if let Some(address) = roots.device_tree {
            let blob = tables::device_tree(address)
                .ok_or_else(|| format!("what firmware has at {address:#x} is no device tree"))?;
            return Ok(Self::Firmware(blob));
        }
        let rsdp = roots
            .rsdp
            .ok_or_else(|| String::from("firmware gives neither ACPI tables nor a device tree"))?;
        let tables = root::tables(&Mapped, rsdp).map_err(|error| error.to_string())?;
        Ok(Self::Acpi(tables, rsdp))
    }

    /// The tree of `inputs`, which lack the tables' root.
    fn tree(&self, inputs: &Inputs<'_>) -> Result<Made, String> {
        let map = inputs.memory_map.unwrap_or_default();
        let made = match self {
            Self::Firmware(blob) => {
                firmware_tree::adapt(blob, map, inputs).map(|(blob, findings)| Made {
                    blob,
                    findings,
                    cores: None,
                })
            }
            Self::Acpi(tables, rsdp) => {
                let inputs = Inputs {
                    rsdp: Some(*rsdp),
                    ..*inputs
                };
                translate(tables, &inputs).map(|made| Made {
                    cores: Some(made.facts.madt.cores.len()),
                    blob: made.blob,
                    findings: made.findings,
                })
            }
        };
        let made = made.map_err(|error| error.to_string())?;
        if made.blob.len() as u64 > layout::MOST_TREE_BYTES {
            return Err(format!("the tree has {} bytes", made.blob.len()));
        }
        Ok(made)
    }
}

fn descriptors(map: &MemoryMapOwned) -> Vec<Descriptor> {
    map.entries()
        .map(|one| Descriptor {
            kind: one.ty.0,
            base: one.phys_start,
            pages: one.page_count,
            attributes: one.att.bits(),
        })
        .collect()
}
