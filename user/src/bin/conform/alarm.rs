//! Alarms: `alarm`, interval timers, timers that are read.

use libc::{
    SYS_alarm, SYS_getitimer, SYS_setitimer, SYS_timerfd_create, SYS_timerfd_gettime,
    SYS_timerfd_settime, c_int,
};

use crate::kit::{AT, Answer, Case, KERNEL, NONE, call, child, pause, pipe, say};
use crate::signal::{handle, note, seen, set_mask};

pub(crate) const CASES: &[Case] = &[
    ("alarm", alarm),
    ("alarm-kills", kills),
    ("itimer-real", real),
    ("itimer-used-time", used_time),
    ("itimer-fork", not_forked),
    ("itimer-refused", refused),
    ("timerfd", timer_file),
    ("timerfd-waits", timer_file_waits),
    ("timerfd-refused", timer_file_refused),
];

/// Interval, then time, in seconds and parts.
type Setting = [usize; 4];

const REAL: usize = libc::ITIMER_REAL as usize;

fn set(which: usize, setting: Setting) -> (Answer, Setting) {
    let mut old = [7; 4];
    let arguments = [which, setting.as_ptr() as usize, old.as_mut_ptr() as usize];
    (call(SYS_setitimer, arguments), old)
}

fn get(which: usize) -> (Answer, Setting) {
    let mut now = [7; 4];
    (call(SYS_getitimer, [which, now.as_mut_ptr() as usize]), now)
}

/// Says what does not depend on how fast the machine is.
fn told((answer, [seconds, parts, left, left_parts]): (Answer, Setting)) -> String {
    let is_set = left + left_parts > 0;
    format!(
        "{answer}, again after {seconds} s and {parts}, {is_set} {}",
        left / 100
    )
}

fn alarm() {
    handle(libc::SIGALRM, 0, note);
    say!("none before: {}", call(SYS_alarm, [1000]));
    // Rounded, and the machine may have stood still.
    let left = call(SYS_alarm, [2000]).value();
    say!("left: {}", (900..=1000).contains(&left));
    let (_, [_, _, left, _]) = get(REAL);
    say!("the same timer: {}", (1900..=2000).contains(&left));
    let left = call(SYS_alarm, [0]).value();
    say!("left: {}", (1900..=2000).contains(&left));
    say!("none: {}", call(SYS_alarm, [0]));
    set_mask(0, 1 << (libc::SIGALRM - 1));
    call(SYS_alarm, [1]);
    let open = 0_u64;
    let open = (&raw const open) as usize;
    say!("waited: {}", call(libc::SYS_rt_sigsuspend, [open, 8]));
    set_mask(1, u64::MAX);
    say!("{}", seen());
    say!("none left: {}, {}", call(SYS_alarm, [0]), told(get(REAL)));
    // Less than a second is one.
    set(REAL, [0, 0, 0, 900_000]);
    say!("rounded up: {}", call(SYS_alarm, [0]));
}

fn kills() {
    say!(
        "{}",
        child(|| {
            set(REAL, [0, 0, 0, 1]);
            loop {
                pause(1000);
            }
        })
    );
    say!(
        "{}",
        child(|| {
            set(REAL, [0, 0, 0, 20_000]);
            loop {
                std::hint::spin_loop();
            }
        })
    );
}

fn real() {
    handle(libc::SIGALRM, 0, note);
    say!("{}", told(get(REAL)));
    say!("{}", told(set(REAL, [0, 20_000, 0, 10_000])));
    for _ in 0..3 {
        call(libc::SYS_pause, []);
    }
    say!("{}", told(set(REAL, [500, 7, 1050, 0])));
    say!("{:?}", seen().split(", ").next());
    say!("{}", told(get(REAL)));
    // An interval alone sets nothing.
    let (answer, _) = set(REAL, [1, 0, 0, 0]);
    say!("{answer}, {}", told(get(REAL)));
    let mut old = [7_usize; 4];
    set(REAL, [0, 0, 1050, 0]);
    let arguments = [REAL, 0, old.as_mut_ptr() as usize];
    say!("nothing new: {}", call(SYS_setitimer, arguments));
    say!("{}", told(get(REAL)));
    // More than one may come before the call that they interrupt.
    let (reader, _writer) = pipe(0);
    set(REAL, [0, 10_000, 0, 10_000]);
    say!("read = {}", call(libc::SYS_read, [reader, AT, 0x10]));
    set(REAL, [0; 4]);
    say!("{:?}", seen().split(", ").next());
}

/// Timers that go by the time that is used: they ring while something is computed, and
/// not while nothing is.
fn used_time() {
    for which in [libc::ITIMER_VIRTUAL, libc::ITIMER_PROF] {
        let which = which as usize;
        let signal = [libc::SIGVTALRM, libc::SIGPROF][which - 1];
        handle(signal, 0, note);
        say!("{}", told(get(which)));
        say!("{}", told(set(which, [0, 30_000, 0, 20_000])));
        // Each time that it rings, it is noted.
        let mut rung = String::new();
        while rung.matches("code").count() < 2 {
            (0..100_000).for_each(|number| {
                std::hint::black_box(number);
            });
            // Blocked meanwhile: the note has a lock.
            set_mask(0, 1 << (signal - 1));
            rung += &seen().replace("nothing", "");
            set_mask(1, u64::MAX);
        }
        let (answer, [seconds, parts, ..]) = set(which, [0; 4]);
        say!(
            "{answer}, {seconds} {parts}, {}",
            &rung[..rung.find(" from").unwrap_or(0)]
        );
        say!("{}", told(set(which, [3, 0, 1050, 0])));
        say!("{}", told(get(which)));
        say!(
            "killed: {}",
            child(|| {
                // SAFETY: It is as at the start.
                unsafe { libc::signal(signal, libc::SIG_DFL) };
                set(which, [0, 0, 0, 1]);
                loop {
                    std::hint::spin_loop();
                }
            })
        );
        set(which, [0; 4]);
        seen();
    }
    // What sleeps uses nothing.
    set(libc::ITIMER_PROF as usize, [0, 0, 500, 0]);
    pause(50);
    say!("{}", get(libc::ITIMER_PROF as usize).1[2] >= 499);
}

fn not_forked() {
    set(REAL, [0, 0, 1050, 0]);
    let end = child(|| i32::from(get(REAL).1[2] > 0));
    say!("a child has it: {end}");
    say!("we still do: {}", get(REAL).1[2] > 0);
}

fn refused() {
    for which in [3, NONE, 100] {
        let (answer, _) = set(which, [0; 4]);
        say!("{}: {answer} {}", which as isize, get(which).0);
    }
    for setting in [
        [0, 1_000_000, 0, 0],
        [0, 0, 0, 1_000_000],
        [0, 0, NONE, 0],
        [NONE, 0, 1, 0],
        [0, NONE, 1, 0],
    ] {
        say!("{}", set(REAL, setting).0);
        say!("{}", set(9, setting).0);
    }
    say!("nowhere: {}", call(SYS_setitimer, [REAL, KERNEL, 0]));
    let setting: Setting = [0, 0, 550, 0];
    let arguments = [REAL, setting.as_ptr() as usize, KERNEL];
    say!("set, and not told: {}", call(SYS_setitimer, arguments));
    say!("{}", told(get(REAL)));
    say!("nowhere: {}", call(SYS_getitimer, [REAL, KERNEL]));
}

fn new_timer(flags: c_int) -> usize {
    let clock = libc::CLOCK_MONOTONIC as usize;
    call(SYS_timerfd_create, [clock, flags as usize]).value()
}

fn set_file(file: usize, flags: usize, setting: Setting) -> (Answer, Setting) {
    let mut old = [7; 4];
    let (new, old_at) = (setting.as_ptr() as usize, old.as_mut_ptr() as usize);
    (call(SYS_timerfd_settime, [file, flags, new, old_at]), old)
}

fn get_file(file: usize) -> (Answer, Setting) {
    let mut now = [7; 4];
    (
        call(SYS_timerfd_gettime, [file, now.as_mut_ptr() as usize]),
        now,
    )
}

/// Says what a timer has counted: once, more often, or an error.
fn counted(file: usize) -> String {
    let mut count = 0_u64;
    let answer = call(libc::SYS_read, [file, (&raw mut count) as usize, 8]);
    match count {
        0 => answer.to_string(),
        1 => "once".to_owned(),
        _ => "more often".to_owned(),
    }
}

/// Waits until a timer can be read, and says what poll does.
fn poll(file: usize) -> String {
    let mut polled = libc::pollfd {
        fd: file as c_int,
        events: libc::POLLIN | libc::POLLOUT,
        revents: 0,
    };
    let answer = call(libc::SYS_poll, [(&raw mut polled) as usize, 1, NONE]);
    format!("poll = {answer}, {:#x}", polled.revents)
}

fn timer_file() {
    let file = new_timer(libc::TFD_NONBLOCK);
    say!("{} {}", counted(file), told(get_file(file)));
    say!("{}", told(set_file(file, 0, [3, 5, 1050, 0])));
    say!("{} {}", counted(file), told(get_file(file)));
    say!("{}", told(set_file(file, 0, [0, 0, 0, 1_000_000])));
    say!("{}, {}", poll(file), counted(file));
    say!("{} {}", counted(file), told(get_file(file)));
    set_file(file, 0, [0, 5_000_000, 0, 1]);
    let mut sum = 0;
    while sum < 3 {
        poll(file);
        let mut count = 0_u64;
        call(libc::SYS_read, [file, (&raw mut count) as usize, 8]);
        sum += count;
    }
    // What was counted is forgotten.
    poll(file);
    set_file(file, 0, [0, 0, 1050, 0]);
    say!("{}", counted(file));
    // A time that is past.
    set_file(file, 1, [0, 0, 0, 1]);
    say!("{}, {}", poll(file), counted(file));
    say!("{}", told(get_file(file)));
    say!("{}", told(set_file(file, 0, [1, 0, 0, 0])));
    say!("{}", told(get_file(file)));
    say!("write: {}", call(libc::SYS_write, [file, AT, 8]));
    say!("short: {}", call(libc::SYS_read, [file, AT, 7]));
}

fn timer_file_waits() {
    let file = new_timer(0);
    set_file(file, 0, [0, 0, 0, 20_000_000]);
    say!("{}", counted(file));
    set_file(file, 0, [0, 0, 0, 20_000_000]);
    say!("{}", poll(file));
    say!("{}", counted(file));
    let set = call(libc::SYS_epoll_create1, [0]).value();
    let bits = (libc::EPOLLIN | libc::EPOLLET) as u32;
    let event = libc::epoll_event {
        events: bits,
        u64: 9,
    };
    let event = (&raw const event) as usize;
    call(
        libc::SYS_epoll_ctl,
        [set, libc::EPOLL_CTL_ADD as usize, file, event],
    );
    set_file(file, 0, [0, 0, 0, 20_000_000]);
    let mut found = [0_u8; 12];
    let arguments = [set, found.as_mut_ptr() as usize, 1, NONE];
    say!("{} {found:?}", call(libc::SYS_epoll_wait, arguments));
}

fn timer_file_refused() {
    for clock in [2, 3, 4, 5, 6, 10, NONE] {
        say!(
            "{}: {}",
            clock as isize,
            call(SYS_timerfd_create, [clock, 0])
        );
    }
    say!(
        "{} {}",
        call(SYS_timerfd_create, [0, 0]).ok(),
        call(SYS_timerfd_create, [7, 0]).ok()
    );
    say!("flags: {}", call(SYS_timerfd_create, [1, 1]));
    let file = new_timer(0);
    say!("flags: {}", set_file(file, 4, [0; 4]).0);
    for setting in [[0, 0, 0, 1_000_000_000], [0, NONE, 0, 0], [NONE, 0, 0, 0]] {
        say!(
            "{} {}",
            set_file(file, 0, setting).0,
            set_file(99, 0, setting).0
        );
    }
    let (reader, _writer) = pipe(0);
    say!(
        "{} {}",
        set_file(99, 0, [0; 4]).0,
        set_file(reader, 0, [0; 4]).0
    );
    say!("{} {}", get_file(99).0, get_file(reader).0);
    say!(
        "nowhere: {}",
        call(SYS_timerfd_settime, [file, 0, KERNEL, 0])
    );
    say!("nowhere: {}", call(SYS_timerfd_gettime, [file, KERNEL]));
}
