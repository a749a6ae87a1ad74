//! Formulas over Fp, written once in Rust and compiled into short straight-line programs for an interpreter with few
//! multiplication sites: shader compilers take time out of all proportion for every multiplication they see.
//!
//! # Format
//! One `u32` an operation: `kind << 30 | left << 20 | right << 10 | target`, registers below 2^10.
//!
//! # Invariants
//! * A program reads no register before an input or an operation has written it.
//! * A register is given to another value only after its own was used for the last time; outputs end where they are asked
//!   for, whichever inputs lay there.

/// Names a value of a formula.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Value(u16);

/// What an operation does with its operands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub(crate) enum Kind {
    /// `left * right`.
    Mul = 0,
    /// `left + right`.
    Add = 1,
    /// `left - right`.
    Sub = 2,
    /// `left`.
    Copy = 3,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    left: Value,
    right: Value,
}

/// A formula under construction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Formula {
    inputs: u16,
    nodes: Vec<Node>,
}

/// Registers below this can be named.
const REGISTERS_MAX: usize = 1 << 10;

impl Formula {
    /// A formula of `inputs` inputs, and those.
    pub(crate) fn new(inputs: u16) -> (Self, Vec<Value>) {
        let formula = Self {
            inputs,
            nodes: Vec::new(),
        };
        (formula, (0..inputs).map(Value).collect())
    }

    fn push(&mut self, kind: Kind, left: Value, right: Value) -> Value {
        self.nodes.push(Node { kind, left, right });
        Value(self.inputs + self.nodes.len() as u16 - 1)
    }

    /// `left * right`.
    pub(crate) fn mul(&mut self, left: Value, right: Value) -> Value {
        self.push(Kind::Mul, left, right)
    }

    /// `left + right`.
    pub(crate) fn add(&mut self, left: Value, right: Value) -> Value {
        self.push(Kind::Add, left, right)
    }

    /// `left - right`.
    pub(crate) fn sub(&mut self, left: Value, right: Value) -> Value {
        self.push(Kind::Sub, left, right)
    }

    /// Compiles for inputs in registers `0..inputs`; output `i` ends in register `outputs[i].1`.
    pub(crate) fn compile(&self, outputs: &[(Value, u16)]) -> Program {
        let values = usize::from(self.inputs) + self.nodes.len();
        const NEVER: usize = usize::MAX;
        let end = self.nodes.len();
        let mut last_use = vec![NEVER; values];
        for (at, node) in self.nodes.iter().enumerate() {
            last_use[usize::from(node.left.0)] = at;
            last_use[usize::from(node.right.0)] = at;
        }
        for (value, _) in outputs {
            last_use[usize::from(value.0)] = end;
        }
        let mut place: Vec<Option<u16>> = vec![None; values];
        let mut free: Vec<bool> = Vec::new();
        let mut ops = Vec::new();
        for input in 0..usize::from(self.inputs) {
            place[input] = Some(input as u16);
            free.push(last_use[input] == NEVER);
        }
        let at_register = |place: &[Option<u16>], value: Value| {
            place[usize::from(value.0)].expect("a value is placed where it is computed, before any use")
        };
        for (at, node) in self.nodes.iter().enumerate() {
            let (left, right) = (at_register(&place, node.left), at_register(&place, node.right));
            for (value, register) in [(node.left, left), (node.right, right)] {
                if last_use[usize::from(value.0)] == at {
                    free[usize::from(register)] = true;
                }
            }
            let value = usize::from(self.inputs) + at;
            if last_use[value] == NEVER {
                continue;
            }
            let target = free.iter().position(|&is_free| is_free).unwrap_or_else(|| {
                free.push(true);
                free.len() - 1
            });
            free[target] = false;
            place[value] = Some(target as u16);
            ops.push(Op {
                kind: node.kind,
                left,
                right,
                target: target as u16,
            });
        }
        let moves: Vec<(u16, u16)> = (outputs.iter())
            .map(|&(value, to)| (at_register(&place, value), to))
            .collect();
        let registers = move_all(&moves, free.len(), &mut ops);
        assert!(registers <= REGISTERS_MAX, "an operation names registers by ten bits");
        Program { ops, registers }
    }
}

/// Appends copies that carry out `moves` (from, to) as if all at once; gives the number of registers used.
fn move_all(moves: &[(u16, u16)], registers: usize, ops: &mut Vec<Op>) -> usize {
    let mut waiting: Vec<(u16, u16)> = moves.iter().copied().filter(|(from, to)| from != to).collect();
    let mut registers = moves.iter().fold(registers, |n, &(_, to)| n.max(usize::from(to) + 1));
    // A value that leaves its register and also stays counts as a move onto itself.
    let is_needed = |waiting: &[(u16, u16)], register: u16| waiting.iter().any(|&(from, _)| from == register);
    let spare = registers as u16;
    while !waiting.is_empty() {
        let next = waiting.iter().position(|&(_, to)| !is_needed(&waiting, to));
        match next {
            Some(at) => {
                let (from, to) = waiting.swap_remove(at);
                ops.push(Op::copy(from, to));
            }
            None => {
                // Only cycles are left: one value steps aside.
                let (from, _) = waiting[0];
                ops.push(Op::copy(from, spare));
                registers = registers.max(usize::from(spare) + 1);
                waiting
                    .iter_mut()
                    .filter(|pair| pair.0 == from)
                    .for_each(|pair| pair.0 = spare);
            }
        }
    }
    registers
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Op {
    /// What it does.
    pub(crate) kind: Kind,
    /// Register of the first operand.
    pub(crate) left: u16,
    /// Register of the second operand.
    pub(crate) right: u16,
    /// Register of the result.
    pub(crate) target: u16,
}

impl Op {
    const fn copy(from: u16, to: u16) -> Self {
        Self {
            kind: Kind::Copy,
            left: from,
            right: from,
            target: to,
        }
    }

    /// The operation as the shader reads it.
    pub(crate) const fn word(self) -> u32 {
        (self.kind as u32) << 30 | (self.left as u32) << 20 | (self.right as u32) << 10 | self.target as u32
    }
}

/// A compiled formula.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// In order.
    pub(crate) ops: Vec<Op>,
    /// How many registers it needs.
    pub(crate) registers: usize,
}

impl Program {
    /// How many multiplications it makes.
    #[cfg(test)]
    pub(crate) fn multiplications(&self) -> usize {
        self.ops.iter().filter(|op| op.kind == Kind::Mul).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program over integers modulo a small prime.
    fn run(program: &Program, inputs: &[u64]) -> Vec<u64> {
        const PRIME: u64 = 65_521;
        let mut registers = vec![None; program.registers];
        inputs
            .iter()
            .enumerate()
            .for_each(|(at, &input)| registers[at] = Some(input));
        for op in &program.ops {
            let read =
                |at: u16| registers[usize::from(at)].unwrap_or_else(|| panic!("register {at} is read unwritten"));
            let (left, right) = (read(op.left), read(op.right));
            registers[usize::from(op.target)] = Some(match op.kind {
                Kind::Mul => left * right % PRIME,
                Kind::Add => (left + right) % PRIME,
                Kind::Sub => (left + PRIME - right) % PRIME,
                Kind::Copy => left,
            });
        }
        registers.into_iter().map(|value| value.unwrap_or(u64::MAX)).collect()
    }

    #[test]
    fn outputs_end_where_they_are_asked_for() {
        let (mut f, v) = Formula::new(3);
        let sum = f.add(v[0], v[1]);
        let product = f.mul(sum, v[2]);
        let difference = f.sub(product, v[0]);
        let program = f.compile(&[(difference, 0), (sum, 2), (v[0], 1)]);
        assert_eq!(run(&program, &[2, 3, 7])[..3], [33, 2, 5]);
        assert_eq!(program.multiplications(), 1);
    }

    #[test]
    fn inputs_can_change_places() {
        let (f, v) = Formula::new(4);
        let program = f.compile(&[(v[1], 0), (v[2], 1), (v[0], 2), (v[0], 3)]);
        assert_eq!(run(&program, &[10, 11, 12, 13])[..4], [11, 12, 10, 10]);
    }

    #[test]
    fn values_nobody_uses_cost_nothing() {
        let (mut f, v) = Formula::new(2);
        let sum = f.add(v[0], v[1]);
        f.mul(sum, sum);
        let program = f.compile(&[(sum, 0)]);
        assert_eq!((program.ops.len(), program.registers), (1, 2));
    }
}
