//! Aborts, which is a signal.

fn main() {
    println!("about to abort");
    std::process::abort();
}
