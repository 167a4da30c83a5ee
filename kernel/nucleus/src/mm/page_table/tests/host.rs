//! What needs several processors, or unwinding.

extern crate std;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::arch::sim::{Config, Machine};

fn machine(cpus: usize) -> Machine {
    Machine::new(Config {
        cpus,
        ..Config::default()
    })
}

#[test]
fn claim_120_cursor_dropped_while_unwinding_releases_its_locks() {
    machine(1).on(0, || {
        let (table, frame) = (user_table(), frame());
        map(&table, BASE, ram(&frame, PageFlags::R));
        let result = catch_unwind(AssertUnwindSafe(|| {
            let guard = disable_preempt();
            let mut cursor = open(&table, &guard, BASE..BASE + M2);
            cursor.jump(BASE + PAGE_SIZE).expect("in the range");
            let _ = map_at(&mut cursor, huge(&huge_frames(), PageFlags::R));
        }));
        assert!(result.is_err());
        table.validate();
    });
}

#[test]
fn claims_131_133_cursors_that_overlap_exclude_each_other() {
    // peer_042: ranges that overlap at different levels, read-only ones too.
    let machine = machine(4);
    let table = machine.on(0, user_table);
    let inside = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for cpu in 0..4 {
            let (machine, table, inside) = (&machine, &table, &inside);
            scope.spawn(move || {
                machine.on(cpu, || {
                    for round in 0..300 {
                        let guard = disable_preempt();
                        let range = match (cpu + round) % 3 {
                            0 => BASE..BASE + PAGE_SIZE,
                            1 => BASE..BASE + M2,
                            _ => BASE - PAGE_SIZE..BASE + G1,
                        };
                        let _read;
                        let _write;
                        if round % 2 == 0 {
                            _read = table.cursor(&guard, &range).expect("a legal range");
                        } else {
                            _write = open(table, &guard, range);
                        }
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            });
        }
    });
    machine.on(0, || drop(table));
}

#[test]
fn claim_132_cursors_with_disjoint_nodes_do_not_wait() {
    machine(2).on(0, || {
        let (table, guard) = (user_table(), disable_preempt());
        // All at once, by one thread: if one waited, it would do so for ever.
        let cursors: Vec<_> = (0..8)
            .map(|n| open(&table, &guard, BASE + n * M2..BASE + n * M2 + PAGE_SIZE))
            .collect();
        let other = user_table();
        let same_range = open(&other, &guard, BASE..BASE + PAGE_SIZE);
        drop((cursors, same_range));
    });
}

#[test]
fn claims_128_130_136_parallel_work_ends_as_if_done_in_turn() {
    // Each processor maps its own pages, unmaps whole tables at random, and
    // counts: what is mapped in the end is what was mapped and not unmapped.
    let machine = machine(4);
    let table = machine.on(0, user_table);
    let (mapped, unmapped) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for cpu in 0..4_usize {
            let (machine, table) = (&machine, &table);
            let (mapped, unmapped) = (&mapped, &unmapped);
            scope.spawn(move || {
                machine.on(cpu, || {
                    let mut state = 12_345 + cpu;
                    for _ in 0..400 {
                        state = state
                            .wrapping_mul(6_364_136_223_846_793_005)
                            .wrapping_add(1442);
                        let number = state >> 33;
                        let guard = disable_preempt();
                        if number % 8 == 0 {
                            let mut cursor = open(table, &guard, BASE..BASE + 8 * M2);
                            let taken = take(&mut cursor, 8 * M2).expect("nothing to split");
                            if let Some(PageTableFrag::StrayPageTable { num_frames, .. }) = &taken {
                                unmapped.fetch_add(*num_frames, Ordering::Relaxed);
                            }
                            drop(cursor);
                            // Others may still wait for its lock: the grace period.
                            if let Some(PageTableFrag::StrayPageTable { pt, num_pages, .. }) = taken
                            {
                                keep(pt, num_pages);
                            }
                        } else {
                            let va = BASE + number % 4096 * PAGE_SIZE;
                            let mut cursor = open(table, &guard, va..va + PAGE_SIZE);
                            let item = ram(&frame(), PageFlags::RW);
                            let old = map_at(&mut cursor, item).expect("enough memory");
                            mapped.fetch_add(usize::from(old.is_none()), Ordering::Relaxed);
                        }
                    }
                });
            });
        }
    });
    machine.on(0, || {
        table.validate();
        let left = pages(&table, BASE..BASE + 8 * M2).len();
        let (mapped, unmapped) = (
            mapped.load(Ordering::Relaxed),
            unmapped.load(Ordering::Relaxed),
        );
        assert_eq!(left, mapped - unmapped);
        drop(table);
    });
}

/// Has a node freed after a grace period.
fn keep(node: Frame<dyn AnyFrameMeta>, pages: usize) {
    let mut nodes = crate::mm::tlb::KeptNodes::new();
    nodes.push(node, pages);
    crate::sync::rcu::keep(&mut nodes);
}

#[test]
fn claim_137_node_waits_for_readers_on_other_processors() {
    let machine = machine(2);
    let table = machine.on(0, || {
        let table = user_table();
        map(&table, BASE, ram(&frame(), PageFlags::R));
        table
    });
    machine.on(1, || {
        let guard = disable_preempt();
        let section = crate::sync::rcu::read(&guard);
        let free = machine.on(0, || {
            let guard = disable_preempt();
            let mut cursor = open(&table, &guard, BASE..BASE + 2 * M2);
            let taken = take(&mut cursor, M2).expect("nothing to split");
            let Some(PageTableFrag::StrayPageTable { pt, num_pages, .. }) = taken else {
                panic!("a table is there");
            };
            let free = crate::mm::frame::frame_counts().free;
            assert_eq!(num_pages, 2, "the node and what is mapped");
            keep(pt, num_pages);
            assert_eq!(crate::mm::frame::frame_counts().free, free, "it is kept");
            free
        });
        drop(section);
        machine.on(0, || {
            crate::sync::rcu::poll();
            // The node and the frame that was mapped.
            assert_eq!(crate::mm::frame::frame_counts().free, free + 2);
        });
    });
    machine.on(0, || drop(table));
}

#[test]
fn choice_l10_bits_that_the_hardware_sets_meanwhile_are_kept() {
    // peer_040: the processor writes between the look and the change.
    machine(1).on(0, || {
        let (table, frame) = (user_table(), frame());
        map(&table, BASE, ram(&frame, PageFlags::RW));
        let guard = disable_preempt();
        let mut cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
        let mut paddr = table.root_paddr();
        for level in (2..=4).rev() {
            let node = node_at::<UserPtConfig>(paddr);
            let index = crate::mm::paging::pte_index::<PagingConsts>(BASE, level);
            paddr = node.read(index).child();
        }
        let index = crate::mm::paging::pte_index::<PagingConsts>(BASE, 1);
        let entry = crate::arch::memory::paddr_to_vaddr(paddr) + index * 8;
        // SAFETY: It is the entry of the page, an atomic word.
        let entry = unsafe { &*(entry as *const core::sync::atomic::AtomicUsize) };
        let change = |old: PageProperty| {
            entry.fetch_or(0x60, Ordering::SeqCst);
            PageProperty {
                flags: PageFlags::R,
                ..old
            }
        };
        // SAFETY: No processor uses the table.
        let changed = unsafe { cursor.protect_next(PAGE_SIZE, change) };
        assert_eq!(changed, Ok(Some(BASE..BASE + PAGE_SIZE)));
        cursor.jump(BASE).expect("in the range");
        let (_, item) = cursor.query().expect("in the range");
        let flags = item.expect("it is mapped").prop().flags;
        assert_eq!(flags, PageFlags::R | PageFlags::ACCESSED | PageFlags::DIRTY);
    });
}

#[test]
fn parts_of_a_huge_page_have_the_bits_that_the_hardware_sets_while_it_is_split() {
    // peer_038: the entry is no more what it was when it was looked at.
    machine(1).on(0, || {
        let (table, frames, guard) = (user_table(), huge_frames(), disable_preempt());
        map(&table, BASE, huge(&frames, PageFlags::RW));
        let mut cursor = open(&table, &guard, BASE..BASE + M2);
        let (node, index) = (cursor.node(), cursor.index());
        assert_eq!(cursor.level(), 2);
        let seen = node.read(index);
        let marked = PageProperty {
            flags: seen.prop(2).flags | PageFlags::ACCESSED | PageFlags::DIRTY,
            ..seen.prop(2)
        };
        node.replace(index, PageTableEntry::new_page(seen.paddr(2), 2, marked));
        cursor.split(index, seen).expect("enough memory");
        drop(cursor);
        let pages = pages(&table, BASE..BASE + M2);
        assert_eq!(pages.len(), 512);
        for (part, (va, paddr, prop)) in pages.into_iter().enumerate() {
            let offset = part * PAGE_SIZE;
            assert_eq!((va, paddr), (BASE + offset, frames.start_paddr() + offset));
            assert_eq!(prop, marked);
        }
    });
}

#[test]
fn cursor_locks_all_nodes_that_its_range_reaches_and_no_others() {
    let machine = machine(1);
    // Both halves of the root's entries, and of those of a node of level 3.
    for base in [BASE, BASE + G1, BASE + (1 << 39), BASE + (3 << 39) + 5 * G1] {
        machine.on(0, || {
            let (table, guard, frame) = (user_table(), disable_preempt(), frame());
            for part in 0..6 {
                map(&table, base + part * M2, ram(&frame, PageFlags::R));
                map(&table, base + G1 + part * M2, ram(&frame, PageFlags::R));
            }
            machine.take_locks();
            let range = base + 2 * M2 + PAGE_SIZE..base + G1 + 3 * M2 - PAGE_SIZE;
            drop(open(&table, &guard, range));
            let locks = machine.take_locks().into_iter();
            let mut nodes: std::vec::Vec<_> = locks.filter(|lock| lock.1).collect();
            nodes.sort_unstable();
            nodes.dedup();
            // The covering node, two below it, and four and three below those.
            assert_eq!(nodes.len(), 1 + 2 + 4 + 3);
        });
    }
}

#[test]
fn claim_134_peer_041_locks_are_taken_downwards_and_released_in_reverse() {
    let machine = machine(1);
    machine.on(0, || {
        let (table, guard, frame) = (user_table(), disable_preempt(), frame());
        for page in [0, 512, 1024] {
            map(&table, BASE + page * PAGE_SIZE, ram(&frame, PageFlags::R));
        }
        machine.take_locks();
        drop(open(&table, &guard, BASE..BASE + G1 + PAGE_SIZE));
        let locks = machine.take_locks();
        let taken: std::vec::Vec<_> = locks
            .iter()
            .filter(|lock| lock.1)
            .map(|lock| lock.0)
            .collect();
        let released: std::vec::Vec<_> = locks
            .iter()
            .filter(|lock| !lock.1)
            .map(|lock| lock.0)
            .rev()
            .collect();
        // The covering node of level 3, that of level 2, and three of level 1.
        assert_eq!((taken.len(), &released), (5, &taken));
        let mut place = table.root_paddr();
        let mut expected = std::vec::Vec::new();
        for level in (2..=4).rev() {
            let node = node_at::<UserPtConfig>(place);
            let index = crate::mm::paging::pte_index::<PagingConsts>(BASE, level);
            place = node.read(index).child();
            expected.push(place);
            if level == 2 {
                expected.extend([1, 2].map(|next| node.read(index + next).child()));
            }
        }
        assert_eq!(taken, expected);
    });
}

/// Returns the nodes that translate an address, from the root down.
fn path(table: &PageTable<UserPtConfig>, va: Vaddr) -> [Paddr; 4] {
    let mut path = [table.root_paddr(); 4];
    for level in (2..=4).rev() {
        // SAFETY: It is a node of the table, which nobody else changes.
        let node = unsafe { super::super::node::Node::<UserPtConfig>::at(path[4 - level]) };
        let index =
            crate::mm::paging::pte_index::<PagingConsts>(va, level as crate::mm::PagingLevel);
        path[5 - level] = node.read(index).child();
    }
    path
}

#[test]
fn peer_043_cursor_owns_the_nodes_of_its_range_and_none_above() {
    let machine = machine(1);
    machine.on(0, || {
        let (table, guard, frame) = (user_table(), disable_preempt(), frame());
        map(&table, BASE, ram(&frame, PageFlags::R));
        map(&table, BASE + M2, ram(&frame, PageFlags::R));
        let path = path(&table, BASE);
        let counts = || {
            let node = |paddr| Frame::from_in_use(paddr).expect("it is a node");
            path.map(|paddr| node(paddr).reference_count())
        };
        let before = counts();
        machine.take_locks();
        let cursor = open(&table, &guard, BASE..BASE + PAGE_SIZE);
        assert_eq!(machine.take_locks(), [(path[3], true)]);
        // The nodes above are another cursor's as much as this one's.
        let other = open(&table, &guard, BASE + M2..BASE + M2 + PAGE_SIZE);
        assert_eq!(counts(), before);
        drop(other);
        machine.take_locks();
        drop(cursor);
        assert_eq!(machine.take_locks(), [(path[3], false)]);
        assert_eq!(counts(), before);
    });
}
