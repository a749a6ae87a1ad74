//! A Vulkan device, its buffers, and the pipelines that it keeps.
//!
//! # Guarantees
//! * Nothing here panics because of a device: once it is lost or reports an error, every [`Ticket::wait`] is an
//!   [`Error`], for ever. Whatever was downloaded before is right.
//! * Dispatches of one [`Commands`] run in order, each seeing what those before it wrote; commands run in the order of
//!   their submission.
//! * No dispatch does more work than a real device does in about 50 ms: [`Commands::run`] cuts a range of items.

mod commands;

use super::cache::PipelineCache;
use super::kernel::Kernel;
use super::trusted;
use std::collections::{BTreeMap, HashMap};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

pub use commands::{Commands, Dispatch, Download, KernelTime, Outcome, Ticket};

/// Multiplications of one dispatch on a discrete device: 50 ms at 2.7 G/s, a third of what a large one does.
const WORK_DISCRETE: u64 = 1 << 27;
/// Multiplications of one dispatch on an integrated device.
const WORK_INTEGRATED: u64 = 1 << 24;
/// Bytes of `var<immediate>`: what every Vulkan device offers.
const IMMEDIATE_SIZE: u32 = 128;
/// Storage buffers of a kernel.
const STORAGE_BUFFERS: u32 = 8;
/// Largest binding asked for; every device of the last ten years has the first.
const BINDING_SIZES: (u64, u64) = (128 << 20, 2 << 30);
/// What keeps the device from being used; the CPU can always go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No Vulkan adapter, or none of that name.
    #[error("no Vulkan adapter{}", .name.as_ref().map(|name| format!(" with {name:?} in its name")).unwrap_or_default())]
    NoAdapter {
        /// The name asked for.
        name: Option<String>,
    },
    /// The adapter lacks something the kernels need.
    #[error("{adapter} lacks {lacks}")]
    Unfit {
        /// The adapter's name.
        adapter: String,
        /// What it lacks.
        lacks: &'static str,
    },
    /// The adapter gave no device.
    #[error("{adapter} gave no device: {source}")]
    Refused {
        /// The adapter's name.
        adapter: String,
        /// The driver's reason.
        source: wgpu::RequestDeviceError,
    },
    /// The device was lost or destroyed.
    #[error("device lost: {reason}")]
    Lost {
        /// The driver's words.
        reason: String,
    },
    /// The device reported an error: memory, validation or internal.
    #[error("device error: {reason}")]
    Failed {
        /// wgpu's words.
        reason: String,
    },
    /// The pipeline cache could not be written.
    #[error("pipeline cache {path}: {source}")]
    Cache {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
}

/// Which device to open, and how.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Part of the adapter's name; else the best: discrete, integrated, virtual, software.
    pub name: Option<String>,
    /// Whether an adapter that computes on the CPU (llvmpipe) will do.
    pub software: bool,
    /// Run-time checks in shaders. Costs several times the time; tests have them on.
    pub checked: bool,
    /// Folder of the pipeline cache.
    pub cache: Option<PathBuf>,
    /// Whether kernels are timed.
    pub timed: bool,
}

impl Default for Choice {
    /// The best adapter, software included, unchecked where debug assertions are off, without cache and times.
    fn default() -> Self {
        Self {
            name: None,
            software: true,
            checked: cfg!(debug_assertions),
            cache: None,
            timed: false,
        }
    }
}

/// An array of `u32` on the device.
#[derive(Debug, Clone)]
pub struct Buffer {
    inner: wgpu::Buffer,
    len: usize,
}

impl Buffer {
    /// Words in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no words.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first `len` words as a buffer of their own, if there are as many.
    pub fn first(&self, len: usize) -> Option<Self> {
        (len <= self.len).then(|| Self {
            inner: self.inner.clone(),
            len,
        })
    }

    /// What a kernel sees: these words and no more.
    fn binding(&self) -> wgpu::BindingResource<'_> {
        wgpu::BindingResource::Buffer(wgpu::BufferBinding {
            buffer: &self.inner,
            offset: 0,
            size: NonZero::new((self.len.max(1) * 4) as u64),
        })
    }
}

/// What [`Device::warm_up`] did.
#[derive(Debug, Clone, Copy)]
pub struct Warmup {
    /// Kernels built.
    pub kernels: usize,
    /// Wall time.
    pub elapsed: Duration,
    /// Whether a whole pipeline cache was found on disk.
    pub cached: bool,
}

/// The fault that a device reported first.
#[derive(Debug, Default)]
struct Fault {
    set: AtomicBool,
    error: Mutex<Option<(bool, String)>>,
}

impl Fault {
    fn report(&self, lost: bool, reason: String) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // That the device is lost explains the errors that follow from it.
        if error.as_ref().is_none_or(|(was_lost, _)| lost && !was_lost) {
            *error = Some((lost, reason));
        }
        self.set.store(true, Ordering::Release);
    }

    fn check(&self) -> Result<(), Error> {
        if !self.set.load(Ordering::Acquire) {
            return Ok(());
        }
        let error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        Err(match error.clone() {
            Some((false, reason)) => Error::Failed { reason },
            Some((true, reason)) => Error::Lost { reason },
            None => Error::Failed { reason: String::new() },
        })
    }
}

/// An open device. Threads may share it.
#[derive(Debug)]
pub struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    info: wgpu::AdapterInfo,
    limits: wgpu::Limits,
    fault: Arc<Fault>,
    pipelines: Mutex<HashMap<&'static str, wgpu::ComputePipeline>>,
    cache: Option<PipelineCache>,
    checked: bool,
    tick_ps: Option<u64>,
    lose_at: AtomicU64,
    kernel_times: KernelTimes,
}

/// Timed dispatches of each kernel and their time together, ns.
type KernelTimes = Arc<Mutex<BTreeMap<&'static str, (u64, u64)>>>;

impl Device {
    /// Opens the adapter of `choice`.
    pub fn open(choice: &Choice) -> Result<Self, Error> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
            backends: wgpu::Backends::VULKAN,
            flags: wgpu::InstanceFlags::empty(),
            ..wgpu::InstanceDescriptor::new_without_display_handle()
        });
        let mut adapters = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN));
        adapters.retain(|adapter| {
            let info = adapter.get_info();
            choice
                .name
                .as_ref()
                .is_none_or(|name| info.name.contains(name.as_str()))
                && (choice.software || info.device_type != wgpu::DeviceType::Cpu)
        });
        let adapter = adapters
            .into_iter()
            .min_by_key(|adapter| rank(adapter.get_info().device_type));
        let adapter = adapter.ok_or_else(|| Error::NoAdapter {
            name: choice.name.clone(),
        })?;
        let info = adapter.get_info();
        let (features, limits) = wanted(&adapter, choice.timed).map_err(|lacks| Error::Unfit {
            adapter: info.name.clone(),
            lacks,
        })?;
        let (device, queue) = pollster::block_on(adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("wattbook"),
            required_features: features,
            required_limits: limits.clone(),
            ..Default::default()
        }))
        .map_err(|source| Error::Refused {
            adapter: info.name.clone(),
            source,
        })?;
        let fault = Arc::new(Fault::default());
        let reporter = Arc::clone(&fault);
        device.set_device_lost_callback(move |reason, words| reporter.report(true, format!("{reason:?} {words}")));
        let reporter = Arc::clone(&fault);
        device.on_uncaptured_error(Arc::new(move |error| reporter.report(false, error.to_string())));
        let folder = choice.cache.as_deref();
        let folder = folder.filter(|_| features.contains(wgpu::Features::PIPELINE_CACHE));
        let cache = folder.and_then(|folder| PipelineCache::open(&device, &info, folder));
        Ok(Self {
            tick_ps: features
                .contains(wgpu::Features::TIMESTAMP_QUERY)
                .then(|| period_ps(&queue)),
            device,
            queue,
            info,
            limits,
            fault,
            pipelines: Mutex::default(),
            cache,
            checked: choice.checked,
            lose_at: AtomicU64::new(u64::MAX),
            kernel_times: KernelTimes::default(),
        })
    }

    /// The adapter's name and driver, for logs.
    pub fn name(&self) -> String {
        format!("{} ({} {})", self.info.name, self.info.driver, self.info.driver_info)
    }

    /// Every kernel that was timed since the last call, by name: its dispatches and their time together, ns.
    pub fn take_kernel_times(&self) -> BTreeMap<&'static str, (u64, u64)> {
        core::mem::take(&mut *self.kernel_times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the adapter computes on the CPU.
    pub fn is_software(&self) -> bool {
        self.info.device_type == wgpu::DeviceType::Cpu
    }

    /// Words of the largest buffer that a kernel can bind.
    pub fn buffer_len_max(&self) -> usize {
        let size = self
            .limits
            .max_storage_buffer_binding_size
            .min(self.limits.max_buffer_size);
        usize::try_from(size / 4).unwrap_or(usize::MAX)
    }

    /// The fault that ended this device, if one did.
    pub fn check(&self) -> Result<(), Error> {
        self.fault.check()
    }

    /// Ends the device as a driver would that lost it.
    pub fn lose(&self) {
        self.device.destroy();
    }

    /// Ends the device at a submission to come, the next being 0: a fault in the middle of a batch, for tests of what
    /// goes on then.
    pub fn lose_at(&self, submission: u32) {
        self.lose_at.store(u64::from(submission), Ordering::Relaxed);
    }

    /// A buffer of zeros.
    pub fn buffer(&self, label: &str, len: usize) -> Buffer {
        let inner = self.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some(label),
            size: (len.max(1) * 4) as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        Buffer { inner, len }
    }

    /// A buffer of `words`.
    pub fn upload(&self, label: &str, words: &[u32]) -> Buffer {
        let buffer = self.buffer(label, words.len());
        self.write(&buffer, 0, words);
        buffer
    }

    /// Writes `words` from word `at` on, before anything that is submitted later.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn write(&self, buffer: &Buffer, at: usize, words: &[u32]) {
        assert!(at + words.len() <= buffer.len, "words lie inside the buffer");
        if !words.is_empty() {
            self.queue
                .write_buffer(&buffer.inner, (at * 4) as u64, bytemuck::cast_slice(words));
        }
    }

    /// Builds `kernels`, several at a time, and writes the pipeline cache. `progress` hears of each kernel that is
    /// ready: how many are, of how many, its name, the time since the start.
    pub fn warm_up(
        &self,
        kernels: &[&'static Kernel],
        mut progress: impl FnMut(usize, usize, &'static str, Duration),
    ) -> Result<Warmup, Error> {
        let start = Instant::now();
        let workers = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(kernels.len());
        let next = Mutex::new(kernels.iter());
        let (ready, built) = mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                let (ready, next) = (ready.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let Some(kernel) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else {
                            return;
                        };
                        self.pipeline(kernel);
                        if ready.send(kernel.name).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(ready);
            for (i, name) in built.iter().enumerate() {
                progress(i + 1, kernels.len(), name, start.elapsed());
            }
        });
        self.check()?;
        if let Some(cache) = &self.cache {
            cache.save()?;
        }
        Ok(Warmup {
            kernels: kernels.len(),
            elapsed: start.elapsed(),
            cached: self.cache.as_ref().is_some_and(PipelineCache::was_found),
        })
    }

    fn pipeline(&self, kernel: &'static Kernel) -> wgpu::ComputePipeline {
        let known = |pipelines: &Mutex<HashMap<_, _>>| {
            let pipelines = pipelines.lock().unwrap_or_else(PoisonError::into_inner);
            pipelines.get(kernel.name).cloned()
        };
        if let Some(pipeline) = known(&self.pipelines) {
            return pipeline;
        }
        let module = if self.checked {
            self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                label: Some(kernel.name),
                source: wgpu::ShaderSource::Wgsl(kernel.text().into()),
            })
        } else {
            trusted::unchecked_module(&self.device, kernel.name, kernel.text())
        };
        let pipeline = self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(kernel.name),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: self.checked,
                ..Default::default()
            },
            cache: self.cache.as_ref().map(PipelineCache::inner),
        });
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.entry(kernel.name).or_insert(pipeline).clone()
    }

    /// Items of one dispatch.
    fn chunk(&self, dispatch: &Dispatch<'_>) -> usize {
        let group = u64::from(dispatch.kernel.group);
        let most = group * u64::from(self.limits.max_compute_workgroups_per_dimension);
        let budget = match self.info.device_type {
            _ if dispatch.work == 0 => u64::MAX,
            wgpu::DeviceType::Cpu => u64::MAX,
            wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::VirtualGpu => WORK_DISCRETE,
            _ => WORK_INTEGRATED,
        };
        let items = (budget / dispatch.work.max(1)).clamp(group, most);
        usize::try_from(items / group * group).unwrap_or(usize::MAX)
    }
}

/// Better adapters first.
fn rank(kind: wgpu::DeviceType) -> u8 {
    match kind {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::IntegratedGpu => 1,
        wgpu::DeviceType::VirtualGpu => 2,
        wgpu::DeviceType::Cpu => 3,
        wgpu::DeviceType::Other => 4,
    }
}

/// What the device is asked for, or what the adapter lacks.
fn wanted(adapter: &wgpu::Adapter, timed: bool) -> Result<(wgpu::Features, wgpu::Limits), &'static str> {
    let (offered, most) = (adapter.features(), adapter.limits());
    let mut features = wgpu::Features::SHADER_INT64 | wgpu::Features::IMMEDIATES;
    if !offered.contains(wgpu::Features::SHADER_INT64) {
        return Err("64-bit integers in shaders (SHADER_INT64)");
    }
    if !offered.contains(wgpu::Features::IMMEDIATES) || most.max_immediate_size < IMMEDIATE_SIZE {
        return Err("128 bytes of push constants");
    }
    if most.max_storage_buffer_binding_size < BINDING_SIZES.0 {
        return Err("storage buffers of 128 MiB");
    }
    if most.max_storage_buffers_per_shader_stage < STORAGE_BUFFERS {
        return Err("eight storage buffers");
    }
    features |= offered & wgpu::Features::PIPELINE_CACHE;
    if timed {
        features |= offered & wgpu::Features::TIMESTAMP_QUERY;
    }
    let limits = wgpu::Limits {
        max_immediate_size: IMMEDIATE_SIZE,
        max_storage_buffers_per_shader_stage: STORAGE_BUFFERS,
        max_storage_buffer_binding_size: most.max_storage_buffer_binding_size.min(BINDING_SIZES.1),
        max_buffer_size: most.max_buffer_size.min(2 * BINDING_SIZES.1),
        max_compute_workgroup_storage_size: most.max_compute_workgroup_storage_size.min(32 << 10),
        ..wgpu::Limits::default()
    };
    Ok((features, limits.or_worse_values_from(&most)))
}

#[allow(clippy::float_arithmetic, reason = "the driver says in floats how long a tick is")]
fn period_ps(queue: &wgpu::Queue) -> u64 {
    (queue.get_timestamp_period() * 1000.0) as u64
}
