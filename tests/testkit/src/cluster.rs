//! librdkafka's mock cluster, with a topic for flows and what writes to it.

use rdkafka::{ClientConfig, mocking::MockCluster, producer::DefaultProducerContext};

use crate::produce::Producer;

pub const TOPIC: &str = "pmacct.acct";

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster of one broker that has the topic, with so many partitions.
pub fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

/// The settings of a client of the cluster.
pub fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config
}

/// What writes to the topic.
pub fn producer(cluster: &Cluster) -> Producer {
    Producer::new(&client(cluster), TOPIC)
}
