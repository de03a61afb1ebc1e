//! Writes the trait, its client and its server.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::Type;

use crate::{
    capability::{Carrier, result_of, shape_of},
    parse::{Argument, Interface, Operation},
};

/// Everything that an interface expands to.
pub(crate) fn interface(interface: &Interface) -> TokenStream {
    let declaration = declaration(interface);
    let client = client(interface);
    let server = server(interface);
    quote! { #declaration #client #server }
}

/// The trait. Its methods are written out as functions that return futures,
/// which `async fn` implements, since callers may not ask more of those.
fn declaration(interface: &Interface) -> TokenStream {
    let Interface {
        attributes,
        visibility,
        ident,
        operations,
        ..
    } = interface;
    let methods = operations.iter().map(|operation| {
        let Operation {
            attributes, ident, ..
        } = operation;
        let (names, types) = names_and_types(operation);
        let output = output(operation);
        quote! {
            #(#attributes)*
            fn #ident(&self, #(#names: #types),*)
                -> impl ::core::future::Future<Output = #output>;
        }
    });
    let forwards = operations.iter().map(|operation| {
        let ident = &operation.ident;
        let (names, types) = names_and_types(operation);
        let output = output(operation);
        quote! {
            fn #ident(&self, #(#names: #types),*)
                -> impl ::core::future::Future<Output = #output>
            {
                (**self).#ident(#(#names),*)
            }
        }
    });
    let trait_ident = ident;
    quote! {
        #(#attributes)*
        #visibility trait #ident {
            #(#methods)*

            /// The client is gone: nobody waits for answers any more. Requests at work go on all the
            /// same; what would wait, or work a lot, for nothing ends them here.
            fn closed(&self) {}
        }

        impl<S: #trait_ident> #trait_ident for ::capelin_idc::Rc<S> {
            #(#forwards)*

            fn closed(&self) {
                #trait_ident::closed(&**self);
            }
        }
    }
}

fn client(interface: &Interface) -> TokenStream {
    let Interface {
        visibility,
        ident,
        hash,
        version,
        operations,
        ..
    } = interface;
    let client = format_ident!("{ident}Client");
    let doc = format!("Calls [`{ident}`] through a binding. Clones share the binding.");
    let methods = operations.iter().map(client_method);
    quote! {
        #[doc = #doc]
        #[derive(Debug)]
        #visibility struct #client<T: ::capelin_idc::Transport>(
            ::capelin_idc::Rc<::capelin_idc::Binding<T>>,
        );

        impl<T: ::capelin_idc::Transport> ::core::clone::Clone for #client<T> {
            fn clone(&self) -> Self {
                Self(::capelin_idc::Rc::clone(&self.0))
            }
        }

        impl<T: ::capelin_idc::Transport> ::capelin_idc::Client<T> for #client<T> {
            const INTERFACE: ::capelin_idc::InterfaceId =
                ::capelin_idc::InterfaceId { hash: #hash, version: #version };

            fn from_binding(binding: ::capelin_idc::Rc<::capelin_idc::Binding<T>>) -> Self {
                Self(binding)
            }
        }

        impl<T: ::capelin_idc::Transport> #client<T> { #(#methods)* }
    }
}

fn client_method(operation: &Operation) -> TokenStream {
    let Operation {
        number,
        attributes,
        ident,
        is_oneway,
        ..
    } = operation;
    let (names, types) = names_and_types(operation);
    let returned = output(operation);
    let is_result = operation.output.as_ref().and_then(result_of).is_some();
    let method_output = if is_result {
        returned.clone()
    } else {
        quote!(::core::result::Result<#returned, ::capelin_idc::CallError>)
    };
    let bytes = plain(operation).map(|argument| &argument.ident);
    let (marks, cap) = client_capability(operation);
    let encode = quote! {
        let __body = ::capelin_idc::encode(&(#(&#bytes,)* #marks))?;
    };
    let body = if *is_oneway {
        quote! {
            #encode
            self.0.send(#number, __body, #cap).await
        }
    } else {
        let decode = decode_reply(operation);
        quote! {
            #encode
            let (__reply, __cap) = self.0.call(#number, __body, #cap).await?;
            #decode
        }
    };
    quote! {
        #(#attributes)*
        pub async fn #ident(&self, #(#names: #types),*) -> #method_output { #body }
    }
}

/// What stands for the capability in the bytes, and the capability.
fn client_capability(operation: &Operation) -> (TokenStream, TokenStream) {
    match carried(operation) {
        Some((argument, Carrier::Always)) => {
            let ident = &argument.ident;
            (
                quote!(::capelin_idc::CapMark,),
                quote!(::core::option::Option::Some(#ident)),
            )
        }
        Some((argument, Carrier::Maybe)) => {
            let ident = &argument.ident;
            (
                quote!(#ident.as_ref().map(|_| ::capelin_idc::CapMark),),
                quote!(#ident),
            )
        }
        None => (quote!(), quote!(::core::option::Option::None)),
    }
}

/// Makes the method's result of `__reply` and `__cap`.
fn decode_reply(operation: &Operation) -> TokenStream {
    let ok_type = match operation.output.as_ref().and_then(result_of) {
        Some((ok, _)) => quote!(#ok),
        None => output(operation),
    };
    let shape = shape_of(&syn::parse_quote!(#ok_type));
    let (wire, join) = (&shape.wire, &shape.join);
    let of_result = quote!(match wire {
        ::core::result::Result::Ok(wire) => wire,
        ::core::result::Result::Err(error) => return ::core::result::Result::Err(error),
    });
    let (wire_type, unwrap) = match operation.output.as_ref().and_then(result_of) {
        Some((_, Some(error))) => (quote!(::core::result::Result<#wire, #error>), of_result),
        Some((_, None)) => {
            let alias = operation.output.as_ref();
            (quote!(#alias), of_result)
        }
        None => (wire.clone(), quote!(wire)),
    };
    quote! {
        #[allow(unused_mut, reason = "only results with a capability take it")]
        let mut cap = __cap;
        let wire: #wire_type = match ::capelin_idc::decode(&__reply) {
            ::core::result::Result::Ok(wire) => wire,
            ::core::result::Result::Err(_) => {
                return ::core::result::Result::Err(
                    ::capelin_idc::CallError::MalformedReply.into(),
                );
            }
        };
        let wire = #unwrap;
        let value = #join;
        // What came unasked.
        ::core::mem::drop(cap);
        ::core::result::Result::Ok(value)
    }
}

fn server(interface: &Interface) -> TokenStream {
    let Interface {
        visibility,
        ident,
        hash,
        version,
        operations,
        ..
    } = interface;
    let server = format_ident!("{ident}Server");
    let doc = format!("Answers requests through an [`{ident}`].");
    let arms = operations.iter().map(server_arm);
    quote! {
        #[doc = #doc]
        #[derive(Clone, Debug)]
        #visibility struct #server<S>(pub S);

        impl<S: #ident> ::capelin_idc::Service for #server<S> {
            fn interface(&self) -> ::capelin_idc::InterfaceId {
                ::capelin_idc::InterfaceId { hash: #hash, version: #version }
            }

            fn closed(&self) {
                #ident::closed(&self.0);
            }

            fn handle(
                &self,
                request: ::capelin_idc::Request,
            ) -> ::capelin_idc::BoxFuture<'_, ::capelin_idc::Response> {
                ::capelin_idc::Box::pin(async move {
                    match request.operation {
                        #(#arms)*
                        _ => ::capelin_idc::Response::failure(
                            ::capelin_idc::RemoteError::UnknownOperation,
                        ),
                    }
                })
            }
        }
    }
}

fn server_arm(operation: &Operation) -> TokenStream {
    let Operation { number, ident, .. } = operation;
    let names = plain(operation).map(|argument| &argument.ident);
    let types = plain(operation).map(|argument| received_type(&argument.ty));
    let (mark_name, mark_type, take_cap) = server_capability(operation);
    let passed = operation.arguments.iter().map(|argument| {
        let ident = &argument.ident;
        match &argument.ty {
            Type::Reference(reference) if !is_borrowed(&reference.elem) => quote!(&#ident),
            _ => quote!(#ident),
        }
    });
    let respond = respond(operation);
    quote! {
        #number => {
            let (#(#names,)* #mark_name): (#(#types,)* #mark_type) =
                match ::capelin_idc::decode(&request.body) {
                    ::core::result::Result::Ok(arguments) => arguments,
                    ::core::result::Result::Err(error) => {
                        return ::capelin_idc::Response::failure(error);
                    }
                };
            #take_cap
            let value = self.0.#ident(#(#passed),*).await;
            #respond
        }
    }
}

/// Name and type of the mark among the arguments, and how the capability becomes
/// the argument.
fn server_capability(operation: &Operation) -> (TokenStream, TokenStream, TokenStream) {
    let unexpected = quote! {
        if request.cap.is_some() {
            return ::capelin_idc::Response::failure(
                ::capelin_idc::RemoteError::UnexpectedCapability,
            );
        }
    };
    let missing = quote! {
        return ::capelin_idc::Response::failure(
            ::capelin_idc::RemoteError::MissingCapability,
        )
    };
    match carried(operation) {
        Some((argument, Carrier::Always)) => {
            let ident = &argument.ident;
            (
                quote!(::capelin_idc::CapMark,),
                quote!(::capelin_idc::CapMark,),
                quote! {
                    let ::core::option::Option::Some(#ident) = request.cap else { #missing };
                },
            )
        }
        Some((argument, Carrier::Maybe)) => {
            let ident = &argument.ident;
            (
                quote!(mark,),
                quote!(::core::option::Option<::capelin_idc::CapMark>,),
                quote! {
                    let #ident = match mark {
                        ::core::option::Option::Some(::capelin_idc::CapMark) => {
                            if request.cap.is_none() { #missing }
                            request.cap
                        }
                        ::core::option::Option::None => {
                            #unexpected
                            ::core::option::Option::None
                        }
                    };
                },
            )
        }
        None => (quote!(), quote!(), unexpected),
    }
}

/// Makes the response of `value`.
fn respond(operation: &Operation) -> TokenStream {
    let Some(output) = &operation.output else {
        return quote! {
            let () = value;
            ::capelin_idc::Response::value(&(), ::core::option::Option::None)
        };
    };
    let Some((ok, error)) = result_of(output) else {
        let shape = shape_of(output);
        let (wire, split) = (&shape.wire, &shape.split);
        return quote! {
            let (wire, cap): (#wire, ::core::option::Option<::capelin_idc::Cap>) = #split;
            ::capelin_idc::Response::value(&wire, cap)
        };
    };
    let shape = shape_of(&ok);
    let (wire, split) = (&shape.wire, &shape.split);
    let error = error.map_or_else(|| quote!(_), |error| quote!(#error));
    quote! {
        let (wire, cap): (
            ::core::result::Result<#wire, #error>,
            ::core::option::Option<::capelin_idc::Cap>,
        ) = match value {
            ::core::result::Result::Ok(value) => {
                let (wire, cap) = #split;
                (::core::result::Result::Ok(wire), cap)
            }
            ::core::result::Result::Err(error) => {
                (::core::result::Result::Err(error), ::core::option::Option::None)
            }
        };
        ::capelin_idc::Response::value(&wire, cap)
    }
}

fn names_and_types(operation: &Operation) -> (Vec<&syn::Ident>, Vec<&Type>) {
    operation
        .arguments
        .iter()
        .map(|argument| (&argument.ident, &argument.ty))
        .unzip()
}

fn output(operation: &Operation) -> TokenStream {
    operation
        .output
        .as_ref()
        .map_or_else(|| quote!(()), |output| quote!(#output))
}

fn plain(operation: &Operation) -> impl Iterator<Item = &Argument> {
    operation
        .arguments
        .iter()
        .filter(|argument| argument.carrier.is_none())
}

fn carried(operation: &Operation) -> Option<(&Argument, Carrier)> {
    operation
        .arguments
        .iter()
        .find_map(|argument| Some((argument, argument.carrier?)))
}

/// The type that an argument is decoded to: text and bytes are borrowed from the
/// message, other references are to values decoded for them.
fn received_type(ty: &Type) -> TokenStream {
    let Type::Reference(reference) = ty else {
        return quote!(#ty);
    };
    match &*reference.elem {
        inner if is_borrowed(inner) => quote!(&#inner),
        Type::Slice(slice) => {
            let element = &slice.elem;
            quote!(::capelin_idc::Vec<#element>)
        }
        inner => quote!(#inner),
    }
}

fn is_borrowed(ty: &Type) -> bool {
    let is_named = |ty: &Type, name| matches!(ty, Type::Path(path) if path.path.is_ident(name));
    is_named(ty, "str") || matches!(ty, Type::Slice(slice) if is_named(&slice.elem, "u8"))
}
