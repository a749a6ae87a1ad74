// SHA-256 of padded messages of any length, from one chaining value.

struct Params {
    first: u32,
    end: u32,
    // The chaining value.
    h0: u32,
    h1: u32,
    h2: u32,
    h3: u32,
    h4: u32,
    h5: u32,
    h6: u32,
    h7: u32,
}

var<immediate> params: Params;
// Padded messages as bytes.
@group(0) @binding(0) var<storage, read> blocks: array<Block>;
// The first block of each message, and the end of the last.
@group(0) @binding(1) var<storage, read> starts: array<u32>;
// Digests as bytes.
@group(0) @binding(2) var<storage, read_write> digests: array<Digest>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    var state = Digest(
        vec4<u32>(params.h0, params.h1, params.h2, params.h3),
        vec4<u32>(params.h4, params.h5, params.h6, params.h7),
    );
    for (var i = starts[k]; i < starts[k + 1u]; i++) {
        let block = blocks[i];
        state = sha256_compress(
            state,
            Block(swap_bytes(block.a), swap_bytes(block.b), swap_bytes(block.c), swap_bytes(block.d)),
        );
    }
    digests[k] = swap_digest(state);
}
