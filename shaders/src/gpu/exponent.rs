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
/// Bits of a window: odd powers up to x^31 stand in the table.
const WINDOW: usize = 5;
/// Where x^2 stands, after the odd powers.
const SQUARE_AT: u32 = 1 << (WINDOW - 1);
const NONE: u32 = 31;
const LOAD: u32 = 1 << 15;

fn step(squarings: u32, power: u32, place: u32) -> u32 {
    squarings | power << 8 | place << 16
}

/// The steps of `exponent.wgsl` for an exponent, big-endian and not zero: sliding windows from the highest bit.
fn steps(exponent: &[u8]) -> Vec<u32> {
    let mut steps = vec![step(0, NONE, 0), step(1, NONE, SQUARE_AT), step(0, 0, 1)];
    steps.extend((2..SQUARE_AT).map(|place| step(0, SQUARE_AT, place)));
    let bits: Vec<u32> = exponent
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |i| u32::from(byte >> i & 1)))
        .collect();
    let mut at = bits.iter().position(|bit| *bit == 1).unwrap_or(bits.len());
    let (mut squarings, mut started) = (0, false);
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
        let power = bits[at..end].iter().fold(0, |value, bit| value * 2 + bit) / 2;
        let width = (end - at) as u32;
        steps.push(if started {
            step(squarings + width, power, NONE)
        } else {
            step(0, power, NONE) | LOAD
        });
        (squarings, started, at) = (0, true, end);
    }
    if squarings > 0 {
        steps.push(step(squarings, NONE, NONE));
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
mod tests {
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
            &[1],
            &[0, 2],
            &[31],
            &[0x80, 0],
            &[0xfe, 0xdc, 0xba, 0x98],
        ] {
            // The steps over powers of two: a product adds exponents.
            let mut powers = vec![BigUint::default(); 17];
            let mut r = BigUint::from(1u32);
            for step in steps(exponent) {
                r <<= step & 0xff;
                let power = (step >> 8 & 31) as usize;
                match () {
                    _ if step & LOAD != 0 => r = powers[power].clone(),
                    _ if power != 31 => r += &powers[power],
                    _ => {}
                }
                if step >> 16 & 31 != NONE {
                    powers[(step >> 16 & 31) as usize] = r.clone();
                }
            }
            assert_eq!(r, BigUint::from_bytes_be(exponent));
        }
    }

    #[test]
    fn the_device_raises_powers() -> Result<(), Error> {
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
