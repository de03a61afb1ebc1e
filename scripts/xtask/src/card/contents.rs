//! The files on a card's boot partition.

use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::{Card, Package};

use super::disk::Files;
use crate::distribution::{Distribution, Record};
use crate::error::{Error, Result};
use crate::workspace::Metadata;
use capelin_tree::Tree;

/// The file that says which packages the others are from.
const RECORDS: &str = "licences/packages.json";

/// Where firmware and device trees come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Firmware {
    /// The distribution's packages.
    Distribution,
    /// A folder with the files as they are called on the card.
    Folder(PathBuf),
}

/// The files of others.
///
/// # Errors
/// If one can't be had.
pub(crate) fn firmware(card: &Card, from: &Firmware) -> Result<Files> {
    match from {
        Firmware::Folder(folder) => of_folder(card, folder),
        Firmware::Distribution => {
            let folder = Metadata::load()?.target_directory.join("firmware");
            of_distribution(card, &Distribution::open(folder))
        }
    }
}

/// Our own files; `boot_image` is the kernel's.
///
/// # Errors
/// If it can't be read.
pub(crate) fn own(card: &Card, boot_image: &Path) -> Result<Files> {
    let kernel = fs::read(boot_image).map_err(|error| Error::File(boot_image.to_owned(), error))?;
    let mut files = Files::from([(card.kernel.to_owned(), kernel)]);
    for (name, text) in card.files {
        files.insert((*name).to_owned(), text.as_bytes().to_vec());
    }
    for (name, changes) in card.overlays {
        let changes = changes.iter().map(|it| (it.node, it.strings));
        let overlay = Tree::overlay(changes).to_bytes();
        files.insert((*name).to_owned(), overlay);
    }
    Ok(files)
}

/// From `folder`, licences too, where there are any.
fn of_folder(card: &Card, folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut missing = Vec::new();
    for package in card.packages {
        for (_, name) in package.files {
            match fs::read(folder.join(name)) {
                Ok(contents) => drop(files.insert((*name).to_owned(), contents)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    missing.push(format!("{name} (from {})", package.name));
                }
                Err(error) => return Err(Error::File(folder.join(name), error)),
            }
        }
        if let Ok(licence) = fs::read(folder.join(package.licence)) {
            files.insert(package.licence.to_owned(), licence);
        }
    }
    if missing.is_empty() {
        Ok(files)
    } else {
        let what = format!("lacks {}", missing.join(", "));
        Err(Error::Malformed(folder.to_owned(), what))
    }
}

fn of_distribution(card: &Card, distribution: &Distribution) -> Result<Files> {
    let mut files = Files::new();
    let mut records: Vec<Record> = Vec::new();
    for package in card.packages {
        let mut patterns: Vec<_> = package
            .files
            .iter()
            .map(|(path, _)| (*path).to_owned())
            .collect();
        patterns.push("usr/share/doc/*/copyright".to_owned());
        let found = distribution.package(package.name, &patterns)?;
        let licence = format!("usr/share/doc/{}/copyright", found.record.package);
        for (path, name) in all_files(package, &licence) {
            let path = resolve(&found.folder, path)?;
            let contents = fs::read(&path).map_err(|error| Error::File(path, error))?;
            files.insert(name.to_owned(), contents);
        }
        records.push(found.record);
    }
    let json = serde_json::to_vec_pretty(&records)
        .map_err(|error| Error::Malformed(RECORDS.into(), error.to_string()))?;
    files.insert(RECORDS.to_owned(), json);
    Ok(files)
}

/// Path in the package and name on the card of all that is taken from it.
fn all_files<'a>(
    package: &'a Package,
    licence: &'a str,
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let files = package.files.iter().copied();
    files.chain(std::iter::once((licence, package.licence)))
}

/// `path` below `folder`, in which a part `*` stands for the only folder there.
fn resolve(folder: &Path, path: &str) -> Result<PathBuf> {
    let mut place = folder.to_owned();
    for part in path.split('/') {
        if part != "*" {
            place.push(part);
            continue;
        }
        let entries = fs::read_dir(&place).map_err(|error| Error::File(place.clone(), error))?;
        let entries: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        match &*entries {
            [only] => place = only.clone(),
            _ => {
                let what = format!("holds {} folders instead of one", entries.len());
                return Err(Error::Malformed(place, what));
            }
        }
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::config::Config;
    use crate::card::declared;
    use crate::platforms;

    fn rpi4() -> Card {
        declared(platforms::find("rpi4").unwrap()).unwrap()
    }

    #[test]
    fn our_config_is_understood_and_names_what_is_on_the_card() {
        let card = rpi4();
        let own = own(&card, "/dev/null".as_ref()).unwrap();
        let config = Config::parse(std::str::from_utf8(&own["config.txt"]).unwrap());
        assert_eq!(config.complaints, []);
        assert_eq!(config.kernel, card.kernel);
        assert!(
            config.enable_uart,
            "the mini UART has no fixed speed otherwise"
        );
        let of_packages = |name: &str| {
            let files = card.packages.iter().flat_map(|package| package.files);
            files.map(|(_, name)| *name).any(|other| other == name)
        };
        assert!(of_packages(&config.armstub.unwrap()));
        assert!(own.contains_key(&config.command_line));
        for name in [
            "start4.elf",
            "fixup4.dat",
            "bcm2711-rpi-4-b.dtb",
            "bcm2711-rpi-400.dtb",
            "bcm2711-rpi-cm4.dtb",
        ] {
            assert!(of_packages(name), "{name}");
        }
    }

    #[test]
    fn a_folder_that_lacks_files_is_told_which() {
        let folder = std::env::temp_dir().join(format!("capelin-firmware-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for (_, name) in rpi4().packages.iter().flat_map(|package| package.files) {
            fs::write(folder.join(name), name).unwrap();
        }
        let complete = of_folder(&rpi4(), &folder);
        fs::remove_file(folder.join("start4.elf")).unwrap();
        let lacking = of_folder(&rpi4(), &folder);
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(complete.unwrap()["start4.elf"], b"start4.elf");
        let said = lacking.unwrap_err().to_string();
        assert!(
            said.contains("lacks start4.elf (from raspi-firmware)"),
            "{said}"
        );
    }
}
