//! The system calls that are made, and what kinds of arguments each of them takes.

/// What an argument is about, so that it can be nearly right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything.
    Any,
    /// A place in memory, good or bad.
    Address,
    /// A number of bytes.
    Len,
    /// A structure with values of all kinds in it.
    Struct,
    /// Pointers to texts, with a zero behind them.
    Texts,
    /// A short time, or nothing that is one.
    Time,
    File,
    Path,
    /// This process, a thread of it, or none that there is.
    Process,
    Signal,
    Offset,
    /// A combination of bits.
    Bits(u64),
    /// A number below this, or not far above.
    Number(u64),
    /// One of these, mostly.
    Among(&'static [u64]),
}

use Kind::{
    Address, Among, Any, Bits, File, Len, Number, Offset, Path, Process, Signal, Struct, Texts,
    Time,
};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) name: &'static str,
    pub(super) number: i64,
    pub(super) kinds: &'static [Kind],
}

impl Call {
    pub(super) fn short_name(&self) -> &'static str {
        self.name.trim_start_matches("SYS_")
    }
}

/// Makes the table's lines short.
macro_rules! calls {
    ($($name:ident ($($kind:expr),*))*) => {
        &[$(Call {
            name: stringify!($name),
            number: libc::$name,
            kinds: &[$($kind),*],
        }),*]
    };
}

const PROTECTION: Kind = Bits(0x0300_000f);
const MAPPING: Kind = Bits(0x001f_f1ff);
const OPEN: Kind = Bits(0o37_777_777);
const CLONE: Kind = Bits(0xffff_ffff);

/// What changes memory is there several times: it is what the kernel is for.
pub(super) const CALLS: &[Call] = calls! {
    SYS_mmap(Address, Len, PROTECTION, MAPPING, File, Offset)
    SYS_mmap(Address, Len, PROTECTION, Bits(0x32), File, Offset)
    SYS_mmap(Address, Len, Bits(3), Bits(0x8031), File, Offset)
    SYS_munmap(Address, Len)
    SYS_munmap(Address, Len)
    SYS_mprotect(Address, Len, PROTECTION)
    SYS_mprotect(Address, Len, Bits(3))
    SYS_mremap(Address, Len, Len, Bits(7), Address)
    SYS_mremap(Address, Len, Len, Bits(3), Address)
    SYS_madvise(Address, Len, Number(26))
    SYS_madvise(Address, Len, Number(26))
    SYS_brk(Address)
    SYS_mincore(Address, Len, Address)
    SYS_msync(Address, Len, Bits(7))
    SYS_mlock(Address, Len)
    SYS_munlock(Address, Len)
    SYS_read(File, Address, Len)
    SYS_write(File, Address, Len)
    SYS_pread64(File, Address, Len, Offset)
    SYS_pwrite64(File, Address, Len, Offset)
    SYS_readv(File, Struct, Number(5))
    SYS_writev(File, Struct, Number(5))
    SYS_preadv(File, Struct, Number(5), Offset, Number(2))
    SYS_pwritev(File, Struct, Number(5), Offset, Number(2))
    SYS_open(Path, OPEN, Bits(0o7777))
    SYS_openat(File, Path, OPEN, Bits(0o7777))
    SYS_close(File)
    SYS_close_range(File, File, Number(8))
    SYS_lseek(File, Offset, Number(5))
    SYS_stat(Path, Address)
    SYS_lstat(Path, Address)
    SYS_fstat(File, Address)
    SYS_newfstatat(File, Path, Address, Bits(0x1900))
    SYS_statx(File, Path, Bits(0x7900), Bits(0xfff), Address)
    SYS_statfs(Path, Address)
    SYS_access(Path, Number(8))
    SYS_faccessat2(File, Path, Number(8), Bits(0x1300))
    SYS_readlink(Path, Address, Len)
    SYS_readlinkat(File, Path, Address, Len)
    SYS_getdents64(File, Address, Len)
    SYS_getcwd(Address, Len)
    SYS_chdir(Path)
    SYS_fchdir(File)
    SYS_mkdir(Path, Bits(0o777))
    SYS_rmdir(Path)
    SYS_unlink(Path)
    SYS_unlinkat(File, Path, Bits(0x200))
    SYS_rename(Path, Path)
    SYS_link(Path, Path)
    SYS_symlink(Path, Path)
    SYS_ftruncate(File, Offset)
    SYS_truncate(Path, Offset)
    SYS_fallocate(File, Number(4), Offset, Len)
    SYS_fsync(File)
    SYS_fcntl(File, Among(&[0, 1, 2, 3, 4, 1030, 1031, 1032]), Any)
    SYS_fcntl(File, Among(&[0, 1030]), Number(20))
    SYS_ioctl(File, Among(&[0x5401, 0x5402, 0x5413, 0x541b, 0x5421, 0x5451]), Address)
    SYS_dup(File)
    SYS_dup2(File, File)
    SYS_dup3(File, File, Bits(0o2000000))
    SYS_pipe(Address)
    SYS_pipe2(Address, Bits(0o2004000))
    SYS_poll(Struct, Number(4), Number(2))
    SYS_ppoll(Struct, Number(4), Time, Address, Number(9))
    SYS_select(Number(70), Address, Address, Address, Time)
    SYS_pselect6(Number(70), Address, Address, Address, Time, Address)
    SYS_sendfile(File, File, Address, Len)
    SYS_copy_file_range(File, Address, File, Address, Len, Number(2))
    SYS_umask(Bits(0o777))
    SYS_getpid()
    SYS_gettid()
    SYS_getppid()
    SYS_getpgid(Process)
    SYS_getsid(Process)
    SYS_getuid()
    SYS_getgroups(Number(4), Address)
    SYS_clone(CLONE, Address, Address, Address, Address)
    SYS_clone(Bits(0x0121_4111), Address, Address, Address, Address)
    SYS_clone3(Struct, Number(100))
    SYS_vfork()
    SYS_execve(Path, Texts, Texts)
    SYS_wait4(Any, Address, Bits(0x1000_000b), Address)
    SYS_waitid(Number(4), Any, Address, Bits(0x0100_000f), Address)
    SYS_kill(Process, Signal)
    SYS_tkill(Process, Signal)
    SYS_tgkill(Process, Process, Signal)
    SYS_rt_sigaction(Signal, Struct, Address, Number(9))
    SYS_rt_sigaction(Signal, Address, Address, Number(9))
    SYS_rt_sigprocmask(Number(4), Struct, Address, Number(9))
    SYS_rt_sigpending(Address, Number(9))
    SYS_rt_sigtimedwait(Struct, Address, Time, Number(9))
    SYS_rt_sigqueueinfo(Process, Signal, Struct)
    SYS_rt_sigsuspend(Struct, Number(9))
    SYS_rt_sigreturn()
    SYS_sigaltstack(Struct, Address)
    SYS_futex(Address, Number(14), Number(3), Time, Address, Number(3))
    SYS_futex(Address, Number(14), Number(3), Number(3), Address, Any)
    SYS_futex(Address, Bits(0x181), Number(3), Number(3), Address, Any)
    SYS_set_robust_list(Address, Number(25))
    SYS_set_robust_list(Struct, Number(25))
    SYS_get_robust_list(Process, Address, Address)
    SYS_set_tid_address(Address)
    SYS_rseq(Struct, Number(40), Number(2), Any)
    SYS_arch_prctl(Among(&[0x1001, 0x1002, 0x1003, 0x1004]), Address)
    SYS_prctl(Number(60), Any, Any, Any, Any)
    SYS_sched_yield()
    SYS_sched_getaffinity(Process, Number(200), Address)
    SYS_sched_setaffinity(Process, Number(200), Struct)
    SYS_getcpu(Address, Address)
    SYS_getrlimit(Number(18), Address)
    SYS_prlimit64(Process, Number(18), Struct, Address)
    SYS_prlimit64(Process, Number(18), Number(1), Address)
    SYS_getrusage(Bits(3), Address)
    SYS_times(Address)
    SYS_sysinfo(Address)
    SYS_uname(Address)
    SYS_getrandom(Address, Len, Bits(7))
    SYS_clock_gettime(Number(12), Address)
    SYS_clock_getres(Number(12), Address)
    SYS_clock_nanosleep(Number(12), Number(2), Time, Address)
    SYS_nanosleep(Time, Address)
    SYS_gettimeofday(Address, Address)
    SYS_time(Address)
    SYS_setitimer(Number(4), Struct, Address)
    SYS_getitimer(Number(4), Address)
    SYS_eventfd2(Number(4), Bits(0o2004001))
    SYS_epoll_create1(Bits(0o2000000))
    SYS_epoll_ctl(File, Number(5), File, Struct)
    SYS_epoll_wait(File, Address, Number(20), Number(2))
    SYS_epoll_pwait2(File, Address, Number(20), Time, Address, Number(9))
    SYS_timerfd_create(Number(10), Bits(0o2004000))
    SYS_timerfd_settime(File, Number(4), Struct, Address)
    SYS_timerfd_gettime(File, Address)
    SYS_membarrier(Bits(0x1f), Number(2), Number(4))
    SYS_process_vm_readv(Process, Struct, Number(4), Struct, Number(4), Number(2))
};

/// Numbers of calls that have no place in a session that is to go on: they would end
/// it, or reach processes that are none of the fuzzer's.
pub(super) const FORBIDDEN: &[i64] = &[
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
];

#[cfg(test)]
mod tests {
    use super::CALLS;

    #[test]
    fn calls_have_at_most_six_arguments() {
        assert!(CALLS.iter().all(|call| call.kinds.len() <= 6));
    }
}
