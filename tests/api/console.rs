//! The files of the console: how they are served, and what they may contain.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use connectwise_billing::sandbox::Store;
use reqwest::Method;

use crate::openapi::document;
use crate::support::{Backend, Reply, TestApp, http_client};

/// All of the console together, compressed, in bytes.
const MAX_WEIGHT: usize = 120 * 1024;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("console")
}

/// The files of the console that a browser reads, by their path below `/console/`.
fn files() -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder()]);
    while let Some(at) = folders.pop() {
        for entry in std::fs::read_dir(&at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !name.starts_with("types/") && !name.ends_with(".json") {
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 20, "{:?}", found.keys());
    found
}

fn scripts() -> Vec<(String, String)> {
    let scripts = files().into_iter().filter(|(name, _)| name.ends_with(".js"));
    scripts.map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}

/// A request for a path outside the API, with these headers.
async fn get(app: &TestApp, path: &str, headers: &[(&str, &str)]) -> Reply {
    let headers: Vec<_> = headers.iter().copied().chain([("authorization", "")]).collect();
    app.send(Method::GET, &format!("/v{path}"), &headers, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_is_served_with_a_strict_policy() {
    let app = TestApp::start(Backend::Sqlite, Store::default()).await;
    for (name, bytes) in files() {
        let path = format!("/console/{name}");
        let reply = get(&app, &path, &[]).await;
        assert_eq!((reply.status, reply.text.as_bytes()), (200, bytes.as_slice()), "{path}");
        let kind = match name.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            "svg" => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(reply.header("content-type"), kind, "{path}");
        let policy = reply.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"] {
            assert!(policy.split("; ").any(|part| part == rule), "{rule}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let again = get(&app, &path, &[("if-none-match", reply.header("etag"))]).await;
        assert_eq!((again.status, again.text.as_str()), (304, ""), "{path}");
        assert_eq!(again.header("content-security-policy"), policy);
    }
    let page = get(&app, "/console/", &[]).await;
    assert_eq!(page.text.as_bytes(), files()["index.html"]);
    for name in ["nothing.js", "../Cargo.toml", "types/call.d.ts", "tsconfig.json", "js"] {
        assert_eq!(get(&app, &format!("/console/{name}"), &[]).await.status, 404, "{name}");
    }
    for path in ["/", "/console"] {
        let reply = get(&app, path, &[]).await;
        assert_eq!((reply.status, reply.header("location")), (307, "/console/"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_can_leave_it_out() {
    let app = TestApp::start_with(Backend::Sqlite, Store::default(), |config| config.no_console = true).await;
    for path in ["/console/", "/console", "/console/js/main.js"] {
        get(&app, path, &[]).await.problem(404, "not_found");
    }
    assert_eq!(get(&app, "/", &[]).await.header("location"), "/swagger-ui/");
    assert_eq!(get(&app, "/swagger-ui/", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_weighs_little() {
    let app = TestApp::start(Backend::Sqlite, Store::default()).await;
    let mut weight = 0;
    for name in files().keys() {
        let request = http_client().get(format!("{}/console/{name}", app.base)).header("accept-encoding", "gzip");
        weight += request.send().await.unwrap().bytes().await.unwrap().len();
    }
    println!("the console weighs {weight} bytes, compressed with gzip");
    assert!(weight < MAX_WEIGHT, "{weight}");
}

/// The calls of a script: `call("get", "/api/v1/products", …)`.
fn calls(script: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in script.split("call(\"").skip(1) {
        let (method, rest) = part.split_once('"').unwrap();
        let path = rest.split('"').nth(1).unwrap();
        found.push((method.to_owned(), path.to_owned()));
    }
    for part in script.split("download(\"").skip(1) {
        found.push(("get".to_owned(), part.split('"').next().unwrap().to_owned()));
    }
    found
}

/// TypeScript checks what each call sends and reads, against types generated from the document: `scripts/clients`.
#[test]
fn it_calls_documented_operations_only() {
    let document = document();
    let mut count = 0;
    for (name, script) in scripts() {
        for (method, path) in calls(&script) {
            assert!(document["paths"][&path][&method].is_object(), "{name}: {method} {path} is not documented");
            count += 1;
        }
        // All requests go through one file.
        let sends = ["fetch(", "XMLHttpRequest", "EventSource", "sendBeacon", "WebSocket"];
        assert!(name == "js/api.js" || !sends.iter().any(|way| script.contains(way)), "{name} sends requests itself");
    }
    assert!(count > 40, "{count}");
    assert!(document["paths"]["/api/v1/push-jobs/{id}/events"]["get"].is_object());
}

#[test]
fn nothing_becomes_markup_and_nothing_comes_from_elsewhere() {
    for (name, bytes) in files() {
        let text = String::from_utf8(bytes).unwrap();
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style="]
        {
            assert!(!text.contains(way), "{name} contains {way}");
        }
        for address in text.split("http").skip(1).filter(|rest| rest.starts_with("://") || rest.starts_with("s://")) {
            assert!(address.starts_with("://www.w3.org/2000/svg"), "{name}: http{}", &address[..address.len().min(40)]);
        }
        for storage in ["localStorage", "indexedDB", "document.cookie"] {
            assert!(!text.contains(storage), "{name} keeps something in {storage}");
        }
    }
}
