//! One fixed power of many elements: x^((p - 3) / 4), which gives the square roots of this field.
//!
//! # Guarantees
//! With e = (p - 3) / 4 and g a square, g^e g is a root of g; u v (u v^3)^e is one of u / v where that is a square (RFC
//! 9380 F.2.1.2). One kernel serves them all.

use super::field::FIELD;
use super::{Buffer, Commands, Device, Dispatch, Kernel, Layer};

static LAYER: Layer = Layer {
    name: "exponent",
    text: include_str!("../../wgsl/exponent.wgsl"),
    needs: &[&FIELD],
};
/// The only place where the powers are raised.
pub static EXPONENT: Kernel = Kernel {
    name: "exponent",
    layer: &LAYER,
    group: 64,
};

/// (p - 3) / 4, big-endian.
const EXPONENT_BYTES: [u8; 48] = [
    0x06, 0x80, 0x44, 0x7a, 0x8e, 0x5f, 0xf9, 0xa6, 0x92, 0xc6, 0xe9, 0xed, 0x90, 0xd2, 0xeb, 0x35, 0xd9, 0x1d, 0xd2,
    0xe1, 0x3c, 0xe1, 0x44, 0xaf, 0xd9, 0xcc, 0x34, 0xa8, 0x3d, 0xac, 0x3d, 0x89, 0x07, 0xaa, 0xff, 0xff, 0xac, 0x54,
    0xff, 0xff, 0xee, 0x7f, 0xbf, 0xff, 0xff, 0xff, 0xea, 0xaa,
];
/// Bits of a window: odd powers up to x^15 stand in the table.
const WINDOW: usize = 4;
const NONE: u32 = 31;

/// The place of an odd power in the table.
const fn place_of(power: u32) -> u32 {
    power / 2
}

fn step(start: u32, squarings: u32, power: u32, place: u32) -> u32 {
    squarings | power << 8 | start << 16 | place << 24
}

/// The steps of `exponent.wgsl` for an exponent, big-endian and of more than a window: sliding windows from the highest
/// bit.
fn steps(exponent: &[u8]) -> Vec<u32> {
    // Every step squares: x^(2^k m + 1) = (x^m)^(2^k) x.
    let odd_powers = (3..1 << WINDOW).step_by(2).map(|power: u32| {
        let squarings = (power - 1).trailing_zeros();
        step(
            place_of((power - 1) >> squarings),
            squarings,
            place_of(1),
            place_of(power),
        )
    });
    let mut steps: Vec<u32> = odd_powers.collect();
    let bits: Vec<u32> = exponent
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1)))
        .collect();
    let mut at = bits.iter().position(|bit| *bit == 1).unwrap_or(bits.len());
    let (mut squarings, mut start) = (0, None);
    while at < bits.len() {
        if bits[at] == 0 {
            squarings += 1;
            at += 1;
            continue;
        }
        let mut end = bits.len().min(at + WINDOW);
        while bits[end - 1] == 0 {
            end -= 1;
        }
        let power = place_of(bits[at..end].iter().fold(0, |value, bit| value * 2 + bit));
        match start {
            None => start = Some(power),
            Some(from) => {
                steps.push(step(from, squarings + (end - at) as u32, power, NONE));
                start = Some(NONE);
            }
        }
        (squarings, at) = (0, end);
    }
    if let Some(from) = start.filter(|_| squarings > 0) {
        steps.push(step(from, squarings, NONE, NONE));
    }
    steps
}

/// The list of steps on a device.
#[derive(Debug)]
pub struct Exponent {
    steps: Buffer,
    work: u64,
}

impl Exponent {
    /// Uploads the steps.
    pub fn new(device: &Device) -> Self {
        let steps = steps(&EXPONENT_BYTES);
        let multiplications = |step: &u32| u64::from(step & 0xff) + u64::from(step >> 8 & 31 != NONE);
        Self {
            work: steps.iter().map(multiplications).sum(),
            steps: device.upload("exponent", &steps),
        }
    }

    /// Slot `to` of `io` becomes the power of slot `from`; slots have `n` elements.
    pub fn run(&self, commands: &mut Commands<'_>, io: &Buffer, n: usize, from: usize, to: usize) {
        commands.run(&Dispatch {
            kernel: &EXPONENT,
            buffers: &[&self.steps, io],
            params: &[n as u32, from as u32, to as u32],
            items: n,
            work: self.work,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::field::{Fp, LIMBS, from_slot, slot};
    use super::super::{Error, test_device};
    use super::*;
    use num_bigint::BigUint;

    fn modulus() -> BigUint {
        BigUint::from_bytes_be(&EXPONENT_BYTES) * 4u32 + 3u32
    }

    #[test]
    fn the_steps_are_the_exponent() {
        for exponent in [
            &EXPONENT_BYTES[..],
            &[0, 32],
            &[31],
            &[0x80, 0],
            &[0xfe, 0xdc, 0xba, 0x98],
        ] {
            // The exponents of what the device holds: a square doubles, a product adds.
            let mut powers = vec![BigUint::default(); 8];
            powers[0] = BigUint::from(1u32);
            let mut r = powers[0].clone();
            for step in steps(exponent) {
                if step >> 16 & 31 != NONE {
                    r = powers[(step >> 16 & 31) as usize].clone();
                }
                assert_ne!(step & 0xff, 0, "the device squares at least once");
                r <<= step & 0xff;
                if step >> 8 & 31 != NONE {
                    r += &powers[(step >> 8 & 31) as usize];
                }
                if step >> 24 != NONE {
                    powers[(step >> 24) as usize] = r.clone();
                }
            }
            assert_eq!(r, BigUint::from_bytes_be(exponent));
        }
    }

    #[test]
    pub(in super::super) fn the_device_raises_powers() -> Result<(), Error> {
        let device = test_device();
        let p = modulus();
        let numbers: Vec<Fp> = (0..70u32)
            .map(|i| match i {
                0 => Fp::default(),
                1 => Fp::small(1),
                _ => Fp::small(i * 0x0123_4567).doubled(5 * i as usize),
            })
            .collect();
        let n = numbers.len();
        let operands: Vec<Fp> = numbers.iter().map(|x| x.to_montgomery()).collect();
        let io = device.buffer("io", 2 * LIMBS * n);
        device.write(&io, 0, &slot(&operands));
        let mut commands = device.commands();
        Exponent::new(device).run(&mut commands, &io, n, 0, 1);
        let (same, powers) = (
            commands.download(&io, 0, LIMBS * n),
            commands.download(&io, LIMBS * n, LIMBS * n),
        );
        let mut outcome = commands.submit().wait()?;
        assert_eq!(from_slot(&outcome.take(same)), operands);
        for (x, power) in numbers.iter().zip(from_slot(&outcome.take(powers))) {
            let expected =
                BigUint::from_bytes_be(&x.to_be_bytes()).modpow(&BigUint::from_bytes_be(&EXPONENT_BYTES), &p);
            assert_eq!(BigUint::from_bytes_be(&power.from_montgomery().to_be_bytes()), expected);
        }
        Ok(())
    }
}
