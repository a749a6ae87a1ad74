// The hashes of an RFC 9162 tree.

// SHA-256(0x01 || left || right): 65 bytes, two blocks.
fn node_hash(left: Digest, right: Digest) -> Digest {
    let l = left;
    let r = right;
    let first = Block(
        (vec4<u32>(0x01u, l.a.xyz) << vec4<u32>(24u)) | (l.a >> vec4<u32>(8u)),
        (vec4<u32>(l.a.w, l.b.xyz) << vec4<u32>(24u)) | (l.b >> vec4<u32>(8u)),
        (vec4<u32>(l.b.w, r.a.xyz) << vec4<u32>(24u)) | (r.a >> vec4<u32>(8u)),
        (vec4<u32>(r.a.w, r.b.xyz) << vec4<u32>(24u)) | (r.b >> vec4<u32>(8u)),
    );
    let second = Block(
        vec4<u32>((r.b.w << 24u) | 0x00800000u, 0u, 0u, 0u),
        vec4<u32>(0u),
        vec4<u32>(0u),
        vec4<u32>(0u, 0u, 0u, 520u),
    );
    return sha256_compress(sha256_compress(SHA256_IV, first), second);
}

// SHA-256(0x00 || leaf) of a leaf of two or three quarters of a block: 33 or 49 bytes.
fn leaf_hash(a: vec4<u32>, b: vec4<u32>, c: vec4<u32>, quarters: u32) -> Digest {
    let is_long = quarters == 3u;
    let block = Block(
        (vec4<u32>(0u, a.xyz) << vec4<u32>(24u)) | (a >> vec4<u32>(8u)),
        (vec4<u32>(a.w, b.xyz) << vec4<u32>(24u)) | (b >> vec4<u32>(8u)),
        vec4<u32>(
            (b.w << 24u) | select(0x00800000u, c.x >> 8u, is_long),
            select(0u, (c.x << 24u) | (c.y >> 8u), is_long),
            select(0u, (c.y << 24u) | (c.z >> 8u), is_long),
            select(0u, (c.z << 24u) | (c.w >> 8u), is_long),
        ),
        vec4<u32>(select(0u, (c.w << 24u) | 0x00800000u, is_long), 0u, 0u, select(264u, 392u, is_long)),
    );
    return sha256_compress(SHA256_IV, block);
}
