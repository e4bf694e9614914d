//! Bytes on their way: filled behind, emptied in front, no larger than it was asked to be.

/// What an open but quiet stream may keep per direction.
const KEPT_BYTES: usize = 4 << 10;

/// A buffer that starts with nothing and gives back what it does not need.
#[derive(Default)]
pub(super) struct Buffer {
    // All of it initialised; what is in use is between the two.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What is in it.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How much is in it.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Room behind what is in it, so that both together are `total` bytes or more.
    pub(super) fn room_for(&mut self, total: usize) -> &mut [u8] {
        if self.bytes.len() - self.start < total {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.bytes.len() < total {
                self.bytes.reserve_exact(total - self.bytes.len());
                self.bytes.resize(total, 0);
            }
        }
        &mut self.bytes[self.end..]
    }

    /// The first `count` bytes of the room were filled.
    pub(super) fn filled_by(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Takes `count` bytes from the front.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Gives back a large allocation that holds nothing.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.len() > KEPT_BYTES {
            *self = Buffer::default();
        }
    }

    /// What is allocated.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.bytes.capacity()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_order(steps in proptest::collection::vec((0usize..200, 0usize..200, 0usize..200), 0..60)) {
            let (mut buffer, mut model, mut next) = (Buffer::default(), VecDeque::new(), 0u8);
            for (room, fill, take) in steps {
                let total = buffer.len() + room;
                let space = buffer.room_for(total);
                prop_assert!(space.len() >= room);
                let fill = fill.min(space.len());
                for byte in &mut space[..fill] {
                    next = next.wrapping_add(1);
                    *byte = next;
                    model.push_back(next);
                }
                buffer.filled_by(fill);
                let take = take.min(buffer.len());
                buffer.consume(take);
                model.drain(..take);
                prop_assert_eq!(buffer.filled(), model.make_contiguous());
                buffer.rest();
            }
        }
    }
}
