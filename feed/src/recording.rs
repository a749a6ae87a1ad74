//! A session in a file: what the server sent, as it sent it.
//!
//! # Format
//! SoupBinTCP packets: the acceptance of the login, then sequenced and unsequenced messages, and the end of the session if
//! it came. Sent to a client, the file is the session.
//!
//! # Recovery
//! A packet that the file ends within is taken off by [`Recorder::resume`], as is the end of a session, and the recording
//! goes on with the next number. [`Recording`] gives everything before it and then says where the file is torn.

use crate::client::Numbered;
use crate::soupbin::{self, Decoder, LoginAccepted, PACKET_MAX, Packet, Peer};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use wattbook_types::Reject;

/// Why a recording cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It does not begin with the acceptance of a login.
    #[error("{} is no recording of a session", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// Bytes that are no packet of a server.
    #[error("{}: the packet at byte {offset} is damaged: {reject}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
        /// What is wrong with it.
        reject: Reject,
    },
    /// The file ends within a packet: the recorder was stopped, and can go on.
    #[error("{} ends within the packet at byte {offset}", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
        /// Where it begins.
        offset: u64,
    },
    /// A message is not the next one.
    #[error("message {came} where {due} was due")]
    Gap {
        /// Number that came.
        came: u64,
        /// Number that was due.
        due: u64,
    },
}

/// Writes a recording.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    file: File,
    next_seq: u64,
    packet: Vec<u8>,
}

fn failed(path: &Path) -> impl Fn(io::Error) -> RecordingError {
    move |source| RecordingError::Io {
        path: path.to_owned(),
        source,
    }
}

impl Recorder {
    /// A recording of a session from this number on, in a file that does not exist yet.
    pub fn create(path: &Path, session: &str, first: u64) -> Result<Self, RecordingError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(failed(path))?;
        let mut recorder = Self {
            path: path.to_owned(),
            file,
            next_seq: first,
            packet: Vec::new(),
        };
        let accepted = LoginAccepted {
            session: session.to_owned(),
            sequence: first,
        };
        soupbin::put_login_accepted(&accepted, &mut recorder.packet);
        recorder.write()?;
        Ok(recorder)
    }

    /// The recording in this file, to go on with.
    pub fn resume(path: &Path) -> Result<Self, RecordingError> {
        let mut recording = Recording::open(path)?;
        let end = loop {
            let before = recording.offset;
            match recording.next() {
                // The end of a session is taken off: there is more to come.
                Ok(None) => break if recording.ended { before } else { recording.offset },
                Ok(Some(_)) => {}
                Err(RecordingError::Torn { offset, .. }) => break offset,
                Err(error) => return Err(error),
            }
        };
        let mut file = OpenOptions::new().append(true).open(path).map_err(failed(path))?;
        file.set_len(end).and_then(|()| file.flush()).map_err(failed(path))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            next_seq: recording.next_seq,
            packet: Vec::new(),
        })
    }

    /// Number of the next sequenced message.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Records a message.
    ///
    /// # Panics
    /// With a message that exceeds a packet, in which none comes.
    pub fn append(&mut self, seq: Option<u64>, message: &[u8]) -> Result<(), RecordingError> {
        match seq {
            // The last number has none after it.
            Some(came) if came != self.next_seq || came == u64::MAX => {
                return Err(RecordingError::Gap {
                    came,
                    due: self.next_seq,
                });
            }
            Some(_) => {
                soupbin::put_sequenced(message, &mut self.packet);
                self.next_seq += 1;
            }
            None => soupbin::put_unsequenced(message, &mut self.packet),
        }
        self.write()
    }

    /// Records the end of the session.
    pub fn end(mut self) -> Result<(), RecordingError> {
        soupbin::put_end_of_session(&mut self.packet);
        self.write()
    }

    fn write(&mut self) -> Result<(), RecordingError> {
        let written = self.file.write_all(&self.packet);
        self.packet.clear();
        written.map_err(failed(&self.path))
    }
}

/// Reads a recording.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    file: File,
    decoder: Decoder,
    session: String,
    next_seq: u64,
    ended: bool,
    /// Where the next packet begins.
    offset: u64,
    /// Bytes read from the file.
    read: u64,
}

impl Recording {
    /// The recording in this file.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let mut recording = Self {
            path: path.to_owned(),
            file: File::open(path).map_err(failed(path))?,
            decoder: Decoder::new(Peer::Server, PACKET_MAX),
            session: String::new(),
            next_seq: 0,
            ended: false,
            offset: 0,
            read: 0,
        };
        let foreign = || RecordingError::Foreign { path: path.to_owned() };
        match recording.step() {
            Ok(Some(Heard::Accepted(accepted))) => {
                (recording.session, recording.next_seq) = (accepted.session, accepted.sequence);
                Ok(recording)
            }
            Err(error @ RecordingError::Io { .. }) => Err(error),
            _ => Err(foreign()),
        }
    }

    /// Name of the session.
    pub fn session(&self) -> &str {
        &self.session
    }

    /// Number of the next sequenced message.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether the end of the session has been read.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// The next message with its number, `None` behind the last.
    #[expect(clippy::should_implement_trait, reason = "as the client's, which it stands for")]
    pub fn next(&mut self) -> Result<Option<Numbered<Vec<u8>>>, RecordingError> {
        let due = self.offset;
        match self.step()? {
            None => Ok(None),
            Some(Heard::Sequenced(message)) => {
                let seq = self.next_seq;
                self.next_seq = seq.checked_add(1).ok_or_else(|| RecordingError::Damaged {
                    path: self.path.clone(),
                    offset: due,
                    reject: Reject::Garbage,
                })?;
                Ok(Some((Some(seq), message)))
            }
            Some(Heard::Unsequenced(message)) => Ok(Some((None, message))),
            Some(Heard::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Heard::Accepted(_)) => Err(RecordingError::Damaged {
                path: self.path.clone(),
                offset: due,
                reject: Reject::Garbage,
            }),
        }
    }

    /// The next packet but heartbeats and texts; `None` at the end of the file.
    fn step(&mut self) -> Result<Option<Heard>, RecordingError> {
        loop {
            let damaged = |reject| RecordingError::Damaged {
                path: self.path.clone(),
                offset: self.offset,
                reject,
            };
            let (size, heard) = match self.decoder.next_packet().map_err(damaged)? {
                Some(Packet::Sequenced(message)) => (message.len(), Heard::Sequenced(message.to_vec())),
                Some(Packet::Unsequenced(message)) => (message.len(), Heard::Unsequenced(message.to_vec())),
                Some(Packet::LoginAccepted(accepted)) => (30, Heard::Accepted(accepted)),
                Some(Packet::EndOfSession) => (0, Heard::End),
                Some(Packet::ServerHeartbeat) => {
                    self.offset += 3;
                    continue;
                }
                Some(Packet::Debug(text)) => {
                    self.offset += 3 + text.len() as u64;
                    continue;
                }
                Some(_) => return Err(damaged(Reject::Garbage)),
                None => match self.file.read(self.decoder.spare()) {
                    Ok(0) if self.read == self.offset => return Ok(None),
                    Ok(0) => {
                        return Err(RecordingError::Torn {
                            path: self.path.clone(),
                            offset: self.offset,
                        });
                    }
                    Ok(len) => {
                        self.decoder.filled(len);
                        self.read += len as u64;
                        continue;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(failed(&self.path)(error)),
                },
            };
            self.offset += 3 + size as u64;
            return Ok(Some(heard));
        }
    }
}

/// A packet that counts.
enum Heard {
    Accepted(LoginAccepted),
    Sequenced(Vec<u8>),
    Unsequenced(Vec<u8>),
    End,
}
