//! Typed interfaces over LMP and URPC (`docs/070-interfaces.md`).
//!
//! An interface is declared once, as a trait:
//!
//! ```
//! use capelin_idc::{CallError, Cap, interface};
//!
//! /// Adds and remembers.
//! #[interface(name = "adder", version = 1)]
//! pub trait Adder {
//!     /// The sum; wraps.
//!     async fn add(&self, a: u64, b: u64) -> u64;
//!     /// A capability to what was remembered under `name`.
//!     async fn recall(&self, name: &str) -> Result<Cap, CallError>;
//!     /// Nobody waits for this one.
//!     #[oneway]
//!     async fn note(&self, text: &str);
//! }
//! ```
//! which makes `AdderClient<T>`, with the same methods, over any [`Transport`], and
//! `AdderServer<S>`, a [`Service`] for any `S: Adder`. A client's method returns what the trait's
//! does when that is a `Result` whose error has `From<CallError>`, else `Result<_, CallError>`.
//!
//! Arguments are whatever serde takes, by value or by reference. At most one argument, and at most
//! one part of the result, may be a [`Cap`] or an `Option<Cap>`: by itself, as the `Ok` of a
//! `Result`, or as a member of a tuple there.
//!
//! | module | concept |
//! | --- | --- |
//! | [`header`] | the header word of every fragment; identity of an interface |
//! | [`message`] | a whole message, cut into fragments and put together again |
//! | [`transport`] | what carries fragments: LMP and URPC in the runtime, [`loopback`] here |
//! | [`client`] | the calling side: many calls outstanding on one binding |
//! | [`server`] | the answering side: many requests at work for one client |
//! | [`shares`] | what one client may have of a server |
//! | [`codec`] | values to bytes and back |
//! | [`error`] | what can go wrong, and whose fault it is |
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cap;
pub mod client;
pub mod codec;
pub mod error;
pub mod header;
pub mod loopback;
pub mod message;
pub mod server;
pub mod shares;
pub mod transport;

pub use cap::{Cap, CapMark, CapMode, Disposer};
pub use capelin_idc_macros::interface;
pub use client::{Binding, Client};
pub use codec::{decode, encode};
pub use error::{CallError, RemoteError, TransportError};
pub use header::{InterfaceId, Kind, WireHeader};
pub use message::{Arrival, Fragment, MAX_BODY_BYTES, Message};
pub use server::{BoxFuture, Request, Response, Service, serve};
pub use transport::Transport;

#[doc(hidden)]
pub use alloc::{boxed::Box, rc::Rc, vec::Vec};
