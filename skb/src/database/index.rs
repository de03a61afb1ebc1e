//! Lists of clauses, and the indexes over them.
//!
//! An index over one of the first [`INDEXED`](crate::clause::INDEXED) arguments is begun when a goal
//! with that argument bound first needs it, made in parts, one with each goal that could use it, so
//! that none takes long, and kept up from then on. Each bucket holds, in order, all clauses that can
//! match its key, those with a variable there included. An index for which there is no room is done
//! without: goals go through all clauses then.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use super::End;
use crate::clause::{Clause, ClauseList, Key, list_block};
use crate::error::Resource;
use crate::memory::{Buffer, Charge, Pool, tree_entry};

/// An index stands in every bucket for each clause with a variable: with more
/// than so many of them it is given up, which keeps its size linear.
const MOST_UNKEYED: usize = 8;

/// Clauses entered at a time.
const PART: usize = 256;

/// How far an index has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// It has the clauses up to this [`Clause::sequence`].
    UpTo(i64),
    All,
    /// Too many clauses have a variable here, or there was no room: it has none.
    GivenUp,
}

/// The clauses of a predicate by one of its arguments.
pub(super) struct Index {
    buckets: BTreeMap<Key, ClauseList>,
    /// The clauses with a variable: for keys without a bucket.
    any: ClauseList,
    extent: Extent,
    /// For the nodes of `buckets`.
    charge: Charge,
}

/// Adds a clause at an end; what that has copied is added to `copied`, in bytes.
pub(super) fn insert(
    list: &mut ClauseList,
    clause: &Arc<Clause>,
    end: End,
    copied: &mut usize,
) -> Result<(), Resource> {
    let pool = Arc::clone(list.pool());
    let clauses = unshared(list, 1, &pool, copied)?;
    match end {
        End::First => clauses.push_front(Arc::clone(clause)),
        End::Last => clauses.push(Arc::clone(clause)),
    }
}

/// Removes the clause with this number; `pool` pays for a copy of the list if it takes one, whose
/// bytes are added to `copied`.
pub(super) fn remove(
    list: &mut ClauseList,
    sequence: i64,
    pool: &Arc<Pool>,
    copied: &mut usize,
) -> Result<Option<Arc<Clause>>, Resource> {
    let Ok(at) = list.binary_search_by_key(&sequence, |clause| clause.sequence) else {
        return Ok(None);
    };
    Ok(Some(unshared(list, 0, pool, copied)?.remove(at)))
}

/// The list, or a copy if somebody else holds it, with room for `more` further clauses.
fn unshared<'a>(
    list: &'a mut ClauseList,
    more: usize,
    pool: &Arc<Pool>,
    copied: &mut usize,
) -> Result<&'a mut Buffer<Arc<Clause>>, Resource> {
    if Arc::get_mut(list).is_none() {
        let mut copy = Buffer::boxed(pool, list_block())?;
        copy.reserve(list.len() + more)?;
        copy.extend(list)?;
        *copied += size_of_val::<[Arc<Clause>]>(list);
        *list = Arc::new(copy);
    }
    // A list just made is nobody else's.
    let exhausted = list.pool().resource();
    Arc::get_mut(list).ok_or(exhausted)
}

impl Index {
    /// An index without clauses yet.
    pub(super) fn new(pool: &Arc<Pool>) -> Self {
        Self {
            buckets: BTreeMap::new(),
            any: Arc::new(Buffer::new(pool)),
            extent: Extent::UpTo(i64::MIN),
            charge: Charge::none(pool),
        }
    }

    /// The clauses for a key, if the index is complete.
    pub(super) fn find(&self, key: &Key) -> Option<&ClauseList> {
        (self.extent == Extent::All).then(|| self.buckets.get(key).unwrap_or(&self.any))
    }

    /// Enters some more clauses of a predicate, of which these are all, and says how many.
    pub(super) fn extend(&mut self, clauses: &ClauseList, arg: usize) -> usize {
        let Extent::UpTo(last) = self.extent else {
            return 0;
        };
        let done = clauses.partition_point(|clause| clause.sequence <= last);
        let part = clauses.get(done..).unwrap_or_default().iter().take(PART);
        let mut entered = 0;
        // Buckets are shared with nobody yet.
        let mut copied = 0;
        for clause in part {
            if self.enter(clause, arg, End::Last, &mut copied).is_err() {
                self.give_up();
            }
            if self.extent == Extent::GivenUp {
                return entered;
            }
            self.extent = Extent::UpTo(clause.sequence);
            entered += 1;
        }
        if done + entered == clauses.len() {
            self.extent = Extent::All;
        }
        entered
    }

    fn give_up(&mut self) {
        let mut empty = Self::new(self.charge.pool());
        empty.extent = Extent::GivenUp;
        *self = empty;
    }

    /// A clause has been added to the predicate.
    pub(super) fn insert(
        &mut self,
        clause: &Arc<Clause>,
        arg: usize,
        end: End,
        copied: &mut usize,
    ) -> Result<(), Resource> {
        match (self.extent, end) {
            (Extent::GivenUp, _) => Ok(()),
            // Its turn comes.
            (Extent::UpTo(last), _) if clause.sequence > last => Ok(()),
            _ => self.enter(clause, arg, end, copied),
        }
    }

    fn enter(
        &mut self,
        clause: &Arc<Clause>,
        arg: usize,
        end: End,
        copied: &mut usize,
    ) -> Result<(), Resource> {
        match clause.keys[arg] {
            Key::Any if self.any.len() == MOST_UNKEYED => self.give_up(),
            Key::Any => {
                for list in self.buckets.values_mut() {
                    insert(list, clause, end, copied)?;
                }
                insert(&mut self.any, clause, end, copied)?;
            }
            key => {
                if let Some(list) = self.buckets.get_mut(&key) {
                    return insert(list, clause, end, copied);
                }
                let mut list = Buffer::boxed(self.charge.pool(), list_block())?;
                list.reserve(self.any.len() + 1)?;
                list.extend(&self.any)?;
                let mut list = Arc::new(list);
                insert(&mut list, clause, end, copied)?;
                self.charge.add(tree_entry::<Key, ClauseList>())?;
                self.buckets.insert(key, list);
            }
        }
        Ok(())
    }

    /// A clause has been removed from the predicate.
    pub(super) fn remove(
        &mut self,
        clause: &Clause,
        arg: usize,
        pool: &Arc<Pool>,
        copied: &mut usize,
    ) -> Result<(), Resource> {
        match clause.keys[arg] {
            Key::Any => {
                for list in self.buckets.values_mut() {
                    remove(list, clause.sequence, pool, copied)?;
                }
                remove(&mut self.any, clause.sequence, pool, copied)?;
            }
            key => {
                if let Some(list) = self.buckets.get_mut(&key) {
                    remove(list, clause.sequence, pool, copied)?;
                    if list.len() == self.any.len() {
                        self.buckets.remove(&key);
                        self.charge.remove(tree_entry::<Key, ClauseList>());
                    }
                }
            }
        }
        Ok(())
    }
}
