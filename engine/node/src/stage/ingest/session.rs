//! One session, without I/O: bytes in, requests and answers out.
//!
//! # Invariants
//! * The packets of a stream are the same however its bytes are cut.
//! * A packet that is whole is read where it lies; only one that is cut by the end of the bytes is kept and put together.
//! * After a packet that is none, a logout, or a refused login, a session takes nothing any more.

use super::super::envelopes::Envelopes;
use super::super::publish::{framed, rejected};
use super::super::{About, Request};
use wattbook_feed::sbe::session::Challenge;
use wattbook_feed::sbe::{Inbound, decode_inbound};
use wattbook_feed::signed::{Grade, logon_digest};
use wattbook_feed::soupbin::{self, LoginAccepted, LoginRefusal, LoginRequest, Packet, Peer, packet, packet_size};
use wattbook_types::{ChainId, ParticipantId, Reject, TimeNs};

/// What a session knows of the node.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The chain.
    pub chain: ChainId,
    /// Whether its genesis is a demonstration.
    pub demo: bool,
    /// Longest packet taken, bytes after its length.
    pub packet_size_max: usize,
    /// Where copies of envelopes come from.
    pub envelopes: Envelopes,
    /// Random bytes that a logon must sign; none: no private session can be opened.
    pub challenge: fn() -> Option<[u8; 32]>,
}

/// One session.
#[derive(Debug, Default)]
pub struct Session {
    state: State,
    /// The beginning of a packet whose end has not come.
    cut: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// Waits for the SoupBinTCP login.
    #[default]
    Login,
    /// A private session; this challenge must be signed.
    Private { challenge: [u8; 32], from: u64 },
    /// The public feed.
    Public,
    /// Takes nothing any more.
    Over,
}

/// What came of a session's bytes.
#[derive(Debug)]
pub enum Step {
    /// They are used up.
    Starved,
    /// A packet of so many bytes; what it asks for, if anything.
    Packet(usize, Option<Request>),
    /// The answers say why the session ends.
    Last,
    /// The client has logged out.
    Over,
}

impl Session {
    /// Whether its login was taken.
    pub const fn is_logged_in(&self) -> bool {
        matches!(self.state, State::Private { .. } | State::Public)
    }

    /// Whether it is a private one.
    pub const fn is_private(&self) -> bool {
        matches!(self.state, State::Private { .. })
    }

    /// Gives back memory that an idle session does not need.
    pub fn rest(&mut self) {
        if self.cut.is_empty() {
            self.cut = Vec::new();
        }
    }

    /// Takes the next packet off `input`; answers of the session itself are appended to `answers`.
    pub fn next(&mut self, input: &mut &[u8], rules: &Rules, answers: &mut Vec<u8>) -> Step {
        if self.state == State::Over {
            *input = &[];
            return Step::Starved;
        }
        if !self.cut.is_empty() {
            return self.join(input, rules, answers);
        }
        match packet_size(Peer::Client, rules.packet_size_max, input) {
            Ok(Some(size)) if size <= input.len() => {
                let (whole, rest) = input.split_at(size);
                *input = rest;
                self.take(whole, rules, answers)
            }
            Ok(_) => {
                self.cut.extend_from_slice(input);
                *input = &[];
                Step::Starved
            }
            Err(reject) => self.end(reject, answers),
        }
    }

    /// The packet whose beginning was kept, once its end has come.
    fn join(&mut self, input: &mut &[u8], rules: &Rules, answers: &mut Vec<u8>) -> Step {
        loop {
            let size = match packet_size(Peer::Client, rules.packet_size_max, &self.cut) {
                Ok(size) => size,
                Err(reject) => return self.end(reject, answers),
            };
            let lacks = size.map_or(1, |size| size - self.cut.len());
            if lacks == 0 {
                break;
            }
            if input.is_empty() {
                return Step::Starved;
            }
            let (more, rest) = input.split_at(lacks.min(input.len()));
            self.cut.extend_from_slice(more);
            *input = rest;
        }
        let mut cut = std::mem::take(&mut self.cut);
        let step = self.take(&cut, rules, answers);
        cut.clear();
        self.cut = cut;
        step
    }

    /// A whole packet.
    fn take(&mut self, whole: &[u8], rules: &Rules, answers: &mut Vec<u8>) -> Step {
        let request = match packet(whole) {
            Err(reject) => return self.end(reject, answers),
            Ok(Packet::ClientHeartbeat | Packet::Debug(_)) => None,
            Ok(Packet::Logout) => {
                self.state = State::Over;
                return Step::Over;
            }
            Ok(Packet::LoginRequest(login)) => return self.log_in(whole.len(), &login, rules, answers),
            Ok(Packet::Unsequenced(message)) => Some(match self.state {
                State::Private { challenge, from } => request_of(message, rules, &challenge, from),
                _ => Request::Refused(About::default(), Reject::NotLoggedOn),
            }),
            // Framing lets no server packet through.
            Ok(_) => Some(Request::Refused(About::default(), Reject::UnknownMessage)),
        };
        Step::Packet(whole.len(), request)
    }

    /// Answers a SoupBinTCP login; a public one becomes a request to publish.
    fn log_in(&mut self, size: usize, login: &LoginRequest, rules: &Rules, answers: &mut Vec<u8>) -> Step {
        let from = login.sequence;
        match (self.state, login.session.trim()) {
            (State::Login, soupbin::SESSION_PRIVATE | "") => {
                if let Some(challenge) = (rules.challenge)() {
                    self.state = State::Private { challenge, from };
                    let accepted = LoginAccepted {
                        session: soupbin::SESSION_PRIVATE.into(),
                        sequence: from,
                    };
                    soupbin::put_login_accepted(&accepted, answers);
                    answers.extend(framed(&Challenge {
                        challenge,
                        chain_id: rules.chain.0.0,
                        demo: rules.demo.into(),
                        reserved: [0; 7],
                    }));
                    return Step::Packet(size, None);
                }
            }
            (State::Login, soupbin::SESSION_PUBLIC) => {
                self.state = State::Public;
                return Step::Packet(size, Some(Request::Subscribe { from }));
            }
            (State::Login, soupbin::SESSION_BOOK) => {
                self.state = State::Public;
                return Step::Packet(size, Some(Request::Join));
            }
            _ => {}
        }
        soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, answers);
        self.state = State::Over;
        Step::Last
    }

    fn end(&mut self, reject: Reject, answers: &mut Vec<u8>) -> Step {
        answers.extend(framed(&rejected(About::default(), reject, 0)));
        self.state = State::Over;
        Step::Last
    }
}

/// The request of a message on a private session.
fn request_of(message: &[u8], rules: &Rules, challenge: &[u8; 32], from: u64) -> Request {
    match decode_inbound(message) {
        Ok(Inbound::Envelope(envelope)) => Request::Envelope(rules.envelopes.copy(&envelope)),
        Ok(Inbound::Logon(logon)) => {
            let participant = ParticipantId::new(logon.participant);
            match Grade::from_raw(logon.grade) {
                Some(grade) => {
                    let digest = logon_digest(rules.chain, challenge, participant, logon.grade);
                    Request::Logon {
                        participant,
                        grade,
                        from,
                        digest,
                        signature: logon.signature,
                    }
                }
                None => {
                    let about = About {
                        participant: logon.participant,
                        ..About::default()
                    };
                    Request::Refused(about, Reject::LogonRefused)
                }
            }
        }
        Ok(Inbound::Register(record)) => Request::Register(record),
        Ok(Inbound::Reveal(reveal)) => Request::Reveal(Box::new(reveal.to_record())),
        Ok(Inbound::OnDisconnect(cancels)) => {
            Request::OnDisconnect(cancels.map(|envelope| rules.envelopes.copy(&envelope)))
        }
        Ok(Inbound::Step(step)) => Request::Step(TimeNs::new(step.time_ns)),
        Err(reject) => Request::Refused(About::default(), reject),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wattbook_types::Hash;

    fn rules() -> Rules {
        Rules {
            chain: ChainId(Hash([3; 32])),
            demo: true,
            packet_size_max: 600,
            envelopes: Envelopes::new(4),
            challenge: || Some([9; 32]),
        }
    }

    fn login(session: &str) -> Vec<u8> {
        let request = LoginRequest {
            username: String::new(),
            password: String::new(),
            session: session.into(),
            sequence: 5,
        };
        let mut bytes = Vec::new();
        soupbin::put_login_request(&request, &mut bytes);
        bytes
    }

    /// Feeds the bytes in pieces of `size`; what came of them, and the answers.
    fn feed(bytes: &[u8], size: usize) -> (Vec<String>, Vec<u8>) {
        let (mut session, mut answers, mut steps) = (Session::default(), Vec::new(), Vec::new());
        for mut piece in bytes.chunks(size) {
            loop {
                match session.next(&mut piece, &rules(), &mut answers) {
                    Step::Starved => break,
                    step => steps.push(format!("{step:?}")),
                }
            }
            assert!(piece.is_empty(), "starved with bytes left");
        }
        (steps, answers)
    }

    #[test]
    fn however_the_bytes_are_cut_the_session_is_the_same() {
        let mut stream = login(soupbin::SESSION_PRIVATE);
        soupbin::put_client_heartbeat(&mut stream);
        let mut message = Vec::new();
        wattbook_feed::sbe::encode_step(TimeNs::new(77), &mut message);
        soupbin::put_unsequenced(&message, &mut stream);
        soupbin::put_unsequenced(&message[..5], &mut stream);
        soupbin::put_debug(&"x".repeat(500), &mut stream);
        soupbin::put_logout(&mut stream);
        soupbin::put_unsequenced(&message, &mut stream);
        let whole = feed(&stream, usize::MAX);
        assert_eq!(whole.0.len(), 6, "{:?}", whole.0);
        assert!(
            whole.0[2].contains("Step") && whole.0[3].contains("ShortFrame"),
            "{:?}",
            whole.0
        );
        assert_eq!(whole.0[5], "Over");
        for size in 1..stream.len() {
            assert_eq!(feed(&stream, size), whole, "pieces of {size}");
        }
    }

    #[test]
    fn garbage_ends_a_session_once() {
        for garbage in [&b"GET / HTTP/1.1\r\n"[..], b"\0\0", b"\0\x01?", b"\xff\xffU"] {
            for size in [1, 2, 3, usize::MAX] {
                let stream = [&login(soupbin::SESSION_PRIVATE), garbage, garbage].concat();
                let (steps, answers) = feed(&stream, size);
                assert_eq!(steps.len(), 2, "{garbage:?}: {steps:?}");
                assert_eq!(steps[1], "Last");
                assert!(!answers.is_empty());
            }
        }
    }

    #[test]
    fn an_unknown_session_is_refused() {
        let (steps, answers) = feed(&login("NOWHERE"), usize::MAX);
        assert_eq!((steps, answers), (vec!["Last".to_owned()], b"\0\x02JS".to_vec()));
    }

    #[test]
    fn what_is_kept_is_at_most_one_packet() {
        let mut session = Session::default();
        let (rules, mut answers) = (rules(), Vec::new());
        let mut bytes = login(soupbin::SESSION_PRIVATE);
        soupbin::put_debug(&"x".repeat(590), &mut bytes);
        for byte in bytes {
            session.next(&mut &[byte][..], &rules, &mut answers);
            assert!(session.cut.len() < 602);
        }
        session.rest();
        assert_eq!(session.cut.capacity(), 0);
    }
}
