//! What Vostok runs when it is not told what to run.

fn main() {
    println!("Welcome to Vostok. This is an ordinary program in ring 3.");
    println!("Run another one by `cargo xtask run -- /bin/hello`.");
}
