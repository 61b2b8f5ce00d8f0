//! Has anything been committed to a SQLite file since somebody last looked?
//!
//! Beside the write-ahead log lies its index, which all processes share. Its first 96 bytes, two copies of one header, change with every
//! commit of every process before that commit is acknowledged (sqlite.org/walformat.html, section 2). As long as they are what they were,
//! what was read before is what would be read now, and no connection need be asked.

use std::fs::File;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Both copies of the header.
pub(super) type Header = [u8; 2 * COPY];

/// Bytes of one.
const COPY: usize = 48;

/// The index of one database.
pub(super) struct LogIndex {
    path: PathBuf,
    /// Never closed: that would take SQLite's own locks on the file away from all connections of this process (POSIX).
    file: OnceLock<ManuallyDrop<File>>,
    /// When the file was last seen to be the database's.
    checked: Mutex<Option<Instant>>,
    /// What was read under this header.
    known: Mutex<Option<(Header, i64)>>,
}

/// How long it then counts as such. A server closes all of its connections only when it ends.
const CHECKED: Duration = Duration::from_secs(1);

impl LogIndex {
    /// Of this file. The index is there once a connection has read.
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-shm");
        Self { path: path.into(), file: OnceLock::new(), checked: Mutex::default(), known: Mutex::default() }
    }

    /// The header as it is. `None` if that cannot be said: there is none, somebody is writing it, or the file is not that of the database
    /// any more, which happens when all connections were closed and others opened.
    pub(super) fn header(&self) -> Option<Header> {
        let file = match self.file.get() {
            Some(file) => file,
            None => {
                let opened = ManuallyDrop::new(File::open(&self.path).ok()?);
                self.file.get_or_init(|| opened)
            }
        };
        let mut header = [0; 2 * COPY];
        file.read_exact_at(&mut header, 0).ok()?;
        let (one, other) = header.split_at(COPY);
        let begun = one.iter().any(|byte| *byte != 0);
        (begun && one == other && self.is_present(file)).then_some(header)
    }

    fn is_present(&self, file: &File) -> bool {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if checked.is_none_or(|at| at.elapsed() >= CHECKED) {
            *checked = file.metadata().is_ok_and(|about| about.nlink() > 0).then(Instant::now);
        }
        checked.is_some()
    }

    /// What was read under this very header.
    pub(super) fn known(&self, header: &Header) -> Option<i64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().filter(|(of, _)| of == header).map(|(_, number)| *number)
    }

    /// Keeps what was read after the header had been this: nothing older.
    pub(super) fn keep(&self, header: Header, number: i64) {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((header, number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_header_of_the_present_file_says_anything() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("store.db");
        let shared = folder.path().join("store.db-shm");
        let index = LogIndex::of(&database);
        assert_eq!(index.header(), None, "no connection yet");
        std::fs::write(&shared, [0; 200]).unwrap();
        assert_eq!(index.header(), None, "not begun");
        std::fs::write(&shared, [[7; COPY], [8; COPY]].concat()).unwrap();
        assert_eq!(index.header(), None, "somebody is writing it");
        std::fs::write(&shared, [[7; COPY], [7; COPY], [1; COPY]].concat()).unwrap();
        let header = index.header().unwrap();
        assert_eq!(index.known(&header), None);
        index.keep(header, 3);
        assert_eq!(index.known(&header), Some(3));
        std::fs::write(&shared, [9; 2 * COPY]).unwrap();
        assert_eq!(index.header().and_then(|header| index.known(&header)), None, "something was committed");
        *index.checked.lock().unwrap() = None;
        std::fs::remove_file(&shared).unwrap();
        std::fs::write(&shared, [7; 2 * COPY]).unwrap();
        assert_eq!(index.header(), None, "of another file");
    }
}
