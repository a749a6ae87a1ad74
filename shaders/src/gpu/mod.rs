//! Batch arithmetic on a Vulkan device, written in WGSL: the field, and what stands on it.
//!
//! # Layers
//! `wgsl/*.wgsl` are layers: each says in Rust ([`Layer`]) which layers it stands on, and a [`Kernel`] is the last layer
//! of such a stack, with one entry point `main`. Nothing is pasted: a kernel's text is its layers, each once, in order.
//! [`KERNELS`] is the registry of all kernels; a device warms up with it and a test counts the multiplications in it.
//!
//! # Numbers on the device
//! Buffers hold `u32`. A field element is 13 limbs of 30 bits, little-endian, Montgomery with R = 2^390, below 2p unless
//! said otherwise. N elements lie limb by limb, `buf[limb * N + i]`, so that neighbouring threads read neighbouring
//! words; several elements an item are *slots*, `buf[(slot * 13 + limb) * N + i]`.
//!
//! # Failure
//! A device that fails never panics and never gives a wrong answer for a right one: every [`Ticket::wait`] after the
//! fault is an [`Error`], and the caller has the CPU. Nothing here decides a verdict.

mod cache;
mod curve;
mod device;
#[cfg(test)]
mod device_tests;
mod digits;
#[cfg(test)]
mod entries;
pub mod exponent;
pub mod field;
mod formula;
pub mod hash;
mod isogeny;
mod kernel;
mod layout;
mod lines;
pub mod miller;
#[cfg(test)]
mod miller_tests;
pub(crate) mod pairing;
mod points;
pub mod program;
pub mod roots;
#[cfg(test)]
mod roots_tests;
mod sums;
mod tower;
pub mod tree;
#[cfg(test)]
mod tree_vectors;
mod trusted;
pub(crate) mod verify;
#[cfg(test)]
mod verify_tests;

use digits::NO_SLOT;

pub use device::{Buffer, Choice, Commands, Device, Dispatch, Download, Error, KernelTime, Outcome, Ticket, Warmup};
pub use kernel::{Kernel, Layer};

/// Every kernel of the crate, in the order in which a device builds them.
pub static KERNELS: &[&Kernel] = &[
    &hash::ENVELOPE,
    &hash::BLOCKS,
    &hash::EXPAND,
    &roots::UNPACK,
    &exponent::EXPONENT,
    &program::PROGRAM,
    &points::SUMS,
    &digits::DIGITS,
    &digits::SCAN,
    &tree::LEAVES,
    &tree::LEVEL,
    &tree::INCLUSION,
    &isogeny::ISOGENY,
    &miller::LINES,
    &miller::MILLER,
    &miller::PRODUCT,
];

/// The device of this crate's tests, opened once. Checked, software where there is nothing else.
#[cfg(test)]
pub(crate) fn test_device() -> &'static std::sync::Arc<Device> {
    static DEVICE: std::sync::OnceLock<std::sync::Arc<Device>> = std::sync::OnceLock::new();
    DEVICE.get_or_init(|| {
        match Device::open(&Choice {
            checked: true,
            ..Choice::default()
        }) {
            Ok(device) => std::sync::Arc::new(device),
            Err(error) => panic!("tests need a Vulkan adapter (`make setup` installs one on Debian): {error}"),
        }
    })
}
