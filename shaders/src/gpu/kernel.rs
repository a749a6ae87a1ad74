//! What a kernel is: a stack of WGSL layers with one entry point, and how its text is assembled.
//!
//! # Invariants
//! * A layer's text enters a kernel once, after everything it needs.
//! * The assembled text is a function of the layers alone.
//!
//! # Repetition
//! A WGSL compiler need not unroll, and arrays indexed by a loop cost registers. So layers may repeat lines:
//! `//% for i in 0..13` up to its `//% end` stands for 13 copies with `{i}`, `{i+1}`, `{i+j-1}` and the like replaced; the
//! bounds may name the variables of loops around.

/// A piece of WGSL and the layers it stands on.
#[derive(Debug)]
pub struct Layer {
    /// Its name in messages.
    pub name: &'static str,
    /// WGSL, with repetitions.
    pub text: &'static str,
    /// What must stand before it.
    pub needs: &'static [&'static Layer],
}

/// One entry point `main` and what a dispatch of it is.
///
/// Bindings 0, 1, ... of group 0 are storage buffers; `var<immediate> params` is a struct of `u32` whose first two are
/// the first item of this dispatch and the end of the items (exclusive). `GROUP` is the size of a workgroup.
#[derive(Debug)]
pub struct Kernel {
    /// Its name in progress, timings and messages.
    pub name: &'static str,
    /// The layer with `main`.
    pub layer: &'static Layer,
    /// Threads of a workgroup, `GROUP` in the text.
    pub group: u32,
}

impl Kernel {
    /// The WGSL that a device compiles.
    pub fn text(&self) -> String {
        let mut seen = Vec::new();
        let mut text = format!("const GROUP: u32 = {}u;\n", self.group);
        gather(self.layer, &mut seen, &mut text);
        text
    }
}

fn gather(layer: &'static Layer, seen: &mut Vec<&'static str>, text: &mut String) {
    if seen.contains(&layer.name) {
        return;
    }
    seen.push(layer.name);
    for needed in layer.needs {
        gather(needed, seen, text);
    }
    let lines: Vec<&str> = layer.text.lines().collect();
    repeat(&lines, &[], text);
}

/// Writes `lines` with the loops of `//% for` unrolled and the variables of `bound` replaced.
fn repeat(lines: &[&str], bound: &[(&str, usize)], out: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at].trim();
        let Some(header) = line.strip_prefix("//% for ") else {
            replace(lines[at], bound, out);
            out.push('\n');
            at += 1;
            continue;
        };
        let (name, from, to) =
            parse_header(header, bound).unwrap_or_else(|| panic!("a loop reads `//% for i in 0..13`: {line}"));
        let mut depth = 1;
        let mut end = at + 1;
        while depth > 0 {
            let inner = lines.get(end).unwrap_or_else(|| panic!("no end: {line}")).trim();
            depth = match inner {
                "//% end" => depth - 1,
                _ if inner.starts_with("//% for ") => depth + 1,
                _ => depth,
            };
            end += 1;
        }
        for value in from..to {
            let mut inner = bound.to_vec();
            inner.push((name, value));
            repeat(&lines[at + 1..end - 1], &inner, out);
        }
        at = end;
    }
}

fn parse_header<'a>(header: &'a str, bound: &[(&str, usize)]) -> Option<(&'a str, usize, usize)> {
    let (name, range) = header.split_once(" in ")?;
    let (from, to) = range.split_once("..")?;
    Some((name, value_of(from, bound)?, value_of(to, bound)?))
}

fn replace(line: &str, bound: &[(&str, usize)], out: &mut String) {
    let mut rest = line;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        let inner = &rest[open + 1..];
        match inner
            .find('}')
            .and_then(|close| Some((close, value_of(&inner[..close], bound)?)))
        {
            Some((close, value)) => {
                out.push_str(&value.to_string());
                rest = &inner[close + 1..];
            }
            None => {
                out.push('{');
                rest = inner;
            }
        }
    }
    out.push_str(rest);
}

/// A sum or difference of numbers and variables, from left to right.
fn value_of(expression: &str, bound: &[(&str, usize)]) -> Option<usize> {
    let term = |text: &str| {
        let variable = bound.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        variable.or_else(|| text.parse().ok())
    };
    match expression.rfind(['+', '-']) {
        None => term(expression),
        Some(at) => {
            let (left, right) = (value_of(&expression[..at], bound)?, term(&expression[at + 1..])?);
            if expression[at..].starts_with('+') {
                left.checked_add(right)
            } else {
                left.checked_sub(right)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_repeat() {
        let mut out = String::new();
        let lines = [
            "a {x}",
            "//% for i in 1..3",
            "//% for j in i-1..2",
            "t{i+1}{i+j} {k}",
            "//% end",
            "v{i-1}",
            "//% end",
            "z",
        ];
        repeat(&lines, &[], &mut out);
        assert_eq!(out, "a {x}\nt21 {k}\nt22 {k}\nv0\nt33 {k}\nv1\nz\n");
    }

    /// How often `body` calls `callee`.
    fn calls(body: &str, callee: &str) -> usize {
        let call = format!("{callee}(");
        let is_whole = |at: usize| !body[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        body.match_indices(&call).filter(|(at, _)| is_whole(*at)).count()
    }

    /// Multiplications that a compiler finds in a function once it inlined every call; WGSL has no recursion, and
    /// functions stand in any order.
    fn sites_in(name: &str, functions: &[(&str, &str)]) -> usize {
        if matches!(name, "fp_mul" | "fp_sqr") {
            return 1;
        }
        let (_, body) = functions.iter().find(|(known, _)| *known == name).unwrap();
        let called = functions.iter().map(|(callee, _)| (calls(body, callee), *callee));
        called
            .filter(|(count, _)| *count > 0)
            .map(|(count, callee)| count * sites_in(callee, functions))
            .sum()
    }

    /// Multiplications that a compiler finds in `main`.
    fn multiplication_sites(text: &str) -> usize {
        let code: String = text
            .lines()
            .map(|line| line.split("//").next().unwrap().to_owned() + "\n")
            .collect();
        let pieces = code.split("\nfn ").skip(1);
        let functions: Vec<(&str, &str)> = pieces.map(|piece| piece.split_once('(').unwrap()).collect();
        sites_in("main", &functions)
    }

    /// NVIDIA's compiler is superlinear in inlined multiplications: 4 take 9 s, 8 take 40 s.
    #[test]
    fn kernels_inline_few_multiplications() {
        let text = "x\nfn fp_mul(a)\nfn two(a) { fp_mul(fp_mul(a)); afp_mul(1); // fp_mul(\n}\nfn main() { two(1); fp_mul(2); }";
        assert_eq!(multiplication_sites(text), 3);
        let behind = "x\nfn main() { two(1); }\nfn two(a) { fp_mul(fp_sqr(a)); }\nfn fp_mul(a)\nfn fp_sqr(a)";
        assert_eq!(multiplication_sites(behind), 2);
        for kernel in super::super::KERNELS {
            let sites = multiplication_sites(&kernel.text());
            assert!(sites <= 3, "{} inlines {sites} multiplications", kernel.name);
        }
        let sites = |name: &str| {
            let kernel = super::super::KERNELS.iter().find(|kernel| kernel.name == name);
            multiplication_sites(&kernel.unwrap().text())
        };
        assert_eq!((sites("exponent"), sites("program")), (2, 1));
    }

    #[test]
    fn layers_enter_once_in_order() {
        static A: Layer = Layer {
            name: "a",
            text: "a",
            needs: &[],
        };
        static B: Layer = Layer {
            name: "b",
            text: "b",
            needs: &[&A],
        };
        static C: Layer = Layer {
            name: "c",
            text: "c",
            needs: &[&A, &B],
        };
        let kernel = Kernel {
            name: "k",
            layer: &C,
            group: 64,
        };
        assert_eq!(kernel.text(), "const GROUP: u32 = 64u;\na\nb\nc\n");
    }
}
