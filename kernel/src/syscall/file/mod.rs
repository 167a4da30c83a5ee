//! File calls.
//!
//! * `open`: opening, descriptors, and what `fcntl` and `ioctl` do with them.
//! * `transfer`: reading and writing; `size`: how much there is. * `poll`, `epoll`: waiting for one of several files.
//! * `names`: directories and names. * `attributes`: `stat` and its kin.
//! * `user`: paths and structures in a program's memory.
//!
//! Checks come in Linux's order, since programs see which one fails first: arguments
//! that mean nothing, then descriptors, then pointers, unless a comment says otherwise.

pub(super) mod attributes;
mod epoll;
mod names;
mod open;
mod poll;
mod size;
mod transfer;
pub(super) mod user;

use super::number;
use super::{Arguments, SyscallResult};
use crate::process::Current;

/// A directory that stands for the current one (`AT_FDCWD`).
const CURRENT_DIRECTORY: usize = -100_isize as usize;

/// Flags of calls with a directory and a path.
const AT_SYMLINK_NOFOLLOW: usize = 0x100;
const AT_REMOVEDIR: usize = 0x200;
const AT_EACCESS: usize = 0x200;
const AT_SYMLINK_FOLLOW: usize = 0x400;
const AT_NO_AUTOMOUNT: usize = 0x800;
const AT_EMPTY_PATH: usize = 0x1000;

/// Performs a call if it is one of files.
pub(super) fn dispatch(
    current: &mut Current,
    call: usize,
    arguments: Arguments,
) -> Option<SyscallResult> {
    let [a, b, c, d, e, f] = arguments;
    let result = match call {
        number::READ => transfer::read(current, a, b, c),
        number::WRITE => transfer::write(current, a, b, c),
        number::READV => transfer::readv(current, a, b, c),
        number::WRITEV => transfer::writev(current, a, b, c),
        number::PREAD64 => transfer::pread(current, a, b, c, d),
        number::PWRITE64 => transfer::pwrite(current, a, b, c, d),
        number::PREADV => transfer::preadv(current, a, b, c, d),
        number::PWRITEV => transfer::pwritev(current, a, b, c, d),
        number::PREADV2 => transfer::preadv2(current, [a, b, c, d, f]),
        number::PWRITEV2 => transfer::pwritev2(current, [a, b, c, d, f]),
        number::LSEEK => transfer::lseek(current, a, b, c),
        number::SENDFILE => transfer::sendfile(current, a, b, c, d),
        number::COPY_FILE_RANGE => transfer::copy_file_range(current, arguments),
        number::TRUNCATE => size::truncate(current, a, b),
        number::FTRUNCATE => size::ftruncate(current, a, b),
        number::FALLOCATE => size::fallocate(current, a, b, c, d),
        number::FSYNC | number::FDATASYNC | number::SYNCFS => size::fsync(current, a),
        number::SYNC => Ok(0),
        number::POLL => poll::poll(current, a, b, c),
        number::PPOLL => poll::ppoll(current, [a, b, c, d, e]),
        number::SELECT => poll::select(current, [a, b, c, d, e]),
        number::PSELECT6 => poll::pselect6(current, arguments),
        _ => {
            return dispatch_descriptors(current, call, arguments)
                .or_else(|| dispatch_waits(current, call, arguments))
                .or_else(|| dispatch_names(current, call, arguments));
        }
    };
    Some(result)
}

/// Performs a call if it is about descriptors.
fn dispatch_descriptors(
    current: &mut Current,
    call: usize,
    arguments: Arguments,
) -> Option<SyscallResult> {
    let [a, b, c, d, ..] = arguments;
    let result = match call {
        number::OPEN => open::open(current, CURRENT_DIRECTORY, a, b, c),
        number::CREAT => open::creat(current, a, b),
        number::OPENAT => open::open(current, a, b, c, d),
        number::CLOSE => current.files.close(a).map(|()| 0),
        number::CLOSE_RANGE => open::close_range(current, a, b, c),
        number::DUP => open::dup(current, a),
        number::DUP2 => open::dup2(current, a, b),
        number::DUP3 => open::dup3(current, a, b, c),
        number::FCNTL => open::fcntl(current, a, b, c),
        number::IOCTL => open::ioctl(current, a, b, c),
        number::PIPE => open::pipe2(current, a, 0),
        number::PIPE2 => open::pipe2(current, a, b),
        number::MEMFD_CREATE => open::memfd_create(current, a, b),
        number::FADVISE64 => open::fadvise(current, a, d),
        number::FLOCK => open::flock(current, a, b),
        _ => return None,
    };
    Some(result)
}

/// Performs a call if it is about counters of events, and sets of files to wait for.
fn dispatch_waits(
    current: &mut Current,
    call: usize,
    arguments: Arguments,
) -> Option<SyscallResult> {
    let [a, b, c, d, ..] = arguments;
    let result = match call {
        number::EVENTFD => epoll::eventfd(current, a, 0),
        number::EVENTFD2 => epoll::eventfd(current, a, b),
        number::EPOLL_CREATE => epoll::create(current, a),
        number::EPOLL_CREATE1 => epoll::create1(current, a),
        number::EPOLL_CTL => epoll::ctl(current, a, b, c, d),
        number::EPOLL_WAIT => epoll::wait(current, [a, b, c, d]),
        number::EPOLL_PWAIT => epoll::pwait(current, arguments),
        number::EPOLL_PWAIT2 => epoll::pwait2(current, arguments),
        _ => return None,
    };
    Some(result)
}

/// Performs a call if it is about names and what they lead to.
fn dispatch_names(
    current: &mut Current,
    call: usize,
    arguments: Arguments,
) -> Option<SyscallResult> {
    const HERE: usize = CURRENT_DIRECTORY;
    let [a, b, c, d, e, _] = arguments;
    let result = match call {
        number::STAT => attributes::newfstatat(current, [HERE, a, b, 0]),
        number::LSTAT => attributes::newfstatat(current, [HERE, a, b, AT_SYMLINK_NOFOLLOW]),
        number::FSTAT => attributes::fstat(current, a, b),
        number::NEWFSTATAT => attributes::newfstatat(current, [a, b, c, d]),
        number::STATX => attributes::statx(current, [a, b, c, d, e]),
        number::STATFS => attributes::statfs(current, a, b),
        number::FSTATFS => attributes::fstatfs(current, a, b),
        number::ACCESS => attributes::access(current, HERE, a, b, 0),
        number::FACCESSAT => attributes::access(current, a, b, c, 0),
        number::FACCESSAT2 => attributes::access(current, a, b, c, d),
        number::CHMOD => attributes::chmod(current, HERE, a, b),
        number::FCHMODAT => attributes::chmod(current, a, b, c),
        number::FCHMOD => attributes::fchmod(current, a, b),
        number::CHOWN => attributes::chown(current, [HERE, a, b, c, 0]),
        number::LCHOWN => attributes::chown(current, [HERE, a, b, c, AT_SYMLINK_NOFOLLOW]),
        number::FCHOWNAT => attributes::chown(current, [a, b, c, d, e]),
        number::FCHOWN => attributes::fchown(current, a, b, c),
        number::UTIMENSAT => attributes::utimensat(current, [a, b, c, d]),
        number::GETDENTS64 => names::getdents(current, a, b, c),
        number::GETCWD => names::getcwd(current, a, b),
        number::CHDIR => names::chdir(current, a),
        number::FCHDIR => names::fchdir(current, a),
        number::UMASK => Ok(usize::from(current.fs.set_umask(a as u16))),
        number::MKDIR => names::mkdir(current, HERE, a, b),
        number::MKDIRAT => names::mkdir(current, a, b, c),
        number::RMDIR => names::unlink(current, HERE, a, AT_REMOVEDIR),
        number::UNLINK => names::unlink(current, HERE, a, 0),
        number::UNLINKAT => names::unlink(current, a, b, c),
        number::RENAME => names::rename(current, [HERE, a, HERE, b, 0]),
        number::RENAMEAT => names::rename(current, [a, b, c, d, 0]),
        number::RENAMEAT2 => names::rename(current, [a, b, c, d, e]),
        number::LINK => names::link(current, [HERE, a, HERE, b, 0]),
        number::LINKAT => names::link(current, [a, b, c, d, e]),
        number::SYMLINK => names::symlink(current, a, HERE, b),
        number::SYMLINKAT => names::symlink(current, a, b, c),
        number::READLINK => names::readlink(current, [HERE, a, b, c]),
        number::READLINKAT => names::readlink(current, [a, b, c, d]),
        _ => return None,
    };
    Some(result)
}
