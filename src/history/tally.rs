//! Adds up what a question asks for.
//!
//! Records are read twice: the first time for the sums of all rows, by which the heaviest are chosen, the
//! second time for the curves of these alone, so that memory does not depend on how many rows times points
//! there are.

use std::{cmp::Reverse, sync::Arc};

use hashbrown::HashMap;

use crate::{
    clock::{Millis, UnixMs},
    ledger::Cell,
    schema::Schema,
};

use super::{
    answer::{Answer, ClassCurves, ClassSums, Curve, Rest, Row, Sums, rate, unit},
    query::{Known, Query},
    record::{Growth, Record},
    ring::{Departed, Kept},
};

/// In place of a group: the series is not asked for.
const NOBODY: u32 = u32::MAX;

/// A row before it is known whether it is shown.
#[derive(Debug)]
struct Group {
    key: Arc<[Cell]>,
    is_other: bool,
    /// By class that is asked for, within the time of the rates.
    sums: Vec<[u128; 3]>,
    /// Of the measure, over the whole span.
    in_span: u128,
}

/// Which group each series belongs to.
struct Groups {
    all: Vec<Group>,
    /// By number of the series: the group's place times the number of classes, plus that of its class.
    of_series: Vec<u32>,
    classes: usize,
}

impl Groups {
    fn new(query: &Query<'_>, kept: &Kept) -> Self {
        let classes = query.classes.len();
        let of_series = vec![NOBODY; kept.numbers_end()];
        let mut groups = Groups { all: Vec::new(), of_series, classes };
        let mut index: HashMap<(bool, Arc<[Cell]>), u32> = HashMap::new();
        for (number, series) in kept.living() {
            if query.is_of_view(series.head) {
                groups.add(query, &mut index, number, &series);
            }
        }
        // Of a million series that have ended, few have a schema of their own.
        let mut views: Vec<(&Arc<Schema>, u8, bool)> = Vec::new();
        for (&number, series) in kept.departed.iter() {
            let Departed { schema, head, .. } = series;
            let known = views
                .iter()
                .find(|(known, view, _)| Arc::ptr_eq(known, schema) && *view == head.view);
            let is_of_view = if let Some((_, _, is_of_view)) = known {
                *is_of_view
            } else {
                let is_of_view = query.view.continues(schema.view(*head));
                views.push((schema, head.view, is_of_view));
                is_of_view
            };
            if is_of_view {
                groups.add(query, &mut index, number, series);
            }
        }
        groups
    }

    fn add(
        &mut self,
        query: &Query<'_>,
        index: &mut HashMap<(bool, Arc<[Cell]>), u32>,
        number: u32,
        series: &impl Known,
    ) {
        let Some(class) = query.class_of(series) else { return };
        let key = query.key(series);
        // A series for the rest may keep all that is asked for: then it is no row of its own.
        let is_other = key.contains(&Cell::Other);
        let Groups { all, classes, of_series } = self;
        let group = *index.entry((is_other, Arc::clone(&key))).or_insert_with(|| {
            let sums = vec![Default::default(); *classes];
            all.push(Group { key, is_other, sums, in_span: 0 });
            all.len() as u32 - 1
        });
        of_series[number as usize] = group * *classes as u32 + class as u32;
    }

    /// Visits what each series that is asked for grew by: the places of its group and class.
    fn each(&self, record: &Record, mut visit: impl FnMut(usize, usize, &[u64])) {
        record.each(|number, growth| {
            let of = self.of_series.get(number as usize).copied().unwrap_or(NOBODY);
            if of != NOBODY {
                visit(of as usize / self.classes, of as usize % self.classes, growth);
            }
        });
    }
}

/// The records from the newest back for at least this time.
fn newest(records: &[Arc<Record>], time: Millis) -> &[Arc<Record>] {
    let Some(last) = records.last() else { return records };
    let begin = last.to - time;
    let first = records.iter().rposition(|record| record.from <= begin).unwrap_or(0);
    &records[first..]
}

fn seconds(records: &[Arc<Record>]) -> f64 {
    // The sum of no numbers would be -0.
    records.iter().fold(0.0, |sum, record| sum + record.span().get() as f64 / 1e3)
}

/// The curves: what was counted of the measure, by point, row and class.
struct Points {
    /// The end of each point, and how long it is.
    ends: Vec<(UnixMs, Millis)>,
    /// By row, class and point.
    counted: Vec<Vec<Vec<u128>>>,
}

impl Points {
    /// The points at which records are to be shown; `records` are oldest first.
    fn of(records: &[Arc<Record>], step: Millis) -> (Vec<(UnixMs, Millis)>, Vec<usize>) {
        let mut ends: Vec<(UnixMs, Millis)> = Vec::new();
        let mut before = None;
        let places = records.iter().map(|record| {
            let of = (record.to - Millis::new(1)).floor(step);
            if before.replace(of) == Some(of)
                && let Some((to, span)) = ends.last_mut()
            {
                *to = record.to;
                *span = Millis::new(span.get() + record.span().get());
            } else {
                ends.push((record.to, record.span()));
            }
            ends.len() - 1
        });
        let places = places.collect();
        (ends, places)
    }

    fn curves(&self, query: &Query<'_>, row: usize) -> ClassCurves {
        let curve = |counted: &[u128]| {
            let rates = counted
                .iter()
                .zip(&self.ends)
                .map(|(&counted, (_, span))| rate(query.measure, counted, span.get() as f64 / 1e3));
            rates.collect()
        };
        let classes = query.classes.iter().zip(&self.counted[row]);
        classes.map(|(class, counted)| (class.name(), curve(counted))).collect()
    }
}

/// The answer to a question.
pub(super) fn answer(query: &Query<'_>, kept: &Kept) -> Answer {
    let asked = query.asked;
    let mut members = Groups::new(query, kept);
    let (records, since) = kept.of_view(query.place());
    let in_span = records.last().map_or(&[][..], |last| {
        let begin = last.to - asked.span;
        let first = records.iter().position(|record| record.to > begin).unwrap_or(0);
        &records[first..]
    });
    let over = newest(&records, asked.over);
    let over_seconds = seconds(over);
    let count = query.count;
    let mut groups = std::mem::take(&mut members.all);
    for record in over {
        members.each(record, |group, class, growth| {
            let sums = &mut groups[group].sums[class];
            sums.iter_mut().zip(growth).for_each(|(sum, more)| *sum += u128::from(*more));
        });
    }
    for record in in_span {
        members.each(record, |group, _, growth| {
            groups[group].in_span += growth.get(count).copied().map_or(0, u128::from);
        });
    }
    let chosen = choose(query, kept, &groups, count);

    // The places of rows; the last one is the rest.
    let rest = chosen.rows.len();
    let mut row_of = vec![rest; groups.len()];
    for (row, &group) in chosen.rows.iter().enumerate() {
        row_of[group] = row;
    }
    let (ends, places) = Points::of(in_span, asked.step);
    let counted = vec![vec![vec![0; ends.len()]; query.classes.len()]; rest + 1];
    let mut points = Points { ends, counted };
    for (record, point) in in_span.iter().zip(places) {
        members.each(record, |group, class, growth| {
            let counted = &mut points.counted[row_of[group]][class][point];
            *counted += growth.get(count).copied().map_or(0, u128::from);
        });
    }

    let none = vec![[0; 3]; query.classes.len()];
    let (mut total, mut outside) = (none.clone(), none);
    for (group, row) in groups.iter().zip(&row_of) {
        add(&mut total, &group.sums);
        if *row == rest {
            add(&mut outside, &group.sums);
        }
    }
    let whole = weight(&total, count);
    let share = |sums: &[[u128; 3]]| (whole > 0).then(|| weight(sums, count) as f64 / whole as f64);
    let sums = |sums: &[[u128; 3]]| class_sums(query, sums, over_seconds);
    let rows = chosen.rows.iter().enumerate().map(|(row, &group)| {
        let Group { key, is_other, sums: of, .. } = &groups[group];
        Row {
            values: query.values(key),
            names: names(query, kept, key),
            is_other: *is_other,
            share: share(of),
            classes: sums(of),
            curve: points.curves(query, row),
        }
    });
    let rows = rows.collect();
    let rest = Rest {
        rows: chosen.others,
        share: share(&outside),
        classes: sums(&outside),
        curve: points.curves(query, rest),
    };
    let mut whole_curve = vec![vec![0; points.ends.len()]; query.classes.len()];
    for row in &points.counted {
        for (sum, more) in whole_curve.iter_mut().flatten().zip(row.iter().flatten()) {
            *sum += more;
        }
    }
    points.counted.push(whole_curve);
    Answer {
        view: query.view.name().to_owned(),
        by: asked.by.clone(),
        classes: query.classes.iter().map(|class| class.name()).collect(),
        measure: query.measure.name(),
        time: kept.time.map(UnixMs::seconds),
        since: since.map(UnixMs::seconds),
        over_seconds,
        total: sums(&total),
        curve: Curve {
            time: points.ends.iter().map(|(end, _)| end.seconds()).collect(),
            seconds: points.ends.iter().map(|(_, span)| span.get() as f64 / 1e3).collect(),
            unit: unit(query.measure),
            classes: points.curves(query, points.counted.len() - 1),
        },
        rows,
        rest,
    }
}

/// Which rows are shown.
struct Chosen {
    /// The places of their groups, the heaviest first.
    rows: Vec<usize>,
    /// How many others counted something.
    others: usize,
}

fn choose(query: &Query<'_>, kept: &Kept, groups: &[Group], count: usize) -> Chosen {
    let counted_something =
        |group: &Group| group.in_span > 0 || group.sums.iter().flatten().any(|&sum| sum > 0);
    let mut rows: Vec<usize> =
        (0..groups.len()).filter(|&group| counted_something(&groups[group])).collect();
    let all = rows.len();
    if query.by.is_empty() {
        return Chosen { rows: Vec::new(), others: all };
    }
    let search = query.asked.search.to_lowercase();
    if !search.is_empty() {
        let occurs = |text: &str| text.to_lowercase().contains(&search);
        rows.retain(|&group| {
            let key = &groups[group].key;
            query.values(key).iter().any(|value| occurs(value))
                || names(query, kept, key).iter().flatten().any(|name| occurs(name))
        });
    }
    let heaviest = |&group: &usize| {
        let Group { key, sums, in_span, .. } = &groups[group];
        (Reverse(weight(sums, count)), Reverse(*in_span), key)
    };
    let limit = query.asked.limit.min(rows.len());
    if limit == 0 {
        rows.clear();
    } else {
        // Only those that are shown need to be in order.
        rows.select_nth_unstable_by_key(limit - 1, heaviest);
        rows.truncate(limit);
        rows.sort_unstable_by_key(heaviest);
    }
    let others = all - rows.len();
    Chosen { rows, others }
}

/// The names of ASes among the values of a row.
fn names(query: &Query<'_>, kept: &Kept, key: &[Cell]) -> Vec<Option<String>> {
    let name =
        |(at, cell)| query.as_number(at, cell).map(|asn| kept.newest.as_name(asn).to_owned());
    key.iter().enumerate().map(name).collect()
}

fn add(to: &mut [[u128; 3]], sums: &[[u128; 3]]) {
    for (to, sum) in to.iter_mut().flatten().zip(sums.iter().flatten()) {
        *to += sum;
    }
}

/// What counts for the order of rows.
fn weight(sums: &[[u128; 3]], count: usize) -> u128 {
    sums.iter().map(|of_class| of_class[count]).sum()
}

fn class_sums(query: &Query<'_>, sums: &[[u128; 3]], seconds: f64) -> ClassSums {
    let of_class = |sums: &[u128; 3]| Sums {
        counted: query.view.measures().iter().copied().zip(sums.iter().copied()).collect(),
        seconds,
    };
    let classes = query.classes.iter().zip(sums);
    classes.map(|(class, sums)| (class.name(), of_class(sums))).collect()
}

const _: () = assert!(size_of::<Growth>() == 24, "a group has a sum for each measure");
