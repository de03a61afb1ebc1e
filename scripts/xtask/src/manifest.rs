//! Image manifests: `images/NAME.toml` says what goes into `target/capelin/NAME.img`. Images that only tests boot are
//! tables of one list, `tests/images.toml`: `[NAME]` with the same fields.
//!
//! ```toml
//! include = "other"            # optional: the modules of the image other come first
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use capelin_archive::ModuleKind;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::workspace;

/// The list of the images that only tests boot.
const LIST: &str = "tests/images.toml";
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

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawManifest {
    include: Option<String>,
    boot: Option<String>,
    boot_bin: Option<String>,
    #[serde(default, rename = "module")]
    modules: Vec<RawModule>,
}

#[derive(Clone, Debug, Deserialize)]
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
    /// Reads what `image` holds, and what it includes.
    ///
    /// # Errors
    /// If neither a file nor the list has it, or what says so is malformed.
    pub(crate) fn load(image: &str) -> Result<Self> {
        Self::of(image, &list()?)
    }

    fn of(image: &str, list: &List) -> Result<Self> {
        let mut modules = Vec::new();
        let boot = collect(image, list, &mut modules, MAX_INCLUDES)?;
        let boot = boot.ok_or_else(|| malformed(&path(image), "no boot driver"))?;
        Ok(Self { boot, modules })
    }

    /// Puts a program behind the other modules.
    pub(crate) fn add(&mut self, program: Program) {
        self.modules.push(ModuleEntry {
            name: program.bin.clone(),
            kind: ModuleKind::Elf,
            source: Source::Program(program),
        });
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

/// The images that only tests boot.
type List = BTreeMap<String, RawManifest>;

fn list() -> Result<List> {
    let path = workspace::root().join(LIST);
    let text = read(&path)?;
    toml::from_str(&text).map_err(|error| malformed(&path, error.to_string()))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| Error::File(path.to_owned(), error))
}

fn malformed(path: &Path, what: impl Into<String>) -> Error {
    Error::Malformed(path.to_owned(), what.into())
}

/// Adds the modules of `image` to `modules`; its boot driver, if it names one.
fn collect(
    image: &str,
    list: &List,
    modules: &mut Vec<ModuleEntry>,
    depth: u32,
) -> Result<Option<Program>> {
    let path = path(image);
    let (path, raw) = match list.get(image) {
        Some(raw) if !path.exists() => (Path::new(LIST).join(image), raw.clone()),
        Some(_) => return Err(malformed(&path, format!("stands in {LIST}, too"))),
        None => {
            let text = read(&path)?;
            let raw = toml::from_str(&text).map_err(|error| malformed(&path, error.to_string()))?;
            (path, raw)
        }
    };
    if depth == 0 {
        return Err(malformed(&path, "includes itself"));
    }
    let inherited = match &raw.include {
        Some(include) => collect(include, list, modules, depth - 1)?,
        None => None,
    };
    for module in raw.modules {
        modules.push(entry(module).map_err(|what| malformed(&path, what))?);
    }
    let own_boot = raw.boot.map(|package| Program {
        package,
        bin: raw.boot_bin.unwrap_or_else(|| "boot".to_owned()),
    });
    Ok(own_boot.or(inherited))
}

fn entry(raw: RawModule) -> Result<ModuleEntry, String> {
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

    fn of(image: &str, list: &str) -> Result<Manifest> {
        let list =
            toml::from_str(list).map_err(|error| malformed(Path::new(LIST), error.to_string()))?;
        Manifest::of(image, &list)
    }

    #[test]
    fn defaults_explicit_fields_and_what_is_included() {
        let list = r#"
            [one]
            boot = "capelin-boot"
            module = [{ package = "capelin-cpudriver", bin = "cpudriver", kind = "kernel" }]
            [two]
            include = "one"
            [[two.module]]
            package = "fish"
            [[two.module]]
            name = "facts"
            kind = "raw"
            file = "images/facts.pl"
        "#;
        let found = of("two", list).unwrap();
        assert_eq!(
            (&*found.boot.package, &*found.boot.bin),
            ("capelin-boot", "boot")
        );
        let names = found
            .modules
            .iter()
            .map(|module| (&*module.name, module.kind));
        let expected = [
            ("cpudriver", ModuleKind::Kernel),
            ("fish", ModuleKind::Elf),
            ("facts", ModuleKind::Raw),
        ];
        assert!(names.eq(expected));
        assert_eq!(
            found.modules[2].source,
            Source::File("images/facts.pl".into())
        );
        assert_eq!(of("one", list).unwrap().modules.len(), 1);
    }

    #[test]
    fn contradictions_are_refused() {
        for module in [
            "package = 'a', file = 'b'",
            "name = 'neither'",
            "file = 'x', kind = 'raw'",
            "name = 'x', file = 'x', kind = 'elf'",
            "package = 'a', kind = 'exe'",
            "package = 'a', colour = 'red'",
        ] {
            let list = format!("[x]\nboot = 'b'\nmodule = [{{ {module} }}]");
            assert!(of("x", &list).is_err(), "{module}");
        }
        let fine = "[x]\nboot = 'b'\nmodule = [{ package = 'a' }]";
        assert!(of("x", fine).is_ok());
    }

    #[test]
    fn circles_strangers_and_twins_are_refused() {
        assert!(of("x", "[x]\nboot = 'b'\ninclude = 'x'").is_err());
        assert!(of("x", "[x]\nboot = 'b'\ninclude = 'nobody'").is_err());
        assert!(of("x", "[y]\nboot = 'b'").is_err());
        assert!(
            of("x", "[x]\ninclude = 'y'\n[y]").is_err(),
            "no boot driver"
        );
        assert!(of("qemu-virt", "[qemu-virt]\nboot = 'b'").is_err());
    }

    #[test]
    fn every_image_of_the_tree_can_be_read() {
        let folder = workspace::root().join("images");
        let files = std::fs::read_dir(folder).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|it| it == "toml"));
        let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        let names: Vec<_> = names.chain(list().unwrap().into_keys()).collect();
        assert!(names.len() > 2);
        for name in names {
            Manifest::load(&name).unwrap();
        }
    }
}
