//! A server's disk: a GPT (UEFI 2.10, 5.3) with the EFI system partition alone.
//!
//! ```text
//! sector 0       MBR that says that there is a GPT (5.2.3)
//!        1       header          last         the same header, for when the first is lost
//!        2…33    128 entries     last - 32…   the same entries
//! 1 MiB          EFI system partition, FAT32
//! ```
//!
//! The same contents give the same bytes: the disk's and the partition's GUIDs are fixed.

use std::ops::Range;

use zerocopy::{Immutable, IntoBytes, KnownLayout, little_endian as le};

use super::disk::{self, DiskError, Files};

const SECTOR: u64 = 512;
const FIRST_BYTE: u64 = 1 << 20;
const ENTRIES: u32 = 128;
const ENTRY_BYTES: u32 = 128;
const ENTRY_SECTORS: u64 = 32;
/// C12A7328-F81F-11D2-BA4B-00A0C93EC93B (UEFI 2.10, table 5.7), as it stands on a disk.
const SYSTEM_PARTITION: [u8; 16] = [
    0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b,
];
/// Random ones (version 4), made once.
const DISK: [u8; 16] = *b"CAPELIN\x41\x84DISK\0\0\x01";
const PARTITION: [u8; 16] = *b"CAPELIN\x41\x84ESP\0\0\0\x01";

/// UEFI 2.10, table 5.5.
#[derive(Clone, Copy, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    signature: [u8; 8],
    revision: le::U32,
    header_bytes: le::U32,
    header_crc: le::U32,
    reserved: le::U32,
    own_sector: le::U64,
    other_sector: le::U64,
    first_usable: le::U64,
    last_usable: le::U64,
    disk: [u8; 16],
    entries_sector: le::U64,
    entries: le::U32,
    entry_bytes: le::U32,
    entries_crc: le::U32,
}

/// A disk whose EFI system partition has `bytes` bytes, with `files` on it.
///
/// # Errors
/// If the files don't fit.
pub(crate) fn write(bytes: u64, files: &Files) -> Result<Vec<u8>, DiskError> {
    let last = (FIRST_BYTE + bytes) / SECTOR + ENTRY_SECTORS;
    let mut image = vec![0; at(last + 1)?];
    image[446..462].copy_from_slice(&protective(last));
    image[510..512].copy_from_slice(&[0x55, 0xaa]);

    let mut entries = vec![0; (ENTRIES * ENTRY_BYTES) as usize];
    entries[..16].copy_from_slice(&SYSTEM_PARTITION);
    entries[16..32].copy_from_slice(&PARTITION);
    let (first, end) = (FIRST_BYTE / SECTOR, (FIRST_BYTE + bytes) / SECTOR);
    entries[32..40].copy_from_slice(&first.to_le_bytes());
    entries[40..48].copy_from_slice(&(end - 1).to_le_bytes());
    for (place, unit) in entries[56..128]
        .chunks_exact_mut(2)
        .zip("CAPELIN".encode_utf16())
    {
        place.copy_from_slice(&unit.to_le_bytes());
    }

    let copies = [(1, last, 2), (last, 1, last - ENTRY_SECTORS)];
    for (own, other, entries_sector) in copies {
        let mut header = Header {
            signature: *b"EFI PART",
            revision: 0x1_0000.into(),
            header_bytes: 92.into(),
            header_crc: 0.into(),
            reserved: 0.into(),
            own_sector: own.into(),
            other_sector: other.into(),
            first_usable: (2 + ENTRY_SECTORS).into(),
            last_usable: (last - ENTRY_SECTORS - 1).into(),
            disk: DISK,
            entries_sector: entries_sector.into(),
            entries: ENTRIES.into(),
            entry_bytes: ENTRY_BYTES.into(),
            entries_crc: crc32(&entries).into(),
        };
        header.header_crc = crc32(header.as_bytes()).into();
        put(&mut image, own, header.as_bytes())?;
        put(&mut image, entries_sector, &entries)?;
    }
    let partition: Range<usize> = at(first)?..at(end)?;
    disk::format_system_partition(&mut image[partition], files)?;
    Ok(image)
}

fn at(sector: u64) -> Result<usize, DiskError> {
    usize::try_from(sector * SECTOR).map_err(|_| DiskError::Cut)
}

fn put(image: &mut [u8], sector: u64, bytes: &[u8]) -> Result<(), DiskError> {
    let start = at(sector)?;
    let place = image.get_mut(start..start + bytes.len());
    place.ok_or(DiskError::Cut)?.copy_from_slice(bytes);
    Ok(())
}

/// The one entry of the MBR: all of the disk, of type "GPT".
fn protective(last: u64) -> [u8; 16] {
    let sectors = u32::try_from(last).unwrap_or(u32::MAX).to_le_bytes();
    let mut entry = [0; 16];
    entry[1..4].copy_from_slice(&[0, 2, 0]);
    entry[4] = 0xee;
    entry[5..8].copy_from_slice(&[0xff; 3]);
    entry[8] = 1;
    entry[12..].copy_from_slice(&sectors);
    entry
}

/// CRC-32 as UEFI has it (5.3.2: polynomial 0x04c11db7, reflected).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ ((crc & 1) * 0xedb8_8320);
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_disk_has_two_tables_and_one_partition() {
        let files = Files::from([("EFI/BOOT/BOOTAA64.EFI".to_owned(), vec![7; 5000])]);
        let mut image = write(40 << 20, &files).unwrap();
        assert_eq!(image, write(40 << 20, &files).unwrap());
        let word = |at: usize| u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let last = word(512 + 32);
        assert_eq!(image.len() as u64, (last + 1) * 512);
        for own in [1, last] {
            let start = usize::try_from(own * 512).unwrap();
            let mut header = image[start..start + 92].to_vec();
            assert_eq!(&header[..8], b"EFI PART");
            let crc = header[16..20].to_vec();
            header[16..20].fill(0);
            assert_eq!(crc, crc32(&header).to_le_bytes());
            let entries = usize::try_from(word(start + 72) * 512).unwrap();
            let entries = &image[entries..entries + 128 * 128];
            assert_eq!(header[88..92], crc32(entries).to_le_bytes());
            assert_eq!(entries[..16], SYSTEM_PARTITION);
            assert!(word(start + 48) < last - 32);
        }
        // CRC-32 of the usual test.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        let (first, end) = (word(1024 + 32), word(1024 + 40) + 1);
        let range = usize::try_from(first * 512).unwrap()..usize::try_from(end * 512).unwrap();
        assert_eq!(disk::read_volume(&mut image[range]).unwrap(), files);
    }
}
