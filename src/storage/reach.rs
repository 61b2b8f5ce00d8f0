//! Whether this process may use a SQLite file, asked of the operating system: SQLite says of most of what can be in the way that it is
//! unable to open the file, and opens one that may only be read, so that the first write fails some time later.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// What is in the way, and what takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hindrance {
    pub path: PathBuf,
    pub what: String,
    pub mend: &'static str,
}

impl fmt::Display for Hindrance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. {}", self.path.display(), self.what, self.mend)
    }
}

/// What keeps this process from using the database file itself, or what lies beside it: SQLite's log, the log's index, and our lock.
pub fn to_files(database: &Path) -> Option<Hindrance> {
    if database.exists() && !database.is_file() {
        let what = "is no file".to_owned();
        let mend = "`[database] url` names the file itself, such as sqlite://FOLDER/chancery.db.";
        return Some(Hindrance { path: database.to_owned(), what, mend });
    }
    ["", "-wal", "-shm", ".lock"].into_iter().find_map(|ending| {
        let mut path = database.as_os_str().to_owned();
        path.push(ending);
        to(Path::new(&path), Access::READ_OK | Access::WRITE_OK)
    })
}

/// What keeps this process from making files in the database's folder, or the folder itself in the nearest one above that is there.
pub fn to_folder(database: &Path) -> Option<Hindrance> {
    let folder = database.ancestors().skip(1).map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above });
    let there = folder.into_iter().find(|above| above.exists())?;
    if !there.is_dir() {
        let what = "is no folder, and the database was to lie in it".to_owned();
        return Some(Hindrance { path: there.to_owned(), what, mend: "Correct `[database] url`." });
    }
    to(there, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK)
}

/// What is not there hinders nobody.
fn to(path: &Path, wanted: Access) -> Option<Hindrance> {
    let refused = accessat(CWD, path, wanted, AtFlags::EACCESS).err()?;
    let owner = path.metadata().ok().map(|about| about.uid());
    said(refused, rustix::process::geteuid().as_raw(), owner).map(|(what, mend)| Hindrance { path: path.to_owned(), what, mend })
}

/// `None`: the system is at a loss (where a filter of system calls forbids the question, it says EPERM), and whoever opens the file will hear of it.
fn said(refused: Errno, own: u32, owner: Option<u32>) -> Option<(String, &'static str)> {
    match refused {
        Errno::ROFS => {
            let mend = "Mount it for reading and writing, or keep the database elsewhere (`[database] url`).";
            Some(("lies on a file system that is mounted read-only".to_owned(), mend))
        }
        Errno::ACCESS => {
            let owner = match owner {
                Some(owner) if owner == own => "its mode forbids it".to_owned(),
                Some(owner) => format!("it belongs to uid {owner}"),
                None => "a folder above it is closed".to_owned(),
            };
            let mend = "Run every command as the user that the server runs as, who owns the folder and all in it: chown -R.";
            Some((format!("this user of the machine (uid {own}) may not read and write it: {owner}"), mend))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_said_with_whose_it_is_and_what_to_do() {
        let (what, mend) = said(Errno::ROFS, 1000, Some(1000)).unwrap();
        assert!(what.contains("mounted read-only") && mend.contains("Mount it"), "{what} {mend}");
        for (owner, because) in [(Some(0), "belongs to uid 0"), (Some(1000), "its mode"), (None, "above it")] {
            let (what, mend) = said(Errno::ACCESS, 1000, owner).unwrap();
            assert!(what.contains("(uid 1000) may not") && what.contains(because), "{what}");
            assert!(mend.contains("chown"), "{mend}");
        }
        for silent in [Errno::NOENT, Errno::PERM, Errno::NOSYS] {
            assert_eq!(said(silent, 1000, None), None);
        }
    }

    #[test]
    fn a_folder_in_the_place_of_the_file_is_no_file_and_a_file_in_the_place_of_the_folder_no_folder() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("chancery.db");
        assert_eq!((to_files(&database), to_folder(&database)), (None, None));
        assert_eq!(to_folder(&folder.path().join("made/later/chancery.db")), None);
        std::fs::create_dir(&database).unwrap();
        assert_eq!(to_files(&database).unwrap().what, "is no file");
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for below in ["chancery.db", "data/chancery.db"] {
            let found = to_folder(&file.join(below)).unwrap();
            assert_eq!((&found.path, found.mend), (&file, "Correct `[database] url`."));
        }
        assert_eq!(to_folder(Path::new("chancery.db")), None);
    }
}
