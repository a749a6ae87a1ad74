//! Compiled kernels on disk: what a driver made of them, behind its SHA-256.
//!
//! # Guarantees
//! A file that is not whole is not read: drivers check where a cache comes from, few of them what is in it. It is written
//! beside its place and moved there.

use super::Error;
use super::trusted;
use std::path::{Path, PathBuf};
use wattbook_types::{Hash, sha256};

/// The pipeline cache of one adapter.
#[derive(Debug)]
pub(super) struct PipelineCache {
    inner: wgpu::PipelineCache,
    path: PathBuf,
    was_found: bool,
}

impl PipelineCache {
    /// The cache of this adapter in `folder`, empty where no whole one is there; none where the adapter has no name for
    /// its own or the folder cannot be made.
    pub(super) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, folder: &Path) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        let path = folder.join(wgpu::util::pipeline_cache_key(info)?);
        let file = std::fs::read(&path).ok();
        let whole = file.as_deref().and_then(|file| {
            let (digest, bytes) = file.split_first_chunk::<32>()?;
            (sha256(&[bytes]) == Hash(*digest)).then_some(bytes)
        });
        Some(Self {
            inner: trusted::pipeline_cache(device, whole),
            path,
            was_found: whole.is_some(),
        })
    }

    /// What pipelines are made with.
    pub(super) const fn inner(&self) -> &wgpu::PipelineCache {
        &self.inner
    }

    /// Whether a whole cache was there.
    pub(super) const fn was_found(&self) -> bool {
        self.was_found
    }

    /// Writes what there is by now.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(bytes) = self.inner.get_data() else {
            return Ok(());
        };
        let fresh = self.path.with_extension(format!("{}.new", std::process::id()));
        let file = [&sha256(&[&bytes]).0, bytes.as_slice()].concat();
        std::fs::write(&fresh, file)
            .and_then(|()| std::fs::rename(&fresh, &self.path))
            .map_err(|source| Error::Cache {
                path: self.path.clone(),
                source,
            })
    }
}
