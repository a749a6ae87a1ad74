//! The pairings of a batch on the device, for batches of so many keys that the CPU's would be the bottleneck: sums of
//! messages stay where they are, their images are paired with the lines of the keys, one product comes back.
//!
//! # Invariants
//! The keys on the device and their number bear on no verdict; a batch with more keys than fit goes without.

use super::curve::{ISOGENOUS, POINT_LEN};
use super::isogeny::Isogeny;
use super::miller::{self, Accumulators, KeyTable, Pairs};
use super::{Buffer, Commands, Device, Error};
use crate::curve;
use crate::key::{PUBLIC_KEY_SIZE, PublicKey};
use blst::{blst_fp12, blst_p1};
use std::collections::HashMap;

/// What a pairing more costs a core, ns.
const PAIRING_NS: u64 = 145_000;
/// Accumulators on a device with thousands of lanes, and on the CPU's.
const LANES_MAX: [usize; 2] = [1 << 15, 64];

/// Keys on the device, and what pairs points with them.
#[derive(Debug)]
pub(crate) struct Pairings {
    table: KeyTable,
    isogeny: Isogeny,
    numbers: HashMap<[u8; PUBLIC_KEY_SIZE], u32>,
    keys_max: usize,
    lanes_max: usize,
    /// Signatures that the device checks while a core makes one pairing.
    signatures_per_pairing: usize,
}

impl Pairings {
    /// No keys yet, `keys_max` at most.
    pub(crate) fn new(device: &Device, keys_max: usize) -> Self {
        Self {
            table: KeyTable::new(device, keys_max),
            isogeny: Isogeny::new(device, ISOGENOUS.scales_back()),
            numbers: HashMap::new(),
            keys_max,
            lanes_max: LANES_MAX[usize::from(device.is_software())],
            signatures_per_pairing: usize::MAX,
        }
    }

    /// Sets what pairings of the CPU are weighed against: the device's time per signature, and the CPU's threads.
    pub(crate) fn weigh(&mut self, signature_ns: u64, threads: usize) {
        let pairing_ns = PAIRING_NS / threads.max(1) as u64;
        self.signatures_per_pairing = usize::try_from(pairing_ns / signature_ns.max(1)).unwrap_or(usize::MAX);
    }

    /// Whether the CPU's pairings would take longer than the device's other work.
    pub(super) fn are_worth_it(&self, len: usize, keys: usize) -> bool {
        keys.saturating_mul(self.signatures_per_pairing) > len
    }

    /// Keys on the device.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Puts the lines of `keys` on the device where they are not yet, and gives the keys' numbers there; `None` if they do
    /// not fit.
    pub(super) fn numbers(&mut self, device: &Device, keys: &[&PublicKey]) -> Result<Option<Vec<u32>>, Error> {
        let mut missing: Vec<&PublicKey> = Vec::new();
        for key in keys {
            if !self.numbers.contains_key(key.as_bytes()) {
                missing.push(key);
            }
        }
        if self.table.len() + missing.len() > self.keys_max {
            return Ok(None);
        }
        let points: Vec<_> = missing.iter().map(|key| *key.point()).collect();
        let first = self.table.len() as u32;
        self.table.push(device, &points)?;
        self.numbers
            .extend(missing.iter().map(|key| *key.as_bytes()).zip(first..));
        Ok(keys
            .iter()
            .map(|key| self.numbers.get(key.as_bytes()).copied())
            .collect())
    }

    /// Pairs the sums on E1', one a slot, with the keys of these numbers.
    pub(super) fn enqueue(
        &self,
        device: &Device,
        commands: &mut Commands<'_>,
        sums: &Buffer,
        numbers: impl Iterator<Item = u32>,
    ) -> Accumulators {
        let mut pairs: Vec<(u32, u32)> = numbers.zip(0..).collect();
        pairs.sort_unstable();
        let images = device.buffer("images", sums.len());
        self.isogeny.enqueue(commands, sums, &images, 0);
        let pairs = Pairs {
            points: &images,
            points_len: sums.len() / POINT_LEN,
            pairs: &pairs,
        };
        miller::enqueue(device, commands, &self.table, pairs, self.lanes_max)
    }
}

/// Whether `e(h^-1 total, g2)` is the pairing that `product` becomes by the final exponentiation.
pub(super) fn holds(total: &blst_p1, product: blst_fp12) -> bool {
    let left = curve::negate(curve::divide_by_cofactor(total));
    let left = curve::to_affine(&[left]);
    // BOUND: infinity with another point is one.
    let loops = blst_fp12::miller_loop(&curve::g2_generator(), &left[0]);
    (product * loops).final_exp() == blst_fp12::default()
}
