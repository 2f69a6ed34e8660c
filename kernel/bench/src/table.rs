//! All benchmarks: what they are called, what they take, where they say something.

use super::benchmark::Bench;
use super::benchmark::Place::{Anywhere, Counted};
use super::options::Takes;
use super::{allocator, burst, density, jitter, ladder, latency, memory, store, thread_metric, vm};

const NOTHING: Takes = Takes { pages: false, mix: false, cores: false, cycles: false };
const CYCLES: Takes = Takes { cycles: true, ..NOTHING };
const PAGES: Takes = Takes { pages: true, ..CYCLES };
const PAGES_AND_MIX: Takes = Takes { mix: true, ..PAGES };
const PAGES_AND_CORES: Takes = Takes { cores: true, ..PAGES };
const TIMED: Takes = Takes { cycles: false, ..PAGES_AND_CORES };

macro_rules! benches {
    ($($suite:literal { $($name:literal, $about:literal, $place:ident, $takes:ident, $run:path;)* })*) => {
        &[$($(Bench { suite: $suite, name: $name, about: $about, place: $place, takes: $takes, run: $run }),*),*]
    };
}

/// By suite.
pub(super) static BENCHES: &[Bench] = benches! {
    "allocator" {
        "malloc", "malloc of an object", Counted, PAGES, allocator::malloc;
        "write", "copy of an object's bytes into the pool", Counted, PAGES, allocator::write;
        "read", "begin and end of a read, no copy", Counted, PAGES, allocator::read;
        "push", "deferred free of one object, inlined", Counted, PAGES, allocator::push;
        "push-many", "deferred free, per object, in runs of 64", Counted, PAGES, allocator::push_many;
        "push-drain", "deferred free in all, in the order of allocation", Counted, PAGES, allocator::push_drain;
        "push-drain-random", "deferred free in all, a random half", Counted, PAGES, allocator::push_drain_random;
        "free", "synchronous free, in the order of allocation", Counted, PAGES, allocator::free;
        "free-random", "synchronous free, a random half", Counted, PAGES, allocator::free_random;
        "pair", "a random free and a malloc", Counted, PAGES, allocator::pair;
        "compact", "compaction, per live object, of which a half was freed", Counted, PAGES, allocator::compact;
        "locks-per-drained", "class locks taken for a drained handle", Counted, PAGES, allocator::locks;
        "locks-adversarial", "class locks a batch of all classes, to classes + 1", Counted, NOTHING, allocator::locks_adversarial;
        "density-2000", "stored bytes to pool memory, 2,000 objects", Counted, NOTHING, density::two_thousand;
        "density-8000", "stored bytes to pool memory, 8,000 objects", Counted, NOTHING, density::eight_thousand;
        "density", "full, half freed, compacted, metadata; 100,000 objects", Counted, PAGES, density::large;
        "density-churned", "100,000 objects after as many pairs", Counted, PAGES, density::churned;
        "burst", "200,000 deferred frees from each core at once", Anywhere, TIMED, burst::burst;
    }
    "store" {
        "page", "store with our codec: write, read, ratio, the store's own part", Counted, PAGES_AND_MIX, store::page;
        "lz4", "the same with LZ4", Counted, PAGES_AND_MIX, store::lz4;
        "against", "our codec and the second one against LZ4", Counted, PAGES_AND_MIX, store::against;
        "own-write", "a write into an empty slot, without the codec", Counted, PAGES_AND_MIX, store::own_write;
        "release", "a page of zeros; slots given up, in runs of 64", Counted, PAGES_AND_MIX, store::zero_and_release;
        "store-density", "objects to memory of a fresh pool", Counted, PAGES_AND_MIX, store::density;
        "checksum", "what checksums add", Counted, PAGES_AND_MIX, store::checksum;
        "recompress", "all pages by the second codec", Counted, PAGES_AND_MIX, store::recompress;
        "release-device", "a whole device given up: by its releaser, and in all", Counted, PAGES_AND_MIX, store::release_device;
    }
    "rtos" {
        "boot", "from the kernel's first instruction to its shell", Anywhere, NOTHING, latency::boot;
        "switch", "voluntary switch to another task", Counted, CYCLES, latency::switch;
        "semaphore", "give and take of a free semaphore", Counted, CYCLES, latency::semaphore;
        "mutex", "lock and unlock of a free mutex", Counted, CYCLES, latency::mutex;
        "hand-over", "unlock to the task that waited", Counted, CYCLES, latency::hand_over;
        "latency", "interrupt to the task that it wakes", Counted, CYCLES, latency::interrupt;
        "jitter", "how late a periodic task of 1 ms wakes", Anywhere, NOTHING, jitter::alone;
        "memory-bandwidth", "set, copy and read of 64 MiB", Anywhere, NOTHING, memory::bandwidth;
        "jitter-loaded", "the same at 211 us, beside drains and contending tasks", Anywhere, NOTHING, jitter::under_load;
        // Behind everything else, since it is about what ran until then.
        "masked", "longest stretch with interrupts masked since boot", Anywhere, NOTHING, latency::masked;
    }
    "vm" {
        "guest", "what a guest pays: calls, registers, interrupts, swap disk", Counted, NOTHING, vm::guest;
        "turns", "one machine's turn on a core ends, another one's begins", Counted, NOTHING, vm::turns;
        "stop", "`vm stop` with many pages stored, and more than with few", Counted, CYCLES, vm::stop;
        "jitter-storm", "how late a periodic task of 211 us wakes beside storms", Anywhere, NOTHING, jitter::beside_storms;
        // As in the suite above.
        "masked-storms", "longest stretch with interrupts masked since boot", Anywhere, NOTHING, latency::masked_beside_storms;
    }
    "thread-metric" {
        "tm-basic", "sums over 1,024 words, no service at all", Counted, CYCLES, thread_metric::basic;
        "tm-cooperative", "five tasks that yield in turn, a yield", Counted, CYCLES, thread_metric::cooperative;
        "tm-preemptive", "five tasks, each wakes a more urgent one, a round", Counted, CYCLES, thread_metric::preemptive;
        "tm-interrupt", "interrupt, its handler's semaphore", Counted, CYCLES, thread_metric::interrupt;
        "tm-interrupt-preemption", "interrupt that wakes a more urgent task", Counted, CYCLES, thread_metric::interrupt_preemption;
        "tm-message", "16 bytes to a queue and from it", Counted, CYCLES, thread_metric::message;
        "tm-synchronization", "a semaphore taken and given", Counted, CYCLES, thread_metric::synchronization;
        "tm-memory", "128 bytes from the pool and back", Counted, CYCLES, thread_metric::memory;
    }
    "ladder" {
        "ladder", "what each part of the deferred free brings", Anywhere, PAGES_AND_CORES, ladder::ladder;
    }
};
