// Straight-line programs over the field: one multiplication in the text, whatever the formula. An operation is
// `kind << 30 | left << 20 | right << 10 | target`; kinds are product, sum, difference, copy.

// BOUND: what the largest of the programs needs; a test compares.
const REGISTERS = 48u;
@group(0) @binding(0) var<storage, read> program: array<u32>;
var<private> registers: array<Fp, REGISTERS>;

fn run(begin: u32, to: u32) {
  for (var at = begin; at < to; at++) {
    let op = program[at];
    let left = registers[(op >> 20u) & 1023u];
    let right = registers[(op >> 10u) & 1023u];
    var value = left;
    switch op >> 30u {
      case 0u: { value = fp_mul(left, right); }
      case 1u: { value = fp_add(left, right); }
      case 2u: { value = fp_sub(left, right); }
      default: {}
    }
    registers[op & 1023u] = value;
  }
}

// The steps of a Miller loop are the bits of |z| below the highest, a doubling each, an addition after those set.
// SPEC: z = -0xd201000000010000.
fn adds_after(bit: u32) -> bool {
  return (select(0x00010000u >> (bit & 31u), 0xd2010000u >> (bit & 31u), bit >= 32u) & 1u) == 1u;
}
