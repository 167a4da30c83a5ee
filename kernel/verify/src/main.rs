//! The checkers: they run the nucleus beside its specification, and try to break
//! it. Called by `cargo xtask verify`.
mod pair;
fn main() {}
