//! The one way to the disk, narrow enough that every fault can be tried.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// A folder of files. Names have no separators.
pub trait Disk: Send {
    /// The names in it.
    fn names(&self) -> io::Result<Vec<String>>;
    /// All that a file holds.
    fn read(&self, name: &str) -> io::Result<Vec<u8>>;
    /// What a file holds from a byte on; nothing behind its end.
    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(name)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(bytes.split_off(offset.min(bytes.len())))
    }
    /// Bytes that a file holds.
    fn size(&self, name: &str) -> io::Result<u64>;
    /// Makes a file that must not exist yet, writes it and syncs it and its name.
    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes behind the end of a file.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Waits until all that was written to a file is on the disk.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Takes away what lies behind a length.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Takes a file away. One that is not there is none to complain of.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// A folder of this host. The file that was appended to last stays open.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    open: Option<(String, File)>,
}

impl Folder {
    /// The folder at a path, made if it is not there, for its owner alone.
    pub fn make(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        Ok(Self::at(path))
    }

    /// The folder at a path, to be looked into.
    pub fn at(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            open: None,
        }
    }

    fn file(&mut self, name: &str) -> io::Result<&mut File> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let file = OpenOptions::new().append(true).open(self.path.join(name))?;
            self.open = Some((name.to_owned(), file));
        }
        let (_, file) = self.open.as_mut().expect("it was opened above");
        Ok(file)
    }
}

impl Disk for Folder {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path.join(name))
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path.join(name))?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn size(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn create(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        let path = self.path.join(name);
        let mut options = OpenOptions::new();
        let mut file = options
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let made = file.write_all(bytes).and_then(|()| file.sync_all());
        let made = made.and_then(|()| File::open(&self.path)?.sync_all());
        if let Err(error) = made {
            // Half of it would be taken for something that somebody has torn.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.file(name)?.write_all(bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.file(name)?.sync_data()
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let file = self.file(name)?;
        file.set_len(length)?;
        file.sync_data()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| open == name) {
            self.open = None;
        }
        match fs::remove_file(self.path.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// A small file beside the folder, at most `limit` bytes of it.
pub(crate) fn read_small(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
