//! ACPI's tables: whatever firmware writes, start-up reads them, and finds the
//! processors that the table of processors lists.

use nucleus::boot::acpi::firmware::{Firmware, root_pointer, table};
use nucleus::boot::acpi::read_platform;
use nucleus::boot::platform::{ApicId, Platform};
use nucleus::cpu::MAX_CPUS;
use nucleus::planted::Bug;

use super::Target;
use crate::input::Bytes;

pub(super) const TARGET: Target = Target {
    name: "acpi",
    claim: "odd tables of ACPI are read, and name the processors that are there",
    run,
    max_len: 512,
    inputs: 200_000,
    bugs: &[
        (Bug::ListedDisabled, "finds: a disabled processor is listed"),
        (Bug::CutEntry, "finds: an entry read over the table's end"),
    ],
};

const ENABLED: u8 = 1;
/// That of the newest tables, so that every field counts.
const REVISION: u8 = 6;

fn run(input: &[u8]) {
    let mut input = Bytes(input);
    let boot = ApicId(input.below(4) as u32);
    let damage: Vec<_> = (0..input.below(6))
        .map(|_| (input.number(2) as usize, input.byte()))
        .collect();
    let fixed: Vec<u8> = (0..input.below(256)).map(|_| input.byte()).collect();
    let entries = entries(&mut input);

    let mut firmware = Firmware::default();
    let madt = [&[0; 8][..], &entries].concat();
    let addresses = [
        firmware.put(&table(*b"FACP", REVISION, &fixed)),
        firmware.put(&table(*b"HPET", REVISION, &fixed)),
        firmware.put(&table(*b"APIC", REVISION, &madt)),
    ];
    let addresses: Vec<u8> = addresses
        .iter()
        .flat_map(|address| address.to_le_bytes())
        .collect();
    let xsdt = firmware.put(&table(*b"XSDT", REVISION, &addresses));
    let root = firmware.put(&root_pointer(0, xsdt));

    let platform = read_platform(&firmware, root, boot);
    let (expected, nr_left_out) = reference(&entries, boot);
    assert!(platform.processors().eq(expected), "of {entries:x?}");
    assert_eq!(platform.nr_processors_left_out(), nr_left_out);

    let size = firmware.bytes.len();
    for (at, value) in damage {
        firmware.bytes[at % size] = value;
    }
    check_sanity(&read_platform(&firmware, root, boot), boot);
}

/// Reads entries: complete ones of few kinds, or any bytes.
fn entries(input: &mut Bytes<'_>) -> Vec<u8> {
    let mut entries = Vec::new();
    while let Some(kind) = input.next() {
        match kind % 8 {
            0..=2 => entries.extend([0, 8, 0, input.byte(), kind >> 4, 0, 0, 0]),
            3 | 4 => {
                entries.extend([9, 16, 0, 0]);
                entries.extend((input.number(2) as u32 * 0x1_0001).to_le_bytes());
                entries.extend([kind >> 4, 0, 0, 0, 0, 0, 0, 0]);
            }
            5 => entries.extend([2, 10, 0, input.byte(), 2, 0, 0, 0, kind >> 3, 0]),
            _ => entries.extend((0..kind >> 4).map(|_| input.byte())),
        }
    }
    entries
}

/// Returns the processors that entries list, as plainly as it can be said, and how
/// many more there are than room.
fn reference(mut entries: &[u8], boot: ApicId) -> (Vec<ApicId>, usize) {
    let mut found = vec![boot];
    let mut nr_left_out = 0;
    while let [kind, len, ..] = *entries {
        let Some((entry, rest)) = entries.split_at_checked(usize::from(len).max(1)) else {
            break;
        };
        if entry.len() < 2 {
            break;
        }
        entries = rest;
        let (id, flags) = match (kind, entry.len()) {
            (0, 8..) if entry[3] != u8::MAX => (u32::from(entry[3]), entry[4]),
            (9, 16..) if entry[4..8] != [u8::MAX; 4] => {
                let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
                (id, entry[8])
            }
            _ => continue,
        };
        if flags & ENABLED == 0 || found.contains(&ApicId(id)) {
            continue;
        }
        if found.len() < MAX_CPUS {
            found.push(ApicId(id));
        } else {
            nr_left_out += 1;
        }
    }
    (found, nr_left_out)
}

/// Checks what holds of a platform whatever it was read from.
fn check_sanity(platform: &Platform, boot: ApicId) {
    let processors: Vec<_> = platform.processors().collect();
    assert_eq!(processors.first(), Some(&boot));
    let mut names = processors.clone();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), processors.len(), "one is named twice");
    for line in 0..16 {
        let route = platform.route(line);
        let is_known = platform.overrides.iter().any(|known| known.route == route);
        assert!(is_known || route.line == u32::from(line));
    }
}
