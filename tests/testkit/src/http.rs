//! Blocking HTTP requests.

use std::{sync::LazyLock, time::Duration};

use tokio::runtime::Runtime;

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
    // Servers restart on the same address, so no connection is reused.
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(ANSWER_LIMIT)
        .build()
        .expect("an HTTP client")
});

/// Runs a future to its end.
pub fn block_on<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

/// The body of the answer to a GET; a status other than 2xx is an error.
pub fn get(url: &str) -> Result<String, String> {
    send(CLIENT.get(url), &format!("GET {url}"))
}

/// The body of the answer to a POST without a body; all but a success is an error.
pub fn post(url: &str) -> Result<String, String> {
    send(CLIENT.post(url), &format!("POST {url}"))
}

/// The body of the answer to a request with JSON; a status other than 2xx is an error.
pub fn send_json(method: &str, url: &str, body: &serde_json::Value) -> Result<String, String> {
    let method: reqwest::Method = method.parse().expect("a method");
    let what = format!("{method} {url}");
    let request = CLIENT.request(method, url).header("content-type", "application/json");
    send(request.body(body.to_string()), &what)
}

fn send(request: reqwest::RequestBuilder, what: &str) -> Result<String, String> {
    let answer: Result<_, reqwest::Error> = block_on(async {
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    });
    match answer {
        Ok((status, body)) if status.is_success() => Ok(body),
        Ok((status, body)) => Err(format!("{what}: {status}: {body}")),
        Err(error) => Err(format!("{what}: {error:?}")),
    }
}

/// As [`get`], with parameters, which it encodes.
pub fn get_with(url: &str, parameters: &[(&str, String)]) -> Result<String, String> {
    let url = reqwest::Url::parse_with_params(url, parameters);
    get(url.map_err(|error| error.to_string())?.as_str())
}
