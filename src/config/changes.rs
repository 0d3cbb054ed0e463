//! What differs between two configurations: a reload applies some of it and refuses the rest.

use std::{collections::BTreeSet, fmt};

use super::{
    collector::CollectorSettings,
    setting::Setting,
    source::{KafkaSettings, SourceConfig},
};

/// Settings that differ and can't be changed while the program runs, by where they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fixed(Vec<String>);

impl Fixed {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Notes a setting if it differs.
    pub(super) fn compare<T: PartialEq>(&mut self, old: &Setting<T>, new: &Setting<T>) {
        if old != new {
            // A setting that is gone was given in the old configuration alone.
            let origin = if new.origin.is_given() { &new.origin } else { &old.origin };
            self.0.push(origin.to_string());
        }
    }

    /// Notes what differs between two sources of flows.
    pub(super) fn compare_sources(&mut self, old: &SourceConfig, new: &SourceConfig) {
        match (old, new) {
            (SourceConfig::Kafka(old), SourceConfig::Kafka(new)) => self.compare_kafka(old, new),
            (
                SourceConfig::Input { input: old, exit_at_end: old_end },
                SourceConfig::Input { input: new, exit_at_end: new_end },
            ) => {
                self.compare(old, new);
                self.compare(old_end, new_end);
            }
            (old, new) => {
                if old != new {
                    self.0.push("the source of flows".to_owned());
                }
            }
        }
    }

    /// Notes what differs between two collectors.
    pub(super) fn compare_collectors(
        &mut self,
        old: Option<&CollectorSettings>,
        new: Option<&CollectorSettings>,
    ) {
        match (old, new) {
            (Some(old), Some(new)) => {
                // How sFlow is counted and whose flows are can change. The demo's is no setting of the
                // collector's.
                let CollectorSettings {
                    listen,
                    allow,
                    receive_buffer,
                    sflow: _,
                    netflow_names_exporters: _,
                    demo: _,
                } = old;
                self.compare(listen, &new.listen);
                self.compare(allow, &new.allow);
                self.compare(receive_buffer, &new.receive_buffer);
            }
            (Some(one), None) | (None, Some(one)) => self.0.push(one.listen.origin.to_string()),
            (None, None) => {}
        }
    }

    fn compare_kafka(&mut self, old: &KafkaSettings, new: &KafkaSettings) {
        self.compare(&old.brokers, &new.brokers);
        self.compare(&old.topic, &new.topic);
        self.compare(&old.partitions, &new.partitions);
        self.compare(&old.group, &new.group);
        self.compare(&old.start, &new.start);
        let keys: BTreeSet<&str> = [old, new]
            .iter()
            .flat_map(|kafka| &kafka.settings)
            .map(|setting| setting.value.key.as_str())
            .collect();
        for key in keys {
            match (old.setting(key), new.setting(key)) {
                (Some(old), Some(new)) => self.compare(old, new),
                (Some(one), None) | (None, Some(one)) => self.0.push(one.origin.to_string()),
                (None, None) => {}
            }
        }
    }
}

/// The settings, separated by semicolons.
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("; "))
    }
}
