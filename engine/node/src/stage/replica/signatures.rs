//! Signatures of records that verify has not seen, and the keys they are checked with.

use super::Replica;
use super::line::Misfit;
use super::pool::digest_of;
use super::{Block, form};
use crate::evidence::EvidenceRecord;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use wattbook_feed::signed::{RegisterRecord, SealedEnvelope, record_kind};
use wattbook_ledger::Record;
use wattbook_shaders::{Candidate, PublicKey, Verdict};
use wattbook_types::{ParticipantId, Reject};

impl Replica {
    /// Keys of accounts that a final block registers.
    pub(super) fn learn_keys(&self, block: &Block) {
        let Some((_, records)) = form::parts(block.bytes()) else {
            return;
        };
        for record in records.iter().filter(|record| record.kind == record_kind::REGISTER) {
            if let Ok(registration) = RegisterRecord::decode(record.payload).and_then(|record| record.to_registration())
            {
                self.learn_key(registration.participant, &registration.public_key);
            }
        }
    }

    fn learn_key(&self, participant: ParticipantId, bytes: &[u8; 96]) {
        if let Ok(key) = PublicKey::new(bytes) {
            let mut keys = self.wiring.keys.write().unwrap_or_else(PoisonError::into_inner);
            keys.insert(participant, key);
        }
    }

    /// Signatures of records that did not come through verify.
    pub(super) fn check_signatures(&mut self, records: &[Record<'_>]) -> Result<(), Misfit> {
        let chain = self.head.executor().chain();
        let accounts = &self.head.executor().market().state().accounts;
        let unchecked = records.iter().filter(|record| {
            let is_signed =
                [record_kind::REGISTER, record_kind::ENVELOPE, record_kind::EVIDENCE].contains(&record.kind);
            is_signed && !self.pool.has(&digest_of(record.kind, record.payload))
        });
        let (mut fresh, mut envelopes) = (BTreeMap::new(), Vec::new());
        for record in unchecked {
            let seq = record.seq;
            let refused = |reject| Misfit::Record { seq, reject };
            if record.kind == record_kind::REGISTER {
                let register = RegisterRecord::decode(record.payload).map_err(refused)?;
                register.verify(chain, &self.set.registrar).map_err(refused)?;
                let registration = register.to_registration().map_err(refused)?;
                let key = PublicKey::new(&registration.public_key).map_err(|_| Misfit::Signature { seq })?;
                fresh.insert(registration.participant, key);
                continue;
            }
            if record.kind == record_kind::EVIDENCE {
                let evidence = EvidenceRecord::decode(record.payload).map_err(refused)?;
                let checked = evidence.check(self.head.executor().market());
                checked.map_err(|_| Misfit::Signature { seq })?;
                continue;
            }
            let envelope = SealedEnvelope::decode(record.payload).map_err(refused)?;
            let sender = ParticipantId::new(envelope.header.participant);
            let account = accounts.get(sender).map(|account| account.profile().public_key);
            let known = {
                let keys = self.wiring.keys.read().unwrap_or_else(PoisonError::into_inner);
                let known = keys.get(&sender).copied();
                known.filter(|key| account.is_none_or(|bytes| *key.as_bytes() == bytes))
            };
            let key = known
                .or_else(|| PublicKey::new(&account?).ok())
                .or_else(|| fresh.get(&sender).copied());
            let key = key.ok_or(Misfit::Record {
                seq,
                reject: Reject::UnknownParticipant,
            })?;
            envelopes.push((seq, envelope, key));
        }
        let candidates: Vec<Candidate<'_>> = (envelopes.iter())
            .map(|(_, envelope, key)| Candidate {
                header: &envelope.header,
                signature: &envelope.signature,
                leaves: envelope.leaves.as_flattened(),
                key,
                source: envelope.header.participant,
            })
            .collect();
        if candidates.is_empty() {
            return Ok(());
        }
        let verdicts = self.verifier.verify(chain, &candidates);
        match envelopes
            .iter()
            .zip(verdicts)
            .find(|(_, verdict)| *verdict != Verdict::Valid)
        {
            Some(((seq, ..), _)) => Err(Misfit::Signature { seq: *seq }),
            None => Ok(()),
        }
    }
}
