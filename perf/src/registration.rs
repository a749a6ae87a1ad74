//! Accounts of the load: who they are to a registrar.

use wattbook_feed::keys::{BlsSecret, SigningKey, sign_ed25519};
use wattbook_feed::signed::{MeterEntry, Register, RegisterRecord, meters_root};
use wattbook_types::{ChainId, ParticipantId, Roles};

/// Registered capacity of a client, Wh: never a limit.
const CAPACITY_WH: u64 = 1_000_000_000_000_000;

/// The registration of a buyer and seller with one meter of its own.
pub(crate) fn registration(
    chain: ChainId,
    id: ParticipantId,
    secret: &BlsSecret,
    registrar: &SigningKey,
) -> RegisterRecord {
    let meters = vec![MeterEntry {
        meter: id.get(),
        import_cap_wh: CAPACITY_WH,
        export_cap_wh: CAPACITY_WH,
        kind: 2,
        reserved: 0,
    }];
    let register = Register {
        roles: Roles::BUYER.union(Roles::SELLER).bits(),
        flags: 0,
        admit_serial: id.get(),
        not_after_ns: u64::MAX,
        public_key: secret.public_key(),
        session_spki: [0; 32],
        group: [0; 32],
        meters_root: meters_root(&meters).0,
    };
    RegisterRecord {
        register,
        admit: sign_ed25519(registrar, &register.admit_digest(chain)),
        possession: secret.prove_possession(&register.digest(chain)),
        meters,
    }
}
