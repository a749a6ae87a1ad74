//! The demonstration from outside: the program itself, its ledger byte for byte, and a node killed in the middle.
//!
//! Nothing sleeps but between two looks at something another process is doing, and nothing is timed.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

#[path = "../../../ledger/tests/python/mod.rs"]
mod python;
mod wire;

use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use wattbook_feed::client::{Client, ClientError, StreamKind};
use wattbook_feed::sbe::session::{BlockSealed, DealRecord, EventEnd};
use wattbook_feed::sbe::{Outbound, decode_outbound, encode_outbound, encode_private, encode_reader, parties};
use wattbook_feed::signed::{Alias, DealEntry, Grade};
use wattbook_ledger::{
    BlockHeader, COMMIT_SIZE, COMMITS_FILE, GENESIS_FILE, Note, RawBlockHeader, Reader, checkpoints,
};
use wattbook_node::chain::{REGULATOR, participant_key, participant_key_file};
use wattbook_node::execute::{Executor, decode_record};
use wattbook_node::keys;
use wattbook_node::light::{Border, Bundle, LightClient, LightError};
use wattbook_types::{Event, Reject, Sequenced};
use wire::{Desk, WAIT, reject, transcript};

/// How long another process may take: only one that hangs takes so long.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);

/// The program, quiet.
fn wattbook() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wattbook"));
    command.env("WATTBOOK_LOG", "warn").stdin(Stdio::null());
    command
}

fn demo(dir: &Path, periods: u32, seed: u64) -> Command {
    let mut command = wattbook();
    command
        .args([
            "demo",
            "--json",
            "--periods",
            &periods.to_string(),
            "--seed",
            &seed.to_string(),
            "--dir",
        ])
        .arg(dir);
    command
}

fn succeeded(output: &Output) -> &Output {
    assert!(
        output.status.success(),
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&succeeded(output).stdout).unwrap()
}

fn number(json: &Value, key: &str) -> u64 {
    json[key].as_u64().unwrap_or_else(|| panic!("{key} is {}", json[key]))
}

/// Waits until `look` finds something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(LOOK);
    }
}

/// The ledger's own files; keys and lock are no part of it.
fn ledger_files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".seg") || name == COMMITS_FILE || name == GENESIS_FILE {
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
    files
}

/// Entries of the commit file.
fn committed(dir: &Path) -> u64 {
    std::fs::metadata(dir.join(COMMITS_FILE)).map_or(0, |file| file.len() / COMMIT_SIZE)
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "{name} to {pid}: {sent}");
}

/// The process that runs a node on `dir`.
fn node_on(dir: &Path) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().find_map(|entry| {
        let entry = entry.ok()?;
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = words.split(|byte| *byte == 0).collect();
        (words.get(1) == Some(&&b"run"[..]) && words.contains(&dir.as_os_str().as_bytes())).then_some(pid)
    })
}

/// A node of its own process, killed when dropped.
struct Running {
    child: Child,
    addr: SocketAddr,
}

impl Running {
    fn start(dir: &Path) -> Self {
        let mut child = wattbook()
            .args(["run", "--lockstep", "--listen", "127.0.0.1:0"])
            .arg(dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let Some(addr) = line
            .trim()
            .strip_prefix("listening ")
            .and_then(|addr| addr.parse().ok())
        else {
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            panic!("the node did not start: {line}{said}");
        };
        Self { child, addr }
    }

    /// Stops it as an operator does.
    fn stop(mut self) {
        signal("-TERM", self.child.id());
        let ended = until("end of the node", || self.child.try_wait().unwrap());
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A demonstration under way; dropped, it leaves no node behind.
struct Driver {
    child: Child,
    dir: PathBuf,
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(pid) = node_on(&self.dir) {
            signal("-KILL", pid);
        }
    }
}

/// Height and roots by `verify` and by `replay`, which must agree.
fn verified(dir: &Path) -> (u64, String, String) {
    let [verified, replayed] =
        ["verify", "replay"].map(|command| json(&wattbook().args([command, "--json"]).arg(dir).output().unwrap()));
    assert_eq!(verified["ok"], true, "{verified}");
    let text = |json: &Value, key: &str| {
        json[key]
            .as_str()
            .unwrap_or_else(|| panic!("no {key} in {json}"))
            .to_owned()
    };
    for key in ["height", "records", "state_root", "ledger_root"] {
        assert_eq!(verified[key], replayed[key], "{key}");
    }
    (
        number(&replayed, "height"),
        text(&replayed, "state_root"),
        text(&replayed, "ledger_root"),
    )
}

/// Five processes: the leader is killed, loses its seat to the standby, comes back and stands again; all ledgers are equal.
#[test]
fn a_committee_survives_its_leader() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = wattbook();
    command.args(["demo", "--cluster", "--json", "--periods", "6", "--dir"]);
    let output = command.arg(folder.path().join("cluster")).output().unwrap();
    let told = String::from_utf8_lossy(&succeeded(&output).stderr).into_owned();
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&json["equal"], &json["complete"]),
        (&true.into(), &true.into()),
        "{told}"
    );
    let nodes = json["nodes"].as_array().unwrap();
    assert!(nodes.len() == 5 && nodes.iter().all(|node| *node == nodes[0]), "{json}");
    assert!(
        json["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .all(|n| n.as_u64() > Some(100)),
        "{json}"
    );
    let killed = format!("node{}", json["killed"]);
    // In this order.
    let mut rest = told.as_str();
    for line in [
        format!("{killed} leads, and is killed"),
        format!("{killed} is flagged Abnormal"),
        format!("{killed} is Evicted"),
        "node4".to_owned(),
        format!("{killed} is back and follows without a seat"),
        format!("{killed} stands for election"),
    ] {
        let at = rest
            .find(&line)
            .unwrap_or_else(|| panic!("{line:?} is not told, or too early: {told}"));
        rest = &rest[at + line.len()..];
    }
    records_are_proven_by_certificates(&folder.path().join("cluster"));
}

/// What a node can prove of its records to whoever has nothing but the genesis, and what nobody can.
fn records_are_proven_by_certificates(cluster: &Path) {
    let genesis = cluster.join("node3").join(GENESIS_FILE);
    let light = |bundle: &Path| {
        let mut command = wattbook();
        command
            .arg("light")
            .arg("--genesis")
            .args([&genesis, bundle])
            .output()
            .unwrap()
    };
    let last = headers_of(&cluster.join("node1")).pop().unwrap();
    let newest = last.first_seq;
    assert!(last.epoch > 2);
    let bytes = std::fs::read(&genesis).unwrap();
    let path = cluster.join("bundle.json");
    let mut bundles = Vec::new();
    for (node, seq) in [(0, 1), (1, newest / 2), (4, newest - 40)] {
        let mut prove = wattbook();
        prove.args(["prove", "--light", "--record", &seq.to_string()]);
        let proof = prove.arg(cluster.join(format!("node{node}"))).output().unwrap();
        std::fs::write(&path, &succeeded(&proof).stdout).unwrap();
        let said = String::from_utf8_lossy(&succeeded(&light(&path)).stdout).into_owned();
        assert!(
            said.contains(&format!("{seq} ")) && said.contains("of 4 delegates"),
            "{said}"
        );
        let bundle = Bundle::parse(&String::from_utf8(proof.stdout).unwrap()).unwrap();
        assert_eq!(Bundle::parse(&bundle.to_json()), Ok(bundle.clone()));
        bundle.check(&bytes).unwrap();
        bundles.push(bundle);
    }
    let whole = bundles.last().unwrap().clone();
    assert!(whole.borders.len() >= 2);
    // The committee has changed on the way.
    let seats = |border: &Border| -> Vec<_> { border.committee.iter().map(|member| member.participant).collect() };
    assert!(
        whole
            .borders
            .iter()
            .any(|border| seats(border) != seats(&whole.borders[0]))
    );
    let refused = |change: &dyn Fn(&mut Bundle)| {
        let mut changed = whole.clone();
        change(&mut changed);
        changed.check(&bytes).unwrap_err()
    };
    for byte in (0..352).step_by(7) {
        refused(&|bundle| bundle.headers[0][byte] ^= 1);
        refused(&|bundle| bundle.borders[0].header[byte] ^= 0x80);
    }
    for byte in 0..120 {
        refused(&|bundle| bundle.certificate[byte] ^= 1);
        refused(&|bundle| bundle.borders[1].certificate[byte] ^= 1);
    }
    use LightError::{Broken, Certificate, Committee, NoBorder, OtherChain, Record};
    assert!(matches!(refused(&|b| b.borders.swap(0, 1)), NoBorder { .. }));
    assert!(matches!(refused(&|b| drop(b.borders.pop())), Certificate { .. }));
    assert!(matches!(
        refused(&|b| b.borders[1].committee.swap(0, 1)),
        Committee { .. }
    ));
    assert!(matches!(
        refused(&|b| b.borders[0].committee[2].ballot_key[5] ^= 1),
        Committee { .. }
    ));
    assert!(matches!(
        refused(&|b| b.certificate = b.borders[0].certificate),
        Certificate { .. }
    ));
    assert!(matches!(refused(&|b| b.headers.clear()), Broken { at: 0 }));
    assert!(matches!(refused(&|b| b.record.payload.push(0)), Record { .. }));
    assert!(matches!(refused(&|b| b.record.seq += 1), Record { .. }));
    assert!(matches!(refused(&|b| b.record.kind ^= 1), Record { .. }));
    let mut other = bytes.clone();
    other[40] ^= 1;
    assert_eq!(whole.check(&other), Err(OtherChain));
    let forged = whole.to_json().replacen("\"seq\":", "\"sequence\":", 1);
    std::fs::write(&path, forged).unwrap();
    assert!(!light(&path).status.success());

    // A checkpoint carries its header's certificate, beside the log key's signature.
    let all = Bundle::of_record(&cluster.join("node1"), None, newest).unwrap().borders;
    for node in 0..5 {
        let note = checkpoints::newest(&cluster.join(format!("node{node}")))
            .unwrap()
            .unwrap();
        let key = wattbook_node::notary::log_key(&bytes).unwrap();
        assert_eq!(note.verify(&key), Ok(None));
        let text = note.to_string();
        let note = Note::parse(&text).unwrap();
        let certified = note.certified().unwrap();
        let raw = RawBlockHeader::read(&certified.header).unwrap();
        let epoch = BlockHeader::from_raw(&raw).unwrap().epoch;
        let mut client = LightClient::new(&bytes).unwrap();
        let too_early = client.check_checkpoint(&note);
        assert!(epoch > 0 && too_early.is_err());
        client.follow(&all[..usize::try_from(epoch).unwrap()]).unwrap();
        let proven = client.check_checkpoint(&note).unwrap();
        let checkpoint = note.checkpoint();
        assert_eq!(
            (proven.header.log_root, proven.header.height),
            (checkpoint.root, checkpoint.size)
        );
    }

    let python = match python::with(&["py-arkworks-bls12381==0.5.0"]) {
        Ok(python) => python,
        Err(why) => return python::skip("somebody else's check of certificates", &why),
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ledger/light/wattbook_light.py");
    let foreign = |bundle: &Bundle| {
        std::fs::write(&path, bundle.to_json()).unwrap();
        let mut command = Command::new(&python);
        let output = command.arg(&script).args([&genesis, &path]).output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for bundle in &bundles {
        let (code, said) = foreign(bundle);
        assert_eq!(code, Some(0), "{said}");
        let start = format!("record {} is in block", bundle.record.seq);
        assert!(said.starts_with(&start), "{said}");
    }
    let changes: [fn(&mut Bundle); 7] = [
        |b| b.certificate[80] ^= 1,
        |b| b.certificate[9] ^= 1,
        |b| b.borders[0].certificate[64] = 1,
        |b| b.borders[1].committee.swap(0, 1),
        |b| b.headers[0][130] ^= 1,
        |b| b.record.payload[0] ^= 1,
        |b| drop(b.borders.pop()),
    ];
    for change in changes {
        let mut changed = whole.clone();
        change(&mut changed);
        let (code, said) = foreign(&changed);
        assert!(code == Some(1) && said.starts_with("not proven"), "{said}");
    }
}

fn headers_of(dir: &Path) -> Vec<BlockHeader> {
    let reader = Reader::open(dir).unwrap();
    reader.blocks().map(|block| block.unwrap().header).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_another_root() {
    let home = tempfile::tempdir().unwrap();
    let [first, again, other] = ["first", "again", "other"].map(|name| home.path().join(name));
    let report = json(&demo(&first, 6, 7).output().unwrap());
    let repeated = json(&demo(&again, 6, 7).output().unwrap());

    let (files, files_again) = (ledger_files(&first), ledger_files(&again));
    assert!(files.len() >= 3, "{:?}", files.keys());
    assert!(files.keys().eq(files_again.keys()));
    for (name, bytes) in &files {
        assert!(
            bytes == &files_again[name],
            "{name} differs between two runs of one seed"
        );
    }
    let root = |json: &Value| (json["ledger_root"].clone(), json["state_root"].clone());
    assert_eq!(root(&report), root(&repeated));

    // The figures are sane and agree with one another.
    assert_eq!(report["conserved"], true);
    assert_eq!((number(&report, "voided"), number(&report, "refused")), (0, 0));
    let deals = number(&report, "deals");
    assert!(deals > 0);
    assert_eq!(
        (number(&report, "countersigned"), number(&report, "settled")),
        (deals, deals)
    );
    assert_eq!(
        (number(&report, "rounds"), number(&report, "accounts")),
        (6 * 3, 14 + 8 + 4 + 3)
    );
    assert_eq!(number(&report, "registrations") + 3, number(&report, "accounts"));
    // One per envelope, two per registration, one per genesis account, one per block's commit.
    let signed = number(&report, "envelopes") + 2 * number(&report, "registrations") + 3 + number(&report, "blocks");
    assert_eq!(number(&report, "signatures"), signed);
    // A Step is a block: genesis is one more.
    assert_eq!(number(&report, "blocks"), number(&report, "steps") + 1);
    assert_eq!(number(&report, "blocks"), committed(&first));
    let parts = ["registrations", "envelopes", "reveals", "steps"].map(|key| number(&report, key));
    assert_eq!(number(&report, "records"), parts.iter().sum::<u64>());
    assert_eq!(report["held"], report["minted"]);
    assert_eq!(report["burned"], "0");
    let hours = report["hours"].as_array().unwrap();
    let traded: u64 = hours
        .iter()
        .map(|hour| number(hour, "traded_wh") + number(hour, "with_grid_wh"))
        .sum();
    assert_eq!((hours.len(), traded >= number(&report, "settled_wh")), (24, true));
    assert_eq!(report["modes"].as_array().unwrap().len(), 5);
    let (height, state_root, ledger_root) = verified(&first);
    assert_eq!(height + 1, number(&report, "blocks"));
    assert_eq!((Value::from(ledger_root), Value::from(state_root)), root(&report));

    // A second run in the same directory replaces the first.
    let elsewhere = json(&demo(&other, 2, 8).output().unwrap());
    assert_ne!(root(&elsewhere), root(&report));
    let replaced = json(&demo(&first, 2, 8).output().unwrap());
    assert_eq!(root(&replaced), root(&elsewhere));
    assert!(
        ledger_files(&first) == ledger_files(&other),
        "the first run has left something behind"
    );

    restarted_streams_are_whole(&other);
}

/// Whether an event is told as a change of the books.
const fn changes_books(event: &Event) -> bool {
    matches!(
        event,
        Event::Opened { .. } | Event::Reduced { .. } | Event::Closed { .. } | Event::Executed { .. }
    )
}

/// A node started on a finished ledger tells the regulator and the public everything, and from any number on.
fn restarted_streams_are_whole(dir: &Path) {
    // What they must be told, from the records alone.
    let alias_key = keys::read_named(dir, keys::ALIAS_KEY).unwrap();
    let reader = Reader::open(dir).unwrap();
    let (mut executor, _) = Executor::start(reader.genesis()).unwrap();
    let alias = Alias::new(alias_key, executor.chain());
    let (mut private, mut public): (Vec<Vec<u8>>, Vec<Vec<u8>>) = Default::default();
    for block in reader.blocks().skip(1) {
        let block = block.unwrap();
        let height = block.header.height;
        let mut events = Vec::new();
        let mut last = 0;
        for record in &block.records {
            let command = decode_record(executor.chain(), record.kind, record.version, record.payload).unwrap();
            events.extend(executor.apply(record.seq, &command).unwrap());
            last = record.seq;
        }
        events.extend(executor.end_block(height, last).events);
        for (at, event) in events.iter().enumerate() {
            let mut message = Vec::new();
            if wattbook_feed::sbe::encode_public(event, &alias, &mut message) {
                public.push(message);
            }
            let of_record = |other: &&Sequenced| other.seq == event.seq && changes_books(&other.event);
            if changes_books(&event.event) && !events[at + 1..].iter().any(|later| of_record(&later)) {
                let mut message = Vec::new();
                let (seq, changes) = (event.seq, events.iter().filter(of_record).count() as u64);
                encode_outbound(&EventEnd { seq, changes }, &mut message);
                public.push(message);
            }
            let mut message = Vec::new();
            if parties(&event.event).contains(&Some(REGULATOR))
                && encode_private(event, REGULATOR, &alias, &mut message)
            {
                private.push(message);
            }
            let mut message = Vec::new();
            match &event.event {
                Event::Executed { deal, deal_id, .. } => {
                    let record = DealEntry::new(deal);
                    encode_outbound(
                        &DealRecord {
                            seq: event.seq,
                            height,
                            record,
                            deal_id: deal_id.0,
                        },
                        &mut message,
                    );
                }
                Event::DealsSealed { .. } => encode_reader(event, &alias, &mut message),
                _ => continue,
            }
            private.push(message);
        }
        let mut message = Vec::new();
        let header = &block.header;
        encode_outbound(
            &BlockSealed {
                height,
                time_ns: header.time.get(),
                record_count: header.record_count,
                event_count: header.event_count,
                first_seq: header.first_seq,
                block_digest: block.digest.0,
                state_root: header.state_root.0,
            },
            &mut message,
        );
        public.push(message);
    }
    assert!(
        private
            .iter()
            .any(|message| matches!(decode_outbound(message), Ok(Outbound::DealRecord(_))))
    );

    let node = Running::start(dir);
    let secret = participant_key(
        &keys::read_named(dir, &participant_key_file(REGULATOR)).unwrap(),
        REGULATOR,
    );
    let log_on = |from: u64| {
        let mut desk = Desk::open(node.addr, from);
        desk.client.expect_chain(executor.chain()).unwrap();
        desk.client.logon(REGULATOR, &secret, Grade::Durable).unwrap();
        desk
    };
    let last = private.len() as u64;
    for from in [1, 2, last / 2, last] {
        let told = transcript(&mut log_on(from), from, last);
        assert!(told == private[from as usize - 1..], "from {from} of {last}");
    }
    log_on(last + 1).answer().unwrap();
    for from in [last + 2, u64::MAX] {
        assert_eq!(
            reject(log_on(from).answer().unwrap_err().code),
            Reject::LogonRefused,
            "from {from} of {last}"
        );
    }
    let last = public.len() as u64;
    for from in [1, last / 2, last] {
        let mut client = Client::connect(node.addr, StreamKind::Public, from).unwrap();
        for expected in &public[from as usize - 1..] {
            let (_, message) = client.next_raw(WAIT).unwrap().unwrap();
            assert!(&message == expected, "the public stream from {from} of {last}");
        }
    }
    let beyond = Client::connect(node.addr, StreamKind::Public, last + 2).unwrap_err();
    assert!(matches!(beyond, ClientError::LoginRefused(_)), "{beyond}");
    node.stop();
}

#[test]
fn a_directory_with_something_else_in_it_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let foreign = home.path().join("foreign");
    std::fs::create_dir(&foreign).unwrap();
    std::fs::write(foreign.join("thesis.txt"), "years of work").unwrap();
    let real = home.path().join("real");
    succeeded(&wattbook().arg("init").arg(&real).output().unwrap());
    let before = ledger_files(&real);
    for dir in [&foreign, &real] {
        let output = demo(dir, 1, 1).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(&dir.display().to_string()) && said.contains("--dir"),
            "{said}"
        );
        assert!(output.stdout.is_empty());
    }
    assert_eq!(
        std::fs::read_to_string(foreign.join("thesis.txt")).unwrap(),
        "years of work"
    );
    assert!(ledger_files(&real) == before);
}

/// The durable block that the demo says was acknowledged.
fn acknowledged(said: &str) -> Option<u64> {
    let (_, rest) = said.split_once("newest durable block acknowledged: ")?;
    rest.chars()
        .take_while(char::is_ascii_digit)
        .collect::<String>()
        .parse()
        .ok()
}

#[test]
fn a_node_killed_in_the_middle_recovers_everything_it_acknowledged() {
    let home = tempfile::tempdir().unwrap();
    for seed in 1..=3u64 {
        let dir = home.path().join(seed.to_string());
        // Seeded points: during registration and logon, within the first period, some periods in.
        let draw = wattbook_types::sha256(&[b"kill", &seed.to_le_bytes()]).prefix_u64();
        let point = [2, 12, 40][seed as usize - 1] + draw % 10;
        let child = demo(&dir, 96, seed)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut driver = Driver {
            child,
            dir: dir.clone(),
        };
        until("node", || node_on(&dir));
        let durable = until("commit", || Some(committed(&dir)).filter(|entries| *entries > point)) - 1;
        let pid = node_on(&dir).expect("the node still runs");
        signal("-KILL", pid);

        let mut said = String::new();
        driver.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(
            !driver.child.wait().unwrap().success(),
            "the demo has not noticed: {said}"
        );
        let told = acknowledged(&said).unwrap_or_else(|| panic!("seed {seed}: {said}"));

        // It recovers by itself, twice over, and has what was acknowledged, with an entry or, for a moment, without.
        Running::start(&dir).stop();
        let (height, state_root, ledger_root) = verified(&dir);
        assert!(
            height >= told && height >= durable,
            "seed {seed}: {height} < {told}, {durable}"
        );
        let files = ledger_files(&dir);
        Running::start(&dir).stop();
        assert!(ledger_files(&dir) == files, "an idle restart has changed the ledger");
        assert_eq!(verified(&dir), (height, state_root, ledger_root));
        let log_key = keys::log_key(&dir).unwrap().verifying_key();
        let checked = wattbook_ledger::check(&dir, &log_key).unwrap();
        assert_eq!(checked.tip.height, height);
        // What was recovered is the beginning of the day that the same seed always gives.
        assert!(height >= point, "seed {seed}: {height} < {point}");
    }
}
