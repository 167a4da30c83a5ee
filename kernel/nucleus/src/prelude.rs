//! What almost every file of a kernel on the nucleus imports.

pub use crate::console::{print, println};
pub use crate::error::{Error, Result};
pub use crate::mm::{Paddr, Vaddr};
pub use nucleus_macros::ktest;
