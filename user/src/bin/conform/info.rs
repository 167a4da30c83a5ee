//! Time, limits, processors, random bytes, and what the system tells of itself.

use crate::kit::{
    Answer, Case, KERNEL, NONE, call, child, error_name, load_u64, pause, say, store_u64,
};

pub(crate) const CASES: &[Case] = &[
    ("clock-gettime", clocks),
    ("clock-refused", clocks_refused),
    ("clocks-go-on", go_on),
    ("nanosleep", sleeps),
    ("clock-nanosleep", clock_sleeps),
    ("gettimeofday", time_of_day),
    ("getrandom", random),
    ("uname", uname),
    ("sysinfo", sysinfo),
    ("reboot-by-mistake", reboot_by_mistake),
    ("getrusage", usage),
    ("times", times),
    ("affinity", affinity),
    ("affinity-refused", affinity_refused),
    ("prlimit", limits),
    ("prlimit-refused", limits_refused),
    ("arch-prctl", arch_prctl),
    ("identities", identities),
    ("sched-yield", yields),
    ("rseq", restartable),
    ("no-such-call", no_such_call),
];

fn clock(number: usize) -> (Answer, [i64; 2]) {
    let mut time = [-1_i64; 2];
    let answer = call(
        libc::SYS_clock_gettime,
        [number, time.as_mut_ptr() as usize],
    );
    (answer, time)
}

fn clocks() {
    for number in 0..8 {
        let (answer, time) = clock(number);
        let is_sane = time[0] >= 0 && (0..1_000_000_000).contains(&time[1]);
        say!("clock {number}: {answer}, sane: {is_sane}");
    }
    let mut step = [-1_i64; 2];
    let to = step.as_mut_ptr() as usize;
    for number in [0, 1, 4, 7] {
        let answer = call(libc::SYS_clock_getres, [number, to]);
        say!(
            "resolution of {number}: {answer}, sane: {}",
            step[0] == 0 && step[1] > 0
        );
    }
    say!(
        "resolution to nowhere: {}",
        call(libc::SYS_clock_getres, [1, 0])
    );
    let other = child(|| i32::from(clock(2).1[0] > 2));
    say!("a child's own time starts anew: {other}");
}

fn clocks_refused() {
    for number in [16, 99, 10_000, 1 << 31] {
        say!("clock {number}: {}", clock(number).0);
    }
    for number in [0, 1, 2, 3] {
        let answer = call(libc::SYS_clock_gettime, [number, KERNEL]);
        say!("clock {number} to the kernel: {answer}");
    }
    say!(
        "clock 99 to the kernel: {}",
        call(libc::SYS_clock_gettime, [99, KERNEL])
    );
    say!("clock 1 to null: {}", call(libc::SYS_clock_gettime, [1, 0]));
    say!(
        "resolution of 99: {}",
        call(libc::SYS_clock_getres, [99, 0])
    );
}

fn go_on() {
    let as_number = |time: [i64; 2]| time[0] * 1_000_000_000 + time[1];
    for number in [0, 1, 4, 7] {
        let first = as_number(clock(number).1);
        let mut last = first;
        let mut back = 0;
        for _ in 0..2000 {
            let now = as_number(clock(number).1);
            back += i32::from(now < last);
            last = now;
        }
        pause(5);
        let slept = as_number(clock(number).1) - last;
        say!(
            "clock {number}: back {back} times, slept long enough: {}",
            slept >= 5_000_000
        );
    }
    let start = as_number(clock(2).1);
    let mut sum = 0_u64;
    while as_number(clock(2).1) - start < 3_000_000 {
        sum = std::hint::black_box(sum + 1);
    }
    say!("the process's own time passes: {}", sum > 0);
}

fn sleeps() {
    let mut left = [7_i64; 2];
    let rest = left.as_mut_ptr() as usize;
    for (name, seconds, nanoseconds) in [
        ("nothing", 0, 0),
        ("1 ns", 0, 1),
        ("2 ms", 0, 2_000_000),
        ("-1 s", -1, 0),
        ("-1 ns", 0, -1),
        ("10^9 ns", 0, 1_000_000_000),
        ("-2^63 s", i64::MIN, 0),
    ] {
        let time = [seconds, nanoseconds];
        let answer = call(libc::SYS_nanosleep, [time.as_ptr() as usize, rest]);
        say!("nanosleep({name}) = {answer}, rest {left:?}");
    }
    let time = [0_i64, 1];
    say!(
        "nanosleep(from the kernel) = {}",
        call(libc::SYS_nanosleep, [KERNEL, 0])
    );
    say!(
        "nanosleep(from null) = {}",
        call(libc::SYS_nanosleep, [0, 0])
    );
    let at = time.as_ptr() as usize;
    say!(
        "nanosleep(rest to the kernel) = {}",
        call(libc::SYS_nanosleep, [at, KERNEL])
    );
}

fn clock_sleeps() {
    let short = [0_i64, 1_000_000];
    let bad = [0_i64, NONE as i64];
    let (short, bad) = (short.as_ptr() as usize, bad.as_ptr() as usize);
    for (name, clock, flags, time) in [
        ("real", 0, 0, short),
        ("monotonic", 1, 0, short),
        ("since boot", 7, 0, short),
        ("long ago", 1, 1, short),
        ("thread's own", 3, 0, short),
        ("coarse", 6, 0, short),
        ("no such clock", 99, 0, short),
        ("bad time", 1, 0, bad),
        ("time in the kernel", 1, 0, KERNEL),
        ("no such clock, time in the kernel", 99, 0, KERNEL),
        ("unknown flag", 1, 8, short),
    ] {
        let answer = call(libc::SYS_clock_nanosleep, [clock, flags, time, 0]);
        say!("clock_nanosleep({name}) = {answer}");
    }
    let (_, now) = clock(1);
    let soon = [now[0], now[1] + 2_000_000];
    let soon = [soon[0] + soon[1] / 1_000_000_000, soon[1] % 1_000_000_000];
    let answer = call(libc::SYS_clock_nanosleep, [1, 1, soon.as_ptr() as usize, 0]);
    let (_, later) = clock(1);
    say!("until soon: {answer}, reached: {}", later >= soon);
}

fn time_of_day() {
    let mut time = [0_i64; 2];
    let mut zone = [7_i32; 2];
    let (to, zone_to) = (time.as_mut_ptr() as usize, zone.as_mut_ptr() as usize);
    say!(
        "gettimeofday = {}",
        call(libc::SYS_gettimeofday, [to, zone_to])
    );
    let (_, now) = clock(0);
    say!("agrees: {}, zone {zone:?}", now[0] - time[0] <= 1);
    say!(
        "gettimeofday(nowhere) = {}",
        call(libc::SYS_gettimeofday, [0, 0])
    );
    say!(
        "gettimeofday(kernel) = {}",
        call(libc::SYS_gettimeofday, [KERNEL, 0])
    );
    say!(
        "gettimeofday(zone to the kernel) = {}",
        call(libc::SYS_gettimeofday, [0, KERNEL])
    );
    let seconds = call(libc::SYS_time, [to]);
    say!(
        "time agrees: {}, {}",
        seconds.value() as i64 - now[0] <= 1,
        load_u64(to) as usize == seconds.value()
    );
    say!("time(kernel) = {}", call(libc::SYS_time, [KERNEL]));
}

fn random() {
    let mut bytes = [0_u64; 64];
    let to = bytes.as_mut_ptr() as usize;
    for (name, len, flags) in [
        ("512", 512, 0),
        ("1", 1, 0),
        ("none", 0, 0),
        ("not blocking", 64, 1),
        ("random", 64, 2),
        ("insecure", 64, 4),
        ("unknown flag", 64, 8),
        ("insecure and random", 64, 6),
    ] {
        say!(
            "getrandom({name}) = {}",
            call(libc::SYS_getrandom, [to, len, flags])
        );
    }
    bytes.sort_unstable();
    let is_different = bytes.windows(2).all(|pair| pair[0] != pair[1]);
    say!("all different: {is_different}");
    say!(
        "getrandom(kernel) = {}",
        call(libc::SYS_getrandom, [KERNEL, 16, 0])
    );
    say!(
        "getrandom(null) = {}",
        call(libc::SYS_getrandom, [0, 16, 0])
    );
    say!(
        "getrandom(null, nothing) = {}",
        call(libc::SYS_getrandom, [0, 0, 0])
    );
    let mine = {
        call(libc::SYS_getrandom, [to, 8, 0]);
        load_u64(to)
    };
    let same = child(|| {
        call(libc::SYS_getrandom, [to, 8, 0]);
        i32::from(load_u64(to) == mine)
    });
    say!("a child gets the same: {same}");
}

fn uname() {
    let mut text = [1_u8; 390];
    let answer = call(libc::SYS_uname, [text.as_mut_ptr() as usize]);
    let field = |index: usize| {
        let bytes = &text[index * 65..(index + 1) * 65];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(65);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    say!("uname = {answer}: {} on {}", field(0), field(4));
    let has_all = (1..4).all(|index| !field(index).is_empty());
    let rest = text.iter().rev().take_while(|byte| **byte == 0).count();
    say!(
        "the others say something: {has_all}, no rest of old bytes: {}",
        rest > 0
    );
    say!("uname(kernel) = {}", call(libc::SYS_uname, [KERNEL]));
    say!("uname(null) = {}", call(libc::SYS_uname, [0]));
}

/// With numbers that are not those that say that the caller means it. A Linux that does not
/// let the caller end the system at all says so first.
fn reboot_by_mistake() {
    const FIRST: usize = 0xfee1_dead;
    const SECOND: usize = 0x2812_1969;
    const RESTART: usize = 0x0123_4567;
    for (first, second, command) in [
        (0, SECOND, RESTART),
        (FIRST, 0, RESTART),
        (FIRST, SECOND + 1, RESTART),
        (SECOND, FIRST, RESTART),
        (FIRST, SECOND, 12345),
    ] {
        let answer = call(libc::SYS_reboot, [first, second, command, 0]);
        let is_refused = ["EINVAL", "EPERM"].contains(&answer.to_string().as_str());
        say!("{first:#x}, {second:#x}, {command}: refused: {is_refused}");
    }
}

fn sysinfo() {
    let mut info = [u64::MAX; 14];
    let to = info.as_mut_ptr() as usize;
    say!("sysinfo = {}", call(libc::SYS_sysinfo, [to]));
    let unit = info[13] & 0xffff_ffff;
    say!(
        "some memory: {}, some of it free: {}",
        info[4] > 0,
        info[5] > 0 && info[5] <= info[4]
    );
    say!("unit {unit}, processes: {}", info[10] & 0xffff > 0);
    say!("sysinfo(kernel) = {}", call(libc::SYS_sysinfo, [KERNEL]));
}

fn usage() {
    let mut usage = [u64::MAX; 18];
    let to = usage.as_mut_ptr() as usize;
    for (name, who) in [
        ("self", 0),
        ("children", NONE),
        ("thread", 1),
        ("2", 2),
        ("-2", NONE - 1),
    ] {
        let answer = call(libc::SYS_getrusage, [who, to]);
        let is_sane = usage[1] < 1_000_000 && usage[3] < 1_000_000;
        say!("getrusage({name}) = {answer}, sane: {is_sane}");
    }
    say!(
        "getrusage(kernel) = {}",
        call(libc::SYS_getrusage, [0, KERNEL])
    );
    let before = {
        call(libc::SYS_getrusage, [0, to]);
        load_u64(to + 64)
    };
    crate::kit::map(crate::kit::AT, 100, crate::kit::PRIVATE);
    (0..100).for_each(|page| crate::kit::store(crate::kit::AT + page * crate::kit::PAGE, 1));
    call(libc::SYS_getrusage, [0, to]);
    say!("a hundred faults: {}", load_u64(to + 64) - before >= 100);
}

fn times() {
    let mut times = [u64::MAX; 4];
    let to = times.as_mut_ptr() as usize;
    let first = call(libc::SYS_times, [to]);
    say!(
        "times: {}, sane: {}",
        first.ok(),
        times.iter().all(|time| *time < 1000)
    );
    pause(30);
    let later = call(libc::SYS_times, [0]);
    say!("goes on: {}", later.value() > first.value());
    say!("times(kernel) = {}", call(libc::SYS_times, [KERNEL]));
}

fn affinity() {
    let mut set = [0_u64; 16];
    let to = set.as_mut_ptr() as usize;
    let get = call(libc::SYS_sched_getaffinity, [0, 128, to]);
    say!(
        "a multiple of 8 bytes: {}",
        get.value() > 0 && get.value() % 8 == 0
    );
    say!("some processor: {}", set.iter().any(|word| *word != 0));
    let lowest = set[0] & set[0].wrapping_neg();
    let old = set[0];
    let one = [lowest];
    let at = one.as_ptr() as usize;
    say!(
        "sched_setaffinity(one) = {}",
        call(libc::SYS_sched_setaffinity, [0, 8, at])
    );
    call(libc::SYS_sched_getaffinity, [0, 128, to]);
    say!("that one: {}", load_u64(to) == lowest);
    let end = child(|| {
        call(libc::SYS_sched_getaffinity, [0, 128, to]);
        let is_same = load_u64(to) == lowest;
        let mut cpu = 99_u32;
        call(libc::SYS_getcpu, [(&raw mut cpu) as usize, 0, 0]);
        i32::from(is_same && 1 << cpu == lowest)
    });
    say!("a child has it, and runs there: {end}");
    store_u64(to, old);
    say!("back: {}", call(libc::SYS_sched_setaffinity, [0, 8, to]));
}

fn affinity_refused() {
    let mut set = [0_u64; 16];
    let to = set.as_mut_ptr() as usize;
    let get = |pid, len, to| call(libc::SYS_sched_getaffinity, [pid, len, to]);
    let put = |pid, len, from| call(libc::SYS_sched_setaffinity, [pid, len, from]);
    say!("get(0 bytes) = {}", get(0, 0, to));
    say!("get(7 bytes) = {}", get(0, 7, to));
    say!("get(12 bytes) = {}", get(0, 12, to));
    say!("get(kernel) = {}", get(0, 128, KERNEL));
    say!("get(nobody) = {}", get(9_999_999, 128, to));
    say!("get(-1) = {}", get(NONE, 128, to));
    say!("set(none) = {}", put(0, 8, to));
    say!("set(0 bytes) = {}", put(0, 0, to));
    say!("set(kernel) = {}", put(0, 8, KERNEL));
    store_u64(to, 1);
    say!("set(nobody) = {}", put(9_999_999, 8, to));
    store_u64(to, 1 << 63);
    say!("set(one that is not there) = {}", put(0, 8, to));
}

fn limits() {
    let mut old = [0_u64; 2];
    let to = old.as_mut_ptr() as usize;
    let ask = |resource: u32| call(libc::SYS_prlimit64, [0, resource as usize, 0, to]);
    for (name, resource) in [
        ("stack", libc::RLIMIT_STACK),
        ("data", libc::RLIMIT_DATA),
        ("address space", libc::RLIMIT_AS),
        ("files", libc::RLIMIT_NOFILE),
        ("core", libc::RLIMIT_CORE),
    ] {
        say!(
            "{name}: {}, {:x?}",
            ask(resource),
            [load_u64(to), load_u64(to + 8)]
        );
    }
    for resource in 0..16 {
        say!("limit {resource}: {}", ask(resource));
    }
    let new = [64_u64, 128];
    let from = new.as_ptr() as usize;
    let files = libc::RLIMIT_NOFILE as usize;
    say!("set = {}", call(libc::SYS_prlimit64, [0, files, from, to]));
    say!("the old one: {:?}", [load_u64(to), load_u64(to + 8)]);
    let pid = call(libc::SYS_getpid, []).value();
    say!(
        "by number: {}, {}",
        call(libc::SYS_prlimit64, [pid, files, 0, to]),
        load_u64(to)
    );
    say!(
        "a child's: {}",
        child(|| {
            call(libc::SYS_prlimit64, [0, files, 0, to]);
            load_u64(to) as i32
        })
    );
    say!(
        "getrlimit = {}, {}",
        call(libc::SYS_getrlimit, [files, to]),
        load_u64(to + 8)
    );
    let last = call(libc::SYS_dup2, [1, 63]);
    say!(
        "dup2 within = {last}, over it = {}",
        call(libc::SYS_dup2, [1, 64])
    );
}

fn limits_refused() {
    let mut old = [0_u64; 2];
    let to = old.as_mut_ptr() as usize;
    let above = [200_u64, 100];
    let raised = [100_u64, 5000];
    let files = libc::RLIMIT_NOFILE as usize;
    for (name, arguments) in [
        ("unknown limit", [0, 16, 0, to]),
        ("limit -1", [0, NONE, 0, to]),
        ("nobody", [9_999_999, files, 0, to]),
        ("soft above hard", [0, files, above.as_ptr() as usize, 0]),
        (
            "hard above the old one",
            [0, files, raised.as_ptr() as usize, 0],
        ),
        ("from the kernel", [0, files, KERNEL, 0]),
        ("to the kernel", [0, files, 0, KERNEL]),
        ("nothing", [0, files, 0, 0]),
    ] {
        say!("prlimit({name}) = {}", call(libc::SYS_prlimit64, arguments));
    }
}

fn arch_prctl() {
    const SET_GS: usize = 0x1001;
    const SET_FS: usize = 0x1002;
    const GET_FS: usize = 0x1003;
    const GET_GS: usize = 0x1004;
    let prctl = |what, address| call(libc::SYS_arch_prctl, [what, address]);
    let mut base = [0_u64];
    let to = base.as_mut_ptr() as usize;
    say!(
        "get FS: {}, something: {}",
        prctl(GET_FS, to),
        load_u64(to) != 0
    );
    say!("get GS: {}, {}", prctl(GET_GS, to), load_u64(to));
    // peer_091
    for (name, address) in [
        ("kernel", KERNEL),
        ("not canonical", 1 << 63),
        ("all", NONE),
        ("end of what is", usize::MAX - 4095),
    ] {
        say!("set GS({name}) = {}", prctl(SET_GS, address));
        say!("set FS({name}) = {}", prctl(SET_FS, address));
    }
    say!("set GS = {}", prctl(SET_GS, 0x1234_5000));
    prctl(GET_GS, to);
    say!(
        "then {:#x}, in a child {}",
        load_u64(to),
        child(|| {
            prctl(GET_GS, to);
            i32::from(load_u64(to) == 0x1234_5000)
        })
    );
    say!("get FS to the kernel = {}", prctl(GET_FS, KERNEL));
    say!("get GS to null = {}", prctl(GET_GS, 0));
    say!("unknown = {}", prctl(0, to));
}

fn identities() {
    for (name, number, other) in [
        ("user", libc::SYS_getuid, libc::SYS_geteuid),
        ("group", libc::SYS_getgid, libc::SYS_getegid),
    ] {
        say!("{name}: {}", call(number, []) == call(other, []));
    }
    let pid = call(libc::SYS_getpid, []);
    say!(
        "thread: {}, parent: {}",
        pid == call(libc::SYS_gettid, []),
        call(libc::SYS_getppid, []) != pid
    );
    let thread = std::thread::spawn(move || {
        (
            call(libc::SYS_gettid, []) != pid,
            call(libc::SYS_getpid, []) == pid,
        )
    });
    say!("another thread: {:?}", thread.join().ok());
    say!(
        "umask {:o}, then {:o}",
        call(libc::SYS_umask, [0o7777]).value(),
        call(libc::SYS_umask, [0]).value()
    );
}

fn yields() {
    say!("sched_yield = {}", call(libc::SYS_sched_yield, []));
    let other = std::thread::spawn(|| {
        (0..200)
            .map(|_| call(libc::SYS_sched_yield, []).value())
            .sum::<usize>()
    });
    say!("in a thread: {:?}", other.join().ok());
}

/// Restartable sequences are there or not; the C library takes either. What it has
/// registered itself it gets back.
fn restartable() {
    let answer = call(libc::SYS_rseq, [0, 0, 0, 0]);
    let is_fine = matches!(
        error_name(answer.error()).as_str(),
        "EINVAL" | "ENOSYS" | "EBUSY"
    );
    say!("refused: {is_fine}");
}

fn no_such_call() {
    for number in [-1, 400, 1000, 100_000, i64::MAX] {
        say!("call {number}: {}", call(number, [0; 6]));
    }
    // Only the lower half of the number counts.
    let pid = call(libc::SYS_getpid, []);
    say!(
        "2^32 more: {}",
        call(libc::SYS_getpid + (1 << 32), []) == pid
    );
}
