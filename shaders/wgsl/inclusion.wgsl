// Inclusion proofs, one a thread (RFC 9162 2.1.3.2).

// A proof; digests are bytes as they came.
struct Proof {
    leaf: Digest,
    root: Digest,
    index_low: u32,
    index_high: u32,
    size_low: u32,
    size_high: u32,
    // Its nodes in the path.
    at: u32,
    len: u32,
    reserved0: u32,
    reserved1: u32,
}

struct Params {
    first: u32,
    end: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> proofs: array<Proof>;
@group(0) @binding(1) var<storage, read> path: array<Digest>;
// 1 where the proof holds, else 0.
@group(0) @binding(2) var<storage, read_write> verdicts: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    let proof = proofs[k];
    var index = u64(proof.index_low) | (u64(proof.index_high) << 32u);
    let size = u64(proof.size_low) | (u64(proof.size_high) << 32u);
    if (index >= size) {
        verdicts[k] = 0u;
        return;
    }
    var last = size - 1lu;
    var node = swap_digest(proof.leaf);
    var is_long = false;
    for (var i = 0u; i < proof.len; i++) {
        if (last == 0lu) {
            is_long = true;
            break;
        }
        let sibling = swap_digest(path[proof.at + i]);
        let is_right = (index & 1lu) == 1lu;
        let from_left = is_right || index == last;
        var left = node;
        var right = sibling;
        if (from_left) {
            left = sibling;
            right = node;
        }
        node = node_hash(left, right);
        if (from_left && !is_right) {
            while ((index & 1lu) == 0lu && index != 0lu) {
                index = index >> 1u;
                last = last >> 1u;
            }
        }
        index = index >> 1u;
        last = last >> 1u;
    }
    let root = swap_digest(proof.root);
    let is_root = all(node.a == root.a) && all(node.b == root.b);
    verdicts[k] = select(0u, 1u, is_root && last == 0lu && !is_long);
}
