//! Who has which interrupt.

use alloc::{collections::BTreeMap, vec::Vec};

/// Names a client: the number of its connection.
pub type ClientId = u64;

/// Interrupts given out.
#[derive(Debug, Default)]
pub struct Claims(BTreeMap<u32, ClientId>);

impl Claims {
    /// Notes that `client` has `intid`; false if somebody has it already.
    pub fn claim(&mut self, intid: u32, client: ClientId) -> bool {
        if self.0.contains_key(&intid) {
            return false;
        }
        self.0.insert(intid, client);
        true
    }

    /// Whether `client` has `intid`.
    #[must_use]
    pub fn is_held(&self, intid: u32, client: ClientId) -> bool {
        self.0.get(&intid) == Some(&client)
    }

    /// `client` gives `intid` back; false if it doesn't have it.
    pub fn release(&mut self, intid: u32, client: ClientId) -> bool {
        let is_held = self.is_held(intid, client);
        if is_held {
            self.0.remove(&intid);
        }
        is_held
    }

    /// `client` is gone: what it had comes back.
    pub fn leave(&mut self, client: ClientId) -> Vec<u32> {
        let held = self.0.iter().filter(|(_, holder)| **holder == client);
        let intids: Vec<u32> = held.map(|(intid, _)| *intid).collect();
        for intid in &intids {
            self.0.remove(intid);
        }
        intids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_has_one_client() {
        let mut claims = Claims::default();
        assert!(claims.claim(33, 1) && claims.claim(34, 1) && claims.claim(40, 2));
        assert!(!claims.claim(33, 2) && !claims.claim(33, 1));
        assert!(!claims.release(33, 2));
        assert!(claims.release(33, 1) && !claims.release(33, 1));
        assert!(claims.claim(33, 2));
        assert_eq!(claims.leave(2), [33, 40]);
        assert_eq!(claims.leave(2), []);
        assert!(claims.claim(40, 3));
    }
}
