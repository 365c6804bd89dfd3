//! The host: open files, memory, processors, clock. Read from the system's own small text files.
//!
//! Each judgement is a plain function of the numbers, so that a test can be a different host.

use std::fs;
use std::thread::available_parallelism;

use crate::config::{Config, FilesPlan, Sections};
use crate::memory::Memory;

use super::super::files::OpenFiles;
use super::Finding;

/// Less memory than this does not hold the store's cache and a few thousand clients.
const MEMORY_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// Clients below which a node is of no use.
const CONNECTIONS_MIN: u64 = 64;

/// Clock sources that are read without entering the kernel.
const FAST_CLOCKS: &[&str] = &["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"];

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    let s = &config.sections;
    let read = |path: &str| fs::read_to_string(path).ok();
    let files = OpenFiles::read();
    let mut all = vec![open_files(
        files,
        s.runtime.open_files,
        kept(s, files.reachable(s.runtime.open_files)),
        u64::from(s.connections.per_node),
        u64::from(s.connections.global),
    )];
    let Memory { available, limit } = Memory::read();
    all.push(memory(available, limit));
    let cores = available_parallelism().map(std::num::NonZero::get).unwrap_or(1);
    let quota = read("/sys/fs/cgroup/cpu.max").and_then(|text| cpu_quota(&text));
    all.push(processors(cores, quota, s.runtime.worker_threads));
    let clock = read("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    all.push(clock_source(clock.as_deref().map(str::trim)));
    all
}

/// Files that are not for clients, of `open_files`.
fn kept(s: &Sections, open_files: u64) -> u64 {
    open_files - FilesPlan::new(open_files, &s.connections, &s.gateway, &s.upstream).clients
}

fn open_files(files: OpenFiles, wanted: u64, reserve: u64, per_node: u64, global: u64) -> Finding {
    let (reach, fit) = (files.reachable(wanted), files.connections(wanted, reserve));
    let shown = |n: u64| if n == u64::MAX { "unlimited".to_string() } else { n.to_string() };
    let value = format!("{} (soft), {} (hard)", shown(files.soft), shown(files.hard));
    let raise = "raise the hard limit: ulimit -Hn, LimitNOFILE= (systemd), ulimits (Docker)";
    let raised = (reach > files.soft).then(|| format!("start raises it to {}; ", shown(reach)));
    let raised = raised.unwrap_or_default();
    if fit < CONNECTIONS_MIN {
        let meaning =
            format!("{raised}less {reserve} for ourselves and upstreams that leaves {fit} connections");
        return Finding::ok("open files", value, "").fail(meaning, raise);
    }
    if fit < per_node {
        let nodes = global.div_ceil(fit);
        let meaning = format!(
            "{raised}less {reserve} for ourselves and upstreams this node holds {fit} connections, \
             not the {per_node} configured"
        );
        let remedy = format!("{raise}; or run {nodes} nodes for {global} connections (ERLMCP_NODES={nodes})");
        return Finding::ok("open files", value, "").warn(meaning, remedy);
    }
    Finding::ok("open files", value, format!("{raised}room for the {per_node} connections configured"))
}

fn memory(available: Option<u64>, limit: Option<u64>) -> Finding {
    let mib = |bytes: u64| bytes / (1024 * 1024);
    let Some(available) = available else {
        return Finding::ok("memory", "unknown", "")
            .warn("/proc/meminfo cannot be read", "mount /proc, or watch memory otherwise");
    };
    let usable = limit.map_or(available, |limit| limit.min(available));
    let limit =
        limit.map_or("no container limit".to_string(), |limit| format!("container limit {} MiB", mib(limit)));
    let value = format!("{} MiB available, {limit}", mib(available));
    let finding =
        Finding::ok("memory", value, "an idle connection takes about 1 KB of ours and 4 KB of the kernel's");
    if usable < MEMORY_BYTES_MIN {
        let meaning = format!("less than {} MiB for a node", mib(MEMORY_BYTES_MIN));
        return finding
            .warn(meaning, "give the container or the machine more, or lower raft.store_cache_bytes");
    }
    finding
}

fn processors(cores: usize, quota: Option<f64>, workers: usize) -> Finding {
    let value = match quota {
        Some(quota) => format!("{cores} cores, container quota {quota:.1}"),
        None => format!("{cores} cores"),
    };
    let threads = if workers == 0 { cores } else { workers };
    let finding =
        Finding::ok("processors", value, format!("{threads} worker threads, and control threads apart"));
    if cores == 1 {
        return finding.warn(
            "clients and Raft share one core; elections may happen under load",
            "give the node two cores, or raise raft.heartbeat_ms and the election times together",
        );
    }
    finding
}

fn clock_source(name: Option<&str>) -> Finding {
    match name {
        Some(name) if FAST_CLOCKS.contains(&name) => {
            Finding::ok("clock", name, "time is read without a system call")
        }
        Some(name) => Finding::ok("clock", name, "").warn(
            "every reading of the time is a system call",
            "boot with a stable tsc, or choose kvm-clock",
        ),
        None => Finding::ok("clock", "unknown", "this system does not say which clock it reads"),
    }
}

/// `cpu.max`: "200000 100000" is two cores; "max 100000" is no quota.
fn cpu_quota(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn open_files_say_how_many_connections_and_how_many_nodes() {
        let judge = |soft, hard| open_files(OpenFiles { soft, hard }, 0, 256, 25_000, 100_000);
        let small = judge(1024, 20_000);
        assert_eq!(small.verdict, Verdict::Warn);
        assert!(small.meaning.contains("start raises it to 20000; less 256"), "{}", small.meaning);
        assert!(small.meaning.contains("holds 19744 connections, not the 25000"), "{}", small.meaning);
        assert!(small.remedy.unwrap().contains("ERLMCP_NODES=6"));
        assert_eq!(judge(1024, 25_255).verdict, Verdict::Warn);
        assert_eq!(judge(1024, 25_256).verdict, Verdict::Ok);
        assert_eq!(judge(64, 64).verdict, Verdict::Fail);
        assert!(judge(1024, u64::MAX).value.contains("unlimited"));
    }

    #[test]
    fn memory_is_the_smaller_of_machine_and_container() {
        const GIB: u64 = 1 << 30;
        assert_eq!(memory(Some(8 * GIB), None).verdict, Verdict::Ok);
        assert_eq!(memory(Some(8 * GIB), Some(GIB / 4)).verdict, Verdict::Warn);
        assert_eq!(memory(Some(GIB / 4), Some(GIB)).verdict, Verdict::Warn);
        assert_eq!(memory(None, None).verdict, Verdict::Warn);
    }

    #[test]
    fn one_core_is_warned_of() {
        assert_eq!(processors(1, None, 0).verdict, Verdict::Warn);
        assert_eq!(processors(2, Some(1.5), 0).value, "2 cores, container quota 1.5");
    }

    #[test]
    fn system_files_are_read_as_they_are_written() {
        assert_eq!(cpu_quota("200000 100000\n"), Some(2.0));
        assert_eq!(cpu_quota("max 100000\n"), None);
    }

    #[test]
    fn a_slow_clock_is_warned_of() {
        assert_eq!(clock_source(Some("tsc")).verdict, Verdict::Ok);
        assert_eq!(clock_source(Some("hpet")).verdict, Verdict::Warn);
    }
}
