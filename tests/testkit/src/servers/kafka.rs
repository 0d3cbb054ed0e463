//! Apache Kafka, one node.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
};
use tempfile::TempDir;

use crate::http;

use super::{Process, START_LIMIT, STOP_LIMIT, cached, unused_address, wait_for};

/// How long the broker may take for an answer, on a busy machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The user of the SASL listener.
const USER: &str = "flow-exporter";

/// How to connect to the listeners with SASL and with TLS.
pub struct Security {
    /// The SASL listener, `HOST:PORT`.
    pub sasl_brokers: String,
    /// The TLS listener, `HOST:PORT`.
    pub tls_brokers: String,
    /// The user's name.
    pub user: &'static str,
    /// The password for the mechanism PLAIN.
    pub plain_password: &'static str,
    /// The password for the mechanism SCRAM-SHA-256.
    pub scram_password: &'static str,
    /// The CA certificate, a PEM file.
    pub authority: PathBuf,
}

/// A Kafka broker.
pub struct Kafka {
    address: Ipv4Addr,
    process: Option<Process>,
    directory: TempDir,
    /// Set if the broker also has listeners with SASL and TLS.
    security: Option<Security>,
    /// Whether users who log in have no rights but those granted; anonymous users have all.
    authorizes: bool,
}

impl Kafka {
    /// Starts a broker.
    pub fn start() -> Self {
        let mut kafka = Self::stopped();
        kafka.up();
        kafka
    }

    /// Starts a broker that also has listeners with SASL and TLS.
    pub fn start_secured() -> Self {
        let mut kafka = Self::new(true, false);
        kafka.up();
        kafka
    }

    /// Starts a broker that also has listeners with SASL and TLS; users who log in have no rights
    /// until they are granted.
    pub fn start_authorizing() -> Self {
        let mut kafka = Self::new(true, true);
        kafka.up();
        kafka
    }

    /// A broker that is not started yet.
    pub fn stopped() -> Self {
        Self::new(false, false)
    }

    fn new(secured: bool, authorizes: bool) -> Self {
        let directory = TempDir::with_prefix("kafka-").expect("a temporary directory");
        let address = unused_address();
        let security = secured.then(|| Security {
            sasl_brokers: format!("{address}:9094"),
            tls_brokers: format!("{address}:9095"),
            user: USER,
            plain_password: "plain-secret",
            scram_password: "scram-secret",
            authority: make_certificates(directory.path(), address),
        });
        let kafka = Kafka { address, process: None, directory, security, authorizes };
        fs::write(kafka.properties(), kafka.settings()).expect("server.properties is written");
        let mut format = java("-XX:+UseSerialGC");
        format.args(["kafka.tools.StorageTool", "format", "--standalone"]);
        format.args(["-t", "b2V4cG9ydGVyLWUyZS1rYQ", "-c"]).arg(kafka.properties());
        if let Some(security) = &kafka.security {
            let credentials = format!("name={USER},password={}", security.scram_password);
            format.arg("--add-scram").arg(format!("SCRAM-SHA-256=[{credentials}]"));
        }
        run(&mut format);
        kafka
    }

    /// Starts the broker and waits until it answers.
    pub fn up(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let mut command = java("-Xmx1g");
        command.arg("kafka.Kafka").arg(self.properties());
        let log = self.directory.path().join("log");
        let mut process = Process::start("Kafka", &mut command, log);
        let client: BaseConsumer = self.client().create().expect("a Kafka client");
        wait_for("answer from Kafka", START_LIMIT, || {
            process.assert_running();
            let metadata = client.fetch_metadata(None, Duration::from_millis(500));
            let brokers = metadata.map_err(|error| error.to_string())?.brokers().len();
            (brokers > 0).then_some(()).ok_or_else(|| "it knows no broker yet".to_owned())
        });
        self.process = Some(process);
    }

    /// Stops the broker cleanly.
    pub fn stop(&mut self) {
        self.process.take().expect("the broker runs").terminate(STOP_LIMIT);
    }

    /// Kills the broker.
    pub fn kill(&mut self) {
        self.process.take().expect("the broker runs").kill();
    }

    /// The bootstrap server, `HOST:PORT`.
    pub fn brokers(&self) -> String {
        format!("{}:9092", self.address)
    }

    /// The bootstrap server's address.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// How to connect with SASL and with TLS.
    pub fn security(&self) -> &Security {
        self.security.as_ref().expect("a secured broker")
    }

    /// Creates a topic. Waits while one with this name is still being deleted.
    pub fn create_topic(&self, topic: &str, partitions: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        wait_for("new topic", ANSWER_LIMIT, || {
            let created = http::block_on(self.admin().create_topics([&new], &Self::options()));
            let created = created.expect("an answer from Kafka").remove(0);
            created.map(drop).map_err(|(_, error)| error.to_string())
        });
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, topic: &str) {
        let deleted = http::block_on(self.admin().delete_topics(&[topic], &Self::options()));
        deleted.expect("an answer from Kafka")[0].as_ref().expect("the topic is deleted");
    }

    /// Grants rights to [`USER`] (`--add`) or revokes them (`--remove --force`), with arguments of
    /// kafka-acls.
    pub fn change_rights(&self, words: &str) {
        let mut tool = java("-XX:+UseSerialGC");
        tool.args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.brokers()]);
        tool.arg(format!("--allow-principal=User:{USER}")).args(words.split_whitespace());
        run(&mut tool);
    }

    /// Deletes all messages of a partition, as retention does.
    pub fn delete_records(&self, topic: &str, partition: i32) {
        let mut ends = TopicPartitionList::new();
        ends.add_partition_offset(topic, partition, Offset::End).expect("a valid offset");
        let deleted = http::block_on(self.admin().delete_records(&ends, &Self::options()));
        let deleted = deleted.expect("an answer from Kafka");
        deleted.elements()[0].error().expect("the records are deleted");
    }

    /// Increases the number of a topic's partitions to `partitions`.
    pub fn grow_topic(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let grown = http::block_on(self.admin().create_partitions([&new], &Self::options()));
        grown.expect("an answer from Kafka")[0].as_ref().expect("the partitions are added");
    }

    /// The offset after the last message of a partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> i64 {
        let client: BaseConsumer = self.client().create().expect("a Kafka client");
        client.fetch_watermarks(topic, partition, ANSWER_LIMIT).expect("offsets from Kafka").1
    }

    /// The offset that a group has committed for a partition.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let client: BaseConsumer =
            self.client().set("group.id", group).create().expect("a Kafka client");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let committed = client.committed_offsets(list, ANSWER_LIMIT).expect("offsets from Kafka");
        match committed.elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Settings for a client of the tests.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a Kafka client")
    }

    fn options() -> AdminOptions {
        // With an operation timeout, the broker answers when the change is made.
        AdminOptions::new()
            .request_timeout(Some(ANSWER_LIMIT))
            .operation_timeout(Some(ANSWER_LIMIT))
    }

    fn properties(&self) -> PathBuf {
        self.directory.path().join("server.properties")
    }

    fn settings(&self) -> String {
        let (address, directory) = (self.address, self.directory.path().display());
        let (mut secured, mut more) = (String::new(), String::new());
        let authorizer = if self.authorizes {
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS\n"
        } else {
            ""
        };
        if let Some(security) = &self.security {
            let Security { sasl_brokers, tls_brokers, user, plain_password, .. } = security;
            secured = format!(",SASL_PLAINTEXT://{sasl_brokers},SSL://{tls_brokers}");
            let login = "org.apache.kafka.common.security";
            more = format!(
                "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256\n\
                 listener.name.sasl_plaintext.plain.sasl.jaas.config=\
                 {login}.plain.PlainLoginModule required user_{user}=\"{plain_password}\";\n\
                 listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
                 {login}.scram.ScramLoginModule required;\n\
                 ssl.keystore.type=PEM\n\
                 ssl.keystore.location={directory}/keystore.pem\n"
            );
        }
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.bootstrap.servers={address}:9093\n\
             listeners=CONTROLLER://{address}:9093,PLAINTEXT://{address}:9092{secured}\n\
             advertised.listeners=PLAINTEXT://{address}:9092{secured}\n\
             controller.listener.names=CONTROLLER\n\
             inter.broker.listener.name=PLAINTEXT\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,\
             SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL\n\
             log.dirs={directory}/data\n\
             auto.create.topics.enable=false\n\
             offsets.topic.num.partitions=1\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             log.retention.ms=-1\n\
             log.message.timestamp.before.max.ms=9223372036854775807\n\
             {more}{authorizer}"
        )
    }
}

/// A JVM with Kafka on its class path and one option; the caller adds the class.
fn java(setting: &str) -> Command {
    let mut command = Command::new("java");
    command.arg(setting).arg("-cp").arg(cached("kafka-4.1.0").join("*"));
    command
}

/// Makes a CA and a certificate for the broker's address, in `keystore.pem`. Returns the CA's file.
fn make_certificates(directory: &Path, address: Ipv4Addr) -> PathBuf {
    let openssl = |arguments: &str| {
        run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(directory));
    };
    let name = format!("subjectAltName=IP:{address}");
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=broker -addext {name} \
         -addext basicConstraints=CA:FALSE -CA ca.pem -CAkey ca.key -keyout server.key -out server.crt"
    ));
    let read = |name| fs::read_to_string(directory.join(name)).expect("openssl wrote the file");
    let keystore = read("server.key") + &read("server.crt");
    fs::write(directory.join("keystore.pem"), keystore).expect("keystore.pem is written");
    directory.join("ca.pem")
}

/// Runs a program, and fails the test if that fails.
fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
