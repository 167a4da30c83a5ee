//! Signals, as Linux has them.
//!
//! ```text
//!   sender ─▶ pending, of a process or a thread ─▶ a thread is called to look
//!                                                         │ before ring 3
//!     default action: end, stop, nothing   ◀── taken ◀────┘
//!     handler: its frame on the user's stack, and ring 3 goes on there
//! ```
//!
//! * `number`, `info`, `action`: what there is to say about a signal.
//! * `pending`, `state`: what waits, and for whom.
//! * `send`: how a signal gets there. `deliver`: what becomes of it.
//! * `fault`: signals that a thread's own instructions raise.
//! * `frame`, `stack`: what a handler finds, and how it returns.
//! * `restart`: what becomes of a call that a signal has interrupted.

pub(crate) mod action;
mod deliver;
mod fault;
mod frame;
pub(crate) mod info;
mod number;
mod pending;
mod restart;
mod send;
pub(crate) mod stack;
mod state;

pub(crate) use self::action::{Action, Actions};
pub(crate) use self::info::{SigInfo, code};
pub(crate) use self::number::{DefaultAction, Signal, SignalSet};
pub(crate) use self::send::{send_to_all, send_to_group, send_to_process, send_to_thread};
pub(crate) use self::state::{Change, ProcessSignals, Signals, ThreadSignals};
