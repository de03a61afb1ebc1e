//! Whether archive, CPU driver and first domain are sound.

use capelin_abi::boot::{KERNEL_MAGIC, KernelHeader};
use capelin_abi::flat::FlatHeader;
use capelin_abi::{ABI_VERSION, PAGE_SIZE};
use capelin_archive::{Archive, Module};
use zerocopy::FromBytes;

use crate::BootError;

/// The module with the CPU driver.
pub const KERNEL_MODULE: &str = "cpudriver";
/// The module with the first domain.
pub const DOMAIN_MODULE: &str = "init";
/// What a CPU driver's memory may take, in bytes: it lies in one 2 MiB block.
pub const MAX_KERNEL_BYTES: u64 = 2 << 20;

/// The two modules that the boot driver places.
#[derive(Clone, Copy, Debug)]
pub struct Modules<'a> {
    /// The CPU driver's file, at most `kernel.memory_bytes` long.
    pub kernel_file: &'a [u8],
    /// Its header.
    pub kernel: KernelHeader,
    /// The first domain's flat image, whole pages.
    pub domain_file: &'a [u8],
}

/// Checks the archive at the start of `bytes`, and by `crc32c` the modules that the boot
/// driver places. Nothing else is checked: other modules' users verify them.
///
/// # Errors
/// What is wrong, naming the module.
pub fn check<'a>(bytes: &'a [u8], crc32c: impl Fn(&[u8]) -> u32) -> Result<Modules<'a>, BootError> {
    let archive = Archive::parse(bytes)?;
    if !has_trailer(bytes, archive.total_length()) {
        return Err(BootError::TruncatedArchive);
    }
    let module = |name: &'static str| -> Result<Module<'a>, BootError> {
        let module = archive.find(name).ok_or(BootError::NoModule(name))?;
        module
            .verify_with(&crc32c)
            .map_err(|error| BootError::DamagedModule(name, error))?;
        Ok(module)
    };
    let kernel = module(KERNEL_MODULE)?;
    let header = kernel_header(kernel.data()).map_err(BootError::NotACpuDriver)?;
    let domain = module(DOMAIN_MODULE)?;
    FlatHeader::parse(domain.data()).map_err(BootError::NotAFlatImage)?;
    Ok(Modules {
        kernel_file: kernel.data(),
        kernel: header,
        domain_file: domain.padded_data(),
    })
}

/// The cpio trailer is the last thing in an archive, so where it is, a loader has
/// not cut anything off. Header and directory alone can't tell.
fn has_trailer(bytes: &[u8], length: usize) -> bool {
    const TRAILER: &[u8] = b"TRAILER!!!";
    let start = length.saturating_sub(2 * 4096);
    bytes
        .get(start..length)
        .is_some_and(|tail| tail.windows(TRAILER.len()).any(|window| window == TRAILER))
}

fn kernel_header(file: &[u8]) -> Result<KernelHeader, &'static str> {
    let (header, _) =
        KernelHeader::read_from_prefix(file).map_err(|_| "it is shorter than its header")?;
    if header.magic != KERNEL_MAGIC {
        return Err("it isn't a CPU driver");
    }
    if header.abi_version != ABI_VERSION {
        return Err("it is built for another ABI version");
    }
    let sizes_agree = header.file_bytes == file.len() as u64
        && header.file_bytes <= header.memory_bytes
        && header.memory_bytes.is_multiple_of(PAGE_SIZE)
        && header.memory_bytes <= MAX_KERNEL_BYTES
        && header.doorbell_offset.is_multiple_of(PAGE_SIZE)
        && header.doorbell_offset < header.memory_bytes;
    if sizes_agree {
        Ok(header)
    } else {
        Err("its header's sizes contradict each other")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::vec;
    use alloc::vec::Vec;
    use capelin_abi::flat::{FLAT_MAGIC, FlatSegment};
    use capelin_archive::{ModuleKind, ModuleSpec, Writer, crc32c};
    use zerocopy::IntoBytes;

    fn kernel() -> Vec<u8> {
        let mut file = vec![7; 5000];
        let header = KernelHeader {
            branch: 0,
            reserved: 0,
            magic: KERNEL_MAGIC,
            abi_version: ABI_VERSION,
            file_bytes: 5000,
            memory_bytes: 0x4000,
            doorbell_offset: 0x2000,
            layout_hash: 1,
            reserved2: 0,
        };
        file[..64].copy_from_slice(header.as_bytes());
        file
    }

    fn domain() -> Vec<u8> {
        let mut header = FlatHeader {
            magic: FLAT_MAGIC,
            abi_version: ABI_VERSION,
            entry: 0x20_0000,
            segment_count: 1,
            ..FlatHeader::default()
        };
        header.segments[0] = FlatSegment {
            address: 0x20_0000,
            offset: 4096,
            file_bytes: 4096,
            memory_bytes: 4096,
            flags: 5,
        };
        let mut file = vec![0; 8192];
        file[..size_of::<FlatHeader>()].copy_from_slice(header.as_bytes());
        file
    }

    fn archive(modules: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new();
        for (name, data) in modules {
            let module = ModuleSpec {
                name: (*name).to_owned(),
                kind: ModuleKind::Raw,
                uses_fp: false,
                data: data.clone(),
            };
            writer.add(module).unwrap();
        }
        writer.finish()
    }

    #[test]
    fn sound_modules_are_found() {
        let bytes = archive(&[("cpudriver", kernel()), ("init", domain())]);
        let modules = check(&bytes, crc32c).unwrap();
        assert_eq!(modules.kernel_file, kernel());
        assert_eq!(modules.domain_file, domain());
    }

    #[test]
    fn each_fault_is_named() {
        let bytes = archive(&[("cpudriver", kernel())]);
        assert_eq!(
            check(&bytes, crc32c).err(),
            Some(BootError::NoModule("init"))
        );

        let whole = archive(&[("cpudriver", kernel()), ("init", domain())]);
        let mut flipped = whole.clone();
        let at = Archive::parse(&whole)
            .unwrap()
            .find("init")
            .unwrap()
            .offset();
        flipped[at + 100] ^= 1;
        let error = check(&flipped, crc32c).err();
        assert!(
            matches!(error, Some(BootError::DamagedModule("init", _))),
            "{error:?}"
        );

        // What a loader that lost the second half leaves in memory.
        let mut cut = whole.clone();
        let half = cut.len() / 2;
        cut[half..].fill(0);
        assert_eq!(check(&cut, crc32c).err(), Some(BootError::TruncatedArchive));

        let mut old = kernel();
        old[16] ^= 0xff;
        let bytes = archive(&[("cpudriver", old), ("init", domain())]);
        assert!(matches!(
            check(&bytes, crc32c),
            Err(BootError::NotACpuDriver(_))
        ));

        let bytes = archive(&[("cpudriver", kernel()), ("init", vec![0; 9000])]);
        assert!(matches!(
            check(&bytes, crc32c),
            Err(BootError::NotAFlatImage(_))
        ));
    }

    #[test]
    fn kernel_sizes_must_agree() {
        let faults: [fn(&mut KernelHeader); 5] = [
            |h| h.file_bytes = 4999,
            |h| h.memory_bytes = 0x1000,
            |h| h.memory_bytes = 0x4001,
            |h| h.memory_bytes = u64::MAX - 4095,
            |h| h.doorbell_offset = 0x4000,
        ];
        for fault in faults {
            let mut file = kernel();
            let (header, _) = KernelHeader::mut_from_prefix(&mut file).unwrap();
            fault(header);
            assert!(kernel_header(&file).is_err());
        }
        assert!(kernel_header(&kernel()).is_ok());
    }
}
