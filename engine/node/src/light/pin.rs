//! Where a light client begins when it does not begin at genesis: a committee under a block that somebody vouches for.

use super::bundle::{Member, bytes, fields, list, member, member_of, number, wrong};
use super::{LightClient, LightError};
use serde_json::{Value, json};
use wattbook_agreement::ballot::{BallotKeys, Namespace};
use wattbook_feed::signed::Genesis;
use wattbook_ledger::{BlockHeader, HEADER_SIZE, RawBlockHeader};
use wattbook_types::committee::Committee;
use wattbook_types::{ChainId, Hash};

/// The one version there is.
const VERSION: u64 = 1;

/// The last block of an epoch, and the committee that it names; worth what the digest is worth that it is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pinned {
    /// The chain.
    pub chain: ChainId,
    /// The block's header.
    pub header: [u8; HEADER_SIZE],
    /// The committee of the next epoch, in rank order.
    pub committee: Vec<Member>,
}

impl Pinned {
    /// The header's digest: what is to be written down, and named by whoever begins here.
    ///
    /// # Errors
    /// [`LightError::Header`].
    pub fn digest(&self) -> Result<Hash, LightError> {
        let raw = RawBlockHeader::read(&self.header).ok_or(LightError::Header { at: 0 })?;
        let header = BlockHeader::from_raw(&raw).map_err(|_| LightError::Header { at: 0 })?;
        Ok(header.digest())
    }

    /// Its JSON.
    pub fn to_json(&self) -> String {
        let pinned = json!({
            "version": VERSION,
            "chain": hex::encode(self.chain.0.0),
            "header": hex::encode(self.header),
            "committee": self.committee.iter().map(member).collect::<Vec<_>>(),
        });
        format!("{pinned}\n")
    }

    /// What a JSON text says; nothing is believed yet.
    ///
    /// # Errors
    /// [`LightError::Bundle`], with the field.
    pub fn parse(text: &str) -> Result<Self, LightError> {
        let value: Value = serde_json::from_str(text).map_err(|error| LightError::Bundle(error.to_string()))?;
        let top = fields(&value, "the checkpoint", 4)?;
        if number(top, "version")? != VERSION {
            return Err(wrong("version"));
        }
        Ok(Self {
            chain: ChainId(Hash(bytes(top, "chain")?)),
            header: bytes(top, "header")?,
            committee: list(top, "committee", member_of)?,
        })
    }
}

impl LightClient {
    /// Begins behind the block whose digest is `pin`, which is trusted; genesis says which chain it is, and how long epochs are.
    ///
    /// Whoever pins a block keeps to one that is younger than `evidence_epochs`, for which delegates still answer.
    ///
    /// # Errors
    /// [`LightError::OtherPin`] for another block, [`LightError::OtherChain`], [`LightError::NoBorder`] for one that ends no epoch,
    /// [`LightError::Committee`] for another committee than it names.
    pub fn begin_at(genesis: &[u8], pinned: &Pinned, pin: Hash) -> Result<Self, LightError> {
        let chain = wattbook_feed::signed::genesis::chain_id(genesis);
        let genesis = Genesis::decode(genesis)?;
        let schedule = genesis.to_params()?.schedule();
        if genesis.delegates.is_empty() {
            return Err(LightError::NoDelegates);
        }
        let header = Self::header_of(chain, &pinned.header, 0)?;
        if header.digest() != pin {
            return Err(LightError::OtherPin);
        }
        let (height, epoch) = (header.height, header.epoch);
        if !schedule.is_border(height) || schedule.epoch_of(height) != epoch {
            return Err(LightError::NoBorder { height, epoch });
        }
        let no_committee = LightError::Committee { epoch: epoch + 1 };
        let seats = pinned.committee.iter().map(Member::seat).collect();
        let committee = Committee::new(epoch + 1, seats).filter(|next| next.hash(chain) == header.next_committee);
        let committee = committee.ok_or(no_committee.clone())?;
        Ok(Self {
            chain,
            namespace: Namespace::of(chain),
            schedule,
            keys: BallotKeys::of(&committee).map_err(|_| no_committee)?,
            committee,
            behind: Some(pinned.header),
        })
    }

    /// Where another client may begin to be where this one is; `None` in the first epoch, where that is genesis.
    pub fn pinned(&self) -> Option<Pinned> {
        Some(Pinned {
            chain: self.chain,
            header: self.behind?,
            committee: self.committee.seats().iter().map(Member::from).collect(),
        })
    }
}
