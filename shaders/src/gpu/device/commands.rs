//! Dispatches and copies on their way to a device, and what comes back of them.
//!
//! # Guarantees
//! * What one [`Commands`] holds goes to the device in one submission, in order.
//! * A [`Ticket`] waits for its own submission, whoever else polls the device.

use super::super::kernel::Kernel;
use super::{Buffer, Device, Error, Fault, IMMEDIATE_SIZE, KernelTimes};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, mpsc};
use std::time::Duration;

/// Longest wait for a callback that another thread's poll has taken to run.
const CALLBACK_MAX: Duration = Duration::from_secs(10);
/// Kernel times recorded in one [`Commands`]; dispatches beyond them run untimed.
const TIMED_DISPATCHES: u32 = 1024;

/// One kernel over a range of items.
#[derive(Debug)]
pub struct Dispatch<'a> {
    /// What runs.
    pub kernel: &'static Kernel,
    /// Bindings 0, 1, ... of the kernel; the same buffer twice only where both are read.
    pub buffers: &'a [&'a Buffer],
    /// What `params` holds after its first two words; at most 30 words.
    pub params: &'a [u32],
    /// Items, one thread each.
    pub items: usize,
    /// Field multiplications (or as much work) of one item: decides into how many dispatches the items are cut. Zero
    /// keeps them together, for kernels whose workgroups work together.
    pub work: u64,
}

/// How long the dispatches of one kernel took in one [`Commands`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelTime {
    /// The kernel's name.
    pub name: &'static str,
    /// Nanoseconds on the device's clock.
    pub time_ns: u64,
}

/// What came back from one [`Commands`].
#[derive(Debug)]
pub struct Outcome {
    downloads: Vec<Vec<u32>>,
    times: Vec<KernelTime>,
}

impl Outcome {
    /// The words of a download; a second call finds none.
    pub fn take(&mut self, download: Download) -> Vec<u32> {
        std::mem::take(&mut self.downloads[download.0])
    }

    /// The times of the dispatches, in order; empty where the device has no clock or is not timed.
    pub fn times(&self) -> &[KernelTime] {
        &self.times
    }
}

impl Device {
    /// Begins a sequence of dispatches.
    pub fn commands(&self) -> Commands<'_> {
        let timer = self.tick_ps.map(|_| {
            self.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: None,
                ty: wgpu::QueryType::Timestamp,
                count: 2 * TIMED_DISPATCHES,
            })
        });
        Commands {
            device: self,
            encoder: self
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default()),
            downloads: Vec::new(),
            timer,
            timed: Vec::new(),
        }
    }
}

/// Dispatches and copies on the way to a device.
#[derive(Debug)]
pub struct Commands<'a> {
    device: &'a Device,
    encoder: wgpu::CommandEncoder,
    downloads: Vec<wgpu::Buffer>,
    timer: Option<wgpu::QuerySet>,
    timed: Vec<&'static str>,
}

/// A download's place in its [`Outcome`].
#[derive(Debug, Clone, Copy)]
pub struct Download(usize);

impl Commands<'_> {
    /// Runs a kernel over all items.
    ///
    /// # Panics
    /// If there are more parameters or items than a dispatch takes.
    pub fn run(&mut self, dispatch: &Dispatch<'_>) {
        assert!(
            dispatch.params.len() <= IMMEDIATE_SIZE as usize / 4 - 2,
            "parameters fit"
        );
        if dispatch.items == 0 {
            return;
        }
        let pipeline = self.device.pipeline(dispatch.kernel);
        let entries: Vec<_> = (0u32..)
            .zip(dispatch.buffers)
            .map(|(binding, buffer)| wgpu::BindGroupEntry {
                binding,
                resource: buffer.binding(),
            })
            .collect();
        let group = self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: Some(dispatch.kernel.name),
            layout: &pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let chunk = self.device.chunk(dispatch);
        for first in (0..dispatch.items).step_by(chunk) {
            let end = dispatch.items.min(first + chunk);
            let mut params = vec![first as u32, end as u32];
            params.extend_from_slice(dispatch.params);
            let timestamps = self
                .timer
                .as_ref()
                .filter(|_| self.timed.len() < TIMED_DISPATCHES as usize);
            let at = 2 * self.timed.len() as u32;
            let mut pass = self.encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
                label: Some(dispatch.kernel.name),
                timestamp_writes: timestamps.map(|query_set| wgpu::ComputePassTimestampWrites {
                    query_set,
                    beginning_of_pass_write_index: Some(at),
                    end_of_pass_write_index: Some(at + 1),
                }),
            });
            if timestamps.is_some() {
                self.timed.push(dispatch.kernel.name);
            }
            pass.set_pipeline(&pipeline);
            pass.set_bind_group(0, &group, &[]);
            pass.set_immediates(0, bytemuck::cast_slice(&params));
            pass.dispatch_workgroups(((end - first) as u32).div_ceil(dispatch.kernel.group), 1, 1);
        }
    }

    /// Zeros `buffer`.
    pub fn clear(&mut self, buffer: &Buffer) {
        self.encoder
            .clear_buffer(&buffer.inner, 0, Some((buffer.len * 4) as u64));
    }

    /// Copies `len` words.
    ///
    /// # Panics
    /// If they lie outside a buffer.
    pub fn copy(&mut self, from: &Buffer, from_at: usize, to: &Buffer, to_at: usize, len: usize) {
        assert!(
            from_at + len <= from.len && to_at + len <= to.len,
            "words lie inside the buffers"
        );
        if len > 0 {
            let (from_at, to_at, size) = (from_at as u64 * 4, to_at as u64 * 4, len as u64 * 4);
            self.encoder
                .copy_buffer_to_buffer(&from.inner, from_at, &to.inner, to_at, size);
        }
    }

    /// Brings `len` words from word `at` on back, as they are at this place of the sequence.
    ///
    /// # Panics
    /// If they lie outside the buffer.
    pub fn download(&mut self, buffer: &Buffer, at: usize, len: usize) -> Download {
        assert!(at + len <= buffer.len, "words lie inside the buffer");
        let size = (len * 4) as u64;
        let staging = self.staging(size);
        if len > 0 {
            self.encoder
                .copy_buffer_to_buffer(&buffer.inner, (at * 4) as u64, &staging, 0, size);
        }
        self.downloads.push(staging);
        Download(self.downloads.len() - 1)
    }

    fn staging(&self, size: u64) -> wgpu::Buffer {
        self.device.device.create_buffer(&wgpu::BufferDescriptor {
            label: Some("download"),
            size,
            usage: wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ,
            mapped_at_creation: false,
        })
    }

    /// Hands everything to the device, which starts at once.
    pub fn submit(mut self) -> Ticket {
        let words = 2 * self.timed.len() as u32;
        if let Some(timer) = self.timer.as_ref().filter(|_| words > 0) {
            let size = u64::from(words) * 8;
            let resolved = self.device.device.create_buffer(&wgpu::BufferDescriptor {
                label: Some("times"),
                size,
                usage: wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC,
                mapped_at_creation: false,
            });
            let staging = self.staging(size);
            self.encoder.resolve_query_set(timer, 0..words, &resolved, 0);
            self.encoder.copy_buffer_to_buffer(&resolved, 0, &staging, 0, size);
            self.downloads.push(staging);
        }
        // Counts down to the submission that is to fail; from the start there is none in reach.
        if self.device.lose_at.fetch_sub(1, Ordering::Relaxed) == 0 {
            self.device.lose();
        }
        let index = self.device.queue.submit([self.encoder.finish()]);
        let (mapped, arrivals) = mpsc::channel();
        for download in self.downloads.iter().filter(|download| download.size() > 0) {
            let mapped = mapped.clone();
            download.map_async(wgpu::MapMode::Read, .., move |result| {
                // A receiver that is gone no longer waits for the answer.
                let _ = mapped.send(result.is_ok());
            });
        }
        Ticket {
            device: self.device.device.clone(),
            fault: Arc::clone(&self.device.fault),
            index,
            downloads: self.downloads,
            arrivals,
            timed: self.timed,
            tick_ps: self.device.tick_ps.unwrap_or(0),
            kernel_times: Arc::clone(&self.device.kernel_times),
        }
    }
}

/// Commands under way.
#[derive(Debug)]
pub struct Ticket {
    device: wgpu::Device,
    fault: Arc<Fault>,
    index: wgpu::SubmissionIndex,
    downloads: Vec<wgpu::Buffer>,
    arrivals: mpsc::Receiver<bool>,
    timed: Vec<&'static str>,
    tick_ps: u64,
    kernel_times: KernelTimes,
}

impl Ticket {
    /// Waits for the commands; their downloads, or what went wrong on the device since it was opened.
    pub fn wait(self) -> Result<Outcome, Error> {
        let polled = self.device.poll(wgpu::PollType::Wait {
            submission_index: Some(self.index),
            timeout: None,
        });
        self.fault.check()?;
        let failed = |reason: String| Error::Failed { reason };
        polled.map_err(|error| failed(error.to_string()))?;
        let mut downloads = Vec::with_capacity(self.downloads.len());
        for download in &self.downloads {
            if download.size() == 0 {
                downloads.push(Vec::new());
                continue;
            }
            // The poll ran every callback, in whatever order, or another thread's poll is about to have run them.
            if self.arrivals.recv_timeout(CALLBACK_MAX) != Ok(true) {
                return Err(failed("a download could not be mapped".into()));
            }
            let view = download
                .get_mapped_range(..)
                .map_err(|error| failed(error.to_string()))?;
            downloads.push(bytemuck::pod_collect_to_vec(&view));
        }
        let mut times = Vec::new();
        if !self.timed.is_empty() {
            let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&downloads.pop().unwrap_or_default());
            for (name, pair) in self.timed.iter().zip(ticks.chunks_exact(2)) {
                let time_ps = u128::from(pair[1].saturating_sub(pair[0])) * u128::from(self.tick_ps);
                let time_ns = u64::try_from(time_ps / 1000).unwrap_or(u64::MAX);
                times.push(KernelTime { name, time_ns });
            }
            let mut sums = self.kernel_times.lock().unwrap_or_else(PoisonError::into_inner);
            for time in &times {
                let (dispatches, sum_ns) = sums.entry(time.name).or_default();
                (*dispatches, *sum_ns) = (*dispatches + 1, *sum_ns + time.time_ns);
            }
        }
        Ok(Outcome { downloads, times })
    }
}
