//! Formulas as lists of instructions, run by one kernel over registers: no formula costs a compiler anything.
//!
//! # Contract
//! A [`Program`] runs once for each item of a range. It has 24 registers of field elements below 2p and 32 flags; it
//! gathers elements from the slots of two buffers that it only reads and one that it may write, computes, and stores
//! into the latter. Element `at + i` of a slot is item i's own; a *column* of places names another one. Items run in
//! any order and at once, so no item may store where another loads.
//!
//! A program is written in order. Runs of loads, of computations and of stores follow one another as phases; fewer and
//! longer runs are faster.
//!
//! # Cost
//! A device without branches (llvmpipe) pays a multiplication for every computation, so additions are not cheap there;
//! on a GPU a multiplication costs about ten additions or two loads. Registers live in thread-local memory.

use super::field::{FIELD, Fp};
use super::{Buffer, Commands, Device, Dispatch, Kernel, Layer};

static LAYER: Layer = Layer {
    name: "program",
    text: include_str!("../../wgsl/program.wgsl"),
    needs: &[&FIELD],
};
/// Runs programs.
pub static PROGRAM: Kernel = Kernel {
    name: "program",
    layer: &LAYER,
    group: 64,
};
/// Registers of an item.
const REGISTERS: u8 = 24;
const NO_COLUMN: u32 = 15;
const NO_FLAGS: u32 = u32::MAX;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reg(pub u8);

/// One of an item's 32 flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flag(pub u8);

/// Which buffer of a [`Run`] an instruction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The first that is read.
    A = 0,
    /// The second that is read.
    B = 1,
    /// The one that is written, and may be read.
    C = 2,
}

/// Which element of a slot: the item's own, or that in a column of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The item's own.
    Item,
    /// The one that column `0..15` names.
    Column(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Stage {
    Load,
    Compute,
    Store,
}

/// A program as it is written.
#[derive(Clone, Debug, Default)]
pub struct Program {
    instructions: Vec<(Stage, u32)>,
    constants: Vec<Fp>,
    multiplications: u64,
}

impl Program {
    /// A program without instructions.
    pub fn new() -> Self {
        Self::default()
    }

    fn register(register: Reg) -> u32 {
        assert!(register.0 < REGISTERS, "an item has {REGISTERS} registers");
        u32::from(register.0)
    }

    fn push(&mut self, stage: Stage, word: u32) -> &mut Self {
        self.instructions.push((stage, word));
        self
    }

    fn place(at: At) -> u32 {
        match at {
            At::Item => NO_COLUMN,
            At::Column(column) => {
                assert!(u32::from(column) < NO_COLUMN, "columns are 0..15");
                u32::from(column)
            }
        }
    }

    /// `into` becomes an element of a slot.
    pub fn load(&mut self, into: Reg, port: Port, slot: u16, at: At) -> &mut Self {
        let word = Self::register(into) | (port as u32) << 8 | Self::place(at) << 12 | u32::from(slot) << 16;
        self.push(Stage::Load, word)
    }

    /// `into` becomes a constant, as it stands.
    pub fn constant(&mut self, into: Reg, value: Fp) -> &mut Self {
        let known = self.constants.iter().position(|constant| *constant == value);
        let slot = known.unwrap_or_else(|| {
            self.constants.push(value);
            self.constants.len() - 1
        });
        let word = Self::register(into) | 3 << 8 | NO_COLUMN << 12 | (slot as u32) << 16;
        self.push(Stage::Load, word)
    }

    /// An element of a slot of [`Port::C`] becomes `from`.
    pub fn store(&mut self, from: Reg, slot: u16, at: At) -> &mut Self {
        let word = Self::register(from) | Self::place(at) << 12 | u32::from(slot) << 16;
        self.push(Stage::Store, word)
    }

    fn compute(&mut self, kind: u32, flag: u32, into: u32, x: Reg, y: Reg) -> &mut Self {
        let (x, y) = (Self::register(x), Self::register(y));
        self.push(Stage::Compute, kind | flag << 3 | into << 8 | x << 16 | y << 24)
    }

    /// `into = x y / R`, the product of Montgomery forms.
    pub fn mul(&mut self, into: Reg, x: Reg, y: Reg) -> &mut Self {
        self.multiplications += 1;
        let into = Self::register(into);
        self.compute(0, 0, into, x, y)
    }

    /// `into = x x / R`.
    pub fn sqr(&mut self, into: Reg, x: Reg) -> &mut Self {
        self.mul(into, x, x)
    }

    /// `into = x + y`.
    pub fn add(&mut self, into: Reg, x: Reg, y: Reg) -> &mut Self {
        let into = Self::register(into);
        self.compute(1, 0, into, x, y)
    }

    /// `into = x - y`.
    pub fn sub(&mut self, into: Reg, x: Reg, y: Reg) -> &mut Self {
        let into = Self::register(into);
        self.compute(1, 1, into, x, y)
    }

    /// `into = x` where the flag is set, else `y`.
    pub fn select(&mut self, into: Reg, flag: Flag, x: Reg, y: Reg) -> &mut Self {
        let into = Self::register(into);
        self.compute(2, flag_bit(flag), into, x, y)
    }

    /// `into = x`.
    pub fn copy(&mut self, into: Reg, x: Reg) -> &mut Self {
        self.select(into, Flag(0), x, x)
    }

    /// `into = x`, brought below p.
    pub fn reduce(&mut self, into: Reg, x: Reg) -> &mut Self {
        let into = Self::register(into);
        self.compute(3, 0, into, x, x)
    }

    /// Sets the flag where `x` is zero modulo p, else clears it.
    pub fn is_zero(&mut self, flag: Flag, x: Reg) -> &mut Self {
        self.compute(4, flag_bit(flag), 0, x, x)
    }

    /// Sets the flag where the number in `x`, brought below p, is odd, else clears it.
    pub fn is_odd(&mut self, flag: Flag, x: Reg) -> &mut Self {
        self.compute(4, flag_bit(flag), 1, x, x)
    }

    /// `into` becomes `table(f, g)`.
    pub fn logic(&mut self, into: Flag, f: Flag, g: Flag, table: impl Fn(bool, bool) -> bool) -> &mut Self {
        let rows = [(false, false), (false, true), (true, false), (true, true)];
        let bits = (0..)
            .zip(rows)
            .fold(0, |bits, (i, (f, g))| bits | u32::from(table(f, g)) << i);
        let word = 5 | flag_bit(into) << 3 | flag_bit(f) << 8 | flag_bit(g) << 16 | bits << 24;
        self.push(Stage::Compute, word)
    }

    /// Multiplications that the program does for an item.
    pub fn multiplications(&self) -> u64 {
        self.multiplications
    }

    /// The words that the kernel walks, and where the constants stand in them.
    fn code(&self) -> (Vec<u32>, usize) {
        // Ends of the stages of each phase, as instructions.
        let mut phases: Vec<[usize; 3]> = Vec::new();
        let mut last = Stage::Store;
        for (i, (stage, _)) in self.instructions.iter().enumerate() {
            let stage = *stage;
            if stage < last || phases.is_empty() {
                phases.push([i; 3]);
            }
            if let Some(ends) = phases.last_mut() {
                ends[stage as usize..].fill(i + 1);
            }
            last = stage;
        }
        let start = 1 + 3 * phases.len();
        let mut code = vec![phases.len() as u32];
        code.extend(phases.iter().flatten().map(|end| (start + end) as u32));
        code.extend(self.instructions.iter().map(|(_, word)| *word));
        let constants_at = code.len();
        code.extend(self.constants.iter().flat_map(|constant| constant.0));
        (code, constants_at)
    }

    /// Brings the program to a device.
    pub fn upload(&self, device: &Device) -> Loaded {
        let (code, constants_at) = self.code();
        Loaded {
            code: device.upload("program", &code),
            constants_at: constants_at as u32,
            work: self.multiplications + self.instructions.len() as u64 / 8,
            unused: std::array::from_fn(|_| device.buffer("unused port", 1)),
        }
    }
}

fn flag_bit(flag: Flag) -> u32 {
    assert!(flag.0 < 32, "an item has 32 flags");
    u32::from(flag.0)
}

/// Slots of `n` elements in a buffer; element `at` is item 0's own.
#[derive(Clone, Copy, Debug)]
pub struct Slots<'a> {
    /// The buffer.
    pub buffer: &'a Buffer,
    /// Elements of a slot.
    pub n: usize,
    /// The element of item 0.
    pub at: usize,
}

/// One run of a program. What the program does not use may be absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run<'a> {
    /// Items.
    pub items: usize,
    /// [`Port::A`].
    pub a: Option<Slots<'a>>,
    /// [`Port::B`]; may be the same buffer as `a`.
    pub b: Option<Slots<'a>>,
    /// [`Port::C`], a buffer of its own.
    pub c: Option<Slots<'a>>,
    /// Places of elements, a column of `items` words after the other; its length is a multiple of `items`.
    pub places: Option<&'a Buffer>,
    /// The flags with which items start and end, a word each, and where that of item 0 stands.
    pub flags: Option<(&'a Buffer, usize)>,
}

/// A program on a device.
#[derive(Debug)]
pub struct Loaded {
    code: Buffer,
    constants_at: u32,
    work: u64,
    unused: [Buffer; 3],
}

impl Loaded {
    /// Appends a run to `commands`.
    pub fn run(&self, commands: &mut Commands<'_>, run: &Run<'_>) {
        let [unread, unwritten, unflagged] = &self.unused;
        let port = |slots: Option<Slots<'_>>| slots.map_or([0, 0], |slots| [slots.n as u32, slots.at as u32]);
        let ([a_n, a_at], [b_n, b_at], [c_n, c_at]) = (port(run.a), port(run.b), port(run.c));
        let flags_at = run.flags.map_or(NO_FLAGS, |(_, at)| at as u32);
        commands.run(&Dispatch {
            kernel: &PROGRAM,
            buffers: &[
                &self.code,
                run.a.map_or(unread, |slots| slots.buffer),
                run.b.map_or(unread, |slots| slots.buffer),
                run.c.map_or(unwritten, |slots| slots.buffer),
                run.places.unwrap_or(unread),
                run.flags.map_or(unflagged, |(buffer, _)| buffer),
            ],
            params: &[
                a_n,
                a_at,
                b_n,
                b_at,
                c_n,
                c_at,
                run.items as u32,
                flags_at,
                self.constants_at,
            ],
            items: run.items,
            work: self.work,
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::field::{LIMBS, from_slot, slot};
    use super::super::{Error, test_device};
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::{Rng, SeedableRng};

    /// Random elements, some of them small.
    fn elements(n: usize, rng: &mut ChaCha20Rng) -> Vec<Fp> {
        let mut bytes = [0; 48];
        let mut element = || {
            rng.fill_bytes(&mut bytes);
            bytes[0] &= 15;
            match bytes[47] % 4 {
                0 => Fp::small(u32::from(bytes[46] % 3)),
                _ => Fp::from_be_bytes(&bytes).unwrap(),
            }
        };
        (0..n).map(|_| element()).collect()
    }

    /// The same sum of two gathered elements by the lowest and by the highest registers, over several phases.
    #[test]
    pub(in super::super) fn programs_gather_compute_and_scatter() -> Result<(), Error> {
        let device = test_device();
        let mut rng = ChaCha20Rng::seed_from_u64(8);
        let n = 150;
        let (x, y) = (elements(2 * n, &mut rng), elements(n + 7, &mut rng));
        // Column 0 gathers from slot 1 of x backwards, column 1 scatters by a rotation.
        let mut places: Vec<u32> = (0..n as u32).rev().collect();
        places.extend((0..n as u32).map(|i| (i + 50) % n as u32));
        let a = device.upload("a", &[slot(&x[..n]), slot(&x[n..])].concat());
        let b = device.upload("b", &slot(&y));
        let places = device.upload("places", &places);
        let marks: Vec<u32> = (0..n as u32 + 2).map(|i| (i % 3) << 30).collect();
        for base in [0u8, REGISTERS - 10] {
            let r = |i: u8| Reg(base + i);
            let mut program = Program::new();
            program
                .load(r(0), Port::A, 0, At::Item)
                .load(r(1), Port::A, 1, At::Column(0))
                .load(r(2), Port::B, 0, At::Item)
                .constant(r(3), Fp::small(1).to_montgomery())
                .constant(r(4), Fp::small(2))
                .constant(r(5), Fp::small(1).to_montgomery());
            // x0 x1 - y + 1, and what the flags say.
            program
                .mul(r(6), r(0), r(1))
                .sub(r(6), r(6), r(2))
                .add(r(6), r(6), r(5));
            program
                .is_zero(Flag(4), r(0))
                .is_odd(Flag(5), r(1))
                .logic(Flag(6), Flag(4), Flag(5), |f, g| f && !g);
            program.store(r(6), 0, At::Column(1));
            // A second phase reads what other ports hold, and selects.
            program.load(r(7), Port::A, 0, At::Item);
            program
                .select(r(8), Flag(30), r(7), r(4))
                .copy(r(9), r(8))
                .reduce(r(9), r(9));
            program.store(r(9), 1, At::Item);
            let loaded = program.upload(device);
            let c = device.buffer("c", 2 * LIMBS * n);
            let flags = device.upload("flags", &marks);
            let mut commands = device.commands();
            let own = |buffer, n, at| Some(Slots { buffer, n, at });
            loaded.run(
                &mut commands,
                &Run {
                    items: n,
                    a: own(&a, n, 0),
                    b: own(&b, n + 7, 7),
                    c: own(&c, n, 0),
                    places: Some(&places),
                    flags: Some((&flags, 2)),
                },
            );
            let (sums, flags) = (
                commands.download(&c, 0, c.len()),
                commands.download(&flags, 0, flags.len()),
            );
            let mut outcome = commands.submit().wait()?;
            let (words, flags) = (outcome.take(sums), outcome.take(flags));
            let (sums, copies) = (from_slot(&words[..LIMBS * n]), from_slot(&words[LIMBS * n..]));
            assert_eq!(flags[..2], marks[..2]);
            for i in 0..n {
                let (x0, x1) = (x[i], x[n + (n - 1 - i)]);
                let product = product(x0, x1);
                let expected = product.plus(Fp::small(1).to_montgomery());
                assert_eq!(sums[(i + 50) % n].plus(y[i + 7]), expected, "item {i}");
                let marked = marks[i + 2] >> 30 & 1 == 1;
                assert_eq!(copies[i], if marked { x0 } else { Fp::small(2) }, "item {i}");
                let (zero, odd) = (x0 == Fp::default(), x1.0[0] & 1 == 1);
                let expected = marks[i + 2] | u32::from(zero) << 4 | u32::from(odd) << 5 | u32::from(zero && !odd) << 6;
                assert_eq!(flags[i + 2], expected, "item {i}");
            }
        }
        Ok(())
    }

    /// x y / R by shifting and adding.
    fn product(x: Fp, y: Fp) -> Fp {
        let mut sum = Fp::default();
        let bytes = x.to_be_bytes();
        for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1)) {
            sum = sum.plus(sum);
            if bit == 1 {
                sum = sum.plus(y);
            }
        }
        sum.from_montgomery()
    }

    #[test]
    fn programs_without_ports_run() -> Result<(), Error> {
        let device = test_device();
        let mut program = Program::new();
        program
            .constant(Reg(0), Fp::small(3))
            .add(Reg(0), Reg(0), Reg(0))
            .store(Reg(0), 0, At::Item);
        let c = device.buffer("c", LIMBS * 3);
        let mut commands = device.commands();
        let run = Run {
            items: 2,
            c: Some(Slots {
                buffer: &c,
                n: 3,
                at: 1,
            }),
            ..Run::default()
        };
        program.upload(device).run(&mut commands, &run);
        let download = commands.download(&c, 0, c.len());
        let words = commands.submit().wait()?.take(download);
        assert_eq!(from_slot(&words), [Fp::default(), Fp::small(6), Fp::small(6)]);
        Ok(())
    }
}
