//! What somebody at the console wants of the kernel itself.
//!
//! Performed by the boot processor, in the handler of the interrupt or the tick that
//! found the request, with interrupts off and no lock held.

use super::input::{self, Request};
use crate::power;

/// Performs all requests that wait. May not return.
pub(crate) fn perform() {
    while let Some(request) = input::take_request() {
        match request {
            Request::Restart => power::on_restart_keys(),
            Request::DebugKey => crate::debug::announce(),
            Request::Debug(letter) => crate::debug::command(letter),
        }
    }
}
