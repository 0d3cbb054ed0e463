//! Rights that Kafka's authorizer may refuse us, and how to grant them.

use rdkafka::error::RDKafkaErrorCode;

/// What we need a right for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// To read the topic.
    Topic,
    /// To be a member of the group.
    Group,
}

impl Right {
    /// The right that is missing according to an error.
    pub(super) fn missing(code: RDKafkaErrorCode) -> Option<Self> {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => Some(Right::Topic),
            RDKafkaErrorCode::GroupAuthorizationFailed => Some(Right::Group),
            _ => None,
        }
    }

    /// Tells the operator that it is missing and how to grant it.
    pub(super) fn explain(self, brokers: &str, topic: &str, group: Option<&str>) -> String {
        let (kind, name) = match self {
            Right::Topic => ("topic", topic),
            Right::Group => ("group", group.unwrap_or_default()),
        };
        format!(
            "{brokers} deny access to {kind} {name}: READ is missing. Grant it to the user that \
             flow-exporter logs in as: kafka-acls.sh --bootstrap-server {brokers} --add \
             --allow-principal User:NAME --operation Read --{kind} {name}"
        )
    }
}
