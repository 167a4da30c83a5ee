//! Arguments: mostly nearly right, since what is quite wrong is refused by the first
//! check and nothing behind it is tried.

use std::ffi::CStr;

use super::calls::Kind;
use super::machine::{self, Arena, FORBIDDEN, HOLE, READABLE, WRITABLE};
use crate::random::Random;
use crate::sys::PAGE;

/// Where addresses of user space end.
const USER_END: u64 = 1 << 47;

/// Where mappings of 2 MiB and more are tried at fixed places.
const PLAYGROUND: u64 = 0x1000_0000_0000;

const PATHS: &[&CStr] = &[
    c"f0",
    c"f1",
    c"d0",
    c"d0/f2",
    c"d0/../f0",
    c"l0",
    c"f0/x",
    c".",
    c"..",
    c"/",
    c"",
    c"/dev/null",
    c"/dev/zero",
    c"/proc",
    c"/proc/self",
    c"/proc/self/maps",
    c"/proc/self/smaps",
    c"/proc/self/status",
    c"/proc/self/exe",
    c"/proc/meminfo",
    c"/proc/cpuinfo",
    c"/bin",
    c"/bin/true",
    c"/nonexistent",
];

/// Some do nothing, some end a process, and some there are not.
const SIGNALS: &[u64] = &[0, 1, 10, 10, 11, 12, 14, 17, 18, 20, 23, 28, 34, 64, 65];

/// What arguments are made from.
pub(super) struct Arguments {
    pub(super) random: Random,
    arena: Arena,
    process: u64,
    /// A page of the arena that is this thread's for structures.
    scratch: usize,
}

impl Arguments {
    pub(super) fn new(random: Random, arena: Arena, thread: usize) -> Self {
        Self {
            random,
            arena,
            process: machine::quiet_call(libc::SYS_getpid, [0; 6]) as u64,
            scratch: arena.start + thread % WRITABLE * PAGE,
        }
    }

    /// Returns arguments of these kinds, one of which may be anything.
    pub(super) fn of(&mut self, kinds: &[Kind]) -> [u64; 6] {
        let mut values = [0; 6];
        for (value, kind) in values.iter_mut().zip(kinds) {
            *value = self.one(*kind);
        }
        if !kinds.is_empty() && self.random.one_in(10) {
            let index = self.random.below(kinds.len());
            // Processes are named by those kinds alone: there are others about.
            if !matches!(kinds[index], Kind::Process) {
                values[index] = self.any();
            }
        }
        values
    }

    fn one(&mut self, kind: Kind) -> u64 {
        match kind {
            Kind::Any => self.any(),
            Kind::Address => self.address(),
            Kind::Len => self.len(),
            Kind::Struct => self.structure(),
            Kind::Texts => self.texts(),
            Kind::Time => self.time(),
            Kind::File => self.file(),
            Kind::Path => self.path(),
            Kind::Process => self.some_process(),
            Kind::Signal => *self.random.pick(SIGNALS),
            Kind::Offset => self.offset(),
            Kind::Bits(mask) => self.bits(mask),
            Kind::Among(_) if self.random.one_in(8) => self.any(),
            Kind::Among(values) => *self.random.pick(values),
            Kind::Number(limit) => self.random.next() % (limit + 1 + limit / 8),
        }
    }

    /// Returns anything at all.
    pub(super) fn any(&mut self) -> u64 {
        match self.random.below(6) {
            0 => self.random.next(),
            1 => 1 << self.random.below(64),
            2 => (1_u64 << self.random.below(64)).wrapping_sub(1),
            3 => self.random.below(64) as u64,
            4 => (self.random.below(8) as u64).wrapping_neg(),
            _ => self.address(),
        }
    }

    fn address(&mut self) -> u64 {
        let page = PAGE as u64;
        let start = self.arena.start as u64;
        let all = WRITABLE + READABLE + FORBIDDEN + HOLE;
        match self.random.below(20) {
            0..7 => start + self.random.below(WRITABLE) as u64 * page + self.within(),
            7..9 => start + self.random.below(all) as u64 * page,
            9..12 => {
                // The last bytes before what is of another kind.
                let edges = [
                    WRITABLE,
                    WRITABLE + READABLE,
                    WRITABLE + READABLE + FORBIDDEN,
                ];
                let edge = *self.random.pick(&edges) as u64;
                start + edge * page - self.random.below(17) as u64
            }
            12..15 => PLAYGROUND + self.random.below(64) as u64 * (page << self.random.below(10)),
            15 => self.random.below(3) as u64 * page / 2,
            16 => USER_END - self.random.below(3) as u64 * page + self.random.below(2) as u64,
            17 => u64::MAX << (11 + self.random.below(37)),
            18 => u64::MAX - self.random.below(PAGE) as u64,
            // Now and then what this process needs itself.
            _ if self.random.one_in(12) => {
                let here = &raw const *self as u64;
                *self
                    .random
                    .pick(&[here, here & !0xfff, machine::handler() & !0xfff])
            }
            _ => start + self.random.below(WRITABLE) as u64 * page,
        }
    }

    /// Returns an offset in a page: mostly one that is aligned.
    fn within(&mut self) -> u64 {
        match self.random.below(4) {
            0 => self.random.below(PAGE) as u64,
            1 => (self.random.below(PAGE) & !7) as u64,
            _ => 0,
        }
    }

    fn len(&mut self) -> u64 {
        let page = PAGE as u64;
        match self.random.below(16) {
            0..5 => (1 + self.random.below(8)) as u64 * page,
            5..8 => self.random.below(300) as u64,
            8..10 => self.random.below(64 * PAGE) as u64,
            10 => (1 + self.random.below(8)) as u64 * 512 * page,
            11 => 0,
            12 => 1 << (12 + self.random.below(52)),
            13 => USER_END - self.random.below(2) as u64 * page,
            14 => u64::MAX - self.random.below(2 * PAGE) as u64,
            _ => page,
        }
    }

    fn file(&mut self) -> u64 {
        match self.random.below(16) {
            0..11 => self.random.below(16) as u64,
            11..13 => libc::AT_FDCWD as u64,
            13 => u64::MAX,
            14 => self.random.below(2000) as u64,
            _ => i32::MAX as u64,
        }
    }

    fn path(&mut self) -> u64 {
        if self.random.one_in(8) {
            return self.address();
        }
        self.random.pick(PATHS).as_ptr() as u64
    }

    /// Returns the process that this was made in.
    pub(super) fn process(&self) -> u64 {
        self.process
    }

    /// Never another process, nor a group of them.
    fn some_process(&mut self) -> u64 {
        let process = self.process;
        *self
            .random
            .pick(&[process, process, 0x7fff_fff0, process + (1 << 40)])
    }

    fn offset(&mut self) -> u64 {
        match self.random.below(6) {
            0 | 1 => 0,
            2 => self.random.below(8) as u64 * PAGE as u64,
            3 => self.random.below(100_000) as u64,
            4 => i64::MAX as u64 - self.random.below(2 * PAGE) as u64,
            _ => (self.random.below(100) as u64).wrapping_neg(),
        }
    }

    /// Returns some of these bits: mostly few, and rarely others.
    fn bits(&mut self, mask: u64) -> u64 {
        let few = self.random.next() & self.random.next() & mask;
        match self.random.below(8) {
            0 => mask,
            1 => self.random.next() & mask,
            2 => few | 1 << self.random.below(64),
            3 => few & self.random.next(),
            _ => few,
        }
    }

    /// Fills a structure with values of all kinds; returns where it is.
    fn structure(&mut self) -> u64 {
        if self.random.one_in(8) {
            return self.address();
        }
        let kinds = [
            Kind::Address,
            Kind::Len,
            Kind::File,
            Kind::Any,
            Kind::Number(4),
            Kind::Bits(u64::MAX),
        ];
        let mut words = [0; 12];
        for word in &mut words {
            let kind = *self.random.pick(&kinds);
            *word = self.one(kind);
        }
        if self.random.one_in(4) {
            words[0] = machine::handler();
        }
        self.put(&words)
    }

    fn texts(&mut self) -> u64 {
        if self.random.one_in(8) {
            return self.address();
        }
        let mut words = [0; 12];
        let used = self.random.below(12);
        for word in words.iter_mut().take(used) {
            *word = self.path();
        }
        self.put(&words)
    }

    /// Returns where a time of less than a millisecond is, or something else.
    fn time(&mut self) -> u64 {
        match self.random.below(8) {
            0 => self.address(),
            1 => {
                let words = [0, u64::MAX];
                self.put(&words)
            }
            _ => {
                let words = [0, self.random.below(300_000) as u64];
                self.put(&words)
            }
        }
    }

    /// Writes words to this thread's page of the arena, sometimes up to its end.
    fn put(&mut self, words: &[u64]) -> u64 {
        let room = PAGE - 8 * words.len();
        let offset = match self.random.below(4) {
            0 => room,
            1 => self.random.below(room),
            _ => self.random.below(room) & !7,
        };
        let place = self.scratch + offset;
        self.arena.write(place, words);
        place as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, Kind};
    use crate::fuzz::calls::CALLS;
    use crate::fuzz::machine::Arena;
    use crate::random::Random;

    #[test]
    fn arguments_repeat_by_their_seed() {
        let arena = Arena::new().expect("some memory");
        let make = || {
            let mut arguments = Arguments::new(Random::new(7), arena, 0);
            // Addresses of the fuzzer itself are not the same each time.
            let kinds = [
                Kind::Len,
                Kind::File,
                Kind::Offset,
                Kind::Bits(255),
                Kind::Number(9),
            ];
            (0..100)
                .map(|_| kinds.map(|kind| arguments.one(kind)))
                .collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
    }

    #[test]
    fn no_other_process_is_ever_named() {
        let arena = Arena::new().expect("some memory");
        let mut arguments = Arguments::new(Random::new(1), arena, 0);
        let own = u64::from(std::process::id());
        for call in CALLS
            .iter()
            .filter(|call| call.kinds.contains(&Kind::Process))
        {
            for _ in 0..2000 {
                let values = arguments.of(call.kinds);
                for (value, _) in values
                    .iter()
                    .zip(call.kinds)
                    .filter(|(_, kind)| **kind == Kind::Process)
                {
                    let pid = *value as i32;
                    assert!(
                        pid == own as i32 || pid == 0x7fff_fff0,
                        "{}: {value:#x}",
                        call.name
                    );
                }
            }
        }
    }
}
