//! What is done to a device tree before it is handed over.

use std::num::NonZeroUsize;

use serde::Deserialize;

/// A device tree that tells other things than what is there: QEMU's own, changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TreeChange {
    /// QEMU's tree for so many cores, if not for those that there are.
    pub(crate) cores: Option<u32>,
    /// QEMU's tree for this version of the interrupt controller, if not for the one that there is.
    pub(crate) gic: Option<u32>,
    /// Text to be replaced wherever it stands, by as much other text.
    pub(crate) replace: Vec<(String, String)>,
    /// MPIDRs for the cores, in the tree's order, in place of their own; none for no change.
    pub(crate) mpidrs: Vec<u32>,
    /// Bytes that the tree has when it reaches the boot driver, thousands of devices more; none for no change. (QEMU adds
    /// some to any tree that it is given; that is counted in.)
    pub(crate) bytes: Option<usize>,
    /// Pages that are reserved.
    pub(crate) reserved: Option<Reserved>,
}

/// Pages of 4 KiB at equal distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Reserved {
    /// The first one's address.
    pub(crate) from: u64,
    /// No page is at or above this address.
    pub(crate) to: u64,
    /// From one to the next.
    pub(crate) every: NonZeroUsize,
}

impl TreeChange {
    /// Does the change to `tree`, and cuts off what QEMU puts behind it: a tree of more than 2 MiB is refused, and QEMU
    /// doubles what it is given.
    pub(crate) fn apply(&self, tree: &mut Vec<u8>) {
        for (from, to) in &self.replace {
            let (from, to) = (from.as_bytes(), to.as_bytes());
            for at in 0..tree.len() {
                if tree.get(at..).is_some_and(|rest| rest.starts_with(from))
                    && let Some(place) = tree.get_mut(at..at + to.len())
                {
                    place.copy_from_slice(to);
                }
            }
        }
        set_mpidrs(tree, &self.mpidrs);
        let end = used_bytes(tree);
        tree.truncate(end);
        if let (Some(size), Ok(end)) = (tree.get_mut(4..8), u32::try_from(end)) {
            size.copy_from_slice(&end.to_be_bytes());
        }
    }
}

/// Where structure and strings of `tree` end (Devicetree Specification 5.2: offsets and sizes, big endian).
pub(crate) fn used_bytes(tree: &[u8]) -> usize {
    let word = |at: usize| {
        tree.get(at..at + 4)
            .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
            .map_or(0, u32::from_be_bytes)
    };
    let structure = word(8).saturating_add(word(36));
    let strings = word(12).saturating_add(word(32));
    structure.max(strings) as usize
}

/// Writes `mpidrs` into the one-cell `reg` of the nodes `cpu@…`, one after the other (Devicetree Specification 5.4).
fn set_mpidrs(tree: &mut [u8], mpidrs: &[u32]) {
    let word = |tree: &[u8], at: usize| {
        let bytes = tree.get(at..at + 4)?;
        <[u8; 4]>::try_from(bytes).ok().map(u32::from_be_bytes)
    };
    let text = |tree: &[u8], at: usize, wanted: &[u8]| {
        tree.get(at..).is_some_and(|rest| rest.starts_with(wanted))
    };
    let mut left = mpidrs.iter();
    let mut is_core = false;
    let mut at = word(tree, 8).unwrap_or(0) as usize;
    let strings = word(tree, 12).unwrap_or(0) as usize;
    while let Some(token) = word(tree, at) {
        at += 4;
        match token {
            1 => {
                is_core = text(tree, at, b"cpu@");
                let length = tree.iter().skip(at).take_while(|&&byte| byte != 0).count();
                at += (length + 1).next_multiple_of(4);
            }
            3 => {
                let bytes = word(tree, at).unwrap_or(0) as usize;
                let name = word(tree, at + 4).unwrap_or(0) as usize;
                at += 8;
                if is_core
                    && bytes == 4
                    && text(tree, strings + name, b"reg\0")
                    && let Some(mpidr) = left.next()
                    && let Some(value) = tree.get_mut(at..at + 4)
                {
                    value.copy_from_slice(&mpidr.to_be_bytes());
                }
                at += bytes.next_multiple_of(4);
            }
            2 | 4 => {}
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_changed_and_cut_to_size() {
        let mut tree = vec![0; 4096];
        for (at, word) in [(4, 4096_u32), (8, 56), (12, 156), (32, 20), (36, 100)] {
            tree[at..at + 4].copy_from_slice(&word.to_be_bytes());
        }
        tree[60..64].copy_from_slice(b"psci");
        let change = TreeChange {
            replace: vec![("psci".into(), "none".into())],
            ..TreeChange::default()
        };
        change.apply(&mut tree);
        assert_eq!(tree.len(), 176);
        assert_eq!(
            (&tree[4..8], &tree[60..64]),
            (&[0, 0, 0, 176][..], &b"none"[..])
        );
    }
}
