//! The client against a server made of the decoder, over loopback.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::keys::{self, BlsSecret, KeyRole};
use wattbook_feed::sbe::{Inbound, LogonMessage, Outbound, decode_inbound, encode_outbound, event, session};
use wattbook_feed::signed::{Grade, RevealRecord, SealedEnvelope, logon_digest};
use wattbook_feed::soupbin::{self, Decoder, LoginAccepted, LoginRefusal, LoginRequest, Packet, Peer};
use wattbook_types::{ChainId, ContractId, Hash, ParticipantId, TimeNs};

const CHAIN: ChainId = ChainId(Hash([3; 32]));
const CHALLENGE: [u8; 32] = [4; 32];
const WAIT: Duration = Duration::from_secs(20);
/// What the server's public session has to tell.
const TOLD: u64 = 5;

/// One connection of a server.
struct Session {
    stream: TcpStream,
    decoder: Decoder,
}

/// A packet as the server's script sees it.
#[derive(Debug)]
enum Got {
    Login(LoginRequest),
    Message(Vec<u8>),
    Heartbeat,
    Logout,
    Closed,
}

impl Session {
    fn next(&mut self) -> Got {
        loop {
            match self.decoder.next_packet().unwrap() {
                Some(Packet::LoginRequest(login)) => return Got::Login(login),
                Some(Packet::Unsequenced(message)) => return Got::Message(message.to_vec()),
                Some(Packet::ClientHeartbeat) => return Got::Heartbeat,
                Some(Packet::Logout) => return Got::Logout,
                Some(other) => panic!("{other:?}"),
                None => {}
            }
            match self.stream.read(self.decoder.spare()) {
                Ok(0) | Err(_) => return Got::Closed,
                Ok(len) => self.decoder.filled(len),
            }
        }
    }

    fn message(&mut self) -> Vec<u8> {
        loop {
            match self.next() {
                Got::Message(message) => return message,
                Got::Heartbeat => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn put(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut out = Vec::new();
        write(&mut out);
        self.stream.write_all(&out).unwrap();
    }

    fn accept(&mut self, want: &str) -> u64 {
        let Got::Login(login) = self.next() else {
            panic!("no login")
        };
        assert_eq!(login.session, want);
        let sequence = if login.sequence == 0 { TOLD + 1 } else { login.sequence };
        self.put(|out| {
            soupbin::put_login_accepted(
                &LoginAccepted {
                    session: login.session,
                    sequence,
                },
                out,
            )
        });
        sequence
    }

    fn unsequenced<M: wattbook_feed::sbe::Message>(&mut self, message: &M) {
        let mut bytes = Vec::new();
        encode_outbound(message, &mut bytes);
        self.put(|out| soupbin::put_unsequenced(&bytes, out));
    }
}

fn serve(scripts: Vec<fn(Session)>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for script in scripts {
            let (stream, _) = listener.accept().unwrap();
            script(Session {
                stream,
                decoder: Decoder::new(Peer::Client, 65_535),
            });
        }
    });
    (addr, server)
}

fn challenge() -> session::Challenge {
    session::Challenge {
        challenge: CHALLENGE,
        chain_id: CHAIN.0.0,
        demo: 1,
        reserved: [0; 7],
    }
}

/// Tells `TOLD` ticks from where the client asks on, then ends as the script wants.
fn tell(session: &mut Session) {
    for seq in session.accept("PUBLIC")..=TOLD {
        let mut bytes = Vec::new();
        encode_outbound(
            &event::Ticked {
                seq: 10 * seq,
                time_ns: seq,
            },
            &mut bytes,
        );
        session.put(|out| {
            soupbin::put_debug("a text for people", out);
            soupbin::put_server_heartbeat(out);
            soupbin::put_sequenced(&bytes, out);
        });
    }
}

#[test]
fn a_private_session_logs_on_and_sends_everything() {
    let (addr, server) = serve(vec![|mut session| {
        session.accept("PRIVATE");
        session.unsequenced(&challenge());
        let message = session.message();
        let Ok(Inbound::Logon(logon)) = decode_inbound(&message) else {
            panic!("no logon")
        };
        let LogonMessage {
            participant,
            grade,
            signature,
            ..
        } = logon;
        let digest = logon_digest(CHAIN, &CHALLENGE, ParticipantId::new(participant), grade);
        let key = BlsSecret::derive(&[1; 32], KeyRole::Participant, 42).public_key();
        assert!(keys::verify_signature(&key, &digest, &signature));
        session.unsequenced(&session::LoggedOn {
            participant,
            next_nonce: 1,
            grade,
            reserved: [0; 7],
        });
        let message = session.message();
        assert!(matches!(decode_inbound(&message), Ok(Inbound::Envelope(envelope)) if envelope.leaves.len() == 1));
        let message = session.message();
        assert!(matches!(decode_inbound(&message), Ok(Inbound::Reveal(reveal)) if reveal.round == 1));
        let message = session.message();
        assert!(matches!(decode_inbound(&message), Ok(Inbound::Step(step)) if step.time_ns == 9));
        session.unsequenced(&session::Stepped {
            time_ns: 9,
            height: 1,
            seq: 3,
        });
        assert!(matches!(session.next(), Got::Logout));
    }]);
    let mut client = Client::connect(addr, StreamKind::Private, 1).unwrap();
    assert_eq!((client.chain(), client.is_demo()), (Some(CHAIN), Some(true)));
    client.expect_chain(CHAIN).unwrap();
    assert!(matches!(
        client.expect_chain(ChainId::default()),
        Err(ClientError::WrongChain(_))
    ));
    let participant = ParticipantId::new(42);
    let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 42);
    client.logon(participant, &secret, Grade::Durable).unwrap();
    let Some((None, Outbound::LoggedOn(answer))) = client.next(WAIT).unwrap() else {
        panic!("no answer")
    };
    assert_eq!((answer.participant, answer.grade), (42, Grade::Durable as u8));
    let envelope = SealedEnvelope::sign(CHAIN, &secret, participant, 1, 1, TimeNs::new(5), vec![[0; 48]]);
    client.send_envelope(&envelope).unwrap();
    let reveal = RevealRecord {
        participant,
        contract: ContractId::new(1, 1, 1),
        round: 1,
        salt: Hash::ZERO,
        leaves: vec![[0; 48]],
    };
    client.send_reveal(&reveal).unwrap();
    client.send_step(TimeNs::new(9)).unwrap();
    assert!(matches!(client.next(WAIT).unwrap(), Some((None, Outbound::Stepped(_)))));
    assert!(matches!(
        client.send_raw(&[0; 65_535]),
        Err(ClientError::TooLarge(65_535))
    ));
    client.logout().unwrap();
    server.join().unwrap();
}

#[test]
fn a_public_session_resumes_where_it_broke() {
    let (addr, server) = serve(vec![
        |mut session| {
            tell(&mut session);
            // Half a packet, then nothing.
            session.put(|out| out.extend_from_slice(&[0, 9, b'S', 1, 2]));
        },
        |mut session| {
            assert_eq!(session.accept("PUBLIC"), TOLD + 1);
            session.put(soupbin::put_end_of_session);
        },
        |mut session| {
            assert_eq!(session.accept("PUBLIC"), TOLD + 1);
            let mut bytes = Vec::new();
            encode_outbound(&event::Ticked { seq: 1, time_ns: 1 }, &mut bytes);
            bytes[2] = 0xff;
            session.put(|out| soupbin::put_sequenced(&bytes, out));
            session.put(|out| out.extend_from_slice(&[0, 1, b'?']));
        },
    ]);
    let mut client = Client::connect(addr, StreamKind::Public, 3).unwrap();
    assert_eq!(client.chain(), None);
    for seq in 3..=TOLD {
        let Some((Some(number), Outbound::Ticked(tick))) = client.next(WAIT).unwrap() else {
            panic!("no tick")
        };
        assert_eq!((number, tick.time_ns, tick.seq), (seq, seq, 10 * seq));
    }
    assert!(matches!(client.next(WAIT), Err(ClientError::Disconnected)));
    let mut client = Client::connect(addr, StreamKind::Public, client.next_seq()).unwrap();
    assert!(matches!(client.next(WAIT), Err(ClientError::EndOfSession)));
    let mut client = Client::connect(addr, StreamKind::Public, 0).unwrap();
    assert_eq!(client.next_seq(), TOLD + 1);
    assert!(matches!(client.next(WAIT), Err(ClientError::Decode(_))));
    assert_eq!(client.next_seq(), TOLD + 2, "a message that cannot be read counts");
    assert!(matches!(client.next(WAIT), Err(ClientError::Protocol(_))));
    server.join().unwrap();
}

#[test]
fn a_waiting_client_sends_heartbeats() {
    let (addr, server) = serve(vec![|mut session| {
        session.accept("PUBLIC");
        assert!(matches!(session.next(), Got::Heartbeat));
        session.put(soupbin::put_end_of_session);
        assert!(matches!(session.next(), Got::Closed));
    }]);
    let mut client = Client::connect(addr, StreamKind::Public, 1).unwrap();
    assert!(client.next(Duration::ZERO).unwrap().is_none());
    assert!(matches!(client.next_raw(WAIT), Err(ClientError::EndOfSession)));
    drop(client);
    server.join().unwrap();
}

#[test]
fn refusals_are_told() {
    let (addr, server) = serve(vec![
        |mut session| {
            assert!(matches!(session.next(), Got::Login(_)));
            session.put(|out| soupbin::put_login_rejected(LoginRefusal::SessionNotAvailable, out));
        },
        |mut session| {
            session.accept("PRIVATE");
            session.unsequenced(&session::Stepped {
                time_ns: 9,
                height: 1,
                seq: 3,
            });
        },
        |mut session| {
            session.accept("PUBLIC");
        },
    ]);
    let refused = Client::connect(addr, StreamKind::Public, 1);
    assert!(matches!(
        refused,
        Err(ClientError::LoginRefused(LoginRefusal::SessionNotAvailable))
    ));
    let odd = Client::connect(addr, StreamKind::Private, 1);
    assert!(matches!(odd, Err(ClientError::Unexpected("Stepped"))));
    let mut public = Client::connect(addr, StreamKind::Public, 1).unwrap();
    let secret = BlsSecret::derive(&[1; 32], KeyRole::Participant, 42);
    let logon = public.logon(ParticipantId::new(42), &secret, Grade::Final);
    assert!(matches!(logon, Err(ClientError::NoChallenge)));
    server.join().unwrap();
}
