//! An ISO image (ECMA-119) from which UEFI boots by El Torito (UEFI 2.10, 13.3.2.1), for virtual media of servers' management
//! controllers, and for discs.
//!
//! ```text
//! sector 0     MBR with the volume as EFI system partition, so that the image can be put on a stick as well
//!        16    primary volume descriptor, 17 boot record, 18 the end of descriptors
//!        19    path table, 20 the same with its most significant bytes first
//!        21    root folder: BOOT.CAT, EFI.IMG
//!        22    boot catalogue (BOOT.CAT)
//!        32…   FAT volume with the loader's files (EFI.IMG)
//! ```
//!
//! Sectors have 2048 bytes, but where El Torito and the MBR count by 512. The same contents give the same bytes: there
//! are no dates.

use super::disk::{self, DiskError, Files};

/// Bytes of a sector.
const SECTOR: u32 = 2048;
/// Sectors that El Torito and the MBR count.
const SMALL_SECTOR: u32 = 512;
const DESCRIPTORS: u32 = 16;
const PATHS: u32 = 19;
const PATHS_BIG_ENDIAN: u32 = 20;
const ROOT: u32 = 21;
const CATALOGUE: u32 = 22;
const VOLUME: u32 = 32;
/// Bytes that FAT itself and the ends of files take at most, and the fewest of a FAT16 of such clusters as ours.
const SPARE_BYTES: usize = 1 << 20;
const LEAST_BYTES: usize = 9 << 20;
/// Of the path table: the root alone.
const PATH_BYTES: u32 = 10;
/// EFI's platform in a boot catalogue (UEFI 2.10, 13.3.2.1), and its partitions in an MBR (5.2.2).
const EFI: u8 = 0xef;
const FOLDER: u8 = 2;

/// An ISO image with `files` on the volume that UEFI boots from.
///
/// # Errors
/// If they don't fit.
pub(crate) fn write(files: &Files) -> Result<Vec<u8>, DiskError> {
    let contents: usize = files
        .values()
        .map(|it| it.len().next_multiple_of(SECTOR as usize))
        .sum();
    let volume_bytes = (contents + SPARE_BYTES)
        .max(LEAST_BYTES)
        .next_multiple_of(1 << 20);
    let mut image = vec![0; at(VOLUME) + volume_bytes];
    let volume = number(volume_bytes)?;
    let sectors = number(image.len())? / SECTOR;
    disk::format_boot_volume(&mut image[at(VOLUME)..], files)?;

    image[446..462].copy_from_slice(&partition(volume));
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    put(&mut image, DESCRIPTORS, &primary(sectors));
    put(&mut image, DESCRIPTORS + 1, &boot_record());
    put(&mut image, DESCRIPTORS + 2, &descriptor(255));
    // A path table (ECMA-119, 9.4): the root, which is its own parent.
    let root = ROOT;
    let path = |place: [u8; 4], parent: [u8; 2]| [&[1, 0][..], &place, &parent, &[0, 0]].concat();
    put(&mut image, PATHS, &path(root.to_le_bytes(), [1, 0]));
    put(
        &mut image,
        PATHS_BIG_ENDIAN,
        &path(root.to_be_bytes(), [0, 1]),
    );
    let entries = [
        record(&[0], root, SECTOR, FOLDER),
        record(&[1], root, SECTOR, FOLDER),
        record(b"BOOT.CAT;1", CATALOGUE, SECTOR, 0),
        record(b"EFI.IMG;1", VOLUME, volume, 0),
    ];
    put(&mut image, ROOT, &entries.concat());
    put(&mut image, CATALOGUE, &catalogue(volume));
    Ok(image)
}

/// Where a sector starts, in bytes.
const fn at(sector: u32) -> usize {
    sector as usize * SECTOR as usize
}

fn put(image: &mut [u8], sector: u32, bytes: &[u8]) {
    image[at(sector)..][..bytes.len()].copy_from_slice(bytes);
}

fn number(value: usize) -> Result<u32, DiskError> {
    u32::try_from(value).map_err(|_| DiskError::Cut)
}

/// A number in both orders of its bytes (ECMA-119, 7.3.3 and 7.2.3).
fn both(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn both_halves(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// A volume descriptor of a kind, without what is particular to it (8.1).
fn descriptor(kind: u8) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR as usize];
    bytes[0] = kind;
    bytes[1..6].copy_from_slice(b"CD001");
    bytes[6] = 1;
    bytes
}

/// The primary volume descriptor (8.4) of a volume of `sectors`.
fn primary(sectors: u32) -> Vec<u8> {
    let mut bytes = descriptor(1);
    bytes[8..72].fill(b' ');
    bytes[40..47].copy_from_slice(b"CAPELIN");
    bytes[80..88].copy_from_slice(&both(sectors));
    bytes[120..124].copy_from_slice(&both_halves(1));
    bytes[124..128].copy_from_slice(&both_halves(1));
    bytes[128..132].copy_from_slice(&both_halves(2048));
    bytes[132..140].copy_from_slice(&both(PATH_BYTES));
    bytes[140..144].copy_from_slice(&(PATHS).to_le_bytes());
    bytes[148..152].copy_from_slice(&(PATHS_BIG_ENDIAN).to_be_bytes());
    bytes[156..190].copy_from_slice(&record(&[0], ROOT, SECTOR, FOLDER));
    bytes[190..813].fill(b' ');
    // Four dates that aren't given (8.4.26.1).
    for date in bytes[813..881].chunks_exact_mut(17) {
        date[..16].fill(b'0');
    }
    bytes[881] = 1;
    bytes
}

/// El Torito's boot record, which says where the catalogue is (El Torito 1.0, figure 7).
fn boot_record() -> Vec<u8> {
    let mut bytes = descriptor(0);
    bytes[7..30].copy_from_slice(b"EL TORITO SPECIFICATION");
    bytes[71..75].copy_from_slice(&(CATALOGUE).to_le_bytes());
    bytes
}

/// An entry of a folder (ECMA-119, 9.1), without a date.
fn record(name: &[u8], sector: u32, bytes: u32, flags: u8) -> Vec<u8> {
    // Our names have ten letters at most.
    let name_bytes = u8::try_from(name.len()).unwrap_or(u8::MAX);
    let length = 33 + name_bytes + (1 - name_bytes % 2);
    let mut record = vec![length, 0];
    record.extend(both(sector));
    record.extend(both(bytes));
    record.extend([0; 7]);
    record.extend([flags, 0, 0]);
    record.extend(both_halves(1));
    record.push(name_bytes);
    record.extend(name);
    record.resize(length.into(), 0);
    record
}

/// The boot catalogue (El Torito 1.0, figures 2 and 3): a volume of `bytes` for EFI, without emulation.
fn catalogue(bytes: u32) -> Vec<u8> {
    let mut validation = [0; 32];
    validation[..2].copy_from_slice(&[1, EFI]);
    validation[4..11].copy_from_slice(b"CAPELIN");
    validation[30..].copy_from_slice(&[0x55, 0xaa]);
    let halves = validation.as_chunks::<2>().0.iter();
    let sum = halves.fold(0_u16, |sum, &half| {
        sum.wrapping_add(u16::from_le_bytes(half))
    });
    validation[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    // What 16 bits can't say is said by 0: all to the end of the disc.
    let sectors = u16::try_from(bytes / SMALL_SECTOR).unwrap_or(0);
    let mut entry = [0; 32];
    entry[0] = 0x88;
    entry[6..8].copy_from_slice(&sectors.to_le_bytes());
    entry[8..12].copy_from_slice(&(VOLUME).to_le_bytes());
    [validation, entry].concat()
}

/// The MBR's entry for the volume (UEFI 2.10, 5.2.1), which firmware reads when the image is on a stick.
fn partition(bytes: u32) -> [u8; 16] {
    let mut entry = [
        0, 0xfe, 0xff, 0xff, EFI, 0xfe, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let first = VOLUME * SECTOR / SMALL_SECTOR;
    entry[8..12].copy_from_slice(&first.to_le_bytes());
    entry[12..].copy_from_slice(&(bytes / SMALL_SECTOR).to_le_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = super::SECTOR as usize;

    fn files(bytes: usize) -> Files {
        [
            ("EFI/BOOT/BOOTAA64.EFI", vec![1; 3000]),
            ("EFI/capelin/capelin.img", vec![2; bytes]),
        ]
        .map(|(name, contents)| (name.to_owned(), contents))
        .into()
    }

    fn word(image: &[u8], at: usize) -> usize {
        u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize
    }

    /// What El Torito says is the volume that UEFI boots from, as firmware finds it.
    fn volume(image: &mut [u8]) -> &mut [u8] {
        let record = 17 * SECTOR;
        assert_eq!(&image[record..record + 6], b"\0CD001");
        assert_eq!(&image[record + 7..record + 30], b"EL TORITO SPECIFICATION");
        let catalogue = word(image, record + 71) * SECTOR;
        let validation = &image[catalogue..catalogue + 32];
        assert_eq!((validation[0], validation[1]), (1, 0xef));
        let sum: u32 = validation
            .chunks(2)
            .map(|it| u32::from(it[0]) + 256 * u32::from(it[1]))
            .sum();
        assert_eq!((sum % 65536, &validation[30..]), (0, &[0x55, 0xaa][..]));
        let entry = catalogue + 32;
        assert_eq!((image[entry], image[entry + 1]), (0x88, 0));
        let start = word(image, entry + 8) * SECTOR;
        let small_sectors = usize::from(image[entry + 6]) + 256 * usize::from(image[entry + 7]);
        let end = match small_sectors {
            0 => word(image, 16 * SECTOR + 80) * SECTOR,
            some => start + some * 512,
        };
        &mut image[start..end]
    }

    #[test]
    fn firmware_finds_the_files_and_their_order_is_fixed() {
        // A volume whose length fits into 16 bits, and one whose doesn't.
        for bytes in [100, 40 << 20] {
            let mut image = write(&files(bytes)).unwrap();
            assert_eq!(image, write(&files(bytes)).unwrap());
            let end = image.len();
            assert_eq!(disk::read_volume(volume(&mut image)).unwrap(), files(bytes));
            // The same volume by the MBR.
            assert_eq!((image[450], &image[510..512]), (0xef, &[0x55, 0xaa][..]));
            let (first, count) = (word(&image, 454) * 512, word(&image, 458) * 512);
            assert_eq!(first + count, end);
            assert_eq!(
                disk::read_volume(&mut image[first..]).unwrap(),
                files(bytes)
            );
        }
    }

    /// ECMA-119: descriptors, path tables, and the root's entries.
    #[test]
    fn other_systems_read_the_disc() {
        let image = write(&files(100)).unwrap();
        let primary = &image[16 * SECTOR..17 * SECTOR];
        assert_eq!(&primary[..7], b"\x01CD001\x01");
        assert_eq!(&image[18 * SECTOR..18 * SECTOR + 7], b"\xffCD001\x01");
        assert_eq!(word(primary, 80) * SECTOR, image.len());
        let mut orders = primary[84..88].to_vec();
        orders.reverse();
        assert_eq!(primary[80..84], orders);
        assert_eq!(primary[881], 1);
        assert_eq!(primary[828], b'0', "the first date's last digit");
        assert_eq!(primary[829], 0, "and its zone");
        let root = word(primary, 158) * SECTOR;
        assert_eq!(word(&image, word(primary, 140) * SECTOR + 2) * SECTOR, root);
        let (mut at, mut found) = (root, Vec::new());
        while image[at] != 0 {
            let name = &image[at + 33..at + 33 + usize::from(image[at + 32])];
            found.push((
                name.to_vec(),
                word(&image, at + 2),
                word(&image, at + 10),
                image[at + 25],
            ));
            at += usize::from(image[at]);
            assert_eq!(at % 2, 0);
        }
        let names: Vec<_> = found.iter().map(|it| it.0.as_slice()).collect();
        assert_eq!(names, [&[0][..], &[1], b"BOOT.CAT;1", b"EFI.IMG;1"]);
        assert_eq!((found[0].1 * SECTOR, found[0].3), (root, FOLDER));
        let (_, sector, bytes, flags) = &found[3];
        assert_eq!((sector * SECTOR + bytes, *flags), (image.len(), 0));
    }
}
