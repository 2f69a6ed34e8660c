//! Finding tables, and reading fields of them: root pointer, extended system description table,
//! headers (ACPI 6.5, 5.2.5 to 5.2.8).

use core::fmt;

use super::{AcpiError, Memory};

/// Four letters that name a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub(super) [u8; 4]);

impl Signature {
    /// Root system description pointer.
    pub const RSDP: Self = Self(*b"RSDP");
    /// Extended system description table.
    pub const XSDT: Self = Self(*b"XSDT");
    /// Multiple APIC description table, MADT.
    pub const APIC: Self = Self(*b"APIC");
    /// Generic timer description table.
    pub const GTDT: Self = Self(*b"GTDT");
    /// Serial port console redirection table.
    pub const SPCR: Self = Self(*b"SPCR");
    /// Debug port table 2.
    pub const DBG2: Self = Self(*b"DBG2");
    /// Fixed ACPI description table, FADT.
    pub const FACP: Self = Self(*b"FACP");
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.0).unwrap_or("????"))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Letters padded with spaces or zeroes; what is no letter is left out.
pub(super) struct Letters<'a>(&'a [u8]);

impl fmt::Display for Letters<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .filter(|byte| byte.is_ascii_graphic())
            .try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

const HEADER: usize = 36;
/// Longest table that is read; what is here takes some kilobytes.
const LONGEST: usize = 1 << 20;
const ROOT: usize = 36;

/// A table's bytes, whose header and checksum were found right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a> {
    signature: Signature,
    bytes: &'a [u8],
}

impl<'a> Table<'a> {
    pub(super) fn read<M: Memory>(
        memory: &'a M,
        address: u64,
        signature: Signature,
    ) -> Result<Self, AcpiError> {
        let header = memory.bytes(address, HEADER).ok_or(AcpiError::Unreadable(signature))?;
        let length = Self { signature, bytes: header }.u32(4)? as usize;
        if !(HEADER..=LONGEST).contains(&length) {
            return Err(AcpiError::Length(signature));
        }
        let bytes = memory.bytes(address, length).ok_or(AcpiError::Unreadable(signature))?;
        if sum(bytes) != 0 {
            return Err(AcpiError::Checksum(signature));
        }
        Ok(Self { signature, bytes })
    }

    /// Bytes, header included.
    pub(super) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Who made it, and what the maker calls it.
    pub(super) fn made_by(&self) -> (Letters<'a>, Letters<'a>) {
        let letters = |from, to| Letters(self.bytes.get(from..to).unwrap_or(&[]));
        (letters(10, 16), letters(16, 24))
    }

    fn field<const N: usize>(&self, at: usize) -> Result<[u8; N], AcpiError> {
        let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().ok_or(AcpiError::Length(self.signature))
    }

    pub(super) fn u8(&self, at: usize) -> Result<u8, AcpiError> {
        self.field::<1>(at).map(|[byte]| byte)
    }

    pub(super) fn u16(&self, at: usize) -> Result<u16, AcpiError> {
        self.field(at).map(u16::from_le_bytes)
    }

    pub(super) fn u32(&self, at: usize) -> Result<u32, AcpiError> {
        self.field(at).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&self, at: usize) -> Result<u64, AcpiError> {
        self.field(at).map(u64::from_le_bytes)
    }

    /// The structures from `at` on, each of which begins with its type and its length.
    pub(super) fn structures(
        &self,
        at: usize,
    ) -> impl Iterator<Item = Result<(u8, Self), AcpiError>> {
        let (signature, mut rest) = (self.signature, self.bytes.get(at..).unwrap_or(&[]));
        core::iter::from_fn(move || {
            let (&kind, &length) = (rest.first()?, rest.get(1).unwrap_or(&0));
            let Some((bytes, after)) = rest.split_at_checked(length.into()).filter(|_| length >= 2)
            else {
                rest = &[];
                return Some(Err(AcpiError::Length(signature)));
            };
            rest = after;
            Some(Ok((kind, Self { signature, bytes })))
        })
    }
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

impl Table<'_> {
    /// A part of a table, from one place to another.
    pub(super) fn part(&self, from: usize, to: usize) -> Result<Self, AcpiError> {
        let bytes = self.bytes.get(from..to).ok_or(AcpiError::Length(self.signature))?;
        Ok(Self { signature: self.signature, bytes })
    }
}

/// The tables that the root pointer leads to.
#[derive(Debug)]
pub struct Tables<'a, M> {
    memory: &'a M,
    list: Table<'a>,
}

impl<'a, M: Memory> Tables<'a, M> {
    /// Follows the root pointer.
    ///
    /// # Errors
    /// [`AcpiError`], by table.
    pub fn find(memory: &'a M, root: u64) -> Result<Self, AcpiError> {
        const REVISION: usize = 15;
        const LIST: usize = 24;
        let bytes = memory.bytes(root, ROOT).ok_or(AcpiError::Unreadable(Signature::RSDP))?;
        if !bytes.starts_with(b"RSD PTR ") || bytes[REVISION] < 2 {
            return Err(AcpiError::NoRoot);
        }
        if sum(bytes.get(..20).unwrap_or(bytes)) != 0 || sum(bytes) != 0 {
            return Err(AcpiError::Checksum(Signature::RSDP));
        }
        let address = Table { signature: Signature::RSDP, bytes }.u64(LIST)?;
        Ok(Self { memory, list: Table::read(memory, address, Signature::XSDT)? })
    }

    /// Who made the tables: six letters.
    pub fn maker(&self) -> [u8; 6] {
        self.list.field(10).unwrap_or_default()
    }

    /// Addresses of all tables.
    pub(super) fn entries(&self) -> impl Iterator<Item = u64> {
        let addresses = self.list.bytes[HEADER..].chunks_exact(8);
        addresses.map(|address| address.first_chunk().copied().map_or(0, u64::from_le_bytes))
    }

    /// The first table with this signature.
    pub(super) fn table(&self, signature: Signature) -> Result<Table<'a>, AcpiError> {
        for address in self.entries() {
            // An entry that leads nowhere is another table's trouble.
            if self.memory.bytes(address, 4) == Some(&signature.0) {
                return Table::read(self.memory, address, signature);
            }
        }
        Err(AcpiError::Missing(signature))
    }
}
