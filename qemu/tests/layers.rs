//! Dependencies point down: what each crate of the project may depend on, held against its
//! manifest.

use std::collections::BTreeMap;
use std::path::Path;

/// What the monitor may use: everything up to the machines.
const TO_VMM: [&str; 10] = [
    "bale-abi",
    "bale-arch",
    "bale-core",
    "bale-swap",
    "bale-memory",
    "bale-rt",
    "bale-io",
    "bale-reclaim",
    "bale-vmm",
    "zsmalloc",
];
/// What benchmarks and self tests may use: the same, and the shell that they add a command to.
const TO_MONITOR: [&str; 11] = [
    "bale-abi",
    "bale-arch",
    "bale-core",
    "bale-swap",
    "bale-memory",
    "bale-rt",
    "bale-io",
    "bale-reclaim",
    "bale-vmm",
    "bale-monitor",
    "zsmalloc",
];

/// Folder of a crate, and the crates of the project that it may use.
const LAYERS: [(&str, &[&str]); 22] = [
    ("allocator", &[]),
    ("allocator/fuzz", &["zsmalloc"]),
    ("kernel/abi", &[]),
    ("kernel/core", &[]),
    ("kernel/swap", &["zsmalloc"]),
    ("kernel/arch", &[]),
    ("kernel/memory", &["bale-arch"]),
    ("kernel/rt", &["bale-arch", "bale-core", "bale-memory"]),
    ("kernel/io", &["bale-arch", "bale-core", "bale-swap", "bale-memory", "bale-rt"]),
    ("kernel/reclaim", &["bale-arch", "bale-core", "zsmalloc", "bale-memory", "bale-rt"]),
    (
        "kernel/vmm",
        &[
            "bale-abi",
            "bale-arch",
            "bale-core",
            "bale-swap",
            "bale-memory",
            "bale-rt",
            "bale-io",
            "bale-reclaim",
        ],
    ),
    ("kernel/monitor", &TO_VMM),
    ("kernel/bench", &TO_MONITOR),
    ("kernel/selftest", &TO_MONITOR),
    (
        "kernel",
        &[
            "bale-arch",
            "bale-core",
            "bale-memory",
            "bale-rt",
            "bale-io",
            "bale-reclaim",
            "bale-vmm",
            "bale-monitor",
        ],
    ),
    ("boards/qemu-virt", &["bale-kernel", "bale-bench", "bale-selftest"]),
    ("kernel/examples/control_loop", &["bale-qemu-virt", "bale-rt", "bale-io"]),
    ("boards/uefi", &["bale-core"]),
    ("kernel/fuzz", &["bale-core", "bale-swap"]),
    ("qemu", &["bale-core", "bale-swap", "linux-init"]),
    ("qemu/guests/swapper", &["bale-abi"]),
    ("qemu/guests/linux-init", &[]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tool lies in the workspace")
}

/// The keys below `[dependencies]` of a manifest.
fn dependencies(manifest: &str) -> Vec<&str> {
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or("");
    let lines = section.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| Some(line.split_once('=')?.0.trim())).collect()
}

#[test]
fn dependencies_point_down() {
    let manifests: BTreeMap<&str, String> = LAYERS
        .iter()
        .map(|(folder, _)| {
            let path = root().join(folder).join("Cargo.toml");
            (
                *folder,
                std::fs::read_to_string(&path)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            )
        })
        .collect();
    let name = |manifest: &str| {
        let line = manifest
            .lines()
            .find_map(|line| line.strip_prefix("name = \""))
            .expect("a package has a name");
        line.trim_end_matches('"').to_owned()
    };
    let ours: Vec<String> = manifests.values().map(|manifest| name(manifest)).collect();
    for (folder, allowed) in LAYERS {
        for dependency in dependencies(&manifests[folder]) {
            if ours.iter().any(|own| own == dependency) {
                assert!(allowed.contains(&dependency), "{folder} must not depend on {dependency}");
            }
        }
    }
}

#[test]
fn every_member_has_a_layer() {
    let workspace =
        std::fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = workspace
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .expect("members");
    for member in members
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|member| !member.is_empty())
    {
        assert!(LAYERS.iter().any(|(folder, _)| *folder == member), "{member} has no layer");
    }
}
