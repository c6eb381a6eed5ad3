//! How much memory there is: what the container's limit leaves, or what the machine has.

use std::path::Path;

/// What is taken for the machine's memory where nothing says how much it has.
const UNKNOWN: u64 = 4 << 30;
/// Less than this and no query runs.
const LEAST: u64 = 32 << 20;
/// What the program takes beside what its queries reserve: batches on their way, encoders, what the allocator keeps.
const BESIDE: u64 = 400 << 20;
/// What one partition should have for sorting and grouping.
const PER_PARTITION: u64 = 256 << 20;

/// Reads `2GiB` as bytes; `None` where the text is no whole number of bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Reads `2GiB` as bytes, `60%` as that share of `available`, or what is left of it where the rest would be too little for the program.
pub(super) fn limit(text: &str, available: impl FnOnce() -> u64) -> Option<u64> {
    let limit = match text.trim().strip_suffix('%') {
        Some(share) => {
            let share: u64 = share.trim().parse().ok().filter(|share| (1..=100).contains(share))?;
            let available = available();
            (available / 100 * share).min(available.saturating_sub(BESIDE))
        }
        None => bytes(text)?,
    };
    Some(limit.max(LEAST))
}

/// Partitions that cores and memory allow.
pub(super) fn partitions(limit: u64) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let fitting = usize::try_from(limit / PER_PARTITION).unwrap_or(usize::MAX);
    cores.min(fitting).max(1)
}

/// The memory this process may use, by `/proc` and `/sys/fs/cgroup` under `root` (`/` but in tests).
pub(super) fn available(root: &Path) -> u64 {
    let host = std::fs::read_to_string(root.join("proc/meminfo")).ok().and_then(|text| memory_total(&text));
    let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut limit = host;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (folder, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            v1 if v1.split(',').any(|name| name == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // A group is bound by the limits of those above it; in a container the own path may not be visible, its root is.
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let text = std::fs::read_to_string(root.join(folder).join(group).join(file)).unwrap_or_default();
            limit = match (limit, text.trim().parse::<u64>().ok()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
    }
    limit.unwrap_or(UNKNOWN)
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_sizes_or_shares() {
        assert_eq!(limit("2GiB", || 0), Some(2 << 30));
        assert_eq!(limit("100 MB", || 0), Some(100_000_000));
        assert_eq!(limit("60%", || 10 << 30), Some((10 << 30) / 100 * 60));
        assert_eq!(limit("1KiB", || 0), Some(LEAST));
        assert_eq!(limit("60%", || 512 << 20), Some(112 << 20), "a small container is not killed over what stands beside queries");
        assert_eq!(limit("60%", || 300 << 20), Some(LEAST));
        for wrong in ["", "lots", "2", "2G", "-1GiB", "0%", "101%", "1.5GiB", "99999999TiB"] {
            assert_eq!(limit(wrong, || 1 << 30), None, "{wrong}");
        }
    }

    #[test]
    fn the_container_s_limit_counts_where_it_is_smaller_than_the_machine() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(available(root.path()), UNKNOWN);
        write("proc/meminfo", "MemFree: 1 kB\nMemTotal:       8388608 kB\n");
        assert_eq!(available(root.path()), 8 << 30);
        write("proc/self/cgroup", "0::/a/b\n");
        write("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(available(root.path()), 8 << 30);
        write("sys/fs/cgroup/a/memory.max", "1073741824\n");
        assert_eq!(available(root.path()), 1 << 30);
        write("proc/self/cgroup", "12:cpu,memory:/docker/x\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(available(root.path()), 512 << 20);
    }
}
