//! Calls about the system as a whole, and what a thread says of itself.

use nucleus::mm::PAGE_SIZE;
use nucleus::mm::frame::frame_counts;
use nucleus::{power, random, time};

use super::SyscallResult;
use crate::errno::Errno;
use crate::process::{Current, End, Name, Pid, table};

pub(super) fn uname(current: &mut Current, to: usize) -> SyscallResult {
    const FIELD: usize = 65;
    // System, node, release, version, machine, domain. Programs ask for the system whose
    // interface this is, and its release; the version is ours.
    let fields = [
        "Linux",
        "vostok",
        "6.1.0",
        concat!("Vostok ", env!("CARGO_PKG_VERSION")),
        "x86_64",
        "(none)",
    ];
    let mut bytes = [0; FIELD * 6];
    for (field, chunk) in fields.into_iter().zip(bytes.chunks_exact_mut(FIELD)) {
        chunk[..field.len()].copy_from_slice(field.as_bytes());
    }
    current.memory.write_bytes(to, &bytes)?;
    Ok(0)
}

pub(super) fn sysinfo(current: &mut Current, to: usize) -> SyscallResult {
    /// Words of a `struct sysinfo`: uptime, three loads, memory in units, processes,
    /// memory beyond, the size of a unit.
    const UPTIME: usize = 0;
    const TOTAL: usize = 4;
    const FREE: usize = 5;
    const PROCESSES: usize = 10;
    const UNIT: usize = 13;
    const WORDS: usize = 14;
    let counts = frame_counts();
    let mut words = [0_u64; WORDS];
    words[UPTIME] = time::uptime().as_secs();
    words[TOTAL] = (counts.managed * PAGE_SIZE) as u64;
    words[FREE] = (counts.free * PAGE_SIZE) as u64;
    words[PROCESSES] = table::lock().nr_threads() as u64;
    words[UNIT] = 1;
    current.memory.write_value(to, &words)?;
    Ok(0)
}

pub(super) fn getrandom(
    current: &mut Current,
    to: usize,
    len: usize,
    flags: usize,
) -> SyscallResult {
    const NONBLOCK: u32 = 1;
    const RANDOM: u32 = 2;
    const INSECURE: u32 = 4;
    const PART: usize = 256;
    let flags = flags as u32;
    let is_odd = flags & !(NONBLOCK | RANDOM | INSECURE) != 0;
    if is_odd || flags & (RANDOM | INSECURE) == RANDOM | INSECURE {
        return Err(Errno::Invalid);
    }
    let len = len.min(i32::MAX as usize / PAGE_SIZE * PAGE_SIZE);
    let mut bytes = [0; PART];
    let mut done = 0;
    while done < len {
        let part = &mut bytes[..PART.min(len - done)];
        random::fill(part);
        let at = to.checked_add(done).ok_or(Errno::Fault)?;
        match current.memory.write_partly(at, part) {
            Ok(written) if written == part.len() => done += written,
            Ok(written) => return Ok(done + written),
            Err(_) if done > 0 => break,
            Err(error) => return Err(error),
        }
        if current.thread.is_called() {
            break;
        }
    }
    Ok(done)
}

pub(super) fn prctl(current: &mut Current, arguments: [usize; 5]) -> SyscallResult {
    const SET_DEATH_SIGNAL: u32 = 1;
    const GET_DEATH_SIGNAL: u32 = 2;
    const GET_DUMPABLE: u32 = 3;
    const SET_DUMPABLE: u32 = 4;
    const GET_KEEP_CAPABILITIES: u32 = 7;
    const SET_NAME: u32 = 15;
    const GET_NAME: u32 = 16;
    const GET_SECCOMP: u32 = 21;
    const SET_NO_NEW_PRIVILEGES: u32 = 38;
    const GET_NO_NEW_PRIVILEGES: u32 = 39;
    let [option, value, third, fourth, fifth] = arguments;
    let has_rest = third | fourth | fifth != 0;
    match option as u32 {
        SET_DEATH_SIGNAL if value <= 64 => {
            current.process.set_death_signal(value as u8);
            Ok(0)
        }
        GET_DEATH_SIGNAL => {
            let signal = u32::from(current.process.death_signal());
            current.memory.write_value(value, &signal)?;
            Ok(0)
        }
        // Nothing is ever dumped, and nobody's rights change.
        GET_DUMPABLE => Ok(1),
        SET_DUMPABLE if value <= 1 => Ok(0),
        GET_KEEP_CAPABILITIES | GET_SECCOMP => Ok(0),
        SET_NAME => {
            let mut name = Name::default();
            let longest = name.len() - 1;
            let text = match current.memory.read_string(value, longest + 1) {
                Err(Errno::NameTooLong) => {
                    current.memory.read_bytes(value, &mut name[..longest])?;
                    name[..longest].to_vec()
                }
                other => other?,
            };
            name[..text.len()].copy_from_slice(&text);
            current.thread.set_name(name);
            Ok(0)
        }
        GET_NAME => {
            let name = current.thread.name();
            current.memory.write_bytes(value, &name)?;
            Ok(0)
        }
        SET_NO_NEW_PRIVILEGES if value == 1 && !has_rest => {
            current.process.forbid_new_privileges();
            Ok(0)
        }
        GET_NO_NEW_PRIVILEGES if value == 0 && !has_rest => {
            Ok(current.process.has_no_new_privileges().into())
        }
        _ => Err(Errno::Invalid),
    }
}

/// Ends the system, in the way that the caller says twice that it knows what it does; or
/// says whether Ctrl, Alt and Delete do.
///
/// As nothing has to be written to any disk, all of it happens at once, but for power-off:
/// that ends the first process, and with it the others, so that its status is reported.
pub(super) fn reboot(first: usize, second: usize, command: usize) -> SyscallResult {
    const FIRST: u32 = 0xfee1_dead;
    const SECOND: [u32; 4] = [0x2812_1969, 0x0512_1996, 0x1604_1998, 0x2011_2000];
    const RESTART: u32 = 0x0123_4567;
    const HALT: u32 = 0xcdef_0123;
    const POWER_OFF: u32 = 0x4321_fedc;
    const KEYS_OFF: u32 = 0;
    const KEYS_ON: u32 = 0x89ab_cdef;
    if first as u32 != FIRST || !SECOND.contains(&(second as u32)) {
        return Err(Errno::Invalid);
    }
    match command as u32 {
        RESTART => power::restart(),
        HALT => power::halt(),
        POWER_OFF => {
            if let Some(first) = table::find_process(Pid::FIRST) {
                first.end_all(End::Exited(0));
            }
        }
        command @ (KEYS_OFF | KEYS_ON) => power::set_keys_restart(command == KEYS_ON),
        _ => return Err(Errno::Invalid),
    }
    Ok(0)
}
