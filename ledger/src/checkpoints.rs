//! Checkpoints kept beside a ledger, with the cosignatures they gathered.
//!
//! # Format
//! `checkpoints/<size, 20 digits>.note`, one signed note a tree size. Nothing in a ledger depends on them.
//!
//! # Invariants
//! * A note is there whole or not at all, and durable once it was kept.
//! * Whoever changes a note holds the folder's lock, so no line is lost between two who add to one note.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::sync_dir;
use crate::note::{Note, NoteError, NoteKey, SignatureLine};

/// Folder of the checkpoints in a ledger directory.
pub const CHECKPOINTS_DIR: &str = "checkpoints";

fn path(dir: &Path, size: u64) -> PathBuf {
    dir.join(CHECKPOINTS_DIR).join(format!("{size:020}.note"))
}

/// Keeps a note; lines of an older one of the same checkpoint stay.
///
/// # Errors
/// [`Error::Io`]; [`Error::Note`] if a note of that size says otherwise.
pub fn keep(dir: &Path, note: &Note) -> Result<Note, Error> {
    let size = note.checkpoint().size;
    let mut kept = note.clone();
    let _lock = lock(&dir.join(CHECKPOINTS_DIR))?;
    if let Some(older) = load(dir, size)? {
        if older.checkpoint() != note.checkpoint() {
            let path = path(dir, size);
            let (kept, found) = (older.checkpoint().root, note.checkpoint().root);
            let source = NoteError::Split { size, kept, found };
            return Err(Error::Note { path, source });
        }
        kept.merge(&older);
    }
    write(&path(dir, size), kept.to_string().as_bytes())?;
    Ok(kept)
}

/// The note of a size, if one is kept. Its signatures are not checked.
///
/// # Errors
/// [`Error::Io`], [`Error::Note`].
pub fn load(dir: &Path, size: u64) -> Result<Option<Note>, Error> {
    read(&path(dir, size))
}

/// The newest note kept, if there is one. Its signatures are not checked.
///
/// # Errors
/// [`Error::Io`], [`Error::Note`].
pub fn newest(dir: &Path) -> Result<Option<Note>, Error> {
    newest_up_to(dir, u64::MAX)
}

/// The newest note kept of a tree of so many headers at most, if there is one. Its signatures are not checked.
///
/// # Errors
/// [`Error::Io`], [`Error::Note`].
pub fn newest_up_to(dir: &Path, size_max: u64) -> Result<Option<Note>, Error> {
    let folder = dir.join(CHECKPOINTS_DIR);
    let listing = match std::fs::read_dir(&folder) {
        Ok(listing) => listing,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("list", folder)(source)),
    };
    let mut newest = None;
    for item in listing {
        let item = item.map_err(Error::io("list", &folder))?.path();
        let stem = item.file_stem().and_then(|stem| stem.to_str());
        let size = stem.and_then(|stem| stem.parse::<u64>().ok());
        newest = newest.max(size.filter(|size| *size <= size_max && path(dir, *size) == item));
    }
    newest.map_or(Ok(None), |size| load(dir, size))
}

/// Checks a witness's line against its key and keeps it with the checkpoint of that size.
///
/// # Errors
/// [`Error::Note`] for a line that is not by this key or no note of that size, [`Error::Io`].
pub fn cosign(dir: &Path, size: u64, line: SignatureLine, witness: &NoteKey) -> Result<Note, Error> {
    let path = path(dir, size);
    let wrong = |source| Error::Note {
        path: path.clone(),
        source,
    };
    let none = || Error::NoCheckpoint { size };
    if !path.exists() {
        return Err(none());
    }
    let _lock = lock(&dir.join(CHECKPOINTS_DIR))?;
    let mut note = load(dir, size)?.ok_or_else(none)?;
    note.add(line, witness).map_err(wrong)?;
    write(&path, note.to_string().as_bytes())?;
    Ok(note)
}

/// Reads the note of a file; `None` if there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Note>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::io("read", path)(source)),
    };
    let wrong = |source| Error::Note {
        path: path.to_owned(),
        source,
    };
    Note::parse(&text).map(Some).map_err(wrong)
}

/// Makes a folder and locks it until the file is dropped; waits for whoever holds the lock.
pub(crate) fn lock(folder: &Path) -> Result<File, Error> {
    if !folder.is_dir() {
        std::fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        sync_dir(
            folder
                .parent()
                .filter(|parent| parent.is_dir())
                .unwrap_or(Path::new(".")),
        )?;
    }
    let file = File::open(folder).map_err(Error::io("open", folder))?;
    file.lock().map_err(Error::io("lock", folder))?;
    Ok(file)
}

/// Replaces a file in one step, durably, making its folder; the caller holds the lock over it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    replace(path, bytes)?;
    sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Replaces a file in one step, making its folder; its name is durable once its folder is synced. The caller holds the
/// lock over it, and so the one name that its next version has before it takes its place.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".tmp");
    let fresh = PathBuf::from(fresh);
    let put = || {
        std::fs::create_dir_all(folder)?;
        let file = File::create(&fresh)?;
        std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0)?;
        file.sync_data()?;
        std::fs::rename(&fresh, path)
    };
    put().map_err(|source| {
        // What was begun is of no use to anybody.
        let _ = std::fs::remove_file(&fresh);
        Error::io("write", path)(source)
    })
}
