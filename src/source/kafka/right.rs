//! What Kafka's authorizer may refuse us, and how an operator is told.

use rdkafka::error::RDKafkaErrorCode;

/// Something that needs a right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// To read the topic.
    Topic,
    /// To be a member of the group.
    Group,
}

impl Right {
    /// What an error says is missing.
    pub(super) fn missing(code: RDKafkaErrorCode) -> Option<Self> {
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => Some(Right::Topic),
            RDKafkaErrorCode::GroupAuthorizationFailed => Some(Right::Group),
            _ => None,
        }
    }

    /// That it is missing, and how it is granted.
    pub(super) fn explain(self, brokers: &str, topic: &str, group: Option<&str>) -> String {
        let (kind, name) = match self {
            Right::Topic => ("topic", topic),
            Right::Group => ("group", group.unwrap_or_default()),
        };
        format!(
            "{brokers} refuse us {kind} {name}: we lack the right READ on it. Grant it to the user \
             that they take us for, as in kafka-acls.sh --bootstrap-server {brokers} --add \
             --allow-principal User:NAME --operation Read --{kind} {name}"
        )
    }
}
