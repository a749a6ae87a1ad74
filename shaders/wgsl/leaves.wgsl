// Runs of leaves of many trees, a thread each. Leaves are bytes as they came, two or three quarters of a block each.

struct Params {
    first: u32,
    end: u32,
    // The stage's cohorts.
    cohorts_at: u32,
    cohorts: u32,
    // Vectors a leaf: 2 or 3.
    quarters: u32,
    // 1 where the leaves are hashes already.
    hashed: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> leaves: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> cohorts: array<Cohort>;
// The first leaf of each tree.
@group(0) @binding(2) var<storage, read> starts: array<u32>;
@group(0) @binding(3) var<storage, read_write> nodes: array<Digest>;
@group(0) @binding(4) var<storage, read_write> roots: array<Digest>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    let place = forest_place(k, params.cohorts_at, params.cohorts);
    let start = place.node * RUN;
    let count = min(RUN, place.width_in - start);
    for (var i = 0u; i < count; i++) {
        let at = (starts[place.tree] + start + i) * params.quarters;
        var hash = swap_digest(Digest(leaves[at], leaves[at + 1u]));
        if (params.hashed == 0u) {
            var c = vec4<u32>(0u);
            if (params.quarters == 3u) {
                c = swap_bytes(leaves[at + 2u]);
            }
            hash = leaf_hash(hash.a, hash.b, c, params.quarters);
        }
        run_nodes[i] = hash;
    }
    let root = run_root(count);
    if (place.width_out == 1u) {
        roots[place.tree] = swap_digest(root);
    } else {
        nodes[place.base_out + place.node] = root;
    }
}
