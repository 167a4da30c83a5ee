//! Signals: handlers, masks, stacks, and what waits.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{SYS_rt_sigaction, SYS_rt_sigprocmask, c_int};

use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PAGE, PRIVATE, call, child, fork, load_u64, map, pause, say,
    signal_name, until_asleep, wait,
};

pub(crate) const CASES: &[Case] = &[
    ("sigaction-refused", action_refused),
    ("sigaction-old", action_old),
    ("sigprocmask", mask),
    ("signal-info-of-kill", info),
    ("signal-queue", queue),
    ("signal-queue-refused", queue_refused),
    ("signal-real-time-order", order),
    ("signal-nested", nested),
    ("signal-no-defer", no_defer),
    ("signal-action-mask", action_mask),
    ("signal-reset-handler", reset_handler),
    ("sigaltstack", alternative_stack),
    ("sigaltstack-refused", alternative_refused),
    ("signal-to-thread", to_thread),
    ("signal-fork-clears-pending", fork_clears),
];

/// What handlers saw: signal, code, whether it came from this process, value.
static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes what it was called with. Cases send signals only while nobody holds the lock.
pub(crate) extern "C" fn note(signal: c_int, info: *const libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: The kernel hands over a `siginfo`, whose first words these are.
    let words = unsafe { info.cast::<[u32; 8]>().read() };
    let who = call(libc::SYS_getpid, []).value() as u32;
    let from = if words[4] == who {
        "from here"
    } else {
        "from elsewhere"
    };
    let code = words[2].cast_signed();
    let value = words[6];
    let name = if signal < 32 {
        signal_name(signal).to_owned()
    } else {
        signal.to_string()
    };
    let text = match code {
        -1 => format!("{name} code -1 {from} value {value}"),
        _ => format!("{name} code {code} {from}"),
    };
    if let Ok(mut seen) = SEEN.lock() {
        seen.push(text);
    }
}

/// Returns what handlers saw since the last time.
pub(crate) fn seen() -> String {
    let taken = SEEN.lock().map(|mut seen| std::mem::take(&mut *seen));
    let taken = taken.unwrap_or_default();
    if taken.is_empty() {
        "nothing".to_owned()
    } else {
        taken.join(", ")
    }
}

/// Installs a handler by the library, which knows how to return from one.
pub(crate) fn handle(
    signal: c_int,
    flags: c_int,
    handler: extern "C" fn(c_int, *const libc::siginfo_t, *mut libc::c_void),
) {
    // SAFETY: All zeros is an action.
    let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = flags | libc::SA_SIGINFO;
    // SAFETY: The handlers here may run at any time.
    unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
}

pub(crate) fn kill_self(signal: c_int) -> Answer {
    let pid = call(libc::SYS_getpid, []).value();
    call(libc::SYS_kill, [pid, signal as usize])
}

/// Blocks (0), unblocks (1) or sets (2) signals, given as bits.
pub(crate) fn set_mask(how: usize, set: u64) -> Answer {
    call(SYS_rt_sigprocmask, [how, (&raw const set) as usize, 0, 8])
}

pub(crate) fn bit(signal: c_int) -> u64 {
    1 << (signal - 1)
}

/// Sends a signal to this process when that sleeps, from a child.
pub(crate) fn send_later(signal: c_int) -> Result<c_int, c_int> {
    let pid = call(libc::SYS_getpid, []).value();
    fork(move || {
        until_asleep(pid);
        call(libc::SYS_kill, [pid, signal as usize]);
        pause(10);
        0
    })
}

fn action_refused() {
    let action = [0_u64; 4];
    let good = action.as_ptr() as usize;
    let mut old = [0_u64; 4];
    let to = old.as_mut_ptr() as usize;
    for (name, arguments) in [
        ("signal 0", [0, good, to, 8]),
        ("signal 65", [65, good, to, 8]),
        ("signal -1", [NONE, good, to, 8]),
        ("kill", [9, good, to, 8]),
        ("stop", [19, good, to, 8]),
        ("kill, only asked", [9, 0, to, 8]),
        ("size 0", [10, good, to, 0]),
        ("size 4", [10, good, to, 4]),
        ("size 16", [10, good, to, 16]),
        ("size 128, signal 0", [0, good, to, 128]),
        ("from the kernel", [10, KERNEL, to, 8]),
        ("to the kernel", [10, good, KERNEL, 8]),
        ("from null to null", [10, 0, 0, 8]),
        ("signal 64", [64, good, to, 8]),
        ("from the kernel, kill", [9, KERNEL, to, 8]),
    ] {
        say!("sigaction({name}) = {}", call(SYS_rt_sigaction, arguments));
    }
}

fn action_old() {
    const RESTORER: u64 = 0x0400_0000;
    let action = [1_u64, RESTORER | 0x1000_0000, 0x1234, u64::MAX];
    let mut old = [9_u64; 4];
    call(SYS_rt_sigaction, [10, action.as_ptr() as usize, 0, 8]);
    call(SYS_rt_sigaction, [10, 0, old.as_mut_ptr() as usize, 8]);
    say!("ignored, with the flags: {old:x?}");
    let unknown = [0_u64, 0x8000_0000_0f00, 0, 0];
    call(SYS_rt_sigaction, [12, unknown.as_ptr() as usize, 0, 8]);
    call(SYS_rt_sigaction, [12, 0, old.as_mut_ptr() as usize, 8]);
    say!("unknown flags: {:#x}", old[1] & 0x0000_ffff_0000_0f00);
}

fn mask() {
    let mut old = [0_u64];
    let to = old.as_mut_ptr() as usize;
    let now = || {
        call(SYS_rt_sigprocmask, [0, 0, to, 8]);
        load_u64(to)
    };
    say!("at first: {:#x}", now());
    set_mask(2, u64::MAX);
    say!("all but two: {:#x}", now());
    set_mask(1, 0xff00);
    say!("without some: {:#x}", now());
    set_mask(2, 0);
    set_mask(0, 0x3);
    say!("two: {:#x}", now());
    let set = [5_u64];
    let from = set.as_ptr() as usize;
    for (name, arguments) in [
        ("how 3", [3, from, to, 8]),
        ("how -1", [NONE, from, to, 8]),
        ("how 3, only asked", [3, 0, to, 8]),
        ("size 4", [0, from, to, 4]),
        ("size 16", [0, from, to, 16]),
        ("from the kernel", [0, KERNEL, to, 8]),
        ("to the kernel", [0, from, KERNEL, 8]),
    ] {
        say!(
            "sigprocmask({name}) = {}",
            call(SYS_rt_sigprocmask, arguments)
        );
    }
    say!(
        "at last: {:#x}, in a child {}",
        now(),
        child(|| now() as i32)
    );
}

fn info() {
    handle(libc::SIGUSR1, 0, note);
    let pid = call(libc::SYS_getpid, []).value();
    kill_self(libc::SIGUSR1);
    say!("kill: {}", seen());
    call(libc::SYS_tgkill, [pid, pid, 10]);
    say!("tgkill: {}", seen());
    call(libc::SYS_tkill, [pid, 10]);
    say!("tkill: {}", seen());
    call(libc::SYS_kill, [0, 0]);
    say!("kill with 0: {}", seen());
    let process = send_later(libc::SIGUSR1);
    call(libc::SYS_pause, []);
    let _ = process.map(wait);
    say!("a child's: {}", seen());
}

/// A `siginfo` for `rt_sigqueueinfo`: code, process, value.
fn queued(code: i32, value: u32) -> [u32; 32] {
    let mut info = [0_u32; 32];
    info[2] = code.cast_unsigned();
    info[4] = call(libc::SYS_getpid, []).value() as u32;
    info[6] = value;
    info
}

fn queue() {
    handle(libc::SIGUSR1, 0, note);
    let pid = call(libc::SYS_getpid, []).value();
    let info = queued(-1, 77);
    let at = info.as_ptr() as usize;
    say!(
        "{}: {}",
        call(libc::SYS_rt_sigqueueinfo, [pid, 10, at]),
        seen()
    );
    say!(
        "{}: {}",
        call(libc::SYS_rt_tgsigqueueinfo, [pid, pid, 10, at]),
        seen()
    );
    handle(40, 0, note);
    set_mask(0, bit(40) | bit(10));
    for value in 1..4 {
        let info = queued(-1, value);
        call(libc::SYS_rt_sigqueueinfo, [pid, 40, info.as_ptr() as usize]);
        call(libc::SYS_rt_sigqueueinfo, [pid, 10, info.as_ptr() as usize]);
    }
    set_mask(1, bit(40) | bit(10));
    let mut all: Vec<_> = seen().split(", ").map(str::to_owned).collect();
    all.sort();
    say!("one of a kind, or each: {all:?}");
}

fn queue_refused() {
    let pid = call(libc::SYS_getpid, []).value();
    let parent = call(libc::SYS_getppid, []).value();
    let good = queued(-1, 1);
    let kernels = queued(0, 1);
    let timers = queued(-2, 1);
    let (good, kernels, timers) = (
        good.as_ptr() as usize,
        kernels.as_ptr() as usize,
        timers.as_ptr() as usize,
    );
    for (name, arguments) in [
        ("signal 65", [pid, 65, good]),
        ("signal 0", [pid, 0, good]),
        ("nobody", [9_999_999, 0, good]),
        ("from the kernel", [pid, 10, KERNEL]),
        ("as the kernel, to another", [parent, 0, kernels]),
        ("as a timer, to another", [parent, 0, timers]),
    ] {
        say!(
            "sigqueue({name}) = {}",
            call(libc::SYS_rt_sigqueueinfo, arguments)
        );
    }
}

fn order() {
    for signal in [50, 40, 34, libc::SIGUSR2, libc::SIGUSR1] {
        handle(signal, 0, note);
    }
    let all = bit(50) | bit(40) | bit(34) | bit(libc::SIGUSR2) | bit(libc::SIGUSR1);
    set_mask(0, all);
    for signal in [50, 34, libc::SIGUSR2, 40, libc::SIGUSR1, 40] {
        kill_self(signal);
    }
    // One at a time, so that no handler interrupts another.
    for signal in [libc::SIGUSR1, libc::SIGUSR2, 34, 40, 50] {
        set_mask(1, bit(signal));
        say!("{signal}: {}", seen());
    }
}

extern "C" fn nest(signal: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    say!("  begin {}", signal_name(signal));
    if signal == libc::SIGUSR1 {
        kill_self(libc::SIGUSR2);
        kill_self(libc::SIGUSR1);
    }
    say!("  end {}", signal_name(signal));
}

extern "C" fn twice(signal: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    static LEFT: Mutex<i32> = Mutex::new(3);
    let left = LEFT.lock().map(|mut left| {
        *left -= 1;
        *left
    });
    let left = left.unwrap_or(0);
    say!("  begin {}, {left} left", signal_name(signal));
    if left > 0 {
        kill_self(signal);
    }
    say!("  end {}, {left} left", signal_name(signal));
}

fn nested() {
    handle(libc::SIGUSR2, 0, nest);
    let end = child(|| {
        handle(libc::SIGUSR1, libc::SA_RESETHAND, nest);
        kill_self(libc::SIGUSR1);
        3
    });
    say!("the second is taken by default: {end}");
    handle(libc::SIGUSR1, 0, twice);
    kill_self(libc::SIGUSR1);
    say!("deferred until the handler returns");
}

fn no_defer() {
    handle(libc::SIGUSR1, libc::SA_NODEFER, twice);
    kill_self(libc::SIGUSR1);
    say!("nested at once");
}

extern "C" fn show_mask(signal: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    let mut now = [0_u64];
    call(SYS_rt_sigprocmask, [0, 0, now.as_mut_ptr() as usize, 8]);
    say!("  in {}: {:#x}", signal_name(signal), now[0]);
}

fn action_mask() {
    for flags in [0, libc::SA_NODEFER] {
        // SAFETY: All zeros is an action.
        let mut action = unsafe { std::mem::zeroed::<libc::sigaction>() };
        action.sa_sigaction = show_mask as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | flags;
        // SAFETY: It is a set.
        unsafe { libc::sigaddset(&raw mut action.sa_mask, libc::SIGHUP) };
        // SAFETY: The handler may run at any time.
        unsafe { libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()) };
        set_mask(2, bit(libc::SIGINT));
        kill_self(libc::SIGUSR1);
        let mut now = [0_u64];
        call(SYS_rt_sigprocmask, [0, 0, now.as_mut_ptr() as usize, 8]);
        say!("afterwards: {now:x?}");
    }
}

fn reset_handler() {
    handle(libc::SIGUSR1, libc::SA_RESETHAND, note);
    let end = child(|| {
        kill_self(libc::SIGUSR1);
        say!("first: {}", seen());
        kill_self(libc::SIGUSR1);
        3
    });
    say!("second: {end}");
}

extern "C" fn where_am_i(_: c_int, _: *const libc::siginfo_t, _: *mut libc::c_void) {
    let local = 0_u8;
    let is_there = (AT..AT + 16 * PAGE).contains(&((&raw const local) as usize));
    let mut old = [0_usize; 3];
    call(libc::SYS_sigaltstack, [0, old.as_mut_ptr() as usize]);
    let other = [AT + 32 * PAGE, 0, 16 * PAGE];
    let change = call(libc::SYS_sigaltstack, [other.as_ptr() as usize, 0]);
    say!("  on it: {is_there}, flags {}, change = {change}", old[1]);
}

fn alternative_stack() {
    map(AT, 16, PRIVATE);
    let stack = [AT, 0, 16 * PAGE];
    let mut old = [9_usize; 3];
    let to = old.as_mut_ptr() as usize;
    say!(
        "sigaltstack = {}",
        call(libc::SYS_sigaltstack, [stack.as_ptr() as usize, to])
    );
    say!("the old one: {:?}", old);
    handle(libc::SIGUSR1, libc::SA_ONSTACK, where_am_i);
    kill_self(libc::SIGUSR1);
    handle(libc::SIGUSR1, 0, where_am_i);
    kill_self(libc::SIGUSR1);
    call(libc::SYS_sigaltstack, [stack.as_ptr() as usize, 0]);
    let end = child(|| {
        call(libc::SYS_sigaltstack, [0, to]);
        i32::from(load_u64(to) as usize == AT)
    });
    say!("a child has it: {end}");
    let thread = std::thread::spawn(move || {
        let mut old = [9_usize; 3];
        call(libc::SYS_sigaltstack, [0, old.as_mut_ptr() as usize]);
        old[0] == AT
    });
    say!("a thread has it: {:?}", thread.join().ok());
    // A stack that is not there: the signal cannot be delivered.
    let end = child(|| {
        let gone = [AT + 64 * PAGE, 0, 16 * PAGE];
        call(libc::SYS_sigaltstack, [gone.as_ptr() as usize, 0]);
        handle(libc::SIGUSR1, libc::SA_ONSTACK, where_am_i);
        kill_self(libc::SIGUSR1);
        5
    });
    say!("a stack that is not there: {end}");
}

fn alternative_refused() {
    map(AT, 4, PRIVATE);
    for (name, stack) in [
        ("2047 bytes", [AT, 0, 2047]),
        ("no bytes", [AT, 0, 0]),
        ("off, with nonsense", [KERNEL, 2, 1]),
        ("unknown flag", [AT, 4, 4 * PAGE]),
        ("both flags", [AT, 3, 4 * PAGE]),
        ("on", [AT, 1, 4 * PAGE]),
        ("in the kernel", [KERNEL, 0, 4 * PAGE]),
    ] {
        let answer = call(libc::SYS_sigaltstack, [stack.as_ptr() as usize, 0]);
        say!("sigaltstack({name}) = {answer}");
    }
    say!(
        "sigaltstack(from the kernel) = {}",
        call(libc::SYS_sigaltstack, [KERNEL, 0])
    );
    say!(
        "sigaltstack(to the kernel) = {}",
        call(libc::SYS_sigaltstack, [0, KERNEL])
    );
    say!(
        "sigaltstack(nothing) = {}",
        call(libc::SYS_sigaltstack, [0, 0])
    );
}

fn to_thread() {
    handle(libc::SIGUSR1, 0, note);
    let pid = call(libc::SYS_getpid, []).value();
    let thread = std::thread::spawn(move || {
        let own = call(libc::SYS_gettid, []).value();
        set_mask(0, bit(libc::SIGUSR1));
        call(libc::SYS_tgkill, [pid, own, 10]);
        let mut set = [0_u64];
        call(libc::SYS_rt_sigpending, [set.as_mut_ptr() as usize, 8]);
        let here = set[0];
        pause(30);
        here
    });
    pause(10);
    let mut set = [0_u64];
    call(libc::SYS_rt_sigpending, [set.as_mut_ptr() as usize, 8]);
    let here = set[0];
    say!(
        "pending here {here:#x}, there {:x?}; {}",
        thread.join().ok(),
        seen()
    );
    // One for the process goes to the thread that does not block it.
    set_mask(0, bit(libc::SIGUSR1));
    static IS_SENT: AtomicBool = AtomicBool::new(false);
    let thread = std::thread::spawn(|| {
        set_mask(1, bit(libc::SIGUSR1));
        let mut is_over = false;
        while !is_over {
            is_over = IS_SENT.load(Ordering::Acquire);
            // On its way back it takes what was sent before.
            pause(1);
        }
    });
    kill_self(libc::SIGUSR1);
    IS_SENT.store(true, Ordering::Release);
    let _ = thread.join();
    say!("of the process: {}", seen());
}

fn fork_clears() {
    set_mask(0, bit(libc::SIGUSR1));
    kill_self(libc::SIGUSR1);
    let mut set = [0_u64];
    let to = set.as_mut_ptr() as usize;
    let end = child(|| {
        call(libc::SYS_rt_sigpending, [to, 8]);
        load_u64(to) as i32
    });
    call(libc::SYS_rt_sigpending, [to, 8]);
    say!("pending in a child: {end}, here: {:#x}", load_u64(to));
}
