//! Things by session: dense, and a number is never given twice.
//!
//! # Format
//! A session's number is `serial << 20 | seat`: it grows with every connection, and says where it sits.

use super::SessionId;

const SEAT_BITS: u32 = 20;
/// Bits of a number; the upper ones are free for whoever keeps it.
pub(super) const ID_BITS: u32 = 60;
/// Most seats.
pub(super) const SEATS_MAX: usize = 1 << SEAT_BITS;

const fn seat(id: SessionId) -> usize {
    (id & (SEATS_MAX as u64 - 1)) as usize
}

/// Seats for whoever numbers sessions.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    free: Vec<u64>,
    seats: u64,
    serial: u64,
}

impl Numbers {
    /// A number for a new connection; `None` where every seat is taken.
    pub(super) fn take(&mut self) -> Option<SessionId> {
        let seat = match self.free.pop() {
            Some(seat) => seat,
            None if self.seats as usize == SEATS_MAX => return None,
            None => {
                self.seats += 1;
                self.seats - 1
            }
        };
        self.serial += 1;
        assert!(self.serial < 1 << (ID_BITS - SEAT_BITS), "2^40 connections");
        Some(self.serial << SEAT_BITS | seat)
    }

    /// The seat of a number is free again.
    pub(super) fn free(&mut self, id: SessionId) {
        self.free.push(seat(id) as u64);
    }
}

/// What belongs to sessions.
#[derive(Debug)]
pub(super) struct Seats<T>(Vec<Option<(SessionId, T)>>);

impl<T> Default for Seats<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Seats<T> {
    /// Seats a session.
    pub(super) fn put(&mut self, id: SessionId, item: T) {
        let seat = seat(id);
        if seat >= self.0.len() {
            self.0.resize_with(seat + 1, || None);
        }
        self.0[seat] = Some((id, item));
    }

    /// What belongs to a session that is still there.
    pub(super) fn get(&self, id: SessionId) -> Option<&T> {
        match self.0.get(seat(id)) {
            Some(Some((sits, item))) if *sits == id => Some(item),
            _ => None,
        }
    }

    /// The same, to change.
    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut T> {
        match self.0.get_mut(seat(id)) {
            Some(Some((sits, item))) if *sits == id => Some(item),
            _ => None,
        }
    }

    /// A session leaves.
    pub(super) fn remove(&mut self, id: SessionId) -> Option<T> {
        self.get(id)?;
        self.0.get_mut(seat(id))?.take().map(|(_, item)| item)
    }

    /// Everybody.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionId, &T)> {
        self.0.iter().flatten().map(|(id, item)| (*id, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_taken_again_under_another_number() {
        let (mut numbers, mut seats) = (Numbers::default(), Seats::default());
        let first = numbers.take().unwrap();
        let second = numbers.take().unwrap();
        seats.put(first, 'a');
        seats.put(second, 'b');
        assert_eq!(seats.remove(first), Some('a'));
        assert_eq!(seats.remove(first), None);
        numbers.free(first);
        let third = numbers.take().unwrap();
        assert!(third > second && seat(third) == seat(first));
        seats.put(third, 'c');
        assert_eq!((seats.get(first), seats.get(third)), (None, Some(&'c')));
        assert_eq!(seats.iter().count(), 2);
    }
}
