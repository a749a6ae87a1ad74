//! A timing wheel: whoever is due next costs the same however many wait.
//!
//! # Invariants
//! * What was put in comes out once, at its time or up to one tick after it, and never before it unless that lies beyond the
//!   wheel's turn: then it comes out at the end of the turn, and whoever put it in looks again.

/// Length of a tick, ns.
const TICK_NS: u64 = 32_000_000;
/// Ticks of a turn: 16 s.
const TICKS: u64 = 512;

/// Timers of `T`.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    /// The tick that is looked at next.
    next: u64,
    len: usize,
}

impl<T> Wheel<T> {
    /// An empty wheel that starts at this time.
    pub(super) fn new(now_ns: u64) -> Self {
        Self {
            slots: (0..TICKS).map(|_| Vec::new()).collect(),
            next: now_ns / TICK_NS,
            len: 0,
        }
    }

    /// Puts an item in.
    pub(super) fn put(&mut self, at_ns: u64, item: T) {
        let tick = at_ns.div_ceil(TICK_NS).clamp(self.next, self.next + TICKS - 1);
        self.slots[(tick % TICKS) as usize].push(item);
        self.len += 1;
    }

    /// Moves the items that are due to `due`.
    pub(super) fn take(&mut self, now_ns: u64, due: &mut Vec<T>) {
        let now = now_ns / TICK_NS;
        // After a long sleep one turn of the wheel empties it.
        let last = now.min(self.next + TICKS - 1);
        while self.next <= last {
            let slot = &mut self.slots[(self.next % TICKS) as usize];
            self.len -= slot.len();
            due.append(slot);
            self.next += 1;
        }
        self.next = self.next.max(now + 1);
    }

    /// When there may be something due, ns; `None` where it is empty.
    pub(super) fn next_ns(&self) -> Option<u64> {
        (self.len > 0).then_some(self.next * TICK_NS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_once_in_its_tick() {
        let mut wheel = Wheel::new(5 * TICK_NS);
        assert_eq!(wheel.next_ns(), None);
        let times: Vec<u64> = (0..2_000).map(|i| 5 * TICK_NS + i * 7_654_321).collect();
        for at in &times {
            wheel.put(*at, *at);
        }
        let (mut due, mut seen) = (Vec::new(), 0);
        for now in (0..3 * TICKS).map(|tick| (5 + tick) * TICK_NS + 1) {
            due.clear();
            wheel.take(now, &mut due);
            seen += due.len();
            for at in &due {
                let turn_end = (5 + TICKS - 1) * TICK_NS;
                assert!(*at < now, "{at} at {now}");
                assert!(*at + TICK_NS > now - TICK_NS || *at > turn_end, "{at} at {now}");
            }
        }
        assert_eq!((seen, wheel.next_ns()), (times.len(), None));
    }

    #[test]
    fn the_past_and_the_far_future_come_out() {
        let mut wheel = Wheel::new(1_000 * TICK_NS);
        wheel.put(0, "past");
        wheel.put(u64::MAX / 2, "future");
        let mut due = Vec::new();
        wheel.take(1_000 * TICK_NS, &mut due);
        assert_eq!(due, ["past"]);
        wheel.take(1_000_000 * TICK_NS, &mut due);
        assert_eq!(due, ["past", "future"]);
        wheel.put(1, "late");
        wheel.take(1_000_001 * TICK_NS, &mut due);
        assert_eq!(due.len(), 3);
    }
}
