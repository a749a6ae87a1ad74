// Lines of a Miller loop, which depend on the key alone: computed once when the key arrives, kept on the device.

struct Params {
  first: u32,
  end: u32,
  // Elements of `keys`, of `lines`, and where in `lines` the first key goes.
  len: u32,
  lines_len: u32,
  into: u32,
  // Where the program of additions begins, and where it ends.
  doubling_end: u32,
  addition_end: u32,
  // One, in Montgomery form.
  //% for i in 0..13
  one_{i}: u32,
  //% end
}
var<immediate> params: Params;
// Affine points of E2: slots x, y of two elements each.
@group(0) @binding(1) var<storage, read> keys: array<u32>;
// Slots line x 6 + coefficient.
@group(0) @binding(2) var<storage, read_write> lines: array<u32>;

// Registers: the multiple of the key under way (6), the key (4), the line (6).
const KEY = 6u;
const LINE = 10u;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  for (var slot = 0u; slot < 4u; slot++) {
    var value: Fp;
    //% for i in 0..13
    value.v{i} = keys[(slot * 13u + {i}u) * params.len + i];
    //% end
    registers[slot] = value;
    registers[KEY + slot] = value;
  }
  var zero: Fp;
  registers[5] = zero;
  //% for i in 0..13
  registers[4].v{i} = params.one_{i};
  //% end
  var bit = 62u;
  var adding = false;
  var line = 0u;
  loop {
    run(select(0u, params.doubling_end, adding), select(params.doubling_end, params.addition_end, adding));
    for (var slot = 0u; slot < 6u; slot++) {
      let value = registers[LINE + slot];
      let to = ((line * 6u + slot) * 13u) * params.lines_len + params.into + i;
      //% for i in 0..13
      lines[to + {i}u * params.lines_len] = value.v{i};
      //% end
    }
    line++;
    adding = !adding && adds_after(bit);
    if !adding {
      if bit == 0u { break; }
      bit--;
    }
  }
}
