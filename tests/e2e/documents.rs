//! The ways that README.md and docs/quickstart.md describe lead where they say, step by step, with
//! their own commands, files and queries.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use regex::Regex;
use testkit::{
    exporter::{Exporter, KeptOnPanic, program},
    netflow::{V5, V5Flow},
    query::evaluate,
    servers::{Prometheus, PrometheusSettings, unused_address, wait_for},
};

const LIMIT: Duration = Duration::from_secs(60);

/// What stands in a document between fences, by language, and its queries, in order.
struct Steps(BTreeMap<String, Vec<String>>);

impl Steps {
    /// Those of a section, up to the next of its level, or of the whole page.
    fn of(page: &str, section: Option<&str>) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(path).expect("the page is there");
        let lines = text.lines().skip_while(|line| section.is_some_and(|title| *line != title));
        let is_next = |line: &&str| section.is_some() && line.starts_with("## ");
        let lines = lines.skip(1).take_while(|line| !is_next(line));
        let mut steps = BTreeMap::<String, Vec<String>>::new();
        let mut fence: Option<(&str, usize, String)> = None;
        for line in lines {
            let content = line.trim_start();
            match (&mut fence, content.strip_prefix("```")) {
                (None, Some(language)) => {
                    fence = Some((language, line.len() - content.len(), String::new()));
                }
                (Some(_), Some(_)) => {
                    let (language, _, text) = fence.take().expect("it is open");
                    steps.entry(language.to_owned()).or_default().push(text);
                }
                (Some((_, indent, text)), None) => {
                    *text += line.get(*indent..).unwrap_or_default();
                    text.push('\n');
                }
                (None, None) if line.starts_with("    ") && line.contains("rate(") => {
                    steps.entry("query".to_owned()).or_default().push(content.to_owned());
                }
                (None, None) => {}
            }
        }
        Steps(steps)
    }

    fn all(&self, language: &str) -> &[String] {
        self.0.get(language).unwrap_or_else(|| panic!("a step in {language}"))
    }

    /// The one that has these words.
    fn one(&self, language: &str, words: &str) -> &str {
        let mut steps = self.all(language).iter().filter(|step| step.contains(words));
        let step = steps.next().unwrap_or_else(|| panic!("{words} in {language}"));
        assert!(steps.next().is_none(), "{words} is in one step");
        step
    }
}

/// The arguments of a command of the program, in the place of whose addresses the test has its own.
fn arguments(command: &str, address: Ipv4Addr) -> Vec<String> {
    let mut words = command.split_whitespace();
    assert_eq!(words.next(), Some("flow-exporter"));
    words.map(|word| word.replace(":2055", &format!("{address}:2055"))).collect()
}

/// Text without what differs from run to run: addresses, and numbers that are not between quotes.
fn comparable(text: &str) -> String {
    let addresses = Regex::new(r"(\d+\.\d+\.\d+\.\d+)?:(2055|9590)\b").expect("valid");
    let text = addresses.replace_all(text, ":$2");
    let text = Regex::new(r"\d+\.\d+\.\d+\.\d+").expect("valid").replace_all(&text, "ADDRESS");
    let numbers = Regex::new(r#"("[^"]*")|\b\d+\b"#).expect("valid");
    let number_or_quoted = |found: &regex::Captures<'_>| match found.get(1) {
        Some(quoted) => quoted.as_str().to_owned(),
        None => "NUMBER".to_owned(),
    };
    numbers.replace_all(&text, number_or_quoted).into_owned()
}

/// A router that sends flows between 198.51.100.0/24 and two large networks until it is dropped: per
/// datagram, six flows from Google, two from Cloudflare and two to Google.
struct Router {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Router {
    fn start(collector: Ipv4Addr) -> Self {
        let ends = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ends);
        let thread = thread::spawn(move || {
            let socket = UdpSocket::bind((unused_address(), 0)).expect("an address");
            let [google, cloudflare] = [[8, 8, 8, 8], [1, 1, 1, 1]].map(Ipv4Addr::from);
            let ours = Ipv4Addr::new(198, 51, 100, 7);
            let flow = |source, destination| V5Flow {
                source,
                destination,
                asns: (0, 0),
                ..V5Flow::default()
            };
            let flows = [flow(google, ours); 6]
                .into_iter()
                .chain([flow(cloudflare, ours); 2])
                .chain([flow(ours, google); 2]);
            let mut datagram = V5 { sampling: 0x4000 + 1000, ..V5::new(flows) };
            while !stop.load(Ordering::Relaxed) {
                // Nobody listens between one step and the next.
                drop(socket.send_to(&datagram.bytes(), (collector, 2055)));
                datagram.sequence += 10;
                datagram.uptime += 50;
                thread::sleep(Duration::from_millis(50));
            }
        });
        Router { ends, thread: Some(thread) }
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// A Prometheus with the configuration of a document, which scrapes this program.
fn prometheus(directory: &Path, configuration: &str, address: Ipv4Addr) -> Prometheus {
    let mut text = configuration.replace("localhost:9590", &format!("{address}:9590"));
    assert!(text.contains(&address.to_string()), "it names the program: {text}");
    text = text.replace("scrape_interval: 15s", "scrape_interval: 1s");
    if !text.contains("scrape_interval") {
        text = format!("global: {{scrape_interval: 1s}}\n{text}");
    }
    let file = directory.join("prometheus.yml");
    fs::write(&file, text).expect("prometheus.yml is written");
    PrometheusSettings::debian().start_as_is(&file)
}

/// Waits until a query answers with a value above 0, and returns all that it answers.
fn answer(prometheus: &Prometheus, query: &str) -> BTreeMap<BTreeMap<String, String>, f64> {
    wait_for(query, LIMIT, || {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        let answer = evaluate(&prometheus.url(), query, now)?;
        if answer.values().any(|value| *value > 0.0) {
            Ok(answer)
        } else {
            Err(format!("{answer:?}"))
        }
    })
}

#[test]
fn the_readme_leads_from_a_router_to_a_graph() {
    let steps = Steps::of("README.md", Some("## From a router to a graph"));
    let [_, check, run, look] = steps.all("sh") else { panic!("four commands") };
    let [checked, looked, graph] = steps.all("text") else { panic!("three outputs") };
    let directory = KeptOnPanic::new("readme-");
    let address = unused_address();
    let _router = Router::start(address);

    let addr = format!("--addr={address}:9590");
    let output = Command::new(program())
        .args(arguments(check, address))
        .arg(&addr)
        .current_dir(directory.path())
        .output()
        .expect("the program starts");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(comparable(&said), comparable(checked), "{said}");
    assert!(output.status.success());

    let mut started = arguments(run, address);
    started.extend([addr, "--as-names=embedded".to_owned()]);
    let exporter = Exporter::start_as_is(address, &started);
    let look = look.replace("localhost", &address.to_string());
    wait_for("the counters", LIMIT, || {
        let output = Command::new("sh").args(["-c", &look]).output().expect("a shell");
        let said = String::from_utf8(output.stdout).expect("UTF-8");
        let sorted = |text: &str| {
            let mut lines: Vec<_> = text.lines().map(comparable).collect();
            lines.sort();
            lines
        };
        if sorted(&said) == sorted(looked) { Ok(()) } else { Err(said) }
    });

    let [scrape] = steps.all("yaml") else { panic!("a configuration of Prometheus") };
    let prometheus = prometheus(directory.path(), scrape, address);
    let [query] = steps.all("query") else { panic!("a query") };
    let labels = |line: &str| line.split_once("} ").expect("labels and a rate").0.to_owned();
    let expected: Vec<String> = graph.lines().map(labels).collect();
    wait_for("the graph", LIMIT, || {
        let answer = answer(&prometheus, query);
        let mut rates: Vec<_> = answer.iter().map(|(labels, rate)| (*rate, labels)).collect();
        rates.sort_by(|one, other| other.0.total_cmp(&one.0));
        let shown: Vec<String> = rates
            .iter()
            .map(|(_, labels)| {
                let pairs = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
                format!("{{{}", pairs.collect::<Vec<_>>().join(", "))
            })
            .collect();
        if shown == expected { Ok(()) } else { Err(format!("{shown:?}")) }
    });
    assert!(exporter.stop().success());
}

#[test]
fn the_quickstart_leads_to_graphs_of_the_demo() {
    let steps = Steps::of("docs/quickstart.md", None);
    let directory = KeptOnPanic::new("quickstart-");
    let file = |name: &str, text: &str| {
        fs::write(directory.path().join(name), text).expect("a file is written");
    };
    let started = |command: &str, addr: &str| {
        let address = unused_address();
        let views = directory.path().join("views.yml").display().to_string();
        let command = command.trim().replace("views.yml", &views);
        let mut arguments = arguments(&command, address);
        arguments.extend([addr.replace("ADDRESS", &address.to_string())]);
        arguments.push("--as-names=embedded".to_owned());
        (Exporter::start_as_is(address, &arguments), address)
    };
    let addr = "--addr=ADDRESS:9590";

    let (exporter, address) = started(&steps.all("sh")[0], addr);
    let [said] = steps.all("text") else { panic!("a line of the log") };
    let said = said.trim().replace("localhost", &address.to_string());
    exporter.wait_for_log(&said, LIMIT);
    let look = steps.one("sh", "curl").replace("localhost", &address.to_string());
    wait_for("the counters", LIMIT, || {
        let output = Command::new("sh").args(["-c", &look]).output().expect("a shell");
        match String::from_utf8(output.stdout).expect("UTF-8").lines().count() {
            3 => Ok(()),
            lines => Err(format!("{lines} lines")),
        }
    });
    let configuration = steps.one("yaml", "prometheus.yml");
    let scraping = prometheus(directory.path(), configuration, address);
    let (of_views, queries): (Vec<_>, Vec<_>) =
        steps.all("query").iter().partition(|query| query.contains("flow_country"));
    for query in &queries {
        answer(&scraping, query);
    }
    assert!(exporter.stop().success());

    file("views.yml", steps.one("yaml", "views.yml"));
    let (exporter, address) = started(steps.one("sh", "views.yml"), addr);
    let scraping = prometheus(directory.path(), configuration, address);
    for query in of_views {
        answer(&scraping, query);
    }
    assert!(exporter.stop().success());

    let push = steps.one("sh", "--remote-write-url");
    let push = push.lines().last().expect("the second command is the program's");
    // It scrapes nobody.
    let receiving = prometheus(directory.path(), configuration, unused_address());
    let push = push.replace("http://localhost:9090", &receiving.url()).replace("15s", "1s");
    let (exporter, _) = started(&push.replace("--addr none", ""), addr);
    for query in &queries {
        answer(&receiving, query);
    }
    assert!(exporter.stop().success());
}
