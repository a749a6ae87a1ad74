//! Registration: `R[216]`, its meters `M[32]`, and the record that carries both signatures.

use super::envelope::SIGNATURE_SIZE;
use super::length_reject;
use crate::keys::{self, VerifyingKey};
use crate::layout::Layout;
use crate::layout::types::*;
use wattbook_types::tree;
use wattbook_types::{ChainId, Energy, Hash, Meter, MeterKind, ParticipantId, Registration, Reject, Roles, TimeNs};

wire! {
    /// R: an account as its registrar admits it.
    struct Register[216] {
        /// Role bits: 0 buyer, 1 seller, 2 aggregator, 3 grid, 4 meter authority, 5 regulator, 6 delegate.
        roles @ 0: u32, U32;
        /// Reserved, zero.
        flags @ 4: u32, U32;
        /// The account's id: unique, above 0.
        admit_serial @ 8: u64, U64;
        /// When the admission expires, ns since the epoch.
        not_after_ns @ 16: u64, U64;
        /// BLS public key, compressed G2.
        public_key @ 24: [u8; 96], KEY96;
        /// SHA-256 of the TLS client key; zero on loopback.
        session_spki @ 120: [u8; 32], HASH;
        /// Affiliation group; zero none.
        group @ 152: [u8; 32], HASH;
        /// RFC 9162 root over the meters.
        meters_root @ 184: [u8; 32], HASH;
    }

    /// M: a metering point.
    struct MeterEntry[32] {
        /// Its number, unique for ever.
        meter @ 0: u64, U64;
        /// Greatest import per 15 minutes, Wh.
        import_cap_wh @ 8: u64, U64;
        /// Greatest export per 15 minutes, Wh.
        export_cap_wh @ 16: u64, U64;
        /// 1 load, 2 clean generation, 3 storage, 4 grid.
        kind @ 24: u32, U32;
        /// Zero.
        reserved @ 28: u32, ZERO4;
    }
}

impl Register {
    /// `D("register", R)`: what the proof of possession signs.
    pub fn digest(&self, chain: ChainId) -> Hash {
        wattbook_types::digest(chain, "register", &[self.bytes()])
    }

    /// `D("admit", R)`: what the registrar signs.
    pub fn admit_digest(&self, chain: ChainId) -> Hash {
        wattbook_types::digest(chain, "admit", &[self.bytes()])
    }

    /// The registration of this account with these meters, nothing checked.
    pub fn to_registration(&self, meters: Vec<Meter>) -> Registration {
        Registration {
            roles: Roles::from_bits(self.roles),
            flags: self.flags,
            participant: ParticipantId::new(self.admit_serial),
            not_after: TimeNs::new(self.not_after_ns),
            public_key: self.public_key,
            session_spki: Hash(self.session_spki),
            group: Hash(self.group),
            meters_root: Hash(self.meters_root),
            meters,
        }
    }
}

impl MeterEntry {
    /// The wire form of a meter.
    pub const fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.meter,
            import_cap_wh: meter.import_cap.get(),
            export_cap_wh: meter.export_cap.get(),
            kind: meter.kind as u32,
            reserved: 0,
        }
    }

    /// The meter; `None` for an unknown kind or a reserved byte that is not zero.
    pub fn to_meter(&self) -> Option<Meter> {
        if self.reserved != 0 {
            return None;
        }
        Some(Meter {
            meter: self.meter,
            import_cap: Energy::new(self.import_cap_wh),
            export_cap: Energy::new(self.export_cap_wh),
            kind: MeterKind::from_raw(self.kind)?,
        })
    }
}

/// RFC 9162 root over the meters; that of the empty tree when there are none.
pub fn meters_root(meters: &[MeterEntry]) -> Hash {
    tree::root_of_hashes(meters.iter().map(|meter| tree::leaf_hash(meter.bytes())))
}

/// Record 1: R, admit signature 64, PoP 48, n u16, zero 6, n x M.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RegisterRecord {
    /// The account.
    pub register: Register,
    /// The registrar's Ed25519 signature over `D("admit", R)`.
    pub admit: [u8; 64],
    /// The BLS proof of possession over `D("register", R)`.
    pub possession: [u8; SIGNATURE_SIZE],
    /// The meters, in order.
    pub meters: Vec<MeterEntry>,
}

/// Size of a record before its meters.
const FIXED: usize = 216 + 64 + SIGNATURE_SIZE + 8;

impl RegisterRecord {
    /// The payload of the log's record.
    ///
    /// # Panics
    /// With more than 65,535 meters, which no message carries.
    pub fn to_payload(&self) -> Vec<u8> {
        let count = u16::try_from(self.meters.len()).expect("at most 65,535 meters");
        let mut out = Vec::with_capacity(FIXED + 32 * self.meters.len());
        out.extend_from_slice(self.register.bytes());
        out.extend_from_slice(&self.admit);
        out.extend_from_slice(&self.possession);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 6]);
        out.extend_from_slice(bytemuck::cast_slice(&self.meters));
        out
    }

    /// The record of a payload, which it fills exactly. Signatures and meters are judged by [`Self::verify`].
    pub fn decode(payload: &[u8]) -> Result<Self, Reject> {
        let (fixed, meters) = payload.split_at_checked(FIXED).ok_or(Reject::ShortFrame)?;
        let (register, rest) = fixed.split_at(216);
        let (admit, rest) = rest.split_at(64);
        let (possession, counts) = rest.split_at(SIGNATURE_SIZE);
        let count = usize::from(u16::from_le_bytes([counts[0], counts[1]]));
        if counts[2..].iter().any(|byte| *byte != 0) {
            return Err(Reject::MalformedMessage);
        }
        if meters.len() != 32 * count {
            return Err(length_reject(meters.len(), 32 * count));
        }
        Ok(Self {
            register: bytemuck::pod_read_unaligned(register),
            admit: bytemuck::pod_read_unaligned(admit),
            possession: bytemuck::pod_read_unaligned(possession),
            meters: meters.chunks_exact(32).map(bytemuck::pod_read_unaligned).collect(),
        })
    }

    /// Checks, in order of precedence: the registrar's signature, the key, its possession, the meters.
    pub fn verify(&self, chain: ChainId, registrar: &VerifyingKey) -> Result<(), Reject> {
        if !keys::verify_ed25519(registrar, &self.register.admit_digest(chain), &self.admit) {
            return Err(Reject::BadAdmission);
        }
        keys::check_possession(
            &self.register.public_key,
            &self.register.digest(chain),
            &self.possession,
        )?;
        self.to_registration().map(drop)
    }

    /// The registration for the market core; [`Reject::BadMeters`] for a malformed meter or another root.
    pub fn to_registration(&self) -> Result<Registration, Reject> {
        if meters_root(&self.meters).0 != self.register.meters_root {
            return Err(Reject::BadMeters);
        }
        let meters: Option<Vec<Meter>> = self.meters.iter().map(MeterEntry::to_meter).collect();
        Ok(self.register.to_registration(meters.ok_or(Reject::BadMeters)?))
    }
}
