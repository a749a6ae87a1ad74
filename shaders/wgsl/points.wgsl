// Sums of points: every thread adds a run of operands, and `mode` says which. One kernel, so that a device compiles the
// addition once.

struct Params {
  first: u32,
  end: u32,
  // Elements of `source`, and of `sums`.
  source_len: u32,
  sums_len: u32,
  mode: u32,
  // What the mode makes of them; see `operand` and `steps`.
  u0: u32,
  u1: u32,
  u2: u32,
  u3: u32,
  u4: u32,
  // Sum i goes to `into + i`, or in groups of `u0` to `into + stride * group + place`.
  into: u32,
  stride: u32,
  has_a: u32,
  six: u32,
  //% for i in 0..13
  b3_{i}: u32,
  //% end
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read> bounds: array<u32>;
@group(0) @binding(2) var<storage, read> list: array<u32>;
@group(0) @binding(3) var<storage, read_write> sums: array<u32>;

// Operands `list[bounds[u1 + i]..bounds[u1 + i + 1]]`; the top bit negates.
const LISTED = 0u;
// Source in groups of u1: entries m - 1, u2 + m - 1 and, negated, u2 - m - 1 for m = place + 1.
const FOLDED = 1u;
// Source in groups of u1: from entry u2 + u3 * place on up to u3 of them, none from u4 on.
const STRIDED = 2u;
// Source in groups of u1 entries c: sum of 3^j c_j.
const TERNARY = 3u;
// Entries bounds[i]..bounds[i + 1] times their coefficients, whose u1 trits are in `list`, nine digits of ten an item,
// two digits a word.
const SCALED = 4u;

// Entries i and u1 + i, or none where `list[i]` has not the bits u3 of those of u2.
const PAIRED = 5u;

const NONE = 0xffffffffu;
// The operand is the sum so far, or what it was before the last step.
const SELF = 0xfffffffeu;
const BEFORE = 0xfffffffdu;

struct Operand { at: u32, negated: bool }

fn steps(i: u32, place: u32) -> u32 {
  switch params.mode {
    case LISTED: { return bounds[params.u1 + i + 1u] - bounds[params.u1 + i]; }
    case FOLDED: { return 3u; }
    case STRIDED: {
      let start = min(params.u2 + params.u3 * place, params.u4);
      return min(start + params.u3, params.u4) - start;
    }
    case TERNARY: { return 3u * params.u1; }
    case PAIRED: { return select(0u, 2u, (list[i] & params.u2) == params.u3); }
    default: { return params.u1 * (2u + bounds[i + 1u] - bounds[i]); }
  }
}

// The trit of place j of an item, 0, 1, 2 for -1, 0, 1.
fn trit(item: u32, j: u32) -> u32 {
  let digit = j / 10u;
  let word = list[(digit / 2u) * params.source_len + item];
  var value = select(word & 0xffffu, word >> 16u, (digit & 1u) == 1u);
  for (var k = digit * 10u; k < j; k++) { value /= 3u; }
  return value % 3u;
}

fn operand(i: u32, group: u32, place: u32, step: u32) -> Operand {
  switch params.mode {
    case LISTED: {
      let entry = list[bounds[params.u1 + i] + step];
      return Operand(entry & 0x7fffffffu, (entry >> 31u) == 1u);
    }
    case FOLDED: {
      let base = group * params.u1;
      switch step {
        case 0u: { return Operand(base + place, false); }
        case 1u: { return Operand(base + params.u2 + place, false); }
        default: { return Operand(base + params.u2 - place - 2u, true); }
      }
    }
    case STRIDED: {
      return Operand(group * params.u1 + params.u2 + params.u3 * place + step, false);
    }
    case TERNARY: {
      switch step % 3u {
        case 0u: { return Operand(SELF, false); }
        case 1u: { return Operand(BEFORE, false); }
        default: { return Operand(i * params.u1 + params.u1 - 1u - step / 3u, false); }
      }
    }
    case PAIRED: { return Operand(i + params.u1 * step, false); }
    default: {
      let start = bounds[i];
      let round = 2u + bounds[i + 1u] - start;
      let phase = step % round;
      switch phase {
        case 0u: { return Operand(SELF, false); }
        case 1u: { return Operand(BEFORE, false); }
        default: {
          let item = start + phase - 2u;
          let value = trit(item, params.u1 - 1u - step / round);
          return Operand(select(item, NONE, value == 1u), value == 0u);
        }
      }
    }
  }
}

fn load(element: u32, at: u32) -> Fp {
  let start = element * 13u * params.source_len + at;
  var out: Fp;
  //% for i in 0..13
  out.v{i} = source[start + {i}u * params.source_len];
  //% end
  return out;
}

fn store(element: u32, at: u32, value: Fp) {
  let to = element * 13u * params.sums_len + at;
  //% for i in 0..13
  sums[to + {i}u * params.sums_len] = value.v{i};
  //% end
}

// flag ? a : b
fn point_select(a: Point, b: Point, flag: bool) -> Point {
  return Point(fp_select(a.x, b.x, flag), fp_select(a.y, b.y, flag), fp_select(a.z, b.z, flag));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  var curve: Curve;
  //% for i in 0..13
  curve.b3.v{i} = params.b3_{i};
  //% end
  curve.has_a = params.has_a == 1u;
  curve.six = params.six;
  let group = i / params.u0;
  let place = i % params.u0;
  var sum = infinity();
  var before = sum;
  let count = steps(i, place);
  for (var step = 0u; step < count; step++) {
    let chosen = operand(i, group, place, step);
    let at = select(chosen.at, 0u, chosen.at >= BEFORE);
    var addend = Point(load(0u, at), load(1u, at), load(2u, at));
    addend.y = fp_select(fp_sub(Fp(), addend.y), addend.y, chosen.negated);
    addend = point_select(infinity(), addend, chosen.at == NONE);
    addend = point_select(sum, addend, chosen.at == SELF);
    addend = point_select(before, addend, chosen.at == BEFORE);
    before = point_select(sum, before, chosen.at == SELF);
    sum = point_add(sum, addend, curve);
  }
  let to = params.into + params.stride * group + place;
  store(0u, to, sum.x);
  store(1u, to, sum.y);
  store(2u, to, sum.z);
}
