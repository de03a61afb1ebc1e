//! The programs of the module archive: each is checked once, and its text is mapped from where it
//! lies.
//!
//! Nobody can write to the archive: its frame has been executable since before the first domain
//! ran (W^X holds for the object). So what was found sound stays sound, and what is mapped from
//! it needs neither memory nor a copy.

use alloc::{collections::BTreeMap, rc::Rc};
use core::cell::RefCell;

use capelin_abi::CapRef;
use capelin_archive::{Archive, ModuleKind};
use capelin_rt::checksum;

use crate::{Image, ImageError, image::Source};

/// Why a module can't be started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ModuleError {
    /// The archive has no program of that name.
    Missing,
    /// Its checksum is wrong.
    Damaged,
    /// It is no program for this machine.
    Image(ImageError),
}

impl core::fmt::Display for ModuleError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Missing => f.write_str("the archive has no such module"),
            Self::Damaged => f.write_str("the module's checksum is wrong"),
            Self::Image(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ModuleError {}

/// A program of the archive, found sound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Executable {
    /// What is mapped.
    pub image: Image<'static>,
    /// Whether it uses FP and SIMD registers.
    pub uses_fp: bool,
}

/// The programs of an archive.
#[derive(Debug)]
pub struct Executables {
    archive: Archive<'static>,
    frame: CapRef,
    /// Which says what instructions the core has.
    kernel: CapRef,
    sound: RefCell<BTreeMap<&'static str, Rc<Executable>>>,
}

impl Executables {
    /// Of `archive`, which is what `frame` shows from its first byte on. `frame` is kept: as long
    /// as programs run, their text is mapped from it.
    #[must_use]
    pub fn new(archive: Archive<'static>, frame: CapRef, kernel: CapRef) -> Self {
        Self {
            archive,
            frame,
            kernel,
            sound: RefCell::default(),
        }
    }

    /// The program called `name`. Its checksum is computed the first time.
    ///
    /// # Errors
    /// [`ModuleError`]; what is at fault is looked at again the next time.
    pub fn find(&self, name: &str) -> Result<Rc<Executable>, ModuleError> {
        if let Some(known) = self.sound.borrow().get(name) {
            return Ok(Rc::clone(known));
        }
        let module = self
            .archive
            .find(name)
            .filter(|module| matches!(module.kind(), ModuleKind::Elf | ModuleKind::Flat))
            .ok_or(ModuleError::Missing)?;
        let checked = match checksum::by_instruction(self.kernel) {
            Some(crc32c) => module.verify_with(crc32c),
            None => module.verify(),
        };
        checked.map_err(|_| ModuleError::Damaged)?;
        let source = Source {
            frame: self.frame,
            offset: module.offset() as u64,
        };
        let image = Image::parse(module.data()).map_err(ModuleError::Image)?;
        let executable = Rc::new(Executable {
            image: image.lies_in(source),
            uses_fp: module.uses_fp(),
        });
        self.sound
            .borrow_mut()
            .insert(module.name(), Rc::clone(&executable));
        Ok(executable)
    }
}
