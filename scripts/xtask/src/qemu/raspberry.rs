//! A Raspberry Pi's card on QEMU, which doesn't run the GPU's firmware: what that would load is read out of the card
//! image ([`crate::card::loader`]) and handed to QEMU in files of its own. The card is in its slot.
//!
//! Without an Arm stub on the card, QEMU's own stub stands in for the firmware's: EL2, a spin table, SMC of no use. With
//! one, the cores start at address 0 at EL3, where the stub lies, and in it the two words that firmware fills in.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use capelin_platform::Raspberry;

use super::command::Console;
use super::exec;
use super::options::{CardUse, RunOptions};
use crate::card::disk;
use crate::card::loader::{self, Loaded};
use crate::error::{Error, Result};

/// What firmware would load, in files, which go with this.
#[derive(Debug)]
pub(crate) struct Unpacked {
    folder: PathBuf,
    card: PathBuf,
    board: Raspberry,
    loaded: Loaded,
}

impl Unpacked {
    /// Reads `card` as the firmware of `board` would, for a run as `options` ask for.
    ///
    /// # Errors
    /// If the firmware wouldn't start a kernel from it.
    pub(crate) fn of(card: &Path, board: &Raspberry, options: &RunOptions) -> Result<Self> {
        let mut bytes = fs::read(card).map_err(|error| Error::File(card.to_owned(), error))?;
        let malformed = |what: String| Error::Malformed(card.to_owned(), what);
        let files = disk::read(&mut bytes).map_err(|error| malformed(error.to_string()))?;
        let appended = options.append.iter().cloned();
        let appended: Vec<_> = appended
            .chain(options.exec.as_deref().map(exec::argument))
            .collect();
        let loaded = loader::load(&files, board, options.stub, &appended.join(" "))
            .map_err(|error| malformed(error.to_string()))?;
        let extension = format!("loaded-{}", std::process::id());
        let unpacked = Self {
            folder: card.with_extension(extension),
            card: card.to_owned(),
            board: *board,
            loaded,
        };
        unpacked.write()?;
        Ok(unpacked)
    }

    /// What is odd about the card, a line each.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let mut remarks: Vec<_> = self
            .loaded
            .complaints
            .iter()
            .map(ToString::to_string)
            .collect();
        if self.loaded.tree.is_none() {
            remarks.push(
                "the card has no device tree for this board: the firmware hands none over"
                    .to_owned(),
            );
        }
        if self.loaded.stub.is_none() && self.loaded.kernel.address != self.board.kernel_address {
            let place = self.board.kernel_address;
            remarks.push(format!(
                "without an Arm stub, QEMU puts the kernel to {place:#x}"
            ));
        }
        remarks
    }

    fn write(&self) -> Result<()> {
        fs::create_dir_all(&self.folder)
            .map_err(|error| Error::File(self.folder.clone(), error))?;
        let write = |name: &str, contents: &[u8]| {
            let path = self.folder.join(name);
            fs::write(&path, contents).map_err(|error| Error::File(path, error))
        };
        write("kernel", &self.loaded.kernel.contents)?;
        let tree = self.loaded.tree_for(&self.board);
        if let Some(tree) = &tree {
            write("tree", tree)?;
        }
        if let Some(initrd) = &self.loaded.initrd {
            write("initrd", &initrd.contents)?;
        }
        if let Some(stub) = &self.loaded.stub {
            let tree_address = tree.map_or(0, |_| self.board.tree_address);
            write("stub", &self.filled_in(stub, tree_address))?;
        }
        Ok(())
    }

    /// The stub with the words that firmware fills in.
    fn filled_in(&self, stub: &[u8], tree: u64) -> Vec<u8> {
        let mut stub = stub.to_vec();
        let words = [
            (self.board.stub_words.magic, 0),
            (self.board.stub_words.tree, tree),
            (self.board.stub_words.kernel, self.loaded.kernel.address),
        ];
        for (at, value) in words {
            let word = u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes();
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            if let Some(place) = stub.get_mut(at..).and_then(|rest| rest.get_mut(..4)) {
                place.copy_from_slice(&word);
            }
        }
        stub
    }

    /// QEMU's arguments.
    pub(crate) fn arguments(&self, options: &RunOptions, console: Console) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: OsString| line.extend([option.into(), value]);
        let file = |name: &str| self.folder.join(name).into_os_string();
        let at = |name: &str, address: u64| {
            let mut value = OsString::from("loader,force-raw=on,file=");
            value.push(file(name));
            value.push(format!(",addr={address:#x}"));
            value
        };
        add("-M", self.board.machine.into());
        if options.icount {
            add("-accel", "tcg,thread=single".into());
            add("-icount", "shift=0,sleep=off".into());
            add("-seed", "1".into());
        } else {
            add("-accel", "tcg,thread=multi".into());
        }
        add("-nic", "none".into());
        add("-display", "none".into());
        add("-monitor", "none".into());
        let uart = match (&self.loaded.tree, &self.loaded.stub) {
            (None, _) => self.board.uart_without_tree,
            (_, Some(_)) => self.board.uart_of_unset_pins,
            (_, None) => self.loaded.console(&self.board).unwrap_or(0),
        };
        for _ in 0..uart {
            add("-serial", "null".into());
        }
        add("-serial", console.backend().into());
        if self.loaded.stub.is_some() {
            add("-device", at("stub", 0));
            add("-device", at("kernel", self.loaded.kernel.address));
            if self.loaded.tree.is_some() {
                add("-device", at("tree", self.board.tree_address));
            }
        } else {
            add("-kernel", file("kernel"));
            if self.loaded.tree.is_some() {
                add("-dtb", file("tree"));
            }
        }
        if let Some(initrd) = &self.loaded.initrd {
            add("-device", at("initrd", initrd.address));
        }
        let drive = match options.card {
            CardUse::Forgotten => Some("if=sd,format=raw,snapshot=on,file="),
            CardUse::Kept => Some("if=sd,format=raw,file="),
            CardUse::Pulled => None,
        };
        if let Some(drive) = drive {
            let mut card = OsString::from(drive);
            card.push(&self.card);
            add("-drive", card);
        }
        line.push("-no-reboot".into());
        line.extend(options.qemu_args.iter().map(Into::into));
        line
    }

    /// Leaves the files where they are; where.
    pub(crate) fn keep(self) -> PathBuf {
        let folder = self.folder.clone();
        std::mem::forget(self);
        folder
    }
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        // What can't be removed is overwritten by a process of the same number.
        let _ = fs::remove_dir_all(&self.folder);
    }
}
