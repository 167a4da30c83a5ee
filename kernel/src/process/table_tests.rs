//! Do numbers wrap and come back, and do children find new parents?

use alloc::sync::Arc;

use nucleus::prelude::*;

use super::{End, Errno, FIRST_USED_AGAIN, Pid, Process, SIGCHLD, Table};
use crate::process::limits::Limits;
use crate::process::signal::Actions;

fn process(id: Pid) -> Arc<Process> {
    let actions = Arc::new(Actions::new());
    Arc::new(Process::new(id, Limits::default(), actions))
}

/// Adds a process; returns its number.
fn add(table: &mut Table, parent: Option<Pid>) -> Pid {
    let id = table.new_number().expect("there are enough");
    table.add_process(process(id), parent, SIGCHLD);
    id
}

#[ktest]
fn numbers_wrap_and_leave_those_in_use_and_the_lowest_out() {
    let mut table = Table::new();
    let first = add(&mut table, None);
    assert_eq!(first, Pid::FIRST);
    table.last_number = FIRST_USED_AGAIN - 1;
    let taken = add(&mut table, Some(first));
    table.last_number = Pid::MAX - 1;
    let numbers = [(); 3].map(|()| table.new_number().map(Pid::as_u32));
    let expected = [Pid::MAX, FIRST_USED_AGAIN + 1, FIRST_USED_AGAIN + 2];
    assert_eq!(taken.as_u32(), FIRST_USED_AGAIN);
    assert_eq!(numbers, expected.map(Ok));
}

#[ktest]
fn number_of_a_group_is_not_given_while_the_group_lives() {
    let mut table = Table::new();
    let first = add(&mut table, None);
    let leader = add(&mut table, Some(first));
    table.get_mut(leader).expect("it is there").group = leader;
    let member = add(&mut table, Some(leader));
    table.remove_process(leader);
    assert_eq!(table.get(member).expect("it is there").group, leader);
    assert_eq!(table.take_number(leader), Err(Errno::Exists));
    table.remove_process(member);
    assert_eq!(table.take_number(leader), Ok(leader));
}

#[ktest]
fn orphans_become_children_of_the_first_process() {
    let mut table = Table::new();
    let first = add(&mut table, None);
    let parent = add(&mut table, Some(first));
    let children = [(); 2].map(|()| add(&mut table, Some(parent)));
    table.get_mut(children[1]).expect("it is there").end = Some(End::Exited(0));
    table.get_mut(children[1]).expect("it is there").exit_signal = 0;
    assert!(table.orphan_children(parent), "one of them is a zombie");
    for child in children {
        let record = table.get(child).expect("it is there");
        assert_eq!((record.parent, record.exit_signal), (Some(first), SIGCHLD));
    }
    let of_first = &table.get(first).expect("it is there").children;
    assert_eq!(of_first[..], [parent, children[0], children[1]]);
    assert!(!table.orphan_children(parent));
}

#[ktest]
fn numbers_that_cannot_be_are_refused() {
    for number in [0, Pid::MAX as usize + 1, usize::MAX, -1_i32 as usize] {
        assert_eq!(Pid::new(number), None);
    }
    assert_eq!(Pid::new(1), Some(Pid::FIRST));
}
