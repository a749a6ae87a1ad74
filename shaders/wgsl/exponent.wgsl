// x^e for one fixed exponent e and many x, as a list of steps that every thread walks: begin anew from a power in the
// table, square so often, multiply by a power in the table, keep the result in the table.

struct Params {
    first: u32,
    end: u32,
    // Elements of a slot of `io`, and the slots of x and of the result.
    n: u32,
    source: u32,
    goal: u32,
}

const NONE: u32 = 31u;
// The odd powers up to x^15.
const POWERS: u32 = 8u;

var<immediate> params: Params;
// Squarings, at least one, in bits 0-7, the power to multiply by in 8-12, that to begin from in 16-20, the place to keep
// the result in 24-28.
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
    powers[0] = r;
    let count = arrayLength(&steps);
    for (var s = 0u; s < count; s++) {
        let step = steps[s];
        let start = (step >> 16u) & 31u;
        if start != NONE {
            r = powers[start];
        }
        // Not a `while`: a device without branches runs the body of a loop once more than its condition holds.
        var left = step & 0xffu;
        loop {
            r = fp_sqr(r);
            left--;
            continuing {
                break if left == 0u;
            }
        }
        let power = (step >> 8u) & 31u;
        if power != NONE {
            r = fp_mul(r, powers[power]);
        }
        let place = step >> 24u;
        if place != NONE {
            powers[place] = r;
        }
    }
    let goal_at = params.goal * 13u * params.n + i;
//% for j in 0..13
    io[goal_at + {j}u * params.n] = r.v{j};
//% end
}
