// Several levels of many trees at once: a workgroup makes one node of up to 1024 neighbours, a thread of four of them, and
// the workgroup of what its threads made.

struct Params {
    first: u32,
    end: u32,
    // The stage's cohorts.
    cohorts_at: u32,
    cohorts: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> below: array<Digest>;
@group(0) @binding(1) var<storage, read> cohorts: array<Cohort>;
@group(0) @binding(2) var<storage, read_write> nodes: array<Digest>;
@group(0) @binding(3) var<storage, read_write> roots: array<Digest>;

var<workgroup> made: array<Digest, GROUP>;

// Dispatches hold whole workgroups, so that every thread comes to every barrier.
@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let place = forest_place(params.first / GROUP + group.x, params.cohorts_at, params.cohorts);
    let start = place.node * (RUN * GROUP);
    var width = min(RUN * GROUP, place.width_in - start);
    let mine = min(RUN * lane, width);
    let count = min(RUN, width - mine);
    for (var i = 0u; i < count; i++) {
        run_nodes[i] = below[place.base_in + start + mine + i];
    }
    made[lane] = run_root(count);
    width = (width + RUN - 1u) / RUN;
    // The size of a workgroup, halved until one is left.
    for (var size = GROUP; size > 1u; size = size / 2u) {
        workgroupBarrier();
        let at = min(2u * lane, GROUP - 2u);
        var node = made[at];
        if (2u * lane + 1u < width) {
            node = node_hash(node, made[at + 1u]);
        }
        workgroupBarrier();
        if (2u * lane < width) {
            made[lane] = node;
        }
        width = (width + 1u) / 2u;
    }
    if (lane == 0u) {
        if (place.width_out == 1u) {
            roots[place.tree] = swap_digest(made[0]);
        } else {
            nodes[place.base_out + place.node] = made[0];
        }
    }
}
