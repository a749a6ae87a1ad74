//! The seam between a node and block agreement: what the node implements, and what it may call.
//!
//! The node is threads and channels. [`Application`] is called on one thread of its own, one call at a time and in
//! order, and answers whenever it is ready, from any thread, through the [`Answer`] it was handed.

use crate::{
    ballot::BallotKey,
    block::{Candidate, Format},
    evidence::Evidence,
    proof::FinalityProof,
};
use core::{fmt, time::Duration};
use std::{io, net::SocketAddr, sync::Arc};
use wattbook_types::{ChainId, Hash, ParticipantId, committee::Committee, schedule::Schedule};

/// A right to answer once, from any thread. Dropped unused, it never answers: agreement goes on without.
pub struct Answer<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Answer<T> {
    /// An answer that ends in `hear`.
    pub fn new(hear: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(hear))
    }

    /// Answers.
    pub fn give(self, value: T) {
        (self.0)(value);
    }
}

impl<T> fmt::Debug for Answer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Answer")
    }
}

/// A view in which a block is due, and what its head must say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Height of the block.
    pub height: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Its view.
    pub view: u64,
    /// The term that the view lies in.
    pub term: u64,
    /// The delegate that leads the term.
    pub leader: ParticipantId,
    /// Digest of the parent.
    pub parent: Hash,
    /// Terms lost in the epoch up to here, by rank; where heads do not say them, those since the parent.
    pub missed: Vec<u32>,
    /// Whether the block ends its epoch and so names the next committee.
    pub is_border: bool,
}

/// A term that a quorum gave up. What was matched in it and is not final is matched again by who leads next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LostTerm {
    /// The epoch.
    pub epoch: u64,
    /// The term.
    pub term: u64,
    /// The view given up, with the rest of its term.
    pub view: u64,
    /// The delegate that led it.
    pub leader: ParticipantId,
}

/// A block that is final and durable in the [`Store`].
#[derive(Clone, Debug)]
pub struct Final {
    /// The block.
    pub block: Candidate,
    /// Its own certificate. `None` where the block is final by a descendant's: then that one proves it, parent by parent.
    pub proof: Option<FinalityProof>,
}

/// Who sits in an epoch, and with which key this node votes there.
#[derive(Clone, Debug)]
pub struct Seating {
    /// The committee.
    pub committee: Committee,
    /// This node's key for the epoch's ballots; without one, or with one that has no seat, it observes.
    pub ballot: Option<BallotKey>,
}

/// What this node is in an epoch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Votes, and leads the terms of its rank.
    Delegate {
        /// Rank in the committee.
        rank: usize,
    },
    /// Has no seat: follows, keeps, serves and checks.
    Observer,
    /// Has a seat, and does not vote before the next epoch: its votes of this one were damaged or lost.
    Barred,
}

/// What the node implements. Every call returns soon or queues the ones behind it; answers may come later.
pub trait Application: Send + 'static {
    /// The committee of an epoch and this node's key in it; `None` where the state does not reach that far. Asked for
    /// the current epoch at the start, and for the next once the border block before it was delivered.
    fn seating(&mut self, epoch: u64) -> Option<Seating>;

    /// What this node is, at every epoch's start.
    fn seated(&mut self, epoch: u64, role: Role);

    /// Build a block for `slot` on the last of `chain`, and answer its bytes; `None` passes the term on. `chain` holds the
    /// blocks above what was delivered, oldest first, and at least the parent. Answering early seals early.
    fn propose(&mut self, slot: Slot, chain: Vec<Candidate>, answer: Answer<Option<Vec<u8>>>);

    /// Execute `block` on the last of `chain` and answer whether every root holds. The head agrees with `slot` already.
    /// What cannot be judged yet stays unanswered: `false` is for ever and costs the leader its term.
    fn verify(&mut self, slot: Slot, chain: Vec<Candidate>, block: Candidate, answer: Answer<bool>);

    /// A block is final and stored: by height without a gap, at least once (a restart repeats what was not acknowledged).
    /// Answered when everything that follows from it is durable.
    fn deliver(&mut self, block: Final, done: Answer<()>);

    /// A term was given up. Blocks of it may still come back in a `chain`, or not at all.
    fn lost(&mut self, term: LostTerm);

    /// A delegate broke the rule of voting; the evidence was checked against its committee's keys.
    fn accuse(&mut self, evidence: Evidence);

    /// Bytes that another node told this one, by [`Agreement::tell`]; nothing is known of them but who sent them.
    fn heard(&mut self, from: [u8; 32], bytes: Vec<u8>);
}

/// Blocks that peers may ask for, and that come back from peers where they are damaged. What it returns it has checked;
/// bytes that do not check are as good as absent.
pub trait Mendable: Send + 'static {
    /// The bytes of a block by height.
    ///
    /// # Errors
    /// The disk's.
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>>;

    /// Heights at or below the tip whose bytes are known not to check, now.
    fn damaged(&self) -> Vec<u64>;

    /// Writes a damaged block afresh, durable on return; `false` where it is not the block that was certified at its
    /// height, by its digest.
    ///
    /// # Errors
    /// The disk's, which end the node.
    fn mend(&mut self, block: &Candidate) -> io::Result<bool>;
}

/// Where final blocks are kept: the ledger.
pub trait Store: Mendable {
    /// Height of the last block; all from 1 up to it were appended.
    fn tip(&self) -> u64;

    /// Appends the block of height `tip() + 1`; durable after [`Store::sync`].
    ///
    /// # Errors
    /// The disk's, which end the node.
    fn append(&mut self, block: &Candidate) -> io::Result<()>;

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// The disk's, which end the node.
    fn sync(&mut self) -> io::Result<()>;

    /// The bytes of a block by digest.
    ///
    /// # Errors
    /// The disk's.
    fn by_digest(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>>;
}

impl Mendable for Box<dyn Store> {
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>> {
        (**self).by_height(height)
    }

    fn damaged(&self) -> Vec<u64> {
        (**self).damaged()
    }

    fn mend(&mut self, block: &Candidate) -> io::Result<bool> {
        (**self).mend(block)
    }
}

impl Store for Box<dyn Store> {
    fn tip(&self) -> u64 {
        (**self).tip()
    }

    fn append(&mut self, block: &Candidate) -> io::Result<()> {
        (**self).append(block)
    }

    fn sync(&mut self) -> io::Result<()> {
        (**self).sync()
    }

    fn by_digest(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        (**self).by_digest(digest)
    }
}

/// Whose time blocks carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// The leader's clock: a block comes [`Settings::pace`] after its parent, and its time is held against the voters' clocks.
    Real,
    /// The application's: it answers when a block is due, and nobody's clock says anything of its time.
    Simulated,
}

/// What every node of a chain sets alike, and how patient this one is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The chain.
    pub chain: ChainId,
    /// Lengths of epochs and terms.
    pub schedule: Schedule,
    /// Most bytes a block has.
    pub block_size_max: usize,
    /// How long a leader may take to propose, its sealing interval included. Everything else is a multiple of it.
    pub leader_timeout: Duration,
    /// Whose time blocks carry.
    pub time: Time,
    /// A leader is asked for a block no sooner than this after its parent's time, where that is real.
    pub pace: Duration,
    /// How long the first block of an epoch waits for peers to register that epoch's channel.
    pub border_pause: Duration,
}

/// A node that may connect: its identity, and where it listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Ed25519 key of its connections.
    pub key: [u8; 32],
    /// Where it listens.
    pub address: SocketAddr,
}

/// Where agreement stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The epoch under way.
    pub epoch: u64,
    /// What this node is in it.
    pub role: Role,
    /// The last height whose delivery was acknowledged.
    pub delivered: u64,
}

/// What the node may call while agreement runs.
pub trait Agreement: Send + Sync {
    /// Where agreement stands.
    fn status(&self) -> Status;

    /// The certificate of a delivered height; `None` where a descendant's proves it, or it is not there yet.
    fn proof(&self, height: u64) -> Option<FinalityProof>;

    /// Tells every node that is connected, or one of them by its key. What is too long or too much is lost on the way.
    fn tell(&self, to: Option<[u8; 32]>, bytes: Vec<u8>);

    /// Replaces the nodes that may connect: committee, standbys, observers.
    fn track(&self, peers: &[Peer]);

    /// Ends agreement and waits until its last write is done.
    fn stop(&mut self);
}

/// What a chain starts from.
#[derive(Clone)]
pub struct Genesis {
    /// How blocks are read.
    pub format: Arc<dyn Format>,
    /// The block of height 0.
    pub block: Candidate,
}

impl fmt::Debug for Genesis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Genesis").field(self.block.head()).finish()
    }
}
