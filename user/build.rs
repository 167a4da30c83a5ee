//! Links `mmbench` without the C library's start-up: it is entered as the kernel
//! leaves it, so that a process of it is as small as one can be.

fn main() {
    println!("cargo::rustc-link-arg-bin=mmbench=-nostartfiles");
    println!("cargo::rerun-if-changed=build.rs");
}
