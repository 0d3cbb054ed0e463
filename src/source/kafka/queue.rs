//! A partition's own queue in librdkafka, read in batches without copying.
//!
//! This is the only module of the library with unsafe code; the program has a little in `waits.rs`
//! and `signals.rs`. `rdkafka` wraps these
//! queues, but returns messages one by one, each in an event; for messages of this size, librdkafka's
//! batch call costs about half of that. The calls below rely on what rdkafka.h promises:
//!
//! - a queue made by `rd_kafka_queue_get_partition` is ours until `rd_kafka_queue_destroy`, and
//!   must be destroyed before its client: [`PartitionQueue`] holds the client;
//! - messages from `rd_kafka_consume_batch_queue` are ours until `rd_kafka_message_destroy`, and
//!   payload pointers are valid until then: [`Batch`] owns the messages and lends payloads;
//! - the callback of `rd_kafka_queue_cb_event_enable` runs under the queue's lock, so it can't run
//!   after the call that disables it has returned: its opaque pointer, the bell, lives in the
//!   `PartitionQueue`, which disables it first.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    fmt,
    ops::ControlFlow,
    os::raw::c_void,
    ptr::NonNull,
    slice,
    sync::Arc,
};

use rdkafka::{
    Offset, TopicPartitionList,
    bindings::{
        rd_kafka_clusterid, rd_kafka_commit_queue, rd_kafka_consume_batch_queue,
        rd_kafka_get_watermark_offsets, rd_kafka_mem_free, rd_kafka_message_destroy,
        rd_kafka_message_t, rd_kafka_message_timestamp, rd_kafka_position,
        rd_kafka_queue_cb_event_enable, rd_kafka_queue_destroy, rd_kafka_queue_forward,
        rd_kafka_queue_get_consumer, rd_kafka_queue_get_partition, rd_kafka_queue_length,
        rd_kafka_queue_t, rd_kafka_t,
    },
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::RDKafkaErrorCode,
    topic_partition_list::TopicPartitionListElem,
    types::RDKafkaRespErr,
};

use crate::clock::UnixMs;

use super::{bell::Bell, context::Context};

/// The queue of one partition, split off from the client's.
pub(super) struct PartitionQueue {
    partition: i32,
    queue: NonNull<rd_kafka_queue_t>,
    /// The callback's opaque pointer points to it.
    _bell: Arc<Bell>,
    /// Dropped after the queue, which must not outlive it.
    client: Arc<BaseConsumer<Context>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and the other fields are Send.
unsafe impl Send for PartitionQueue {}

impl fmt::Debug for PartitionQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionQueue").field("partition", &self.partition).finish_non_exhaustive()
    }
}

impl PartitionQueue {
    /// Splits off the partition's queue, so that its messages arrive here and nowhere else, and
    /// rings `bell` whenever it stops being empty. Call it before the partition is assigned.
    ///
    /// `None` if librdkafka knows no such partition.
    pub(super) fn split(
        client: Arc<BaseConsumer<Context>>,
        topic: &str,
        partition: i32,
        bell: Arc<Bell>,
    ) -> Option<Self> {
        let topic = CString::new(topic).ok()?;
        // SAFETY: client and topic are valid; a forward target of NULL ends forwarding; the opaque
        // pointer is valid until the callback is disabled (see the module's documentation).
        unsafe {
            let queue = NonNull::new(rd_kafka_queue_get_partition(
                client.client().native_ptr(),
                topic.as_ptr(),
                partition,
            ))?;
            rd_kafka_queue_forward(queue.as_ptr(), std::ptr::null_mut());
            rd_kafka_queue_cb_event_enable(
                queue.as_ptr(),
                Some(ring),
                Arc::as_ptr(&bell).cast_mut().cast(),
            );
            Some(PartitionQueue { partition, queue, _bell: bell, client })
        }
    }

    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    /// See [`position`].
    pub(super) fn position(&self, topic: &str) -> Option<i64> {
        position(&self.client, topic, self.partition)
    }

    /// Fills `batch`, which must be empty, with the messages in the queue; does not wait.
    pub(super) fn read(&self, batch: &mut Batch) {
        debug_assert!(batch.is_empty());
        // SAFETY: the queue is valid, and the array has room for as many messages as we say.
        let count = unsafe {
            rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                0,
                batch.messages.as_mut_ptr(),
                batch.messages.len(),
            )
        };
        // -1 would be an error, but this call never returns one.
        batch.filled = usize::try_from(count).unwrap_or(0);
        batch.taken = 0;
    }
}

impl Drop for PartitionQueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours and valid; the callback is disabled before the bell is dropped.
        unsafe {
            rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, std::ptr::null_mut());
            rd_kafka_queue_destroy(self.queue.as_ptr());
        }
    }
}

unsafe extern "C" fn ring(_client: *mut rd_kafka_t, bell: *mut c_void) {
    // SAFETY: `PartitionQueue::split` passed a pointer to a bell that outlives the callback.
    unsafe { &*bell.cast::<Bell>() }.ring();
}

/// Messages taken from a queue at once.
pub(super) struct Batch {
    /// Those from `taken` up to `filled` are messages that we own; the others are not valid.
    messages: Box<[*mut rd_kafka_message_t]>,
    taken: usize,
    filled: usize,
}

/// An entry of a queue.
pub(super) enum Item<'a> {
    Message {
        offset: i64,
        /// Its timestamp; `None` if it has none.
        time: Option<UnixMs>,
        payload: &'a [u8],
    },
    /// An error in place of a message, with the offset that librdkafka was about to fetch.
    Error { error: RDKafkaErrorCode, offset: i64 },
}

// SAFETY: the messages are ours alone, and may be destroyed on any thread.
unsafe impl Send for Batch {}

impl Batch {
    /// An empty batch for at most `size` messages.
    pub(super) fn new(size: usize) -> Self {
        Batch { messages: vec![std::ptr::null_mut(); size].into(), taken: 0, filled: 0 }
    }

    /// Whether everything that was read has been taken.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.filled
    }

    /// Returns everything that is left to librdkafka, unread.
    pub(super) fn clear(&mut self) {
        self.drain(|_| ControlFlow::Continue(()));
    }

    /// Gives the messages to `take`, in order, until it breaks: that message and those behind it
    /// stay. Each one that is taken is returned to librdkafka. Returns how many were taken.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Item<'_>) -> ControlFlow<()>) -> usize {
        let before = self.taken;
        while self.taken < self.filled {
            let message = self.messages[self.taken];
            // SAFETY: the pointer came from `rd_kafka_consume_batch_queue`, and is valid until it
            // is destroyed below, after the borrow of its payload has ended.
            let item = unsafe {
                let view = &*message;
                match view.err {
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
                        let payload = if view.payload.is_null() {
                            &[]
                        } else {
                            slice::from_raw_parts(view.payload.cast::<u8>(), view.len)
                        };
                        let time = rd_kafka_message_timestamp(message, std::ptr::null_mut());
                        let time = (time >= 0).then_some(UnixMs::new(time));
                        Item::Message { offset: view.offset, time, payload }
                    }
                    error => Item::Error { error: error.into(), offset: view.offset },
                }
            };
            if take(item).is_break() {
                break;
            }
            self.taken += 1;
            // SAFETY: as above; it is destroyed only once, since `taken` has moved past it. After a
            // panic in `take`, it and the rest are destroyed with the batch.
            unsafe { rd_kafka_message_destroy(message) };
        }
        self.taken - before
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("taken", &self.taken)
            .field("filled", &self.filled)
            .finish_non_exhaustive()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.clear();
    }
}

/// The offset up to which librdkafka has given us a partition, past offsets without messages (such
/// as transaction markers). An error that it gave counts as an offset too, so this is good for
/// watermarks, not for counting. `None` if it is not known.
pub(super) fn position<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    // SAFETY: client and list are valid for the duration of the call, which asks no broker.
    let error = unsafe { rd_kafka_position(client.client().native_ptr(), list.ptr()) };
    match list.elements().first().map(TopicPartitionListElem::offset) {
        Some(Offset::Offset(offset)) if error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
            Some(offset)
        }
        _ => None,
    }
}

/// The partition's end as the last fetch told it: the offset after its newest message. Asks
/// no broker; `None` before the first fetch and after one that was refused.
pub(super) fn known_end<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
) -> Option<i64> {
    let topic = CString::new(topic).ok()?;
    let (mut low, mut high) = (-1, -1);
    // SAFETY: client, topic and both targets are valid for the duration of the call.
    let error = unsafe {
        rd_kafka_get_watermark_offsets(
            client.client().native_ptr(),
            topic.as_ptr(),
            partition,
            &raw mut low,
            &raw mut high,
        )
    };
    (error == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR && high >= 0).then_some(high)
}

/// The id of the cluster, as brokers named it last. Asks nobody. (`rdkafka`'s own call never frees
/// what it is given.)
pub(super) fn cluster_id<C: ConsumerContext>(client: &BaseConsumer<C>) -> Option<String> {
    let client = client.client().native_ptr();
    // SAFETY: the client is valid; what it returns is a string that is ours to free, or NULL.
    unsafe {
        let id = rd_kafka_clusterid(client, 0);
        if id.is_null() {
            return None;
        }
        let text = CStr::from_ptr(id).to_string_lossy().into_owned();
        rd_kafka_mem_free(client, id.cast());
        Some(text)
    }
}

/// Whether the consumer's own queue holds events for its next poll.
pub(super) fn has_events(client: &BaseConsumer<Context>) -> bool {
    // SAFETY: the client is valid, and the reference to its queue is released.
    unsafe {
        let queue = rd_kafka_queue_get_consumer(client.client().native_ptr());
        if queue.is_null() {
            return false;
        }
        let length = rd_kafka_queue_length(queue);
        rd_kafka_queue_destroy(queue);
        length > 0
    }
}

/// Commits offsets to the consumer's group without waiting. The result is passed to the context's
/// `commit_callback` by one of the next polls; after `rdkafka`'s own call it never is.
pub(super) fn commit(
    client: &BaseConsumer<Context>,
    offsets: &TopicPartitionList,
) -> Result<(), RDKafkaErrorCode> {
    let client = client.client().native_ptr();
    // SAFETY: client and offsets are valid for the duration of the call, which copies the offsets;
    // librdkafka keeps the consumer's queue until the answer has arrived, so our reference can be
    // released. Without a callback, the answer is an event of that queue.
    let error = unsafe {
        let queue = rd_kafka_queue_get_consumer(client);
        if queue.is_null() {
            return Err(RDKafkaErrorCode::UnknownGroup);
        }
        let error = rd_kafka_commit_queue(client, offsets.ptr(), queue, None, std::ptr::null_mut());
        rd_kafka_queue_destroy(queue);
        error
    };
    match error {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        error => Err(error.into()),
    }
}
