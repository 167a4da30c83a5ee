//! `/proc`: what the kernel tells of itself and of processes.
//!
//! Nothing is kept here. Directories are made when a path is walked, and texts when a
//! file is opened: who reads one in parts gets parts of one picture, and a text can be
//! as long as there is memory for programs, since it is in frames of theirs.
//!
//! * `text`: files whose contents are made. * `system`: of the whole machine.
//! * `process`: directories of processes. * `status`, `memory`: what they tell.
//! * `descriptors`: what a process has open.
//!
//! Numbers of inodes: what belongs to a process has its number in the upper half.

mod descriptors;
mod memory;
mod process;
mod status;
mod system;
mod text;

use alloc::sync::Arc;
use alloc::vec::Vec;

use self::process::ProcessDirectory;
use self::text::TextFile;
use super::devices::FixedLink;
use super::node::{Directory, Filesystem, Inode, Kind, Link, Listed, Metadata, Node, Place};
use super::root;
use crate::errno::Errno;
use crate::process::{Pid, table};

/// Number of the directory itself.
const ROOT_NUMBER: u64 = 1;

/// What the directory has besides processes.
#[derive(Clone, Copy, Debug)]
enum Item {
    Text(system::Write),
    /// Leads to the directory of whoever asks.
    Own,
    /// Leads to the directory of the thread that asks.
    OwnThread,
    Link(&'static str),
    Settings(&'static [(&'static str, Item)]),
}

/// All there is besides processes.
const ITEMS: [(&str, Item); 14] = [
    ("self", Item::Own),
    ("thread-self", Item::OwnThread),
    ("cpuinfo", Item::Text(system::processors)),
    ("filesystems", Item::Text(system::filesystems)),
    ("loadavg", Item::Text(system::load)),
    ("meminfo", Item::Text(system::memory)),
    ("mounts", Item::Link("self/mounts")),
    ("stat", Item::Text(system::statistics)),
    ("swaps", Item::Text(system::swaps)),
    ("sys", Item::Settings(&SYSTEM_SETTINGS)),
    ("uptime", Item::Text(system::uptime)),
    ("version", Item::Text(system::version)),
    ("vostok", Item::Settings(&OWN_ITEMS)),
    ("cmdline", Item::Text(system::command_line)),
];

/// What Linux has nothing like.
const OWN_ITEMS: [(&str, Item); 2] = [
    ("frames", Item::Text(system::frames)),
    ("pagetable", Item::Text(system::page_table)),
];

/// What is below `sys`.
const SYSTEM_SETTINGS: [(&str, Item); 2] = [
    ("kernel", Item::Settings(&KERNEL_SETTINGS)),
    ("vm", Item::Settings(&MEMORY_SETTINGS)),
];
const KERNEL_SETTINGS: [(&str, Item); 5] = [
    ("hostname", Item::Text(system::host_name)),
    ("osrelease", Item::Text(system::release)),
    ("ostype", Item::Text(system::system_name)),
    ("pid_max", Item::Text(system::most_processes)),
    ("random", Item::Settings(&RANDOM_SETTINGS)),
];
const RANDOM_SETTINGS: [(&str, Item); 1] = [("boot_id", Item::Text(system::boot_id))];
const MEMORY_SETTINGS: [(&str, Item); 2] = [
    ("max_map_count", Item::Text(system::most_regions)),
    ("overcommit_memory", Item::Text(system::overcommit)),
];

/// The directory of everything.
#[derive(Debug)]
struct Processes;

/// Returns the directory.
pub(super) fn open() -> Arc<dyn Directory> {
    Arc::new(Processes)
}

/// Returns metadata of something that can only be read.
fn metadata(number: u64, kind: Kind) -> Metadata {
    let now = super::now();
    let permissions = match kind {
        Kind::Directory => 0o555,
        Kind::Link => 0o777,
        _ => 0o444,
    };
    let mut metadata = Metadata {
        permissions,
        links: if kind == Kind::Directory { 2 } else { 1 },
        ..Metadata::new(Filesystem::Processes, number, kind)
    };
    metadata.times.accessed = now;
    metadata.times.modified = now;
    metadata.times.changed = now;
    metadata
}

/// Returns the number that a name means, if it means one as it would be written.
fn parse_number(name: &[u8]) -> Option<usize> {
    let text = core::str::from_utf8(name).ok()?;
    let is_plain = text == "0" || !text.starts_with(['0', '+']);
    text.parse().ok().filter(|_| is_plain)
}

impl Item {
    const fn kind(self) -> Kind {
        match self {
            Self::Text(_) => Kind::File,
            Self::Own | Self::OwnThread | Self::Link(_) => Kind::Link,
            Self::Settings(_) => Kind::Directory,
        }
    }

    fn node(self, name: &'static str, number: u64) -> Node {
        match self {
            Self::Text(write) => Node::File(Arc::new(TextFile::new(number, write))),
            Self::Own | Self::OwnThread => Node::Link(Arc::new(OwnLink {
                is_thread: matches!(self, Self::OwnThread),
                number,
            })),
            Self::Link(target) => Node::Link(Arc::new(FixedLink {
                filesystem: Filesystem::Processes,
                number,
                target,
            })),
            Self::Settings(items) => Node::Directory(Arc::new(Settings {
                name,
                number,
                items,
            })),
        }
    }
}

impl Inode for Processes {
    fn metadata(&self) -> Metadata {
        metadata(ROOT_NUMBER, Kind::Directory)
    }
}

impl Directory for Processes {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        if let Some(pid) = parse_number(name).and_then(Pid::new) {
            let process = table::find_process(pid);
            return Ok(
                process.map(|process| Node::Directory(Arc::new(ProcessDirectory::new(process))))
            );
        }
        Ok(find(&ITEMS, name, ROOT_NUMBER))
    }

    fn place(&self) -> Place {
        Place::Named(root(), b"proc"[..].into())
    }

    /// Lists what there is besides processes, and then these by their numbers.
    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let mut goes_on = true;
        list(&ITEMS, ROOT_NUMBER, from, &mut |listed| {
            goes_on = visit(listed);
            goes_on
        });
        if !goes_on {
            return Ok(());
        }
        let first = from.saturating_sub(ITEMS.len() as u64);
        let pids: Vec<u64> = {
            let table = table::lock();
            let pids = table.processes().map(|record| record.process.id());
            pids.map(|pid| u64::from(pid.as_u32())).collect()
        };
        for pid in pids.into_iter().filter(|pid| *pid > first) {
            let name = alloc::format!("{pid}");
            let listed = Listed {
                name: name.as_bytes(),
                number: process::number(pid, 0),
                kind: Kind::Directory,
                next: ITEMS.len() as u64 + pid,
            };
            if !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

/// Finds an item by name; items have the numbers after their directory's.
fn find(items: &[(&'static str, Item)], name: &[u8], directory: u64) -> Option<Node> {
    let mut numbered = (directory + 1..).zip(items);
    let found = numbered.find(|(_, (other, _))| other.as_bytes() == name);
    found.map(|(number, (name, item))| item.node(name, number))
}

/// Lists items from a position on.
fn list(
    items: &[(&'static str, Item)],
    directory: u64,
    from: u64,
    visit: &mut dyn FnMut(Listed<'_>) -> bool,
) {
    for (position, (name, item)) in (0..).zip(items) {
        let listed = Listed {
            name: name.as_bytes(),
            number: directory + 1 + position,
            kind: item.kind(),
            next: position + 1,
        };
        if from <= position && !visit(listed) {
            break;
        }
    }
}

/// A directory below `sys`.
#[derive(Debug)]
struct Settings {
    name: &'static str,
    number: u64,
    items: &'static [(&'static str, Item)],
}

impl Settings {
    /// What is in it has numbers in a range of its own.
    const fn base(&self) -> u64 {
        self.number * 0x100
    }
}

impl Inode for Settings {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::Directory)
    }
}

impl Directory for Settings {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        Ok(find(self.items, name, self.base()))
    }

    fn place(&self) -> Place {
        let above = above(self.number, &ITEMS, ROOT_NUMBER, open());
        above.map_or(Place::Nowhere, |above| {
            Place::Named(above, self.name.as_bytes().into())
        })
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        list(self.items, self.base(), from, visit);
        Ok(())
    }
}

/// Returns the directory that has a directory of settings, looked for from one on.
fn above(
    wanted: u64,
    items: &'static [(&'static str, Item)],
    number: u64,
    directory: Arc<dyn Directory>,
) -> Option<Arc<dyn Directory>> {
    for (number, (name, item)) in (number + 1..).zip(items) {
        let Item::Settings(items) = item else {
            continue;
        };
        if number == wanted {
            return Some(directory);
        }
        let below = Arc::new(Settings {
            name,
            number,
            items,
        });
        let base = below.base();
        if let Some(found) = above(wanted, items, base, below) {
            return Some(found);
        }
    }
    None
}

/// A link to the directory of whoever asks.
#[derive(Debug)]
struct OwnLink {
    is_thread: bool,
    number: u64,
}

impl Inode for OwnLink {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::Link)
    }
}

impl Link for OwnLink {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        let thread = table::current_thread().ok_or(Errno::NoEntry)?;
        let process = thread.process().id();
        let text = if self.is_thread {
            alloc::format!("{process}/task/{}", thread.id())
        } else {
            alloc::format!("{process}")
        };
        Ok(text.into_bytes())
    }
}
