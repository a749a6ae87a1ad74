//! The log of block headers as static files that third-party tools audit.
//!
//! # Format
//! c2sp.org/tlog-tiles: `checkpoint`; `tile/<level>/<number>` with 256 hashes of 32 bytes, the last one of a level under
//! `<number>.p/<width>`; `tile/entries/<number>` with 256 headers, each after its length as u16 BE.
//!
//! # Invariants
//! * The checkpoint is replaced last, when every tile is durable, so whoever reads it finds every tile it needs.
//! * Whoever writes holds the folder's lock.
//! * A run writes what the folder lacks, also where the run before was ended within. It refuses a folder whose checkpoint is of another log.
//! * A partial tile goes only when the full one stands in its place.

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::checkpoints::{lock, read, replace, write};
use crate::error::Error;
use crate::files::sync_dir;
use crate::index::HeaderIndex;
use crate::note::{Note, NoteError};
use crate::read::Reader;

const TILE_WIDTH: u64 = 256;
const TILE_LEVELS: u32 = 8;
const CHECKPOINT_FILE: &str = "checkpoint";

/// Appends one item of a tile.
type PutItem<'a> = dyn Fn(u64, &mut Vec<u8>) -> Result<(), Error> + 'a;

/// What a run of [`export_tiles`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TilesExported {
    /// Number of headers in the folder before.
    pub from: u64,
    /// Number of headers in the folder now.
    pub to: u64,
    /// Files written, the checkpoint apart.
    pub files: u64,
}

/// `tile/<kind>/<number>[.p/<width>]` below `dir`.
fn tile_path(dir: &Path, kind: &str, number: u64, width: u64) -> PathBuf {
    let mut last = format!("{:03}", number % 1000);
    let (mut rest, mut folders) = (number / 1000, Vec::new());
    while rest > 0 {
        folders.push(format!("x{:03}", rest % 1000));
        rest /= 1000;
    }
    let mut path = dir.join("tile").join(kind);
    path.extend(folders.iter().rev());
    if width < TILE_WIDTH {
        last.push_str(".p");
        path.push(last);
        last = width.to_string();
    }
    path.join(last)
}

/// What reading a header costs at most, bytes: a page of the log, which it shares with nothing else that is read.
const HEADER_READ_SIZE: u64 = 4_096;

/// Writes the tiles of a checkpoint below `dir`, or those that an earlier run did not.
///
/// # Errors
/// [`Error::Note`] if the folder's checkpoint or `note` is of another log, [`Error::NoBlock`] if `note` is beyond the
/// ledger, [`Error::Damaged`], [`Error::Io`].
pub fn export_tiles(index: &mut HeaderIndex, reader: &Reader, note: &Note, dir: &Path) -> Result<TilesExported, Error> {
    let exported = export_tiles_paced(index, reader, note, dir, |_| ControlFlow::Continue(()))?;
    Ok(exported.unwrap_or_default())
}

/// Writes tiles as [`export_tiles`] does, and tells `pace` how many bytes each step has read or written at most; it may
/// wait, or end the run: then the folder is as served as before, and the answer is `None`.
///
/// # Errors
/// As [`export_tiles`].
pub fn export_tiles_paced(
    index: &mut HeaderIndex,
    reader: &Reader,
    note: &Note,
    dir: &Path,
    mut pace: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<TilesExported>, Error> {
    let size = note.checkpoint().size;
    index.sound(reader, |index| index.owns(reader, note.checkpoint(), reader.dir()))?;
    let _lock = lock(dir)?;
    let checkpoint_path = dir.join(CHECKPOINT_FILE);
    let mut from = 0;
    let mut fresh = note.clone();
    if let Some(older) = read(&checkpoint_path)? {
        from = older.checkpoint().size;
        if older.checkpoint().origin != note.checkpoint().origin || from > size {
            let source = NoteError::Origin {
                found: format!("{} at size {from}", older.checkpoint().origin),
                expected: format!("{} up to size {size}", note.checkpoint().origin),
            };
            return Err(Error::Note {
                path: checkpoint_path,
                source,
            });
        }
        index.owns(reader, older.checkpoint(), &checkpoint_path)?;
        if from == size {
            fresh.merge(&older);
        }
    }
    for start in (from..size).step_by(TILE_WIDTH as usize) {
        let end = size.min(start + TILE_WIDTH);
        index.sound(reader, |index| index.nodes_hold(reader, start, end))?;
        if pace((end - start) * HEADER_READ_SIZE).is_break() {
            return Ok(None);
        }
    }
    let index = &*index;
    let mut done = TilesExported {
        from,
        to: size,
        files: 0,
    };
    let (mut folders, mut superseded) = (BTreeSet::new(), Vec::new());
    let mut put = |kind: &str, level: u32, item: &PutItem<'_>| {
        let (from, size) = (from >> (8 * level), size >> (8 * level));
        if from == size {
            return Ok(ControlFlow::Continue(()));
        }
        for number in from / TILE_WIDTH..size.div_ceil(TILE_WIDTH) {
            let start = number * TILE_WIDTH;
            let width = (size - start).min(TILE_WIDTH);
            let mut bytes = Vec::new();
            (start..start + width).try_for_each(|at| item(at, &mut bytes))?;
            let path = tile_path(dir, kind, number, width);
            replace(&path, &bytes)?;
            if pace(bytes.len() as u64).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let above = path.ancestors().skip(1).take_while(|folder| folder.starts_with(dir));
            folders.extend(above.map(Path::to_owned));
            done.files += 1;
            if width == TILE_WIDTH {
                superseded.push(tile_path(dir, kind, number, 0));
            }
        }
        Ok::<_, Error>(ControlFlow::Continue(()))
    };
    let entries = put("entries", 0, &|height, bytes| {
        let (_, raw) = index.header(reader, height)?;
        bytes.extend_from_slice(&(raw.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&raw);
        Ok(())
    })?;
    if entries.is_break() {
        return Ok(None);
    }
    for level in 0..TILE_LEVELS {
        let hashes = put(&level.to_string(), level, &|n, bytes| {
            bytes.extend_from_slice(&index.node(8 * level, n)?.0);
            Ok(())
        })?;
        if hashes.is_break() {
            return Ok(None);
        }
    }
    folders.iter().try_for_each(|folder| sync_dir(folder))?;
    write(&checkpoint_path, fresh.to_string().as_bytes())?;
    // Under the checkpoint before, these were still asked for.
    superseded.iter().try_for_each(|partial| drop_partial(partial))?;
    Ok(Some(done))
}

/// Removes the folder of a tile's partial versions; `partial` is any of them.
fn drop_partial(partial: &Path) -> Result<(), Error> {
    let folder = partial.parent().unwrap_or(partial);
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", folder)(source)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let path = |kind, number, width| tile_path(Path::new(""), kind, number, width).display().to_string();
        assert_eq!(path("0", 0, 256), "tile/0/000");
        assert_eq!(path("1", 5, 7), "tile/1/005.p/7");
        assert_eq!(path("entries", 1_234_067, 256), "tile/entries/x001/x234/067");
        assert_eq!(path("2", 1_000, 1), "tile/2/x001/000.p/1");
    }
}
