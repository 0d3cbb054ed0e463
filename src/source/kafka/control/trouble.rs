//! What keeps us from reading, and how an operator is told.

use rdkafka::{
    consumer::Consumer,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::source::kafka::right::Right;

use super::Control;

/// Why the topic, or a part of it, can't be read for now.
#[derive(Debug)]
pub(in crate::source::kafka) enum Trouble {
    /// No broker answers.
    Silent(KafkaError),
    /// The topic is not there.
    NoTopic,
    /// A right is missing.
    Denied(Right),
    /// Some partitions can't be read, in words for the operator; others are.
    Lacking(String),
    /// Anything else, in words for the operator.
    Other(String),
}

impl Control {
    /// What a failed question means.
    pub(super) fn unanswered(&self, error: KafkaError) -> Trouble {
        match error.rdkafka_error_code().and_then(Right::missing) {
            Some(right) => self.denied(right),
            None => Trouble::Silent(error),
        }
    }

    /// Counts that a question was refused.
    pub(super) fn denied(&self, right: Right) -> Trouble {
        self.consumer.context().count(match right {
            Right::Topic => RDKafkaErrorCode::TopicAuthorizationFailed,
            Right::Group => RDKafkaErrorCode::GroupAuthorizationFailed,
        });
        Trouble::Denied(right)
    }

    /// A trouble in words for the operator: what is the matter, and what to do.
    pub(super) fn explain(&self, trouble: &Trouble) -> String {
        let (brokers, topic) = (&self.config.brokers, &self.config.topic);
        match trouble {
            Trouble::Silent(error) => self.unreachable(&error.to_string()),
            Trouble::NoTopic if self.released.is_empty() => format!(
                "waiting for topic {topic}: no such topic on {brokers} yet; it will be read from \
                 its beginning once it is there. Check --topic and that the collector writes to it"
            ),
            Trouble::NoTopic => format!(
                "waiting for topic {topic}: it does not exist on {brokers} any more; it is read on \
                 as soon as it is there again. Create it, or check who deletes it"
            ),
            Trouble::Denied(Right::Topic) => format!(
                "{}. Reading goes on then by itself, and samples wait for it",
                Right::Topic.explain(&self.config)
            ),
            Trouble::Denied(Right::Group) => format!(
                "{}. All goes on then by itself; until then nothing is committed",
                Right::Group.explain(&self.config)
            ),
            Trouble::Lacking(text) | Trouble::Other(text) => text.clone(),
        }
    }

    /// That no broker answers, in words. What is known of connections says more than `error`, which
    /// most often is that time is up.
    pub(super) fn unreachable(&self, error: &str) -> String {
        let reason = self.consumer.context().connections.reason();
        format!(
            "waiting for the Kafka brokers {}: {}. Check --brokers, that they run, and, for TLS and \
             SASL, --kafka-config",
            self.config.brokers,
            reason.as_deref().unwrap_or(error)
        )
    }
}
