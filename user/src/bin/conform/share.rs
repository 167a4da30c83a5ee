//! What processes share and what they do not: memory after a fork.

use libc::{SYS_mmap, SYS_mprotect};

use crate::kit::{
    AT, Case, FIXED, PAGE, PRIVATE, READ, RW, SHARED, call, child, exit, file_with, fork, load,
    load_u32, load_u64, map, peek, pipe, say, store, store_u32, store_u64, unmap, wait,
};

pub(crate) const CASES: &[Case] = &[
    ("fork-isolates", isolates),
    ("fork-shares", shares),
    ("fork-chain", chain),
    ("fork-again-and-again", again),
    ("fork-file-private", file_private),
    ("fork-large", large),
    ("fork-stack-and-heap", stack_and_heap),
    ("fork-last-sharer", last_sharer),
    ("fork-call-writes", call_writes),
    ("fork-child-first", child_first),
    ("fork-shared-atomics", shared_atomics),
    ("fork-shared-later", shared_later),
    ("fork-exit-order", exit_order),
    ("fork-many", many),
    ("fork-read-only", read_only),
];

fn isolates() {
    map(AT, 16, PRIVATE);
    (0..16).for_each(|page| store(AT + page * PAGE, page as u8));
    let (out, end) = pipe(0);
    let process = fork(|| {
        let mut byte = [0_u8];
        call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1]);
        // The parent has written by now.
        let is_old = (0..16).all(|page| load(AT + page * PAGE) == page as u8);
        (0..16).for_each(|page| store(AT + page * PAGE, 200));
        i32::from(is_old)
    });
    (0..8).for_each(|page| store(AT + page * PAGE, 100));
    call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
    say!(
        "the child: {}",
        process.map_or_else(|e| e.to_string(), wait)
    );
    let bytes: Vec<_> = (0..16).map(|page| load(AT + page * PAGE)).collect();
    say!("ours: {bytes:?}");
}

fn shares() {
    map(AT, 4, SHARED);
    store(AT, 1);
    let end = child(|| {
        (0..4).for_each(|page| store(AT + page * PAGE, 50 + page as u8));
        child(|| {
            store(AT + 3 * PAGE, 99);
            0
        });
        i32::from(load(AT + 3 * PAGE))
    });
    let bytes: Vec<_> = (0..4).map(|page| load(AT + page * PAGE)).collect();
    say!("the child: {end}, ours: {bytes:?}");
}

/// Each generation changes a page and starts the next.
fn chain() {
    const DEPTH: usize = 12;
    fn generation(depth: usize) -> i32 {
        store(AT + depth * PAGE, depth as u8 + 100);
        let below = if depth + 1 < DEPTH {
            child(|| generation(depth + 1))
        } else {
            "exit 0".into()
        };
        let mine = (0..=depth).all(|page| load(AT + page * PAGE) == page as u8 + 100);
        let rest = (depth + 1..DEPTH).all(|page| load(AT + page * PAGE) == page as u8);
        i32::from(!(below == "exit 0" && mine && rest))
    }
    map(AT, DEPTH, PRIVATE);
    (0..DEPTH).for_each(|page| store(AT + page * PAGE, page as u8));
    say!("twelve generations: {}", child(|| generation(0)));
    say!("ours: {} {}", load(AT), load(AT + 11 * PAGE));
}

fn again() {
    // peer_078: a page that was copied must be copied again after the next fork.
    map(AT, 1, PRIVATE);
    store(AT, 1);
    for round in 0..5 {
        let process = fork(|| {
            let before = load(AT);
            store(AT, 200);
            i32::from(before)
        });
        let seen = process.map_or_else(|e| e.to_string(), wait);
        say!("round {round}: the child saw {seen}, ours {}", load(AT));
        store(AT, round + 2);
    }
}

fn file_private() {
    let file = file_with(c"a", &[7; 2 * PAGE]);
    call(SYS_mmap, [AT, 2 * PAGE, RW, FIXED | 2, file, 0]);
    store(AT, 8);
    let end = child(|| {
        store(AT, 9);
        store(AT + PAGE, 10);
        i32::from(load(AT)) + i32::from(load(AT + PAGE))
    });
    say!("the child: {end}, ours {} {}", load(AT), load(AT + PAGE));
    let end = child(|| i32::from(load(AT)));
    say!("another child: {end}");
}

/// Enough for several tables, and for huge pages.
fn large() {
    const PAGES: usize = 3 * 512;
    let at = AT.next_multiple_of(2 << 20);
    map(at, PAGES, PRIVATE);
    (0..PAGES).for_each(|page| store_u64(at + page * PAGE + 8, page as u64));
    let end = child(|| {
        (0..PAGES)
            .step_by(3)
            .for_each(|page| store_u64(at + page * PAGE + 8, 1 << 40));
        let is_right = |page: &usize| {
            let wanted = if page.is_multiple_of(3) {
                1 << 40
            } else {
                *page as u64
            };
            load_u64(at + page * PAGE + 8) == wanted
        };
        (0..PAGES).filter(|page| !is_right(page)).count().min(200) as i32
    });
    let wrong = (0..PAGES).filter(|page| load_u64(at + page * PAGE + 8) != *page as u64);
    say!("the child: {end}, wrong with us: {}", wrong.count());
}

fn stack_and_heap() {
    let mut on_stack = [1_u8; 64];
    let mut on_heap = vec![2_u8; 1 << 20];
    let (stack, heap) = (
        on_stack.as_mut_ptr() as usize,
        on_heap.as_mut_ptr() as usize,
    );
    let end = child(|| {
        store(stack, 50);
        store(heap, 60);
        i32::from(load(stack)) + i32::from(load(heap))
    });
    say!("the child: {end}, ours {} {}", load(stack), load(heap));
}

/// After the others are gone, pages are written without a copy; the contents stay.
fn last_sharer() {
    // peer_098
    map(AT, 8, PRIVATE);
    (0..8).for_each(|page| store(AT + page * PAGE, page as u8));
    let children: Vec<_> = (0..3)
        .map(|_| fork(|| i32::from(load(AT + PAGE))))
        .collect();
    for process in children {
        say!("child: {}", process.map_or_else(|e| e.to_string(), wait));
    }
    (0..8).for_each(|page| store(AT + page * PAGE + 1, 9));
    let is_kept = (0..8).all(|page| load(AT + page * PAGE) == page as u8);
    say!("kept: {is_kept}");
    // The child outlives its parent, and is the last that has the pages.
    let (out, end) = pipe(0);
    let middle = child(|| {
        let orphan = fork(|| {
            crate::kit::pause(20);
            let old = load(AT + 2 * PAGE);
            store(AT + 2 * PAGE, 77);
            let bytes = [old, load(AT + 2 * PAGE)];
            call(libc::SYS_write, [end, bytes.as_ptr() as usize, 2]);
            0
        });
        i32::from(orphan.is_err())
    });
    let mut bytes = [0_u8; 2];
    call(libc::SYS_read, [out, bytes.as_mut_ptr() as usize, 2]);
    say!(
        "the middle one: {middle}, the orphan {bytes:?}, ours {}",
        load(AT + 2 * PAGE)
    );
}

/// The kernel writes on behalf of a call: it has to copy, too.
fn call_writes() {
    map(AT, 2, PRIVATE);
    store(AT, 1);
    let (out, end) = pipe(0);
    let process = child(|| {
        call(libc::SYS_write, [end, c"zzzz".as_ptr() as usize, 4]);
        let read = call(libc::SYS_read, [out, AT + PAGE - 2, 4]);
        say!("read = {read}");
        i32::from(load(AT + PAGE - 2)) + i32::from(load(AT + PAGE + 1))
    });
    say!(
        "the child: {process}, ours {} {}",
        load(AT + PAGE - 2),
        load(AT + PAGE + 1)
    );
    call(SYS_mprotect, [AT, PAGE, READ]);
    call(libc::SYS_write, [end, c"zzzz".as_ptr() as usize, 4]);
    say!(
        "read to what is read only = {}",
        call(libc::SYS_read, [out, AT, 4])
    );
}

fn child_first() {
    // peer_077: a child's write must not show here, in whatever order both write.
    map(AT, 1, PRIVATE);
    map(AT + PAGE, 1, SHARED);
    let mut mixed = 0;
    for round in 0..20_u8 {
        store(AT, round);
        store_u32(AT + PAGE, 0);
        let process = fork(|| {
            (0..50).for_each(|value| store(AT, value));
            store_u32(AT + PAGE, 1);
            i32::from(load(AT) != 49)
        });
        while load_u32(AT + PAGE) == 0 {
            mixed += usize::from(load(AT) != round);
            call(libc::SYS_sched_yield, []);
        }
        let end = process.map_or_else(|e| e.to_string(), wait);
        mixed += usize::from(end != "exit 0" || load(AT) != round);
    }
    say!("mixed up: {mixed}");
}

fn shared_atomics() {
    use std::sync::atomic::{AtomicU32, Ordering};
    map(AT, 1, SHARED);
    // SAFETY: A case's own page, which holds zeros and is mapped to the end.
    let count = unsafe { &*(AT as *const AtomicU32) };
    let work = || {
        for _ in 0..5000 {
            // Relaxed: only the sum matters, which is read after all have ended.
            count.fetch_add(1, Ordering::Relaxed);
        }
        0
    };
    let children: Vec<_> = (0..4).map(|_| fork(work)).collect();
    for process in children {
        say!("{}", process.map_or_else(|e| e.to_string(), wait));
    }
    say!("sum: {}", load_u32(AT));
}

/// Pages of shared memory that nobody touched before the fork are shared as well.
fn shared_later() {
    map(AT, 3, SHARED);
    let (out, end) = pipe(0);
    let process = fork(|| {
        let mut byte = [0_u8];
        call(libc::SYS_read, [out, byte.as_mut_ptr() as usize, 1]);
        let seen = load(AT + PAGE);
        store(AT + 2 * PAGE, 4);
        unmap(AT, 3);
        i32::from(seen)
    });
    store(AT + PAGE, 3);
    call(libc::SYS_write, [end, c"x".as_ptr() as usize, 1]);
    let seen = process.map_or_else(|e| e.to_string(), wait);
    say!("the child saw {seen}, we see {}", load(AT + 2 * PAGE));
}

fn exit_order() {
    map(AT, 64, PRIVATE);
    (0..64).for_each(|page| store(AT + page * PAGE, 5));
    // Parents end before their children, whose pages have to stay.
    let (out, end) = pipe(0);
    let process = fork(|| {
        for _ in 0..5 {
            match fork(|| 0) {
                Ok(process) => drop(wait(process)),
                Err(error) => exit(error),
            }
            let next = fork(|| {
                crate::kit::pause(5);
                let is_right = (0..64).all(|page| load(AT + page * PAGE) == 5);
                (0..64).for_each(|page| store(AT + page * PAGE, 6));
                call(
                    libc::SYS_write,
                    [end, [b'a' + u8::from(is_right)].as_ptr() as usize, 1],
                );
                0
            });
            if next.is_err() {
                return 1;
            }
        }
        0
    });
    say!("{}", process.map_or_else(|e| e.to_string(), wait));
    let mut letters = [0_u8; 5];
    for index in 0..5 {
        call(
            libc::SYS_read,
            [out, letters[index..].as_mut_ptr() as usize, 1],
        );
    }
    say!("{}, ours {}", String::from_utf8_lossy(&letters), load(AT));
}

fn many() {
    let mut failed = 0;
    for round in 0..60 {
        failed += usize::from(child(|| round) != format!("exit {round}"));
    }
    say!("failed: {failed}");
    let together: Vec<_> = (0..40).map(|number| fork(move || number)).collect();
    let mut sum = 0;
    for process in together {
        let end = process.map_or_else(|e| e.to_string(), wait);
        sum += end
            .trim_start_matches("exit ")
            .parse::<i32>()
            .unwrap_or(1000);
    }
    say!("sum of 40 at a time: {sum}");
}

fn read_only() {
    map(AT, 2, PRIVATE);
    store(AT, 3);
    call(SYS_mprotect, [AT, PAGE, READ]);
    say!("the child reads {}", peek(AT));
    let end = child(|| {
        store(AT, 1);
        0
    });
    say!("and writes: {end}");
    call(SYS_mprotect, [AT, PAGE, RW]);
    store(AT, 4);
    say!("ours: {}", load(AT));
}
