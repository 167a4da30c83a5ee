//! Runs a list of cases one after another, each in a process of its own under the
//! same conditions, and reports what each printed and how it ended.
//!
//! `run-cases LIST PROGRAMS WORK FIRST` reads cases from the file LIST, one a line:
//! words with tabs between them, of which the first is a program in the directory
//! PROGRAMS. Each case starts in an empty directory below WORK. The case with the
//! number FIRST is the first to run.
//!
//! The same program does this on Linux and on Vostok, so that nothing about the
//! conditions differs: environment, directory, limits, mask and actions of signals,
//! standard input, and that there is no terminal. On Vostok it is the first process;
//! on Linux it asks to inherit orphans, as the first process does.
//!
//! A report is a frame of lines:
//!
//! ```text
//! case 3 begin
//! | a line of output
//! case 3 end exit 0
//! ```
//!
//! What a case prints goes through a pipe, and each line gets a `|` in front, so that
//! no output can pass for a frame. A case that takes too long is killed, with its
//! whole session, and ends with `time-out`.

use std::ffi::{CString, c_char, c_int};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};
use std::{fs, io, ptr};

/// Time for a case; the machine may be an emulated one, of a busy host.
const TIME_OUT: Duration = Duration::from_secs(60);
/// Time for the processes that a case leaves behind to be gone once killed.
const GRACE: Duration = Duration::from_secs(10);
/// How much output of a case is kept.
const MOST_OUTPUT: usize = 256 << 10;
/// One more than the last file that may be open in a case at its start.
const MOST_FILES: c_int = 64;
/// What a shell returns for a program that cannot be started.
const CANNOT_START: c_int = 126;

/// More processes than any case has at once.
const PROCESSES_AT_ONCE: usize = 64;

/// Where Vostok tells how many frames are in use.
const FRAMES: &str = "/proc/vostok/frames";
/// More bytes than what the kernel tells of frames and of this process's memory.
const MOST_TEXT: usize = 64 << 10;
/// KiB of a page.
const PAGE_KIB: usize = 4;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, list, programs, work, first] = arguments.as_slice() else {
        println!("usage: run-cases LIST PROGRAMS WORK FIRST");
        std::process::exit(2);
    };
    let first: usize = first.parse().unwrap_or(0);
    inherit_orphans();
    give_up_privileges();
    let cases = fs::read_to_string(list)?;
    warm_up();
    print_frames("before");
    for (number, line) in cases.lines().enumerate().skip(first) {
        let directory = format!("{work}/case-{number}");
        println!("case {number} begin");
        let end = match Case::start(line, programs, &directory) {
            Ok(case) => case.watch(),
            Err(error) => End {
                output: Vec::new(),
                how: format!("not started: {error}"),
            },
        };
        // A case may have removed it, or shut itself out of it.
        let _ = fs::remove_dir_all(&directory);
        println!("{}case {number} end {}", framed(&end.output), end.how);
        io::stdout().flush()?;
    }
    print_frames("after");
    Ok(())
}

/// Has many processes at once, and touches what this one will need: what the kernel
/// keeps at hand from then on, such as stacks, is there before frames are counted.
fn warm_up() {
    let mut ends = [0; 2];
    // SAFETY: There is room for both ends.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return;
    }
    let [output, input] = ends;
    for _ in 0..PROCESSES_AT_ONCE {
        // SAFETY: This process has one thread, so that the child may do anything.
        if unsafe { libc::fork() } == 0 {
            close(input);
            let mut byte = 0_u8;
            // Until this process closes its end.
            // SAFETY: There is room for a byte.
            unsafe { libc::read(output, (&raw mut byte).cast(), 1) };
            // SAFETY: It ends the process.
            unsafe { libc::_exit(0) };
        }
    }
    close(output);
    close(input);
    sweep();
    drop(framed(&vec![b'\n'; MOST_OUTPUT]));
}

/// Prints how many frames are in use, where the kernel tells, and how many of them are
/// this process's own: what is in between takes no memory, so that both are of a moment.
fn print_frames(when: &str) {
    let mut own = Text::new();
    let mut all = Text::new();
    if own.read("/proc/self/smaps").is_err() || all.read(FRAMES).is_err() {
        return;
    }
    let kib = |line: &str| {
        line.strip_prefix("Anonymous:")?
            .split_whitespace()
            .next()?
            .parse::<usize>()
            .ok()
    };
    let own: usize = own.lines().filter_map(kib).sum();
    println!("frames {when} own {}", own / PAGE_KIB);
    for line in all.lines() {
        println!("frames {when} {line}");
    }
}

/// A text that is read into memory that is there already.
struct Text {
    bytes: Vec<u8>,
    len: usize,
}

impl Text {
    fn new() -> Self {
        let bytes = vec![b'-'; MOST_TEXT];
        Self { bytes, len: 0 }
    }

    /// Reads a file, as far as there is room.
    fn read(&mut self, path: &str) -> io::Result<()> {
        let mut file = fs::File::open(path)?;
        loop {
            match file.read(&mut self.bytes[self.len..])? {
                0 => return Ok(()),
                count => self.len += count,
            }
        }
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        str::from_utf8(&self.bytes[..self.len])
            .unwrap_or("")
            .lines()
    }
}

/// Returns output with a mark before each line, and without what a terminal or a
/// serial line would change.
fn framed(output: &[u8]) -> String {
    let mut text = String::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        text.push_str("| ");
        let (line, has_end) = match line.split_last() {
            Some((b'\n', line)) => (line, true),
            _ => (line, false),
        };
        for byte in line {
            let _ = match byte {
                b'\\' => write!(text, "\\\\"),
                b' '..=b'~' => write!(text, "{}", char::from(*byte)),
                _ => write!(text, "\\x{byte:02x}"),
            };
        }
        text.push_str(if has_end { "\n" } else { "\\\n" });
    }
    text
}

/// A case that runs.
struct Case {
    process: c_int,
    /// The end of the pipe that its output comes out of.
    output: c_int,
}

/// How a case ended.
struct End {
    output: Vec<u8>,
    how: String,
}

impl Case {
    /// Starts a case in a directory that this makes.
    fn start(line: &str, programs: &str, directory: &str) -> io::Result<Self> {
        // A list without tabs in words cannot hold a zero.
        let text = |text: &str| CString::new(text).map_err(io::Error::other);
        let words = line.split('\t').map(text).collect::<io::Result<Vec<_>>>()?;
        let program = words.first().and_then(|word| word.to_str().ok());
        let program = text(&format!("{programs}/{}", program.unwrap_or_default()))?;
        let environment = [
            text(&format!("PATH={programs}"))?,
            text("HOME=/")?,
            text("TERM=linux")?,
        ];
        fs::create_dir_all(directory)?;
        let plan = Plan {
            program,
            arguments: pointers(&words),
            environment: pointers(&environment),
            directory: text(directory)?,
        };

        let mut ends = [0; 2];
        // SAFETY: There is room for both ends.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
        let [output, input] = ends;
        io::stdout().flush()?;
        // SAFETY: This process has one thread, so that the child may do anything.
        let process = check(unsafe { libc::fork() })?;
        if process == 0 {
            plan.carry_out(input);
        }
        close(input);
        Ok(Self { process, output })
    }

    /// Waits for the end, and ends what takes too long or is left.
    fn watch(self) -> End {
        let start = Instant::now();
        let mut output = Vec::new();
        let mut status = None;
        while status.is_none() && start.elapsed() < TIME_OUT {
            let is_open = self.read(&mut output, 20);
            status = wait(self.process);
            if !is_open && status.is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // The session's leader is the case, and its processes are in its group
        // unless they made one of their own.
        kill(-self.process);
        let how = match status {
            Some(status) => describe(status),
            None => {
                kill(self.process);
                "time-out".to_owned()
            }
        };
        if !sweep() {
            output.extend_from_slice(b"(processes are left)\n");
        }
        while self.read(&mut output, 0) {}
        close(self.output);
        End { output, how }
    }

    /// Reads what is there, or comes within some milliseconds; returns whether there
    /// may be more.
    fn read(&self, output: &mut Vec<u8>, milliseconds: c_int) -> bool {
        let mut poll = libc::pollfd {
            fd: self.output,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: It is one descriptor.
        if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } <= 0 {
            return milliseconds > 0;
        }
        let mut buffer = [0_u8; 4096];
        // SAFETY: The buffer has this length.
        let len = unsafe { libc::read(self.output, buffer.as_mut_ptr().cast(), buffer.len()) };
        let Ok(len @ 1..) = usize::try_from(len) else {
            return false;
        };
        let room = MOST_OUTPUT - output.len();
        output.extend_from_slice(&buffer[..len.min(room)]);
        true
    }
}

/// What the child does: made before the fork, so that the child only makes calls.
struct Plan {
    program: CString,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    directory: CString,
}

impl Plan {
    /// Becomes the case.
    fn carry_out(&self, output: c_int) -> ! {
        set_limits();
        reset_signals();
        // SAFETY: It takes no pointer.
        unsafe { libc::setsid() };
        // SAFETY: As above.
        unsafe { libc::umask(0o022) };
        // SAFETY: The string ends with a zero.
        let input = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY) };
        for (from, to) in [(input, 0), (output, 1), (output, 2)] {
            // SAFETY: The descriptors are this process's own.
            unsafe { libc::dup2(from, to) };
        }
        // Whoever started this program may have left others open.
        (3..MOST_FILES).for_each(close);
        // SAFETY: The string ends with a zero.
        if unsafe { libc::chdir(self.directory.as_ptr()) } == 0 {
            let (arguments, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
            // SAFETY: All strings end with a zero, and both lists with a null pointer.
            unsafe { libc::execve(self.program.as_ptr(), arguments, environment) };
        }
        let error = io::Error::last_os_error();
        println!("cannot start {:?}: {error}", self.program);
        // SAFETY: It ends the process.
        unsafe { libc::_exit(CANNOT_START) }
    }
}

/// Returns the list of pointers that `execve` takes.
fn pointers(words: &[CString]) -> Vec<*const c_char> {
    let words = words.iter().map(|word| word.as_ptr());
    words.chain([ptr::null()]).collect()
}

/// Sets the limits that a case may ask for, or may meet.
fn set_limits() {
    for (resource, soft, hard) in [
        (libc::RLIMIT_STACK, 8 << 20, libc::RLIM_INFINITY),
        (libc::RLIMIT_DATA, libc::RLIM_INFINITY, libc::RLIM_INFINITY),
        (libc::RLIMIT_AS, libc::RLIM_INFINITY, libc::RLIM_INFINITY),
        (libc::RLIMIT_NOFILE, 1024, 4096),
        (libc::RLIMIT_CORE, 0, 0),
    ] {
        let limit = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: It is a limit.
        unsafe { libc::setrlimit(resource, &raw const limit) };
    }
}

/// Gives every signal its default action, and blocks none.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: No handler is installed. Two signals refuse, and stay as they are;
        // so do those that the C library keeps for itself.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    // SAFETY: All zeros is a set.
    let mut none = unsafe { std::mem::zeroed::<libc::sigset_t>() };
    // SAFETY: It is a set.
    unsafe { libc::sigemptyset(&raw mut none) };
    // SAFETY: As above.
    unsafe { libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) };
}

/// Makes orphans of the cases children of this process, which the first process
/// need not ask for.
fn inherit_orphans() {
    // SAFETY: It takes no pointer.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Drops what makes root special, which whoever tests may be or not be. On Vostok
/// nobody is special, and the calls may not even be there.
fn give_up_privileges() {
    const LAST_CAPABILITY: usize = 63;
    /// The header of `capset`: the version with two words a set, and this process.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    for capability in 0..=LAST_CAPABILITY {
        // SAFETY: It takes no pointer.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    let none = [0_u32; 6];
    // SAFETY: A header and three sets of two words.
    unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), none.as_ptr()) };
}

/// Waits for all that a case left behind, which was killed; returns whether
/// nothing is left.
fn sweep() -> bool {
    let start = Instant::now();
    while start.elapsed() < GRACE {
        let mut status = 0;
        // SAFETY: There is room for a status.
        match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) } {
            0 => std::thread::sleep(Duration::from_millis(1)),
            1.. => {}
            _ => return true,
        }
    }
    false
}

/// Returns the status of a child that has ended.
fn wait(process: c_int) -> Option<c_int> {
    let mut status = 0;
    // SAFETY: There is room for a status.
    let child = unsafe { libc::waitpid(process, &raw mut status, libc::WNOHANG) };
    (child != 0).then_some(status)
}

fn describe(status: c_int) -> String {
    if libc::WIFSIGNALED(status) {
        format!("signal {}", libc::WTERMSIG(status))
    } else {
        format!("exit {}", libc::WEXITSTATUS(status))
    }
}

fn kill(process: c_int) {
    // SAFETY: It takes no pointer.
    unsafe { libc::kill(process, libc::SIGKILL) };
}

fn close(file: c_int) {
    // SAFETY: The descriptor is not used again.
    unsafe { libc::close(file) };
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
