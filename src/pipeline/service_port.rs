//! Which end of a flow offers the service, by IANA's registry of service names and port numbers.
//!
//! `scripts/update-service-ports` makes the table of assigned ports, `service_ports.txt`, from a
//! package whose registry leaves out services with a range of ports, such as X11; NOTICE has its
//! source.

/// IANA assigns no port from here on: clients choose from these (RFC 6335).
const DYNAMIC: usize = 49_152;

/// A set of ports below [`DYNAMIC`], a bit for each.
type Ports = [u64; DYNAMIC / 64];

static TCP: Ports = assigned(Some(b't'));
static UDP: Ports = assigned(Some(b'u'));
static SCTP: Ports = assigned(Some(b's'));
static DCCP: Ports = assigned(Some(b'd'));
/// Those of any protocol.
static ANY: Ports = assigned(None);

/// The port of the end that offers the service: the one whose port is assigned, or the lower port if
/// both or neither are. 0 for protocols without ports. Of a flow whose protocol is not known, ports
/// that are assigned for any protocol count.
#[inline]
pub(super) fn service_port(source: u64, destination: u64, protocol: Option<u64>) -> u32 {
    let ports = match protocol {
        Some(6) => &TCP,
        // UDP-Lite has UDP's ports (RFC 3828).
        Some(17 | 136) => &UDP,
        Some(132) => &SCTP,
        Some(33) => &DCCP,
        None => &ANY,
        Some(_) => return 0,
    };
    let is_assigned =
        |port| ports.get(port as usize / 64).is_some_and(|bits| bits >> (port % 64) & 1 == 1);
    let port = match (is_assigned(source), is_assigned(destination)) {
        (true, false) => source,
        (false, true) => destination,
        _ => source.min(destination),
    };
    port as u32
}

/// The assigned ports of the protocols that begin with this letter, or of all: lines such as `tcp 80`
/// and `udp 17-25`. A table that has others does not compile.
const fn assigned(protocol: Option<u8>) -> Ports {
    let table = include_bytes!("service_ports.txt");
    let mut ports = [0; DYNAMIC / 64];
    let mut at = 0;
    while at < table.len() {
        let is_wanted = match protocol {
            Some(letter) => table[at] == letter,
            None => true,
        };
        while table[at] != b' ' {
            at += 1;
        }
        let (first, end) = number(table, at + 1);
        let (last, end) = if table[end] == b'-' { number(table, end + 1) } else { (first, end) };
        assert!(table[end] == b'\n', "a line ends with a port");
        let mut port = first;
        while is_wanted && port <= last {
            ports[port / 64] |= 1 << (port % 64);
            port += 1;
        }
        at = end + 1;
    }
    ports
}

/// The number that begins here, and where it ends.
const fn number(text: &[u8], mut at: usize) -> (usize, usize) {
    let mut number = 0;
    while text[at].is_ascii_digit() {
        number = 10 * number + (text[at] - b'0') as usize;
        at += 1;
    }
    (number, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_at_the_end_whose_port_is_assigned() {
        for (source, destination, protocol, expected) in [
            // Memcached, behind a lower port that nobody has been assigned.
            (11_211, 10_500, Some(6), 11_211),
            (10_500, 11_211, Some(6), 11_211),
            // Both are assigned, and neither is.
            (443, 8443, Some(6), 443),
            (50_000, 51_820, Some(17), 50_000),
            (65_535, 65_535, Some(6), 65_535),
            // M2PA's, for TCP but not for UDP; SIP's, for SCTP and UDP.
            (3565, 1491, Some(6), 3565),
            (3565, 1491, Some(17), 1491),
            (5060, 60_000, Some(132), 5060),
            (60_000, 5060, Some(136), 5060),
        ] {
            let found = service_port(source, destination, protocol);
            assert_eq!(found, expected, "{source} and {destination} of {protocol:?}");
        }
    }

    #[test]
    fn of_an_unknown_protocol_ports_of_any_protocol_count() {
        // M3AP's, for SCTP alone.
        assert_eq!(service_port(36_444, 30_500, Some(132)), 36_444);
        assert_eq!(service_port(36_444, 30_500, Some(6)), 30_500);
        assert_eq!(service_port(36_444, 30_500, None), 36_444);
    }

    #[test]
    fn protocols_without_ports_have_no_service() {
        // ICMP's type and code, which exporters put into the destination's port.
        assert_eq!(service_port(0, 2048, Some(1)), 0);
        assert_eq!(service_port(0, 0, Some(6)), 0);
        assert_eq!(service_port(0, 0, None), 0);
    }

    #[test]
    fn the_table_has_the_ports_of_the_registry_that_everybody_knows() {
        let has = |ports: &Ports, port: usize| ports[port / 64] >> (port % 64) & 1 == 1;
        for port in [22, 25, 53, 80, 123, 179, 443, 993, 3306, 5432, 6379, 8080, 9092] {
            assert!(has(&TCP, port), "{port}");
        }
        for port in [53, 123, 161, 443, 500, 514, 2055, 4500, 4789, 5353, 6343] {
            assert!(has(&UDP, port), "{port}");
        }
        assert!(!has(&ANY, 0), "reserved");
        let count = |ports: &Ports| ports.iter().map(|bits| bits.count_ones()).sum::<u32>();
        assert!(count(&TCP) > 5000 && count(&UDP) > 5000);
        assert!(count(&ANY) < 7000, "most ports are assigned for TCP and UDP alike");
    }
}
