//! Every numbered answer to a participant, in order of precedence: the first that holds is given.
//!
//! Numbers are on the wire for ever; docs/rejects.md lists them and a test holds that page to this table.

macro_rules! rejects {
    ($($code:literal $name:ident $text:literal;)*) => {
        /// Why something was refused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Reject {
            $(#[doc = $text] $name = $code,)*
        }

        impl Reject {
            /// Every code, in order of precedence.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number on the wire.
            pub const fn code(self) -> u16 {
                self as u16
            }

            /// The answer of a number.
            pub const fn from_code(code: u16) -> Option<Self> {
                match code {
                    $($code => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// What it means, and what to do about it.
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }

        impl core::fmt::Display for Reject {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{} {}: {}", self.code(), self.name(), self.text())
            }
        }
    };
}

rejects! {
    // The session: bytes that are not a message, messages that may not be sent now.
    1 Garbage "The bytes are no SoupBinTCP packet; the session is closed.";
    2 OversizeFrame "The packet is longer than this node accepts; the session is closed.";
    3 ShortFrame "The packet ends before its message does.";
    4 UnknownMessage "No inbound message has this template, schema or version.";
    5 MalformedMessage "A length, count or reserved field of the message is wrong.";
    6 NotLoggedOn "Only Register is taken before Logon.";
    7 LogonRefused "The logon's signature, participant, grade or sequence number is wrong.";
    8 NotThisParticipant "The envelope names another participant than the session.";
    9 StepRefused "Step is for the regulator's session of a demo node in lockstep, and time must move forward.";
    10 TooManySessions "The node holds as many sessions as it is configured for.";
    11 SessionSuspended "Too many invalid signatures came over this session; it is closed.";
    12 NotAccepting "The node is stopping or cannot write its ledger.";
    13 TooManyFromAddress "As many sessions come from this address as the node takes from one.";
    14 TooManyOfParticipant "The participant has as many sessions as the node takes from one; this one is closed.";
    15 MessageRate "The participant, or the address before a logon, has sent as many messages as it may in this time; send again later.";
    16 ByteRate "The participant, or the address before a logon, has sent as many bytes as it may in this time; send again later.";
    17 NodeRate "All sessions together have sent as much as the node takes in this time; send again later.";
    18 LogonsExhausted "Too many refused logons or registrations came over this session; it is closed.";
    19 TimedOut "The session has not logged in, or has been silent, for longer than it may; it is closed.";
    // Registration.
    20 BadAdmission "The registrar's signature over the registration does not hold.";
    21 BadKey "The public key is no point of the subgroup, or is infinity.";
    22 BadProofOfPossession "The proof of possession does not hold for this key.";
    23 BadMeters "The meters do not hash to meters_root, or a meter is malformed.";
    24 AlreadyRegistered "This admission serial is registered.";
    25 KeyTaken "This public key has been registered before.";
    26 MeterTaken "A meter belongs to another account.";
    27 AdmissionExpired "The admission has expired.";
    28 BadRoles "The roles or flags of the registration are not allowed.";
    // The session again.
    30 SlowConsumer "The session takes what is sent to it too slowly; it is closed, and may resume from the number it expects next.";
    31 HeldTooMany "As many messages wait for the next Step as the node holds; send again after it.";
    // The envelope.
    40 UnknownParticipant "No such participant is registered.";
    41 BadCount "An envelope carries at least one leaf and at most leaves_max.";
    42 BadRoot "The leaves do not hash to the envelope's root.";
    43 BadSignature "The signature does not hold for the participant's key.";
    44 WrongKeyVersion "The envelope names a key version that is not current.";
    45 Expired "The envelope's not_after lies in the past.";
    46 TtlTooLong "The envelope's not_after lies too far in the future.";
    47 NonceOutOfWindow "The nonce lies outside the window of 1,024 above the base.";
    48 Duplicate "This nonce has been used; the answer carries the sequence number it was used at.";
    49 Suspended "The participant is suspended or its admission has expired.";
    50 Quota "The account has sent as many items as one block takes.";
    // The item.
    60 MalformedItem "A reserved field, flag, index or number of the leaf is wrong.";
    61 UnknownItem "No leaf has this kind.";
    62 RoleMissing "The account's roles do not allow this leaf.";
    63 NotEnabled "The feature of this leaf or option is not there yet.";
    64 UnknownContract "The contract is not known: before gate opening, after close, or another area or product.";
    65 GateClosed "The gate of this contract has closed.";
    66 Halted "The contract or the area is halted.";
    67 NotInPhase "The cycle is in a phase that does not take this.";
    68 WrongRound "The round named is not the one that runs.";
    69 AlreadySealed "One seal per participant, contract and round.";
    70 BondClassOutOfRange "The bond class lies outside its range.";
    71 PriceOutOfBounds "The price lies outside its bounds.";
    72 EnergyZero "The energy is zero.";
    73 EnergyOutOfBounds "The energy lies outside its bounds.";
    74 ChargeCapOutOfBounds "The charge cap is below -1 or too large.";
    75 MinFillOutOfBounds "The minimum fill exceeds the energy, or the energy shown at a time.";
    76 NotionalTooLarge "Price times energy exceeds 2^62 nano-points.";
    77 ConcessionViolated "A later quote must be at or better than the worst price of the latest envelope.";
    78 BidBelowFloor "A bid must exceed the floor read at gate opening.";
    79 CapacityExceeded "Open asks and sales exceed the registered export capacity of the period.";
    80 NoBalance "The free balance does not cover the reservation.";
    81 UnknownOrder "The participant has no such open order.";
    82 WouldCross "A post-only quote would trade at once.";
    83 ValidUntilPast "valid_until_s lies in the past.";
    84 ClientOrderIdUsed "The client order id is not above the account's highest accepted one.";
    85 DisplayOutOfBounds "What is shown at a time is less than a hundredth of the energy.";
    // Reveals and what becomes of them when their phase closes.
    100 NoSeal "The participant has no seal on this contract and round.";
    101 RevealMismatch "The salt and quotes do not hash to the commitment; try again before the phase ends.";
    102 RevealEarly "REVEAL has not opened.";
    103 RevealLate "REVEAL has closed.";
    104 AlreadyRevealed "A matching reveal is recorded.";
    105 NotRevealed "No matching reveal came before REVEAL closed; the bond is burned.";
    106 RevealUnfunded "The free balance does not cover the revealed quotes; the bond is burned.";
    107 RevealNotConceding "A revealed quote is worse than the mark; the bond is burned.";
    108 BondExceeded "The revealed notional times alpha exceeds the bond from this quote on.";
    109 TimeInForceNotSealed "A sealed quote rests until the gate, until valid_until_s, or is immediate-or-cancel; it shows all of its energy and names a limit.";
    // Everybody else's leaves.
    120 UnknownDeal "No such deal waits for this.";
    121 NotCounterparty "Only a party of the deal may rate it.";
    122 AlreadyRated "The deal has been rated by this party.";
    123 DealsDigestMismatch "The digest is not that of the contract's deals in that block.";
    124 CountersignLate "The deadline to countersign has passed; the deals are void.";
    125 UnknownMeter "No account holds this meter.";
    126 MeterNotInPeriod "Readings are taken from the end of delivery until settlement.";
    127 ReadingOutOfBounds "The reading exceeds the meter's registered capacity.";
    128 StaleRevision "A reading with this or a later revision is recorded.";
    129 MeterFrozen "Conflicting readings have frozen the meter.";
    130 UnknownParam "No parameter has this id.";
    131 ParamOutOfBounds "The value lies outside the parameter's bounds or contradicts another.";
    132 UnknownAction "No order to the market has this action.";
    133 ParamFixed "The parameter is set by genesis and never changes.";
    // Votes, candidacies, emissions.
    140 WrongEpoch "The vote or candidacy names another epoch than the next.";
    141 UnknownCandidate "No such candidate stands for election.";
    142 StakeForfeited "The account's stake is forfeited: it neither votes nor stands again.";
    143 StaleEmission "The period has not begun, or a statement of a later one is recorded.";
    144 BadCandidacy "The candidacy's keys are not attached to the envelope, are none, or are not proven to be held.";
    // Evidence against delegates.
    150 OtherChain "The evidence is of another chain.";
    151 EvidenceOutOfTime "The evidence is of an epoch that is too long ago or has not begun.";
    152 NotSeated "The accused did not have that rank in the committee of that epoch.";
    153 AlreadyJudged "The offence is recorded.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_ascend_and_come_back() {
        assert!(Reject::ALL.windows(2).all(|w| w[0].code() < w[1].code()));
        for reject in Reject::ALL {
            assert_eq!(Reject::from_code(reject.code()), Some(*reject));
        }
        assert_eq!(Reject::from_code(0), None);
    }
}
