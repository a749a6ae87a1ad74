//! The call auction of a round: its uniform price and what each order may trade at it (MARKET 4.1).

use super::{RoundOrder, price_key, price_of};
use core::cmp::Reverse;
use wattbook_types::{Energy, MicroPrice, Price, Side};

/// The uniform price and the volume that clears at it (MARKET 4.1); `None` where nothing does.
pub fn uniform_price(orders: &[RoundOrder], reference: Option<MicroPrice>) -> Option<(Price, Energy)> {
    // Price, side and energy of an order in one key, so that sorting follows no reference.
    let mut steps: Vec<u128> = orders
        .iter()
        .filter(|o| o.charge_covered)
        .map(|o| {
            let price = u64::from(price_key(Side::Sell, o.price)) << 32;
            u128::from(price | o.side.index() as u64) << 64 | u128::from(o.energy.get())
        })
        .collect();
    steps.sort_unstable();
    let energy_of = |side: Side, steps: &[u128]| {
        let of_side = steps
            .iter()
            .filter(|&&step| (step >> 64) as u32 as usize == side.index());
        of_side.map(|&step| u128::from(step as u64)).sum::<u128>()
    };
    let mut demand = energy_of(Side::Buy, &steps);
    let mut supply = 0u128;
    // Greatest volume, then least imbalance, then nearest the reference, then lowest price.
    type Merit = (Reverse<u128>, u128, u64, i32);
    let mut best: Option<(Merit, u128)> = None;
    for level in steps.chunk_by(|a, b| a >> 96 == b >> 96) {
        let price = price_of(Side::Sell, (level[0] >> 96) as u32).get();
        supply += energy_of(Side::Sell, level);
        let volume = demand.min(supply);
        let distance = reference.map_or(0, |r| (i64::from(price) * 10_000).abs_diff(r.get()));
        let key = (Reverse(volume), demand.abs_diff(supply), distance, price);
        if volume > 0 && best.is_none_or(|(old, _)| key < old) {
            best = Some((key, volume));
        }
        demand -= energy_of(Side::Buy, level);
    }
    best.map(|((_, _, _, price), volume)| {
        (
            Price::new(price),
            Energy::new(u64::try_from(volume).unwrap_or(u64::MAX)),
        )
    })
}

/// Energy each order may trade at the uniform price: better ones whole, equal ones pro rata, spare Wh one each.
pub(super) fn allowed_at(orders: &[RoundOrder], price: Price, volume: Energy) -> Vec<Energy> {
    let mut allowed = vec![Energy::ZERO; orders.len()];
    for side in [Side::Buy, Side::Sell] {
        let mut left = u128::from(volume.get());
        let mut equal: Vec<usize> = Vec::new();
        for (i, order) in orders.iter().enumerate() {
            if order.side != side || !order.charge_covered {
                continue;
            }
            if order.price == price {
                equal.push(i);
            } else if side.concedes(order.price, price) {
                allowed[i] = order.energy;
                left = left.saturating_sub(u128::from(order.energy.get()));
            }
        }
        equal.sort_unstable_by_key(|&i| orders[i].spare_rank);
        let total: u128 = equal.iter().map(|&i| u128::from(orders[i].energy.get())).sum();
        left = left.min(total);
        let mut spare = left;
        for &i in &equal {
            // BOUND: left <= total, so the share is at most the order's own energy.
            let share = (left * u128::from(orders[i].energy.get()))
                .checked_div(total)
                .unwrap_or(0);
            allowed[i] = Energy::new(share as u64);
            spare -= share;
        }
        for &i in &equal {
            if spare > 0 && allowed[i] < orders[i].energy {
                allowed[i] = Energy::new(allowed[i].get() + 1);
                spare -= 1;
            }
        }
    }
    allowed
}
