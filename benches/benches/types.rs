//! Digests and the tree against bare SHA-256 over the same messages.

#![allow(missing_docs, reason = "a bench has no public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use std::hint::black_box;
use wattbook_benches::{criterion, row};
use wattbook_types::{ChainId, digest, tree};

/// Size of an envelope's leaf and header, bytes.
const LEAF: usize = 48;
const HEADER: usize = 72;

fn types(c: &mut Criterion) {
    let mut group = c.benchmark_group("types");
    for n in [16usize, 1_024] {
        let leaves = vec![[7u8; LEAF]; n];
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(row("tree_root", &format!("n={n}")), |b| {
            b.iter(|| tree::root(black_box(&leaves)))
        });
        group.bench_function(row("tree_root", &format!("base n={n}")), |b| {
            b.iter(|| {
                for _ in 0..n {
                    black_box(Sha256::digest(black_box([7u8; LEAF + 1])));
                }
                for _ in 1..n {
                    black_box(Sha256::digest(black_box([7u8; 65])));
                }
            });
        });
    }
    let (chain, header) = (ChainId::default(), [7u8; HEADER]);
    group.throughput(Throughput::Elements(1));
    group.bench_function(row("digest", "envelope"), |b| {
        b.iter(|| digest(chain, "envelope", &[black_box(&header)]))
    });
    group.bench_function(row("digest", "base"), |b| {
        b.iter(|| Sha256::digest(black_box([7u8; 64 + HEADER])))
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = types }
criterion_main!(benches);
