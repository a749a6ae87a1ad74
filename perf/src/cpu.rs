//! Processor time of a process by thread, as the kernel accounts for it: what each stage of a node costs.

use std::collections::BTreeMap;
use std::fs;

/// Nanoseconds on a processor, by thread name.
pub(crate) type Used = BTreeMap<String, u64>;

/// Threads of the process by name, with the time each has had; threads of one name are added up.
pub(crate) fn threads(pid: u32) -> Used {
    let mut used = Used::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    for task in tasks {
        let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let times = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        // The first word: time on a processor, ns.
        if let Some(time) = times.split(' ').next().and_then(|word| word.parse::<u64>().ok()) {
            *used.entry(name.trim().to_owned()).or_default() += time;
        }
    }
    used
}

/// What was used from one reading to a later one.
pub(crate) fn between(before: &Used, after: &Used) -> Used {
    let since = |(name, time): (&String, &u64)| {
        let more = time.saturating_sub(before.get(name).copied().unwrap_or(0));
        (more > 0).then(|| (name.clone(), more))
    };
    after.iter().filter_map(since).collect()
}

/// Whether a thread of this name does nothing but verify: the workers behind the verify stage.
pub(crate) fn is_verification(name: &str) -> bool {
    name.strip_prefix("verify-")
        .is_some_and(|at| at.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_thread_is_seen() {
        let pid = std::process::id();
        let before = threads(pid);
        let busy = std::thread::Builder::new().name("busy-bee".to_owned()).spawn(move || {
            let start = threads(pid);
            // Until the kernel has accounted for a millisecond.
            while between(&start, &threads(pid)).get("busy-bee").copied().unwrap_or(0) < 1_000_000 {}
            threads(pid)
        });
        let used = between(&before, &busy.unwrap().join().unwrap());
        assert!(used["busy-bee"] >= 1_000_000, "{used:?}");
        assert!(is_verification("verify-0") && !is_verification("verify") && !is_verification("verify-x"));
    }
}
