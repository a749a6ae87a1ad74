//! What a session follows, and what is handed over for it next.
//!
//! # Invariants
//! * What is handed over are the books first, if it joined, then its stream without a gap, from its first number on.
//! * A packet that says something of the stream so far comes behind the stream so far.
//! * What stands behind the end of a stream comes last, and only to grade `matched`.

use super::books::PlacedBooks;
use super::stream::Stream;
use super::tail::Packets;
use std::collections::VecDeque;
use std::sync::Arc;
use wattbook_feed::signed::Grade;
use wattbook_types::ParticipantId;

/// Which stream a session follows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum StreamKey {
    Public,
    Private(ParticipantId),
}

#[derive(Debug)]
pub(super) struct Subscription {
    pub(super) stream: StreamKey,
    pub(super) grade: Grade,
    pub(super) next: u64,
    /// The books that come first, and how far they are told.
    pub(super) books: Option<(Arc<PlacedBooks>, usize)>,
    /// Bytes handed over since its socket last had room for a page.
    pub(super) ahead: usize,
    /// Whether nothing more is handed over before its socket has room.
    pub(super) is_full: bool,
    /// Whether there is more for it than was handed over.
    pub(super) is_behind: bool,
    /// What comes before these numbers of its stream, and its template.
    waiting: VecDeque<(u64, u16, Vec<u8>)>,
}

impl Subscription {
    pub(super) const fn new(stream: StreamKey, grade: Grade, next: u64) -> Self {
        Self {
            stream,
            grade,
            next,
            books: None,
            ahead: 0,
            is_full: false,
            is_behind: true,
            waiting: VecDeque::new(),
        }
    }

    /// Number of the first message of its stream that it may not have yet.
    pub(super) fn until(&self, stream: &Stream, durable: u64) -> u64 {
        match self.grade {
            Grade::Matched => stream.end(),
            Grade::Durable | Grade::Final => stream.above(durable),
        }
    }

    /// Number behind the last message that there is for it, with what stands behind the stream's end.
    pub(super) fn end(&self, stream: &Stream, durable: u64, tail: &Packets) -> u64 {
        match self.grade {
            Grade::Matched => stream.end() + tail.len() as u64,
            Grade::Durable | Grade::Final => self.until(stream, durable),
        }
    }

    /// Keeps a packet until it has what its stream has up to `until`; a younger one of a template takes an older one's place.
    // BOUND: two templates for each message between its first and its last in the history.
    pub(super) fn keep(&mut self, until: u64, template: u16, packet: &[u8]) {
        let same = |(at, of, _): &&mut (u64, u16, Vec<u8>)| *at == until && *of == template;
        match self.waiting.iter_mut().rev().take(2).find(same) {
            Some((.., older)) => packet.clone_into(older),
            None => self.waiting.push_back((until, template, packet.to_vec())),
        }
    }

    /// Appends what comes next, as much as takes `room` bytes, and at least one packet.
    pub(super) fn hand_over(
        &mut self,
        stream: &Stream,
        tail: &Packets,
        durable: u64,
        room: usize,
        packets: &mut Vec<u8>,
    ) {
        let until = self.until(stream, durable);
        if let Some((books, told)) = &mut self.books
            && books.copy(told, room, packets)
        {
            self.books = None;
        }
        while self.books.is_none() {
            let border = self.waiting.front().map_or(until, |(at, ..)| until.min(*at));
            let left = room.saturating_sub(packets.len());
            if self.next < border {
                if left == 0 {
                    break;
                }
                self.next = stream.copy(self.next, border, left, packets);
            }
            if self.next < border {
                break;
            }
            match self.waiting.pop_front_if(|(at, ..)| *at <= border) {
                Some((.., packet)) => packets.extend_from_slice(&packet),
                None => break,
            }
        }
        let end = self.end(stream, durable, tail);
        if self.books.is_none() && self.waiting.is_empty() && self.next >= until && self.next < end {
            // BOUND: the packets of one tail.
            for (_, packet) in tail.range((self.next - until) as usize..) {
                if packets.len() >= room {
                    break;
                }
                packets.extend_from_slice(packet);
                self.next += 1;
            }
        }
        self.is_behind = self.books.is_some() || self.next < end || !self.waiting.is_empty();
    }
}
