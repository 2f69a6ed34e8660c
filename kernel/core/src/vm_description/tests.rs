use super::*;
use proptest::prelude::*;

const GOOD: &str = "# a guest\nmemory = 256M\nvcpus=2\nkernel = vmlinuz\ninitrd = kit.cpio\n\ncmdline = console=ttyAMA0 a=b\nswap = 682M\nquota = 64M\nreserve = 48M\ncodec = deflate\nsecond = lz4hc:9\nchecksum = on\nconsole = virtio\nconsole_rate = 64K\nrestarts = 3\nrestart_window = 60\nshares = 250\ncpu_limit = 25000/100000\ncores = 1,3-5\n";

#[test]
fn everything_named() {
    let description = VmDescription::parse(GOOD.as_bytes()).unwrap();
    assert_eq!((description.memory, description.vcpus), (256 << 20, 2));
    assert_eq!(description.kernel.as_str(), "vmlinuz");
    assert_eq!(description.initrd.as_deref(), Some("kit.cpio"));
    assert_eq!(description.command_line.as_str(), "console=ttyAMA0 a=b");
    assert_eq!((description.swap, description.quota), (682 << 20, Some(64 << 20)));
    assert_eq!(description.codec.as_str(), "deflate");
    assert_eq!((description.second.as_deref(), description.checksum), (Some("lz4hc:9"), true));
    assert_eq!((description.console, description.console_rate), (Console::Virtio, 64 << 10));
    assert_eq!((description.restarts, description.restart_window), (3, 60));
    assert_eq!((description.shares, description.reserve), (250, 48 << 20));
    let limit = CpuLimit { budget_us: 25_000, period_us: 100_000 };
    assert_eq!(description.cpu_limit, Some(limit));
    assert_eq!(description.cores.as_slice(), [1, 3, 4, 5]);
    let plain = VmDescription::parse(b"memory=2M\nkernel=k\nconsole=pl011").unwrap();
    assert_eq!(plain, VmDescription::parse(b"memory=2M\nkernel=k").unwrap());
}

#[test]
fn each_mistake_has_its_line() {
    let with =
        |line: &str| VmDescription::parse(format!("memory=2M\nkernel=k\n{line}\n").as_bytes());
    for (line, wrong) in [
        ("vcpus = 0", Wrong::Vcpus),
        ("vcpus = 9", Wrong::Vcpus),
        ("vcpus = -1", Wrong::Vcpus),
        ("memory = 4M", Wrong::Twice),
        ("colour = red", Wrong::UnknownKey),
        ("quota", Wrong::NoValue),
        ("quota = 1T", Wrong::NotANumber),
        ("quota = 99999999999999999999", Wrong::NotANumber),
        ("quota = 18446744073709551615G", Wrong::NotANumber),
        ("swap = 1", Wrong::Swap),
        ("swap = 1025M", Wrong::Swap),
        ("codec = a-name-much-too-long", Wrong::TooLong),
        ("checksum = yes", Wrong::Switch),
        ("console = hvc0", Wrong::Console),
        ("console_rate = 1023", Wrong::ConsoleRate),
        ("console_rate = 17M", Wrong::ConsoleRate),
        ("console_rate = fast", Wrong::NotANumber),
        ("restarts = 65", Wrong::Restarts),
        ("restarts = -1", Wrong::Restarts),
        ("restart_window = 86401", Wrong::RestartWindow),
        ("restart_window = 5m", Wrong::RestartWindow),
        ("shares = 0", Wrong::Shares),
        ("shares = 10001", Wrong::Shares),
        ("shares = half", Wrong::Shares),
        ("cpu_limit = 50%", Wrong::CpuLimit),
        ("cpu_limit = 999/10000", Wrong::CpuLimit),
        ("cpu_limit = 2000/9999", Wrong::CpuLimit),
        ("cpu_limit = 80001/10000", Wrong::CpuLimit),
        ("cpu_limit = 1000/10000001", Wrong::CpuLimit),
        ("cpu_limit = 5000/-10000", Wrong::CpuLimit),
        ("image = elf", Wrong::Image),
        ("load = 0x", Wrong::Address),
        ("load = +1", Wrong::Address),
        ("load = 0x+1", Wrong::Address),
        ("entry = 0x10000000000000000", Wrong::Address),
        ("semihosting = yes", Wrong::Switch),
        ("testdev = 1", Wrong::Switch),
        ("cores = 5-3", Wrong::Cores),
        ("cores = 0-99", Wrong::Cores),
        ("cores = ", Wrong::Cores),
    ] {
        assert_eq!(with(line), Err(DescriptionError { line: 3, wrong }), "{line}");
    }
    let long = format!("cmdline = {}", "x".repeat(513));
    assert_eq!(with(&long), Err(DescriptionError { line: 3, wrong: Wrong::TooLong }));
    for memory in ["0", "1M", "3M", "5G", "1"] {
        let text = format!("memory = {memory}\nkernel = k");
        let error = DescriptionError { line: 1, wrong: Wrong::Memory };
        assert_eq!(VmDescription::parse(text.as_bytes()), Err(error), "{memory}");
    }
    let missing = |text: &str| VmDescription::parse(text.as_bytes()).unwrap_err().wrong;
    assert_eq!(missing("kernel = k"), Wrong::NoMemory);
    assert_eq!(missing("memory = 2M"), Wrong::NoKernel);
    assert_eq!(missing("memory = 2M\nkernel = k\nswap = 683M\nchecksum = on"), Wrong::CheckedSwap);
    for wrong in ["swap = 4M\nreserve = 8M", "swap = 8M\nquota = 4M\nreserve = 8M", "reserve = 4K"]
    {
        assert_eq!(missing(&format!("memory = 2M\nkernel = k\n{wrong}")), Wrong::Reserve);
    }
    assert_eq!(VmDescription::parse(&[0xff]).unwrap_err().wrong, Wrong::NotText);
}

#[test]
fn raw_images() {
    let with =
        |lines: &str| VmDescription::parse(format!("memory=2M\nkernel=k\n{lines}").as_bytes());
    let raw = |lines| with(lines).unwrap().raw;
    assert_eq!((raw("image = arm64"), raw("testdev = on\nsemihosting = on")), (None, None));
    assert_eq!(raw("image = raw"), Some(Raw { load: RAW_LOAD, entry: RAW_LOAD }));
    assert_eq!(raw("load = 0x40000000\nimage = raw"), Some(Raw { load: 1 << 30, entry: 1 << 30 }));
    let both = "load = 0x40000000\nimage = raw\nentry = 1073741828";
    assert_eq!(raw(both), Some(Raw { load: 1 << 30, entry: (1 << 30) + 4 }));
    let wrong = DescriptionError { line: 0, wrong: Wrong::NotRaw };
    assert_eq!(with("load = 0x40000000"), Err(wrong));
    assert_eq!(with("image = arm64\nentry = 0x40000000"), Err(wrong));
}

proptest! {
    #[test]
    fn any_text(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(description) = VmDescription::parse(&text) {
            prop_assert!(description.memory > 0 && !description.kernel.is_empty());
        }
    }

    /// Lines that are nearly right.
    #[test]
    fn any_values(lines in proptest::collection::vec((0..KEYS.len(), "[0-9a-zKMG,= -]{0,12}"), 0..12)) {
        let text: std::string::String =
            lines.iter().map(|(key, value)| format!("{}={value}\n", KEYS[*key])).collect();
        if let Ok(description) = VmDescription::parse(text.as_bytes()) {
            prop_assert!((1..=MAX_VCPUS).contains(&description.vcpus));
            prop_assert!(description.memory.is_multiple_of(BLOCK) && description.memory <= LARGEST_MEMORY);
        }
    }
}
