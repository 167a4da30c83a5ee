//! Writes to standard output and error, by lines and without their ends.

use std::io::{Write, stderr, stdout};

fn main() {
    println!("a line");
    eprintln!("a line of errors");
    let mut out = stdout().lock();
    for part in ["no ", "end ", "of ", "a ", "line"] {
        // A closed output ends the program, as is usual.
        out.write_all(part.as_bytes())
            .expect("standard output is open");
        out.flush().expect("standard output is open");
    }
    let vectored = [
        std::io::IoSlice::new(b", and "),
        std::io::IoSlice::new("höre ß".as_bytes()),
    ];
    let written = out
        .write_vectored(&vectored)
        .expect("standard output is open");
    write!(stderr(), "{written}").expect("standard error is open");
    write!(out, " tabs\tand more").expect("standard output is open");
}
