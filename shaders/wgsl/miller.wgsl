// Miller loops of many pairs with a common accumulator per lane: a lane squares once a step, whatever its pairs.

struct Params {
  first: u32,
  end: u32,
  // Lanes: elements of `state`.
  lanes: u32,
  // Pairs are `pair_first .. pair_end`, a lane's by steps of `lanes`.
  // `point_len` is the number of elements of `points`.
  pair_first: u32,
  pair_end: u32,
  point_len: u32,
  // Keys of `lines`.
  key_len: u32,
  // Bits from `bit_from` down to `bit_to`, both inclusive.
  bit_from: u32,
  bit_to: u32,
  // Whether steps square: only the first of the dispatches that share a step.
  squares: u32,
  // Where the program that multiplies by a line begins, and where it ends.
  square_end: u32,
  line_end: u32,
  // Line of the first step.
  line: u32,
}
var<immediate> params: Params;
// Coefficients of lines: slots line x 6 + coefficient.
@group(0) @binding(1) var<storage, read> lines: array<u32>;
// Homogeneous points of E1: slots X, Y, Z.
@group(0) @binding(2) var<storage, read> points: array<u32>;
// The key of `lines` of a pair, and its point.
@group(0) @binding(3) var<storage, read> pairs: array<u32>;
// Accumulators: 12 slots.
@group(0) @binding(4) var<storage, read_write> state: array<u32>;

// Registers: the accumulator (12), the line (6), -2X, 2Y, Z.
const LINE = 12u;
const AT_POINT = 18u;

fn load_pair(pair: u32, line: u32) -> bool {
  let at = pairs[2u * pair + 1u];
  var point: array<Fp, 3>;
  for (var slot = 0u; slot < 3u; slot++) {
    var value: Fp;
    //% for i in 0..13
    value.v{i} = points[(slot * 13u + {i}u) * params.point_len + at];
    //% end
    point[slot] = value;
  }
  if fp_is_zero(point[2]) { return false; }
  let key = pairs[2u * pair];
  for (var slot = 0u; slot < 6u; slot++) {
    var value: Fp;
    let base = ((line * 6u + slot) * 13u) * params.key_len + key;
    //% for i in 0..13
    value.v{i} = lines[base + {i}u * params.key_len];
    //% end
    registers[LINE + slot] = value;
  }
  var zero: Fp;
  registers[AT_POINT] = fp_sub(zero, fp_add(point[0], point[0]));
  registers[AT_POINT + 1u] = fp_add(point[1], point[1]);
  registers[AT_POINT + 2u] = point[2];
  return true;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let lane = params.first + id.x;
  if lane >= params.end { return; }
  for (var slot = 0u; slot < 12u; slot++) {
    var value: Fp;
    //% for i in 0..13
    value.v{i} = state[(slot * 13u + {i}u) * params.lanes + lane];
    //% end
    registers[slot] = value;
  }
  var bit = params.bit_from;
  var line = params.line;
  var adding = false;
  var is_square = params.squares == 1u;
  var pair = params.pair_first + lane;
  loop {
    var is_run = is_square;
    if !is_square && pair < params.pair_end {
      is_run = load_pair(pair, line);
    }
    if is_run {
      run(select(params.square_end, 0u, is_square), select(params.line_end, params.square_end, is_square));
    }
    if is_square {
      is_square = false;
      continue;
    }
    pair += params.lanes;
    if pair < params.pair_end { continue; }
    // The step is over.
    pair = params.pair_first + lane;
    line++;
    adding = !adding && adds_after(bit);
    if !adding {
      if bit == params.bit_to { break; }
      bit--;
      is_square = params.squares == 1u;
    }
  }
  for (var slot = 0u; slot < 12u; slot++) {
    let value = registers[slot];
    let to = (slot * 13u) * params.lanes + lane;
    //% for i in 0..13
    state[to + {i}u * params.lanes] = value.v{i};
    //% end
  }
}
