//! This core's kernel log.

use alloc::vec::Vec;

use capelin_abi::SysError;
use capelin_rt::sys;

use crate::node::Node;

/// Bytes read from the kernel at a time.
const PIECE: usize = 4096;

/// Where the log ends now, in bytes ever written.
///
/// # Errors
/// As [`sys::kernel::read_log`].
pub(crate) fn end(node: &Node) -> Result<u64, SysError> {
    Ok(sys::kernel::read_log(node.kernel, &mut [], 0)?.end)
}

/// The log from `position` to its end, as far as the kernel still has it, the newest
/// `limit` bytes at most.
///
/// # Errors
/// As [`sys::kernel::read_log`].
pub(crate) fn since(node: &Node, position: u64, limit: u64) -> Result<Vec<u8>, SysError> {
    let end = end(node)?;
    let mut position = position.max(end.saturating_sub(limit));
    let mut piece = alloc::vec![0; PIECE];
    let mut log = Vec::new();
    while position < end {
        let read = sys::kernel::read_log(node.kernel, &mut piece, position)?;
        if read.bytes == 0 {
            break;
        }
        log.extend_from_slice(piece.get(..read.bytes).unwrap_or_default());
        position = read.start + read.bytes as u64;
    }
    Ok(log)
}
