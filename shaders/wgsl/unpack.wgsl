// Encodings of points and uniform bytes, taken apart into numbers.

struct Params {
    first: u32,
    end: u32,
    // Elements of a slot of `io`, and the element of item 0.
    n: u32,
    at: u32,
    // 0: items are compressed points, 12 words each as the bytes lie, into slot 0. 1: items are elements of 64 uniform
    // bytes, the first of every message and then the second; word w of message i is `bytes[w * messages + i]`, of the
    // first element w = 0..16, highest first; into slot 0 what is below 2^384, into slot 1 the rest.
    kind: u32,
    messages: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> bytes: array<u32>;
@group(0) @binding(1) var<storage, read_write> io: array<u32>;
// Flags of compressed points, as `roots.rs` numbers them.
@group(0) @binding(2) var<storage, read_write> flags: array<u32>;

const BAD_ENCODING: u32 = 1u;
const INFINITY: u32 = 2u;
const LARGER: u32 = 4u;

fn swap_bytes(word: u32) -> u32 {
    return (word << 24u) | ((word & 0xff00u) << 8u) | ((word >> 8u) & 0xff00u) | (word >> 24u);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = params.first + id.x;
    if i >= params.end {
        return;
    }
    // 512 bits, lowest word first.
//% for w in 0..16
    var w{w} = 0u;
//% end
    if params.kind == 0u {
//% for w in 0..12
        w{w} = swap_bytes(bytes[12u * i + 11u - {w}u]);
//% end
        let top = w11;
        w11 &= 0x1fffffffu;
        var any = 0u;
//% for w in 0..12
        any |= w{w};
//% end
        let infinite = (top & 0x40000000u) != 0u;
        var found = 0u;
        if (top & 0x80000000u) == 0u || (infinite && (any != 0u || (top & 0x20000000u) != 0u)) {
            found = BAD_ENCODING;
        } else if infinite {
            found = INFINITY;
        } else {
            found = select(0u, LARGER, (top & 0x20000000u) != 0u);
        }
        flags[i] = found;
    } else {
        let element = i / params.messages;
        let at = 16u * element * params.messages + i % params.messages;
//% for w in 0..16
        w{w} = bytes[at + (15u - {w}u) * params.messages];
//% end
    }
    let low = array<u32, 13>(w0, w1, w2, w3, w4, w5, w6, w7, w8, w9, w10, w11, 0u);
    let high = array<u32, 5>(w12, w13, w14, w15, 0u);
    var x: Fp;
//% for j in 0..13
    x.v{j} = u32((u64(low[{j}u * 30u / 32u]) | (u64(low[min({j}u * 30u / 32u + 1u, 12u)]) << 32u)) >> ({j}u * 30u % 32u)) & MASK;
//% end
    let at = params.at + i;
    if params.kind == 0u {
        // The carry is 0 or -1 and ends as the latter where x < p.
        var c = 0i;
//% for j in 0..13
        c = (i32(x.v{j}) - i32(P{j}) + c) >> LIMB;
//% end
        let found = flags[i];
        flags[i] = select(BAD_ENCODING, found, c < 0i || (found & INFINITY) != 0u);
        var zero: Fp;
        x = fp_select(x, zero, c < 0i);
    } else {
        var y: Fp;
//% for j in 0..5
        y.v{j} = u32((u64(high[{j}u * 30u / 32u]) | (u64(high[min({j}u * 30u / 32u + 1u, 4u)]) << 32u)) >> ({j}u * 30u % 32u)) & MASK;
//% end
//% for j in 0..13
        io[({j}u + 13u) * params.n + at] = y.v{j};
//% end
    }
//% for j in 0..13
    io[{j}u * params.n + at] = x.v{j};
//% end
}
