//! What is left in memory, and the way from firmware into the boot driver.

#![expect(unsafe_code, reason = "owns pages, and leaves firmware's translation")]

use core::ptr::NonNull;

use capelin_aarch64::identity::{self, Extent, Regime};
use capelin_aarch64::{cache, cpu};
use capelin_abi::{PhysAddr, VirtAddr};
use capelin_uefi::layout;
use uefi::boot::{self, AllocateType, MemoryType};
use uefi::proto::loaded_image::LoadedImage;

/// The piece of memory that holds the way out, the tree and the image. Firmware has it back if it goes.
#[derive(Debug)]
pub(crate) struct Piece {
    pages: NonNull<u8>,
    page_count: usize,
    base: u64,
    image_bytes: u64,
    /// The loader's own code, and how much of it.
    code: (u64, u64),
}

impl Drop for Piece {
    fn drop(&mut self) {
        // SAFETY: they are the piece's, and nothing else refers to them: what `image` gave
        // borrowed the piece. It goes only while boot services run: nothing is left of `run`
        // once they have ended.
        let _ = unsafe { boot::free_pages(self.pages, self.page_count) };
    }
}

impl Piece {
    /// A piece with room for an image of `image_bytes`.
    ///
    /// # Errors
    ///
    /// If firmware has no such memory.
    pub(crate) fn new(image_bytes: u64) -> uefi::Result<Self> {
        let own = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle())?;
        let (code, code_bytes) = own.info();
        let bytes = image_bytes.saturating_add(layout::IMAGE_AT + layout::ALIGNMENT);
        let page_count = usize::try_from(bytes.div_ceil(4096)).unwrap_or(usize::MAX);
        let kind = MemoryType::LOADER_DATA;
        let pages = boot::allocate_pages(AllocateType::AnyPages, kind, page_count)?;
        let start = pages.as_ptr().expose_provenance() as u64;
        Ok(Self {
            pages,
            page_count,
            base: start.next_multiple_of(layout::ALIGNMENT),
            image_bytes,
            code: (code.expose_provenance() as u64, code_bytes),
        })
    }

    /// Where the image belongs.
    pub(crate) fn image(&mut self) -> &mut [u8] {
        let at = usize::try_from(self.base + layout::IMAGE_AT).unwrap_or(0);
        let bytes = usize::try_from(self.image_bytes).unwrap_or(0);
        let at = core::ptr::with_exposed_provenance_mut::<u8>(at);
        // SAFETY: the pages are the piece's own, so far from `base` on, and whatever firmware
        // left there is bytes; the piece is borrowed as long as they are.
        unsafe { core::slice::from_raw_parts_mut(at, bytes) }
    }

    /// Writes `bytes` at `offset`, as far as the piece goes.
    fn write(&self, offset: u64, bytes: &[u8]) {
        let room = layout::IMAGE_AT + self.image_bytes - offset;
        let length = bytes.len().min(usize::try_from(room).unwrap_or(0));
        let to = usize::try_from(self.base + offset).unwrap_or(0);
        let to = core::ptr::with_exposed_provenance_mut::<u8>(to);
        // SAFETY: the pages are the piece's own, from `base` for `room` bytes behind
        // `offset`; `bytes` is the heap's.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, length) };
    }

    /// Puts the tree in its place, and enters the boot driver. Boot services have ended.
    pub(crate) fn enter(&self, tree: &[u8]) -> ! {
        let (tree_at, image_at) = (self.base + layout::TREE_AT, self.base + layout::IMAGE_AT);
        self.write(layout::TREE_AT, tree);
        for (at, word) in (0..).step_by(4).zip(layout::way_out(tree_at, image_at)) {
            self.write(at, &word.to_le_bytes());
        }
        cpu::mask_interrupts();
        // What is fetched once the MMU is off comes from memory, past the caches.
        let (code, bytes) = self.code;
        cache::clean_to_poc(VirtAddr(code), bytes);
        let ours = Extent {
            start: PhysAddr(self.base),
            end: PhysAddr(image_at + self.image_bytes),
        };
        // SAFETY: firmware's translation leaves addresses as they are, as `identity::enter`'s
        // does (1); the way out runs with the MMU off and needs itself only, and the image
        // is made to be entered so (2); the piece is the loader's (3).
        unsafe { identity::leave(Regime::current(), ours.start, ours) }
    }
}
