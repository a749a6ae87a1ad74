//! The feed's machines under fire: packets and requests of MoldUDP64, recordings, and sessions that bytes are poured into.

use super::dice::Dice;
use super::targets::{Class, packets, refused, same};
use std::io;
use std::path::Path;
use std::sync::LazyLock;
use wattbook_feed::client::Numbered;
use wattbook_feed::moldudp::{self, Content, HEADER_SIZE, LENGTH_SIZE, Packet, Request, Writer};
use wattbook_feed::recording::{Recorder, Recording, RecordingError};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::soupbin::{self, Decoder, PACKET_MAX, Peer};
use wattbook_node::stage::Request as Asked;
use wattbook_node::stage::envelopes::Envelopes;
use wattbook_node::stage::ingest::session::{Rules, Session, Step};
use wattbook_types::{ChainId, Hash, Reject};

/// A datagram as a packet and as a request, each encoded again.
pub(super) fn moldudp(input: &[u8]) -> Result<Class, String> {
    let request = match Request::decode(input) {
        Ok(request) => {
            same("the request encoded again", &request.encode()[..], input)?;
            1
        }
        Err(error) => refused(&error),
    };
    let packet = match Packet::decode(input) {
        Ok(packet) => packet,
        Err(error) => return Ok(request ^ refused(&error).rotate_left(1)),
    };
    let mut writer = Writer::new(packet.session, 65_507);
    writer.begin(packet.sequence);
    let (mut next, mut size) = (packet.sequence, HEADER_SIZE);
    let class = match packet.content {
        Content::Messages(blocks) => {
            for (number, message) in blocks {
                same("a message's number", &number, &next)?;
                if !writer.push(message) {
                    return Err(format!("message {number} does not fit its own packet"));
                }
                next += 1;
                size += LENGTH_SIZE + message.len();
            }
            same("the packet's size", &size, &input.len())?;
            same("the packet written again", writer.packet(), input)?;
            2 + u32::from(writer.count().min(8))
        }
        Content::Heartbeat => {
            same("the heartbeat written again", writer.packet(), input)?;
            11
        }
        Content::EndOfSession => {
            same("the end written again", writer.end_of_session(packet.sequence), input)?;
            12
        }
    };
    same("the number after the packet", &packet.next_sequence(), &next)?;
    // A writer with room for half of it takes what fits, in order, and nothing else.
    let mut small = Writer::new(packet.session, HEADER_SIZE.max(input.len() / 2));
    small.begin(packet.sequence);
    if let Content::Messages(blocks) = packet.content {
        let fits = blocks.take_while(|(_, message)| small.push(message)).count();
        same("the messages of a small packet", &usize::from(small.count()), &fits)?;
    }
    let written = small.packet();
    match Packet::decode(written) {
        Ok(again) if written.len() <= HEADER_SIZE.max(input.len() / 2) => {
            same("a small packet's number", &again.sequence, &packet.sequence)?;
        }
        again => return Err(format!("a small packet of {} bytes is {again:?}", written.len())),
    }
    Ok(request ^ class.rotate_left(8))
}

pub(super) fn datagrams(dice: &mut Dice) -> Vec<Vec<u8>> {
    let name = moldudp::session(soupbin::SESSION_PUBLIC).unwrap_or_default();
    let mut writer = Writer::new(name, 512);
    let mut all = Vec::new();
    for (sequence, sizes) in [(1, &[8][..]), (u64::MAX - 9, &[0, 1, 60, 200]), (1 << 40, &[])] {
        writer.begin(sequence);
        for size in sizes {
            let _ = writer.push(&dice.bytes(*size));
        }
        all.push(writer.packet().to_vec());
    }
    all.push(writer.end_of_session(77).to_vec());
    let request = Request {
        session: name,
        sequence: 3,
        count: 500,
    };
    all.push(request.encode().to_vec());
    all
}

/// Messages of a recording up to its end, or to what is wrong with it.
type Recorded = (Vec<Numbered<Vec<u8>>>, Option<RecordingError>);

fn read(path: &Path) -> Result<Recorded, RecordingError> {
    let mut recording = Recording::open(path)?;
    let mut messages = Vec::new();
    loop {
        let due = recording.next_seq();
        match recording.next() {
            Ok(Some((seq, message))) => {
                debug_assert!(seq.is_none_or(|seq| seq == due));
                messages.push((seq, message));
            }
            Ok(None) => return Ok((messages, None)),
            Err(error) => return Ok((messages, Some(error))),
        }
    }
}

/// A file as a recording: what can be read of it is there after it has been gone on with, and then what was added.
pub(super) fn recording(dir: &Path, input: &[u8]) -> Result<Class, String> {
    let harness = |error: io::Error| format!("the harness: {error}");
    let file = dir.join("feed.soup");
    std::fs::write(&file, input).map_err(harness)?;
    let (messages, wrong) = match read(&file) {
        Ok(found) => found,
        Err(error) => return Ok(refused(&error)),
    };
    let class = wrong.as_ref().map_or(1, refused) ^ (messages.len().min(8) as u32) << 8;
    let resumed = Recorder::resume(&file);
    let mut recorder = match (resumed, wrong) {
        (Ok(recorder), None | Some(RecordingError::Torn { .. })) => recorder,
        (Err(error), Some(wrong)) => {
            same("what is wrong", &refused(&error), &refused(&wrong))?;
            return Ok(class);
        }
        (resumed, wrong) => return Err(format!("read: {wrong:?}, gone on with: {resumed:?}")),
    };
    let next = recorder.next_seq();
    let after = messages.iter().filter_map(|(seq, _)| *seq).next_back();
    if after.is_some_and(|last| last.checked_add(1) != Some(next)) {
        return Err(format!("after message {after:?} comes {next}"));
    }
    let mut expected = messages;
    let more = [(None, b"aside".to_vec()), (Some(next), b"more".to_vec())];
    for (seq, message) in more {
        match recorder.append(seq, &message) {
            Ok(()) => expected.push((seq, message)),
            // No number comes after the last one.
            Err(RecordingError::Gap { .. }) if next == u64::MAX => {}
            Err(error) => return Err(format!("message {seq:?} cannot be added: {error}")),
        }
    }
    recorder.end().map_err(|error| error.to_string())?;
    match read(&file) {
        Ok((found, None)) => same("the recording that was gone on with", &found, &expected).map(|()| class),
        other => Err(format!("a recording that was gone on with: {other:?}")),
    }
}

pub(super) fn recordings(dice: &mut Dice) -> Vec<Vec<u8>> {
    let accepted = |sequence| soupbin::LoginAccepted {
        session: soupbin::SESSION_PUBLIC.into(),
        sequence,
    };
    let mut all = Vec::new();
    for first in [1, u64::MAX - 2] {
        let mut file = Vec::new();
        soupbin::put_login_accepted(&accepted(first), &mut file);
        soupbin::put_sequenced(&dice.bytes(40), &mut file);
        soupbin::put_unsequenced(&dice.bytes(9), &mut file);
        soupbin::put_server_heartbeat(&mut file);
        soupbin::put_debug("text", &mut file);
        soupbin::put_sequenced(&[], &mut file);
        all.push(file.clone());
        soupbin::put_end_of_session(&mut file);
        all.push(file);
    }
    all
}

static RULES: LazyLock<Rules> = LazyLock::new(|| Rules {
    chain: ChainId(Hash([7; 32])),
    demo: true,
    packet_size_max: 600,
    envelopes: Envelopes::new(8),
    challenge: || Some([9; 32]),
});

/// What came of a stream: steps as text, answers, and the classes of the requests.
#[derive(PartialEq, Eq, Debug, Default)]
struct Came {
    steps: Vec<String>,
    answers: Vec<u8>,
    class: Class,
}

/// Pours a stream into a session, in pieces of the sizes that `pieces` throws.
fn pour(mut stream: &[u8], pieces: &mut Dice) -> Result<Came, String> {
    let (mut session, mut came) = (Session::default(), Came::default());
    let (mut taken, mut used, mut over) = (0, 0, false);
    while !stream.is_empty() {
        let (mut piece, rest) = stream.split_at(1 + pieces.index(stream.len()));
        (taken, stream) = (taken + piece.len(), rest);
        loop {
            let (before, left) = (came.answers.len(), piece.len());
            let (was_private, was_in) = (session.is_private(), session.is_logged_in());
            let step = session.next(&mut piece, &RULES, &mut came.answers);
            if over && (came.answers.len() > before || !matches!(step, Step::Starved)) {
                return Err(format!("a session that is over goes on: {step:?}"));
            }
            match &step {
                Step::Starved if piece.is_empty() => break,
                Step::Starved => return Err(format!("starved with {} bytes left", piece.len())),
                Step::Packet(size, asked) => {
                    used += size;
                    if used > taken {
                        return Err(format!("{used} bytes of packets out of {taken}"));
                    }
                    came.class ^= class_of(asked.as_ref(), was_private, was_in)?.rotate_left(came.steps.len() as u32);
                }
                Step::Last if came.answers.len() == before => return Err("an end without a reason".into()),
                Step::Last | Step::Over => over = true,
            }
            if piece.len() == left && !matches!(step, Step::Last) {
                return Err(format!("{step:?} out of no bytes"));
            }
            if let Step::Packet(_, Some(Asked::Envelope(envelope))) = step {
                came.steps.push(format!("{envelope:?}"));
                RULES.envelopes.give_back(envelope);
            } else {
                came.steps.push(format!("{step:?}"));
            }
        }
        session.rest();
    }
    Ok(came)
}

/// The class of a request; nothing but a refusal is asked for by those who may not.
fn class_of(asked: Option<&Asked>, was_private: bool, was_in: bool) -> Result<Class, String> {
    match asked {
        None => Ok(1),
        Some(Asked::Refused(_, reject)) if Reject::from_code(reject.code()) == Some(*reject) => {
            Ok(u32::from(reject.code()) << 4)
        }
        Some(Asked::Refused(_, reject)) => Err(format!("{reject:?} has no number")),
        Some(Asked::Closed | Asked::Stop) => Err(format!("a client asks for {asked:?}")),
        Some(
            Asked::Logon { .. }
            | Asked::Register(_)
            | Asked::Envelope(_)
            | Asked::Reveal(_)
            | Asked::OnDisconnect(_)
            | Asked::Step(_),
        ) if !was_private => Err(format!("asked for outside a private session: {asked:?}")),
        Some(Asked::Subscribe { .. } | Asked::Join) if was_in => Err("a second login is taken".into()),
        Some(other) => Ok(refused(other)),
    }
}

/// The first byte chooses the pieces, the rest is what a client sends. However it is cut, the session does and answers the
/// same, in packets of a server that all can be read, each refusal with its number.
pub(super) fn session(input: &[u8]) -> Result<Class, String> {
    let Some((choice, stream)) = input.split_first() else {
        return Ok(0);
    };
    let first = pour(stream, &mut Dice::new(u64::from(*choice)))?;
    let second = pour(stream, &mut Dice::new(u64::from(*choice) + 256))?;
    same("the stream cut otherwise", &second, &first)?;
    packets(Peer::Server, PACKET_MAX, &first.answers, &mut Dice::new(1))?;
    let mut decoder = Decoder::new(Peer::Server, PACKET_MAX);
    let mut rest = first.answers.as_slice();
    let mut refusals = 0;
    loop {
        match decoder.next_packet() {
            Ok(Some(soupbin::Packet::Unsequenced(message))) => match decode_outbound(message) {
                Ok(Outbound::RejectedMessage(refused)) if Reject::from_code(refused.code).is_some() => refusals += 1,
                Ok(Outbound::Challenge(_)) => {}
                other => return Err(format!("a session answers {other:?}")),
            },
            Ok(Some(soupbin::Packet::LoginAccepted(_))) => {}
            Ok(Some(soupbin::Packet::LoginRejected(_))) => refusals += 1,
            Ok(Some(other)) => return Err(format!("a session answers {other:?}")),
            Ok(None) if rest.is_empty() => break,
            Ok(None) => rest = &rest[decoder.push(rest)..],
            Err(reject) => return Err(format!("a session's answers are {reject:?}")),
        }
    }
    if refusals > 1 {
        return Err(format!("{refusals} reasons for one end"));
    }
    Ok(first.class ^ (refusals << 31) ^ (first.steps.len().min(8) as u32) << 26)
}

/// Sessions of every kind, with every message that a client sends.
pub(super) fn sessions(dice: &mut Dice) -> Vec<Vec<u8>> {
    let login = |session: &str, out: &mut Vec<u8>| {
        let request = soupbin::LoginRequest {
            username: "meter".into(),
            password: String::new(),
            session: session.into(),
            sequence: 5,
        };
        soupbin::put_login_request(&request, out);
    };
    let messages = super::seeds::inbound(dice);
    let mut all = Vec::new();
    for name in [
        soupbin::SESSION_PRIVATE,
        soupbin::SESSION_PUBLIC,
        soupbin::SESSION_BOOK,
        "NOWHERE",
    ] {
        let mut stream = vec![dice.any() as u8];
        login(name, &mut stream);
        soupbin::put_client_heartbeat(&mut stream);
        for message in messages.iter().filter(|message| message.len() < 590) {
            if stream.len() + message.len() < 1_500 {
                soupbin::put_unsequenced(message, &mut stream);
            }
        }
        soupbin::put_debug("a text", &mut stream);
        soupbin::put_logout(&mut stream);
        soupbin::put_unsequenced(b"after", &mut stream);
        all.push(stream);
    }
    let mut twice = vec![3];
    login(soupbin::SESSION_PRIVATE, &mut twice);
    login(soupbin::SESSION_PUBLIC, &mut twice);
    all.push(twice);
    all
}
