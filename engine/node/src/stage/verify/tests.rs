//! The stage by itself: what it hands on, in which order, and who pays for bad signatures.

use super::*;
use crate::config::{VerifyPolicy, Wait};
use crate::ring::ring;
use wattbook_feed::keys::{BlsSecret, KeyRole, registrar_key};
use wattbook_feed::signed::{Grade, SealedEnvelope, encode_cancel};
use wattbook_shaders::{Cost, Rates};
use wattbook_types::command::Cancel;
use wattbook_types::{Hash, Reject, TimeNs, sha256};

const ATTACKER: u64 = 1;
const HONEST: u64 = 2;
const SEED: [u8; 32] = [5; 32];
const CHAIN: ChainId = ChainId(Hash([3; 32]));

fn secret(who: u64) -> BlsSecret {
    BlsSecret::derive(&SEED, KeyRole::Participant, who)
}

/// A stage whose sessions bear the numbers of their participants, and its ends.
struct Bench {
    verify: Verify,
    jobs: Option<Sender<Job>>,
    checked: Receiver<Checked>,
    metrics: Metrics,
    nonce: u64,
}

impl Bench {
    fn new(settings: config::Verify) -> Self {
        let key = |who: u64| {
            (
                ParticipantId::new(who),
                PublicKey::new(&secret(who).public_key()).unwrap(),
            )
        };
        let keys = Arc::new(RwLock::new(BTreeMap::from([key(ATTACKER), key(HONEST)])));
        let (jobs, jobs_out) = ring(256, Wait::Park);
        let (checked_in, checked) = ring(256, Wait::Park);
        let registrar = registrar_key(&SEED).verifying_key();
        let metrics = Metrics::default();
        let verify = Verify::new(jobs_out, checked_in, CHAIN, registrar, keys, settings, None, &metrics);
        let mut bench = Self {
            verify,
            jobs: Some(jobs),
            checked,
            metrics,
            nonce: 0,
        };
        let logons = [ATTACKER, HONEST].map(|who| {
            let digest = sha256(&[&who.to_le_bytes()]);
            let request = Request::Logon {
                participant: ParticipantId::new(who),
                grade: Grade::Matched,
                from: 0,
                digest,
                signature: secret(who).sign(&digest),
            };
            Job { session: who, request }
        });
        let outcomes = bench.batch(logons.into());
        assert!(
            outcomes
                .iter()
                .all(|outcome| matches!(outcome, Outcome::LoggedOn { .. }))
        );
        bench
    }

    /// An envelope with the next nonce, signed well or badly.
    fn envelope(&mut self, who: u64, is_good: bool) -> Job {
        self.nonce += 1;
        let cancel = Cancel {
            contract: None,
            target_nonce: 0,
            target_index: 0,
        };
        let leaves = vec![encode_cancel(0, &cancel)];
        let (key, id) = (secret(who), ParticipantId::new(who));
        let mut envelope = SealedEnvelope::sign(CHAIN, &key, id, 1, self.nonce, TimeNs::default(), leaves);
        if !is_good {
            envelope.signature = key.sign(&Hash([9; 32]));
        }
        Job {
            session: who,
            request: Request::Envelope(Box::new(envelope)),
        }
    }

    /// `count` envelopes of the honest one among those of the attacker.
    fn mixed(&mut self, attacks: &[bool], count: usize) -> Vec<Job> {
        let mut jobs: Vec<Job> = attacks
            .iter()
            .map(|is_good| self.envelope(ATTACKER, *is_good))
            .collect();
        let honest: Vec<Job> = (0..count).map(|_| self.envelope(HONEST, true)).collect();
        jobs.extend(honest);
        jobs
    }

    /// One batch through the stage.
    fn batch(&mut self, jobs: Vec<Job>) -> Vec<Outcome> {
        let len = jobs.len();
        let batch = self.verify.begin(jobs);
        assert_eq!(self.verify.finish(batch), Ok(()));
        (0..len)
            .map(|_| self.checked.try_recv().unwrap().unwrap().outcome)
            .collect()
    }

    /// Everything sent at once, through the stage's own loop.
    fn run(&mut self, jobs: Vec<Job>) -> Vec<Checked> {
        let sender = self.jobs.take().unwrap();
        jobs.into_iter().for_each(|job| sender.send(job).unwrap());
        drop(sender);
        assert_eq!(self.verify.batches(), Err(Gone));
        core::iter::from_fn(|| self.checked.try_recv().unwrap()).collect()
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.render();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }
}

fn settings(policy: VerifyPolicy) -> config::Verify {
    config::Verify {
        policy,
        threads: 1,
        bad_signatures_max: 3,
        ..config::Verify::default()
    }
}

/// What an outcome is, in a letter: valid, bad signature, suspended with the session's end.
fn letters(outcomes: &[Outcome]) -> String {
    outcomes.iter().map(letter).collect()
}

fn letter(outcome: &Outcome) -> char {
    match outcome {
        Outcome::Command(_) => 'v',
        Outcome::Refused {
            reject: Reject::BadSignature,
            close: false,
            ..
        } => 'b',
        Outcome::Refused {
            reject: Reject::SessionSuspended,
            close: true,
            ..
        } => 's',
        other => panic!("{other:?}"),
    }
}

/// The first bad signature costs everybody a bisection. From then on its session's envelopes are checked apart: batches of
/// the others take the pairings that they would take without it.
#[test]
fn who_signs_badly_pays_and_is_cut_off() {
    let mut bench = Bench::new(settings(VerifyPolicy::Batch));
    let (bisections, shared, apart) = (
        "wattbook_verify_bisections_total",
        "wattbook_verify_pairings_total{lane=\"shared\"}",
        "wattbook_verify_pairings_total{lane=\"suspect\"}",
    );
    let jobs = bench.mixed(&[false], 8);
    assert_eq!(letters(&bench.batch(jobs)), "bvvvvvvvv");
    let paid = bench.metric(bisections);
    assert!(paid > 0);
    assert_eq!(
        (bench.metric(apart), bench.metric("wattbook_verify_suspect_sessions")),
        (0, 1)
    );
    let mut before = bench.metric(shared);
    for (attacks, found, pairings_apart) in [
        (&[true, false][..], "vbvvvvvvvv", 4),
        (&[true, true], "vvvvvvvvvv", 8),
        // With the third bad signature the session ends, and so does what it sent behind it.
        (&[false, true, true], "sssvvvvvvvv", 14),
        (&[true, false], "ssvvvvvvvv", 14),
    ] {
        let jobs = bench.mixed(attacks, 8);
        assert_eq!(letters(&bench.batch(jobs)), found);
        let now = bench.metric(shared);
        assert_eq!(
            now - before,
            2,
            "one key and the generator, whatever the attacker sends"
        );
        assert_eq!(
            bench.metric(apart),
            pairings_apart,
            "two for each envelope of a suspect"
        );
        before = now;
    }
    assert_eq!(bench.metric(bisections), paid, "nobody pays again");
    assert_eq!(bench.metric("wattbook_verify_refused_total{why=\"mismatch\"}"), 3);
    assert_eq!(bench.metric("wattbook_verify_suspended_total"), 5);
    assert_eq!(
        bench.metric("wattbook_verify_envelopes_total{lane=\"shared\"}"),
        1 + 5 * 8
    );
    assert_eq!(bench.metric("wattbook_verify_envelopes_total{lane=\"suspect\"}"), 7);
}

/// The lane of suspects has so many places a batch; who wants more is cut off, others of the batch are not.
#[test]
fn the_lane_of_suspects_is_short() {
    let mut bench = Bench::new(config::Verify {
        suspect_len_max: 2,
        bad_signatures_max: 100,
        ..settings(VerifyPolicy::Batch)
    });
    let jobs = bench.mixed(&[false], 2);
    assert_eq!(letters(&bench.batch(jobs)), "bvv");
    for (attacks, found) in [
        (&[true, true][..], "vvvv"),
        (&[true, false, true, true], "vbssvv"),
        (&[true], "svv"),
    ] {
        let jobs = bench.mixed(attacks, 2);
        assert_eq!(letters(&bench.batch(jobs)), found);
    }
    // Its share of a batch, where what paths cost is known: a tenth of what 4,096 signatures take is 41 by themselves.
    let cost = |signature_ns| {
        Some(Cost {
            signature_ns,
            ..Cost::default()
        })
    };
    let lane_len = |suspect_share_pct, batch| {
        let mut bench = Bench::new(config::Verify {
            suspect_share_pct,
            suspect_len_max: 50,
            ..settings(VerifyPolicy::Auto)
        });
        bench.verify.verifier = Verifier::new(Policy::Auto).with_rates(Rates::new(cost(1_000), cost(batch), None));
        bench.verify.lane_len()
    };
    let found = [(10, 100), (100, 100), (0, 100), (10, 1)].map(|(share, batch)| lane_len(share, batch));
    assert_eq!(found, [40, 50, 1, 1]);
}

/// A session that proves itself is believed again.
#[test]
fn suspicion_ends() {
    let mut bench = Bench::new(config::Verify {
        suspect_len_max: 300,
        ..settings(VerifyPolicy::Batch)
    });
    let jobs = bench.mixed(&[false], 1);
    bench.batch(jobs);
    for left in [1, 0] {
        let jobs = bench.mixed(&[true; 128], 0);
        bench.batch(jobs);
        assert_eq!(bench.metric("wattbook_verify_suspect_sessions"), left);
    }
    let jobs = bench.mixed(&[true], 0);
    bench.batch(jobs);
    assert_eq!(bench.metric("wattbook_verify_envelopes_total{lane=\"suspect\"}"), 256);
}

/// Three full batches that were there at once: the device has the next before the last is finished, what comes out is in
/// ticket order, and a budget spent in one batch counts for those begun meanwhile. So it is when the device goes with any
/// of its submissions.
#[test]
fn batches_overlap_on_a_device_and_keep_their_order() {
    let mut lost = 0;
    for lose_at in [None, Some(1), Some(2), Some(4), Some(6)] {
        let mut bench = Bench::new(config::Verify {
            batch_len_max: 4,
            bad_signatures_max: 2,
            ..settings(VerifyPolicy::Gpu)
        });
        bench.verify.prepare();
        let device = bench
            .verify
            .verifier
            .device()
            .expect("a device (`make setup` installs one on Debian)");
        if let Some(submission) = lose_at {
            device.lose_at(submission);
        }
        let attacks = [false, true, true, true, false, true, true, false, true];
        let honest = [1, 3, 8];
        let mut jobs = Vec::new();
        let mut attack = attacks.iter();
        for at in 0..12 {
            jobs.push(match honest.contains(&at) {
                true => bench.envelope(HONEST, true),
                false => bench.envelope(ATTACKER, *attack.next().unwrap()),
            });
        }
        let nonces: Vec<u64> = jobs.iter().map(nonce_of).collect();
        let found = bench.run(jobs);
        assert_eq!(
            found.iter().map(nonce_of_checked).collect::<Vec<_>>(),
            nonces,
            "{lose_at:?}"
        );
        let letters: String = found.iter().map(|checked| letter(&checked.outcome)).collect();
        assert_eq!(letters, "bvvvvvssvsss", "{lose_at:?}");
        let overlapped = bench.metric("wattbook_verify_overlapped_total");
        match lose_at {
            None => assert_eq!(overlapped, 2, "each but the first began while another was under way"),
            Some(_) => lost += bench.metric("wattbook_verify_devices_lost_total"),
        }
    }
    assert!(lost >= 3);
}

fn nonce_of(job: &Job) -> u64 {
    match &job.request {
        Request::Envelope(envelope) => envelope.header.nonce,
        other => panic!("{other:?}"),
    }
}

fn nonce_of_checked(checked: &Checked) -> u64 {
    match &checked.outcome {
        Outcome::Command(verified) => verified.about.nonce,
        Outcome::Refused { about, .. } => about.nonce,
        other => panic!("{other:?}"),
    }
}

/// The deadline bounds a wait for company; nobody who comes alone waits for it.
#[test]
fn who_comes_alone_is_answered_at_once() {
    let cost = |signature_ns| {
        Some(Cost {
            signature_ns,
            ..Cost::default()
        })
    };
    for policy in [VerifyPolicy::OneByOne, VerifyPolicy::Auto] {
        let mut bench = Bench::new(config::Verify {
            batch_deadline_us: 3_600_000_000,
            ..settings(policy)
        });
        if policy == VerifyPolicy::Auto {
            bench.verify.verifier = Verifier::new(Policy::Auto).with_rates(Rates::new(cost(1_000), cost(2_000), None));
        }
        let job = bench.envelope(HONEST, true);
        let jobs = bench.jobs.take().unwrap();
        let mut verify = bench.verify;
        let stage = std::thread::spawn(move || verify.batches());
        jobs.send(job).unwrap();
        // The ring stays open: only an hour's wait or an answer comes of it.
        let answer = bench
            .checked
            .recv_deadline(Instant::now() + Duration::from_secs(600))
            .unwrap();
        assert!(answer.is_some(), "{policy:?}");
        drop(jobs);
        assert_eq!(stage.join().unwrap(), Err(Gone));
    }
}

/// A log that tests read.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a stage that begins says, and the metrics that it shows.
fn prepared(policy: VerifyPolicy) -> (String, Bench) {
    let mut bench = Bench::new(settings(policy));
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        bench.verify.prepare();
        // A test beside this one may have met the line while nobody listened, and have it kept silent.
        tracing::callsite::rebuild_interest_cache();
        bench.verify.prepare();
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = text.lines().rfind(|line| line.contains("verify is ready"));
    (
        line.unwrap_or_else(|| panic!("no such line in\n{text}")).to_owned(),
        bench,
    )
}

/// The rates found at the start stand in the log and, a signature of a full batch, in the metrics; a path that was not
/// measured costs nothing there.
#[test]
fn what_paths_cost_is_in_the_log_and_the_metrics() {
    let (line, bench) = prepared(VerifyPolicy::Auto);
    let rates = *bench.verify.verifier.rates();
    assert!(line.contains(&format!("rates={rates}")), "{line}");
    for part in ["one_by_one: ", "short batch: ", "batch: ", "policy=Auto", "lane="] {
        assert!(line.contains(part), "no {part} in {line}");
    }
    let len = bench.verify.settings.batch_len_max;
    let path = bench.verify.verifier.route_of(len, SHOWN_KEYS).name();
    assert!(line.contains(&format!("path=\"{path}\" batch={len}")), "{line}");
    let shown = |name: &str| bench.metric(&format!("wattbook_verify_{name}_cost_ns"));
    let full = |route| rates.expect_ns(route, len, SHOWN_KEYS).unwrap_or(0) / len as u64;
    assert_eq!(
        [shown("one_by_one"), shown("batch"), shown("gpu")],
        [Route::OneByOne, Route::Batch, Route::Gpu].map(full)
    );
    assert!(shown("one_by_one") > 0 && shown("batch") > 0);
    let short = rates.short.unwrap().of(SHOWN_KEYS, SHOWN_KEYS) / SHOWN_KEYS as u64;
    assert_eq!(shown("short_batch"), short);
    assert!(short > 0);

    // Where the policy names a path, nothing is measured.
    let (line, bench) = prepared(VerifyPolicy::Batch);
    assert!(
        line.contains("policy=Batch") && !line.contains("us/signature"),
        "{line}"
    );
    for name in ["one_by_one", "batch", "gpu", "short_batch"] {
        assert_eq!(bench.metric(&format!("wattbook_verify_{name}_cost_ns")), 0, "{name}");
    }
}
