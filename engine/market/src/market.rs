//! The door of the core.

use crate::account::Account;
use crate::accounts::{AccountIndex, Party};
use crate::contract::gate_opening;
use crate::contracts::Contracts;
use crate::state::State;
use wattbook_types::command::Cancel;
use wattbook_types::ids::PERIOD_S;
use wattbook_types::{
    ChainId, Command, ContractId, Envelope, Event, Hash, Item, OrderId, Param, Params, Registration, Reject, TimeNs,
    Turn, digest, tree,
};

/// What a chain starts from.
#[derive(Clone, Debug)]
pub struct Genesis {
    /// Digest of the genesis bytes.
    pub chain: ChainId,
    /// Delivery area.
    pub area: u16,
    /// Genesis time.
    pub time: TimeNs,
    /// Parameters.
    pub params: Params,
    /// Accounts that stand in genesis.
    pub accounts: Vec<Registration>,
}

/// Why a command was refused whole; it changed nothing and is not recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The answer.
    pub reject: Reject,
    /// With [`Reject::Duplicate`], the record that used the nonce, where it is known.
    pub original_seq: u64,
}

impl From<Reject> for Refusal {
    fn from(reject: Reject) -> Self {
        Self {
            reject,
            original_seq: 0,
        }
    }
}

/// The market.
#[derive(Clone, Debug)]
pub struct Market {
    pub(crate) state: State,
    /// Events of the command under way.
    pub(crate) out: Vec<Event>,
    /// Sequence number of the command under way.
    pub(crate) seq: u64,
    /// What the book said of the order under way; empty between orders.
    pub(crate) records: Vec<wattbook_book::Record>,
    /// Time of the last Tick. While that Tick runs its borders, [`State::time`] is that of the border under way; what
    /// somebody must answer is due from here, since nobody could answer earlier.
    pub(crate) ticked: TimeNs,
    /// Ends of blocks so far: tells the items of the block under way from earlier ones.
    block: u32,
    /// Whether the block under way carries more than Ticks.
    pub(crate) carries: bool,
    /// Accounts that quoted openly in the block under way, where a committee sits.
    pub(crate) quoters: Vec<AccountIndex>,
}

impl Market {
    /// The market at genesis.
    ///
    /// # Errors
    /// The first genesis account that cannot stand, or `MalformedItem` for parameters that contradict each other.
    pub fn new(genesis: Genesis) -> Result<Self, Reject> {
        if genesis.params.check().is_err() {
            return Err(Reject::MalformedItem);
        }
        let state = State::new(genesis.chain, genesis.area, genesis.time, genesis.params);
        let mut market = Self::of_state(state);
        let first_open = genesis.time.plus_secs(market.state.params.get(Param::GateOpenS)).get();
        market.state.next_period = (first_open / (PERIOD_S * wattbook_types::units::NS_PER_S)) as u32 + 1;
        for registration in &genesis.accounts {
            market.open_account(registration, true)?;
        }
        market.out.clear();
        market.assert_conserved_by_touched(0);
        Ok(market)
    }

    /// The market of a state at a block's end.
    pub(crate) fn of_state(state: State) -> Self {
        let ticked = state.time;
        Self {
            state,
            out: Vec::new(),
            seq: 0,
            records: Vec::new(),
            ticked,
            block: 0,
            carries: false,
            quoters: Vec::new(),
        }
    }

    /// What is known.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The state root.
    pub fn root(&mut self) -> Hash {
        self.state.root()
    }

    /// Applies a command as record `seq` and returns its events.
    ///
    /// # Errors
    /// The refusal of a command that is not to be recorded; nothing has changed then.
    ///
    /// # Panics
    /// If the core broke one of its invariants.
    pub fn apply(&mut self, seq: u64, command: &Command) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::new();
        self.apply_into(seq, command, &mut events)?;
        Ok(events)
    }

    /// Applies a command as record `seq` and appends its events to `events`.
    ///
    /// # Errors
    /// The refusal of a command that is not to be recorded; nothing has changed then, nor been appended.
    ///
    /// # Panics
    /// If the core broke one of its invariants.
    pub fn apply_into(&mut self, seq: u64, command: &Command, events: &mut Vec<Event>) -> Result<(), Refusal> {
        self.seq = seq;
        let supply_before = self.state.supply.outstanding();
        let before = events.len();
        core::mem::swap(&mut self.out, events);
        let done = match command {
            Command::Register(registration) => self.register(registration),
            Command::Envelope(envelope) => self.envelope(envelope),
            Command::Reveal(reveal) => self.reveal(reveal),
            Command::Tick(time) => self.tick(*time),
            Command::Evidence(evidence) => self.convict(evidence),
        };
        self.carries |= done.is_ok() && !matches!(command, Command::Tick(_));
        core::mem::swap(&mut self.out, events);
        debug_assert!(done.is_ok() || events.len() == before, "a refusal says nothing");
        self.assert_conserved_by_touched(supply_before);
        done
    }

    /// Ends the block `height` of a node that runs alone: names the deals to countersign and returns those events.
    ///
    /// # Panics
    /// If money or energy is not conserved over the whole state, or a committee sits: then the header says whose turn
    /// it was ([`Self::end_block_by`]).
    pub fn end_block(&mut self, height: u64) -> Vec<Event> {
        let ended = self.end_block_by(&Turn::alone(height));
        ended.expect("INVARIANT: a committee's blocks end by turn").events
    }

    /// Closes a block once its turn has been taken.
    pub(crate) fn close_block(&mut self, height: u64) -> Vec<Event> {
        self.state.height = height;
        self.block = self.block.wrapping_add(1);
        let with_deals = self
            .state
            .contracts
            .values()
            .filter(|c| c.unsealed_from < c.deals.len());
        let dealt: Vec<ContractId> = with_deals.map(|contract| contract.id).collect();
        for id in dealt {
            self.seal_deals(id, height);
        }
        assert!(
            self.state.is_conserved(),
            "INVARIANT: points or energy not conserved at height {height}"
        );
        core::mem::take(&mut self.out)
    }

    /// Gives the deals of this block their digest and deadline.
    fn seal_deals(&mut self, id: ContractId, height: u64) {
        let chain = self.state.chain;
        let Some(contract) = self.state.contracts.get_mut(id) else {
            return;
        };
        contract.index_deals();
        let deals = &contract.deals[contract.unsealed_from..];
        let count = deals.len() as u64;
        let root = tree::root_of_hashes(deals.iter().map(|deal| tree::leaf_hash(&deal.id.0)));
        let numbers = [height.to_le_bytes(), id.get().to_le_bytes(), count.to_le_bytes()].concat();
        let deals_digest = digest(chain, "deals", &[&numbers, &root.0]);
        let deadline = contract
            .unsealed_since
            .plus_secs(contract.params.get(Param::CountersignS));
        let first = contract.unsealed_from as u64;
        contract.batches.insert(
            height,
            crate::contract::Batch {
                first,
                count,
                digest: deals_digest,
                deadline,
            },
        );
        contract.unsealed_from = contract.deals.len();
        contract.unsealed_since = TimeNs::ZERO;
        self.out.push(Event::DealsSealed {
            contract: id,
            height,
            count,
            deals_digest,
        });
    }

    pub(crate) fn assert_conserved_by_touched(&mut self, supply_before: i128) {
        let money = self.state.accounts.settle_touched();
        let supply = self.state.supply.outstanding() - supply_before;
        assert_eq!(
            money, supply,
            "INVARIANT: points changed by {money} while the supply changed by {supply}"
        );
    }

    /// Checks the header of an envelope, takes its nonce, applies its items in order.
    fn envelope(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        let id = envelope.participant;
        let accounts = &self.state.accounts;
        let at = accounts.index(id).ok_or(Reject::UnknownParticipant)?;
        let account = accounts.at(at);
        glance(&self.state.contracts, Party { id, at }, envelope);
        core::hint::black_box(account.free);
        account.nonces.glance(envelope.nonce);
        let sent = self.check_envelope(account, envelope)?;
        let accounts = &mut self.state.accounts;
        accounts.admit(at, envelope.nonce, self.seq, self.block, sent);
        self.note_quoter(at, envelope);

        let (who, nonce) = (Party { id, at }, envelope.nonce);
        for (index, item) in (0..).zip(&envelope.items) {
            // The verdict stands before the events it caused.
            let verdict = self.out.len();
            self.out.push(Event::Accepted {
                participant: id,
                nonce,
                index,
            });
            if let Err(reject) = self.item(who, nonce, index, item) {
                debug_assert_eq!(self.out.len(), verdict + 1, "a refused item says nothing else");
                self.out[verdict] = Event::Rejected {
                    participant: id,
                    nonce,
                    index,
                    reject,
                };
            }
        }
        Ok(())
    }

    /// Checks the header of an envelope of this account; how many items the account will have sent in the block then.
    #[inline]
    fn check_envelope(&self, account: &Account, envelope: &Envelope) -> Result<u32, Refusal> {
        let (now, params) = (self.state.time, &self.state.params);
        if envelope.items.is_empty() || envelope.items.len() as i64 > params.get(Param::LeavesMax) {
            return Err(Reject::BadCount.into());
        }
        if envelope.key_version != account.key_version {
            return Err(Reject::WrongKeyVersion.into());
        }
        if envelope.not_after < now {
            return Err(Reject::Expired.into());
        }
        if envelope.not_after.get() - now.get() > params.ttl_ns() {
            return Err(Reject::TtlTooLong.into());
        }
        account
            .nonces
            .check(envelope.nonce)
            .map_err(|(reject, original_seq)| Refusal { reject, original_seq })?;
        if !account.is_admitted(now) {
            return Err(Reject::Suspended.into());
        }
        let items = u32::try_from(envelope.items.len()).unwrap_or(u32::MAX);
        let sent = account.sent_in(self.block);
        if i64::from(sent) + i64::from(items) > params.get(Param::ItemsPerBlock) {
            return Err(Reject::Quota.into());
        }
        Ok(sent + items)
    }

    /// Whether what a participant sends would be recorded as the next record: what [`Self::apply`] would say, changing nothing.
    ///
    /// # Errors
    /// The refusal; `UnknownMessage` of a Tick or evidence, which no participant sends.
    pub fn admits(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Register(registration) => Ok(self.check_registration(registration, false)?),
            Command::Envelope(envelope) => {
                let account = self.state.accounts.get(envelope.participant);
                let account = account.ok_or(Reject::UnknownParticipant)?;
                self.check_envelope(account, envelope).map(drop)
            }
            Command::Reveal(reveal) => Ok(self.check_reveal(reveal)?),
            Command::Tick(_) | Command::Evidence(_) => Err(Reject::UnknownMessage.into()),
        }
    }

    fn item(&mut self, who: Party, nonce: u64, index: u32, item: &Item) -> Result<(), Reject> {
        let name = OrderId {
            participant: who.id,
            nonce,
            index,
        };
        match item {
            Item::Quote(quote) => self.quote(who, name, quote),
            Item::Cancel(cancel) => self.cancel(who, cancel),
            Item::Replace(replace) => self.replace(who, name, replace),
            Item::Seal(seal) => self.seal(who, nonce, seal),
            Item::Rate(rate) => self.rate(who, rate),
            Item::Grid(grid) => self.countersign(who, grid),
            Item::Meter(reading) => self.read_meter(who, reading),
            Item::Configure(configure) => self.configure(who, configure),
            Item::Order(order) => self.market_order(who, order),
            Item::Vote(vote) => self.vote(who, vote),
            Item::Emission(statement) => self.state_emission(who, statement),
            Item::Candidacy(candidacy) => self.stand(who, candidacy),
            Item::Refused(reject) => Err(*reject),
        }
    }

    /// Whether the account was so busy in the last block that the envelope would have been over its quota there.
    pub fn was_over_quota(&self, envelope: &Envelope) -> bool {
        let account = self.state.accounts.get(envelope.participant);
        let sent = account.map_or(0, |account| account.sent_in(self.block.wrapping_sub(1)));
        let items = i64::try_from(envelope.items.len()).unwrap_or(i64::MAX);
        i64::from(sent).saturating_add(items) > self.state.params.get(Param::ItemsPerBlock)
    }

    /// When the next gate opens.
    pub(crate) fn next_gate(&self) -> (TimeNs, ContractId) {
        let id = ContractId::new(
            self.state.next_period,
            ContractId::PRODUCT_QUARTER_HOUR,
            self.state.area,
        );
        (gate_opening(id, &self.state.params), id)
    }
}

/// Reads what the first item will need from the tables that no cache holds, so that these reads overlap.
#[inline]
fn glance(contracts: &Contracts, who: Party, envelope: &Envelope) {
    let name = |nonce, index| OrderId {
        participant: who.id,
        nonce,
        index,
    };
    let (contract, order) = match envelope.items.first() {
        Some(Item::Quote(quote)) => (quote.contract, name(envelope.nonce, 0)),
        Some(Item::Cancel(Cancel {
            contract: Some(contract),
            target_nonce,
            target_index,
        })) => (*contract, name(*target_nonce, *target_index)),
        _ => return,
    };
    if let Some(contract) = contracts.get(&contract) {
        contract.glance(who.at, &order);
    }
}
