//! What `/proc` tells of the whole machine.

use alloc::vec::Vec;
use core::fmt::{self, Write as _};

use nucleus::mm::frame::{census, memory_counts};
use nucleus::mm::inspect::listing;
use nucleus::mm::kspace::kernel_page_table;
use nucleus::mm::{PAGE_SIZE, heap};
use nucleus::{boot, cpu, random, task, time};

use super::text::Text;
use crate::fs::node::Filesystem;
use crate::fs::root::mounts;
use crate::process::Pid;
use crate::process::table;

/// What writes a text.
pub(super) type Write = fn(&mut Text) -> fmt::Result;

/// The Linux whose interface this is.
const RELEASE: &str = "6.1.0";
/// Ticks of a second, in which processor time is told.
pub(super) const TICKS: u64 = 100;

const KIB: usize = 1024;

pub(super) fn memory(text: &mut Text) -> fmt::Result {
    let counts = memory_counts();
    let files = crate::fs::usage(Filesystem::Memory).frames * PAGE_SIZE;
    for (name, bytes) in [
        ("MemTotal:", counts.total),
        ("MemFree:", counts.free),
        ("MemAvailable:", counts.free.saturating_sub(counts.reserve)),
        ("Buffers:", 0),
        ("Cached:", files),
        ("SwapCached:", 0),
        ("SwapTotal:", 0),
        ("SwapFree:", 0),
        ("Shmem:", files),
        ("Slab:", heap::nr_frames() * PAGE_SIZE),
        ("PageTables:", counts.page_tables),
    ] {
        writeln!(text, "{name:<16}{:>8} kB", bytes / KIB)?;
    }
    Ok(())
}

/// Tells what frames are used for, once all is free that is over: all that there are, then
/// those that are free, and kinds of the rest. The first is the sum of the others.
pub(super) fn frames(text: &mut Text) -> fmt::Result {
    task::settle();
    let census = census();
    for (name, frames) in [
        ("managed", census.managed()),
        ("free", census.free),
        ("at-hand", census.at_hand),
        ("in-transit", census.in_transit),
    ] {
        writeln!(text, "{name} {frames}")?;
    }
    let mut kinds: Vec<_> = census.kinds().collect();
    kinds.sort_unstable_by_key(|kind| (kind.name, kind.level));
    let mut kinds = kinds.iter();
    kinds.try_for_each(|kind| writeln!(text, "{kind} {}", kind.frames))
}

/// Shows the kernel's half of the address space, as the hardware finds it, and whether it
/// is in order.
pub(super) fn page_table(text: &mut Text) -> fmt::Result {
    listing::write_kernel_half(text)?;
    match kernel_page_table().check() {
        Ok(Ok(counts)) => writeln!(text, "in order: {counts}, but for those of the metadata"),
        Ok(Err(finding)) => writeln!(text, "DAMAGED: {finding}"),
        Err(error) => writeln!(text, "not checked: {error:?}"),
    }
}

pub(super) fn processors(text: &mut Text) -> fmt::Result {
    for index in 0..cpu::num_cpus() {
        writeln!(text, "processor\t: {index}")?;
        writeln!(text, "vendor_id\t: Vostok")?;
        writeln!(text, "model name\t: x86-64")?;
        writeln!(text, "cpu cores\t: {}", cpu::num_cpus())?;
        writeln!(text, "address sizes\t: 52 bits physical, 48 bits virtual")?;
        writeln!(text)?;
    }
    Ok(())
}

pub(super) fn uptime(text: &mut Text) -> fmt::Result {
    let now = time::uptime();
    let hundredths = now.subsec_millis() / 10;
    writeln!(text, "{}.{hundredths:02} 0.00", now.as_secs())
}

/// Nobody measures the load; how many threads there are is known.
pub(super) fn load(text: &mut Text) -> fmt::Result {
    let (threads, last) = {
        let table = table::lock();
        (table.nr_threads(), table.last_number())
    };
    writeln!(text, "0.00 0.00 0.00 1/{threads} {last}")
}

pub(super) fn statistics(text: &mut Text) -> fmt::Result {
    let ticks = time::uptime().as_millis() as u64 * TICKS / 1000;
    writeln!(text, "cpu  0 0 0 {ticks} 0 0 0 0 0 0")?;
    for index in 0..cpu::num_cpus() {
        writeln!(text, "cpu{index} 0 0 0 {ticks} 0 0 0 0 0 0")?;
    }
    let last = table::lock().last_number();
    writeln!(text, "ctxt 0")?;
    let started = time::since_epoch().saturating_sub(time::uptime());
    writeln!(text, "btime {}", started.as_secs())?;
    writeln!(text, "processes {last}")?;
    writeln!(text, "procs_running 1")?;
    writeln!(text, "procs_blocked 0")
}

pub(super) fn version(text: &mut Text) -> fmt::Result {
    let version = env!("CARGO_PKG_VERSION");
    writeln!(text, "Linux version {RELEASE} (Vostok {version})")
}

pub(super) fn filesystems(text: &mut Text) -> fmt::Result {
    for name in ["rootfs", "devtmpfs", "proc", "tmpfs", "pipefs"] {
        writeln!(text, "nodev\t{name}")?;
    }
    Ok(())
}

pub(super) fn mounted(text: &mut Text) -> fmt::Result {
    for (path, filesystem) in mounts() {
        let (name, options) = match filesystem {
            Filesystem::Initramfs => ("rootfs", "ro"),
            Filesystem::Memory => ("tmpfs", "rw"),
            Filesystem::Devices => ("devtmpfs", "rw"),
            Filesystem::Processes => ("proc", "rw"),
            Filesystem::Pipes => ("pipefs", "rw"),
            Filesystem::Nameless => ("anon_inodefs", "rw"),
        };
        writeln!(text, "{name} {path} {name} {options} 0 0")?;
    }
    Ok(())
}

pub(super) fn swaps(text: &mut Text) -> fmt::Result {
    writeln!(text, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority")
}

pub(super) fn command_line(text: &mut Text) -> fmt::Result {
    let words = boot::command_line().program();
    for (index, word) in words.enumerate() {
        let space = if index == 0 { "" } else { " " };
        write!(text, "{space}{word}")?;
    }
    writeln!(text)
}

pub(super) fn host_name(text: &mut Text) -> fmt::Result {
    writeln!(text, "vostok")
}

pub(super) fn release(text: &mut Text) -> fmt::Result {
    writeln!(text, "{RELEASE}")
}

pub(super) fn system_name(text: &mut Text) -> fmt::Result {
    writeln!(text, "Vostok")
}

pub(super) fn most_processes(text: &mut Text) -> fmt::Result {
    writeln!(text, "{}", Pid::MAX)
}

pub(super) fn most_regions(text: &mut Text) -> fmt::Result {
    writeln!(text, "65530")
}

/// Memory is promised as far as it looks reasonable, and given when it is touched.
pub(super) fn overcommit(text: &mut Text) -> fmt::Result {
    writeln!(text, "0")
}

/// A number that is another one each time that the machine starts.
pub(super) fn boot_id(text: &mut Text) -> fmt::Result {
    static ID: nucleus::sync::Once<[u8; 16]> = nucleus::sync::Once::new();
    let id = ID.call_once(|| {
        let mut id = [0; 16];
        random::fill(&mut id);
        // What says that it is random (RFC 9562, version 4).
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        id
    });
    for (index, byte) in id.iter().enumerate() {
        let dash = if matches!(index, 4 | 6 | 8 | 10) {
            "-"
        } else {
            ""
        };
        write!(text, "{dash}{byte:02x}")?;
    }
    writeln!(text)
}
