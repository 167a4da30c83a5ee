//! Uses memory in many ways, and checks what it gets back.

use std::collections::BTreeMap;

fn main() {
    grow_a_vector();
    make_many_boxes();
    reuse_large_blocks();
    zeroed_memory_is_zero();
    println!("memory is fine");
}

fn grow_a_vector() {
    let mut numbers = Vec::new();
    for number in 0..4_000_000_u64 {
        numbers.push(number * 3);
    }
    let sum: u64 = numbers.iter().sum();
    println!("sum of {} numbers: {sum}", numbers.len());
}

fn make_many_boxes() {
    let mut boxes = BTreeMap::new();
    for key in 0..50_000_u32 {
        boxes.insert(key.wrapping_mul(2_654_435_761), Box::new([key; 8]));
    }
    boxes.retain(|key, _| key % 3 == 0);
    let sum: u64 = boxes.values().map(|value| u64::from(value[7])).sum();
    println!("{} boxes are left, sum {sum}", boxes.len());
}

fn reuse_large_blocks() {
    for round in 0..8_u8 {
        let mut block = vec![round; 8 << 20];
        block[5 << 20] = 0xff;
        let others = block.iter().filter(|byte| **byte != round).count();
        println!("round {round}: {others} byte differs");
    }
}

fn zeroed_memory_is_zero() {
    for _ in 0..4 {
        let mut block = vec![0_u64; 1 << 18];
        let dirty = block.iter().filter(|word| **word != 0).count();
        println!("dirty words: {dirty}");
        block.fill(u64::MAX);
    }
}
