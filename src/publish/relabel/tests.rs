//! What the rules do, as Prometheus documents it and does it.

use proptest::prelude::*;

use super::*;

fn rule(text: RelabelText) -> RelabelRule {
    RelabelRule::try_from(text).expect("a rule that Prometheus takes")
}

/// A rule of these fields: `key=value` each, source labels separated by commas.
fn text(fields: &[&str]) -> RelabelText {
    let mut text = RelabelText::default();
    for field in fields {
        let (key, value) = field.split_once('=').expect("key=value");
        let value = value.to_owned();
        match key {
            "source_labels" => {
                text.source_labels = Some(value.split(',').map(str::to_owned).collect());
            }
            "separator" => text.separator = Some(value),
            "target_label" => text.target_label = Some(value),
            "regex" => text.regex = Some(value),
            "modulus" => text.modulus = Some(value.parse().expect("a number")),
            "replacement" => text.replacement = Some(value),
            "action" => text.action = Some(value),
            _ => panic!("{key}"),
        }
    }
    text
}

fn labels(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The labels of a series after a rule, but its name, as `a=1 b=2`; `None` if it is dropped.
fn after(fields: &[&[&str]], pairs: &[(&str, &str)]) -> Option<String> {
    let rules: Vec<RelabelRule> = fields.iter().map(|fields| rule(text(fields))).collect();
    let mut series = labels(pairs);
    series.push((METRIC_NAME.to_owned(), "flows".to_owned()));
    series.sort();
    apply(&rules, &mut series).then(|| {
        let words = series
            .iter()
            .filter(|(name, _)| name != METRIC_NAME)
            .map(|(name, value)| format!("{name}={value}"));
        words.collect::<Vec<_>>().join(" ")
    })
}

#[track_caller]
fn assert_after(fields: &[&str], pairs: &[(&str, &str)], expected: &str) {
    assert_eq!(after(&[fields], pairs).as_deref(), Some(expected), "{fields:?}");
}

#[test]
fn replace_writes_groups_of_what_matched_from_end_to_end() {
    let series = [("site", "fra-12"), ("unit", "b")];
    for (fields, expected) in [
        (&["source_labels=site", "target_label=copy"][..], "copy=fra-12 site=fra-12 unit=b"),
        (
            &[
                "source_labels=site",
                "regex=([a-z]+)-(\\d+)",
                "target_label=c",
                "replacement=$2_$1x",
            ],
            "site=fra-12 unit=b",
        ),
        (
            &[
                "source_labels=site",
                "regex=([a-z]+)-(\\d+)",
                "target_label=c",
                "replacement=${2}${1}x$$",
            ],
            "c=12frax$ site=fra-12 unit=b",
        ),
        (
            &[
                "source_labels=site,unit",
                "separator=/",
                "regex=(?P<s>.*)/(.)",
                "target_label=${2}_of",
                "replacement=$s",
            ],
            "b_of=fra-12 site=fra-12 unit=b",
        ),
        // No match: nothing happens. The regex is anchored.
        (&["source_labels=site", "regex=fra", "target_label=c"], "site=fra-12 unit=b"),
        // An alternative is anchored as well.
        (&["source_labels=site", "regex=fra|x", "target_label=c"], "site=fra-12 unit=b"),
        // A replacement of nothing removes the label.
        (&["source_labels=unit", "target_label=site", "replacement="], "unit=b"),
        // No source labels: a constant.
        (&["target_label=dc", "replacement=eu"], "dc=eu site=fra-12 unit=b"),
        // What is expanded to no name is not written.
        (&["source_labels=site", "target_label=${1}", "replacement=x"], "site=fra-12 unit=b"),
        // Not references, so texts.
        (&["target_label=c", "replacement=a${b-c}$"], "c=a${b-c}$ site=fra-12 unit=b"),
        (&["action=REPLACE", "target_label=c", "replacement=1"], "c=1 site=fra-12 unit=b"),
    ] {
        assert_after(fields, &series, expected);
    }
}

#[test]
fn keep_and_drop_look_at_the_joined_values() {
    let series = [("a", "1"), ("b", "2")];
    let kept = |fields: &[&str]| after(&[fields], &series).is_some();
    assert!(kept(&["action=keep", "source_labels=a,b", "regex=1;2"]));
    assert!(!kept(&["action=keep", "source_labels=a,b", "regex=1"]));
    assert!(!kept(&["action=drop", "source_labels=a,missing,b", "regex=1;;2"]));
    assert!(kept(&["action=drop", "source_labels=a", "regex=2"]));
    assert!(!kept(&["action=drop", "source_labels=missing", "regex="]));
    // Without source labels and regex: everything.
    assert!(!kept(&["action=drop"]));
    assert!(kept(&["action=keep"]));
}

#[test]
fn keepequal_and_dropequal_compare_with_the_target() {
    let series = [("a", "x"), ("b", "x"), ("c", "y")];
    let kept = |fields: &[&str]| after(&[fields], &series).is_some();
    assert!(kept(&["action=keepequal", "source_labels=a", "target_label=b"]));
    assert!(!kept(&["action=keepequal", "source_labels=a", "target_label=c"]));
    assert!(!kept(&["action=dropequal", "source_labels=a", "target_label=b"]));
    assert!(kept(&["action=dropequal", "source_labels=a", "target_label=c"]));
}

#[test]
fn hashmod_is_the_end_of_md5_modulo() {
    // The last 8 bytes of MD5 as a big-endian number, modulo 7 and 1000, by another program.
    let series = [("asn", "AS64500"), ("direction", "transmitted")];
    let fields =
        ["action=hashmod", "source_labels=asn,direction", "modulus=7", "target_label=shard"];
    assert_after(&fields, &series, "asn=AS64500 direction=transmitted shard=4");
    let fields = ["action=hashmod", "source_labels=none", "modulus=1000", "target_label=shard"];
    assert_after(&fields, &[], "shard=958");
}

#[test]
fn case_changes_character_by_character() {
    let series = [("name", "Köln ßtraße I")];
    assert_after(
        &["action=uppercase", "source_labels=name", "target_label=up"],
        &series,
        "name=Köln ßtraße I up=KÖLN ßTRAßE I",
    );
    assert_after(
        &["action=Lowercase", "source_labels=name", "target_label=name"],
        &series,
        "name=köln ßtraße i",
    );
}

#[test]
fn label_actions_match_names() {
    let series = [("meta_a", "1"), ("meta_b", "2"), ("other", "3")];
    assert_after(
        &["action=labelmap", "regex=meta_(.*)"],
        &series,
        "a=1 b=2 meta_a=1 meta_b=2 other=3",
    );
    assert_after(
        &["action=labelmap", "regex=(meta)_.*", "replacement=${1}_x"],
        &series,
        // The last one wins.
        "meta_a=1 meta_b=2 meta_x=2 other=3",
    );
    assert_after(&["action=labeldrop", "regex=meta_.*"], &series, "other=3");
    assert_after(&["action=labelkeep", "regex=meta_.|__name__"], &series, "meta_a=1 meta_b=2");
    // A dropped name drops the series.
    assert_eq!(after(&[&["action=labelkeep", "regex=other"]], &series), None);
    // Unlike targets before a scrape, labels with underscores stay.
    assert_after(&["target_label=__tmp", "replacement=1"], &[], "__tmp=1");
}

#[test]
fn rules_see_what_the_ones_before_them_did() {
    let rules: [&[&str]; 4] = [
        &["source_labels=a", "target_label=__tmp", "replacement=<$1>"],
        &["source_labels=__tmp", "target_label=b"],
        &["action=labeldrop", "regex=__tmp|a"],
        &["action=keep", "source_labels=b", "regex=<1>"],
    ];
    assert_eq!(after(&rules, &[("a", "1")]).as_deref(), Some("b=<1>"));
    assert_eq!(after(&rules, &[("a", "2")]), None);
}

#[test]
fn of_the_labels_that_labelmap_gives_one_name_the_one_written_last_wins() {
    // To Prometheus, labels that a rule has written come after the others, whatever their names.
    let rules: [&[&str]; 2] = [
        &["target_label=x_a", "replacement=written"],
        &["action=labelmap", "regex=x_.", "replacement=got"],
    ];
    let series = [("x_a", "old"), ("x_b", "2")];
    assert_eq!(after(&rules, &series).as_deref(), Some("got=written x_a=written x_b=2"));
}

#[test]
fn a_pattern_means_what_it_means_to_re2() {
    let matches = |pattern: &str, text: &str| Pattern::new(pattern).expect(pattern).is_match(text);
    // Perl's classes and boundaries know ASCII alone.
    assert!(matches(r"\w+", "aZ_9") && !matches(r"\w+", "é"));
    assert!(matches(r"\W", "é") && !matches(r"\d", "٣") && matches(r"\D", "٣"));
    assert!(matches(r"[\w-]+", "a-b") && !matches(r"[^\W]+", "é") && matches(r"[\s\d]+", "1 \t"));
    assert!(!matches(r"\s", "\u{b}") && !matches(r"\s", "\u{a0}") && matches(r"\S", "\u{a0}"));
    assert!(matches(r"a\bé", "aé") && !matches(r"a\Bé", "aé") && matches(r"é\Bü", "éü"));
    // Others know Unicode.
    assert!(matches(r"\pL\p{Greek}", "éλ") && matches("(?i)ä", "Ä"));
    assert!(matches("a.b", "a\nb"));
    assert!(matches(r"\<a\>", "<a>"));
    assert!(matches("", "") && !matches("", "a"));
    // The one part of RE2's syntax that is missing is refused, not taken for something else.
    assert!(Pattern::new(r"\Qa.b\E").is_err());
}

#[test]
fn what_prometheus_refuses_is_refused() {
    for (fields, expected) in [
        (&["action=relabel"][..], "no action \"relabel\""),
        (&["action=replace"], "needs a target_label"),
        (&["action=lowercase", "source_labels=a"], "needs a target_label"),
        (&["target_label=a-b"], "\"a-b\" is not the name"),
        (&["target_label=0${3}"], "\"0${3}\" is not the name"),
        (&["target_label=${"], "\"${\" is not the name"),
        (&["action=lowercase", "target_label=${1}"], "\"${1}\" is not the name"),
        (&["action=lowercase", "target_label=a", "replacement=b"], "takes no replacement"),
        (&["action=hashmod", "target_label=a"], "modulus above 0"),
        (&["action=hashmod", "target_label=a", "modulus=0"], "modulus above 0"),
        (&["action=labelmap", "replacement=$1-"], "\"${1}-\" is not the name"),
        (&["action=keepequal", "target_label=a", "regex=b"], "takes no regex"),
        (&["action=labeldrop", "source_labels=a"], "takes no source_labels"),
        (&["action=keep", "regex=("], "unclosed group"),
        (&["action=keep", "regex=(?=a)"], "\"(?=a)\""),
    ] {
        let error = RelabelRule::try_from(text(fields)).expect_err("refused").to_string();
        assert!(error.contains(expected), "{fields:?}: {error}");
        assert!(!error.contains('\n'), "{error}");
    }
    // A field with its default value counts as not given.
    rule(text(&["action=keepequal", "target_label=a", "regex=(.*)", "separator=;"]));
}

/// Rules of all kinds, over few labels so that they meet.
fn any_rule() -> impl Strategy<Value = RelabelRule> {
    let name = || prop::sample::select(vec!["a", "b", "c", "d", METRIC_NAME]);
    let regex = || prop::sample::select(vec!["(.*)", "a?", "[ab]", "", "x.*", "(a)|(b)"]);
    let replacement = || prop::sample::select(vec!["$1", "", "z", "${2}y", "b"]);
    let action = prop::sample::select(vec![
        "replace",
        "keep",
        "drop",
        "hashmod",
        "lowercase",
        "labelmap",
        "labeldrop",
        "labelkeep",
    ]);
    (action, prop::collection::vec(name(), 0..3), name(), regex(), replacement()).prop_filter_map(
        "not refused",
        |(action, sources, target, regex, replacement)| {
            let sources = sources.into_iter().map(str::to_owned).collect();
            let fields = RelabelText {
                source_labels: (!action.starts_with("labeld") && action != "labelkeep")
                    .then_some(sources),
                target_label: (!action.starts_with("label")).then(|| target.to_owned()),
                regex: Some(regex.to_owned()),
                modulus: (action == "hashmod").then_some(5),
                replacement: ["replace", "labelmap"]
                    .contains(&action)
                    .then(|| replacement.to_owned()),
                action: Some(action.to_owned()),
                ..RelabelText::default()
            };
            RelabelRule::try_from(fields).ok()
        },
    )
}

proptest! {
    #[test]
    fn whatever_the_rules_the_labels_are_fit_to_be_sent(
        rules in prop::collection::vec(any_rule(), 0..6),
        pairs in prop::collection::btree_map("[a-d]", "[abx]{0,2}", 0..4),
    ) {
        let mut series: Vec<(String, String)> = pairs.into_iter().collect();
        series.push((METRIC_NAME.to_owned(), "x".to_owned()));
        series.sort();
        if apply(&rules, &mut series) {
            prop_assert!(series.windows(2).all(|pair| pair[0].0 < pair[1].0), "{:?}", series);
            prop_assert!(series.iter().all(|(name, value)| is_label_name(name) && !value.is_empty()));
            prop_assert!(series.iter().any(|(name, _)| name == METRIC_NAME));
        }
    }
}

#[test]
fn a_series_whose_labels_grow_beyond_the_bound_is_dropped() {
    let doubles: &[&str] =
        &["source_labels=a,a", "separator=", "regex=(.*)", "target_label=a", "replacement=$1"];
    let value = "v".repeat(1000);
    let grown = |rules: usize| after(&vec![doubles; rules], &[("a", &value)]);
    assert_eq!(grown(6), Some(format!("a={}", "v".repeat(64_000))));
    assert_eq!(grown(7), None);
    // As many as no memory would hold the result of.
    assert_eq!(grown(60), None);
}
