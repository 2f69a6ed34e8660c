//! Access flags: which pages were used since they were last looked at.
//!
//! The hardware does not set them here (`VTCR_EL2.HA` is 0): an access to a page without its flag
//! faults, and nothing of such a page is in a TLB, so that setting the flag needs no maintenance,
//! and taking it away does.

use super::{
    Access, Entry, LAST_LEVEL, PAGE, Stage2, Stage2Error, TableMemory, bits, decode, index,
};
use super::{check, span};

impl<M: TableMemory> Stage2<M> {
    /// Takes the access flag from the page at an address, whose block is split for it; whether it
    /// had the flag. `None` if nothing but a device is mapped there. `changed` is called as by
    /// [`Stage2::unmap`], and for the page.
    ///
    /// # Errors
    /// [`Stage2Error`]: only a split can run out of memory, and then nothing has changed.
    pub fn age(
        &mut self,
        ipa: u64,
        changed: &mut dyn FnMut(u64, u64),
    ) -> Result<Option<bool>, Stage2Error> {
        check(ipa, PAGE)?;
        let (mut table, mut level) = (self.root, 1);
        loop {
            let place = index(ipa, level);
            let entry = self.memory.read(table, place);
            match decode(entry, level) {
                Entry::Invalid | Entry::Leaf(_, Access::Device) => return Ok(None),
                Entry::Table(inner) => table = inner,
                Entry::Leaf(..) if level == LAST_LEVEL => {
                    let used = entry & bits::ACCESSED != 0;
                    if used {
                        self.memory.write(table, place, entry & !bits::ACCESSED);
                        changed(ipa, PAGE);
                    }
                    return Ok(Some(used));
                }
                Entry::Leaf(base, access) => {
                    let start = ipa / span(level) * span(level);
                    table = self.split(table, place, level, (start, base, access), changed)?;
                }
            }
            level += 1;
        }
    }

    /// Gives the leaf at an address its access flag; false if nothing is mapped there.
    pub fn mark_used(&mut self, ipa: u64) -> bool {
        let mut table = self.root;
        for level in 1..=LAST_LEVEL {
            let place = index(ipa, level);
            let entry = self.memory.read(table, place);
            match decode(entry, level) {
                Entry::Invalid => return false,
                Entry::Table(inner) => table = inner,
                Entry::Leaf(..) => {
                    if entry & bits::ACCESSED == 0 {
                        self.memory.write(table, place, entry | bits::ACCESSED);
                    }
                    return true;
                }
            }
        }
        false
    }
}
