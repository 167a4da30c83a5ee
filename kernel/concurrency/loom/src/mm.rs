//! Stands for memory: the queue of flushes with what it is of, and the users of
//! tables.

#[path = "../../../nucleus/src/mm/tlb/queue.rs"]
pub(crate) mod queue;
#[path = "../../../nucleus/src/mm/tlb/users.rs"]
mod users;
pub(crate) mod work;

use self::users::Change;
pub(crate) use self::users::TableUsers;
use crate::cpu::CpuSet;

/// Asks for the flush of the page; returns whether the processor is to be
/// interrupted.
pub(crate) fn request(queue: &queue::FlushQueue) -> bool {
    queue.request(&work::Work::of_the_page())
}

/// Makes the users of a table.
pub(crate) fn users_of_a_table() -> TableUsers {
    TableUsers::with_id(1)
}

/// Counts a change of a table's pages, or nodes; returns who is to be asked.
pub(crate) fn changed(users: &TableUsers, takes_nodes: bool) -> CpuSet {
    let change = match takes_nodes {
        true => Change::Nodes,
        false => Change::Pages,
    };
    users.changed(change).1
}
