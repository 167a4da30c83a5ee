//! Allocator scripts: frames and segments, by several processors, beside a set.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::ops::Range;

use nucleus::arch::sim::{Config, Machine};
use nucleus::mm::frame::{AnyFrameMeta, frame_counts, validate_free_frames};
use nucleus::mm::{
    Frame, FrameAllocOptions, PAGE_SIZE, Paddr, Segment, UntypedMem, VmIo, VmWriter,
};
use nucleus::planted::Bug;

use super::Target;
use crate::input::Bytes;
use crate::machine::{self, Kept};

pub(super) const TARGET: Target = Target {
    name: "allocator",
    claim: "frames are given to one at a time, counted, and whole again in the end",
    run,
    max_len: 256,
    inputs: 12_000,
    bugs: &[
        (Bug::UnmergedBuddies, "finds: buddies that are not merged"),
        (Bug::LostRemainder, "finds: a remainder that is lost"),
    ],
};

const CONFIG: Config = Config {
    ram: 8 << 20,
    cpus: 3,
    checked: false,
    identifiers: true,
    physical_bits: 52,
};
/// The memory that the simulated machine gives to its allocator, less what
/// start-up took.
const RAM: [Range<Paddr>; 2] = [0x10_0000..0x20_0000, 0x21_0000..CONFIG.ram];
/// Frames that a processor may keep to itself.
const CACHED: usize = 128 + 32;
/// What a frame holds while somebody has it.
const DIRT: u64 = 0x6b6b_6b6b_6b6b_6b6b;

thread_local! {
    static MACHINE: Kept = const { Kept::new(None) };
}

fn run(input: &[u8]) {
    machine::with(&MACHINE, CONFIG, |machine| {
        drain(machine);
        let mut owners = ManuallyDrop::new(Owners {
            machine,
            free_at_first: machine.on(0, || frame_counts().free),
            segments: Vec::new(),
            references: BTreeMap::new(),
        });
        let largest = machine.on(0, largest);
        drain(machine);
        let mut input = Bytes(input);
        while let Some(first) = input.next() {
            owners.step(first, &mut input);
            owners.check();
        }
        while !owners.segments.is_empty() {
            let last = owners.segments.len() - 1;
            owners.free(last % CONFIG.cpus, last);
        }
        owners.check();
        drain(machine);
        let validated = machine.on(0, validate_free_frames);
        assert_eq!(
            validated, owners.free_at_first,
            "frames are not in the pool"
        );
        assert_eq!(machine.on(0, self::largest), largest, "memory is in pieces");
    });
}

/// Has every processor give its frames to the pool, as it does when it is asked
/// for more than there is.
fn drain(machine: &Machine) {
    for cpu in 0..CONFIG.cpus {
        let refused = machine.on(cpu, || FrameAllocOptions::new().alloc_segment(CONFIG.ram));
        assert!(refused.is_err(), "there is no such amount of memory");
    }
}

/// Returns the size of the largest block that can be allocated, in frames.
fn largest() -> usize {
    let fits = |order: &u32| {
        FrameAllocOptions::new()
            .zeroed(false)
            .alloc_segment(1 << order)
            .is_ok()
    };
    1 << (0..16).rev().find(fits).expect("memory is not empty")
}

/// Who has which frames.
struct Owners<'m> {
    machine: &'m Machine,
    free_at_first: usize,
    segments: Vec<Segment<()>>,
    /// The frames that somebody has, with the number of handles.
    references: BTreeMap<Paddr, u32>,
}

impl Owners<'_> {
    fn step(&mut self, first: u8, input: &mut Bytes<'_>) {
        let cpu = usize::from(first) % CONFIG.cpus;
        let is_zeroed = first & 0x80 != 0;
        match usize::from(first) / CONFIG.cpus % 11 {
            0 => self.alloc(cpu, is_zeroed, (1, 0)),
            1 => {
                let frames = 1 + input.below(256);
                self.alloc(cpu, is_zeroed, (frames, input.below(12)));
            }
            2 => self.alloc(cpu, is_zeroed, (1 << input.below(12), 0)),
            3 => {
                for _ in 0..input.byte() {
                    self.alloc(cpu, is_zeroed, (1, 0));
                }
            }
            4 | 5 if !self.segments.is_empty() => {
                let index = input.below(self.segments.len());
                self.free(cpu, index);
            }
            6 => {
                // Every other one: what is left keeps buddies apart.
                let mut index = input.below(4);
                for _ in 0..input.byte() {
                    if index < self.segments.len() {
                        self.free(cpu, index);
                        index += 1;
                    }
                }
            }
            7 if !self.segments.is_empty() => {
                let index = input.below(self.segments.len());
                self.split(cpu, index, usize::from(input.byte()));
            }
            8 if !self.segments.is_empty() => {
                let index = input.below(self.segments.len());
                self.slice(cpu, index, (input.below(64), input.below(64)));
            }
            9 => drain(self.machine),
            10 => {
                let start = input.number(2) as usize % (CONFIG.ram / PAGE_SIZE) * PAGE_SIZE;
                let range = start..start + (1 + input.below(16)) * PAGE_SIZE;
                if is_zeroed {
                    drain(self.machine);
                }
                self.claim(cpu, range, is_zeroed);
            }
            _ => {}
        }
    }

    fn alloc(&mut self, cpu: usize, is_zeroed: bool, (frames, order): (usize, usize)) {
        let align = PAGE_SIZE << order;
        let allocated = self.machine.on(cpu, || {
            let mut options = FrameAllocOptions::new();
            options.zeroed(is_zeroed);
            match (frames, order) {
                (1, 0) => options.alloc_frame().map(Segment::from),
                _ => options.align(align).alloc_segment(frames),
            }
        });
        let Ok(segment) = allocated else {
            let free = self.free_at_first - self.references.len();
            let elsewhere = CACHED * (CONFIG.cpus - 1);
            let is_single = (frames, order) == (1, 0);
            assert!(
                !is_single || free <= elsewhere,
                "{free} frames are free, and none was given out"
            );
            return;
        };
        let range = segment.paddr_range();
        assert_eq!(
            range.len(),
            frames * PAGE_SIZE,
            "{segment:?} is of another size"
        );
        assert!(
            range.start.is_multiple_of(align),
            "{segment:?} is not aligned"
        );
        self.own(&segment);
        self.machine.on(cpu, || {
            if is_zeroed {
                assert!(is_zero(&segment), "{segment:?} is not zeroed");
            }
            for offset in (0..segment.size()).step_by(PAGE_SIZE) {
                segment
                    .write_val(offset + 8 * (offset / PAGE_SIZE % 512), &DIRT)
                    .expect("it fits");
            }
        });
        self.segments.push(segment);
    }

    /// Claims frames by their addresses, wherever they are. After a drain, none is
    /// in a processor's cache.
    fn claim(&mut self, cpu: usize, range: Range<Paddr>, is_drained: bool) {
        let claimed = self
            .machine
            .on(cpu, || Segment::from_unused(range.clone(), |_| ()));
        match claimed {
            Ok(segment) => {
                assert_eq!(segment.paddr_range(), range);
                self.own(&segment);
                self.segments.push(segment);
            }
            Err(why) if is_drained => {
                let is_taken = |paddr: Paddr| {
                    // Start-up has some, of which nobody told.
                    let is_used = || Frame::<dyn AnyFrameMeta>::from_in_use(paddr).is_ok();
                    let is_in = |ram: &Range<Paddr>| ram.contains(&paddr);
                    !RAM.iter().any(is_in)
                        || self.references.contains_key(&paddr)
                        || self.machine.on(cpu, is_used)
                };
                let mut frames = range.clone().step_by(PAGE_SIZE);
                assert!(frames.any(is_taken), "{range:x?} is free, but {why}");
            }
            Err(_) => {}
        }
    }

    /// Notes that frames have an owner, which they had not.
    fn own(&mut self, segment: &Segment<()>) {
        let range = segment.paddr_range();
        let is_in = |ram: &Range<Paddr>| ram.start <= range.start && range.end <= ram.end;
        assert!(RAM.iter().any(is_in), "{segment:?} is no memory");
        for paddr in range.step_by(PAGE_SIZE) {
            let owner = self.references.insert(paddr, 1);
            assert!(owner.is_none(), "frame {paddr:#x} has an owner already");
        }
    }

    fn free(&mut self, cpu: usize, index: usize) {
        let segment = self.segments.swap_remove(index);
        for paddr in segment.paddr_range().step_by(PAGE_SIZE) {
            let count = self.references.get_mut(&paddr).expect("it has an owner");
            *count -= 1;
            if *count == 0 {
                self.references.remove(&paddr);
            }
        }
        self.machine.on(cpu, || drop(segment));
    }

    fn split(&mut self, cpu: usize, index: usize, at: usize) {
        let frames = self.segments[index].size() / PAGE_SIZE;
        if frames < 2 {
            return;
        }
        let segment = self.segments.swap_remove(index);
        let at = (1 + at % (frames - 1)) * PAGE_SIZE;
        let (one, other) = self.machine.on(cpu, || segment.split(at));
        self.segments.extend([one, other]);
    }

    fn slice(&mut self, cpu: usize, index: usize, (from, count): (usize, usize)) {
        let frames = self.segments[index].size() / PAGE_SIZE;
        let from = from % frames;
        let to = (from + 1 + count).min(frames);
        let range = from * PAGE_SIZE..to * PAGE_SIZE;
        let slice = self.machine.on(cpu, || self.segments[index].slice(&range));
        for paddr in slice.paddr_range().step_by(PAGE_SIZE) {
            *self.references.get_mut(&paddr).expect("it has an owner") += 1;
        }
        self.segments.push(slice);
    }

    fn check(&self) {
        let free = self.machine.on(0, || frame_counts().free);
        assert_eq!(
            free,
            self.free_at_first - self.references.len(),
            "free frames"
        );
        for segment in self.segments.iter().rev().take(4) {
            let count = self.machine.on(0, || segment.reference_count());
            assert_eq!(count, self.references[&segment.start_paddr()], "references");
        }
    }
}

fn is_zero(segment: &Segment<()>) -> bool {
    let mut reader = segment.reader();
    let mut page = [0xff; PAGE_SIZE];
    (0..segment.size()).step_by(PAGE_SIZE).all(|_| {
        reader.read(&mut VmWriter::from(&mut page[..]));
        page.iter().all(|byte| *byte == 0)
    })
}
