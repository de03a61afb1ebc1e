//! What is done to a boot image before it is booted.

use capelin_archive::{Archive, ModuleSpec};
use serde::Deserialize;

/// Damage to a boot image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Damage {
    /// The archive is cut off.
    NoArchive,
    /// The second half of the archive is cut off.
    HalfArchive,
    /// A bit of the archive's directory is flipped.
    Directory,
    /// A bit in the middle of this module's data is flipped.
    Module(String),
    /// The archive is sound and lacks this module.
    Missing(String),
    /// The archive is sound, and this module is an ELF file for x86-64.
    OtherMachine(String),
    /// The archive is sound, and the CPU driver's entry code has an undefined instruction where it first has vectors.
    Entry,
    /// The archive is sound, and the CPU driver calls firmware by SMC where it means HVC, and the other way round. (QEMU
    /// writes its own conduit into any tree that it is given.)
    OtherConduit,
    /// The archive is sound, and the CPU driver reads of every core that it has CLRBHB (which is a hint, and so does
    /// nothing where it isn't known).
    ClearsHistory,
}

impl Damage {
    /// Does the damage to `image`, whose archive starts at `archive`.
    ///
    /// # Errors
    /// If the image has no such module.
    pub(crate) fn apply(&self, image: &mut Vec<u8>, archive: usize) -> Result<(), String> {
        let at = match self {
            Self::NoArchive => {
                image.truncate(archive);
                return Ok(());
            }
            Self::HalfArchive => {
                image.truncate(archive.midpoint(image.len()));
                return Ok(());
            }
            Self::Directory => archive + capelin_archive::HEADER_LEN + 8,
            Self::Module(name) => {
                let bytes = image.get(archive..).unwrap_or_default();
                let parsed = Archive::parse(bytes).map_err(|error| error.to_string())?;
                let module = parsed.find(name).ok_or(format!("has no module {name}"))?;
                archive + module.offset() + module.data().len() / 2
            }
            Self::Missing(name) => {
                return rewrite(image, archive, name, |module| {
                    (module.name != *name).then_some(module)
                });
            }
            Self::Entry => {
                // msr vbar_el1, x0; isb; and UDF is 0.
                let vectors = [0xd518_c000_u32, 0xd503_3fdf].map(u32::to_le_bytes);
                return rewrite(image, archive, "cpudriver", |mut module| {
                    let data = &mut module.data;
                    if module.name == "cpudriver"
                        && let Some(at) = data
                            .windows(8)
                            .position(|it| *it == *vectors.as_flattened())
                        && let Some(next) = data.get_mut(at + 8..at + 12)
                    {
                        next.fill(0);
                    }
                    Some(module)
                });
            }
            Self::OtherConduit => {
                // hvc #0, smc #0.
                let [hvc, smc] = [0xd400_0002_u32, 0xd400_0003].map(u32::to_le_bytes);
                return rewrite(image, archive, "cpudriver", |mut module| {
                    if module.name == "cpudriver" {
                        for word in module.data.as_chunks_mut().0 {
                            *word = match *word {
                                it if it == hvc => smc,
                                it if it == smc => hvc,
                                other => other,
                            };
                        }
                    }
                    Some(module)
                });
            }
            Self::ClearsHistory => {
                // mrs xN, id_aa64isar2_el1 becomes mov xN, #1 << 28 (CLRBHB).
                return rewrite(image, archive, "cpudriver", |mut module| {
                    if module.name == "cpudriver" {
                        for bytes in module.data.as_chunks_mut().0 {
                            let word = u32::from_le_bytes(*bytes);
                            if word & !0x1f == 0xd538_0640 {
                                *bytes = (0xd2a2_0000 | word & 0x1f).to_le_bytes();
                            }
                        }
                    }
                    Some(module)
                });
            }
            Self::OtherMachine(name) => {
                return rewrite(image, archive, name, |mut module| {
                    // ELF header: e_machine at 18, EM_X86_64 = 62.
                    if module.name == *name
                        && let Some(machine) = module.data.get_mut(18..20)
                    {
                        machine.copy_from_slice(&62_u16.to_le_bytes());
                    }
                    Some(module)
                });
            }
        };
        match image.get_mut(at) {
            Some(byte) => *byte ^= 0x10,
            None => return Err("is too short to be damaged there".to_owned()),
        }
        Ok(())
    }
}

/// Writes the archive anew, with what `change` makes of each module.
fn rewrite(
    image: &mut Vec<u8>,
    start: usize,
    name: &str,
    change: impl Fn(ModuleSpec) -> Option<ModuleSpec>,
) -> Result<(), String> {
    let bytes = image.get(start..).unwrap_or_default();
    let parsed = Archive::parse(bytes).map_err(|error| error.to_string())?;
    parsed.find(name).ok_or(format!("has no module {name}"))?;
    let modules = parsed.modules().filter_map(|module| {
        change(ModuleSpec {
            name: module.name().to_owned(),
            kind: module.kind(),
            uses_fp: module.uses_fp(),
            data: module.data().to_vec(),
        })
    });
    let archive = crate::image::archive(modules.collect()).map_err(|error| error.to_string())?;
    image.truncate(start);
    image.extend(archive);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use capelin_archive::{ArchiveError, ModuleKind};

    fn image() -> Vec<u8> {
        let module = |name: &str| ModuleSpec {
            name: name.to_owned(),
            kind: ModuleKind::Raw,
            uses_fp: false,
            data: vec![7; 100],
        };
        let archive = crate::image::archive(vec![module("init"), module("fish")]).unwrap();
        [vec![0; 4096], archive].concat()
    }

    fn damaged(damage: Damage) -> Vec<u8> {
        let mut image = image();
        damage.apply(&mut image, 4096).unwrap();
        image.split_off(4096)
    }

    #[test]
    fn damage_hits_what_it_names() {
        let bytes = damaged(Damage::Module("init".into()));
        let archive = Archive::parse(&bytes).unwrap();
        assert!(archive.find("init").unwrap().verify().is_err());
        assert!(archive.find("fish").unwrap().verify().is_ok());
        let refused = Archive::parse(&damaged(Damage::Directory)).err();
        assert_eq!(refused, Some(ArchiveError::DirectoryChecksum));
        assert!(damaged(Damage::NoArchive).is_empty());
        let refused = Archive::parse(&damaged(Damage::HalfArchive)).err();
        assert!(matches!(refused, Some(ArchiveError::Truncated { .. })));
    }

    #[test]
    fn archives_written_anew_are_sound() {
        let bytes = damaged(Damage::Missing("init".into()));
        let archive = Archive::parse(&bytes).unwrap();
        assert!(archive.find("init").is_none());
        assert!(archive.find("fish").unwrap().verify().is_ok());
        let bytes = damaged(Damage::OtherMachine("fish".into()));
        let archive = Archive::parse(&bytes).unwrap();
        let module = archive.find("fish").unwrap();
        assert!(module.verify().is_ok());
        assert_eq!(module.data()[17..21], [7, 62, 0, 7]);
        assert_eq!(archive.find("init").unwrap().data(), [7; 100]);
    }

    #[test]
    fn damage_to_what_is_not_there_is_refused() {
        assert!(
            Damage::Module("ghost".into())
                .apply(&mut image(), 4096)
                .is_err()
        );
        assert!(Damage::Directory.apply(&mut vec![0; 10], 10).is_err());
    }
}
