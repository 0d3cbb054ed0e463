//! How brokers and partitions fare, shown as metrics and as the state of the source.

use rdkafka::consumer::Consumer;

use crate::health::State;

use super::{Control, LOG_WAITING, Trouble};

impl Control {
    /// Shows how brokers and partitions fare.
    pub(super) fn report(&self) {
        let context = self.consumer.context();
        for (partition, progress) in self.progress.all() {
            let labels = [self.config.topic.as_str(), &partition.to_string()];
            let next_offset = progress.next_offset();
            self.metrics.kafka_position.with_label_values(&labels).set(next_offset);
            let Some(end) = context.end(partition) else {
                // While we may not read it, nobody says where it ends.
                drop(self.metrics.kafka_lag.remove_label_values(&labels));
                continue;
            };
            let lag = (end - progress.read_to()).max(0);
            self.metrics.kafka_lag.with_label_values(&labels).set(lag);
            if lag > 0 {
                progress.ask_read_to();
            }
        }
        if self.config.group.is_some() {
            self.report_uncommitted();
        }
        let state = self.state();
        if let State::Failing(reason) = &state
            && LOG_WAITING.permit().is_some()
        {
            tracing::warn!("{reason}");
        }
        self.component.set(state);
    }

    fn state(&self) -> State {
        let connections = &self.consumer.context().connections;
        let lacked = self.faults.lacked();
        // The group's coordinator may leave a question unanswered that it refuses.
        let is_silent = matches!(self.trouble, Some(Trouble::Silent(_)));
        if let Some(trouble) = self.trouble.as_ref().filter(|_| !is_silent || lacked.is_none()) {
            let words = self.explain(trouble);
            // Connections take their time; that one has failed is known soon.
            let begins = is_silent
                && !self.topic.is_known()
                && connections.up().is_none()
                && connections.reason().is_none();
            return if begins { State::Starting(words) } else { State::Failing(words) };
        }
        if connections.up() == Some(0) {
            return State::Failing(self.unreachable("no connection stands"));
        }
        if let Some(right) = lacked {
            return State::Failing(self.explain(&Trouble::Denied(right)));
        }
        let topic = &self.config.topic;
        if let Some(group) = self.config.group.as_ref().filter(|_| !self.joined) {
            return State::Starting(format!(
                "joining group {group} for its share of topic {topic}"
            ));
        }
        if self.released.is_empty() {
            return State::Ready;
        }
        State::Degraded(format!(
            "topic {topic} does not have its partitions {:?} any more: it was recreated with fewer. \
             Give it as many as before if they are wanted; nothing waits for them",
            self.released
        ))
    }
}
