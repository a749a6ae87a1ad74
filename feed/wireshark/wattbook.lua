-- Messages of the Wattbook feed for Wireshark and tshark, inside SoupBinTCP and MoldUDP64.
--
-- Copy it into the folder of personal Lua plugins, or name it: tshark -X lua_script:wattbook.lua. The framing is told by
-- port: -d tcp.port==7411,soupbintcp for sessions, -d udp.port==PORT,moldudp64 for the fan-out.

local wattbook = Proto("wattbook", "Wattbook feed")

-- Tables: written from feed/src by the test `lua_is_current`; do not edit.
local SCHEMA_ID = 1
local ENUMS = {
  Aggressor = { type = "u8", names = {
    [0] = "None",
    [1] = "Buy",
    [2] = "Sell",
  } },
  Boolean = { type = "u8", names = {
    [0] = "No",
    [1] = "Yes",
  } },
  CloseReason = { type = "u8", names = {
    [1] = "Filled",
    [2] = "Cancelled",
    [3] = "Replaced",
    [4] = "Revealed",
    [5] = "ImmediateOrCancel",
    [6] = "FillOrKill",
    [7] = "SelfTrade",
    [8] = "Expired",
    [9] = "GateClosed",
    [10] = "Suspended",
    [11] = "NoCounterparty",
    [12] = "PriceNotMet",
    [13] = "OutOfRange",
    [14] = "Exhausted",
    [15] = "ChargeCap",
    [16] = "NoMarket",
  } },
  Grade = { type = "u8", names = {
    [1] = "Matched",
    [2] = "Durable",
    [3] = "Final",
  } },
  HaltReason = { type = "u8", names = {
    [1] = "EndOfDay",
    [2] = "Stopping",
    [3] = "LedgerFailed",
    [4] = "DiskFull",
  } },
  HeldKind = { type = "u8", names = {
    [1] = "Register",
    [2] = "Envelope",
    [3] = "Reveal",
    [4] = "OnDisconnect",
  } },
  Phase = { type = "u8", names = {
    [1] = "Seal",
    [2] = "Reveal",
    [3] = "Ranked",
    [4] = "Matched",
    [5] = "Continuous",
    [6] = "GateClosed",
    [7] = "Delivering",
    [8] = "Metering",
    [9] = "Settled",
    [10] = "Closed",
  } },
  Reject = { type = "u16", names = {
    [1] = "Garbage",
    [2] = "OversizeFrame",
    [3] = "ShortFrame",
    [4] = "UnknownMessage",
    [5] = "MalformedMessage",
    [6] = "NotLoggedOn",
    [7] = "LogonRefused",
    [8] = "NotThisParticipant",
    [9] = "StepRefused",
    [10] = "TooManySessions",
    [11] = "SessionSuspended",
    [12] = "NotAccepting",
    [13] = "TooManyFromAddress",
    [14] = "TooManyOfParticipant",
    [15] = "MessageRate",
    [16] = "ByteRate",
    [17] = "NodeRate",
    [18] = "LogonsExhausted",
    [19] = "TimedOut",
    [20] = "BadAdmission",
    [21] = "BadKey",
    [22] = "BadProofOfPossession",
    [23] = "BadMeters",
    [24] = "AlreadyRegistered",
    [25] = "KeyTaken",
    [26] = "MeterTaken",
    [27] = "AdmissionExpired",
    [28] = "BadRoles",
    [30] = "SlowConsumer",
    [31] = "HeldTooMany",
    [40] = "UnknownParticipant",
    [41] = "BadCount",
    [42] = "BadRoot",
    [43] = "BadSignature",
    [44] = "WrongKeyVersion",
    [45] = "Expired",
    [46] = "TtlTooLong",
    [47] = "NonceOutOfWindow",
    [48] = "Duplicate",
    [49] = "Suspended",
    [50] = "Quota",
    [60] = "MalformedItem",
    [61] = "UnknownItem",
    [62] = "RoleMissing",
    [63] = "NotEnabled",
    [64] = "UnknownContract",
    [65] = "GateClosed",
    [66] = "Halted",
    [67] = "NotInPhase",
    [68] = "WrongRound",
    [69] = "AlreadySealed",
    [70] = "BondClassOutOfRange",
    [71] = "PriceOutOfBounds",
    [72] = "EnergyZero",
    [73] = "EnergyOutOfBounds",
    [74] = "ChargeCapOutOfBounds",
    [75] = "MinFillOutOfBounds",
    [76] = "NotionalTooLarge",
    [77] = "ConcessionViolated",
    [78] = "BidBelowFloor",
    [79] = "CapacityExceeded",
    [80] = "NoBalance",
    [81] = "UnknownOrder",
    [82] = "WouldCross",
    [83] = "ValidUntilPast",
    [84] = "ClientOrderIdUsed",
    [85] = "DisplayOutOfBounds",
    [100] = "NoSeal",
    [101] = "RevealMismatch",
    [102] = "RevealEarly",
    [103] = "RevealLate",
    [104] = "AlreadyRevealed",
    [105] = "NotRevealed",
    [106] = "RevealUnfunded",
    [107] = "RevealNotConceding",
    [108] = "BondExceeded",
    [109] = "TimeInForceNotSealed",
    [120] = "UnknownDeal",
    [121] = "NotCounterparty",
    [122] = "AlreadyRated",
    [123] = "DealsDigestMismatch",
    [124] = "CountersignLate",
    [125] = "UnknownMeter",
    [126] = "MeterNotInPeriod",
    [127] = "ReadingOutOfBounds",
    [128] = "StaleRevision",
    [129] = "MeterFrozen",
    [130] = "UnknownParam",
    [131] = "ParamOutOfBounds",
    [132] = "UnknownAction",
    [133] = "ParamFixed",
    [140] = "WrongEpoch",
    [141] = "UnknownCandidate",
    [142] = "StakeForfeited",
    [143] = "StaleEmission",
    [144] = "BadCandidacy",
    [150] = "OtherChain",
    [151] = "EvidenceOutOfTime",
    [152] = "NotSeated",
    [153] = "AlreadyJudged",
  } },
  Side = { type = "u8", names = {
    [1] = "Buy",
    [2] = "Sell",
  } },
}
local COMPOSITES = {
  DealEntry = {
    { "contract", "u64", 0, 8, "Contract traded." },
    { "ordinal", "u64", 8, 8, "Number of the deal within its contract, from 0." },
    { "buyer", "u64", 16, 8, "The buyer's account." },
    { "buyer_nonce", "u64", 24, 8, "Nonce of the bid's envelope." },
    { "buyer_index", "u32", 32, 4, "Index of the bid." },
    { "reserved0", "zero", 36, 4, "Zero." },
    { "seller", "u64", 40, 8, "The seller's account." },
    { "seller_nonce", "u64", 48, 8, "Nonce of the ask's envelope." },
    { "seller_index", "u32", 56, 4, "Index of the ask." },
    { "reserved1", "zero", 60, 4, "Zero." },
    { "price", "i64", 64, 8, "Price of the energy, half ticks." },
    { "energy_wh", "u64", 72, 8, "Energy, Wh." },
    { "c1", "i32", 80, 4, "Network charge C1, ticks." },
    { "c2", "i32", 84, 4, "Network charge C2, ticks." },
    { "c3", "i32", 88, 4, "Network charge C3, ticks." },
    { "congestion", "i32", 92, 4, "Congestion fee, ticks." },
  },
  EnvelopeHeader = {
    { "version", "u16", 0, 2, "1." },
    { "reserved0", "zero", 2, 2, "Zero." },
    { "count", "u32", 4, 4, "Number of leaves." },
    { "participant", "u64", 8, 8, "Who signs." },
    { "key_version", "u32", 16, 4, "Version of the signing key." },
    { "reserved1", "zero", 20, 4, "Zero." },
    { "nonce", "u64", 24, 8, "Unique within the participant's window, from 1." },
    { "not_after_ns", "u64", 32, 8, "Last instant of validity, ns since the epoch." },
    { "root", "bytes", 40, 32, "RFC 9162 root over the leaves." },
  },
  OrderView = {
    { "participant", "u64", 0, 8, "Owner: account id if named, else the pseudonym within the contract." },
    { "nonce", "u64", 8, 8, "Nonce of its envelope if named, else 0." },
    { "index", "u32", 16, 4, "Index of its leaf if named, else 0." },
    { "named", "Boolean", 20, 1, "Whether the owner is named." },
    { "reserved", "zero", 21, 3, "Zero." },
    { "reference", "u64", 24, 8, "The order's public name, the same for every reader." },
  },
  Party = {
    { "id", "u64", 0, 8, "Account id if named, else the pseudonym within the contract." },
    { "named", "Boolean", 8, 1, "Whether the id is an account's." },
    { "reserved", "zero", 9, 7, "Zero." },
  },
  Register = {
    { "roles", "u32", 0, 4, "Role bits: 0 buyer, 1 seller, 2 aggregator, 3 grid, 4 meter authority, 5 regulator, 6 delegate." },
    { "flags", "u32", 4, 4, "Reserved, zero." },
    { "admit_serial", "u64", 8, 8, "The account's id: unique, above 0." },
    { "not_after_ns", "u64", 16, 8, "When the admission expires, ns since the epoch." },
    { "public_key", "bytes", 24, 96, "BLS public key, compressed G2." },
    { "session_spki", "bytes", 120, 32, "SHA-256 of the TLS client key; zero on loopback." },
    { "group", "bytes", 152, 32, "Affiliation group; zero none." },
    { "meters_root", "bytes", 184, 32, "RFC 9162 root over the meters." },
  },
}
local LEAVES = {
  [1] = { name = "Quote", fields = {
    { "kind", "u8", 0, 1, "1." },
    { "flags", "u8", 1, 1, "Bits 0-1 side, 2-4 time in force, 5 market-to-limit, 6-7 self-trade." },
    { "round", "u16", 2, 2, "Round of a sealed quote, from 1; 0 outside rounds." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "contract", "u64", 8, 8, "Contract to trade." },
    { "client_order_id", "u64", 16, 8, "The participant's own name for the order." },
    { "price", "i32", 24, 4, "Limit price, ticks." },
    { "charge_cap", "i32", 28, 4, "Cap on the network charge, ticks; -1 the parameter." },
    { "energy_wh", "u32", 32, 4, "Energy, Wh." },
    { "min_fill", "u32", 36, 4, "Least energy of an execution, Wh." },
    { "display", "u32", 40, 4, "Energy shown, Wh; 0 all." },
    { "valid_until_s", "u32", 44, 4, "Last instant of validity, s since the epoch." },
  } },
  [2] = { name = "Cancel", fields = {
    { "kind", "u8", 0, 1, "2." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "contract", "u64", 8, 8, "Contract; 0 all." },
    { "target_nonce", "u64", 16, 8, "Nonce of the target's envelope; 0 all orders." },
    { "target_index", "u32", 24, 4, "Index of the target; 0xffffffff all of the envelope." },
    { "reserved", "zero", 28, 20, "Zero." },
  } },
  [3] = { name = "Replace", fields = {
    { "kind", "u8", 0, 1, "3." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "contract", "u64", 8, 8, "Contract of the target." },
    { "target_nonce", "u64", 16, 8, "Nonce of the target." },
    { "target_index", "u32", 24, 4, "Index of the target." },
    { "price", "i32", 28, 4, "New limit, ticks." },
    { "charge_cap", "i32", 32, 4, "New cap on the charge, ticks; -1 the parameter." },
    { "energy_wh", "u32", 36, 4, "New open quantity, Wh." },
    { "min_fill", "u32", 40, 4, "New least execution, Wh." },
    { "display", "u32", 44, 4, "Energy shown, Wh; 0 all." },
  } },
  [4] = { name = "Seal", fields = {
    { "kind", "u8", 0, 1, "4." },
    { "bond_class", "u8", 1, 1, "Bond = unit x 2^class." },
    { "round", "u16", 2, 2, "Round, from 1." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "contract", "u64", 8, 8, "Contract." },
    { "commitment", "bytes", 16, 32, "D(\"seal\", ...) of the reveal to come." },
  } },
  [5] = { name = "Confirm", fields = {
    { "kind", "u8", 0, 1, "5." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "deal_id", "bytes", 8, 32, "The deal." },
    { "accept", "Boolean", 40, 1, "Whether it is accepted." },
    { "reserved", "zero", 41, 7, "Zero." },
  } },
  [6] = { name = "Rate", fields = {
    { "kind", "u8", 0, 1, "6." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "deal_id", "bytes", 8, 32, "The deal." },
    { "good", "Boolean", 40, 1, "Whether it was good." },
    { "reserved", "zero", 41, 7, "Zero." },
  } },
  [7] = { name = "Transfer", fields = {
    { "kind", "u8", 0, 1, "7." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "to", "u64", 8, 8, "Account paid." },
    { "amount", "i64", 16, 8, "Nano-points, more than 0." },
    { "memo", "bytes", 24, 24, "Free bytes of the sender." },
  } },
  [8] = { name = "Redeem", fields = {
    { "kind", "u8", 0, 1, "8." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "amount", "i64", 8, 8, "Nano-points." },
    { "bill_ref", "bytes", 16, 32, "Salted reference of the bill." },
  } },
  [9] = { name = "Vote", fields = {
    { "kind", "u8", 0, 1, "9." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "epoch", "u64", 8, 8, "Epoch voted for." },
    { "candidate", "u64", 16, 8, "Account voted for." },
    { "reserved", "zero", 24, 24, "Zero." },
  } },
  [10] = { name = "Grid", fields = {
    { "kind", "u8", 0, 1, "10." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "height", "u64", 8, 8, "Block in which the deals were made." },
    { "deals_digest", "bytes", 16, 32, "D(\"deals\", ...)." },
  } },
  [11] = { name = "Key", fields = {
    { "kind", "u8", 0, 1, "11." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "effective_epoch", "u64", 8, 8, "First epoch of the new key." },
    { "key_digest", "bytes", 16, 32, "D(\"key\", new key)." },
  } },
  [12] = { name = "Meter", fields = {
    { "kind", "u8", 0, 1, "12." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "meter", "u64", 8, 8, "The metering point." },
    { "period", "u32", 16, 4, "Quarter hours since 1970." },
    { "revision", "u32", 20, 4, "A higher one replaces a lower one." },
    { "import_wh", "u32", 24, 4, "Withdrawal, Wh." },
    { "export_wh", "u32", 28, 4, "Injection, Wh." },
    { "reserved", "zero", 32, 16, "Zero." },
  } },
  [13] = { name = "Call", fields = {
    { "kind", "u8", 0, 1, "13." },
    { "deploy", "Boolean", 1, 1, "1: deploy." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "fuel", "u64", 8, 8, "Greatest number of steps." },
    { "call_digest", "bytes", 16, 32, "D(\"call\", code and argument bytes)." },
  } },
  [14] = { name = "Configure", fields = {
    { "kind", "u8", 0, 1, "14." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "param", "u32", 8, 4, "Id of the parameter." },
    { "reserved0", "zero", 12, 4, "Zero." },
    { "value", "i64", 16, 8, "New value." },
    { "reserved1", "zero", 24, 24, "Zero." },
  } },
  [15] = { name = "Order", fields = {
    { "kind", "u8", 0, 1, "15." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "action", "u8", 8, 1, "1 halt, 2 resume, 3 suspend, 4 reinstate." },
    { "reserved0", "zero", 9, 7, "Zero." },
    { "contract", "u64", 16, 8, "Contract of a halt or resume; 0 the area." },
    { "participant", "u64", 24, 8, "Participant of a suspension or reinstatement." },
    { "reason", "u32", 32, 4, "Free code of the regulator." },
    { "reserved1", "zero", 36, 12, "Zero." },
  } },
  [16] = { name = "Emission", fields = {
    { "kind", "u8", 0, 1, "16." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "participant", "u64", 8, 8, "Whose." },
    { "period", "u32", 16, 4, "Quarter hours since 1970." },
    { "reserved0", "zero", 20, 4, "Zero." },
    { "grams", "u64", 24, 8, "Grams of CO2." },
    { "reserved1", "zero", 32, 16, "Zero." },
  } },
  [17] = { name = "Dispute", fields = {
    { "kind", "u8", 0, 1, "17." },
    { "flags", "zero", 1, 1, "Zero." },
    { "round", "zero", 2, 2, "Zero." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "deal_id", "bytes", 8, 32, "The deal." },
    { "reserved", "zero", 40, 8, "Zero." },
  } },
}
local MESSAGES = {
  [1] = { name = "Logon", fields = {
    { "participant", "u64", 0, 8, "The account." },
    { "grade", "u8", 8, 1, "Grade of the acknowledgements it wants: 1 matched, 2 durable, 3 final." },
    { "reserved", "zero", 9, 7, "Zero." },
    { "signature", "bytes", 16, 48, "SIG(D(\"logon\", challenge 32, participant u64, grade u8, zero 7))." },
  } },
  [2] = { name = "RegisterAccount", fields = {
    { "register", "Register", 0, 216, "R." },
    { "admit", "bytes", 216, 64, "The registrar's signature over D(\"admit\", R)." },
    { "possession", "bytes", 280, 48, "Proof of possession over D(\"register\", R)." },
  }, group = { name = "meters", fields = {
    { "meter", "u64", 0, 8, "Its number, unique for ever." },
    { "import_cap_wh", "u64", 8, 8, "Greatest import per 15 minutes, Wh." },
    { "export_cap_wh", "u64", 16, 8, "Greatest export per 15 minutes, Wh." },
    { "kind", "u32", 24, 4, "1 load, 2 clean generation, 3 storage, 4 grid." },
    { "reserved", "zero", 28, 4, "Zero." },
  } } },
  [3] = { name = "Envelope", fields = {
    { "header", "EnvelopeHeader", 0, 72, "H." },
    { "signature", "bytes", 72, 48, "SIG(D(\"envelope\", H))." },
  }, group = { name = "leaves", fields = {
    { "kind", "u8", 0, 1, "Kind of the leaf, 1-17." },
    { "flags", "u8", 1, 1, "Flags of the kind." },
    { "round", "u16", 2, 2, "Round, from 1; 0 outside rounds." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "body", "bytes", 8, 40, "Body of the kind." },
  } } },
  [4] = { name = "Reveal", fields = {
    { "participant", "u64", 0, 8, "Who sealed." },
    { "contract", "u64", 8, 8, "Contract." },
    { "round", "u32", 16, 4, "Round, from 1." },
    { "reserved", "zero", 20, 4, "Zero; the record has its count of leaves here." },
    { "salt", "bytes", 24, 32, "Salt of the commitment." },
  }, group = { name = "leaves", fields = {
    { "kind", "u8", 0, 1, "Kind of the leaf, 1-17." },
    { "flags", "u8", 1, 1, "Flags of the kind." },
    { "round", "u16", 2, 2, "Round, from 1; 0 outside rounds." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "body", "bytes", 8, 40, "Body of the kind." },
  } } },
  [5] = { name = "Step", fields = {
    { "time_ns", "u64", 0, 8, "The time of the Tick, ns since the epoch." },
  } },
  [6] = { name = "OnDisconnect", fields = {
    { "header", "EnvelopeHeader", 0, 72, "H." },
    { "signature", "bytes", 72, 48, "SIG(D(\"envelope\", H))." },
  }, group = { name = "leaves", fields = {
    { "kind", "u8", 0, 1, "Kind of the leaf, 1-17." },
    { "flags", "u8", 1, 1, "Flags of the kind." },
    { "round", "u16", 2, 2, "Round, from 1; 0 outside rounds." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "body", "bytes", 8, 40, "Body of the kind." },
  } } },
  [7] = { name = "Candidacy", fields = {
    { "header", "EnvelopeHeader", 0, 72, "H." },
    { "signature", "bytes", 72, 48, "SIG(D(\"envelope\", H))." },
    { "index", "u32", 120, 4, "Place of the leaf that names the keys." },
    { "reserved", "zero", 124, 4, "Zero." },
    { "peer_key", "bytes", 128, 32, "Ed25519 key of its links." },
    { "ballot_key", "bytes", 160, 96, "Key of its ballots." },
    { "possession", "bytes", 256, 48, "Proof of possession over the ballot key's bytes." },
  }, group = { name = "leaves", fields = {
    { "kind", "u8", 0, 1, "Kind of the leaf, 1-17." },
    { "flags", "u8", 1, 1, "Flags of the kind." },
    { "round", "u16", 2, 2, "Round, from 1; 0 outside rounds." },
    { "index", "u32", 4, 4, "Position in the envelope." },
    { "body", "bytes", 8, 40, "Body of the kind." },
  } } },
  [20] = { name = "Challenge", fields = {
    { "challenge", "bytes", 0, 32, "Fresh random bytes." },
    { "chain_id", "bytes", 32, 32, "The chain this node serves." },
    { "demo", "Boolean", 64, 1, "Whether its genesis is a demonstration." },
    { "reserved", "zero", 65, 7, "Zero." },
  } },
  [21] = { name = "LoggedOn", fields = {
    { "participant", "u64", 0, 8, "The account." },
    { "next_nonce", "u64", 8, 8, "Least nonce that is surely unused: the window's base + 1 or above." },
    { "grade", "Grade", 16, 1, "Grade of the acknowledgements." },
    { "reserved", "zero", 17, 7, "Zero." },
  } },
  [22] = { name = "Held", fields = {
    { "participant", "u64", 0, 8, "Sender." },
    { "nonce", "u64", 8, 8, "Nonce of the envelope; 0 for a registration, a reveal or a withdrawal." },
    { "kind", "HeldKind", 16, 1, "What is held." },
    { "reserved", "zero", 17, 7, "Zero." },
  } },
  [23] = { name = "RejectedMessage", fields = {
    { "participant", "u64", 0, 8, "Sender, as far as known." },
    { "nonce", "u64", 8, 8, "Nonce of the envelope; 0 for any other message." },
    { "contract", "u64", 16, 8, "Contract of the reveal; 0 for any other message." },
    { "code", "Reject", 24, 2, "Why." },
    { "reserved", "zero", 26, 6, "Zero." },
    { "original_seq", "u64", 32, 8, "For Duplicate, the sequence number the nonce was used at; else 0." },
  } },
  [24] = { name = "Watermark", fields = {
    { "grade", "Grade", 0, 1, "The grade." },
    { "reserved", "zero", 1, 7, "Zero." },
    { "height", "u64", 8, 8, "Last block." },
    { "seq", "u64", 16, 8, "Last record." },
  } },
  [25] = { name = "BlockSealed", fields = {
    { "height", "u64", 0, 8, "Its height." },
    { "time_ns", "u64", 8, 8, "Its time, ns since the epoch." },
    { "record_count", "u64", 16, 8, "Records in it." },
    { "event_count", "u64", 24, 8, "Public events in it." },
    { "first_seq", "u64", 32, 8, "Sequence number of its first record." },
    { "block_digest", "bytes", 40, 32, "D(\"block\", header)." },
    { "state_root", "bytes", 72, 32, "Root of the state after it." },
  } },
  [26] = { name = "Stepped", fields = {
    { "time_ns", "u64", 0, 8, "Time now, ns since the epoch." },
    { "height", "u64", 8, 8, "Last block." },
    { "seq", "u64", 16, 8, "Last record." },
  } },
  [27] = { name = "DealRecord", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that made it." },
    { "height", "u64", 8, 8, "Block in which it was made." },
    { "record", "DealEntry", 16, 96, "The record that is hashed." },
    { "deal_id", "bytes", 112, 32, "D(\"deal\", record)." },
  } },
  [28] = { name = "Halted", fields = {
    { "reason", "HaltReason", 0, 1, "Why." },
    { "reserved", "zero", 1, 7, "Zero." },
    { "seq", "u64", 8, 8, "Last record." },
  } },
  [29] = { name = "EventEnd", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record." },
    { "changes", "u64", 8, 8, "Messages of this record that tell a change: Opened, Reduced, Closed, Executed." },
  } },
  [30] = { name = "SnapshotOrder", fields = {
    { "contract", "u64", 0, 8, "Contract." },
    { "reference", "u64", 8, 8, "The order's public name." },
    { "participant", "u64", 16, 8, "Pseudonym of its owner within the contract." },
    { "price", "i64", 24, 8, "Limit, ticks." },
    { "leaves_wh", "u64", 32, 8, "Open quantity as far as shown, Wh." },
    { "side", "Side", 40, 1, "Side." },
    { "reserved", "zero", 41, 7, "Zero." },
  } },
  [31] = { name = "SnapshotEnd", fields = {
    { "next", "u64", 0, 8, "Number of the public message that comes next." },
    { "height", "u64", 8, 8, "Block under way when the books stood like this." },
    { "seq", "u64", 16, 8, "Last record before." },
    { "orders", "u64", 24, 8, "Orders told." },
  } },
  [32] = { name = "Revoked", fields = {
    { "height", "u64", 0, 8, "First block that is given up." },
    { "seq", "u64", 8, 8, "Its first record." },
    { "next", "u64", 16, 8, "Number of the message that comes next when the session is resumed." },
  } },
  [100] = { name = "Registered", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "The account." },
    { "minted", "i64", 24, 8, "Points minted for it, nano-points." },
    { "roles", "u32", 32, 4, "Its role bits." },
    { "reserved", "zero", 36, 4, "Zero." },
  } },
  [101] = { name = "Accepted", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender." },
    { "nonce", "u64", 24, 8, "Envelope." },
    { "index", "u32", 32, 4, "Item." },
    { "reserved", "zero", 36, 4, "Zero." },
  } },
  [102] = { name = "Rejected", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender." },
    { "nonce", "u64", 24, 8, "Envelope." },
    { "index", "u32", 32, 4, "Item." },
    { "code", "Reject", 36, 2, "Why." },
    { "reserved", "zero", 38, 2, "Zero." },
  } },
  [103] = { name = "RevealAccepted", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender." },
    { "contract", "u64", 24, 8, "Contract." },
    { "round", "u16", 32, 2, "Round, from 1." },
    { "reserved", "zero", 34, 6, "Zero." },
  } },
  [104] = { name = "Sealed", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender." },
    { "contract", "u64", 24, 8, "Contract." },
    { "bond", "i64", 32, 8, "The bond, nano-points." },
    { "round", "u16", 40, 2, "Round, from 1." },
    { "reserved", "zero", 42, 6, "Zero." },
  } },
  [105] = { name = "SealVoided", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender." },
    { "contract", "u64", 24, 8, "Contract." },
    { "round", "u16", 32, 2, "Round, from 1." },
    { "code", "Reject", 34, 2, "Why." },
    { "reserved", "zero", 36, 4, "Zero." },
  } },
  [106] = { name = "BondReleased", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender of the seal." },
    { "contract", "u64", 24, 8, "Contract." },
    { "bond", "i64", 32, 8, "The bond, nano-points." },
    { "round", "u16", 40, 2, "Round, from 1." },
    { "reserved", "zero", 42, 6, "Zero." },
  } },
  [107] = { name = "BondBurned", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Sender of the seal." },
    { "contract", "u64", 24, 8, "Contract." },
    { "bond", "i64", 32, 8, "The bond, nano-points." },
    { "round", "u16", 40, 2, "Round, from 1." },
    { "code", "Reject", 42, 2, "Why." },
    { "reserved", "zero", 44, 4, "Zero." },
  } },
  [108] = { name = "QuoteVoided", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "order", "OrderView", 8, 32, "The order it would have been." },
    { "contract", "u64", 40, 8, "Contract." },
    { "code", "Reject", 48, 2, "Why." },
    { "reserved", "zero", 50, 6, "Zero." },
  } },
  [109] = { name = "PhaseChanged", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "time_ns", "u64", 16, 8, "Time of the border, ns since the epoch." },
    { "round", "u16", 24, 2, "Round, from 1." },
    { "phase", "Phase", 26, 1, "The phase." },
    { "reserved", "zero", 27, 5, "Zero." },
  } },
  [110] = { name = "Ranked", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "participant", "Party", 16, 16, "Who." },
    { "reputation", "u32", 32, 4, "R of Eq 4, ppm." },
    { "percentile", "u32", 36, 4, "Percentile, ppm; 0 is best." },
  } },
  [111] = { name = "Range", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "participant", "Party", 16, 16, "Who." },
    { "pos", "u32", 32, 4, "Place, from 1." },
    { "range", "u32", 36, 4, "Matchable range." },
    { "round", "u16", 40, 2, "Round, from 1." },
    { "side", "Side", 42, 1, "Side." },
    { "reserved", "zero", 43, 5, "Zero." },
  } },
  [112] = { name = "Charges", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "c1", "i32", 16, 4, "C1, ticks." },
    { "c2", "i32", 20, 4, "C2, ticks." },
    { "c3", "i32", 24, 4, "C3, ticks." },
    { "congestion", "i32", 28, 4, "Congestion fee, ticks." },
  } },
  [113] = { name = "Cep", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "cep", "i64", 16, 8, "Weighted by recency, micro-points/MWh." },
    { "volume_weighted", "i64", 24, 8, "Weighted by volume, micro-points/MWh." },
    { "deals", "u32", 32, 4, "Deals that entered it." },
    { "reserved", "zero", 36, 4, "Zero." },
  } },
  [114] = { name = "VolatilityAlarm", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "previous", "i64", 16, 8, "Before, micro-points/MWh." },
    { "cep", "i64", 24, 8, "Now, micro-points/MWh." },
  } },
  [115] = { name = "UniformPrice", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "price", "i64", 16, 8, "The price, ticks." },
    { "volume_wh", "u64", 24, 8, "Energy that clears at it, Wh." },
    { "lost_wh", "u64", 32, 8, "Energy of it lost to ranges, groups or caps, Wh." },
    { "round", "u16", 40, 2, "Round, from 1." },
    { "reserved", "zero", 42, 6, "Zero." },
  } },
  [116] = { name = "Opened", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "order", "OrderView", 8, 32, "The order." },
    { "contract", "u64", 40, 8, "Contract." },
    { "price", "i64", 48, 8, "Limit, ticks." },
    { "leaves_wh", "u64", 56, 8, "Open quantity, Wh; in public as far as shown." },
    { "side", "Side", 64, 1, "Side." },
    { "reserved", "zero", 65, 7, "Zero." },
  } },
  [117] = { name = "Reduced", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "order", "OrderView", 8, 32, "The order, by its new name." },
    { "was", "OrderView", 40, 32, "Its old name." },
    { "contract", "u64", 72, 8, "Contract." },
    { "price", "i64", 80, 8, "Limit, ticks." },
    { "leaves_wh", "u64", 88, 8, "Open quantity, Wh; in public as far as shown." },
    { "side", "Side", 96, 1, "Side." },
    { "reserved", "zero", 97, 7, "Zero." },
  } },
  [118] = { name = "Closed", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "order", "OrderView", 8, 32, "The order." },
    { "contract", "u64", 40, 8, "Contract." },
    { "price", "i64", 48, 8, "Limit, ticks." },
    { "leaves_wh", "u64", 56, 8, "Quantity never filled, Wh; in public as far as shown." },
    { "side", "Side", 64, 1, "Side." },
    { "reason", "CloseReason", 65, 1, "Why." },
    { "resting", "Boolean", 66, 1, "Whether it stood in the book." },
    { "reserved", "zero", 67, 5, "Zero." },
  } },
  [119] = { name = "Unmatched", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "order", "OrderView", 8, 32, "The order." },
    { "contract", "u64", 40, 8, "Contract." },
    { "leaves_wh", "u64", 48, 8, "Unfilled quantity, Wh, as far as shown." },
    { "side", "Side", 56, 1, "Side." },
    { "reason", "CloseReason", 57, 1, "Why." },
    { "reserved", "zero", 58, 6, "Zero." },
  } },
  [120] = { name = "Executed", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "ordinal", "u64", 16, 8, "Number of the deal within its contract, from 0." },
    { "buyer", "OrderView", 24, 32, "The bid." },
    { "seller", "OrderView", 56, 32, "The ask." },
    { "price", "i64", 88, 8, "Price of the energy, half ticks." },
    { "energy_wh", "u64", 96, 8, "Energy dealt, Wh." },
    { "bid", "i64", 104, 8, "The bid's limit, ticks." },
    { "ask", "i64", 112, 8, "The ask's limit, ticks." },
    { "buyer_leaves_wh", "u64", 120, 8, "Open quantity of the bid afterwards, Wh; in public as far as shown." },
    { "seller_leaves_wh", "u64", 128, 8, "Open quantity of the ask afterwards, Wh; in public as far as shown." },
    { "deal_id", "bytes", 136, 32, "Digest of the deal record for a party; zero in public, where it could be searched for accounts." },
    { "c1", "i32", 168, 4, "C1, ticks." },
    { "c2", "i32", 172, 4, "C2, ticks." },
    { "c3", "i32", 176, 4, "C3, ticks." },
    { "congestion", "i32", 180, 4, "Congestion fee, ticks." },
    { "aggressor", "Aggressor", 184, 1, "Side that took." },
    { "reserved", "zero", 185, 7, "Zero." },
  } },
  [121] = { name = "DealsSealed", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "height", "u64", 16, 8, "The block." },
    { "count", "u64", 24, 8, "How many." },
    { "deals_digest", "bytes", 32, 32, "What the grid company signs, for ledger readers; zero in public." },
  } },
  [122] = { name = "Contracted", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "height", "u64", 16, 8, "Block of the deals." },
    { "first", "u64", 24, 8, "First ordinal." },
    { "count", "u64", 32, 8, "How many." },
  } },
  [123] = { name = "DealVoided", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "ordinal", "u64", 16, 8, "The deal." },
    { "buyer", "Party", 24, 16, "Buyer." },
    { "seller", "Party", 40, 16, "Seller." },
  } },
  [124] = { name = "Metered", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Owner of the meter." },
    { "meter", "u64", 24, 8, "The metering point." },
    { "contract", "u64", 32, 8, "Contract." },
    { "import_wh", "u64", 40, 8, "Withdrawal, Wh." },
    { "export_wh", "u64", 48, 8, "Injection, Wh." },
  } },
  [125] = { name = "MeterFrozen", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Owner of the meter." },
    { "meter", "u64", 24, 8, "The metering point for its owner; 0 in public." },
  } },
  [126] = { name = "Settled", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "ordinal", "u64", 16, 8, "The deal." },
    { "buyer", "Party", 24, 16, "Buyer." },
    { "seller", "Party", 40, 16, "Seller." },
    { "contracted_wh", "u64", 56, 8, "Energy dealt, Wh." },
    { "settled_wh", "u64", 64, 8, "Energy settled, Wh." },
    { "energy_paid", "i64", 72, 8, "Paid by the buyer for energy, nano-points; received, if negative." },
    { "charge_paid", "i64", 80, 8, "Paid to the grid company, nano-points." },
    { "buyer_penalty", "i64", 88, 8, "Penalty paid by the buyer, nano-points." },
    { "seller_penalty", "i64", 96, 8, "Penalty paid by the seller, nano-points." },
  } },
  [127] = { name = "Balanced", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "participant", "Party", 16, 16, "Who." },
    { "energy_wh", "u64", 32, 8, "Energy, Wh." },
    { "paid", "i64", 40, 8, "Paid by the participant, nano-points; received, if negative." },
    { "unpaid", "i64", 48, 8, "What the payer's free balance did not cover, nano-points." },
    { "side", "Side", 56, 1, "Sell: surplus export. Buy: import beyond deals." },
    { "reserved", "zero", 57, 7, "Zero." },
  } },
  [128] = { name = "CleanMinted", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "participant", "Party", 16, 16, "Seller." },
    { "energy_wh", "u64", 32, 8, "Energy, Wh." },
    { "minted", "i64", 40, 8, "Points, nano-points." },
  } },
  [129] = { name = "DealRated", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "ordinal", "u64", 16, 8, "The deal." },
    { "participant", "Party", 24, 16, "Who is rated." },
    { "good", "Boolean", 40, 1, "Whether it was good." },
    { "reserved", "zero", 41, 7, "Zero." },
  } },
  [130] = { name = "Rated", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract." },
    { "participant", "Party", 16, 16, "Who." },
    { "reputation", "u32", 32, 4, "R of Eq 4 now, ppm." },
    { "entered", "u32", 36, 4, "Cycles with an order in the window." },
    { "traded", "u32", 40, 4, "Cycles with a fill." },
    { "good", "u32", 44, 4, "Cycles rated good." },
    { "declined", "u32", 48, 4, "Declined cycles in the window." },
    { "reserved", "zero", 52, 4, "Zero." },
  } },
  [131] = { name = "Configured", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "value", "i64", 8, 8, "To what." },
    { "param", "u32", 16, 4, "Id of the parameter." },
    { "reserved", "zero", 20, 4, "Zero." },
  } },
  [132] = { name = "ParamsInForce", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "params_hash", "bytes", 8, 32, "Their digest." },
  } },
  [133] = { name = "MarketHalted", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract; 0 the area." },
    { "reason", "u32", 16, 4, "The regulator's code." },
    { "reserved", "zero", 20, 4, "Zero." },
  } },
  [134] = { name = "MarketResumed", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "contract", "u64", 8, 8, "Contract; 0 the area." },
  } },
  [135] = { name = "Suspension", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "participant", "Party", 8, 16, "Who." },
    { "reason", "u32", 24, 4, "The regulator's code." },
    { "suspended", "Boolean", 28, 1, "Whether it is suspended now." },
    { "reserved", "zero", 29, 3, "Zero." },
  } },
  [136] = { name = "Ticked", fields = {
    { "seq", "u64", 0, 8, "Sequence number of the record that caused it." },
    { "time_ns", "u64", 8, 8, "The time, ns since the epoch." },
  } },
}
-- End of tables.

local INTEGERS = {
  u8 = ProtoField.uint8, u16 = ProtoField.uint16, u32 = ProtoField.uint32, u64 = ProtoField.uint64,
  i32 = ProtoField.int32, i64 = ProtoField.int64,
}

local fields = {}
local header = {
  { name = "block_length", field = ProtoField.uint16("wattbook.block_length", "Block length") },
  { name = "template", field = ProtoField.uint16("wattbook.template", "Template") },
  { name = "schema", field = ProtoField.uint16("wattbook.schema", "Schema") },
  { name = "version", field = ProtoField.uint16("wattbook.version", "Version") },
}
local group_length = ProtoField.uint16("wattbook.group.block_length", "Entry length")
local group_count = ProtoField.uint16("wattbook.group.count", "Entries")
local kind_field = ProtoField.string("wattbook.message", "Message")
local reserved = ProtoField.bytes("wattbook.reserved", "Reserved")
for _, entry in ipairs(header) do
  table.insert(fields, entry.field)
end
for _, field in ipairs({ group_length, group_count, kind_field, reserved }) do
  table.insert(fields, field)
end

-- Gives every field of a layout { name, type, offset, size, description } its filter name.
local function name_fields(layout, prefix)
  for _, entry in ipairs(layout) do
    local name, kind = entry[1], entry[2]
    local abbreviation = prefix .. "." .. name
    if kind == "zero" then
      entry.field = reserved
    elseif kind == "bytes" then
      entry.field = ProtoField.bytes(abbreviation, name, base.NONE, entry[5])
    elseif COMPOSITES[kind] then
      entry.field = ProtoField.none(abbreviation, name, entry[5])
      -- A composite has other filter names in every field it stands in.
      entry.members = {}
      for i, member in ipairs(COMPOSITES[kind]) do
        entry.members[i] = { member[1], member[2], member[3], member[4], member[5] }
      end
      name_fields(entry.members, abbreviation)
    elseif ENUMS[kind] then
      local enum = ENUMS[kind]
      entry.field = INTEGERS[enum.type](abbreviation, name, base.DEC, enum.names, 0, entry[5])
    else
      entry.field = INTEGERS[kind](abbreviation, name, base.DEC, nil, 0, entry[5])
    end
    if kind ~= "zero" then
      table.insert(fields, entry.field)
    end
  end
end

for _, message in pairs(MESSAGES) do
  local prefix = "wattbook." .. message.name:lower()
  name_fields(message.fields, prefix)
  if message.group then
    name_fields(message.group.fields, prefix .. "." .. message.group.name)
  end
end
for _, leaf in pairs(LEAVES) do
  name_fields(leaf.fields, "wattbook.leaf." .. leaf.name:lower())
end
wattbook.fields = fields

local short = ProtoExpert.new("wattbook.short", "The bytes end before the message does", expert.group.MALFORMED,
  expert.severity.ERROR)
local unknown = ProtoExpert.new("wattbook.unknown", "No message of the schema has this template", expert.group.UNDECODED,
  expert.severity.WARN)
local nonzero = ProtoExpert.new("wattbook.nonzero", "A reserved byte is not zero", expert.group.PROTOCOL,
  expert.severity.WARN)
wattbook.experts = { short, unknown, nonzero }

-- Shows the fields that a block of this length has: those of a later version are not in it.
local function show(layout, block, tree)
  for _, entry in ipairs(layout) do
    local kind, offset, size = entry[2], entry[3], entry[4]
    if offset + size > block:len() then
      return
    end
    local range = block:range(offset, size)
    local item = tree:add_le(entry.field, range)
    if entry.members then
      show(entry.members, range:tvb(), item)
    elseif kind == "zero" and range:bytes():tohex():find("[^0]") then
      item:add_proto_expert_info(nonzero)
    end
  end
end

local function show_group(group, tvb, at, tree)
  if at + 4 > tvb:len() then
    tree:add_proto_expert_info(short)
    return at
  end
  local length, count = tvb(at, 2):le_uint(), tvb(at + 2, 2):le_uint()
  local branch = tree:add(wattbook, tvb(at), group.name .. ": " .. count)
  branch:add_le(group_length, tvb(at, 2))
  branch:add_le(group_count, tvb(at + 2, 2))
  at = at + 4
  for index = 0, count - 1 do
    if at + length > tvb:len() or length == 0 then
      branch:add_proto_expert_info(short)
      return at
    end
    local layout, title = group.fields, group.name .. " " .. index
    if group.name == "leaves" then
      local leaf = LEAVES[tvb(at, 1):uint()]
      if leaf and length == 48 then
        layout, title = leaf.fields, title .. ": " .. leaf.name
      end
    end
    local entry = tvb(at, length)
    show(layout, entry:tvb(), branch:add(wattbook, entry, title))
    at = at + length
  end
  return at
end

function wattbook.dissector(tvb, pinfo, tree)
  if tvb:len() < 8 then
    return 0
  end
  pinfo.cols.protocol = "Wattbook"
  local length, template = tvb(0, 2):le_uint(), tvb(2, 2):le_uint()
  local message = MESSAGES[template]
  local name = message and message.name or ("template " .. template)
  pinfo.cols.info:append(" " .. name)
  local branch = tree:add(wattbook, tvb(), "Wattbook " .. name)
  for i, entry in ipairs(header) do
    branch:add_le(entry.field, tvb(2 * (i - 1), 2))
  end
  branch:add(kind_field, tvb(2, 2), name):set_generated()
  if not message then
    branch:add_proto_expert_info(unknown)
    return tvb:len()
  end
  if 8 + length > tvb:len() then
    branch:add_proto_expert_info(short)
    return tvb:len()
  end
  if length > 0 then
    show(message.fields, tvb(8, length):tvb(), branch)
  end
  if message.group then
    show_group(message.group, tvb, 8 + length, branch)
  end
  return tvb:len()
end

-- Messages of our schema in a session of whatever port.
wattbook:register_heuristic("soupbintcp", function(tvb, pinfo, tree)
  if tvb:len() < 8 or tvb(4, 2):le_uint() ~= SCHEMA_ID or not MESSAGES[tvb(2, 2):le_uint()] then
    return false
  end
  wattbook.dissector(tvb, pinfo, tree)
  return true
end)

DissectorTable.get("moldudp64.payload"):add_for_decode_as(wattbook)
