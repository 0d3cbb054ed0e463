//! Names of autonomous systems: parsing, the embedded table, look-up.
//!
//! Knows neither flows nor sockets: a table that was fetched is passed as bytes to
//! [`AsNames::parse`]. `scripts/update-as-tables` makes the embedded table, `names.tsv`; NOTICE has
//! its sources and their licences.

mod parse;
mod table;

pub use parse::{MAX_TABLE_BYTES, ParseError};
pub use table::{AsNames, MAX_NAME_BYTES};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rows(file: &[u8]) -> Vec<(u32, String)> {
        let names = AsNames::parse(file).unwrap();
        names.iter().map(|(number, name)| (number, name.to_owned())).collect()
    }

    fn tsv(file: &[u8]) -> String {
        AsNames::parse(file).unwrap().as_tsv().to_owned()
    }

    #[test]
    fn cidr_report() {
        let names = AsNames::parse(include_bytes!("testdata/cidr-report.txt")).unwrap();
        insta::assert_snapshot!(names.as_tsv());
        assert_eq!(names.get(1007), "MIT-X - Some Org, Inc.");
        assert_eq!(names.ignored_lines(), 3);
        assert_eq!(names.get(4242), "");
    }

    #[test]
    fn cidr_report_in_html() {
        let names = AsNames::parse(include_bytes!("testdata/cidr-report.html")).unwrap();
        insta::assert_snapshot!(names.as_tsv());
        assert_eq!(names.ignored_lines(), 8);
    }

    #[test]
    fn ripe() {
        let names = AsNames::parse(include_bytes!("testdata/ripe.txt")).unwrap();
        insta::assert_snapshot!(names.as_tsv());
        assert_eq!(names.get(397_143), "NEPTUNE-NETWORKS - Neptune Networks");
        assert_eq!(names.ignored_lines(), 0);
    }

    #[test]
    fn bgp_tools() {
        let names = AsNames::parse(include_bytes!("testdata/bgp-tools.csv")).unwrap();
        insta::assert_snapshot!(names.as_tsv());
        assert_eq!(names.get(14618), "Amazon.com, Inc.");
        assert_eq!(names.ignored_lines(), 2);
    }

    #[test]
    fn own_form_keeps_what_looks_like_a_country() {
        assert_eq!(
            rows(b"7\tTelefonica de Argentina, SA\n"),
            [(7, "Telefonica de Argentina, SA".into())]
        );
    }

    #[test]
    fn latin_1_is_decoded_row_by_row() {
        let file = b"1 Telecomunica\xe7\xf5es - A\xe7\xfacar, BR\n2 Telecomunica\xc3\xa7\xc3\xb5es, BR\n3 \x80Smart\x92s, US\n";
        assert_eq!(tsv(file), "1\tTelecomunicações - Açúcar\n2\tTelecomunicações\n3\tSmarts\n");
    }

    #[test]
    fn names_are_cleaned_at_the_ends_and_of_control_characters_only() {
        let file = "5   \u{a0}A\u{ad}\\B \"C\", D\0\u{85}\u{a0} , US \r\n".as_bytes();
        assert_eq!(rows(file), [(5, "\u{a0}A\u{ad}\\B \"C\", D\u{a0}".into())]);
        let long = "ü".repeat(410);
        assert_eq!(rows(format!("6 {long}, DE").as_bytes()), [(6, long)]);
    }

    #[test]
    fn a_name_has_a_largest_size() {
        let names = AsNames::parse(format!("6 x{}", "ü".repeat(9000)).as_bytes()).unwrap();
        assert_eq!(names.get(6).len(), MAX_NAME_BYTES - 1, "cut between two characters");
        assert_eq!(names.cut_names(), 1);
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let kept = AsNames::of([(7, long.as_str()), (8, ""), (7, long.as_str())]);
        assert_eq!(kept.iter().collect::<Vec<_>>(), [(7, long.as_str())], "in use before");
        assert_eq!(kept.over(&names).get(7), long);
    }

    #[test]
    fn a_table_that_takes_more_as_it_is_kept_than_may_be_read_is_refused() {
        let row = [&b"1 "[..], &[0xe9; 500], b"\n"].concat();
        let rows = MAX_TABLE_BYTES / 1000;
        let mut file = Vec::with_capacity(rows * 510);
        for number in 0..=rows {
            file.extend_from_slice(number.to_string().as_bytes());
            file.extend_from_slice(&row[1..]);
        }
        assert!(file.len() < MAX_TABLE_BYTES);
        assert_eq!(AsNames::parse(&file).unwrap_err(), ParseError::TooLarge);
    }

    #[test]
    fn the_last_of_two_names_wins() {
        assert_eq!(tsv(b"9 OLD, US\n3 X, US\n9 NEW, US\n9 , US\n"), "3\tX\n9\tNEW\n");
    }

    #[test]
    fn without_a_row_the_error_says_what_was_expected() {
        let page = b"<!DOCTYPE html><html><body><h1>Service unavailable</h1>\nGo away.\n</html>";
        let error = AsNames::parse(page).unwrap_err();
        assert_eq!(error, ParseError::NoRows { lines: 3 });
        insta::assert_snapshot!(error, @"none of its 3 lines names an AS; expected RIPE's or cidr-report's asn.txt (`1007 MIT-X - Some Org, Inc., US`), bgp.tools' asns.csv (`AS1007,\"Some Org, Inc.\",...`), or lines of number, tab and name");
        assert_eq!(AsNames::parse(b"").unwrap_err(), ParseError::NoRows { lines: 0 });
        // No AS number.
        assert_eq!(
            AsNames::parse(b"4294967296 X, US").unwrap_err(),
            ParseError::NoRows { lines: 1 }
        );
    }

    #[test]
    fn the_embedded_table_is_in_the_form_that_we_write() {
        let embedded = AsNames::embedded();
        assert!(AsNames::parse(embedded.as_tsv().as_bytes()).unwrap() == embedded);
        assert!(embedded.len() > 80_000);
        assert!(embedded.iter().is_sorted_by(|(a, _), (b, _)| a < b));
        assert_eq!(embedded.get(15169), "Google LLC");
        assert_eq!(embedded.get(14618), "Amazon.com, Inc.");
        assert_eq!(embedded.get(4_294_967_295), "");
    }

    #[test]
    fn changed_names_in_both_directions() {
        let a = AsNames::parse(b"1 A\n2 B\n3 C\n7 G\n").unwrap();
        let b = AsNames::parse(b"0 Z\n1 A\n2 X\n7 G\n9 I\n").unwrap();
        assert_eq!(a.changed(&b), [0, 2, 3, 9]);
        assert_eq!(b.changed(&a), [0, 2, 3, 9]);
        assert_eq!(a.changed(&a), [0; 0]);
        assert_eq!(a.changed(&AsNames::none()), [1, 2, 3, 7]);
    }

    #[test]
    fn over_another_table() {
        let base = AsNames::parse(b"1 A\n2 B\n").unwrap();
        let newer = AsNames::parse(b"2 X\n3 C\n").unwrap();
        assert_eq!(newer.over(&base).as_tsv(), "1\tA\n2\tX\n3\tC\n");
    }

    fn lines() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"\n".to_vec()),
            Just(b"\t".to_vec()),
            Just(b"AS".to_vec()),
            Just(b"<a href=x>".to_vec()),
            Just(b", US\n".to_vec()),
            Just(b",\"".to_vec()),
            "[0-9]{1,11}[ ,\t]".prop_map(String::into_bytes),
            any::<Vec<u8>>(),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_clean_table_or_an_error(file in lines()) {
            if let Ok(names) = AsNames::parse(&file) {
                prop_assert!(!names.is_empty());
                prop_assert!(names.iter().is_sorted_by(|(a, _), (b, _)| a < b));
                for (number, name) in names.iter() {
                    prop_assert_eq!(names.get(number), name);
                    prop_assert!(!name.is_empty() && name.len() <= MAX_NAME_BYTES);
                    prop_assert!(!name.contains(char::is_control));
                    prop_assert_eq!(name.trim_matches(' '), name);
                }
                prop_assert!(AsNames::parse(names.as_tsv().as_bytes()).unwrap() == names);
            }
        }

        #[test]
        fn our_own_form_is_read_back(rows in prop::collection::btree_map(
            any::<u32>(), "[^\\p{Cc} ]([^\\p{Cc}]{0,60}[^\\p{Cc} ])?", 1..40,
        )) {
            let lines: Vec<_> =
                rows.iter().map(|(number, name)| format!("{number}\t{name}\n")).collect();
            let file = lines.concat();
            let names = AsNames::parse(file.as_bytes()).unwrap();
            prop_assert_eq!(names.as_tsv(), &file);
            for (&number, name) in &rows {
                prop_assert_eq!(names.get(number), name);
            }
        }
    }
}
