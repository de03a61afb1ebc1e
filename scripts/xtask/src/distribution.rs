//! Files from the distribution's arm64 packages, fetched by apt.
//!
//! apt works with a configuration, lists and a cache of its own, all in one folder ([`Distribution::open`]), so the
//! machine's sources and packages stay as they are. Its sources are made of the machine's own: those that have the
//! release that is installed are asked for the same release, for arm64, with the components that firmware is in
//! ([`sources`]). Signatures are checked as for any package. A package that is in the folder isn't fetched again.

mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Where the release's name stands.
const OS_RELEASE: &str = "/etc/os-release";
/// The file in a package's folder that says what it is; written last, so a folder without it is unfinished.
const RECORD: &str = "package.json";

/// A package's version and what it was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) package: String,
    pub(crate) version: String,
    /// SHA-256 of the package's file, in hexadecimal digits, as the signed list of the distribution has it.
    pub(crate) sha256: String,
}

/// A package that has been taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) record: Record,
    /// Holds what the package would install, below its root.
    pub(crate) folder: PathBuf,
}

/// The distribution's arm64 packages.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    folder: PathBuf,
}

impl Distribution {
    /// With `folder` as the place for all that is fetched.
    pub(crate) fn open(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The package `name`, of which the files that `patterns` match (for `tar`: `*` and `?` match anything) are needed;
    /// from the folder, or fetched.
    ///
    /// # Errors
    /// If there is no apt, no network, or no such package.
    pub(crate) fn package(&self, name: &str, patterns: &[String]) -> Result<Package> {
        self.package_for(name, name, patterns)
    }

    /// As [`Self::package`], in a folder for this `purpose`, so that who needs other files of a package takes none from
    /// others.
    ///
    /// # Errors
    /// As [`Self::package`].
    pub(crate) fn package_for(
        &self,
        purpose: &str,
        name: &str,
        patterns: &[String],
    ) -> Result<Package> {
        let folder = self.folder.join(purpose);
        if let Some(record) = recorded(&folder) {
            return Ok(Package { record, folder });
        }
        self.prepare()?;
        let record = self.newest(name)?;
        let files = self.folder.join("download");
        recreate(&files)?;
        let mut apt = self.apt("apt-get");
        apt.current_dir(&files)
            .args(["download", &record.package])
            .stdout(Stdio::null());
        run(apt)?;
        let entry = fs::read_dir(&files).map_err(|error| Error::File(files.clone(), error))?;
        let file = entry
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
            .ok_or_else(|| {
                Error::Malformed(files.clone(), "apt-get download left no file".into())
            })?;
        let content = folder.with_extension("part");
        recreate(&content)?;
        unpack(&file, &content, patterns)?;
        let json = serde_json::to_vec_pretty(&record)
            .map_err(|error| Error::Malformed(content.join(RECORD), error.to_string()))?;
        write(&content.join(RECORD), &json)?;
        remove(&folder)?;
        fs::rename(&content, &folder).map_err(|error| Error::File(folder.clone(), error))?;
        remove(&files)?;
        Ok(Package { record, folder })
    }

    /// Configuration and lists, if they aren't there.
    fn prepare(&self) -> Result<()> {
        let configuration = self.folder.join("apt.conf");
        if configuration.exists() {
            return Ok(());
        }
        let release = fs::read_to_string(OS_RELEASE)
            .map_err(|error| Error::File(OS_RELEASE.into(), error))?;
        let release = sources::codename(&release).ok_or_else(|| {
            Error::Malformed(
                OS_RELEASE.into(),
                "names no release of a distribution with apt".into(),
            )
        })?;
        let apt_folder = Path::new("/etc/apt");
        let text = sources::derive(apt_folder, release).ok_or_else(|| {
            let what =
                format!("has no source of {release} that packages for arm64 could come from");
            Error::Malformed(apt_folder.into(), what)
        })?;
        for folder in [
            "sources",
            "state/lists/partial",
            "cache/archives/partial",
            "none",
        ] {
            let folder = self.folder.join("apt").join(folder);
            fs::create_dir_all(&folder).map_err(|error| Error::File(folder, error))?;
        }
        write(
            &self.folder.join("apt/sources/capelin.sources"),
            text.as_bytes(),
        )?;
        let unfinished = self.folder.join("apt/apt.conf");
        write(&unfinished, self.configuration().as_bytes())?;
        let mut apt = self.apt("apt-get");
        apt.arg("update").stdout(Stdio::null());
        run(apt)?;
        fs::copy(&unfinished, &configuration)
            .map(drop)
            .map_err(|error| Error::File(configuration.clone(), error))
    }

    /// apt's configuration, which comes after the machine's own (a proxy there is used).
    fn configuration(&self) -> String {
        let folder = self.folder.join("apt");
        let folder = folder.display();
        format!(
            "APT::Architecture \"arm64\";\n\
             APT::Architectures {{ \"arm64\"; }};\n\
             APT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n\
             Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled \"false\";\n\
             Acquire::Retries \"2\";\n\
             #clear APT::Update::Post-Invoke;\n\
             #clear APT::Update::Post-Invoke-Success;\n\
             Dir::State \"{folder}/state\";\n\
             Dir::State::status \"{folder}/state/status\";\n\
             Dir::Cache \"{folder}/cache\";\n\
             Dir::Etc::SourceList \"{folder}/none/sources.list\";\n\
             Dir::Etc::SourceParts \"{folder}/sources\";\n\
             Dir::Etc::PreferencesParts \"{folder}/none\";\n\
             Dir::Etc::Preferences \"{folder}/none/preferences\";\n"
        )
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
            .arg("-q")
            .arg("-c")
            .arg(self.folder.join("apt/apt.conf"));
        command
    }

    /// The package that `name` is, or, if `name` has no files of its own, that it depends on.
    fn newest(&self, name: &str) -> Result<Record> {
        let record = self.show(name)?;
        let malformed =
            |what: &str| Error::Malformed(format!("package {name}").into(), what.into());
        let record = match record.field("Depends").and_then(sole_dependency) {
            Some(other) if record.is_empty_package() => self.show(other)?,
            _ => record,
        };
        let field = |name: &str| record.field(name).map(str::to_owned);
        Ok(Record {
            package: field("Package").ok_or_else(|| malformed("has no name"))?,
            version: field("Version").ok_or_else(|| malformed("has no version"))?,
            sha256: field("SHA256").ok_or_else(|| malformed("has no checksum"))?,
        })
    }

    fn show(&self, name: &str) -> Result<Shown> {
        let mut apt = self.apt("apt-cache");
        apt.args(["show", "--no-all-versions", name]);
        let output = apt
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Error::Spawn("apt-cache".to_owned(), error))?;
        if !output.status.success() {
            return Err(Error::Program(
                format!("apt-cache show {name}"),
                output.status,
            ));
        }
        Ok(Shown(String::from_utf8_lossy(&output.stdout).into_owned()))
    }
}

/// What `apt-cache show` says of a package.
#[derive(Clone, Debug)]
struct Shown(String);

impl Shown {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.0.lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        values.next().map(str::trim)
    }

    /// Whether it has nothing but documentation: Debian's packages that only depend on another are that small.
    fn is_empty_package(&self) -> bool {
        let kib = self
            .field("Installed-Size")
            .and_then(|text| text.parse().ok());
        kib.is_some_and(|kib: u32| kib < 64)
    }
}

/// The package that `depends` names, if it is one only.
fn sole_dependency(depends: &str) -> Option<&str> {
    let (name, rest) = match depends.split_once(' ') {
        Some((name, rest)) => (name, rest),
        None => (depends, ""),
    };
    (!rest.contains(',') && !name.ends_with(',') && !rest.contains('|')).then_some(name)
}

fn recorded(folder: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(folder.join(RECORD)).ok()?).ok()
}

/// Takes the files that `patterns` match out of the package `file`.
fn unpack(file: &Path, folder: &Path, patterns: &[String]) -> Result<()> {
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Error::Spawn("dpkg-deb".to_owned(), error))?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--no-same-owner", "--wildcards", "-C"])
        .arg(folder);
    tar.args(patterns.iter().map(|pattern| format!("./{pattern}")));
    if let Some(output) = archive.stdout.take() {
        tar.stdin(output);
    }
    let taken = run(tar);
    let status = archive
        .wait()
        .map_err(|error| Error::Spawn("dpkg-deb".to_owned(), error))?;
    taken?;
    if status.success() {
        Ok(())
    } else {
        Err(Error::Program("dpkg-deb".to_owned(), status))
    }
}

fn run(command: Command) -> Result<()> {
    crate::workspace::run(command)
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::File(folder.to_owned(), error))
        }
        _ => Ok(()),
    }
}

fn recreate(folder: &Path) -> Result<()> {
    remove(folder)?;
    fs::create_dir_all(folder).map_err(|error| Error::File(folder.to_owned(), error))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(|error| Error::File(path.to_owned(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_that_only_depends_on_another() {
        let shown = Shown(
            "Package: linux-image-arm64\nVersion: 6.1\nInstalled-Size: 13\nDepends: linux-image-6.1.0-50-arm64 (= 6.1)\n"
                .to_owned(),
        );
        assert!(shown.is_empty_package());
        assert_eq!(
            shown.field("Depends").and_then(sole_dependency),
            Some("linux-image-6.1.0-50-arm64")
        );
        assert_eq!(sole_dependency("a, b"), None);
        assert_eq!(sole_dependency("a | b"), None);
        assert_eq!(sole_dependency("a"), Some("a"));
        assert!(!Shown("Installed-Size: 22281\n".to_owned()).is_empty_package());
    }
}
