//! The two calls of wgpu that trust their caller: shaders without run-time checks, and a pipeline cache from disk.
//!
//! # Invariants
//! * Only this file and `curve` hold unsafe code.
//! * Text that comes here is this crate's own, run with all checks by its tests: loops end, indices stay inside their
//!   buffers for the sizes the Rust side binds.
#![allow(unsafe_code)]

use std::borrow::Cow;

/// A shader module without bounds checks and forced loop bounds.
pub(super) fn unchecked_module(device: &wgpu::Device, label: &str, text: String) -> wgpu::ShaderModule {
    let descriptor = wgpu::ShaderModuleDescriptor {
        label: Some(label),
        source: wgpu::ShaderSource::Wgsl(Cow::Owned(text)),
    };
    // SAFETY: the text is assembled from this crate's layers (`Kernel` has no public constructor from foreign text and
    // takes `'static` layers only); the tests run the same text with checks on, which would clamp a wrong index into a
    // wrong result, and compare every result.
    unsafe { device.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
}

/// A pipeline cache that starts from `bytes`, or empty where the driver refuses them.
pub(super) fn pipeline_cache(device: &wgpu::Device, bytes: Option<&[u8]>) -> wgpu::PipelineCache {
    let descriptor = wgpu::PipelineCacheDescriptor {
        label: Some("pipelines"),
        data: bytes,
        fallback: true,
    };
    // SAFETY: `cache` read the bytes from a file named after the adapter and compared their digest, so they are what
    // `PipelineCache::get_data` gave; wgpu checks its own header (adapter, driver, version, length) before the driver sees
    // them. Whoever can write that file can already write the program beside it.
    unsafe { device.create_pipeline_cache(&descriptor) }
}
