//! Checkpoints: C2SP signed notes over the tree of block headers.
//!
//! # Format
//! c2sp.org/signed-note and c2sp.org/tlog-checkpoint: three lines (origin, size, root in base64), an empty line, then
//! one line a signature: `— name base64(key id u32 BE || signature)`. The log signs with Ed25519 (type 1); a witness adds
//! a timestamped cosignature (c2sp.org/tlog-cosignature, type 4). Lines of other types, such as a committee's
//! certificate, are kept as they are.
//!
//! # Invariants
//! * What is parsed is written back byte for byte; anything that would not be is refused.
//! * Nothing is believed but lines whose key the caller gave.

use crate::block::{BlockHeader, HEADER_SIZE, RawBlockHeader};
use crate::certificates::CERTIFICATE_SIZE;
use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use thiserror::Error;
use wattbook_types::{ChainId, Hash, sha256};

/// Largest note that is looked at, bytes.
pub const NOTE_SIZE_MAX: usize = 1 << 20;
/// Most signatures a note may carry.
pub const NOTE_SIGNATURES_MAX: usize = 100;

const KEY_ID_SIZE: usize = 4;
const TIMESTAMP_SIZE: usize = 8;
const DASH: &str = "\u{2014} ";

/// Why a note or a key is not believed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoteError {
    /// The text is no checkpoint.
    #[error("line {line}: not {expected}")]
    Form {
        /// Which line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The text is larger than [`NOTE_SIZE_MAX`] or has more than [`NOTE_SIGNATURES_MAX`] signatures.
    #[error("the note is too large")]
    Size,
    /// The text is no verifier key.
    #[error("not a verifier key (`name+hex id+base64`): {0}")]
    Key(&'static str),
    /// No line of this key.
    #[error("no signature by {name}")]
    Unsigned {
        /// Name of the key.
        name: String,
    },
    /// A line of this key whose signature is wrong.
    #[error("the signature by {name} is wrong")]
    Signature {
        /// Name of the key.
        name: String,
    },
    /// Two checkpoints of one size that differ: one of them is not of this log.
    #[error("two checkpoints of size {size} differ: {kept} and {found}")]
    Split {
        /// The size.
        size: u64,
        /// The root kept before.
        kept: Hash,
        /// The root found.
        found: Hash,
    },
    /// A note about another log.
    #[error("the checkpoint is of {found}, not of {expected}")]
    Origin {
        /// The origin found.
        found: String,
        /// The origin expected.
        expected: String,
    },
}

/// `wattbook/<eic>/<chain id hex>`: the name of a log and of its key.
pub fn origin(eic: &str, chain: ChainId) -> String {
    let plain = |c: char| {
        if c.is_ascii_graphic() && c != '+' && c != '/' {
            c
        } else {
            '_'
        }
    };
    let eic: String = eic.chars().map(plain).collect();
    format!("wattbook/{eic}/{}", chain.0)
}

/// What a checkpoint says: the tree's root at a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of block headers.
    pub size: u64,
    /// RFC 9162 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            BASE64_STANDARD.encode(self.root.0)
        )
    }
}

/// How a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum KeyKind {
    /// Ed25519 over the text: a log.
    Log = 1,
    /// Ed25519 over a timestamp and the text: a witness.
    Witness = 4,
}

/// A verifier key: who may sign, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

impl NoteKey {
    /// The key of a log.
    pub const fn log(origin: String, key: VerifyingKey) -> Self {
        Self {
            name: origin,
            kind: KeyKind::Log,
            key,
        }
    }

    /// The key of a witness.
    pub const fn witness(name: String, key: VerifyingKey) -> Self {
        Self {
            name,
            kind: KeyKind::Witness,
            key,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub const fn kind(&self) -> KeyKind {
        self.kind
    }

    /// First four bytes of `SHA-256(name || 0x0A || type || key)`.
    pub fn id(&self) -> u32 {
        let digest = sha256(&[self.name.as_bytes(), b"\n", &[self.kind as u8], self.key.as_bytes()]);
        u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]])
    }

    /// Reads `name+hex id+base64(type || key)`.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(encoded)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key("three parts are needed"));
        };
        if !is_name(name) {
            return Err(NoteError::Key("the name is empty or holds a space"));
        }
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_| NoteError::Key("the key is not base64"))?;
        let (kind, key) = match bytes.split_first() {
            Some((1, key)) => (KeyKind::Log, key),
            Some((4, key)) => (KeyKind::Witness, key),
            _ => return Err(NoteError::Key("the type is neither 1 nor 4")),
        };
        let key = <[u8; 32]>::try_from(key)
            .ok()
            .and_then(|key| VerifyingKey::from_bytes(&key).ok())
            .ok_or(NoteError::Key("no Ed25519 key"))?;
        let name = name.to_owned();
        let key = Self { name, kind, key };
        if format!("{:08x}", key.id()) == id {
            Ok(key)
        } else {
            Err(NoteError::Key("the id is not that of name and key"))
        }
    }

    /// Checks a line of this key; the witness's time, seconds since 1970, if it gives one.
    fn check(&self, line: &SignatureLine, text: &str) -> Result<Option<u64>, NoteError> {
        let wrong = || NoteError::Signature {
            name: self.name.clone(),
        };
        let verify = |signature: &[u8], message: &str| {
            let signature = Signature::from_slice(signature).map_err(|_| wrong())?;
            self.key
                .verify_strict(message.as_bytes(), &signature)
                .map_err(|_| wrong())
        };
        match self.kind {
            KeyKind::Log => verify(&line.signature, text).map(|()| None),
            KeyKind::Witness => {
                let (time, signature) = line.signature.split_first_chunk().ok_or_else(wrong)?;
                let time = u64::from_be_bytes(*time);
                verify(signature, &cosigned(time, text)).map(|()| Some(time))
            }
        }
    }
}

impl fmt::Display for NoteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[self.kind as u8], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64_STANDARD.encode(bytes))
    }
}

/// What a witness signs.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || c.is_control())
}

/// One signature line, believed by nobody yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLine {
    name: String,
    id: u32,
    signature: Vec<u8>,
}

impl SignatureLine {
    /// Name of whoever is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads one line, without its newline.
    ///
    /// # Errors
    /// [`NoteError::Form`], as line 1.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let form = NoteError::Form {
            line: 1,
            expected: "a signature line (`\u{2014} name base64`)",
        };
        let parse = || {
            let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
            let bytes = BASE64_STANDARD.decode(encoded).ok()?;
            let (id, signature) = bytes.split_first_chunk::<KEY_ID_SIZE>()?;
            (is_name(name) && !signature.is_empty()).then(|| Self {
                name: name.to_owned(),
                id: u32::from_be_bytes(*id),
                signature: signature.to_vec(),
            })
        };
        parse().ok_or(form)
    }

    fn new(key: &NoteKey, signature: Vec<u8>) -> Self {
        Self {
            name: key.name.clone(),
            id: key.id(),
            signature,
        }
    }

    fn is_by(&self, key: &NoteKey) -> bool {
        self.name == key.name && self.id == key.id()
    }
}

impl fmt::Display for SignatureLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&self.id.to_be_bytes(), self.signature.as_slice()].concat();
        write!(f, "{DASH}{} {}", self.name, BASE64_STANDARD.encode(bytes))
    }
}

/// Type of a line that no key signs alone: 0xff, and the name of what it holds (C2SP signed-note).
const CERTIFIED: &[u8] = b"\xffwattbook/certified-header/v1";

/// The header of block `size` and its certificate, as a line of a checkpoint of that size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Certified {
    /// B, whose log root is the checkpoint's.
    pub header: [u8; HEADER_SIZE],
    /// The certificate of its block.
    pub certificate: [u8; CERTIFICATE_SIZE],
}

impl Certified {
    /// First four bytes of `SHA-256(name || 0x0A || type)`.
    fn id(origin: &str) -> u32 {
        let digest = sha256(&[origin.as_bytes(), b"\n", CERTIFIED]);
        u32::from_be_bytes([digest.0[0], digest.0[1], digest.0[2], digest.0[3]])
    }

    /// Whether the header says what the checkpoint says.
    fn is_of(&self, checkpoint: &Checkpoint) -> bool {
        let header = RawBlockHeader::read(&self.header).and_then(|raw| BlockHeader::from_raw(&raw).ok());
        header.is_some_and(|header| header.height == checkpoint.size && header.log_root == checkpoint.root)
    }
}

/// A checkpoint and its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    checkpoint: Checkpoint,
    signatures: Vec<SignatureLine>,
}

impl Note {
    /// Signs a checkpoint with the log key.
    pub fn sign(checkpoint: Checkpoint, key: &SigningKey) -> Self {
        let signature = key.sign(checkpoint.text().as_bytes()).to_bytes().to_vec();
        let key = NoteKey::log(checkpoint.origin.clone(), key.verifying_key());
        Self {
            signatures: vec![SignatureLine::new(&key, signature)],
            checkpoint,
        }
    }

    /// A witness's line for a checkpoint, dated `time`, seconds since 1970.
    pub fn cosign(checkpoint: &Checkpoint, time: u64, name: &str, key: &SigningKey) -> SignatureLine {
        let signature = key.sign(cosigned(time, &checkpoint.text()).as_bytes()).to_bytes();
        let key = NoteKey::witness(name.to_owned(), key.verifying_key());
        let mut dated = Vec::with_capacity(TIMESTAMP_SIZE + signature.len());
        dated.extend_from_slice(&time.to_be_bytes());
        dated.extend_from_slice(&signature);
        SignatureLine::new(&key, dated)
    }

    /// Reads a note; its signatures are not checked.
    ///
    /// # Errors
    /// [`NoteError::Form`], [`NoteError::Size`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        if text.len() > NOTE_SIZE_MAX {
            return Err(NoteError::Size);
        }
        let form = |line, expected| NoteError::Form { line, expected };
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default();
        let (origin, size, root, blank) = (next(), next(), next(), next());
        if origin.is_empty() || origin.chars().any(char::is_control) {
            return Err(form(1, "an origin"));
        }
        let size: u64 = size.parse().map_err(|_| form(2, "a tree size"))?;
        let bytes = BASE64_STANDARD.decode(root).map_err(|_| form(3, "a root in base64"))?;
        let root = bytes.try_into().map(Hash).map_err(|_| form(3, "32 bytes"))?;
        if !blank.is_empty() {
            return Err(form(4, "an empty line; extensions are not used"));
        }
        let mut signatures = Vec::new();
        let mut rest: Vec<&str> = lines.collect();
        if rest.pop() != Some("") {
            return Err(form(5, "a line that ends"));
        }
        if rest.len() > NOTE_SIGNATURES_MAX {
            return Err(NoteError::Size);
        }
        for (number, line) in (5..).zip(rest) {
            signatures.push(SignatureLine::parse(line).map_err(|_| form(number, "a signature line"))?);
        }
        let checkpoint = Checkpoint {
            origin: origin.to_owned(),
            size,
            root,
        };
        let note = Self { checkpoint, signatures };
        if note.to_string() == text {
            Ok(note)
        } else {
            Err(form(2, "the one way to write this checkpoint"))
        }
    }

    /// What it says.
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its lines.
    pub fn signatures(&self) -> &[SignatureLine] {
        &self.signatures
    }

    /// Checks that `key` signed: every line under its name and id must be right, and there must be one. For a log's key
    /// the origin must be its name too. Gives the time of a witness.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn verify(&self, key: &NoteKey) -> Result<Option<u64>, NoteError> {
        if key.kind == KeyKind::Log && self.checkpoint.origin != key.name {
            return Err(NoteError::Origin {
                found: self.checkpoint.origin.clone(),
                expected: key.name.clone(),
            });
        }
        let text = self.checkpoint.text();
        let mut found = None;
        for line in self.signatures.iter().filter(|line| line.is_by(key)) {
            found = Some(key.check(line, &text)?);
        }
        found.ok_or_else(|| NoteError::Unsigned { name: key.name.clone() })
    }

    /// Takes a line by `key`, replacing an older one of the same key.
    ///
    /// # Errors
    /// [`NoteError::Unsigned`] for a line of another key, [`NoteError::Signature`], [`NoteError::Size`].
    pub fn add(&mut self, line: SignatureLine, key: &NoteKey) -> Result<(), NoteError> {
        if !line.is_by(key) {
            return Err(NoteError::Unsigned { name: key.name.clone() });
        }
        key.check(&line, &self.checkpoint.text())?;
        self.keep(line)
    }

    /// Takes the header and certificate of the block that this checkpoint is the log root of. Whoever knows the committee
    /// checks the certificate; the rest is checked here.
    ///
    /// # Errors
    /// [`NoteError::Signature`] for the header of another block, [`NoteError::Size`].
    pub fn add_certified(&mut self, certified: &Certified) -> Result<(), NoteError> {
        let name = self.checkpoint.origin.clone();
        if !certified.is_of(&self.checkpoint) {
            return Err(NoteError::Signature { name });
        }
        self.keep(SignatureLine {
            id: Certified::id(&name),
            name,
            signature: [&certified.header[..], &certified.certificate].concat(),
        })
    }

    /// The header and certificate that the note carries, if they are of this checkpoint.
    pub fn certified(&self) -> Option<Certified> {
        let origin = &self.checkpoint.origin;
        let is_it = |line: &&SignatureLine| line.name == *origin && line.id == Certified::id(origin);
        let line = self.signatures.iter().find(is_it)?;
        let (header, certificate) = line.signature.split_first_chunk::<HEADER_SIZE>()?;
        let certified = Certified {
            header: *header,
            certificate: certificate.try_into().ok()?,
        };
        certified.is_of(&self.checkpoint).then_some(certified)
    }

    /// Takes the lines of another note about the same checkpoint that this one lacks.
    pub(crate) fn merge(&mut self, other: &Self) {
        for line in &other.signatures {
            let known = self.signatures.iter().any(|k| (&k.name, k.id) == (&line.name, line.id));
            if !known && self.signatures.len() < NOTE_SIGNATURES_MAX {
                self.signatures.push(line.clone());
            }
        }
    }

    fn keep(&mut self, line: SignatureLine) -> Result<(), NoteError> {
        self.signatures
            .retain(|known| (&known.name, known.id) != (&line.name, line.id));
        if self.signatures.len() == NOTE_SIGNATURES_MAX {
            return Err(NoteError::Size);
        }
        self.signatures.push(line);
        Ok(())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.checkpoint.text())?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: origin("10YTEST", ChainId(Hash([7; 32]))),
            size: 77,
            root: Hash([9; 32]),
        }
    }

    #[test]
    fn a_note_is_what_its_keys_signed() {
        let mut note = Note::sign(checkpoint(), &key(1));
        let log = NoteKey::log(checkpoint().origin, key(1).verifying_key());
        assert_eq!(NoteKey::parse(&log.to_string()), Ok(log.clone()));
        assert_eq!(note.verify(&log), Ok(None));
        let witness = NoteKey::witness("witness.example".to_owned(), key(2).verifying_key());
        let unsigned = NoteError::Unsigned {
            name: "witness.example".to_owned(),
        };
        assert_eq!(note.verify(&witness), Err(unsigned.clone()));
        let line = Note::cosign(&checkpoint(), 1_700_000_000, "witness.example", &key(2));
        assert_eq!(
            note.add(line.clone(), &log).unwrap_err(),
            NoteError::Unsigned {
                name: checkpoint().origin
            }
        );
        note.add(line.clone(), &witness).unwrap();
        note.add(line, &witness).unwrap();
        assert_eq!(note.signatures().len(), 2);
        assert_eq!(note.verify(&witness), Ok(Some(1_700_000_000)));
        assert_eq!(Note::parse(&note.to_string()), Ok(note.clone()));
        // A line of another kind stays.
        let foreign = "\u{2014} committee AAAAAP9h\n";
        let with = Note::parse(&format!("{note}{foreign}")).unwrap();
        assert_eq!(with.verify(&log), Ok(None));
        assert!(with.to_string().ends_with(foreign));
        let other = NoteKey::log("wattbook/other/00".to_owned(), key(1).verifying_key());
        assert!(matches!(note.verify(&other), Err(NoteError::Origin { .. })));
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let mut note = Note::sign(checkpoint(), &key(1));
        let witness = NoteKey::witness("w".to_owned(), key(2).verifying_key());
        let line = Note::cosign(&checkpoint(), 5, "w", &key(2));
        note.add(line, &witness).unwrap();
        let log = NoteKey::log(checkpoint().origin, key(1).verifying_key());
        let text = note.to_string();
        for bit in 0..text.len() * 8 {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok(flipped) = String::from_utf8(bytes) else {
                continue;
            };
            let holds = Note::parse(&flipped).and_then(|note| {
                note.verify(&log)?;
                note.verify(&witness)
            });
            assert!(holds.is_err(), "bit {bit}: {flipped}");
        }
        let key_text = log.to_string();
        for at in 0..key_text.len() {
            let mut bytes = key_text.clone().into_bytes();
            bytes[at] ^= 1;
            let same = String::from_utf8(bytes)
                .ok()
                .and_then(|text| NoteKey::parse(&text).ok());
            assert!(same.is_none(), "byte {at}");
        }
    }

    #[test]
    fn a_note_carries_the_certified_header_of_its_root() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let chain = ChainId(Hash([6; 32]));
        let (origin, root) = (origin("zone", chain), Hash([8; 32]));
        let header = BlockHeader {
            flags: 0,
            producer: 1,
            height: 77,
            epoch: 2,
            view: 9,
            time: wattbook_types::TimeNs::new(1),
            record_count: 1,
            event_count: 0,
            first_seq: 90,
            chain,
            parent: Hash([1; 32]),
            record_root: Hash([2; 32]),
            event_root: Hash([3; 32]),
            state_root: Hash([4; 32]),
            log_root: root,
            params_hash: Hash([5; 32]),
            dpos_hash: Hash([6; 32]),
            next_committee: Hash::ZERO,
        };
        let certified = |header: &BlockHeader| Certified {
            header: header.to_raw().as_bytes().try_into().unwrap(),
            certificate: [9; CERTIFICATE_SIZE],
        };
        let checkpoint = |size| Checkpoint {
            origin: origin.clone(),
            size,
            root,
        };
        let mut note = Note::sign(checkpoint(77), &key);
        assert_eq!(note.certified(), None);
        note.add_certified(&certified(&header)).unwrap();
        assert_eq!(note.certified(), Some(certified(&header)));
        // As text too, once, and beside the log's line.
        note.add_certified(&certified(&header)).unwrap();
        let read = Note::parse(&note.to_string()).unwrap();
        assert_eq!((&read, read.signatures().len()), (&note, 2));
        let log = NoteKey::log(origin.clone(), key.verifying_key());
        assert_eq!(read.verify(&log), Ok(None));
        // Another height, another root: another note's.
        assert!(
            Note::sign(checkpoint(78), &key)
                .add_certified(&certified(&header))
                .is_err()
        );
        let other = BlockHeader {
            log_root: Hash([7; 32]),
            ..header
        };
        assert!(note.add_certified(&certified(&other)).is_err());
        let mut moved = Note::sign(checkpoint(78), &key);
        moved.merge(&note);
        assert_eq!((moved.signatures().len(), moved.certified()), (2, None));
    }
}
