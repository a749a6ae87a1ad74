// Many trees at a time, sorted by size, the largest first. Trees of one size are a cohort, and at every level the nodes
// of a cohort lie tree behind tree. Of an odd number of nodes the last moves up as it is: RFC 9162's right edge.

// A cohort at one level.
struct Cohort {
    // Nodes made at this level by the cohorts before it.
    first: u32,
    // Nodes a tree has below this level.
    width_in: u32,
    // Nodes a tree has at this level.
    width_out: u32,
    // Where its nodes start in the level below, and in this one.
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
    // Its node within the tree at this level.
    node: u32,
    // Nodes of the tree below this level.
    width_in: u32,
    // Nodes of the tree at this level.
    width_out: u32,
    // Where the tree's nodes start below this level and at it.
    base_in: u32,
    base_out: u32,
}

// The place of node `k` of a level whose cohorts are `count` from `at` on.
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
