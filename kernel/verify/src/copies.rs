//! Copying into another table, beside its specification.
//!
//! The other table is made for the copy and maps nothing; it has a cursor on the same
//! range. Both tables are compared, the references of frames that both lead to, and
//! that what the copy says it has changed is all that it has.

use std::panic::{AssertUnwindSafe, catch_unwind};

use model::{Cursor, Intent, Property, Table, cursor, fork};
use nucleus::check::{CopyLog, Driver, Subject};
use nucleus::cpu::disable_preempt;
use nucleus::mm::PAGE_SIZE;
use nucleus::mm::page_table::PageTableError;

use crate::pair::{Book, Disagreement, Done, Real, abstraction, geometry, property};

/// How a real copy ended; nothing if it panicked.
type Said = Option<Result<usize, PageTableError>>;

/// Both tables, and where their cursors stand.
struct Seen {
    source: Table,
    copy: Table,
    at: (usize, usize),
}

impl Book {
    /// Copies so many pages in both worlds, and compares what comes of it.
    pub(crate) fn copy<const ENTRIES: usize>(
        &mut self,
        (subject, real): (&Subject<ENTRIES>, &mut Real<'_, ENTRIES>),
        cursor: &mut Cursor,
        (pages, prop): (usize, Property),
    ) -> Result<Done, Disagreement> {
        let Real::Change(source) = real else {
            return Err("a cursor that only looks copies nothing".to_owned());
        };
        let Ok(other) = Subject::<ENTRIES>::new() else {
            return self.no_room_for_a_copy(subject);
        };
        let guard = disable_preempt();
        let Ok(mut copy) = other.cursor_mut(&guard, &cursor.barrier) else {
            drop(other);
            return self.no_room_for_a_copy(subject);
        };
        move_to(&copy, cursor);
        let empty = Table::empty(geometry(ENTRIES));
        let opened = cursor::open(&empty, &cursor.barrier, Intent::Change);
        let (empty, _) = opened.map_err(|why| format!("it cannot be opened: {why:?}"))?;

        let mut log = CopyLog::default();
        let said = {
            let body = || copy.copy_from(source, pages * PAGE_SIZE, |_| property(prop), &mut log);
            catch_unwind(AssertUnwindSafe(body)).ok()
        };
        let seen = Seen {
            source: abstraction(subject)?,
            copy: abstraction(&other)?,
            at: (source.cursor().virt_addr(), copy.cursor().virt_addr()),
        };
        let most = match said {
            Some(Err(_)) => seen.copy.leaves.len(),
            _ => usize::MAX,
        };
        let len = pages * PAGE_SIZE;
        let before = (&self.model, &*cursor);
        let wanted = fork::copy(before, (&empty, cursor), (len, most), |_| prop);
        let done = self.judge_copy(cursor, (said, seen, log), wanted)?;
        let nodes = abstraction(&other)?;
        self.compare_frames_with(Some(&nodes))?;
        drop(copy);
        drop(other);
        self.compare(subject)?;
        Ok(done)
    }

    /// Without memory for the other table, nothing has happened.
    fn no_room_for_a_copy<const ENTRIES: usize>(
        &mut self,
        subject: &Subject<ENTRIES>,
    ) -> Result<Done, Disagreement> {
        self.compare(subject)?;
        Ok(Done::NoMemory)
    }

    fn judge_copy(
        &mut self,
        cursor: &mut Cursor,
        (said, seen, log): (Said, Seen, CopyLog),
        wanted: Result<fork::Forked, cursor::Misuse>,
    ) -> Result<Done, Disagreement> {
        let forked = match (said, wanted) {
            (None, Err(_)) if seen.source == self.model && seen.at == (cursor.va, cursor.va) => {
                return Ok(Done::Yes);
            }
            (Some(_), Ok(forked)) => forked,
            (said, wanted) => return Err(format!("a copy said {said:?}, not {wanted:x?}")),
        };
        let whole = cursor.barrier.clone();
        if !fork::covers_changes((&self.model, &seen.source), &whole, &log.changed) {
            return Err(format!("a copy changed more than {:x?}", log.changed));
        }
        match said {
            Some(Ok(count)) => {
                let is_same = count == forked.count
                    && seen.at == (forked.at, forked.at)
                    && (&seen.source, &seen.copy) == (&forked.source, &forked.copy);
                if !is_same {
                    return Err(format!(
                        "a copy said {count} at {:x?} and made {:x?} of {:x?}, not {forked:x?}",
                        seen.at, seen.copy, seen.source
                    ));
                }
                (self.model, cursor.va) = (forked.source, forked.at);
                Ok(Done::Yes)
            }
            _ => {
                let pages = whole.step_by(PAGE_SIZE);
                let mut wrong = pages.filter(|va| {
                    seen.source.translate(*va) != forked.source.translate(*va)
                        || seen.copy.translate(*va) != forked.copy.translate(*va)
                });
                if let Some(va) = wrong.next() {
                    return Err(format!("without memory, {va:#x} is wrong after a copy"));
                }
                if seen.at != (cursor.va, cursor.va) {
                    return Err(format!("without memory, a copy moved to {:x?}", seen.at));
                }
                self.model = seen.source;
                Ok(Done::NoMemory)
            }
        }
    }
}

/// Moves the cursor of an empty table to where another one is, which may be its end.
fn move_to<const ENTRIES: usize>(copy: &Driver<'_, ENTRIES>, cursor: &Cursor) {
    if copy.cursor().jump(cursor.va).is_err() {
        let found = copy.cursor().find_next(cursor.barrier.len());
        assert_eq!(found, None, "the table is empty");
    }
}
