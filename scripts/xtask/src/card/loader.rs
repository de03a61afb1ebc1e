//! What the Raspberry Pi's firmware loads from a card, for an emulator that doesn't run it.
//!
//! Read is what is on the card, and nothing else: `config.txt`, and what that names. The firmware then completes the
//! device tree: memory, kernel arguments, initrd ([`Loaded::tree_for`]).

use std::fmt;

use capelin_platform::Raspberry;

use super::config::{Complaint, Config, Place};
use super::disk::Files;
use capelin_tree::{Tree, TreeError};

/// The arm64 Image header (Linux, Documentation/arch/arm64/booting.rst): its size, and where `image_size` and the magic
/// number stand.
const IMAGE_HEADER: usize = 64;
const IMAGE_SIZE_AT: std::ops::Range<usize> = 16..24;
const IMAGE_MAGIC_AT: std::ops::Range<usize> = 56..60;
const IMAGE_MAGIC: [u8; 4] = *b"ARM\x64";
/// What comes behind the kernel starts at a multiple of this.
const INITRD_ALIGNMENT: u64 = 2 << 20;

/// Which Arm stub runs before the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stub {
    /// The one that `config.txt` names, else the firmware's own.
    #[default]
    AsConfigured,
    /// The firmware's own, whatever `config.txt` says: a spin table, and no PSCI.
    Stock,
    /// Trusted Firmware, which `config.txt` must name.
    TrustedFirmware,
}

/// Why the firmware would not start a kernel from the card, or not as it was meant.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// There is no `config.txt`.
    NoConfig,
    /// `config.txt` names a file that isn't there: the file, and as what.
    Missing(String, FileKind),
    /// `config.txt` asks for the 32-bit kernel.
    Not64Bit,
    /// The kernel isn't an arm64 Image.
    NoImage(String),
    /// A tree or overlay can't be used: the file, and why.
    Tree(String, TreeError),
    /// Trusted Firmware was asked for, and `config.txt` names no Arm stub.
    NoStub,
    /// The initramfs would lie on the kernel: first address and end of the kernel.
    Overlap(u64, u64),
}

/// What a file on the card is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// The boot image.
    Kernel,
    /// The module archive or another initrd.
    Initramfs,
    /// An Arm stub.
    Stub,
    /// A device tree overlay.
    Overlay,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoConfig => f.write_str("the card has no config.txt"),
            Self::Missing(file, kind) => {
                let (what, then) = match kind {
                    FileKind::Kernel => ("kernel", "flash the LED seven times"),
                    FileKind::Initramfs => ("initramfs", "start the kernel without one"),
                    FileKind::Stub => ("armstub", "start its own stub"),
                    FileKind::Overlay => ("dtoverlay", "leave the tree as it is"),
                };
                write!(
                    f,
                    "the card has no {file}, which config.txt names as {what}: the firmware would {then}"
                )
            }
            Self::Not64Bit => f.write_str("config.txt asks for a 32-bit kernel (arm_64bit=0)"),
            Self::NoImage(file) => write!(f, "{file} on the card is no arm64 Image"),
            Self::Tree(file, error) => write!(f, "{file} on the card: {error}"),
            Self::NoStub => {
                f.write_str("config.txt names no armstub, so there is no Trusted Firmware")
            }
            Self::Overlap(start, end) => write!(
                f,
                "config.txt puts the initramfs on the kernel, which takes {start:#x} to {end:#x}"
            ),
        }
    }
}

/// A file and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) contents: Vec<u8>,
    pub(crate) address: u64,
}

/// What would be in memory when the stub starts.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) kernel: Blob,
    /// The board's tree with overlays; `None` where the card has none. Then the firmware starts the kernel all the same.
    pub(crate) tree: Option<Tree>,
    pub(crate) command_line: String,
    pub(crate) initrd: Option<Blob>,
    /// An Arm stub in place of the firmware's own.
    pub(crate) stub: Option<Vec<u8>>,
    pub(crate) complaints: Vec<Complaint>,
}

/// Loads from the boot partition's `files`, with `appended` behind the card's kernel arguments.
///
/// # Errors
/// If the firmware would load something else than was meant, or nothing.
pub(crate) fn load(
    files: &Files,
    board: &Raspberry,
    stub: Stub,
    appended: &str,
) -> Result<Loaded, LoadError> {
    let config = files.get("config.txt").ok_or(LoadError::NoConfig)?;
    let config = Config::parse(&String::from_utf8_lossy(config));
    if !config.is_64_bit {
        return Err(LoadError::Not64Bit);
    }
    let file = |name: &str, kind| {
        files
            .get(name)
            .cloned()
            .ok_or_else(|| LoadError::Missing(name.to_owned(), kind))
    };
    let kernel = Blob {
        contents: file(&config.kernel, FileKind::Kernel)?,
        address: config.kernel_address.unwrap_or(board.kernel_address),
    };
    let kernel_bytes = image_bytes(&kernel.contents).ok_or(LoadError::NoImage(config.kernel))?;
    let kernel_end = kernel.address.saturating_add(kernel_bytes);

    let initrd = match config.initramfs {
        None => None,
        Some(initramfs) => {
            let contents = file(&initramfs.file, FileKind::Initramfs)?;
            let address = match initramfs.place {
                Place::FollowsKernel => kernel_end.next_multiple_of(INITRD_ALIGNMENT),
                Place::At(address) => address,
            };
            let end = address.saturating_add(contents.len() as u64);
            if address < kernel_end && kernel.address < end {
                return Err(LoadError::Overlap(kernel.address, kernel_end));
            }
            Some(Blob { contents, address })
        }
    };

    let name = config.device_tree.unwrap_or_else(|| board.tree.to_owned());
    let parse = |name: &str, blob: &[u8]| {
        Tree::parse(blob).map_err(|error| LoadError::Tree(name.to_owned(), error))
    };
    let mut tree = files
        .get(&name)
        .map(|blob| parse(&name, blob))
        .transpose()?;
    if let Some(tree) = &mut tree {
        for overlay in &config.overlays {
            let name = format!("overlays/{overlay}.dtbo");
            let overlay = parse(&name, &file(&name, FileKind::Overlay)?)?;
            tree.apply(&overlay)
                .map_err(|error| LoadError::Tree(name, error))?;
        }
    }

    let stub = match (stub, config.armstub) {
        (Stub::Stock, _) | (Stub::AsConfigured, None) => None,
        (Stub::TrustedFirmware, None) => return Err(LoadError::NoStub),
        (Stub::AsConfigured | Stub::TrustedFirmware, Some(name)) => {
            Some(file(&name, FileKind::Stub)?)
        }
    };
    let command_line = files
        .get(&config.command_line)
        .map(|it| String::from_utf8_lossy(it).into_owned());
    // The firmware takes the first line.
    let command_line = command_line
        .as_deref()
        .and_then(|text| text.lines().next())
        .unwrap_or_default();
    Ok(Loaded {
        kernel,
        tree,
        command_line: format!("{command_line} {appended}").trim().to_owned(),
        initrd,
        stub,
        complaints: config.complaints,
    })
}

/// Bytes of memory that an arm64 Image takes from its start; `None` if it isn't one.
fn image_bytes(file: &[u8]) -> Option<u64> {
    let header = file.get(..IMAGE_HEADER)?;
    if header[IMAGE_MAGIC_AT] != IMAGE_MAGIC {
        return None;
    }
    let size = header[IMAGE_SIZE_AT]
        .try_into()
        .map(u64::from_le_bytes)
        .ok()?;
    Some(size.max(file.len() as u64))
}

impl Loaded {
    /// The tree as the firmware hands it over on `board`; `None` where there is none.
    pub(crate) fn tree_for(&self, board: &Raspberry) -> Option<Vec<u8>> {
        let mut tree = self.tree.clone()?;
        let halves = |value: u64| {
            [value >> 32, value & 0xffff_ffff].map(|half| u32::try_from(half).unwrap_or(u32::MAX))
        };
        let cells = |tree: &Tree, name: &str| {
            let value = tree
                .root
                .property(name)
                .and_then(|value| value.try_into().ok());
            value.map_or(2, u32::from_be_bytes)
        };
        let sized = |value: u64, cells: u32| {
            let [high, low] = halves(value);
            if cells == 1 {
                vec![low]
            } else {
                vec![high, low]
            }
        };
        let (address_cells, size_cells) =
            (cells(&tree, "#address-cells"), cells(&tree, "#size-cells"));
        let region = [
            sized(0, address_cells),
            sized(board.memory_bytes, size_cells),
        ]
        .concat();
        let memory = match tree.root.child("memory") {
            Some(memory) => memory,
            None => tree.root.ensure_child("memory@0"),
        };
        memory.set_text("device_type", "memory");
        memory.set_cells("reg", &region);
        let chosen = tree.root.ensure_child("chosen");
        chosen.set_text("bootargs", &self.command_line);
        if let Some(initrd) = &self.initrd {
            let end = initrd.address.saturating_add(initrd.contents.len() as u64);
            chosen.set_cells("linux,initrd-start", &halves(initrd.address));
            chosen.set_cells("linux,initrd-end", &halves(end));
        }
        Some(tree.to_bytes())
    }

    /// Which of `board`'s UARTs the console is on: the one that `stdout-path` names.
    pub(crate) fn console(&self, board: &Raspberry) -> Option<usize> {
        let mut tree = self.tree.clone()?;
        let path = tree.root.child("chosen")?.text("stdout-path")?.to_owned();
        let name = path.split(':').next()?;
        let path = match tree
            .root
            .child("aliases")
            .and_then(|aliases| aliases.text(name))
        {
            Some(path) => path.to_owned(),
            None => name.to_owned(),
        };
        let node = path.rsplit('/').next()?;
        board.uarts.iter().position(|uart| *uart == node)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use capelin_platform::{Emulator, OverlayChange};

    pub(crate) fn board() -> Raspberry {
        match crate::platforms::find("rpi4").unwrap().emulator {
            Emulator::Raspberry(board) => board,
            other => panic!("{other:?}"),
        }
    }

    fn image() -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[IMAGE_MAGIC_AT].copy_from_slice(&IMAGE_MAGIC);
        image[IMAGE_SIZE_AT].copy_from_slice(&0x30_0000_u64.to_le_bytes());
        image
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.root.set_cells("#address-cells", &[2]);
        tree.root.set_cells("#size-cells", &[1]);
        tree.root
            .ensure_child("memory@0")
            .set_cells("reg", &[0, 0, 0]);
        tree.root
            .ensure_child("aliases")
            .set_text("serial1", "/soc/serial@7e215040");
        tree.root
            .ensure_child("chosen")
            .set_text("stdout-path", "serial1:115200n8");
        tree
    }

    fn card(config: &str) -> Files {
        const TO_PL011: &[OverlayChange] = &[OverlayChange {
            node: "/chosen",
            strings: &[("stdout-path", "/soc/serial@7e201000")],
        }];
        Files::from([
            ("config.txt".to_owned(), config.as_bytes().to_vec()),
            ("cmdline.txt".to_owned(), b"first line\nsecond\n".to_vec()),
            ("kernel8.img".to_owned(), image()),
            ("bl31.bin".to_owned(), b"stub".to_vec()),
            ("files.cpio".to_owned(), b"initrd".to_vec()),
            (board().tree.to_owned(), tree().to_bytes()),
            (
                "overlays/disable-bt.dtbo".to_owned(),
                Tree::overlay(TO_PL011.iter().map(|it| (it.node, it.strings))).to_bytes(),
            ),
            ("overlays/broken.dtbo".to_owned(), b"nothing".to_vec()),
        ])
    }

    fn loaded(config: &str, stub: Stub) -> Result<Loaded, LoadError> {
        load(&card(config), &board(), stub, "appended")
    }

    fn refusal(config: &str) -> String {
        loaded(config, Stub::AsConfigured).unwrap_err().to_string()
    }

    #[test]
    fn the_firmwares_defaults() {
        let loaded = loaded("", Stub::AsConfigured).unwrap();
        assert_eq!(
            loaded.kernel,
            Blob {
                contents: image(),
                address: 0x20_0000
            }
        );
        assert_eq!(loaded.command_line, "first line appended");
        assert_eq!((loaded.initrd.as_ref(), loaded.stub.as_ref()), (None, None));
        assert_eq!(loaded.console(&board()), Some(1));
    }

    #[test]
    fn the_stub_is_the_one_asked_for() {
        let stub = |config: &str, stub| loaded(config, stub).map(|it| it.stub);
        let ours = Some(b"stub".to_vec());
        assert_eq!(stub("armstub=bl31.bin", Stub::AsConfigured).unwrap(), ours);
        assert_eq!(
            stub("armstub=bl31.bin", Stub::TrustedFirmware).unwrap(),
            ours
        );
        assert_eq!(stub("armstub=bl31.bin", Stub::Stock).unwrap(), None);
        assert!(matches!(
            stub("", Stub::TrustedFirmware),
            Err(LoadError::NoStub)
        ));
        assert!(matches!(
            stub("armstub=b.bin", Stub::AsConfigured),
            Err(LoadError::Missing(name, FileKind::Stub)) if name == "b.bin"
        ));
    }

    #[test]
    fn the_tree_gets_what_firmware_knows() {
        let loaded = loaded("initramfs files.cpio followkernel", Stub::Stock).unwrap();
        let mut tree = Tree::parse(&loaded.tree_for(&board()).unwrap()).unwrap();
        let memory = tree.root.at("/memory").unwrap();
        assert_eq!(
            memory.property("reg"),
            Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0x3c, 0, 0, 0][..])
        );
        let chosen = tree.root.at("/chosen").unwrap();
        assert_eq!(chosen.text("bootargs"), Some("first line appended"));
        // 2 MiB and an image of 3 MiB: the next multiple of 2 MiB is 6 MiB.
        assert_eq!(
            chosen.property("linux,initrd-start"),
            Some(&[0, 0, 0, 0, 0, 0x60, 0, 0][..])
        );
        assert_eq!(
            chosen.property("linux,initrd-end"),
            Some(&[0, 0, 0, 0, 0, 0x60, 0, 6][..])
        );
    }

    #[test]
    fn an_overlay_moves_the_console() {
        let loaded = loaded("dtoverlay=disable-bt", Stub::Stock).unwrap();
        assert_eq!(loaded.console(&board()), Some(0));
    }

    #[test]
    fn a_card_without_a_tree_starts_all_the_same() {
        let loaded = loaded("device_tree=none.dtb", Stub::Stock).unwrap();
        assert_eq!(loaded.tree, None);
        assert_eq!(loaded.tree_for(&board()), None);
    }

    #[test]
    fn what_would_not_start_is_told_by_name() {
        for (config, expected) in [
            (
                "kernel=k.img",
                "the card has no k.img, which config.txt names as kernel",
            ),
            ("kernel=bl31.bin", "bl31.bin on the card is no arm64 Image"),
            ("arm_64bit=0", "32-bit"),
            (
                "initramfs x",
                "the card has no x, which config.txt names as initramfs",
            ),
            (
                "initramfs files.cpio 0x300000",
                "puts the initramfs on the kernel, which takes 0x200000 to 0x500000",
            ),
            ("dtoverlay=x", "no overlays/x.dtbo"),
            (
                "dtoverlay=broken",
                "overlays/broken.dtbo on the card: no device tree",
            ),
            (
                "device_tree=bl31.bin",
                "bl31.bin on the card: no device tree",
            ),
        ] {
            let said = refusal(config);
            assert!(said.contains(expected), "{config}: {said}");
        }
        let none = load(&Files::new(), &board(), Stub::Stock, "");
        assert!(matches!(none, Err(LoadError::NoConfig)));
    }
}
