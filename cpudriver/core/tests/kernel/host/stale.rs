//! Whether an entry takes memory for what it isn't.
//!
//! The fakes of this folder keep slots, control blocks, tables and frames' words apart, so that a
//! name which isn't good any more finds what lay there once. On a machine it finds what lies
//! there now, and that may be a frame that a program writes. So each page that an entry looks at
//! for one of the three must have been such a page before the entry, or be one after it: what
//! holds it is in some slot then.

use std::cell::RefCell;
use std::collections::HashSet;

use capelin_abi::{ObjectType, PAGE_SIZE};
use capelin_cap::Slot;

use super::{HOME, offset_of};

/// What a page is looked at for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Use {
    /// The slots of a CNode, or those in a control block.
    Slots,
    /// A dispatcher's control block.
    ControlBlock,
    /// A table of an address space.
    Table,
}

/// Pages of home memory, by number, with what each is used for.
pub type Pages = HashSet<(Use, usize)>;

/// What is being watched for, while an entry is.
#[derive(Default)]
struct Watch {
    is_on: bool,
    /// What there was before the entry.
    before: Pages,
    /// What was looked at, and wasn't there.
    odd: Pages,
}

thread_local! {
    static WATCH: RefCell<Watch> = RefCell::default();
}

/// Somebody looks at a page.
pub fn look(of: Use, page: usize) {
    WATCH.with_borrow_mut(|watch| {
        if watch.is_on && !watch.before.contains(&(of, page)) {
            watch.odd.insert((of, page));
        }
    });
}

/// From now on, looks at what isn't in `before` are noted.
pub fn begin(before: Pages) {
    WATCH.set(Watch {
        is_on: true,
        before,
        odd: Pages::new(),
    });
}

/// Ends that. What was noted.
pub fn end() -> Pages {
    WATCH.take().odd
}

/// The pages that what is in `slots` uses.
pub fn pages<'a>(slots: impl Iterator<Item = &'a Slot>) -> Pages {
    // The kernel's own slots lie in the first.
    let mut pages = Pages::from([(Use::Slots, page_of(HOME))]);
    for slot in slots.filter(|slot| slot.is_occupied()) {
        let uses: &[Use] = match slot.kind() {
            ObjectType::L1CNode | ObjectType::L2CNode => &[Use::Slots],
            ObjectType::Dispatcher => &[Use::Slots, Use::ControlBlock],
            ObjectType::VNodeL0
            | ObjectType::VNodeL1
            | ObjectType::VNodeL2
            | ObjectType::VNodeL3 => &[Use::Table],
            _ => continue,
        };
        let first = page_of(slot.base());
        let count = usize::try_from(slot.size().div_ceil(PAGE_SIZE)).expect("a count of pages");
        for &of in uses {
            // A table's second page is the kernel's note of it.
            let count = if of == Use::Table { 1 } else { count };
            pages.extend((first..first + count).map(|page| (of, page)));
        }
    }
    pages
}

#[test]
fn a_look_at_what_is_none_is_noted() {
    let own = page_of(HOME);
    look(Use::Table, own);
    begin(pages([].into_iter()));
    look(Use::Slots, own);
    look(Use::Slots, own + 5);
    look(Use::ControlBlock, own);
    let odd = Pages::from([(Use::Slots, own + 5), (Use::ControlBlock, own)]);
    assert_eq!(end(), odd);
    look(Use::Table, own);
    assert_eq!(end(), Pages::new());
}

fn page_of(address: u64) -> usize {
    offset_of(address) / usize::try_from(PAGE_SIZE).expect("a size")
}
