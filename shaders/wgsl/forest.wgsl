// Many trees at a time, sorted by size, the largest first. Trees of one size are a cohort, and after every stage the nodes
// of a cohort lie tree behind tree. A stage makes one node of so many neighbours, as that many levels of the tree do. Of
// an odd number of nodes the last moves up as it is: RFC 9162's right edge, and so a run cut short ends as a whole one.

// A cohort at one stage.
struct Cohort {
    // Nodes made at this stage by the cohorts before it.
    first: u32,
    // Nodes a tree has before this stage.
    width_in: u32,
    // Nodes a tree has after this stage.
    width_out: u32,
    // Where its nodes start before this stage, and after it.
    base_in: u32,
    base_out: u32,
    // Place of its first tree among all.
    rank: u32,
    reserved0: u32,
    reserved1: u32,
}

// Where an invocation stands.
struct Place {
    // Its tree's place among all.
    tree: u32,
    // Its node within the tree after this stage.
    node: u32,
    // Nodes of the tree before this stage.
    width_in: u32,
    // Nodes of the tree after this stage.
    width_out: u32,
    // Where the tree's nodes start before this stage and after it.
    base_in: u32,
    base_out: u32,
}

// The place of node `k` of a stage whose cohorts are `count` from `at` on.
fn forest_place(k: u32, at: u32, count: u32) -> Place {
    // The last cohort that starts at or before it.
    var low = at;
    var high = at + count;
    while (high - low > 1u) {
        let middle = (low + high) / 2u;
        if (cohorts[middle].first <= k) {
            low = middle;
        } else {
            high = middle;
        }
    }
    let cohort = cohorts[low];
    let offset = k - cohort.first;
    let tree = offset / cohort.width_out;
    return Place(
        cohort.rank + tree,
        offset - tree * cohort.width_out,
        cohort.width_in,
        cohort.width_out,
        cohort.base_in + tree * cohort.width_in,
        cohort.base_out + tree * cohort.width_out,
    );
}

// Neighbours that a thread makes one node of.
const RUN: u32 = 4u;

var<private> run_nodes: array<Digest, RUN>;

// One node of the first `count` of `run_nodes`.
fn run_root(count: u32) -> Digest {
    for (var width = count; width > 1u; width = (width + 1u) / 2u) {
        for (var i = 0u; i < width / 2u; i++) {
            run_nodes[i] = node_hash(run_nodes[2u * i], run_nodes[2u * i + 1u]);
        }
        if ((width & 1u) == 1u) {
            run_nodes[width / 2u] = run_nodes[width - 1u];
        }
    }
    return run_nodes[0];
}
