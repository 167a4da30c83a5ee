//! The engine of CI: replays what is kept, then mutates it.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use fastrand::Rng;
use nucleus::planted;
use verify::Effort;
use verify::report::{Row, caught, grouped};

use crate::mutate::{mutate, shrink};
use crate::targets::Target;

/// This package's directory.
const HOME: &str = env!("CARGO_MANIFEST_DIR");

/// An input that breaks a promise.
struct Found {
    input: Vec<u8>,
    /// Where it is kept already, if it is.
    path: Option<PathBuf>,
    why: String,
}

/// Tests what a target promises, and then that it would find bugs.
///
/// # Errors
///
/// The corpus cannot be read, or a crash not be written.
pub fn run(target: &Target, effort: Effort) -> io::Result<Vec<Row>> {
    let kept = Kept::read(target)?;
    let inputs = match effort {
        Effort::Short => target.inputs,
        Effort::Deep => target.inputs * 30,
    };
    let (tried, found) = kept.search(target, inputs);
    let mut rows = vec![Row {
        claim: target.claim,
        checker: target.name,
        cases: grouped(tried as u64),
        result: match found {
            None => Ok(()),
            Some(found) => Err(keep(target, found)?),
        },
    }];
    for (bug, claim) in target.bugs {
        let planted = planted::plant(*bug);
        let (tried, found) = kept.search(target, target.inputs);
        drop(planted);
        rows.push(Row {
            claim,
            checker: target.name,
            cases: grouped(tried as u64),
            result: found.map_or(Err("not found".to_owned()), |_| Ok(())),
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
    if let (_, Some(found)) = kept.search(target, 0) {
        panic!("{:?}: {}", found.path, found.why);
    }
    Ok(())
}

/// Returns where a target's inputs are, by what they are: `corpus`, `crashes`.
fn directory(target: &Target, kind: &str) -> PathBuf {
    Path::new(HOME).join(kind).join(target.name)
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

    /// Tries what is kept, and then so many mutants of it; says how many inputs
    /// that were, and what was found.
    fn search(&self, target: &Target, mutants: usize) -> (usize, Option<Found>) {
        let mut tried = 0;
        let mut try_one = |input: &[u8], path: Option<&PathBuf>| {
            tried += 1;
            let why = caught(|| (target.run)(input)).err()?;
            let (input, path) = (input.to_vec(), path.cloned());
            Some(Found { input, path, why })
        };
        let mut rng = Rng::with_seed(hash(target.name.as_bytes()));
        let mut kept = self.inputs.iter().zip(&self.paths);
        let found = kept.find_map(|(input, path)| try_one(input, Some(path)));
        let found = found.or_else(|| {
            (0..mutants).find_map(|_| {
                let input = mutate(&mut rng, &self.inputs, target.max_len);
                try_one(&input, None)
            })
        });
        (tried, found)
    }
}

/// Shrinks what was found and writes it to a file; says where it is, and then all.
fn keep(target: &Target, found: Found) -> io::Result<String> {
    const ENOUGH: usize = 160;
    let Found { input, path, why } = found;
    let (path, why) = match path {
        Some(path) => (path, why),
        None => {
            let input = shrink(input, |input| caught(|| (target.run)(input)).is_err());
            let why = caught(|| (target.run)(&input)).err().unwrap_or(why);
            let directory = directory(target, "crashes");
            fs::create_dir_all(&directory)?;
            let path = directory.join(format!("{:016x}", hash(&input)));
            fs::write(&path, &input)?;
            (path, why)
        }
    };
    let path = path.strip_prefix(HOME).unwrap_or(&path).display();
    let start: String = why.chars().take(ENOUGH).collect();
    Ok(format!("kernel/fuzz/{path}: {start}\n{why}"))
}

fn hash(bytes: &[u8]) -> u64 {
    // Its keys are always the same.
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
