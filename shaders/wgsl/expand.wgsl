// expand_message_xmd of RFC 9380 5.3.1 with SHA-256, 128 bytes of messages of 32: what hash_to_field needs for two
// elements of Fp.

struct Params {
    first: u32,
    end: u32,
    // 0: the inputs are messages; 1: they are b_0 of messages of other lengths.
    begin: u32,
}

var<immediate> params: Params;
// Messages, or b_0, as bytes.
@group(0) @binding(0) var<storage, read> messages: array<Digest>;
// Words: the two blocks of b_0 after Z_pad, then the two of b_1 .. b_4, zero where the message, b_0 ^ b_(i-1) and i go;
// then the chaining value after Z_pad, in half a block.
@group(0) @binding(1) var<storage, read> suite: array<Block>;
// `uniform_bytes` word by word, the highest byte first: word w of message i at w * N + i. Words 0 .. 15 are the first
// element, 16 .. 31 the second.
@group(0) @binding(2) var<storage, read_write> expanded: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let k = params.first + id.x;
    if (k >= params.end) {
        return;
    }
    let stride = arrayLength(&expanded) / 32u;
    let message = swap_digest(messages[k]);
    var b0 = message;
    // What goes into the next hash: the message, then b_0, then b_0 ^ b_(i-1).
    var body = message;
    for (var i = params.begin; i < 5u; i++) {
        var state = SHA256_IV;
        if (i == 0u) {
            state = Digest(suite[4].a, suite[4].b);
        }
        for (var half = 0u; half < 2u; half++) {
            var block = suite[2u * min(i, 1u) + half];
            if (half == 0u) {
                block.a = body.a;
                block.b = body.b;
                block.c.x = block.c.x | (i << 24u);
            }
            state = sha256_compress(state, block);
        }
        if (i == 0u) {
            b0 = state;
            body = state;
        } else {
            let at = (i - 1u) * 8u * stride + k;
            expanded[at] = state.a.x;
            expanded[at + stride] = state.a.y;
            expanded[at + 2u * stride] = state.a.z;
            expanded[at + 3u * stride] = state.a.w;
            expanded[at + 4u * stride] = state.b.x;
            expanded[at + 5u * stride] = state.b.y;
            expanded[at + 6u * stride] = state.b.z;
            expanded[at + 7u * stride] = state.b.w;
            body = Digest(b0.a ^ state.a, b0.b ^ state.b);
        }
    }
}
