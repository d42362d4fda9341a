//! The folder that is written to, and the disk below it.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, statfs};

use crate::store::Outcome;

/// What the kernel calls file systems that live in memory (`statfs`): tmpfs and ramfs.
const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];

/// Makes an empty folder of this name in `folder`, which must be on a disk.
///
/// # Errors
///
/// If the operating system refuses, or there is no disk below.
pub fn fresh(folder: &Path, name: &str) -> Outcome<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let kind = statfs(folder)?.f_type as u64;
    if IN_MEMORY.contains(&kind) {
        return Err(format!("{} is in memory, where nothing is durable", folder.display()).into());
    }
    let place = folder.join(name);
    remove(&place)?;
    std::fs::create_dir(&place)?;
    Ok(place)
}

/// Removes the folder and everything in it, if it is there.
///
/// # Errors
///
/// If the operating system refuses.
pub fn remove(place: &Path) -> Outcome<()> {
    if place.exists() {
        std::fs::remove_dir_all(place)?;
    }
    Ok(())
}

/// How much of the disk everything in the folder takes.
///
/// # Errors
///
/// If the operating system refuses.
pub fn allocated(folder: &Path) -> Outcome<u64> {
    // In units of 512 bytes, whatever the file system's blocks are.
    let blocks = |path: &Path| Ok(std::fs::metadata(path)?.blocks() * 512);
    files(folder)?.iter().map(|path| blocks(path)).sum()
}

/// Has the kernel forget what it keeps of the files in the folder, all of which are durable.
///
/// # Errors
///
/// If the operating system refuses.
pub fn drop_page_cache(folder: &Path) -> Outcome<()> {
    for path in files(folder)? {
        fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// How many bytes this process has made the kernel read from a disk.
///
/// # Errors
///
/// If the kernel does not tell.
pub fn read_from_device() -> Outcome<u64> {
    let told = std::fs::read_to_string("/proc/self/io")?;
    let number = told.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(number.ok_or("the kernel does not count what is read")?.parse()?)
}

fn files(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.append(&mut files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}
