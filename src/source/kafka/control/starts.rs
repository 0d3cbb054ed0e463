//! Where partitions begin: offsets that Kafka resolves.

use rdkafka::{Offset, TopicPartitionList, consumer::Consumer};

use crate::source::kafka::{config::StartOffset, right::Right};

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
            StartOffset::At(time) => Offset::Offset(time.get()),
        };
        list.add_partition_offset(&self.config.topic, partition, offset)
            .expect("the list takes any offset that is not stored");
    }

    /// The offsets behind what [`Control::ask_for`] asked for. Kafka answers the end, the
    /// beginning and times by the same request (`ListOffsets`, special timestamps -1 and -2).
    pub(super) fn resolve(&self, asked: &TopicPartitionList) -> Result<Vec<(i32, i64)>, Trouble> {
        let topic = &self.config.topic;
        let answer = self
            .consumer
            .offsets_for_times(asked.clone(), ANSWER_LIMIT)
            .map_err(|error| self.unanswered(error))?;
        let mut starts = Vec::new();
        for element in answer.elements() {
            let partition = element.partition();
            let error = element.error().err().and_then(|error| error.rdkafka_error_code());
            if let Some(right) = error.and_then(Right::missing) {
                return Err(self.denied(right));
            }
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                // No message is as young as the time asked for: begin with the next one.
                Offset::End => {
                    match self.consumer.fetch_watermarks(topic, partition, ANSWER_LIMIT) {
                        Ok((_, end)) => end,
                        Err(error) => return Err(self.unanswered(error)),
                    }
                }
                // An error of this partition alone, such as one without a leader: later again.
                _ => continue,
            };
            if error.is_none() {
                starts.push((partition, offset));
            }
        }
        Ok(starts)
    }
}
