//! Finds where a type carries a capability.
//!
//! Capabilities don't go into a message's bytes. Where the signature has a `Cap`,
//! the bytes have a mark without extent, and the capability travels beside them.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{GenericArgument, PathArguments, Type};

/// How a type is a capability.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// `Cap`.
    Always,
    /// `Option<Cap>`.
    Maybe,
}

/// A result as it travels: the type of its bytes, and the ways there and back.
pub(crate) struct Shape {
    /// The type that is encoded.
    pub(crate) wire: TokenStream,
    /// Makes `(wire, Option<Cap>)` of `value`.
    pub(crate) split: TokenStream,
    /// Makes the value of `wire` and `cap`, with `?` for a missing capability.
    pub(crate) join: TokenStream,
}

/// Whether `ty` is `Cap` or `Option<Cap>`.
pub(crate) fn carrier_of(ty: &Type) -> Option<Carrier> {
    if is_named(ty, "Cap") {
        return Some(Carrier::Always);
    }
    match arguments_of(ty, "Option").as_deref() {
        Some([inner]) if is_named(inner, "Cap") => Some(Carrier::Maybe),
        _ => None,
    }
}

/// `T` and `E` of a `Result<T, E>`, or of an alias with one parameter, `T`.
pub(crate) fn result_of(ty: &Type) -> Option<(Type, Option<Type>)> {
    let mut arguments = arguments_of(ty, "Result")?.into_iter();
    Some((arguments.next()?, arguments.next()))
}

/// How a value of type `ty` travels.
pub(crate) fn shape_of(ty: &Type) -> Shape {
    if let Some(carrier) = carrier_of(ty) {
        return carried(carrier);
    }
    let plain = Shape {
        wire: quote!(#ty),
        split: quote!((value, ::core::option::Option::None)),
        join: quote!(wire),
    };
    let Type::Tuple(tuple) = ty else {
        return plain;
    };
    let Some((place, carrier)) = tuple
        .elems
        .iter()
        .enumerate()
        .find_map(|(n, ty)| Some((n, carrier_of(ty)?)))
    else {
        return plain;
    };
    let inner = carried(carrier);
    let names: Vec<_> = (0..tuple.elems.len())
        .map(|n| format_ident!("part{n}"))
        .collect();
    let types = tuple.elems.iter().enumerate().map(|(n, ty)| {
        if n == place {
            inner.wire.clone()
        } else {
            quote!(#ty)
        }
    });
    let name = &names[place];
    let (split, join) = (&inner.split, &inner.join);
    Shape {
        wire: quote!((#(#types,)*)),
        split: quote!({
            let (#(#names,)*) = value;
            let (#name, cap) = { let value = #name; #split };
            ((#(#names,)*), cap)
        }),
        join: quote!({
            let (#(#names,)*) = wire;
            let #name = { let wire = #name; #join };
            (#(#names,)*)
        }),
    }
}

fn carried(carrier: Carrier) -> Shape {
    let take = quote!(
        cap.take()
            .ok_or(::capelin_idc::CallError::MissingCapability)?
    );
    match carrier {
        Carrier::Always => Shape {
            wire: quote!(::capelin_idc::CapMark),
            split: quote!((
                ::capelin_idc::CapMark,
                ::core::option::Option::<::capelin_idc::Cap>::Some(value)
            )),
            join: quote!({ let ::capelin_idc::CapMark = wire; #take }),
        },
        Carrier::Maybe => Shape {
            wire: quote!(::core::option::Option<::capelin_idc::CapMark>),
            split: quote!((value.as_ref().map(|_| ::capelin_idc::CapMark), value)),
            join: quote!(match wire {
                ::core::option::Option::Some(::capelin_idc::CapMark) =>
                    ::core::option::Option::Some(#take),
                ::core::option::Option::None => ::core::option::Option::None,
            }),
        },
    }
}

fn is_named(ty: &Type, name: &str) -> bool {
    matches!(ty, Type::Path(path)
        if path.path.segments.last().is_some_and(|last| last.ident == name))
}

fn arguments_of(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(path) = ty else {
        return None;
    };
    let last = path.path.segments.last()?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return None;
    };
    (last.ident == name).then(|| {
        arguments
            .args
            .iter()
            .filter_map(|argument| match argument {
                GenericArgument::Type(ty) => Some(ty.clone()),
                _ => None,
            })
            .collect()
    })
}
