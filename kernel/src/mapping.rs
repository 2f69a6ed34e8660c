//! The map of EL2 and the frames, from what the tables say of memory.

use bale_arch::entry::image_base;
use bale_core::device_tree::{MAX_MEMORY, MAX_REGIONS, MAX_RESERVED, MAX_VIRTIO, Machine, Range};
use bale_core::last_words::ROOM;
use bale_core::{acpi, map_tables};
use bale_io::{last_words, println};
use bale_memory::frames::RANGES;
use bale_memory::{PAGE_SIZE, frames, image_sections, map};
use heapless::Vec;

use crate::board::Board;
use crate::early;

/// Ranges that memory is not given out in: what is reserved; the image, the device tree, the
/// bundle, the firmware's text, room for last words, the map's tables.
const TAKEN: usize = MAX_RESERVED + 6;
/// Each range that is taken cuts one in two at most.
const _: () = assert!(MAX_MEMORY + TAKEN <= RANGES, "there is room for what is left of memory");
/// How many tables the map of these ranges needs beyond its own pool; the ranges are in the order
/// of their addresses.
fn further_tables(memory: &[map::Range], devices: &[map::Range]) -> usize {
    /// What a table of the last level maps.
    const PIECE: u64 = 2 << 20;
    let wanted = |ranges: &[map::Range]| {
        map_tables::wanted(ranges.iter().map(|range| (range.start, range.end)))
    };
    // The image's sections and the holes below its stacks are mapped page by page.
    let (start, end) = (image_base(), image_sections()[4].end);
    let pieces = (end - start).div_ceil(PIECE) as usize;
    // The root, the image's tables of the last level and the two above, each of which may cross
    // into one more.
    let others = 1 + pieces + 1 + 2 * 2;
    match (others + wanted(memory) + wanted(devices)).saturating_sub(map::TABLES) {
        0 => 0,
        // They are mapped read-only themselves, page by page, in up to two gigabytes.
        further => further + 2 + further / 512 + 2,
    }
}

/// Builds the map of EL2 and turns it on; where tables of it lie that its own pool has no room for.
pub(crate) fn enable(board: &Board, machine: &Machine, device_tree: (u64, usize)) -> map::Range {
    let mut memory: Vec<map::Range, RANGES> = Vec::new();
    // What is reserved is not mapped at all: even a speculative access there may be an error.
    let reserved =
        machine.reserved.iter().map(|range| (range.base, range.base + range.size)).collect();
    for_each_free(machine, reserved, |start, end| {
        if memory.push(map::Range { start, end }).is_err() {
            early::stop_for(
                board,
                format_args!(
                    "the device tree names more than the {RANGES} memory ranges that the map holds"
                ),
            );
        }
    });
    let mut devices: Vec<map::Range, { 16 + MAX_REGIONS + MAX_VIRTIO }> = Vec::new();
    let mut device = |start: u64, size: u64| {
        if devices.push(map::Range { start, end: start + size }).is_err() {
            early::stop_for(
                board,
                format_args!("the device tree names more device ranges than the map holds"),
            );
        }
    };
    device(machine.uart.base, 0x1000);
    device(machine.gic.distributor.base, machine.gic.distributor.size);
    for region in &machine.gic.redistributors {
        device(region.base, region.size);
    }
    if let Some(clock) = &machine.clock {
        device(clock.base & !0xfff, PAGE_SIZE as u64);
    }
    for page in virtio_pages(machine) {
        device(page, PAGE_SIZE as u64);
    }
    for (_, address) in acpi::watched(&machine.model) {
        device(address & !0xfff, 0x1000);
    }
    devices.sort_unstable_by_key(|range| range.start);
    let tables = find_tables(board, machine, device_tree, further_tables(&memory, &devices));
    // SAFETY: on the boot core, once; the ranges are what the tables say, and the pages were found
    // for this.
    if let Err(error) = unsafe { map::enable(&memory, &devices, tables) } {
        early::stop_for(
            board,
            format_args!("the memory map of the device tree cannot be mapped: {error}"),
        );
    }
    tables
}

/// Has the last words stand where the loader found room for them, if that is memory which is nobody
/// else's and can be reached.
pub(crate) fn keep_last_words(machine: &Machine, device_tree: (u64, usize)) {
    let Some(kept) = machine.kept else { return };
    let mut is_free = false;
    let none = map::Range { start: 0, end: 0 };
    for_each_free(machine, taken(machine, device_tree, none, None), |start, end| {
        is_free |= start <= kept.base && kept.base + kept.size <= end;
    });
    let fits = kept.size >= ROOM as u64 && kept.base.is_multiple_of(PAGE_SIZE as u64);
    if is_free && fits && early::reach(kept.base, kept.size).is_ok() {
        // SAFETY: mapped now, and by the real map since it is memory; it is not given out, as
        // `taken` says.
        unsafe { last_words::set_place(kept.base) };
    }
}

/// Zeroed pages for so many tables, in memory that is free, reachable by the early map.
fn find_tables(
    board: &Board,
    machine: &Machine,
    device_tree: (u64, usize),
    count: usize,
) -> map::Range {
    let bytes = (count * PAGE_SIZE) as u64;
    let mut found = map::Range { start: 0, end: 0 };
    if count == 0 {
        return found;
    }
    for_each_free(machine, taken(machine, device_tree, found, machine.kept), |start, end| {
        let start = start.next_multiple_of(PAGE_SIZE as u64);
        if found.end == 0 && start + bytes <= end {
            found = map::Range { start, end: start + bytes };
        }
    });
    if found.end == 0 {
        early::stop_for(
            board,
            format_args!(
                "no range of free memory has room for the {count} tables that its map needs"
            ),
        );
    }
    if let Err(error) = early::reach(found.start, bytes) {
        early::stop_for(
            board,
            format_args!("the tables of the map, at {:#x}, are out of reach: {error}", found.start),
        );
    }
    // SAFETY: free memory, mapped just now, which nobody else knows of.
    unsafe { core::ptr::write_bytes(found.start as *mut u8, 0, bytes as usize) };
    found
}

/// Pages with registers of virtio devices, each once.
fn virtio_pages(machine: &Machine) -> Vec<u64, MAX_VIRTIO> {
    let mut pages: Vec<u64, MAX_VIRTIO> = Vec::new();
    for place in &machine.virtio {
        let page = place.registers.base & !(PAGE_SIZE as u64 - 1);
        if !pages.contains(&page) {
            // There is room for a page each.
            let _ = pages.push(page);
        }
    }
    pages
}

/// What of memory is not free: image, device tree, bundle, the firmware's text, room for last
/// words, these tables of the map, and what is reserved.
fn taken(
    machine: &Machine,
    device_tree: (u64, usize),
    tables: map::Range,
    kept: Option<Range>,
) -> Vec<(u64, u64), TAKEN> {
    let image_end = image_sections()[4].end;
    let mut taken: Vec<(u64, u64), TAKEN> = Vec::new();
    let mut take = |start: u64, end: u64| {
        assert!(
            taken.push((start & !0xfff, end.next_multiple_of(4096))).is_ok(),
            "more reserved ranges than fit"
        );
    };
    take(image_base(), image_end);
    take(tables.start, tables.end);
    take(device_tree.0, device_tree.0 + device_tree.1 as u64);
    if let Some(initrd) = &machine.initrd {
        take(initrd.base, initrd.base + initrd.size);
    }
    if let Some(text) = &machine.firmware {
        take(text.base, text.base + text.size);
    }
    if let Some(kept) = kept {
        take(kept.base, kept.base + kept.size);
    }
    for range in &machine.reserved {
        take(range.base, range.base + range.size);
    }
    taken
}

/// Gives the frame allocator all memory that is free.
pub(crate) fn add_memory(machine: &Machine, device_tree: (u64, usize), tables: map::Range) {
    let mut beyond = 0;
    for_each_free(machine, taken(machine, device_tree, tables, machine.kept), |start, end| {
        // The last frame's number is nobody's, so that none ends at the very end.
        let most = frames::END - PAGE_SIZE as u64;
        beyond += end.saturating_sub(start.max(most));
        let end = end.min(most);
        if start >= end {
            return;
        }
        // SAFETY: memory that is in none of the ranges that are taken.
        assert!(unsafe { frames::add(start, end) }, "more memory ranges than fit");
    });
    if beyond > 0 {
        println!("bale: {} MiB of memory above 16 TiB are left alone", beyond >> 20);
    }
}

/// Calls `visit` with each range of memory that lies in none of `taken`.
fn for_each_free(
    machine: &Machine,
    mut taken: Vec<(u64, u64), TAKEN>,
    mut visit: impl FnMut(u64, u64),
) {
    taken.sort_unstable();
    for memory in &machine.memory {
        let mut at = memory.base;
        let end = memory.base + memory.size;
        for &(start, stop) in &taken {
            if stop <= at || start >= end {
                continue;
            }
            if start > at {
                visit(at, start);
            }
            at = at.max(stop);
        }
        if at < end {
            visit(at, end);
        }
    }
}
