//! A light client that begins at a block that is pinned, on a chain whose certificates are made here.

#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::path::Path;
use std::process::{Command, Output};
use wattbook_agreement::ballot::{BallotKey, Namespace, Proposal, Round, Vote};
use wattbook_agreement::proof::{FinalityProof, PROOF_SIZE};
use wattbook_ledger::{BlockHeader, GENESIS_FILE, HEADER_SIZE, Record, record_leaf_hash};
use wattbook_node::chain::{self, CommitteeSpec, Secrets, Spec};
use wattbook_node::execute::Executor;
use wattbook_node::keys;
use wattbook_node::light::{Border, Bundle, LightClient, LightError, Member, Pinned, RecordPath};
use wattbook_types::committee::{Committee, Seat};
use wattbook_types::{Hash, Param, TimeNs};

const EPOCH_BLOCKS: u64 = 40;
/// The epoch of the record.
const LAST: u64 = 5;

/// A chain of four delegates in a folder, with a bundle of a record in epoch [`LAST`].
struct Chain {
    genesis: Vec<u8>,
    bundle: Bundle,
}

impl Chain {
    fn make(folder: &Path) -> Self {
        let spec = Spec {
            network: "light".to_owned(),
            eic: String::new(),
            area: 1,
            demo: true,
            time: TimeNs::from_secs(1_000_000_000),
            params: vec![(Param::EpochBlocks, EPOCH_BLOCKS.cast_signed())],
            segment_size: 1 << 20,
        };
        let committee = CommitteeSpec {
            delegates: 4,
            observers: 0,
            port: 7300,
        };
        let made = chain::create_committee(folder, &spec, &Secrets::of_demo([29; 32]), committee);
        let (chain, members) = made.unwrap();
        let genesis = std::fs::read(members[0].dir.join(GENESIS_FILE)).unwrap();
        let (executor, _) = Executor::start(&genesis).unwrap();
        let mut seats: Vec<Seat> = executor.market().committee().unwrap().seats().to_vec();
        let secrets = members.iter().map(|member| {
            let secret = keys::ballot_key(&member.dir).unwrap().unwrap();
            BallotKey::from_bytes(&secret).unwrap()
        });
        let secrets: Vec<BallotKey> = secrets.collect();
        let secret_of = |seat: &Seat| {
            secrets
                .iter()
                .find(|secret| secret.public() == seat.ballot_key)
                .unwrap()
        };
        let header = |height: u64, epoch: u64| BlockHeader {
            flags: 0,
            producer: 0,
            height,
            epoch,
            view: height - epoch * EPOCH_BLOCKS,
            time: TimeNs::from_secs(1_000_000_000 + height),
            record_count: 1,
            event_count: 0,
            first_seq: height,
            chain,
            parent: Hash::ZERO,
            record_root: Hash::ZERO,
            event_root: Hash::ZERO,
            state_root: Hash::ZERO,
            log_root: Hash::ZERO,
            params_hash: Hash::ZERO,
            dpos_hash: Hash::ZERO,
            next_committee: Hash::ZERO,
        };
        let certify = |header: &BlockHeader, seats: &[Seat]| -> [u8; PROOF_SIZE] {
            let round = Round {
                epoch: header.epoch,
                view: header.view,
            };
            let proposal = Proposal {
                parent_view: header.view - 1,
                digest: header.digest(),
            };
            let votes: Vec<_> = seats[..3]
                .iter()
                .map(|seat| secret_of(seat).sign(&Namespace::of(chain), round, &Vote::Finalize(proposal)))
                .collect();
            FinalityProof::of_votes(4, round, proposal, &votes).unwrap().encode()
        };
        let raw = |header: &BlockHeader| -> [u8; HEADER_SIZE] { header.to_raw().as_bytes().try_into().unwrap() };
        let mut borders = Vec::new();
        for epoch in 0..LAST {
            // The committee changes every time.
            let mut next = seats.clone();
            next.rotate_left(1);
            let border = BlockHeader {
                next_committee: Committee::new(epoch + 1, next.clone()).unwrap().hash(chain),
                ..header((epoch + 1) * EPOCH_BLOCKS, epoch)
            };
            borders.push(Border {
                header: raw(&border),
                certificate: certify(&border, &seats),
                committee: next.iter().map(Member::from).collect(),
            });
            seats = next;
        }
        let record = RecordPath {
            kind: 1,
            version: 1,
            seq: LAST * EPOCH_BLOCKS + 7,
            payload: vec![7; 16],
            path: Vec::new(),
        };
        let leaf = record_leaf_hash(&Record {
            kind: record.kind,
            version: record.version,
            seq: record.seq,
            payload: &record.payload,
        });
        let block = BlockHeader {
            record_root: leaf,
            ..header(record.seq, LAST)
        };
        let bundle = Bundle {
            chain,
            borders,
            headers: vec![raw(&block)],
            certificate: certify(&block, &seats),
            record,
        };
        Self { genesis, bundle }
    }

    /// Where a client is that followed the first `epochs`.
    fn pinned(&self, epochs: usize) -> Pinned {
        let mut client = LightClient::new(&self.genesis).unwrap();
        assert_eq!(client.pinned(), None);
        client.follow(&self.bundle.borders[..epochs]).unwrap();
        client.pinned().unwrap()
    }
}

#[test]
fn a_client_begins_at_a_block_that_is_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::make(folder.path());
    let whole = chain.bundle.check(&chain.genesis).unwrap();
    let mut short = chain.bundle.clone();
    short.keep_since(3);
    assert_eq!(short.borders.len(), 2);
    for epochs in 1..=LAST as usize {
        let pinned = chain.pinned(epochs);
        assert_eq!(Pinned::parse(&pinned.to_json()), Ok(pinned.clone()));
        let pin = pinned.digest().unwrap();
        let begin = || LightClient::begin_at(&chain.genesis, &pinned, pin).unwrap();
        assert_eq!(
            (begin().epoch(), begin().pinned()),
            (epochs as u64, Some(pinned.clone()))
        );
        // What is behind it is passed over, what is before it is followed.
        let mut client = begin();
        assert_eq!(chain.bundle.check_from(&mut client), Ok(whole));
        assert_eq!(client.pinned(), Some(chain.pinned(LAST as usize)));
        // A bundle that begins later than the client leaves a gap.
        let checked = short.check_from(&mut begin());
        if epochs >= 3 {
            assert_eq!(checked, Ok(whole));
        } else {
            assert!(matches!(checked, Err(LightError::NoBorder { .. })), "{checked:?}");
        }
    }
    assert!(short.check(&chain.genesis).is_err());
}

#[test]
fn a_checkpoint_is_worth_the_digest_that_is_pinned_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::make(folder.path());
    let pinned = chain.pinned(3);
    let pin = pinned.digest().unwrap();
    let refused = |pinned: &Pinned, pin: Hash| LightClient::begin_at(&chain.genesis, pinned, pin).unwrap_err();
    assert_eq!(refused(&pinned, Hash::ZERO), LightError::OtherPin);
    assert_eq!(
        refused(&pinned, chain.pinned(2).digest().unwrap()),
        LightError::OtherPin
    );
    for byte in 0..HEADER_SIZE {
        let mut changed = pinned.clone();
        changed.header[byte] ^= 1;
        let why = refused(&changed, pin);
        let seen = matches!(
            why,
            LightError::OtherPin | LightError::OtherChain | LightError::Header { .. }
        );
        assert!(seen, "byte {byte}: {why}");
    }
    let committee = LightError::Committee { epoch: 3 };
    let with = |change: &dyn Fn(&mut Pinned)| {
        let mut changed = pinned.clone();
        change(&mut changed);
        refused(&changed, pin)
    };
    assert_eq!(with(&|pinned| pinned.committee.swap(0, 1)), committee);
    assert_eq!(with(&|pinned| pinned.committee.truncate(3)), committee);
    assert_eq!(with(&|pinned| pinned.committee[2].ballot_key[9] ^= 1), committee);
    // A block that ends no epoch names nobody, whoever pins it.
    let no_border = Pinned {
        header: chain.bundle.headers[0],
        ..pinned.clone()
    };
    let why = refused(&no_border, no_border.digest().unwrap());
    assert!(matches!(why, LightError::NoBorder { .. }), "{why}");
    let mut other = chain.genesis.clone();
    other[40] ^= 1;
    let begun = LightClient::begin_at(&other, &pinned, pin);
    assert!(matches!(begun, Err(LightError::OtherChain | LightError::Genesis(_))));
    // Any text is answered, and none that differs is taken for it.
    let text = pinned.to_json().trim_end().to_owned();
    for at in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        bytes[at] ^= 1;
        if let Ok(Ok(read)) = String::from_utf8(bytes).map(|text| Pinned::parse(&text)) {
            assert!(
                read == pinned
                    || LightClient::begin_at(&chain.genesis, &read, pin).is_err()
                    || read.chain != pinned.chain
            );
        }
        assert!(Pinned::parse(&text[..at]).is_err());
    }
}

#[test]
fn the_command_saves_where_it_got_to_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let chain = Chain::make(folder.path());
    let [genesis, bundle, at] = ["genesis.bin", "bundle.json", "at.json"].map(|name| folder.path().join(name));
    std::fs::write(&genesis, &chain.genesis).unwrap();
    let light = |bundle: &Bundle, more: &[&str]| -> Output {
        std::fs::write(folder.path().join("bundle.json"), bundle.to_json()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
        command.arg("light").arg("--genesis").arg(&genesis).args(more);
        command.arg(folder.path().join("bundle.json")).output().unwrap()
    };
    let at = at.to_str().unwrap();
    let saved = light(&chain.bundle, &["--save", at]);
    let said = String::from_utf8(saved.stdout).unwrap();
    assert!(
        saved.status.success() && said.contains("5 borders followed from genesis"),
        "{said}"
    );
    let pin = chain.pinned(LAST as usize).digest().unwrap().to_string();
    assert!(
        said.lines().any(|line| line.starts_with("pin") && line.contains(&pin)),
        "{said}"
    );
    let mut short = chain.bundle.clone();
    short.keep_since(LAST);
    let from = light(&short, &["--checkpoint", at, "--pin", &pin]);
    let said = String::from_utf8(from.stdout).unwrap();
    let expected = "0 borders followed from the block pinned, epoch 5";
    assert!(from.status.success() && said.contains(expected), "{said}");
    // Neither without the pin, nor under another one, nor from genesis.
    let other = chain.pinned(1).digest().unwrap().to_string();
    assert!(!light(&short, &["--checkpoint", at]).status.success());
    let refused = light(&short, &["--checkpoint", at, "--pin", &other]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(!light(&short, &[]).status.success());
    assert!(bundle.exists());
}
