//! Roots and inclusion proofs of the device beside those of the CPU and published ones.

use super::tree::{Forest, Inclusion, LEAVES, LEVEL, LeafKind, inclusions, roots};
use super::{Choice, Device, Dispatch, Error, test_device};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde_json::Value;
use wattbook_types::tree::{inclusion_proof, leaf_hash, root, root_of_hashes, verify_inclusion};
use wattbook_types::{Hash, sha256};

fn bytes_of(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// The roots of the CPU, after those of the device were found the same.
fn check(sizes: &[u32], kind: LeafKind, seed: u64) -> Result<Vec<Hash>, Error> {
    let total: usize = sizes.iter().map(|size| *size as usize).sum();
    let bytes = bytes_of(total * kind.size(), seed);
    let mut rest: Vec<&[u8]> = bytes.chunks(kind.size()).collect();
    let expected: Vec<Hash> = sizes
        .iter()
        .map(|size| {
            let leaves: Vec<&[u8]> = rest.drain(..*size as usize).collect();
            match kind {
                LeafKind::Hashed => root_of_hashes(leaves.iter().map(|leaf| Hash((*leaf).try_into().unwrap()))),
                _ => root(&leaves),
            }
        })
        .collect();
    let found = roots(test_device(), &bytes, kind, sizes)?;
    assert_eq!(found.len(), expected.len());
    for (tree, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert_eq!(found, expected, "tree {tree} of {} leaves, {kind:?}", sizes[tree]);
    }
    Ok(expected)
}

#[test]
fn every_small_size_at_once() -> Result<(), Error> {
    let up: Vec<u32> = (0..=70).collect();
    let down: Vec<u32> = (1..=70).rev().collect();
    for (seed, kind) in (1..).zip([LeafKind::Short, LeafKind::Long, LeafKind::Hashed]) {
        check(&up, kind, seed)?;
        check(&down, kind, seed)?;
    }
    Ok(())
}

/// Sizes around those at which runs, workgroups and stages end, each once beside the others and with company of its size.
#[test]
fn right_edges_of_every_stage() -> Result<(), Error> {
    let around = |edge: u32| edge - 2..=edge + 2;
    let mut sizes: Vec<u32> = [16, 64, 1_024, 1_028, 2_048, 4_096, 4_100, 5_120, 8_192]
        .into_iter()
        .flat_map(around)
        .collect();
    sizes.extend([3, 0, 1, 4_097, 4_097, 1_025, 12_289]);
    check(&sizes, LeafKind::Long, 11)?;
    sizes.reverse();
    check(&sizes, LeafKind::Hashed, 12)?;
    check(&[(1 << 20) - 1], LeafKind::Hashed, 13).map(drop)
}

/// What a forest takes: one dispatch for small trees, two up to 4096 leaves, three for a million.
#[test]
fn forests_take_few_dispatches() -> Result<(), Error> {
    let device = Device::open(&Choice {
        timed: true,
        ..Choice::default()
    })?;
    for (sizes, dispatches) in [(&[4, 1, 3, 0, 2][..], 1), (&[4_096, 4, 5], 2), (&[1 << 20], 3)] {
        let forest = Forest::new(sizes);
        let leaves = device.buffer("leaves", forest.leaves() * 8);
        let placed = forest.place(&device);
        let mut commands = device.commands();
        let download = forest.run(&mut commands, &placed, &leaves, LeafKind::Hashed);
        let mut outcome = commands.submit().wait()?;
        assert_eq!(forest.roots(&mut outcome, download).len(), sizes.len());
        // A device without a clock tells no times.
        let times = outcome.times().len();
        assert!(times == dispatches || times == 0, "{times} dispatches for {sizes:?}");
        assert_eq!(forest.stages(), dispatches);
    }
    Ok(())
}

#[test]
fn mixes_of_sizes() -> Result<(), Error> {
    let mut dice = ChaCha8Rng::seed_from_u64(7);
    for round in 0..12 {
        let trees = dice.next_u32() % 300;
        let sizes: Vec<u32> = (0..trees)
            .map(|_| dice.next_u32() % (1 << (dice.next_u32() % 10)))
            .collect();
        check(&sizes, LeafKind::Long, round)?;
    }
    check(&[1; 3000], LeafKind::Long, 1)?;
    check(&[], LeafKind::Long, 1)?;
    check(&[0, 0], LeafKind::Long, 1).map(drop)
}

#[test]
fn one_leaf_more_than_complete() -> Result<(), Error> {
    check(&[3, (1 << 16) + 1, 3], LeafKind::Short, 5).map(drop)
}

#[test]
fn trees_larger_than_a_submission() -> Result<(), Error> {
    // Two submissions and a half, so that one waits for another; leaves that are hashes cost no leaf hash.
    check(&[(2 << 20) + (1 << 19) + 3, 5, 0, 1], LeafKind::Hashed, 6).map(drop)
}

#[test]
fn reference_tree_of_rfc_6962() -> Result<(), Error> {
    let file: Value =
        serde_json::from_str(include_str!("../../tests/vectors/merkle/rfc6962_reference_tree.json")).unwrap();
    let list = |value: &Value| -> Vec<Vec<u8>> {
        let list = value.as_array().unwrap().iter();
        list.map(|text| hex::decode(text.as_str().unwrap()).unwrap()).collect()
    };
    let hashes: Vec<Hash> = list(&file["leaf_inputs"]).iter().map(|leaf| leaf_hash(leaf)).collect();
    let expected: Vec<Hash> = list(&file["roots_by_size"])
        .into_iter()
        .map(|root| Hash(root.try_into().unwrap()))
        .collect();
    assert_eq!(expected.len(), 9);
    let sizes: Vec<u32> = (0..9).collect();
    let bytes: Vec<u8> = (0..9)
        .flat_map(|size| &hashes[..size])
        .flat_map(|hash| hash.0)
        .collect();
    assert_eq!(roots(test_device(), &bytes, LeafKind::Hashed, &sizes)?, expected);
    let paths = file["audit_paths"].as_array().unwrap();
    let paths: Vec<(u64, usize, Vec<Hash>)> = paths
        .iter()
        .map(|case| {
            let path = list(&case["path"])
                .into_iter()
                .map(|node| Hash(node.try_into().unwrap()));
            let number = |key: &str| case[key].as_u64().unwrap();
            (
                number("leaf_index_1based"),
                number("tree_size") as usize,
                path.collect(),
            )
        })
        .filter(|(index, ..)| *index > 0)
        .collect();
    assert!(paths.len() >= 5);
    let claims: Vec<Inclusion<'_>> = paths
        .iter()
        .map(|(index, size, path)| Inclusion {
            leaf: hashes[*index as usize - 1],
            index: index - 1,
            size: *size as u64,
            path,
            root: expected[*size],
        })
        .collect();
    assert_eq!(inclusions(test_device(), &claims)?, vec![true; claims.len()]);
    Ok(())
}

#[test]
fn published_probes_of_inclusion() -> Result<(), Error> {
    let file: Value = serde_json::from_str(include_str!("../../tests/vectors/merkle/inclusion.json")).unwrap();
    let hash = |value: &Value| -> Option<Hash> {
        let bytes = hex::decode(value.as_str().unwrap()).unwrap();
        bytes.try_into().ok().map(Hash)
    };
    let (mut cases, mut unsayable) = (Vec::new(), 0);
    for case in file.as_array().unwrap() {
        let path: Option<Vec<Hash>> = case["proof"].as_array().unwrap().iter().map(hash).collect();
        match (hash(&case["leafHash"]), hash(&case["root"]), path) {
            (Some(leaf), Some(root), Some(path)) => cases.push((case, leaf, root, path)),
            // What is not 32 bytes is no hash here.
            _ => {
                assert_eq!(case["wantErr"], true, "{}", case["name"]);
                unsayable += 1;
            }
        }
    }
    assert_eq!((cases.len() + unsayable, file.as_array().unwrap().len()), (98, 98));
    let claims: Vec<Inclusion<'_>> = cases
        .iter()
        .map(|(case, leaf, root, path)| Inclusion {
            leaf: *leaf,
            index: case["leafIdx"].as_u64().unwrap(),
            size: case["treeSize"].as_u64().unwrap(),
            path,
            root: *root,
        })
        .collect();
    let found = inclusions(test_device(), &claims)?;
    let mut held = 0;
    for ((case, ..), found) in cases.iter().zip(found) {
        assert_eq!(found, case["wantErr"] == false, "{}", case["name"]);
        held += usize::from(found);
    }
    assert!(held > 0 && held < cases.len());
    Ok(())
}

#[test]
pub(super) fn every_leaf_proves_and_nothing_else() -> Result<(), Error> {
    let hashes: Vec<Hash> = (0..70u64).map(|i| sha256(&[&i.to_le_bytes()])).collect();
    // Proofs of every leaf of every size, then the same with one thing wrong.
    let mut proofs = Vec::new();
    for size in 1..=hashes.len() {
        let root = root_of_hashes(hashes[..size].iter().copied());
        for index in 0..size {
            proofs.push((index, size, inclusion_proof(&hashes[..size], index).unwrap(), root));
        }
    }
    let longer: Vec<Vec<Hash>> = proofs
        .iter()
        .map(|(.., path, _)| [path, &hashes[..1]].concat())
        .collect();
    let endless = vec![Hash::ZERO; 200];
    let mut claims = Vec::new();
    for ((index, size, path, root), longer) in proofs.iter().zip(&longer) {
        let claim = Inclusion {
            leaf: hashes[*index],
            index: *index as u64,
            size: *size as u64,
            path,
            root: *root,
        };
        let shorter = &path[..path.len().saturating_sub(1)];
        claims.push(claim);
        claims.extend([
            Inclusion {
                leaf: claim.root,
                ..claim
            },
            Inclusion {
                index: claim.index + 1,
                ..claim
            },
            Inclusion {
                index: claim.index | 1 << 33,
                ..claim
            },
            Inclusion {
                size: claim.size + 1,
                ..claim
            },
            Inclusion {
                size: claim.size | 1 << 40,
                ..claim
            },
            Inclusion {
                size: u64::MAX,
                ..claim
            },
            Inclusion { size: 0, ..claim },
            Inclusion { path: shorter, ..claim },
            Inclusion { path: longer, ..claim },
            Inclusion {
                path: &endless,
                ..claim
            },
            Inclusion {
                root: claim.leaf,
                ..claim
            },
        ]);
    }
    let expected: Vec<bool> = claims
        .iter()
        .map(|claim| verify_inclusion(claim.leaf, claim.index, claim.size, claim.path, &claim.root))
        .collect();
    assert!(expected.iter().step_by(12).all(|holds| *holds));
    assert_eq!(inclusions(test_device(), &claims)?, expected);
    Ok(())
}

#[test]
fn a_plan_hashes_every_node_once() {
    let forest = Forest::new(&[5, 1, 0, 8, 5]);
    assert_eq!((forest.leaves(), forest.nodes()), (19, 4 + 7 + 4));
}

/// The words of hashes as nodes hold them: numbers, the first bytes highest.
fn node_words(hashes: &[Hash]) -> Vec<u32> {
    let words = hashes.iter().flat_map(|hash| hash.0.as_chunks::<4>().0);
    words.map(|word| u32::from_be_bytes(*word)).collect()
}

/// The first stage alone: nodes of four leaves of a tree of nine, roots of two trees of three.
#[test]
pub(super) fn leaves_become_nodes_of_four() -> Result<(), Error> {
    let device = test_device();
    let words = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, u32>(bytes);
    // First node, widths before and after, bases, first tree, padding.
    let cohorts = [[0, 9, 3, 0, 0, 0, 0, 0], [3, 3, 1, 0, 0, 1, 0, 0]].concat();
    let starts = [3u32, 12, 0];
    for kind in [LeafKind::Short, LeafKind::Long, LeafKind::Hashed] {
        let bytes = bytes_of(15 * kind.size(), 77);
        let [leaves, cohorts, starts] =
            [&words(&bytes)[..], &cohorts, &starts].map(|words| device.upload("input", words));
        let (nodes, roots) = (device.buffer("nodes", 3 * 8), device.buffer("roots", 3 * 8));
        let mut commands = device.commands();
        commands.run(&Dispatch {
            kernel: &LEAVES,
            buffers: &[&leaves, &cohorts, &starts, &nodes, &roots],
            params: &[0, 2, (kind.size() / 16) as u32, u32::from(kind == LeafKind::Hashed)],
            items: 5,
            work: 12,
        });
        let downloads = [&nodes, &roots].map(|buffer| commands.download(buffer, 0, buffer.len()));
        let mut outcome = commands.submit().wait()?;
        let [nodes, roots] = downloads.map(|download| outcome.take(download));
        let hash = |leaf: &[u8]| match kind {
            LeafKind::Hashed => Hash(leaf.try_into().unwrap()),
            _ => leaf_hash(leaf),
        };
        let hashes: Vec<Hash> = bytes.chunks(kind.size()).map(hash).collect();
        let root = |leaves: core::ops::Range<usize>| root_of_hashes(hashes[leaves].iter().copied());
        assert_eq!(nodes, node_words(&[root(3..7), root(7..11), root(11..12)]), "{kind:?}");
        assert_eq!(
            roots,
            words(&[[0; 32], root(12..15).0, root(0..3).0].concat()),
            "{kind:?}"
        );
    }
    Ok(())
}

/// A later stage alone: nodes of 1,024 neighbours of a tree of 1,500, the root of one of five, each from its base on.
#[test]
pub(super) fn nodes_become_nodes_of_a_workgroup() -> Result<(), Error> {
    let device = test_device();
    let below: Vec<Hash> = (0..1_507u64).map(|i| sha256(&[&i.to_le_bytes()])).collect();
    let cohorts = [[9; 8], [0, 1_500, 2, 2, 1, 0, 0, 0], [2, 5, 1, 1_502, 3, 1, 0, 0]].concat();
    let [nodes_below, cohorts] = [&node_words(&below), &cohorts].map(|words| device.upload("input", words));
    let (nodes, roots) = (device.buffer("nodes", 3 * 8), device.buffer("roots", 2 * 8));
    let mut commands = device.commands();
    commands.run(&Dispatch {
        kernel: &LEVEL,
        buffers: &[&nodes_below, &cohorts, &nodes, &roots],
        params: &[1, 2],
        items: 3 * LEVEL.group as usize,
        work: 8,
    });
    let downloads = [&nodes, &roots].map(|buffer| commands.download(buffer, 0, buffer.len()));
    let mut outcome = commands.submit().wait()?;
    let [nodes, roots] = downloads.map(|download| outcome.take(download));
    let root = |nodes: core::ops::Range<usize>| root_of_hashes(below[nodes].iter().copied());
    assert_eq!(
        nodes,
        [vec![0; 8], node_words(&[root(2..1_026), root(1_026..1_502)])].concat()
    );
    let root: Vec<u32> = bytemuck::pod_collect_to_vec(&root(1_502..1_507).0);
    assert_eq!(roots, [vec![0; 8], root].concat());
    Ok(())
}
