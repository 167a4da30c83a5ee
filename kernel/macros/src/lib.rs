//! The attributes of the nucleus: `#[ktest]` and `#[main]`.
//!
//! Both expand to an item with an attribute that the compiler counts as unsafe,
//! since it concerns the linker. They are sound for every input: a test goes
//! into a section that holds nothing but tests, and the one name that is
//! exported is claimed by the linker a single time.

#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{Attribute, Expr, ItemFn, Lit, Meta, ReturnType, parse_macro_input};

/// Makes a function a test: on a host an ordinary one that runs on a simulated
/// machine, on the machine one that the nucleus registers and runs.
///
/// `#[should_panic]` and `#[should_panic(expected = "…")]` may stand below it.
#[proc_macro_attribute]
pub fn ktest(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    if !arguments.is_empty() {
        return error(&function, "`#[ktest]` takes no arguments");
    }
    let signature = &function.sig;
    let is_plain = signature.inputs.is_empty()
        && matches!(signature.output, ReturnType::Default)
        && signature.asyncness.is_none()
        && signature.generics.params.is_empty();
    if !is_plain {
        return error(
            &function,
            "a test is a plain function: no arguments, no result",
        );
    }
    let should_panic = match should_panic(&function.attrs) {
        Ok(tokens) => tokens,
        Err(error) => return error.to_compile_error().into(),
    };

    let name = &signature.ident;
    let on_machine = ItemFn {
        attrs: without_should_panic(&function.attrs),
        ..function.clone()
    };
    let registration = format_ident!("KTEST_{}", name.to_string().to_uppercase());
    let (attributes, body) = (&function.attrs, &function.block);
    quote! {
        #[cfg(not(target_os = "none"))]
        #[test]
        #(#attributes)*
        fn #name() {
            ::nucleus::ktest::on_host(|| #body);
        }

        #[cfg(target_os = "none")]
        #on_machine

        #[cfg(target_os = "none")]
        #[used]
        #[unsafe(link_section = "ktests")]
        static #registration: ::nucleus::ktest::KtestItem = ::nucleus::ktest::KtestItem {
            name: concat!(module_path!(), "::", stringify!(#name)),
            run: #name,
            should_panic: #should_panic,
        };
    }
    .into()
}

/// Makes a function the kernel's `main`, which the nucleus calls when the
/// machine is up. There is one in a kernel, and it does not return.
#[proc_macro_attribute]
pub fn main(_arguments: TokenStream, item: TokenStream) -> TokenStream {
    let function = parse_macro_input!(item as ItemFn);
    let name = &function.sig.ident;
    quote! {
        #function

        #[unsafe(no_mangle)]
        extern "Rust" fn __vostok_main() -> ! {
            #name()
        }
    }
    .into()
}

fn error(function: &ItemFn, message: &str) -> TokenStream {
    syn::Error::new_spanned(&function.sig, message)
        .to_compile_error()
        .into()
}

fn is_should_panic(attribute: &Attribute) -> bool {
    attribute.path().is_ident("should_panic")
}

fn without_should_panic(attributes: &[Attribute]) -> Vec<Attribute> {
    let others = attributes
        .iter()
        .filter(|attribute| !is_should_panic(attribute));
    others.cloned().collect()
}

/// Translates `#[should_panic…]` into the nucleus' type for it.
fn should_panic(attributes: &[Attribute]) -> syn::Result<proc_macro2::TokenStream> {
    let path = quote!(::nucleus::ktest::ShouldPanic);
    let Some(attribute) = attributes
        .iter()
        .find(|attribute| is_should_panic(attribute))
    else {
        return Ok(quote!(#path::No));
    };
    if matches!(attribute.meta, Meta::Path(_)) {
        return Ok(quote!(#path::Yes));
    }
    let mut expected = None;
    attribute.parse_nested_meta(|meta| {
        if !meta.path.is_ident("expected") {
            return Err(meta.error("only `expected = \"…\"` may stand here"));
        }
        match meta.value()?.parse()? {
            Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)) => expected = Some(literal),
            _ => return Err(meta.error("the expected message is a string")),
        }
        Ok(())
    })?;
    Ok(quote!(#path::With(#expected)))
}
