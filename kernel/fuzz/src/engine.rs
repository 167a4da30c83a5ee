//! The engine of CI: replays what is kept, then mutates it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use nucleus::planted;
use verify::report::{Row, caught, grouped};

use crate::mutate::{mutate, shrink};
use crate::targets::Target;

/// How many inputs are made for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For each change: all targets in half a minute.
    Short,
    /// By hand: minutes.
    Deep,
}

impl Effort {
    const fn factor(self) -> usize {
        match self {
            Self::Short => 1,
            Self::Deep => 30,
        }
    }
}

/// An input that breaks a promise.
struct Found {
    input: Vec<u8>,
    /// Where it is kept already, if it is.
    path: Option<PathBuf>,
    why: String,
    /// How many inputs were tried.
    tried: usize,
}

/// Tests what a target promises, and then that it would find bugs.
///
/// # Errors
///
/// The corpus cannot be read, or a crash not be written.
pub fn run(target: &Target, effort: Effort) -> io::Result<Vec<Row>> {
    let kept = Kept::read(target)?;
    let inputs = target.inputs * effort.factor();
    let first = Row {
        claim: target.claim,
        checker: target.name,
        cases: grouped((kept.inputs.len() + inputs) as u64),
        result: match kept.search(target, inputs) {
            None => Ok(()),
            Some(found) => Err(keep(target, found)?),
        },
    };
    let mut rows = vec![first];
    for (bug, claim) in target.bugs {
        let planted = planted::plant(*bug);
        let found = kept.search(target, target.inputs);
        drop(planted);
        rows.push(Row {
            claim,
            checker: target.name,
            cases: grouped(found.as_ref().map_or(inputs, |found| found.tried) as u64),
            result: match found {
                Some(found) => {
                    eprintln!("  {bug:?}: {}", found.why);
                    Ok(())
                }
                None => Err("not found".to_owned()),
            },
        });
    }
    Ok(rows)
}

/// Replays what is kept of a target.
///
/// # Errors
///
/// The corpus cannot be read.
///
/// # Panics
///
/// Panics when an input breaks a promise.
pub fn replay(target: &Target) -> io::Result<()> {
    let kept = Kept::read(target)?;
    assert!(!kept.inputs.is_empty(), "{} has no corpus", target.name);
    if let Some(found) = kept.search(target, 0) {
        panic!("{:?}: {}", found.path, found.why);
    }
    Ok(())
}

/// Returns where a target's inputs are, by what they are: `corpus`, `crashes`.
fn directory(target: &Target, kind: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target.name)
}

/// What is kept of a target: inputs that it is good at, and such as broke it.
struct Kept {
    paths: Vec<PathBuf>,
    inputs: Vec<Vec<u8>>,
}

impl Kept {
    fn read(target: &Target) -> io::Result<Self> {
        let mut paths = Vec::new();
        for kind in ["crashes", "corpus"] {
            let directory = directory(target, kind);
            if directory.is_dir() {
                let mut files = fs::read_dir(directory)?
                    .map(|file| file.map(|file| file.path()))
                    .collect::<io::Result<Vec<_>>>()?;
                files.sort();
                paths.extend(files);
            }
        }
        let inputs = paths.iter().map(fs::read).collect::<io::Result<_>>()?;
        Ok(Self { paths, inputs })
    }

    /// Tries what is kept, and then so many mutants of it.
    fn search(&self, target: &Target, mutants: usize) -> Option<Found> {
        let try_one = |input: &[u8]| caught(|| (target.run)(input)).err();
        for (number, (input, path)) in self.inputs.iter().zip(&self.paths).enumerate() {
            if let Some(why) = try_one(input) {
                return Some(Found {
                    input: input.clone(),
                    path: Some(path.clone()),
                    why,
                    tried: number + 1,
                });
            }
        }
        let mut rng = Rng::with_seed(hash(target.name.as_bytes()));
        for number in 0..mutants {
            let input = mutate(&mut rng, &self.inputs, target.max_len);
            if let Some(why) = try_one(&input) {
                return Some(Found {
                    input,
                    path: None,
                    why,
                    tried: self.inputs.len() + number + 1,
                });
            }
        }
        None
    }
}

/// Shrinks what was found and writes it to a file; says where it is.
fn keep(target: &Target, found: Found) -> io::Result<String> {
    let Found {
        input, path, why, ..
    } = found;
    if let Some(path) = path {
        return Ok(format!("{why} ({})", path.display()));
    }
    let input = shrink(input, |input| caught(|| (target.run)(input)).is_err());
    let why = caught(|| (target.run)(&input)).err().unwrap_or(why);
    let directory = directory(target, "crashes");
    fs::create_dir_all(&directory)?;
    let path = directory.join(format!("{:016x}", hash(&input)));
    fs::write(&path, &input)?;
    Ok(format!("{why} ({})", path.display()))
}

fn hash(bytes: &[u8]) -> u64 {
    // Its keys are always the same.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
