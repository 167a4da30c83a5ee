//! Memory maps handed to boot: whatever firmware says, the map is sane, and the
//! allocator of start-up keeps to it.

use std::ops::Range;

use nucleus::boot::early_alloc::EarlyAllocator;
use nucleus::boot::memory_map::{MAX_REGIONS, MemoryMap, RawRegion, RegionKind};
use nucleus::mm::PAGE_SIZE;
use nucleus::planted::Bug;

use super::Target;
use crate::input::Bytes;

pub(super) const TARGET: Target = Target {
    name: "memory-map",
    claim: "a memory map is sorted, disjoint, and never more generous than its regions",
    run,
    max_len: 1024,
    inputs: 15_000,
    bugs: &[
        (
            Bug::LessRestrictive,
            "finds: the less restrictive kind wins",
        ),
        (Bug::RoundedOutwards, "finds: free memory rounded outwards"),
    ],
};

const PAGE: u64 = PAGE_SIZE as u64;
const LIMIT: u64 = 1 << 52;
/// Below it, start-up hands nothing out.
const LOW: u64 = 1 << 20;
const KINDS: [RegionKind; 6] = [
    RegionKind::Usable,
    RegionKind::Reclaimable,
    RegionKind::Initramfs,
    RegionKind::Kernel,
    RegionKind::Framebuffer,
    RegionKind::Reserved,
];
/// Where there are borders of some kind.
const BASES: [u64; 5] = [
    0,
    LOW - 32 * PAGE,
    (1 << 32) - 32 * PAGE,
    LIMIT - 32 * PAGE,
    u64::MAX - 32 * PAGE,
];
/// Regions that are not usable, all of which a map has to hold; each may be cut
/// in two.
const MAX_TAKEN: usize = MAX_REGIONS / 2 - 1;

/// A region as the reference has it: first byte, end, kind.
type Piece = (u64, u64, RegionKind);

fn run(input: &[u8]) {
    let mut input = Bytes(input);
    let nr_requests = input.below(16);
    let requests: Vec<_> = (0..nr_requests)
        .map(|_| {
            (
                PAGE_SIZE << input.below(11),
                1 + input.below(5),
                PAGE_SIZE << input.below(19),
            )
        })
        .collect();
    let raw = decode(&mut input);
    let expected = reference(&raw);
    let map = Box::new(MemoryMap::from_regions(raw.iter().copied()));
    check_order(&map);
    if map.lost_bytes() == 0 {
        let actual: Vec<Piece> = pieces(&map).collect();
        assert_eq!(actual, expected, "of {raw:x?}");
    } else {
        check_losses(&map, &expected);
    }
    check_questions(&map);
    check_early(&map, &requests);
}

fn decode(input: &mut Bytes<'_>) -> Vec<RawRegion> {
    let mut raw = Vec::new();
    let mut nr_taken = 0;
    while let Some(first) = input.next() {
        let kind = KINDS[usize::from(first) % KINDS.len()];
        let form = usize::from(first) / KINDS.len() % 8;
        let mut add = |start: u64, end: u64| {
            nr_taken += usize::from(kind != RegionKind::Usable);
            if kind == RegionKind::Usable || nr_taken <= MAX_TAKEN {
                raw.push(RawRegion { start, end, kind });
            }
        };
        match form {
            // 64 pages at a border, by quarters of a page.
            0..5 => {
                let (start, end) = (input.number(1), input.number(1));
                let address = |quarter: u64| BASES[form].wrapping_add(quarter * (PAGE / 4));
                add(address(start), address(end));
            }
            // Any at all.
            5 | 6 => add(input.number(8), input.number(8)),
            // A comb.
            _ => {
                let (start, count) = (input.number(2), input.number(1) * 4);
                let (stride, len) = (1 + input.number(1), input.number(1));
                for tooth in 0..count {
                    let start = (start + tooth * stride) * PAGE;
                    add(start, start + len * (PAGE / 4));
                }
            }
        }
    }
    raw
}

fn is_free(kind: RegionKind) -> bool {
    matches!(kind, RegionKind::Usable | RegionKind::Reclaimable)
}

fn pieces(map: &MemoryMap) -> impl Iterator<Item = Piece> {
    map.regions()
        .iter()
        .map(|region| (region.start, region.end, region.kind))
}

/// Returns the map as it should be: between any two neighbouring borders, the
/// most restrictive kind of all the regions there.
fn reference(raw: &[RawRegion]) -> Vec<Piece> {
    let aligned: Vec<Piece> = raw
        .iter()
        .map(|region| {
            let down = |address: u64| address / PAGE;
            let up = |address: u64| address.div_ceil(PAGE);
            let (start, end) = (region.start, region.end.min(LIMIT));
            let (start, end) = match (start < end, is_free(region.kind)) {
                (false, _) => (0, 0),
                (true, true) => (up(start), down(end)),
                (true, false) => (down(start), up(end)),
            };
            (start, end, region.kind)
        })
        .filter(|(start, end, _)| start < end)
        .collect();
    let mut borders: Vec<u64> = aligned
        .iter()
        .flat_map(|piece| [piece.0, piece.1])
        .collect();
    borders.sort_unstable();
    borders.dedup();
    let mut map: Vec<Piece> = Vec::new();
    for pair in borders.windows(2) {
        let covers = |piece: &&Piece| piece.0 <= pair[0] && pair[1] <= piece.1;
        let Some(kind) = aligned.iter().filter(covers).map(|piece| piece.2).max() else {
            continue;
        };
        match map.last_mut() {
            Some(last) if last.1 == pair[0] * PAGE && last.2 == kind => last.1 = pair[1] * PAGE,
            _ => map.push((pair[0] * PAGE, pair[1] * PAGE, kind)),
        }
    }
    map
}

/// Whatever went in, the regions are in order, apart, whole pages, and merged.
fn check_order(map: &MemoryMap) {
    let regions = map.regions();
    assert!(regions.len() <= MAX_REGIONS);
    for region in regions {
        let is_whole = region.start.is_multiple_of(PAGE) && region.end.is_multiple_of(PAGE);
        assert!(is_whole, "{region:x?} is not whole pages");
        assert!(
            region.start < region.end && region.end <= LIMIT,
            "{region:x?}"
        );
    }
    for pair in regions.windows(2) {
        let is_apart = pair[0].end < pair[1].start;
        let is_other = pair[0].end == pair[1].start && pair[0].kind != pair[1].kind;
        assert!(is_apart || is_other, "{pair:x?} are in disorder");
    }
}

/// A map that was full has given up usable memory, and nothing else.
fn check_losses(map: &MemoryMap, expected: &[Piece]) {
    let is_taken = |piece: &Piece| piece.2 != RegionKind::Usable;
    let actual_taken: Vec<Piece> = pieces(map).filter(is_taken).collect();
    let expected_taken: Vec<Piece> = expected.iter().copied().filter(is_taken).collect();
    assert_eq!(actual_taken, expected_taken, "what is taken was forgotten");
    let usable = expected.iter().filter(|piece| !is_taken(piece));
    for (start, end, _) in pieces(map).filter(|piece| !is_taken(piece)) {
        let mut holds = usable
            .clone()
            .map(|piece| piece.0 <= start && end <= piece.1);
        assert!(holds.any(|it| it), "{start:#x}..{end:#x} is not usable");
    }
    let total: u64 = usable.map(|piece| piece.1 - piece.0).sum();
    let missing = total - map.bytes_of(RegionKind::Usable);
    assert!(
        missing <= map.lost_bytes(),
        "{missing:#x} bytes got lost, and more than it says"
    );
}

/// The questions that a map answers agree with its regions.
fn check_questions(map: &MemoryMap) {
    for (start, end, kind) in pieces(map) {
        assert_eq!(
            (map.kind_at(start), map.kind_at(end - 1)),
            (Some(kind), Some(kind))
        );
    }
    let ram = || pieces(map).filter(|piece| piece.2.is_ram());
    assert_eq!(
        map.end_of_ram(),
        ram().map(|piece| piece.1).max().unwrap_or(0)
    );
    let bytes: u64 = map.ram_regions().map(|run| run.end - run.start).sum();
    assert_eq!(bytes, ram().map(|piece| piece.1 - piece.0).sum::<u64>());
}

/// What start-up takes is usable, aligned, nobody else's, and the kernel's after.
fn check_early(map: &MemoryMap, requests: &[(usize, usize, usize)]) {
    let mut early = Box::new(EarlyAllocator::new(map));
    let mut taken: Vec<Range<u64>> = Vec::new();
    for &(unit, count, align) in requests {
        let size = unit * count;
        let Some(start) = early.alloc(size, align) else {
            continue;
        };
        assert!(
            start.is_multiple_of(align),
            "{start:#x} is not aligned to {align:#x}"
        );
        let range = start as u64..(start + size) as u64;
        let holds = |piece: &Piece| {
            piece.2 == RegionKind::Usable && piece.0 <= range.start && range.end <= piece.1
        };
        assert!(
            range.start >= LOW && pieces(map).any(|piece| holds(&piece)),
            "{range:x?}"
        );
        let is_apart = |other: &Range<u64>| other.end <= range.start || range.end <= other.start;
        assert!(
            taken.iter().all(is_apart),
            "{range:x?} was handed out twice"
        );
        taken.push(range);
    }
    let total: u64 = taken.iter().map(|range| range.end - range.start).sum();
    assert_eq!(early.allocated_bytes() as u64, total);
    let after = Box::new(early.into_map());
    check_order(&after);
    if after.lost_bytes() > map.lost_bytes() {
        return;
    }
    let low = pieces(map).filter(|piece| piece.2 == RegionKind::Usable && piece.0 < LOW);
    let low = low.map(|piece| piece.0..piece.1.min(LOW));
    let kernel = low.chain(taken).map(|range| RawRegion {
        start: range.start,
        end: range.end,
        kind: RegionKind::Kernel,
    });
    let before = pieces(map).map(|(start, end, kind)| RawRegion { start, end, kind });
    let all: Vec<_> = before.chain(kernel).collect();
    assert_eq!(
        pieces(&after).collect::<Vec<_>>(),
        reference(&all),
        "what start-up left"
    );
}
