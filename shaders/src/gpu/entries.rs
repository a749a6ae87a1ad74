//! Every kernel by itself: which test runs it alone on a few inputs and compares what it wrote with plain Rust.

use super::{Error, KERNELS, Kernel};
use super::{
    digits, exponent, hash, isogeny, miller, miller_tests, points, program, roots, roots_tests, tree, tree_vectors,
};

/// A test that gives what went wrong on the device.
type Test = fn() -> Result<(), Error>;

static ENTRIES: &[(&Kernel, Test)] = &[
    (
        &hash::ENVELOPE,
        hash::tests::digests_and_uniform_bytes_equal_those_of_the_cpu,
    ),
    (&hash::BLOCKS, hash::tests::digests_of_padded_messages),
    (
        &hash::EXPAND,
        hash::tests::digests_and_uniform_bytes_equal_those_of_the_cpu,
    ),
    (&roots::UNPACK, roots_tests::encodings_are_taken_apart),
    (&exponent::EXPONENT, exponent::tests::the_device_raises_powers),
    (&program::PROGRAM, program::tests::programs_gather_compute_and_scatter),
    (&points::SUMS, points::tests::every_mode_adds_its_operands),
    (&digits::DIGITS, digits::tests::digits_are_counted_and_placed),
    (&digits::SCAN, digits::tests::sums_are_prefix_sums),
    (&tree::LEAVES, tree_vectors::leaves_become_nodes_of_four),
    (&tree::LEVEL, tree_vectors::nodes_become_nodes_of_a_workgroup),
    (&tree::INCLUSION, tree_vectors::every_leaf_proves_and_nothing_else),
    (&isogeny::ISOGENY, isogeny::tests::images_are_those_of_the_cpu),
    (&miller::LINES, miller_tests::lines_are_tangents_and_chords),
    (&miller::MILLER, miller_tests::loops_multiply_lines_at_points),
    (&miller::PRODUCT, miller_tests::products_are_those_of_blst),
];

#[test]
fn every_kernel_has_an_entry() {
    let names = |kernels: &mut dyn Iterator<Item = &&Kernel>| kernels.map(|kernel| kernel.name).collect::<Vec<_>>();
    let entries = names(&mut ENTRIES.iter().map(|(kernel, _)| kernel));
    assert_eq!(entries, names(&mut KERNELS.iter()));
}
