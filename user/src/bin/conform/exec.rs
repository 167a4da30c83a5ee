//! `execve`: what is handed over, and what cannot be started.

use std::ffi::{CString, c_char};
use std::fs;
use std::os::unix::fs::PermissionsExt;

use libc::SYS_execve;

use crate::kit::{
    AT, Answer, Case, KERNEL, NONE, PAGE, PRIVATE, call, child, close, exit, map, open, pipe, say,
};

pub(crate) const CASES: &[Case] = &[
    ("exec-arguments", arguments),
    ("exec-refused", refused),
    ("exec-not-executable", not_executable),
    ("exec-bad-elf", bad_elf),
    ("exec-bad-pointers", bad_pointers),
    ("exec-too-long", too_long),
    ("exec-many-arguments", many_arguments),
    ("exec-script", script),
    ("exec-script-chain", script_chain),
    ("exec-script-refused", script_refused),
    ("exec-close-on-exec", close_on_exec),
    ("exec-resets-signals", resets_signals),
    ("exec-keeps", keeps),
    ("exec-with-threads", with_threads),
    ("exec-failed-goes-on", failed_goes_on),
    ("exec-null-arguments", null_arguments),
    ("exec-self-as-child", report),
    ("execveat", execveat),
];

/// What a program prints of how it was started: asked for by these cases, by name.
fn report() {
    for (index, argument) in std::env::args().enumerate().skip(1) {
        say!("  argument {index}: {argument:?}");
    }
    for (name, value) in std::env::vars() {
        if name != "PATH" {
            say!("  {name}={value}");
        }
    }
}

/// Makes a list of strings for `execve`; the pointers are into the strings.
fn pointers(words: &[CString]) -> Vec<*const c_char> {
    words
        .iter()
        .map(|word| word.as_ptr())
        .chain([std::ptr::null()])
        .collect()
}

fn strings(words: &[&str]) -> Vec<CString> {
    words
        .iter()
        .filter_map(|word| CString::new(*word).ok())
        .collect()
}

/// Becomes another program; returns only if that fails.
fn exec(path: &str, words: &[&str], environment: &[&str]) -> Answer {
    let path = strings(&[path]);
    let (words, environment) = (strings(words), strings(environment));
    let (words, environment) = (pointers(&words), pointers(&environment));
    let path = path.first().map_or(0, |path| path.as_ptr() as usize);
    call(
        SYS_execve,
        [path, words.as_ptr() as usize, environment.as_ptr() as usize],
    )
}

/// Runs a program in a child; says how it ended, or why it did not start.
fn run(path: &str, words: &[&str], environment: &[&str]) -> String {
    child(|| {
        let answer = exec(path, words, environment);
        say!("  execve = {answer}");
        99
    })
}

/// Where this program is.
fn own_path() -> String {
    let path = fs::read_link("/proc/self/exe").unwrap_or_default();
    path.to_string_lossy().into_owned()
}

/// The case that reports how it was started.
const REPORT: &str = "exec-self-as-child";

/// Writes a file that may be run.
fn program(path: &str, contents: &[u8]) {
    let _ = fs::write(path, contents);
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o755));
}

fn arguments() {
    let path = own_path();
    say!(
        "{}",
        run(
            &path,
            &["name", REPORT, "", "a b", "ä"],
            &["A=1", "B=", "C=x=y"]
        )
    );
    say!("{}", run(&path, &["name", REPORT], &[]));
    say!("{}", run(&path, &["", REPORT], &["odd"]));
    say!("{}", run("/proc/self/exe", &["name", REPORT], &["D=4"]));
}

fn refused() {
    let _ = fs::create_dir("d");
    program("plain", b"no program");
    for path in [
        "",
        "nonexistent",
        "/nonexistent/x",
        "plain/x",
        "d",
        ".",
        "/",
        "/dev/null",
    ] {
        say!("{path}: {}", run(path, &["x"], &[]));
    }
    let long = "x/".repeat(2100);
    say!("a path of 4200 bytes: {}", run(&long, &["x"], &[]));
    say!(
        "a name of 300 bytes: {}",
        run(&"x".repeat(300), &["x"], &[])
    );
}

fn not_executable() {
    program("a", b"#!/bin/sh\n");
    let _ = fs::set_permissions("a", fs::Permissions::from_mode(0o644));
    say!("without permission: {}", run("./a", &["x"], &[]));
    let _ = fs::copy(own_path(), "b");
    let _ = fs::set_permissions("b", fs::Permissions::from_mode(0o600));
    say!("a program without permission: {}", run("./b", &["x"], &[]));
}

fn bad_elf() {
    let good = fs::read(own_path()).unwrap_or_default();
    let header = |change: fn(&mut Vec<u8>)| {
        let mut bytes = good.clone();
        change(&mut bytes);
        bytes
    };
    for (name, bytes) in [
        ("empty", Vec::new()),
        ("one byte", vec![0x7f]),
        ("text", b"hello".to_vec()),
        ("magic only", b"\x7fELF".to_vec()),
        ("zeros", vec![0; 4096]),
        ("cut in the header", good[..40].to_vec()),
        ("cut in the program headers", good[..100].to_vec()),
        ("32 bits", header(|bytes| bytes[18] = 3)),
        ("another machine", header(|bytes| bytes[18] = 183)),
        ("an object file", header(|bytes| bytes[16] = 1)),
        ("a core file", header(|bytes| bytes[16] = 4)),
        ("no program headers", header(|bytes| bytes[56] = 0)),
        ("odd program headers", header(|bytes| bytes[54] = 55)),
    ] {
        program("p", &bytes);
        say!("{name}: {}", run("./p", &["p", REPORT], &[]));
    }
    program("p", &good);
    say!("a copy: {}", run("./p", &["p", REPORT], &[]));
}

fn bad_pointers() {
    let path = strings(&[&own_path()]);
    let path = path.first().map_or(0, |path| path.as_ptr() as usize);
    let list = [path, 0];
    let bad_list = [KERNEL, 0];
    map(AT, 1, PRIVATE);
    // A list, and a string, that run into what is not mapped.
    let endless = AT + PAGE - 8;
    crate::kit::store_u64(endless, path as u64);
    let tail = AT + PAGE - 8;
    let (list, bad_list) = (list.as_ptr() as usize, bad_list.as_ptr() as usize);
    for (name, arguments) in [
        ("path in the kernel", [KERNEL, list, list]),
        ("no path", [0, list, list]),
        ("path not canonical", [1 << 63, list, list]),
        ("arguments in the kernel", [path, KERNEL, list]),
        ("arguments at 1", [path, 1, list]),
        ("an argument in the kernel", [path, bad_list, list]),
        ("arguments without an end", [path, endless, list]),
        ("environment in the kernel", [path, list, KERNEL]),
        ("a variable in the kernel", [path, list, bad_list]),
        ("everything", [NONE, NONE, NONE]),
    ] {
        let end = child(|| {
            say!("execve({name}) = {}", call(SYS_execve, arguments));
            98
        });
        say!("{end}");
    }
    (0..8).for_each(|byte| crate::kit::store(tail + byte, b'x'));
    say!(
        "execve(path without an end) = {}",
        call(SYS_execve, [tail, list, list])
    );
}

fn too_long() {
    let path = own_path();
    let long = "x".repeat(128 << 10);
    say!(
        "an argument of 128 KiB: {}",
        run(&path, &["name", "exit", &long], &[])
    );
    let fits = "x".repeat((128 << 10) - 1);
    say!(
        "one byte less: {}",
        run(&path, &["name", "exit", &fits], &[])
    );
    say!(
        "a variable of 128 KiB: {}",
        run(&path, &["name", "exit"], &[&long])
    );
    let many = vec![fits.as_str(); 100];
    say!("12 MiB in all: {}", run(&path, &many, &[]));
    let part = vec![fits.as_str(); 7];
    say!("0.9 MiB in all: {}", run(&path, &part, &part));
}

fn many_arguments() {
    let path = own_path();
    let mut words = vec!["name", "exit"];
    words.resize(5000, "abc");
    say!("5000 arguments: {}", run(&path, &words, &words));
    words.resize(300_000, "");
    say!("300000 empty ones: {}", run(&path, &words, &[]));
}

fn script() {
    let path = own_path();
    program(
        "a",
        format!("#!{path} {REPORT}\nthis is not read").as_bytes(),
    );
    say!("{}", run("./a", &["name", "b", "c"], &["A=1"]));
    program(
        "a",
        format!("#! \t {path} \t {REPORT} with spaces \t \n").as_bytes(),
    );
    say!("{}", run("./a", &["name"], &[]));
    program("a", format!("#!{path}\n").as_bytes());
    say!("{}", run("./a", &["name", "x"], &[]));
    program("a", format!("#!{path} {REPORT}").as_bytes());
    say!("without a line's end: {}", run("./a", &["name"], &[]));
    say!("without a name: {}", run("./a", &[], &[]));
}

fn script_chain() {
    let path = own_path();
    program("s0", format!("#!{path} {REPORT}\n").as_bytes());
    for level in 1..8 {
        program(
            &format!("s{level}"),
            format!("#!./s{} {level}\n", level - 1).as_bytes(),
        );
    }
    for level in [1, 2, 3, 4, 5, 6, 7] {
        say!("{level}: {}", run(&format!("./s{level}"), &["name"], &[]));
    }
}

fn script_refused() {
    let long = format!("#!/{}\n", "x".repeat(300));
    for (name, text) in [
        ("no interpreter", "#!\n"),
        ("only spaces", "#!   \n"),
        ("one that is not there", "#!/nonexistent\n"),
        ("a directory", "#!/\n"),
        ("relative", "#!nonexistent\n"),
        ("too long a line", &long),
        ("itself", "#!./a\n"),
    ] {
        program("a", text.as_bytes());
        say!("{name}: {}", run("./a", &["x"], &[]));
    }
}

fn close_on_exec() {
    if let Some(numbers) = std::env::args().nth(2) {
        for number in numbers.split(',').filter_map(|number| number.parse().ok()) {
            let flags = call(libc::SYS_fcntl, [number, libc::F_GETFD as usize, 0]);
            say!("  file {number}: {flags}");
        }
        return;
    }
    let (out, end) = pipe(0);
    let (other, _) = pipe(libc::O_CLOEXEC);
    let file = open(c"a", libc::O_RDWR | libc::O_CREAT | libc::O_CLOEXEC).value();
    let copy = call(libc::SYS_dup, [file]).value();
    let third = call(libc::SYS_dup3, [file, 50, libc::O_CLOEXEC as usize]).value();
    call(libc::SYS_fcntl, [end, libc::F_SETFD as usize, 1]);
    let list = format!("{out},{end},{other},{file},{copy},{third}");
    say!(
        "{}",
        run(&own_path(), &["x", "exec-close-on-exec", &list], &[])
    );
    say!("still open here: {}", close(file));
    let failed = child(|| {
        exec("/nonexistent", &["x"], &[]);
        i32::from(close(end).is_error())
    });
    say!("after one that failed: {failed}");
}

extern "C" fn ignore(_: i32) {}

fn resets_signals() {
    if std::env::args().len() > 2 {
        for signal in [libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP] {
            let mut action = [0_usize; 4];
            let to = action.as_mut_ptr() as usize;
            call(libc::SYS_rt_sigaction, [signal as usize, 0, to, 8]);
            let what = ["default", "ignored"]
                .get(action[0])
                .unwrap_or(&"a handler");
            say!("  {}: {what}", crate::kit::signal_name(signal));
        }
        let mut sets = [0_u64; 2];
        let at = sets.as_mut_ptr() as usize;
        call(libc::SYS_rt_sigprocmask, [0, 0, at, 8]);
        call(libc::SYS_rt_sigpending, [at + 8, 8]);
        say!("  blocked {:#x}, pending {:#x}", sets[0], sets[1]);
        return;
    }
    // SAFETY: The handler does nothing.
    unsafe { libc::signal(libc::SIGUSR1, ignore as *const () as usize) };
    // SAFETY: It installs no handler.
    unsafe { libc::signal(libc::SIGUSR2, libc::SIG_IGN) };
    let set = [1_u64 << (libc::SIGHUP - 1)];
    call(libc::SYS_rt_sigprocmask, [0, set.as_ptr() as usize, 0, 8]);
    let end = child(|| {
        let pid = call(libc::SYS_getpid, []).value();
        call(libc::SYS_kill, [pid, libc::SIGHUP as usize]);
        exec(&own_path(), &["x", "exec-resets-signals", "child"], &[]);
        1
    });
    say!("{end}");
}

fn keeps() {
    if std::env::args().len() > 2 {
        let name = fs::read_link("/proc/self/cwd").ok();
        let name = name.and_then(|path| Some(path.file_name()?.to_owned()));
        say!(
            "  directory {name:?}, mask {:o}",
            call(libc::SYS_umask, [0]).value()
        );
        let mut limit = [0_u64; 2];
        let to = limit.as_mut_ptr() as usize;
        call(
            libc::SYS_prlimit64,
            [0, libc::RLIMIT_NOFILE as usize, 0, to],
        );
        say!("  limit {limit:?}");
        return;
    }
    let _ = fs::create_dir("sub");
    let end = child(|| {
        call(libc::SYS_chdir, [c"sub".as_ptr() as usize]);
        call(libc::SYS_umask, [0o077]);
        let limit = [100_u64, 200];
        let at = limit.as_ptr() as usize;
        call(
            libc::SYS_prlimit64,
            [0, libc::RLIMIT_NOFILE as usize, at, 0],
        );
        exec(&own_path(), &["x", "exec-keeps", "child"], &[]);
        1
    });
    say!("{end}");
    let end = child(|| {
        let pid = call(libc::SYS_getpid, []).value();
        exec(&own_path(), &["x", "exec-pid", &pid.to_string()], &[]);
        1
    });
    say!("an unknown case: {end}");
}

fn with_threads() {
    let end = child(|| {
        for _ in 0..3 {
            std::thread::spawn(|| {
                loop {
                    std::hint::spin_loop();
                }
            });
        }
        exec(&own_path(), &["x", REPORT, "from the first"], &[]);
        1
    });
    say!("{end}");
    let end = child(|| {
        let pid = call(libc::SYS_getpid, []).value();
        let other = std::thread::spawn(move || {
            exec(&own_path(), &["x", REPORT, "from another"], &[]);
        });
        let _ = other.join();
        exit(pid as i32 & 1)
    });
    say!("{end}");
}

fn failed_goes_on() {
    // peer_100
    map(AT, 4, PRIVATE);
    crate::kit::store(AT, 5);
    program("bad", b"\x7fELF\x02\x01\x01 but no more");
    for path in ["/nonexistent", "./bad", "."] {
        say!(
            "{path}: {}, the byte {}",
            exec(path, &["x"], &[]),
            crate::kit::load(AT)
        );
    }
    let words = vec!["x"; 400_000];
    say!(
        "too many: {}, the byte {}",
        exec(&own_path(), &words, &[]),
        crate::kit::load(AT)
    );
    say!("a child: {}", child(|| 4));
}

fn null_arguments() {
    let path = strings(&[&own_path()]);
    let path = path.first().map_or(0, |path| path.as_ptr() as usize);
    say!(
        "no lists: {}",
        child(|| call(SYS_execve, [path, 0, 0]).error())
    );
}

fn execveat() {
    let path = own_path();
    let words = strings(&["x", REPORT, "y"]);
    let words = pointers(&words);
    let list = words.as_ptr() as usize;
    let own = strings(&[&path]);
    let own = own.first().map_or(0, |path| path.as_ptr() as usize);
    let empty = c"".as_ptr() as usize;
    let file = open(c"/proc/self/exe", libc::O_RDONLY).value();
    let at_empty = libc::AT_EMPTY_PATH as usize;
    for (name, arguments) in [
        ("absolute", [NONE, own, list, 0, 0]),
        ("by file", [file, empty, list, 0, at_empty]),
        ("by file, without the flag", [file, empty, list, 0, 0]),
        ("no file", [99, empty, list, 0, at_empty]),
        ("unknown flag", [file, empty, list, 0, 0x1]),
    ] {
        let end = child(|| {
            say!("  execveat = {}", call(libc::SYS_execveat, arguments));
            97
        });
        say!("{name}: {end}");
    }
}
