//! Linker options of the kernel's image.

fn main() {
    for option in [
        // A page of the file belongs to one segment, so that the loader, which
        // maps the file in place, never maps text writable beside data.
        "separate-loadable-segments",
        // Sections that are found by their bounds alone are kept.
        "nostart-stop-gc",
    ] {
        println!("cargo::rustc-link-arg-bins=-z");
        println!("cargo::rustc-link-arg-bins={option}");
    }
}
