//! What is given out, and to whom: one entry a piece, by which every other list goes.
//!
//! A piece is noted once, by where it begins. The connection by which it came and the client that is
//! charged with it stand in its entry; the lists by connection and by client are made and unmade
//! with it ([`Given::insert`], [`Given::hand`], [`Given::remove`]). So nothing is left in any of them of
//! a piece that is free, whoever found out that it is.

use alloc::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use capelin_idc::shares::ClientId;

/// Memory that is given out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which region it is part of, in the order in which they were added.
    pub region: usize,
    /// First byte, from the start of the region.
    pub offset: u64,
    /// First byte's physical address.
    pub base: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Whose a piece is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holder {
    /// The connection by which it came; `None` once that has ended.
    pub connection: Option<u64>,
    /// Who is charged with it; `None` for who may have all that there is.
    pub client: Option<ClientId>,
}

/// What one client is charged with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Charge {
    /// Bytes of all its pieces.
    pub bytes: u64,
    /// How many they are.
    pub pieces: u64,
}

/// All that is given out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// By first byte.
    pieces: BTreeMap<u64, (Piece, Holder)>,
    /// Connection and first byte.
    by_connection: BTreeSet<(Option<u64>, u64)>,
    /// Clients that have something.
    charges: BTreeMap<ClientId, Charge>,
}

impl Given {
    pub(crate) const fn new() -> Self {
        Self {
            pieces: BTreeMap::new(),
            by_connection: BTreeSet::new(),
            charges: BTreeMap::new(),
        }
    }

    /// `piece` is given out, to nobody yet.
    pub(crate) fn insert(&mut self, piece: Piece) {
        self.pieces.insert(piece.base, (piece, Holder::default()));
        self.by_connection.insert((None, piece.base));
    }

    /// The piece that begins at `base`.
    pub(crate) fn get(&self, base: u64) -> Option<Piece> {
        self.pieces.get(&base).map(|&(piece, _)| piece)
    }

    /// `piece` is `holder`'s from now on, if it is given out.
    pub(crate) fn hand(&mut self, piece: &Piece, holder: Holder) {
        if self.remove(piece) {
            self.pieces.insert(piece.base, (*piece, holder));
            self.by_connection.insert((holder.connection, piece.base));
            if let Some(client) = holder.client {
                let charge = self.charges.entry(client).or_default();
                charge.bytes += piece.bytes;
                charge.pieces += 1;
            }
        }
    }

    /// `piece` isn't given out any more; whether it was.
    pub(crate) fn remove(&mut self, piece: &Piece) -> bool {
        let Entry::Occupied(entry) = self.pieces.entry(piece.base) else {
            return false;
        };
        if entry.get().0 != *piece {
            return false;
        }
        let (_, holder) = entry.remove();
        self.by_connection.remove(&(holder.connection, piece.base));
        if let Some(client) = holder.client
            && let Entry::Occupied(mut charge) = self.charges.entry(client)
        {
            charge.get_mut().bytes -= piece.bytes;
            charge.get_mut().pieces -= 1;
            if charge.get().pieces == 0 {
                charge.remove();
            }
        }
        true
    }

    /// What `client` is charged with.
    pub(crate) fn charge(&self, client: ClientId) -> Charge {
        self.charges.get(&client).copied().unwrap_or_default()
    }

    /// A connection has ended: whoever is charged with its pieces is so still, but it holds none of them
    /// that we know of.
    pub(crate) fn close(&mut self, connection: u64) {
        let of_it = (Some(connection), 0)..=(Some(connection), u64::MAX);
        while let Some(&(of, base)) = self.by_connection.range(of_it.clone()).next() {
            self.by_connection.remove(&(of, base));
            self.by_connection.insert((None, base));
            if let Some((_, holder)) = self.pieces.get_mut(&base) {
                holder.connection = None;
            }
        }
    }

    /// The first piece from address `from` on.
    pub(crate) fn next(&self, from: u64) -> Option<Piece> {
        let mut pieces = self.pieces.range(from..);
        pieces.next().map(|(_, &(piece, _))| piece)
    }

    /// The first piece from address `from` on whose connection has ended.
    pub(crate) fn next_left(&self, from: u64) -> Option<Piece> {
        let mut left = self.by_connection.range((None, from)..=(None, u64::MAX));
        left.next().and_then(|&(_, base)| self.get(base))
    }

    /// Whether nothing is noted of anything.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.by_connection.is_empty() && self.charges.is_empty()
    }
}
