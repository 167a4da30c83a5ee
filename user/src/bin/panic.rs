//! Panics, which makes the status 101.

fn main() {
    let numbers = [1, 2, 3];
    let index = std::env::args().count() + 6;
    println!("about to panic");
    println!("{}", numbers[index]);
}
