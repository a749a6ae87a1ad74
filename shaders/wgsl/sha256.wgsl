// SHA-256 (FIPS 180-4): the compression function and what trees need of it. Words are values: byte 0 is the highest.

// A digest or a chaining value.
struct Digest {
    a: vec4<u32>,
    b: vec4<u32>,
}

// A message block.
struct Block {
    a: vec4<u32>,
    b: vec4<u32>,
    c: vec4<u32>,
    d: vec4<u32>,
}

const SHA256_IV = Digest(
    vec4<u32>(0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au),
    vec4<u32>(0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u),
);

// Bytes as they lie in a buffer to words, and back.
fn swap_bytes(x: vec4<u32>) -> vec4<u32> {
    let pairs = ((x & vec4<u32>(0x00ff00ffu)) << vec4<u32>(8u)) | ((x >> vec4<u32>(8u)) & vec4<u32>(0x00ff00ffu));
    return (pairs << vec4<u32>(16u)) | (pairs >> vec4<u32>(16u));
}

fn swap_digest(x: Digest) -> Digest {
    return Digest(swap_bytes(x.a), swap_bytes(x.b));
}

fn sha256_rotr(x: u32, n: u32) -> u32 {
    return (x >> n) | (x << (32u - n));
}

// One round; the caller renames the working variables instead of moving them.
fn sha256_round(a: u32, b: u32, c: u32, d: ptr<function, u32>, e: u32, f: u32, g: u32, h: ptr<function, u32>, kw: u32) {
    let s1 = sha256_rotr(e, 6u) ^ sha256_rotr(e, 11u) ^ sha256_rotr(e, 25u);
    let s0 = sha256_rotr(a, 2u) ^ sha256_rotr(a, 13u) ^ sha256_rotr(a, 22u);
    let t = *h + s1 + (g ^ (e & (f ^ g))) + kw;
    *d = *d + t;
    *h = t + s0 + ((a & b) | (c & (a | b)));
}

// The word sixteen rounds on.
fn sha256_expand(w0: u32, w1: u32, w9: u32, w14: u32) -> u32 {
    let s0 = sha256_rotr(w1, 7u) ^ sha256_rotr(w1, 18u) ^ (w1 >> 3u);
    let s1 = sha256_rotr(w14, 17u) ^ sha256_rotr(w14, 19u) ^ (w14 >> 10u);
    return w0 + s0 + w9 + s1;
}

// The rounds stand unrolled: a table indexed at run time is copied to every invocation's stack.
fn sha256_compress(state: Digest, block: Block) -> Digest {
    var a = state.a.x;
    var b = state.a.y;
    var c = state.a.z;
    var d = state.a.w;
    var e = state.b.x;
    var f = state.b.y;
    var g = state.b.z;
    var h = state.b.w;
    var w0 = block.a.x;
    var w1 = block.a.y;
    var w2 = block.a.z;
    var w3 = block.a.w;
    var w4 = block.b.x;
    var w5 = block.b.y;
    var w6 = block.b.z;
    var w7 = block.b.w;
    var w8 = block.c.x;
    var w9 = block.c.y;
    var w10 = block.c.z;
    var w11 = block.c.w;
    var w12 = block.d.x;
    var w13 = block.d.y;
    var w14 = block.d.z;
    var w15 = block.d.w;
    sha256_round(a, b, c, &d, e, f, g, &h, 0x428a2f98u + w0);
    sha256_round(h, a, b, &c, d, e, f, &g, 0x71374491u + w1);
    sha256_round(g, h, a, &b, c, d, e, &f, 0xb5c0fbcfu + w2);
    sha256_round(f, g, h, &a, b, c, d, &e, 0xe9b5dba5u + w3);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x3956c25bu + w4);
    sha256_round(d, e, f, &g, h, a, b, &c, 0x59f111f1u + w5);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x923f82a4u + w6);
    sha256_round(b, c, d, &e, f, g, h, &a, 0xab1c5ed5u + w7);
    sha256_round(a, b, c, &d, e, f, g, &h, 0xd807aa98u + w8);
    sha256_round(h, a, b, &c, d, e, f, &g, 0x12835b01u + w9);
    sha256_round(g, h, a, &b, c, d, e, &f, 0x243185beu + w10);
    sha256_round(f, g, h, &a, b, c, d, &e, 0x550c7dc3u + w11);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x72be5d74u + w12);
    sha256_round(d, e, f, &g, h, a, b, &c, 0x80deb1feu + w13);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x9bdc06a7u + w14);
    sha256_round(b, c, d, &e, f, g, h, &a, 0xc19bf174u + w15);
    w0 = sha256_expand(w0, w1, w9, w14);
    sha256_round(a, b, c, &d, e, f, g, &h, 0xe49b69c1u + w0);
    w1 = sha256_expand(w1, w2, w10, w15);
    sha256_round(h, a, b, &c, d, e, f, &g, 0xefbe4786u + w1);
    w2 = sha256_expand(w2, w3, w11, w0);
    sha256_round(g, h, a, &b, c, d, e, &f, 0x0fc19dc6u + w2);
    w3 = sha256_expand(w3, w4, w12, w1);
    sha256_round(f, g, h, &a, b, c, d, &e, 0x240ca1ccu + w3);
    w4 = sha256_expand(w4, w5, w13, w2);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x2de92c6fu + w4);
    w5 = sha256_expand(w5, w6, w14, w3);
    sha256_round(d, e, f, &g, h, a, b, &c, 0x4a7484aau + w5);
    w6 = sha256_expand(w6, w7, w15, w4);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x5cb0a9dcu + w6);
    w7 = sha256_expand(w7, w8, w0, w5);
    sha256_round(b, c, d, &e, f, g, h, &a, 0x76f988dau + w7);
    w8 = sha256_expand(w8, w9, w1, w6);
    sha256_round(a, b, c, &d, e, f, g, &h, 0x983e5152u + w8);
    w9 = sha256_expand(w9, w10, w2, w7);
    sha256_round(h, a, b, &c, d, e, f, &g, 0xa831c66du + w9);
    w10 = sha256_expand(w10, w11, w3, w8);
    sha256_round(g, h, a, &b, c, d, e, &f, 0xb00327c8u + w10);
    w11 = sha256_expand(w11, w12, w4, w9);
    sha256_round(f, g, h, &a, b, c, d, &e, 0xbf597fc7u + w11);
    w12 = sha256_expand(w12, w13, w5, w10);
    sha256_round(e, f, g, &h, a, b, c, &d, 0xc6e00bf3u + w12);
    w13 = sha256_expand(w13, w14, w6, w11);
    sha256_round(d, e, f, &g, h, a, b, &c, 0xd5a79147u + w13);
    w14 = sha256_expand(w14, w15, w7, w12);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x06ca6351u + w14);
    w15 = sha256_expand(w15, w0, w8, w13);
    sha256_round(b, c, d, &e, f, g, h, &a, 0x14292967u + w15);
    w0 = sha256_expand(w0, w1, w9, w14);
    sha256_round(a, b, c, &d, e, f, g, &h, 0x27b70a85u + w0);
    w1 = sha256_expand(w1, w2, w10, w15);
    sha256_round(h, a, b, &c, d, e, f, &g, 0x2e1b2138u + w1);
    w2 = sha256_expand(w2, w3, w11, w0);
    sha256_round(g, h, a, &b, c, d, e, &f, 0x4d2c6dfcu + w2);
    w3 = sha256_expand(w3, w4, w12, w1);
    sha256_round(f, g, h, &a, b, c, d, &e, 0x53380d13u + w3);
    w4 = sha256_expand(w4, w5, w13, w2);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x650a7354u + w4);
    w5 = sha256_expand(w5, w6, w14, w3);
    sha256_round(d, e, f, &g, h, a, b, &c, 0x766a0abbu + w5);
    w6 = sha256_expand(w6, w7, w15, w4);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x81c2c92eu + w6);
    w7 = sha256_expand(w7, w8, w0, w5);
    sha256_round(b, c, d, &e, f, g, h, &a, 0x92722c85u + w7);
    w8 = sha256_expand(w8, w9, w1, w6);
    sha256_round(a, b, c, &d, e, f, g, &h, 0xa2bfe8a1u + w8);
    w9 = sha256_expand(w9, w10, w2, w7);
    sha256_round(h, a, b, &c, d, e, f, &g, 0xa81a664bu + w9);
    w10 = sha256_expand(w10, w11, w3, w8);
    sha256_round(g, h, a, &b, c, d, e, &f, 0xc24b8b70u + w10);
    w11 = sha256_expand(w11, w12, w4, w9);
    sha256_round(f, g, h, &a, b, c, d, &e, 0xc76c51a3u + w11);
    w12 = sha256_expand(w12, w13, w5, w10);
    sha256_round(e, f, g, &h, a, b, c, &d, 0xd192e819u + w12);
    w13 = sha256_expand(w13, w14, w6, w11);
    sha256_round(d, e, f, &g, h, a, b, &c, 0xd6990624u + w13);
    w14 = sha256_expand(w14, w15, w7, w12);
    sha256_round(c, d, e, &f, g, h, a, &b, 0xf40e3585u + w14);
    w15 = sha256_expand(w15, w0, w8, w13);
    sha256_round(b, c, d, &e, f, g, h, &a, 0x106aa070u + w15);
    w0 = sha256_expand(w0, w1, w9, w14);
    sha256_round(a, b, c, &d, e, f, g, &h, 0x19a4c116u + w0);
    w1 = sha256_expand(w1, w2, w10, w15);
    sha256_round(h, a, b, &c, d, e, f, &g, 0x1e376c08u + w1);
    w2 = sha256_expand(w2, w3, w11, w0);
    sha256_round(g, h, a, &b, c, d, e, &f, 0x2748774cu + w2);
    w3 = sha256_expand(w3, w4, w12, w1);
    sha256_round(f, g, h, &a, b, c, d, &e, 0x34b0bcb5u + w3);
    w4 = sha256_expand(w4, w5, w13, w2);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x391c0cb3u + w4);
    w5 = sha256_expand(w5, w6, w14, w3);
    sha256_round(d, e, f, &g, h, a, b, &c, 0x4ed8aa4au + w5);
    w6 = sha256_expand(w6, w7, w15, w4);
    sha256_round(c, d, e, &f, g, h, a, &b, 0x5b9cca4fu + w6);
    w7 = sha256_expand(w7, w8, w0, w5);
    sha256_round(b, c, d, &e, f, g, h, &a, 0x682e6ff3u + w7);
    w8 = sha256_expand(w8, w9, w1, w6);
    sha256_round(a, b, c, &d, e, f, g, &h, 0x748f82eeu + w8);
    w9 = sha256_expand(w9, w10, w2, w7);
    sha256_round(h, a, b, &c, d, e, f, &g, 0x78a5636fu + w9);
    w10 = sha256_expand(w10, w11, w3, w8);
    sha256_round(g, h, a, &b, c, d, e, &f, 0x84c87814u + w10);
    w11 = sha256_expand(w11, w12, w4, w9);
    sha256_round(f, g, h, &a, b, c, d, &e, 0x8cc70208u + w11);
    w12 = sha256_expand(w12, w13, w5, w10);
    sha256_round(e, f, g, &h, a, b, c, &d, 0x90befffau + w12);
    w13 = sha256_expand(w13, w14, w6, w11);
    sha256_round(d, e, f, &g, h, a, b, &c, 0xa4506cebu + w13);
    w14 = sha256_expand(w14, w15, w7, w12);
    sha256_round(c, d, e, &f, g, h, a, &b, 0xbef9a3f7u + w14);
    w15 = sha256_expand(w15, w0, w8, w13);
    sha256_round(b, c, d, &e, f, g, h, &a, 0xc67178f2u + w15);
    return Digest(state.a + vec4<u32>(a, b, c, d), state.b + vec4<u32>(e, f, g, h));
}
