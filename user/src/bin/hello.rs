fn main() { println!("hello from ring 3"); }
