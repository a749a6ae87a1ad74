//! `wattbook send`: one signed envelope to a node, and its answers.
//!
//! # Contract
//! * Logs on, signs one item (a quote or cancel, a vote, a candidacy or its end, a stated emission), sends it, prints every answer of it as a line on stdout, and ends once its record
//!   is on the node's disk, so that every execution it caused at once has been printed.
//! * Exit code 0: accepted; 1: refused, with code and text; 2: no verdict is known, because the node cannot be reached,
//!   refuses the logon or does not answer in time. Sending again with the same --nonce is then safe.
//! * With --cancel-on-disconnect it stays while the order is open, prints what becomes of it, and the order is cancelled
//!   when the connection ends: signed cancels are deposited before the quote, under the nonce before the quote's. Exit code
//!   2 then also says that the connection ended while the order was open.

mod delegates;

use self::delegates::{EmissionArgs, StandArgs, VoteArgs, WithdrawArgs};
use super::connect::TlsArgs;
use crate::{chain, keys, present};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::event::OrderView;
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::signed::{Attachment, EncodeError, Grade, LeafBytes, SealedEnvelope, encode_cancel, encode_quote};
use wattbook_types::command::{ALL_INDEXES, Cancel};
use wattbook_types::ids::PERIOD_S;
use wattbook_types::units::{DecimalError, NS_PER_S, parse_decimal};
use wattbook_types::{
    ChainId, ContractId, Energy, Hash, ParticipantId, Price, Quote, Reject, SelfTrade, Side, TimeInForce, TimeNs,
};

/// Decimals of a price, points/MWh.
const PRICE_DECIMALS: u32 = 2;
/// Decimals of an energy, MWh.
const ENERGY_DECIMALS: u32 = 6;
/// How long deposited cancels stay valid, s: an hour less than the market's default for envelopes.
const DEPOSIT_TTL_S: u64 = 82_800;
/// Longest wait for a message of an order that is open, s; then it is waited for again.
const STAY_S: u64 = 60;
/// Exit code without a verdict.
const NO_VERDICT: u8 = 2;

/// Signs one envelope, sends it, and prints its answers.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Address of the node, as host:port.
    #[arg(value_name = "ADDR")]
    addr: String,
    /// File with the participant's seed: 32 bytes in hex, mode 600.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The account that signs.
    #[arg(long, value_name = "N")]
    participant: u64,
    /// Nonce of the envelope; default: the least that is surely unused.
    #[arg(long, value_name = "N")]
    nonce: Option<u64>,
    /// When answers are released: executed (matched), on disk (durable), certified (final).
    #[arg(long, value_name = "GRADE", value_parser = parse_grade, default_value = "durable")]
    grade: Grade,
    /// Chain that the node must serve, in hex; nothing is signed for another.
    #[arg(long, value_name = "HEX", value_parser = parse_hash)]
    chain: Option<Hash>,
    /// Version of the signing key.
    #[arg(long, value_name = "N", default_value_t = 1)]
    key_version: u32,
    /// Time that the envelope stays valid, s.
    #[arg(long, value_name = "S", default_value_t = 60)]
    ttl: u32,
    /// Longest wait for the verdict, s.
    #[arg(long, value_name = "S", default_value_t = 30)]
    timeout: u64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tls: TlsArgs,
    /// What to send.
    #[command(subcommand)]
    item: Item,
}

/// What to send.
#[derive(clap::Subcommand, Debug)]
enum Item {
    /// A new order.
    Quote(QuoteArgs),
    /// Takes orders out of the book.
    Cancel(CancelArgs),
    /// Votes for a delegate, or takes the vote back.
    Vote(VoteArgs),
    /// Stands for election as a delegate, with the keys of a node.
    Stand(StandArgs),
    /// Stands no longer.
    Withdraw(WithdrawArgs),
    /// States what an account emitted; the regulator's to say.
    Emission(EmissionArgs),
}

/// A new order.
#[derive(clap::Args, Debug)]
struct QuoteArgs {
    #[command(flatten)]
    contract: ContractArgs,
    /// Bid (buy) or ask (sell).
    #[arg(long, value_name = "SIDE", value_parser = parse_side)]
    side: Side,
    /// Limit, points/MWh with at most 2 decimals.
    #[arg(long, value_name = "PRICE", value_parser = parse_price, allow_hyphen_values = true)]
    price: Price,
    /// Energy, MWh with at most 6 decimals.
    #[arg(long, value_name = "MWH", value_parser = parse_energy)]
    energy: Energy,
    /// Life of the order: gate (until gate closure), ioc, fok or post-only.
    #[arg(long, value_name = "TIF", value_parser = parse_tif, default_value = "gate")]
    tif: TimeInForce,
    /// Least energy of an execution, MWh.
    #[arg(long, value_name = "MWH", value_parser = parse_energy, default_value = "0")]
    min_fill: Energy,
    /// Greatest network charge a buyer bears, points/MWh; default: the market's.
    #[arg(long, value_name = "PRICE", value_parser = parse_cap)]
    charge_cap: Option<Price>,
    /// Your own name for the order, above every one accepted before; 0: none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    client_order_id: u64,
    /// Energy shown at a time, MWh; 0: all of it.
    #[arg(long, value_name = "MWH", value_parser = parse_energy, default_value = "0")]
    display: Energy,
    /// Take the best price there is, no worse than --price, and rest at that price.
    #[arg(long)]
    market_to_limit: bool,
    /// Which of two orders goes that would trade within one group: newest, oldest, both, or decrement of each.
    #[arg(long, value_name = "WHICH", value_parser = parse_self_trade, default_value = "newest")]
    self_trade: SelfTrade,
    /// Stay while the order is open, and have the node cancel it when this connection ends, whyever.
    #[arg(long)]
    cancel_on_disconnect: bool,
}

/// Orders to take out: one (nonce and index), an envelope's (nonce), or all.
#[derive(clap::Args, Debug)]
struct CancelArgs {
    /// Quarter hours since 1970 of the contract; default: all contracts.
    #[arg(long, value_name = "PERIOD")]
    contract: Option<u32>,
    /// Number of the delivery area.
    #[arg(long, value_name = "N", default_value_t = 1)]
    area: u16,
    /// Nonce of the envelope that carried the orders; default: all orders.
    #[arg(long, value_name = "N")]
    target_nonce: Option<u64>,
    /// Index of the order in that envelope; default: all of it.
    #[arg(long, value_name = "N", requires = "target_nonce")]
    target_index: Option<u32>,
}

/// Which contract.
#[derive(clap::Args, Debug)]
#[group(skip)]
struct ContractArgs {
    /// Quarter hours since 1970 of the contract.
    #[arg(long, value_name = "PERIOD", required_unless_present = "delivery_start")]
    contract: Option<u32>,
    /// When its delivery starts: YYYY-MM-DDThh:mmZ.
    #[arg(long, value_name = "TIME", value_parser = parse_period, conflicts_with = "contract")]
    delivery_start: Option<u32>,
    /// Number of the delivery area.
    #[arg(long, value_name = "N", default_value_t = 1)]
    area: u16,
}

fn parse_grade(text: &str) -> Result<Grade, &'static str> {
    match text {
        "matched" => Ok(Grade::Matched),
        "durable" => Ok(Grade::Durable),
        "final" => Ok(Grade::Final),
        _ => Err("write matched, durable or final"),
    }
}

fn parse_side(text: &str) -> Result<Side, &'static str> {
    match text {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        _ => Err("write buy or sell"),
    }
}

fn parse_tif(text: &str) -> Result<TimeInForce, &'static str> {
    match text {
        "gate" => Ok(TimeInForce::Gate),
        "ioc" => Ok(TimeInForce::Ioc),
        "fok" => Ok(TimeInForce::Fok),
        "post-only" => Ok(TimeInForce::PostOnly),
        _ => Err("write gate, ioc, fok or post-only"),
    }
}

fn parse_self_trade(text: &str) -> Result<SelfTrade, &'static str> {
    match text {
        "newest" => Ok(SelfTrade::CancelNewest),
        "oldest" => Ok(SelfTrade::CancelOldest),
        "both" => Ok(SelfTrade::CancelBoth),
        "decrement" => Ok(SelfTrade::Decrement),
        _ => Err("write newest, oldest, both or decrement"),
    }
}

fn number(text: &str, decimals: u32) -> Result<i128, String> {
    parse_decimal(text, decimals).map_err(|error| match error {
        DecimalError::Syntax => "write it as a plain decimal, like 12.5".to_owned(),
        DecimalError::TooManyDecimals => format!("at most {decimals} decimals are kept"),
        DecimalError::Overflow => "no such amount is traded".to_owned(),
    })
}

fn parse_price(text: &str) -> Result<Price, String> {
    let ticks = number(text, PRICE_DECIMALS)?;
    i32::try_from(ticks)
        .map(Price::new)
        .map_err(|_| "no price is that large".to_owned())
}

fn parse_cap(text: &str) -> Result<Price, String> {
    parse_price(text).and_then(|cap| {
        if cap.get() < 0 {
            Err("a cap is not negative".to_owned())
        } else {
            Ok(cap)
        }
    })
}

fn parse_energy(text: &str) -> Result<Energy, String> {
    let wh = number(text, ENERGY_DECIMALS)?;
    // An order's energy travels in 32 bits.
    u32::try_from(wh)
        .map(|wh| Energy::new(wh.into()))
        .map_err(|_| "write 0 to 4294.967295 MWh".to_owned())
}

fn parse_period(text: &str) -> Result<u32, &'static str> {
    let time = present::parse_iso8601(text).ok_or("write it as YYYY-MM-DDThh:mmZ")?;
    let seconds = time.get() / NS_PER_S;
    if !seconds.is_multiple_of(PERIOD_S) {
        return Err("delivery starts on a quarter hour");
    }
    u32::try_from(seconds / PERIOD_S).map_err(|_| "no period lies that far ahead")
}

fn parse_hash(text: &str) -> Result<Hash, &'static str> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "write 64 hex digits")?;
    Ok(Hash(hash))
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Key(#[from] keys::KeyFileError),
    #[error("{addr}: {source}; is a node running there?")]
    Connect { addr: String, source: ClientError },
    #[error("the logon was refused: {0}")]
    Logon(Reject),
    #[error(transparent)]
    Leaf(#[from] EncodeError),
    #[error("{source}; whether envelope {nonce} was taken is not known: send it again with --nonce {nonce}")]
    Lost { source: ClientError, nonce: u64 },
    #[error("no verdict within {seconds} s; send it again with --nonce {nonce}, or wait longer with --timeout")]
    Late { seconds: u64, nonce: u64 },
    #[error("the logon was not answered within {0} s")]
    LogonLate(u64),
    #[error("the session failed before anything was sent: {0}")]
    Session(ClientError),
    #[error("the cancels for the end of the connection were refused: {0}; nothing else was sent")]
    Deposit(Reject),
    #[error("the node did not take the cancels for the end of the connection within {0} s; nothing else was sent")]
    DepositLate(u64),
    #[error("--cancel-on-disconnect takes the nonce before the order's: --nonce must be 2 or more")]
    DepositNonce,
    #[error("{0}; unless the node has stopped, it cancels the order")]
    Cut(ClientError),
    #[error("the system gives no randomness for a ballot key: {0}")]
    Random(getrandom::Error),
    #[error("no ballot key can be made")]
    BallotKey,
    #[error("stdout: cannot be written: {0}")]
    Write(io::Error),
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    match send(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            super::fail(&error);
            ExitCode::from(NO_VERDICT)
        }
    }
}

fn send(args: &Args) -> Result<bool, SendError> {
    let seed = keys::read(&args.key)?;
    let participant = ParticipantId::new(args.participant);
    let secret = chain::participant_key(&seed, participant);
    let connect = |source| SendError::Connect {
        addr: args.addr.clone(),
        source,
    };
    let mut client = args.tls.connect(&args.addr, StreamKind::Private, 0).map_err(connect)?;
    if let Some(chain) = args.chain {
        client.expect_chain(ChainId(chain)).map_err(SendError::Session)?;
    }
    let served = client.chain().ok_or(SendError::Session(ClientError::NoChallenge))?;
    let deadline = Instant::now() + Duration::from_secs(args.timeout);
    client
        .logon(participant, &secret, args.grade)
        .map_err(SendError::Session)?;
    let next_nonce = loop {
        match client
            .next(deadline.saturating_duration_since(Instant::now()))
            .map_err(SendError::Session)?
        {
            None => return Err(SendError::LogonLate(args.timeout)),
            Some((_, Outbound::LoggedOn(logged_on))) => break logged_on.next_nonce,
            Some((_, Outbound::RejectedMessage(refused))) => {
                return Err(SendError::Logon(
                    Reject::from_code(refused.code).unwrap_or(Reject::LogonRefused),
                ));
            }
            Some(_) => {}
        }
    };
    let stays = args.item.stays();
    let nonce = args.nonce.unwrap_or(next_nonce + u64::from(stays));
    let sign = |nonce, ttl, leaf| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let not_after = TimeNs::from_secs(now.as_secs().saturating_add(ttl));
        SealedEnvelope::sign(
            served,
            &secret,
            participant,
            args.key_version,
            nonce,
            not_after,
            vec![leaf],
        )
    };
    let (leaf, attached) = leaf(&args.item, served)?;
    if stays {
        // The lower nonce: another sender's next one then lies above both.
        let before = nonce.checked_sub(1).filter(|before| *before > 0);
        let cancels = sign(
            before.ok_or(SendError::DepositNonce)?,
            DEPOSIT_TTL_S,
            encode_cancel(0, &order_of(nonce)),
        );
        client.send_on_disconnect(Some(&cancels)).map_err(SendError::Session)?;
        deposited(&mut client, deadline, args.timeout)?;
    }
    let mut envelope = sign(nonce, args.ttl.into(), leaf);
    envelope.attached = attached.map(Box::new);
    client.send_envelope(&envelope).map_err(SendError::Session)?;

    let mut verdict = Verdict {
        participant: args.participant,
        nonce,
        found: None,
        open: false,
    };
    loop {
        let lost = |source| SendError::Lost { source, nonce };
        let wait = deadline.saturating_duration_since(Instant::now());
        let Some((_, bytes)) = client.next_raw(wait).map_err(lost)? else {
            return match verdict.found {
                Some((accepted, _)) if !(stays && verdict.open) => Ok(accepted),
                // What it is asked to stay for may take hours.
                Some(_) => stay(&mut client, &mut verdict, args.json).map(|()| true),
                None => Err(SendError::Late {
                    seconds: args.timeout,
                    nonce,
                }),
            };
        };
        let Ok(message) = decode_outbound(&bytes) else { continue };
        let step = verdict.take(&message);
        if step != Step::Other {
            print(&bytes, &message, args.json)?;
        }
        if let Step::Last(accepted) = step {
            if stays && verdict.open {
                stay(&mut client, &mut verdict, args.json)?;
            }
            return Ok(accepted);
        }
    }
}

/// Waits until the node has taken the cancels for the end of the connection.
fn deposited(client: &mut Client, deadline: Instant, seconds: u64) -> Result<(), SendError> {
    loop {
        let wait = deadline.saturating_duration_since(Instant::now());
        match client.next(wait).map_err(SendError::Session)? {
            None => return Err(SendError::DepositLate(seconds)),
            Some((_, Outbound::Held(_))) => return Ok(()),
            Some((_, Outbound::RejectedMessage(refused))) => {
                let reject = Reject::from_code(refused.code).unwrap_or(Reject::MalformedItem);
                return Err(SendError::Deposit(reject));
            }
            Some(_) => {}
        }
    }
}

/// Prints what becomes of the order until it is no longer open, or the session ends.
fn stay(client: &mut Client, verdict: &mut Verdict, json: bool) -> Result<(), SendError> {
    while verdict.open {
        let Some((_, bytes)) = client.next_raw(Duration::from_secs(STAY_S)).map_err(SendError::Cut)? else {
            continue;
        };
        let Ok(message) = decode_outbound(&bytes) else { continue };
        if verdict.follow(&message) {
            print(&bytes, &message, json)?;
        }
    }
    Ok(())
}

/// A message as a line.
fn print(bytes: &[u8], message: &Outbound, json: bool) -> Result<(), SendError> {
    let Ok(rendered) = present::message(bytes) else {
        return Ok(());
    };
    // Outside JSON a refusal also says what to do about it.
    // A session that asked for what comes next does not know the numbers of its stream.
    let line = if json {
        rendered.to_json(None).to_string()
    } else {
        rendered.to_text(None) + &advice(message)
    };
    writeln!(io::stdout(), "{line}").map_err(SendError::Write)
}

/// The cancel of what an envelope brought, in whatever contract.
const fn order_of(nonce: u64) -> Cancel {
    Cancel {
        contract: None,
        target_nonce: nonce,
        target_index: ALL_INDEXES,
    }
}

impl Item {
    /// Whether the order is watched, and cancelled with the connection.
    const fn stays(&self) -> bool {
        matches!(
            self,
            Self::Quote(QuoteArgs {
                cancel_on_disconnect: true,
                ..
            })
        )
    }
}

/// The text of a refusal's code.
fn advice(message: &Outbound) -> String {
    let code = match message {
        Outbound::Rejected(refused) => refused.code,
        Outbound::RejectedMessage(refused) => refused.code,
        _ => return String::new(),
    };
    Reject::from_code(code).map_or_else(String::new, |reject| format!(": {}", reject.text()))
}

/// The leaf of an item on a chain, and what is attached to it.
fn leaf(item: &Item, chain: ChainId) -> Result<(LeafBytes, Option<Attachment>), SendError> {
    let leaf = match item {
        Item::Quote(args) => {
            let ContractArgs {
                contract,
                delivery_start,
                area,
            } = args.contract;
            let period = contract.or(delivery_start).unwrap_or_default();
            let quote = Quote {
                contract: ContractId::new(period, ContractId::PRODUCT_QUARTER_HOUR, area),
                client_order_id: args.client_order_id,
                round: 0,
                side: args.side,
                time_in_force: args.tif,
                price: args.price,
                charge_cap: args.charge_cap.map_or(-1, Price::get),
                energy: args.energy,
                min_fill: args.min_fill,
                valid_until_s: 0,
                display: args.display,
                market_to_limit: args.market_to_limit,
                self_trade: args.self_trade,
            };
            encode_quote(0, &quote)?
        }
        Item::Cancel(args) => {
            let cancel = Cancel {
                contract: args
                    .contract
                    .map(|p| ContractId::new(p, ContractId::PRODUCT_QUARTER_HOUR, args.area)),
                target_nonce: args.target_nonce.unwrap_or(0),
                target_index: args.target_index.unwrap_or(ALL_INDEXES),
            };
            encode_cancel(0, &cancel)
        }
        Item::Vote(args) => args.leaf(),
        Item::Stand(args) => {
            let (leaf, attached) = args.leaf(chain)?;
            return Ok((leaf, Some(attached)));
        }
        Item::Withdraw(args) => args.leaf(chain),
        Item::Emission(args) => args.leaf(),
    };
    Ok((leaf, None))
}

/// What became of the envelope so far.
struct Verdict {
    participant: u64,
    nonce: u64,
    /// Whether it was accepted, and its record.
    found: Option<(bool, u64)>,
    /// Whether its order rests.
    open: bool,
}

/// What a message means for the envelope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    /// Nothing.
    Other,
    /// An answer of it.
    Answer,
    /// The last one; whether it was accepted.
    Last(bool),
}

impl Verdict {
    /// Whether a message is about the envelope's order, which may be open no longer.
    fn follow(&mut self, message: &Outbound) -> bool {
        let ours = |order: &OrderView| order.participant == self.participant && order.nonce == self.nonce;
        match message {
            Outbound::Opened(event) if ours(&event.order) => self.open = true,
            Outbound::Reduced(event) if ours(&event.order) => {}
            Outbound::Closed(event) if ours(&event.order) => self.open = false,
            Outbound::Executed(event) if ours(&event.buyer) => self.open &= event.buyer_leaves_wh > 0,
            Outbound::Executed(event) if ours(&event.seller) => self.open &= event.seller_leaves_wh > 0,
            _ => return false,
        }
        true
    }

    fn take(&mut self, message: &Outbound) -> Step {
        self.follow(message);
        let ours = |participant: u64, nonce: u64| participant == self.participant && nonce == self.nonce;
        match message {
            Outbound::Held(held) if ours(held.participant, held.nonce) => Step::Answer,
            Outbound::RejectedMessage(refused) if ours(refused.participant, refused.nonce) => Step::Last(false),
            Outbound::Accepted(answer) if ours(answer.participant.id, answer.nonce) => {
                self.found = Some((true, answer.seq));
                Step::Answer
            }
            Outbound::Rejected(answer) if ours(answer.participant.id, answer.nonce) => {
                self.found = Some((false, answer.seq));
                Step::Answer
            }
            Outbound::Watermark(mark) => match self.found {
                Some((accepted, seq)) if mark.seq >= seq => Step::Last(accepted),
                _ => Step::Other,
            },
            other => match (self.found, seq_of(other)) {
                (Some((_, record)), Some(seq)) if record == seq => Step::Answer,
                _ => Step::Other,
            },
        }
    }
}

/// Record of an execution report that an order can cause at once.
const fn seq_of(message: &Outbound) -> Option<u64> {
    match message {
        Outbound::Opened(event) => Some(event.seq),
        Outbound::Closed(event) => Some(event.seq),
        Outbound::Executed(event) => Some(event.seq),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        send: Args,
    }

    const CHAIN: ChainId = ChainId(Hash([4; 32]));

    fn parse_whole(line: &str) -> Result<(LeafBytes, Option<Attachment>), String> {
        let words = "send localhost:1 --key k --participant 4 ".to_owned() + line;
        let parsed = Line::try_parse_from(words.split(' ')).map_err(|error| error.to_string())?;
        leaf(&parsed.send.item, CHAIN).map_err(|error| error.to_string())
    }

    fn parse(line: &str) -> Result<LeafBytes, String> {
        parse_whole(line).map(|(leaf, _)| leaf)
    }

    #[test]
    fn electors_candidates_and_the_regulator_have_their_say() {
        use wattbook_feed::signed::decode_leaf;
        use wattbook_types::delegate::{Candidacy, EmissionStatement, Vote};
        let said = |line: &str| decode_leaf(&parse(line).unwrap(), 0);
        let vote = |candidate| wattbook_types::Item::Vote(Vote { epoch: 7, candidate });
        assert_eq!(said("vote --epoch 7 --candidate 9"), vote(Some(ParticipantId::new(9))));
        assert_eq!(said("vote --epoch 7"), vote(None));
        assert!(parse("vote --epoch 7 --candidate 0").is_err());
        let withdraws = Candidacy { epoch: 7, keys: None };
        assert_eq!(said("withdraw --epoch 7"), wattbook_types::Item::Candidacy(withdraws));
        let statement = EmissionStatement {
            participant: ParticipantId::new(9),
            period: 1_628_736,
            grams: 12,
        };
        assert_eq!(
            said("emission --of 9 --period 1628736 --grams 12"),
            wattbook_types::Item::Emission(statement)
        );
    }

    #[test]
    fn a_node_stands_with_the_keys_of_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        keys::write(dir.path(), keys::PEER_KEY, &[3; 32]).unwrap();
        let line = format!("stand --epoch 7 --node {}", dir.path().display());
        assert!(parse(&line).unwrap_err().contains("ballot.key"), "no ballot key");
        let (leaf, attached) = parse_whole(&(line.clone() + " --new-ballot-key")).unwrap();
        let attached = attached.unwrap();
        assert!(attached.fits(&[leaf]));
        assert_eq!(
            leaf,
            wattbook_feed::signed::encode_candidacy(0, CHAIN, 7, Some(&attached.keys))
        );
        let held = attached.keys.check().unwrap();
        let peer = wattbook_feed::keys::SigningKey::from_bytes(&[3; 32]).verifying_key();
        assert_eq!(held.peer_key, peer.to_bytes());
        // The key that was made is kept, and never made over.
        assert_eq!(parse_whole(&line).unwrap().1, Some(attached));
        assert!(parse(&(line.clone() + " --new-ballot-key")).is_err());
        assert_eq!(parse_whole(&line).unwrap().1, Some(attached));
    }

    #[test]
    fn a_quote_is_read_in_points_and_mwh() {
        let options = parse(
            "quote --contract 1628736 --side sell --price 1 --energy 0.0009 --display 0.0002 --market-to-limit --self-trade both",
        );
        assert_eq!(options.unwrap()[1], 2 | 1 << 5 | 2 << 6);
        let by_period = parse("quote --contract 1628736 --side sell --price -12.5 --energy 0.0001 --tif post-only");
        let by_time =
            parse("quote --delivery-start 2016-06-14T00:00Z --side sell --price -12.5 --energy 0.0001 --tif post-only");
        assert_eq!(by_period, by_time);
        let expected = Quote {
            contract: ContractId::new(1_628_736, 1, 1),
            client_order_id: 0,
            round: 0,
            side: Side::Sell,
            time_in_force: TimeInForce::PostOnly,
            price: Price::new(-1_250),
            charge_cap: -1,
            energy: Energy::new(100),
            min_fill: Energy::ZERO,
            valid_until_s: 0,
            display: Energy::ZERO,
            market_to_limit: false,
            self_trade: SelfTrade::CancelNewest,
        };
        assert_eq!(by_period, Ok(encode_quote(0, &expected).unwrap()));
    }

    #[test]
    fn an_order_that_is_watched_is_open_until_it_is_filled_or_closed() {
        let ours = OrderView {
            participant: 4,
            nonce: 9,
            index: 0,
            named: 1,
            reserved: [0; 3],
            reference: 1,
        };
        let theirs = OrderView { nonce: 8, ..ours };
        let mut verdict = Verdict {
            participant: 4,
            nonce: 9,
            found: None,
            open: false,
        };
        let closed = |order, leaves_wh| {
            let mut event: wattbook_feed::sbe::event::Closed = bytemuck::Zeroable::zeroed();
            (event.order, event.leaves_wh) = (order, leaves_wh);
            Outbound::Closed(event)
        };
        let mut opened: wattbook_feed::sbe::event::Opened = bytemuck::Zeroable::zeroed();
        opened.order = ours;
        assert!(verdict.follow(&Outbound::Opened(opened)) && verdict.open);
        assert!(!verdict.follow(&closed(theirs, 1)) && verdict.open);
        assert!(verdict.follow(&closed(ours, 1)) && !verdict.open);
    }

    #[test]
    fn wrong_numbers_are_named() {
        for (line, said) in [
            (
                "quote --contract 1 --side buy --price 1.234 --energy 1",
                "at most 2 decimals",
            ),
            ("quote --contract 1 --side buy --price 1 --energy 5000", "4294.967295"),
            ("quote --contract 1 --side up --price 1 --energy 1", "buy or sell"),
            (
                "quote --delivery-start 2016-06-14T00:01Z --side buy --price 1 --energy 1",
                "quarter hour",
            ),
            ("quote --side buy --price 1 --energy 1", "--contract"),
            ("cancel --target-index 3", "--target-nonce"),
            (
                "quote --contract 1 --side buy --price 1 --energy 1 --self-trade mine",
                "newest, oldest, both or decrement",
            ),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(said), "{line}: {error}");
        }
        assert!(parse("cancel").is_ok());
    }
}
