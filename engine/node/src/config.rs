//! Configuration of a node: addresses, paths, buffers, deadlines. Nothing here can change a verdict of the core; whatever
//! can is a parameter of the state. Unknown keys are refused by name.

use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// File name of the configuration inside a node's directory.
pub const CONFIG_FILE: &str = "wattbook.toml";

/// Where time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The machine's clock, a Tick every 100 ms while there is something to do.
    Live,
    /// `Step` messages of the regulator's session; for demo chains only.
    Lockstep,
}

/// How a stage waits for its ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// Busy: least latency, one core each.
    Spin,
    /// Busy, but gives way to others.
    Yield,
    /// Sleeps: an idle node uses no core.
    Park,
}

/// Which path verifies batches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyPolicy {
    /// The cheapest by rates measured at the start; a graphics processor takes part if there is one.
    Auto,
    /// One by one.
    #[serde(alias = "one_by_one")]
    OneByOne,
    /// In batches grouped by key.
    Batch,
    /// In batches on any Vulkan device, one that computes on the CPU included; on the CPU if there is none.
    Gpu,
}

/// Who reads and writes the sockets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Backend {
    /// `io_uring` where the kernel has it, else `mio`.
    Auto,
    /// The kernel says which sockets are ready.
    Mio,
    /// The kernel does it itself; where it refuses, `mio` does, and the log says so.
    IoUring,
}

/// The whole configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the session port.
    pub listen: SocketAddr,
    /// Where time comes from.
    pub clock: Clock,
    /// How stages wait.
    pub wait: Wait,
    /// The ingest stage.
    pub ingest: Ingest,
    /// The verify stage.
    pub verify: Verify,
    /// The seal stage.
    pub seal: Seal,
    /// The publish stage.
    pub publish: Publish,
    /// The public stream over UDP.
    pub fanout: Fanout,
    /// What becomes of old segments.
    pub retention: Retention,
    /// Agreement with the other nodes of a chain with delegates.
    pub replicate: Replicate,
    /// The log of block headers as files for outsiders.
    pub tiles: Tiles,
    /// Where the node's metrics are read.
    pub metrics: Metrics,
}

/// The ingest stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Who reads and writes the sockets.
    pub backend: Backend,
    /// Certificate and key where sessions come over TLS 1.3; none: they come in the clear.
    pub tls: Option<Tls>,
    /// What one address, one participant and all together may send.
    pub limits: Limits,
    /// Most sessions at once.
    pub sessions_max: usize,
    /// Longest packet taken, bytes.
    pub packet_size_max: usize,
    /// Time to log in, ms.
    pub login_timeout_ms: u64,
    /// Silence after which a session is closed, ms.
    pub idle_timeout_ms: u64,
    /// Silence after which a heartbeat is sent, ms.
    pub heartbeat_ms: u64,
    /// Most bytes that wait for a slow session before it is cut off.
    pub session_buffer_max: usize,
    /// Slots of the ring to the verify stage.
    pub ring_len: usize,
}

/// Files of the session port's certificate, PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, and those that lead from it towards a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What may come in; a rate of 0 is no limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most sessions at once from one address, or one /64 of IPv6.
    pub sessions_per_address_max: usize,
    /// Most sessions at once of one participant.
    pub sessions_per_participant_max: usize,
    /// Messages a second of one participant; of one address before a logon and on the public feed.
    pub messages_per_s: u64,
    /// Bytes a second of the same.
    pub bytes_per_s: u64,
    /// Messages a second of all together.
    pub total_messages_per_s: u64,
    /// Bytes a second of all together.
    pub total_bytes_per_s: u64,
    /// Logons and registrations a second of one address or participant: each costs a pairing.
    pub logons_per_s: u64,
    /// Time of sending at these rates that can be saved up and sent at once, ms.
    pub burst_ms: u64,
}

impl Ingest {
    /// Bytes of a stream that are handed over to a session at a time.
    pub fn page_size(&self) -> usize {
        (self.session_buffer_max / 2).clamp(1, PAGE_SIZE)
    }
}

/// Most bytes of a stream that are handed over to a session at a time.
const PAGE_SIZE: usize = 128 << 10;

/// The verify stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Verify {
    /// Which path.
    pub policy: VerifyPolicy,
    /// Most messages in a batch.
    pub batch_len_max: usize,
    /// Longest wait for a batch to fill, us.
    pub batch_deadline_us: u64,
    /// Invalid signatures after which a session is closed.
    pub bad_signatures_max: u32,
    /// Refused logons and registrations after which a session is closed.
    pub bad_logons_max: u32,
    /// Hundredths of a full batch's time that envelopes of suspect sessions may take, which are checked one by one: what
    /// an attacker who signs badly can slow everybody down by. Ten is the share that PROTOCOL 5 names. It needs what paths
    /// cost, which only the policy `auto` measures.
    pub suspect_share_pct: u32,
    /// Most envelopes of suspect sessions in a batch, whatever they take.
    pub suspect_len_max: usize,
    /// Threads that verify batches; 0: one a core.
    pub threads: usize,
    /// Keys whose lines a device keeps for its pairings, 21.2 kB each; 0: the CPU always pairs.
    pub device_keys_max: usize,
    /// Slots of the ring to the match stage.
    pub ring_len: usize,
}

/// The seal stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seal {
    /// Most records in a block (live clock).
    pub block_records_max: usize,
    /// Longest time a record waits for its block, ms (live clock).
    pub block_ms: u64,
    /// Shortest time from a block's first record to its end, us (live clock): a block ends after it once the one before is
    /// on disk. With `block_ms` or more, blocks end by their time alone.
    pub block_min_us: u64,
    /// Longest time between Ticks of an idle node, ms (live clock).
    pub idle_tick_ms: u64,
    /// Most messages that wait for the next Step (lockstep clock).
    pub held_max: usize,
    /// Most bytes that they take as records, together.
    pub held_size_max: usize,
    /// Size of a ledger segment, bytes; an existing ledger keeps its own.
    pub segment_size: u64,
    /// Most bytes that one sync makes durable, where there is more than one block.
    pub group_size_max: u64,
    /// Most blocks that are sealed and not durable; the next waits.
    pub group_blocks_max: usize,
    /// How long a sync waits for further blocks, us, if the one before had several; 0: it does not.
    pub group_linger_us: u64,
    /// Syncs by io_uring where the kernel grants it, by msync where not.
    pub io_uring: bool,
    /// Slots of the ring from the match stage.
    pub ring_len: usize,
    /// Records from one snapshot to the next; 0: none are made.
    pub snapshot_records: u64,
    /// Snapshots kept.
    pub snapshots_kept: usize,
    /// Mebibytes a second that the scrubber reads of a ledger opened from a snapshot; 0: it does not, but without a limit for a
    /// delegate, which votes when it is through. An index or tiles that have to be made anew are read for no faster; 0: without a limit.
    pub scrub_mib_s: u64,
    /// Least time from one signed checkpoint to the next, ms; 0: the node signs none.
    pub checkpoint_ms: u64,
}

/// The publish stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Publish {
    /// Messages kept per stream for sessions that come back.
    pub history_len: usize,
    /// Mebibytes that the messages kept of all streams take at most; beyond, the oldest go, whosever they are.
    pub history_mib: usize,
    /// Of the messages of a stream, as many as a snapshot holds: what a restart from it remembers.
    pub snapshot_history_len: usize,
    /// Slots of the ring into this stage and of the one back to the sockets.
    pub ring_len: usize,
}

/// The public stream over UDP; without addresses there is none.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fanout {
    /// Addresses of the first line, unicast or multicast.
    pub a: Vec<SocketAddr>,
    /// Addresses of the second line, which carries the same.
    pub b: Vec<SocketAddr>,
    /// Address that the first line is sent from; none: the system's choice.
    pub a_from: Option<IpAddr>,
    /// Address that the second line is sent from.
    pub b_from: Option<IpAddr>,
    /// Where messages are asked for again; none: over the session port only.
    pub requests: Option<SocketAddr>,
    /// Whether messages wait for their block to be on disk; otherwise they are as revocable as a matched answer.
    pub durable_only: bool,
    /// Greatest packet, bytes of UDP payload.
    pub packet_size_max: usize,
    /// Silence after which a heartbeat is sent.
    pub heartbeat_ms: u64,
    /// Most packets that answer one request.
    pub answer_packets_max: u32,
    /// Most packets a second that answer one address.
    pub answer_packets_per_s: u64,
    /// Most packets a second that answer all addresses together.
    pub total_answer_packets_per_s: u64,
    /// How long the end of the session is said, and requests are answered, once the node stops.
    pub end_ms: u64,
    /// Routers that a multicast packet may pass.
    pub multicast_ttl: u32,
}

impl Fanout {
    /// Whether anything is to be sent or answered.
    pub fn is_on(&self) -> bool {
        !self.a.is_empty() || !self.b.is_empty() || self.requests.is_some()
    }
}

/// Old segments of the ledger, looked at whenever a snapshot has been written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Newest segments that stay; more do where a snapshot needs them. 0: all.
    pub segments_kept: u64,
    /// Folder to which the others are moved.
    pub archive: Option<PathBuf>,
}

/// The log of block headers as static tlog-tiles, kept up to the newest checkpoint for any web server to serve.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tiles {
    /// Folder in which they are kept, with a checkpoint every `seal.checkpoint_ms`; none: `wattbook tiles` writes them.
    pub dir: Option<PathBuf>,
}

/// The metrics' endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address that answers `GET /metrics` to anybody who reaches it; none: metrics are not served.
    pub listen: Option<SocketAddr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7_411)),
            clock: Clock::Live,
            wait: Wait::Park,
            ingest: Ingest::default(),
            verify: Verify::default(),
            seal: Seal::default(),
            publish: Publish::default(),
            fanout: Fanout::default(),
            retention: Retention::default(),
            replicate: Replicate::default(),
            tiles: Tiles::default(),
            metrics: Metrics::default(),
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            backend: Backend::Auto,
            tls: None,
            limits: Limits::default(),
            sessions_max: 1_000,
            packet_size_max: 60_000,
            login_timeout_ms: 10_000,
            idle_timeout_ms: 15_000,
            heartbeat_ms: 1_000,
            session_buffer_max: 8 << 20,
            ring_len: 16_384,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions_per_address_max: 1_000,
            sessions_per_participant_max: 16,
            messages_per_s: 100_000,
            bytes_per_s: 64 << 20,
            total_messages_per_s: 4_000_000,
            total_bytes_per_s: 2 << 30,
            logons_per_s: 1_000,
            burst_ms: 1_000,
        }
    }
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            policy: VerifyPolicy::Auto,
            batch_len_max: 4_096,
            batch_deadline_us: 2_000,
            bad_signatures_max: 16,
            bad_logons_max: 64,
            suspect_share_pct: 10,
            suspect_len_max: 32,
            threads: 0,
            device_keys_max: wattbook_shaders::DEVICE_KEYS_MAX,
            ring_len: 16_384,
        }
    }
}

impl Default for Seal {
    fn default() -> Self {
        Self {
            block_records_max: 16_384,
            block_ms: 100,
            block_min_us: 1_000,
            idle_tick_ms: 10_000,
            held_max: 1_000_000,
            held_size_max: 1 << 30,
            segment_size: 64 << 20,
            group_size_max: 8 << 20,
            group_blocks_max: 64,
            group_linger_us: 0,
            io_uring: false,
            ring_len: 64,
            snapshot_records: 100_000,
            snapshots_kept: 3,
            scrub_mib_s: 32,
            checkpoint_ms: 60_000,
        }
    }
}

/// Agreement with the other nodes of a chain with delegates.
#[derive(Clone, PartialEq, Eq, Deserialize, Debug)]
#[serde(deny_unknown_fields, default)]
pub struct Replicate {
    /// Where it listens for other nodes; none: the node runs alone, as it must where genesis names no delegates.
    pub listen: Option<SocketAddr>,
    /// The nodes that may connect, each as `KEY@ADDRESS`: the Ed25519 key of its links in hex, and where it listens.
    pub peers: Vec<Peer>,
    /// A leader seals a block this long after the one before, ms.
    pub block_ms: u64,
    /// How long a leader may take, sealing included, before the others give its term up, ms.
    pub leader_timeout_ms: u64,
    /// How long the first block of an epoch waits for everybody to be there, ms.
    pub border_pause_ms: u64,
    /// Most bytes of a block; the same at every node.
    pub block_size_max: usize,
    /// A delegate says of a command that it has seen it when it has waited here this long, ms.
    pub seen_after_ms: u64,
    /// Commands at most of which it is kept who has seen them.
    pub claims_max: usize,
    /// A block may leave out what a certificate shows to be seen until it was told this many final blocks ago; at least 2.
    pub omission_blocks: u64,
    /// Commands at most of which it is kept where a leader's receipts have them.
    pub receipts_max: usize,
    /// A leader whose last so many final blocks each held what it had given no receipt for is not voted for; at least 1.
    pub unreceipted_blocks: u64,
}

/// Another node.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize, Debug)]
#[serde(try_from = "String")]
pub struct Peer {
    /// Ed25519 key of its links.
    pub key: [u8; 32],
    /// Where it listens.
    pub address: SocketAddr,
}

impl TryFrom<String> for Peer {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (hex, address) = text.split_once('@').ok_or("a peer is KEY@ADDRESS")?;
        let mut key = [0; 32];
        hex::decode_to_slice(hex, &mut key).map_err(|_| "a peer's key is 64 digits of hex")?;
        if !ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak()) {
            return Err("a peer's key is a point of Ed25519, and none that anybody could sign for");
        }
        let address = address
            .parse()
            .map_err(|_| "a peer's address is HOST:PORT, the host an IP address")?;
        Ok(Self { key, address })
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", hex::encode(self.key), self.address)
    }
}

impl Default for Replicate {
    fn default() -> Self {
        Self {
            listen: None,
            peers: Vec::new(),
            block_ms: 100,
            leader_timeout_ms: 1_000,
            border_pause_ms: 100,
            block_size_max: 4 << 20,
            seen_after_ms: 5_000,
            claims_max: 4_096,
            omission_blocks: 10,
            receipts_max: 1_000_000,
            unreceipted_blocks: 64,
        }
    }
}

impl Default for Fanout {
    fn default() -> Self {
        Self {
            a: Vec::new(),
            b: Vec::new(),
            a_from: None,
            b_from: None,
            requests: None,
            durable_only: false,
            packet_size_max: wattbook_feed::moldudp::PACKET_MAX,
            heartbeat_ms: 1_000,
            answer_packets_max: 8,
            answer_packets_per_s: 2_000,
            total_answer_packets_per_s: 50_000,
            end_ms: 1_000,
            multicast_ttl: 1,
        }
    }
}

impl Default for Publish {
    fn default() -> Self {
        Self {
            history_len: 65_536,
            history_mib: 512,
            snapshot_history_len: 65_536,
            ring_len: 16_384,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The file is not valid; the parser names line, column and key.
    #[error("{} is not a valid configuration: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        message: String,
    },
    /// A value cannot work.
    #[error("configuration key `{key}` {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
}

impl Config {
    /// Reads `path`; a missing file means defaults only if it is the one inside the node's directory.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>, dir: &Path) -> Result<Self, ConfigError> {
        let inside = dir.join(CONFIG_FILE);
        let path = match path {
            Some(path) => path.to_owned(),
            None if inside.exists() => inside,
            None => return Ok(Self::default()),
        };
        let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Read {
            path: path.clone(),
            source,
        })?;
        let config: Self = toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            path,
            message: error.to_string(),
        })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let nonzero = [
            ("ingest.sessions_max", self.ingest.sessions_max),
            ("ingest.ring_len", self.ingest.ring_len),
            (
                "ingest.limits.sessions_per_address_max",
                self.ingest.limits.sessions_per_address_max,
            ),
            (
                "ingest.limits.sessions_per_participant_max",
                self.ingest.limits.sessions_per_participant_max,
            ),
            ("verify.batch_len_max", self.verify.batch_len_max),
            ("verify.ring_len", self.verify.ring_len),
            ("verify.suspect_len_max", self.verify.suspect_len_max),
            ("seal.block_records_max", self.seal.block_records_max),
            ("seal.held_max", self.seal.held_max),
            ("seal.held_size_max", self.seal.held_size_max),
            ("seal.group_blocks_max", self.seal.group_blocks_max),
            ("seal.ring_len", self.seal.ring_len),
            ("seal.snapshots_kept", self.seal.snapshots_kept),
            ("publish.history_len", self.publish.history_len),
            ("publish.history_mib", self.publish.history_mib),
            ("publish.ring_len", self.publish.ring_len),
        ];
        if let Some((key, _)) = nonzero.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Value {
                key,
                problem: "must be at least 1",
            });
        }
        if (self.retention.segments_kept > 0) != self.retention.archive.is_some() {
            return Err(ConfigError::Value {
                key: "retention.archive",
                problem: "goes with retention.segments_kept: a folder to move to, and how many segments stay",
            });
        }
        if self.tiles.dir.is_some() && self.seal.checkpoint_ms == 0 {
            return Err(ConfigError::Value {
                key: "tiles.dir",
                problem: "needs checkpoints: tiles are kept up to the newest; set seal.checkpoint_ms",
            });
        }
        let peers = &self.replicate.peers;
        if self.replicate.listen.is_some() && peers.is_empty() {
            return Err(ConfigError::Value {
                key: "replicate.peers",
                problem: "must name the other nodes: without them nothing becomes final",
            });
        }
        let is_twice = |at: usize, peer: &Peer| peers[..at].iter().any(|other| other.key == peer.key);
        if peers.iter().enumerate().any(|(at, peer)| is_twice(at, peer)) {
            return Err(ConfigError::Value {
                key: "replicate.peers",
                problem: "names a key twice",
            });
        }
        if self.replicate.leader_timeout_ms <= self.replicate.block_ms {
            return Err(ConfigError::Value {
                key: "replicate.leader_timeout_ms",
                problem: "must be more than replicate.block_ms: a leader needs that long for every block",
            });
        }
        if self.replicate.omission_blocks < 2 {
            return Err(ConfigError::Value {
                key: "replicate.omission_blocks",
                problem: "must be at least 2: a leader must have time to hear of a certificate",
            });
        }
        if self.replicate.unreceipted_blocks == 0 {
            return Err(ConfigError::Value {
                key: "replicate.unreceipted_blocks",
                problem: "must be at least 1: receipts may be lost on the way",
            });
        }
        if !((1 << 18)..=(64 << 20)).contains(&self.replicate.block_size_max) {
            return Err(ConfigError::Value {
                key: "replicate.block_size_max",
                problem: "must lie between 256 KiB, so that every message fits, and 64 MiB",
            });
        }
        if !(512..=65_535).contains(&self.ingest.packet_size_max) {
            let problem = "must lie between 512 and 65535, the bounds of a SoupBinTCP packet";
            return Err(ConfigError::Value {
                key: "ingest.packet_size_max",
                problem,
            });
        }
        if !(FANOUT_PACKET_MIN..=65_507).contains(&self.fanout.packet_size_max) {
            return Err(ConfigError::Value {
                key: "fanout.packet_size_max",
                problem: "must lie between 1422, the size that any one message needs, and 65507, that of a datagram",
            });
        }
        if self.fanout.heartbeat_ms == 0 {
            return Err(ConfigError::Value {
                key: "fanout.heartbeat_ms",
                problem: "must be at least 1",
            });
        }
        Ok(())
    }
}

/// A packet with one message of the greatest size.
const FANOUT_PACKET_MIN: usize =
    wattbook_feed::moldudp::HEADER_SIZE + wattbook_feed::moldudp::LENGTH_SIZE + wattbook_feed::sbe::OUTBOUND_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG_FILE);
        std::fs::write(&path, "[verify]\nbatch_deadline_ms = 2\n").unwrap();
        let error = Config::load(None, dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("batch_deadline_ms") && error.contains("line 2"),
            "{error}"
        );
        std::fs::write(&path, "clock = \"lockstep\"\n[ingest]\nring_len = 0\n").unwrap();
        assert!(
            Config::load(None, dir.path())
                .unwrap_err()
                .to_string()
                .contains("ingest.ring_len")
        );
        std::fs::write(&path, "[retention]\nsegments_kept = 4\n").unwrap();
        let error = Config::load(None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("retention.archive"), "{error}");
        std::fs::write(&path, "[seal]\ncheckpoint_ms = 0\n[tiles]\ndir = \"tiles\"\n").unwrap();
        let error = Config::load(None, dir.path()).unwrap_err().to_string();
        assert!(error.contains("tiles.dir"), "{error}");
        std::fs::write(&path, "clock = \"lockstep\"\n").unwrap();
        assert_eq!(Config::load(None, dir.path()).unwrap().clock, Clock::Lockstep);
    }

    #[test]
    fn peers_are_read_as_they_are_shown() {
        use ed25519_dalek::SigningKey;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(CONFIG_FILE);
        let peer = Peer {
            key: SigningKey::from_bytes(&[0xab; 32]).verifying_key().to_bytes(),
            address: "[::1]:7000".parse().unwrap(),
        };
        std::fs::write(&path, format!("[replicate]\npeers = [\"{peer}\"]\n")).unwrap();
        assert_eq!(Config::load(None, dir.path()).unwrap().replicate.peers, [peer]);
        for (text, what) in [
            ("peers = [\"ab\"]", "KEY@ADDRESS"),
            ("peers = [\"ab@[::1]:7000\"]", "64 digits"),
            (&*format!("peers = [\"{}@[::1]:7000\"]", "02".repeat(32)), "point"),
            (&*format!("peers = [\"01{}@[::1]:7000\"]", "00".repeat(31)), "point"),
            (&*format!("peers = [\"{peer}\", \"{peer}\"]"), "twice"),
            ("listen = \"127.0.0.1:7400\"", "replicate.peers"),
            ("block_ms = 1000", "leader_timeout_ms"),
            ("block_size_max = 1000", "block_size_max"),
            ("omission_blocks = 1", "omission_blocks"),
            ("unreceipted_blocks = 0", "unreceipted_blocks"),
        ] {
            std::fs::write(&path, format!("[replicate]\n{text}\n")).unwrap();
            let error = Config::load(None, dir.path()).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
