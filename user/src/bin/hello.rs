//! Says hello from ring 3.

fn main() {
    println!("Hello from ring 3!");
}
