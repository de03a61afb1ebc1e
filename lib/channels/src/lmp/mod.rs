//! Interfaces over local messages: binding and serving.
//!
//! A message is a header word and up to seven words of payload, one fragment; a capability goes
//! with a message's first fragment.
//!
//! Binding:
//!
//! 1. The client makes an endpoint of its own and sends *bind*, with that endpoint, through the
//!    badged capability that it was given. The badge says who asks.
//! 2. The server checks interface and version, badges its endpoint for this connection, and sends
//!    *bound* with it; or *failure*.
//! 3. Calls go through that capability, so the server knows each connection by its badge; replies
//!    go to the client's endpoint.
//!
//! | module | holds |
//! | --- | --- |
//! | [`client`] | [`Lmp`], the client's side, and [`bind`] |
//! | [`server`] | [`Listener`]: one endpoint that serves many clients |
//! | `sender`, `patience` | sending with patience: what to do while a ring is full |

pub mod client;
mod patience;
mod sender;
pub mod server;

pub use client::{Lmp, bind};
pub use server::{Caller, Listener};

use capelin_idc::{Arrival, Fragment, WireHeader};

use crate::{OwnedCap, endpoint::Received};

/// What arrived in a message; `None` for an event or for words that are no fragment.
fn arrival(received: Received) -> Option<Arrival> {
    let header = match received.payload() {
        [word, ..] if !received.is_event => WireHeader::from_word(*word)?,
        _ => return None,
    };
    let payload = received.words.get(1..received.length).unwrap_or_default();
    // `from_words` copies the payload; the words were copied out of the ring before.
    let fragment = Fragment::from_words(header, payload);
    let cap = received.cap.map(OwnedCap::give);
    Some(Arrival { fragment, cap })
}
