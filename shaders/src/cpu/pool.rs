//! The threads a verifier computes on.

use core::fmt;
use rayon::prelude::*;
use std::sync::Arc;

/// Threads of its own, or the calling one.
#[derive(Clone, Default)]
pub(crate) struct Pool(Option<Arc<rayon::ThreadPool>>);

impl Pool {
    /// A pool of so many threads; with one, or where the system gives none, everything runs on the calling thread.
    pub(crate) fn new(threads: usize) -> Self {
        let build = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|at| format!("verify-{at}"))
                .build()
        };
        Self((threads > 1).then(build).and_then(Result::ok).map(Arc::new))
    }

    /// Number of threads.
    pub(crate) fn threads(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// `task` on a thread of the pool: what it asks of the pool costs no handing over any more.
    pub(crate) fn run<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        match &self.0 {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }

    /// Both tasks, at once where there are threads.
    pub(crate) fn join<A: Send, B: Send>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
        match &self.0 {
            Some(pool) => pool.install(|| rayon::join(a, b)),
            None => (a(), b()),
        }
    }

    /// `task(0)`, `task(1)` and so on, in order, computed in any order.
    pub(crate) fn map<T: Send>(&self, len: usize, task: impl Fn(usize) -> T + Sync + Send) -> Vec<T> {
        match &self.0 {
            Some(pool) if len > 1 => pool.install(|| (0..len).into_par_iter().with_max_len(1).map(&task).collect()),
            _ => (0..len).map(task).collect(),
        }
    }

    /// `task` over runs of at most `most` places each, fewer where that keeps every thread busy but at least `least`, for
    /// which a thread is worth waking; results in order.
    pub(crate) fn map_runs<T: Send>(
        &self,
        len: usize,
        (least, most): (usize, usize),
        task: impl Fn(core::ops::Range<usize>) -> T + Sync + Send,
    ) -> Vec<T> {
        let run = len.div_ceil(self.threads()).max(least).clamp(1, most);
        self.map(len.div_ceil(run), |at| task(at * run..len.min((at + 1) * run)))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({})", self.threads())
    }
}
