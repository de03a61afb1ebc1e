//! The workspace as `cargo metadata` tells it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;

use crate::error::{Error, Result};

/// The folder of the root `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// A `cargo` command that runs in the workspace.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// Runs `command`, whose output goes where ours goes.
///
/// # Errors
/// If it can't be started or fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| Error::Spawn(name.clone(), error))?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Program(name, status))
    }
}

/// Members of the workspace and where builds go.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) target_directory: PathBuf,
}

/// A member of the workspace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    #[serde(default)]
    metadata: Option<PackageMetadata>,
}

/// An edge of the dependency graph.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `None` for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
    /// Set for other members of the workspace.
    pub(crate) path: Option<PathBuf>,
    #[serde(default)]
    pub(crate) features: Vec<String>,
}

/// A library, program, test or such of a package.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
    pub(crate) src_path: PathBuf,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct PackageMetadata {
    #[serde(default)]
    capelin: CapelinMetadata,
}

/// `[package.metadata.capelin]`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct CapelinMetadata {
    /// The program uses FP and SIMD registers.
    pub(crate) fp: bool,
    /// The program is UEFI's: it builds for that target, not for the guest's.
    pub(crate) uefi: bool,
    /// The package builds for the host, too, and has its tests run there.
    pub(crate) host_tests: bool,
}

impl Default for CapelinMetadata {
    fn default() -> Self {
        Self {
            fp: false,
            uefi: false,
            host_tests: true,
        }
    }
}

impl Package {
    /// What the package says of itself in `[package.metadata.capelin]`.
    pub(crate) fn capelin(&self) -> CapelinMetadata {
        self.metadata
            .as_ref()
            .map(|metadata| metadata.capelin)
            .unwrap_or_default()
    }

    /// A member at `folder` without targets.
    #[cfg(test)]
    pub(crate) fn for_test(folder: &str, dependencies: Vec<Dependency>) -> Self {
        Self {
            name: folder.replace('/', "-"),
            manifest_path: root().join(folder).join("Cargo.toml"),
            dependencies,
            targets: vec![],
            metadata: None,
        }
    }

    /// The package's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.manifest_path.parent().unwrap_or(root())
    }

    /// Whether it has a target of this kind.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.targets
            .iter()
            .any(|target| target.kind.iter().any(|other| other == kind))
    }
}

impl Metadata {
    /// Asks cargo.
    ///
    /// # Errors
    /// If cargo fails, as it does on a malformed manifest.
    pub(crate) fn load() -> Result<Self> {
        let mut cargo = cargo();
        cargo.args(["metadata", "--format-version=1", "--no-deps"]);
        let output = cargo
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|error| Error::Spawn("cargo".to_owned(), error))?;
        if !output.status.success() {
            return Err(Error::Program("cargo metadata".to_owned(), output.status));
        }
        serde_json::from_slice(&output.stdout)
            .map_err(|error| Error::Malformed("cargo metadata".into(), error.to_string()))
    }

    /// The member that has the program `bin`.
    pub(crate) fn package_of(&self, bin: &str) -> Option<&Package> {
        self.packages.iter().find(|package| {
            let mut targets = package.targets.iter();
            targets.any(|target| target.name == bin && target.kind.iter().any(|kind| kind == "bin"))
        })
    }

    /// The member called `name`.
    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}
