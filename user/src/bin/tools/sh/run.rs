//! Commands that run: those of the shell itself, and programs, in pipes.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use super::expand::{self, Variables};
use super::streams::Streams;
use super::syntax::{Command, Pipeline, When};
use crate::TOOLS;

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    GoOn,
    /// The shell ends, with this status.
    Exit(u8),
}

/// The statuses of what could not be started, as all shells have them.
const NOT_FOUND: u8 = 127;
const NOT_STARTED: u8 = 126;

const BUILTINS: [(&str, &str); 8] = [
    ("cd [DIR]", "go to a directory"),
    ("pwd", "say where that is"),
    ("export NAME[=VALUE]", "let programs see a variable"),
    ("unset NAME", "forget a variable"),
    ("set", "list what programs see"),
    ("wait", "wait for what runs in the background"),
    ("exit [STATUS]", "leave the shell"),
    ("help", "say all this"),
];

/// A process in the background.
#[derive(Debug)]
struct Job {
    name: String,
    child: Child,
}

#[derive(Debug)]
pub(super) struct Shell {
    pub(super) variables: Variables,
    pub(super) is_interactive: bool,
    jobs: Vec<Job>,
}

impl Shell {
    pub(super) fn new(variables: Variables) -> Self {
        Self {
            variables,
            is_interactive: false,
            jobs: Vec::new(),
        }
    }

    /// Runs pipelines, one after the other.
    pub(super) fn run(&mut self, list: &[Pipeline]) -> Next {
        for pipeline in list {
            let is_wanted = match pipeline.when {
                When::Always => true,
                When::Success => self.variables.status == 0,
                When::Failure => self.variables.status != 0,
            };
            if is_wanted && let Next::Exit(status) = self.run_pipeline(pipeline) {
                return Next::Exit(status);
            }
        }
        Next::GoOn
    }

    fn run_pipeline(&mut self, pipeline: &Pipeline) -> Next {
        if let [command] = pipeline.commands.as_slice()
            && !pipeline.is_background
            && let Some(next) = self.run_here(command)
        {
            self.negate(pipeline);
            return next;
        }
        let (children, status) = self.start(pipeline);
        if pipeline.is_background {
            for (name, child) in children {
                if self.is_interactive {
                    println!("[{}]", child.id());
                }
                self.jobs.push(Job { name, child });
            }
            self.variables.status = 0;
            return Next::GoOn;
        }
        self.variables.status = status;
        let last = children.len().saturating_sub(1);
        for (index, (name, mut child)) in children.into_iter().enumerate() {
            let ended = child
                .wait()
                .map_or(NOT_STARTED, |status| self.note(&name, status));
            if index == last && status == 0 {
                self.variables.status = ended;
            }
        }
        self.negate(pipeline);
        Next::GoOn
    }

    fn negate(&mut self, pipeline: &Pipeline) {
        if pipeline.is_negated {
            self.variables.status = u8::from(self.variables.status == 0);
        }
    }

    /// Runs a command that is the shell's own business; nothing is done if it is not.
    fn run_here(&mut self, command: &Command) -> Option<Next> {
        let words = self.words(command);
        if words.is_empty() {
            for (name, word) in &command.assignments {
                let value = expand::one(word, &self.variables);
                self.variables.set(name, value);
            }
        }
        if !words.is_empty() && !is_builtin(&words[0]) {
            return None;
        }
        let mut streams = Streams::new(None, None);
        if let Err(error) = streams.redirect(command, &self.variables) {
            streams.write(true, &format!("sh: {error}\n"));
            self.variables.status = 1;
            return Some(Next::GoOn);
        }
        let result = match words.first() {
            None => Ok(Next::GoOn),
            Some(name) => self.builtin(name, &words[1..], &streams),
        };
        self.variables.status = u8::from(result.is_err());
        match result {
            Ok(next) => Some(next),
            Err(error) => {
                streams.write(true, &format!("sh: {}: {error}\n", words[0]));
                Some(Next::GoOn)
            }
        }
    }

    fn builtin(&mut self, name: &str, words: &[String], streams: &Streams) -> Result<Next, String> {
        let text = |error: io::Error| error.to_string();
        match name {
            "cd" => {
                let home = || self.variables.value("HOME");
                let target = words.first().cloned().unwrap_or_else(home);
                std::env::set_current_dir(&target).map_err(|error| format!("{target}: {error}"))?;
            }
            "pwd" => {
                let path = std::env::current_dir().map_err(text)?;
                streams.write(false, &format!("{}\n", path.display()));
            }
            "export" => {
                for word in words {
                    let (name, value) = word.split_once('=').unwrap_or((word, ""));
                    if !super::words::is_name(name) {
                        return Err(format!("{name}: this is no name"));
                    }
                    if word.contains('=') {
                        self.variables.set(name, value.to_owned());
                    }
                    self.variables.export(name);
                }
            }
            "unset" => words.iter().for_each(|name| self.variables.unset(name)),
            "set" => {
                for (name, value) in self.variables.exported() {
                    streams.write(false, &format!("{name}={value}\n"));
                }
            }
            "wait" => self.wait_for_jobs(),
            "exit" => {
                let status = words
                    .first()
                    .map_or(Ok(self.variables.status), |word| word.parse());
                return status
                    .map(Next::Exit)
                    .map_err(|_| "a status is from 0 to 255".to_owned());
            }
            _ => help(streams),
        }
        Ok(Next::GoOn)
    }

    fn words(&self, command: &Command) -> Vec<String> {
        let words = command.words.iter();
        words
            .flat_map(|word| expand::many(word, &self.variables))
            .collect()
    }

    /// Starts the programs of a pipeline; returns those that run, and the status of
    /// the last one if it could not be started.
    fn start(&mut self, pipeline: &Pipeline) -> (Vec<(String, Child)>, u8) {
        let mut children = Vec::new();
        let mut status = 0;
        let mut input: Option<OwnedFd> = None;
        for (index, command) in pipeline.commands.iter().enumerate() {
            let is_last = index + 1 == pipeline.commands.len();
            let mut ends = (None, None);
            if !is_last {
                match io::pipe() {
                    Ok((reader, writer)) => ends = (Some(reader.into()), Some(writer.into())),
                    Err(error) => {
                        eprintln!("sh: no pipe: {error}");
                        return (children, NOT_STARTED);
                    }
                }
            }
            let (reader, writer) = ends;
            let from = std::mem::replace(&mut input, reader);
            let from = match from {
                None if pipeline.is_background => {
                    std::fs::File::open("/dev/null").ok().map(Into::into)
                }
                from => from,
            };
            match self.start_one(command, from, writer) {
                Ok(child) => {
                    children.push(child);
                    status = 0;
                }
                Err(failure) => status = failure,
            }
        }
        (children, status)
    }

    fn start_one(
        &self,
        command: &Command,
        input: Option<OwnedFd>,
        output: Option<OwnedFd>,
    ) -> Result<(String, Child), u8> {
        let words = self.words(command);
        let mut streams = Streams::new(input, output);
        if let Err(error) = streams.redirect(command, &self.variables) {
            streams.write(true, &format!("sh: {error}\n"));
            return Err(1);
        }
        let Some(name) = words.first() else {
            return Err(0);
        };
        if is_builtin(name) {
            streams.write(
                true,
                &format!("sh: {name} stands alone, and not in the background\n"),
            );
            return Err(NOT_STARTED);
        }
        let Some(path) = self.find(name) else {
            streams.write(true, &format!("sh: {name}: not found\n"));
            return Err(NOT_FOUND);
        };
        let mut program = std::process::Command::new(&path);
        program.arg0(name).args(&words[1..]).env_clear();
        program.envs(self.variables.exported());
        for (name, word) in &command.assignments {
            program.env(name, expand::one(word, &self.variables));
        }
        let complaints = Streams::new(None, None);
        let started = streams.give(&mut program).and_then(|()| program.spawn());
        match started {
            Ok(child) => Ok((name.clone(), child)),
            Err(error) => {
                complaints.write(true, &format!("sh: {name}: {error}\n"));
                Err(NOT_STARTED)
            }
        }
    }

    /// Returns where a program is: names without `/` are looked for in `$PATH`.
    fn find(&self, name: &str) -> Option<PathBuf> {
        if name.contains('/') {
            return Path::new(name).exists().then(|| PathBuf::from(name));
        }
        let path = self.variables.value("PATH");
        let mut places = path
            .split(':')
            .map(|directory| Path::new(directory).join(name));
        places.find(|place| {
            let metadata = place.metadata();
            metadata.is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
    }

    /// Returns a process's status; says if it was killed.
    fn note(&self, name: &str, status: ExitStatus) -> u8 {
        if let Some(signal) = status.signal() {
            if self.is_interactive {
                eprintln!("sh: {name} was killed by signal {signal}");
            }
            return 128 + signal as u8;
        }
        status.code().unwrap_or(0) as u8
    }

    fn wait_for_jobs(&mut self) {
        for mut job in std::mem::take(&mut self.jobs) {
            if let Ok(status) = job.child.wait() {
                self.note(&job.name, status);
            }
        }
    }

    /// Says which processes in the background have ended.
    pub(super) fn report_jobs(&mut self) {
        let mut running = Vec::new();
        for mut job in std::mem::take(&mut self.jobs) {
            match job.child.try_wait() {
                Ok(Some(status)) => {
                    let code = self.note(&job.name, status);
                    if self.is_interactive {
                        println!("[{}] {} ended, status {code}", job.child.id(), job.name);
                    }
                }
                _ => running.push(job),
            }
        }
        self.jobs = running;
    }
}

fn is_builtin(name: &str) -> bool {
    let mut names = BUILTINS
        .iter()
        .filter_map(|(usage, _)| usage.split(' ').next());
    names.any(|builtin| builtin == name)
}

fn help(streams: &Streams) {
    let mut text = String::from("The shell itself:\n");
    for (usage, summary) in BUILTINS {
        text.push_str(&format!("  {usage:<22} {summary}\n"));
    }
    text.push_str("Programs:\n");
    for tool in TOOLS {
        text.push_str(&format!("  {:<22} {}\n", tool.name, tool.summary));
    }
    text.push_str("There are pipes, < > >> 2>&1, ; && || ! &, quotes, $NAME $? and * in names.\n");
    streams.write(false, &text);
}
