//! Frames beside the specification of their lives.
//!
//! A few frames side by side are claimed, looked up, cloned, shared, made unique
//! and dropped, by handles of all kinds, in random order. After each operation,
//! every frame of them is what the specification says: its state, the number of
//! its references, its data, and whether the allocator counts it as free.

use model::frame::{self, NotHad, State};
use nucleus::impl_frame_meta_for;
use nucleus::mm::frame::{AnyFrameMeta, GetFrameError, UniqueFrame, frame_counts};
use nucleus::mm::{Frame, FrameAllocOptions, PAGE_SIZE, Segment};
use proptest::prelude::*;

use crate::Effort;
use crate::report::Row;
use crate::script::Bench;
use crate::search::Scripts;

/// Frames that scripts are about.
const FRAMES: usize = 3;

/// What a frame of ours carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark(u64);
impl_frame_meta_for!(Mark);

/// What can be done; handles are named by their place among those there are.
#[derive(Clone, Debug)]
enum Op {
    Claim(usize, u64),
    ClaimUnique(usize, u64),
    ClaimSegment(usize, usize, u64),
    LookUp(usize),
    Clone(usize),
    Drop(usize),
    MakeUnique(usize),
    Share(usize),
    Repurpose(usize, u64),
    Slice(usize, usize, usize),
    Split(usize, usize),
    Next(usize),
}

/// A handle of one kind or another.
#[derive(Debug)]
enum Handle {
    Shared(Frame<Mark>),
    Any(Frame<dyn AnyFrameMeta>),
    Unique(UniqueFrame<Mark>),
    Segment(Segment<Mark>),
}

fn op() -> impl Strategy<Value = Op> {
    let frame = || 0..FRAMES;
    let handle = || 0..8_usize;
    prop_oneof![
        2 => (frame(), any::<u64>()).prop_map(|(frame, mark)| Op::Claim(frame, mark)),
        2 => (frame(), any::<u64>()).prop_map(|(frame, mark)| Op::ClaimUnique(frame, mark)),
        1 => (frame(), 1..=FRAMES, any::<u64>())
            .prop_map(|(first, count, mark)| Op::ClaimSegment(first, count, mark)),
        2 => frame().prop_map(Op::LookUp),
        3 => handle().prop_map(Op::Clone),
        6 => handle().prop_map(Op::Drop),
        2 => handle().prop_map(Op::MakeUnique),
        2 => handle().prop_map(Op::Share),
        1 => (handle(), any::<u64>()).prop_map(|(handle, mark)| Op::Repurpose(handle, mark)),
        1 => (handle(), frame(), 1..=FRAMES)
            .prop_map(|(handle, first, count)| Op::Slice(handle, first, count)),
        1 => (handle(), 1..FRAMES).prop_map(|(handle, count)| Op::Split(handle, count)),
        1 => handle().prop_map(Op::Next),
    ]
}

/// What the specification knows of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    state: State,
    mark: u64,
}

struct World {
    start: usize,
    known: [Known; FRAMES],
    handles: Vec<Handle>,
    free_at_first: usize,
}

fn reason(why: GetFrameError) -> Option<NotHad> {
    match why {
        GetFrameError::InUse => Some(NotHad::InUse),
        GetFrameError::Unique => Some(NotHad::Unique),
        GetFrameError::Unused => Some(NotHad::Unused),
        GetFrameError::Reserved => Some(NotHad::Reserved),
        _ => None,
    }
}

/// Compares what an operation said about one frame.
fn agree<T>(
    real: Result<T, GetFrameError>,
    wanted: Result<State, NotHad>,
) -> Result<Option<(T, State)>, String> {
    match (real, wanted) {
        (Ok(handle), Ok(state)) => Ok(Some((handle, state))),
        (Err(why), Err(wanted)) if reason(why) == Some(wanted) => Ok(None),
        (real, wanted) => Err(format!(
            "it said {:?} and not {wanted:?}",
            real.map(|_| "a handle")
        )),
    }
}

impl World {
    fn new() -> Self {
        let frames = FrameAllocOptions::new()
            .alloc_segment(FRAMES)
            .expect("there is memory at first");
        let start = frames.start_paddr();
        drop(frames);
        Self {
            start,
            known: [Known {
                state: State::Unused,
                mark: 0,
            }; FRAMES],
            handles: Vec::new(),
            free_at_first: frame_counts().free,
        }
    }

    fn paddr(&self, frame: usize) -> usize {
        self.start + frame * PAGE_SIZE
    }

    fn number(&self, paddr: usize) -> usize {
        (paddr - self.start) / PAGE_SIZE
    }

    /// Returns the frames that a handle has references of.
    fn frames_of(&self, handle: &Handle) -> std::ops::Range<usize> {
        let (paddr, size) = match handle {
            Handle::Shared(frame) => (frame.start_paddr(), PAGE_SIZE),
            Handle::Any(frame) => (frame.start_paddr(), PAGE_SIZE),
            Handle::Unique(frame) => (frame.start_paddr(), PAGE_SIZE),
            Handle::Segment(frames) => (frames.start_paddr(), frames.size()),
        };
        let first = self.number(paddr);
        first..first + size / PAGE_SIZE
    }

    fn change(&mut self, frames: std::ops::Range<usize>, change: fn(State) -> State) {
        for known in &mut self.known[frames] {
            known.state = change(known.state);
        }
    }

    fn apply(&mut self, op: &Op) -> Result<(), String> {
        match *op {
            Op::Claim(frame, mark) => {
                let real = Frame::from_unused(self.paddr(frame), Mark(mark));
                if let Some((handle, state)) = agree(real, frame::claim(self.known[frame].state))? {
                    self.known[frame] = Known { state, mark };
                    self.handles.push(Handle::Shared(handle));
                }
            }
            Op::ClaimUnique(frame, mark) => {
                let real = UniqueFrame::from_unused(self.paddr(frame), Mark(mark));
                let wanted = frame::claim_unique(self.known[frame].state);
                if let Some((handle, state)) = agree(real, wanted)? {
                    self.known[frame] = Known { state, mark };
                    self.handles.push(Handle::Unique(handle));
                }
            }
            Op::ClaimSegment(first, count, mark) => {
                let frames = first..(first + count).min(FRAMES);
                let range = self.paddr(frames.start)..self.paddr(frames.end);
                let real = Segment::from_unused(range, |_| Mark(mark));
                // The first frame that cannot be had is the reason.
                let known = &self.known[frames.clone()];
                let wanted = known
                    .iter()
                    .try_fold(State::Unused, |_, known| frame::claim(known.state));
                if let Some((handle, state)) = agree(real, wanted)? {
                    self.known[frames].fill(Known { state, mark });
                    self.handles.push(Handle::Segment(handle));
                }
            }
            Op::LookUp(frame) => {
                let real = Frame::<dyn AnyFrameMeta>::from_in_use(self.paddr(frame));
                let wanted = frame::look_up(self.known[frame].state);
                if let Some((handle, state)) = agree(real, wanted)? {
                    self.known[frame].state = state;
                    self.handles.push(Handle::Any(handle));
                }
            }
            _ => self.apply_to_handle(op),
        }
        self.compare()
    }

    /// Applies an operation to a handle, if there is one of that kind.
    fn apply_to_handle(&mut self, op: &Op) {
        let (Op::Clone(index)
        | Op::Drop(index)
        | Op::MakeUnique(index)
        | Op::Share(index)
        | Op::Repurpose(index, _)
        | Op::Slice(index, ..)
        | Op::Split(index, _)
        | Op::Next(index)) = *op
        else {
            return;
        };
        if index >= self.handles.len() {
            return;
        }
        let handle = self.handles.swap_remove(index);
        let frames = self.frames_of(&handle);
        match (op, handle) {
            (Op::Clone(_), Handle::Shared(handle)) => {
                self.handles.push(Handle::Shared(handle.clone()));
                self.handles.push(Handle::Shared(handle));
                self.change(frames, frame::clone);
            }
            (Op::Clone(_), Handle::Any(handle)) => {
                self.handles.push(Handle::Any(handle.clone()));
                self.handles.push(Handle::Any(handle));
                self.change(frames, frame::clone);
            }
            (Op::Clone(_), Handle::Segment(handle)) => {
                self.handles.push(Handle::Segment(handle.clone()));
                self.handles.push(Handle::Segment(handle));
                self.change(frames, frame::clone);
            }
            (Op::Drop(_), handle) => {
                drop(handle);
                self.change(frames, frame::drop);
            }
            (Op::MakeUnique(_), Handle::Shared(handle)) => {
                match UniqueFrame::try_from(handle) {
                    Ok(unique) => self.handles.push(Handle::Unique(unique)),
                    Err(handle) => self.handles.push(Handle::Shared(handle)),
                }
                self.change(frames, frame::make_unique);
            }
            (Op::Share(_), Handle::Unique(handle)) => {
                self.handles.push(Handle::Shared(handle.into()));
                self.change(frames, frame::share);
            }
            (Op::Repurpose(_, mark), Handle::Unique(handle)) => {
                let handle = handle.repurpose(Mark(*mark));
                self.handles.push(Handle::Unique(handle));
                self.known[frames.start].mark = *mark;
            }
            (op, Handle::Segment(handle)) => self.apply_to_segment(op, handle, frames),
            (_, handle) => self.handles.push(handle),
        }
    }

    /// Applies an operation that only segments have.
    fn apply_to_segment(
        &mut self,
        op: &Op,
        mut handle: Segment<Mark>,
        frames: std::ops::Range<usize>,
    ) {
        match *op {
            Op::Slice(_, first, count) => {
                let first = first % frames.len();
                let end = (first + count).min(frames.len());
                let slice = handle.slice(&(first * PAGE_SIZE..end * PAGE_SIZE));
                self.handles.push(Handle::Segment(slice));
                self.change(frames.start + first..frames.start + end, frame::clone);
            }
            Op::Split(_, count) if count < frames.len() => {
                let (left, right) = handle.split(count * PAGE_SIZE);
                self.handles.push(Handle::Segment(left));
                handle = right;
            }
            Op::Next(_) => self.handles.extend(handle.next().map(Handle::Shared)),
            _ => {}
        }
        if handle.size() > 0 {
            self.handles.push(Handle::Segment(handle));
        }
    }

    /// Compares every frame with what is known of it.
    fn compare(&mut self) -> Result<(), String> {
        for handle in &self.handles {
            let frames = self.frames_of(handle);
            let mark = self.known[frames.start].mark;
            let (count, is_marked) = match handle {
                Handle::Shared(frame) => (frame.reference_count(), frame.meta().0 == mark),
                Handle::Any(frame) => (frame.reference_count(), true),
                Handle::Unique(frame) => (0, frame.meta().0 == mark),
                Handle::Segment(frames) => (frames.reference_count(), true),
            };
            let wanted = match self.known[frames.start].state {
                State::Shared(count) => count,
                _ => 0,
            };
            if count != wanted || !is_marked {
                return Err(format!(
                    "{handle:?} has {count} references, not {wanted}, or another's data"
                ));
            }
        }
        for number in 0..FRAMES {
            let real = Frame::<dyn AnyFrameMeta>::from_in_use(self.paddr(number));
            agree(real, frame::look_up(self.known[number].state))
                .map_err(|text| format!("frame {number}: {text}"))?;
        }
        let is_used = |known: &&Known| known.state != State::Unused;
        let wanted = self.free_at_first - self.known.iter().filter(is_used).count();
        match frame_counts().free {
            free if free == wanted => Ok(()),
            free => Err(format!("{free} frames are free, not {wanted}")),
        }
    }
}

/// Runs so many random scripts; says how many operations they had.
///
/// # Errors
///
/// The shortest script found on which the two disagree, and how.
pub fn search(scripts: Scripts) -> Result<u64, String> {
    let strategy = proptest::collection::vec(op(), 1..40);
    let print = |ops: &Vec<Op>| format!("{ops:?}");
    scripts.search(&strategy, Bench::default(), print, |bench, ops| {
        bench.run(|| {
            let mut world = World::new();
            ops.iter()
                .try_for_each(|op| world.apply(op).map_err(|text| format!("{op:?}: {text}")))
        })?;
        Ok(ops.len() as u64)
    })
}

/// Runs random scripts.
#[must_use]
pub fn run(effort: Effort) -> Vec<Row> {
    let cases = match effort {
        Effort::Short => 20_000,
        Effort::Deep => 2_000_000,
    };
    let scripts = Scripts { cases, seed: 3 };
    let found = search(scripts);
    vec![scripts.row(
        "frames live and die as the specification says",
        "random handles",
        "operations",
        found,
    )]
}
