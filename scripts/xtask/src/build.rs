//! `cargo xtask build`: programs, module archive, boot image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use capelin_archive::ModuleSpec;

use crate::args::{Arg, Args};
use crate::error::{Error, Result};
use crate::image;
use crate::manifest::{Manifest, ModuleEntry, Program, Source};
use crate::workspace::{self, Metadata};

/// The target of kernel, system services and programs that leave FP and SIMD registers alone.
const SOFT_TARGET: &str = "aarch64-unknown-none-softfloat";
/// The target of programs that declare that they use them.
const FP_TARGET: &str = "aarch64-unknown-none";
/// The image that is built when none is named.
pub(crate) const DEFAULT_IMAGE: &str = "qemu-virt";

const HELP: &str = "\
usage: cargo xtask build [--image NAME]

Builds what images/NAME.toml, or [NAME] in tests/images.toml, names (qemu-virt), and of that target/capelin/NAME.img.";

/// The recipe.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn main(mut args: Args) -> Result<()> {
    let mut name = DEFAULT_IMAGE.to_owned();
    while let Some(argument) = args.next()? {
        match argument {
            Arg::Option(option) if option == "image" => name = args.value(&option)?,
            Arg::Option(option) if option == "help" => {
                println!("{HELP}");
                return Ok(());
            }
            other => {
                return Err(Error::Usage(format!(
                    "don't know what to do with {other:?}"
                )));
            }
        }
    }
    let path = image(&name)?;
    println!("{}", path.display());
    Ok(())
}

/// Where the image `name` is, once built.
///
/// # Errors
/// If cargo can't tell.
pub(crate) fn image_path(name: &str) -> Result<PathBuf> {
    Ok(output_folder(&Metadata::load()?).join(format!("{name}.img")))
}

fn output_folder(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("capelin")
}

/// Builds the image `name`; its path.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn image(name: &str) -> Result<PathBuf> {
    let metadata = Metadata::load()?;
    let manifest = Manifest::load(name)?;
    let built = programs(&metadata, &manifest.programs())?;
    let folder = output_folder(&metadata);
    fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;

    let modules = manifest
        .modules
        .iter()
        .map(|entry| module(entry, &built))
        .collect::<Result<Vec<_>>>()?;
    for module in &modules {
        let file_name = format!("{}.bin", module.name.replace('/', "_"));
        write(&folder.join(file_name), &module.data)?;
    }
    let image_path = folder.join(format!("{name}.img"));
    let malformed =
        |error: image::ImageError| Error::Malformed(image_path.clone(), error.to_string());
    let archive = image::archive(modules).map_err(malformed)?;
    write(&folder.join(format!("{name}.archive")), &archive)?;

    let boot = lookup(&built, &manifest.boot)?;
    let image = image::boot_image(&read(&boot.path)?, &archive)
        .map_err(|error| Error::Malformed(boot.path.clone(), error.to_string()))?;
    write(&image_path, &image)?;
    Ok(image_path)
}

/// A program that has been built.
#[derive(Clone, Debug)]
struct Built {
    path: PathBuf,
    uses_fp: bool,
}

type BuiltPrograms = BTreeMap<Program, Built>;

/// Builds all programs, with one run of cargo for each target.
fn programs(metadata: &Metadata, programs: &[Program]) -> Result<BuiltPrograms> {
    let mut built = BuiltPrograms::new();
    for (target, wants_fp) in [(SOFT_TARGET, false), (FP_TARGET, true)] {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--quiet", "--release", "--target", target]);
        let mut is_needed = false;
        for program in programs {
            let package = metadata.package(&program.package).ok_or_else(|| {
                let root = workspace::root().join("Cargo.toml");
                Error::Malformed(root, format!("has no member {}", program.package))
            })?;
            let has_bin = package.targets.iter().any(|target| {
                target.name == program.bin && target.kind.iter().any(|kind| kind == "bin")
            });
            if !has_bin {
                let what = format!("has no program {}", program.bin);
                return Err(Error::Malformed(package.manifest_path.clone(), what));
            }
            if package.capelin().fp != wants_fp {
                continue;
            }
            is_needed = true;
            cargo.args(["--package", &program.package, "--bin", &program.bin]);
            let path = metadata
                .target_directory
                .join(target)
                .join("release")
                .join(&program.bin);
            let entry = Built {
                path,
                uses_fp: wants_fp,
            };
            built.insert(program.clone(), entry);
        }
        if is_needed {
            workspace::run(cargo)?;
        }
    }
    Ok(built)
}

fn lookup<'a>(built: &'a BuiltPrograms, program: &Program) -> Result<&'a Built> {
    built
        .get(program)
        .ok_or_else(|| Error::Usage(format!("{} isn't part of the image", program.bin)))
}

fn module(entry: &ModuleEntry, built: &BuiltPrograms) -> Result<ModuleSpec> {
    let (path, uses_fp) = match &entry.source {
        Source::Program(program) => {
            let built = lookup(built, program)?;
            (built.path.clone(), built.uses_fp)
        }
        Source::File(file) => (workspace::root().join(file), false),
    };
    let data = image::module_data(entry.kind, &read(&path)?)
        .map_err(|error| Error::Malformed(path, error.to_string()))?;
    Ok(ModuleSpec {
        name: entry.name.clone(),
        kind: entry.kind,
        uses_fp,
        data,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::File(path.to_owned(), error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::File(path.to_owned(), error))
}
