//! Mutations of bytes: flips, splices, cuts, lengths.

use super::dice::Dice;

/// Numbers that lengths and counts go wrong at.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    47,
    48,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    u64::MAX,
];

/// A variant of one input of `pool`, of at most `size_max` bytes.
pub(crate) fn mutate(pool: &[Vec<u8>], size_max: usize, dice: &mut Dice) -> Vec<u8> {
    if dice.once_in(64) {
        let len = dice.index(size_max.min(512));
        return dice.bytes(len);
    }
    let mut bytes = pool[dice.index(pool.len())].clone();
    // Most inputs are one or two changes from a valid one, some are many.
    let most = dice.pick(&[1, 1, 2, 2, 4, 16]);
    for _ in 0..1 + dice.below(most) {
        once(&mut bytes, pool, dice);
    }
    bytes.truncate(size_max);
    bytes
}

fn once(bytes: &mut Vec<u8>, pool: &[Vec<u8>], dice: &mut Dice) {
    let len = bytes.len();
    if len == 0 {
        let more = 1 + dice.index(64);
        bytes.extend(dice.bytes(more));
        return;
    }
    let at = dice.index(len);
    match dice.below(12) {
        0..=2 => bytes[at] ^= 1 << dice.below(8),
        3 => bytes[at] = dice.any() as u8,
        4 => bytes.truncate(at),
        5 => {
            let more = 1 + dice.index(64);
            let tail = if dice.once_in(2) {
                vec![0; more]
            } else {
                dice.bytes(more)
            };
            bytes.extend(tail);
        }
        // A length, a count or an amount, in either order of bytes.
        6 | 7 => {
            let size = dice.pick(&[1, 2, 4, 8]).min(len - at);
            let edge = dice.pick(&EDGES).wrapping_add(dice.pick(&[0, 0, 1, u64::MAX]));
            let (little, big) = (edge.to_le_bytes(), edge.to_be_bytes());
            let value = if dice.once_in(3) {
                &big[8 - size..]
            } else {
                &little[..size]
            };
            bytes[at..at + size].copy_from_slice(value);
        }
        8 => {
            let end = at + 1 + dice.index(64).min(len - at - 1);
            bytes.drain(at..end);
        }
        9 => {
            let end = at + 1 + dice.index(128).min(len - at - 1);
            let copy = bytes[at..end].to_vec();
            let to = dice.index(len + 1);
            bytes.splice(to..to, copy);
        }
        10 => {
            let step = dice.pick(&[1, 255, 2, 254]);
            bytes[at] = bytes[at].wrapping_add(step);
        }
        _ => {
            let other = &pool[dice.index(pool.len())];
            let from = dice.index(other.len() + 1);
            bytes.truncate(at);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

/// The shortest input found, by leaving out and zeroing pieces, for which `fails` still holds.
pub(crate) fn shrink(mut bytes: Vec<u8>, mut fails: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut piece = bytes.len().next_power_of_two() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < bytes.len() {
            let end = (at + piece).min(bytes.len());
            let mut shorter = bytes.clone();
            shorter.drain(at..end);
            if fails(&shorter) {
                bytes = shorter;
                continue;
            }
            let mut plainer = bytes.clone();
            plainer[at..end].fill(0);
            if plainer != bytes && fails(&plainer) {
                bytes = plainer;
            }
            at = end;
        }
        piece /= 2;
    }
    bytes
}
