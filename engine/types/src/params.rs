//! Parameters of the state: whatever can change a verdict of the core (MARKET, DETAILS 6).
//!
//! Genesis sets them, a regulator's `Configure` changes them at the next gate opening, and every block header carries
//! their digest. Ids are the wire form of a configure leaf and never change meaning.

use crate::digest::{ChainId, Hash, digest};
use crate::schedule::Schedule;
use crate::units::{NS_PER_S, Price};
use core::num::NonZeroU32;

/// Version of the rules, part of [`Params::digest`].
pub const RULES_VERSION: u32 = 2;

macro_rules! params {
    ($($(#[doc = $doc:literal])* $id:literal $name:ident $key:literal = $default:expr, $min:expr, $max:expr;)*) => {
        /// One parameter.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        pub enum Param {
            $($(#[doc = $doc])* $name = $id,)*
        }

        impl Param {
            /// Every parameter, by id.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The parameter of a wire id.
            pub const fn from_id(id: u32) -> Option<Self> {
                match id {
                    $($id => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name in configuration files and documents.
            pub const fn key(self) -> &'static str {
                match self {
                    $(Self::$name => $key,)*
                }
            }

            /// Its default.
            pub const fn default_value(self) -> i64 {
                match self {
                    $(Self::$name => $default,)*
                }
            }

            /// Least and greatest value accepted.
            pub const fn bounds(self) -> (i64, i64) {
                match self {
                    $(Self::$name => ($min, $max),)*
                }
            }
        }
    };
}

/// Greatest price or charge parameter, in ticks.
const TICKS_MAX: i64 = 1_000_000_000;
/// Greatest money parameter, in nano-points: a billion points.
const NANO_MAX: i64 = 1_000_000_000 * 1_000_000_000;

params! {
    /// Price at which the grid company sells, ticks.
    1 Retail "retail" = 28_800, -TICKS_MAX, TICKS_MAX;
    /// Price at which the grid company buys, ticks.
    2 FeedIn "feed_in" = 12_310, -TICKS_MAX, TICKS_MAX;
    /// Network charge C1, ticks.
    3 C1 "c1" = 100, 0, TICKS_MAX;
    /// Network charge C2, ticks.
    4 C2 "c2" = 100, 0, TICKS_MAX;
    /// Network charge C3, ticks.
    5 C3 "c3" = 50, 0, TICKS_MAX;
    /// Congestion fee, ticks.
    6 Congestion "congestion" = 0, 0, TICKS_MAX;
    /// Cap on the charge of a bid that names none, ticks.
    7 ChargeCap "charge_cap" = 300, 0, TICKS_MAX;
    /// Penalty rate of both sides, ticks.
    8 PenaltyRate "penalty_rate" = 5_000, 0, TICKS_MAX;
    /// Bond of class 0, nano-points; class n locks `unit x 2^n`.
    9 BondUnit "bond_unit" = 1_000_000_000, 0, 1_000_000_000_000;
    /// Least bond class.
    10 BondClassMin "bond_class_min" = 0, 0, 30;
    /// Greatest bond class.
    11 BondClassMax "bond_class_max" = 16, 0, 30;
    /// Share of the revealed notional that the bond must cover, ppm.
    12 Alpha "alpha" = 100_000, 0, 1_000_000;
    /// Registration mint, nano-points.
    13 RegistrationMint "registration_mint" = 1_000_000_000_000, 0, NANO_MAX;
    /// Cap per epoch of the registration mint, nano-points.
    14 RegistrationMintCap "registration_mint_cap" = 1_000_000 * 1_000_000_000, 0, NANO_MAX;
    /// Genesis mint of every grid company, nano-points.
    15 GridMint "grid_mint" = 1_000_000 * 1_000_000_000, 0, NANO_MAX;
    /// Clean-energy mint, nano-points per Wh, to the seller.
    16 CleanMint "clean_mint" = 10_000, 0, 1_000_000_000;
    /// Cap per epoch of the clean-energy mint, nano-points.
    17 CleanMintCap "clean_mint_cap" = 100_000 * 1_000_000_000, 0, NANO_MAX;
    /// Delivery periods in an epoch of a node that runs alone; with a committee too, the mints' caps count by it.
    18 EpochCycles "epoch_cycles" = 96, 1, 1_000_000;
    /// Least energy of an order or deal that counts for reputation, CEP and floor, Wh.
    19 MinLot "min_lot" = 100, 1, 4_000_000_000;
    /// Longest time an envelope may stay valid, s.
    20 TtlS "ttl" = 86_400, 1, 31_536_000;
    /// Most leaves in an envelope.
    21 LeavesMax "leaves_max" = 1_024, 1, 65_535;
    /// Most items of one account in a block.
    22 ItemsPerBlock "items_per_account_and_block" = 65_536, 1, 4_000_000_000;
    /// Greatest magnitude of a price, ticks.
    23 PriceBound "price_bound" = 999_900, 1, 2_147_483_647;
    /// Least energy of an order, Wh.
    24 EnergyMin "energy_min" = 1, 1, 4_294_967_295;
    /// Greatest energy of an order, Wh.
    25 EnergyMax "energy_max" = 4_000_000_000, 1, 4_294_967_295;
    /// Sealed rounds in a cycle.
    26 Rounds "rounds" = 3, 1, 16;
    /// Range mode: 0 off, 1 own, 2 counterparty, 3 mutual, 4 either.
    27 Range "range" = 4, 0, 4;
    /// Deal price: 0 midpoint, 1 pay-as-bid, 2 pay-as-ask, 3 uniform.
    28 DealPrice "deal_price" = 0, 0, 3;
    /// Confirmation of deals: 0 implicit (the signed envelope consents); explicit (1) is not enabled yet.
    29 Confirmation "confirmation" = 0, 0, 0;
    /// Whether a bid must exceed its ask by twice the charge.
    30 AllInBids "all_in_bids" = 0, 0, 1;
    /// Whether quotes must concede within a cycle.
    31 Concession "concession" = 1, 0, 1;
    /// Whether accounts of one group never trade with each other.
    32 Affiliation "affiliation" = 1, 0, 1;
    /// Floor of bids: 0 off, 1 the same quarter hour a day earlier, 2 the preceding period.
    33 Floor "floor" = 1, 0, 2;
    /// Activity at or above which a node counts as positive, ppm.
    34 ActivityPositive "activity_positive" = 500_000, 0, 1_000_000;
    /// Activity at or above which a node counts as neutral, ppm.
    35 ActivityNeutral "activity_neutral" = 200_000, 0, 1_000_000;
    /// Closed cycles in the reputation window W.
    36 Window "window" = 30, 1, 1_000;
    /// Deals in the competitive equilibrium price.
    37 CepDeals "cep_deals" = 50, 1, 1_000;
    /// Numerator of the CEP's weight ratio b.
    38 CepNum "cep_b_num" = 10, 1, 1_000_000;
    /// Denominator of the CEP's weight ratio b.
    39 CepDen "cep_b_den" = 9, 1, 1_000_000;
    /// Whether b adapts to market activity, highest quote and last cycle's price.
    40 CepAdaptive "cep_adaptive" = 0, 0, 1;
    /// What rates a delivery: 0 the meter, 1 the counterparty.
    41 Rating "rating" = 0, 0, 1;
    /// Whether one counterparty group counts for at most 20 % of T.
    42 CounterpartyShare "counterparty_share" = 1, 0, 1;
    /// Reputation lost per declined cycle in the window, ppm.
    43 DeclinePenalty "decline_penalty" = 20_000, 0, 1_000_000;
    /// Delivered share that counts as good, ppm.
    44 GoodDelivery "good_delivery" = 950_000, 0, 1_000_000;
    /// Change of the CEP between cycles that raises the volatility alarm, ppm; 0 never.
    45 VolatilityAlarm "volatility_alarm" = 500_000, 0, 1_000_000_000;
    /// Gate opening before delivery start, s.
    46 GateOpenS "gate_open" = 1_200, 1, 86_400;
    /// Gate closure before delivery start, s.
    47 GateCloseS "gate_close" = 300, 0, 86_400;
    /// Time from one round's start to the next, s.
    48 RoundS "round_spacing" = 300, 4, 86_400;
    /// End of SEAL after the round's start, s.
    49 SealS "seal_end" = 90, 1, 86_400;
    /// End of REVEAL after the round's start, s; RANK to BROADCAST follow at once.
    50 RevealS "reveal_end" = 150, 1, 86_400;
    /// MATCH after the round's start, s.
    51 MatchS "match_at" = 180, 1, 86_400;
    /// CONTRACT after the round's start, s; the book trades from here on.
    52 ContractS "contract_at" = 210, 1, 86_400;
    /// First meter reading after delivery start, s.
    53 MeterS "meter_from" = 900, 1, 86_400;
    /// SETTLE after delivery start, s; a missing reading is zero.
    54 SettleS "settle_at" = 1_800, 1, 604_800;
    /// CLOSE after delivery start, s.
    55 CloseS "close_at" = 2_100, 1, 604_800;
    /// Time for the grid company to countersign a deal, s.
    56 CountersignS "countersign" = 60, 1, 86_400;
    /// Seats of a committee; fewer sit where fewer stand.
    57 Seats "seats" = 4, 4, 64;
    /// Blocks in an epoch of a committee; fixed by genesis.
    58 EpochBlocks "epoch_blocks" = 6_000, 1, 1_000_000;
    /// Views in a delegate's term (the quarter it leads); fixed by genesis.
    59 TermViews "term_views" = 1_000_000, 1, 4_294_967_295;
    /// What is stake: 1 `stake_scale` div the emission stated; green certificates (0) are not there yet.
    60 StakePolicy "stake_policy" = 1, 1, 1;
    /// Stake of one gram, under policy 1.
    61 StakeScale "stake_scale" = 1_000_000_000, 1, 1_000_000_000_000;
    /// Greatest share of the stake voted that one group's votes count for, ppm.
    62 StakeShare "stake_share_per_group" = 200_000, 1, 1_000_000;
    /// Lost terms that make a delegate suspect.
    63 SuspectTerms "suspect_terms" = 1, 1, 1_000_000;
    /// Lost terms that suspend a delegate at the epoch's end; an epoch in its seat without any takes one off.
    64 SuspendTerms "suspend_terms" = 3, 1, 1_000_000;
    /// Lost terms without a block between them that evict a delegate at the epoch's end; a clean epoch takes one off.
    65 SilentTerms "silent_terms" = 3, 1, 1_000_000;
    /// Invalid blocks that evict a delegate at the epoch's end.
    66 InvalidBlocks "invalid_blocks" = 1, 1, 1_000_000;
    /// Epochs that a suspended or evicted delegate sits out.
    67 ExclusionEpochs "exclusion_epochs" = 2, 0, 1_000_000;
    /// Epochs during which a delegate answers for its ballots: the lock of its stake.
    68 EvidenceEpochs "evidence_epochs" = 144, 1, 10_000;
    /// Mint for packing a block that carries more than Ticks, nano-points.
    69 PackingMint "packing_mint" = 1_000_000, 0, 1_000_000_000_000;
    /// Cap per epoch of the packing mint, nano-points.
    70 PackingMintCap "packing_mint_cap" = 1_000 * 1_000_000_000, 0, NANO_MAX;
    /// Mint for verifying another delegate's block, nano-points.
    71 VerifyingMint "verifying_mint" = 100_000, 0, 1_000_000_000_000;
    /// Cap per epoch of the verifying mint, nano-points.
    72 VerifyingMintCap "verifying_mint_cap" = 1_000 * 1_000_000_000, 0, NANO_MAX;
}

impl Param {
    /// How many parameters stand in every list. Those after them stand only where they differ from their default, so
    /// that a chain that does without them has the digests it had before there were any.
    pub const LISTED_ALWAYS: usize = 56;

    /// Whether only genesis may set it.
    pub const fn is_fixed(self) -> bool {
        matches!(self, Self::EpochBlocks | Self::TermViews)
    }
}

/// Who may trade with whom by reputation (MARKET 3.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum RangeMode {
    /// Everybody with everybody.
    Off = 0,
    /// The counterparty's place is within the chooser's range.
    Own = 1,
    /// The chooser's place is within the counterparty's range.
    Counterparty = 2,
    /// Both.
    Mutual = 3,
    /// One of them.
    Either = 4,
}

impl RangeMode {
    /// Every mode, by wire value.
    pub const ALL: [Self; 5] = [Self::Off, Self::Own, Self::Counterparty, Self::Mutual, Self::Either];

    /// Whether chooser and other may trade, given both conditions.
    #[inline]
    pub const fn allows(self, own: bool, counterparty: bool) -> bool {
        match self {
            Self::Off => true,
            Self::Own => own,
            Self::Counterparty => counterparty,
            Self::Mutual => own && counterparty,
            Self::Either => own || counterparty,
        }
    }

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Own => "own",
            Self::Counterparty => "counterparty",
            Self::Mutual => "mutual",
            Self::Either => "either",
        }
    }
}

/// How a deal is priced (MARKET 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum DealPriceRule {
    /// Midpoint of bid and ask.
    Midpoint = 0,
    /// The bid.
    PayAsBid = 1,
    /// The ask.
    PayAsAsk = 2,
    /// One price for the round; in the continuous book, the resting order's.
    Uniform = 3,
}

impl DealPriceRule {
    /// Every rule, by wire value.
    pub const ALL: [Self; 4] = [Self::Midpoint, Self::PayAsBid, Self::PayAsAsk, Self::Uniform];

    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Midpoint => "midpoint",
            Self::PayAsBid => "pay-as-bid",
            Self::PayAsAsk => "pay-as-ask",
            Self::Uniform => "uniform",
        }
    }
}

/// Which deal price a bid must exceed (MARKET 2.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum FloorRule {
    /// None.
    Off = 0,
    /// The lowest of the same quarter hour one day earlier.
    Day = 1,
    /// The lowest of the preceding period.
    Previous = 2,
}

/// The parameters in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Params {
    values: [i64; Param::ALL.len()],
}

impl Default for Params {
    fn default() -> Self {
        let mut values = [0; Param::ALL.len()];
        for param in Param::ALL {
            values[*param as usize - 1] = param.default_value();
        }
        Self { values }
    }
}

impl Params {
    /// The value of a parameter.
    #[inline]
    pub const fn get(&self, param: Param) -> i64 {
        self.values[param as usize - 1]
    }

    /// Sets a parameter; `false`, and nothing changed, beyond its bounds.
    #[must_use]
    pub fn set(&mut self, param: Param, value: i64) -> bool {
        let (min, max) = param.bounds();
        let fits = (min..=max).contains(&value);
        if fits {
            self.values[param as usize - 1] = value;
        }
        fits
    }

    /// Why these values cannot stand together, if so.
    pub fn check(&self) -> Result<(), &'static str> {
        let g = |p| self.get(p);
        if !(g(Param::SealS) < g(Param::RevealS)
            && g(Param::RevealS) < g(Param::MatchS)
            && g(Param::MatchS) < g(Param::ContractS)
            && g(Param::ContractS) < g(Param::RoundS))
        {
            return Err(
                "phases of a round must follow one another: seal_end < reveal_end < match_at < contract_at < round_spacing",
            );
        }
        if g(Param::GateOpenS) - g(Param::Rounds) * g(Param::RoundS) < g(Param::GateCloseS) {
            return Err("the rounds do not fit between gate opening and gate closure");
        }
        if !(g(Param::MeterS) <= g(Param::SettleS) && g(Param::SettleS) < g(Param::CloseS)) {
            return Err("meter_from <= settle_at < close_at must hold");
        }
        if g(Param::CepNum) < g(Param::CepDen) {
            return Err("the CEP's weight ratio b must be at least 1: cep_b_num >= cep_b_den");
        }
        if g(Param::EnergyMin) > g(Param::EnergyMax) || g(Param::BondClassMin) > g(Param::BondClassMax) {
            return Err("a least value stands above its greatest");
        }
        if g(Param::SuspectTerms) > g(Param::SuspendTerms) {
            return Err("a delegate is suspect before it is suspended: suspect_terms <= suspend_terms");
        }
        Ok(())
    }

    /// The parameters that stand in a list, with their values (see [`Param::LISTED_ALWAYS`]).
    pub fn listed(&self) -> impl Iterator<Item = (Param, i64)> {
        let stands = |param: Param| param as usize <= Param::LISTED_ALWAYS || self.get(param) != param.default_value();
        (Param::ALL.iter().copied())
            .filter(move |param| stands(*param))
            .map(|param| (param, self.get(param)))
    }

    /// `D("params", rules_version u32, zero u32, (param u32, zero u32, value i64)...)` over [`Self::listed`] (DETAILS 2).
    pub fn digest(&self, chain: ChainId) -> Hash {
        let mut body = Vec::with_capacity(8 + 16 * self.values.len());
        body.extend_from_slice(&RULES_VERSION.to_le_bytes());
        body.extend_from_slice(&[0; 4]);
        for (param, value) in self.listed() {
            body.extend_from_slice(&(param as u32).to_le_bytes());
            body.extend_from_slice(&[0; 4]);
            body.extend_from_slice(&value.to_le_bytes());
        }
        digest(chain, "params", &[&body])
    }

    /// Lengths of epochs and terms of a committee.
    pub fn schedule(&self) -> Schedule {
        // BOUND: both lie between 1 and what 32 bits take.
        let positive = |param| NonZeroU32::new(self.get(param) as u32).unwrap_or(NonZeroU32::MIN);
        Schedule {
            epoch_blocks: positive(Param::EpochBlocks).get().into(),
            term_views: positive(Param::TermViews),
        }
    }

    /// The range mode in force.
    pub const fn range(&self) -> RangeMode {
        RangeMode::ALL[self.get(Param::Range) as usize]
    }

    /// The deal price rule in force.
    pub const fn deal_price(&self) -> DealPriceRule {
        DealPriceRule::ALL[self.get(Param::DealPrice) as usize]
    }

    /// The floor rule in force.
    pub const fn floor(&self) -> FloorRule {
        match self.get(Param::Floor) {
            1 => FloorRule::Day,
            2 => FloorRule::Previous,
            _ => FloorRule::Off,
        }
    }

    /// Whether a switch is on.
    pub const fn on(&self, param: Param) -> bool {
        self.get(param) != 0
    }

    /// `P_T = C1 + C2 + C3 + congestion fee`, ticks.
    pub const fn charge_ticks(&self) -> i64 {
        self.get(Param::C1) + self.get(Param::C2) + self.get(Param::C3) + self.get(Param::Congestion)
    }

    /// Longest validity of an envelope, ns.
    pub const fn ttl_ns(&self) -> u64 {
        self.get(Param::TtlS) as u64 * NS_PER_S
    }

    /// Whether a limit price is within bounds.
    pub const fn price_in_bounds(&self, price: Price) -> bool {
        (price.get() as i64).abs() <= self.get(Param::PriceBound)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_run_from_one_and_defaults_hold() {
        let params = Params::default();
        for (i, param) in Param::ALL.iter().enumerate() {
            assert_eq!(*param as usize, i + 1);
            assert_eq!(Param::from_id(*param as u32), Some(*param));
            let (min, max) = param.bounds();
            assert!((min..=max).contains(&param.default_value()), "{param:?}");
        }
        assert_eq!(params.check(), Ok(()));
        assert_eq!(params.charge_ticks(), 250);
        assert_eq!(
            (params.range(), params.deal_price()),
            (RangeMode::Either, DealPriceRule::Midpoint)
        );
    }

    #[test]
    fn out_of_bounds_changes_nothing() {
        let mut params = Params::default();
        assert!(!params.set(Param::Range, 5));
        assert!(params.set(Param::Range, 0));
        assert_ne!(
            params.digest(ChainId::default()),
            Params::default().digest(ChainId::default())
        );
    }

    /// A parameter that came later changes the digest where it is set, and only there.
    #[test]
    fn later_parameters_are_listed_where_they_differ() {
        let mut params = Params::default();
        assert_eq!(params.listed().count(), Param::LISTED_ALWAYS);
        for param in &Param::ALL[Param::LISTED_ALWAYS..] {
            let (min, max) = param.bounds();
            let other = if param.default_value() == max { min } else { max };
            let before = params.digest(ChainId::default());
            assert!(params.set(*param, other));
            assert_eq!(before == params.digest(ChainId::default()), min == max, "{param:?}");
        }
        let schedule = params.schedule();
        assert_eq!(
            (schedule.epoch_blocks, schedule.term_views.get()),
            (1_000_000, u32::MAX)
        );
    }
}
