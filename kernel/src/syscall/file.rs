//! File calls: standard input and output, and files of the initramfs.

use alloc::vec;
use alloc::vec::Vec;

use nucleus::console;
use nucleus::mm::PAGE_SIZE;

use super::SyscallResult;
use crate::errno::Errno;
use crate::fs::{self, File};
use crate::process::Current;

/// Most files that a process may have open.
pub(crate) const MAX_FILES: usize = 64;
/// Longest path.
const MAX_PATH: usize = 4096;
/// Bytes of `struct stat`.
const STAT_SIZE: usize = 144;
/// Type and permissions of the console: a character device.
const CONSOLE_MODE: u32 = 0o020_620;

/// What a file descriptor stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Console,
    File { file: File, position: usize },
}

/// The open files of a process.
#[derive(Clone, Debug)]
pub(crate) struct FileTable {
    slots: Vec<Option<Open>>,
}

impl FileTable {
    /// Returns a table with standard input, output and error open.
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![Some(Open::Console); 3],
        }
    }

    /// Finds an open file. Descriptors are 32 bits wide: the rest of the register
    /// does not count.
    fn get(&mut self, descriptor: usize) -> Result<&mut Open, Errno> {
        let slot = self.slots.get_mut(descriptor as u32 as usize);
        slot.and_then(Option::as_mut).ok_or(Errno::BadFile)
    }

    fn add(&mut self, open: Open) -> Result<usize, Errno> {
        if let Some(free) = self.slots.iter().position(Option::is_none) {
            self.slots[free] = Some(open);
            return Ok(free);
        }
        if self.slots.len() == MAX_FILES {
            return Err(Errno::TooManyFiles);
        }
        self.slots.push(Some(open));
        Ok(self.slots.len() - 1)
    }
}

pub(super) fn read(current: &mut Current, file: usize, to: usize, len: usize) -> SyscallResult {
    match *current.files.get(file)? {
        Open::Console => read_console(current, to, len),
        Open::File { file, .. } if file.is_directory() => Err(Errno::IsDirectory),
        Open::File {
            file: source,
            position,
        } => {
            let rest = source.contents.get(position..).unwrap_or(&[]);
            let part = &rest[..len.min(rest.len())];
            current.memory.write_bytes(to, part)?;
            if let Open::File { position, .. } = current.files.get(file)? {
                *position += part.len();
            }
            Ok(part.len())
        }
    }
}

/// Waits until something was typed. Ctrl-D, at the start of a line, is the end.
fn read_console(current: &mut Current, to: usize, len: usize) -> SyscallResult {
    const END_OF_INPUT: u8 = 4;
    let mut buffer = [0; 256];
    let len = len.min(buffer.len());
    if len == 0 {
        return Ok(0);
    }
    loop {
        let count = console::read_input(&mut buffer[..len]);
        if count > 0 {
            let end = buffer[..count]
                .iter()
                .position(|byte| *byte == END_OF_INPUT);
            let bytes = &mut buffer[..end.unwrap_or(count)];
            for byte in bytes.iter_mut().filter(|byte| **byte == b'\r') {
                *byte = b'\n'; // what a terminal sends for the return key
            }
            current.memory.write_bytes(to, bytes)?;
            return Ok(bytes.len());
        }
        console::wait_for_input();
    }
}

pub(super) fn write(current: &mut Current, file: usize, from: usize, len: usize) -> SyscallResult {
    match current.files.get(file)? {
        Open::Console => write_console(current, from, len),
        Open::File { .. } => Err(Errno::BadFile),
    }
}

/// Writes as much as can be read; an error only if that is nothing.
fn write_console(current: &mut Current, from: usize, len: usize) -> SyscallResult {
    let mut buffer = [0; 512];
    let mut done = 0;
    while done < len {
        let start = from.wrapping_add(done);
        // Up to the end of a page, so that what precedes a bad page is written.
        let to_page_end = PAGE_SIZE - start % PAGE_SIZE;
        let part = (len - done).min(buffer.len()).min(to_page_end);
        match current.memory.read_bytes(start, &mut buffer[..part]) {
            Ok(()) => console::write_program_output(&buffer[..part]),
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        done += part;
    }
    Ok(done)
}

pub(super) fn writev(
    current: &mut Current,
    file: usize,
    vectors: usize,
    count: usize,
) -> SyscallResult {
    const MAX_VECTORS: usize = 1024;
    const VECTOR_SIZE: usize = 16;
    if count > MAX_VECTORS {
        return Err(Errno::Invalid);
    }
    let mut done: usize = 0;
    for index in 0..count {
        let mut words = [[0; 8]; 2];
        let address = vectors
            .checked_add(index * VECTOR_SIZE)
            .ok_or(Errno::Fault)?;
        current
            .memory
            .read_bytes(address, words.as_flattened_mut())?;
        let [base, len] = words.map(usize::from_le_bytes);
        match write(current, file, base, len) {
            Ok(written) => done = done.saturating_add(written),
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

pub(super) fn open(current: &mut Current, path: usize, flags: usize) -> SyscallResult {
    const ACCESS_MODE: usize = 3;
    const CREATE: usize = 0o100;
    const DIRECTORY: usize = 0o200_000;
    let path = read_path(current, path)?;
    let file = match find(&path) {
        Err(Errno::NoEntry) if flags & CREATE != 0 => return Err(Errno::ReadOnly),
        other => other?,
    };
    if flags & ACCESS_MODE != 0 {
        return Err(if file.is_directory() {
            Errno::IsDirectory
        } else {
            Errno::ReadOnly
        });
    }
    if flags & DIRECTORY != 0 && !file.is_directory() {
        return Err(Errno::NotDirectory);
    }
    current.files.add(Open::File { file, position: 0 })
}

/// Finds a file; what a file is in the way of is no directory.
fn find(path: &str) -> Result<File, Errno> {
    if path.is_empty() {
        return Err(Errno::NoEntry);
    }
    if let Some(file) = fs::find(path) {
        return Ok(file);
    }
    let parents = path.match_indices('/').map(|(end, _)| &path[..end]);
    let mut files = parents.filter_map(fs::find);
    Err(if files.any(|file| !file.is_directory()) {
        Errno::NotDirectory
    } else {
        Errno::NoEntry
    })
}

pub(super) fn close(current: &mut Current, file: usize) -> SyscallResult {
    current.files.get(file)?;
    current.files.slots[file as u32 as usize] = None;
    Ok(0)
}

pub(super) fn lseek(
    current: &mut Current,
    file: usize,
    offset: usize,
    whence: usize,
) -> SyscallResult {
    match current.files.get(file)? {
        Open::Console => Err(Errno::NotSeekable),
        Open::File { file, position } => {
            let base = match whence {
                0 => 0,
                1 => *position,
                2 => file.contents.len(),
                _ => return Err(Errno::Invalid),
            };
            let target = base
                .checked_add_signed(offset as isize)
                .ok_or(Errno::Invalid)?;
            if isize::try_from(target).is_err() {
                return Err(Errno::Invalid);
            }
            *position = target;
            Ok(target)
        }
    }
}

pub(super) fn stat(current: &mut Current, path: usize, to: usize) -> SyscallResult {
    let path = read_path(current, path)?;
    let file = find(&path)?;
    write_stat(current, to, file.mode, file.inode, file.contents.len())
}

pub(super) fn fstat(current: &mut Current, file: usize, to: usize) -> SyscallResult {
    match *current.files.get(file)? {
        Open::Console => write_stat(current, to, CONSOLE_MODE, 1, 0),
        Open::File { file, .. } => {
            write_stat(current, to, file.mode, file.inode, file.contents.len())
        }
    }
}

pub(super) fn newfstatat(current: &mut Current, arguments: [usize; 4]) -> SyscallResult {
    const EMPTY_PATH: usize = 0x1000;
    let [directory, path, to, flags] = arguments;
    if flags & EMPTY_PATH != 0 && read_path(current, path)?.is_empty() {
        return fstat(current, directory, to);
    }
    stat(current, path, to)
}

/// Fills in the fields that mean something here: inode, links, mode, size, and
/// the sizes of blocks.
fn write_stat(
    current: &mut Current,
    to: usize,
    mode: u32,
    inode: u32,
    size: usize,
) -> SyscallResult {
    let mut stat = [0; STAT_SIZE];
    for (offset, value) in [
        (8, u64::from(inode)),
        (16, 1),
        (24, u64::from(mode)),
        (48, size as u64),
        (56, PAGE_SIZE as u64),
        (64, (size as u64).div_ceil(512)),
    ] {
        stat[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    current.memory.write_bytes(to, &stat)?;
    Ok(0)
}

/// Every open file is ready at once; those that are not open say so.
pub(super) fn poll(current: &mut Current, entries: usize, count: usize) -> SyscallResult {
    const ENTRY_SIZE: usize = 8;
    const NOT_OPEN: u16 = 0x20;
    const READY: u16 = 0x5; // input and output
    if count > MAX_FILES {
        return Err(Errno::Invalid);
    }
    let mut ready = 0;
    for index in 0..count {
        let mut entry = [0; ENTRY_SIZE];
        let address = entries
            .checked_add(index * ENTRY_SIZE)
            .ok_or(Errno::Fault)?;
        current.memory.read_bytes(address, &mut entry)?;
        let descriptor = i32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]);
        let wanted = u16::from_le_bytes([entry[4], entry[5]]);
        let found = match usize::try_from(descriptor) {
            Err(_) => 0,
            Ok(descriptor) => match current.files.get(descriptor) {
                Ok(_) => wanted & READY,
                Err(_) => NOT_OPEN,
            },
        };
        entry[6..].copy_from_slice(&found.to_le_bytes());
        current.memory.write_bytes(address, &entry)?;
        ready += usize::from(found != 0);
    }
    Ok(ready)
}

/// The console is a serial line without the calls of a terminal.
pub(super) fn ioctl(current: &mut Current, file: usize) -> SyscallResult {
    current.files.get(file)?;
    Err(Errno::NoTerminal)
}

/// There are links to the program's own file, and none besides.
pub(super) fn readlink(current: &mut Current, path: usize, to: usize, len: usize) -> SyscallResult {
    let path = read_path(current, path)?;
    if path != "/proc/self/exe" {
        return find(&path).and(Err(Errno::Invalid));
    }
    if len == 0 {
        return Err(Errno::Invalid);
    }
    let name = current.process.program();
    let part = &name.as_bytes()[..len.min(name.len())];
    current.memory.write_bytes(to, part)?;
    Ok(part.len())
}

pub(super) fn getcwd(current: &mut Current, to: usize, len: usize) -> SyscallResult {
    const ROOT: &[u8] = b"/\0";
    if len < ROOT.len() {
        return Err(Errno::Range);
    }
    current.memory.write_bytes(to, ROOT)?;
    Ok(ROOT.len())
}

/// Reads a path that ends with a zero, and must be text.
fn read_path(current: &mut Current, address: usize) -> Result<alloc::string::String, Errno> {
    let mut bytes = Vec::new();
    while bytes.len() < MAX_PATH {
        let mut byte = [0];
        let next = address.checked_add(bytes.len()).ok_or(Errno::Fault)?;
        current.memory.read_bytes(next, &mut byte)?;
        if byte[0] == 0 {
            return alloc::string::String::from_utf8(bytes).map_err(|_| Errno::NoEntry);
        }
        bytes.push(byte[0]);
    }
    Err(Errno::NameTooLong)
}
