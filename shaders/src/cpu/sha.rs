//! SHA-256 of leaves and nodes by the processor's own instructions, two messages in turn.
//!
//! A round waits for the one before it, so one message keeps the unit half busy; two that do not depend on each other
//! fill it. Messages of trees have few shapes, whose blocks are put together in registers.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_loadu_si128, _mm_or_si128, _mm_set_epi8,
    _mm_set_epi32, _mm_setzero_si128, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32,
    _mm_shuffle_epi8, _mm_shuffle_epi32, _mm_slli_si128, _mm_srli_si128, _mm_storeu_si128,
};

/// The words of a block, big-endian, four a register.
type Block = [__m128i; 4];
/// A chaining value as the instructions take it: words F, E, B, A and H, G, D, C, the lowest first.
type State = [__m128i; 2];

/// FIPS 180-4 4.2.2.
static K: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];

/// Two compressions, a round of one and a round of the other.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn compress(states: [State; 2], blocks: [Block; 2]) -> [State; 2] {
    let [[mut a0, mut a1], [mut b0, mut b1]] = states;
    let [mut a, mut b] = blocks;
    macro_rules! rounds {
        ($($at:literal)*) => { $({
            const AT: usize = $at;
            if AT >= 4 {
                let next = |w: &Block| {
                    let [oldest, second, third, newest] = [w[AT % 4], w[(AT + 1) % 4], w[(AT + 2) % 4], w[(AT + 3) % 4]];
                    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(oldest, second), _mm_alignr_epi8::<4>(newest, third));
                    _mm_sha256msg2_epu32(sum, newest)
                };
                a[AT % 4] = next(&a);
                b[AT % 4] = next(&b);
            }
            // SAFETY: 16 bytes are read from 16, at any alignment.
            let k = unsafe { _mm_loadu_si128(K[AT].as_ptr().cast()) };
            let (wa, wb) = (_mm_add_epi32(a[AT % 4], k), _mm_add_epi32(b[AT % 4], k));
            a1 = _mm_sha256rnds2_epu32(a1, a0, wa);
            b1 = _mm_sha256rnds2_epu32(b1, b0, wb);
            a0 = _mm_sha256rnds2_epu32(a0, a1, _mm_shuffle_epi32::<0x0e>(wa));
            b0 = _mm_sha256rnds2_epu32(b0, b1, _mm_shuffle_epi32::<0x0e>(wb));
        })* };
    }
    rounds!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    let sums = |state: State, low, high| [_mm_add_epi32(state[0], low), _mm_add_epi32(state[1], high)];
    [sums(states[0], a0, a1), sums(states[1], b0, b1)]
}

/// FIPS 180-4 5.3.3.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn start() -> State {
    let word = |word: u32| word.cast_signed();
    [
        _mm_set_epi32(
            word(0x6a09_e667),
            word(0xbb67_ae85),
            word(0x510e_527f),
            word(0x9b05_688c),
        ),
        _mm_set_epi32(
            word(0x3c6e_f372),
            word(0xa54f_f53a),
            word(0x1f83_d9ab),
            word(0x5be0_cd19),
        ),
    ]
}

/// The other byte order in every word.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn swapped(words: __m128i) -> __m128i {
    _mm_shuffle_epi8(
        words,
        _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3),
    )
}

/// The digest of a chaining value.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn digest(state: State) -> [u8; 32] {
    let (abef, cdgh) = (_mm_shuffle_epi32::<0x1b>(state[0]), _mm_shuffle_epi32::<0xb1>(state[1]));
    let halves = [
        swapped(_mm_blend_epi16::<0xf0>(abef, cdgh)),
        swapped(_mm_alignr_epi8::<8>(cdgh, abef)),
    ];
    let mut out = [0; 32];
    for (half, out) in halves.iter().zip(out.as_chunks_mut::<16>().0) {
        // SAFETY: 16 bytes are written to 16, at any alignment.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), *half) };
    }
    out
}

/// The block of a leaf of `LEN` bytes, 32 or 48: `0x00 || leaf || padding`.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn leaf_block<const LEN: usize>(leaf: &[u8; LEN]) -> Block {
    const { assert!(LEN == 32 || LEN == 48, "whole registers, and one block") };
    let chunks = leaf.as_chunks::<16>().0;
    // SAFETY: 16 bytes are read from 16, at any alignment.
    let load = |at: usize| unsafe { _mm_loadu_si128(chunks[at].as_ptr().cast()) };
    let bits = _mm_set_epi32(8 * (LEN as i32 + 1), 0, 0, 0);
    // Behind the last byte of the leaf a one, then zeros.
    let tail = |last: __m128i| {
        let one = _mm_slli_si128::<1>(_mm_set_epi32(0, 0, 0, 0x80));
        swapped(_mm_or_si128(_mm_srli_si128::<15>(last), one))
    };
    let (first, second) = (load(0), load(1));
    let head = [
        swapped(_mm_slli_si128::<1>(first)),
        swapped(_mm_alignr_epi8::<15>(second, first)),
    ];
    if LEN == 32 {
        [head[0], head[1], tail(second), bits]
    } else {
        let third = load(2);
        let middle = swapped(_mm_alignr_epi8::<15>(third, second));
        [head[0], head[1], middle, _mm_or_si128(tail(third), bits)]
    }
}

/// The two blocks of a node: `0x01 || left || right || padding`.
#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
#[inline]
fn node_blocks(children: &[[u8; 32]; 2]) -> [Block; 2] {
    let chunks = children.as_flattened().as_chunks::<16>().0;
    // SAFETY: 16 bytes are read from 16, at any alignment.
    let load = |at: usize| unsafe { _mm_loadu_si128(chunks[at].as_ptr().cast()) };
    let [a, b, c, d] = [load(0), load(1), load(2), load(3)];
    let first = [
        swapped(_mm_or_si128(_mm_slli_si128::<1>(a), _mm_set_epi32(0, 0, 0, 1))),
        swapped(_mm_alignr_epi8::<15>(b, a)),
        swapped(_mm_alignr_epi8::<15>(c, b)),
        swapped(_mm_alignr_epi8::<15>(d, c)),
    ];
    let last = u32::from_be_bytes([children[1][31], 0x80, 0, 0]);
    let zero = _mm_setzero_si128();
    let second = [
        _mm_set_epi32(0, 0, 0, last.cast_signed()),
        zero,
        zero,
        _mm_set_epi32(8 * 65, 0, 0, 0),
    ];
    [first, second]
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn leaves_inner<const LEN: usize>(leaves: &[[u8; LEN]], out: &mut [[u8; 32]]) {
    for (pair, out) in leaves.chunks(2).zip(out.chunks_mut(2)) {
        // A last one alone goes twice.
        let last = &pair[pair.len() - 1];
        let states = compress([start(), start()], [leaf_block(&pair[0]), leaf_block(last)]);
        for (out, state) in out.iter_mut().zip(states) {
            *out = digest(state);
        }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn level_inner(nodes: &mut [[u8; 32]]) {
    let pairs = nodes.len() / 2;
    for at in (0..pairs).step_by(2) {
        let children = |at: usize| [nodes[2 * at], nodes[2 * at + 1]];
        let both = at + 1 < pairs;
        let (one, other) = (
            node_blocks(&children(at)),
            node_blocks(&children(if both { at + 1 } else { at })),
        );
        let states = compress([start(), start()], [one[0], other[0]]);
        let states = compress(states, [one[1], other[1]]);
        nodes[at] = digest(states[0]);
        if both {
            nodes[at + 1] = digest(states[1]);
        }
    }
}

#[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
fn bare_inner(blocks: usize) -> [[u8; 32]; 2] {
    let mut states = [start(), start()];
    for _ in 0..blocks.div_ceil(2) {
        let block = core::hint::black_box([_mm_set_epi32(1, 2, 3, 4); 4]);
        states = compress(states, [block, block]);
    }
    states.map(|state| digest(state))
}

/// The instructions; a value of this type is proof that the processor has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sha(());

impl Sha {
    /// `None` where the processor lacks them.
    pub(crate) fn detect() -> Option<Self> {
        let is_there = std::arch::is_x86_feature_detected!("sha")
            && std::arch::is_x86_feature_detected!("ssse3")
            && std::arch::is_x86_feature_detected!("sse4.1");
        is_there.then_some(Self(()))
    }

    /// `SHA-256(0x00 || leaf)` of every leaf, of 32 or 48 bytes, into as many places.
    pub(crate) fn leaves<const LEN: usize>(self, leaves: &[[u8; LEN]], out: &mut [[u8; 32]]) {
        // SAFETY: a value of this type is made only where the instructions were found.
        unsafe { leaves_inner(leaves, out) }
    }

    /// `SHA-256(0x01 || left || right)` of every two nodes, into the first half of the places; an odd one out is left
    /// alone.
    pub(crate) fn level(self, nodes: &mut [[u8; 32]]) {
        // SAFETY: as above.
        unsafe { level_inner(nodes) }
    }

    /// So many compressions over a block that stands ready, in two chains: the most that the instructions give.
    pub(crate) fn bare(self, blocks: usize) -> [[u8; 32]; 2] {
        // SAFETY: as above.
        unsafe { bare_inner(blocks) }
    }
}
