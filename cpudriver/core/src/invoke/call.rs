//! What every invocation gets, and what it can come to.

use capelin_abi::rights::{Kinds, Need};
use capelin_abi::{SysError, Ticket};
use capelin_cap::{SlotIndex, SlotStore};

use crate::cspace::lookup_word;
use crate::dcb::DcbRef;
use crate::machine::{Machine, SaveContext};
use crate::state::Core;

/// What an invocation came to.
pub(crate) enum Outcome {
    /// No results.
    Done,
    /// Results that are in x1–x3 already ([`Call::answer`]).
    Answered,
    /// The same, after a fault with a fix-up.
    AfterFault,
    /// The same call has to be issued again: an interrupt waits.
    Again,
}

pub(crate) use Outcome::Done as DONE;

/// What every invocation gets.
pub(crate) struct Call<M: Machine> {
    /// Who calls.
    pub caller: DcbRef,
    /// The capability invoked.
    pub slot: SlotIndex,
    /// Where x1–x7 are.
    pub area: M::Context,
}

impl<M: Machine> Call<M> {
    /// Argument `n`: register x`n`.
    #[inline(always)]
    pub(crate) fn argument(&self, n: usize) -> u64 {
        self.area.get(n)
    }

    /// Sets the results x1–x3.
    #[inline]
    pub(crate) fn answer(&self, values: [u64; 3]) -> Outcome {
        self.area.set(1, values[0]);
        self.area.set_pair::<2>([values[1], values[2]]);
        Outcome::Answered
    }

    /// The capability of the caller's own CSpace that `need` is about, if it is what
    /// the table of rights asks for in any case.
    #[inline(always)]
    pub(crate) fn capability(&self, core: &Core<M>, need: Need) -> Result<SlotIndex, SysError> {
        let slot = self.own_slot(core, need.register)?;
        // Where everything will do, whoever uses it says what is empty or unusable.
        if need.kinds != Kinds::ANY || !need.rights.is_empty() {
            core.slots.slot(slot).meets(need)?;
        }
        Ok(slot)
    }

    /// The ticket in register x1.
    pub(crate) fn ticket(&self) -> Result<Ticket, SysError> {
        Ticket::from_word(self.argument(1)).ok_or(SysError::NoSuchTransfer)
    }

    /// Argument `n` as a slot of the caller's own CSpace that is to be filled. A
    /// capability that is there is [`Call::capability`]'s to find.
    #[inline(always)]
    pub(crate) fn own_slot(&self, core: &Core<M>, n: usize) -> Result<SlotIndex, SysError> {
        lookup_word(core, self.caller, self.argument(n))
    }
}
