//! One contract through its cycle: timetable, seals, marks, book, deals, readings (MARKET 2, DETAILS 4, 5).

use crate::accounts::{AccountIndex, Accounts};
use crate::book::{Book, Standing};
use crate::lookup::Lookup;
use crate::page::Changed;
use crate::round::Place;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use wattbook_types::command::Reading;
use wattbook_types::{
    ContractId, Deal, DealPrice, Energy, Hash, MicroPrice, Money, OrderId, Param, Params, ParticipantId, Phase, Price,
    Reveal, Side, TimeNs,
};

/// A seal waiting for its reveal.
#[derive(Clone, Debug)]
pub struct SealState {
    /// Nonce of the seal's envelope: names the revealed orders, orders the reveals.
    pub nonce: u64,
    /// What was committed to.
    pub commitment: Hash,
    /// The bond.
    pub bond: Money,
    /// Whether the bond is locked: set when SEAL closes.
    pub locked: bool,
    /// The matching reveal, once recorded.
    pub reveal: Option<Reveal>,
}

/// What a participant has at stake in a contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// Energy sold in deals that stand.
    pub sold: Energy,
    /// Energy bought in deals that stand.
    pub bought: Energy,
    /// Energy in open asks.
    pub open_asks: Energy,
    /// Per side: an order of at least the minimum lot was accepted.
    pub entered: [bool; 2],
    /// A sealed commitment was declined.
    pub declined: bool,
}

/// Concession mark of a participant on a side (MARKET 2.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Record of the latest envelope that set it; `u64::MAX`: none has.
    pub seq: u64,
    /// Mark before that envelope: what its own quotes are held to.
    pub before: Price,
    /// Worst price accepted in it.
    pub now: Price,
}

impl Mark {
    /// What every price of a side concedes to.
    const fn none(side: Side) -> Self {
        let loosest = match side {
            Side::Buy => Price::new(i32::MIN),
            Side::Sell => Price::new(i32::MAX),
        };
        Self {
            seq: u64::MAX,
            before: loosest,
            now: loosest,
        }
    }

    /// What a quote of record `seq` must be at or better than.
    pub const fn bound(&self, seq: u64) -> Price {
        if self.seq == seq { self.before } else { self.now }
    }
}

/// What a participant has at stake in a contract, and what its next quote is held to: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Stake {
    /// From its first accepted order or deal on.
    pub(crate) position: Option<Position>,
    /// Concession marks, by side.
    pub(crate) marks: [Mark; 2],
}

const _: () = assert!(size_of::<Stake>() == 64);

impl Default for Stake {
    fn default() -> Self {
        Self {
            position: None,
            marks: [Side::Buy, Side::Sell].map(Mark::none),
        }
    }
}

/// Where a deal stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum DealStatus {
    /// Made; waits for the grid company.
    Made = 1,
    /// Countersigned: a contract.
    Contracted = 2,
    /// Not countersigned in time.
    Voided = 3,
    /// Settled by meter.
    Settled = 4,
}

/// A deal and what is held for it.
#[derive(Clone, Debug)]
pub struct DealState {
    /// The deal.
    pub deal: Deal,
    /// Its id.
    pub id: Hash,
    /// Where it stands.
    pub status: DealStatus,
    /// Held by the buyer.
    pub buyer_escrow: Money,
    /// Held by the seller.
    pub seller_escrow: Money,
    /// Metered energy of the buyer for this deal, once settled.
    pub buyer_delivered: Energy,
    /// Metered energy of the seller for this deal, once settled.
    pub seller_delivered: Energy,
    /// Rating of the buyer by the seller, and of the seller by the buyer.
    pub ratings: [Option<bool>; 2],
}

/// Deals of one block, waiting for the grid company.
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// First ordinal.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// What must be signed.
    pub digest: Hash,
    /// Last instant to sign.
    pub deadline: TimeNs,
}

/// A border of the timetable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Border {
    /// SEAL of a round closes, REVEAL opens.
    SealCloses,
    /// REVEAL closes: RANK, RANGE, FORECAST, BROADCAST.
    RevealCloses,
    /// MATCH.
    Match,
    /// CONTRACT: the book trades.
    Contract,
    /// SEAL of the next round opens.
    SealOpens,
    /// Gate closure.
    GateCloses,
    /// Delivery starts.
    Delivery,
    /// Readings are taken.
    Metering,
    /// Settlement.
    Settle,
    /// Close.
    Close,
}

/// A contract between gate opening and close.
#[derive(Clone, Debug)]
pub struct Contract {
    /// Which.
    pub id: ContractId,
    /// The parameters of its cycle, fixed at gate opening.
    pub params: Params,
    /// Its phase.
    pub phase: Phase,
    /// The round under way or last run, from 1.
    pub round: u16,
    /// Whether trading is halted.
    pub halted: bool,
    /// What a bid must exceed.
    pub floor: Option<DealPrice>,
    /// Last CEP of the preceding cycle.
    pub previous_cep: Option<MicroPrice>,
    /// CEP now.
    pub cep: Option<MicroPrice>,
    /// Reputation and percentile of everyone active at gate opening.
    pub standing: BTreeMap<ParticipantId, Standing>,
    /// The same by account, for as many as there were.
    standing_by_account: Vec<Standing>,
    /// Seals of the round under way.
    pub seals: BTreeMap<ParticipantId, SealState>,
    /// Digest of the round's revealed salts, from RANK on.
    pub salts: Vec<u8>,
    /// Place and range per side, fixed at RANK.
    pub places: [BTreeMap<ParticipantId, Place>; 2],
    /// Resting orders.
    pub book: Book,
    /// Instants at which orders expire.
    pub expiries: BTreeSet<(TimeNs, wattbook_types::OrderId)>,
    /// Stakes by account; grows with the accounts that get one.
    stakes: Vec<Stake>,
    /// Every deal, by ordinal.
    pub deals: Vec<DealState>,
    /// Ordinals of deals by id, up to the last [`Self::index_deals`].
    deal_index: Lookup,
    /// First deal not yet part of a sealed block.
    pub unsealed_from: usize,
    /// Time of the earliest deal not yet part of a sealed block.
    pub unsealed_since: TimeNs,
    /// Deals that wait for the grid company, by block.
    pub batches: BTreeMap<u64, Batch>,
    /// Deals that count for the CEP: the preceding cycle's tail, then this cycle's.
    pub trail: VecDeque<(DealPrice, Energy)>,
    /// How many of `trail` belong to this cycle.
    pub trail_own: usize,
    /// Lowest deal price that counts for the floor.
    pub low: Option<DealPrice>,
    /// Highest quote seen, for the adaptive CEP.
    pub highest_quote: Option<Price>,
    /// Readings by meter.
    pub readings: BTreeMap<u64, Reading>,
    /// What changed since the last root.
    pub(crate) changed: Changed,
}

/// Opens before its delivery start: gate opening of a contract under `params`.
pub fn gate_opening(id: ContractId, params: &Params) -> TimeNs {
    id.delivery_start().plus_secs(-params.get(Param::GateOpenS))
}

impl Contract {
    /// A contract at gate opening, its first SEAL open.
    pub fn new(id: ContractId, params: Params) -> Self {
        Self {
            id,
            book: Book::new(&params),
            params,
            phase: Phase::Seal,
            round: 1,
            halted: false,
            floor: None,
            previous_cep: None,
            cep: None,
            standing: BTreeMap::new(),
            standing_by_account: Vec::new(),
            seals: BTreeMap::new(),
            salts: Vec::new(),
            places: [BTreeMap::new(), BTreeMap::new()],
            expiries: BTreeSet::new(),
            stakes: Vec::new(),
            deals: Vec::new(),
            deal_index: Lookup::default(),
            unsealed_from: 0,
            unsealed_since: TimeNs::ZERO,
            batches: BTreeMap::new(),
            trail: VecDeque::new(),
            trail_own: 0,
            low: None,
            highest_quote: None,
            readings: BTreeMap::new(),
            changed: Changed::default(),
        }
    }

    /// The next border of the timetable and its time; `None` once closed.
    pub fn next_border(&self) -> Option<(TimeNs, Border)> {
        let p = |param| self.params.get(param);
        let round_start = gate_opening(self.id, &self.params).plus_secs((i64::from(self.round) - 1) * p(Param::RoundS));
        let delivery = self.id.delivery_start();
        Some(match self.phase {
            Phase::Seal => (round_start.plus_secs(p(Param::SealS)), Border::SealCloses),
            Phase::Reveal => (round_start.plus_secs(p(Param::RevealS)), Border::RevealCloses),
            Phase::Ranked => (round_start.plus_secs(p(Param::MatchS)), Border::Match),
            Phase::Matched => (round_start.plus_secs(p(Param::ContractS)), Border::Contract),
            Phase::Continuous if i64::from(self.round) < p(Param::Rounds) => {
                (round_start.plus_secs(p(Param::RoundS)), Border::SealOpens)
            }
            Phase::Continuous => (delivery.plus_secs(-p(Param::GateCloseS)), Border::GateCloses),
            Phase::GateClosed => (delivery, Border::Delivery),
            Phase::Delivering => (delivery.plus_secs(p(Param::MeterS)), Border::Metering),
            Phase::Metering => (delivery.plus_secs(p(Param::SettleS)), Border::Settle),
            Phase::Settled => (delivery.plus_secs(p(Param::CloseS)), Border::Close),
            Phase::Closed => return None,
        })
    }

    /// Whether the book takes quotes: from the first CONTRACT, but not from RANK to CONTRACT.
    pub fn book_is_open(&self) -> bool {
        match self.phase {
            Phase::Continuous => true,
            Phase::Seal | Phase::Reveal => self.round > 1,
            _ => false,
        }
    }

    /// Fixes the standing of an account at gate opening.
    pub(crate) fn rank_account(&mut self, at: AccountIndex, participant: ParticipantId, standing: Standing) {
        self.standing.insert(participant, standing);
        let len = self.standing_by_account.len();
        if len <= at.slot() {
            self.standing_by_account.resize(at.slot() + 1, Standing::UNRANKED);
            self.changed.standing.mark_rows(len, at.slot());
        }
        self.standing_by_account[at.slot()] = standing;
        self.changed.standing.mark_row(at.slot());
    }

    /// The book, which has been told of an account.
    #[inline]
    pub(crate) fn book_for(&mut self, at: AccountIndex, accounts: &Accounts) -> &mut Book {
        if !self.book.knows(at) {
            self.book
                .know(at, &self.standing_by_account, |at| accounts.at(at).group);
        }
        &mut self.book
    }

    /// Standing by account, for as many as there were at gate opening.
    pub(crate) fn standing_by_account(&self) -> &[Standing] {
        &self.standing_by_account
    }

    /// Whether a quote of record `seq` concedes enough.
    pub fn concedes(&self, at: AccountIndex, side: Side, price: Price, seq: u64) -> bool {
        let stake = self.stakes.get(at.slot());
        stake.is_none_or(|stake| side.concedes(price, stake.marks[side.index()].bound(seq)))
    }

    /// Lets an accepted quote of record `seq` set the mark.
    pub(crate) fn mark(&mut self, at: AccountIndex, side: Side, price: Price, seq: u64) {
        let mark = &mut self.stake_mut(at).marks[side.index()];
        if mark.seq != seq {
            *mark = Mark {
                seq,
                before: mark.now,
                now: price,
            };
        } else if side.concedes(mark.now, price) {
            mark.now = price;
        }
    }

    /// Reads what an item about an order of an account will need.
    #[inline]
    pub(crate) fn glance(&self, at: AccountIndex, order: &OrderId) {
        if let Some(stake) = self.stakes.get(at.slot()) {
            core::hint::black_box(stake.marks[0].seq);
        }
        self.book.glance(order);
    }

    fn stake_mut(&mut self, at: AccountIndex) -> &mut Stake {
        let len = self.stakes.len();
        if len <= at.slot() {
            self.stakes.resize(at.slot() + 1, Stake::default());
            self.changed.stakes.mark_rows(len, at.slot());
        }
        self.changed.stakes.mark_row(at.slot());
        &mut self.stakes[at.slot()]
    }

    /// Stakes by account.
    pub(crate) fn stakes(&self) -> &[Stake] {
        &self.stakes
    }

    /// Puts back the stakes of accounts, which have none yet.
    pub(crate) fn restore_stakes(&mut self, stakes: Vec<Stake>) {
        if let Some(last) = stakes.len().checked_sub(1) {
            self.changed.stakes.mark_rows(0, last);
        }
        self.stakes = stakes;
    }

    /// An account's position, to change.
    pub(crate) fn position_mut(&mut self, at: AccountIndex) -> &mut Position {
        self.stake_mut(at).position.get_or_insert_default()
    }

    /// An account's position, if it ever had one.
    pub fn position_of(&self, at: AccountIndex) -> Option<Position> {
        self.stakes.get(at.slot()).and_then(|stake| stake.position)
    }

    /// An account's position.
    pub fn position(&self, at: AccountIndex) -> Position {
        self.position_of(at).unwrap_or_default()
    }

    /// Every position, by account.
    pub fn positions(&self) -> impl Iterator<Item = (AccountIndex, &Position)> {
        let places = (0..).map(AccountIndex::new);
        let positions = places.zip(&self.stakes);
        positions.filter_map(|(at, stake)| Some((at, stake.position.as_ref()?)))
    }

    /// Books a deal under the next ordinal.
    pub(crate) fn add_deal(&mut self, state: DealState) {
        let ordinal = self.deals.len();
        self.changed.deals.mark_row(ordinal);
        self.deals.push(state);
    }

    /// Adds the deals since the last call to the index: many at once, so that its cache misses overlap.
    pub(crate) fn index_deals(&mut self) {
        for ordinal in self.deal_index.len()..self.deals.len() {
            let key = self.deals[ordinal].id.prefix_u64();
            self.deal_index.insert(key, ordinal as u32);
        }
    }

    /// Ordinal of a deal that [`Self::index_deals`] has seen.
    pub(crate) fn ordinal(&self, id: &Hash) -> Option<usize> {
        let found = self
            .deal_index
            .find(id.prefix_u64(), |ordinal| self.deals[ordinal as usize].id == *id);
        found.map(|ordinal| ordinal as usize)
    }

    /// A deal, to change.
    pub(crate) fn deal_mut(&mut self, ordinal: usize) -> &mut DealState {
        self.changed.deals.mark_row(ordinal);
        &mut self.deals[ordinal]
    }

    /// Height and deadline of the first batch that waits for the grid company. A later block's deadline is no earlier.
    pub fn first_batch(&self) -> Option<(u64, TimeNs)> {
        let (height, batch) = self.batches.first_key_value()?;
        Some((*height, batch.deadline))
    }

    /// Counts a deal for CEP and floor; the trail keeps the last n of this cycle, topped up from the one before.
    pub fn count_deal(&mut self, price: DealPrice, energy: Energy) {
        let n = self.params.get(Param::CepDeals) as usize;
        self.trail.push_back((price, energy));
        while self.trail.len() > n {
            self.trail.pop_front();
        }
        self.trail_own = (self.trail_own + 1).min(n);
        self.low = Some(self.low.map_or(price, |low| low.min(price)));
    }

    /// This cycle's own part of the trail, which tops up the next cycle's.
    pub fn own_trail(&self) -> VecDeque<(DealPrice, Energy)> {
        self.trail
            .iter()
            .skip(self.trail.len() - self.trail_own)
            .copied()
            .collect()
    }
}
