//! A whole batch on the device: items in, the points of its equation out.
//!
//! # Method
//! Items lie on the device key by key, in *slots* of at most [`SLOT_LEN_MAX`]. From the signatures come the ninety
//! combinations of trits, from the mapped messages a sum per slot; what the CPU adds, tests and pairs afterwards grows
//! with the number of slots, not of items. Long batches go in chunks: while the device computes one, the CPU draws the
//! coefficients of the next and adds up the sums of the last.
//!
//! # Guarantees
//! * An item is called valid if the equation holds over fresh coefficients, and refused by blst alone; a device that
//!   computes wrongly costs time and nothing else, but for the error bound of [`crate::rlc`].
//! * Coefficients are drawn here, after the batch is fixed, by no device and no driver.
//! * When the equation fails, bisection goes on over the points that the device computed.

use super::curve::{E1, ISOGENOUS, points_of, words_of};
use super::sums::{Batch, SCALED_LEN_MAX, SLOT_LEN_MAX};
use super::{Buffer, Commands, Device, Download, Error, NO_SLOT, Ticket};
use crate::batch::{Item, check_alone, check_points};
use crate::cpu::{Affine, Path, Points, isogeny};
use crate::key::PublicKey;
use crate::rlc::{self, Coefficients, TRITS, Width};
use crate::{SignatureError, Stats, curve};
use blst::blst_p1;
use core::ops::Range;
use std::collections::VecDeque;
use wattbook_types::Hash;

/// Items of a chunk at most.
const CHUNK_LEN_MAX: usize = 1 << 17;
/// Chunks on their way at once.
const IN_FLIGHT: usize = 2;
/// Points of a slot from which five trits a window make fewer additions than two.
const FIVE_FROM: usize = 512;

/// blst's verdict on every item, in order, or what went wrong on the device.
pub(crate) fn check_items(
    device: &Device,
    items: &[Item<'_>],
    dst: &[u8],
    path: &mut Path,
    stats: &mut Stats,
) -> Result<Vec<Result<(), SignatureError>>, Error> {
    stats.signatures_checked += items.len() as u64;
    if items.is_empty() {
        return Ok(Vec::new());
    }
    stats.batches += 1;
    let mut check = Check::new(device, items, dst);
    let mut in_flight = VecDeque::new();
    for start in (0..items.len()).step_by(CHUNK_LEN_MAX) {
        let range = start..items.len().min(start + CHUNK_LEN_MAX);
        let Some(chunk) = check.begin(range, path) else {
            // Without randomness nothing holds, so that every item ends at blst alone.
            return Ok(items.iter().map(|item| check_alone(item, dst, stats)).collect());
        };
        in_flight.push_back(chunk);
        if in_flight.len() >= IN_FLIGHT
            && let Some(chunk) = in_flight.pop_front()
        {
            check.finish(chunk)?;
        }
    }
    for chunk in in_flight {
        check.finish(chunk)?;
    }
    stats.pairings += 1 + check.keys.len() as u64;
    if check.holds(path) {
        let verdict = |(item, is_point): (&Item<'_>, &bool)| match is_point {
            true => Ok(()),
            false => check_alone(item, dst, stats),
        };
        return Ok(items.iter().zip(&check.is_point).map(verdict).collect());
    }
    let points = check.points()?;
    Ok(check_points(items, dst, points, true, path, stats))
}

/// The check of one batch.
struct Check<'a> {
    device: &'a Device,
    items: &'a [Item<'a>],
    dst: &'a [u8],
    transcript: Hash,
    /// Ascending by encoding.
    keys: Vec<&'a PublicKey>,
    /// Sums so far: of the combinations, and of the messages of each key, on E1.
    combinations: Vec<blst_p1>,
    images: Vec<blst_p1>,
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
    is_point: Vec<bool>,
    combinations: Download,
    /// Sums of messages with the keys of their slots.
    sums: Vec<(Download, Vec<usize>)>,
}

impl<'a> Check<'a> {
    fn new(device: &'a Device, items: &'a [Item<'a>], dst: &'a [u8]) -> Self {
        let mut keys: Vec<&PublicKey> = items.iter().map(|item| item.key).collect();
        keys.sort_unstable_by_key(|key| key.as_bytes());
        keys.dedup();
        Self {
            device,
            items,
            dst,
            transcript: rlc::transcript(items.iter().map(|i| (i.key.as_bytes(), i.message, i.signature))),
            combinations: vec![blst_p1::default(); TRITS],
            images: vec![blst_p1::default(); keys.len()],
            keys,
            is_point: vec![false; items.len()],
            kept: Vec::new(),
        }
    }

    /// Starts the items of `range`; `None` if the operating system gives no randomness.
    fn begin(&self, range: Range<usize>, path: &Path) -> Option<Chunk> {
        let layout = Layout::new(range, |item| {
            let bytes = self.items[item].key.as_bytes();
            self.keys.partition_point(|key| key.as_bytes() < bytes)
        });
        let Layout { order, classes } = layout;
        let len = order.len();
        let coefficients = Coefficients::draw(&self.transcript, order.iter().copied())?;
        let wide = self.device.upload("coefficients", &coefficients.words());
        let mut commands = self.device.commands();
        let front = self.front(&mut commands, &order, path);

        let whole = |commands: &mut Commands<'_>, buffer: &Buffer| commands.download(buffer, 0, buffer.len());
        let batch = |curve, points, slots| Batch {
            device: self.device,
            curve,
            points,
            wide: &wide,
            len,
            slots,
        };
        let slot_of: Vec<u32> = (0..len).map(|at| (at / SLOT_LEN_MAX) as u32).collect();
        let slot_of = self.device.upload("slots", &slot_of);
        let width = if len < FIVE_FROM { Width::Two } else { Width::Five };
        let combinations =
            batch(E1, &front.signatures, len.div_ceil(SLOT_LEN_MAX)).combinations(&mut commands, &slot_of, width);
        let combinations = whole(&mut commands, &combinations);

        let mut sums = Vec::new();
        for Class { width, slots } in classes {
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
                    batch.scaled(&mut commands, &self.device.upload("bounds", &bounds))
                }
                Some(width) => {
                    let mut slot_of = vec![NO_SLOT; len];
                    for (number, slot) in (0u32..).zip(&slots) {
                        slot_of[slot.positions.clone()].fill(number);
                    }
                    let slot_of = self.device.upload("slots", &slot_of);
                    let combinations = batch.combinations(&mut commands, &slot_of, width);
                    batch.totals(&mut commands, &combinations)
                }
            };
            let keys = slots.iter().map(|slot| slot.key).collect();
            sums.push((whole(&mut commands, &totals), keys));
        }
        Some(Chunk {
            ticket: commands.submit(),
            kept: Kept {
                order,
                signatures: front.signatures,
                messages: front.messages,
            },
            is_point: front.is_point,
            combinations,
            sums,
        })
    }

    /// The points of the items in `order`: signatures on E1, messages on E1'.
    fn front(&self, _commands: &mut Commands<'_>, order: &[usize], path: &Path) -> Front {
        let items: Vec<Item<'_>> = order
            .iter()
            .map(|at| {
                let Item {
                    key,
                    message,
                    signature,
                    source,
                } = self.items[*at];
                Item {
                    key,
                    message,
                    signature,
                    source,
                }
            })
            .collect();
        let points = path.prepare(&items, self.dst);
        let of = |select: fn(&Points) -> Affine| -> Vec<Affine> {
            points
                .iter()
                .map(|points| points.as_ref().map_or(Affine::INFINITY, select))
                .collect()
        };
        Front {
            signatures: self
                .device
                .upload("signatures", &words_of(&E1, &of(|points| points.signature))),
            messages: self
                .device
                .upload("messages", &words_of(&ISOGENOUS, &of(|points| points.message))),
            is_point: points.iter().map(Option::is_some).collect(),
        }
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
        for (at, is_point) in chunk.kept.order.iter().zip(chunk.is_point) {
            self.is_point[*at] = is_point;
        }
        self.kept.push(chunk.kept);
        Ok(())
    }

    /// Whether the batch holds: every combination in the subgroup, and the pairing equation.
    fn holds(&self, path: &mut Path) -> bool {
        path.are_in_g1(&self.combinations)
            && path.pairing_holds(rlc::total(&self.combinations), self.images.clone(), &self.keys)
    }

    /// The points of every item, from the device.
    fn points(&self) -> Result<Vec<Option<Points>>, Error> {
        let mut out = vec![None; self.items.len()];
        for kept in &self.kept {
            let mut commands = self.device.commands();
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

/// Points of a chunk in the order of its positions.
struct Front {
    signatures: Buffer,
    messages: Buffer,
    /// Whether the signature is a point other than infinity; where not, both points are infinity.
    is_point: Vec<bool>,
}

/// How the items of a chunk lie: class by class, key by key, slot by slot.
struct Layout {
    /// Item of every position.
    order: Vec<usize>,
    classes: Vec<Class>,
}

/// Slots whose sums are found the same way.
struct Class {
    /// Trits of a window; none where points are multiplied one by one.
    width: Option<Width>,
    slots: Vec<Slot>,
}

struct Slot {
    key: usize,
    positions: Range<usize>,
}

impl Layout {
    fn new(items: Range<usize>, key_of: impl Fn(usize) -> usize) -> Self {
        let mut by_key: Vec<(usize, usize)> = items.map(|item| (key_of(item), item)).collect();
        by_key.sort_unstable();
        let slots = by_key
            .chunk_by(|a, b| a.0 == b.0)
            .flat_map(|items| items.chunks(SLOT_LEN_MAX));
        let (mut order, mut classes) = (Vec::with_capacity(by_key.len()), Vec::new());
        let lens = [
            (None, 0..=SCALED_LEN_MAX),
            (Some(Width::Two), SCALED_LEN_MAX + 1..=FIVE_FROM - 1),
            (Some(Width::Five), FIVE_FROM..=SLOT_LEN_MAX),
        ];
        for (width, lens) in lens {
            let mut class = Vec::new();
            for slot in slots.clone().filter(|slot| lens.contains(&slot.len())) {
                let start = order.len();
                order.extend(slot.iter().map(|(_, item)| item));
                class.push(Slot {
                    key: slot[0].0,
                    positions: start..order.len(),
                });
            }
            if !class.is_empty() {
                classes.push(Class { width, slots: class });
            }
        }
        Self { order, classes }
    }
}
