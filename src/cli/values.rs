//! Parsers for the values of flags. An error is one line that says what to type instead.

use std::{fmt, net::Ipv4Addr, ops::RangeInclusive, str::FromStr, time::Duration};

use crate::{
    clock,
    notation::{self, digits},
    source::kafka::StartOffset,
    units,
};

/// Kafka's default port.
const KAFKA_PORT: u16 = 9092;
/// The longest host name in DNS.
const LONGEST_HOST: usize = 253;
/// The longest topic name in Kafka.
const LONGEST_TOPIC: usize = 249;
/// The longest group name: Kafka's protocol has 16 bits for its length.
const LONGEST_GROUP: usize = i16::MAX as usize;
/// The protocols that librdkafka accepts before a broker's name.
const PROTOCOLS: [&str; 4] = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

/// Room for a delta or two; without push, the journal takes little more.
const SMALLEST_QUEUE: u64 = 1 << 20;

const SHORTEST: Duration = Duration::from_millis(100);
/// Samples less often than once a day make no graph, and timers are sure to support this.
const LONGEST_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// Receivers refuse samples that are older than about an hour, unless they are configured not to.
const LONGEST_LATENESS: Duration = Duration::from_secs(3600);
/// Longer than anything is kept, and short enough that sums with the clock can't overflow.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// An AS number.
pub(super) fn asn(text: &str) -> Result<u32, String> {
    notation::as_number(text).ok_or_else(|| {
        "give one AS number from 0 to 4294967295, such as 64500, AS64500 or 1.10".to_owned()
    })
}

/// An AS number, or the first and the last one of a range.
pub(super) fn as_range(text: &str) -> Result<RangeInclusive<u32>, String> {
    let expected = "give AS numbers from 0 to 4294967295, such as 64500, AS64500 or 1.10, or ranges \
                    such as 65010-65019, separated by commas";
    notation::range(text, notation::as_number, expected)
}

/// Brokers separated by commas, each completed to `HOST:PORT`. A protocol before a broker's name is
/// kept.
pub(super) fn brokers(text: &str) -> Result<String, String> {
    let brokers: Result<Vec<_>, _> = text.split(',').map(|text| broker(text.trim())).collect();
    brokers.map(|brokers| brokers.join(","))
}

fn broker(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a broker is missing: give host:port, or several separated by commas".into());
    }
    if text.contains(|each: char| each.is_whitespace() || matches!(each, ';' | '|')) {
        return Err(format!("separate brokers by commas, such as a:{KAFKA_PORT},b:{KAFKA_PORT}"));
    }
    let (protocol, place) = match text.split_once("://") {
        None => (None, text),
        Some((protocol, place)) => {
            let known = PROTOCOLS.iter().find(|known| known.eq_ignore_ascii_case(protocol));
            let advice = || {
                format!(
                    "a broker is host:port, without {protocol}://; TLS and SASL are set with \
                     --kafka-config security.protocol"
                )
            };
            (Some(*known.ok_or_else(advice)?), place)
        }
    };
    if place.contains('/') {
        return Err("a broker is host:port: leave out the slash and what follows".into());
    }
    if place.contains('@') {
        return Err("a broker is host:port; user and password go into --kafka-config-file".into());
    }
    let (host, port) = if let Some(bracketed) = place.strip_prefix('[') {
        let (address, after) = bracketed
            .split_once(']')
            .ok_or("the bracket of an IPv6 address is not closed: write [::1]:9092")?;
        // A zone, as in fe80::1%eth0, is for the resolver.
        let plain = address.split('%').next().unwrap_or_default();
        if plain.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(format!("{address:?} is not an IPv6 address"));
        }
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => None,
            None => return Err("after the bracket comes :port, as in [::1]:9092".into()),
            port => port,
        };
        (format!("[{address}]"), port)
    } else if place.matches(':').count() > 1 {
        let tip = "write an IPv6 address in brackets, as in [::1]:9092, and separate brokers by \
                   commas";
        return Err(tip.into());
    } else {
        let (host, port) = match place.split_once(':') {
            None => (place, None),
            Some((host, port)) => (host, Some(port)),
        };
        check_host(host)?;
        (host.to_owned(), port)
    };
    let port = match port {
        None => KAFKA_PORT,
        Some(text) => digits::<u16>(text)
            .filter(|&port| port > 0)
            .ok_or_else(|| format!("{text:?} is not a port: give a number from 1 to 65535"))?,
    };
    let protocol = protocol.map(|protocol| format!("{protocol}://")).unwrap_or_default();
    Ok(format!("{protocol}{host}:{port}"))
}

fn check_host(host: &str) -> Result<(), String> {
    let is_part = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '.' | '_');
    if host.is_empty() {
        return Err("the host is missing before the port".into());
    }
    if host.len() > LONGEST_HOST {
        return Err(format!("a host name has at most {LONGEST_HOST} characters"));
    }
    if let Some(other) = host.chars().find(|&each| !is_part(each)) {
        return Err(format!("a host name can't contain {other:?}"));
    }
    let looks_like_address = host.chars().all(|each| each.is_ascii_digit() || each == '.');
    if looks_like_address && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!(
            "{host:?} is not an IPv4 address, and a host name can't have only digits"
        ));
    }
    Ok(())
}

/// A topic name, by Kafka's own rule.
pub(super) fn topic(text: &str) -> Result<String, String> {
    let is_part = |each: char| each.is_ascii_alphanumeric() || matches!(each, '-' | '.' | '_');
    if text.is_empty() {
        return Err("the name is empty".into());
    }
    if text.contains(',') || text.contains(char::is_whitespace) && text.trim() == text {
        return Err(
            "give one topic, whose name has no commas or spaces; for several topics, run several \
             flow-exporters"
                .into(),
        );
    }
    if text.starts_with('^') {
        return Err("give the name of one topic, not a pattern".into());
    }
    if text.len() > LONGEST_TOPIC {
        return Err(format!("a topic name has at most {LONGEST_TOPIC} characters"));
    }
    if matches!(text, "." | "..") || !text.chars().all(is_part) {
        return Err("a topic name has only letters a-z and A-Z, digits, '.', '_' and '-'".into());
    }
    Ok(text.to_owned())
}

/// The name of a consumer group.
pub(super) fn group(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("the name is empty: without a group, leave the flag out".into());
    }
    if text.len() > LONGEST_GROUP {
        return Err(format!("a group name has at most {LONGEST_GROUP} bytes"));
    }
    if text.contains(char::is_control) || text.trim() != text {
        return Err("give a name without line feeds or surrounding spaces".into());
    }
    Ok(text.to_owned())
}

/// Where to start: a word, or a time in the past.
pub(super) fn start(text: &str) -> Result<StartOffset, String> {
    let start = text.parse()?;
    if let StartOffset::At(time) = start {
        if time > clock::UnixMs::now() {
            return Err("this time is in the future: latest starts with what is written from now \
                        on"
            .into());
        }
        // Kafka has no such timestamps: its protocol gives negative ones other meanings.
        if time.get() < 0 {
            return Err("this time is before 1970: earliest starts with the oldest message".into());
        }
    }
    Ok(start)
}

/// How often something is done.
pub(super) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        duration if duration > LONGEST_INTERVAL => Err("the longest is 24h".to_owned()),
        duration => Ok(duration),
    }
}

/// How long a sample waits for messages.
pub(super) fn lateness(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        duration if duration > LONGEST_LATENESS => {
            Err("the longest is 1h: each sample waits this long".to_owned())
        }
        duration => Ok(duration),
    }
}

/// How long something takes or lasts.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match duration_or_zero(text)? {
        duration if duration < SHORTEST => Err("the shortest is 100ms".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration in Prometheus' grammar; zero is allowed.
pub(super) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    match units::prometheus_duration(text)? {
        duration if duration > LONGEST => Err("the longest is 10y".to_owned()),
        duration => Ok(duration),
    }
}

/// The size of the queue in bytes.
pub(super) fn queue_bytes(text: &str) -> Result<u64, String> {
    match units::bytes(text)? {
        bytes if bytes < SMALLEST_QUEUE => Err("the least is 1MiB".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Which lines are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel(String);

impl LogLevel {
    /// As [`tracing_subscriber::EnvFilter`] spells it.
    pub fn directives(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];

/// A level, or levels by module. [`EnvFilter`](tracing_subscriber::EnvFilter) would take any other
/// word for the name of a module, and show the lines of that module only.
impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ADVICE: &str = "give error, warn, info, debug, trace or off, or levels by module as \
                              in info,librdkafka=debug";
        let mut directives = Vec::new();
        let mut has_default = false;
        for directive in text.split(',').map(str::trim) {
            let (module, level) = match directive.rsplit_once('=') {
                Some((module, level)) => (Some(module.trim()), level.trim()),
                None => (None, directive),
            };
            let level = LEVELS.iter().find(|known| known.eq_ignore_ascii_case(level));
            let level = level.ok_or(ADVICE)?;
            let is_part = |each: char| each.is_ascii_alphanumeric() || "_-:".contains(each);
            match module {
                None if has_default => return Err("give one level for all".to_owned()),
                None => {
                    has_default = true;
                    directives.push((*level).to_owned());
                }
                Some(module) if !module.is_empty() && module.chars().all(is_part) => {
                    directives.push(format!("{module}={level}"));
                }
                Some(_) => return Err(ADVICE.to_owned()),
            }
        }
        if !has_default {
            // Otherwise the lines of all other modules would not be logged.
            directives.insert(0, "info".to_owned());
        }
        Ok(LogLevel(directives.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused<T: fmt::Debug>(read: impl Fn(&str) -> Result<T, String>, wrong: &[(&str, &str)]) {
        for (text, expected) in wrong {
            let line = read(text).expect_err(text);
            assert!(line.contains(expected) && !line.contains('\n'), "{text:?}: {line}");
        }
    }

    #[test]
    fn as_numbers_and_ranges_of_them_say_how_to_write_them() {
        assert_eq!(asn("1.10"), Ok(65546));
        assert_eq!(as_range(" AS64496 - 64500"), Ok(64496..=64500));
        refused(asn, &[("many", "give one AS number"), ("1-2", "give one AS number")]);
        refused(
            as_range,
            &[("many", "ranges such as 65010-65019"), ("2-1", "the range is reversed: write 1-2")],
        );
    }

    #[test]
    fn brokers_are_hosts_with_ports_separated_by_commas() {
        for (text, expected) in [
            ("kafka1:9092", "kafka1:9092"),
            ("kafka1", "kafka1:9092"),
            ("a:1, b:65535 ,c", "a:1,b:65535,c:9092"),
            ("192.0.2.1:9093", "192.0.2.1:9093"),
            ("[::1]:9092", "[::1]:9092"),
            ("[2001:db8::1]", "[2001:db8::1]:9092"),
            ("[fe80::1%eth0]:9092", "[fe80::1%eth0]:9092"),
            ("kafka_1.svc.cluster.local:9092", "kafka_1.svc.cluster.local:9092"),
            ("sasl_ssl://a:9093,SASL_SSL://b", "SASL_SSL://a:9093,SASL_SSL://b:9092"),
        ] {
            assert_eq!(brokers(text).as_deref(), Ok(expected), "{text}");
        }
        refused(
            brokers,
            &[
                ("", "a broker is missing"),
                ("a:1,", "a broker is missing"),
                ("a:1,,b:1", "a broker is missing"),
                ("::1:9092", "IPv6 address in brackets"),
                ("2001:db8::1", "IPv6 address in brackets"),
                ("[::1", "not closed"),
                ("[::1]9092", "comes :port"),
                ("[nonsense]:9092", "is not an IPv6 address"),
                ("a:1 b:1", "separate brokers by commas"),
                ("a:1;b:1", "separate brokers by commas"),
                ("a:1|b:1", "separate brokers by commas"),
                ("a:1\nb:1", "separate brokers by commas"),
                ("http://a:9092", "without http://"),
                ("kafka://a:9092", "without kafka://"),
                ("a:9092/flows", "leave out the slash"),
                ("user:secret@a:9092", "user and password go into --kafka-config-file"),
                ("a:99999", "\"99999\" is not a port"),
                ("a:0", "\"0\" is not a port"),
                ("a:-1", "\"-1\" is not a port"),
                ("a:+1", "\"+1\" is not a port"),
                ("h:kafka", "\"kafka\" is not a port"),
                ("a:", "\"\" is not a port"),
                (":9092", "the host is missing"),
                ("10.0.0.256:9092", "is not an IPv4 address"),
                ("9092", "is not an IPv4 address"),
                ("köln:9092", "can't contain 'ö'"),
                (&"a".repeat(254), "at most 253 characters"),
            ],
        );
    }

    #[test]
    fn a_topic_has_a_name_that_kafka_takes() {
        let longest = "t".repeat(249);
        for name in ["pmacct.acct", "a", "A_b-c.0", "...", &longest] {
            assert_eq!(topic(name).as_deref(), Ok(name));
        }
        refused(
            topic,
            &[
                ("", "empty"),
                ("my topic", "give one topic"),
                ("a,b", "give one topic"),
                ("^flows.*", "not a pattern"),
                (".", "letters a-z"),
                ("..", "letters a-z"),
                ("a/b", "letters a-z"),
                ("flöws", "letters a-z"),
                (" a", "letters a-z"),
                (&"t".repeat(250), "at most 249 characters"),
            ],
        );
    }

    #[test]
    fn a_group_has_a_name() {
        assert_eq!(group("flow exporters"), Ok("flow exporters".to_owned()));
        refused(
            group,
            &[
                ("", "empty"),
                ("  ", "empty"),
                ("a\nb", "line feeds"),
                (" a", "surrounding spaces"),
                (&"g".repeat(32_768), "at most 32767 bytes"),
            ],
        );
    }

    #[test]
    fn a_start_is_a_word_or_a_time_that_has_been() {
        assert_eq!(start("earliest"), Ok(StartOffset::Earliest));
        assert_eq!(start("1970-01-01T00:00:01Z"), Ok(StartOffset::At(clock::UnixMs::new(1000))));
        refused(
            start,
            &[
                ("", "stored, latest, earliest"),
                ("newest", "stored, latest, earliest"),
                ("2h", "stored, latest, earliest"),
                ("9999-01-01T00:00:00Z", "in the future"),
                ("1969-12-31T23:59:59.999Z", "before 1970"),
            ],
        );
    }

    #[test]
    fn durations_have_bounds() {
        assert_eq!(duration_or_zero("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(interval("24h"), Ok(Duration::from_secs(86_400)));
        assert_eq!(duration("10y"), Ok(LONGEST));
        refused(
            duration_or_zero,
            &[
                ("", "write it like 30s"),
                ("15", "write it like 30s"),
                ("-1s", "write it like 30s"),
                ("soon", "write it like 30s"),
                ("1m 30s", "write it like 30s"),
                ("99999999999999999999s", "write it like 30s"),
                ("11y", "the longest is 10y"),
                ("1500us", "write it like 30s"),
            ],
        );
        refused(duration, &[("0s", "the shortest is 100ms"), ("99ms", "the shortest is 100ms")]);
        assert_eq!(lateness("0s"), Ok(Duration::ZERO));
        refused(lateness, &[("61m", "the longest is 1h"), ("", "write it like 30s")]);
        refused(interval, &[("25h", "the longest is 24h"), ("0s", "the shortest is 100ms")]);
    }

    #[test]
    fn the_queue_has_room_for_something() {
        assert_eq!(queue_bytes("1MiB"), Ok(1 << 20));
        refused(
            queue_bytes,
            &[("0", "the least is 1MiB"), ("1023KiB", "the least is 1MiB"), ("much", "512MiB")],
        );
    }

    #[test]
    fn a_log_level_is_one_of_six_words_and_modules_are_beside_it() {
        for (text, expected) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("off", "off"),
            ("info,librdkafka=debug", "info,librdkafka=debug"),
            // Without a level for all, everything else would be silent.
            ("librdkafka=debug", "info,librdkafka=debug"),
            ("hyper::proto=TRACE, error", "hyper::proto=trace,error"),
        ] {
            let level: LogLevel = text.parse().expect(text);
            assert_eq!(level.directives(), expected, "{text}");
            tracing_subscriber::EnvFilter::try_new(level.directives()).expect(text);
        }
        let read = |text: &str| text.parse::<LogLevel>();
        for wrong in
            ["", "verbose", "debgu", "5", "info,", "loud=very", "=info", "a b=info", "librdkafka"]
        {
            refused(read, &[(wrong, "error, warn, info, debug, trace or off")]);
        }
        refused(read, &[("info,debug", "one level for all")]);
    }
}
