use super::*;
use crate::config::Wait;
use crate::ring::ring;
use crate::stage::ShownOrder;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use wattbook_feed::book::Books;
use wattbook_feed::sbe::{Outbound, decode_outbound, encode_public, session};
use wattbook_feed::soupbin::{Decoder, PACKET_MAX, Packet, Peer};
use wattbook_ledger::BlockHeader;
use wattbook_types::{ChainId, ContractId, Energy, Event, OrderId, Price, Side, TimeNs};

const WHO: ParticipantId = ParticipantId::new(4);
const CONTRACT: ContractId = ContractId::new(1_628_736, ContractId::PRODUCT_QUARTER_HOUR, 1);

/// What a session heard.
#[derive(Default)]
struct Heard {
    sequenced: Vec<Outbound>,
    all: Vec<Outbound>,
    accepted: Option<u64>,
    refused: Option<Reject>,
    /// Whether a page has come that was not taken.
    waits: bool,
    /// Whether the session was ended.
    ended: bool,
}

impl Heard {
    fn take(&mut self, mut packets: &[u8]) {
        let mut decoder = Decoder::new(Peer::Server, PACKET_MAX);
        loop {
            let taken = decoder.push(packets);
            packets = &packets[taken..];
            let Some(packet) = decoder.next_packet().unwrap() else {
                assert!(packets.is_empty(), "half a packet");
                break;
            };
            match packet {
                Packet::Sequenced(message) => {
                    let message = decode_outbound(message).unwrap();
                    self.sequenced.push(message);
                    self.all.push(message);
                }
                Packet::Unsequenced(message) => self.all.push(decode_outbound(message).unwrap()),
                Packet::LoginAccepted(accepted) => self.accepted = Some(accepted.sequence),
                Packet::EndOfSession => self.ended = true,
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The stage without its thread, and what it says.
struct Desk {
    publish: Publish,
    said: Receiver<ToSocket>,
    heard: BTreeMap<SessionId, Heard>,
    alias: Alias,
    seq: u64,
}

impl Desk {
    fn new(page: usize, history_len: usize) -> Self {
        let (_, input) = ring(1, Wait::Park);
        let (sockets, said) = ring(10_000, Wait::Park);
        let settings = config::Publish {
            history_len,
            ..config::Publish::default()
        };
        let alias = Alias::new([1; 32], ChainId(Hash([2; 32])));
        let mut publish = Publish::new(
            input,
            sockets,
            Box::new(|| ()),
            alias.clone(),
            &settings,
            BTreeSet::new(),
        );
        publish.hand_over(page, 1 << 20);
        Self {
            publish,
            said,
            heard: BTreeMap::new(),
            alias,
            seq: 0,
        }
    }

    fn take(&mut self, publication: Publication) {
        self.publish.take(publication).unwrap();
        self.publish.flush().unwrap();
        while let Some(said) = self.said.try_recv().unwrap() {
            let (id, packets, waits) = match &said {
                ToSocket::Packets(id, packets) => (id, packets, false),
                ToSocket::Page(id, packets) => (id, packets, true),
                ToSocket::Refused(id, reject) => {
                    self.heard.entry(*id).or_default().refused = Some(*reject);
                    continue;
                }
                ToSocket::LoggedOn(..) => continue,
                ToSocket::Last(id, packets) => (id, packets, false),
                other => panic!("{other:?}"),
            };
            let heard = self.heard.entry(*id).or_default();
            assert!(!heard.waits || !waits, "a page before the last one was taken");
            assert!(!heard.ended, "something after the end");
            heard.waits |= waits;
            heard.take(packets);
        }
    }

    /// The events of a record.
    fn record(&mut self, height: u64, events: &[Event]) {
        self.seq += 1;
        let seq = self.seq;
        let sequenced = |event: &Event| Sequenced {
            seq,
            event: event.clone(),
        };
        let events = Arc::new(Announced::new(events.iter().map(sequenced).collect()));
        self.take(Publication::Events { height, events });
    }

    fn durable(&mut self, height: u64) {
        self.take(Publication::Durable {
            header: Box::new(header(height)),
            digest: Hash::ZERO,
            length: 0,
            seq: self.seq,
            grade: Grade::Durable,
        });
    }

    /// The socket takes page after page; how many there were.
    fn drain(&mut self, session: SessionId) -> usize {
        let mut pages = 0;
        while core::mem::take(&mut self.heard.entry(session).or_default().waits) {
            pages += 1;
            self.take(Publication::Drained(session));
        }
        pages
    }

    fn heard(&self, session: SessionId) -> &Heard {
        &self.heard[&session]
    }
}

fn header(height: u64) -> BlockHeader {
    BlockHeader {
        flags: 0,
        producer: 0,
        height,
        epoch: 0,
        view: height,
        time: TimeNs::new(height),
        record_count: 0,
        event_count: 0,
        first_seq: 0,
        chain: ChainId(Hash([2; 32])),
        parent: Hash::ZERO,
        record_root: Hash::ZERO,
        event_root: Hash::ZERO,
        state_root: Hash::ZERO,
        log_root: Hash::ZERO,
        params_hash: Hash::ZERO,
        dpos_hash: Hash::ZERO,
        next_committee: Hash::ZERO,
    }
}

fn tick(time: u64) -> Event {
    Event::Ticked {
        time: TimeNs::new(time),
    }
}

fn accepted(nonce: u64) -> Event {
    Event::Accepted {
        participant: WHO,
        nonce,
        index: 0,
    }
}

fn opened(nonce: u64, side: Side, price: i32) -> Event {
    Event::Opened {
        order: order_id(nonce),
        contract: CONTRACT,
        side,
        price: Price::new(price),
        leaves: Energy::new(nonce),
        hidden: Energy::ZERO,
    }
}

const fn order_id(nonce: u64) -> OrderId {
    OrderId {
        participant: WHO,
        nonce,
        index: 0,
    }
}

fn nonces(messages: &[Outbound]) -> Vec<u64> {
    let nonce = |message: &Outbound| match message {
        Outbound::Accepted(accepted) => Some(accepted.nonce),
        _ => None,
    };
    messages.iter().filter_map(nonce).collect()
}

fn open(session: SessionId, grade: Grade, from: u64) -> Publication {
    Publication::Open {
        session,
        participant: WHO,
        next_nonce: 1,
        grade,
        from,
    }
}

#[test]
fn a_long_resume_is_handed_over_page_by_page() {
    let mut desk = Desk::new(1_000, 10_000);
    for time in 1..=500 {
        desk.record(1, &[tick(time)]);
    }
    desk.take(Publication::Subscribe { session: 1, from: 101 });
    assert_eq!(desk.heard(1).accepted, Some(101));
    let first = desk.heard(1).sequenced.len();
    assert!((10..50).contains(&first), "{first} messages in a page");
    // Nothing more comes before the page is taken, whatever happens.
    desk.record(1, &[tick(501)]);
    assert_eq!(desk.heard(1).sequenced.len(), first);
    assert!(desk.drain(1) >= 10);
    let times = desk.heard(1).sequenced.iter().map(|message| match message {
        Outbound::Ticked(ticked) => ticked.time_ns,
        other => panic!("{other:?}"),
    });
    assert!(times.eq(101..=501));
    // Small as it is, what comes now comes at once.
    desk.record(1, &[tick(502)]);
    assert_eq!(desk.heard(1).sequenced.len(), 402);
}

#[test]
fn what_says_something_of_the_stream_comes_behind_it() {
    for grade in [Grade::Matched, Grade::Durable] {
        let mut desk = Desk::new(600, 10_000);
        for nonce in 1..=200 {
            desk.record(1, &[accepted(nonce)]);
        }
        desk.durable(1);
        desk.take(open(1, grade, 1));
        for height in 2..=4 {
            desk.record(height, &[accepted(199 + height)]);
            desk.durable(height);
            desk.take(Publication::Stepped {
                time: TimeNs::new(height),
                height,
                seq: desk.seq,
            });
        }
        assert!(desk.heard(1).all.len() < 40);
        desk.drain(1);
        let heard = desk.heard(1);
        assert!(nonces(&heard.sequenced).into_iter().eq(1..=203));
        let mut told = 0;
        for height in 2..=4 {
            let place = |is: &dyn Fn(&Outbound) -> bool| heard.all.iter().position(is).unwrap();
            let answer = place(&|m| matches!(m, Outbound::Accepted(a) if a.nonce == 199 + height));
            let mark = place(&|m| matches!(m, Outbound::Watermark(w) if w.height == height));
            let stepped = place(&|m| matches!(m, Outbound::Stepped(s) if s.height == height));
            assert!(answer < mark && mark < stepped, "{grade:?} at {height}");
            told += 1;
        }
        assert_eq!(told, 3);
    }
}

#[test]
fn who_falls_out_of_the_history_is_refused_and_nobody_else_notices() {
    let mut desk = Desk::new(600, 50);
    desk.take(Publication::Subscribe { session: 1, from: 1 });
    desk.take(Publication::Subscribe { session: 2, from: 1 });
    for time in 1..=200 {
        desk.record(1, &[tick(time)]);
        desk.drain(2);
    }
    assert_eq!(desk.heard(1).refused, Some(Reject::SlowConsumer));
    assert!(desk.heard(1).sequenced.len() < 50);
    assert_eq!(desk.heard(2).sequenced.len(), 200);
    // It is gone: what it takes later changes nothing.
    desk.take(Publication::Drained(1));
    assert_eq!(desk.heard(2).refused, None);
}

#[test]
fn who_stops_reading_when_the_node_stops_is_told_the_rest_once() {
    let mut desk = Desk::new(600, 1_000);
    desk.take(Publication::Subscribe { session: 1, from: 1 });
    for time in 1..=200 {
        desk.record(1, &[tick(time)]);
    }
    assert!(desk.heard(1).sequenced.len() < 50);
    desk.publish
        .take(Publication::Halt {
            reason: HaltReason::Stopping,
            seq: 200,
        })
        .unwrap();
    let mut bytes = Vec::new();
    while let Some(said) = desk.said.try_recv().unwrap() {
        match said {
            ToSocket::Packets(1, packets) | ToSocket::Page(1, packets) => {
                desk.heard.get_mut(&1).unwrap().take(&packets)
            }
            ToSocket::Last(1, packets) => bytes = packets,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(desk.heard(1).sequenced.len(), 200);
    assert!(!bytes.is_empty());
}

/// Books of so many asks, as matching reads them.
fn books(height: u64, seq: u64, nonces: core::ops::RangeInclusive<u64>) -> Box<ShownBooks> {
    let orders = nonces.map(|nonce| ShownOrder {
        contract: CONTRACT,
        id: order_id(nonce),
        side: Side::Sell,
        price: Price::new(100),
        shown: Energy::new(nonce),
    });
    Box::new(ShownBooks {
        height,
        seq,
        orders: orders.collect(),
    })
}

#[test]
fn who_joins_gets_the_books_and_the_stream_from_there_on() {
    let mut desk = Desk::new(300, 10_000);
    desk.take(Publication::Subscribe { session: 1, from: 1 });
    for nonce in 1..=20 {
        desk.record(1, &[tick(nonce), opened(nonce, Side::Sell, 100)]);
    }
    // Two blocks ahead of the disk: where the books stand is known once the first of them is sealed.
    desk.record(2, &[opened(21, Side::Sell, 100)]);
    desk.record(3, &[opened(22, Side::Sell, 100)]);
    let seq = desk.seq;
    desk.take(Publication::Join {
        session: 2,
        books: Some(books(3, seq, 1..=22)),
    });
    desk.take(Publication::Join {
        session: 3,
        books: None,
    });
    desk.take(Publication::Join {
        session: 4,
        books: None,
    });
    desk.take(Publication::Closed(4));
    desk.record(3, &[opened(23, Side::Sell, 100), opened(24, Side::Sell, 101)]);
    assert!(!desk.heard.contains_key(&2));
    desk.durable(1);
    assert!(!desk.heard.contains_key(&2));
    desk.durable(2);
    desk.durable(3);
    desk.record(4, &[opened(25, Side::Sell, 99)]);
    for session in 1..=3 {
        desk.drain(session);
    }
    let mut whole = Books::new();
    for message in &desk.heard(1).sequenced {
        whole.take(message).unwrap();
    }
    assert_eq!(whole.len(), 25);
    for session in [2, 3] {
        let heard = desk.heard(session);
        let mut late = Books::new();
        let mut shown = Vec::new();
        for message in &heard.all {
            if late.take(message).unwrap() {
                shown.push(late.len());
            }
        }
        assert!(late == whole, "session {session}");
        assert_eq!(shown, [22, 24, 25], "books between two records only");
        let first = heard.accepted.unwrap();
        assert!(heard.sequenced == desk.heard(1).sequenced[first as usize - 1..]);
    }
    assert!(!desk.heard.contains_key(&4));
    // Who comes later is given the same books, as long as the stream goes back to them.
    desk.take(Publication::Join {
        session: 5,
        books: None,
    });
    desk.drain(5);
    assert!(desk.heard(5).all == desk.heard(2).all);
}

#[test]
fn event_ends_are_of_the_stream_and_not_of_the_event_root() {
    let events: Vec<Sequenced> = [
        (1, tick(1)),
        (2, opened(1, Side::Sell, 100)),
        (2, opened(2, Side::Buy, 90)),
        (2, accepted(2)),
        (2, tick(2)),
        (3, opened(3, Side::Buy, 80)),
    ]
    .into_iter()
    .map(|(seq, event)| Sequenced { seq, event })
    .collect();
    let desk = Desk::new(1, 1);
    let whole = Announced::new(events.clone());
    let form = whole.public(&desk.alias);
    let names: Vec<&str> = form.messages().map(|m| decode_outbound(m).unwrap().name()).collect();
    let expected = ["Ticked", "Opened", "Opened", "EventEnd", "Ticked", "Opened", "EventEnd"];
    assert_eq!(names, expected);
    let ends: Vec<(u64, u64)> = form
        .messages()
        .filter_map(|message| match decode_outbound(message).unwrap() {
            Outbound::EventEnd(end) => Some((end.seq, end.changes)),
            _ => None,
        })
        .collect();
    assert_eq!(ends, [(2, 2), (3, 1)]);
    let mut alone = Vec::new();
    for event in &events {
        let mut message = Vec::new();
        if encode_public(event, &desk.alias, &mut message) {
            alone.push(message);
        }
    }
    assert!(form.events().eq(alone.iter().map(Vec::as_slice)));
    // Record by record it is the same.
    let by_record = events.chunk_by(|one, next| one.seq == next.seq);
    let records: Vec<Announced> = by_record.map(|of_record| Announced::new(of_record.to_vec())).collect();
    let forms = records.iter().flat_map(|record| record.public(&desk.alias).messages());
    assert!(forms.eq(form.messages()));
}

/// A block of accepted nonces.
fn block(seq: u64, block: &[u64]) -> Arc<Announced> {
    let sequenced = |nonce: &u64| Sequenced {
        seq,
        event: accepted(*nonce),
    };
    Arc::new(Announced::new(block.iter().map(sequenced).collect()))
}

#[test]
fn what_is_not_final_is_shown_and_taken_back() {
    let mut desk = Desk::new(1 << 20, 1_000);
    desk.take(open(1, Grade::Matched, 1));
    desk.take(open(2, Grade::Final, 1));
    let matched = |height, nonce| Publication::Matched {
        height,
        events: block(height, &[nonce]),
    };
    desk.take(matched(1, 10));
    desk.take(matched(2, 20));
    assert_eq!(nonces(&desk.heard(1).sequenced), [10, 20]);
    assert!(nonces(&desk.heard(2).sequenced).is_empty());
    // Who comes later is shown as much.
    desk.take(open(3, Grade::Matched, 1));
    assert_eq!(nonces(&desk.heard(3).sequenced), [10, 20]);
    let events = block(1, &[10]);
    desk.take(Publication::Events { height: 1, events });
    desk.durable(1);
    assert_eq!(nonces(&desk.heard(1).sequenced), [10, 20], "once");
    assert_eq!(nonces(&desk.heard(2).sequenced), [10]);
    // Another block takes the second one's place.
    desk.take(open(4, Grade::Final, 2));
    desk.take(Publication::Revoked { height: 2, seq: 2 });
    for session in [1, 3] {
        let heard = desk.heard(session);
        let told = heard.all.last().unwrap();
        let revoked = session::Revoked {
            height: 2,
            seq: 2,
            next: 2,
        };
        assert_eq!((told, heard.ended), (&Outbound::Revoked(revoked), true));
    }
    assert!(![2, 4].iter().any(|session| desk.heard(*session).ended));
    desk.take(open(5, Grade::Matched, 2));
    desk.take(matched(2, 21));
    assert_eq!(nonces(&desk.heard(5).sequenced), [21]);
    let events = block(2, &[21]);
    desk.take(Publication::Events { height: 2, events });
    desk.durable(2);
    for (session, all) in [(2, vec![10, 21]), (4, vec![21]), (5, vec![21])] {
        assert_eq!(nonces(&desk.heard(session).sequenced), all);
    }
}

#[test]
fn every_session_ends_with_what_is_final() {
    for seed in 0..40 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut desk = Desk::new([200, 1 << 20][seed as usize % 2], 10_000);
        let (mut settled, mut nonce) = (0u64, 0);
        let (mut ahead, mut fixed): (VecDeque<Vec<u64>>, Vec<u64>) = (VecDeque::new(), Vec::new());
        // Sessions of grade matched: what each one holds, from the first message on, after what it was told to forget.
        let mut held: Vec<(SessionId, Vec<u64>, usize)> = Vec::new();
        let (mut opened, mut ended) = (0, 0);
        desk.take(open(1_000, Grade::Final, 1));
        let follow = |desk: &Desk, held: &mut Vec<(SessionId, Vec<u64>, usize)>| {
            held.iter_mut().for_each(|(session, known, read)| {
                let new = nonces(&desk.heard(*session).sequenced[*read..]);
                *read += new.len();
                known.extend(new);
            });
        };
        for _ in 0..300 {
            match rng.next_u32() % 6 {
                0 | 1 if ahead.len() < 4 => {
                    let len = u64::from(rng.next_u32() % 12);
                    ahead.push_back((nonce..nonce + len).collect());
                    nonce += len;
                    let height = settled + ahead.len() as u64;
                    let events = block(height, ahead.back().unwrap());
                    desk.take(Publication::Matched { height, events });
                }
                2 | 3 => {
                    let Some(next) = ahead.pop_front() else { continue };
                    settled += 1;
                    let events = block(settled, &next);
                    desk.take(Publication::Events {
                        height: settled,
                        events,
                    });
                    desk.durable(settled);
                    fixed.extend(next);
                }
                4 if !ahead.is_empty() => {
                    let keep = rng.next_u32() as usize % ahead.len();
                    ahead.truncate(keep);
                    let height = settled + keep as u64 + 1;
                    desk.take(Publication::Revoked { height, seq: height });
                }
                5 if held.len() < 3 => {
                    opened += 1;
                    desk.take(open(opened, Grade::Matched, 1));
                    held.push((opened, Vec::new(), 0));
                }
                _ => (1..=opened).for_each(|session| _ = desk.drain(session)),
            }
            desk.drain(1_000);
            follow(&desk, &mut held);
            for (session, known, read) in &mut held {
                if !desk.heard(*session).ended {
                    continue;
                }
                ended += 1;
                let Some(Outbound::Revoked(revoked)) = desk.heard(*session).all.last().copied() else {
                    panic!("{:?}", desk.heard(*session).all.last());
                };
                known.truncate(revoked.next as usize - 1);
                opened += 1;
                (*session, *read) = (opened, 0);
                desk.take(open(opened, Grade::Matched, revoked.next));
            }
        }
        let all: Vec<u64> = fixed.iter().copied().chain(ahead.iter().flatten().copied()).collect();
        (1..=opened).for_each(|session| _ = desk.drain(session));
        follow(&desk, &mut held);
        for (session, known, _) in held {
            assert_eq!(known, all, "seed {seed}, session {session}");
        }
        assert_eq!(nonces(&desk.heard(1_000).sequenced), fixed, "seed {seed}");
        assert!(ended > 0, "seed {seed}: nothing was taken back");
    }
}
