// x^e for one fixed exponent e and many x, as a list of steps that every thread walks: square so often, multiply by or
// load a power from the table, keep the result in the table.

struct Params {
    first: u32,
    end: u32,
    // Elements of a slot of `io`, and the slots of x and of the result.
    n: u32,
    source: u32,
    goal: u32,
}

const NO_POWER: u32 = 31u;
// Of odd powers up to x^31, and x^2.
const POWERS: u32 = 17u;

var<immediate> params: Params;
// Squarings in bits 0-7, power in 8-12, whether that is loaded in 15, place to keep the result in 16-20.
@group(0) @binding(0) var<storage, read> steps: array<u32>;
@group(0) @binding(1) var<storage, read_write> io: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = params.first + id.x;
    if i >= params.end {
        return;
    }
    var powers: array<Fp, POWERS>;
    var r: Fp;
    let source_at = params.source * 13u * params.n + i;
//% for j in 0..13
    r.v{j} = io[source_at + {j}u * params.n];
//% end
    let count = arrayLength(&steps);
    for (var s = 0u; s < count; s++) {
        let step = steps[s];
        for (var k = step & 0xffu; k > 0u; k--) {
            r = fp_sqr(r);
        }
        let power = (step >> 8u) & 31u;
        if power != NO_POWER {
            let x = powers[power];
            if (step & 0x8000u) != 0u {
                r = x;
            } else {
                r = fp_mul(r, x);
            }
        }
        let place = (step >> 16u) & 31u;
        if place != NO_POWER {
            powers[place] = r;
        }
    }
    let goal_at = params.goal * 13u * params.n + i;
//% for j in 0..13
    io[goal_at + {j}u * params.n] = r.v{j};
//% end
}
