//! The same delegates with real sockets, files and clocks, on loopback, in one process.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use super::{
    ballot, candidates,
    commands::Docket,
    ledger::{BLOCK_SIZE_MAX, Counter, Counters, Disk, Witness, genesis, lock},
    participant, peer,
};
use crate::{
    ballot::Namespace,
    block::Candidate,
    evidence::Evidence,
    seam::{
        Agreement as _, Answer, Application, Final, Genesis, LostTerm, Mendable, Peer, Role, Seating, Settings, Slot,
        Store, Time,
    },
    simplex::{Keys, start},
};
use commonware_codec::Encode;
use core::{num::NonZeroU32, time::Duration};
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    net::TcpListener,
    path::Path,
    sync::{Arc, Mutex, mpsc},
    time::{SystemTime, UNIX_EPOCH},
};
use wattbook_types::{ChainId, Hash, schedule::Schedule, sha256};

/// A file of blocks, each after its length: what a test needs of a ledger.
struct Blocks {
    file: File,
    held: Vec<Candidate>,
}

impl Blocks {
    fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_default();
        let (mut held, mut rest) = (Vec::new(), &bytes[..]);
        while let Some((len, after)) = rest.split_at_checked(4) {
            let (block, after) = after.split_at(u32::from_le_bytes(len.try_into().unwrap()) as usize);
            held.push(Candidate::read(&Counters, block.to_vec(), BLOCK_SIZE_MAX).unwrap());
            rest = after;
        }
        Self {
            file: OpenOptions::new().create(true).append(true).open(path).unwrap(),
            held,
        }
    }
}

impl Store for Blocks {
    fn tip(&self) -> u64 {
        self.held.len() as u64
    }

    fn append(&mut self, block: &Candidate) -> io::Result<()> {
        self.file.write_all(&(block.bytes().len() as u32).to_le_bytes())?;
        self.file.write_all(block.bytes())?;
        self.held.push(block.clone());
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn by_digest(&self, digest: &Hash) -> io::Result<Option<Vec<u8>>> {
        Ok(self
            .held
            .iter()
            .find(|block| block.head().digest == *digest)
            .map(|block| block.bytes().to_vec()))
    }
}

impl Mendable for Blocks {
    fn by_height(&self, height: u64) -> io::Result<Option<Vec<u8>>> {
        let place = height.checked_sub(1).map(|place| place as usize);
        Ok(place
            .and_then(|place| self.held.get(place))
            .map(|block| block.bytes().to_vec()))
    }

    fn damaged(&self) -> Vec<u64> {
        Vec::new()
    }

    fn mend(&mut self, _: &Candidate) -> io::Result<bool> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A counter that tells the test what it delivered.
struct Told(
    Counter,
    mpsc::Sender<(usize, u64)>,
    mpsc::Sender<(usize, usize, Vec<u8>)>,
);

impl Application for Told {
    fn seating(&mut self, epoch: u64) -> Option<Seating> {
        self.0.seating(epoch)
    }

    fn seated(&mut self, epoch: u64, role: Role) {
        self.0.seated(epoch, role);
    }

    fn propose(&mut self, slot: Slot, chain: Vec<Candidate>, answer: Answer<Option<Vec<u8>>>) {
        self.0.propose(slot, chain, answer);
    }

    fn verify(&mut self, slot: Slot, chain: Vec<Candidate>, block: Candidate, answer: Answer<bool>) {
        self.0.verify(slot, chain, block, answer);
    }

    fn deliver(&mut self, block: Final, done: Answer<()>) {
        let height = block.block.head().height;
        self.0.deliver(block, done);
        // The test may have seen enough.
        let _ = self.1.send((self.0.node, height));
    }

    fn lost(&mut self, term: LostTerm) {
        self.0.lost(term);
    }

    fn accuse(&mut self, evidence: Evidence) {
        self.0.accuse(evidence);
    }

    fn heard(&mut self, from: [u8; 32], bytes: Vec<u8>) {
        let from = self.0.candidates.seats.iter().position(|seat| seat.peer_key == from);
        // The test may have seen enough.
        let _ = self.2.send((self.0.node, from.unwrap(), bytes));
    }
}

#[test]
fn four_nodes_agree_over_loopback() {
    const BLOCKS: u64 = 12;
    let plan = super::Plan::new(0, BLOCKS);
    let candidates = Arc::new(candidates(&plan));
    let witness: Arc<Mutex<Witness>> = Arc::default();
    let folder = tempfile::tempdir().unwrap();
    // Ports that were free a moment ago.
    let listeners: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let addresses: Vec<_> = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    drop(listeners);
    let keys = |node: usize| Keys {
        peer: peer(node).encode()[..].try_into().unwrap(),
        listen: addresses[node],
        folder: folder.path().join(format!("engine{node}")),
    };
    let peers: Vec<_> = (0..4)
        .map(|node| Peer {
            key: keys(node).public().unwrap(),
            address: addresses[node],
        })
        .collect();
    assert_eq!(peers[2].key, candidates.seats[2].peer_key);
    let settings = Settings {
        chain: ChainId(sha256(&[b"loopback chain"])),
        schedule: Schedule {
            epoch_blocks: 8,
            term_views: NonZeroU32::new(1_000_000).unwrap(),
        },
        block_size_max: BLOCK_SIZE_MAX,
        // The machine may be busy with other tests: patience costs nothing where nobody fails.
        leader_timeout: Duration::from_secs(10),
        time: Time::Real,
        pace: Duration::from_millis(20),
        border_pause: Duration::from_millis(100),
    };
    let namespace = Namespace::of(settings.chain);
    let (told, heard) = mpsc::channel();
    let (words, overheard) = mpsc::channel();
    let mut nodes = Vec::new();
    for node in 0..4 {
        let counter = Counter {
            node,
            candidates: candidates.clone(),
            namespace,
            disk: Arc::new(Mutex::new(Disk::default())),
            witness: witness.clone(),
            now: Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64),
            evicts: false,
            fault: None,
            docket: Docket::new(Arc::default(), 4),
            tell: Box::new(|_| ()),
        };
        let genesis = Genesis {
            format: Arc::new(Counters),
            block: genesis(),
        };
        let store = Blocks::open(&folder.path().join(format!("blocks{node}")));
        let application = Told(counter, told.clone(), words.clone());
        nodes.push(start(settings.clone(), keys(node), &peers, genesis, store, application).unwrap());
    }
    let mut heights = [0; 4];
    while heights.iter().any(|height| *height < BLOCKS) {
        let (node, height) = heard.recv_timeout(Duration::from_secs(120)).unwrap();
        heights[node] = heights[node].max(height);
    }
    nodes[2].tell(None, b"to all".to_vec());
    nodes[3].tell(Some(candidates.seats[0].peer_key), b"to one".to_vec());
    let mut said: Vec<_> = (0..4)
        .map(|_| overheard.recv_timeout(Duration::from_secs(60)).unwrap())
        .collect();
    said.sort();
    let all = |to| (to, 2, b"to all".to_vec());
    assert_eq!(said, [all(0), (0, 3, b"to one".to_vec()), all(1), all(3)]);
    let proof = nodes[1].proof(BLOCKS - 1).unwrap();
    assert_eq!(nodes[3].status().role, Role::Delegate { rank: 3 });
    assert_eq!(nodes[0].status().epoch, 1);
    for node in &mut nodes {
        node.stop();
    }
    assert_eq!(lock(&witness).faults, Vec::<String>::new());
    let keys = crate::ballot::BallotKeys::of(&candidates.committee(1, &[])).unwrap();
    let chains: Vec<Vec<Hash>> = (0..4)
        .map(|node| Blocks::open(&folder.path().join(format!("blocks{node}"))))
        .map(|blocks| {
            blocks
                .held
                .iter()
                .map(|block| block.head().digest)
                .take(BLOCKS as usize)
                .collect()
        })
        .collect();
    assert!(
        chains
            .iter()
            .all(|chain| chain.len() == BLOCKS as usize && *chain == chains[0])
    );
    proof.verify(&keys, &namespace, chains[2][BLOCKS as usize - 2]).unwrap();
    assert_eq!(candidates.seats[0].participant.get(), participant(0));
    assert_eq!(ballot(0).public(), candidates.seats[0].ballot_key);
}
