//! Does the runner tell every ending apart, and stop when it must?

extern crate alloc;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write;

use super::{Ending, Isolation, Message, Resources, Selection, Summary, run_all};
use crate::ktest::report::Ktap;
use crate::ktest::{KtestItem, ShouldPanic};
use crate::mm::frame::{Census, KindCount};
use crate::prelude::*;

/// Tests that end as they are told, and resources as they are told.
struct Script {
    endings: VecDeque<Ending>,
    stuck_after: Option<usize>,
    frames_lost_by_each: usize,
    runs: usize,
}

impl Isolation for Script {
    fn run(&mut self, _test: fn()) -> Ending {
        self.runs += 1;
        self.endings
            .pop_front()
            .expect("the script covers every test")
    }

    fn is_stuck(&self) -> bool {
        self.stuck_after == Some(self.runs)
    }

    fn resources(&self) -> Resources {
        Resources {
            free_frames: 100 - self.runs * self.frames_lost_by_each,
            heap_bytes: 0,
            tasks: 0,
        }
    }

    fn census(&self) -> Census {
        let kind = |name, level, frames| KindCount {
            name,
            level,
            frames,
        };
        Census::of(&[
            kind("idle", 0, 9),
            kind("nodes", 2, 10 - self.runs),
            kind("nodes", 1, 3 + self.runs * self.frames_lost_by_each),
        ])
    }
}

const fn item(name: &'static str, should_panic: ShouldPanic) -> KtestItem {
    KtestItem {
        name,
        run: || {},
        should_panic,
    }
}

static TESTS: [KtestItem; 3] = [
    item("a::one", ShouldPanic::No),
    item("a::two", ShouldPanic::With("boom")),
    item("b::three", ShouldPanic::Yes),
];

const ALL: Selection<'static> = Selection {
    filter: "",
    among: "",
    from: 1,
};

fn script(endings: impl IntoIterator<Item = Ending>) -> Script {
    Script {
        endings: endings.into_iter().collect(),
        stuck_after: None,
        frames_lost_by_each: 0,
        runs: 0,
    }
}

fn panicked(text: &str) -> Ending {
    let mut message = Message::new();
    message.write_str(text).expect("a message takes any text");
    let mut place = Message::new();
    place
        .write_str("x.rs:7:1")
        .expect("a message takes any text");
    Ending::Panicked { message, place }
}

fn run(script: &mut Script, selection: Selection<'_>) -> (String, Summary) {
    let mut report = String::new();
    let summary = run_all(&TESTS, selection, script, &mut Ktap(&mut report));
    (report, summary)
}

#[ktest]
fn report_of_a_good_run_is_ktap() {
    let mut script = script([Ending::Returned, panicked("big boom"), panicked("")]);
    let (report, summary) = run(&mut script, ALL);
    let expected = "KTAP version 1\n1..3\n\
        # run a::one\nok 1 a::one\n# run a::two\nok 2 a::two\n# run b::three\nok 3 b::three\n\
        # tests done: 3 passed, 0 failed, 0 skipped\n";
    assert_eq!(report, expected);
    assert_eq!((summary.passed, summary.failed), (3, 0));
}

#[ktest]
fn wrong_endings_fail_with_a_reason() {
    let mut script = script([panicked("oh"), panicked("bang"), Ending::Returned]);
    let (report, summary) = run(&mut script, ALL);
    assert_eq!((summary.passed, summary.failed), (0, 3));
    for line in [
        "# panicked: oh\n# at x.rs:7:1\nnot ok 1",
        "with: boom\n# at x.rs:7:1\nnot ok 2",
        "should\nnot ok 3",
    ] {
        assert!(report.contains(line), "{report}");
    }
}

#[ktest]
fn each_line_of_a_panic_is_a_line_of_the_report() {
    let mut script = script([
        panicked("left == right\n  left: 1\n right: 2\nok 9 forged"),
        panicked("big boom"),
        panicked(""),
    ]);
    let (report, _) = run(&mut script, ALL);
    let wanted = "# panicked: left == right\n#   left: 1\n#  right: 2\n# ok 9 forged\n\
        # at x.rs:7:1\nnot ok 1";
    assert!(report.contains(wanted), "{report}");
}

#[ktest]
fn panic_that_says_too_much_is_cut_and_that_is_told() {
    let text = "x".repeat(size_of::<Ending>());
    let mut script = script([panicked(&text), panicked("big boom"), panicked("")]);
    let (report, _) = run(&mut script, ALL);
    let wanted = "x\n# … and more, which found no room\n# at x.rs:7:1\nnot ok 1";
    assert!(report.contains(wanted), "{report}");
}

#[ktest]
fn hangs_and_faults_fail_even_where_a_panic_is_wanted() {
    let mut script = script([
        Ending::TimedOut,
        Ending::Faulted("page fault"),
        Ending::TimedOut,
    ]);
    let (report, summary) = run(&mut script, ALL);
    assert_eq!(summary.failed, 3);
    assert!(report.contains("# raised an exception: page fault\nnot ok 2"));
}

#[ktest]
fn skipped_test_is_neither_passed_nor_failed() {
    let mut script = script([Ending::Skipped("no SMAP")]);
    let one = Selection {
        filter: "one",
        ..ALL
    };
    let (report, summary) = run(&mut script, one);
    assert!(report.contains("1..1\n# run a::one\nok 1 a::one # SKIP no SMAP\n"));
    assert_eq!((summary.passed, summary.failed, summary.skipped), (0, 0, 1));
}

#[ktest]
fn filter_has_alternatives() {
    let selected = |filter, among| {
        let selection = Selection {
            filter,
            among,
            from: 1,
        };
        let names = TESTS.iter().map(|test| test.name);
        names
            .filter(|name| selection.selects(name))
            .collect::<Vec<_>>()
    };
    assert_eq!(selected("one|three", ""), ["a::one", "b::three"]);
    assert_eq!(selected("one|three", "b::|c::"), ["b::three"]);
    assert_eq!(selected("one", "two").len(), 0);
    assert_eq!(selected("", "").len(), 3);
    assert_eq!(selected("nowhere|", "").len(), 3);
}

#[ktest]
fn tests_that_end_badly_run_only_when_they_are_named() {
    let name = "nucleus::ktest::deliberate::panics";
    let selects = |filter, among| {
        Selection {
            filter,
            among,
            from: 1,
        }
        .selects(name)
    };
    assert!(!selects("", "") && !selects("panics", "") && !selects("", "deliberate"));
    assert!(selects("one|deliberate", ""));
}

#[ktest]
fn leak_fails_a_test_that_returned() {
    let mut script = script([Ending::Returned]);
    script.frames_lost_by_each = 2;
    let one = Selection {
        filter: "one",
        ..ALL
    };
    let (report, summary) = run(&mut script, one);
    assert_eq!(summary.failed, 1);
    assert!(report.contains("# leaked 2 frames"));
    // What has become less, or is as it was, is not told of.
    assert!(
        report.contains("tasks\n# 2 more frames of kind nodes-1\nnot ok 1"),
        "{report}"
    );
}

#[ktest]
fn stuck_lock_ends_the_run_and_later_tests_keep_their_numbers() {
    let mut first = script([panicked("oh")]);
    first.stuck_after = Some(1);
    let (report, summary) = run(&mut first, ALL);
    assert!(summary.needs_reboot && report.ends_with("# reboot needed after 1\n"));

    let mut rest = script([panicked("boom"), panicked("")]);
    let (report, _) = run(&mut rest, Selection { from: 2, ..ALL });
    assert!(report.contains("1..3\n# run a::two\nok 2 a::two\n# run b::three\nok 3"));
}

#[ktest]
fn message_that_is_too_long_is_cut_between_characters() {
    let mut message = Message::<257>::new();
    for number in 0..200 {
        assert_eq!(message.is_cut(), number > 128);
        message.write_char('ä').expect("a message takes any text");
    }
    assert_eq!(message.as_str().chars().count(), 128);
}
