//! The demo: simulated routers, in front of everything else.
//!
//! By default, a Kafka broker inside this process has their records, as pmacct would write them;
//! `--produce-only` writes them to a real broker instead. With `--collect`, they are exporters that send
//! IPFIX to the collector. Everything behind that is real: the demo's flows are read, counted and
//! published like any others.

mod exporters;
pub mod model;
pub mod netflow;
mod routers;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};

use crate::health::Component;

pub use exporters::{Exporters, router_names};
use model::Model;
pub use routers::Traffic;
use routers::{PERIOD, Routers, SEED, pace};

/// Where the addresses of the demo's networks are said to be: a table of addresses in CSV. They are from ranges for
/// documentation, which no real table has in a country; these countries are those of the networks' operators.
pub const COUNTRIES: &str = include_str!("countries.csv");

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// The traffic that is produced at once, so that there is something to see.
const HEAD_START: Duration = Duration::from_secs(10);
/// The largest number of these records: the broker in this process stores little, and deletes what is
/// not read in time.
const HEAD_START_RECORDS: f64 = 20_000.0;
/// How long the last records may take to reach the broker.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What traffic to generate, and where in Kafka to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoConfig {
    /// The traffic.
    pub traffic: Traffic,
    /// The topic to write to.
    pub topic: String,
    /// The real broker to write to; without one, a broker inside this process.
    pub brokers: Option<String>,
}

/// A running demo with a broker.
pub struct Demo {
    /// Where its broker listens.
    pub brokers: String,
    routers: Routers<()>,
    _cluster: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl std::fmt::Debug for Demo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Demo").field("brokers", &self.brokers).finish_non_exhaustive()
    }
}

impl Demo {
    /// Starts the routers, and the broker if none is given.
    pub fn start(config: DemoConfig, component: Component) -> Result<Self, KafkaError> {
        let (cluster, brokers) = if let Some(brokers) = config.brokers {
            (None, brokers)
        } else {
            let cluster = MockCluster::new(1)?;
            cluster.create_topic(&config.topic, PARTITIONS, 1)?;
            let brokers = cluster.bootstrap_servers();
            (Some(cluster), brokers)
        };
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", &brokers)
            .set("linger.ms", "50")
            .set("compression.type", "lz4")
            .create()?;
        let Traffic { asn, rate } = config.traffic;
        let head_start = (f64::from(rate) * HEAD_START.as_secs_f64()).min(HEAD_START_RECORDS);
        let mut model = Model::new(asn, SEED);
        let routers = Routers::start(component, move |stop| {
            pace(rate, head_start, stop, |count, now| {
                produce(&producer, &mut model, &config.topic, count, now, stop);
            });
            if let Err(error) = producer.flush(FLUSH_LIMIT) {
                tracing::debug!("the demo's last records did not reach the broker: {error}");
            }
        })
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Demo { brokers, routers, _cluster: cluster })
    }

    /// Stops the routers, then the broker.
    pub fn stop(self) {
        self.routers.stop();
    }
}

/// Writes so many records.
fn produce(
    producer: &BaseProducer,
    model: &mut Model,
    topic: &str,
    count: u32,
    now: u64,
    stop: &AtomicBool,
) {
    let mut record = Vec::with_capacity(512);
    for _ in 0..count {
        record.clear();
        model.write_record(now, &mut record);
        let mut message = BaseRecord::<(), [u8]>::to(topic).payload(&record);
        while let Err((error, back)) = producer.send(message) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                tracing::warn!("the demo's routers can't write to {topic}: {error}");
                break;
            }
            producer.poll(PERIOD);
            if stop.load(Ordering::Relaxed) {
                return;
            }
            message = back;
        }
    }
    producer.poll(Duration::ZERO);
}
