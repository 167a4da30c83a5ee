//! Reads files: its own, and those that are not there.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let path = fs::read_link("/proc/self/exe")?;
    let mut file = File::open(&path)?;
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    println!("this program starts with {magic:?}");

    let len = file.metadata()?.len();
    let all = fs::read(&path)?;
    println!("size agrees: {}", all.len() as u64 == len);
    file.seek(SeekFrom::End(-16))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    println!("end agrees: {}", all.ends_with(&end) && end.len() == 16);
    println!("read at the end: {}", file.read(&mut magic)?);

    for missing in [Path::new("/no/such/file"), Path::new(""), &path.join("x")] {
        let error = File::open(missing).map(drop).map_err(|error| error.kind());
        println!("open of what is not there: {error:?}");
    }
    Ok(())
}
