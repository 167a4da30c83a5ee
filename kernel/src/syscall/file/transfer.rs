//! Reading and writing.
//!
//! Files never wait: they say [`Errno::Again`], and it is here that a call waits, unless
//! its file is open for not waiting. A call that has moved something returns how much,
//! whatever goes wrong after that.

use alloc::sync::Arc;
use alloc::vec;

use nucleus::mm::{PAGE_SIZE, VmReader, VmWriter};

use super::SyscallResult;
use super::user::{MAX_TRANSFER, check_range, read_vectors, read_words};
use crate::errno::Errno;
use crate::fs::OpenFile;
use crate::fs::buffer::{Source, UserBuffers, UserVector};
use crate::fs::hooks;
use crate::fs::open::Seek;
use crate::fs::poll::Readiness;
use crate::process::Current;
use crate::process::limits::{self, Resource};

/// A position that means the file's own, for the newest of the calls.
const OWN_POSITION: usize = usize::MAX;

pub(super) fn read(current: &mut Current, file: usize, to: usize, len: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    file.check_readable()?;
    check_range(to, len)?;
    read_to(current, &file, &[UserVector { address: to, len }])
}

pub(super) fn write(current: &mut Current, file: usize, from: usize, len: usize) -> SyscallResult {
    let file = current.files.get(file)?;
    file.check_writable()?;
    check_range(from, len)?;
    write_from(current, &file, &[UserVector { address: from, len }])
}

pub(super) fn readv(
    current: &mut Current,
    file: usize,
    vectors: usize,
    count: usize,
) -> SyscallResult {
    let file = current.files.get(file)?;
    let vectors = read_vectors(current, vectors, count)?;
    read_to(current, &file, &vectors)
}

pub(super) fn writev(
    current: &mut Current,
    file: usize,
    vectors: usize,
    count: usize,
) -> SyscallResult {
    let file = current.files.get(file)?;
    let vectors = read_vectors(current, vectors, count)?;
    write_from(current, &file, &vectors)
}

pub(super) fn pread(
    current: &mut Current,
    file: usize,
    to: usize,
    len: usize,
    offset: usize,
) -> SyscallResult {
    let (file, offset) = file_and_offset(current, file, offset)?;
    file.check_readable()?;
    check_range(to, len)?;
    check_end(offset, len)?;
    read_at(current, &file, &[UserVector { address: to, len }], offset)
}

pub(super) fn pwrite(
    current: &mut Current,
    file: usize,
    from: usize,
    len: usize,
    offset: usize,
) -> SyscallResult {
    let (file, offset) = file_and_offset(current, file, offset)?;
    file.check_writable()?;
    check_range(from, len)?;
    check_end(offset, len)?;
    write_at(current, &file, &[UserVector { address: from, len }], offset)
}

pub(super) fn preadv(
    current: &mut Current,
    file: usize,
    vectors: usize,
    count: usize,
    offset: usize,
) -> SyscallResult {
    let (file, offset) = file_and_offset(current, file, offset)?;
    let vectors = read_vectors(current, vectors, count)?;
    read_at(current, &file, &vectors, offset)
}

pub(super) fn pwritev(
    current: &mut Current,
    file: usize,
    vectors: usize,
    count: usize,
    offset: usize,
) -> SyscallResult {
    let (file, offset) = file_and_offset(current, file, offset)?;
    let vectors = read_vectors(current, vectors, count)?;
    write_at(current, &file, &vectors, offset)
}

/// As [`preadv`], or as [`readv`] for the position of the file; none of the flags.
pub(super) fn preadv2(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [file, vectors, count, offset, flags] = arguments;
    match (flags, offset) {
        (0, OWN_POSITION) => readv(current, file, vectors, count),
        (0, _) => preadv(current, file, vectors, count, offset),
        _ => Err(Errno::NotSupported),
    }
}

/// As [`pwritev`], or as [`writev`] for the position of the file; none of the flags.
pub(super) fn pwritev2(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    let [file, vectors, count, offset, flags] = arguments;
    match (flags, offset) {
        (0, OWN_POSITION) => writev(current, file, vectors, count),
        (0, _) => pwritev(current, file, vectors, count, offset),
        _ => Err(Errno::NotSupported),
    }
}

/// Checks that so many bytes from an offset on end at one.
fn check_end(offset: u64, len: usize) -> Result<(), Errno> {
    match offset.checked_add(len as u64).map(i64::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(Errno::Invalid),
    }
}

/// Returns a file that has positions, and one of them.
fn file_and_offset(
    current: &Current,
    file: usize,
    offset: usize,
) -> Result<(Arc<OpenFile>, u64), Errno> {
    let offset = check_offset(offset)?;
    let file = current.files.get(file)?;
    file.check_positions()?;
    Ok((file, offset))
}

/// Checks that an offset, or a length, is a positive number.
pub(super) fn check_offset(offset: usize) -> Result<u64, Errno> {
    match isize::try_from(offset) {
        Ok(_) => Ok(offset as u64),
        Err(_) => Err(Errno::Invalid),
    }
}

/// Reads what there is, and waits until there is something.
fn read_to(current: &mut Current, file: &OpenFile, vectors: &[UserVector]) -> SyscallResult {
    loop {
        let mut to = UserBuffers::new(&current.memory, vectors, MAX_TRANSFER);
        match file.read(&mut to) {
            Err(Errno::Again) if !file.is_nonblocking() => {
                wait_for(current, file, Readiness::READ)?;
            }
            other => return other,
        }
    }
}

/// Writes everything, and waits until there is room for it.
fn write_from(current: &mut Current, file: &OpenFile, vectors: &[UserVector]) -> SyscallResult {
    let limit = limit_of(current, file);
    let mut done = 0;
    loop {
        let mut from = UserBuffers::new(&current.memory, vectors, MAX_TRANSFER);
        from.skip(done);
        let written = match file.write(&mut from, limit) {
            Err(Errno::Again) if !file.is_nonblocking() => {
                write_when_possible(current, file, vectors, done)
            }
            other => other,
        };
        raise_for(current, written, limit);
        match written {
            Err(_) if done > 0 => return Ok(done),
            Err(error) => return Err(error),
            Ok(count) => done += count,
        }
        let is_over = written == Ok(0) || writes_once(file);
        if is_over || is_all(vectors, done) {
            return Ok(done);
        }
    }
}

/// Returns whether a call writes but once, however much is left.
fn writes_once(file: &OpenFile) -> bool {
    let stream = file.stream();
    file.is_nonblocking() || stream.is_none_or(|stream| stream.writes_once())
}

/// Writes what is behind the first `done` bytes as soon as that is possible, of which a
/// look at the stream does not tell: it may have room, but not for this.
fn write_when_possible(
    current: &Current,
    file: &OpenFile,
    vectors: &[UserVector],
    done: usize,
) -> SyscallResult {
    // What cannot become ready has no queue, and does not say `Again`.
    let queue = file.queue().ok_or(Errno::Again)?;
    let written = current.wait(queue, None, || {
        // What was refused may have been taken: from the beginning.
        let mut from = UserBuffers::new(&current.memory, vectors, MAX_TRANSFER);
        from.skip(done);
        match file.write(&mut from, NO_LIMIT) {
            Err(Errno::Again) => None,
            other => Some(other),
        }
    });
    written.unwrap_or_else(Err)
}

/// Returns whether as many bytes as vectors have were written.
fn is_all(vectors: &[UserVector], done: usize) -> bool {
    let sum = vectors
        .iter()
        .fold(0_usize, |sum, vector| sum.saturating_add(vector.len));
    done >= sum.min(MAX_TRANSFER)
}

/// Raises the signal that goes with what came of writing: nobody reads it, or the file
/// would be longer than the process may make one.
fn raise_for(current: &Current, written: SyscallResult, limit: u64) {
    match written {
        Err(Errno::BrokenPipe) => hooks::raise_broken_pipe(current),
        Err(Errno::FileTooBig) if limit != NO_LIMIT => hooks::raise_file_too_big(current),
        _ => {}
    }
}

/// Files may be as long as can be.
const NO_LIMIT: u64 = limits::UNLIMITED;

/// Returns how long the process may make files (`RLIMIT_FSIZE`).
pub(super) fn max_file_size(current: &Current) -> u64 {
    current.process.limits.lock().soft(Resource::FileSize)
}

/// Returns how long the process may make a file, which a stream need not know.
fn limit_of(current: &Current, file: &OpenFile) -> u64 {
    match file.file() {
        Some(_) => max_file_size(current),
        None => NO_LIMIT,
    }
}

/// Waits until a stream can be read or written, or never will be.
fn wait_for(current: &Current, file: &OpenFile, wanted: Readiness) -> Result<(), Errno> {
    let wanted = wanted | Readiness::ERROR | Readiness::HANG_UP;
    // What cannot become ready has no queue, and does not say `Again`.
    let queue = file.queue().ok_or(Errno::Again)?;
    current.wait(queue, None, || {
        file.readiness().intersects(wanted).then_some(())
    })
}

fn read_at(
    current: &mut Current,
    file: &OpenFile,
    vectors: &[UserVector],
    offset: u64,
) -> SyscallResult {
    let mut to = UserBuffers::new(&current.memory, vectors, MAX_TRANSFER);
    file.read_at(offset, &mut to)
}

fn write_at(
    current: &mut Current,
    file: &OpenFile,
    vectors: &[UserVector],
    offset: u64,
) -> SyscallResult {
    let mut from = UserBuffers::new(&current.memory, vectors, MAX_TRANSFER);
    let limit = limit_of(current, file);
    let written = file.write_at(offset, &mut from, limit);
    raise_for(current, written, limit);
    written
}

pub(super) fn lseek(
    current: &mut Current,
    file: usize,
    offset: usize,
    whence: usize,
) -> SyscallResult {
    let file = current.files.get(file)?;
    let whence = match whence as u32 {
        0 => Seek::Start,
        1 => Seek::Current,
        2 => Seek::End,
        3 => Seek::Data,
        4 => Seek::Hole,
        _ => return Err(Errno::Invalid),
    };
    let position = file.seek(offset as i64, whence)?;
    Ok(position as usize)
}

/// Copies from a file to another file or stream, by way of the kernel's memory.
pub(super) fn sendfile(
    current: &mut Current,
    to: usize,
    from: usize,
    offset: usize,
    count: usize,
) -> SyscallResult {
    let mut position = None;
    if offset != 0 {
        let [start] = read_words(current, offset)?;
        position = Some(start);
    }
    let from = current.files.get(from)?;
    from.check_readable()?;
    let to = current.files.get(to)?;
    to.check_writable()?;
    if let Some(start) = position {
        check_offset(start as usize)?;
        from.check_positions()?;
    }
    if to.status() & crate::fs::open::status::APPEND != 0 {
        return Err(Errno::Invalid);
    }
    let done = copy(current, &from, position.as_mut(), &to, None, count)?;
    if let Some(position) = position {
        current
            .memory
            .write_bytes(offset, &position.to_le_bytes())?;
    }
    Ok(done)
}

/// Copies from a file to another file, by way of the kernel's memory.
pub(super) fn copy_file_range(current: &mut Current, arguments: [usize; 6]) -> SyscallResult {
    let [from, from_offset, to, to_offset, count, flags] = arguments;
    let from = current.files.get(from)?;
    let to = current.files.get(to)?;
    let mut positions = [None; 2];
    for (position, offset) in positions.iter_mut().zip([from_offset, to_offset]) {
        if offset != 0 {
            let [start] = read_words(current, offset)?;
            *position = Some(start);
        }
    }
    if flags != 0 {
        return Err(Errno::Invalid);
    }
    let Some((source, target)) = from.file().zip(to.file()) else {
        let is_directory = from.directory().or(to.directory()).is_some();
        return Err(if is_directory {
            Errno::IsDirectory
        } else {
            Errno::Invalid
        });
    };
    from.check_readable()?;
    to.check_writable()?;
    if to.status() & crate::fs::open::status::APPEND != 0 {
        return Err(Errno::BadFile);
    }
    for start in positions.into_iter().flatten() {
        check_offset(start as usize)?;
    }
    if crate::fs::node::is_same(&**source, &**target) {
        return Err(Errno::Invalid);
    }
    let [mut from_position, mut to_position] = positions;
    let done = copy(
        current,
        &from,
        from_position.as_mut(),
        &to,
        to_position.as_mut(),
        count,
    )?;
    for (position, offset) in [(from_position, from_offset), (to_position, to_offset)] {
        if let Some(position) = position {
            current
                .memory
                .write_bytes(offset, &position.to_le_bytes())?;
        }
    }
    Ok(done)
}

/// Copies from a file to another one, each at its own position or at one that is given
/// and moves; returns how much.
fn copy(
    current: &mut Current,
    from: &OpenFile,
    mut from_position: Option<&mut u64>,
    to: &OpenFile,
    mut to_position: Option<&mut u64>,
    count: usize,
) -> SyscallResult {
    let count = count.min(MAX_TRANSFER);
    let mut buffer = vec![0; PAGE_SIZE.min(count)];
    let mut done = 0;
    while done < count {
        let part = buffer.len().min(count - done);
        let mut room = VmWriter::from(&mut buffer[..part]);
        let read = match from_position.as_deref() {
            Some(position) => from.read_at(*position, &mut room),
            None => from.read(&mut room),
        };
        let read = match read {
            Ok(0) => break,
            Err(_) if done > 0 => break,
            other => other?,
        };
        let mut bytes = VmReader::from(&buffer[..read]);
        let written = write_kernel(current, to, to_position.as_deref_mut(), &mut bytes);
        let count = read - bytes.left();
        if let Some(position) = from_position.as_deref_mut() {
            *position = position.saturating_add(count as u64);
        }
        done += count;
        match written {
            Ok(()) => {}
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Writes bytes of the kernel's memory, all of them.
fn write_kernel(
    current: &mut Current,
    to: &OpenFile,
    mut position: Option<&mut u64>,
    bytes: &mut VmReader<'_>,
) -> Result<(), Errno> {
    let limit = limit_of(current, to);
    while bytes.left() > 0 {
        let written = match position.as_deref() {
            Some(position) => to.write_at(*position, bytes, limit),
            None => to.write(bytes, limit),
        };
        match written {
            Ok(count) => {
                if let Some(position) = position.as_deref_mut() {
                    *position = position.saturating_add(count as u64);
                }
            }
            Err(Errno::Again) if !to.is_nonblocking() => {
                wait_for(current, to, Readiness::WRITE)?;
            }
            Err(error) => {
                raise_for(current, Err(error), limit);
                return Err(error);
            }
        }
    }
    Ok(())
}
