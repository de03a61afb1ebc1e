//! The card's partitions: an MBR with a FAT32 boot partition and a FAT partition for files behind it.
//!
//! ```text
//! 0        MBR (UEFI 2.10, 5.2.1): partition 1 FAT32 (type 0x0c), partition 2 FAT (0x0c or 0x0e)
//! 1 MiB    boot partition
//! …        data partition, to the end
//! ```
//!
//! The same contents give the same bytes: files go in sorted by name, their dates are FAT's earliest, and the volumes'
//! numbers are fixed.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read as _, Write as _};
use std::ops::Range;

use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian as le};

const SECTOR_BYTES: u64 = 512;
/// Where the first partition starts: at 1 MiB, as everywhere, so that a card's erase blocks aren't shared.
const FIRST_BYTE: u64 = 1 << 20;
const PARTITIONS_AT: Range<usize> = 446..510;
const BOOT_SIGNATURE: [u8; 2] = [0x55, 0xaa];
/// FAT32, addressed by block (LBA).
const TYPE_FAT32: u8 = 0x0c;
/// FAT16, addressed by block (LBA).
const TYPE_FAT16: u8 = 0x0e;
/// Says in the old fields for cylinder, head and sector that the place can't be told by them.
const NO_CHS: [u8; 3] = [0xfe, 0xff, 0xff];
/// "CAPE".
const DISK_NUMBER: [u8; 4] = *b"CAPE";

/// Files by their path, parts separated by `/`.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Why a card can't be written or read.
#[derive(Debug)]
pub(crate) enum DiskError {
    /// A partition can't be formatted, or its files don't fit, or aren't there.
    Fat(io::Error),
    /// The image is too short for its partition table.
    Cut,
    /// There is no partition table.
    NoTable,
    /// The first partition isn't FAT32 or FAT16.
    NoBootPartition,
    /// The second one isn't.
    NoDataPartition,
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fat(error) => write!(f, "FAT: {error}"),
            Self::Cut => f.write_str("the card ends before its partitions do"),
            Self::NoTable => f.write_str("the card has no partition table"),
            Self::NoBootPartition => f.write_str("the card's first partition isn't FAT"),
            Self::NoDataPartition => f.write_str("the card's second partition isn't FAT"),
        }
    }
}

impl From<io::Error> for DiskError {
    fn from(error: io::Error) -> Self {
        Self::Fat(error)
    }
}

/// An entry of the partition table.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct Partition {
    active: u8,
    first_chs: [u8; 3],
    kind: u8,
    last_chs: [u8; 3],
    first_sector: le::U32,
    sectors: le::U32,
}

impl Partition {
    fn bytes(&self) -> Result<Range<usize>, DiskError> {
        let sector = |number: u32| usize::try_from(u64::from(number) * SECTOR_BYTES);
        let first = sector(self.first_sector.get()).map_err(|_| DiskError::Cut)?;
        let length = sector(self.sectors.get()).map_err(|_| DiskError::Cut)?;
        Ok(first..first.checked_add(length).ok_or(DiskError::Cut)?)
    }
}

/// A card with `boot` on its boot partition, and `data` on the partition for files.
///
/// # Errors
/// If the files don't fit.
pub(crate) fn write(
    boot_bytes: u64,
    data_bytes: u64,
    boot: &Files,
    data: &Files,
) -> Result<Vec<u8>, DiskError> {
    let boot_partition = partition(TYPE_FAT32, FIRST_BYTE, boot_bytes)?;
    let data_partition = partition(TYPE_FAT16, FIRST_BYTE + boot_bytes, data_bytes)?;
    let length =
        usize::try_from(FIRST_BYTE + boot_bytes + data_bytes).map_err(|_| DiskError::Cut)?;
    let mut card = vec![0; length];
    let table = [boot_partition, data_partition];
    card[440..444].copy_from_slice(&DISK_NUMBER);
    card[PARTITIONS_AT][..32].copy_from_slice(table.as_bytes());
    card[510..512].copy_from_slice(&BOOT_SIGNATURE);

    let boot_options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(u32::from_le_bytes(*b"BOOT"))
        .volume_label(*b"CAPELIN    ");
    format(&mut card[boot_partition.bytes()?], boot_options, boot)?;
    let data_options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat16)
        .volume_id(u32::from_le_bytes(*b"DATA"))
        .volume_label(*b"FILES      ");
    format(&mut card[data_partition.bytes()?], data_options, data)?;
    Ok(card)
}

/// A disk with one FAT32 partition of `bytes` bytes, marked to be booted from, and `files` on it.
///
/// # Errors
/// If the files don't fit.
pub(super) fn write_one(bytes: u64, files: &Files) -> Result<Vec<u8>, DiskError> {
    const ACTIVE: u8 = 0x80;
    let only = Partition {
        active: ACTIVE,
        ..partition(TYPE_FAT32, FIRST_BYTE, bytes)?
    };
    let mut disk = vec![0; usize::try_from(FIRST_BYTE + bytes).map_err(|_| DiskError::Cut)?];
    disk[440..444].copy_from_slice(&DISK_NUMBER);
    disk[PARTITIONS_AT][..16].copy_from_slice(only.as_bytes());
    disk[510..512].copy_from_slice(&BOOT_SIGNATURE);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(u32::from_le_bytes(*b"BOOT"))
        .volume_label(*b"CAPELIN    ");
    format(&mut disk[only.bytes()?], options, files)?;
    Ok(disk)
}

fn partition(kind: u8, first: u64, bytes: u64) -> Result<Partition, DiskError> {
    let sectors = |bytes: u64| u32::try_from(bytes / SECTOR_BYTES).map_err(|_| DiskError::Cut);
    Ok(Partition {
        active: 0,
        first_chs: NO_CHS,
        kind,
        last_chs: NO_CHS,
        first_sector: sectors(first)?.into(),
        sectors: sectors(bytes)?.into(),
    })
}

fn format(bytes: &mut [u8], options: FormatVolumeOptions, files: &Files) -> Result<(), DiskError> {
    let mut partition = Cursor::new(bytes);
    fatfs::format_volume(&mut partition, options)?;
    let volume = FileSystem::new(&mut partition, FsOptions::new())?;
    let root = volume.root_dir();
    for (path, contents) in files {
        for (at, _) in path.match_indices('/') {
            // One that is there is opened.
            root.create_dir(&path[..at])?;
        }
        let mut file = root.create_file(path)?;
        file.truncate()?;
        file.write_all(contents)?;
        file.flush()?;
    }
    drop(root);
    volume.unmount()?;
    Ok(())
}

/// Formats an EFI system partition with `files` on it.
///
/// # Errors
/// If they don't fit.
pub(super) fn format_system_partition(bytes: &mut [u8], files: &Files) -> Result<(), DiskError> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512)
        .volume_id(u32::from_le_bytes(*b"UEFI"))
        .volume_label(*b"CAPELIN    ");
    format(bytes, options, files)
}

/// Formats the volume of a disc that UEFI boots from, as FAT16, which removable media may have (UEFI 2.10, 13.3.1), with
/// `files` on it.
///
/// # Errors
/// If they don't fit.
pub(super) fn format_boot_volume(bytes: &mut [u8], files: &Files) -> Result<(), DiskError> {
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat16)
        .bytes_per_cluster(2048)
        .volume_id(u32::from_le_bytes(*b"DISC"))
        .volume_label(*b"CAPELIN    ");
    format(bytes, options, files)
}

/// The files of the boot partition of `card`, found as firmware finds it: the first partition that is FAT.
///
/// # Errors
/// If there is none, or it is damaged.
pub(crate) fn read(card: &mut [u8]) -> Result<Files, DiskError> {
    let table = partitions(card)?;
    let is_fat = |it: &&Partition| matches!(it.kind, TYPE_FAT32 | TYPE_FAT16);
    let boot = table.iter().find(is_fat);
    let range = boot.ok_or(DiskError::NoBootPartition)?.bytes()?;
    read_volume(card.get_mut(range).ok_or(DiskError::Cut)?)
}

/// The files of the second partition of `card`.
///
/// # Errors
/// If there is none, or it is damaged.
pub(crate) fn read_data(card: &mut [u8]) -> Result<Files, DiskError> {
    let [_, data, ..] = partitions(card)?;
    if !matches!(data.kind, TYPE_FAT32 | TYPE_FAT16) {
        return Err(DiskError::NoDataPartition);
    }
    read_volume(card.get_mut(data.bytes()?).ok_or(DiskError::Cut)?)
}

fn partitions(card: &[u8]) -> Result<[Partition; 4], DiskError> {
    let table = card.get(..512).ok_or(DiskError::NoTable)?;
    if table[510..512] != BOOT_SIGNATURE {
        return Err(DiskError::NoTable);
    }
    <[Partition; 4]>::read_from_bytes(&table[PARTITIONS_AT]).map_err(|_| DiskError::NoTable)
}

/// The files of a FAT volume.
///
/// # Errors
/// If it is damaged.
pub(super) fn read_volume(bytes: &mut [u8]) -> Result<Files, DiskError> {
    let mut partition = Cursor::new(bytes);
    let options = FsOptions::new().update_accessed_date(false);
    let volume = FileSystem::new(&mut partition, options)?;
    let mut files = Files::new();
    collect(&volume.root_dir(), "", &mut files)?;
    Ok(files)
}

type Folder<'a, 'b, 'c> = fatfs::Dir<'a, &'b mut Cursor<&'c mut [u8]>>;

fn collect(folder: &Folder<'_, '_, '_>, path: &str, files: &mut Files) -> Result<(), DiskError> {
    for entry in folder.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == "." || name == ".." {
            continue;
        }
        let path = format!("{path}{name}");
        if entry.is_dir() {
            collect(&entry.to_dir(), &format!("{path}/"), files)?;
        } else {
            let mut contents = Vec::new();
            entry.to_file().read_to_end(&mut contents)?;
            files.insert(path, contents);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: u64 = 40 << 20;
    const DATA: u64 = 5 << 20;

    fn files() -> Files {
        let large: Vec<u8> = (0..3_000_000_u32).map(|it| it.to_le_bytes()[0]).collect();
        [
            ("config.txt", b"kernel=kernel8.img\n".to_vec()),
            ("kernel8.img", large),
            ("overlays/a-long-name-with-dashes.dtbo", vec![1]),
            ("overlays/b", vec![]),
        ]
        .map(|(name, contents)| (name.to_owned(), contents))
        .into()
    }

    fn data() -> Files {
        [("notes.txt", b"milk".to_vec()), ("logs/A.TXT", vec![])]
            .map(|(name, contents)| (name.to_owned(), contents))
            .into()
    }

    #[test]
    fn what_is_written_is_read_and_always_the_same() {
        let mut card = write(BOOT, DATA, &files(), &data()).unwrap();
        assert_eq!(card, write(BOOT, DATA, &files(), &data()).unwrap());
        assert_eq!(card.len() as u64, FIRST_BYTE + BOOT + DATA);
        assert_eq!(read(&mut card).unwrap(), files());
        assert_eq!(read_data(&mut card).unwrap(), data());
    }

    #[test]
    fn the_table_is_what_firmware_and_other_systems_read() {
        let card = write(BOOT, DATA, &files(), &data()).unwrap();
        assert_eq!(card[510..512], [0x55, 0xaa]);
        // Partition 1: type, first sector 2048, 81920 sectors; partition 2 behind it.
        assert_eq!(card[450], 0x0c);
        assert_eq!(card[454..462], [0, 8, 0, 0, 0, 0x40, 1, 0]);
        assert_eq!(card[466], 0x0e);
        assert_eq!(card[470..474], [0, 0x48, 1, 0]);
        // The volumes say themselves what they are (FAT specification, 3.2 and 3.3).
        assert_eq!(&card[(1 << 20) + 82..][..8], b"FAT32   ");
        assert_eq!(&card[(41 << 20) + 54..][..8], b"FAT16   ");
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let files = Files::from([("big".to_owned(), vec![0; 41 << 20])]);
        assert!(matches!(
            write(BOOT, DATA, &files, &data()),
            Err(DiskError::Fat(_))
        ));
    }

    #[test]
    fn damaged_cards_are_told() {
        assert!(matches!(read(&mut [0; 100]), Err(DiskError::NoTable)));
        assert!(matches!(read(&mut [0; 4096]), Err(DiskError::NoTable)));
        let mut card = write(BOOT, DATA, &files(), &data()).unwrap();
        assert!(matches!(read(&mut card[..2 << 20]), Err(DiskError::Cut)));
        card[450] = 0x83;
        card[466] = 0x83;
        assert!(matches!(
            read_data(&mut card),
            Err(DiskError::NoDataPartition)
        ));
        assert!(matches!(read(&mut card), Err(DiskError::NoBootPartition)));
        card[450] = 0x0c;
        card[1 << 20..][..512].fill(0);
        assert!(matches!(read(&mut card), Err(DiskError::Fat(_))));
    }
}
