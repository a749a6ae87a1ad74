//! Evidence that a delegate broke the rule of voting, or gave two orders in its receipts: found here or told by another node, it waits for a block as commands do.

use super::Replica;
use super::pool::Origin;
use super::words::Word;
use crate::evidence::receipts::Contradiction;
use crate::evidence::{EvidenceRecord, Proof};
use crate::stage::{About, VerifiedCommand};
use wattbook_agreement::evidence::Evidence;
use wattbook_feed::sbe::session::HeldKind;
use wattbook_feed::signed::record_kind;

impl Replica {
    /// A delegate broke the rule of voting: whoever leads next records what shows it.
    pub(super) fn accuse(&mut self, evidence: Evidence) {
        let Evidence {
            offence, rank, round, ..
        } = evidence;
        tracing::error!(
            ?offence,
            rank,
            epoch = round.epoch,
            view = round.view,
            "a delegate broke the rule of voting"
        );
        self.accuse_by(Proof::Ballots(evidence));
    }

    /// A delegate of this rank told of two orders of one term.
    pub(super) fn accuse_of_two_orders(&mut self, rank: usize, found: Contradiction) {
        let Ok(rank) = u8::try_from(rank) else { return };
        let (epoch, term) = (found.epoch, found.term);
        tracing::error!(rank, epoch, term, "a delegate gave receipts for two orders");
        self.accuse_by(Proof::Receipts(Contradiction { rank, ..found }));
    }

    fn accuse_by(&mut self, proof: Proof) {
        self.meters.offences.inc();
        let Some(record) = EvidenceRecord::of(proof, self.settled.executor().market()) else {
            return;
        };
        let payload = record.to_payload();
        let kind = record_kind::EVIDENCE;
        self.say(&Word::Command {
            kind,
            payload: &payload,
        });
        self.wait_for_judgement(&record, payload, Origin::Own);
    }

    fn wait_for_judgement(&mut self, record: &EvidenceRecord, payload: Vec<u8>, origin: Origin) {
        let command = VerifiedCommand {
            command: record.to_command(self.settled.executor().chain()),
            kind: record_kind::EVIDENCE,
            payload,
            held: HeldKind::Envelope,
            about: About::default(),
        };
        if let Err(reject) = self.pool.put(Box::new(command), origin) {
            tracing::warn!(%reject, "no room for evidence; it is found again while its epoch lasts");
        }
    }

    /// Evidence that another node found. One that hands on what does not hold is not listened to in this any more.
    pub(super) fn hear_evidence(&mut self, from: [u8; 32], payload: &[u8]) {
        if self.slanderers.contains(&from) {
            return;
        }
        let market = self.settled.executor().market();
        let checked = EvidenceRecord::decode(payload).and_then(|record| {
            record.check(market)?;
            Ok(record)
        });
        match checked {
            // Of a committee that is not known here: whoever found it tells it again.
            Ok(record) if EvidenceRecord::of(record.proof.clone(), market).as_ref() != Some(&record) => {}
            Ok(record) => self.wait_for_judgement(&record, payload.to_vec(), Origin::Peer),
            Err(reject) => {
                tracing::warn!(%reject, "a node accuses without proof");
                self.slanderers.insert(from);
            }
        }
    }
}
