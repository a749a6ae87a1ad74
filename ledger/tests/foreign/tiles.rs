//! Tiles read and judged by the crates `tlog_tiles` and `signed_note`, which nobody here wrote.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use signed_note::{StandardVerifier, VerifierList};
use std::path::Path;
use tlog_tiles::{Tile, TileHashReader, TileReader};

/// Tiles of a folder, for the foreign reader.
struct Folder<'a>(&'a Path);

impl TileReader for Folder<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::tlog::Error> {
        let read = |tile: &Tile| {
            // The crate writes paths of the older Go form, `tile/8/<level>/...`.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let partial = std::fs::read(self.0.join(&path));
            // Where the full tile stands by now, it begins with the partial one.
            let read = partial.or_else(|missing| {
                let (full, width) = path.split_once(".p/").ok_or(missing)?;
                let mut bytes = std::fs::read(self.0.join(full))?;
                bytes.truncate(32 * width.parse::<usize>().map_err(std::io::Error::other)?);
                Ok::<_, std::io::Error>(bytes)
            });
            read.map_err(|_| tlog_tiles::tlog::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// Verifies a folder of tiles as `tlog_tiles` and `signed_note` understand it: headers of some of the blocks that its
/// checkpoint covers.
pub(crate) fn audit(dir: &Path, vkey: &str, some: impl Fn(u64) -> Vec<u64>) -> Result<Vec<Vec<u8>>, String> {
    let text = std::fs::read(dir.join("checkpoint")).map_err(|error| error.to_string())?;
    let note = signed_note::Note::from_bytes(&text).map_err(|error| error.to_string())?;
    let verifier = StandardVerifier::new(vkey).map_err(|error| error.to_string())?;
    let (by, _) = note
        .verify(&VerifierList::new(vec![Box::new(verifier)]))
        .map_err(|error| error.to_string())?;
    assert_eq!(by.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())?;
    let tiles = Folder(dir);
    let reader = TileHashReader::new(checkpoint.size(), *checkpoint.hash(), &tiles);
    let mut entries = Vec::new();
    for height in some(checkpoint.size()) {
        let path = tlog_tiles::prove_record(checkpoint.size(), height, &reader).map_err(|error| error.to_string())?;
        let bundle = height / 256;
        let whole = dir.join(format!("tile/entries/{bundle:03}"));
        let partial = dir.join(format!("tile/entries/{bundle:03}.p/{}", checkpoint.size() % 256));
        let bytes = std::fs::read(whole)
            .or_else(|_| std::fs::read(partial))
            .map_err(|error| error.to_string())?;
        let entry = bytes.chunks(354).nth((height % 256) as usize);
        let entry = entry.ok_or("a bundle is too short")?;
        if entry[..2] != 352u16.to_be_bytes() {
            return Err("the length of an entry".to_owned());
        }
        let leaf = tlog_tiles::record_hash(&entry[2..]);
        tlog_tiles::check_record(&path, checkpoint.size(), *checkpoint.hash(), height, leaf)
            .map_err(|error| error.to_string())?;
        entries.push(entry[2..].to_vec());
    }
    Ok(entries)
}
