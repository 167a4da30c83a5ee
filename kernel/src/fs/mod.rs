//! Files: what programs need of them, in memory.
//!
//! ```text
//!  descriptors           open files          nodes                 filesystems
//!  table::FileTable ──▶ open::OpenFile ──▶ node::Node ─┬ Directory  / initramfs
//!                                  ▲                   ├ RegularFile  /tmp tmpfs
//!  context::FsContext ── path::Walk┘                   ├ Link         /dev devices
//!   (where a process is)  (names)                      └ Stream       /proc proc
//! ```
//!
//! * [`node`]: what paths lead to, and what can be done with it; [`path`]: finding it.
//! * [`open`], [`table`], [`context`]: what a process has of files.
//! * [`buffer`]: where bytes go to and come from; [`pages`]: contents in frames.
//! * [`root`](mod@root), [`initramfs`] (over [`archive`]), [`tmpfs`], [`devices`],
//!   [`terminal`], [`proc`], [`pipe`]: the filesystems, and what has no name.
//! * [`event`], [`timer`]: counters of events and of time; [`poll`], [`epoll`]: waiting for one of several files.
//!
//! **Memory.** Contents are in frames, of which programs get no more than leave the
//! kernel its own; names and paths are bounded, and so are the numbers of files
//! ([`tmpfs`]) and of open files ([`table`]).
//!
//! **Lock order.** From the outside in, each optional:
//!
//! 1. the position of an open file, or the transfer of a pipe
//! 2. a file's writers ([`tmpfs`])
//! 3. locks of an address space: a copy to or from user memory may fault
//! 4. a file's pages, its mappers, its attributes, a directory's names, a set's files
//! 5. a table of descriptors, a process's current directory, the table of processes
//!
//! The locks of 4 and 5 are never held while anything is copied, waited for, or dropped
//! that might take a lock itself. Of locks of one kind, nobody takes two, but for the
//! names of directories: whoever takes two of these holds their filesystem's `tree`.

mod archive;
pub(crate) mod buffer;
mod context;
mod devices;
pub(crate) mod epoll;
pub(crate) mod event;
pub(crate) mod hooks;
mod initramfs;
pub(crate) mod node;
pub(crate) mod open;
mod pages;
pub(crate) mod path;
pub(crate) mod pipe;
pub(crate) mod poll;
mod proc;
mod root;
mod table;
pub(crate) mod terminal;
pub(crate) mod timer;
mod tmpfs;

pub(crate) use self::context::FsContext;
pub(crate) use self::open::OpenFile;
pub(crate) use self::root::root;
pub(crate) use self::table::FileTable;

use alloc::sync::Arc;
use core::any::Any;
use core::time::Duration;

use self::node::{Directory, Filesystem, Node};
use self::open::Access;
use self::terminal::Terminal;
use self::tmpfs::{TmpDirectory, Usage};
use crate::errno::Errno;

/// Makes the tree of files and the terminal. Called once, before anybody asks for them.
pub(crate) fn init() {
    root();
    Terminal::get();
}

/// Returns the time that files are stamped with, since 1970.
pub(crate) fn now() -> Duration {
    nucleus::time::since_epoch()
}

/// Returns the descriptors of the first process: the terminal, three times.
///
/// # Errors
///
/// [`Errno::NoMemory`].
pub(crate) fn first_files() -> Result<FileTable, Errno> {
    let table = FileTable::new();
    let terminal = OpenFile::from_stream(Terminal::get(), Access::BOTH, 0);
    let terminal = Arc::new(terminal);
    for _ in 0..3 {
        table.add(Arc::clone(&terminal), false, 0)?;
    }
    Ok(table)
}

/// Creates a file without a name on the filesystem of a directory.
///
/// # Errors
///
/// [`Errno::NotSupported`] where that cannot be, [`Errno::NoSpace`].
pub(crate) fn create_nameless(directory: &dyn Directory, permissions: u16) -> Result<Node, Errno> {
    let any: &dyn Any = directory;
    let own = any.downcast_ref::<TmpDirectory>();
    own.ok_or(Errno::NotSupported)?.create_nameless(permissions)
}

/// Creates a file without a name anywhere, for memory that programs share.
///
/// # Errors
///
/// [`Errno::NoSpace`].
pub(crate) fn create_shared_memory() -> Result<Node, Errno> {
    root::memory().create_nameless(0o777)
}

/// Returns how full a filesystem is; zeros if it cannot be.
pub(crate) fn usage(filesystem: Filesystem) -> Usage {
    match filesystem {
        Filesystem::Memory => root::memory().usage(),
        _ => Usage::default(),
    }
}
