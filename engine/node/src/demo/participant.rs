//! A client of the demonstration: one site, one key, one connection, and how it quotes (DETAILS 7).

use super::world::{Device, Site};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use thiserror::Error;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{BlsSecret, KeyRole, reveal_salt};
use wattbook_feed::sbe::Outbound;
use wattbook_feed::signed::{
    Attachment, EncodeError, Grade, LeafBytes, RevealRecord, SealedEnvelope, encode_quote, encode_replace, encode_seal,
    seal_commitment,
};
use wattbook_types::command::{Replace, Seal};
use wattbook_types::units::PPM_ONE;
use wattbook_types::{
    ChainId, ContractId, Energy, ParticipantId, Price, Quote, Reject, SelfTrade, Side, TimeInForce, TimeNs, sha256,
};

/// Longest wait for an answer of the node.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Charge share of a battery that is stored, percent.
const CHARGE_EFFICIENCY: u64 = 95;

/// Why the demonstration cannot go on.
#[derive(Debug, Error)]
pub enum TalkError {
    /// The connection.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// No answer came in time.
    #[error("the node gave no answer to {who} within {} s", ANSWER_TIMEOUT.as_secs())]
    Silent {
        /// Who waited.
        who: String,
    },
    /// The node refused what a well-behaved client sent.
    #[error("the node refused {who}: {reject}")]
    Refused {
        /// Who was refused.
        who: String,
        /// Why.
        reject: Reject,
    },
    /// The node stops.
    #[error("the node has halted (reason {0})")]
    Halted(u8),
    /// A leaf cannot be written.
    #[error("a leaf cannot be written: {0}")]
    Encode(#[from] EncodeError),
}

/// A logged-on connection with its key and next nonce.
#[derive(Debug)]
pub struct Account {
    /// Who.
    pub id: ParticipantId,
    /// What to call it.
    pub name: String,
    /// The connection.
    pub client: Client,
    /// The key.
    pub secret: BlsSecret,
    /// The chain.
    pub chain: ChainId,
    /// The nonce of the next envelope.
    pub next_nonce: u64,
    /// Messages sent that the node has not taken yet.
    pub unanswered: usize,
    /// The newest durable block and record the node has told this session of.
    pub durable: (u64, u64),
}

impl Account {
    /// Connects and logs on with the key that the seed gives this account.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn log_on(
        addr: SocketAddr,
        chain: ChainId,
        seed: &[u8; 32],
        grade: Grade,
        id: ParticipantId,
        name: &str,
    ) -> Result<Self, TalkError> {
        let client = Client::connect(addr, StreamKind::Private, 1)?;
        client.expect_chain(chain)?;
        Self::finish_log_on(client, chain, seed, grade, id, name)
    }

    /// Logs on over a connection.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn finish_log_on(
        mut client: Client,
        chain: ChainId,
        seed: &[u8; 32],
        grade: Grade,
        id: ParticipantId,
        name: &str,
    ) -> Result<Self, TalkError> {
        let secret = BlsSecret::derive(seed, KeyRole::Participant, id.get());
        client.logon(id, &secret, grade)?;
        let mut account = Self {
            id,
            name: name.to_owned(),
            client,
            secret,
            chain,
            next_nonce: 1,
            unanswered: 0,
            durable: (0, 0),
        };
        loop {
            match account.receive()? {
                Outbound::LoggedOn(logged_on) => {
                    account.next_nonce = logged_on.next_nonce;
                    return Ok(account);
                }
                Outbound::RejectedMessage(message) => return Err(account.refused(message.code)),
                _ => {}
            }
        }
    }

    /// Signs and sends an envelope; its nonce comes back.
    ///
    /// # Errors
    /// [`TalkError::Client`].
    pub fn send(&mut self, leaves: Vec<LeafBytes>, now: TimeNs) -> Result<u64, TalkError> {
        self.send_with(leaves, None, now)
    }

    /// As [`Self::send`], with a candidate's keys attached.
    ///
    /// # Errors
    /// [`TalkError::Client`].
    pub fn send_with(
        &mut self,
        leaves: Vec<LeafBytes>,
        attached: Option<Attachment>,
        now: TimeNs,
    ) -> Result<u64, TalkError> {
        let nonce = self.next_nonce;
        let not_after = now.plus_secs(3_600);
        let mut envelope = SealedEnvelope::sign(self.chain, &self.secret, self.id, 1, nonce, not_after, leaves);
        envelope.attached = attached.map(Box::new);
        self.client.send_envelope(&envelope)?;
        self.next_nonce += 1;
        self.unanswered += 1;
        Ok(nonce)
    }

    /// Waits until the node holds everything sent.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn settle(&mut self) -> Result<(), TalkError> {
        while self.unanswered > 0 {
            match self.receive()? {
                Outbound::Held(_) => self.unanswered -= 1,
                Outbound::RejectedMessage(message) => return Err(self.refused(message.code)),
                _ => {}
            }
        }
        Ok(())
    }

    /// The next message.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn receive(&mut self) -> Result<Outbound, TalkError> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.client.next(left)? {
                Some((_, Outbound::Halted(halted))) => return Err(TalkError::Halted(halted.reason)),
                Some((_, Outbound::Watermark(watermark))) => self.durable = (watermark.height, watermark.seq),
                Some((_, message)) => return Ok(message),
                None if left.is_zero() => return Err(TalkError::Silent { who: self.name.clone() }),
                None => {}
            }
        }
    }

    /// The error for a refusal code.
    pub fn refused(&self, code: u16) -> TalkError {
        let reject = Reject::from_code(code).unwrap_or(Reject::UnknownMessage);
        TalkError::Refused {
            who: self.name.clone(),
            reject,
        }
    }
}

/// What everybody knows of a period before it is traded.
#[derive(Clone, Copy, Debug)]
pub struct Outlook {
    /// Generation beyond load.
    pub surplus: Energy,
    /// Load beyond generation.
    pub shortage: Energy,
    /// Whether it is one of the day's peak periods.
    pub peak: bool,
    /// Ratings of all batteries.
    pub battery_rating: Energy,
}

/// What a site trades in a period.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Buy or sell.
    pub side: Side,
    /// How much.
    pub energy: Energy,
}

/// A site at its connection.
#[derive(Debug)]
pub struct Participant {
    /// Its connection.
    pub account: Account,
    /// Its site.
    pub site: Site,
    /// Secret that salts its seals.
    client_secret: [u8; 32],
    /// Energy a battery holds.
    stored: Energy,
    plan: Option<Plan>,
    /// Factor on its prices this period, ppm.
    factor: u64,
    left: Energy,
    /// Its open order, by nonce and index.
    open: Option<(u64, u32)>,
    sealed: Option<(u16, Vec<LeafBytes>)>,
    /// Energy bought and sold, by period: what a battery does.
    traded: std::collections::BTreeMap<ContractId, (Energy, Energy)>,
}

/// Tariffs of the grid company, ticks.
#[derive(Clone, Copy, Debug)]
pub struct Tariffs {
    /// Price at which it sells.
    pub retail: i64,
    /// Price at which it buys.
    pub feed_in: i64,
}

impl Participant {
    /// A site with a logged-on account; batteries start half full.
    pub fn new(account: Account, site: Site, client_secret: [u8; 32]) -> Self {
        let stored = match site.device {
            Device::Battery { capacity } => Energy::new(capacity.get() / 2),
            _ => Energy::ZERO,
        };
        Self {
            account,
            site,
            client_secret,
            stored,
            plan: None,
            factor: u64::from(PPM_ONE),
            left: Energy::ZERO,
            open: None,
            sealed: None,
            traded: Default::default(),
        }
    }

    /// Decides what to trade in a period: loads buy what they use, plants sell what they make, batteries take their share
    /// of a surplus and, at peak, of a shortage, within rating and charge; without any of that it abstains.
    pub fn begin(&mut self, seed: &[u8; 32], period: usize, outlook: &Outlook) {
        let share = |energy: Energy| {
            let (all, mine) = (
                u128::from(outlook.battery_rating.get()),
                u128::from(self.site.rating.get()),
            );
            Energy::new((u128::from(energy.get()) * mine).checked_div(all).unwrap_or(0) as u64)
        };
        let plan = match &self.site.device {
            Device::Load(profile) => Plan {
                side: Side::Buy,
                energy: profile[period],
            },
            Device::Plant(profile) => Plan {
                side: Side::Sell,
                energy: profile[period],
            },
            Device::Battery { .. } if outlook.peak => {
                let energy = self.site.rating.min(self.stored).min(share(outlook.shortage));
                Plan {
                    side: Side::Sell,
                    energy,
                }
            }
            Device::Battery { capacity } => {
                let room = Energy::new(capacity.saturating_sub(self.stored).get() * 100 / CHARGE_EFFICIENCY);
                Plan {
                    side: Side::Buy,
                    energy: self.site.rating.min(room).min(share(outlook.surplus)),
                }
            }
        };
        self.plan = Some(plan).filter(|plan| !plan.energy.is_zero());
        self.left = plan.energy;
        self.open = None;
        self.sealed = None;
        let draw = sha256(&[
            seed,
            b"factor",
            &self.account.id.get().to_le_bytes(),
            &(period as u64).to_le_bytes(),
        ]);
        self.factor = 900_000 + draw.prefix_u64() % 200_001;
    }

    /// Its limit in a round: 0.6, 0.8, 1.0 of retail as a buyer, 1.4, 1.2, 1.0 of feed-in as a seller, times its factor;
    /// never above retail, never below feed-in.
    fn limit(&self, side: Side, round: u16, tariffs: Tariffs) -> Price {
        let step = i64::from(round.clamp(1, 3)) - 1;
        let scaled = |price: i64, tenths: i64| price * tenths * self.factor as i64 / (10 * i64::from(PPM_ONE));
        let ticks = match side {
            Side::Buy => scaled(tariffs.retail, 6 + 2 * step).min(tariffs.retail),
            Side::Sell => scaled(tariffs.feed_in, 14 - 2 * step).max(tariffs.feed_in),
        };
        Price::new(ticks as i32)
    }

    /// Seals its quote of a round, if energy is left.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn seal(&mut self, contract: ContractId, round: u16, tariffs: Tariffs, now: TimeNs) -> Result<(), TalkError> {
        let Some(plan) = self.plan.filter(|_| !self.left.is_zero()) else {
            return Ok(());
        };
        let price = self.limit(plan.side, round, tariffs);
        let leaves = vec![encode_quote(0, &quote(contract, round, plan.side, price, self.left))?];
        let salt = reveal_salt(&self.client_secret, self.account.chain, contract, round.into());
        let commitment = seal_commitment(
            self.account.chain,
            self.account.id,
            contract,
            round.into(),
            &salt,
            &leaves,
        );
        let seal = Seal {
            contract,
            round,
            bond_class: 0,
            commitment,
        };
        self.account.send(vec![encode_seal(0, &seal)], now)?;
        self.sealed = Some((round, leaves));
        Ok(())
    }

    /// Reveals what it sealed.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn reveal(&mut self, contract: ContractId) -> Result<(), TalkError> {
        let Some((round, leaves)) = self.sealed.take() else {
            return Ok(());
        };
        let round = u32::from(round);
        let salt = reveal_salt(&self.client_secret, self.account.chain, contract, round);
        let record = RevealRecord {
            participant: self.account.id,
            contract,
            round,
            salt,
            leaves,
        };
        self.account.client.send_reveal(&record)?;
        self.account.unanswered += 1;
        Ok(())
    }

    /// After the last round: its remainder at retail or feed-in, to the book.
    ///
    /// # Errors
    /// [`TalkError`].
    pub fn concede(&mut self, contract: ContractId, tariffs: Tariffs, now: TimeNs) -> Result<(), TalkError> {
        let Some(plan) = self.plan.filter(|_| !self.left.is_zero()) else {
            return Ok(());
        };
        let price = Price::new(if plan.side == Side::Buy {
            tariffs.retail
        } else {
            tariffs.feed_in
        } as i32);
        let leaf = match self.open {
            Some((target_nonce, target_index)) => encode_replace(
                0,
                &Replace {
                    contract,
                    target_nonce,
                    target_index,
                    price,
                    charge_cap: -1,
                    energy: self.left,
                    min_fill: Energy::ZERO,
                    display: Energy::ZERO,
                },
            )?,
            None => encode_quote(0, &quote(contract, 0, plan.side, price, self.left))?,
        };
        self.account.send(vec![leaf], now)?;
        Ok(())
    }

    /// Takes in an execution report.
    pub fn take(&mut self, message: &Outbound) {
        let me = self.account.id.get();
        match message {
            Outbound::Opened(opened) if opened.order.named != 0 => {
                self.open = Some((opened.order.nonce, opened.order.index));
                self.left = Energy::new(opened.leaves_wh);
            }
            Outbound::Closed(closed) if closed.order.named != 0 => {
                let closing = Some((closed.order.nonce, closed.order.index));
                if self.open == closing {
                    self.open = None;
                }
            }
            Outbound::Executed(deal) => {
                let contract = ContractId::from_raw(deal.contract);
                let (bought, sold) = self.traded.entry(contract).or_default();
                let energy = Energy::new(deal.energy_wh);
                if deal.buyer.named != 0 && deal.buyer.participant == me {
                    *bought = bought.plus(energy);
                } else {
                    *sold = sold.plus(energy);
                }
                self.left = self.left.saturating_sub(energy);
                if self.left.is_zero() {
                    self.open = None;
                }
            }
            Outbound::DealVoided(_) => {
                tracing::warn!(who = self.account.name, "a deal of the demonstration was voided");
            }
            _ => {}
        }
    }

    /// Gate closure: a battery books what it will do.
    pub fn finish(&mut self, contract: ContractId) {
        if let Device::Battery { capacity } = self.site.device {
            let (bought, sold) = self.traded.get(&contract).copied().unwrap_or_default();
            let charged = Energy::new(bought.get() * CHARGE_EFFICIENCY / 100);
            self.stored = self.stored.plus(charged).min(capacity).saturating_sub(sold);
        }
    }

    /// What its meter reads for a period: import and export.
    pub fn reading(&self, contract: ContractId, period: usize) -> (Energy, Energy) {
        match &self.site.device {
            Device::Load(profile) => (profile[period], Energy::ZERO),
            Device::Plant(profile) => (Energy::ZERO, profile[period]),
            Device::Battery { .. } => self.traded.get(&contract).copied().unwrap_or_default(),
        }
    }
}

/// A plain quote until the gate.
pub fn quote(contract: ContractId, round: u16, side: Side, price: Price, energy: Energy) -> Quote {
    Quote {
        contract,
        client_order_id: 0,
        round,
        side,
        time_in_force: TimeInForce::Gate,
        price,
        charge_cap: -1,
        energy,
        min_fill: Energy::ZERO,
        valid_until_s: 0,
        display: Energy::ZERO,
        market_to_limit: false,
        self_trade: SelfTrade::CancelNewest,
    }
}
