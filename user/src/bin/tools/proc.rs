//! What the kernel says of processes in `/proc`, read into values.
//!
//! Lines that are not known are passed over, and what is not said is zero: kernels say
//! different things.

use std::fs;

/// What `/proc/PID/status` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) name: String,
    /// One letter: running, sleeping, zombie …
    pub(crate) state: String,
    pub(crate) threads: u32,
    /// In KiB, as mapped and as resident.
    pub(crate) size_kib: u64,
    pub(crate) resident_kib: u64,
}

impl Status {
    pub(crate) fn parse(text: &str) -> Self {
        let mut status = Self::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            let number = || {
                value
                    .split(' ')
                    .next()
                    .and_then(|word| word.parse().ok())
                    .unwrap_or(0)
            };
            match key {
                "Name" => value.clone_into(&mut status.name),
                "State" => status.state = value.chars().take(1).collect(),
                "Pid" => status.pid = number() as u32,
                "PPid" => status.parent = number() as u32,
                "Threads" => status.threads = number() as u32,
                "VmSize" => status.size_kib = number(),
                "VmRSS" => status.resident_kib = number(),
                _ => {}
            }
        }
        status
    }
}

/// Returns the processes that there are, in order.
pub(crate) fn processes() -> std::io::Result<Vec<Status>> {
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc")? {
        pids.extend(
            entry?
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok()),
        );
    }
    pids.sort_unstable();
    // A process may end meanwhile.
    let read = |pid| fs::read_to_string(format!("/proc/{pid}/status")).ok();
    Ok(pids
        .into_iter()
        .filter_map(read)
        .map(|text| Status::parse(&text))
        .collect())
}

/// Returns how a process was started, or its name if that is not known.
pub(crate) fn command_line(status: &Status) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", status.pid)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    match text.trim() {
        "" => format!("[{}]", status.name),
        text => text.to_owned(),
    }
}

/// A mapping of a process, as in `/proc/PID/smaps` or, with less, `/proc/PID/maps`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mapping {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Such as `rw-p`.
    pub(crate) permissions: String,
    pub(crate) offset: u64,
    /// A path, something in brackets, or nothing.
    pub(crate) name: String,
    /// In KiB: what is present, by who else has it.
    pub(crate) resident_kib: u64,
    pub(crate) shared_kib: u64,
    pub(crate) private_kib: u64,
    pub(crate) dirty_kib: u64,
    /// In KiB: what of it is in pages of 2 MiB.
    pub(crate) huge_kib: u64,
}

impl Mapping {
    pub(crate) fn size_kib(&self) -> u64 {
        (self.end - self.start) / 1024
    }
}

/// Reads mappings; a line that starts with a range starts one.
pub(crate) fn mappings(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        if let Some(mapping) = first_line(line) {
            mappings.push(mapping);
        } else if let (Some(mapping), Some((key, value))) =
            (mappings.last_mut(), line.split_once(':'))
        {
            let number = value
                .trim()
                .split(' ')
                .next()
                .and_then(|word| word.parse().ok());
            let kib: u64 = number.unwrap_or(0);
            match key {
                "Rss" => mapping.resident_kib = kib,
                "Shared_Clean" => mapping.shared_kib += kib,
                "Shared_Dirty" => {
                    mapping.shared_kib += kib;
                    mapping.dirty_kib += kib;
                }
                "Private_Clean" => mapping.private_kib += kib,
                "Private_Dirty" => {
                    mapping.private_kib += kib;
                    mapping.dirty_kib += kib;
                }
                "AnonHugePages" | "ShmemPmdMapped" | "FilePmdMapped" => mapping.huge_kib += kib,
                _ => {}
            }
        }
    }
    mappings
}

/// Reads `start-end permissions offset device inode name`.
fn first_line(line: &str) -> Option<Mapping> {
    let mut words = line.splitn(6, ' ');
    let (start, end) = words.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    let (start, end) = (number(start)?, number(end)?);
    let permissions = words.next().filter(|word| word.len() == 4)?.to_owned();
    let offset = number(words.next()?)?;
    let name = words.nth(2).unwrap_or_default().trim().to_owned();
    (start < end).then(|| Mapping {
        start,
        end,
        permissions,
        offset,
        name,
        ..Mapping::default()
    })
}

#[cfg(test)]
mod tests {
    use super::{Mapping, Status, mappings};

    #[test]
    fn status_is_read() {
        let text = "Name:\tsh\nUmask:\t0022\nState:\tS (sleeping)\nPid:\t12\nPPid:\t1\n\
                    VmSize:\t    1024 kB\nVmRSS:\t      96 kB\nThreads:\t2\n";
        let status = Status::parse(text);
        let expected = Status {
            pid: 12,
            parent: 1,
            name: "sh".to_owned(),
            state: "S".to_owned(),
            threads: 2,
            size_kib: 1024,
            resident_kib: 96,
        };
        assert_eq!(status, expected);
        assert_eq!(Status::parse("nonsense\n:\n"), Status::default());
    }

    #[test]
    fn mappings_are_read_with_what_follows_them() {
        let text = "00400000-00402000 r-xp 00001000 00:01 7      /bin/a b\n\
                    Size:                  8 kB\nRss:                   8 kB\n\
                    Shared_Clean:          4 kB\nPrivate_Dirty:         4 kB\n\
                    VmFlags: rd ex\n\
                    7f0000000000-7f0000400000 rw-p 00000000 00:00 0 \n\
                    AnonHugePages:      2048 kB\n";
        let first = Mapping {
            start: 0x40_0000,
            end: 0x40_2000,
            permissions: "r-xp".to_owned(),
            offset: 0x1000,
            name: "/bin/a b".to_owned(),
            resident_kib: 8,
            shared_kib: 4,
            private_kib: 4,
            dirty_kib: 4,
            huge_kib: 0,
        };
        let read = mappings(text);
        assert_eq!(read[0], first);
        assert_eq!((read[1].size_kib(), read[1].huge_kib), (4096, 2048));
        assert_eq!((read.len(), read[1].name.as_str()), (2, ""));
    }

    #[test]
    fn lines_that_are_no_mappings_are_passed_over() {
        assert_eq!(
            mappings("Rss: 4 kB\n2-1 rw-p 0 0 0 x\nzz-1 rw-p 0 0 0\n1-2 rw 0\n"),
            []
        );
    }
}
