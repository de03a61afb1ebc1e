//! `cargo xtask build`: programs, module archive, boot image.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use capelin_archive::ModuleSpec;

use crate::error::{Error, Result};
use crate::image;
use crate::manifest::{Manifest, ModuleEntry, Program, Source};
use crate::workspace::{self, Metadata};
use lexopt::Parser;
use lexopt::prelude::{Long, ValueExt as _};

/// The target of kernel, system services and programs that leave FP and SIMD registers alone.
const SOFT_TARGET: &str = "aarch64-unknown-none-softfloat";
/// The target of programs that declare that they use them.
const FP_TARGET: &str = "aarch64-unknown-none";
/// The target of UEFI's programs.
const UEFI_TARGET: &str = "aarch64-unknown-uefi";
/// The image that is built when none is named.
pub(crate) const DEFAULT_IMAGE: &str = "qemu-virt";

const HELP: &str = "\
usage: cargo xtask build [--image NAME]

Builds what images/NAME.toml, or [NAME] in tests/images.toml, names (qemu-virt), and of that target/capelin/NAME.img.";

/// The recipe.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn main(mut args: Parser) -> Result<()> {
    let mut name = DEFAULT_IMAGE.to_owned();
    while let Some(argument) = args.next()? {
        match argument {
            Long("image") => name = args.value()?.string()?,
            Long("help") => {
                println!("{HELP}");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let path = image(&name)?;
    println!("{}", path.display());
    Ok(())
}

/// How programs are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Cargo's `release`: the programs that are tested and measured.
    Release,
    /// Cargo's `quick`, of the root manifest: programs that are there soon after a change.
    Quick,
}

impl Profile {
    /// As cargo calls it, also for the folder of what it builds.
    fn name(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Quick => "quick",
        }
    }
}

/// An image to be built.
pub(crate) struct Image {
    metadata: Metadata,
    name: String,
    manifest: Manifest,
    profile: Profile,
}

impl Image {
    /// The image `name`, with `program` if that is given and not in it.
    ///
    /// # Errors
    /// If no manifest says what is in it, no package has that program, or cargo can't tell.
    pub(crate) fn new(name: &str, program: Option<&str>, profile: Profile) -> Result<Self> {
        let metadata = Metadata::load()?;
        let mut manifest = Manifest::load(name)?;
        let mut name = name.to_owned();
        if let Some(program) = program
            && !manifest.modules.iter().any(|module| module.name == program)
        {
            let package = metadata
                .package_of(program)
                .ok_or_else(|| Error::Usage(format!("no package has a program {program}")))?;
            manifest.add(Program {
                package: package.name.clone(),
                bin: program.to_owned(),
            });
            name = format!("{name}+{program}");
        }
        Ok(Self {
            metadata,
            name,
            manifest,
            profile,
        })
    }

    fn folder(&self) -> PathBuf {
        let folder = self.metadata.target_directory.join("capelin");
        match self.profile {
            Profile::Release => folder,
            Profile::Quick => folder.join(self.profile.name()),
        }
    }

    /// Builds the UEFI loader; its path.
    ///
    /// # Errors
    /// If it doesn't build.
    pub(crate) fn loader(&self) -> Result<PathBuf> {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--quiet", "--profile", self.profile.name()]);
        cargo.args(["--target", UEFI_TARGET, "--package", "capelin-uefi"]);
        workspace::run(cargo)?;
        Ok(self.loader_path())
    }

    /// Where the UEFI loader is, once built.
    pub(crate) fn loader_path(&self) -> PathBuf {
        let folder = self.metadata.target_directory.join(UEFI_TARGET);
        folder.join(self.profile.name()).join("loader.efi")
    }

    /// Where it is, once built.
    pub(crate) fn path(&self) -> PathBuf {
        self.folder().join(format!("{}.img", self.name))
    }

    /// Builds it.
    ///
    /// # Errors
    /// If anything doesn't build or fit.
    pub(crate) fn build(&self) -> Result<()> {
        let programs = self.manifest.programs();
        let built = programs_built(&self.metadata, &programs, self.profile)?;
        let folder = self.folder();
        fs::create_dir_all(&folder).map_err(|error| Error::File(folder.clone(), error))?;

        let modules = self.manifest.modules.iter();
        let modules = modules.map(|entry| module(entry, &built));
        let modules = modules.collect::<Result<Vec<_>>>()?;
        for module in &modules {
            let file_name = format!("{}.bin", module.name.replace('/', "_"));
            write(&folder.join(file_name), &module.data)?;
        }
        let path = self.path();
        let archive = image::archive(modules)
            .map_err(|error| Error::Malformed(path.clone(), error.to_string()))?;
        write(&path.with_extension("archive"), &archive)?;

        let boot = lookup(&built, &self.manifest.boot)?;
        let image = image::boot_image(&read(&boot.path)?, &archive)
            .map_err(|error| Error::Malformed(boot.path.clone(), error.to_string()))?;
        write(&path, &image)
    }
}

/// Builds the image `name` as it is tested; its path.
///
/// # Errors
/// If anything doesn't build or fit.
pub(crate) fn image(name: &str) -> Result<PathBuf> {
    let image = Image::new(name, None, Profile::Release)?;
    image.build()?;
    Ok(image.path())
}

/// A program that has been built.
#[derive(Clone, Debug)]
struct Built {
    path: PathBuf,
    uses_fp: bool,
}

type BuiltPrograms = BTreeMap<Program, Built>;

/// Builds all programs, with one run of cargo for each target.
fn programs_built(
    metadata: &Metadata,
    programs: &[Program],
    profile: Profile,
) -> Result<BuiltPrograms> {
    let mut built = BuiltPrograms::new();
    for (target, wants_fp) in [(SOFT_TARGET, false), (FP_TARGET, true)] {
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--quiet", "--profile", profile.name()]);
        cargo.args(["--target", target]);
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
                .join(profile.name())
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
