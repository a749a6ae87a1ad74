//! What electors, candidates and the regulator send: votes, candidacies, stated emissions.
//!
//! A candidacy is signed with the candidate's account like everything else; what it stands with are the keys of its node's
//! directory, whose secrets stay there.

use super::SendError;
use crate::keys;
use std::path::PathBuf;
use wattbook_agreement::ballot::BallotKey;
use wattbook_feed::signed::{Attachment, LeafBytes, encode_candidacy, encode_emission, encode_vote};
use wattbook_types::delegate::{EmissionStatement, Vote};
use wattbook_types::{ChainId, ParticipantId};

/// A vote for a delegate, with all of the account's stake.
#[derive(clap::Args, Debug)]
pub(super) struct VoteArgs {
    /// The next epoch: one above that under way (`wattbook status --only replica`).
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// Account of whom it is cast for; default: nobody, which takes the vote back.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    candidate: Option<u64>,
}

/// A candidacy with the keys of a node.
#[derive(clap::Args, Debug)]
pub(super) struct StandArgs {
    /// The next epoch: one above that under way (`wattbook status --only replica`).
    #[arg(long, value_name = "N")]
    epoch: u64,
    /// Directory of the node that will vote: keys/peer.key and keys/ballot.key are what it stands with.
    #[arg(long, value_name = "DIR")]
    node: PathBuf,
    /// Make the node's ballot key, which must not exist yet; the node reads it when it starts the next time.
    #[arg(long)]
    new_ballot_key: bool,
}

/// The end of a candidacy.
#[derive(clap::Args, Debug)]
pub(super) struct WithdrawArgs {
    /// The next epoch: one above that under way (`wattbook status --only replica`).
    #[arg(long, value_name = "N")]
    epoch: u64,
}

/// What an account emitted, as its regulator states it.
#[derive(clap::Args, Debug)]
pub(super) struct EmissionArgs {
    /// Whose.
    #[arg(long, value_name = "N")]
    of: u64,
    /// Quarter hours since 1970; it must have begun.
    #[arg(long, value_name = "PERIOD")]
    period: u32,
    /// Grams of CO2.
    #[arg(long, value_name = "N")]
    grams: u64,
}

impl VoteArgs {
    pub(super) fn leaf(&self) -> LeafBytes {
        let vote = Vote {
            epoch: self.epoch,
            candidate: self.candidate.map(ParticipantId::new),
        };
        encode_vote(0, &vote)
    }
}

impl StandArgs {
    /// The leaf, and the keys that are attached to it.
    pub(super) fn leaf(&self, chain: ChainId) -> Result<(LeafBytes, Attachment), SendError> {
        if self.new_ballot_key {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).map_err(SendError::Random)?;
            // Fewer than 32 bytes are all it refuses.
            let key = BallotKey::generate(&secret).map_err(|_| SendError::BallotKey)?;
            keys::write(&self.node, keys::BALLOT_KEY, &key.to_bytes())?;
        }
        let keys = keys::candidate_keys(&self.node)?;
        let leaf = encode_candidacy(0, chain, self.epoch, Some(&keys));
        Ok((leaf, Attachment { index: 0, keys }))
    }
}

impl WithdrawArgs {
    pub(super) fn leaf(&self, chain: ChainId) -> LeafBytes {
        encode_candidacy(0, chain, self.epoch, None)
    }
}

impl EmissionArgs {
    pub(super) fn leaf(&self) -> LeafBytes {
        let statement = EmissionStatement {
            participant: ParticipantId::new(self.of),
            period: self.period,
            grams: self.grams,
        };
        encode_emission(0, &statement)
    }
}
