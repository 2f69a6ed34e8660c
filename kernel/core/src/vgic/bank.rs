//! 32 interrupts: a word for each property, a bit for each interrupt.

/// Priority bits that are kept: 32 levels, as the hardware's list registers have at least.
const PRIORITY_MASK: u8 = 0xf8;

/// 32 interrupts.
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
}

impl Bank {
    pub(super) const fn private() -> Self {
        // SGIs are edge-triggered for ever.
        Self { edge: 0xffff, ..Self::shared() }
    }

    pub(super) const fn shared() -> Self {
        Self { enabled: 0, latched: 0, line: 0, active: 0, edge: 0, group1: 0, priority: [0; 32] }
    }

    /// Pending, enabled or not.
    pub(super) fn pending(&self) -> u32 {
        self.latched | self.line & !self.edge
    }

    /// What may be signalled: pending and enabled. What is active waits for its end; an edge that comes meanwhile
    /// goes into the same list register.
    pub(super) fn ready(&self) -> u32 {
        self.pending() & self.enabled & !self.active
    }

    /// Sets the priority of one interrupt.
    pub(super) fn set_priority(&mut self, at: usize, priority: u8) {
        self.priority[at] = priority & PRIORITY_MASK;
    }

    /// Calls `visit` with number and priority of each interrupt in `bits`, the bank's first being `first`.
    pub(super) fn each(&self, mut bits: u32, first: u32, visit: &mut impl FnMut(u32, u8)) {
        while bits != 0 {
            let at = bits.trailing_zeros();
            bits &= bits - 1;
            visit(first + at, self.priority[at as usize]);
        }
    }
}
