//! Addresses are looked up: the embedded ranges, every format of files, overlaps, and files that
//! nobody should have written.

mod database;

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use database::{Database, Value, map};
use flow_exporter::address::{Country, Layer, Networks, Origin, Table, TableError};
use maxminddb::{Reader, WithinOptions, path};
use proptest::prelude::*;

fn origin(asn: u32, country: &str) -> Origin {
    let country =
        if country.is_empty() { Some(Country::UNKNOWN) } else { Country::from_code(country) };
    Origin { asn, country: country.unwrap() }
}

fn look(table: &Table, address: &str) -> (u32, String) {
    let found = table.lookup(address.parse().unwrap());
    (found.asn, found.country.to_string())
}

fn found(asn: u32, country: &str) -> (u32, String) {
    (asn, country.to_owned())
}

fn table(file: &str) -> Table {
    Table::of([Layer::parse(file.as_bytes()).unwrap()])
}

fn refusal(file: &[u8]) -> String {
    Layer::parse(file).unwrap_err().to_string()
}

/// Whatever the addresses of a family are: a number that is an address.
fn address(is_v4: bool, number: u128) -> IpAddr {
    if is_v4 { Ipv4Addr::from(number as u32).into() } else { Ipv6Addr::from(number).into() }
}

mod embedded {
    use super::*;

    #[test]
    fn well_known_addresses_have_their_as_and_country() {
        let table = Table::of([Layer::embedded()]);
        for (address, asn, country) in [
            ("8.8.8.8", 15169, "US"),
            ("1.1.1.1", 13335, "AU"),
            ("9.9.9.9", 19281, "US"),
            ("193.0.6.139", 3333, "NL"),
            ("2001:67c:2e8:22::c100:68b", 3333, "NL"),
            ("2001:4860:4860::8888", 15169, "US"),
            ("2606:4700:4700::1111", 13335, "US"),
            ("::ffff:8.8.8.8", 15169, "US"),
        ] {
            assert_eq!(look(&table, address), found(asn, country), "{address}");
        }
        for nowhere in ["0.0.0.0", "10.1.2.3", "192.168.1.1", "255.255.255.255", "::", "fe80::1"] {
            assert_eq!(look(&table, nowhere), found(0, ""), "{nowhere}");
        }
    }
}

mod layers {
    use super::*;

    #[test]
    fn the_first_layer_that_knows_the_as_or_the_country_says_it() {
        let layers = [
            "192.0.2.0/25,64500",
            "192.0.2.0/24,DE",
            "192.0.2.0/23,64501,FR,Below",
            "192.0.2.128/25,64502,NL,Lowest",
        ];
        let table = Table::of(layers.map(|file| Layer::parse(file.as_bytes()).unwrap()));
        assert_eq!(look(&table, "192.0.2.1"), found(64500, "DE"));
        assert_eq!(look(&table, "192.0.2.129"), found(64501, "DE"));
        assert_eq!(look(&table, "192.0.3.1"), found(64501, "FR"));
        assert_eq!(look(&table, "192.0.4.0"), found(0, ""));
    }

    #[test]
    fn without_layers_everything_is_unknown() {
        let table = Table::of([]);
        assert!(table.is_empty());
        assert_eq!(look(&table, "192.0.2.1"), found(0, ""));
        assert_eq!(look(&table, "2001:db8::1"), found(0, ""));
    }
}

mod csv {
    use super::*;

    #[test]
    fn every_form_without_names_is_read() {
        for (file, asn, country) in [
            ("1.0.0.0,1.0.0.255,13335", 13335, ""),
            ("1.0.0.0,1.0.0.255,13335,\"Cloudflare, Inc.\"", 13335, ""),
            ("1.0.0.0,1.0.0.255,13335,Cloudflare, Inc.", 13335, ""),
            ("1.0.0.0\t1.0.0.255\t13335\tUS\tCLOUDFLARENET", 13335, "US"),
            ("1.0.0.0\t1.0.0.255\t0\tNone\tNot routed", 0, ""),
            ("1.0.0.0,1.0.0.255,AU", 0, "AU"),
            ("1.0.0.0/24,AS13335", 13335, ""),
            ("1.0.0.0/24,as13335,AU", 13335, ""),
            ("1.0.0.0/24,13335,au,CLOUDFLARENET", 13335, "AU"),
            ("1.0.0.0/24,AU", 0, "AU"),
            ("1.0.0.1,13335\r\n", 13335, ""),
            ("\u{feff}# a comment\n\n \"1.0.0.0/24\" , \"13335\" ", 13335, ""),
        ] {
            assert_eq!(look(&table(file), "1.0.0.1"), found(asn, country), "{file}");
            assert_eq!(look(&table(file), "1.0.1.0"), found(0, ""), "{file}");
        }
    }

    #[test]
    fn named_columns_are_found_in_any_order() {
        for file in [
            "network,country,country_code,continent,continent_code,asn,as_name,as_domain\n\
             1.0.0.0/24,Australia,AU,Oceania,OC,AS13335,\"Cloudflare, Inc.\",cloudflare.com\n",
            "start_ip,end_ip,country,country_name,continent,continent_name,asn,as_name,as_domain\n\
             1.0.0.0,1.0.0.255,AU,Australia,OC,Oceania,AS13335,\"Cloudflare, Inc.\",cloudflare.com",
            "Country,ASN,Prefix\nau,13335,1.0.0.0/24",
        ] {
            assert_eq!(look(&table(file), "1.0.0.1"), found(13335, "AU"), "{file}");
        }
        let asn = table(
            "network,autonomous_system_number,autonomous_system_organization\n1.0.0.0/24,13335,X",
        );
        assert_eq!(look(&asn, "1.0.0.1"), found(13335, ""));
        let country = table("ip_range_start,ip_range_end,country_code\n::1,::2,ZZ\n::3,::4,XK");
        assert_eq!(look(&country, "::2"), found(0, ""));
        assert_eq!(look(&country, "::3"), found(0, "XK"));
    }

    #[test]
    fn a_row_that_is_not_understood_is_named() {
        for (file, error) in [
            (
                "1.0.0.0/24,1\n1.0.1.1/24,2",
                "line 2: \"1.0.1.1/24\" has bits beyond its length: did you mean 1.0.1.0/24?",
            ),
            (
                "1.0.0.0/24,1\n\n# x\n1.0.1.0,2.0.0.0,2",
                "line 4: \"2.0.0.0\" isn't an AS number: write it as 64500, AS64500 or 1.10",
            ),
            (
                "1.0.0.0,1.0.0.1,1\n1.0.1.1,1.0.1.0,2",
                "line 2: 1.0.1.1 to 1.0.1.0 isn't a range of addresses: the first one must not be larger than the last, and both of IPv4 or both of IPv6",
            ),
            (
                "1.0.0.0,1.0.0.1,1\n1.0.1.1,::1,2",
                "line 2: 1.0.1.1 to ::1 isn't a range of addresses: the first one must not be larger than the last, and both of IPv4 or both of IPv6",
            ),
            (
                "1.0.0.0,1.0.0.1,1\n16777216,16777471,2",
                "line 2: \"16777216\" isn't an address: use the table with addresses as text",
            ),
            (
                "1.0.0.0,1.0.0.1,1\n1.0.1.0,1.0.1.1,4294967296",
                "line 2: \"4294967296\" isn't an AS number: write it as 64500, AS64500 or 1.10",
            ),
            (
                "1.0.0.0,1.0.0.1,DE\n1.0.1.0,1.0.1.1,Germany",
                "line 2: \"Germany\" isn't a country: give a code of two letters",
            ),
            (
                "1.0.0.0,1.0.0.1,1\n1.0.1.0,1.0.1.1",
                "line 2: the row has 2 fields and needs at least 3",
            ),
            (
                "1.0.0.0/24,1\n1.0.1.0/24,\"2",
                "line 2: a quote isn't closed: close it in the same line, or double it if it is part of a field",
            ),
            (
                "16777216,16777471,13335",
                "line 1: \"16777216\" isn't an address: use the table with addresses as text",
            ),
            (
                "asn,name\n1,x",
                "line 1: the first line neither begins with a prefix or an address nor names columns: name network, or start_ip and end_ip; and asn, country_code, or both",
            ),
            (
                "network,geoname_id\n1.0.0.0/24,2077456",
                "line 1: the first line names neither an AS nor a country: name a column asn, autonomous_system_number, country_code or country",
            ),
            (
                "1.0.0.0,1.0.0.255,OC,AU,Queensland",
                "line 1: begin the row with a prefix, or with the first and the last address, and go on with an AS, an AS and its name, an AS, its country and its name, or a country; or name the columns in the first line",
            ),
            ("", "the table has no rows: was it cut short?"),
            ("network,asn\n", "the table has no rows: was it cut short?"),
            (
                "\x1f\u{8b}",
                "line 1: the first line neither begins with a prefix or an address nor names columns: name network, or start_ip and end_ip; and asn, country_code, or both",
            ),
        ] {
            assert_eq!(refusal(file.as_bytes()), error, "{file}");
        }
        assert_eq!(refusal(b"\x1f\x8b\x08"), "the file is compressed: unpack it");
        assert_eq!(refusal(b"\xff\xfe1\0"), "the file is UTF-16: save it as UTF-8");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_table_or_an_error_with_a_line(file in prop::collection::vec(prop_oneof![
            Just(b"\n".to_vec()),
            Just(b",".to_vec()),
            Just(b"\t".to_vec()),
            Just(b"1.0.0.0".to_vec()),
            Just(b"1.0.0.0/8".to_vec()),
            Just(b"255.255.255.255".to_vec()),
            Just(b"2001:db8::/32".to_vec()),
            Just(b"64500".to_vec()),
            Just(b"DE".to_vec()),
            Just(b"\"".to_vec()),
            Just(b"network,asn\n".to_vec()),
            any::<Vec<u8>>(),
        ], 0..24).prop_map(|pieces| pieces.concat())) {
            match Layer::parse(&file) {
                Ok(layer) => {
                    let table = Table::of([layer]);
                    prop_assert!(table.len() >= 2);
                    table.lookup(Ipv4Addr::new(1, 2, 3, 4).into());
                }
                Err(TableError::Line { line, what }) => {
                    let lines = file.split(|&byte| byte == b'\n').count();
                    prop_assert!((1..=lines).contains(&line) && !what.is_empty());
                    prop_assert!(what.len() < 1000 && !what.contains(char::is_control));
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }
}

/// A table as a list of ranges, and the look-up in it one by one.
mod model {
    use super::*;

    #[derive(Debug, Clone)]
    pub(super) struct Row {
        pub(super) is_v4: bool,
        pub(super) first: u128,
        pub(super) last: u128,
        pub(super) origin: Origin,
    }

    impl Row {
        fn has(&self, is_v4: bool, number: u128) -> bool {
            self.is_v4 == is_v4 && (self.first..=self.last).contains(&number)
        }

        fn csv(&self) -> String {
            let [first, last] = [self.first, self.last].map(|end| address(self.is_v4, end));
            format!("{first},{last},{},{},name\n", self.origin.asn, self.origin.country)
        }
    }

    pub(super) fn csv(rows: &[Row]) -> String {
        // A row without a country would not show that there is a column for it.
        "start,end,asn,country,name\n".to_owned() + &rows.iter().map(Row::csv).collect::<String>()
    }

    /// Of the ranges with an address, the smallest one, and of several the one that begins last, or
    /// else the last one.
    pub(super) fn lookup(rows: &[Row], is_v4: bool, number: u128) -> Origin {
        let with = rows.iter().enumerate().filter(|(_, row)| row.has(is_v4, number));
        let rank = |(place, row): &(usize, &Row)| {
            (std::cmp::Reverse(row.last - row.first), row.first, *place)
        };
        with.max_by_key(rank).map(|(_, row)| row.origin).unwrap_or_default()
    }

    /// The ends of all ranges and the addresses next to them, of both families.
    pub(super) fn probes(rows: &[Row]) -> impl Iterator<Item = (bool, u128)> {
        let near = |end: u128| [end.wrapping_sub(1), end, end.wrapping_add(1), end ^ 1 << 64];
        let ends = rows.iter().flat_map(|row| [row.first, row.last]);
        let numbers = ends.chain([0, 1 << 61, 1 << 62, u128::MAX]).flat_map(near);
        numbers.flat_map(|number| {
            [(true, u128::from(number as u32)), (false, number)]
                .into_iter()
                // Those are IPv4 addresses.
                .filter(|&(is_v4, number)| is_v4 || number >> 32 != 0xffff)
        })
    }

    pub(super) fn origins() -> impl Strategy<Value = Origin> {
        (0..4_u32, prop_oneof![Just(""), Just("DE"), Just("FR")])
            .prop_map(|(asn, country)| origin(asn, country))
    }

    /// Ranges that overlap in few addresses, at the ends of all addresses too.
    fn ranges() -> impl Strategy<Value = Row> {
        let v4 = (
            prop_oneof![Just(0_u32), Just(0x0a00_0000), Just(0x0a00_fff0), Just(u32::MAX - 80)],
            0..40_u32,
            prop_oneof![0..40_u32, Just(0x1_0000)],
        );
        let v4 = v4.prop_map(|(base, offset, size)| {
            let first = base + offset;
            (true, first.into(), first.saturating_add(size).into())
        });
        let halves = prop_oneof![
            Just(0_u128),
            Just(0x2001_0db8_0000_0000),
            Just(0x3fff_ffff_ffff_ffff),
            Just(u128::from(u64::MAX) - 3),
        ];
        let low = || prop_oneof![Just(0_u128), Just(5), Just(u128::from(u64::MAX)), Just(1 << 63)];
        let v6 = (halves, 0..4_u128, low(), 0..3_u128, low());
        let v6 = v6.prop_map(|(half, offset, low, halves, last_low)| {
            let half = half + offset;
            let last = (half + halves).min(u64::MAX.into()) << 64 | last_low;
            let first = half << 64 | low;
            (false, first.min(last), first.max(last))
        });
        let row = (prop_oneof![v4, v6], origins());
        row.prop_map(|((is_v4, first, last), origin)| Row { is_v4, first, last, origin })
    }

    proptest! {
        #[test]
        fn a_table_of_overlapping_ranges_answers_as_a_scan_of_them_does(
            rows in prop::collection::vec(ranges(), 1..30)
        ) {
            let table = table(&csv(&rows));
            for (is_v4, number) in probes(&rows) {
                let address = address(is_v4, number);
                prop_assert_eq!(table.lookup(address), lookup(&rows, is_v4, number), "{}", address);
            }
        }

        #[test]
        fn layers_answer_as_one_after_the_other_does(
            upper in prop::collection::vec(ranges(), 1..12),
            lower in prop::collection::vec(ranges(), 1..12),
        ) {
            let layers = [&upper, &lower].map(|rows| Layer::parse(csv(rows).as_bytes()).unwrap());
            let table = Table::of(layers);
            for (is_v4, number) in probes(&upper).chain(probes(&lower)) {
                let [upper, lower] = [&upper, &lower].map(|rows| lookup(rows, is_v4, number));
                let expected = Origin {
                    asn: if upper.asn > 0 { upper.asn } else { lower.asn },
                    country: if upper.country == Country::UNKNOWN { lower.country } else { upper.country },
                };
                prop_assert_eq!(table.lookup(address(is_v4, number)), expected);
            }
        }
    }

    /// As many that the table has an index.
    #[test]
    fn a_large_table_answers_as_a_scan_does() {
        let mut state = 1_u64;
        let mut random = || {
            // Xorshift, by George Marsaglia.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut rows = Vec::new();
        for number in 0..16_000_u32 {
            let is_v4 = number % 2 == 0;
            let bits = if is_v4 { 32 } else { 128 };
            let length = if is_v4 { 8 + random() % 25 } else { 16 + random() % 60 } as u32;
            let hosts = u128::MAX.checked_shr(128 - bits + length).unwrap_or_default();
            let anywhere = u128::from(random()) << 64 | u128::from(random());
            // Most of the IPv6 addresses are in 2000::/3.
            let anywhere = if number % 8 == 1 { anywhere } else { anywhere >> 3 | 1 << 125 };
            let first = if is_v4 { u128::from(anywhere as u32) } else { anywhere } & !hosts;
            let origin = origin(1 + number % 999, ["", "DE", "FR"][number as usize % 3]);
            rows.push(Row { is_v4, first, last: first | hosts, origin });
        }
        let table = table(&csv(&rows));
        assert!(table.len() > 16_000);
        for (is_v4, number) in probes(&rows).step_by(61) {
            let address = address(is_v4, number);
            assert_eq!(table.lookup(address), lookup(&rows, is_v4, number), "{address}");
        }
    }
}

mod mmdb {
    use super::{model::Row, *};

    fn one(record: Value) -> Result<Layer, TableError> {
        let rows = vec![((0xC000_0200, 120), record)];
        Layer::parse(&Database { is_v4: true, bits: 24, rows, aliases: Vec::new() }.write())
    }

    #[test]
    fn records_of_every_provider_are_understood() {
        let country = |code: &str| {
            map([
                ("geoname_id", 2_921_044.into()),
                ("iso_code", code.into()),
                ("names", map([("de", "Deutschland".into()), ("en", "Germany".into())])),
            ])
        };
        for (record, asn, code) in [
            // GeoLite2-ASN, DB-IP ASN Lite
            (
                map([
                    ("autonomous_system_number", 64500.into()),
                    ("autonomous_system_organization", "Some Org, Inc.".into()),
                ]),
                64500,
                "",
            ),
            // GeoLite2-Country, DB-IP Country Lite
            (
                map([
                    ("continent", map([("code", "EU".into())])),
                    ("country", country("DE")),
                    ("registered_country", country("FR")),
                ]),
                0,
                "DE",
            ),
            // GeoIP2-Enterprise
            (
                map([
                    ("country", country("DE")),
                    ("traits", map([("autonomous_system_number", 64500.into())])),
                ]),
                64500,
                "DE",
            ),
            // IPinfo Lite
            (
                map([
                    ("as_domain", "example.net".into()),
                    ("asn", "AS64500".into()),
                    ("continent", "Europe".into()),
                    ("country", "Germany".into()),
                    ("country_code", "DE".into()),
                ]),
                64500,
                "DE",
            ),
            // IPinfo Country & ASN
            (
                map([
                    ("asn", "AS64500".into()),
                    ("country", "DE".into()),
                    ("country_name", "Germany".into()),
                ]),
                64500,
                "DE",
            ),
            (map([("asn", "".into()), ("country", "DE".into())]), 0, "DE"),
            // ip-location-db
            (map([("country_code", "DE".into())]), 0, "DE"),
            // Writers choose among the types of integers.
            (map([("asn", Value::Short(64500))]), 64500, ""),
            (map([("autonomous_system_number", Value::Long(64500))]), 64500, ""),
            (
                map([("traits", map([("autonomous_system_number", Value::Short(64500))]))]),
                64500,
                "",
            ),
        ] {
            let table = Table::of([one(record.clone()).unwrap()]);
            assert_eq!(look(&table, "192.0.2.1"), found(asn, code), "{record:?}");
            assert_eq!(look(&table, "192.0.3.0"), found(0, ""), "{record:?}");
        }
    }

    #[test]
    fn records_that_are_not_understood_are_named() {
        let error = |record| one(record).unwrap_err().to_string();
        assert_eq!(
            error(map([("is_anonymous", 1.into())])),
            "this MaxMind database, of type \"Test\", has neither AS numbers nor countries: use one \
             of type ASN or Country"
        );
        assert_eq!(
            error(map([("country_code", "Germany".into())])),
            "the MaxMind database can't be read: the record of 192.0.2.0: \"Germany\" \
             isn't a country: give a code of two letters"
        );
        assert_eq!(
            error(map([("asn", "sixty".into())])),
            "the MaxMind database can't be read: the record of 192.0.2.0: \"sixty\" isn't an \
             AS number: write it as 64500, AS64500 or 1.10"
        );
        let empty = Database { is_v4: false, bits: 28, rows: Vec::new(), aliases: Vec::new() };
        assert_eq!(Layer::parse(&empty.write()), Err(TableError::Empty));
    }

    #[test]
    fn the_tables_of_maxmind_are_read_as_its_reader_does() {
        let files = [
            include_bytes!("../fixtures/mmdb/GeoLite2-ASN-Test.mmdb").as_slice(),
            include_bytes!("../fixtures/mmdb/GeoLite2-Country-Test.mmdb"),
        ];
        let table = Table::of(files.map(|file| Layer::parse(file).unwrap()));
        let readers = files.map(|file| Reader::from_source(file).unwrap());
        let mut compared = 0;
        for network in
            readers.iter().flat_map(|reader| reader.networks(WithinOptions::default()).unwrap())
        {
            let address = network.unwrap().network().unwrap().ip();
            let [asn, country] = readers.each_ref().map(|reader| reader.lookup(address).unwrap());
            let asn: Option<u32> = asn.decode_path(&path!["autonomous_system_number"]).unwrap();
            let country: Option<&str> = country.decode_path(&path!["country", "iso_code"]).unwrap();
            let expected = origin(asn.unwrap_or_default(), country.unwrap_or_default());
            assert_eq!(table.lookup(address), expected, "{address}");
            compared += 1;
        }
        assert!(compared > 500, "{compared}");
        assert_eq!(look(&table, "1.128.0.1"), found(1221, ""));
        // Other prefixes by which IPv4 is reached are no addresses of their own.
        assert_eq!(look(&table, "2002:180::1"), found(0, ""));
    }

    fn prefixes(is_v4: bool) -> impl Strategy<Value = Vec<Row>> {
        let bits: u32 = if is_v4 { 32 } else { 128 };
        let base = if is_v4 { 0x0a00_0000 } else { 0x2001_0db8 << 96 };
        let length = if is_v4 { 1..=32 } else { 1..=128_u32 };
        let row =
            (length, any::<u128>(), model::origins()).prop_map(move |(length, bit, origin)| {
                let hosts = u128::MAX.checked_shr(128 - bits + length).unwrap_or_default();
                // One bit of the base is another one: prefixes contain each other often.
                let first = (base ^ 1_u128.checked_shl(bit as u32 % bits).unwrap()) & !hosts;
                Row { is_v4, first, last: first | hosts, origin }
            });
        prop::collection::vec(row, 1..30)
    }

    fn record(origin: Origin) -> Value {
        map([("asn", origin.asn.into()), ("country_code", origin.country.as_str().into())])
    }

    fn rows(rows: &[Row]) -> Vec<(database::Prefix, Value)> {
        let row = |row: &Row| {
            let length = (row.last ^ row.first).leading_zeros() as u8;
            ((row.first, length), record(row.origin))
        };
        rows.iter().map(row).collect()
    }

    proptest! {
        #[test]
        fn a_database_answers_as_a_scan_of_its_prefixes_does(
            v4 in prefixes(true),
            v6 in prefixes(false),
            bits in prop_oneof![Just(24), Just(28), Just(32)],
            has_aliases in any::<bool>(),
        ) {
            // ::/8 is IPv4's.
            let v6: Vec<_> = v6.into_iter().filter(|row| row.first >> 120 != 0).collect();
            let aliases = if has_aliases { vec![(0xffff << 32, 96), (0x2002 << 112, 16)] } else { vec![] };
            let all = [rows(&v6), rows(&v4)].concat();
            let both = Database { is_v4: false, bits, rows: all, aliases };
            let alone = Database { is_v4: true, bits, rows: rows(&v4), aliases: vec![] };
            let [both, alone] = [both, alone].map(|database| {
                Table::of([Layer::parse(&database.write()).unwrap()])
            });
            for (is_v4, number) in model::probes(&[v4.clone(), v6.clone()].concat()) {
                let expected = if is_v4 { model::lookup(&v4, true, number) } else { model::lookup(&v6, false, number) };
                let is_alias = has_aliases && !is_v4 && number >> 112 == 0x2002;
                let is_v4_in_v6 = !is_v4 && number >> 32 == 0;
                if !is_alias && !is_v4_in_v6 {
                    prop_assert_eq!(both.lookup(address(is_v4, number)), expected);
                }
                if is_v4 {
                    prop_assert_eq!(alone.lookup(address(is_v4, number)), expected);
                }
            }
        }

        #[test]
        fn a_damaged_database_gives_a_table_or_an_error(
            country in any::<bool>(),
            damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            length in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let mut file = if country {
                include_bytes!("../fixtures/mmdb/GeoLite2-Country-Test.mmdb").to_vec()
            } else {
                include_bytes!("../fixtures/mmdb/GeoLite2-ASN-Test.mmdb").to_vec()
            };
            for (place, byte) in damages {
                let place = place.index(file.len());
                file[place] = byte;
            }
            if let Some(length) = length {
                // The description stays, so that it still counts as a database.
                let description = file.split_off(file.len() - 400);
                file.truncate(length.index(file.len()));
                file.extend(description);
            }
            match Layer::parse(&file) {
                Ok(layer) => drop(Table::of([layer])),
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
    }

    #[test]
    fn databases_that_are_damaged_on_purpose_are_refused() {
        for file in [
            include_bytes!("../fixtures/mmdb/MaxMind-DB-test-broken-search-tree-24.mmdb")
                .as_slice(),
            include_bytes!("../fixtures/mmdb/MaxMind-DB-test-broken-pointers-24.mmdb"),
            include_bytes!("../fixtures/mmdb/libmaxminddb-corrupt-search-tree.mmdb"),
            include_bytes!("../fixtures/mmdb/libmaxminddb-deep-nesting.mmdb"),
            include_bytes!("../fixtures/mmdb/cyclic-data-structure.mmdb"),
            b"\xab\xcd\xefMaxMind.com",
        ] {
            let error = refusal(file);
            assert!(error.contains("MaxMind database"), "{error}");
        }
    }

    /// The crate reads 512 levels. Threads have 2 MiB by default.
    #[test]
    fn deeply_nested_values_are_refused_within_the_stack_of_a_thread() {
        for field in
            ["asn", "autonomous_system_number", "country", "country_code", "traits", "else"]
        {
            let record = map([("asn", 64500.into()), (field, Value::Nested(500))]);
            let database =
                Database { is_v4: true, bits: 24, rows: vec![((0, 97), record)], aliases: vec![] };
            let file = database.write();
            let reading = std::thread::Builder::new().stack_size(1024 << 10);
            let error = reading.spawn(move || refusal(&file)).unwrap().join().unwrap();
            assert!(error.contains("the record of 0.0.0.0"), "{field}: {error}");
        }
    }

    /// Each node refers to the next one twice, so that there are 2^96 ways to the last one, which is
    /// that of IPv4: the crate's iterator would go all of them.
    #[test]
    fn a_tree_with_more_ways_than_nodes_is_refused() {
        let rows = vec![((0, 97), record(origin(64500, "DE")))];
        let mut file = Database { is_v4: false, bits: 32, rows, aliases: vec![] }.write();
        for node in 0..96 {
            let (left, right) = (node * 8, node * 8 + 4);
            file.copy_within(left..right, right);
        }
        assert_eq!(refusal(&file), "the MaxMind database can't be read: its tree is damaged");
    }
}

mod networks {
    use super::{model::Row, *};

    fn refusal(text: &str) -> String {
        Networks::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_longest_prefix_wins() {
        let networks = Networks::parse(
            "prefix,as,name,site\n\
             192.0.2.0/24,64500,\"Customer, Inc.\",Frankfurt\n\
             192.0.2.128/25,AS64501,,\n\
             192.0.2.129,,,Berlin\n\
             # IPv6\n\
             2001:db8::/32,64500,Us,\n\
             2001:db8::1/128,64502,Router,\n",
        )
        .unwrap();
        let look = |address: &str| {
            let network = networks.lookup(address.parse().unwrap())?;
            Some((network.asn, &*network.name, &*network.site))
        };
        assert_eq!(networks.len(), 5);
        assert_eq!(look("192.0.2.127"), Some((64500, "Customer, Inc.", "Frankfurt")));
        assert_eq!(look("192.0.2.128"), Some((64501, "", "")));
        assert_eq!(look("192.0.2.129"), Some((0, "", "Berlin")));
        assert_eq!(look("::ffff:192.0.2.130"), Some((64501, "", "")));
        assert_eq!(look("192.0.3.0"), None);
        assert_eq!(look("2001:db8::"), Some((64500, "Us", "")));
        assert_eq!(look("2001:db8::1"), Some((64502, "Router", "")));
        assert_eq!(look("2001:db8::2"), Some((64500, "Us", "")));
        assert_eq!(look("2001:db9::"), None);
    }

    #[test]
    fn columns_are_named_in_any_order() {
        let networks = Networks::parse("Site\tPREFIX\nBerlin\t192.0.2.0/24\n").unwrap();
        let network = networks.lookup("192.0.2.1".parse().unwrap()).unwrap();
        assert_eq!((network.asn, &*network.name, &*network.site), (0, "", "Berlin"));
        for empty in ["", "\n# nothing yet\n", "prefix,as\n"] {
            let error = Networks::parse(empty).unwrap_err().to_string();
            assert!(error.contains("the list has no rows: was it cut short?"), "{error}");
        }
    }

    #[test]
    fn a_line_that_is_not_understood_is_named() {
        let long = "x".repeat(1025);
        for (text, error) in [
            (
                "192.0.2.0/24,64500",
                "line 1: the first line names the columns, and \"192.0.2.0/24\" isn't one: name prefix, as, name, site",
            ),
            (
                "prefix,asn",
                "line 1: the first line names the columns, and \"asn\" isn't one: did you mean as?",
            ),
            (
                "prefix,sites",
                "line 1: the first line names the columns, and \"sites\" isn't one: did you mean site?",
            ),
            ("as,name", "line 1: the first line must name a column prefix"),
            ("prefix,as,as", "line 1: the column as is there twice"),
            ("prefix,as\n\n192.0.2.0/24,", ""),
            (
                "prefix,as\n\n192.0.2.0/24,x",
                "line 3: \"x\" isn't an AS number: write it as 64500, AS64500 or 1.10",
            ),
            (
                "prefix,name\n::1,\"Customer",
                "line 2: a quote isn't closed: close it in the same line, or double it if it is part of a field",
            ),
            (
                "prefix,as\n192.0.2.1/24,1",
                "line 2: \"192.0.2.1/24\" has bits beyond its length: did you mean 192.0.2.0/24?",
            ),
            (
                "prefix,name\n192.0.2.0/24,Some Org, Inc.",
                "line 2: the row has 3 fields and the first line 2: put quotes around a field with commas",
            ),
            (
                "prefix,as\n192.0.2.0/24,1\n::ffff:192.0.2.0/120,2",
                "line 3: line 2 has this prefix already: give it once",
            ),
            (
                "prefix,name\n::1,a\u{7}b",
                "line 2: \"a\\u{7}b\" has control characters: remove them",
            ),
            (
                &format!("prefix,name\n::1,{long}"),
                &format!("line 2: {:?}… is longer than 1024 bytes", &long[..60]),
            ),
        ] {
            match error {
                "" => assert_eq!(Networks::parse(text).unwrap().len(), 1, "{text}"),
                error => assert_eq!(refusal(text), error, "{text}"),
            }
        }
    }

    fn prefixes() -> impl Strategy<Value = Row> {
        let prefix = (any::<bool>(), 0..=128_u32, 0..128_u32);
        prefix.prop_map(|(is_v4, length, bit)| {
            let (base, bits) = if is_v4 { (0x0a00_0000, 32) } else { (0x2001_0db8 << 96, 128) };
            let hosts = u128::MAX.checked_shr(128 - bits + length % (bits + 1)).unwrap_or_default();
            let first = (base ^ 1 << (bit % bits)) & !hosts;
            Row { is_v4, first, last: first | hosts, origin: Origin::default() }
        })
    }

    proptest! {
        #[test]
        fn a_list_answers_as_a_scan_of_it_does(rows in prop::collection::vec(prefixes(), 1..30)) {
            let mut rows = rows;
            rows.sort_by_key(|row| (row.is_v4, row.first, row.last));
            rows.dedup_by_key(|row| (row.is_v4, row.first, row.last));
            let mut text = "as,prefix\n".to_owned();
            for (number, row) in rows.iter_mut().enumerate() {
                row.origin.asn = number as u32 + 1;
                let length = (row.last ^ row.first).leading_zeros() - if row.is_v4 { 96 } else { 0 };
                let first = address(row.is_v4, row.first);
                writeln!(text, "{},{first}/{length}", row.origin.asn).unwrap();
            }
            let networks = Networks::parse(&text).unwrap();
            for (is_v4, number) in model::probes(&rows) {
                let asn = networks.lookup(address(is_v4, number)).map_or(0, |network| network.asn);
                prop_assert_eq!(asn, model::lookup(&rows, is_v4, number).asn);
            }
        }

        #[test]
        fn any_text_gives_a_list_or_an_error_with_a_line(
            rows in "(prefix|as|name|site|,|\n|\"|192.0.2.0/24|::/0|64500|.){0,40}"
        ) {
            for text in [rows.clone(), format!("prefix,as,name,site\n{rows}")] {
                if let Err(error) = Networks::parse(&text) {
                    prop_assert!((1..=text.matches('\n').count() + 1).contains(&error.line));
                    prop_assert!(!error.what.contains(char::is_control), "{}", error.what);
                }
            }
        }
    }
}
