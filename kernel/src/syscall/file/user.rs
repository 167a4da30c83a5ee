//! Paths and structures in a program's memory.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use nucleus::mm::{PAGE_SIZE, USER_END};

use super::CURRENT_DIRECTORY;
use crate::errno::Errno;
use crate::fs::buffer::UserVector;
use crate::fs::node::Directory;
use crate::fs::path::{MAX_PATH, Walk};
use crate::fs::{OpenFile, root};
use crate::process::Current;

/// Bytes of `struct iovec`, and the most of them in one call.
const VECTOR_SIZE: usize = 16;
const MAX_VECTORS: usize = 1024;

/// The most bytes that one call moves (`MAX_RW_COUNT`).
pub(super) const MAX_TRANSFER: usize = i32::MAX as usize / PAGE_SIZE * PAGE_SIZE;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// Reads an array of bytes.
pub(super) fn read_array<const N: usize>(
    current: &mut Current,
    address: usize,
) -> Result<[u8; N], Errno> {
    let mut bytes = [0; N];
    current.memory.read_bytes(address, &mut bytes)?;
    Ok(bytes)
}

/// Reads words side by side.
pub(super) fn read_words<const N: usize>(
    current: &mut Current,
    address: usize,
) -> Result<[u64; N], Errno> {
    let mut words = [[0; 8]; N];
    current
        .memory
        .read_bytes(address, words.as_flattened_mut())?;
    Ok(words.map(u64::from_le_bytes))
}

/// Reads a path, which ends with a zero; it may be empty.
///
/// # Errors
///
/// [`Errno::Fault`], [`Errno::NameTooLong`].
pub(in crate::syscall) fn read_path_or_nothing(
    current: &mut Current,
    address: usize,
) -> Result<Vec<u8>, Errno> {
    current.memory.read_string(address, MAX_PATH)
}

/// Reads a path, which ends with a zero and is not empty.
///
/// # Errors
///
/// [`Errno::Fault`], [`Errno::NameTooLong`], [`Errno::NoEntry`].
pub(in crate::syscall) fn read_path(
    current: &mut Current,
    address: usize,
) -> Result<Vec<u8>, Errno> {
    let path = read_path_or_nothing(current, address)?;
    if path.is_empty() {
        return Err(Errno::NoEntry);
    }
    Ok(path)
}

/// Returns whether a descriptor stands for the current directory.
pub(in crate::syscall) const fn is_current_directory(descriptor: usize) -> bool {
    descriptor as i32 == CURRENT_DIRECTORY as i32
}

/// Begins a walk from the directory that a descriptor stands for, which does not matter
/// if the path is absolute.
///
/// # Errors
///
/// [`Errno::BadFile`], [`Errno::NotDirectory`].
pub(super) fn walk(current: &Current, directory: usize, path: &[u8]) -> Result<Walk, Errno> {
    if path.first() == Some(&b'/') || is_current_directory(directory) {
        return Ok(current.fs.walk(path));
    }
    let file = current.files.get_any(directory)?;
    let start = directory_of(&file)?;
    Ok(Walk::new(root(), start, path))
}

fn directory_of(file: &OpenFile) -> Result<Arc<dyn Directory>, Errno> {
    file.directory().map(Arc::clone).ok_or(Errno::NotDirectory)
}

/// Checks that a range is one of user memory, as Linux does before it uses any of it.
pub(super) fn check_range(address: usize, len: usize) -> Result<(), Errno> {
    if len > USER_END || address > USER_END - len {
        return Err(Errno::Fault);
    }
    Ok(())
}

/// Reads ranges of memory to read from or to write to.
///
/// # Errors
///
/// [`Errno::Invalid`] for too many of them, or one that is longer than can be;
/// [`Errno::Fault`].
pub(super) fn read_vectors(
    current: &mut Current,
    address: usize,
    count: usize,
) -> Result<Vec<UserVector>, Errno> {
    if count > MAX_VECTORS {
        return Err(Errno::Invalid);
    }
    let mut vectors = Vec::new();
    let reserved = vectors.try_reserve_exact(count);
    reserved.map_err(|_| Errno::NoMemory)?;
    for index in 0..count {
        let start = address.checked_add(index * VECTOR_SIZE);
        let [address, len] = read_words(current, start.ok_or(Errno::Fault)?)?;
        let vector = UserVector {
            address: address as usize,
            len: len as usize,
        };
        if isize::try_from(vector.len).is_err() {
            return Err(Errno::Invalid);
        }
        check_range(vector.address, vector.len)?;
        vectors.push(vector);
    }
    Ok(vectors)
}

/// Reads a time in seconds and nanoseconds; none if there is no address.
///
/// # Errors
///
/// [`Errno::Fault`], [`Errno::Invalid`] for times that are none.
pub(super) fn read_time(current: &mut Current, address: usize) -> Result<Option<Duration>, Errno> {
    if address == 0 {
        return Ok(None);
    }
    let [seconds, nanos] = read_words(current, address)?;
    let is_positive = i64::try_from(seconds).is_ok();
    match u32::try_from(nanos) {
        Ok(nanos) if is_positive && nanos < NANOS_PER_SECOND => {
            Ok(Some(Duration::new(seconds, nanos)))
        }
        _ => Err(Errno::Invalid),
    }
}

/// A structure that is put together at offsets.
#[derive(Debug)]
pub(super) struct Structure<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> Structure<N> {
    pub(super) const fn new() -> Self {
        Self([0; N])
    }

    pub(super) fn set_u64(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }

    pub(super) fn set_u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }

    pub(super) fn set_u16(&mut self, offset: usize, value: u16) {
        self.0[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    /// Writes the structure to a program's memory.
    pub(super) fn write(&self, current: &mut Current, address: usize) -> Result<(), Errno> {
        current.memory.write_bytes(address, &self.0)
    }
}
