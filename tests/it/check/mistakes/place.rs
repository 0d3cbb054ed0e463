//! What the mistakes run into: brokers, servers, files, routers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use openssl::ssl::{SslAcceptor, SslMethod};
use rdkafka::{
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, Producer as _},
    types::{RDKafkaApiKey, RDKafkaRespErr},
};
use tempfile::TempDir;
use testkit::{
    certificates::{Authority, certificate, elliptic_key},
    cluster::{Cluster, client},
    exporter::program,
    netflow::{V5, V5Flow},
    receiver::{Answer, Receiver},
    servers::unused_address,
};

/// What the mistakes run into.
pub(super) struct Place {
    pub(super) names: Names,
    _clusters: [Cluster; 4],
    _receivers: [Receiver; 4],
    /// They have ports that others want.
    _sockets: (TcpListener, UdpSocket),
}

/// What stands in documents, and what it is in the test.
pub(super) struct Names {
    pairs: Vec<(&'static str, String)>,
    /// With files that arguments name.
    directory: TempDir,
}

/// A flow, of this AS.
fn flow(ases: &str) -> String {
    format!(r#"{{"label": "edge1", {ases} "packets": 1, "bytes": 1000}}"#)
}

/// A server that handles each connection like this, until the test ends.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            handle(stream.unwrap());
        }
    });
    address
}

fn tls_server() -> SocketAddr {
    let key = elliptic_key();
    let authority = Authority::new();
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_certificate(&certificate("127.0.0.1", &key, Some(&authority))).unwrap();
    builder.set_private_key(&key).unwrap();
    let acceptor = builder.build();
    serve(move |stream| {
        // Nobody gets further than the handshake.
        drop(acceptor.accept(stream));
    })
}

fn cluster(topics: &[(&str, i64, &[Vec<u8>])]) -> Cluster {
    let cluster = MockCluster::new(1).unwrap();
    for (topic, ..) in topics {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let producer: BaseProducer = client(&cluster).create().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    for (topic, age, messages) in topics {
        for payload in *messages {
            let time = i64::try_from(now).unwrap() - age;
            let record = BaseRecord::<(), [u8]>::to(topic).payload(payload).timestamp(time);
            producer.send(record).unwrap();
        }
    }
    producer.flush(Duration::from_secs(60)).unwrap();
    cluster
}

/// Files that arguments name.
fn write_files(directory: &Path) {
    for (name, text) in [
        ("one.json", flow(r#""as_src": 64512, "as_dst": 15169,"#)),
        (
            "typo.yml",
            "remote_write:\n- url: http://prometheus:9090/api/v1/write\n  remote_timout: 30s\n"
                .to_owned(),
        ),
        ("tab.yml", "views:\n\tflow: {}\n".to_owned()),
        ("allow.yml", "collector: {allow: [198.51.100.0/24]}\n".to_owned()),
        ("asn.txt", "Our networks\n".to_owned()),
        ("web.yml", "basic_auth_users:\n  prometheus: wonderland\n".to_owned()),
    ] {
        fs::write(directory.join(name), text).unwrap();
    }
}

/// A flow that counts.
fn good() -> String {
    flow(r#""as_src": 15169, "as_dst": 64512, "ip_src": "8.8.8.8", "ip_dst": "192.0.2.1","#)
}

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Topics with what is written to them by mistake, and one with flows.
fn topics() -> Cluster {
    let good = good();
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(good.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let lz4 = [&[4, 0x22, 0x4d, 0x18, 0x64, 0x40, 0xa7][..], good.as_bytes()].concat();
    let avro = vec![10, b'e', b'd', b'g', b'e', b'1', 2, 0x80, 0xf8, 7, 2, 0xd0, 0x0f];
    let protobuf = vec![0x0a, 5, b'e', b'd', b'g', b'e', b'1', 0x10, 0x96, 1];
    let hour = 3_600_000;
    cluster(&[
        ("pmacct.acct", 0, &texts(&[&good, &good])),
        ("empty", 0, &[]),
        ("old", 2 * hour, &texts(&[&good])),
        ("future", -2 * hour, &texts(&[&good])),
        ("noas", 0, &texts(&[&flow("")])),
        ("zero", 0, &texts(&[&flow(r#""as_src": 0, "as_dst": 0,"#)])),
        ("hosts", 0, &texts(&[&flow(r#""ip_src": "8.8.8.8", "ip_dst": "192.0.2.1","#)])),
        (
            "markers",
            0,
            &texts(&[
                r#"{"event_type": "purge_init", "writer_id": "a/1"}"#,
                r#"{"event_type": "purge_close", "writer_id": "a/1"}"#,
            ]),
        ),
        (
            "nobytes",
            0,
            &texts(&[r#"{"event_type": "purge", "as_src": 1, "as_dst": 64512, "packets": 3}"#]),
        ),
        ("orders", 0, &texts(&[r#"{"order": 17, "customer": "example", "total": 12.5}"#])),
        ("text", 0, &texts(&["Nov 27 20:44:51 edge1 kernel: link up"])),
        ("gzip", 0, &[gzip]),
        ("lz4", 0, &[lz4]),
        ("avro", 0, &[avro]),
        ("protobuf", 0, &[protobuf]),
    ])
}

/// A cluster that answers requests of this kind with an error.
fn denying(request: RDKafkaApiKey, error: RDKafkaRespErr) -> Cluster {
    let cluster = cluster(&[("pmacct.acct", 0, &texts(&[&good()]))]);
    cluster.request_errors(request, &[error; 1000]);
    cluster
}

/// A cluster whose second broker, the leader, can't be reached, and the address of the first.
fn half_reachable() -> (Cluster, String) {
    let cluster = MockCluster::new(2).unwrap();
    cluster.create_topic("pmacct.acct", 1, 1).unwrap();
    cluster.partition_leader("pmacct.acct", 0, Some(2)).unwrap();
    cluster.broker_down(2).unwrap();
    let first = cluster.bootstrap_servers().split(',').next().unwrap().to_owned();
    (cluster, first)
}

/// Servers that speak something else than Kafka: HTTP, what `ZooKeeper` does, TLS, and nothing.
fn others() -> [SocketAddr; 4] {
    let http = serve(|mut stream| {
        let mut request = [0; 4096];
        if stream.read(&mut request).is_ok_and(|length| length > 0) {
            drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    // Kafka's request is not one of ZooKeeper's, which hangs up.
    let zookeeper = serve(|mut stream| drop(stream.read(&mut [0; 4])));
    let held = Mutex::new(Vec::new());
    let silent = serve(move |stream| held.lock().unwrap().push(stream));
    [http, zookeeper, tls_server(), silent]
}

/// What answers at wrong URLs: 404, 401, a web page, and 204 to anything.
fn receivers() -> [Receiver; 4] {
    let answering = |answer: Answer| {
        let receiver = Receiver::new();
        receiver.always(answer);
        receiver
    };
    let page = vec![("content-type", "text/html".to_owned())];
    let anything = Receiver::new();
    anything.takes_anything(true);
    [
        answering(Answer::Status(404, Vec::new(), "404 page not found".to_owned())),
        answering(Answer::Status(401, Vec::new(), "no credentials provided".to_owned())),
        answering(Answer::Status(200, page, "<html><title>Log in".to_owned())),
        anything,
    ]
}

fn host(receiver: &Receiver) -> String {
    let url = receiver.url("");
    url.strip_prefix("http://").unwrap().trim_end_matches('/').to_owned()
}

/// Addresses that are sent flows, data without their template, and lines of a log, until the test ends.
fn routers() -> [SocketAddr; 3] {
    let addresses = [unused_address(), unused_address(), unused_address()];
    let addresses = addresses.map(|address| SocketAddr::from((address, 2055)));
    let flows = V5::new([V5Flow::default()]).bytes();
    let data = [0, 10, 0, 28, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 12];
    let data = [&data[..], &[1; 8]].concat();
    let datagrams = [flows, data, b"<13>Nov 27 20:44:51 edge1 link up".to_vec()];
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    thread::spawn(move || {
        loop {
            for (to, datagram) in addresses.iter().zip(&datagrams) {
                // Nobody may listen yet.
                drop(sender.send_to(datagram, to));
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    addresses
}

/// An address at which nobody listens.
fn closed() -> String {
    SocketAddr::from((unused_address(), 9)).to_string()
}

impl Place {
    pub(super) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        write_files(directory.path());
        let topics = topics();
        let topic_denied = denying(
            RDKafkaApiKey::Fetch,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        );
        let group_denied = denying(
            RDKafkaApiKey::FindCoordinator,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
        );
        let (half, first) = half_reachable();
        let [http, zookeeper, tls, silent] = others();
        let receivers = receivers();
        let [flows, data, log] = routers();
        let taken = TcpListener::bind((unused_address(), 9590)).unwrap();
        let udp = UdpSocket::bind((unused_address(), 2055)).unwrap();
        let names = [
            ("kafka1:9092", topics.bootstrap_servers()),
            ("kafka1:9093", tls.to_string()),
            ("kafka1:2181", zookeeper.to_string()),
            ("kafka1:8080", http.to_string()),
            ("kafka1:7777", silent.to_string()),
            ("kafka1:9999", closed()),
            ("kafka2:9092", first),
            ("kafka3:9092", topic_denied.bootstrap_servers()),
            ("kafka4:9092", group_denied.bootstrap_servers()),
            ("kafka9:9092", "kafka9.invalid:9092".to_owned()),
            ("prometheus:9090", host(&receivers[0])),
            ("mimir:9009", host(&receivers[1])),
            ("portal/", format!("{}/", host(&receivers[2]))),
            ("portal:8080", host(&receivers[3])),
            ("prometheus:9443", tls.to_string()),
            ("prometheus:9999", closed()),
            ("prometheus9/", "prometheus9.invalid/".to_owned()),
            ("192.0.2.10:9590", taken.local_addr().unwrap().to_string()),
            ("192.0.2.10:2055", format!("{}:2055", unused_address())),
            ("192.0.2.11:2055", udp.local_addr().unwrap().to_string()),
            ("192.0.2.12:2055", flows.to_string()),
            ("192.0.2.13:2055", data.to_string()),
            ("192.0.2.14:2055", log.to_string()),
            ("/etc/flow-exporter/", format!("{}/", directory.path().display())),
        ];
        Place {
            names: Names { pairs: names.into(), directory },
            _clusters: [topics, topic_denied, group_denied, half],
            _receivers: receivers,
            _sockets: (taken, udp),
        }
    }
}

impl Names {
    /// The lines of `check` with these arguments, in the words of documents, and its exit code.
    pub(super) fn check(&self, given: &str) -> (Vec<String>, Option<i32>) {
        let mut arguments = given.to_owned();
        for (name, real) in &self.pairs {
            arguments = arguments.replace(name, real);
        }
        let mut command = Command::new(program());
        command.arg("check").args(arguments.split(' ')).current_dir(self.directory.path());
        let is_own = |flag: &str| given.contains(flag);
        for (flag, value) in
            [("--addr", "127.0.0.1:0"), ("--as-names", "embedded"), ("--state-dir", "none")]
        {
            if !is_own(flag) {
                command.arg(format!("{flag}={value}"));
            }
        }
        let output = command.output().unwrap();
        let mut text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        for (name, real) in &self.pairs {
            text = text.replace(real, name);
        }
        (text.lines().map(|line| line.trim().to_owned()).collect(), output.status.code())
    }
}
