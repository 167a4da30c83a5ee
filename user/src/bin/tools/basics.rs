//! The programs that every system has, with the few options that are of use here.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write, stdin, stdout};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use rustix::system::uname;

/// Runs a program's body; says what was wrong.
fn status(name: &str, result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        // The reader of a pipe has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => 141,
        Err(error) => {
            eprintln!("{name}: {error}");
            1
        }
    }
}

/// Prints a text as all that a program does.
pub(crate) fn print(name: &str, text: &str) -> u8 {
    status(name, stdout().write_all(text.as_bytes()))
}

/// Says which file an error is about.
fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

fn texts(arguments: &[OsString]) -> Vec<String> {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    arguments.iter().map(text).collect()
}

pub(crate) fn succeed(_: &[OsString]) -> u8 {
    0
}

pub(crate) fn fail(_: &[OsString]) -> u8 {
    1
}

/// `echo [-n] WORDS…`
pub(crate) fn echo(arguments: &[OsString]) -> u8 {
    let words = texts(arguments);
    let (words, end) = match words.split_first() {
        Some((option, rest)) if option == "-n" => (rest, ""),
        _ => (words.as_slice(), "\n"),
    };
    let text = format!("{}{end}", words.join(" "));
    print("echo", &text)
}

/// `cat [FILE…]`
pub(crate) fn cat(arguments: &[OsString]) -> u8 {
    let mut result = 0;
    let mut output = stdout().lock();
    for_each_input(arguments, |path, mut input| {
        if let Err(error) = io::copy(&mut input, &mut output).and_then(|_| output.flush()) {
            result = status("cat", Err(about(path, &error)));
        }
    })
    .max(result)
}

/// Opens each file, or the standard input if there is none; returns a status.
fn for_each_input(files: &[OsString], mut handle: impl FnMut(&Path, Box<dyn Read>)) -> u8 {
    if files.is_empty() {
        handle(Path::new("-"), Box::new(stdin().lock()));
    }
    let mut failed = 0;
    for file in files {
        let path = Path::new(file);
        match File::open(path) {
            Ok(file) => handle(path, Box::new(file)),
            Err(error) => failed = status("open", Err(about(path, &error))),
        }
    }
    failed
}

/// `ls [-l] [-a] [PATH…]`
pub(crate) fn ls(arguments: &[OsString]) -> u8 {
    let is_option = |word: &&OsString| word.to_string_lossy().starts_with('-');
    let options: String = texts(arguments)
        .into_iter()
        .filter(|word| word.starts_with('-'))
        .collect();
    let mut paths: Vec<_> = arguments
        .iter()
        .filter(|word| !is_option(word))
        .map(PathBuf::from)
        .collect();
    if paths.is_empty() {
        paths.push(PathBuf::from("."));
    }
    let mut output = BufWriter::new(stdout().lock());
    let mut failed = 0;
    for path in &paths {
        if paths.len() > 1 && path.is_dir() {
            // Writing is checked at the end.
            let _ = writeln!(output, "{}:", path.display());
        }
        if let Err(error) = list(path, &options, &mut output) {
            failed = status("ls", Err(about(path, &error)));
        }
    }
    failed.max(status("ls", output.flush()))
}

fn list(path: &Path, options: &str, output: &mut dyn Write) -> io::Result<()> {
    let is_long = options.contains('l');
    // A link to a directory is the directory, unless the link itself is asked for.
    let is_link = path.symlink_metadata()?.is_symlink();
    if !path.is_dir() || (is_link && is_long) {
        return list_one(path, &path.display().to_string(), is_long, output);
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name());
    }
    names.sort();
    for name in names {
        let text = name.to_string_lossy();
        if !text.starts_with('.') || options.contains('a') {
            list_one(&path.join(&name), &text, is_long, output)?;
        }
    }
    Ok(())
}

fn list_one(path: &Path, name: &str, is_long: bool, output: &mut dyn Write) -> io::Result<()> {
    if !is_long {
        return writeln!(output, "{name}");
    }
    let data = path.symlink_metadata()?;
    let kind = data.file_type();
    let letter = match () {
        () if kind.is_dir() => 'd',
        () if kind.is_symlink() => 'l',
        () if kind.is_char_device() => 'c',
        () if kind.is_block_device() => 'b',
        () if kind.is_fifo() => 'p',
        () if kind.is_socket() => 's',
        () => '-',
    };
    let target = match fs::read_link(path) {
        Ok(target) if kind.is_symlink() => format!(" -> {}", target.display()),
        _ => String::new(),
    };
    let mode = permissions(data.permissions().mode());
    writeln!(
        output,
        "{letter}{mode} {:>3} {:>10} {name}{target}",
        data.nlink(),
        data.len()
    )
}

/// Returns permissions as in `rwxr-x---`.
fn permissions(mode: u32) -> String {
    let letters = "rwxrwxrwx".chars().enumerate();
    let shown = letters.map(|(bit, letter)| {
        if mode & (0o400 >> bit) == 0 {
            '-'
        } else {
            letter
        }
    });
    shown.collect()
}

/// `head [-n LINES] [FILE…]`
pub(crate) fn head(arguments: &[OsString]) -> u8 {
    let words = texts(arguments);
    let (most, files) = match words.as_slice() {
        [option, number, ..] if option == "-n" => (number.parse().unwrap_or(10), &arguments[2..]),
        _ => (10, arguments),
    };
    let mut result = Ok(());
    let failed = for_each_input(files, |_, input| {
        for line in BufReader::new(input).split(b'\n').take(most) {
            let written = line.and_then(|mut line| {
                line.push(b'\n');
                stdout().write_all(&line)
            });
            if written.is_err() {
                result = written;
                return;
            }
        }
    });
    failed.max(status("head", result))
}

/// `wc [FILE…]`: lines, words and bytes.
pub(crate) fn wc(arguments: &[OsString]) -> u8 {
    let mut result = Ok(());
    let failed = for_each_input(arguments, |path, mut input| {
        let mut bytes = Vec::new();
        if let Err(error) = input.read_to_end(&mut bytes) {
            result = Err(about(path, &error));
            return;
        }
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        let words = bytes
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty())
            .count();
        println!(
            "{lines:>7} {words:>7} {:>8} {}",
            bytes.len(),
            path.display()
        );
    });
    failed.max(status("wc", result))
}

/// `grep TEXT [FILE…]`: the lines that have the text in them.
pub(crate) fn grep(arguments: &[OsString]) -> u8 {
    let Some((text, files)) = arguments.split_first() else {
        eprintln!("grep TEXT [FILE…]");
        return 2;
    };
    let text = text.to_string_lossy().into_owned();
    let mut is_found = false;
    let mut result = Ok(());
    let failed = for_each_input(files, |_, input| {
        for line in BufReader::new(input).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            if line.contains(&text) && result.is_ok() {
                is_found = true;
                result = stdout().write_all(format!("{line}\n").as_bytes());
            }
        }
    });
    failed.max(status("grep", result)).max(u8::from(!is_found))
}

/// `sleep SECONDS`
pub(crate) fn sleep(arguments: &[OsString]) -> u8 {
    let seconds = arguments
        .first()
        .and_then(|word| word.to_str()?.parse::<f64>().ok());
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match time {
        Some(time) => {
            std::thread::sleep(time);
            0
        }
        None => {
            eprintln!("sleep SECONDS");
            2
        }
    }
}

/// `kill [-SIGNAL] PID…`: the signal is a number, 15 unless given.
pub(crate) fn kill(arguments: &[OsString]) -> u8 {
    let words = texts(arguments);
    let (signal, pids) = match words.split_first() {
        Some((option, rest)) if option.starts_with('-') => (option[1..].parse().ok(), rest),
        _ => (Some(15), words.as_slice()),
    };
    let signal = signal.and_then(Signal::from_named_raw);
    let mut failed = u8::from(pids.is_empty() || signal.is_none());
    if failed != 0 {
        eprintln!("kill [-NUMBER] PID…");
    }
    for word in pids {
        let pid = word.parse().ok().and_then(Pid::from_raw);
        let sent = pid
            .zip(signal)
            .map(|(pid, signal)| kill_process(pid, signal));
        if !matches!(sent, Some(Ok(()))) {
            eprintln!(
                "kill: {word}: {}",
                sent.map_or("no process".to_owned(), |sent| format!("{sent:?}"))
            );
            failed = 1;
        }
    }
    failed
}

/// `uname [-a]`
pub(crate) fn system_name(arguments: &[OsString]) -> u8 {
    let name = uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    if arguments.is_empty() {
        println!("{}", text(name.sysname()));
    } else {
        let all = [
            name.sysname(),
            name.nodename(),
            name.release(),
            name.version(),
            name.machine(),
        ];
        println!("{}", all.map(text).join(" "));
    }
    0
}

/// `env`: the variables that programs see.
pub(crate) fn env(_: &[OsString]) -> u8 {
    for (name, value) in std::env::vars_os() {
        println!("{}={}", name.display(), value.display());
    }
    0
}

/// `mkdir DIR…`
pub(crate) fn mkdir(arguments: &[OsString]) -> u8 {
    for_each_path("mkdir", arguments, |path| fs::create_dir(path))
}

/// `rm FILE…`, and empty directories.
pub(crate) fn rm(arguments: &[OsString]) -> u8 {
    for_each_path("rm", arguments, |path| {
        if path.symlink_metadata()?.is_dir() {
            return fs::remove_dir(path);
        }
        fs::remove_file(path)
    })
}

fn for_each_path(name: &str, paths: &[OsString], act: impl Fn(&Path) -> io::Result<()>) -> u8 {
    let mut failed = 0;
    for path in paths.iter().map(Path::new) {
        failed = failed.max(status(name, act(path).map_err(|error| about(path, &error))));
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::permissions;

    #[test]
    fn permissions_are_nine_letters() {
        assert_eq!(permissions(0o100_755), "rwxr-xr-x");
        assert_eq!(permissions(0o640), "rw-r-----");
    }
}
