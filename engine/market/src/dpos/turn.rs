//! What a block's header says to the core: whose turn it was, which turns were lost, and at an epoch's last block the
//! judgement and the election (MARKET 8, PROTOCOL 7).
//!
//! # Order of what happens at a block's end
//! 1. Terms lost since the block before are charged to those who should have led them.
//! 2. The producer is paid, if the block carries more than Ticks.
//! 3. `dpos_hash` is taken.
//! 4. At an epoch's last block: those with a clean epoch are paid for verifying, the others judged; the tally seats the
//!    next committee, and the next epoch begins.

use super::tally::{self, Ballot, Outcome, Runner, Tag};
use super::{Dpos, Sitting, keys_of};
use crate::accounts::AccountIndex;
use crate::market::Market;
use crate::state::MintAccount;
use core::fmt;
use wattbook_types::committee::{self, Committee, SEATS_MIN, Seat, Standing};
use wattbook_types::delegate::{DelegateKeys, Exclusion};
use wattbook_types::schedule::Schedule;
use wattbook_types::{DelegateEvent, Event, Hash, Money, Param, ParticipantId, Turn};

/// What a block's end says.
#[derive(Clone, Debug)]
pub struct BlockEnd {
    /// Events of the end itself.
    pub events: Vec<Event>,
    /// `dpos_hash` of the header.
    pub dpos_hash: Hash,
    /// `next_committee` of the header: zero but at an epoch's last block.
    pub next_committee: Hash,
}

/// A header that no block of this chain can have here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadTurn {
    /// Another height than the next.
    Height {
        /// The header's.
        got: u64,
        /// The next.
        expected: u64,
    },
    /// Another epoch than the one under way.
    Epoch {
        /// The header's.
        got: u64,
        /// The one under way.
        expected: u64,
    },
    /// A view that is not after the one of the block before.
    View {
        /// The header's.
        got: u64,
        /// The last one.
        last: u64,
    },
    /// Not the delegate that leads the view.
    Producer {
        /// The header's.
        got: ParticipantId,
        /// Who leads; 0: the node is alone.
        expected: ParticipantId,
    },
    /// An open quote of the leader's own group.
    OwnGroup {
        /// Who quotes.
        quoter: ParticipantId,
    },
}

impl fmt::Display for BadTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Height { got, expected } => write!(f, "height {got} where {expected} follows"),
            Self::Epoch { got, expected } => write!(f, "epoch {got} where {expected} is under way"),
            Self::View { got, last } => write!(f, "view {got} does not follow view {last}"),
            Self::Producer { got, expected } => write!(f, "producer {got} where {expected} leads"),
            Self::OwnGroup { quoter } => write!(f, "{quoter} quotes openly while its own group leads"),
        }
    }
}

impl std::error::Error for BadTurn {}

impl Market {
    /// Whether the next block can have this header; [`Self::end_block_by`] refuses exactly what this does.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check_turn(&self, turn: &Turn) -> Result<(), BadTurn> {
        let expected = |expected: Turn| {
            let Turn { epoch, producer, .. } = expected;
            if turn.epoch != epoch {
                return Err(BadTurn::Epoch {
                    got: turn.epoch,
                    expected: epoch,
                });
            }
            if turn.producer != producer {
                return Err(BadTurn::Producer {
                    got: turn.producer,
                    expected: producer,
                });
            }
            Ok(())
        };
        let Some(sitting) = self.state.dpos.as_deref().and_then(Dpos::sitting) else {
            if turn.view != turn.height {
                return Err(BadTurn::View {
                    got: turn.view,
                    last: turn.height.wrapping_sub(1),
                });
            }
            return expected(Turn::alone(turn.height));
        };
        let height = self.state.height.saturating_add(1);
        if turn.height != height {
            return Err(BadTurn::Height {
                got: turn.height,
                expected: height,
            });
        }
        if turn.view <= sitting.view {
            return Err(BadTurn::View {
                got: turn.view,
                last: sitting.view,
            });
        }
        let seats = sitting.committee.seats();
        let leader = self.state.params.schedule().leader_of(turn.view, seats.len());
        expected(Turn {
            epoch: sitting.committee.epoch(),
            producer: seats[leader].participant,
            ..*turn
        })?;
        match self.quoter_of(turn.producer) {
            Some(quoter) => Err(BadTurn::OwnGroup { quoter }),
            None => Ok(()),
        }
    }

    /// `dpos_hash` of a block that ended here; at genesis, of block 0.
    pub fn dpos_hash(&self) -> Hash {
        match self.state.dpos.as_deref().map(|dpos| (dpos, dpos.sitting())) {
            Some((dpos, Some(sitting))) => self.hash_of(dpos, sitting),
            _ => committee::dpos_hash_alone(self.state.chain),
        }
    }

    /// The committee of the next block's epoch; `None` for a node alone.
    pub fn committee(&self) -> Option<&Committee> {
        Some(&self.state.dpos.as_deref()?.sitting()?.committee)
    }

    /// Who had a rank in the committee of an epoch, and with which keys, while it answers for what it signed.
    pub fn seat_of(&self, epoch: u64, rank: u32) -> Option<(ParticipantId, DelegateKeys)> {
        self.state.dpos.as_deref()?.sat(epoch, rank)
    }

    /// Ends the block of this header: names the deals to countersign, charges lost terms, pays, and at an epoch's last block
    /// judges and elects. For a node alone ([`Turn::alone`]) nothing is charged, paid or elected.
    ///
    /// # Errors
    /// [`BadTurn`]; nothing has changed then.
    ///
    /// # Panics
    /// If money or energy is not conserved over the whole state.
    pub fn end_block_by(&mut self, turn: &Turn) -> Result<BlockEnd, BadTurn> {
        self.check_turn(turn)?;
        let carries = core::mem::take(&mut self.carries);
        self.quoters.clear();
        let supply_before = self.state.supply.outstanding();
        let chain = self.state.chain;
        let (mut dpos_hash, mut next_committee) = (committee::dpos_hash_alone(chain), Hash::ZERO);
        if let Some(mut dpos) = self.state.dpos.take() {
            if let Some(mut sitting) = dpos.sitting.take() {
                let schedule = self.state.params.schedule();
                self.take_turn(&mut dpos, &mut sitting, &schedule, turn, carries);
                dpos_hash = self.hash_of(&dpos, &sitting);
                if schedule.is_border(turn.height) {
                    self.judge_delegates(&mut dpos, &sitting, schedule.epoch_blocks);
                    sitting = self.elect_committee(&mut dpos, &sitting);
                    next_committee = sitting.committee.hash(chain);
                }
                dpos.sitting = Some(sitting);
            }
            self.state.dpos = Some(dpos);
        }
        self.assert_conserved_by_touched(supply_before);
        let events = self.close_block(turn.height);
        Ok(BlockEnd {
            events,
            dpos_hash,
            next_committee,
        })
    }

    /// Charges the terms lost before this turn and pays the producer.
    fn take_turn(&mut self, dpos: &mut Dpos, sitting: &mut Sitting, schedule: &Schedule, turn: &Turn, carries: bool) {
        let seats = sitting.committee.seats();
        let lost = schedule.lost(seats.len(), sitting.view, turn.view);
        schedule.advance(&mut sitting.missed, sitting.view, turn.view);
        for (seat, lost) in seats.iter().zip(lost).filter(|(_, lost)| *lost != 0) {
            let lost = u32::try_from(lost).unwrap_or(u32::MAX);
            let candidate = dpos.candidate_mut(seat.participant);
            let before = candidate.status(&self.state.params);
            candidate.lost = candidate.lost.saturating_add(lost);
            candidate.silent = candidate.silent.saturating_add(lost);
            let after = candidate.status(&self.state.params);
            self.tell_flag(seat.participant, before, after);
        }
        sitting.view = turn.view;
        let leader = schedule.leader_of(turn.view, seats.len());
        sitting.packed[leader] = sitting.packed[leader].saturating_add(1);
        let producer = seats[leader].participant;
        if dpos.candidates.get(&producer).is_some_and(|c| c.silent != 0) {
            let candidate = dpos.candidate_mut(producer);
            let before = candidate.status(&self.state.params);
            candidate.silent = 0;
            let after = candidate.status(&self.state.params);
            self.tell_flag(producer, before, after);
        }
        if carries {
            let wanted = Money::new(self.state.params.get(Param::PackingMint));
            self.pay(producer, MintAccount::Packing, wanted, Param::PackingMintCap);
        }
    }

    fn pay(&mut self, who: ParticipantId, account: MintAccount, wanted: Money, cap: Param) {
        let cap = Money::new(self.state.params.get(cap));
        let at = self.state.accounts.party(who).at;
        // What an account holds must fit its pockets, whatever caps a regulator sets.
        let room = i128::from(i64::MAX) - self.state.accounts.at(at).total();
        let wanted = wanted.min(Money::new(i64::try_from(room).unwrap_or(0).max(0)));
        let minted = self.state.supply.mint(account, wanted, Some(cap));
        if minted == Money::ZERO {
            return;
        }
        let payee = self.state.accounts.at_mut(at);
        payee.free = payee.free.plus(minted);
        self.tell(DelegateEvent::WorkMinted {
            participant: who,
            packing: account == MintAccount::Packing,
            minted,
        });
    }

    fn hash_of(&self, dpos: &Dpos, sitting: &Sitting) -> Hash {
        let seats = sitting.committee.seats().iter().zip(&sitting.missed);
        let standings: Vec<Standing> = seats
            .map(|(seat, missed)| Standing {
                participant: seat.participant,
                missed: *missed,
                status: (dpos.candidates.get(&seat.participant))
                    .map_or_else(Default::default, |candidate| candidate.status(&self.state.params)),
            })
            .collect();
        committee::dpos_hash(self.state.chain, sitting.committee.epoch(), &standings)
    }

    /// Pays those with a clean epoch for verifying, and excludes those who failed.
    fn judge_delegates(&mut self, dpos: &mut Dpos, sitting: &Sitting, blocks: u64) {
        let next = sitting.committee.epoch().saturating_add(1);
        let mint = self.state.params.get(Param::VerifyingMint);
        let back = next.saturating_add(self.state.params.get(Param::ExclusionEpochs) as u64);
        for (rank, seat) in sitting.committee.seats().iter().enumerate() {
            let id = seat.participant;
            let candidate = dpos.candidate_mut(id);
            let clean = sitting.missed[rank] == 0;
            let before = candidate.status(&self.state.params);
            let exclusion = candidate.failure(&self.state.params);
            match exclusion {
                None if clean => {
                    candidate.lost = candidate.lost.saturating_sub(1);
                    candidate.silent = candidate.silent.saturating_sub(1);
                }
                None | Some(Exclusion::Tombstoned) => {}
                Some(exclusion) => {
                    (candidate.lost, candidate.silent, candidate.invalid) = (0, 0, 0);
                    candidate.out_until = back;
                    if exclusion == Exclusion::Evicted {
                        candidate.keys = None;
                    }
                }
            }
            let after = candidate.status(&self.state.params);
            match exclusion {
                None if clean => {
                    // BOUND: at most 10^6 blocks of at most 10^12 nano-points.
                    let verified = blocks.saturating_sub(sitting.packed[rank]) as i64;
                    let wanted = Money::new(mint * verified);
                    self.pay(id, MintAccount::Verifying, wanted, Param::VerifyingMintCap);
                }
                None | Some(Exclusion::Tombstoned) => {}
                Some(exclusion) => self.tell(DelegateEvent::Excluded {
                    participant: id,
                    exclusion,
                    until: back,
                }),
            }
            self.tell_flag(id, before, after);
        }
    }

    /// The committee of the next epoch.
    fn elect_committee(&mut self, dpos: &mut Dpos, sitting: &Sitting) -> Sitting {
        let params = &self.state.params;
        let epoch = sitting.committee.epoch().saturating_add(1);
        let seats = params.get(Param::Seats) as usize;
        let share = params.get(Param::StakeShare) as u64;
        let ballots = self.ballots(dpos);
        let runners = self.runners(dpos, epoch);
        let ready: Vec<Runner> = runners.iter().filter(|runner| !runner.sits_out).copied().collect();
        let mut outcome = tally::elect(&ready, &ballots, seats, share);
        if outcome.seated.len() < SEATS_MIN {
            outcome = tally::elect(&runners, &ballots, SEATS_MIN, share);
        }
        let Outcome { seated, standbys } = outcome;
        let elected = (seated.len() >= SEATS_MIN)
            .then(|| Committee::ranked(epoch, seated.iter().map(|(seat, _)| *seat).collect()))
            .flatten();
        let kept = elected.is_none();
        let committee = elected.or_else(|| Committee::new(epoch, sitting.committee.seats().to_vec()));
        // INVARIANT: the seats of a committee make a committee.
        let committee = committee.expect("INVARIANT: a committee can be kept");

        let sat = (sitting.committee.seats().iter()).map(|seat| (seat.participant, keys_of(seat)));
        dpos.past.insert(sitting.committee.epoch(), sat.collect());
        let oldest = epoch.saturating_sub(params.get(Param::EvidenceEpochs) as u64);
        dpos.past = dpos.past.split_off(&oldest);
        dpos.offences.retain(|(of, ..)| *of >= oldest);
        dpos.seats_changed = true;

        for (rank, seat) in (0..).zip(committee.seats()) {
            let votes = seated.iter().find(|(other, _)| other.participant == seat.participant);
            self.tell(DelegateEvent::Seated {
                epoch,
                rank,
                participant: seat.participant,
                emission: seat.emission,
                stake: seat.stake,
                votes: votes.map_or(0, |(_, votes)| *votes),
            });
        }
        self.tell(DelegateEvent::Elected {
            epoch,
            committee: committee.hash(self.state.chain),
            // BOUND: at most SEATS_MAX.
            seats: committee.seats().len() as u32,
            kept,
        });
        Sitting::new(committee, if kept { Vec::new() } else { standbys })
    }

    /// Who counts as one with an account.
    fn tag(&self, at: AccountIndex) -> Tag {
        match self.state.accounts.at(at).group {
            0 => Tag::Alone(at.get()),
            group => Tag::Group(group),
        }
    }

    /// Candidates that may be elected for `epoch`: they stand, are admitted, and have an audited emission.
    fn runners(&self, dpos: &Dpos, epoch: u64) -> Vec<Runner> {
        let accounts = &self.state.accounts;
        let runner = |(id, candidate): (&ParticipantId, &super::Candidate)| {
            let keys = candidate.keys?;
            let at = accounts.index(*id)?;
            let elector = dpos.elector(at);
            let (_, emission) = elector
                .emission
                .filter(|_| accounts.at(at).is_admitted(self.state.time))?;
            Some(Runner {
                seat: Seat {
                    participant: *id,
                    peer_key: keys.peer_key,
                    ballot_key: keys.ballot_key,
                    emission,
                    stake: elector.stake(&self.state.params),
                },
                tag: self.tag(at),
                sits_out: candidate.out_until > epoch,
            })
        };
        dpos.candidates.iter().filter_map(runner).collect()
    }

    /// Votes that count: of admitted accounts whose stake is not forfeited.
    fn ballots(&self, dpos: &Dpos) -> Vec<Ballot> {
        let accounts = &self.state.accounts;
        let ballot = |(place, elector): (u32, &super::Elector)| {
            let at = AccountIndex::new(place);
            let candidate = elector.vote?;
            let counts = accounts.at(at).is_admitted(self.state.time) && !dpos.is_forfeited(accounts.id(at));
            counts.then(|| Ballot {
                tag: self.tag(at),
                stake: elector.stake(&self.state.params),
                candidate,
            })
        };
        (0..).zip(&dpos.electors).filter_map(ballot).collect()
    }
}
