//! The contract, its page, and the documentation that has to say the same.

use gateway_core::metrics::API_OPERATIONS;
use serde_json::Value;

use crate::caller::{ask, node};
use crate::support::http;

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn documentation() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/api.md");
    std::fs::read_to_string(path).unwrap()
}

async fn contract() -> Value {
    let (gateway, _) = node(&[]).await;
    let answer = ask(gateway.address, "GET", "/api/v1/openapi.json", "", None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    answer.body
}

/// Every request of the contract: method, path, and what is said of it.
fn requests(contract: &Value) -> Vec<(String, String, Value)> {
    let paths = contract["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| {
            let said = item.get(method)?.clone();
            Some((method.to_uppercase(), path.clone(), said))
        })
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documentation_says_what_the_contract_says() {
    let (contract, documentation) = (contract().await, documentation());
    assert!(contract["openapi"].as_str().unwrap().starts_with("3.1"));
    let requests = requests(&contract);
    for (method, path, _) in &requests {
        let row = format!("| `{method} {path}");
        assert!(documentation.contains(&row), "docs/api.md does not have {row}");
    }
    let rows = documentation
        .lines()
        .filter(|line| METHODS.iter().any(|method| line.starts_with(&format!("| `{} ", method.to_uppercase()))));
    assert_eq!(rows.count(), requests.len(), "docs/api.md has requests that are not there");
    let description = contract["info"]["description"].as_str().unwrap();
    for row in description.lines().filter(|line| line.starts_with("| `")) {
        assert!(documentation.lines().any(|line| line == row), "docs/api.md does not have {row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_says_what_it_takes_and_gives_with_examples() {
    let contract = contract().await;
    for (method, path, said) in requests(&contract) {
        let operation = said["operationId"].as_str().unwrap();
        assert!(API_OPERATIONS.contains(&operation), "{operation} has no series");
        assert!(said["summary"].is_string() && said["responses"]["default"].is_object(), "{method} {path}");
        for parameter in said["parameters"].as_array().into_iter().flatten().filter(|it| it["in"] == "path") {
            assert!(
                parameter["example"].is_string() || parameter["schema"]["example"].is_string(),
                "{path}: {parameter}"
            );
        }
        if let Some(body) = said.get("requestBody") {
            let name = body["content"]["application/json"]["schema"]["$ref"].as_str().unwrap();
            let schema = contract.pointer(name.strip_prefix('#').unwrap()).unwrap();
            assert!(schema["example"].is_object(), "{name} has no example");
            assert_eq!(schema["additionalProperties"], false, "{name} takes anything");
        }
    }
    for operation in API_OPERATIONS.iter().filter(|name| !["contract", "docs", "unknown"].contains(name)) {
        let known = requests(&contract).iter().any(|(_, _, said)| said["operationId"] == *operation);
        assert!(known, "no request is called {operation}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_has_its_files_and_runs_nothing_else() {
    let (gateway, _) = node(&[]).await;
    let page = ask(gateway.address, "GET", "/api/v1/docs", "", None).await;
    assert_eq!((page.status, page.header("location")), (308, Some("/api/v1/docs/")));
    let (status, text) = http("GET", gateway.address, "/api/v1/docs/", "").await;
    assert!(status == 200 && text.contains("swagger-ui"), "{text}");
    assert!(!text.contains("<script>") && !text.contains("<style"), "it has something inline: {text}");
    let files = text.split(['"', '\'']).filter(|word| word.ends_with(".js") || word.ends_with(".css"));
    let mut count = 0;
    for file in files {
        let name = file.trim_start_matches("./");
        let answer = ask(gateway.address, "HEAD", &format!("/api/v1/docs/{name}"), "", None).await;
        assert_eq!(answer.status, 200, "{name}");
        count += 1;
    }
    assert!(count >= 3, "{text}");
    let answer = ask(gateway.address, "HEAD", "/api/v1/docs/", "", None).await;
    let policy = answer.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    let initializer = http("GET", gateway.address, "/api/v1/docs/swagger-initializer.js", "").await.1;
    assert!(initializer.contains("/api/v1/openapi.json"), "{initializer}");
    assert_eq!(ask(gateway.address, "GET", "/api/v1/docs/nothing.js", "", None).await.status, 401);
}
