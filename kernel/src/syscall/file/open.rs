//! Opening files, and what is done with descriptors.

use alloc::sync::Arc;

use super::user::{read_array, read_path, read_path_or_nothing, walk};
use super::{CURRENT_DIRECTORY, SyscallResult};
use crate::errno::Errno;
use crate::fs::node::{Location, New, Node};
use crate::fs::open::{Access, status};
use crate::fs::path::{Found, Last, Parent};
use crate::fs::pipe;
use crate::fs::terminal::{SETTINGS_SIZE, Settings, Terminal};
use crate::fs::{self, OpenFile};
use crate::process::{Current, table};
use crate::vm::ensure_reserve;

/// Flags of `open` that are used up by it.
const CREATE: u32 = 0o100;
const EXCLUSIVE: u32 = 0o200;
const TRUNCATE: u32 = 0o1000;
pub(super) const CLOSE_ON_EXEC: u32 = 0o2_000_000;
/// `__O_TMPFILE`: a file without a name in a directory.
const NAMELESS: u32 = 0o20_000_000;

/// `FD_CLOEXEC`.
const DESCRIPTOR_CLOSE_ON_EXEC: usize = 1;

pub(super) fn creat(current: &mut Current, path: usize, mode: usize) -> SyscallResult {
    let flags = CREATE | TRUNCATE | 1;
    open(current, CURRENT_DIRECTORY, path, flags as usize, mode)
}

/// What `open` is asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    flags: u32,
    permissions: u16,
}

impl Wanted {
    const fn has(self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Returns whether the file is written or made empty.
    const fn changes(self) -> bool {
        Access::from_flags(self.flags).writes || self.has(TRUNCATE)
    }

    /// Returns whether a link at the end of the path is followed.
    const fn follows(self) -> bool {
        !(self.has(status::NO_FOLLOW) || self.has(CREATE) && self.has(EXCLUSIVE))
    }
}

pub(super) fn open(
    current: &mut Current,
    directory: usize,
    path: usize,
    flags: usize,
    mode: usize,
) -> SyscallResult {
    const WITH_PATH: u32 = status::PATH | status::DIRECTORY | status::NO_FOLLOW | CLOSE_ON_EXEC;
    let mut wanted = Wanted {
        flags: flags as u32 | status::LARGE_FILE,
        permissions: mode as u16 & 0o7777 & !current.fs.umask(),
    };
    if wanted.has(NAMELESS) {
        let is_complete = wanted.has(status::DIRECTORY) && !wanted.has(CREATE);
        if !is_complete || !Access::from_flags(wanted.flags).writes {
            return Err(Errno::Invalid);
        }
    } else if wanted.has(status::PATH) {
        wanted.flags &= WITH_PATH;
    }
    let path = read_path(current, path)?;
    ensure_reserve()?;
    let walk = walk(current, directory, &path)?;
    let location = match walk.find(wanted.follows())? {
        Found::Something(location) if wanted.has(NAMELESS) => create_nameless(&location, wanted)?,
        Found::Something(location) => {
            let has_slash = path.last() == Some(&b'/');
            check_found(&location, wanted, has_slash)?;
            location
        }
        Found::Nothing(parent) => create(parent, wanted)?,
    };
    let file = Arc::new(OpenFile::new(location, wanted.flags)?);
    current.files.add(file, wanted.has(CLOSE_ON_EXEC), 0)
}

/// Checks that what was found may be opened in this way, and makes it empty if asked to.
fn check_found(location: &Location, wanted: Wanted, has_slash: bool) -> Result<(), Errno> {
    if wanted.has(status::PATH) {
        let is_directory = matches!(location.node, Node::Directory(_));
        let is_wrong = wanted.has(status::DIRECTORY) && !is_directory;
        return if is_wrong {
            Err(Errno::NotDirectory)
        } else {
            Ok(())
        };
    }
    if wanted.has(CREATE) {
        if wanted.has(EXCLUSIVE) {
            return Err(Errno::Exists);
        }
        if has_slash {
            return Err(Errno::IsDirectory);
        }
    }
    match &location.node {
        Node::Directory(_) => {
            let is_wrong = wanted.has(CREATE) || wanted.changes();
            if is_wrong {
                return Err(Errno::IsDirectory);
            }
        }
        _ if wanted.has(status::DIRECTORY) => return Err(Errno::NotDirectory),
        Node::Link(_) => return Err(Errno::TooManyLinks),
        Node::File(file) => {
            if wanted.changes() && file.metadata().filesystem.is_read_only() {
                return Err(Errno::ReadOnly);
            }
            if wanted.has(TRUNCATE) {
                file.resize(0)?;
            }
        }
        Node::Stream(stream) => {
            let access = Access::from_flags(wanted.flags);
            if !stream.allows(access.reads, access.writes) {
                return Err(Errno::Access);
            }
        }
    }
    Ok(())
}

/// Creates the file that was not found.
fn create(parent: Parent, wanted: Wanted) -> Result<Location, Errno> {
    if !wanted.has(CREATE) {
        return Err(Errno::NoEntry);
    }
    if parent.has_slash {
        return Err(Errno::IsDirectory);
    }
    let Last::Name(name) = parent.last else {
        return Err(Errno::IsDirectory);
    };
    let new = New::File {
        permissions: wanted.permissions,
    };
    let node = match parent.directory.create(&name, new) {
        // Where nothing can be made at all.
        Err(Errno::NotPermitted) => return Err(Errno::Access),
        // Somebody was faster.
        Err(Errno::Exists) if !wanted.has(EXCLUSIVE) => {
            parent.directory.lookup(&name)?.ok_or(Errno::NoEntry)?
        }
        other => other?,
    };
    Ok(Location {
        node,
        name: Some((parent.directory, name.into())),
    })
}

/// Creates a file without a name on the filesystem of a directory.
fn create_nameless(location: &Location, wanted: Wanted) -> Result<Location, Errno> {
    let Node::Directory(directory) = &location.node else {
        return Err(Errno::NotDirectory);
    };
    let node = fs::create_nameless(&**directory, wanted.permissions)?;
    Ok(Location { node, name: None })
}

/// Creates a file without a name, whose memory programs share.
pub(super) fn memfd_create(current: &mut Current, name: usize, flags: usize) -> SyscallResult {
    const CLOSE_ON_EXEC: usize = 1;
    const ALLOW_SEALING: usize = 2;
    const LONGEST_NAME: usize = 249;
    if flags & !(CLOSE_ON_EXEC | ALLOW_SEALING) != 0 {
        return Err(Errno::Invalid);
    }
    let name = read_path_or_nothing(current, name)?;
    if name.len() > LONGEST_NAME {
        return Err(Errno::Invalid);
    }
    ensure_reserve()?;
    let node = fs::create_shared_memory()?;
    let location = Location { node, name: None };
    let file = OpenFile::new(location, 2 | status::LARGE_FILE)?;
    current
        .files
        .add(Arc::new(file), flags & CLOSE_ON_EXEC != 0, 0)
}

pub(super) fn close_range(
    current: &mut Current,
    first: usize,
    last: usize,
    flags: usize,
) -> SyscallResult {
    const UNSHARE: u32 = 2;
    const MARK: u32 = 4;
    let (first, last, flags) = (first as u32, last as u32, flags as u32);
    if flags & !(UNSHARE | MARK) != 0 || first > last {
        return Err(Errno::Invalid);
    }
    if flags & UNSHARE != 0 {
        current.files = Arc::new(current.files.fork());
        current.show_resources();
    }
    current
        .files
        .close_range(first as usize, last as usize, flags & MARK != 0);
    Ok(0)
}

pub(super) fn dup(current: &mut Current, file: usize) -> SyscallResult {
    let file = current.files.get_any(file)?;
    current.files.add(file, false, 0)
}

pub(super) fn dup2(current: &mut Current, old: usize, new: usize) -> SyscallResult {
    let file = current.files.get_any(old)?;
    let new = new as u32 as usize;
    if new != old as u32 as usize {
        current.files.replace(new, file, false)?;
    }
    Ok(new)
}

pub(super) fn dup3(current: &mut Current, old: usize, new: usize, flags: usize) -> SyscallResult {
    let flags = flags as u32;
    let (old, new) = (old as u32 as usize, new as u32 as usize);
    if flags & !CLOSE_ON_EXEC != 0 || old == new {
        return Err(Errno::Invalid);
    }
    current.files.check_number(new)?;
    let file = current.files.get_any(old)?;
    current
        .files
        .replace(new, file, flags & CLOSE_ON_EXEC != 0)?;
    Ok(new)
}

pub(super) fn fcntl(
    current: &mut Current,
    number: usize,
    command: usize,
    argument: usize,
) -> SyscallResult {
    const DUPLICATE: u32 = 0;
    const GET_DESCRIPTOR: u32 = 1;
    const SET_DESCRIPTOR: u32 = 2;
    const GET_STATUS: u32 = 3;
    const SET_STATUS: u32 = 4;
    const DUPLICATE_CLOSING: u32 = 1030;
    const SET_PIPE_SIZE: u32 = 1031;
    const GET_PIPE_SIZE: u32 = 1032;
    let file = current.files.get_any(number)?;
    let command = command as u32;
    match command {
        DUPLICATE | DUPLICATE_CLOSING => {
            let lowest = argument as u32 as usize;
            let closes = command == DUPLICATE_CLOSING;
            match current.files.check_number(lowest) {
                Ok(()) => current.files.add(file, closes, lowest),
                Err(_) => Err(Errno::Invalid),
            }
        }
        GET_DESCRIPTOR => {
            let closes = current.files.closes_on_exec(number)?;
            Ok(usize::from(closes) * DESCRIPTOR_CLOSE_ON_EXEC)
        }
        SET_DESCRIPTOR => {
            let closes = argument & DESCRIPTOR_CLOSE_ON_EXEC != 0;
            current.files.set_closes_on_exec(number, closes)?;
            Ok(0)
        }
        GET_STATUS => {
            let access = match file.access() {
                _ if file.is_path() => 0,
                Access::READ => 0,
                Access::WRITE => 1,
                _ => 2,
            };
            Ok((file.status() | access) as usize)
        }
        _ if file.is_path() => Err(Errno::BadFile),
        SET_STATUS => {
            file.set_status(argument as u32);
            Ok(0)
        }
        GET_PIPE_SIZE | SET_PIPE_SIZE => {
            if !is_pipe(&file) {
                return Err(Errno::BadFile);
            }
            // The size is what it is.
            let is_wrong = command == SET_PIPE_SIZE && argument as u32 as usize > pipe::CAPACITY;
            if is_wrong {
                return Err(Errno::NotPermitted);
            }
            Ok(pipe::CAPACITY)
        }
        _ => Err(Errno::Invalid),
    }
}

fn is_pipe(file: &OpenFile) -> bool {
    file.inode().metadata().kind == crate::fs::node::Kind::Pipe
}

pub(super) fn pipe2(current: &mut Current, to: usize, flags: usize) -> SyscallResult {
    let flags = flags as u32;
    if flags & !(CLOSE_ON_EXEC | status::NONBLOCK | status::DIRECT) != 0 {
        return Err(Errno::Invalid);
    }
    let kept = flags & (status::NONBLOCK | status::DIRECT);
    ensure_reserve()?;
    let (reader, writer) = pipe::open();
    let files = [
        Arc::new(OpenFile::from_stream(reader, Access::READ, kept)),
        Arc::new(OpenFile::from_stream(writer, Access::WRITE, kept)),
    ];
    let numbers = current.files.add_pair(files, flags & CLOSE_ON_EXEC != 0)?;
    let bytes = numbers.map(|number| (number as u32).to_le_bytes());
    if let Err(error) = current.memory.write_bytes(to, bytes.as_flattened()) {
        for number in numbers {
            // Another thread may have closed it already.
            let _ = current.files.close(number);
        }
        return Err(error);
    }
    Ok(0)
}

/// Advice about files is heard, and all are in memory as it is.
pub(super) fn fadvise(current: &mut Current, file: usize, advice: usize) -> SyscallResult {
    const LAST_ADVICE: usize = 5;
    let file = current.files.get(file)?;
    if is_pipe(&file) {
        return Err(Errno::NotSeekable);
    }
    if advice as u32 as usize > LAST_ADVICE {
        return Err(Errno::Invalid);
    }
    Ok(0)
}

/// Locks of whole files are not there.
pub(super) fn flock(current: &mut Current, file: usize, operation: usize) -> SyscallResult {
    const NONBLOCKING: usize = 4;
    current.files.get(file)?;
    match operation & !NONBLOCKING {
        1 | 2 | 8 => Err(Errno::NotSupported),
        _ => Err(Errno::Invalid),
    }
}

/// Requests of `ioctl` that are about any file.
mod request {
    pub(super) const CLOSE_ON_EXEC: u32 = 0x5451;
    pub(super) const KEEP_ON_EXEC: u32 = 0x5450;
    pub(super) const NONBLOCKING: u32 = 0x5421;
    pub(super) const NR_READABLE: u32 = 0x541b;
}

pub(super) fn ioctl(
    current: &mut Current,
    number: usize,
    request: usize,
    argument: usize,
) -> SyscallResult {
    let file = current.files.get(number)?;
    match request as u32 {
        request::CLOSE_ON_EXEC | request::KEEP_ON_EXEC => {
            let closes = request as u32 == request::CLOSE_ON_EXEC;
            current.files.set_closes_on_exec(number, closes)?;
        }
        request::NONBLOCKING => {
            let is_on = i32::from_le_bytes(read_array(current, argument)?) != 0;
            let flag = if is_on { status::NONBLOCK } else { 0 };
            file.set_status(file.status() & !status::NONBLOCK | flag);
        }
        request::NR_READABLE => {
            let position = || file.seek(0, crate::fs::open::Seek::Current).unwrap_or(0);
            let count = match (file.stream(), file.file()) {
                (Some(stream), _) => stream.nr_readable().ok_or(Errno::NoTerminal)?,
                (_, Some(file)) => file.len().saturating_sub(position()) as usize,
                _ => return Err(Errno::NoTerminal),
            };
            let count = i32::try_from(count).unwrap_or(i32::MAX);
            current.memory.write_bytes(argument, &count.to_le_bytes())?;
        }
        request => {
            let stream = file.stream().ok_or(Errno::NoTerminal)?;
            let terminal = stream.as_terminal().ok_or(Errno::NoTerminal)?;
            return ioctl_terminal(current, terminal, request, argument);
        }
    }
    Ok(0)
}

/// Returns the numbers of the caller's group and session.
fn family(current: &Current) -> Result<(u32, u32), Errno> {
    let table = table::lock();
    let record = table.get(current.process.id()).ok_or(Errno::NoProcess)?;
    Ok((record.group.as_u32(), record.session.as_u32()))
}

/// Requests to a terminal.
fn ioctl_terminal(
    current: &mut Current,
    terminal: &Terminal,
    request: u32,
    argument: usize,
) -> SyscallResult {
    const GET_SETTINGS: u32 = 0x5401;
    const SET_SETTINGS: u32 = 0x5402;
    const SET_SETTINGS_AND_FLUSH: u32 = 0x5404;
    const SEND_BREAK: u32 = 0x5409;
    const FLOW: u32 = 0x540a;
    const FLUSH: u32 = 0x540b;
    const TAKE: u32 = 0x540e;
    const GET_FOREGROUND: u32 = 0x540f;
    const SET_FOREGROUND: u32 = 0x5410;
    const GET_SIZE: u32 = 0x5413;
    const SET_SIZE: u32 = 0x5414;
    const LEAVE: u32 = 0x5422;
    const GET_SESSION: u32 = 0x5429;
    match request {
        GET_SETTINGS => {
            let bytes = terminal.settings().to_bytes();
            current.memory.write_bytes(argument, &bytes)?;
        }
        SET_SETTINGS..=SET_SETTINGS_AND_FLUSH => {
            let bytes: [u8; SETTINGS_SIZE] = read_array(current, argument)?;
            let flushes = request == SET_SETTINGS_AND_FLUSH;
            terminal.set_settings(&Settings::from_bytes(&bytes), flushes);
        }
        FLUSH => {
            const OUTPUT: usize = 1;
            if argument != OUTPUT {
                terminal.flush_input();
            }
        }
        SEND_BREAK | FLOW | LEAVE => {}
        TAKE => terminal.set_foreground(family(current)?.0),
        GET_FOREGROUND => {
            let group = terminal.foreground_or(family(current)?.0);
            current.memory.write_value(argument, &group)?;
        }
        GET_SESSION => {
            let (_, session) = family(current)?;
            current.memory.write_value(argument, &session)?;
        }
        SET_FOREGROUND => {
            let group: i32 = current.memory.read_value(argument)?;
            let group = u32::try_from(group).map_err(|_| Errno::Invalid)?;
            let has_group = |record: &table::Record| record.group.as_u32() == group;
            if !table::lock().processes().any(has_group) {
                return Err(Errno::NoProcess);
            }
            terminal.set_foreground(group);
        }
        GET_SIZE => {
            let bytes = terminal.size().map(u16::to_le_bytes);
            current.memory.write_bytes(argument, bytes.as_flattened())?;
        }
        SET_SIZE => {
            let mut bytes = [[0; 2]; 4];
            current
                .memory
                .read_bytes(argument, bytes.as_flattened_mut())?;
            terminal.set_size(bytes.map(u16::from_le_bytes));
        }
        _ => return Err(Errno::NoTerminal),
    }
    Ok(0)
}
