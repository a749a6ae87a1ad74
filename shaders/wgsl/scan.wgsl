// Exclusive prefix sums by a tree of 64 children, without workgroup memory, barriers or subgroups.

struct Params {
  first: u32,
  end: u32,
  // Values in `values`.
  len: u32,
  // 1: thread i writes the sum of its children. 0: it writes their prefix sums, from `bases[i]` on.
  sums_up: u32,
  // Whether there are bases; the top of the tree has none.
  has_bases: u32,
}
var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> values: array<u32>;
@group(0) @binding(1) var<storage, read> bases: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  var running = 0u;
  if params.has_bases == 1u { running = bases[i]; }
  let start = i * 64u;
  let to = min(start + 64u, params.len);
  for (var at = start; at < to; at++) {
    if params.sums_up == 0u { out[at] = running; }
    running += values[at];
  }
  if params.sums_up == 1u { out[i] = running; }
}
