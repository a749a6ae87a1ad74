// Products in Fp12: element i times element i + half, in place.

struct Params {
  first: u32,
  end: u32,
  // Elements of `state`.
  len: u32,
  half: u32,
  program_end: u32,
}
var<immediate> params: Params;
// 12 slots.
@group(0) @binding(1) var<storage, read_write> state: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  for (var slot = 0u; slot < 24u; slot++) {
    var value: Fp;
    let base = (slot % 12u) * 13u * params.len + i + select(0u, params.half, slot >= 12u);
    //% for i in 0..13
    value.v{i} = state[base + {i}u * params.len];
    //% end
    registers[slot] = value;
  }
  run(0u, params.program_end);
  for (var slot = 0u; slot < 12u; slot++) {
    let value = registers[slot];
    let to = slot * 13u * params.len + i;
    //% for i in 0..13
    state[to + {i}u * params.len] = value.v{i};
    //% end
  }
}
