//! Where a process is in the tree of files.

use alloc::sync::Arc;

use nucleus::sync::Mutex;

use super::node::Directory;
use super::path::Walk;
use super::root;

/// The permissions that are taken from what a process creates, at first.
const DEFAULT_UMASK: u16 = 0o022;

/// The directory that relative paths start from, and the permissions that are taken
/// from what is created. Threads share it, and processes if they are asked to.
#[derive(Debug)]
pub(crate) struct FsContext {
    state: Mutex<State>,
}

#[derive(Clone, Debug)]
struct State {
    directory: Arc<dyn Directory>,
    umask: u16,
}

impl FsContext {
    /// Returns that of the first process, which is in the root.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                directory: root(),
                umask: DEFAULT_UMASK,
            }),
        }
    }

    /// Returns the same for another process.
    pub(crate) fn fork(&self) -> Self {
        Self {
            state: Mutex::new(self.state.lock().clone()),
        }
    }

    pub(crate) fn directory(&self) -> Arc<dyn Directory> {
        Arc::clone(&self.state.lock().directory)
    }

    pub(crate) fn set_directory(&self, directory: Arc<dyn Directory>) {
        // Dropped without the lock: it may be the last handle of a removed directory.
        let _old = core::mem::replace(&mut self.state.lock().directory, directory);
    }

    pub(crate) fn umask(&self) -> u16 {
        self.state.lock().umask
    }

    /// Sets the permissions to take away; returns what they were.
    pub(crate) fn set_umask(&self, umask: u16) -> u16 {
        core::mem::replace(&mut self.state.lock().umask, umask & 0o777)
    }

    /// Begins a walk along a path, from the current directory if it is relative.
    pub(crate) fn walk(&self, path: &[u8]) -> Walk {
        Walk::new(root(), self.directory(), path)
    }
}
