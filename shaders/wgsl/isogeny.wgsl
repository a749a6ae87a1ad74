// The 11-isogeny of RFC 9380 E.2 over homogeneous points: each of its four polynomials by Horner's rule, highest
// coefficient first, with powers of Z that make it homogeneous.

struct Params {
  first: u32,
  end: u32,
  // Elements of `source` and of `images`, and where in `images` the first goes.
  source_len: u32,
  images_len: u32,
  into: u32,
  // Ends of the programs: scaling, one coefficient, the image from the polynomials.
  scale_end: u32,
  step_end: u32,
  image_end: u32,
}
var<immediate> params: Params;
// Scales of x and y, one, then the coefficients of the four polynomials.
@group(0) @binding(1) var<storage, read> constants: array<u32>;
// Points of E1', scaled.
@group(0) @binding(2) var<storage, read> source: array<u32>;
// Points of E1.
@group(0) @binding(3) var<storage, read_write> images: array<u32>;

// Registers: the point (3), the polynomials (4), a polynomial under way, the power of Z, a constant, another.
const POLYNOMIALS = 3u;
const SUM = 7u;
const POWER = 8u;
const CONSTANT = 9u;
const ONE = 2u;

fn constant(at: u32) -> Fp {
  var value: Fp;
  //% for i in 0..13
  value.v{i} = constants[at * 13u + {i}u];
  //% end
  return value;
}

// Where the polynomials end among the constants.
fn end_of(polynomial: u32) -> u32 {
  switch polynomial {
    case 0u: { return 15u; }
    case 1u: { return 26u; }
    case 2u: { return 42u; }
    default: { return 58u; }
  }
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = params.first + id.x;
  if i >= params.end { return; }
  for (var slot = 0u; slot < 3u; slot++) {
    var value: Fp;
    //% for i in 0..13
    value.v{i} = source[(slot * 13u + {i}u) * params.source_len + i];
    //% end
    registers[slot] = value;
  }
  var zero: Fp;
  registers[CONSTANT] = constant(0u);
  registers[CONSTANT + 1u] = constant(1u);
  registers[SUM] = zero;
  registers[POWER] = constant(ONE);
  var begin = 0u;
  var end = params.scale_end;
  var next = ONE + 1u;
  var polynomial = 0u;
  loop {
    run(begin, end);
    if end == params.image_end { break; }
    if next == end_of(polynomial) {
      registers[POLYNOMIALS + polynomial] = registers[SUM];
      registers[SUM] = zero;
      registers[POWER] = constant(ONE);
      polynomial++;
    }
    if polynomial == 4u {
      begin = params.step_end;
      end = params.image_end;
    } else {
      begin = params.scale_end;
      end = params.step_end;
      registers[CONSTANT] = constant(next);
      next++;
    }
  }
  for (var slot = 0u; slot < 3u; slot++) {
    let value = registers[slot];
    let to = slot * 13u * params.images_len + params.into + i;
    //% for i in 0..13
    images[to + {i}u * params.images_len] = value.v{i};
    //% end
  }
}
