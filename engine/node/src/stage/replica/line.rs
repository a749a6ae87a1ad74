//! A market and the headers behind it, moved on block by block: what a block on it must say.

use super::form;
use super::pool::digest_of;
use super::receipts::name_of;
use crate::execute::{Ended, EventTree, Executor, decode_record};
use crate::stage::Announced;
use std::sync::Arc;
use thiserror::Error;
use wattbook_feed::signed::{Alias, record_kind, tick_payload};
use wattbook_ledger::{Anchor, BlockDraft, BlockHeader, Lead, Record};
use wattbook_market::{BadTurn, Market, Refusal};
use wattbook_types::{Command, Hash, ParticipantId, Reject, Sequenced, TimeNs, Turn};

/// Why a block cannot stand on a line.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Misfit {
    /// Bytes that are no block.
    #[error("its bytes are no block")]
    Bytes,
    /// A record that is not understood or that the market refuses.
    #[error("record {seq} is refused: {reject}")]
    Record {
        /// The record.
        seq: u64,
        /// Why.
        reject: Reject,
    },
    /// Ticks that do not ascend to the block's time.
    #[error("its Ticks do not ascend to its time")]
    Ticks,
    /// A signature that does not hold.
    #[error("record {seq} is not signed as it says")]
    Signature {
        /// The record.
        seq: u64,
    },
    /// A turn that is not its producer's.
    #[error("{0}")]
    Turn(#[from] BadTurn),
    /// A command left out that the market takes and that more than f delegates have long seen.
    #[error("it leaves out what delegates have seen")]
    Omission,
    /// Two commands the other way round than its leader's receipts have them.
    #[error("it holds what has place {places:?} in its leader's receipts of epoch and term {of:?} in that order")]
    Order {
        /// Epoch and term.
        of: (u64, u64),
        /// The places, as the block has them.
        places: [u64; 2],
    },
    /// Commands of a leader that gives no receipts.
    #[error("its leader has long given no receipts for what it records")]
    Unreceipted,
    /// A header that says other than what execution gives.
    #[error("its {0} does not follow from its records")]
    Header(&'static str),
}

/// A market after a block, and the headers up to it.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    executor: Executor,
    anchor: Anchor,
}

/// A block under way on a line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Open {
    /// Kind and payload of its records.
    pub(crate) records: Vec<(u16, Vec<u8>)>,
    /// Bytes of the payloads.
    pub(crate) size: usize,
    events: Vec<Sequenced>,
}

/// What execution of a block gave.
#[derive(Debug)]
pub(crate) struct Executed {
    /// Its header.
    pub(crate) header: BlockHeader,
    /// Its digest.
    pub(crate) digest: Hash,
    /// Its events, in sequence.
    pub(crate) events: Arc<Announced>,
    /// What names its commands, Ticks aside.
    pub(crate) commands: Vec<Hash>,
    /// What its leader's receipts call those that have a place in them.
    pub(crate) names: Vec<Hash>,
}

impl Line {
    pub(crate) const fn new(executor: Executor, anchor: Anchor) -> Self {
        Self { executor, anchor }
    }

    pub(crate) const fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Height of the last block.
    pub(crate) const fn height(&self) -> u64 {
        self.anchor.height()
    }

    /// Digest of the last block.
    pub(crate) const fn digest(&self) -> Hash {
        self.anchor.digest()
    }

    /// Number of the next record.
    pub(crate) fn next_seq(&self) -> u64 {
        self.anchor.header().next_seq().unwrap_or(u64::MAX)
    }

    /// Asks for an image of the state, which some block's end will complete.
    pub(crate) fn begin_image(&mut self) {
        self.executor.begin_image();
    }

    /// The image that the last block's end completed.
    pub(crate) fn take_image(&mut self) -> Option<wattbook_market::Image> {
        self.executor.take_image()
    }

    /// Applies a command as the next record of the block under way.
    pub(crate) fn apply(
        &mut self,
        open: &mut Open,
        command: &Command,
        kind: u16,
        payload: &[u8],
    ) -> Result<(), Refusal> {
        let seq = self.next_seq() + open.records.len() as u64;
        let events = self.executor.apply(seq, command)?;
        open.events.extend(events);
        open.size += payload.len();
        open.records.push((kind, payload.to_vec()));
        Ok(())
    }

    /// Moves time on, in steps that the market takes.
    pub(crate) fn tick_to(&mut self, open: &mut Open, time: TimeNs) -> Result<(), Refusal> {
        loop {
            let state = self.executor.market().state();
            let farthest = state.time.get().saturating_add(wattbook_market::TICK_MAX_NS);
            let next = time.min(TimeNs::new(farthest));
            self.apply(open, &Command::Tick(next), record_kind::TICK, &tick_payload(next))?;
            if next == time {
                return Ok(());
            }
        }
    }

    /// Ends the block under way in this turn, by the producer of this rank, and moves behind it; its bytes.
    pub(crate) fn seal(
        &mut self,
        mut open: Open,
        turn: &Turn,
        producer: u32,
        alias: &Alias,
    ) -> Result<(Executed, Vec<u8>), BadTurn> {
        let last = (self.next_seq() + open.records.len() as u64).saturating_sub(1);
        let ended = self.executor.end_block_by(turn, last)?;
        open.events.extend_from_slice(&ended.events);
        let records = numbered(self.next_seq(), &open.records);
        let events = Arc::new(Announced::new(core::mem::take(&mut open.events)));
        let time = self.executor.market().state().time;
        let lead = Lead {
            producer,
            epoch: turn.epoch,
            view: turn.view,
            next_committee: ended.next_committee,
        };
        let header = self.anchor.seal(&draft(time, &records, &events, alias, &ended, lead));
        let bytes = form::encode(&header, &records);
        Ok((self.advance(header, events, &records), bytes))
    }

    /// Executes a block whose parent is the last one, and moves behind it if everything it says follows.
    ///
    /// # Errors
    /// [`Misfit`], after which the line is good for nothing.
    pub(crate) fn execute(
        &mut self,
        header: &BlockHeader,
        records: &[Record<'_>],
        alias: &Alias,
    ) -> Result<Executed, Misfit> {
        self.execute_owing(header, records, &[], alias)
    }

    /// As [`Self::execute`], of a block in which the market must not find room for one of the commands `owed`.
    pub(crate) fn execute_owing(
        &mut self,
        header: &BlockHeader,
        records: &[Record<'_>],
        owed: &[&Command],
        alias: &Alias,
    ) -> Result<Executed, Misfit> {
        let chain = self.executor.chain();
        let mut events = Vec::new();
        let mut ticked = self.executor.market().state().time;
        for Record {
            kind,
            version,
            seq,
            payload,
        } in records
        {
            let refused = |reject| Misfit::Record { seq: *seq, reject };
            let command = decode_record(chain, *kind, *version, payload).map_err(refused)?;
            if let Command::Tick(time) = command {
                if time <= ticked {
                    return Err(Misfit::Ticks);
                }
                ticked = time;
            }
            let applied = self.executor.apply(*seq, &command);
            events.extend(applied.map_err(|refusal| refused(refusal.reject))?);
        }
        if ticked != header.time {
            return Err(Misfit::Ticks);
        }
        let market = self.executor.market();
        let leader = producer(market, header);
        let may_pack = |command: &Command| leader.is_none_or(|leader| market.may_pack(leader, command));
        if owed
            .iter()
            .any(|command| may_pack(command) && market.admits(command).is_ok())
        {
            return Err(Misfit::Omission);
        }
        let last = (header.first_seq + header.record_count).saturating_sub(1);
        let ended = self.executor.end_block_of(header, last)?;
        events.extend_from_slice(&ended.events);
        let events = Arc::new(Announced::new(events));
        let lead = Lead {
            producer: header.producer,
            epoch: header.epoch,
            view: header.view,
            next_committee: ended.next_committee,
        };
        let ours = self
            .anchor
            .seal(&draft(header.time, records, &events, alias, &ended, lead));
        let checks = [
            (ours.parent == header.parent, "parent"),
            (ours.height == header.height, "height"),
            (ours.first_seq == header.first_seq, "first record"),
            (ours.record_root == header.record_root, "record root"),
            (ours.event_root == header.event_root, "event root"),
            (ours.state_root == header.state_root, "state root"),
            (ours.log_root == header.log_root, "log root"),
            (ours.params_hash == header.params_hash, "parameter digest"),
            (ours.dpos_hash == header.dpos_hash, "delegates' digest"),
            (ours.next_committee == header.next_committee, "next committee"),
            (ours == *header, "header"),
        ];
        if let Some((_, what)) = checks.into_iter().find(|(holds, _)| !holds) {
            return Err(Misfit::Header(what));
        }
        Ok(self.advance(*header, events, records))
    }

    fn advance(&mut self, header: BlockHeader, events: Arc<Announced>, records: &[Record<'_>]) -> Executed {
        let digest = header.digest();
        // Where the block will lie is the ledger's affair.
        self.anchor.advance(&header, digest, 0);
        let chain = self.executor.chain();
        let names = records
            .iter()
            .filter_map(|record| name_of(chain, record.kind, record.payload));
        let names = names.collect();
        let commands = records.iter().filter(|record| record.kind != record_kind::TICK);
        let commands = commands.map(|record| digest_of(record.kind, record.payload)).collect();
        Executed {
            header,
            digest,
            events,
            commands,
            names,
        }
    }
}

/// Who made a block of the epoch under way.
pub(crate) fn producer(market: &Market, header: &BlockHeader) -> Option<ParticipantId> {
    let rank = usize::try_from(header.producer).ok()?;
    Some(market.committee()?.seats().get(rank)?.participant)
}

fn numbered(first: u64, records: &[(u16, Vec<u8>)]) -> Vec<Record<'_>> {
    let numbered = (first..).zip(records);
    numbered
        .map(|(seq, (kind, payload))| Record {
            kind: *kind,
            version: record_kind::VERSION,
            seq,
            payload,
        })
        .collect()
}

fn draft<'a>(
    time_ns: TimeNs,
    records: &'a [Record<'a>],
    events: &Announced,
    alias: &Alias,
    ended: &Ended,
    lead: Lead,
) -> BlockDraft<'a> {
    let mut tree = EventTree::new();
    events
        .public(alias)
        .events()
        .for_each(|message| tree.push_public(message));
    BlockDraft {
        time_ns,
        records,
        event_count: tree.count(),
        event_root: tree.root(),
        state_root: ended.state_root,
        params_hash: ended.params_hash,
        dpos_hash: ended.dpos_hash,
        lead: Some(lead),
    }
}
