//! A slow consumer of the public stream, over real sockets on both backends: it is cut off with its reason once what it lacks
//! has left the history, what it was handed is the stream's beginning, and nobody else notices.
#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

mod wire;

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, spawn};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::{Outbound, decode_outbound};
use wattbook_feed::soupbin::{self, Decoder, LoginRefusal, PACKET_MAX, Packet, Peer};
use wattbook_node::config::Backend;
use wattbook_types::{Reject, TimeNs};
use wire::trading::{Dice, open, trade};
use wire::{WAIT, Wire, lockstep};

/// Messages that the node keeps.
const HISTORY: usize = 2_000;
/// Seconds of trading in which whoever does not read has long been cut off: buffers of sockets hold some MiB.
const SECONDS_MAX: u32 = 600;

/// Reads the stream from its beginning to its end; says the time of each block it has heard of.
fn follow(addr: SocketAddr, blocks: Sender<u64>) -> JoinHandle<Vec<Vec<u8>>> {
    let mut client = Client::connect(addr, StreamKind::Public, 1).unwrap();
    spawn(move || {
        let mut messages = Vec::new();
        loop {
            match client.next_raw(WAIT) {
                Ok(Some((Some(number), bytes))) => {
                    if let Outbound::BlockSealed(block) = decode_outbound(&bytes).unwrap() {
                        let _ = blocks.send(block.time_ns);
                    }
                    messages.push(bytes);
                    assert_eq!(number, messages.len() as u64);
                }
                Ok(Some((None, _))) => {}
                Err(ClientError::EndOfSession) => return messages,
                other => panic!("{other:?}"),
            }
        }
    })
}

/// Waits until each has heard of the block of this time.
fn await_block(followers: &[Receiver<u64>], time: TimeNs) {
    for follower in followers {
        while follower.recv_timeout(WAIT).expect("a follower that keeps up") < time.get() {}
    }
}

fn a_slow_reader_is_cut_off_and_nobody_else_notices(backend: Backend) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = lockstep();
    config.ingest.backend = backend;
    config.ingest.session_buffer_max = 16 << 10;
    config.publish.history_len = HISTORY;
    let mut town = open(dir.path(), &config);
    let (followers, blocks): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (said, heard) = channel();
            (follow(town.node.addr, said), heard)
        })
        .unzip();
    let mut slow = Wire::open(town.node.addr);
    slow.log_in(soupbin::SESSION_PUBLIC);
    let (mut dice, mut seconds) = (Dice(5), 0);
    let refused = format!(
        "wattbook_ingest_refused_total{{reject=\"{}\"}} 1",
        Reject::SlowConsumer.name()
    );
    let cut_off = |metrics: String| metrics.lines().any(|line| line == refused);
    while !cut_off(town.node.metrics.render()) {
        assert!(seconds < SECONDS_MAX, "{}", town.node.metrics.render());
        trade(&mut town, &mut dice, 1);
        await_block(&blocks, town.now);
        seconds += 1;
    }
    // The others trade on, and miss nothing.
    trade(&mut town, &mut dice, 3);
    await_block(&blocks, town.now);

    let mut decoder = Decoder::new(Peer::Server, PACKET_MAX);
    let (mut told, mut reasons) = (Vec::new(), Vec::new());
    loop {
        while let Some(packet) = decoder.next_packet().unwrap() {
            match packet {
                Packet::Sequenced(message) if reasons.is_empty() => told.push(message.to_vec()),
                Packet::Unsequenced(message) => match decode_outbound(message).unwrap() {
                    Outbound::RejectedMessage(why) => reasons.push(why.code),
                    other => panic!("{other:?}"),
                },
                Packet::LoginAccepted(_) | Packet::ServerHeartbeat => {}
                other => panic!("{other:?} behind {reasons:?}"),
            }
        }
        match std::io::Read::read(&mut slow.stream(), decoder.spare()).unwrap() {
            0 => break,
            len => decoder.filled(len),
        }
    }
    assert_eq!(reasons, [Reject::SlowConsumer.code()]);
    // What it lacks cannot be had again; the stream as it is now can.
    let next = told.len() as u64 + 1;
    assert!(matches!(
        Client::connect(town.node.addr, StreamKind::Public, next),
        Err(ClientError::LoginRefused(LoginRefusal::SessionNotAvailable))
    ));
    Client::connect(town.node.addr, StreamKind::Public, 0).unwrap();
    town.stop();
    let mut streams = followers.into_iter().map(|follower| follower.join().unwrap());
    let (one, other) = (streams.next().unwrap(), streams.next().unwrap());
    assert!(one == other && one.len() > told.len() + HISTORY);
    assert!(told == one[..told.len()], "{} messages", told.len());
}

#[test]
fn a_slow_reader_is_cut_off_on_mio() {
    a_slow_reader_is_cut_off_and_nobody_else_notices(Backend::Mio);
}

#[test]
fn a_slow_reader_is_cut_off_on_io_uring() {
    a_slow_reader_is_cut_off_and_nobody_else_notices(Backend::IoUring);
}
