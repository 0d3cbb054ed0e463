//! IP protocols by name.

/// Names by number, from IANA's registry of protocol numbers, in lower case; empty where the
/// registry has no keyword.
#[rustfmt::skip]
const NAMES: [&str; 147] = [
    "hopopt", "icmp", "igmp", "ggp", "ipv4", "st", "tcp", "cbt", "egp", "igp", "bbn-rcc-mon",
    "nvp-ii", "pup", "argus", "emcon", "xnet", "chaos", "udp", "mux", "dcn-meas", "hmp", "prm",
    "xns-idp", "trunk-1", "trunk-2", "leaf-1", "leaf-2", "rdp", "irtp", "iso-tp4", "netblt",
    "mfe-nsp", "merit-inp", "dccp", "3pc", "idpr", "xtp", "ddp", "idpr-cmtp", "tp++", "il", "ipv6",
    "sdrp", "ipv6-route", "ipv6-frag", "idrp", "rsvp", "gre", "dsr", "bna", "esp", "ah", "i-nlsp",
    "swipe", "narp", "min-ipv4", "tlsp", "skip", "ipv6-icmp", "ipv6-nonxt", "ipv6-opts", "", "cftp",
    "", "sat-expak", "kryptolan", "rvd", "ippc", "", "sat-mon", "visa", "ipcv", "cpnx", "cphb",
    "wsn", "pvp", "br-sat-mon", "sun-nd", "wb-mon", "wb-expak", "iso-ip", "vmtp", "secure-vmtp",
    "vines", "iptm", "nsfnet-igp", "dgp", "tcf", "eigrp", "ospfigp", "sprite-rpc", "larp", "mtp",
    "ax.25", "ipip", "micp", "scc-sp", "etherip", "encap", "", "gmtp", "ifmp", "pnni", "pim",
    "aris", "scps", "qnx", "a/n", "ipcomp", "snp", "compaq-peer", "ipx-in-ip", "vrrp", "pgm", "",
    "l2tp", "ddx", "iatp", "stp", "srp", "uti", "smp", "sm", "ptp", "isis", "fire", "crtp", "crudp",
    "sscopmce", "iplt", "sps", "pipe", "sctp", "fc", "rsvp-e2e-ignore", "mobility-header",
    "udplite", "mpls-in-ip", "manet", "hip", "shim6", "wesp", "rohc", "ethernet", "aggfrag", "nsh",
    "homa",
];

/// What else formats call protocols.
const ALIASES: [(&str, u32); 5] =
    [("icmp6", 58), ("icmpv6", 58), ("ipencap", 4), ("ip", 0), ("ospf", 89)];

/// The name of a protocol, if it has one.
pub(super) fn name(number: u32) -> Option<&'static str> {
    NAMES.get(number as usize).copied().filter(|name| !name.is_empty())
}

/// The number of a protocol with this name (in any case) or number; `None` if no protocol has it.
pub fn protocol(text: &str) -> Option<u32> {
    // Nearly all traffic.
    match text {
        "tcp" => return Some(6),
        "udp" => return Some(17),
        _ => {}
    }
    if text.starts_with(|first: char| first.is_ascii_digit())
        && let Ok(number) = text.parse::<u8>()
    {
        return Some(number.into());
    }
    let has_name = |name: &str| !name.is_empty() && name.eq_ignore_ascii_case(text);
    let alias = ALIASES.iter().find(|(alias, _)| has_name(alias)).map(|(_, number)| *number);
    let place = || NAMES.iter().position(|name| has_name(name));
    alias.or_else(|| place().map(|place| place as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_known_by_name_and_number() {
        for (text, number) in
            [("tcp", 6), ("UDP", 17), ("ipv6-icmp", 58), ("icmp6", 58), ("50", 50)]
        {
            assert_eq!(protocol(text), Some(number), "{text}");
        }
        for text in ["", "256", "-1", "carrier-pigeon"] {
            assert_eq!(protocol(text), None, "{text}");
        }
        assert_eq!((name(6), name(61), name(255)), (Some("tcp"), None, None));
        for number in 0..256 {
            assert!(name(number).is_none_or(|name| protocol(name) == Some(number)), "{number}");
        }
    }
}
