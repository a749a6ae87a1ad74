//! A whole batch on the device: items in, the points of its equation out.
//!
//! # Method
//! Items lie on the device key by key, in *slots* of at most [`SLOT_LEN_MAX`]. From the signatures come the ninety
//! combinations of trits, from the mapped messages a sum per slot; what the CPU adds, tests and pairs afterwards grows
//! with the number of slots, not of items. Long batches go in chunks: while the device computes one, the CPU draws the
//! coefficients of the next and adds up the sums of the last.
//!
//! # Guarantees
//! * An item is called valid if the equation holds over fresh coefficients, and refused by blst alone: a device that
//!   computes wrongly refuses nothing.
//! * Coefficients are drawn here, after the batch is fixed, by no device and no driver.
//! * What is called valid rests on points and sums that the device computed, within the error bound of [`crate::rlc`] if it
//!   computed them right; sums that are all zero are refused. When the equation fails, bisection goes on over those
//!   points, and where all combinations lie in the subgroup its checks do not look for that again.

mod engine;
mod resident;

use super::curve::{E1, ISOGENOUS, POINT_LEN, points_of};
use super::layout::{FIVE_FROM, Kind, Layout};
use super::miller::{self, Accumulators};
use super::pairing::{self, Pairings};
use super::roots::Class;
use super::sums::{Batch, SLOT_LEN_MAX};
use super::{Buffer, Commands, Device, Download, Error, NO_SLOT, Ticket};
use crate::batch::{Item, check_alone, check_points};
use crate::cpu::{Found, Path, Points, Pool, isogeny};
use crate::key::PublicKey;
use crate::numbering::Numbering;
use crate::rlc::{self, Coefficients, TRITS, Width};
use crate::{SignatureError, Stats, curve};
use blst::{blst_fp12, blst_p1};
use core::fmt;
use core::ops::Range;
use engine::Placed;
use std::collections::VecDeque;
use std::sync::Arc;
use wattbook_types::Hash;

pub(crate) use engine::Engine;
pub(crate) use resident::Resident;

/// Items of a chunk at most.
const CHUNK_LEN_MAX: usize = 1 << 17;
/// Chunks on their way at once.
const IN_FLIGHT: usize = 2;

/// Slots whose combinations fit one binding of every device; in tests so few that there are several such parts.
fn slots_max(device: &Device) -> usize {
    let len = if cfg!(test) { 1 << 17 } else { device.buffer_len_max() };
    (len / (TRITS * POINT_LEN)).max(1)
}

/// A batch on its way: its first chunks on the device, perhaps behind those of other batches.
pub(crate) struct Begun {
    check: Check,
    in_flight: VecDeque<Chunk>,
    /// The first item that no chunk has yet.
    next: usize,
    chunk_len: usize,
    /// Chunks whose inputs lie on the device already; the others come from the host.
    resident: resident::Chunks,
    /// Whether the operating system gives randomness.
    is_random: bool,
}

impl Begun {
    /// Starts a batch; [`Self::finish`] takes the same items.
    pub(crate) fn new(
        engine: &Engine,
        items: &[Item<'_>],
        numbering: Numbering<'_>,
        pool: &Pool,
        pairings: Option<&mut Pairings>,
    ) -> Result<Self, Error> {
        Self::in_chunks(engine, items, numbering, pool, pairings, CHUNK_LEN_MAX)
    }

    /// [`Self::new`] with so many items in a chunk.
    pub(super) fn in_chunks(
        engine: &Engine,
        items: &[Item<'_>],
        numbering: Numbering<'_>,
        pool: &Pool,
        pairings: Option<&mut Pairings>,
        chunk_len: usize,
    ) -> Result<Self, Error> {
        Self::of(engine, items, numbering, pool, pairings, (chunk_len, Arc::default()))
    }

    /// [`Self::in_chunks`] of which those in `resident` lie on the device.
    fn of(
        engine: &Engine,
        items: &[Item<'_>],
        numbering: Numbering<'_>,
        pool: &Pool,
        pairings: Option<&mut Pairings>,
        (chunk_len, resident): (usize, resident::Chunks),
    ) -> Result<Self, Error> {
        let mut begun = Self {
            check: Check::new(items, numbering, pool),
            in_flight: VecDeque::new(),
            next: 0,
            chunk_len,
            resident,
            is_random: true,
        };
        let mut here = None;
        if let Some(pairings) = pairings
            && pairings.are_worth_it(items.len(), begun.check.keys.len())
        {
            let keys: Vec<&PublicKey> = begun.check.keys.iter().collect();
            begun.check.numbers = pairings.numbers(&engine.device, &keys)?;
            here = Some(&*pairings);
        }
        begun.go_on(engine, items, pool, here);
        Ok(begun)
    }

    /// Hands chunks to the device until as many as may be are under way.
    fn go_on(&mut self, engine: &Engine, items: &[Item<'_>], pool: &Pool, pairings: Option<&Pairings>) {
        while self.is_random && self.next < items.len() && self.in_flight.len() < IN_FLIGHT {
            let range = self.next..items.len().min(self.next + self.chunk_len);
            self.next = range.end;
            let chunk = match self.resident.get(range.start / self.chunk_len) {
                Some((layout, placed)) => self.check.begin_placed(engine, pool, pairings, layout.clone(), placed),
                None => self.check.begin(engine, items, pool, pairings, range),
            };
            match chunk {
                Some(chunk) => self.in_flight.push_back(chunk),
                None => self.is_random = false,
            }
        }
    }

    /// blst's verdict on every item, in order, or what went wrong on the device. `pairings` are those that it began with.
    pub(crate) fn finish(
        mut self,
        engine: &Engine,
        items: &[Item<'_>],
        dst: &[u8],
        path: &mut Path,
        pairings: Option<&Pairings>,
        stats: &mut Stats,
    ) -> Result<Verdicts, Error> {
        stats.signatures_checked += items.len() as u64;
        if items.is_empty() {
            return Ok(Vec::new());
        }
        while let Some(chunk) = self.in_flight.pop_front() {
            self.go_on(engine, items, path.pool(), pairings);
            self.check.finish(chunk)?;
        }
        if !self.is_random {
            // Without randomness nothing holds, so that every item ends at blst alone.
            return Ok(items.iter().map(|item| check_alone(item, dst, stats)).collect());
        }
        let check = self.check;
        stats.pairings += 1 + check.keys.len() as u64;
        let found = check.holds(path);
        if found == Found::Holds {
            stats.batches += 1;
            let verdict = |(item, is_point): (&Item<'_>, &bool)| match is_point {
                true => Ok(()),
                false => check_alone(item, dst, stats),
            };
            return Ok(items.iter().zip(&check.is_point).map(verdict).collect());
        }
        let points = check.points(&engine.device)?;
        Ok(check_points(items, dst, points, Some(found), path, stats))
    }
}

/// blst's verdict on every item of a batch by itself.
#[cfg(test)]
pub(crate) fn check_items(
    engine: &Engine,
    items: &[Item<'_>],
    dst: &[u8],
    path: &mut Path,
    mut pairings: Option<&mut Pairings>,
    stats: &mut Stats,
) -> Result<Verdicts, Error> {
    let numbering = Numbering::new(path.pool(), items);
    let begun = Begun::new(engine, items, numbering, path.pool(), pairings.as_deref_mut())?;
    begun.finish(engine, items, dst, path, pairings.as_deref(), stats)
}

impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Begun({} chunks)", self.in_flight.len())
    }
}

type Verdicts = Vec<Result<(), SignatureError>>;

/// The check of one batch.
struct Check {
    transcript: Hash,
    /// As they first come, and which of them each item has.
    keys: Vec<PublicKey>,
    key_of_item: Vec<u32>,
    /// Sums so far: of the combinations, and of the messages of each key, on E1.
    combinations: Vec<blst_p1>,
    images: Vec<blst_p1>,
    /// Where pairings are made on the device: the numbers that keys have there, and the product so far.
    numbers: Option<Vec<u32>>,
    product: blst_fp12,
    /// Which items' signatures are points.
    is_point: Vec<bool>,
    /// Where the points of finished chunks lie.
    kept: Vec<Kept>,
}

/// The points of a chunk, on the device.
struct Kept {
    /// Item of every position.
    order: Vec<usize>,
    signatures: Buffer,
    messages: Buffer,
}

/// A chunk on its way.
struct Chunk {
    ticket: Ticket,
    kept: Kept,
    flags: Download,
    combinations: Download,
    /// Sums of messages with the keys of their slots.
    sums: Vec<(Download, Vec<usize>)>,
    /// Pairings made instead.
    loops: Vec<Accumulators>,
}

impl Check {
    fn new(items: &[Item<'_>], numbering: Numbering<'_>, pool: &Pool) -> Self {
        let Numbering { keys, of_item } = numbering;
        Self {
            transcript: rlc::transcript(pool, items),
            combinations: vec![blst_p1::default(); TRITS],
            images: vec![blst_p1::default(); keys.len()],
            keys: keys.into_iter().copied().collect(),
            key_of_item: of_item,
            numbers: None,
            product: blst_fp12::default(),
            is_point: vec![false; items.len()],
            kept: Vec::new(),
        }
    }

    /// Starts the items of `range`; `None` if the operating system gives no randomness.
    fn begin(
        &self,
        engine: &Engine,
        items: &[Item<'_>],
        pool: &Pool,
        pairings: Option<&Pairings>,
        range: Range<usize>,
    ) -> Option<Chunk> {
        let layout = self.layout(engine, range);
        let placed = engine.place(items, &layout.order);
        self.begin_placed(engine, pool, pairings, layout, &placed)
    }

    /// How the items of `range` lie on the device.
    fn layout(&self, engine: &Engine, range: Range<usize>) -> Layout {
        Layout::new(range, slots_max(engine.device()), |item| {
            self.key_of_item[item] as usize
        })
    }

    /// Starts the items of a layout, which lie on the device in its order.
    fn begin_placed(
        &self,
        engine: &Engine,
        pool: &Pool,
        pairings: Option<&Pairings>,
        layout: Layout,
        placed: &Placed<'_>,
    ) -> Option<Chunk> {
        let device = engine.device();
        let Layout { order, kinds } = layout;
        let len = order.len();
        let coefficients = Coefficients::draw_on(pool, &self.transcript, &order)?;
        let wide = device.upload("coefficients", &coefficients.words());
        let mut commands = device.commands();
        let front = engine.front(&mut commands, placed);

        let whole = |commands: &mut Commands<'_>, buffer: &Buffer| commands.download(buffer, 0, buffer.len());
        let batch = |curve, points, slots| Batch {
            device,
            curve,
            points,
            wide: &wide,
            len,
            slots,
        };
        let slot_of: Vec<u32> = (0..len).map(|at| (at / SLOT_LEN_MAX) as u32).collect();
        let slot_of = device.upload("slots", &slot_of);
        let width = if len < FIVE_FROM { Width::Two } else { Width::Five };
        let combinations =
            batch(E1, &front.signatures, len.div_ceil(SLOT_LEN_MAX)).combinations(&mut commands, &slot_of, width);
        let combinations = whole(&mut commands, &combinations);
        let flags = whole(&mut commands, &front.flags);

        let (mut sums, mut loops) = (Vec::new(), Vec::new());
        for Kind { width, slots } in kinds {
            let batch = batch(ISOGENOUS, &front.messages, slots.len());
            let totals = match width {
                None => {
                    let ends = slots.iter().map(|slot| slot.positions.end as u32);
                    let bounds: Vec<u32> = slots
                        .first()
                        .map(|slot| slot.positions.start as u32)
                        .into_iter()
                        .chain(ends)
                        .collect();
                    batch.scaled(&mut commands, &device.upload("bounds", &bounds))
                }
                Some(width) => {
                    let mut slot_of = vec![NO_SLOT; len];
                    for (number, slot) in (0u32..).zip(&slots) {
                        slot_of[slot.positions.clone()].fill(number);
                    }
                    let slot_of = device.upload("slots", &slot_of);
                    let combinations = batch.combinations(&mut commands, &slot_of, width);
                    batch.totals(&mut commands, &combinations)
                }
            };
            let keys = slots.iter().map(|slot| slot.key);
            match (pairings, &self.numbers) {
                (Some(pairings), Some(numbers)) => {
                    let numbers = keys.map(|key| numbers[key]);
                    loops.push(pairings.enqueue(device, &mut commands, &totals, numbers));
                }
                _ => sums.push((whole(&mut commands, &totals), keys.collect())),
            }
        }
        Some(Chunk {
            ticket: commands.submit(),
            kept: Kept {
                order,
                signatures: front.signatures,
                messages: front.messages,
            },
            flags,
            combinations,
            sums,
            loops,
        })
    }

    /// Adds the sums of a chunk.
    fn finish(&mut self, chunk: Chunk) -> Result<(), Error> {
        let mut outcome = chunk.ticket.wait()?;
        let combinations = points_of(&E1, &outcome.take(chunk.combinations));
        for (at, point) in combinations.into_iter().enumerate() {
            let sum = &mut self.combinations[at % TRITS];
            *sum = curve::add(sum, &point.into());
        }
        for (sums, keys) in chunk.sums {
            for (point, key) in points_of(&ISOGENOUS, &outcome.take(sums)).iter().zip(keys) {
                self.images[key] = curve::add(&self.images[key], &isogeny::image(point));
            }
        }
        for accumulators in chunk.loops {
            self.product *= miller::finish(accumulators, &mut outcome);
        }
        for (at, flags) in chunk.kept.order.iter().zip(outcome.take(chunk.flags)) {
            self.is_point[*at] = Class::from_flags(flags) == Class::Point;
        }
        self.kept.push(chunk.kept);
        Ok(())
    }

    /// What the check finds: every combination in the subgroup, and the pairing equation.
    fn holds(&self, path: &mut Path) -> Found {
        let total = rlc::total(&self.combinations);
        // Points of the subgroup have an infinite sum under unknown coefficients as good as never; a device that does not add
        // leaves one.
        let has_sums = total != blst_p1::default() || !self.is_point.contains(&true);
        if !has_sums || !path.are_in_g1(&self.combinations) {
            return Found::Outside;
        }
        let is_equal = match self.numbers {
            Some(_) => pairing::holds(&total, self.product),
            None => path.pairing_holds(total, self.images.clone(), &self.keys.iter().collect::<Vec<_>>()),
        };
        if is_equal { Found::Holds } else { Found::Fails }
    }

    /// The points of every item, from the device.
    fn points(&self, device: &Device) -> Result<Vec<Option<Points>>, Error> {
        let mut out = vec![None; self.is_point.len()];
        for kept in &self.kept {
            let mut commands = device.commands();
            let signatures = commands.download(&kept.signatures, 0, kept.signatures.len());
            let messages = commands.download(&kept.messages, 0, kept.messages.len());
            let mut outcome = commands.submit().wait()?;
            let signatures = points_of(&E1, &outcome.take(signatures));
            let messages = points_of(&ISOGENOUS, &outcome.take(messages));
            for (at, (signature, message)) in kept.order.iter().zip(signatures.into_iter().zip(messages)) {
                out[*at] = self.is_point[*at].then_some(Points { signature, message });
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SIGNATURE_DST;
    use blst::min_sig::SecretKey;

    /// A device that skips its sums leaves zeros, and of zeros the equation is true.
    #[test]
    fn sums_that_nobody_added_hold_nothing() {
        let secret = SecretKey::key_gen(&[1; 32], &[]).unwrap();
        let key = PublicKey::new(&secret.sk_to_pk().to_bytes()).unwrap();
        let signature = secret.sign(b"another message", SIGNATURE_DST, &[]).to_bytes();
        let item = Item {
            key: &key,
            message: b"a message",
            signature: &signature,
            source: 0,
        };
        let (items, mut path) = ([item], Path::new(1));
        let mut check = Check::new(&items, Numbering::new(path.pool(), &items), path.pool());
        assert_eq!(check.holds(&mut path), Found::Holds, "nothing to add");
        check.is_point.fill(true);
        assert_eq!(check.holds(&mut path), Found::Outside);
        check.combinations[0] = curve::hash_to_g1(b"a point", SIGNATURE_DST);
        assert_eq!(check.holds(&mut path), Found::Fails);
    }
}
