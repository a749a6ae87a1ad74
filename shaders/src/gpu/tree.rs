//! RFC 9162 roots of many trees of any size, and inclusion proofs, many at a time.
//!
//! A batch of trees goes by stages, whatever their sizes: the first makes a node of every four leaves, a thread each, each
//! further one a node of up to 1024 nodes, a workgroup each. Trees of up to four leaves take one dispatch, all others two
//! up to 4096 leaves and three up to 2^22. What a stage holds stands in a table of cohorts, the trees of one size
//! ([`Forest`]).

use super::device::{Buffer, Commands, Device, Dispatch, Download, Error, Outcome, Ticket};
use super::hash::{DIGEST_LEN, SHA256, digests_of};
use super::kernel::{Kernel, Layer};
use bytemuck::{Pod, Zeroable};
use wattbook_types::Hash;
use wattbook_types::tree::{empty_root, root_of_hashes};

static MERKLE: Layer = Layer {
    name: "merkle",
    text: include_str!("../../wgsl/merkle.wgsl"),
    needs: &[&SHA256],
};
static FOREST: Layer = Layer {
    name: "forest",
    text: include_str!("../../wgsl/forest.wgsl"),
    needs: &[&MERKLE],
};
static LEAVES_LAYER: Layer = Layer {
    name: "leaves",
    text: include_str!("../../wgsl/leaves.wgsl"),
    needs: &[&FOREST],
};
static LEVEL_LAYER: Layer = Layer {
    name: "level",
    text: include_str!("../../wgsl/level.wgsl"),
    needs: &[&FOREST],
};
static INCLUSION_LAYER: Layer = Layer {
    name: "inclusion",
    text: include_str!("../../wgsl/inclusion.wgsl"),
    needs: &[&MERKLE],
};

/// Runs of leaves of many trees.
pub static LEAVES: Kernel = Kernel {
    name: "leaves",
    layer: &LEAVES_LAYER,
    group: 128,
};
/// Several levels of many trees.
pub static LEVEL: Kernel = Kernel {
    name: "level",
    layer: &LEVEL_LAYER,
    group: 256,
};
/// Neighbours that a thread makes one node of, `RUN` in `forest.wgsl`.
const RUN: u32 = 4;
/// Neighbours that a workgroup makes one node of.
const SPAN: u32 = RUN * LEVEL.group;
/// Inclusion proofs.
pub static INCLUSION: Kernel = Kernel {
    name: "inclusion",
    layer: &INCLUSION_LAYER,
    group: 64,
};

/// Most leaves hashed in one submission; a larger tree is cut into subtrees of this size.
// BOUND: 48 MiB of leaves of 48 bytes and 32 MiB of nodes, so that several submissions fit every device.
const LEAVES_MAX: usize = 1 << 20;
/// Submissions under way at a time: one is uploaded while the other is hashed.
const SUBMISSIONS: usize = 2;

/// What the leaves of a batch are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeafKind {
    /// 32 bytes each.
    Short,
    /// 48 bytes each: the leaves of envelopes.
    Long,
    /// Leaf hashes.
    Hashed,
}

impl LeafKind {
    /// Bytes of a leaf.
    pub const fn size(self) -> usize {
        match self {
            Self::Short | Self::Hashed => 32,
            Self::Long => 48,
        }
    }
}

/// A cohort at one stage, as `forest.wgsl` has it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable, PartialEq, Eq, Debug)]
struct Cohort {
    first: u32,
    width_in: u32,
    width_out: u32,
    base_in: u32,
    base_out: u32,
    rank: u32,
    reserved: [u32; 2],
}
const COHORT_LEN: usize = size_of::<Cohort>() / 4;
const _: () = assert!(COHORT_LEN == 8);

/// One stage: its cohorts in the table, the nodes it makes, and how many of them another stage reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stage {
    at: usize,
    cohorts: usize,
    nodes: usize,
    kept: usize,
}

/// How trees of given sizes are hashed stage by stage; empty trees are left to the CPU.
#[derive(Clone, Debug)]
pub struct Forest {
    cohorts: Vec<Cohort>,
    stages: Vec<Stage>,
    /// The first leaf of each tree, the largest tree first.
    starts: Vec<u32>,
    /// Which tree that is.
    order: Vec<u32>,
    trees: usize,
    leaves: usize,
}

impl Forest {
    /// The plan for trees of `sizes` leaves that lie one behind the other.
    ///
    /// # Panics
    /// If there are 2^31 leaves or more.
    pub fn new(sizes: &[u32]) -> Self {
        let leaves: usize = sizes.iter().map(|size| *size as usize).sum();
        assert!(leaves < 1 << 31, "places of nodes are words");
        let mut order: Vec<u32> = (0..sizes.len() as u32)
            .filter(|tree| sizes[*tree as usize] > 0)
            .collect();
        order.sort_by_key(|tree| core::cmp::Reverse(sizes[*tree as usize]));
        let begins: Vec<u32> = sizes
            .iter()
            .scan(0, |at, size| Some(core::mem::replace(at, *at + size)))
            .collect();
        let starts = order.iter().map(|tree| begins[*tree as usize]).collect();
        // Width, first rank and number of trees of each cohort.
        let mut groups: Vec<(u32, u32, u32)> = Vec::new();
        for (rank, tree) in (0..).zip(&order) {
            match groups.last_mut() {
                Some((width, _, trees)) if *width == sizes[*tree as usize] => *trees += 1,
                _ => groups.push((sizes[*tree as usize], rank, 1)),
            }
        }
        let (mut cohorts, mut stages) = (Vec::new(), Vec::new());
        let mut bases = vec![0; groups.len()];
        let mut span = RUN;
        while !groups.is_empty() {
            let (at, mut nodes, mut kept) = (cohorts.len(), 0, 0);
            for ((width, rank, trees), base) in groups.iter_mut().zip(&mut bases) {
                let width_out = width.div_ceil(span);
                cohorts.push(Cohort {
                    first: nodes,
                    width_in: *width,
                    width_out,
                    base_in: *base,
                    base_out: kept,
                    rank: *rank,
                    reserved: [0; 2],
                });
                nodes += width_out * *trees;
                *base = kept;
                // A root is no node of the next stage.
                kept += if width_out > 1 { width_out * *trees } else { 0 };
                *width = width_out;
            }
            let (cohorts, nodes, kept) = (groups.len(), nodes as usize, kept as usize);
            stages.push(Stage {
                at,
                cohorts,
                nodes,
                kept,
            });
            // Cohorts come largest first, so those that are done are the last.
            groups.retain(|(width, ..)| *width > 1);
            bases.truncate(groups.len());
            span = SPAN;
        }
        Self {
            cohorts,
            stages,
            starts,
            order,
            trees: sizes.len(),
            leaves,
        }
    }

    /// Leaves of all trees.
    pub const fn leaves(&self) -> usize {
        self.leaves
    }

    /// Dispatches that they take.
    pub const fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Interior nodes of all trees.
    pub fn nodes(&self) -> usize {
        self.leaves - self.order.len()
    }

    /// Buffers for these trees on `device`.
    pub fn place(&self, device: &Device) -> PlacedForest {
        let kept = |from: usize| self.stages.iter().skip(from).step_by(2).map(|stage| stage.kept).max();
        let nodes = |from| device.buffer("nodes", kept(from).unwrap_or(0).max(1) * DIGEST_LEN);
        let words: Vec<u32> = bytemuck::pod_collect_to_vec(&self.cohorts);
        PlacedForest {
            cohorts: device.upload("cohorts", &words),
            starts: device.upload("starts", &self.starts),
            nodes: [nodes(0), nodes(1)],
            roots: device.buffer("roots", self.order.len() * DIGEST_LEN),
        }
    }

    /// Appends the hashing of `leaves` to `commands` and brings the roots back.
    pub fn run(&self, commands: &mut Commands<'_>, placed: &PlacedForest, leaves: &Buffer, kind: LeafKind) -> Download {
        let PlacedForest {
            cohorts,
            starts,
            nodes,
            roots,
        } = placed;
        for (depth, stage) in self.stages.iter().enumerate() {
            let (at, count) = (stage.at as u32, stage.cohorts as u32);
            let (before, after) = (&nodes[(depth + 1) % 2], &nodes[depth % 2]);
            if depth == 0 {
                commands.run(&Dispatch {
                    kernel: &LEAVES,
                    buffers: &[leaves, cohorts, starts, after, roots],
                    params: &[
                        at,
                        count,
                        (kind.size() / 16) as u32,
                        u32::from(kind == LeafKind::Hashed),
                    ],
                    items: stage.nodes,
                    work: 3 * u64::from(RUN),
                });
            } else {
                commands.run(&Dispatch {
                    kernel: &LEVEL,
                    buffers: &[before, cohorts, after, roots],
                    params: &[at, count],
                    items: stage.nodes * LEVEL.group as usize,
                    work: 2 * u64::from(RUN),
                });
            }
        }
        commands.download(roots, 0, roots.len())
    }

    /// The roots in the order of the sizes, from what [`Forest::run`] brought back.
    pub fn roots(&self, outcome: &mut Outcome, download: Download) -> Vec<Hash> {
        let mut roots = vec![empty_root(); self.trees];
        for (tree, root) in self.order.iter().zip(digests_of(&outcome.take(download))) {
            roots[*tree as usize] = root;
        }
        roots
    }
}

/// A [`Forest`] with its buffers.
#[derive(Clone, Debug)]
pub struct PlacedForest {
    cohorts: Buffer,
    starts: Buffer,
    nodes: [Buffer; 2],
    roots: Buffer,
}

/// Trees of one submission, on their way.
struct Pending {
    forest: Forest,
    ticket: Ticket,
    download: Download,
}

impl Pending {
    fn wait(self, roots: &mut Vec<Hash>) -> Result<(), Error> {
        let mut outcome = self.ticket.wait()?;
        roots.extend(self.forest.roots(&mut outcome, self.download));
        Ok(())
    }
}

/// The roots of trees of `sizes` leaves, which lie in `leaves` one behind the other.
///
/// # Errors
/// What the device reports; nothing is known then.
///
/// # Panics
/// If `leaves` is not as long as the sizes say.
pub fn roots(device: &Device, leaves: &[u8], kind: LeafKind, sizes: &[u32]) -> Result<Vec<Hash>, Error> {
    let total: usize = sizes.iter().map(|size| *size as usize).sum();
    assert_eq!(leaves.len(), total * kind.size(), "sizes cover the leaves");
    let largest = LEAVES_MAX as u32;
    // Trees and the subtrees of larger ones: how many pieces each tree has, and the sizes of all.
    let pieces: Vec<u32> = sizes
        .iter()
        .flat_map(|size| {
            let whole = (0..size / largest).map(move |_| largest);
            whole.chain((size % largest > 0 || *size == 0).then_some(size % largest))
        })
        .collect();
    let (mut found, mut under_way) = (Vec::with_capacity(pieces.len()), std::collections::VecDeque::new());
    let (mut from, mut leaf) = (0, 0);
    while from < pieces.len() {
        let (mut to, mut count) = (from, 0);
        while to < pieces.len() && (to == from || count + pieces[to] as usize <= LEAVES_MAX) {
            count += pieces[to] as usize;
            to += 1;
        }
        let forest = Forest::new(&pieces[from..to]);
        let bytes = &leaves[leaf * kind.size()..(leaf + count) * kind.size()];
        let (buffer, placed) = (upload_bytes(device, bytes), forest.place(device));
        let mut commands = device.commands();
        let download = forest.run(&mut commands, &placed, &buffer, kind);
        let ticket = commands.submit();
        under_way.push_back(Pending {
            forest,
            ticket,
            download,
        });
        if under_way.len() == SUBMISSIONS
            && let Some(pending) = under_way.pop_front()
        {
            pending.wait(&mut found)?;
        }
        (from, leaf) = (to, leaf + count);
    }
    under_way.into_iter().try_for_each(|pending| pending.wait(&mut found))?;
    let mut found = found.into_iter();
    let root = |size: &u32| {
        // A complete subtree's root is a node of the tree it was cut from.
        let pieces = size.div_ceil(largest).max(1) as usize;
        match pieces {
            1 => found.next().unwrap_or(Hash::ZERO),
            _ => root_of_hashes(found.by_ref().take(pieces)),
        }
    };
    Ok(sizes.iter().map(root).collect())
}

fn upload_bytes(device: &Device, bytes: &[u8]) -> Buffer {
    match bytemuck::try_cast_slice(bytes) {
        Ok(words) => device.upload("leaves", words),
        Err(_) => device.upload("leaves", &bytemuck::pod_collect_to_vec::<u8, u32>(bytes)),
    }
}

/// A claim that a leaf is in a tree.
#[derive(Clone, Copy, Debug)]
pub struct Inclusion<'a> {
    /// The leaf's hash.
    pub leaf: Hash,
    /// Its place.
    pub index: u64,
    /// The tree's leaves.
    pub size: u64,
    /// The siblings from the leaf up.
    pub path: &'a [Hash],
    /// The tree's root.
    pub root: Hash,
}

/// A claim as `inclusion.wgsl` has it.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Proof {
    leaf: [u8; 32],
    root: [u8; 32],
    index: [u32; 2],
    size: [u32; 2],
    at: u32,
    len: u32,
    reserved: [u32; 2],
}
const _: () = assert!(size_of::<Proof>() == 96);

/// Which claims hold (RFC 9162 2.1.3.2), in order.
///
/// # Errors
/// What the device reports.
pub fn inclusions(device: &Device, claims: &[Inclusion<'_>]) -> Result<Vec<bool>, Error> {
    let mut verdicts = Vec::with_capacity(claims.len());
    let mut rest = claims;
    while !rest.is_empty() {
        let mut hashes = 0;
        let fits = |claim: &&Inclusion<'_>| {
            hashes += claim.path.len().min(PATH_MAX);
            hashes <= HASHES_MAX
        };
        let now = rest.iter().take(CLAIMS_MAX).take_while(fits).count();
        let (now, later) = rest.split_at(now);
        verdicts.extend(inclusions_at_once(device, now)?);
        rest = later;
    }
    Ok(verdicts)
}

/// Nodes that one path can have: 64 halvings make a size of 64 bits one, a longer path never holds, and a cut one does not
/// either.
const PATH_MAX: usize = 65;
/// Claims of one submission, and nodes of all their paths: 96 and 32 bytes each.
const CLAIMS_MAX: usize = if cfg!(test) { 500 } else { 1 << 18 };
const HASHES_MAX: usize = if cfg!(test) { 2_000 } else { 1 << 21 };

fn inclusions_at_once(device: &Device, claims: &[Inclusion<'_>]) -> Result<Vec<bool>, Error> {
    let (mut proofs, mut path) = (Vec::with_capacity(claims.len()), Vec::new());
    let halves = |x: u64| [x as u32, (x >> 32) as u32];
    for claim in claims {
        let part = &claim.path[..claim.path.len().min(PATH_MAX)];
        proofs.push(Proof {
            leaf: claim.leaf.0,
            root: claim.root.0,
            index: halves(claim.index),
            size: halves(claim.size),
            at: path.len() as u32,
            len: part.len() as u32,
            reserved: [0; 2],
        });
        path.extend(part.iter().map(|hash| hash.0));
    }
    // A binding is never empty.
    path.resize(path.len().max(1), [0; 32]);
    let verdicts = device.buffer("verdicts", claims.len());
    let proofs: Vec<u32> = bytemuck::pod_collect_to_vec(&proofs);
    let mut commands = device.commands();
    commands.run(&Dispatch {
        kernel: &INCLUSION,
        buffers: &[
            &device.upload("proofs", &proofs),
            &upload_bytes(device, path.as_flattened()),
            &verdicts,
        ],
        params: &[],
        items: claims.len(),
        work: 64,
    });
    let download = commands.download(&verdicts, 0, claims.len());
    let words = commands.submit().wait()?.take(download);
    Ok(words.iter().map(|word| *word == 1).collect())
}
