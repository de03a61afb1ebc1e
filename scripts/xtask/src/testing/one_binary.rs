//! One CPU driver for all platforms: what is flashed for each holds the same, byte for byte.

use std::fs;
use std::path::PathBuf;

use capelin_archive::{Archive, MAGIC, ModuleKind};
use capelin_platform::{Medium, Platform};

use super::{Case, Context, Outcome};
use crate::build::{Image, Profile};
use crate::card::{self, contents, disk, server, uboot};
use crate::error::{Error, Result};
use crate::platforms;

/// What files begin at on the media that we write: their sectors.
const SECTOR: usize = 512;

pub(super) fn case() -> Case {
    Case {
        name: "qemu/platform/one-binary".to_owned(),
        is_long: false,
        run: Box::new(run),
    }
}

fn run(context: &Context) -> Result<Outcome> {
    let mut failures = Vec::new();
    let mut first: Option<(&str, Vec<u8>)> = None;
    for platform in platforms::ALL {
        for medium in media(context, platform)? {
            let kernels = kernels(&medium);
            let [kernel] = &*kernels else {
                failures.push(format!("{}: {} CPU drivers", platform.name, kernels.len()));
                continue;
            };
            match &first {
                None => first = Some((platform.name, kernel.clone())),
                Some((_, other)) if other == kernel => {}
                Some((other, _)) => {
                    failures.push(format!("{}'s isn't {other}'s", platform.name));
                }
            }
        }
    }
    Ok(Outcome::of(failures))
}

/// The bytes of all that `platform` boots from, without what others made.
fn media(context: &Context, platform: &Platform) -> Result<Vec<Vec<u8>>> {
    let image = context.image(platform.image)?;
    let path = match platform.medium {
        Medium::BootImage => image,
        Medium::Card(card) => {
            let path = context.folder.join("one-binary.img");
            let files = contents::own(&card, &image)?;
            card::write(&path, &card, &files, &disk::Files::new())?;
            path
        }
        Medium::Volume(volume) => {
            let path = context.folder.join("one-binary.img");
            let files = uboot::files(&volume, &image, uboot::Form::Plain, "")?;
            uboot::write(&path, &volume, &files)?;
            path
        }
        Medium::Disk(disk) => {
            let loader = Image::new(platform.image, None, Profile::Release)?.loader()?;
            let path = context.folder.join("one-binary.img");
            let files = server::files(&disk, &image, &loader, "")?;
            server::write(&path, &disk, &files)?;
            let iso = path.with_extension("iso");
            server::write_iso(&iso, &files)?;
            let file = server::network_file(&image, &loader, "")?;
            return Ok(vec![read(path)?, read(iso)?, file]);
        }
    };
    Ok(vec![read(path)?])
}

fn read(path: PathBuf) -> Result<Vec<u8>> {
    fs::read(&path).map_err(|error| Error::File(path, error))
}

/// The CPU drivers in all archives on a medium.
fn kernels(medium: &[u8]) -> Vec<Vec<u8>> {
    let starts = (0..medium.len()).step_by(SECTOR);
    let archives = starts.filter_map(|start| {
        let rest = medium.get(start..)?;
        rest.starts_with(&MAGIC)
            .then(|| Archive::parse(rest).ok())
            .flatten()
    });
    let modules = archives.flat_map(|archive| archive.modules());
    let kernels = modules.filter(|module| module.kind() == ModuleKind::Kernel);
    kernels.map(|module| module.data().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image;
    use capelin_archive::ModuleSpec;

    #[test]
    fn kernels_are_found_wherever_they_lie() {
        let module = |name: &str, kind, data: &[u8]| ModuleSpec {
            name: name.to_owned(),
            kind,
            uses_fp: false,
            data: data.to_vec(),
        };
        let archive = |data: &[u8]| {
            let modules = vec![
                module("a", ModuleKind::Raw, b"raw"),
                module("cpudriver", ModuleKind::Kernel, data),
            ];
            image::archive(modules).unwrap()
        };
        let mut medium = vec![0; 3 * SECTOR];
        medium.extend(archive(b"one"));
        medium.resize(medium.len().next_multiple_of(SECTOR), 0xff);
        medium.extend(&MAGIC);
        medium.resize(medium.len().next_multiple_of(SECTOR), 0);
        medium.extend(archive(b"two"));
        assert_eq!(kernels(&medium), [b"one".to_vec(), b"two".to_vec()]);
        assert!(kernels(&medium[1..]).is_empty());
    }
}
