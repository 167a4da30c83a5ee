//! `sh [-c COMMANDS | FILE] [ARGUMENTS…]`: a small shell.
//!
//! It runs programs with pipes, redirections, variables and patterns. It has no loops
//! and no functions, and leaves jobs and terminals to others: it is there to try
//! things with.

mod expand;
mod line;
mod run;
mod streams;
mod syntax;
mod words;

use std::ffi::OsString;
use std::fs::File;

use expand::Variables;
use line::Lines;
use run::{Next, Shell};
use syntax::{SyntaxError, parse};

/// The status of what is no command, as all shells have it.
const SYNTAX: u8 = 2;

pub(crate) fn run(arguments: &[OsString]) -> u8 {
    let words: Vec<String> = arguments
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let mut variables = Variables::from_environment();
    if variables.value("PATH").is_empty() {
        variables.set("PATH", "/bin".to_owned());
        variables.export("PATH");
    }
    match words.as_slice() {
        [option, text, rest @ ..] if option == "-c" => {
            variables.arguments = or_name(rest);
            let mut shell = Shell::new(variables);
            match run_text(&mut shell, text) {
                Ok(Next::Exit(status)) => status,
                Ok(Next::GoOn) => shell.variables.status,
                Err(error) => complain(&error),
            }
        }
        [file, ..] => {
            variables.arguments = words.clone();
            match File::open(file) {
                Ok(input) => read(Shell::new(variables), Lines::from_file(input)),
                Err(error) => {
                    eprintln!("sh: {file}: {error}");
                    127
                }
            }
        }
        [] => {
            variables.arguments = or_name(&[]);
            match Lines::from_standard_input() {
                Ok(lines) => read(Shell::new(variables), lines),
                Err(error) => {
                    eprintln!("sh: there is no input: {error}");
                    1
                }
            }
        }
    }
}

fn or_name(arguments: &[String]) -> Vec<String> {
    match arguments {
        [] => vec!["sh".to_owned()],
        _ => arguments.to_vec(),
    }
}

fn run_text(shell: &mut Shell, text: &str) -> Result<Next, SyntaxError> {
    parse(text).map(|list| shell.run(&list))
}

fn complain(error: &SyntaxError) -> u8 {
    match error {
        SyntaxError::Incomplete => eprintln!("sh: this is not complete"),
        SyntaxError::Wrong(what) => eprintln!("sh: {what}"),
    }
    SYNTAX
}

/// Runs line after line until there are no more.
fn read(mut shell: Shell, mut lines: Lines) -> u8 {
    shell.is_interactive = lines.is_interactive();
    if shell.is_interactive {
        println!("This is a small shell; `help` says what there is.");
    }
    let mut text = String::new();
    loop {
        shell.report_jobs();
        let prompt = if text.is_empty() {
            prompt()
        } else {
            "> ".to_owned()
        };
        let line = match lines.next(&prompt) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                eprintln!("sh: cannot read: {error}");
                break;
            }
        };
        text.push_str(&line);
        match run_text(&mut shell, &text) {
            Ok(Next::GoOn) => {}
            Ok(Next::Exit(status)) => return status,
            Err(SyntaxError::Incomplete) if line.ends_with('\n') => continue,
            Err(error) => shell.variables.status = complain(&error),
        }
        text.clear();
    }
    if !text.is_empty() {
        return complain(&SyntaxError::Incomplete);
    }
    shell.variables.status
}

fn prompt() -> String {
    let place = std::env::current_dir().unwrap_or_else(|_| "?".into());
    format!("{} $ ", place.display())
}
