//! The kernel's command line: the file `boot/cmdline` of the initramfs.
//!
//! Words are separated by white space; `"…"` and `'…'` keep white space in a
//! word.
//!
//! | option | meaning |
//! |---|---|
//! | `log=off\|error\|warn\|info\|debug\|trace` | how much is logged; `info` unless given |
//! | `debug-exit` | end QEMU through its debug-exit device at port 0xf4 |
//! | `nokaslr` | leave the kernel's image at the base that the loader put it at |
//! | `no-acpi` | do not read ACPI's tables |
//! | `no-apic` | leave the local APICs alone: interrupts by the 8259 pair, and one processor |
//! | `no-x2apic` | use the local APICs in their older mode, unless firmware left them in the newer one |
//! | `nousb` | leave USB controllers alone: no USB keyboards but those that firmware plays a PS/2 keyboard for |
//! | `ktest`, `ktest=FILTER` | run the in-kernel tests whose names contain FILTER, or one of several: `A\|B` |
//! | `ktest.among=FILTER` | only those whose names pass this filter, too |
//! | `ktest.from=N` | start with the N-th of them, counted from 1 |
//! | `ktest.timeout=SECONDS` | time that a test may take; 60 unless given |
//! | `ktest.stress=OPERATIONS` | length of each stress test; each has its own unless given |
//! | `ktest.wait` | after the tests show a summary and the failures, and wait for a key |
//! | `bench`, `bench=FILTER` | run the benchmarks whose names contain FILTER, in a kernel that has them |
//! | `thp=off\|advised\|on` | huge pages for programs: nowhere, where they ask for them, or wherever they fit; `advised` unless given |
//! | `trace=fault,tlb,task\|all\|off` | the events that are recorded, with details and a summary in the end; unless given, all but details, without a summary |
//! | `keymap=us\|uk\|de\|fr\|no\|se\|fi\|jp\|colemak\|dvorak\|dvp` | what is printed on the keyboard's keys; `us` unless given |
//! | `reset=acpi\|keyboard\|cf9\|triple-fault` | the way to restart that is tried first; in this order unless given |
//! | `crash=null\|panic\|other-panic\|message\|stack-overflow\|double-fault\|write-text\|run-data\|guard-page\|canary\|nested-trap\|after-program` | die on purpose after start-up, or when the program has ended, to show the report |
//! | `pagetable` | print the kernel's page table after start-up |
//! | `-- PROGRAM ARGUMENTS…` | run this program and power off with its status; `/bin/init` unless given |
//!
//! Parsing allocates nothing, so that it works before the heap does. What it
//! does not understand is kept, to be warned of, and changes nothing.

use core::fmt;

use ::log::LevelFilter;

use crate::console::Keymap;
use crate::trace::Group;

/// A way to die on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Read from address zero.
    Null,
    /// Panic.
    Panic,
    /// Panic on the last processor.
    OtherPanic,
    /// A panic in the middle of a message, which holds the console.
    Message,
    /// Recurse without end.
    StackOverflow,
    /// Fault without a usable stack.
    DoubleFault,
    /// Write to the kernel's text.
    WriteText,
    /// Execute what is in its data.
    RunData,
    /// Read below a stack.
    GuardPage,
    /// Overwrite the canary of an exception's stack.
    Canary,
    /// Have an exception strike in its own handler.
    NestedTrap,
    /// Panic when the program has ended.
    AfterProgram,
}

/// Where programs get huge pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// Nowhere.
    Never,
    /// Where they say that they want them.
    Advised,
    /// Wherever they fit.
    Always,
}

/// A way to restart the machine. They are tried in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum ResetWay {
    /// The register that ACPI's tables name.
    #[default]
    Acpi,
    /// The keyboard controller, whose output 0 is the reset line of the processors.
    Keyboard,
    /// Port 0xcf9, the register of most chip sets for that.
    Cf9,
    /// A trap without any handler, which shuts the processor down.
    TripleFault,
}

impl ResetWay {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Acpi, Self::Keyboard, Self::Cf9, Self::TripleFault];

    /// Returns its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Acpi => "acpi",
            Self::Keyboard => "keyboard",
            Self::Cf9 => "cf9",
            Self::TripleFault => "triple-fault",
        }
    }
}

impl fmt::Display for ResetWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine<'a> {
    text: &'a str,
    /// How much is logged.
    pub log: LevelFilter,
    /// QEMU's debug-exit device is there.
    pub debug_exit: bool,
    /// The image is to stay at the loader's base.
    pub no_kaslr: bool,
    /// ACPI's tables are not to be read.
    pub no_acpi: bool,
    /// The local APICs are to be left alone.
    pub no_apic: bool,
    /// The local APICs are to be used in their older mode.
    pub no_x2apic: bool,
    /// USB controllers are to be left alone.
    pub no_usb: bool,
    /// The filter of the tests to run, if tests are to run.
    pub ktest: Option<&'a str>,
    /// A second filter, which names have to pass as well.
    pub ktest_among: &'a str,
    /// The first of the selected tests to run, counted from 1.
    pub ktest_from: usize,
    /// Seconds that a test may take.
    pub ktest_timeout_s: u32,
    /// Operations of a stress test, if not as many as it has by itself.
    pub ktest_stress: Option<u32>,
    /// After the tests, somebody is there to look at them.
    pub ktest_wait: bool,
    /// The filter of the benchmarks to run, if any are to run.
    pub bench: Option<&'a str>,
    /// Where programs get huge pages.
    pub huge_pages: HugePages,
    /// The events that are recorded and counted, if it says so.
    pub trace: Option<Group>,
    /// What is printed on the keyboard's keys.
    pub keymap: Keymap,
    /// The way to restart that is tried first.
    pub reset: ResetWay,
    /// A way to die after start-up.
    pub crash: Option<Crash>,
    /// The kernel's page table is to be printed after start-up.
    pub page_table: bool,
}

impl<'a> CommandLine<'a> {
    /// Parses a command line. Whatever the text, there is a result.
    pub fn parse(text: &'a str) -> Self {
        let mut line = Self {
            text,
            log: LevelFilter::Info,
            debug_exit: false,
            no_kaslr: false,
            no_acpi: false,
            no_apic: false,
            no_x2apic: false,
            no_usb: false,
            ktest: None,
            ktest_among: "",
            ktest_from: 1,
            ktest_timeout_s: 60,
            ktest_stress: None,
            ktest_wait: false,
            bench: None,
            huge_pages: HugePages::Advised,
            trace: None,
            keymap: Keymap::default(),
            reset: ResetWay::default(),
            crash: None,
            page_table: false,
        };
        for word in line.options() {
            line.apply(word);
        }
        line
    }

    /// Returns the options that are not understood, or whose values are not.
    pub fn unknown(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut scratch = Self::parse("");
        self.options().filter(move |word| !scratch.apply(word))
    }

    /// Returns the program to run and its arguments, the program being first.
    pub fn program(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        words(self.text).skip_while(|word| *word != "--").skip(1)
    }

    fn options(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        words(self.text).take_while(|word| *word != "--")
    }

    /// Takes one option into account; returns whether it was understood.
    fn apply(&mut self, word: &'a str) -> bool {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        match (name, value) {
            ("log", Some(value)) => set(&mut self.log, value.parse().ok()),
            ("pagetable", None) => set(&mut self.page_table, Some(true)),
            ("debug-exit", None) => set(&mut self.debug_exit, Some(true)),
            ("nokaslr", None) => set(&mut self.no_kaslr, Some(true)),
            ("no-acpi", None) => set(&mut self.no_acpi, Some(true)),
            ("no-apic", None) => set(&mut self.no_apic, Some(true)),
            ("no-x2apic", None) => set(&mut self.no_x2apic, Some(true)),
            ("nousb", None) => set(&mut self.no_usb, Some(true)),
            ("ktest", filter) => set(&mut self.ktest, Some(Some(filter.unwrap_or("")))),
            ("ktest.among", Some(filter)) => set(&mut self.ktest_among, Some(filter)),
            ("ktest.from", Some(value)) => {
                let number = value.parse().ok().filter(|number| *number > 0);
                set(&mut self.ktest_from, number)
            }
            ("ktest.timeout", Some(value)) => {
                let seconds = value.parse().ok().filter(|seconds| *seconds > 0);
                set(&mut self.ktest_timeout_s, seconds)
            }
            ("ktest.stress", Some(value)) => {
                let operations = value.parse().ok().filter(|number| *number > 0);
                set(&mut self.ktest_stress, operations.map(Some))
            }
            ("ktest.wait", None) => set(&mut self.ktest_wait, Some(true)),
            ("bench", filter) => set(&mut self.bench, Some(Some(filter.unwrap_or("")))),
            ("thp", Some(value)) => {
                let wanted = match value {
                    "off" => HugePages::Never,
                    "advised" => HugePages::Advised,
                    "on" => HugePages::Always,
                    _ => return false,
                };
                set(&mut self.huge_pages, Some(wanted))
            }
            ("trace", Some(names)) => set(&mut self.trace, Group::parse(names).map(Some)),
            ("keymap", Some(name)) => set(&mut self.keymap, Keymap::by_name(name)),
            ("reset", Some(name)) => {
                let mut ways = ResetWay::ALL.into_iter();
                set(&mut self.reset, ways.find(|way| way.name() == name))
            }
            ("crash", Some(value)) => {
                let crash = match value {
                    "null" => Crash::Null,
                    "panic" => Crash::Panic,
                    "other-panic" => Crash::OtherPanic,
                    "message" => Crash::Message,
                    "stack-overflow" => Crash::StackOverflow,
                    "double-fault" => Crash::DoubleFault,
                    "write-text" => Crash::WriteText,
                    "run-data" => Crash::RunData,
                    "guard-page" => Crash::GuardPage,
                    "canary" => Crash::Canary,
                    "nested-trap" => Crash::NestedTrap,
                    "after-program" => Crash::AfterProgram,
                    _ => return false,
                };
                set(&mut self.crash, Some(Some(crash)))
            }
            _ => false,
        }
    }
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    let understood = value.is_some();
    if let Some(value) = value {
        *field = value;
    }
    understood
}

/// Splits a line into words. A quote is recognised at the start of a word only,
/// and one that is never closed ends with the line.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    core::iter::from_fn(move || {
        rest = rest.trim_start();
        let quote = rest.chars().next()?;
        let (word, after) = if quote == '"' || quote == '\'' {
            let body = &rest[1..];
            let end = body.find(quote).unwrap_or(body.len());
            (&body[..end], body.get(end + 1..).unwrap_or(""))
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            rest.split_at(end)
        };
        rest = after;
        Some(word)
    })
}

#[cfg(any(test, ktest))]
mod tests {
    use ::log::LevelFilter;

    use super::{CommandLine, Crash, HugePages, Keymap, ResetWay};
    use crate::prelude::*;
    use crate::trace::Group;

    #[ktest]
    fn empty_line_means_the_defaults() {
        let line = CommandLine::parse(" \n");
        assert_eq!(
            (line.log, line.ktest, line.ktest_from),
            (LevelFilter::Info, None, 1)
        );
        assert_eq!(line.program().count(), 0);
    }

    #[ktest]
    fn options_are_understood() {
        let line = CommandLine::parse(
            "log=debug debug-exit ktest=mm:: ktest.from=7 crash=null thp=on trace=fault,tlb \
             pagetable",
        );
        assert_eq!((line.log, line.debug_exit), (LevelFilter::Debug, true));
        assert!(line.page_table);
        assert_eq!((line.ktest, line.ktest_from), (Some("mm::"), 7));
        assert_eq!(line.crash, Some(Crash::Null));
        assert_eq!(line.huge_pages, HugePages::Always);
        assert_eq!(line.trace, Some(Group::FAULT | Group::TLB));
        assert_eq!(line.unknown().count(), 0);
    }

    #[ktest]
    fn keyboard_has_a_layout_and_restart_a_way() {
        let line = CommandLine::parse("keymap=de reset=triple-fault nousb");
        assert_eq!(line.keymap, Keymap::De);
        assert_eq!(line.reset, ResetWay::TripleFault);
        assert!(line.no_usb);
        assert_eq!(line.unknown().count(), 0);
        let line = CommandLine::parse("");
        assert!(!line.no_usb);
        assert_eq!((line.keymap, line.reset), (Keymap::Us, ResetWay::Acpi));
    }

    #[ktest]
    fn tests_have_filters_and_a_length() {
        let line = CommandLine::parse("ktest=a|b ktest.among=c|d ktest.stress=1000000 ktest.wait");
        assert_eq!((line.ktest, line.ktest_among), (Some("a|b"), "c|d"));
        assert_eq!(
            (line.ktest_stress, line.ktest_wait),
            (Some(1_000_000), true)
        );
        assert_eq!(line.unknown().count(), 0);
    }

    #[ktest]
    fn bad_values_are_named_and_change_nothing() {
        let text = "log=loud ktest.from=0 ktest.timeout=soon ktest.stress=0 crash=gently thp=maybe trace=faults colour debug-exit=1 keymap=xx reset=softly";
        let line = CommandLine::parse(text);
        assert!(line.unknown().eq(text.split(' ')));
        assert_eq!(
            line,
            CommandLine {
                text,
                ..CommandLine::parse("")
            }
        );
    }

    #[ktest]
    fn program_and_arguments_keep_their_quoted_spaces() {
        let line = CommandLine::parse("log=off -- /bin/args 'a b' \"c 'd\" log=trace -- ''");
        let expected = ["/bin/args", "a b", "c 'd", "log=trace", "--", ""];
        assert!(line.program().eq(expected));
        assert_eq!(line.log, LevelFilter::Off);
    }

    #[ktest]
    fn quote_without_an_end_takes_the_rest() {
        assert!(CommandLine::parse("-- a \"b c").program().eq(["a", "b c"]));
        assert!(CommandLine::parse("-- \"").program().eq([""]));
    }
}
