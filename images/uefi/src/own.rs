//! What is in the loader's own file, as firmware has loaded it.

#![expect(unsafe_code, reason = "reads the loader's own image")]

use core::ops::Range;

use capelin_uefi::unified;
use uefi::boot;
use uefi::proto::loaded_image::LoadedImage;

/// The most bytes of headers that are looked at: sections come behind, from a page boundary on.
const HEADER_BYTES: usize = 4096;

/// The section `name`; none if the loader's file has none.
pub(crate) fn section(name: &[u8; 8]) -> uefi::Result<Option<&'static [u8]>> {
    let own = boot::open_protocol_exclusive::<LoadedImage>(boot::image_handle())?;
    let (base, size) = own.info();
    let size = usize::try_from(size).unwrap_or(0);
    let bytes = |range: Range<usize>| -> &'static [u8] {
        let at = base.cast::<u8>().wrapping_add(range.start);
        // SAFETY: firmware loaded the image there, and it stays as long as the loader runs; the
        // range is inside of it, and of the headers or of a section that nothing in the program
        // names: nobody writes there.
        unsafe { core::slice::from_raw_parts(at, range.len()) }
    };
    let found = unified::section(bytes(0..size.min(HEADER_BYTES)), name);
    let range = found.and_then(|it| {
        let range = usize::try_from(it.start).ok()?..usize::try_from(it.end).ok()?;
        (range.end <= size).then_some(range)
    });
    Ok(range.map(bytes))
}
