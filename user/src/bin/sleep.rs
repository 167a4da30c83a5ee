//! Sleeps, and looks whether time has passed.

use std::time::{Duration, Instant};

fn main() {
    let start = Instant::now();
    std::thread::sleep(Duration::from_millis(30));
    println!(
        "time has passed: {}",
        start.elapsed() >= Duration::from_millis(30)
    );
}
