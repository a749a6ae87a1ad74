// One level of many trees from the level below.

struct Params {
    first: u32,
    end: u32,
    // The level's cohorts.
    cohorts_at: u32,
    cohorts: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> below: array<Digest>;
@group(0) @binding(1) var<storage, read> cohorts: array<Cohort>;
@group(0) @binding(2) var<storage, read_write> nodes: array<Digest>;
@group(0) @binding(3) var<storage, read_write> roots: array<Digest>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    let place = forest_place(k, params.cohorts_at, params.cohorts);
    let at = place.base_in + 2u * place.node;
    var node = below[at];
    if (2u * place.node + 1u < place.width_in) {
        node = node_hash(node, below[at + 1u]);
    }
    if (place.width_out == 1u) {
        roots[place.tree] = swap_digest(node);
    } else {
        nodes[place.base_out + place.node] = node;
    }
}
