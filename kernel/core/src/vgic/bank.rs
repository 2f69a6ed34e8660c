//! 32 interrupts: a word for each property, a bit for each interrupt.

/// Priority bits that are kept: 32 levels, as the hardware's list registers have at least.
const PRIORITY_MASK: u8 = 0xf8;

/// Bits of a priority that are kept.
pub(super) const PRIORITY_BITS: usize = 5;
/// The lowest of them.
const LOWEST_PRIORITY_BIT: u32 = 3;

const _: () = assert!(PRIORITY_MASK == 0xff << LOWEST_PRIORITY_BIT && PRIORITY_BITS == 5);

/// 32 interrupts.
///
/// # Invariants
/// Bit `i` of `planes[k]` is bit `k` of what is kept of `priority[i]`.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    pub(super) enabled: u32,
    /// Pending by an edge, an SGI or a write to ISPENDR.
    pub(super) latched: u32,
    /// The device's line is high.
    pub(super) line: u32,
    pub(super) active: u32,
    /// Edge-triggered.
    pub(super) edge: u32,
    /// In group 1.
    pub(super) group1: u32,
    pub(super) priority: [u8; 32],
    /// The same priorities, sliced by bit: a comparison of all 32 is an AND for each bit.
    pub(super) planes: [u32; PRIORITY_BITS],
}

impl Bank {
    pub(super) const fn private() -> Self {
        // SGIs are edge-triggered for ever.
        Self { edge: 0xffff, ..Self::shared() }
    }

    pub(super) const fn shared() -> Self {
        Self {
            enabled: 0,
            latched: 0,
            line: 0,
            active: 0,
            edge: 0,
            group1: 0,
            priority: [0; 32],
            planes: [0; PRIORITY_BITS],
        }
    }

    /// Pending, enabled or not.
    pub(super) fn pending(&self) -> u32 {
        self.latched | self.line & !self.edge
    }

    /// What may be signalled: pending and enabled. What is active waits for its end; an edge that
    /// comes meanwhile goes into the same list register.
    pub(super) fn ready(&self) -> u32 {
        self.pending() & self.enabled & !self.active
    }

    /// Sets the line of the interrupt with this bit; whether it changed. A rise is an edge for
    /// those that take edges.
    pub(super) fn set_line(&mut self, bit: u32, high: bool) -> bool {
        let before = self.line;
        if high {
            self.line |= bit;
            self.latched |= bit & self.edge & !before;
        } else {
            self.line &= !bit;
        }
        self.line != before
    }

    /// Sets the priority of one interrupt.
    pub(super) fn set_priority(&mut self, at: usize, priority: u8) {
        self.set_priorities(at, priority.into(), 1);
    }

    /// Sets the priorities of `count` interrupts from `at` on, at most four, a byte of `value` for
    /// each, the lowest first.
    pub(super) fn set_priorities(&mut self, at: usize, value: u32, count: usize) {
        let bytes = value.to_le_bytes().into_iter().take(count);
        for (place, priority) in self.priority.iter_mut().skip(at).zip(bytes) {
            *place = priority & PRIORITY_MASK;
        }
        let fields = (1u32 << count) - 1;
        for (plane, bit) in self.planes.iter_mut().zip(LOWEST_PRIORITY_BIT..) {
            // One bit of each byte; the product has them side by side in its upper byte.
            let spread = value >> bit & 0x0101_0101;
            let gathered = spread.wrapping_mul(0x0102_0408) >> 24;
            *plane = *plane & !(fields << at) | (gathered & fields) << at;
        }
    }
}
