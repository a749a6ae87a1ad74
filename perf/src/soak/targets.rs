//! Every decoder that faces strangers, and what must hold of it: it never panics, and what it takes encodes again to the
//! same value, to the same bytes where the format has one encoding. And the book, whose every order is a stranger's.

use super::book;
use super::dice::Dice;
use super::envelopes;
use super::feeds;
use super::lines;
use super::seeds;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;
use wattbook_feed::keys::{VerifyingKey, check_possession, verify_ed25519};
use wattbook_feed::sbe::{
    Inbound, Outbound, SCHEMA_VERSION, decode_inbound, decode_outbound, encode_envelope, encode_logon,
    encode_on_disconnect, encode_register, encode_reveal, encode_step,
};
use wattbook_feed::signed::{
    Genesis, Leaf, LeafBytes, RegisterRecord, RevealRecord, SealedEnvelope, decode_leaf, decode_tick, encode_item,
    tick_payload,
};
use wattbook_feed::soupbin::{self, Decoder, Packet, Peer};
use wattbook_node::config::Config;
use wattbook_node::execute::{Executor, decode_record};
use wattbook_node::stage::replica::words_again;
use wattbook_types::{ChainId, DealPriceRule, Hash, Item, RangeMode, TimeNs};

/// The class of an answer: inputs of a new class are worth keeping.
pub(crate) type Class = u32;

/// One decoder, or the book, under fire.
pub(crate) struct Target {
    /// Its name in the log, and before the last `-` of a corpus file's name.
    pub(crate) name: &'static str,
    /// Longest input, bytes.
    pub(crate) size_max: usize,
    /// Valid inputs, made by our own encoders.
    pub(crate) seeds: fn(&mut Dice) -> Vec<Vec<u8>>,
    /// Decodes an input; an error is a broken property.
    pub(crate) run: Run,
}

/// What decodes an input.
pub(crate) enum Run {
    /// A function of this process.
    Here(fn(&[u8]) -> Result<Class, String>),
    /// A function of this process that reads a file in this directory.
    There(TempDir, fn(&Path, &[u8]) -> Result<Class, String>),
    /// `wattbook clear` of this program, whose reader has no door but the command line, on files in this directory.
    Clear(PathBuf, TempDir),
}

impl Target {
    const fn here(
        name: &'static str,
        size_max: usize,
        seeds: fn(&mut Dice) -> Vec<Vec<u8>>,
        run: fn(&[u8]) -> Result<Class, String>,
    ) -> Self {
        Self {
            name,
            size_max,
            seeds,
            run: Run::Here(run),
        }
    }

    /// Decodes `input`.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn run(&self, input: &[u8]) -> Result<Class, String> {
        match &self.run {
            Run::Here(run) => run(input),
            Run::There(dir, run) => run(dir.path(), input),
            Run::Clear(program, dir) => clear(program, dir.path(), input),
        }
    }
}

/// Every target; that of `clear` needs the program.
///
/// # Errors
/// There is no room for temporary files.
pub(crate) fn targets(program: Option<&Path>) -> io::Result<Vec<Target>> {
    let mut all = vec![
        Target::here("soupbin-client", 1_024, seeds::soupbin_client, |input| {
            soupbin(Peer::Client, input)
        }),
        Target::here("soupbin-server", 1_024, seeds::soupbin_server, |input| {
            soupbin(Peer::Server, input)
        }),
        Target::here("sbe-inbound", 2_048, seeds::inbound, inbound),
        Target::here("sbe-outbound", 1_400, seeds::outbound, outbound),
        Target::here("register-record", 1_024, seeds::register_records, register_record),
        Target::here("sealed-envelope", 2_048, seeds::sealed_envelopes, sealed_envelope),
        Target::here("reveal-record", 1_024, seeds::reveal_records, reveal_record),
        Target::here("tick", 16, seeds::ticks, tick),
        Target::here("leaf", 64, seeds::leaves, leaf),
        Target::here("genesis", 4_096, seeds::genesis, genesis),
        Target::here("record", 2_048, seeds::records, record),
        Target::here("words", 2_048, seeds::words, words),
        Target::here("signatures", 240, seeds::signatures, signatures),
        Target::here("envelopes", envelopes::SIZE_MAX, envelopes::seeds, envelopes::run),
        Target::here("book", book::SIZE_MAX, book::seeds, book::run),
        Target::here("moldudp", 2_048, feeds::datagrams, feeds::moldudp),
        Target::here("session", 2_048, feeds::sessions, feeds::session),
        Target::here("arbiter", 512, lines::scripts, lines::arbiter),
        Target::here("books", 2_048, lines::book_streams, lines::books),
        Target {
            name: "recording",
            size_max: 1_024,
            seeds: feeds::recordings,
            run: Run::There(TempDir::new()?, feeds::recording),
        },
        Target {
            name: "config",
            size_max: 2_048,
            seeds: seeds::config,
            run: Run::There(TempDir::new()?, config),
        },
    ];
    if let Some(program) = program {
        let run = Run::Clear(program.to_owned(), TempDir::new()?);
        all.push(Target {
            name: CLEAR,
            size_max: 2_048,
            seeds: seeds::clear,
            run,
        });
    }
    Ok(all)
}

/// Name of the target that needs the program.
pub(crate) const CLEAR: &str = "clear-csv";

const CHAIN: ChainId = ChainId(Hash([7; 32]));

/// FNV-1a.
fn hash(text: &[u8]) -> Class {
    text.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// The class of a refusal: the name of its variant.
pub(super) fn refused(why: &impl Debug) -> Class {
    let text = format!("{why:?}");
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    hash(name.as_bytes())
}

pub(super) fn same<T: PartialEq + Debug + ?Sized>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what} differs: {found:?} instead of {expected:?}"))
    }
}

/// The packets of a stream read in pieces of the sizes that `pieces` throws, each as text, then the final error; every
/// packet taken comes back from its own encoding.
pub(super) fn packets(
    peer: Peer,
    packet_max: usize,
    mut bytes: &[u8],
    pieces: &mut Dice,
) -> Result<Vec<String>, String> {
    let (mut decoder, mut seen) = (Decoder::new(peer, packet_max), Vec::new());
    loop {
        let step = match decoder.next_packet() {
            Ok(Some(packet)) => {
                packet_again(peer, packet_max, &packet)?;
                seen.push(format!("{packet:?}"));
                continue;
            }
            Ok(None) => None,
            Err(reject) => Some(reject),
        };
        if let Some(reject) = step {
            same("the final error", &decoder.next_packet(), &Err(reject))?;
            seen.push(format!("{reject:?}"));
            return Ok(seen);
        }
        if bytes.is_empty() {
            return Ok(seen);
        }
        let len = 1 + pieces.index(bytes.len());
        let taken = decoder.push(&bytes[..len]);
        if taken == 0 {
            return Err("the decoder asks for more and takes nothing".into());
        }
        bytes = &bytes[taken..];
    }
}

fn packet_again(peer: Peer, packet_max: usize, packet: &Packet<'_>) -> Result<(), String> {
    let mut out = Vec::new();
    match packet {
        // Encoded from text, which not every packet's bytes are.
        Packet::Debug(text) => match std::str::from_utf8(text) {
            Ok(text) => soupbin::put_debug(text, &mut out),
            Err(_) => return Ok(()),
        },
        Packet::LoginAccepted(accepted) => soupbin::put_login_accepted(accepted, &mut out),
        Packet::LoginRejected(refusal) => soupbin::put_login_rejected(*refusal, &mut out),
        Packet::Sequenced(message) => soupbin::put_sequenced(message, &mut out),
        Packet::Unsequenced(message) => soupbin::put_unsequenced(message, &mut out),
        Packet::ServerHeartbeat => soupbin::put_server_heartbeat(&mut out),
        Packet::EndOfSession => soupbin::put_end_of_session(&mut out),
        Packet::LoginRequest(request) => soupbin::put_login_request(request, &mut out),
        Packet::ClientHeartbeat => soupbin::put_client_heartbeat(&mut out),
        Packet::Logout => soupbin::put_logout(&mut out),
    }
    let mut decoder = Decoder::new(peer, packet_max);
    decoder.push(&out);
    same(
        "a packet encoded again",
        &decoder.next_packet(),
        &Ok(Some(packet.clone())),
    )
}

/// The first byte chooses the pieces and the bound, the others are the stream.
fn soupbin(peer: Peer, input: &[u8]) -> Result<Class, String> {
    let Some((choice, stream)) = input.split_first() else {
        return Ok(0);
    };
    let packet_max = if choice & 1 == 0 { 128 } else { 600 };
    let first = packets(peer, packet_max, stream, &mut Dice::new(u64::from(*choice)))?;
    let second = packets(peer, packet_max, stream, &mut Dice::new(u64::from(*choice) + 256))?;
    same("the stream cut otherwise", &second, &first)?;
    let last = first.last().map_or(0, refused);
    Ok(last ^ first.len().min(8) as u32)
}

fn inbound(input: &[u8]) -> Result<Class, String> {
    let message = match decode_inbound(input) {
        Ok(message) => message,
        Err(reject) => return Ok(refused(&reject)),
    };
    let mut out = Vec::new();
    let class = match &message {
        Inbound::Logon(logon) => {
            encode_logon(logon, &mut out);
            1
        }
        Inbound::Register(record) => {
            encode_register(record, &mut out);
            class_of(&record.to_registration()) ^ 0x10
        }
        Inbound::Envelope(envelope) => {
            encode_envelope(&envelope.to_sealed(), &mut out);
            items(&envelope.to_sealed().to_command(CHAIN).items) ^ 0x20
        }
        Inbound::Reveal(reveal) => {
            encode_reveal(&reveal.to_record(), &mut out);
            class_of(&reveal.to_record().to_command(CHAIN)) ^ 0x30
        }
        Inbound::Step(step) => {
            encode_step(TimeNs::new(step.time_ns), &mut out);
            2
        }
        Inbound::OnDisconnect(cancels) => {
            let cancels = cancels.map(|envelope| envelope.to_sealed());
            encode_on_disconnect(cancels.as_ref(), &mut out);
            cancels.map_or(3, |cancels| items(&cancels.to_command(CHAIN).items) ^ 0x40)
        }
    };
    // Of an earlier version it is encoded in ours, with the same bytes behind.
    if let (Some(version), Some(came)) = (out.get_mut(6..8), input.get(6..8)) {
        version.copy_from_slice(came);
    }
    same("the message encoded again", &out[..], input)?;
    Ok(class)
}

/// The class of a result: that of its error, or 1.
fn class_of<T>(result: &Result<T, impl Debug>) -> Class {
    result.as_ref().map_or_else(refused, |_| 1)
}

/// The class of an envelope's items: what the last refused one says.
fn items(items: &[Item]) -> Class {
    items.iter().fold(1, |class, item| match item {
        Item::Refused(reject) => refused(reject),
        _ => class,
    })
}

fn outbound(input: &[u8]) -> Result<Class, String> {
    let message = match decode_outbound(input) {
        Ok(message) => message,
        Err(error) => return Ok(refused(&error)),
    };
    let mut out = Vec::new();
    message.encode(&mut out);
    // A later version may be longer; its first fields are ours.
    if input.get(6..8) == Some(&SCHEMA_VERSION.to_le_bytes()[..]) {
        same("the message encoded again", &out[..], input)?;
    } else {
        same::<Result<Outbound, _>>("the message read again", &decode_outbound(&out), &Ok(message))?;
    }
    Ok(u32::from(message.template()))
}

fn register_record(input: &[u8]) -> Result<Class, String> {
    match RegisterRecord::decode(input) {
        Ok(record) => {
            same("the record encoded again", &record.to_payload()[..], input)?;
            Ok(class_of(&record.to_registration()))
        }
        Err(reject) => Ok(refused(&reject)),
    }
}

fn sealed_envelope(input: &[u8]) -> Result<Class, String> {
    match SealedEnvelope::decode(input) {
        Ok(envelope) => {
            same("the record encoded again", &envelope.to_payload()[..], input)?;
            let checked = envelope.header.check_leaves(&envelope.leaves, 64);
            Ok(class_of(&checked) ^ items(&envelope.to_command(CHAIN).items))
        }
        Err(reject) => Ok(refused(&reject)),
    }
}

/// What nodes of a committee tell each other: as much of a message as is words, which said again is the same.
fn words(input: &[u8]) -> Result<Class, String> {
    let said = words_again(input);
    if said.len() > input.len() {
        return Err(format!("{} bytes of words from {}", said.len(), input.len()));
    }
    same("the words said again", &words_again(&said), &said)?;
    let is_whole = said.len() == input.len();
    Ok(said
        .first()
        .map_or(0, |word| u32::from(*word) << 1 | u32::from(is_whole)))
}

fn reveal_record(input: &[u8]) -> Result<Class, String> {
    match RevealRecord::decode(input) {
        Ok(reveal) => {
            same("the record encoded again", &reveal.to_payload()[..], input)?;
            Ok(class_of(&reveal.to_command(CHAIN)))
        }
        Err(reject) => Ok(refused(&reject)),
    }
}

fn tick(input: &[u8]) -> Result<Class, String> {
    match decode_tick(input) {
        Ok(time) => same("the tick encoded again", &tick_payload(time)[..], input).map(|()| 1),
        Err(reject) => Ok(refused(&reject)),
    }
}

/// The position u32, then the leaf.
fn leaf(input: &[u8]) -> Result<Class, String> {
    let Some((position, rest)) = input.split_first_chunk::<4>() else {
        return Ok(0);
    };
    let Ok(bytes) = LeafBytes::try_from(rest) else {
        return Ok(0);
    };
    let position = u32::from_le_bytes(*position);
    if let Ok(read) = Leaf::read(&bytes, position) {
        same("the leaf's bytes", &read.bytes(), &bytes)?;
    }
    match decode_leaf(&bytes, position) {
        Item::Refused(reject) => Ok(refused(&reject)),
        item => {
            same("the leaf encoded again", &encode_item(position, &item), &Ok(bytes))?;
            Ok(u32::from(bytes[0]))
        }
    }
}

fn genesis(input: &[u8]) -> Result<Class, String> {
    let genesis = match Genesis::decode(input) {
        Ok(genesis) => genesis,
        Err(error) => return Ok(refused(&error)),
    };
    same("genesis encoded again", &genesis.encode()[..], input)?;
    let _ = genesis.registrations();
    let class = class_of(&genesis.to_params());
    // Pairings cost a thousand decodes; some inputs are enough.
    if input
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte))
        .is_multiple_of(8)
    {
        return Ok(class ^ 0x100 ^ class_of(&Executor::start(input)));
    }
    Ok(class)
}

/// Kind u16 and version u16, then the payload.
fn record(input: &[u8]) -> Result<Class, String> {
    let Some((head, payload)) = input.split_first_chunk::<4>() else {
        return Ok(0);
    };
    let (kind, version) = (
        u16::from_le_bytes([head[0], head[1]]),
        u16::from_le_bytes([head[2], head[3]]),
    );
    let command = decode_record(CHAIN, kind, version, payload);
    same(
        "the record decoded twice",
        &decode_record(CHAIN, kind, version, payload),
        &command,
    )?;
    Ok(class_of(&command) ^ u32::from(kind) << 16)
}

/// A BLS public key, a proof of possession and an Ed25519 key and signature: points of strangers.
fn signatures(input: &[u8]) -> Result<Class, String> {
    let Some((public_key, rest)) = input.split_first_chunk::<96>() else {
        return Ok(0);
    };
    let Some((possession, rest)) = rest.split_first_chunk::<48>() else {
        return Ok(0);
    };
    let class = class_of(&check_possession(public_key, &seeds::DIGEST, possession));
    let Some((key, rest)) = rest.split_first_chunk::<32>() else {
        return Ok(class);
    };
    let Ok(key) = VerifyingKey::from_bytes(key) else {
        return Ok(class ^ 2);
    };
    let mut signature = [0; 64];
    signature[..rest.len().min(64)].copy_from_slice(&rest[..rest.len().min(64)]);
    Ok(class
        ^ if verify_ed25519(&key, &seeds::DIGEST, &signature) {
            4
        } else {
            8
        })
}

fn config(dir: &Path, input: &[u8]) -> Result<Class, String> {
    let file = dir.join("wattbook.toml");
    std::fs::write(&file, input).map_err(|error| format!("the harness: {error}"))?;
    match Config::load(Some(&file), dir) {
        Ok(_) => Ok(1),
        // The key it names is what differs between errors.
        Err(error) => Ok(refused(&error) ^ hash(error.to_string().split('`').nth(1).unwrap_or_default().as_bytes())),
    }
}

/// Orders, then after a byte 0x1e the ranks; the length chooses the rules.
fn clear(program: &Path, dir: &Path, input: &[u8]) -> Result<Class, String> {
    let io = |error: io::Error| format!("the harness cannot run `clear`: {error}");
    let orders = dir.join("orders.csv");
    let mut parts = input.splitn(2, |byte| *byte == 0x1e);
    std::fs::write(&orders, parts.next().unwrap_or_default()).map_err(io)?;
    let mut command = Command::new(program);
    let range = RangeMode::ALL[input.len() % RangeMode::ALL.len()];
    let deal_price = DealPriceRule::ALL[input.len() / 5 % DealPriceRule::ALL.len()];
    command
        .args([
            "clear",
            "--range",
            range.name(),
            "--deal-price",
            deal_price.name(),
            "--orders",
        ])
        .arg(&orders);
    if input.len().is_multiple_of(2) {
        command.arg("--json");
    }
    if let Some(ranks) = parts.next() {
        let path = dir.join("ranks.csv");
        std::fs::write(&path, ranks).map_err(io)?;
        command.arg("--ranks").arg(path);
    }
    let done = command.stdin(Stdio::null()).output().map_err(io)?;
    match done.status.code() {
        Some(0) => Ok(1),
        Some(1) if done.stdout.is_empty() => {
            let said = String::from_utf8_lossy(&done.stderr);
            let last = said.rsplit(';').next().unwrap_or_default();
            Ok(hash(last.as_bytes()))
        }
        _ => Err(format!(
            "`clear` ends with {}: {}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        )),
    }
}
