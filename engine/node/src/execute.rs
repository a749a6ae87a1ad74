//! Execution of records: the one path by which a running node, `replay` and `verify` turn records into state.

pub mod ahead;

use crate::evidence::EvidenceRecord;
use thiserror::Error;
use wattbook_feed::sbe::encode_public;
use wattbook_feed::signed::{
    Alias, Genesis, GenesisDelegate, GenesisError, RegisterRecord, RevealRecord, SealedEnvelope, decode_tick,
    record_kind,
};
use wattbook_ledger::{BlockHeader, GenesisRoots};
use wattbook_market::{BadTurn, BlockEnd, Market, Refusal};
use wattbook_types::committee::dpos_hash_alone;
use wattbook_types::delegate::DelegateKeys;
use wattbook_types::tree::{self, Frontier};
use wattbook_types::{ChainId, Command, Event, Hash, ParticipantId, Reject, Sequenced, Turn};

/// Why genesis cannot start a market.
#[derive(Debug, Error)]
pub enum StartError {
    /// The bytes are no genesis.
    #[error("genesis.bin is not a genesis: {0}")]
    Genesis(#[from] GenesisError),
    /// An account or a parameter of it cannot stand.
    #[error("genesis.bin cannot start a market: {0}")]
    Market(Reject),
    /// The image is no state of a market.
    #[error(transparent)]
    Image(#[from] wattbook_market::Unfit),
    /// The image is of another chain.
    #[error("the image is of another chain")]
    OtherChain,
}

/// A market and the chain it belongs to.
#[derive(Clone, Debug)]
pub struct Executor {
    market: Market,
    chain: ChainId,
    genesis: Genesis,
    /// Where events are written; empty between commands.
    written: Vec<Event>,
}

/// What a block's end says.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Events of the end itself, with the last record's number.
    pub events: Vec<Sequenced>,
    /// Root of the state.
    pub state_root: Hash,
    /// Digest of the parameters in force.
    pub params_hash: Hash,
    /// Digest of the delegates as they stand.
    pub dpos_hash: Hash,
    /// Digest of the next committee; zero but at an epoch's last block.
    pub next_committee: Hash,
}

impl Executor {
    /// The market at genesis, and what block 0 says.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(genesis_bytes: &[u8]) -> Result<(Self, GenesisRoots), StartError> {
        let genesis = Genesis::decode(genesis_bytes)?;
        genesis.verify()?;
        let chain = wattbook_feed::signed::genesis::chain_id(genesis_bytes);
        let params = genesis.to_params()?;
        let time = genesis.time;
        let start = wattbook_market::Genesis {
            chain,
            area: genesis.area,
            time,
            params,
            accounts: genesis.registrations(),
        };
        let seats: Vec<_> = genesis.delegates.iter().map(seat).collect();
        let market = match seats.is_empty() {
            true => Market::new(start),
            false => Market::with_committee(start, &seats),
        };
        let market = market.map_err(StartError::Market)?;
        let mut executor = Self::of(market, chain, genesis);
        let roots = GenesisRoots {
            time_ns: time,
            state_root: executor.market.root(),
            event_root: tree::empty_root(),
            params_hash: executor.params_hash(),
            dpos_hash: executor.market.dpos_hash(),
        };
        Ok((executor, roots))
    }

    /// The market of an image; whoever has it holds [`Self::root`] against the image's block.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn restore(genesis_bytes: &[u8], image: &[u8]) -> Result<Self, StartError> {
        let genesis = Genesis::decode(genesis_bytes)?;
        let chain = wattbook_feed::signed::genesis::chain_id(genesis_bytes);
        let market = Market::restore(image)?;
        if market.state().chain != chain {
            return Err(StartError::OtherChain);
        }
        Ok(Self::of(market, chain, genesis))
    }

    const fn of(market: Market, chain: ChainId, genesis: Genesis) -> Self {
        Self {
            market,
            chain,
            genesis,
            written: Vec::new(),
        }
    }

    /// Asks for an image of the state, which some block's end will complete.
    pub fn begin_image(&mut self) {
        self.market.begin_image(wattbook_market::image::PART_SIZE);
    }

    /// The image that the last block's end completed.
    pub fn take_image(&mut self) -> Option<wattbook_market::Image> {
        self.market.take_image()
    }

    /// Root of the state.
    pub fn root(&mut self) -> Hash {
        self.market.root()
    }

    /// The market.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// The chain.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// Its genesis.
    pub const fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Digest of the parameters in force.
    pub fn params_hash(&self) -> Hash {
        self.market.state().params.digest(self.chain)
    }

    /// Applies a command as record `seq`.
    ///
    /// # Errors
    /// The refusal of a command that is not to be recorded.
    pub fn apply(&mut self, seq: u64, command: &Command) -> Result<Vec<Sequenced>, Refusal> {
        self.market.apply_into(seq, command, &mut self.written)?;
        Ok(sequenced(seq, self.written.drain(..)))
    }

    /// Ends the block `height` of a node alone, whose last record was `seq`.
    pub fn end_block(&mut self, height: u64, seq: u64) -> Ended {
        let events = self.market.end_block(height);
        self.ended(seq, events, self.market.dpos_hash(), Hash::ZERO)
    }

    /// Ends the block of this header, whose last record was `seq`.
    ///
    /// # Errors
    /// [`BadTurn`]; nothing has changed then.
    pub fn end_block_of(&mut self, header: &BlockHeader, seq: u64) -> Result<Ended, BadTurn> {
        let producer = match self.market.committee() {
            None => ParticipantId::new(u64::from(header.producer)),
            Some(committee) => {
                let seat = usize::try_from(header.producer)
                    .ok()
                    .and_then(|rank| committee.seats().get(rank));
                seat.map_or(ParticipantId::new(0), |seat| seat.participant)
            }
        };
        let BlockHeader {
            height, epoch, view, ..
        } = *header;
        let turn = Turn {
            height,
            epoch,
            view,
            producer,
        };
        self.end_block_by(&turn, seq)
    }

    /// Ends the block of this turn, whose last record was `seq`.
    ///
    /// # Errors
    /// [`BadTurn`]; nothing has changed then.
    pub fn end_block_by(&mut self, turn: &Turn, seq: u64) -> Result<Ended, BadTurn> {
        let BlockEnd {
            events,
            dpos_hash,
            next_committee,
        } = self.market.end_block_by(turn)?;
        Ok(self.ended(seq, events, dpos_hash, next_committee))
    }

    fn ended(&mut self, seq: u64, events: Vec<Event>, dpos_hash: Hash, next_committee: Hash) -> Ended {
        Ended {
            events: sequenced(seq, events.into_iter()),
            state_root: self.market.root(),
            params_hash: self.params_hash(),
            dpos_hash,
            next_committee,
        }
    }
}

/// A seat of committee 0.
fn seat(delegate: &GenesisDelegate) -> (ParticipantId, DelegateKeys) {
    let keys = DelegateKeys {
        peer_key: delegate.ed25519,
        ballot_key: delegate.bls,
    };
    (delegate.participant, keys)
}

fn sequenced(seq: u64, events: impl Iterator<Item = Event>) -> Vec<Sequenced> {
    events.map(|event| Sequenced { seq, event }).collect()
}

/// The delegates' state of a node that runs alone (DETAILS 2).
pub fn dpos_hash(chain: ChainId) -> Hash {
    dpos_hash_alone(chain)
}

/// Decodes the payload of a record into its command; signatures are not checked here.
///
/// # Errors
/// [`Reject::UnknownMessage`] for another kind or version, or what the payload's decoder says.
pub fn decode_record(chain: ChainId, kind: u16, version: u16, payload: &[u8]) -> Result<Command, Reject> {
    if version != record_kind::VERSION {
        return Err(Reject::UnknownMessage);
    }
    match kind {
        record_kind::REGISTER => RegisterRecord::decode(payload)?
            .to_registration()
            .map(Command::Register),
        record_kind::ENVELOPE => SealedEnvelope::decode_command(chain, payload).map(Command::Envelope),
        record_kind::REVEAL => RevealRecord::decode(payload)?.to_command(chain).map(Command::Reveal),
        record_kind::TICK => decode_tick(payload).map(Command::Tick),
        record_kind::EVIDENCE => EvidenceRecord::decode(payload).map(|record| record.to_command(chain)),
        _ => Err(Reject::UnknownMessage),
    }
}

/// Root and number of the public events of a block.
#[derive(Debug)]
pub struct EventTree {
    frontier: Frontier,
    scratch: Vec<u8>,
}

impl EventTree {
    /// Over no events yet.
    pub const fn new() -> Self {
        Self {
            frontier: Frontier::new(),
            scratch: Vec::new(),
        }
    }

    /// Adds the public form of an event, if it has one.
    pub fn push(&mut self, event: &Sequenced, alias: &Alias) {
        self.scratch.clear();
        if encode_public(event, alias, &mut self.scratch) {
            self.frontier.push(tree::leaf_hash(&self.scratch));
        }
    }

    /// Adds an event by its public form.
    pub fn push_public(&mut self, message: &[u8]) {
        self.frontier.push(tree::leaf_hash(message));
    }

    /// Number of public events.
    pub const fn count(&self) -> u64 {
        self.frontier.size()
    }

    /// Their root.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }
}

impl Default for EventTree {
    fn default() -> Self {
        Self::new()
    }
}
