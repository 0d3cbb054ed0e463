//! The demo: a Kafka broker inside this process, and simulated routers.
//!
//! Everything behind the broker is real: the demo's records are consumed, counted and published like
//! any others. `--produce-only` writes them to a real broker instead.

pub mod model;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer},
};

use crate::{
    health::{Component, State},
    threads,
};

use model::Model;

/// Partitions of the demo's topic.
const PARTITIONS: i32 = 4;
/// How often records are produced.
const PERIOD: Duration = Duration::from_millis(100);
/// The traffic that is produced at once, so that there is something to see.
const HEAD_START: Duration = Duration::from_secs(10);
/// The largest number of these records: the broker in this process stores little, and deletes what is
/// not read in time.
const HEAD_START_RECORDS: f64 = 20_000.0;
/// How long the last records may take to reach the broker.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// What traffic to generate, and where to write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DemoConfig {
    /// The AS whose traffic is generated.
    pub asn: u32,
    /// Flow records per second.
    pub rate: u32,
    /// The topic to write to.
    pub topic: String,
    /// The real broker to write to; without one, a broker inside this process.
    pub brokers: Option<String>,
}

/// A running demo.
pub struct Demo {
    /// Where its broker listens.
    pub brokers: String,
    stop: Arc<AtomicBool>,
    producer: JoinHandle<()>,
    component: Component,
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
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let routers = Model::new(config.asn, 1);
        let producer = threads::thread(component.lifeline("demo-routers"), move || {
            produce(&producer, routers, &config.topic, config.rate, &stopped);
        })
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        component.set(State::Ready);
        Ok(Demo { brokers, stop, producer, component, _cluster: cluster })
    }

    /// Stops the routers, then the broker.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.producer.thread().unpark();
        if self.producer.join().is_err() {
            tracing::error!("the demo's routers panicked");
        }
        self.component.finish();
    }
}

fn produce(producer: &BaseProducer, mut routers: Model, topic: &str, rate: u32, stop: &AtomicBool) {
    let mut record = Vec::with_capacity(512);
    let mut due = (f64::from(rate) * HEAD_START.as_secs_f64()).min(HEAD_START_RECORDS);
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        while due >= 1.0 && !stop.load(Ordering::Relaxed) {
            record.clear();
            routers.write_record(now, &mut record);
            let mut message = BaseRecord::<(), [u8]>::to(topic).payload(&record);
            while let Err((error, back)) = producer.send(message) {
                if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                    tracing::warn!("the demo's routers can't write to {topic}: {error}");
                    break;
                }
                producer.poll(PERIOD);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                message = back;
            }
            due -= 1.0;
        }
        producer.poll(Duration::ZERO);
        thread::park_timeout(PERIOD);
        due += last.elapsed().as_secs_f64() * f64::from(rate);
        last = Instant::now();
    }
    if let Err(error) = producer.flush(FLUSH_LIMIT) {
        tracing::debug!("the demo's last records did not reach the broker: {error}");
    }
}
