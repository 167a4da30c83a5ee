//! Forks and first writes to what they share, while others use the memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nucleus::arch::sim::interleave::in_parallel;
use nucleus::cpu::disable_preempt;
use nucleus::mm::page_table::MappedItemRef;
use nucleus::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UFrame, VmIo, VmSpace,
};

use crate::machine;

const BASE: usize = 0x40_0000;
const PAGES: usize = 2;

fn new_space() -> Arc<VmSpace> {
    Arc::new(VmSpace::new().expect("there is memory"))
}

fn new_frame() -> UFrame {
    let frame = FrameAllocOptions::new().alloc_frame();
    frame.expect("there is memory").into()
}

fn prop(flags: PageFlags) -> PageProperty {
    PageProperty::new_user(flags, CachePolicy::Writeback)
}

/// Maps a page that can be written and holds a byte.
fn map(space: &VmSpace, page: usize, byte: u8) {
    let frame = new_frame();
    frame.write_val(0, &byte).expect("it fits");
    let guard = disable_preempt();
    let range = BASE + page * PAGE_SIZE..BASE + (page + 1) * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let mapped = cursor.map(frame, prop(PageFlags::RW));
    mapped.expect("there is memory");
}

/// Copies all pages of a space into a new one, neither of which can be written then;
/// returns how many there were, after all processors have flushed.
fn fork(parent: &VmSpace, child: &VmSpace) -> usize {
    let guard = disable_preempt();
    let range = BASE..BASE + PAGES * PAGE_SIZE;
    let mut source = parent.cursor_mut(&guard, &range).expect("a legal range");
    let mut copy = child.cursor_mut(&guard, &range).expect("a legal range");
    let count = copy.copy_from(&mut source, range.len(), |old| PageProperty {
        flags: old.flags - PageFlags::W,
        ..old
    });
    source.flusher().dispatch_tlb_flush();
    source.flusher().sync_tlb_flush();
    count.expect("there is memory")
}

/// Reads the first byte of a page of the active space, if it is mapped.
fn read(space: &VmSpace, page: usize) -> Option<u8> {
    let reader = space.reader(BASE + page * PAGE_SIZE, 1);
    reader.expect("the space is active").read_val().ok()
}

/// Writes a byte of a page of the active space, which is mapped, and breaks what it
/// shares with others for that.
fn write(space: &VmSpace, at: usize, byte: u8) {
    for _ in 0..4 {
        let writer = space.writer(BASE + at, 1);
        if writer
            .expect("the space is active")
            .write_val(&byte)
            .is_ok()
        {
            return;
        }
        break_sharing(space, at / PAGE_SIZE);
    }
    panic!("it can never be written");
}

fn break_sharing(space: &VmSpace, page: usize) {
    let guard = disable_preempt();
    let range = BASE + page * PAGE_SIZE..BASE + (page + 1) * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    let copy = new_frame();
    {
        let found = cursor.query_ref().expect("in the range").1;
        let Some(MappedItemRef::MappedRam { frame, prop }) = found else {
            panic!("it is mapped");
        };
        if prop.flags.contains(PageFlags::W) {
            return;
        }
        copy.copy_from(&frame);
    }
    let is_ours = cursor.protect_unshared(|old| PageProperty {
        flags: old.flags | PageFlags::W,
        ..old
    });
    if is_ours != Ok(true) {
        let replaced = cursor.replace(copy, prop(PageFlags::RW));
        replaced.expect("there is memory");
    }
}

fn unmap(space: &VmSpace, page: usize) {
    let guard = disable_preempt();
    let range = BASE + page * PAGE_SIZE..BASE + (page + 1) * PAGE_SIZE;
    let mut cursor = space.cursor_mut(&guard, &range).expect("a legal range");
    assert_eq!(cursor.unmap(PAGE_SIZE), Ok(1));
}

/// One forks while the other writes: the copy does not change.
pub(crate) fn while_writing() {
    let machine = machine(2);
    let (parent, child) = machine.on(0, || (new_space(), new_space()));
    machine.on(0, || map(&parent, 0, 1));
    let forks = || {
        assert_eq!(fork(&parent, &child), 1);
        child.activate();
        let seen = read(&child, 0).expect("it was copied");
        assert!([1, 2, 3].contains(&seen), "{seen} was never there");
        assert_eq!(read(&child, 0), Some(seen), "the copy has changed");
        VmSpace::deactivate_current();
    };
    let writes = || {
        parent.activate();
        for byte in [2, 3] {
            write(&parent, 0, byte);
            assert_eq!(read(&parent, 0), Some(byte), "what was written is lost");
        }
        VmSpace::deactivate_current();
    };
    in_parallel(&machine, vec![Box::new(forks), Box::new(writes)]);
    machine.on(0, || drop((parent, child)));
}

/// One forks while the other unmaps a page and has another one faulted in.
pub(crate) fn while_unmapping() {
    let machine = machine(2);
    let (parent, child) = machine.on(0, || (new_space(), new_space()));
    machine.on(0, || map(&parent, 0, 1));
    let forks = || {
        let count = fork(&parent, &child);
        child.activate();
        let seen = [read(&child, 0), read(&child, 1)];
        let wanted = [Some(1), Some(2)];
        assert_eq!(seen.iter().flatten().count(), count);
        for (seen, wanted) in seen.iter().zip(wanted) {
            assert!(seen.is_none() || *seen == wanted, "the copy has {seen:?}");
        }
        VmSpace::deactivate_current();
    };
    let changes = || {
        unmap(&parent, 0);
        map(&parent, 1, 2);
    };
    in_parallel(&machine, vec![Box::new(forks), Box::new(changes)]);
    machine.on(0, || drop((parent, child)));
}

/// Two that share a page write to it: each finds its own bytes.
pub(crate) fn both_write() {
    let machine = machine(2);
    let (parent, child) = machine.on(0, || (new_space(), new_space()));
    machine.on(0, || {
        map(&parent, 0, 1);
        assert_eq!(fork(&parent, &child), 1);
    });
    let writes = |space: &Arc<VmSpace>, byte: u8| {
        space.activate();
        assert_eq!(read(space, 0), Some(1), "the other one's is seen");
        write(space, 0, byte);
        assert_eq!(read(space, 0), Some(byte), "what was written is lost");
        VmSpace::deactivate_current();
    };
    in_parallel(
        &machine,
        vec![
            Box::new(|| writes(&parent, 2)),
            Box::new(|| writes(&child, 3)),
        ],
    );
    machine.on(0, || drop((parent, child)));
}

/// Two threads write to a page that their process shares with another one: it is
/// copied once, and both bytes are in the copy.
pub(crate) fn threads_write() {
    let machine = machine(2);
    let (parent, child) = machine.on(0, || (new_space(), new_space()));
    machine.on(0, || {
        map(&parent, 0, 1);
        assert_eq!(fork(&parent, &child), 1);
    });
    let writes = |at: usize| {
        parent.activate();
        write(&parent, at, 7);
        let reader = parent.reader(BASE + at, 1);
        let byte = reader.expect("the space is active").read_val::<u8>();
        assert_eq!(byte, Ok(7), "what was written is lost");
        VmSpace::deactivate_current();
    };
    in_parallel(
        &machine,
        vec![Box::new(|| writes(8)), Box::new(|| writes(16))],
    );
    machine.on(0, || {
        parent.activate();
        for at in [8, 16] {
            let reader = parent.reader(BASE + at, 1);
            let byte = reader.expect("the space is active").read_val::<u8>();
            assert_eq!(byte, Ok(7), "the other thread's copy took its place");
        }
        child.activate();
        assert_eq!(read(&child, 0), Some(1));
        VmSpace::deactivate_current();
        drop((parent, child));
    });
}

/// One writes to a page that its process shares with another one; a second reads the
/// new byte and says so; a third then reads no old one.
pub(crate) fn told_by_another() {
    let machine = machine(3);
    let (parent, child) = machine.on(0, || (new_space(), new_space()));
    machine.on(0, || {
        map(&parent, 0, 1);
        assert_eq!(fork(&parent, &child), 1);
    });
    let told = AtomicUsize::new(0);
    let writes = || {
        parent.activate();
        write(&parent, 0, 2);
        VmSpace::deactivate_current();
    };
    // A write is longer than a look.
    const LOOKS: usize = 5;
    let tells = || {
        parent.activate();
        if (0..LOOKS).any(|_| read(&parent, 0) == Some(2)) {
            told.store(1, Ordering::SeqCst);
        }
        VmSpace::deactivate_current();
    };
    let listens = || {
        parent.activate();
        for _ in 0..LOOKS {
            let is_told = told.load(Ordering::SeqCst) == 1;
            let seen = read(&parent, 0);
            assert!(
                !is_told || seen != Some(1),
                "the old page is seen after the new one"
            );
        }
        VmSpace::deactivate_current();
    };
    in_parallel(
        &machine,
        vec![Box::new(writes), Box::new(tells), Box::new(listens)],
    );
    machine.on(0, || drop((parent, child)));
}
