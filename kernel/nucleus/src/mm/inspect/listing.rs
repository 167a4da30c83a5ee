//! A page table as people read it: one line for equal neighbours.
//!
//! ```text
//! ffff800000000000-ffff80000009f000    636 KiB  4K  rw-  k g wb  linear map
//! ffff800000100000-ffff800000400000      3 MiB  4K  rw-  k g wb  linear map
//! ffff800000400000-ffff800040000000   1020 MiB  2M  rw-  k g wb  linear map
//! ```
//!
//! A line tells: the first address and the one behind the last, which is zero behind the
//! end of all; how much that is; the size of the pages; what they allow, by all entries
//! on their way; whether they are the kernel's or a user's; whether their translations
//! are global; how they are cached; what the range is for. Pages are folded when all of
//! that is the same and nothing is between them, wherever they lead and whether or not
//! they have been used. `---` is a page that is kept without any right.
//!
//! Nothing is locked, and no memory is needed. Each line is found in a read section of its
//! own and written after it, so that whoever writes may take its time; lines of a table
//! that changes meanwhile may be of different moments.

use core::fmt::{self, Write};
use core::ops::{ControlFlow, Range};

use super::walk::{Met, Next, is_memory, walk};
use crate::arch::raw_entry::{Rights, Target};
use crate::cpu::disable_preempt;
use crate::mm::kspace::kernel_page_table;
use crate::mm::kspace::layout::{KERNEL_ROOT_INDEX, name_of};
use crate::mm::paging::{PagingConsts, page_size};
use crate::mm::{NR_ENTRIES, Paddr, PagingLevel, Vaddr};
use crate::sync::rcu;

/// Writes the kernel's half of the address space.
///
/// May be called anywhere, in handlers of interrupts too.
///
/// # Errors
///
/// Those of `out`.
pub fn write_kernel_half(out: &mut dyn Write) -> fmt::Result {
    let root = kernel_page_table().root_paddr();
    write(root, &(KERNEL_ROOT_INDEX..NR_ENTRIES), out)
}

/// Writes what a root, which the caller keeps, has for users.
pub(in crate::mm) fn write_user_half(root: Paddr, out: &mut dyn Write) -> fmt::Result {
    write(root, &(0..KERNEL_ROOT_INDEX), out)
}

/// Writes what these entries of a root translate, and totals.
fn write(root: Paddr, roots: &Range<usize>, out: &mut dyn Write) -> fmt::Result {
    let mut pages = [0_usize; 3];
    let mut next = Some(0);
    while let Some(run) = next.and_then(|from| next_run(root, roots, from)) {
        writeln!(out, "{run}")?;
        if run.look.kind == Kind::Page {
            pages[usize::from(run.look.level) - 1] += run.nr_pages();
        }
        next = run.last.checked_add(1);
    }
    let [small, large, huge] = pages;
    let tables = count_tables(root, roots);
    writeln!(
        out,
        "{small} pages of 4 KiB, {large} of 2 MiB, {huge} of 1 GiB in {tables} tables"
    )
}

/// What is the same of pages that are folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    level: PagingLevel,
    kind: Kind,
    rights: Rights,
    is_global: bool,
    cache: &'static str,
    name: &'static str,
}

/// What an entry is that leads to no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A page.
    Page,
    /// A page that is kept, and which the hardware does not see.
    Hidden,
    /// A table where there is no memory.
    Damaged,
}

/// Equal pages side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: Vaddr,
    /// The last address; what is behind it may not be one.
    last: Vaddr,
    look: Look,
}

impl Run {
    /// Returns what an entry is alone, if it leads to no table.
    fn of(met: &Met) -> Option<Self> {
        let kind = match met.target {
            Target::Node(node) if is_memory(node) => return None,
            Target::Node(_) => Kind::Damaged,
            Target::Hidden => Kind::Hidden,
            Target::Page(_) => Kind::Page,
            Target::Nothing => return None,
        };
        Some(Self {
            start: met.vaddr,
            last: met.vaddr + (page_size::<PagingConsts>(met.level) - 1),
            look: Look {
                level: met.level,
                kind,
                rights: met.rights,
                is_global: met.entry.is_global(),
                cache: met.entry.cache(met.level),
                name: name_of(met.vaddr),
            },
        })
    }

    /// Takes another one in, if it is equal and next, or the same; returns whether.
    fn takes_in(&mut self, other: &Self) -> bool {
        let is_next = self.last.checked_add(1) == Some(other.start);
        let joins = (is_next && self.look == other.look) || self == other;
        if joins {
            self.last = other.last;
        }
        joins
    }

    fn nr_pages(&self) -> usize {
        (self.last - self.start) / page_size::<PagingConsts>(self.look.level) + 1
    }
}

/// Returns the first run at or behind an address.
fn next_run(root: Paddr, roots: &Range<usize>, from: Vaddr) -> Option<Run> {
    let mut found: Option<Run> = None;
    let guard = disable_preempt();
    let _section = rcu::read(&guard);
    walk(root, roots, from, &mut |met| {
        let Some(next) = Run::of(met) else {
            return ControlFlow::Continue(Next::Down);
        };
        if !found.get_or_insert(next).takes_in(&next) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(Next::Down)
    });
    found
}

/// Counts the tables below a root, those that stand in for many once.
fn count_tables(root: Paddr, roots: &Range<usize>) -> usize {
    let mut count = 0;
    let guard = disable_preempt();
    let _section = rcu::read(&guard);
    walk(root, roots, 0, &mut |met| {
        let is_table = matches!(met.target, Target::Node(_));
        if is_table && met.is_repeated {
            return ControlFlow::Continue(Next::Right);
        }
        count += usize::from(is_table);
        ControlFlow::Continue(Next::Down)
    });
    count
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Look { level, name, .. } = self.look;
        let (amount, unit) = in_units(self.last - self.start);
        let size = ["4K", "2M", "1G", "512G"][usize::from(level) - 1];
        write!(
            f,
            "{:016x}-{:016x} {amount:>6} {unit}  {size}  {}{}{name}",
            self.start,
            self.last.wrapping_add(1),
            self.look,
            if name.is_empty() { "" } else { "  " }
        )
    }
}

impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rights, cache, .. } = self;
        let letter = |holds, letter| if holds { letter } else { '-' };
        let is_seen = match self.kind {
            Kind::Page => true,
            Kind::Hidden => false,
            Kind::Damaged => return f.write_str("A TABLE WHERE THERE IS NO MEMORY"),
        };
        write!(
            f,
            "{}{}{}  {} {} {cache}",
            letter(is_seen, 'r'),
            letter(is_seen && rights.write, 'w'),
            letter(is_seen && rights.execute, 'x'),
            if rights.user { 'u' } else { 'k' },
            letter(self.is_global, 'g'),
        )
    }
}

/// Returns a number of bytes, less one, in the largest unit of which it is a multiple.
fn in_units(bytes_less_one: usize) -> (usize, &'static str) {
    // Pages are whole KiB, so that nothing is lost, and nothing overflows.
    let kib = (bytes_less_one >> 10) + 1;
    [(30, "TiB"), (20, "GiB"), (10, "MiB")]
        .into_iter()
        .find(|(shift, _)| kib.trailing_zeros() >= *shift)
        .map_or((kib, "KiB"), |(shift, unit)| (kib >> shift, unit))
}
