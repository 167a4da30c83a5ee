//! Odd tables, made of bytes.

use alloc::vec::Vec;

use super::firmware::{BASE, Firmware, root_pointer, table, with_sum};
use super::{fadt, read_platform};
use crate::boot::platform::{
    ApicId, CalendarClock, IoApic, Platform, PmTimer, Polarity, PortWrite, PowerOff, Register,
    ResetRegister, Route, SleepPort, Trigger,
};
use crate::cpu::MAX_CPUS;
use crate::prelude::*;

const BOOT: ApicId = ApicId(0);
/// Where the FADTs of these tests have their fields.
mod field {
    pub(super) const DSDT: usize = 40;
    pub(super) const SMI_COMMAND: usize = 48;
    pub(super) const ACPI_ENABLE: usize = 52;
    pub(super) const PM1A_CONTROL: usize = 64;
    pub(super) const PM1B_CONTROL: usize = 68;
    pub(super) const PM_TIMER: usize = 76;
    pub(super) const LENGTHS: usize = 88;
    pub(super) const CENTURY: usize = 108;
    pub(super) const BOOT_ARCHITECTURE: usize = 109;
    pub(super) const FLAGS: usize = 112;
    pub(super) const RESET: usize = 116;
    pub(super) const RESET_VALUE: usize = 128;
    pub(super) const X_PM1A_CONTROL: usize = 172;
    pub(super) const X_PM_TIMER: usize = 208;
    pub(super) const SLEEP_CONTROL: usize = 244;
}

impl Firmware {
    /// Returns what is read from these tables by a machine with an XSDT, whose
    /// root pointer is the last thing in memory.
    fn platform(mut self, tables: &[Vec<u8>]) -> Platform {
        let mut body = Vec::new();
        for bytes in tables {
            body.extend(self.put(bytes).to_le_bytes());
        }
        let xsdt = self.put(&table(*b"XSDT", 1, &body));
        let root = self.put(&root_pointer(0, xsdt));
        read_platform(&self, root, BOOT)
    }
}

fn of(tables: &[Vec<u8>]) -> Platform {
    Firmware::default().platform(tables)
}

fn madt(entries: &[&[u8]]) -> Vec<u8> {
    let mut body = 0xfee0_0000_u32.to_le_bytes().to_vec();
    body.extend(1_u32.to_le_bytes());
    body.extend(entries.concat());
    table(*b"APIC", 4, &body)
}

fn local_apic(id: u8, flags: u8) -> [u8; 8] {
    [0, 8, 0, id, flags, 0, 0, 0]
}

fn local_x2apic(id: u32, flags: u8) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..2].copy_from_slice(&[9, 16]);
    entry[4..8].copy_from_slice(&id.to_le_bytes());
    entry[8] = flags;
    entry
}

fn override_of(isa_line: u8, line: u8, flags: u8) -> [u8; 10] {
    [2, 10, 0, isa_line, line, 0, 0, 0, flags, 0]
}

#[track_caller]
fn assert_processors(platform: &Platform, expected: &[u32]) {
    let ids: Vec<_> = platform.processors().map(|id| id.0).collect();
    assert_eq!(ids, expected);
    assert_eq!(platform.nr_processors(), expected.len());
}

#[ktest]
fn peer_088_processors_beyond_the_room_for_them_are_counted_and_the_boot_processor_is_kept() {
    let entries: Vec<_> = (1..=99).map(|id| local_x2apic(id, 1)).collect();
    let mut entries: Vec<&[u8]> = entries.iter().map(<[u8; 16]>::as_slice).collect();
    let boot = local_apic(0, 1);
    entries.push(&boot);
    let platform = of(&[madt(&entries)]);
    assert_eq!(platform.nr_processors(), MAX_CPUS);
    assert_eq!(platform.nr_processors_left_out(), 100 - MAX_CPUS);
    assert!(platform.processors().map(|id| id.0).eq(0..64));
}

#[ktest]
fn peer_106_ids_have_gaps_and_are_large_and_some_processors_are_absent() {
    let platform = of(&[madt(&[
        &local_apic(7, 1),
        &local_apic(4, 0),
        &local_apic(0, 1),
        &local_apic(254, 1),
        &local_x2apic(0xffff_fffe, 1),
        &local_x2apic(300, 3),
        &local_x2apic(301, 2),
        // All ones mean all processors.
        &local_apic(255, 1),
        &local_x2apic(u32::MAX, 1),
        // Named twice, once in each way.
        &local_x2apic(7, 1),
        &local_apic(0, 1),
    ])]);
    assert_processors(&platform, &[0, 7, 254, 0xffff_fffe, 300]);
    assert_eq!(platform.nr_absent(), (1, 1));
    assert_eq!(platform.nr_processors_left_out(), 0);
}

#[ktest]
fn peer_106_boot_processor_that_the_tables_forget_is_there_all_the_same() {
    assert_processors(&of(&[madt(&[&local_apic(3, 1)])]), &[0, 3]);
    assert_processors(&of(&[madt(&[&local_apic(0, 0)])]), &[0]);
}

#[ktest]
fn peer_089_packed_entries_are_read_at_any_address() {
    for odd in 0..8 {
        let mut filler = vec_of(odd + 2);
        filler[0] = 0x80;
        filler[1] = odd as u8 + 2;
        let address: &[u8] = &[5, 12, 0, 0, 0, 0, 0xe0, 0xfe, 1, 0, 0, 0];
        let io_apic: &[u8] = &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0];
        let platform = of(&[madt(&[
            &filler,
            &local_x2apic(0x0102_0304, 1),
            address,
            io_apic,
        ])]);
        assert_processors(&platform, &[0, 0x0102_0304]);
        assert_eq!(platform.local_apic, Some(0x1_fee0_0000));
        let expected = IoApic {
            address: 0xfec0_0000,
            first_line: 24,
        };
        assert!(platform.io_apics.iter().eq([&expected]));
    }
}

fn vec_of(len: usize) -> Vec<u8> {
    core::iter::repeat_n(0, len).collect()
}

#[ktest]
fn entries_that_make_no_sense_are_skipped_or_end_the_table() {
    let good = local_apic(1, 1);
    let after = local_apic(2, 1);
    for (bad, goes_on) in [
        (&[0, 0][..], false),
        (&[0, 1], false),
        (&[0, 200], false),
        (&[0xff, 255, 0], false),
        (&[0, 4, 0, 9], true),
        (&[9, 8, 0, 0, 9, 0, 0, 0], true),
        (&[1, 2], true),
        (&[2, 9, 0, 0, 0, 0, 0, 0, 0], true),
        (&[0x7f, 2], true),
    ] {
        let platform = of(&[madt(&[&good, bad, &after])]);
        let expected: &[u32] = if goes_on { &[0, 1, 2] } else { &[0, 1] };
        assert_processors(&platform, expected);
        // At the table's end, and one byte short of it.
        assert_processors(&of(&[madt(&[&good, bad])]), &[0, 1]);
        assert_processors(&of(&[madt(&[&good, &bad[..1]])]), &[0, 1]);
    }
}

#[ktest]
fn lines_go_where_their_first_sane_override_says() {
    let platform = of(&[madt(&[
        &override_of(0, 2, 0),
        &override_of(9, 20, 0b1111),
        &override_of(9, 21, 0),
        &override_of(5, 30, 0b0010),
        &override_of(6, 30, 0b1000),
        &override_of(16, 30, 0),
        &[2, 10, 1, 7, 30, 0, 0, 0, 0, 0],
    ])]);
    let edge = |line| Route {
        line,
        polarity: Polarity::ActiveHigh,
        trigger: Trigger::Edge,
    };
    assert_eq!(platform.route(0), edge(2));
    for line in [1, 5, 6, 7] {
        assert_eq!(platform.route(line), edge(u32::from(line)));
    }
    let level = Route {
        line: 20,
        polarity: Polarity::ActiveLow,
        trigger: Trigger::Level,
    };
    assert_eq!(platform.route(9), level);
}

#[ktest]
fn damaged_tables_are_passed_over_like_missing_ones() {
    let good = madt(&[&local_apic(5, 1)]);
    let mut bad_sum = madt(&[&local_apic(6, 1)]);
    bad_sum[40] ^= 1;
    let mut too_long = good.clone();
    too_long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    let too_long = with_sum(too_long, 9);
    let mut too_short = good.clone();
    too_short[4..8].copy_from_slice(&20_u32.to_le_bytes());
    let no_entries = table(*b"APIC", 4, &[0; 4]);
    assert_processors(&of(&[bad_sum, too_long, too_short, good]), &[0, 5]);
    assert_processors(&of(&[no_entries]), &[0]);
    assert_processors(&of(&[]), &[0]);
}

#[ktest]
fn root_table_that_is_damaged_is_replaced_by_the_other_one() {
    let mut firmware = Firmware::default();
    let madt = firmware.put(&madt(&[&local_apic(5, 1)]));
    let rsdt = firmware.put(&table(*b"RSDT", 1, &(madt as u32).to_le_bytes()));
    let old = firmware.put(&root_pointer(rsdt, 0));
    let nowhere = firmware.put(&root_pointer(rsdt, u64::MAX - 8));
    let wrong_kind = firmware.put(&root_pointer(rsdt, rsdt));
    for root in [old, nowhere, wrong_kind] {
        assert_processors(&read_platform(&firmware, root, BOOT), &[0, 5]);
    }
    let mut bad = root_pointer(rsdt, 0);
    bad[8] ^= 1;
    let bad = firmware.put(&bad);
    for root in [0, bad, u64::MAX, BASE + firmware.bytes.len() as u64 - 3] {
        assert_processors(&read_platform(&firmware, root, BOOT), &[0]);
    }
}

#[ktest]
fn root_table_may_end_in_the_middle_of_an_address() {
    let mut firmware = Firmware::default();
    let madt = firmware.put(&madt(&[&local_apic(5, 1)]));
    let mut body = madt.to_le_bytes().to_vec();
    body.extend([1, 2, 3]);
    let xsdt = firmware.put(&table(*b"XSDT", 1, &body));
    let root = firmware.put(&root_pointer(0, xsdt));
    assert_processors(&read_platform(&firmware, root, BOOT), &[0, 5]);
}

/// The body of a FADT with its fields set, of so many bytes in all.
fn fadt(revision: u8, size: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vec_of(size);
    for (at, value) in fields {
        bytes[*at..at + value.len()].copy_from_slice(value);
    }
    table(*b"FACP", revision, &bytes[36..])
}

/// Byte code with the package of S5 in it.
fn dsdt() -> Vec<u8> {
    let mut code = b"\x10\x20_S5_ is not a package yet \x08_S5_\x12\x06\x04".to_vec();
    code.extend([0x0a, 5, 0, 0, 0]);
    table(*b"DSDT", 2, &code)
}

/// A register: at ports or, with `space` 0, in memory.
fn register(space: u8, address: u64) -> [u8; 12] {
    let mut bytes = [0; 12];
    bytes[0] = space;
    bytes[4..].copy_from_slice(&address.to_le_bytes());
    bytes
}

#[ktest]
fn ports_of_power_off_timer_and_reset_are_found() {
    let mut firmware = Firmware::default();
    let dsdt = (firmware.put(&dsdt()) as u32).to_le_bytes();
    let fields: &[(usize, &[u8])] = &[
        (field::DSDT, &dsdt),
        (field::SMI_COMMAND, &[0xb2]),
        (field::ACPI_ENABLE, &[0xf1]),
        (field::PM1A_CONTROL, &[4, 6]),
        (field::PM1B_CONTROL, &[8, 6]),
        (field::PM_TIMER, &[8, 4]),
        (field::LENGTHS, &[4, 2, 0, 4]),
        (field::FLAGS, &[0, 0b101]),
        (field::RESET, &register(1, 0xcf9)),
        (field::RESET_VALUE, &[6]),
    ];
    let platform = firmware.clone().platform(&[fadt(3, 244, fields)]);
    let port = |port, sleep_type| SleepPort { port, sleep_type };
    let expected = PowerOff::Ports {
        a: port(0x604, 5),
        b: Some(port(0x608, 0)),
        enable: Some(PortWrite {
            port: 0xb2,
            value: 0xf1,
        }),
    };
    assert_eq!(platform.power_off, Some(expected));
    let timer = PmTimer {
        port: 0x408,
        is_32_bit: true,
    };
    assert_eq!(platform.pm_timer, Some(timer));
    let reset = ResetRegister {
        register: Register::Port(0xcf9),
        value: 6,
    };
    assert_eq!(platform.reset, Some(reset));
    // As short as the first revision had it, without the register of reset.
    let old = firmware.platform(&[fadt(1, 116, &fields[..8])]);
    assert_eq!((old.power_off, old.reset), (Some(expected), None));
}

#[ktest]
fn reset_may_be_in_memory_or_in_the_configuration_of_a_device() {
    let reset = |space, address| {
        let register = register(space, address);
        let fields: &[(usize, &[u8])] = &[
            (field::FLAGS, &[0, 4]),
            (field::RESET, &register),
            (field::RESET_VALUE, &[7]),
        ];
        let platform = Firmware::default().platform(&[fadt(3, 244, fields)]);
        platform.reset.map(|reset| (reset.register, reset.value))
    };
    let in_memory = Register::Memory(0xfed0_0000);
    assert_eq!(reset(0, 0xfed0_0000), Some((in_memory, 7)));
    let of_device = Register::PciConfiguration {
        device: 31,
        function: 3,
        offset: 0x44,
    };
    assert_eq!(reset(2, 31 << 32 | 3 << 16 | 0x44), Some((of_device, 7)));
}

#[ktest]
fn reduced_hardware_powers_off_by_a_register_of_its_own() {
    let mut firmware = Firmware::default();
    let dsdt = (firmware.put(&dsdt()) as u32).to_le_bytes();
    let fields: &[(usize, &[u8])] = &[
        (field::DSDT, &dsdt),
        (field::PM1A_CONTROL, &[4, 6]),
        (field::FLAGS, &[0, 0, 1 << 4]),
        (field::SLEEP_CONTROL, &register(1, 0x605)),
    ];
    let platform = firmware.platform(&[fadt(6, 276, fields)]);
    let expected = PowerOff::Register {
        control: Register::Port(0x605),
        sleep_type: 5,
    };
    assert_eq!(platform.power_off, Some(expected));
}

#[ktest]
fn keyboard_controller_is_known_since_the_tables_speak_of_it() {
    let controller = |revision, flags| {
        let table = fadt(revision, 244, &[(field::BOOT_ARCHITECTURE, &[flags])]);
        Firmware::default().platform(&[table]).keyboard_controller
    };
    assert_eq!(controller(3, 0b10), Some(true));
    assert_eq!(controller(6, 0b01), Some(false));
    assert_eq!(controller(1, 0b00), None);
    assert_eq!(of(&[]).keyboard_controller, None);
}

#[ktest]
fn calendar_clock_is_there_unless_the_table_says_otherwise() {
    let clock = |fields| {
        let firmware = Firmware::default();
        firmware.platform(&[fadt(3, 244, fields)]).calendar_clock
    };
    let with_century = |century| Some(CalendarClock { century });
    assert_eq!(clock(&[]), with_century(None));
    assert_eq!(
        clock(&[(field::CENTURY, &[0x32])]),
        with_century(Some(0x32))
    );
    assert_eq!(clock(&[(field::CENTURY, &[0x09])]), with_century(None));
    assert_eq!(clock(&[(field::CENTURY, &[0x80])]), with_century(None));
    assert_eq!(clock(&[(field::BOOT_ARCHITECTURE, &[1 << 5])]), None);
}

#[ktest]
fn fixed_table_with_nonsense_in_it_offers_nothing() {
    let mut firmware = Firmware::default();
    let dsdt = (firmware.put(&dsdt()) as u32).to_le_bytes();
    let in_memory = register(0, 0xfed0_0000);
    let far = register(1, 1 << 16);
    for fields in [
        &[(field::DSDT, &dsdt[..])][..],
        // The crate counts the bits of a block in a byte.
        &[(field::LENGTHS, &[255, 255, 255, 255])],
        &[(field::DSDT, &[0xff; 4]), (field::PM1A_CONTROL, &[4, 6])],
        &[(field::DSDT, &dsdt), (field::X_PM1A_CONTROL, &in_memory)],
        &[(field::DSDT, &dsdt), (field::X_PM1A_CONTROL, &[0x50; 12])],
        &[(field::LENGTHS, &[0, 0, 0, 4]), (field::X_PM_TIMER, &far)],
        &[(field::FLAGS, &[0, 4]), (field::RESET, &[9; 12])],
        &[(field::FLAGS, &[0, 4]), (field::RESET, &register(0, 0))],
        &[
            (field::FLAGS, &[0, 4]),
            (field::RESET, &register(2, 32 << 32)),
        ],
        &[(field::FLAGS, &[0, 4]), (field::RESET, &register(2, 0x100))],
        // Reduced hardware, and no register of sleep.
        &[
            (field::DSDT, &dsdt),
            (field::PM1A_CONTROL, &[4, 6]),
            (field::FLAGS, &[0, 0, 16]),
        ],
    ] {
        let platform = firmware.clone().platform(&[fadt(6, 276, fields)]);
        let found = (platform.power_off, platform.pm_timer, platform.reset);
        assert_eq!(found, (None, None, None), "{fields:x?}");
    }
    let short = firmware.platform(&[table(*b"FACP", 6, &[0xff; 20])]);
    assert_eq!(short.power_off, None);
}

#[ktest]
fn search_for_sleep_types_stays_within_the_code() {
    let code = b"_S5_\x12\x0a\x04\x0a\x07\x0a\x03\x00\x00";
    assert_eq!(fadt::sleep_types(code), Some((7, 3)));
    // Cut off anywhere; the second type may be missing.
    for len in 0..code.len() {
        let expected = match len {
            0..9 => None,
            9..11 => Some((7, 0)),
            _ => Some((7, 3)),
        };
        assert_eq!(fadt::sleep_types(&code[..len]), expected, "{len}");
    }
    // The length of the package may take up to four bytes.
    let long = b"_S5_\x12\xc0\x01\x00\x00\x04\x01\x00";
    assert_eq!(fadt::sleep_types(long), Some((1, 0)));
    assert_eq!(fadt::sleep_types(b"_S5__S5_\x12"), None);
}

#[ktest]
fn event_timer_is_found_in_memory_alone() {
    let hpet = |space, address| {
        let mut body = vec_of(20);
        body[4..16].copy_from_slice(&register(space, address));
        of(&[table(*b"HPET", 1, &body)]).hpet
    };
    assert_eq!(hpet(0, 0xfed0_0000), Some(0xfed0_0000));
    assert_eq!(hpet(1, 0xfed0), None);
    assert_eq!(hpet(0, 0), None);
    assert_eq!(of(&[table(*b"HPET", 1, &[0; 8])]).hpet, None);
}

/// Changes each byte of all tables to each of some values, with right sums and
/// with the wrong one that follows from the change.
#[cfg(test)]
#[test]
fn no_changed_byte_stops_or_stalls_start_up() {
    let mut firmware = Firmware::default();
    let dsdt = (firmware.put(&dsdt()) as u32).to_le_bytes();
    let processors = madt(&[
        &local_apic(5, 1),
        &override_of(0, 2, 0),
        &local_x2apic(9, 1),
    ]);
    let fields: &[(usize, &[u8])] = &[
        (field::DSDT, &dsdt),
        (field::PM1A_CONTROL, &[4, 6]),
        (field::LENGTHS, &[4, 2, 0, 4]),
        (field::X_PM_TIMER, &register(1, 0x408)),
    ];
    let tables = [processors, fadt(6, 276, fields)];
    for (index, table) in tables.iter().enumerate() {
        for at in 0..table.len() {
            for value in [0, 1, 2, 31, 32, 127, 128, 254, 255] {
                for is_summed in [false, true] {
                    let mut tables = tables.clone();
                    tables[index][at] = value;
                    if is_summed {
                        tables[index] = with_sum(tables[index].clone(), 9);
                    }
                    let platform = firmware.clone().platform(&tables);
                    assert_eq!(platform.processors().next(), Some(BOOT));
                }
            }
        }
    }
}
