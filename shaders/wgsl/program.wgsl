// A list of instructions that every thread walks over its own registers: what formulas with more multiplications than a
// compiler should inline run on.
//
// A program is a list of phases; a phase loads registers, computes, and stores registers. Instructions are words in
// `code`, in the order in which they run; `program.rs` writes them.

struct Params {
    first: u32,
    end: u32,
    // Elements of a slot of `a`, `b` and `c`, and the element of item 0 there.
    a_n: u32,
    a_at: u32,
    b_n: u32,
    b_at: u32,
    c_n: u32,
    c_at: u32,
    // Items of a column of `places`.
    places_n: u32,
    // Where item 0 stands in `flags_io`, or NO_FLAGS for items that start without flags and keep none.
    flags_at: u32,
    // Where the constants stand in `code`.
    constants_at: u32,
}

var<immediate> params: Params;
// Number of phases, for each the end of its loads, computations and stores; instructions; constants, 13 words each.
@group(0) @binding(0) var<storage, read> code: array<u32>;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<u32>;
@group(0) @binding(3) var<storage, read_write> c: array<u32>;
// Elements to gather from or scatter to instead of the item's own, column by column.
@group(0) @binding(4) var<storage, read> places: array<u32>;
// A word of 32 flags an item.
@group(0) @binding(5) var<storage, read_write> flags_io: array<u32>;

const REGISTERS: u32 = 24u;
const NO_COLUMN: u32 = 15u;
const NO_FLAGS: u32 = 0xffffffffu;

// The element of a slot that a load or store of item i means.
fn place_of(word: u32, i: u32, at: u32) -> u32 {
    let column = (word >> 12u) & 15u;
    if column == NO_COLUMN {
        return at + i;
    }
    return places[column * params.places_n + i];
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = params.first + id.x;
    if i >= params.end {
        return;
    }
    var registers: array<Fp, REGISTERS>;
    var flags = 0u;
    if params.flags_at != NO_FLAGS {
        flags = flags_io[params.flags_at + i];
    }
    let phases = code[0];
    var pc = 1u + 3u * phases;
    for (var phase = 0u; phase < phases; phase++) {
        let loads_end = code[1u + 3u * phase];
        let computations_end = code[2u + 3u * phase];
        let stores_end = code[3u + 3u * phase];
        for (; pc < loads_end; pc++) {
            let word = code[pc];
            let slot = (word >> 16u) * 13u;
            var r: Fp;
            switch (word >> 8u) & 15u {
                case 0u: {
                    let at = slot * params.a_n + place_of(word, i, params.a_at);
//% for j in 0..13
                    r.v{j} = a[at + {j}u * params.a_n];
//% end
                }
                case 1u: {
                    let at = slot * params.b_n + place_of(word, i, params.b_at);
//% for j in 0..13
                    r.v{j} = b[at + {j}u * params.b_n];
//% end
                }
                case 2u: {
                    let at = slot * params.c_n + place_of(word, i, params.c_at);
//% for j in 0..13
                    r.v{j} = c[at + {j}u * params.c_n];
//% end
                }
                default: {
                    let at = params.constants_at + slot;
//% for j in 0..13
                    r.v{j} = code[at + {j}u];
//% end
                }
            }
            registers[word & 0xffu] = r;
        }
        for (; pc < computations_end; pc++) {
            let word = code[pc];
            let into = (word >> 8u) & 0xffu;
            let x = registers[(word >> 16u) & 0xffu];
            let y = registers[word >> 24u];
            let flag = (word >> 3u) & 31u;
            switch word & 7u {
                case 0u: { registers[into] = fp_mul(x, y); }
                case 1u: { registers[into] = fp_lift(x, y, flag == 0u); }
                case 2u: { registers[into] = fp_select(x, y, ((flags >> flag) & 1u) != 0u); }
                case 3u: { registers[into] = fp_reduce(x); }
                case 4u: {
                    let z = fp_reduce(x);
                    let bit = select(z.v0 & 1u, u32(limbs_are_zero(z)), into == 0u);
                    flags = (flags & ~(1u << flag)) | (bit << flag);
                }
                default: {
                    // Bit 2 f + g of the table in the top byte answers for the flags f and g.
                    let f = (flags >> ((word >> 8u) & 31u)) & 1u;
                    let g = (flags >> ((word >> 16u) & 31u)) & 1u;
                    let bit = (word >> (24u + 2u * f + g)) & 1u;
                    flags = (flags & ~(1u << flag)) | (bit << flag);
                }
            }
        }
        for (; pc < stores_end; pc++) {
            let word = code[pc];
            let at = (word >> 16u) * 13u * params.c_n + place_of(word, i, params.c_at);
            let r = registers[word & 0xffu];
//% for j in 0..13
            c[at + {j}u * params.c_n] = r.v{j};
//% end
        }
    }
    if params.flags_at != NO_FLAGS {
        flags_io[params.flags_at + i] = flags;
    }
}
