//! librdkafka's mock cluster, in this process.

use rdkafka::{ClientConfig, mocking::MockCluster, producer::DefaultProducerContext};

use crate::produce::Producer;

pub const TOPIC: &str = "pmacct.acct";

pub type Cluster = MockCluster<'static, DefaultProducerContext>;

/// A cluster of one broker with [`TOPIC`].
pub fn cluster(partitions: i32) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, partitions, 1).unwrap();
    cluster
}

/// Settings for a client of the cluster.
pub fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    config
}

/// A producer for [`TOPIC`].
pub fn producer(cluster: &Cluster) -> Producer {
    Producer::new(&client(cluster), TOPIC)
}
