//! A service on a new database, with a stand-in for ConnectWise.

use std::net::TcpListener;

use connectwise_billing::app::{Application, Config};
use connectwise_billing::domain::clock::Clock;
use connectwise_billing::sandbox::{Identity, Sandbox, Store};
use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{CONNECTIONS, Measured};

/// The key of the operator, who creates tenants.
const OPERATOR: &str = "the-operators-key-of-this-measurement";

pub struct Service {
    pub base: String,
    pub key: String,
    pub http: Client,
    pub sandbox: Sandbox,
    /// The service's database.
    pub database: String,
    /// Another database of the same kind, for plain inserts.
    pub baseline: String,
    _folder: tempfile::TempDir,
}

impl Service {
    /// `server` is the URL of a PostgreSQL server, without a database; SQLite without one.
    pub async fn start(server: Option<&str>, store: Store) -> Measured<Self> {
        let folder = tempfile::tempdir()?;
        let (url, baseline) = match server {
            Some(server) => {
                let id = uuid::Uuid::now_v7().simple().to_string();
                let mut admin = PgConnection::establish(&format!("{server}/postgres"))?;
                admin.batch_execute(&format!("CREATE DATABASE b{id}; "))?;
                admin.batch_execute(&format!("CREATE DATABASE c{id}"))?;
                (format!("{server}/b{id}?sslmode=disable"), format!("{server}/c{id}?sslmode=disable"))
            }
            None => {
                let file = |name: &str| folder.path().join(name).display().to_string();
                (format!("sqlite:{}", file("billing.db")), file("baseline.db"))
            }
        };
        let mut config = Config::local(url.parse()?);
        config.allow_private_connectwise = true;
        config.connectwise_per_minute = 600_000.try_into()?;
        config.operator_key = Some(OPERATOR.into());
        config.encryption_key.encryption_key_file = Some(folder.path().join("key"));
        let mut application = Application::build(&config, Clock::system()).await?;
        let key = application.first_key().ok_or("the database is not new")?;
        let base = format!("http://{}/api/v1", application.address());
        tokio::spawn(application.run());
        let sandbox = Sandbox::start(TcpListener::bind("127.0.0.1:0")?, store, Identity::default())?;
        // The baseline server does not compress either.
        let http = Client::builder().pool_max_idle_per_host(CONNECTIONS).no_gzip().build()?;
        let database = url.trim_start_matches("sqlite:").to_owned();
        Ok(Self { base, key, http, sandbox, database, baseline, _folder: folder })
    }

    /// The key of a new tenant.
    pub async fn tenant(&self) -> Measured<String> {
        let made = self.call(OPERATOR, Method::POST, "/tenants", &json!({"name": "another"})).await?;
        Ok(made["key"].as_str().ok_or("a tenant has a key")?.to_owned())
    }

    pub async fn send(&self, key: &str, method: Method, path: &str, body: Option<&Value>) -> Measured<Vec<u8>> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status();
        let bytes = response.bytes().await?.to_vec();
        if !status.is_success() {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&bytes)).into());
        }
        Ok(bytes)
    }

    pub async fn get(&self, key: &str, path: &str) -> Measured<Value> {
        Ok(serde_json::from_slice(&self.send(key, Method::GET, path, None).await?)?)
    }

    pub async fn call(&self, key: &str, method: Method, path: &str, body: &Value) -> Measured<Value> {
        Ok(serde_json::from_slice(&self.send(key, method, path, Some(body)).await?)?)
    }

    /// Creates a product, and returns its id.
    pub async fn product(&self, key: &str, code: &str) -> Measured<String> {
        let body = json!({"code": code, "name": code, "unit": "GB", "block_size": "10"});
        let made = self.call(key, Method::POST, "/products", &body).await?;
        Ok(made["id"].as_str().ok_or("a product has an id")?.to_owned())
    }

    /// Creates the companies `C1`, `C2`, ….
    pub async fn companies(&self, key: &str, count: usize) -> Measured {
        let company = |c: usize| json!({"external_id": format!("C{c}"), "name": format!("Customer {c:06}")});
        let body = json!({"companies": (1..=count).map(company).collect::<Vec<Value>>()});
        self.call(key, Method::POST, "/companies/batch", &body).await?;
        Ok(())
    }

    pub async fn connect(&self, key: &str) -> Measured {
        let identity = self.sandbox.identity();
        let body = json!({
            "site": self.sandbox.site(), "company_id": identity.company_id, "client_id": identity.client_id,
            "public_key": identity.public_key, "private_key": identity.private_key,
        });
        self.call(key, Method::PUT, "/connection", &body).await?;
        Ok(())
    }
}
