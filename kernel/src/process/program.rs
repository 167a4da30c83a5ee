//! Programs, from a file to memory that is complete.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use nucleus::mm::{PAGE_SIZE, UntypedMem, Vaddr, VmSpace, VmWriter};
use nucleus::random;
use nucleus::user::UserContext;

use super::arguments::Arguments;
use super::limits::Limits;
use super::script::{BEGINNING, Script};
use super::thread::Name;
use super::{elf, stack};
use crate::errno::Errno;
use crate::fs::FsContext;
use crate::fs::node::{Location, Node};
use crate::vm::{AddressSpace, MemoryObject};

/// How often a script's interpreter may be a script.
const MAX_SCRIPTS: usize = 5;

/// The bits of a file's mode that let somebody run it.
const ANY_EXECUTES: u16 = 0o111;

/// A file to run, and the path by which it was asked for.
#[derive(Debug)]
pub(crate) struct ProgramFile {
    /// A copy of what its first page holds.
    beginning: Vec<u8>,
    /// Its pages.
    object: Arc<dyn MemoryObject>,
    path: Vec<u8>,
    /// Where it was found.
    location: Location,
}

impl ProgramFile {
    /// Opens a file that is to be run.
    ///
    /// # Errors
    ///
    /// Those of finding it; [`Errno::Access`] for a directory, and for a file that
    /// nobody may run.
    pub(crate) fn open(context: &FsContext, path: &[u8]) -> Result<Self, Errno> {
        Self::at(context.walk(path).find(true)?.something()?, path)
    }

    /// Opens a file that was found, by a path that is its own, or was asked for.
    ///
    /// # Errors
    ///
    /// As [`Self::open`], but for those of finding it.
    pub(crate) fn at(location: Location, path: &[u8]) -> Result<Self, Errno> {
        let Node::File(file) = &location.node else {
            return Err(Errno::Access);
        };
        if file.metadata().permissions & ANY_EXECUTES == 0 {
            return Err(Errno::Access);
        }
        let object = Arc::clone(file).memory_object();
        let object = object.map_err(|_| Errno::Access)?;
        Ok(Self {
            beginning: read_beginning(&*object)?,
            object,
            path: path.to_vec(),
            location,
        })
    }
}

/// Reads what the first page of a file holds.
fn read_beginning(object: &dyn MemoryObject) -> Result<Vec<u8>, Errno> {
    let len = object.len().min(PAGE_SIZE);
    let mut beginning = Vec::new();
    let reserved = beginning.try_reserve_exact(len);
    reserved.map_err(|_| Errno::NoMemory)?;
    beginning.resize(len, 0);
    if len > 0 {
        let page = object.page(0)?;
        page.reader().read(&mut VmWriter::from(&mut beginning[..]));
    }
    Ok(beginning)
}

/// What others may know of the program that a process runs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Running {
    /// The path of the file that runs: that of a script's interpreter.
    pub(crate) path: String,
    /// Where in its memory the strings are that it was started with.
    pub(crate) arguments: Range<Vaddr>,
    pub(crate) environment: Range<Vaddr>,
}

/// A program that is ready to start.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) memory: Arc<AddressSpace>,
    pub(super) context: UserContext,
    pub(super) running: Running,
    pub(super) name: Name,
}

/// Makes the memory of a program. The active space is another one, or none, afterwards.
///
/// # Errors
///
/// [`Errno::NoExec`] for a file that is no program; those of opening a script's
/// interpreter; [`Errno::TooManyLinks`] when that is a script, and so on;
/// [`Errno::TooBig`]; [`Errno::NoMemory`].
pub(super) fn prepare(
    context: &FsContext,
    mut file: ProgramFile,
    mut arguments: Arguments,
    limits: &Limits,
) -> Result<Prepared, Errno> {
    // What the program is called by, and calls itself: the script's, if it is one.
    let first_path = file.path.clone();
    let name = name_of(&first_path);
    for _ in 0..=MAX_SCRIPTS {
        let beginning = &file.beginning[..file.beginning.len().min(BEGINNING)];
        let Some(script) = Script::parse(beginning)? else {
            return load(&file, &first_path, &arguments, limits, name);
        };
        arguments.interpret(script.interpreter, script.argument, &file.path)?;
        file = ProgramFile::open(context, script.interpreter)?;
    }
    Err(Errno::TooManyLinks)
}

fn load(
    file: &ProgramFile,
    path: &[u8],
    arguments: &Arguments,
    limits: &Limits,
    name: Name,
) -> Result<Prepared, Errno> {
    let memory = AddressSpace::new()?;
    memory.set_limits(limits.of_memory());
    let program = elf::load(&file.beginning, &file.object, random_base(), &memory)?;
    memory.activate();
    let stack = stack::build(&memory, &program, path, arguments);
    VmSpace::deactivate_current();
    let stack = stack?;
    Ok(Prepared {
        context: UserContext::new(program.entry, stack.pointer),
        memory,
        running: Running {
            path: String::from_utf8_lossy(&file.location.path()?).into_owned(),
            arguments: stack.arguments,
            environment: stack.environment,
        },
        name,
    })
}

/// Returns where to put a program that can be anywhere: at one of 2^28 pages, so that
/// nobody knows it who does not see it.
fn random_base() -> Vaddr {
    const PAGES: usize = 1 << 28;
    let mut bytes = [0; size_of::<usize>()];
    random::fill(&mut bytes);
    elf::PIE_BASE + usize::from_le_bytes(bytes) % PAGES * PAGE_SIZE
}

/// Returns the name of a thread that runs a file: the last part of its path.
fn name_of(path: &[u8]) -> Name {
    let last = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    let mut name = Name::default();
    let len = last.len().min(name.len() - 1);
    name[..len].copy_from_slice(&last[..len]);
    name
}

#[cfg(ktest)]
mod tests {
    use nucleus::mm::PageFlags;
    use nucleus::prelude::*;

    use super::{
        AddressSpace, Arc, Arguments, FsContext, Limits, Node, PAGE_SIZE, ProgramFile, VmSpace,
        prepare,
    };
    use crate::vm::MapRequest;

    /// Returns a file of the initramfs that claims to hold something else.
    fn file_of(context: &FsContext, contents: &[u8]) -> ProgramFile {
        let path = b"/boot/cmdline";
        let found = context.walk(path).find(true);
        let location = found.and_then(|found| found.something());
        let location = location.expect("xtask puts it there");
        let Node::File(file) = &location.node else {
            panic!("{location:?} is no file");
        };
        ProgramFile {
            beginning: contents.to_vec(),
            object: Arc::clone(file).memory_object().expect("it has pages"),
            path: path.to_vec(),
            location,
        }
    }

    #[ktest]
    fn peer_100_program_that_cannot_start_leaves_the_old_one_its_memory() {
        let old = AddressSpace::new().expect("enough memory");
        old.activate();
        let request = MapRequest::anonymous(PAGE_SIZE, PageFlags::RW);
        let page = old.map(&request).expect("there is room");
        old.write_bytes(page, b"still here").expect("it is mapped");

        let context = FsContext::new();
        let limits = Limits::default();
        for contents in [&b"\x7fELF and nothing"[..], b"#!/bin/none", b""] {
            let arguments = Arguments::from_kernel(&["x"], &[], &limits);
            let arguments = arguments.expect("they are few");
            let file = file_of(&context, contents);
            let prepared = prepare(&context, file, arguments, &limits);
            assert!(prepared.is_err(), "{contents:?} cannot be run");
        }
        old.activate();
        let mut bytes = [0; 10];
        old.read_bytes(page, &mut bytes).expect("it is mapped");
        assert_eq!(&bytes, b"still here");
        VmSpace::deactivate_current();
    }
}
