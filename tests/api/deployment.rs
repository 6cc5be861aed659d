//! Checks the container files as far as possible without running a container: `docker-compose.yml` and the `Dockerfile`
//! say what they should, and everything that they name exists.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::process::program;

const README: &str = include_str!("../../README.md");
const DOCKERFILE: &str = include_str!("../../Dockerfile");

/// The compose file as YAML, with merge keys applied.
fn compose() -> Value {
    let mut compose: Value = serde_saphyr::from_str(include_str!("../../docker-compose.yml")).unwrap();
    for service in compose["services"].as_object_mut().unwrap().values_mut() {
        if let Some(Value::Object(merged)) = service.as_object_mut().unwrap().remove("<<") {
            for (name, value) in merged {
                service.as_object_mut().unwrap().entry(name).or_insert(value);
            }
        }
    }
    compose
}

#[test]
fn compose_runs_two_replicas_on_a_healthy_postgresql() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    let replicas: Vec<&Value> =
        services.iter().filter(|(name, _)| name.starts_with("billing")).map(|(_, service)| service).collect();
    assert_eq!(replicas.len(), 2);
    for replica in &replicas {
        assert_eq!(replica["depends_on"]["postgres"]["condition"], "service_healthy");
        let url = replica["environment"]["CWB_DATABASE_URL"].as_str().unwrap();
        assert!(
            url.starts_with("postgres://") && url.contains("@postgres/") && url.contains("sslmode=require"),
            "{url}"
        );
        assert_eq!(replica["environment"], replicas[0]["environment"], "one key for both");
        assert_eq!(replica["volumes"], replicas[0]["volumes"], "and one place for it");
        assert!(replica.get("profiles").is_none());
    }
    assert_ne!(replicas[0]["ports"], replicas[1]["ports"]);
    assert!(services["postgres"]["healthcheck"]["test"][1].as_str().unwrap().contains("pg_isready"));
    assert!(services["postgres"]["entrypoint"][2].as_str().unwrap().contains("ssl=on"));
    assert!(services["postgres"].get("ports").is_none(), "the database is nobody's from outside");
    assert_eq!(services["demo"]["profiles"], json!(["demo"]));
    let built = services.iter().filter(|(_, service)| service["build"] == ".").count();
    assert_eq!(built, 1, "one builds the image, and the others do not race it for its name");
    for (name, service) in services.iter().filter(|(name, _)| *name != "postgres") {
        assert_eq!((&service["image"], &service["read_only"]), (&json!("connectwise-billing"), &json!(true)), "{name}");
        for port in service["ports"].as_array().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} is seen from outside at {port}");
        }
    }
}

/// The names in a text that look like our settings.
fn settings(text: &str) -> Vec<String> {
    let one = |(at, _): (usize, &str)| {
        text[at..].chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect::<String>()
    };
    text.match_indices("CWB_").map(one).collect()
}

#[test]
fn what_compose_and_the_image_name_exists() {
    let compose = compose();
    let volumes = compose["volumes"].as_object().unwrap();
    for service in compose["services"].as_object().unwrap().values() {
        for volume in service["volumes"].as_array().unwrap() {
            assert!(volumes.contains_key(volume.as_str().unwrap().split(':').next().unwrap()), "{volume}");
        }
        // Commands are those of the program, with their arguments.
        if let Some(command) = service["command"].as_array() {
            let words = command.iter().map(|word| word.as_str().unwrap());
            let output = program().args(words).arg("--help").output().unwrap();
            assert!(output.status.success(), "{command:?}");
        }
    }
    for name in settings(&format!("{}{DOCKERFILE}", include_str!("../../docker-compose.yml"))) {
        assert!(README.contains(&format!("| `{name}` |")), "{name} is no setting");
    }
}

#[test]
fn the_image_is_small_unprivileged_and_healthy() {
    let stages: Vec<&str> = DOCKERFILE.split("\nFROM ").collect();
    let [_, build, run] = stages[..] else { panic!("one stage to build and one to run") };
    assert!(build.contains("--locked") && build.contains("--features postgres-tls"));
    for sign in ["ca-certificates", "libssl3", "\nUSER billing\n", "\nHEALTHCHECK ", "/readyz", "ENTRYPOINT"] {
        assert!(run.contains(sign), "{sign}");
    }
    assert!(run.find("USER billing") < run.find("ENTRYPOINT"));
    let toolchain = include_str!("../../rust-toolchain.toml");
    let version = build.strip_prefix("rust:").unwrap().split('-').next().unwrap();
    assert!(toolchain.contains(&format!("\"{version}.")), "{version} is not the toolchain's");
}

/// With only the files that the image copies, cargo finds every target in its manifest.
#[test]
fn the_image_copies_all_that_cargo_wants() {
    let (root, copied) = (Path::new(env!("CARGO_MANIFEST_DIR")), tempfile::tempdir().unwrap());
    let ignored = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    for line in DOCKERFILE.lines().take_while(|line| !line.starts_with("FROM debian")) {
        let Some(names) = line.strip_prefix("COPY ") else { continue };
        let mut names: Vec<&str> = names.split_whitespace().collect();
        let to = names.pop().unwrap();
        for name in names {
            assert!(!ignored.lines().any(|line| name.starts_with(line)), "{name} is not sent to the build");
            let to = if to == "./" { copied.path().join(name) } else { copied.path().join(to) };
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            assert!(Command::new("cp").arg("-r").arg(root.join(name)).arg(to).status().unwrap().success(), "{name}");
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    let output = cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(copied.path()).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for needed in
        [".cargo/config.toml", "build.rs", "migrations/postgres", "migrations/sqlite", "src/main.rs", "Cargo.lock"]
    {
        assert!(copied.path().join(needed).exists(), "{needed}");
    }
}
