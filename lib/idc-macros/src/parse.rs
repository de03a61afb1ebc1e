//! Reads the trait, and refuses what can't go over a wire.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{
    Attribute, Error, Expr, FnArg, Ident, Lit, MetaNameValue, Pat, Result, ReturnType, Token,
    TraitItem, TraitItemFn, Type, Visibility, parse::Parser, punctuated::Punctuated,
    spanned::Spanned,
};

use crate::capability::{Carrier, carrier_of};

/// A declared interface.
pub(crate) struct Interface {
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) ident: Ident,
    pub(crate) hash: u32,
    pub(crate) version: u8,
    pub(crate) operations: Vec<Operation>,
}

/// One method.
pub(crate) struct Operation {
    pub(crate) number: u8,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) ident: Ident,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) output: Option<Type>,
    pub(crate) is_oneway: bool,
}

/// One argument.
pub(crate) struct Argument {
    pub(crate) ident: Ident,
    pub(crate) ty: Type,
    pub(crate) carrier: Option<Carrier>,
}

impl Interface {
    pub(crate) fn parse(attributes: TokenStream, item: TokenStream) -> Result<Self> {
        let item: syn::ItemTrait = syn::parse2(item)?;
        let (name, version) = name_and_version(attributes)?;
        if !item.generics.params.is_empty() {
            return Err(Error::new(
                item.generics.span(),
                "an interface has no parameters",
            ));
        }
        let mut operations = Vec::new();
        for item in &item.items {
            let TraitItem::Fn(method) = item else {
                return Err(Error::new(item.span(), "an interface has only methods"));
            };
            let number = u8::try_from(operations.len())
                .map_err(|_| Error::new(item.span(), "an interface has at most 256 operations"))?;
            operations.push(Operation::parse(number, method)?);
        }
        Ok(Self {
            hash: hash(&name, &item),
            attributes: item.attrs,
            visibility: item.vis,
            ident: item.ident,
            version,
            operations,
        })
    }
}

impl Operation {
    fn parse(number: u8, method: &TraitItemFn) -> Result<Self> {
        let signature = &method.sig;
        if signature.asyncness.is_none() {
            return Err(Error::new(signature.span(), "an operation is async"));
        }
        if !signature.generics.params.is_empty() || method.default.is_some() {
            return Err(Error::new(
                signature.span(),
                "an operation has neither parameters nor a body",
            ));
        }
        let mut inputs = signature.inputs.iter();
        match inputs.next() {
            Some(FnArg::Receiver(receiver))
                if receiver.reference.is_some() && receiver.mutability.is_none() => {}
            _ => return Err(Error::new(signature.span(), "an operation takes &self")),
        }
        let arguments = inputs.map(Argument::parse).collect::<Result<Vec<_>>>()?;
        if arguments.iter().filter(|a| a.carrier.is_some()).count() > 1 {
            return Err(Error::new(
                signature.inputs.span(),
                "a message carries one capability at most",
            ));
        }
        let is_oneway = method.attrs.iter().any(|a| a.path().is_ident("oneway"));
        let output = match &signature.output {
            ReturnType::Default => None,
            ReturnType::Type(_, ty) => Some((**ty).clone()),
        };
        if is_oneway && output.is_some() {
            return Err(Error::new(
                signature.output.span(),
                "a one-way operation has no result",
            ));
        }
        Ok(Self {
            number,
            attributes: method
                .attrs
                .iter()
                .filter(|a| !a.path().is_ident("oneway"))
                .cloned()
                .collect(),
            ident: signature.ident.clone(),
            arguments,
            output,
            is_oneway,
        })
    }
}

impl Argument {
    fn parse(argument: &FnArg) -> Result<Self> {
        let FnArg::Typed(typed) = argument else {
            return Err(Error::new(argument.span(), "self comes first"));
        };
        let Pat::Ident(pattern) = &*typed.pat else {
            return Err(Error::new(typed.pat.span(), "an argument is a name"));
        };
        if let Type::Reference(reference) = &*typed.ty
            && (reference.mutability.is_some() || reference.lifetime.is_some())
        {
            return Err(Error::new(
                typed.ty.span(),
                "an argument is a value or a plain shared reference",
            ));
        }
        Ok(Self {
            ident: pattern.ident.clone(),
            carrier: carrier_of(&typed.ty),
            ty: (*typed.ty).clone(),
        })
    }
}

fn name_and_version(attributes: TokenStream) -> Result<(String, u8)> {
    let span = attributes.span();
    let pairs = Punctuated::<MetaNameValue, Token![,]>::parse_terminated.parse2(attributes)?;
    let (mut name, mut version) = (None, None);
    for pair in pairs {
        match &pair.value {
            Expr::Lit(value) if pair.path.is_ident("name") => {
                if let Lit::Str(text) = &value.lit {
                    name = Some(text.value());
                }
            }
            Expr::Lit(value) if pair.path.is_ident("version") => {
                if let Lit::Int(number) = &value.lit {
                    version = Some(number.base10_parse()?);
                }
            }
            _ => return Err(Error::new(pair.span(), "expected name or version")),
        }
    }
    name.zip(version)
        .ok_or_else(|| Error::new(span, "expected name = \"…\", version = n"))
}

/// FNV-1a over the name and the signatures as tokens, so that layout, comments
/// and documentation don't count; the low 24 bits.
fn hash(name: &str, item: &syn::ItemTrait) -> u32 {
    let mut text = name.to_owned();
    for item in &item.items {
        if let TraitItem::Fn(method) = item {
            let oneway = method.attrs.iter().any(|a| a.path().is_ident("oneway"));
            text.push_str(if oneway { ";oneway " } else { ";" });
            text.push_str(&method.sig.to_token_stream().to_string());
        }
    }
    let hash = text.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash & 0xff_ffff
}
