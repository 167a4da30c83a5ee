//! Tests of the debug menu: it prints whoever holds what.

use crate::prelude::*;

#[ktest]
fn menu_prints_everything() {
    for letter in *b"htsmibc" {
        super::command(letter);
    }
}
