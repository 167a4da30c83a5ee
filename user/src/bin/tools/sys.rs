//! Memory and processes by system calls: all of this program's `unsafe` code.

use std::io;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) const PAGE: usize = 4096;

/// Anonymous memory that is used as words, by any thread at any time, and whose pages
/// can be taken away and protected meanwhile.
///
/// A word outside, or in pages that are not to be used, kills the process: that is
/// what there is an address space for.
#[derive(Debug)]
pub(crate) struct Memory {
    address: usize,
    len: usize,
}

impl Memory {
    /// Maps memory; shared, it is one with that of processes that are forked.
    pub(crate) fn new(len: usize, is_shared: bool) -> io::Result<Self> {
        let kind = if is_shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = kind | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: The kernel chooses a place where nothing is.
        let address = unsafe { libc::mmap(null_mut(), len, protection, flags, -1, 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let address = address.addr();
        Ok(Self { address, len })
    }

    pub(crate) fn pages(&self) -> usize {
        self.len / PAGE
    }

    /// Returns the word at an offset, which is rounded down to a whole word.
    fn word(&self, offset: usize) -> &AtomicU64 {
        assert!(offset < self.len, "{offset:#x} is outside");
        let place = (self.address + offset) & !7;
        // SAFETY: The word is in the mapping, which nothing but such words uses, and
        // which stays as long as this value is there.
        unsafe { AtomicU64::from_ptr(place as *mut u64) }
    }

    // Relaxed, both: whoever shares words agrees on who may use them by other means.
    pub(crate) fn read(&self, offset: usize) -> u64 {
        self.word(offset).load(Ordering::Relaxed)
    }

    pub(crate) fn write(&self, offset: usize, value: u64) {
        self.word(offset).store(value, Ordering::Relaxed);
    }

    /// Returns the address of a range of pages, which has to be inside.
    fn range(&self, page: usize, pages: usize) -> (*mut libc::c_void, usize) {
        assert!(page + pages <= self.pages(), "{page}+{pages} is outside");
        let place = self.address + page * PAGE;
        (place as *mut libc::c_void, pages * PAGE)
    }

    /// Puts new pages in the place of some.
    pub(crate) fn renew(&self, page: usize, pages: usize) -> io::Result<()> {
        let (place, len) = self.range(page, pages);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
        // SAFETY: The pages are this mapping's own, and words may have any value.
        let result = unsafe { libc::mmap(place, len, protection, flags, -1, 0) };
        if result == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Lets pages be written to, or not; they can be read in any case.
    pub(crate) fn protect(&self, page: usize, pages: usize, is_writable: bool) -> io::Result<()> {
        let (place, len) = self.range(page, pages);
        let write = if is_writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: The pages are this mapping's own.
        check(unsafe { libc::mprotect(place, len, libc::PROT_READ | write) })
    }

    /// Makes pages empty again.
    pub(crate) fn discard(&self, page: usize, pages: usize) -> io::Result<()> {
        let (place, len) = self.range(page, pages);
        // SAFETY: As above, and words may have any value.
        check(unsafe { libc::madvise(place, len, libc::MADV_DONTNEED) })
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: Nobody refers to the mapping any more. A failure leaves it mapped.
        unsafe { libc::munmap(self.address as *mut libc::c_void, self.len) };
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Runs `child` in a copy of this process and waits for it; returns its status as
/// shells have it.
///
/// The copy has one thread, the caller's, so that `child` must not wait for others:
/// it does not allocate or print, for whoever held those locks is not there.
pub(crate) fn in_a_copy(child: impl FnOnce() -> u8) -> io::Result<u8> {
    // SAFETY: The copy calls `child` and ends, without what is run at an exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let status = child();
        // SAFETY: Ends the process.
        unsafe { libc::_exit(i32::from(status)) };
    }
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut status = 0;
    loop {
        // SAFETY: The status is where the kernel may write it.
        let result = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if result == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    if libc::WIFSIGNALED(status) {
        return Ok(128 + libc::WTERMSIG(status) as u8);
    }
    Ok(libc::WEXITSTATUS(status) as u8)
}
