//! Where partitions begin: offsets that Kafka resolves.

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::source::kafka::config::{KafkaConfig, StartOffset};

use super::{ANSWER_LIMIT, Control, Trouble};

impl Control {
    pub(super) fn ask_for(
        &self,
        list: &mut TopicPartitionList,
        partition: i32,
        start: StartOffset,
    ) {
        let offset = match start {
            StartOffset::Stored | StartOffset::Latest => Offset::End,
            StartOffset::Earliest => Offset::Beginning,
            StartOffset::At(time_ms) => Offset::Offset(time_ms),
        };
        list.add_partition_offset(&self.config.topic, partition, offset)
            .expect("the list takes any offset that is not stored");
    }

    /// The offsets behind what [`Control::ask_for`] asked for. Kafka answers the end, the
    /// beginning and times by the same request (`ListOffsets`, special timestamps -1 and -2).
    pub(super) fn resolve(&self, asked: &TopicPartitionList) -> Result<Vec<(i32, i64)>, Trouble> {
        let KafkaConfig { brokers, topic, .. } = &self.config;
        let answer = self
            .consumer
            .offsets_for_times(asked.clone(), ANSWER_LIMIT)
            .map_err(|error| self.unreachable(brokers, &error))?;
        let mut starts = Vec::new();
        for element in answer.elements() {
            let partition = element.partition();
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // No message is as young as the time asked for: begin with the next one.
                Offset::End => {
                    match self.consumer.fetch_watermarks(topic, partition, ANSWER_LIMIT) {
                        Ok((_, end)) => end,
                        Err(error) => return Err(self.unreachable(brokers, &error)),
                    }
                }
                // An error of this partition alone, such as one without a leader: later again.
                _ => continue,
            };
            if element.error().is_ok() {
                starts.push((partition, offset));
            }
        }
        Ok(starts)
    }
}
