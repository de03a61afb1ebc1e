//! Image manifests: `images/NAME.toml` says what goes into `target/capelin/NAME.img`.
//!
//! ```toml
//! description = "one line"
//! include = "other"            # optional: the modules of images/other.toml come first
//! boot = "capelin-boot"        # the boot driver's package, unless the included image has it
//!
//! [[module]]
//! package = "capelin-cpudriver"
//! bin = "cpudriver"            # default: the package's name
//! name = "cpudriver"           # in the archive; default: bin
//! kind = "kernel"              # kernel, flat, elf (default) or raw
//!
//! [[module]]
//! name = "facts"
//! kind = "raw"
//! file = "images/facts.pl"     # instead of package
//! ```

use std::path::PathBuf;

use capelin_archive::ModuleKind;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::workspace;

/// Manifests that include each other deeper than this do so in a circle.
const MAX_INCLUDES: u32 = 8;

/// An image manifest with what it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) boot: Program,
    pub(crate) modules: Vec<ModuleEntry>,
}

/// A program of the workspace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Program {
    pub(crate) package: String,
    pub(crate) bin: String,
}

/// A module of the archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModuleEntry {
    pub(crate) name: String,
    pub(crate) kind: ModuleKind,
    pub(crate) source: Source,
}

/// Where a module's data comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Program(Program),
    /// A file, relative to the workspace.
    File(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    #[serde(rename = "description")]
    _description: String,
    include: Option<String>,
    boot: Option<String>,
    boot_bin: Option<String>,
    #[serde(default, rename = "module")]
    modules: Vec<RawModule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawModule {
    name: Option<String>,
    package: Option<String>,
    bin: Option<String>,
    file: Option<PathBuf>,
    #[serde(default)]
    kind: RawKind,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawKind {
    Kernel,
    Flat,
    #[default]
    Elf,
    Raw,
}

impl Manifest {
    /// Reads `images/NAME.toml` and what it includes.
    ///
    /// # Errors
    /// If a file is missing or malformed.
    pub(crate) fn load(image: &str) -> Result<Self> {
        let mut modules = Vec::new();
        let boot = collect(image, &mut modules, MAX_INCLUDES)?;
        let path = path(image);
        let boot = boot.ok_or_else(|| malformed(&path, "no boot driver"))?;
        Ok(Self { boot, modules })
    }

    /// All programs that the image needs, each once.
    pub(crate) fn programs(&self) -> Vec<Program> {
        let of_modules = self
            .modules
            .iter()
            .filter_map(|module| match &module.source {
                Source::Program(program) => Some(program.clone()),
                Source::File(_) => None,
            });
        let mut programs: Vec<_> = of_modules.chain([self.boot.clone()]).collect();
        programs.sort();
        programs.dedup();
        programs
    }
}

fn path(image: &str) -> PathBuf {
    workspace::root()
        .join("images")
        .join(format!("{image}.toml"))
}

fn malformed(path: &std::path::Path, what: impl Into<String>) -> Error {
    Error::Malformed(path.to_owned(), what.into())
}

fn collect(image: &str, modules: &mut Vec<ModuleEntry>, depth: u32) -> Result<Option<Program>> {
    let path = path(image);
    if depth == 0 {
        return Err(malformed(&path, "includes itself"));
    }
    let text = std::fs::read_to_string(&path).map_err(|error| Error::File(path.clone(), error))?;
    let (raw, own) = parse(&text).map_err(|what| malformed(&path, what))?;
    let inherited = match &raw.include {
        Some(include) => collect(include, modules, depth - 1)?,
        None => None,
    };
    modules.extend(own);
    let own_boot = raw.boot.map(|package| Program {
        package,
        bin: raw.boot_bin.unwrap_or_else(|| "boot".to_owned()),
    });
    Ok(own_boot.or(inherited))
}

fn parse(text: &str) -> Result<(RawManifest, Vec<ModuleEntry>), String> {
    let mut raw: RawManifest = toml::from_str(text).map_err(|error| error.to_string())?;
    let modules = std::mem::take(&mut raw.modules);
    let modules: Result<_, _> = modules.into_iter().map(module).collect();
    Ok((raw, modules?))
}

fn module(raw: RawModule) -> Result<ModuleEntry, String> {
    let kind = match raw.kind {
        RawKind::Kernel => ModuleKind::Kernel,
        RawKind::Flat => ModuleKind::Flat,
        RawKind::Elf => ModuleKind::Elf,
        RawKind::Raw => ModuleKind::Raw,
    };
    let (source, default_name) = match (raw.package, raw.file) {
        (Some(package), None) => {
            let bin = raw.bin.unwrap_or_else(|| package.clone());
            let program = Program {
                package,
                bin: bin.clone(),
            };
            (Source::Program(program), Some(bin))
        }
        (None, Some(file)) if kind == ModuleKind::Raw => (Source::File(file), None),
        (None, Some(_)) => return Err("a file is raw".to_owned()),
        _ => return Err("a module has either a package or a file".to_owned()),
    };
    let name = raw
        .name
        .or(default_name)
        .ok_or("a file's module needs a name")?;
    Ok(ModuleEntry { name, kind, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_explicit_fields() {
        let text = r#"
            description = "x"
            boot = "capelin-boot"
            [[module]]
            package = "capelin-cpudriver"
            bin = "cpudriver"
            kind = "kernel"
            [[module]]
            package = "fish"
            [[module]]
            name = "facts"
            kind = "raw"
            file = "images/facts.pl"
        "#;
        let (raw, modules) = parse(text).unwrap();
        assert_eq!(raw.boot.as_deref(), Some("capelin-boot"));
        assert_eq!(modules[0].name, "cpudriver");
        assert_eq!(modules[0].kind, ModuleKind::Kernel);
        assert_eq!(modules[1].name, "fish");
        assert_eq!(modules[1].kind, ModuleKind::Elf);
        assert_eq!(modules[2].source, Source::File("images/facts.pl".into()));
    }

    #[test]
    fn contradictions_are_refused() {
        for module in [
            "package = 'a'\nfile = 'b'",
            "name = 'neither'",
            "file = 'x'\nkind = 'raw'",
            "name = 'x'\nfile = 'x'\nkind = 'elf'",
            "package = 'a'\nkind = 'exe'",
            "package = 'a'\ncolour = 'red'",
        ] {
            let text = format!("description = 'x'\n[[module]]\n{module}");
            assert!(parse(&text).is_err(), "{module}");
        }
    }

    #[test]
    fn every_image_of_the_tree_can_be_read() {
        let folder = workspace::root().join("images");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                let name = path.file_stem().unwrap().to_str().unwrap();
                Manifest::load(name).unwrap();
                count += 1;
            }
        }
        assert!(count > 0);
    }
}
