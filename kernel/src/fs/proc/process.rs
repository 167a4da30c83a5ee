//! The directory of a process in `/proc`, and those of its threads.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::descriptors::Descriptors;
use super::text::{Text, TextFile};
use super::{memory, metadata, open, parse_number, status, system};
use crate::errno::Errno;
use crate::fs::node::{
    Destination, Directory, Inode, Kind, Link, Listed, Location, Metadata, Node, Place,
};
use crate::fs::path::path_of_directory;
use crate::fs::root;
use crate::process::{Pid, Process, Thread};

/// What writes a text about a process.
type Write = fn(&Process, &mut Text) -> fmt::Result;

/// What is in the directory.
#[derive(Clone, Copy, Debug)]
enum Item {
    Text(Write),
    Program,
    CurrentDirectory,
    Root,
    Descriptors,
    Threads,
}

/// All there is.
const ITEMS: [(&str, Item); 15] = [
    ("cmdline", Item::Text(status::command_line)),
    ("comm", Item::Text(status::name)),
    ("cwd", Item::CurrentDirectory),
    ("environ", Item::Text(status::environment)),
    ("exe", Item::Program),
    ("fd", Item::Descriptors),
    ("maps", Item::Text(memory::maps)),
    ("mounts", Item::Text(mounts)),
    ("pagetable", Item::Text(memory::page_table)),
    ("root", Item::Root),
    ("smaps", Item::Text(memory::smaps)),
    ("stat", Item::Text(status::stat)),
    ("statm", Item::Text(memory::statm)),
    ("status", Item::Text(status::status)),
    // The last one, since threads have no directory of threads.
    ("task", Item::Threads),
];

/// Returns the number of an inode that belongs to a process.
pub(super) const fn number(pid: u64, part: u64) -> u64 {
    pid << 32 | part
}

/// The directory of a process, or of one of its threads.
#[derive(Debug)]
pub(super) struct ProcessDirectory {
    process: Arc<Process>,
    thread: Option<Pid>,
}

impl ProcessDirectory {
    pub(super) const fn new(process: Arc<Process>) -> Self {
        Self {
            process,
            thread: None,
        }
    }

    /// Returns the number of the inode of a part; zero is the directory's own.
    fn number(&self, part: u64) -> u64 {
        let id = self.thread.unwrap_or(self.process.id());
        let of_thread = u64::from(self.thread.is_some()) << 31;
        number(u64::from(id.as_u32()), of_thread | part)
    }

    fn items(&self) -> &'static [(&'static str, Item)] {
        match self.thread {
            None => &ITEMS,
            Some(_) => &ITEMS[..ITEMS.len() - 1],
        }
    }

    fn node(&self, item: Item, number: u64) -> Node {
        let process = Arc::clone(&self.process);
        match item {
            Item::Text(write) => {
                Node::File(Arc::new(TextFile::new(number, move |text: &mut Text| {
                    write(&process, text)
                })))
            }
            Item::Descriptors => Node::Directory(Arc::new(Descriptors::new(process, number))),
            Item::Threads => Node::Directory(Arc::new(Threads { process, number })),
            Item::Program | Item::CurrentDirectory | Item::Root => {
                Node::Link(Arc::new(ProcessLink {
                    process,
                    number,
                    item,
                }))
            }
        }
    }
}

impl Item {
    const fn kind(self) -> Kind {
        match self {
            Self::Text(_) => Kind::File,
            Self::Program | Self::CurrentDirectory | Self::Root => Kind::Link,
            Self::Descriptors | Self::Threads => Kind::Directory,
        }
    }
}

impl Inode for ProcessDirectory {
    fn metadata(&self) -> Metadata {
        metadata(self.number(0), Kind::Directory)
    }
}

impl Directory for ProcessDirectory {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        let mut items = (1..).zip(self.items());
        let found = items.find(|(_, (other, _))| other.as_bytes() == name);
        Ok(found.map(|(part, (_, item))| self.node(*item, self.number(part))))
    }

    fn place(&self) -> Place {
        let pid = self.process.id();
        let (above, name): (Arc<dyn Directory>, _) = match self.thread {
            None => (open(), alloc::format!("{pid}")),
            Some(thread) => {
                let number = number(u64::from(pid.as_u32()), ITEMS.len() as u64);
                let process = Arc::clone(&self.process);
                let threads = Threads { process, number };
                (Arc::new(threads), alloc::format!("{thread}"))
            }
        };
        Place::Named(above, name.as_bytes().into())
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        for (position, (name, item)) in (0..).zip(self.items()) {
            let listed = Listed {
                name: name.as_bytes(),
                number: self.number(position + 1),
                kind: item.kind(),
                next: position + 1,
            };
            if from <= position && !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

/// The directory of a process's threads.
#[derive(Debug)]
struct Threads {
    process: Arc<Process>,
    number: u64,
}

impl Threads {
    fn directory(&self, thread: &Thread) -> ProcessDirectory {
        ProcessDirectory {
            process: Arc::clone(&self.process),
            thread: Some(thread.id()),
        }
    }
}

impl Inode for Threads {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::Directory)
    }
}

impl Directory for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Option<Node>, Errno> {
        let Some(id) = parse_number(name).and_then(Pid::new) else {
            return Ok(None);
        };
        let threads = self.process.threads();
        let mut found = threads.iter().filter(|thread| thread.id() == id);
        let directory = found.next().map(|thread| self.directory(thread));
        Ok(directory.map(|directory| Node::Directory(Arc::new(directory))))
    }

    fn place(&self) -> Place {
        let above = ProcessDirectory::new(Arc::clone(&self.process));
        Place::Named(Arc::new(above), b"task"[..].into())
    }

    fn list(&self, from: u64, visit: &mut dyn FnMut(Listed<'_>) -> bool) -> Result<(), Errno> {
        let mut ids: Vec<_> = self.process.threads().iter().map(|one| one.id()).collect();
        ids.sort();
        for id in ids {
            let id = id.as_u32();
            let name = alloc::format!("{id}");
            let listed = Listed {
                name: name.as_bytes(),
                number: number(u64::from(id), 1 << 31),
                kind: Kind::Directory,
                next: u64::from(id),
            };
            if from < u64::from(id) && !visit(listed) {
                break;
            }
        }
        Ok(())
    }
}

/// A link to something that a process has.
#[derive(Debug)]
struct ProcessLink {
    process: Arc<Process>,
    number: u64,
    item: Item,
}

impl Inode for ProcessLink {
    fn metadata(&self) -> Metadata {
        metadata(self.number, Kind::Link)
    }
}

impl ProcessLink {
    fn directory(&self) -> Result<Arc<dyn Directory>, Errno> {
        match self.item {
            Item::CurrentDirectory => {
                let resources = self.process.resources().ok_or(Errno::NoEntry)?;
                Ok(resources.fs.directory())
            }
            _ => Ok(root()),
        }
    }
}

impl Link for ProcessLink {
    fn text(&self) -> Result<Vec<u8>, Errno> {
        match self.item {
            Item::Program => Ok(self.process.program().into_bytes()),
            _ => path_of_directory(&self.directory()?),
        }
    }

    fn destination(&self) -> Result<Destination, Errno> {
        match self.item {
            Item::Program => self.text().map(Destination::Path),
            _ => Ok(Destination::Node(Location {
                node: Node::Directory(self.directory()?),
                name: None,
            })),
        }
    }
}

fn mounts(_process: &Process, text: &mut Text) -> fmt::Result {
    system::mounted(text)
}
