//! The attribute that makes an interface of a trait; `capelin-idc` re-exports it
//! and explains its use.
//!
//! | module | does |
//! | --- | --- |
//! | `parse` | reads the trait, refuses what can't go over a wire |
//! | `capability` | finds where a result carries a capability |
//! | `generate` | writes trait, client and server |
#![forbid(unsafe_code)]

mod capability;
mod generate;
mod parse;

use proc_macro::TokenStream;

/// Makes `…Client` and `…Server` of a trait.
///
/// Takes `name = "…"`, the interface's name, and `version = n` (0–255). All
/// methods are `async`, take `&self`, and have no type parameters; at most 256 of
/// them. `#[oneway]` marks those without a reply.
#[proc_macro_attribute]
pub fn interface(attributes: TokenStream, item: TokenStream) -> TokenStream {
    parse::Interface::parse(attributes.into(), item.into())
        .map_or_else(syn::Error::into_compile_error, |interface| {
            generate::interface(&interface)
        })
        .into()
}
