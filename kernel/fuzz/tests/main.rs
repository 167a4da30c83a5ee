//! Is everything that was ever found still well, and does shrinking work?

use fuzz::engine;
use fuzz::mutate::shrink;
use fuzz::targets::TARGETS;

#[test]
fn what_is_kept_breaks_no_promise() {
    for target in &TARGETS {
        engine::replay(target).expect("the corpus can be read");
    }
}

#[test]
fn shrinking_leaves_what_matters() {
    let input = (0..200).collect();
    assert_eq!(shrink(input, |input| input.contains(&77)), [77]);
}

#[test]
fn names_of_targets_differ() {
    let mut names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), TARGETS.len());
}
