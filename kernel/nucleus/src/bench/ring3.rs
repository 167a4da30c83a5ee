//! What it costs to be a program: the ways into ring 3 and out of it, and tasks; and to
//! record what happens.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicBool, Ordering};

use super::{Meter, Row};
use crate::boot::protection;
use crate::cpu::{CpuId, disable_preempt};
use crate::mm::inspect::rights;
use crate::mm::kspace::kernel_page_table;
use crate::mm::{
    CachePolicy, FrameAllocOptions, PAGE_SIZE, PageFlags, PageProperty, UntypedMem, VmReader,
    VmSpace,
};
use crate::task::{Task, TaskOptions};
use crate::trace::{self, Event, Group};
use crate::user::{ReturnReason, UserContext, UserMode};

/// How often each is done and measured together.
const TIMES: usize = 128;
const ENOUGH: &str = "a benchmark has enough memory";

/// The benchmarks of the machine alone.
pub(super) const ROWS: [Row; 7] = [
    row("task/switch", switch_tasks),
    row("task/spawn+join", spawn_tasks),
    row("user/system-call", |m| leave_user(m, &SYSTEM_CALL, call)),
    row("user/page-fault", |m| leave_user(m, &LOAD, page_fault)),
    row("trace/event", record_events),
    Row {
        name: "protection/find-constants",
        operations: 1,
        run: find_constants,
    },
    Row {
        name: "protection/walk",
        operations: 1,
        run: walk_tables,
    },
];

const fn row(name: &'static str, run: fn(&mut dyn Meter)) -> Row {
    Row {
        name,
        operations: TIMES,
        run,
    }
}

/// Lets two tasks of this processor yield to each other.
fn switch_tasks(meter: &mut dyn Meter) {
    static IS_OVER: AtomicBool = AtomicBool::new(false);
    // Relaxed, here and below: both tasks run on one processor.
    IS_OVER.store(false, Ordering::Relaxed);
    let body = || {
        while !IS_OVER.load(Ordering::Relaxed) {
            Task::yield_now();
        }
    };
    let partner = TaskOptions::new(body).affinity(CpuId::bsp().into()).spawn();
    let partner = partner.expect(ENOUGH);
    Task::yield_now();
    meter.measure(&mut || (0..TIMES / 2).for_each(|_| Task::yield_now()));
    IS_OVER.store(true, Ordering::Relaxed);
    partner.join();
}

/// Makes tasks that do nothing, and waits for the end of each.
fn spawn_tasks(meter: &mut dyn Meter) {
    meter.measure(&mut || {
        for _ in 0..TIMES {
            let task = TaskOptions::new(|| ()).affinity(CpuId::bsp().into());
            task.spawn().expect(ENOUGH).join();
        }
    });
}

/// Records events, each of which has something of its own.
fn record_events(meter: &mut dyn Meter) {
    let _stays_here = disable_preempt();
    meter.measure(&mut || {
        for table in 0..TIMES as u64 {
            trace::record(Group::TLB, || Event::Served { table });
        }
    });
}

/// Finds out what of the image must not be written, as start-up does before its walk.
fn find_constants(meter: &mut dyn Meter) {
    meter.measure(&mut || drop(protection::constants().expect(ENOUGH)));
}

/// Walks the kernel's tables in search of what is writable and executable, as start-up
/// does, twice.
fn walk_tables(meter: &mut dyn Meter) {
    let constants = protection::constants().expect(ENOUGH);
    let root = kernel_page_table().root_paddr();
    meter.measure(&mut || {
        let report = rights::inspect(root, &constants);
        assert_eq!(report.nr_violations, 0);
    });
}

/// Where the code of the program is.
const CODE: usize = 1 << 39;
/// `syscall; jmp` to it.
const SYSTEM_CALL: [u8; 4] = [0x0f, 0x05, 0xeb, 0xfc];
/// `mov rax, [rax]`, of an address that is not mapped.
const LOAD: [u8; 3] = [0x48, 0x8b, 0x00];

fn call(reason: ReturnReason) -> bool {
    reason == ReturnReason::UserSyscall
}

fn page_fault(reason: ReturnReason) -> bool {
    matches!(reason, ReturnReason::UserException(fault) if fault.is_page_fault())
}

/// Runs a program that leaves ring 3 as expected, again and again.
fn leave_user(meter: &mut dyn Meter, code: &[u8], is_expected: fn(ReturnReason) -> bool) {
    let space = Arc::new(VmSpace::new().expect(ENOUGH));
    map_code(&space, code);
    space.activate();
    let mut user = UserMode::new(UserContext::new(CODE, 0));
    user.execute();
    meter.measure(&mut || {
        for _ in 0..TIMES {
            let reason = user.execute();
            let is_interrupt = reason == ReturnReason::KernelEvent;
            assert!(is_interrupt || is_expected(reason), "{reason:?}");
        }
    });
    VmSpace::deactivate_current();
}

fn map_code(space: &VmSpace, code: &[u8]) {
    let frame = FrameAllocOptions::new().alloc_frame().expect(ENOUGH);
    VmReader::from(code).read(&mut frame.writer());
    let guard = disable_preempt();
    let mut cursor = space
        .cursor_mut(&guard, &(CODE..CODE + PAGE_SIZE))
        .expect("the range is legal");
    let prop = PageProperty::new_user(PageFlags::RX, CachePolicy::Writeback);
    cursor.map(frame.into(), prop).expect(ENOUGH);
}
