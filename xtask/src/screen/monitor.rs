//! QEMU's machine protocol (QMP), as far as it is needed to look at a guest and to type.
//!
//! Both sides send lines of JSON. QEMU greets, and answers each command once, by a line
//! with `return` or `error`; lines with `event` come in between and are passed over.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::keys::Chord;
use super::picture::Picture;

/// Time for an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a key is held; QEMU's own default is three times that.
const HOLD_MS: u64 = 30;
/// From one key to the next: longer than one is held, so that it is released before.
const BETWEEN_KEYS: Duration = Duration::from_millis(80);
/// Time for a guest that listens to fetch a key, however busy the host is.
const TO_FETCH: Duration = Duration::from_secs(10);

/// A way to a running QEMU.
#[derive(Debug)]
pub(crate) struct Monitor {
    /// Of its own, in the short path that a socket needs.
    directory: TempDir,
    connection: Option<Connection>,
}

#[derive(Debug)]
struct Connection {
    answers: BufReader<UnixStream>,
    commands: UnixStream,
}

impl Monitor {
    /// Prepares a way to a QEMU that is to be started with [`Self::arguments`].
    pub(crate) fn new() -> Result<Self> {
        let directory = tempfile::tempdir().context("cannot make a directory for a socket")?;
        Ok(Self {
            directory,
            connection: None,
        })
    }

    /// Returns the arguments that make QEMU listen.
    pub(crate) fn arguments(&self) -> [String; 2] {
        let socket = self.socket();
        let listen = format!("unix:{},server=on,wait=off", socket.display());
        ["-qmp".to_owned(), listen]
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("qmp")
    }

    /// Returns what the display shows; nothing while QEMU does not listen yet.
    pub(crate) fn picture(&mut self) -> Result<Option<Picture>> {
        if !self.is_connected()? {
            return Ok(None);
        }
        let path = self.directory.path().join("screen.ppm");
        let arguments = json!({ "filename": path });
        self.execute("screendump", &arguments)?;
        let bytes = fs::read(&path).context("QEMU wrote no picture")?;
        Picture::from_ppm(&bytes).map(Some)
    }

    /// Presses keys, one chord after the other; returns false while QEMU does not listen
    /// yet.
    ///
    /// The guest's keyboard controller holds few bytes that nobody fetches, and loses what
    /// comes then: so each chord waits until the one before was fetched.
    pub(crate) fn press(&mut self, chords: &[Chord]) -> Result<bool> {
        if !self.is_connected()? {
            return Ok(false);
        }
        for chord in chords {
            let keys = chord.0.iter();
            let keys: Vec<Value> = keys
                .map(|key| json!({ "type": "qcode", "data": key }))
                .collect();
            let arguments = json!({ "keys": keys, "hold-time": HOLD_MS });
            self.execute("send-key", &arguments)?;
            thread::sleep(BETWEEN_KEYS);
            let start = Instant::now();
            while start.elapsed() < TO_FETCH && self.has_keys_left()? {
                thread::sleep(BETWEEN_KEYS / 4);
            }
        }
        Ok(true)
    }

    /// Returns whether the guest runs, and has not fetched all of what its keyboard
    /// controller has.
    fn has_keys_left(&mut self) -> Result<bool> {
        const HAS_DATA: u8 = 1 << 0;
        // What is read where there is no controller.
        const NOTHING: u8 = 0xff;
        // Reading the controller's state changes nothing.
        let read = json!({ "command-line": "i /1xb 0x64" });
        let answer = self.execute("human-monitor-command", &read)?;
        let state = answer.as_str().and_then(value_of_port);
        let has_data = state.is_some_and(|state| state != NOTHING && state & HAS_DATA != 0);
        Ok(has_data && self.execute("query-status", &json!({}))?["running"] == true)
    }

    /// Breaks the serial line, as somebody at a terminal would.
    pub(crate) fn break_line(&mut self) -> Result<()> {
        self.is_connected()?;
        self.execute("chardev-send-break", &json!({ "id": "console" }))?;
        Ok(())
    }

    /// Plugs a USB keyboard in, at a port of the USB controller `xhci`.
    pub(crate) fn plug_keyboard(&mut self, id: &str, port: &str) -> Result<()> {
        self.is_connected()?;
        let arguments = json!({ "driver": "usb-kbd", "bus": "xhci.0", "port": port, "id": id });
        self.execute("device_add", &arguments)?;
        Ok(())
    }

    /// Pulls a device out.
    pub(crate) fn unplug(&mut self, id: &str) -> Result<()> {
        self.is_connected()?;
        self.execute("device_del", &json!({ "id": id }))?;
        Ok(())
    }

    /// Returns whether the guest has powered off, or was stopped when it reset.
    pub(crate) fn is_off(&mut self) -> Result<bool> {
        if !self.is_connected()? {
            return Ok(false);
        }
        let answer = self.execute("query-status", &json!({}))?;
        Ok(answer["status"] == "shutdown")
    }

    /// Connects unless that is done; returns whether it is.
    fn is_connected(&mut self) -> Result<bool> {
        if self.connection.is_some() {
            return Ok(true);
        }
        // QEMU makes the socket when it has started.
        let Ok(commands) = UnixStream::connect(self.socket()) else {
            return Ok(false);
        };
        commands.set_read_timeout(Some(PATIENCE))?;
        let answers = BufReader::new(commands.try_clone()?);
        let connection = self.connection.insert(Connection { answers, commands });
        connection.read_line().context("QEMU does not greet")?;
        self.execute("qmp_capabilities", &json!({}))?;
        Ok(true)
    }

    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let connection = self.connection.as_mut();
        let connection = connection.context("QEMU does not listen")?;
        connection
            .execute(command, arguments)
            .with_context(|| format!("QEMU's monitor: {command}"))
    }
}

/// Reads a line like `portb[0x0064] = 0x1c`.
fn value_of_port(line: &str) -> Option<u8> {
    let (_, value) = line.split_once("= 0x")?;
    u8::from_str_radix(value.trim(), 16).ok()
}

impl Connection {
    fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.commands, "{line}")?;
        loop {
            let mut answer = self.read_line()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("{}", error["desc"]);
            }
        }
    }

    fn read_line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let len = self.answers.read_line(&mut line)?;
        anyhow::ensure!(len > 0, "the connection was closed");
        serde_json::from_str(&line).context("an answer is no JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::value_of_port;

    #[test]
    fn value_of_a_port_is_read() {
        assert_eq!(value_of_port("portb[0x0064] = 0x1c\r\n"), Some(0x1c));
        assert_eq!(value_of_port("unknown command: 'i'"), None);
    }
}
