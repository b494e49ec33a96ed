//! Files that survive a kill: locks that end with their holder, and writes that happen whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// An exclusive lock on a file, held until dropped and gone with its process.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock at `path`, waiting for whoever has it; `waiting` is called once when somebody has.
    pub fn take(path: &Path, waiting: impl FnOnce()) -> Result<Self> {
        let file = open_lock(path)?;
        if file.try_lock().is_err() {
            waiting();
            file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
        }
        Ok(Self { _file: file })
    }
}

fn open_lock(path: &Path) -> Result<File> {
    create_parent(path)?;
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))
}

/// Makes the directory that `path` is to be in.
pub fn create_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))
}

/// A name beside `path` for writing it before renaming; the same process and path give the same name.
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.unfinished", std::process::id()));
    PathBuf::from(name)
}

/// Removes what killed processes left unfinished in `directory`.
pub fn sweep_unfinished(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.to_string_lossy();
        let writer = name.strip_suffix(".unfinished").and_then(|name| name.rsplit('.').next());
        if writer.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(&path);
            let _ = fs::remove_file(&path);
        }
    }
}

/// Writes a file whole or not at all. A file that already says the same is left alone; tells whether it was written.
pub fn write_whole(path: &Path, content: &[u8]) -> Result<bool> {
    match fs::read(path) {
        Ok(existing) if existing == content => return Ok(false),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    }
    create_parent(path)?;
    let unfinished = unfinished(path);
    fs::write(&unfinished, content).with_context(|| format!("cannot write {}", unfinished.display()))?;
    rename(&unfinished, path)?;
    Ok(true)
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    create_parent(path)?;
    let unfinished = unfinished(path);
    let _ = fs::remove_file(&unfinished);
    OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(content))
        .with_context(|| format!("cannot write {}", unfinished.display()))?;
    rename(&unfinished, path)
}

/// Renames within one file system.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
}

/// Removes a directory with all in it, if it is there.
pub fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        _ => Ok(()),
    }
}

/// All regular files below `directory` that `keep` accepts, sorted; directories that it refuses are not entered.
pub fn walk(directory: &Path, keep: &dyn Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_path_buf()];
    while let Some(next) = pending.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("cannot list {}", next.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", next.display()))?;
            let path = entry.path();
            if !keep(&path) {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                pending.push(path);
            } else if kind.is_file() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// A hash over named parts; the order and the boundaries of the parts count.
#[derive(Default)]
pub struct ContentHash(Sha256);

impl ContentHash {
    /// Adds a part.
    pub fn add(&mut self, name: &str, content: &[u8]) -> &mut Self {
        for bytes in [name.as_bytes(), content] {
            self.0.update((bytes.len() as u64).to_be_bytes());
            self.0.update(bytes);
        }
        self
    }

    /// The hash in lower-case hexadecimal, 64 characters.
    pub fn hex(self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0.finalize() {
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_where_parts_end() {
        let mut one = ContentHash::default();
        one.add("ab", b"c");
        let mut other = ContentHash::default();
        other.add("a", b"bc");
        assert_ne!(one.hex(), other.hex());
    }

    #[test]
    fn what_a_killed_process_left_is_swept_and_what_a_living_one_writes_is_not() {
        let directory = std::env::temp_dir().join(format!("xtask-sweep-{}", std::process::id()));
        let mine = unfinished(&directory.join("mine"));
        let dead = directory.join("theirs.4194305.unfinished"); // above the largest process id
        for path in [&mine, &dead] {
            write_whole(path, b"half").unwrap();
        }
        sweep_unfinished(&directory);
        assert!(mine.exists() && !dead.exists());
        remove_directory(&directory).unwrap();
    }

    #[test]
    fn a_file_that_says_the_same_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("xtask-files-{}", std::process::id()));
        let file = directory.join("deep/er");
        assert!(write_whole(&file, b"one").unwrap());
        assert!(!write_whole(&file, b"one").unwrap());
        assert!(write_whole(&file, b"two").unwrap());
        assert_eq!(walk(&directory, &|_| true).unwrap(), [file]);
        remove_directory(&directory).unwrap();
        remove_directory(&directory).unwrap();
    }
}
