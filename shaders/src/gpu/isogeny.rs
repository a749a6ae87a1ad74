//! The 11-isogeny on the device, where the sums of messages of many keys are: from E1', scaled as on the device, to E1.
//!
//! # Invariants
//! Homogeneous in, homogeneous out; infinity and the kernel come out with Z = 0.

use super::curve::POINT_LEN;
use super::field;
use super::formula::Formula;
use super::miller::FORMULA;
use super::{Buffer, Commands, Device, Dispatch, Kernel, Layer};
use crate::cpu::field::Fp;
use crate::cpu::isogeny::POLYNOMIALS;

/// Images of points.
pub(super) static ISOGENY: Kernel = Kernel {
    name: "isogeny",
    layer: &Layer {
        name: "isogeny",
        text: include_str!("../../wgsl/isogeny.wgsl"),
        needs: &[&FORMULA],
    },
    group: 64,
};

/// What the kernel reads, on the device.
#[derive(Debug)]
pub(super) struct Isogeny {
    programs: Buffer,
    ends: [u32; 3],
    constants: Buffer,
}

impl Isogeny {
    /// For points of E1' whose coordinates times `scales` are those of RFC 9380.
    pub(super) fn new(device: &Device, scales: (Fp, Fp)) -> Self {
        let programs = [scale(), step(), image()].map(|formula| formula.0.compile(&formula.1));
        let mut ends = [0; 3];
        let mut end = 0;
        for (program, at) in programs.iter().zip(&mut ends) {
            end += program.ops.len() as u32;
            *at = end;
        }
        let words: Vec<u32> = (programs.iter().flat_map(|program| &program.ops))
            .map(|op| op.word())
            .collect();
        let polynomials = POLYNOMIALS.iter().flat_map(|(coefficients, is_monic)| {
            let highest = is_monic.then_some(Fp::ONE);
            highest.into_iter().chain(coefficients.iter().rev().copied())
        });
        let constants: Vec<u32> = [scales.0, scales.1, Fp::ONE]
            .into_iter()
            .chain(polynomials)
            .flat_map(|constant| field::Fp::from_blst(&constant.into()).0)
            .collect();
        Self {
            programs: device.upload("an isogeny", &words),
            ends,
            constants: device.upload("constants of an isogeny", &constants),
        }
    }

    /// The images of the points of `source` from place `into` of `images` on.
    pub(super) fn enqueue(&self, commands: &mut Commands<'_>, source: &Buffer, images: &Buffer, into: usize) {
        let [source_len, images_len] = [source, images].map(|points| points.len() / POINT_LEN);
        commands.run(&Dispatch {
            kernel: &ISOGENY,
            buffers: &[&self.programs, &self.constants, source, images],
            params: &[
                source_len as u32,
                images_len as u32,
                into as u32,
                self.ends[0],
                self.ends[1],
                self.ends[2],
            ],
            items: source_len,
            work: 3 * 55,
        });
    }
}

type Outputs = (Formula, Vec<(super::formula::Value, u16)>);

/// The point in 0..3, its x and y times the constants 9 and 10; the sum and the power in 7 and 8 stay.
fn scale() -> Outputs {
    let (mut f, v) = Formula::new(11);
    let outputs = vec![
        (f.mul(v[0], v[9]), 0),
        (f.mul(v[1], v[10]), 1),
        (v[2], 2),
        (v[7], 7),
        (v[8], 8),
    ];
    (f, outputs)
}

/// The sum times X plus the constant times the power of Z, and the next power.
fn step() -> Outputs {
    let (mut f, v) = Formula::new(10);
    let sum = f.mul(v[7], v[0]);
    let term = f.mul(v[9], v[8]);
    let sum = f.add(sum, term);
    let power = f.mul(v[8], v[2]);
    let kept = (0..7).map(|at| (v[usize::from(at)], at));
    let outputs = kept.chain([(sum, 7), (power, 8)]).collect();
    (f, outputs)
}

/// From (X, Y, Z) and the polynomials: (xn yd, Y yn xd, Z xd yd).
fn image() -> Outputs {
    let (mut f, v) = Formula::new(7);
    let [y, z, x_num, x_den, y_num, y_den] = [v[1], v[2], v[3], v[4], v[5], v[6]];
    let x_image = f.mul(x_num, y_den);
    let y_image = f.mul(y, y_num);
    let y_image = f.mul(y_image, x_den);
    let z_image = f.mul(z, x_den);
    let z_image = f.mul(z_image, y_den);
    (f, vec![(x_image, 0), (y_image, 1), (z_image, 2)])
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Error, test_device};
    use super::*;
    use crate::cpu::{Affine, Path, isogeny};
    use blst::blst_p1;

    #[test]
    pub(in super::super) fn images_are_those_of_the_cpu() -> Result<(), Error> {
        let device = test_device();
        let points: Vec<Affine> = (0u8..9).map(|i| Path::mapped(&[i], b"test")).collect();
        // Twice the coordinates over two: homogeneous; the sixth is infinity.
        let double = |x: Fp| field::Fp::from_blst(&x.double().into());
        let slot = |of: fn(&Affine) -> Fp| -> Vec<u32> {
            field::slot(&points.iter().map(|point| double(of(point))).collect::<Vec<_>>())
        };
        let mut z = vec![double(Fp::ONE); points.len()];
        z[5] = field::Fp::default();
        let words = [slot(|point| point.x), slot(|point| point.y), field::slot(&z)].concat();
        let source = device.upload("points", &words);
        let images = device.buffer("images", (points.len() + 2) * POINT_LEN);
        let mut commands = device.commands();
        Isogeny::new(device, (Fp::ONE, Fp::ONE)).enqueue(&mut commands, &source, &images, 2);
        let download = commands.download(&images, 0, images.len());
        let words = commands.submit().wait()?.take(download);
        let slots: Vec<Vec<field::Fp>> = words.chunks(words.len() / 3).map(field::from_slot).collect();
        for (i, point) in points.iter().enumerate() {
            let [x, y, z] = [0, 1, 2].map(|at| Fp::from(slots[at][i + 2].to_blst()));
            assert_eq!(z.is_zero(), i == 5);
            // Jacobian for blst: (X Z, Y Z^2, Z).
            let image = blst_p1 {
                x: (x * z).into(),
                y: (y * z.square()).into(),
                z: z.into(),
            };
            let expected = if i == 5 {
                blst_p1::default()
            } else {
                isogeny::image(point)
            };
            assert_eq!(image, expected, "point {i}");
        }
        Ok(())
    }
}
