//! Affine points of E1 and E1' and their additions, many at a time with one inversion.
//!
//! # Invariants
//! Additions are complete: equal points are doubled, opposite ones give infinity, infinity is neutral. Both curves have
//! odd order, so no point has y = 0 and a doubling always has its slope.

use super::field::Fp;
use blst::{blst_p1, blst_p1_affine};

/// The coefficient a of a curve y^2 = x^3 + a x + b.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Curve {
    a: Fp,
}

impl Curve {
    /// E1: a = 0, b = 4.
    pub(crate) const E1: Self = Self { a: Fp::ZERO };
    /// E1' of RFC 9380 8.8.1.
    pub(crate) const ISOGENOUS: Self = Self { a: super::sswu::A };
}

/// A point, infinity as (0, 0), which is on neither curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Affine {
    pub(crate) x: Fp,
    pub(crate) y: Fp,
}

impl Affine {
    /// The neutral element.
    pub(crate) const INFINITY: Self = Self {
        x: Fp::ZERO,
        y: Fp::ZERO,
    };

    /// Whether it is the neutral element.
    #[inline]
    pub(crate) fn is_infinity(&self) -> bool {
        self.x.is_zero() && self.y.is_zero()
    }

    /// Itself, or its negative.
    #[inline]
    pub(crate) fn negated_if(self, is_negative: bool) -> Self {
        let y = if is_negative { -self.y } else { self.y };
        Self { x: self.x, y }
    }
}

impl From<Affine> for blst_p1_affine {
    fn from(point: Affine) -> Self {
        Self {
            x: point.x.into(),
            y: point.y.into(),
        }
    }
}

impl From<blst_p1_affine> for Affine {
    fn from(point: blst_p1_affine) -> Self {
        Self {
            x: point.x.into(),
            y: point.y.into(),
        }
    }
}

impl From<Affine> for blst_p1 {
    fn from(point: Affine) -> Self {
        if point.is_infinity() {
            return Self::default();
        }
        Self {
            x: point.x.into(),
            y: point.y.into(),
            z: Fp::ONE.into(),
        }
    }
}

/// `points[to] = points[a] + points[b]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) to: u32,
}

/// Additions and what they need beside the points, kept from call to call.
#[derive(Default)]
pub(crate) struct Adder {
    /// The product of the denominators behind each step.
    behind: Vec<Fp>,
    plan: Vec<Step>,
}

/// How the sum of two points is found.
enum Slope {
    /// By a slope of this denominator.
    Of(Fp),
    /// Without one.
    None,
}

#[inline(always)]
fn slope(a: &Affine, b: &Affine) -> Slope {
    if a.x != b.x {
        if a.is_infinity() || b.is_infinity() {
            Slope::None
        } else {
            Slope::Of(b.x - a.x)
        }
    } else if a.y == b.y && !a.is_infinity() {
        Slope::Of(a.y.double())
    } else {
        Slope::None
    }
}

impl Adder {
    /// Takes the steps in order.
    ///
    /// # Panics
    /// If a step names a point beyond the slice. Every step must read what stood there before the first: no step reads
    /// what an earlier one wrote.
    pub(crate) fn add(&mut self, curve: Curve, points: &mut [Affine], plan: &[Step]) {
        self.behind.resize(plan.len().max(self.behind.len()), Fp::ZERO);
        let mut product = Fp::ONE;
        for (step, behind) in plan.iter().zip(&mut self.behind).rev() {
            *behind = product;
            if let Slope::Of(denominator) = slope(&points[step.a as usize], &points[step.b as usize]) {
                product *= denominator;
            }
        }
        let mut inverse = product.inverse();
        for (step, behind) in plan.iter().zip(&self.behind) {
            let (a, b) = (points[step.a as usize], points[step.b as usize]);
            points[step.to as usize] = match slope(&a, &b) {
                Slope::Of(denominator) => {
                    let over = inverse * *behind;
                    inverse *= denominator;
                    let rise = if a.x == b.x {
                        let square = a.x.square();
                        square.double() + square + curve.a
                    } else {
                        b.y - a.y
                    };
                    let slope = rise * over;
                    let x = slope.square() - a.x - b.x;
                    Affine {
                        x,
                        y: slope * (a.x - x) - a.y,
                    }
                }
                Slope::None if a.is_infinity() => b,
                Slope::None if b.is_infinity() => a,
                Slope::None => Affine::INFINITY,
            };
        }
    }

    /// Sums of segments: the points from `starts[i]` to `starts[i + 1]` add up into `points[starts[i]]`, if there is
    /// any; the others are left in no particular state.
    pub(crate) fn sum_segments(&mut self, curve: Curve, points: &mut [Affine], starts: &[u32]) {
        let mut lens: Vec<(u32, u32)> = starts
            .windows(2)
            .map(|pair| (pair[0], pair[1] - pair[0]))
            .filter(|(_, len)| *len > 1)
            .collect();
        let mut plan = core::mem::take(&mut self.plan);
        while !lens.is_empty() {
            plan.clear();
            for (start, len) in &lens {
                plan.extend((0..len / 2).map(|i| Step {
                    a: start + 2 * i,
                    b: start + 2 * i + 1,
                    to: start + i,
                }));
            }
            // INVARIANT: a step writes at or before where it reads, and reads lie behind those of the steps before it.
            self.add(curve, points, &plan);
            lens.retain_mut(|(start, len)| {
                if *len % 2 == 1 {
                    points[(*start + *len / 2) as usize] = points[(*start + *len - 1) as usize];
                }
                *len = len.div_ceil(2);
                *len > 1
            });
        }
        self.plan = plan;
    }
}
