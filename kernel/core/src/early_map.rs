//! The first map of EL2: whole gigabytes at the addresses they have, while the tables of the
//! machine are read.
//!
//! It is filled with the MMU off, where an access must be aligned: words of 64 bits one by one, and
//! nothing that could become a copy.

use core::fmt;

/// Descriptors in a table (DDI 0487, D8.3): 4 KiB pages, 512 of them.
pub const ENTRIES: usize = 512;
/// Bytes that a block of level 1 covers.
pub const GIGABYTE: u64 = 1 << 30;
/// Bytes that a table of level 1 covers: what one descriptor of level 0 leads to.
const REGION: u64 = ENTRIES as u64 * GIGABYTE;
/// Addresses end here: `TCR_EL2.T0SZ` is 16.
pub const END: u64 = 1 << 48;
/// A descriptor that leads to a further table.
const TABLE: u64 = 3;
/// Bits of a descriptor that hold an address.
const ADDRESS: u64 = (END - 1) & !0xfff;

/// A table of level 0 or 1, as the MMU reads it.
#[derive(Debug)]
#[repr(C, align(4096))]
pub struct Table(pub [u64; ENTRIES]);

impl Table {
    /// One that maps nothing.
    pub const EMPTY: Self = Self([0; ENTRIES]);
}

/// Why something is not mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapError {
    /// It ends above 48 bits of address.
    TooHigh,
    /// It lies in more parts of 512 GiB than there are tables.
    NoTable,
    /// Its gigabyte is mapped as something else.
    Both,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooHigh => "it lies above 256 TiB, where addresses have more than 48 bits",
            Self::NoTable => "what is needed first lies in too many parts of 512 GiB",
            Self::Both => "memory and registers lie in the same gigabyte",
        })
    }
}

/// Adds the gigabytes in which `start..start + length` lies. The first table is of level 0; the
/// others become tables of level 1 as they are needed, and are used where they are, at the
/// addresses they have.
///
/// # Errors
/// See [`MapError`]; what was added before stays.
pub fn add(tables: &mut [Table], start: u64, length: u64, attributes: u64) -> Result<(), MapError> {
    let end =
        start.checked_add(length.max(1)).filter(|end| *end <= END).ok_or(MapError::TooHigh)?;
    let mut at = start & !(GIGABYTE - 1);
    while at < end {
        let level1 = table_of(tables, at).ok_or(MapError::NoTable)?;
        let entry = &mut tables[level1].0[(at / GIGABYTE) as usize % ENTRIES];
        if *entry != 0 && *entry != at | attributes {
            return Err(MapError::Both);
        }
        *entry = at | attributes;
        at += GIGABYTE;
    }
    Ok(())
}

/// Which table covers an address: the one that is there, or the next that is not in use.
fn table_of(tables: &mut [Table], address: u64) -> Option<usize> {
    let place = (address / REGION) as usize % ENTRIES;
    let there = tables.first()?.0[place] & ADDRESS;
    let mut index = 1;
    while index < tables.len() {
        let own = tables[index].0.as_ptr() as u64;
        if there == own {
            return Some(index);
        }
        if there == 0 && !is_used(tables, own) {
            tables[0].0[place] = own | TABLE;
            return Some(index);
        }
        index += 1;
    }
    None
}

/// Whether level 0 leads to this table.
fn is_used(tables: &[Table], table: u64) -> bool {
    let mut place = 0;
    while place < ENTRIES {
        if tables[0].0[place] & ADDRESS == table {
            return true;
        }
        place += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: u64 = 1 | 1 << 2;
    const DEVICE: u64 = 1;

    fn tables<const N: usize>() -> Box<[Table; N]> {
        Box::new([const { Table::EMPTY }; N])
    }

    /// What a walk of the tables ends at, as the MMU does it.
    fn walk(tables: &[Table], address: u64) -> Option<u64> {
        let level0 = tables[0].0[(address / REGION) as usize];
        let level1 = tables.iter().find(|table| level0 == table.0.as_ptr() as u64 | TABLE)?;
        let entry = level1.0[(address / GIGABYTE) as usize % ENTRIES];
        (entry & 3 == 1).then_some(entry)
    }

    #[test]
    fn any_address_of_48_bits_is_mapped() {
        for image in
            [0x4020_0000, 0x84_4000_0000, 0x100_0000_0000, 0x1000_0000_0000, 0xffff_c000_0000]
        {
            let mut tables = tables::<6>();
            for (start, attributes) in
                [(0x0900_0000, DEVICE), (0x88_7000_0000, MEMORY), (image, MEMORY)]
            {
                add(&mut *tables, start, 0x20_0000, attributes).expect("there is room");
            }
            assert_eq!(
                walk(&*tables, image + 0x1f_ffff),
                Some(image & !(GIGABYTE - 1) | MEMORY),
                "{image:#x}"
            );
            assert_eq!(walk(&*tables, 0x0900_0018), Some(DEVICE));
            assert_eq!(walk(&*tables, 0x88_7000_0000), Some(0x88_4000_0000 | MEMORY));
            assert_eq!(walk(&*tables, 0x99_4000_0000), None);
        }
    }

    #[test]
    fn what_crosses_a_boundary_is_mapped_whole() {
        for boundary in [GIGABYTE, REGION, 5 * REGION] {
            let mut tables = tables::<3>();
            add(&mut *tables, boundary - 0x1000, 0x2000, MEMORY).expect("there is room");
            assert_eq!(walk(&*tables, boundary - 1), Some((boundary - GIGABYTE) | MEMORY));
            assert_eq!(walk(&*tables, boundary), Some(boundary | MEMORY));
        }
    }

    #[test]
    fn what_cannot_be_mapped_is_said() {
        let mut tables = tables::<2>();
        assert_eq!(add(&mut *tables, END - 0x1000, 0x1001, MEMORY), Err(MapError::TooHigh));
        assert_eq!(add(&mut *tables, u64::MAX, 2, MEMORY), Err(MapError::TooHigh));
        assert_eq!(add(&mut *tables, 0x4000_0000, 0, MEMORY), Ok(()));
        assert_eq!(add(&mut *tables, 0x4000_0000, 0x10, MEMORY), Ok(()), "twice is once");
        assert_eq!(add(&mut *tables, 0x7fff_ffff, 1, DEVICE), Err(MapError::Both));
        assert_eq!(add(&mut *tables, REGION, 1, MEMORY), Err(MapError::NoTable));
    }
}
