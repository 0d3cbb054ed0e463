//! What `/proc` says of this process: its resource usage, for the `process_…` metrics, and its gateway.
//!
//! This is our own code because the collector of the prometheus crate counts CPU time in whole
//! seconds, which makes a rate over a minute wrong by up to two percent of a core.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use rustix::{
    param::{clock_ticks_per_second, page_size},
    process::{Resource, getrlimit},
};

/// The usage at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// CPU time of all threads, in user and system mode.
    pub(crate) cpu_seconds: f64,
    pub(crate) threads: u64,
    pub(crate) virtual_bytes: u64,
    pub(crate) resident_bytes: u64,
    /// The start of the process, in seconds since boot.
    start_seconds: f64,
}

/// The current usage. An error if there is no `/proc`, as on systems other than Linux.
pub(crate) fn usage() -> io::Result<Usage> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    parse_stat(&stat, clock_ticks_per_second(), page_size() as u64)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The start of the process, in seconds since the epoch.
pub(crate) fn start_time(usage: &Usage) -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + usage.start_seconds)
}

/// The number of open file descriptors.
pub(crate) fn open_fds() -> io::Result<u64> {
    // Without the one of the directory being read.
    Ok((fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1))
}

/// The maximum number of open file descriptors; `None` if there is no limit.
pub(crate) fn max_fds() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// The default gateway of the container that this process runs in; `None` where it runs in none as far as
/// Docker and Podman say, where it shares the host's network, or where there is no gateway.
pub(crate) fn container_gateway() -> Option<IpAddr> {
    let marks = ["/.dockerenv", "/run/.containerenv"];
    if !marks.iter().any(|mark| Path::new(mark).exists()) {
        return None;
    }
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let (interface, gateway) = parse_gateway(&routes)?;
    // A container's own interface is one end of a link, whose other end is in the host.
    let index = |of: &str| fs::read_to_string(format!("/sys/class/net/{interface}/{of}")).ok();
    let is_link = index("ifindex") != index("iflink") || index("ifindex").is_none();
    is_link.then_some(gateway.into())
}

/// The default gateway and the interface to it, by `/proc/net/route`, which has addresses as numbers in the
/// machine's order of bytes.
fn parse_gateway(routes: &str) -> Option<(&str, Ipv4Addr)> {
    routes.lines().skip(1).find_map(|route| {
        let mut fields = route.split_whitespace();
        let interface = fields.next()?;
        let (destination, gateway) =
            (fields.next()?, u32::from_str_radix(fields.next()?, 16).ok()?);
        let is_default = destination == "00000000" && gateway != 0;
        is_default.then(|| (interface, Ipv4Addr::from(gateway.to_ne_bytes())))
    })
}

/// What `/proc/self/stat` says (proc(5)).
fn parse_stat(stat: &str, ticks_per_second: u64, page_bytes: u64) -> Option<Usage> {
    // The second field is the program's name in parentheses, which may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // proc(5) counts from 1; the first of these is its third.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    let seconds = |ticks: u64| ticks as f64 / ticks_per_second as f64;
    Some(Usage {
        cpu_seconds: seconds(field(14)? + field(15)?),
        threads: field(20)?,
        start_seconds: seconds(field(22)?),
        virtual_bytes: field(23)?,
        resident_bytes: field(24)?.saturating_mul(page_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateway_is_that_of_the_default_route() {
        let head = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";
        let gateway = u32::from_ne_bytes([172, 17, 0, 1]);
        let local = "eth0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0\n";
        let default = format!("eth0\t00000000\t{gateway:08X}\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        let expected = Some(("eth0", Ipv4Addr::new(172, 17, 0, 1)));
        assert_eq!(parse_gateway(&format!("{head}{local}{default}")), expected);
        assert_eq!(parse_gateway(&format!("{head}{local}")), None);
        assert_eq!(parse_gateway(""), None);
    }

    #[test]
    fn the_fields_of_stat_are_those_of_its_manual() {
        let stat = "4711 (a) b (c)) S 1 4711 4711 0 -1 4194560 100 0 0 0 123 45 0 0 20 0 7 0 \
                    1234567 2000000 321 18446744073709551615 1 1 0 0 0 0 0 4096 17 0 0 17 1 0 0 0 0 0";
        let usage = parse_stat(stat, 100, 4096).expect("fields");
        let expected = Usage {
            cpu_seconds: 1.68,
            threads: 7,
            virtual_bytes: 2_000_000,
            resident_bytes: 321 * 4096,
            start_seconds: 12345.67,
        };
        assert_eq!(usage, expected);
        assert_eq!(parse_stat("4711 (a) S 1", 100, 4096), None);
        assert_eq!(parse_stat("", 100, 4096), None);
    }
}
