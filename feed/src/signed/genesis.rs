//! genesis.bin: the bytes whose SHA-256 is the chain's name (DETAILS 2).
//!
//! # Format
//! ```text
//! magic 32 | network 32 | EIC 16 | area u16 | flags u16 | time_ns u64 | registrar 32 | log key 32 | alias commitment 32
//! n u32, n x (R 216, PoP 48) | m u32, m x (param u32, zero u32, value i64) | k u32, k x (participant u64, ed25519 32, bls 96)
//! ```
//!
//! # Invariants
//! * One encoding per genesis: serials and parameter ids ascend, nothing follows the last delegate.
//! * Digests inside it use chain id 0; its accounts own no meters.

use super::register::Register;
use crate::keys;
use crate::layout::Layout;
use wattbook_types::params::Param;
use wattbook_types::{ChainId, Hash, Params, ParticipantId, Registration, Reject, TimeNs, sha256, tree};

/// First 32 bytes.
pub const MAGIC: [u8; 32] = *b"wattbook/genesis/1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// Flag of a demonstration: `run` refuses it off loopback.
pub const FLAG_DEMO: u16 = 1;
/// Greatest size of a genesis, in bytes.
pub const SIZE_MAX: usize = 64 << 20;

/// What a chain begins with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Genesis {
    /// Name of the network, zero-padded.
    pub network: [u8; 32],
    /// Energy Identification Code of the delivery area.
    pub eic: [u8; 16],
    /// Number of the delivery area in contracts.
    pub area: u16,
    /// [`FLAG_DEMO`] or 0.
    pub flags: u16,
    /// When the chain begins.
    pub time: TimeNs,
    /// Ed25519 key that admits participants.
    pub registrar: [u8; 32],
    /// Ed25519 key that signs checkpoints.
    pub log_key: [u8; 32],
    /// `D("alias", alias_key)`.
    pub alias_commitment: Hash,
    /// Accounts, by serial.
    pub accounts: Vec<GenesisAccount>,
    /// Parameters set, by id; any other has its default.
    pub params: Vec<(Param, i64)>,
    /// Committee 0, in rank order.
    pub delegates: Vec<GenesisDelegate>,
}

/// An account that stands at the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenesisAccount {
    /// The account; its meters root is that of the empty tree.
    pub register: Register,
    /// Proof of possession over `D("register", R)` with chain id 0.
    pub possession: [u8; 48],
}

/// A delegate of committee 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GenesisDelegate {
    /// Its account.
    pub participant: ParticipantId,
    /// Its peer key.
    pub ed25519: [u8; 32],
    /// Its ballot key.
    pub bls: [u8; 96],
}

/// Why bytes are no genesis.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GenesisError {
    /// More than [`SIZE_MAX`] bytes.
    #[error("genesis of {0} bytes exceeds {SIZE_MAX}")]
    TooLarge(usize),
    /// They end too early.
    #[error("genesis ends at byte {0}, before its contents do")]
    Short(usize),
    /// Bytes follow the last delegate.
    #[error("{0} bytes follow the genesis")]
    Trailing(usize),
    /// Another file, or another version.
    #[error("these bytes do not begin with \"wattbook/genesis/1\"")]
    Magic,
    /// An unknown flag.
    #[error("genesis flags {0:#06x} are unknown")]
    Flags(u16),
    /// Serials must be above 0 and ascend.
    #[error("account {0} is out of order")]
    AccountOrder(u64),
    /// Genesis accounts own no meters.
    #[error("account {0} names meters")]
    Meters(u64),
    /// No such parameter, or out of order.
    #[error("parameter {0} is unknown or out of order")]
    Param(u32),
    /// A value outside its bounds, or a reserved field that is not zero.
    #[error("parameter {0} has value {1}, which is not allowed")]
    ParamValue(u32, i64),
    /// The parameters contradict each other.
    #[error("parameters contradict each other: {0}")]
    Params(&'static str),
    /// A key or its proof does not hold.
    #[error("account {0}: {1}")]
    Key(u64, Reject),
}

/// Takes fields off the front.
struct Cursor<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], GenesisError> {
        let (head, tail) = self.bytes.split_at_checked(len).ok_or(GenesisError::Short(self.size))?;
        self.bytes = tail;
        Ok(head)
    }

    fn pod<T: bytemuck::AnyBitPattern>(&mut self) -> Result<T, GenesisError> {
        Ok(bytemuck::pod_read_unaligned(self.take(size_of::<T>())?))
    }

    /// A count of entries of `entry` bytes, all of which must be there.
    fn count(&mut self, entry: usize) -> Result<usize, GenesisError> {
        let count = self.pod::<u32>()? as usize;
        let fits = count.checked_mul(entry).is_some_and(|len| len <= self.bytes.len());
        if fits {
            Ok(count)
        } else {
            Err(GenesisError::Short(self.size))
        }
    }
}

impl Genesis {
    /// Its bytes.
    ///
    /// # Panics
    /// With more than 2^32 - 1 entries of a list.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = |len: usize| u32::try_from(len).expect("lists are counted in 32 bits").to_le_bytes();
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.network);
        out.extend_from_slice(&self.eic);
        out.extend_from_slice(&self.area.to_le_bytes());
        out.extend_from_slice(&self.flags.to_le_bytes());
        out.extend_from_slice(&self.time.get().to_le_bytes());
        out.extend_from_slice(&self.registrar);
        out.extend_from_slice(&self.log_key);
        out.extend_from_slice(&self.alias_commitment.0);
        out.extend_from_slice(&count(self.accounts.len()));
        for account in &self.accounts {
            out.extend_from_slice(account.register.bytes());
            out.extend_from_slice(&account.possession);
        }
        out.extend_from_slice(&count(self.params.len()));
        for (param, value) in &self.params {
            out.extend_from_slice(&(*param as u32).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&value.to_le_bytes());
        }
        out.extend_from_slice(&count(self.delegates.len()));
        for delegate in &self.delegates {
            out.extend_from_slice(&delegate.participant.get().to_le_bytes());
            out.extend_from_slice(&delegate.ed25519);
            out.extend_from_slice(&delegate.bls);
        }
        out
    }

    /// The genesis of these bytes. Keys are judged by [`Self::verify`].
    pub fn decode(bytes: &[u8]) -> Result<Self, GenesisError> {
        if bytes.len() > SIZE_MAX {
            return Err(GenesisError::TooLarge(bytes.len()));
        }
        let mut cursor = Cursor {
            bytes,
            size: bytes.len(),
        };
        if cursor.take(MAGIC.len())? != MAGIC {
            return Err(GenesisError::Magic);
        }
        let genesis = Self {
            network: cursor.pod()?,
            eic: cursor.pod()?,
            area: cursor.pod()?,
            flags: cursor.pod()?,
            time: TimeNs::new(cursor.pod()?),
            registrar: cursor.pod()?,
            log_key: cursor.pod()?,
            alias_commitment: Hash(cursor.pod()?),
            accounts: Self::accounts(&mut cursor)?,
            params: Self::param_list(&mut cursor)?,
            delegates: Self::delegates(&mut cursor)?,
        };
        if genesis.flags & !FLAG_DEMO != 0 {
            return Err(GenesisError::Flags(genesis.flags));
        }
        if !cursor.bytes.is_empty() {
            return Err(GenesisError::Trailing(cursor.bytes.len()));
        }
        Ok(genesis)
    }

    fn accounts(cursor: &mut Cursor<'_>) -> Result<Vec<GenesisAccount>, GenesisError> {
        let (mut accounts, mut last) = (Vec::new(), 0);
        for _ in 0..cursor.count(216 + 48)? {
            let account = GenesisAccount {
                register: cursor.pod()?,
                possession: cursor.pod()?,
            };
            let serial = account.register.admit_serial;
            if serial <= last {
                return Err(GenesisError::AccountOrder(serial));
            }
            if Hash(account.register.meters_root) != tree::empty_root() {
                return Err(GenesisError::Meters(serial));
            }
            last = serial;
            accounts.push(account);
        }
        Ok(accounts)
    }

    fn param_list(cursor: &mut Cursor<'_>) -> Result<Vec<(Param, i64)>, GenesisError> {
        let mut params: Vec<(Param, i64)> = Vec::new();
        for _ in 0..cursor.count(16)? {
            let (id, reserved, value) = (cursor.pod::<u32>()?, cursor.pod::<u32>()?, cursor.pod::<i64>()?);
            let param = Param::from_id(id).ok_or(GenesisError::Param(id))?;
            if params.last().is_some_and(|(last, _)| *last >= param) {
                return Err(GenesisError::Param(id));
            }
            let (min, max) = param.bounds();
            if reserved != 0 || value < min || value > max {
                return Err(GenesisError::ParamValue(id, value));
            }
            params.push((param, value));
        }
        Ok(params)
    }

    fn delegates(cursor: &mut Cursor<'_>) -> Result<Vec<GenesisDelegate>, GenesisError> {
        (0..cursor.count(136)?)
            .map(|_| {
                Ok(GenesisDelegate {
                    participant: ParticipantId::new(cursor.pod()?),
                    ed25519: cursor.pod()?,
                    bls: cursor.pod()?,
                })
            })
            .collect()
    }

    /// The chain's name: SHA-256 of the bytes.
    pub fn chain_id(&self) -> ChainId {
        chain_id(&self.encode())
    }

    /// Whether it is a demonstration.
    pub const fn is_demo(&self) -> bool {
        self.flags & FLAG_DEMO != 0
    }

    /// The parameters in force at height 0.
    pub fn to_params(&self) -> Result<Params, GenesisError> {
        let mut params = Params::default();
        for (param, value) in &self.params {
            if !params.set(*param, *value) {
                return Err(GenesisError::ParamValue(*param as u32, *value));
            }
        }
        params.check().map_err(GenesisError::Params)?;
        Ok(params)
    }

    /// The accounts for the market core.
    pub fn registrations(&self) -> Vec<Registration> {
        self.accounts
            .iter()
            .map(|account| account.register.to_registration(Vec::new()))
            .collect()
    }

    /// Checks the accounts' keys and their possession, and that the parameters stand together.
    pub fn verify(&self) -> Result<(), GenesisError> {
        for GenesisAccount { register, possession } in &self.accounts {
            keys::check_possession(&register.public_key, &register.digest(ChainId::default()), possession)
                .map_err(|reject| GenesisError::Key(register.admit_serial, reject))?;
        }
        self.to_params().map(drop)
    }
}

/// The chain's name: SHA-256 of genesis.bin.
pub fn chain_id(genesis: &[u8]) -> ChainId {
    ChainId(sha256(&[genesis]))
}

/// `text` zero-padded to a field; `None` if it does not fit.
pub fn padded<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut field = [0; N];
    field.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
    Some(field)
}
