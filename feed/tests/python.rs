//! The Python client as its users have it: installed with pip, checked by mypy, its own tests run.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "foreign/environment.rs"]
mod environment;

use std::process::Command;
use wattbook_feed::keys::{BlsSecret, KeyRole, SigningKey, verify_signature};
use wattbook_feed::sbe::inbound::{Inbound, decode_inbound, encode_envelope};
use wattbook_feed::signed::{Attachment, CandidateKeys};
use wattbook_types::delegate::{Candidacy, DelegateKeys, EmissionStatement, Vote};
use wattbook_types::{ChainId, Hash, Item, ParticipantId};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

fn passes(arguments: &[&str]) {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let out = Command::new(python)
        .args(arguments)
        .current_dir(FOLDER)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{said}\n{complained}");
}

#[test]
fn mypy_finds_every_type() {
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/mypy");
    passes(&["-m", "mypy", "--strict", "--cache-dir", cache]);
}

#[test]
fn its_own_tests_pass() {
    passes(&["-m", "unittest", "discover", "--start-directory", "tests"]);
}

/// Prints an envelope of each thing that a candidate, its voters and the regulator say.
const ELECTION: &str = r"
import sys
from wattbook import *
from wattbook import orders
chain, seed, peer = bytes([4] * 32), bytes([21] * 32), bytes.fromhex(sys.argv[1])
keys = CandidateKeys.proven(peer, SigningKey(int(sys.argv[2], 16)))
items = [Vote(7, 9), Vote(7), Emission(9, 1628736, 12), Candidacy(7, keys), Candidacy(8)]
print(orders.envelope(chain, SigningKey.from_seed(seed, 9), 9, 3, 5, items).hex())
";

#[test]
fn what_it_says_of_elections_is_what_this_crate_reads() {
    let Some(python) = environment::python(env!("CARGO_TARGET_TMPDIR")) else {
        return;
    };
    let (chain, who) = (ChainId(Hash([4; 32])), ParticipantId::new(9));
    let peer = SigningKey::from_bytes(&[3; 32]).verifying_key().to_bytes();
    let ballot = BlsSecret::from_bytes(&[7; 32]).unwrap();
    let out = Command::new(python)
        .args(["-c", ELECTION, &hex::encode(peer), &hex::encode([7; 32])])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let message = hex::decode(String::from_utf8(out.stdout).unwrap().trim()).unwrap();
    let Ok(Inbound::Envelope(read)) = decode_inbound(&message) else {
        panic!("no envelope");
    };
    let sealed = read.to_sealed();
    let key = BlsSecret::derive(&[21; 32], KeyRole::Participant, 9);
    assert!(verify_signature(
        &key.public_key(),
        &sealed.header.digest(chain),
        &sealed.signature
    ));
    let keys = DelegateKeys {
        peer_key: peer,
        ballot_key: ballot.public_key(),
    };
    let vote = |candidate| Item::Vote(Vote { epoch: 7, candidate });
    let statement = EmissionStatement {
        participant: who,
        period: 1_628_736,
        grams: 12,
    };
    let candidacy = |epoch, keys| Item::Candidacy(Candidacy { epoch, keys });
    let said = [
        vote(Some(who)),
        vote(None),
        Item::Emission(statement),
        candidacy(7, Some(keys)),
        candidacy(8, None),
    ];
    assert_eq!(sealed.to_command(chain).items, said);
    // The same bytes as this crate's, whose signatures repeat.
    let possession = ballot.prove_ballot_key();
    let keys = CandidateKeys {
        peer_key: peer,
        ballot_key: ballot.public_key(),
        possession,
    };
    assert_eq!(sealed.attached.as_deref(), Some(&Attachment { index: 3, keys }));
    let mut again = Vec::new();
    encode_envelope(&sealed, &mut again);
    assert_eq!(again, message);
}
