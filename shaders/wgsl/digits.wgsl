// The counting sort of a batch's digits: by slot, window and magnitude. A first pass counts, a second one places; what
// order the items of one bucket end up in is left to the device, for their sum does not depend on it.

struct Params {
  first: u32,
  end: u32,
  // Items of the batch.
  len: u32,
  // Windows of a coefficient, and into how many a digit base 3^10 falls.
  windows: u32,
  windows_of_digit: u32,
  // 3^trits of a window, and the largest magnitude of its digits.
  base: u32,
  half: u32,
  places: u32,
}
var<immediate> params: Params;
// Digits base 3^10, two a word, nine an item: word w of item i is `wide[w * len + i]`.
@group(0) @binding(0) var<storage, read> wide: array<u32>;
@group(0) @binding(1) var<storage, read> slots: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(4) var<storage, read_write> list: array<u32>;

// The slot of an item that is not sorted.
const NO_SLOT = 0xffffffffu;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  let item = i % params.len;
  let window = i / params.len;
  let digit = window / params.windows_of_digit;
  let word = wide[(digit / 2u) * params.len + item];
  var value = select(word & 0xffffu, word >> 16u, (digit & 1u) == 1u);
  for (var k = digit * params.windows_of_digit; k < window; k++) { value /= params.base; }
  let signed = i32(value % params.base) - i32(params.half);
  let slot = slots[item];
  if signed == 0 || slot == NO_SLOT { return; }
  let bucket = (slot * params.windows + window) * params.half + u32(abs(signed)) - 1u;
  if params.places == 0u {
    atomicAdd(&counts[bucket], 1u);
  } else {
    // Counts go back to zero on the way.
    let left = atomicSub(&counts[bucket], 1u);
    list[offsets[bucket] + left - 1u] = item | select(0u, 0x80000000u, signed < 0);
  }
}
