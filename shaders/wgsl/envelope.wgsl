// D("envelope", H) of headers of 72 bytes: two blocks after the constant one of tag and chain.

struct Params {
    first: u32,
    end: u32,
    // The chaining value after the first block.
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
// Headers as bytes, two words a vector.
@group(0) @binding(0) var<storage, read> headers: array<vec2<u32>>;
// Digests as bytes.
@group(0) @binding(1) var<storage, read_write> digests: array<Digest>;

fn header_quarter(at: u32) -> vec4<u32> {
    return swap_bytes(vec4<u32>(headers[at], headers[at + 1u]));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    let at = 9u * k;
    let tail = swap_bytes(vec4<u32>(headers[at + 8u], 0u, 0u));
    var state = Digest(
        vec4<u32>(params.h0, params.h1, params.h2, params.h3),
        vec4<u32>(params.h4, params.h5, params.h6, params.h7),
    );
    var block = Block(header_quarter(at), header_quarter(at + 2u), header_quarter(at + 4u), header_quarter(at + 6u));
    for (var i = 0u; i < 2u; i++) {
        state = sha256_compress(state, block);
        // The end: eight bytes, padding, the length of 136 bytes.
        block = Block(
            vec4<u32>(tail.xy, 0x80000000u, 0u),
            vec4<u32>(0u),
            vec4<u32>(0u),
            vec4<u32>(0u, 0u, 0u, 1088u),
        );
    }
    digests[k] = swap_digest(state);
}
