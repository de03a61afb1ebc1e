//! Makes a domain from an ELF or flat image.
//!
//! A domain is made from two pieces of memory, its *chunks*: home memory for its kernel objects,
//! and RAM for its frames. The front of each holds what the loader makes; the rest becomes the
//! domain's own ([`slot::HOME`], [`slot::RAM`]). Revoking the chunks therefore takes back all that
//! the domain ever had, whatever it did with it, and that is how [`Domain::reclaim`] works.
//!
//! | module | concept |
//! | --- | --- |
//! | [`image`] | an executable, checked: segments to be mapped |
//! | [`executables`] | those of the module archive |
//! | [`program`] | what a domain is to be given |
//! | [`chunk`] | memory that can be taken back whole |
//! | [`loader`] | makes the domain, by `capelin_abi::layout` |
//! | [`domain`] | a domain that has been made |
//!
//! [`slot::HOME`]: capelin_abi::layout::slot::HOME
//! [`slot::RAM`]: capelin_abi::layout::slot::RAM
//!
//! ```ignore
//! let image = Image::parse(elf)?;
//! let domain = Program::new("hello")
//!     .argument("world")
//!     .capability("console", console.address())
//!     .death(deaths.for_events(7)?)
//!     .spawn(&image)
//!     .await?;
//! // … the death event with badge 7 …
//! let status = domain.status()?;
//! domain.reclaim()?;
//! ```
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod chunk;
pub mod domain;
mod error;
pub mod executables;
pub mod image;
pub mod loader;
pub mod program;

pub use chunk::Chunk;
pub use domain::Domain;
pub use error::SpawnError;
pub use executables::{Executables, ModuleError};
pub use image::{Image, ImageError};
pub use program::Program;
