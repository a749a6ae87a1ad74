// Each function of the field by itself: item i of `r` is the operation `what` on items i of `a` and `b`.

struct Params {
    first: u32,
    end: u32,
    n: u32,
    what: u32,
}

var<immediate> params: Params;
@group(0) @binding(0) var<storage, read> a: array<u32>;
@group(0) @binding(1) var<storage, read> b: array<u32>;
@group(0) @binding(2) var<storage, read_write> r: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = params.first + id.x;
    if i >= params.end {
        return;
    }
    var x: Fp;
    var y: Fp;
    var z: Fp;
//% for j in 0..13
    x.v{j} = a[{j}u * params.n + i];
    y.v{j} = b[{j}u * params.n + i];
//% end
    switch params.what {
        case 0u: { z = fp_mul(x, y); }
        case 1u: { z = fp_sqr(x); }
        case 2u: { z = fp_add(x, y); }
        case 3u: { z = fp_sub(x, y); }
        case 4u: { z = fp_reduce(x); }
        default: { z.v0 = u32(fp_is_zero(x)); }
    }
//% for j in 0..13
    r[{j}u * params.n + i] = z.v{j};
//% end
}
